"""How the figures of a report look: one set of colours and sizes, in light and in dark pages."""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# One colour per model or case; told apart also without red or green vision (after Okabe and Ito 2008).
SERIES = ("#2f7ebc", "#e08214", "#1b9e77", "#b5539c", "#8a6fd1", "#c2a200", "#d9534f", "#5b7083", "#4aa3c7", "#8c6d46")
INK, FAINT, BAND = "#101418", "#c9d1d9", "#8aa4b8"
# in the page these become its own colours, which change in dark mode
PAGE_COLOURS = {INK: "var(--ink)", FAINT: "var(--line)", BAND: "var(--band)"}
SIZE = 9.5
PAGE_INCHES = 10.8  # of a figure as wide as the page


def colour(number: int) -> str:
    """Colour of the n-th series."""
    return SERIES[number % len(SERIES)]


def short(value: float) -> str:
    """A number with about three digits, without an exponent."""
    size = abs(value)
    digits = 0 if size >= 100 else 1 if size >= 10 else 2 if size >= 1 else 3
    return f"{value:.{digits}f}".replace("-", "−")


def new_figure(width: float, height: float, columns: int = 1, rows: int = 1, **options) -> tuple[Figure, list[Axes]]:
    """A figure of so many inches and its axes in reading order."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, **options)
    found = [ax for row in axes for ax in row]
    for ax in found:
        _dress(ax)
    return figure, found


def _dress(ax: Axes) -> None:
    ax.set_facecolor("none")
    ax.grid(True, color=FAINT, linewidth=0.6)
    ax.set_axisbelow(True)
    for name, spine in ax.spines.items():
        spine.set_visible(name in ("left", "bottom"))
        spine.set_color(FAINT)
    ax.tick_params(colors=INK, labelsize=SIZE, length=0)
    for text in (ax.xaxis.label, ax.yaxis.label, ax.title):
        text.set_color(INK)
        text.set_fontsize(SIZE + 0.5)


def svg(figure: Figure, name: str) -> str:
    """The figure as an SVG element to put into a page; `name` keeps its inner references apart from other figures'."""
    import matplotlib

    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        file = io.StringIO()
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = file.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text, count=1)
    # ids are unique in a page
    text = re.sub(r'\bid="', f'id="{name}-', text)
    text = re.sub(r'(xlink:href="#|url\(#)', rf"\g<1>{name}-", text)
    for written, page in PAGE_COLOURS.items():
        text = text.replace(written, page)
    return text
