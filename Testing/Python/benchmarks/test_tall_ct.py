"""CTs of any height for the benchmarks, and the lines through what was measured on them."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk

from Testing.Benchmarks.growth import _fits, _line
from Testing.Benchmarks.table import Candidate, Quantity, Table
from Testing.Benchmarks.tall_ct import write_tall_ct


@pytest.mark.parametrize("compressed", [True, False])
def test_slices_go_up_and_down_again(tmp_path, compressed):
    """Three slices of -1000, -400 and 200 HU, 3 mm apart: 200 HU a mm, up for 6 mm, down for 6, and up."""
    array = np.full((3, 4, 6), -1000, np.int16) + np.array([0, 600, 1200], np.int16)[:, None, None]
    image = sitk.GetImageFromArray(array)
    image.SetSpacing((0.8, 0.8, 3.0))
    sitk.WriteImage(image, str(tmp_path / "ct.nrrd"))
    write_tall_ct(tmp_path / "ct.nrrd", 15, 5, tmp_path / "tall.nrrd", compressed)
    tall = sitk.ReadImage(str(tmp_path / "tall.nrrd"))
    assert (tall.GetSize(), tall.GetSpacing()) == ((5, 5, 15), (0.8, 0.8, 1.0))
    assert tall.GetDirection() == (1, 0, 0, 0, 1, 0, 0, 0, 1)
    assert tall.GetPixelID() == sitk.sitkInt16
    heights = [0, 1, 2, 3, 4, 5, 6, 5, 4, 3, 2, 1, 0, 1, 2]
    found = sitk.GetArrayFromImage(tall)
    np.testing.assert_array_equal(found[:, 1, 2], [-1000 + 200 * mm for mm in heights])
    assert (found[:, :4] == found[:, :1, :1]).all()
    assert (found[:, 4] == -1024).all()  # one row too few, so air


def test_line_through_points():
    rows = [Candidate(str(n), "cpu", ({"seconds": 1.5 + 0.02 * n},)) for n in (50, 200, 600)]
    assert _line((50, 200, 600), rows, "seconds", "s", 3) == (
        "1.5 s + 0.020 s a slice (R² 1.0000, no point further off than 0% of the largest)"
    )


def test_a_line_that_points_are_off():
    """By hand: the line 7 + 7 x through 8, 12, 28 at 0, 1, 2 - that is 6 + 10 x - is off by 2, -4 and 2 of 224."""
    rows = [Candidate(str(n), "cpu", ({"seconds": value},)) for n, value in enumerate((8.0, 12.0, 28.0))]
    line = _line((0, 1, 2), rows, "seconds", "s", 3)
    assert line == "6.0 s + 10.000 s a slice (R² 0.8929, no point further off than 14% of the largest)"


def test_what_failed_is_left_out_of_the_line():
    rows = [Candidate(str(n), "cpu", ({"seconds": 1.5 + 0.02 * n},)) for n in (50, 200)]
    failed = Candidate("600", problem="failed")
    assert _line((50, 200, 600), [*rows, failed], "seconds", "s", 3).startswith("1.5 s + 0.020 s a slice")
    assert _line((50, 600), [rows[0], failed], "seconds", "s", 3).startswith("none")
    assert _fits(failed) == "600 could not be segmented here."


@pytest.mark.parametrize(("peak", "fits"), [(4095.0, "2000 slices fit into 4 GB"), (4097.0, "do not fit into 4 GB")])
def test_what_fits_is_said(peak, fits):
    assert fits in _fits(Candidate("2000 slices", "cpu", ({"peak_memory_mb": peak},)))


def test_where_nothing_is_compared_there_are_no_ratios():
    rows = (Candidate("50", "cpu", ({"seconds": 2.0},)), Candidate("200", "cpu", ({"seconds": 4.0},)))
    growth = Table("Title", "Conditions.", (Quantity("seconds", "time, s", 1),), rows, None)
    assert "| 200 | cpu | 4.0 |" in growth.markdown()
    assert growth.as_dict()["rows"][1]["ratio"] == {"seconds": None}


@pytest.mark.parametrize("compared", [True, False])
def test_a_column_may_go_without_ratios(compared):
    rows = (Candidate("plain", "cpu", ({"seconds": 2.0},)), Candidate("fast", "cpu", ({"seconds": 1.0},)))
    table = Table("Title", "Conditions.", (Quantity("seconds", "time, s", 1, compared),), rows, "plain")
    assert ("| fast | cpu | 1.0 (2.00×) |" in table.markdown()) is compared
