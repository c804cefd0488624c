"""The tables of a study as CSV: units in the head, one line a case, a slice or a metric."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import asdict

from SpineSegLib.engine.comparison.study import COUNTS, METRICS, TABLE, CaseResult, Study


def cases_csv(study: Study) -> str:
    """A line for each case and model, and for each structure of it; undefined values are empty."""
    head = ["case", "model", "structure", *(m.key for m in METRICS), *COUNTS, "problem", "notes"]
    return _csv(head, (row for model in study.models for result in model.results for row in _case_rows(result)))


def _case_rows(result: CaseResult) -> Iterable[list]:
    if result.comparison is None:
        yield [result.case, result.model, "", *[None] * (len(METRICS) + len(COUNTS)), result.problem, ""]
        return
    notes = "; ".join(result.comparison.notes)
    for structure in (result.comparison.whole, *result.comparison.structures):
        values = [structure.metrics.get(key) for key in (*(m.key for m in METRICS), *COUNTS)]
        yield [result.case, result.model, structure.key, *values, "", notes if structure.key == "all" else ""]


def slices_csv(study: Study) -> str:
    """A line for each slice of each case and model; `rank` 1 is the slice of a case with most wrong pixels."""
    rows = []
    names: list[str] = []
    for result in (result for model in study.models for result in model.compared):
        ranks = {s.index: rank for rank, s in enumerate(result.comparison.worst_slices(), start=1)}
        for each in result.comparison.slices:
            values = asdict(each)
            values |= {f"focus_{axis}_mm": at for axis, at in zip("xyz", values.pop("focus"), strict=True)}
            names = list(values)
            rows.append([result.case, result.model, ranks.get(each.index), *values.values()])
    return _csv(["case", "model", "rank", *names], rows)


def summary_csv(study: Study) -> str:
    """Mean, standard deviation, smallest and largest value of each metric over cases and over slices, and pooled."""
    head = ["model", "metric", "over", "count", "undefined", "mean", "sd", "minimum", "median", "maximum"]
    rows = []
    for model in study.models:
        for metric in METRICS:
            for over, summaries in (("cases", model.over_cases), ("slices", model.over_slices)):
                if metric.key in summaries:
                    rows.append([model.model, metric.key, over, *asdict(summaries[metric.key]).values()])
            if metric.key in model.pooled:
                rows.append([model.model, metric.key, "pooled voxels", "", "", model.pooled[metric.key]])
    return _csv(head, rows)


def differences_csv(study: Study) -> str:
    """How models differ from the first one, case by case."""
    head = ["model", "compared_with", "metric", "cases", "mean_difference", "ci_low", "ci_high", "median", "wilcoxon_p"]
    rows = []
    for name, differences in study.differences.items():
        for metric in TABLE:
            d = differences[metric.key]
            low, high = d.mean_ci or (None, None)
            first = study.models[0].model
            rows.append([name, first, metric.key, d.count, d.mean, low, high, d.median, d.wilcoxon_p])
    return _csv(head, rows)


def _csv(head: Sequence[str], rows: Iterable[Sequence]) -> str:
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\r\n")
    writer.writerow(head)
    for row in rows:
        writer.writerow(["" if value is None else _safe(value) for value in row])
    return file.getvalue()


def _safe(value: object) -> object:
    """Text that a spreadsheet doesn't take for a formula."""
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@") else value
