"""Bland-Altman analysis: bias and limits of agreement of two measurements of the same things."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

LIMIT = 1.96  # standard deviations; 95 % of normally distributed differences lie within


@dataclass(frozen=True)
class BlandAltman:
    """Agreement of `count` pairs: `bias` is the mean of prediction - reference, `sd` the standard deviation of these
    differences, `lower` and `upper` the 95 % limits of agreement, and `*_ci` the 95 % confidence interval of each.

    What can't be known from so few pairs is None: the limits of one pair, everything of none.
    """

    quantity: str
    unit: str
    count: int
    bias: float | None = None
    sd: float | None = None
    lower: float | None = None
    upper: float | None = None
    bias_ci: tuple[float, float] | None = None
    lower_ci: tuple[float, float] | None = None
    upper_ci: tuple[float, float] | None = None

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def bland_altman(prediction: Sequence[float], reference: Sequence[float], quantity: str, unit: str) -> BlandAltman:
    """Bland-Altman analysis of paired measurements.

    J. M. Bland and D. G. Altman, Statistical methods for assessing agreement between two methods of clinical
    measurement, Lancet 1:307-310 (1986): limits = bias +- 1.96 sd. Confidence intervals with Student's t of n - 1
    degrees of freedom and, from the same authors' Measuring agreement in method comparison studies, Stat Methods Med
    Res 8:135-160 (1999), the standard errors sd / sqrt(n) of the bias and
    sd sqrt(1 / n + 1.96^2 / (2 (n - 1))) of the limits.
    They hold for independent pairs; slices of one case resemble each other, so intervals over slices are too narrow.
    """
    differences = np.asarray(prediction, dtype=float) - np.asarray(reference, dtype=float)
    n = len(differences)
    if n < 2:
        return BlandAltman(quantity, unit, n, float(differences[0]) if n else None)
    from scipy import stats

    bias, sd = float(differences.mean()), float(differences.std(ddof=1))
    lower, upper = bias - LIMIT * sd, bias + LIMIT * sd
    t = float(stats.t.ppf(0.975, n - 1))
    of_bias = t * sd / np.sqrt(n)
    of_limit = t * sd * np.sqrt(1 / n + LIMIT**2 / (2 * (n - 1)))
    around = [(float(v - e), float(v + e)) for v, e in ((bias, of_bias), (lower, of_limit), (upper, of_limit))]
    return BlandAltman(quantity, unit, n, bias, sd, lower, upper, *around)
