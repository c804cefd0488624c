"""Small charts drawn in the browser as SVG, whose points can be clicked."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from SpineSegLib.web.widgets import Svg

WIDTH, HEIGHT = 316, 190
LEFT, RIGHT, TOP, BOTTOM = 44, 8, 8, 34


@dataclass
class Series:
    """Points (x, y) of one colour, joined by a line where `line`; `titles` are shown when the mouse is over a point."""

    points: Sequence[tuple[float, float]]
    colour: str
    line: bool = False
    titles: Sequence[str] = field(default_factory=tuple)


def chart(x: str, y: str, series: Sequence[Series], levels: Sequence[tuple[float, str, str]] = ()) -> dict[str, Any]:
    """What `draw_chart` shows: titles of the axes, series, and horizontal lines (value, name, colour).

    Points keep their place in their series as index.
    """
    points = [point for each in series for point in each.points]
    across = _Axis([px for px, _ in points], LEFT, WIDTH - RIGHT)
    up = _Axis([py for _, py in points] + [value for value, *_ in levels], HEIGHT - BOTTOM, TOP)
    dots = [
        {"x": across(px), "y": up(py), "i": i, "c": each.colour, "t": each.titles[i] if each.titles else ""}
        for each in series
        for i, (px, py) in enumerate(each.points)
    ]
    lines = [
        {"p": " ".join(f"{across(px):.1f},{up(py):.1f}" for px, py in each.points), "c": each.colour}
        for each in series
        if each.line
    ]
    return {
        "dots": dots,
        "lines": lines,
        "levels": [{"y": up(value), "t": name, "c": colour} for value, name, colour in levels],
        "xs": [{"at": across(value), "t": f"{value:g}"} for value in across.ticks],
        "ys": [{"at": up(value), "t": f"{value:g}"} for value in up.ticks],
        "x": x,
        "y": y,
    }


class _Axis:
    """Places of values between two ends of the picture, and round numbers to write beside it."""

    def __init__(self, values: Sequence[float], first: float, last: float) -> None:
        low, high = (min(values), max(values)) if values else (0.0, 1.0)
        if high == low:
            low, high = low - 0.5, high + 0.5
        step = 10.0 ** math.floor(math.log10((high - low) / 3))
        step *= next(n for n in (1, 2, 5, 10) if (high - low) / (n * step) <= 5)
        self._low, self._high = low - 0.03 * (high - low), high + 0.03 * (high - low)
        self._first, self._last = first, last
        ticks = range(math.ceil(self._low / step), math.floor(self._high / step) + 1)
        self.ticks = [round(n * step, 10) for n in ticks]

    def __call__(self, value: float) -> float:
        part = (value - self._low) / (self._high - self._low)
        return round(self._first + part * (self._last - self._first), 1)


def draw_chart(name: str, title: str, click: Callable[[int], None] | None = None, shown: str = "-1") -> None:
    """Draw the chart of the state variable `name`. `click` gets the index of a point that is clicked, or reached with
    the arrow keys from the one that is `shown`."""
    chosen = {} if click is None else {"click": (click, "[d.i]"), "style": "cursor: pointer"}
    by_key = {}
    if click is not None:
        by_key = {"tabindex": 0, "arrow_left": (click, f"[{shown} - 1]"), "arrow_right": (click, f"[{shown} + 1]")}
    with Svg(
        "svg",
        view_box=f"0 0 {WIDTH} {HEIGHT}",
        v_if=(name,),
        role="img",
        style="width: 100%",
        classes="mt-1",
        **by_key,
    ):
        Svg("title", title)
        for values, along in (("xs", "x"), ("ys", "y")):
            down = along == "x"
            ends = (
                {"x1": ("t.at",), "x2": ("t.at",), "y1": TOP, "y2": HEIGHT - BOTTOM}
                if down
                else {"y1": ("t.at",), "y2": ("t.at",), "x1": LEFT, "x2": WIDTH - RIGHT}
            )
            text = {"x": ("t.at",), "y": HEIGHT - BOTTOM + 12} if down else {"x": LEFT - 4, "y": ("t.at + 3",)}
            with Svg("g", v_for=f"t in {name}.{values}", key="t.at"):
                Svg("line", **ends, stroke="currentColor", style="opacity: .15")
                anchor = "middle" if down else "end"
                Svg("text", "{{ t.t }}", **text, text_anchor=anchor, font_size=9, fill="currentColor")
        middle = (LEFT + WIDTH - RIGHT) / 2
        axis = {"font_size": 10, "fill": "currentColor", "text_anchor": "middle"}
        Svg("text", f"{{{{ {name}.x }}}}", x=middle, y=HEIGHT - 6, **axis)
        across = (TOP + HEIGHT - BOTTOM) / 2
        Svg("text", f"{{{{ {name}.y }}}}", x=-across, y=10, style="transform: rotate(-90deg)", **axis)
        with Svg("g", v_for=f"l in {name}.levels", key="l.t"):
            ends = {"x1": LEFT, "x2": WIDTH - RIGHT, "y1": ("l.y",), "y2": ("l.y",)}
            Svg("line", **ends, stroke=("l.c",), stroke_dasharray="4 3")
            Svg("text", "{{ l.t }}", x=WIDTH - RIGHT, y=("l.y - 3",), text_anchor="end", font_size=9, fill=("l.c",))
        Svg("polyline", v_for=f"l in {name}.lines", key="l.c", points=("l.p",), stroke=("l.c",), fill="none")
        with Svg(
            "circle",
            v_for=f"d in {name}.dots",
            key="d.c + d.i",
            cx=("d.x",),
            cy=("d.y",),
            r=(f"d.i === {shown} ? 6 : 3",),
            fill=("d.c",),
            **chosen,
        ):
            Svg("title", "{{ d.t }}")
