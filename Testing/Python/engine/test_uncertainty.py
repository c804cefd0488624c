"""The doubt about a slice goes with what is wrong in it, and leads from one slice worth checking to the next."""

from pathlib import Path

import numpy as np
import pytest
from scipy.stats import spearmanr
from SpineSegLib.engine.comparison.grids import on_grid_of
from SpineSegLib.engine.files.reading import read_labelmap, read_volume
from SpineSegLib.engine.models.model_catalogue import DEFAULT
from SpineSegLib.engine.segmenter import Segmentation
from SpineSegLib.engine.uncertainty import next_slice, uncertain_area
from SpineSegLib.resources import resources_dir


def test_area_in_doubt_by_hand():
    p = np.zeros((2, 4, 4), dtype=np.float32)
    p[0, 0, :2] = (1.0, 0.5)
    p[1, 0, 1] = 0.25  # both labels together count: 0.75
    p[1, 2, 2] = 0.25
    entropy = -(0.75 * np.log2(0.75) + 0.25 * np.log2(0.25))
    assert uncertain_area(p, pixel_area=4.0) == pytest.approx(2 * entropy * 4)
    assert uncertain_area(np.zeros((1, 4, 4)), 1.0) == 0.0
    assert uncertain_area(np.full((1, 4, 4), 0.5), 1.0) == 16.0


def test_next_slices_are_worth_it_and_apart():
    positions, areas = [0, 2, 4, 20, 30], [10, 30, 29, 20, 0]
    checked = []
    while (chosen := next_slice(areas, checked, positions)) is not None:
        checked.append(chosen)
    # The one at 4 mm is full of doubt, but lies beside that at 2 mm; the one at 30 mm is sure.
    assert [positions[index] for index in checked] == [2, 20, 4, 0]
    assert next_slice([], [], []) is None


def test_doubt_goes_with_the_error_of_a_real_case(shared_data):
    from SpineSegLib.engine.models.network import Network

    folder = Path(shared_data) / "cases" / "tptbox_L3"
    network = Network(resources_dir() / "Models" / f"{DEFAULT}.weights.h5", device="cpu")
    volume = read_volume(folder / "ct.nii.gz")
    reference = on_grid_of(volume.image, read_labelmap(folder / "mask.nii.gz"))[0]
    segmentation = Segmentation(volume, network)
    doubts = {s.position: uncertain_area(s.probabilities, 1.0) for s in segmentation}
    wrong = dict.fromkeys(doubts, 0)
    places = np.array(list(doubts))
    for index in np.argwhere(array(segmentation.labelmap(postprocess=False)) != array(reference)):
        z = volume.image.TransformIndexToPhysicalPoint(index[::-1].tolist())[2]
        wrong[places[np.abs(places - z).argmin()]] += 1
    assert sum(wrong.values()) > 1000
    assert spearmanr(list(doubts.values()), list(wrong.values())).statistic > 0.6


def array(labelmap):
    import SimpleITK as sitk

    return sitk.GetArrayFromImage(labelmap) > 0
