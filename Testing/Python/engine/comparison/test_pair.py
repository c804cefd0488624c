"""Two masks compared slice by slice and structure by structure, on any grids."""

import json

import numpy as np
import pytest
import SimpleITK as sitk
from masks import ball, box, labelmap
from SpineSegLib.engine.comparison.pair import AGREED, EXTRA, MISSED, PairComparison, compare_pair, comparing
from SpineSegLib.engine.datasets.labels import SCHEMES
from SpineSegLib.engine.errors import InputError

SPACING = (0.7, 0.8, 2.0)


def balls(spacing=SPACING, origin=(-20.0, 5.0, -300.0), shift=3.0):
    """Prediction and reference: two balls, the first one shifted along y."""
    shape = (30, 50, 50)
    mm = spacing[::-1]
    one, other = (ball(shape, mm, (30.0, 20.0 + y, 17.0), 12.0) for y in (shift, 0.0))
    return labelmap(one, spacing, origin), labelmap(other, spacing, origin)


def test_agrees_with_simpleitk_and_in_itself():
    prediction, reference = balls()
    found = compare_pair(prediction, reference)
    overlap = sitk.LabelOverlapMeasuresImageFilter()
    overlap.Execute(reference, prediction)
    metrics = found.metrics
    assert metrics["dice"] == pytest.approx(overlap.GetDiceCoefficient())
    assert metrics["volume_difference_ml"] == pytest.approx(metrics["volume_ml"] - metrics["reference_volume_ml"])
    percent = 100 * metrics["volume_difference_ml"] / metrics["reference_volume_ml"]
    assert metrics["volume_difference_percent"] == pytest.approx(percent)
    counts = [metrics[f"{s}_{k}"] for s in ("true", "false") for k in ("positives", "negatives")]
    assert sum(counts) == 30 * 50 * 50
    assert metrics["accuracy"] == pytest.approx((counts[0] + counts[1]) / sum(counts))
    assert metrics["hausdorff_mm"] == pytest.approx(3.0, abs=0.9)
    for key in ("true_positives", "false_positives", "false_negatives"):
        assert sum(getattr(s, key) for s in found.slices) == metrics[key]
    assert sum(s.area_mm2 for s in found.slices) * 2.0 / 1000 == pytest.approx(metrics["volume_ml"])


def test_slices():
    prediction, reference = balls()
    found = compare_pair(prediction, reference)
    arrays = [sitk.GetArrayFromImage(image) > 0 for image in (prediction, reference)]
    assert [s.index for s in found.slices] == [k for k in range(30) if arrays[0][k].any() or arrays[1][k].any()]
    for s in found.slices:
        one, other = (a[s.index] for a in arrays)
        assert s.dice == pytest.approx(2 * (one & other).sum() / (one.sum() + other.sum()))
        assert (s.area_px, s.reference_area_px) == (one.sum(), other.sum())
        assert s.reference_area_mm2 == pytest.approx(other.sum() * 0.7 * 0.8)
        assert s.position_mm == pytest.approx(-300 + 2 * s.index)
        assert s.focus[2] == pytest.approx(s.position_mm)
        assert s.true_negatives == (~(one | other)).sum()
    worst = found.worst_slices()
    assert [s.wrong for s in worst] == sorted((s.wrong for s in found.slices if s.wrong), reverse=True)


@pytest.mark.parametrize(("order", "flips"), [((2, 0, 1), (True, False, True)), ((1, 2, 0), (False, True, False))])
def test_stored_in_another_orientation(order, flips):
    """The axial axis is found wherever it is stored, and slices lie at the same places in the patient."""
    images = balls()
    expected = compare_pair(*images)
    turned = [sitk.Flip(sitk.PermuteAxes(image, order), flips) for image in images]
    found = compare_pair(*turned)
    assert found.metrics == pytest.approx(expected.metrics)
    slices = [sorted(pair.slices, key=lambda s: s.position_mm) for pair in (found, expected)]
    for one, other in zip(*slices, strict=True):
        assert one.focus == pytest.approx(other.focus)
        assert (one.area_px, one.dice) == (other.area_px, other.dice)
        assert one.position_mm == pytest.approx(other.position_mm)


