"""The figures of a report: Bland-Altman, box plots and Dice by slice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from SpineSegLib.engine.comparison import style
from SpineSegLib.engine.comparison.agreement import BlandAltman

RASTER_FROM = 3000  # points; more of them would make the page heavy


def draw_bland_altman(
    name: str,
    panels: Sequence[tuple[str, BlandAltman, Mapping[str, tuple[Sequence[float], Sequence[float]]]]],
) -> str:
    """One panel a model: its title, its analysis, and measurements (prediction, reference) by case."""
    columns = min(2, len(panels))
    rows = -(-len(panels) // columns)
    width = 5.4 * columns if columns > 1 else 7.0
    figure, axes = style.new_figure(width, 3.6 * rows + 0.4, columns, rows, sharey=True, sharex=True)
    unit = {"mm2": "mm²"}
    for ax in axes[len(panels) :]:
        ax.set_visible(False)
    for n, (ax, (title, analysis, groups)) in enumerate(zip(axes, panels, strict=False)):
        _agreement_lines(ax, analysis)
        count = sum(len(values) for values, _ in groups.values())
        for number, (case, (prediction, reference)) in enumerate(groups.items()):
            prediction, reference = np.asarray(prediction, dtype=float), np.asarray(reference, dtype=float)
            ax.scatter(
                (prediction + reference) / 2, prediction - reference, s=max(7, 26 - 0.03 * count), linewidths=0,
                color=style.colour(number), alpha=0.75, label=case, rasterized=count > RASTER_FROM, zorder=3,
            )  # fmt: skip
        what = f"{analysis.quantity} ({unit.get(analysis.unit, analysis.unit)})"
        ax.set_title(title)
        ax.set_xlabel(f"mean of both, {what}")
        ax.tick_params(labelbottom=True)  # also above a panel that is not there
        if n % columns == 0:
            ax.set_ylabel("prediction − reference")
    if len(panels[0][2]) > 1 and len(panels[0][2]) <= len(style.SERIES):
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(
            handles, labels, loc="outside lower center", ncols=min(5, len(labels)), frameon=False,
            labelcolor=style.INK, fontsize=style.SIZE - 0.5,
        )  # fmt: skip
    return style.svg(figure, name)


def _agreement_lines(ax, analysis: BlandAltman) -> None:
    ax.axhline(0, color=style.FAINT, linewidth=1)
    lines = (
        (analysis.bias, analysis.bias_ci, "bias", "-"),
        (analysis.lower, analysis.lower_ci, "−1.96 SD", "--"),
        (analysis.upper, analysis.upper_ci, "+1.96 SD", "--"),
    )
    for value, interval, text, dashes in lines:
        if value is None:
            continue
        if interval is not None:
            ax.axhspan(*interval, color=style.BAND, alpha=0.22, linewidth=0)
        ax.axhline(value, color=style.INK, linewidth=1.1, linestyle=dashes)
        ax.annotate(
            f"{text}  {style.short(value)}", (1.0, value), xycoords=("axes fraction", "data"), ha="right", va="bottom",
            fontsize=style.SIZE - 1, color=style.INK, xytext=(-2, 2), textcoords="offset points",
        )  # fmt: skip


def draw_boxes(name: str, metrics: Sequence[tuple[str, Mapping[str, Sequence[float | None]]]]) -> str:
    """One panel a metric: its title, and its values by model, one a case; undefined ones are left out."""
    models = list(metrics[0][1])
    width = max(1.9, 0.55 * len(models) + 1.0)
    columns = min(len(metrics), max(2, int(style.PAGE_INCHES / width)))
    rows = -(-len(metrics) // columns)
    figure, axes = style.new_figure(width * columns, 3.2 * rows, columns, rows)
    for ax in axes[len(metrics) :]:
        ax.set_visible(False)
    rng = np.random.default_rng(0)
    for ax, (title, by_model) in zip(axes, metrics, strict=False):
        for n, model in enumerate(models):
            values = np.array([v for v in by_model[model] if v is not None], dtype=float)
            if len(values) > 4:
                ax.boxplot(
                    values, positions=[n], widths=0.5, showfliers=False, patch_artist=True,
                    boxprops={"facecolor": style.colour(n), "alpha": 0.25, "edgecolor": style.colour(n)},
                    medianprops={"color": style.INK, "linewidth": 1.6},
                    whiskerprops={"color": style.colour(n)}, capprops={"color": style.colour(n)},
                )  # fmt: skip
            elif len(values):
                # a box of so few cases would promise more than there is
                ax.hlines(np.median(values), n - 0.25, n + 0.25, color=style.INK, linewidth=1.6)
            spread = rng.uniform(-0.12, 0.12, len(values)) if len(values) > 1 else 0
            ax.scatter(n + spread, values, s=20, color=style.colour(n), alpha=0.8, linewidths=0, zorder=3)
        ax.set_xticks(
            range(len(models)),
            models,
            rotation=35 if len(models) > 1 else 0,
            ha="right" if len(models) > 1 else "center",
        )
        ax.set_xlim(-0.6, len(models) - 0.4)
        ax.set_title(title)
        ax.grid(False, axis="x")
    return style.svg(figure, name)


def draw_dice_by_slice(
    name: str, cases: Sequence[tuple[str, Mapping[str, tuple[Sequence[float], Sequence[float]]]]]
) -> str:
    """One panel a case: its title, and by model the slices' heights in mm above the lowest one and their Dice."""
    columns = min(3, len(cases))
    rows = -(-len(cases) // columns)
    figure, axes = style.new_figure(
        3.6 * columns + (1.5 if columns == 1 else 0), 2.3 * rows + 0.5, columns, rows, sharey=True
    )
    for ax, (title, models) in zip(axes, cases, strict=False):
        for n, (model, (heights, dice)) in enumerate(models.items()):
            ax.plot(heights, dice, color=style.colour(n), linewidth=1.4, marker=".", markersize=3, label=model)
        ax.set_title(title)
        ax.set_ylim(-0.03, 1.03)
        ax.set_xlabel("mm above the lowest slice")
    for ax in axes[len(cases) :]:
        ax.set_visible(False)
    axes[0].set_ylabel("Dice")
    if len(cases[0][1]) > 1:
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(
            handles, labels, loc="outside lower center", ncols=len(labels), frameon=False, labelcolor=style.INK,
            fontsize=style.SIZE,
        )  # fmt: skip
    return style.svg(figure, name)
