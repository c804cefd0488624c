"""Statistics over cases: what a metric comes to, and whether two models differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Summary:
    """Mean, standard deviation (n - 1), smallest and largest value of `count` defined values; `undefined` of them had
    none (a ratio of nothing, a distance to nothing) and are left out, never counted as 0."""

    count: int
    undefined: int
    mean: float | None = None
    sd: float | None = None
    minimum: float | None = None
    median: float | None = None
    maximum: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def summarise(values: Sequence[float | None]) -> Summary:
    """Summary of a metric's values, None where it is undefined."""
    known = np.array([value for value in values if value is not None], dtype=float)
    undefined = len(values) - len(known)
    if not len(known):
        return Summary(0, undefined)
    sd = float(known.std(ddof=1)) if len(known) > 1 else None
    return Summary(
        len(known), undefined, float(known.mean()), sd, float(known.min()), float(np.median(known)), float(known.max())
    )


@dataclass(frozen=True)
class PairedDifference:
    """A metric of two models on the same `count` cases: mean and median of other - one, the 95 % confidence interval
    of the mean (Student's t), and the two-sided p of the Wilcoxon signed-rank test; None where it can't be known."""

    count: int
    mean: float | None = None
    median: float | None = None
    mean_ci: tuple[float, float] | None = None
    wilcoxon_p: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def paired_difference(one: Sequence[float | None], other: Sequence[float | None]) -> PairedDifference:
    """How a metric differs between two models, case by case; cases where either is undefined are left out.

    Wilcoxon, Individual comparisons by ranking methods, Biometrics Bulletin 1:80-83 (1945), by scipy: exact for few
    cases, differences of 0 dropped; without a difference other than 0 there is nothing to test.
    """
    pairs = [(a, b) for a, b in zip(one, other, strict=True) if a is not None and b is not None]
    if not pairs:
        return PairedDifference(0)
    from scipy import stats

    differences = np.array([b - a for a, b in pairs], dtype=float)
    mean, median, n = float(differences.mean()), float(np.median(differences)), len(differences)
    if n < 2:
        return PairedDifference(n, mean, median)
    margin = float(stats.t.ppf(0.975, n - 1) * differences.std(ddof=1) / np.sqrt(n))
    p = float(stats.wilcoxon(differences).pvalue) if differences.any() else None
    return PairedDifference(n, mean, median, (mean - margin, mean + margin), p)
