"""Bland-Altman against the example its authors published, and statistics counted by hand."""

import pytest
from SpineSegLib.engine.comparison.agreement import bland_altman
from SpineSegLib.engine.comparison.statistics import paired_difference, summarise

# Bland and Altman 1986, table 1: peak expiratory flow (l/min) of 17 people by two meters, first measurements.
WRIGHT = (494, 395, 516, 434, 476, 557, 413, 442, 650, 433, 417, 656, 267, 478, 178, 423, 427)
MINI = (512, 430, 520, 428, 500, 600, 364, 380, 658, 445, 432, 626, 260, 477, 259, 350, 451)


def test_published_example():
    found = bland_altman(WRIGHT, MINI, "flow", "l/min")
    assert found.count == 17
    assert found.bias == pytest.approx(-2.1, abs=0.05)
    assert found.sd == pytest.approx(38.8, abs=0.05)
    assert found.bias_ci == pytest.approx((-22.0, 17.8), abs=0.1)
    # the paper takes 2 SD where we take 1.96
    assert found.lower == pytest.approx(-79.7 + 0.04 * 38.8, abs=0.1)
    assert found.upper == pytest.approx(75.5 - 0.04 * 38.8, abs=0.1)
    # and sqrt(3 / n) SD as the limits' standard error, of which the later formula is 1.71 / 1.732
    assert found.lower_ci == pytest.approx((-114.3 + 1.6, -45.1 + 1.6), abs=1.0)
    assert found.upper_ci == pytest.approx((40.9 - 1.6, 110.1 - 1.6), abs=1.0)


def test_by_hand():
    found = bland_altman([2.0, 5.0, 9.0], [1.0, 2.0, 4.0], "area", "mm2")  # differences 1, 3, 5
    assert (found.bias, found.sd) == (3, 2)
    assert (found.lower, found.upper) == pytest.approx((3 - 3.92, 3 + 3.92))
    t = 4.302653  # 97.5 %, 2 degrees of freedom
    assert found.bias_ci == pytest.approx((3 - t * 2 / 3**0.5, 3 + t * 2 / 3**0.5), rel=1e-5)
    margin = t * 2 * (1 / 3 + 1.96**2 / 4) ** 0.5
    assert found.upper_ci == pytest.approx((6.92 - margin, 6.92 + margin), rel=1e-5)


def test_too_few_pairs():
    one = bland_altman([2.0], [1.5], "area", "mm2")
    assert (one.count, one.bias, one.sd, one.lower, one.bias_ci) == (1, 0.5, None, None, None)
    none = bland_altman([], [], "area", "mm2")
    assert (none.count, none.bias) == (0, None)


def test_summary_leaves_out_what_is_undefined():
    found = summarise([0.5, None, 0.7, 0.9, None])
    assert (found.count, found.undefined) == (3, 2)
    assert found.mean == pytest.approx(0.7)
    assert found.sd == pytest.approx(0.2)
    assert (found.minimum, found.median, found.maximum) == (0.5, 0.7, 0.9)
    assert summarise([None]).mean is None
    assert summarise([0.4]).sd is None


def test_wilcoxon_by_counting():
    """Six differences of one sign: 2 of the 64 ways to put signs are as extreme."""
    found = paired_difference([0.1, 0.2, 0.3, 0.4, 0.5, 0.6], [0.15, 0.26, 0.37, 0.48, 0.59, 0.7])
    assert found.wilcoxon_p == pytest.approx(2 / 64)
    assert found.mean == pytest.approx(0.075)
    margin = 2.5706 * 0.018708 / 6**0.5  # 97.5 % of Student's t with 5 degrees of freedom, from a table
    assert found.mean_ci == pytest.approx((0.075 - margin, 0.075 + margin), rel=1e-4)


def test_pairs_with_nothing_are_left_out():
    found = paired_difference([0.1, None, 0.3], [0.2, 0.5, None])
    assert (found.count, found.mean, found.wilcoxon_p) == (1, pytest.approx(0.1), None)
    assert paired_difference([None], [0.1]).mean is None
    same = paired_difference([0.1, 0.2], [0.1, 0.2])
    assert (same.mean, same.wilcoxon_p) == (0, None)
