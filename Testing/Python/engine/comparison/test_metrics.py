"""Metrics against SimpleITK's overlap measures and cases counted by hand."""

import numpy as np
import pytest
import SimpleITK as sitk
from SpineSegLib.engine.comparison.metrics import compare, overlap_metrics, volume_ml
from SpineSegLib.engine.errors import InputError

LABELS = {"vertebrae": 1, "sacrum": 2}


def image(array, spacing=(1.0, 1.0, 1.0), origin=(0.0, 0.0, 0.0)):
    result = sitk.GetImageFromArray(np.asarray(array, dtype=np.uint8))
    result.SetSpacing(spacing)
    result.SetOrigin(origin)
    return result


def random_mask(seed, shape=(12, 20, 18)):
    return np.random.default_rng(seed).random(shape) > 0.6


def test_agrees_with_simpleitk():
    prediction, reference = (image(random_mask(seed), (0.7, 0.8, 2.0)) for seed in (0, 1))
    metrics = compare(prediction, reference, LABELS).metrics
    measures = sitk.LabelOverlapMeasuresImageFilter()
    measures.Execute(reference, prediction)  # source: the truth
    assert metrics["dice"] == pytest.approx(measures.GetDiceCoefficient())
    assert metrics["jaccard"] == pytest.approx(measures.GetJaccardCoefficient())
    assert metrics["sensitivity"] == pytest.approx(1 - measures.GetFalseNegativeError())
    statistics = sitk.LabelShapeStatisticsImageFilter()
    statistics.Execute(prediction)
    assert metrics["volume_ml"] == pytest.approx(statistics.GetPhysicalSize(1) / 1000)
    statistics.Execute(reference)
    assert metrics["reference_volume_ml"] == pytest.approx(statistics.GetPhysicalSize(1) / 1000)


def test_counted_by_hand():
    prediction = np.zeros((2, 4, 5))
    reference = np.zeros((2, 4, 5))
    prediction[0, 0, :4] = 1
    reference[0, 0, 1:] = 1
    prediction[1, 0, 0] = 2
    found = compare(image(prediction), image(reference), {"vertebrae": 1, "sacrum": 2, "spine": 3} | LABELS)
    assert "sacrum" not in found.compared
    found = compare(image(prediction > 0), image(reference), {"spine": 1})
    assert found.compared == ("spine",)
    metrics = found.metrics
    counts = [metrics[f"{sign}_{kind}"] for sign in ("true", "false") for kind in ("positives", "negatives")]
    assert counts == [3, 34, 2, 1]
    assert metrics["dice"] == metrics["f1"] == pytest.approx(6 / 9)
    assert metrics["sensitivity"] == pytest.approx(3 / 4)
    assert metrics["precision"] == pytest.approx(3 / 5)
    assert metrics["jaccard"] == pytest.approx(3 / 6)
    assert metrics["specificity"] == pytest.approx(34 / 36)
    assert metrics["volume_ml"] == pytest.approx(0.005)


def test_empty_masks():
    empty, full = np.zeros((3, 3, 3)), np.ones((3, 3, 3))
    both = compare(image(empty), image(empty), LABELS).metrics
    assert [both[k] for k in ("dice", "f1", "jaccard", "sensitivity", "precision")] == [None] * 5
    assert both["specificity"] == 1
    assert both["volume_ml"] == 0
    missed = compare(image(empty), image(full), LABELS).metrics
    assert (missed["dice"], missed["sensitivity"], missed["precision"], missed["specificity"]) == (0, 0, None, None)
    assert overlap_metrics(0, 5, 0, 5)["dice"] == 0


def test_reference_without_sacrum_compares_vertebrae():
    prediction, reference = np.zeros((30, 10, 10)), np.zeros((30, 10, 10))
    prediction[10:], prediction[:10] = 1, 2
    reference[10:] = 21
    found = compare(image(prediction), image(reference), LABELS)
    assert found.compared == ("vertebrae",)
    assert found.notes == ("the reference does not contain the sacrum: only vertebrae were compared",)
    assert found.metrics["dice"] == 1
    reference[0] = 26  # a tenth of the sacrum
    found = compare(image(prediction), image(reference), LABELS)
    assert found.compared == ("vertebrae", "sacrum")
    assert found.notes == ()
    assert found.metrics["false_positives"] == 900


def test_without_predicted_sacrum_all_is_compared():
    found = compare(image(np.ones((4, 4, 4))), image(np.ones((4, 4, 4))), LABELS)
    assert found.compared == ("vertebrae", "sacrum")


def test_reference_stored_otherwise_is_the_same():
    prediction, reference = (image(random_mask(seed), (0.7, 0.8, 2.0), (-20.0, 5.0, -300.0)) for seed in (0, 1))
    expected = compare(prediction, reference, LABELS)
    found = compare(prediction, sitk.Flip(sitk.PermuteAxes(reference, (2, 0, 1)), (True, False, True)), LABELS)
    assert found.metrics == expected.metrics
    assert len(found.notes) == 1
    assert "another grid" in found.notes[0]


def test_reference_cut_to_what_it_marks():
    """As Slicer stores segmentations: nothing is marked outside."""
    mask = np.zeros((20, 20, 20))
    mask[4:18, 3:17, 5:15] = random_mask(3, (14, 14, 10))
    reference = image(mask, (1.0, 1.0, 2.0))
    prediction = mask.copy()
    prediction[0, 0, :7] = 1  # outside the cut reference
    found = compare(image(prediction, (1.0, 1.0, 2.0)), reference[5:15, 3:17, 4:18], LABELS)
    assert found.metrics["false_positives"] == 7
    assert found.metrics["false_negatives"] == 0
    assert found.metrics["true_positives"] == np.count_nonzero(mask)


@pytest.mark.parametrize(("origin", "says"), [((500.0, 0.0, 0.0), "no place"), ((0.0, 8.0, 0.0), "60%")])
def test_other_extents_are_refused(origin, says):
    prediction = image(np.ones((20, 20, 20)))
    with pytest.raises(InputError, match=says):
        compare(prediction, image(np.ones((20, 20, 20)), origin=origin), LABELS)


def test_reference_marked_elsewhere_is_refused():
    large = np.zeros((60, 60, 60))
    large[50:] = 1
    with pytest.raises(InputError, match="outside the CT"):
        compare(image(np.ones((20, 20, 20))), image(large), LABELS)


def test_volume():
    assert volume_ml(image(np.ones((10, 10, 10)), (0.5, 0.5, 2.0))) == pytest.approx(0.5)