def test_oblique_grid():
    """A turned scan has the same distances and volumes, and slices along its own axis."""
    images = balls(spacing=(0.8, 0.8, 1.6))
    turn = sitk.Euler3DTransform()
    turn.SetRotation(0.3, -0.2, 0.5)
    direction = turn.GetMatrix()
    expected = compare_pair(*images)
    for image in images:
        image.SetDirection(direction)
    found = compare_pair(*images)
    assert found.metrics == pytest.approx(expected.metrics)
    assert [s.index for s in found.slices] == [s.index for s in expected.slices]
    middle = found.slices[len(found.slices) // 2]
    assert images[0].TransformPhysicalPointToContinuousIndex(middle.focus)[2] == pytest.approx(middle.index, abs=1e-6)
    for s in found.slices:  # the middle of 50 x 50 pixels, wherever in them the masks lie
        assert s.position_mm == pytest.approx(
            images[0].TransformContinuousIndexToPhysicalPoint((24.5, 24.5, s.index))[2]
        )


def test_the_focus_lies_where_the_masks_differ():
    reference, prediction = box((6, 40, 40), (1, 5), (5, 20), (5, 20)), box((6, 40, 40), (1, 5), (5, 20), (5, 20))
    prediction[2, 30:33, 34:37] = True  # extra, far from the rest
    reference[3, 35, 10] = True  # missed
    found = compare_pair(*(labelmap(mask, SPACING, (5.0, 6.0, 7.0)) for mask in (prediction, reference)))
    index = [np.subtract(s.focus, (5.0, 6.0, 7.0)) / SPACING for s in found.slices]
    np.testing.assert_allclose(index, [(12, 12, 1), (35, 31, 2), (10, 35, 3), (12, 12, 4)], atol=1e-6)


def test_other_grid_is_resampled_and_said():
    prediction, reference = balls()
    expected = compare_pair(prediction, reference)
    finer = sitk.Resample(
        reference, [s * 2 for s in reference.GetSize()], sitk.Transform(), sitk.sitkNearestNeighbor,
        reference.TransformContinuousIndexToPhysicalPoint((-0.25, -0.25, -0.25)), [s / 2 for s in SPACING],
        reference.GetDirection(), 0, sitk.sitkUInt8,
    )  # fmt: skip
    found = compare_pair(prediction, finer)
    assert found.metrics == pytest.approx(expected.metrics)
    assert found.notes == ("the reference lies on another grid than the prediction and was resampled to it",)


def test_masks_cut_to_what_they_mark():
    """As Slicer stores segmentations: neither covers the other, and what lies outside one's grid still counts."""
    one, other = box((40, 20, 20), (5, 22), (4, 16), (4, 16)), box((40, 20, 20), (18, 35), (4, 16), (4, 16))
    whole = [labelmap(mask, SPACING) for mask in (one, other)]
    expected = compare_pair(*whole)
    found = compare_pair(whole[0][4:16, 4:16, 5:22], whole[1][4:16, 4:16, 18:35])
    for key in ("true_positives", "false_positives", "false_negatives", "hausdorff_mm", "assd_mm", "volume_ml"):
        assert found.metrics[key] == pytest.approx(expected.metrics[key])
    assert found.notes == ()


def test_masks_of_different_patients():
    prediction, reference = balls()
    reference.SetOrigin((900.0, 0.0, 0.0))
    with pytest.raises(InputError, match="different scans"):
        compare_pair(prediction, reference)


def test_mask_without_geometry():
    prediction, reference = balls()
    plain = labelmap(sitk.GetArrayFromImage(reference))
    with pytest.raises(InputError, match="The reference has lost its geometry"):
        compare_pair(prediction, plain)
    with pytest.raises(InputError, match="The prediction has lost its geometry"):
        compare_pair(plain, reference)


@pytest.mark.parametrize("which", [0, 1])
def test_one_is_empty(which):
    images = list(balls())
    images[which] = images[which] * 0
    found = compare_pair(*images)
    assert found.metrics["dice"] == found.metrics["surface_dice"] == 0
    assert found.metrics["hausdorff_mm"] is None
    assert found.metrics["assd_mm"] is None
    assert (found.metrics["precision"] is None) == (which == 0)
    assert f"the {('prediction', 'reference')[which]} is empty" in found.notes[0]
    assert json.dumps(found.as_dict(), allow_nan=False)


def test_both_are_empty():
    empty = balls()[0] * 0
    found = compare_pair(empty, empty, SCHEMES["spineseg"], SCHEMES["verse"])
    assert found.metrics["dice"] is None
    assert found.metrics["specificity"] == 1
    assert found.slices == found.structures == found.worst_slices() == ()
    assert found.difference() is None
    assert found.area_agreement().bias is None
    assert len(found.notes) == 2


def test_structures_by_meaning():
    """SpineSeg's two labels against single vertebrae in VerSe's numbers."""
    reference = np.zeros((30, 12, 12))
    reference[0:6], reference[8:14], reference[16:22] = 26, 24, 23
    prediction = np.zeros((30, 12, 12))
    prediction[0:6], prediction[8:14], prediction[16:24] = 2, 1, 1
    found = compare_pair(labelmap(prediction), labelmap(reference), SCHEMES["spineseg"], SCHEMES["verse"])
    by_key = {s.key: s.metrics for s in found.structures}
    assert list(by_key) == ["vertebrae", "sacrum"]
    assert by_key["sacrum"]["dice"] == 1
    assert by_key["vertebrae"]["dice"] == pytest.approx(24 / 26)
    assert found.metrics["dice"] == pytest.approx(36 / 38)
    assert found.compared == ("vertebrae", "sacrum")


def test_single_vertebrae_and_what_is_no_spine():
    reference = np.zeros((30, 12, 12))
    reference[0:6], reference[8:14], reference[16:22] = 24, 23, 22  # L5, L4, L3
    prediction = np.zeros((30, 12, 12))
    prediction[0:6], prediction[8:12], prediction[24:27] = 27, 28, 5  # L5, L4 and a liver
    found = compare_pair(labelmap(prediction), labelmap(reference), SCHEMES["totalsegmentator"], SCHEMES["verse"])
    dice = {s.key: s.metrics["dice"] for s in found.structures}
    assert dice == {"vertebrae": pytest.approx(20 / 28), "L3": 0, "L4": pytest.approx(8 / 10), "L5": 1}
    assert found.metrics["false_positives"] == 0  # the liver is no spine
    assert len(found.structures[-1].slices) == 6


def test_names_of_ones_own():
    prediction, reference = np.zeros((9, 4, 4)), np.zeros((9, 4, 4))
    prediction[:3], prediction[5:] = 1, 2
    reference[:3], reference[5:8] = 7, 9
    found = compare_pair(labelmap(prediction), labelmap(reference), {1: "Lesion", 2: "Disc"}, {7: "Lesion", 9: "Disc"})
    assert {s.key: s.metrics["dice"] for s in found.structures} == {"Disc": pytest.approx(6 / 7), "Lesion": 1}


def test_labels_without_meaning():
    prediction, reference = np.zeros((9, 4, 4)), np.zeros((9, 4, 4))
    prediction[:3], prediction[5:] = 3, 4
    reference[:3], reference[5:8] = 3, 4
    found = compare_pair(labelmap(prediction), labelmap(reference))
    assert [s.key for s in found.structures] == ["label 3", "label 4"]
    found = compare_pair(labelmap(prediction), labelmap(reference), {3: "L1", 4: "L2"}, None)
    assert found.structures == ()
    assert found.metrics["dice"] == pytest.approx(12 / 13)


def test_reference_without_sacrum():
    prediction, reference = np.zeros((30, 10, 10)), np.zeros((30, 10, 10))
    prediction[10:], prediction[:10] = 1, 2
    reference[10:] = 21
    for structures in (None, SCHEMES["verse"]):  # which knows a number for the sacrum, but no voxel has it
        found = compare_pair(labelmap(prediction), labelmap(reference), SCHEMES["spineseg"], structures)
        assert found.metrics["dice"] == 1
        assert found.compared == ("vertebrae",)
        assert found.notes == ("the reference does not contain the sacrum: only vertebrae were compared",)


def test_a_sacrum_in_the_wrong_place_is_wrong():
    """The reference has one: that the two share nothing is no reason to leave it out."""
    prediction, reference = np.zeros((30, 10, 10)), np.zeros((30, 10, 10))
    prediction[10:20] = reference[10:20] = 1
    prediction[25:], reference[:5] = 2, 2
    found = compare_pair(labelmap(prediction), labelmap(reference), SCHEMES["spineseg"], SCHEMES["spineseg"])
    assert found.metrics["dice"] == pytest.approx(2 * 10 / (15 + 15))
    assert {s.key: s.metrics["dice"] for s in found.structures} == {"vertebrae": 1, "sacrum": 0}
    assert found.notes == ()


def test_difference():
    prediction, reference = box((9, 9, 9), (2, 6), (2, 6), (2, 6)), box((9, 9, 9), (3, 8), (2, 6), (2, 6))
    images = [labelmap(mask, SPACING, (5.0, 6.0, 7.0)) for mask in (prediction, reference)]
    found = compare_pair(*images).difference()
    whole = sitk.GetArrayFromImage(sitk.Resample(found, images[0], sitk.Transform(), sitk.sitkNearestNeighbor, 0))
    np.testing.assert_array_equal(whole == AGREED, prediction & reference)
    np.testing.assert_array_equal(whole == EXTRA, prediction & ~reference)
    np.testing.assert_array_equal(whole == MISSED, reference & ~prediction)


def test_steps_can_be_left():
    steps = comparing(*balls())
    first = [next(steps), next(steps)]
    assert 0 < first[0] < first[1] < 1
    steps.close()
    assert list(comparing(*balls()))[-1] <= 1


def test_goes_to_json_and_back():
    found = compare_pair(*balls(), SCHEMES["spineseg"], SCHEMES["spineseg"])
    back = PairComparison.from_dict(json.loads(json.dumps(found.as_dict(), allow_nan=False)))
    assert back.metrics == found.metrics
    assert back.slices == found.slices
    assert back.worst_slices() == found.worst_slices()
    assert (back.notes, back.compared, back.tolerance_mm) == (found.notes, found.compared, found.tolerance_mm)


def test_area_agreement_in_both_units():
    found = compare_pair(*balls(shift=0.0))
    assert found.area_agreement().bias == 0
    reference = balls()[1]
    smaller = sitk.BinaryErode(reference, [1, 1, 0])
    pixels, mm2 = (compare_pair(smaller, reference).area_agreement(unit) for unit in ("pixels", "mm2"))
    assert pixels.bias < 0
    assert mm2.bias == pytest.approx(pixels.bias * 0.7 * 0.8)
    assert (pixels.unit, mm2.unit) == ("pixels", "mm2")


@pytest.mark.parametrize("lower", [0, 4])
def test_slices_count_from_the_prediction_as_stored(lower):
    """Also where it was cut and the reference begins below it."""
    prediction, reference = balls()
    whole = {s.position_mm: s.index for s in compare_pair(prediction, reference).slices}
    cut = compare_pair(prediction[:, :, 12:24], reference[:, :, lower:])
    assert {s.position_mm: s.index + 12 for s in cut.slices} == pytest.approx(
        {position: index for position, index in whole.items() if position in {s.position_mm for s in cut.slices}}
    )
    assert min(s.index for s in cut.slices) < 0
