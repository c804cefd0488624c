"""What comparing many cases with their references comes to, for one model or several."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from SpineSegLib.engine.comparison.agreement import BlandAltman, bland_altman
from SpineSegLib.engine.comparison.metrics import overlap_metrics, ratio
from SpineSegLib.engine.comparison.pair import PairComparison, SliceComparison, area_agreement
from SpineSegLib.engine.comparison.statistics import PairedDifference, Summary, paired_difference, summarise


@dataclass(frozen=True)
class Metric:
    """How a metric is called and shown; `over_slices`: it has a value for each slice as well; `best`: which of its
    values is the best one, None where none is."""

    key: str
    name: str
    unit: str = ""
    digits: int = 4
    over_slices: bool = False
    best: Callable[[Iterable[float]], float] | None = max


METRICS = (
    Metric("dice", "Dice", over_slices=True),
    Metric("sensitivity", "Sensitivity", over_slices=True),
    Metric("specificity", "Specificity", over_slices=True),
    Metric("precision", "Precision", over_slices=True),
    Metric("f1", "F1", over_slices=True),
    Metric("accuracy", "Accuracy", over_slices=True),
    Metric("jaccard", "Jaccard", over_slices=True),
    Metric("surface_dice", "Surface Dice"),
    Metric("hausdorff_95_mm", "Hausdorff 95 %", "mm", 2, best=min),
    Metric("hausdorff_mm", "Hausdorff", "mm", 2, best=min),
    Metric("assd_mm", "ASSD", "mm", 3, best=min),
    Metric("volume_ml", "Volume", "ml", 1, best=None),
    Metric("reference_volume_ml", "Reference volume", "ml", 1, best=None),
    Metric("volume_difference_ml", "Volume difference", "ml", 2, best=None),
    Metric("volume_difference_percent", "Volume difference", "%", 2, best=None),
)
# Kim et al. 2020 have these in their Table 1, and what people ask for since
TABLE = tuple(m for m in METRICS if m.key not in ("volume_ml", "reference_volume_ml", "volume_difference_ml"))
COUNTS = ("true_positives", "false_positives", "false_negatives", "true_negatives")


@dataclass(frozen=True)
class CaseResult:
    """One case segmented by one model and compared, or the `problem` why not, one sentence.

    `case` and `model` are names that may be shown. `picture`: JPEG of the worst slices.
    """

    case: str
    model: str
    comparison: PairComparison | None = None
    problem: str | None = None
    seconds: float | None = None
    picture: bytes | None = None


@dataclass(frozen=True)
class ModelStudy:
    """One model over all its cases.

    `over_cases`: each metric once a case. `over_slices`: each metric once a slice, the mean over images of Kim et al.
    2020, who took each axial slice as an image; only slices where a mask marks something. `pooled`: metrics of the
    voxels of all cases taken together. `areas` in "pixels" and "mm2", `volume` in ml: Bland-Altman analyses.
    """

    model: str
    results: tuple[CaseResult, ...]
    over_cases: Mapping[str, Summary]
    over_slices: Mapping[str, Summary]
    pooled: Mapping[str, float | None]
    areas: Mapping[str, BlandAltman]
    volume: BlandAltman

    @property
    def compared(self) -> tuple[CaseResult, ...]:
        """Results of the cases that could be compared."""
        return tuple(result for result in self.results if result.comparison is not None)


@dataclass(frozen=True)
class Study:
    """All models, and how each further one differs from the first on the cases that both have, by metric."""

    models: tuple[ModelStudy, ...]
    differences: Mapping[str, Mapping[str, PairedDifference]]

    @property
    def problems(self) -> tuple[tuple[str, str], ...]:
        """Name and problem of each case that could not be compared; with the model's where others could."""
        failed = [result for model in self.models for result in model.results if result.comparison is None]
        found: dict[tuple[str, str], list[str]] = {}
        for result in failed:
            found.setdefault((result.case, result.problem or ""), []).append(result.model)
        return tuple(
            (case if len(models) == len(self.models) else f"{case}, {' and '.join(models)}", problem)
            for (case, problem), models in found.items()
        )

    def as_dict(self) -> dict[str, Any]:
        """For JSON, without the slices."""
        return {
            "models": [_model_dict(model) for model in self.models],
            "paired_differences": {
                name: {key: difference.as_dict() for key, difference in by_metric.items()}
                for name, by_metric in self.differences.items()
            },
            "cases": [_case_dict(result) for model in self.models for result in model.results],
        }


def study(results: Sequence[CaseResult]) -> Study:
    """The study of results in the order they have; the model that comes first is what others are compared with."""
    names = list(dict.fromkeys(result.model for result in results))
    models = tuple(_model_study(name, [r for r in results if r.model == name]) for name in names)
    return Study(models, {other.model: _differences(models[0], other) for other in models[1:]})


def _model_study(name: str, results: Sequence[CaseResult]) -> ModelStudy:
    pairs = [result.comparison for result in results if result.comparison is not None]
    slices = [each for pair in pairs for each in pair.slices]
    totals = [sum(pair.metrics[key] for pair in pairs) for key in COUNTS]
    volumes = [[pair.metrics[key] for pair in pairs] for key in ("volume_ml", "reference_volume_ml")]
    return ModelStudy(
        name,
        tuple(results),
        {metric.key: summarise([pair.metrics.get(metric.key) for pair in pairs]) for metric in METRICS},
        _over_slices(slices),
        _overlap(*totals),
        {unit: area_agreement(slices, unit) for unit in ("pixels", "mm2")},
        bland_altman(*volumes, "volume per case", "ml"),
    )


def _overlap(tp: int, fp: int, fn: int, tn: int) -> dict[str, float | None]:
    return overlap_metrics(tp, fp, fn, tn) | {"accuracy": ratio(tp + tn, tp + fp + fn + tn)}


def _over_slices(slices: Sequence[SliceComparison]) -> dict[str, Summary]:
    each = [_overlap(*(getattr(one, key) for key in COUNTS)) for one in slices]
    return {m.key: summarise([metrics[m.key] for metrics in each]) for m in METRICS if m.over_slices}


def _differences(one: ModelStudy, other: ModelStudy) -> dict[str, PairedDifference]:
    values = [{result.case: result.comparison.metrics for result in model.compared} for model in (one, other)]
    cases = [case for case in values[0] if case in values[1]]
    return {
        metric.key: paired_difference(*([by_case[case].get(metric.key) for case in cases] for by_case in values))
        for metric in TABLE
    }


def _model_dict(model: ModelStudy) -> dict[str, Any]:
    return {
        "model": model.model,
        "cases": len(model.results),
        "compared": len(model.compared),
        "mean_over_cases": {key: summary.as_dict() for key, summary in model.over_cases.items()},
        "mean_over_slices": {key: summary.as_dict() for key, summary in model.over_slices.items()},
        "pooled": dict(model.pooled),
        "bland_altman": model.areas["pixels"].as_dict()
        | {"mm2": model.areas["mm2"].as_dict(), "volume": model.volume.as_dict()},
    }


def _case_dict(result: CaseResult) -> dict[str, Any]:
    about = {"case": result.case, "model": result.model, "problem": result.problem, "seconds": result.seconds}
    if result.comparison is None:
        return about
    values = result.comparison.as_dict()
    return about | {key: values[key] for key in ("metrics", "compared", "structures", "notes", "worst_slices")}
