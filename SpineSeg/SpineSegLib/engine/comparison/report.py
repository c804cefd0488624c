"""The report of a comparison or a study: one HTML page with figures, and its numbers as CSV and JSON beside it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from html import escape
from pathlib import Path

from SpineSegLib import __version__
from SpineSegLib.engine.comparison import page, tables
from SpineSegLib.engine.comparison.agreement import BlandAltman
from SpineSegLib.engine.comparison.figures import draw_bland_altman, draw_boxes, draw_dice_by_slice
from SpineSegLib.engine.comparison.pair import TOLERANCE_MM
from SpineSegLib.engine.comparison.statistics import Summary
from SpineSegLib.engine.comparison.study import METRICS, TABLE, CaseResult, Metric, ModelStudy, Study
from SpineSegLib.engine.comparison.style import short
from SpineSegLib.engine.files.writing import atomic_output

PAGE = "report.html"
FILES = (PAGE, "cases.csv", "slices.csv", "summary.csv", "differences.csv", "results.json")
SHOWN_CASES = 12  # the worst ones with a curve and a picture; all are in the tables
UNDEFINED = "–"

DEFINITIONS = (
    ("Dice, Jaccard, sensitivity, specificity, precision, F1, accuracy",
     "Ratios of voxel counts (Taha and Hanbury 2015). F1 of masks is the Dice. Specificity and accuracy depend on how "
     "much background the image holds."),
    ("Pooled, mean over cases, mean over slices",
     "Pooled counts the voxels of all cases together, so that large cases weigh more. The mean over slices takes every "
     "axial slice in which prediction or reference mark something as an image of its own, as Kim et al. 2020 did."),
    ("Hausdorff, Hausdorff 95 %, ASSD",
     "Largest distance between the two surfaces, the larger one of their 95th percentiles, and the mean distance, all "
     "by surface area and in mm (Heimann et al. 2009, Nikolov et al. 2018)."),
    ("Surface Dice", "Share of both surfaces that lies within the tolerance of the other one (Nikolov et al. 2018)."),
    ("Bland-Altman",
     "Bias is the mean of prediction minus reference, limits are bias ± 1.96 SD; bands are 95 % confidence intervals "
     "(Bland and Altman 1986, 1999). They take the points as independent; slices of one case are not quite, so that "
     "bands over slices are too narrow."),
    ("Paired differences",
     "Case by case, with Student's t for the interval and the two-sided Wilcoxon signed-rank test."),
    ("–",
     "Not defined, for instance a distance to an empty mask. Such values are left out of means, never taken as 0."),
)  # fmt: skip


def write_report(folder: Path, title: str, subtitle: str, study: Study, about: Mapping[str, object]) -> Path:
    """Write the report's FILES into a folder, each of them whole or not at all; returns the page.

    `about`: what results.json says at its top beside the results (data set, models, settings).
    Raises OutputError.
    """
    texts = {
        "results.json": json.dumps({**about, **study.as_dict()}, indent=1, allow_nan=False) + "\n",
        "cases.csv": tables.cases_csv(study),
        "slices.csv": tables.slices_csv(study),
        "summary.csv": tables.summary_csv(study),
        "differences.csv": tables.differences_csv(study),
        PAGE: page.page(title, _body(title, subtitle, study)),
    }
    for name, text in texts.items():
        with atomic_output(folder / name) as temporary:
            temporary.write_text(text, encoding="utf-8", newline="")
    return folder / PAGE


def _body(title: str, subtitle: str, study: Study) -> list[str]:
    parts = [f"<h1>{escape(title)}</h1>", f'<p class="soft">{escape(subtitle)}</p>']
    first = study.models[0]
    if not any(model.compared for model in study.models):
        return [*parts, *_problems(study)]
    single = len(study.models) == 1 and len(first.results) == 1
    parts.append(_tiles(first) if len(study.models) == 1 else "")
    parts += _problems(study)
    parts += _single(first) if single else _summary(study)
    parts += _agreement(study)
    parts += _slices(study)
    if not single:
        parts += _cases(study)
    parts += _definitions(study)
    return parts


def _tiles(model: ModelStudy) -> str:
    shown = [m for m in METRICS if m.key in ("dice", "surface_dice", "hausdorff_95_mm", "assd_mm")]
    mean = "" if len(model.compared) == 1 else "mean "
    values = [(mean + _label(m), _value(model.over_cases[m.key].mean, m)) for m in shown]
    if len(model.compared) > 1:
        values.insert(0, ("cases", str(len(model.compared))))
    return page.tiles(values)


def _problems(study: Study) -> list[str]:
    if not study.problems:
        return []
    lines = [f"<h2>Not compared ({len(study.problems)})</h2>"]
    for who, problem in study.problems:
        lines.append(f'<p class="problem"><b>{escape(who)}</b>: {escape(problem)}</p>')
    lines.append('<p class="soft">These are in no mean and no figure.</p>')
    return lines


def _single(model: ModelStudy) -> list[str]:
    pair = model.compared[0].comparison
    shown = (pair.whole, *pair.structures)
    rows = [[_label(m), *(_value(each.metrics.get(m.key), m) for each in shown)] for m in METRICS]
    parts = ["<h2>Metrics</h2>", page.table(["", *(each.key for each in shown)], rows)]
    return parts + [f'<p class="soft">{escape(note[:1].upper() + note[1:])}.</p>' for note in pair.notes]


def _summary(study: Study) -> list[str]:
    several = len(study.models) > 1
    parts = _models_side_by_side(study) if several else []
    keys = ("dice", "sensitivity", "precision", "surface_dice", "hausdorff_95_mm", "assd_mm")
    panels = [
        (_label(m), {model.model: [r.comparison.metrics.get(m.key) for r in model.compared] for model in study.models})
        for m in METRICS
        if m.key in keys
    ]
    caption = (
        "Each point is a case. Boxes hold the middle half of the cases; of fewer than five only the median is shown."
    )
    parts.append(page.figure(draw_boxes("boxes", panels), caption))
    parts.append("<h2>Summary</h2>")
    for model in study.models:
        if several:
            parts.append(f"<h3>{escape(model.model)}</h3>")
        if not model.compared:
            parts.append("<p>No case could be compared.</p>")
            continue
        parts.append(
            page.table(
                ["", "pooled", "mean", "SD", "min", "max", "", "mean over slices", "SD", "min", "max"],
                [_summary_row(model, m) for m in TABLE],
                f"{len(model.compared)} cases (columns 2 to 5), {model.areas['pixels'].count} slices (last columns)",
            )
        )
    return parts


def _summary_row(model: ModelStudy, metric: Metric) -> list[str]:
    over, slices = model.over_cases[metric.key], model.over_slices.get(metric.key)
    name = _label(metric) + (f" (of {over.count})" if over.undefined else "")
    pooled = _value(model.pooled[metric.key], metric) if metric.key in model.pooled else ""
    return [name, pooled, *_four(over, metric), "", *(_four(slices, metric) if slices else [""] * 4)]


def _four(summary: Summary, metric: Metric) -> list[str]:
    return [_value(v, metric) for v in (summary.mean, summary.sd, summary.minimum, summary.maximum)]


def _models_side_by_side(study: Study) -> list[str]:
    models = [model for model in study.models if model.compared]
    rows, best = [], {}
    for number, metric in enumerate(TABLE):
        over = [model.over_cases[metric.key] for model in models]
        rows.append([_label(metric), *(_with_sd(summary, metric) for summary in over)])
        means = [summary.mean for summary in over]
        if metric.best and None not in means and len(set(means)) > 1:
            best[number] = means.index(metric.best(means)) + 1
    caption = "Mean ± SD over cases; the best mean stands out"
    parts = ["<h2>Models compared</h2>", page.table(["", *(model.model for model in models)], rows, caption, best=best)]
    base = study.models[0].model
    for name, differences in study.differences.items():
        rows = []
        for metric in TABLE:
            d = differences[metric.key]
            low, high = d.mean_ci or (None, None)
            interval = UNDEFINED if low is None else f"{_value(low, metric)} to {_value(high, metric)}"
            rows.append([
                _label(metric), str(d.count), _value(d.mean, metric, sign=True), interval,
                _value(d.median, metric, sign=True), UNDEFINED if d.wilcoxon_p is None else _p(d.wilcoxon_p),
            ])  # fmt: skip
        head = ["", "cases", "mean difference", "95 % interval", "median", "Wilcoxon p"]
        parts.append(page.table(head, rows, f"{name} minus {base}, on the same cases"))
    return parts


def _agreement(study: Study) -> list[str]:
    models = [model for model in study.models if model.compared]
    many = len(models) > 1
    parts = ["<h2>Agreement of areas and volumes</h2>"]
    caption = "Bland-Altman plot of the area in each slice. " + " ".join(
        (f"{m.model}: " if many else "") + _in_words(m.areas["mm2"], "mm²") for m in models
    )
    panels = [(m.model if many else "", m.areas["mm2"], _areas(m)) for m in models]
    parts.append(page.figure(draw_bland_altman("areas", panels), caption))
    rows = []
    for m in models:
        for analysis, unit in ((m.areas["pixels"], "pixels"), (m.areas["mm2"], "mm²"), (m.volume, "ml")):
            rows.append([*([m.model] if many else []), f"{analysis.quantity} ({unit})", *_analysis_cells(analysis)])
    columns = ("n", "bias", "95 % interval", "lower limit", "95 % interval", "upper limit", "95 % interval")
    head = [*(["model"] if many else []), "", *columns]
    parts.append(page.table(head, rows, text=[1] if many else []))
    if any(len(m.compared) > 2 for m in models):
        panels = [(m.model if many else "", m.volume, _volumes(m)) for m in models]
        parts.append(page.figure(draw_bland_altman("volumes", panels), "Bland-Altman plot of the volume of each case."))
    return parts


def _areas(model: ModelStudy) -> dict[str, tuple[list[float], list[float]]]:
    return {
        r.case: ([s.area_mm2 for s in r.comparison.slices], [s.reference_area_mm2 for s in r.comparison.slices])
        for r in model.compared
    }


def _volumes(model: ModelStudy) -> dict[str, tuple[list[float], list[float]]]:
    return {
        r.case: ([r.comparison.metrics["volume_ml"]], [r.comparison.metrics["reference_volume_ml"]])
        for r in model.compared
    }


def _in_words(analysis: BlandAltman, unit: str) -> str:
    if analysis.lower is None:
        return "Too few slices for limits of agreement."
    limits = f"limits {short(analysis.lower)} to {short(analysis.upper)} {unit}"
    return f"Bias {short(analysis.bias)} {unit}, {limits}, {analysis.count} slices."


def _analysis_cells(analysis: BlandAltman) -> list[str]:
    cells = [str(analysis.count)]
    for name in ("bias", "lower", "upper"):
        value, interval = getattr(analysis, name), getattr(analysis, f"{name}_ci")
        cells.append(UNDEFINED if value is None else short(value))
        cells.append(UNDEFINED if interval is None else f"{short(interval[0])} to {short(interval[1])}")
    return cells


def _slices(study: Study) -> list[str]:
    worst = _worst_cases(study)
    many = len(study.models) > 1
    total = len({r.case for model in study.models for r in model.compared})
    which = f"The {len(worst)} of {total} cases with the lowest Dice. " if len(worst) < total else ""
    curves = []
    for case in worst:
        results = [r for model in study.models for r in model.compared if r.case == case and r.comparison.slices]
        if results:
            curves.append((case if total > 1 else "", {r.model: _curve(r) for r in results}))
    parts = ["<h2>Slice by slice</h2>"]
    if curves:
        svg = draw_dice_by_slice("slices", curves)
        parts.append(page.figure(svg, f"{which}Dice of each axial slice."))
    for case in worst:
        for result in (r for model in study.models for r in model.compared if r.case == case and r.picture):
            title = " · ".join(part for part, shown in ((case, total > 1), (result.model, many)) if shown)
            heading = f"<h3>{escape(title)}</h3>" if title else "<h3>Worst slices</h3>"
            what = f"Slices of {title or 'the case'} in which most pixels differ."
            parts.append(heading + page.figure(page.picture(result.picture, what), what))
    return parts


def _worst_cases(study: Study) -> list[str]:
    """Names of the cases with the lowest Dice of any model, the lowest first."""
    lowest: dict[str, float] = {}
    for result in (r for model in study.models for r in model.compared):
        dice = result.comparison.metrics["dice"]
        lowest[result.case] = min(lowest.get(result.case, 2.0), 2.0 if dice is None else dice)
    return sorted(lowest, key=lambda case: lowest[case])[:SHOWN_CASES]


def _curve(result: CaseResult) -> tuple[list[float], list[float]]:
    slices = sorted(result.comparison.slices, key=lambda s: s.position_mm)
    return [s.position_mm - slices[0].position_mm for s in slices], [s.dice for s in slices]


def _cases(study: Study) -> list[str]:
    shown = [m for m in METRICS if m.key not in ("f1", "jaccard", "accuracy", "specificity", "volume_difference_ml")]
    parts = ["<h2>Cases</h2>"]
    for model in study.models:
        rows = []
        for result in model.compared:
            for each in (result.comparison.whole, *result.comparison.structures):
                name = result.case if each.key == "all" else f"    {each.key}"
                note = "; ".join(result.comparison.notes) if each.key == "all" else ""
                rows.append([name, *(_value(each.metrics.get(m.key), m) for m in shown), note])
        parts.append(page.table(["case", *(_label(m) for m in shown), "notes"], rows, model.model, [len(shown) + 1]))
    return parts


def _definitions(study: Study) -> list[str]:
    pairs = [r.comparison for model in study.models for r in model.compared]
    tolerance = pairs[0].tolerance_mm if pairs else TOLERANCE_MM
    entries = "".join(f"<dt>{escape(term)}</dt><dd>{escape(text)}</dd>" for term, text in DEFINITIONS)
    return [
        f"<h2>What the numbers mean</h2><dl>{entries}</dl>",
        f'<p class="soft">Tolerance of the surface Dice: {tolerance:g} mm. All numbers are in cases.csv, slices.csv, '
        f"summary.csv, differences.csv and results.json beside this page. Made by SpineSeg {escape(__version__)}; for "
        "research only.</p>",
    ]


def _label(metric: Metric) -> str:
    return f"{metric.name} ({metric.unit})" if metric.unit else metric.name


def _with_sd(summary: Summary, metric: Metric) -> str:
    mean = _value(summary.mean, metric)
    return mean if summary.sd is None else f"{mean} ± {_value(summary.sd, metric)}"


def _value(value: float | None, metric: Metric, sign: bool = False) -> str:
    if value is None:
        return UNDEFINED
    text = f"{value:{'+' if sign else ''}.{metric.digits}f}"
    return text.replace("-", "−")


def _p(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.3f}"
