"""Looking only where there can be spine must find what looking everywhere finds, with a network that thresholds."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import SimpleITK as sitk
from geometry import Info, SoftThreshold
from SpineSegLib.engine.axial import AxialSlices
from SpineSegLib.engine.models.preprocessing import Preprocessing
from SpineSegLib.engine.search import Search

SHAPE = (64, 240, 300)  # z, y, x in voxels of 1 mm; with a look every 20 mm these are slices 0, 20, 40, 60 and 63
Z, Y, X = np.ogrid[: SHAPE[0], : SHAPE[1], : SHAPE[2]]


def tube(y, x, radius=15.0):
    """A disc in every slice; its middle may depend on z."""
    return (Y - y) ** 2 + (X - x) ** 2 < radius**2


SCENES = {
    "upright": tube(120, 150),
    "leaning by 45 degrees": tube(120, 110 + Z),
    "leaning by 60 degrees": tube(60 + 1.7 * Z, 150),
    "an S": tube(150 - 0.02 * (Z - 32) ** 2, 150 + 25 * np.sin(Z / 10)),
    "at the corner of the field of view": tube(5, 295),
    "two, far apart": tube(60, 60) | tube(180, 240),
    "one that folds over": tube(120, 110 + 1.2 * Z) | tube(120, 260 - 1.2 * Z),
    "ends between looks": tube(120, 150) & (Z < 33),
    "starts between looks": tube(120, 150) & (Z > 51),
    "in two pieces": tube(120, 100) & (Z < 17) | tube(90, 200) & (Z > 45),
    "a small part between looks": tube(200, 40, 8) & (Z > 24) & (Z < 38),
    "a last slice": tube(120, 150) & (Z == 63),
    "a process that reaches out between looks": (
        tube(120, 150) | (abs(Z - 30) < 4) & (abs(Y - 120) < 5) & (abs(X - 200) < 50)
    ),
    "a thin tip near the rest": tube(120, 150) | tube(120, 177, 2.5),
}  # fmt: skip


def search(inside, network=None):
    """A search over slices where `inside` (z, y, x) is dense, and its network, which counts what it looks at."""
    image = sitk.GetImageFromArray(np.where(np.broadcast_to(inside, SHAPE), 800, 0).astype(np.int16))
    network = network or SoftThreshold(Info(Preprocessing(spacing=None, context=(0.0,))))
    return Search(AxialSlices(image, network.info.preprocessing, whole=True), network), network


def filled(seen):
    """Labels (z, y, x), and where windows were."""
    labels, looked_at = np.zeros(SHAPE, bool), np.zeros(SHAPE, bool)
    for one in seen:
        for window, probabilities in one.parts:
            labels[(one.index, *window)] = probabilities[0] >= 0.5
            looked_at[(one.index, *window)] = True
    return labels, looked_at


def pixels(network):
    return sum(n * y * x for n, _, y, x in network.batches)


@pytest.mark.parametrize("scene", SCENES)
def test_nothing_is_lost_and_little_is_looked_at(scene):
    inside = np.broadcast_to(SCENES[scene], SHAPE)
    searching, network = search(inside)
    labels, looked_at = filled(searching.spine())
    np.testing.assert_array_equal(labels, inside)
    assert looked_at.mean() < 0.6
    assert pixels(network) < 0.6 * inside.size
    assert len({shape[2:] for shape in network.batches}) <= 6


class Nearsighted(SoftThreshold):
    """Sees nothing within 6 pixels of the edge of what it looks at, as there a network lacks what is around."""

    def predict(self, batch):
        seen = super().predict(batch)
        blind = np.ones(seen.shape[2:], dtype=bool)
        blind[6:-6, 6:-6] = False
        return np.where(blind, np.float32(0), seen)


class Divided(SoftThreshold):
    """Says it of two labels, `shares` of it of each."""

    def __init__(self, shares):
        super().__init__(Info(Preprocessing(spacing=None, context=(0.0,)), ("vertebrae", "sacrum")))
        self._shares = np.array(shares, dtype=np.float32)[:, None, None]

    def predict(self, batch):
        return super().predict(batch) * self._shares


REACHES_OUT = "a process that reaches out between looks"


@pytest.mark.parametrize("scene", [REACHES_OUT, "leaning by 60 degrees", "an S"])
def test_what_comes_near_an_edge_is_looked_at_again(scene):
    network = Nearsighted(Info(Preprocessing(spacing=None, context=(0.0,))))
    labels, _ = filled(search(SCENES[scene], network)[0].spine())
    np.testing.assert_array_equal(labels, np.broadcast_to(SCENES[scene], SHAPE))


@pytest.mark.parametrize(("scene", "shares"), [(REACHES_OUT, (0.0, 1.0)), ("an S", (0.15, 0.15)), ("an S", (0.3, 0.3))])
def test_all_labels_together_are_spine(scene, shares):
    """It is followed and looked at again whichever label it has, also where none alone were likely."""
    found = np.zeros(SHAPE, dtype=bool)
    for one in search(SCENES[scene], Divided(shares))[0].spine():
        for window, probabilities in one.parts:
            found[(one.index, *window)] = probabilities.sum(axis=0) > 0.25
    np.testing.assert_array_equal(found, np.broadcast_to(SCENES[scene], SHAPE))


@pytest.mark.parametrize(("pixel", "followed"), [(0.6, False), (2.0, True)])
def test_sizes_are_in_mm(pixel, followed):
    """13 pixels far from the spine: 5 mm², or 52 mm², which is more than a speck."""
    spine, speck = tube(120, 150, 8), np.broadcast_to(tube(40, 40, 2.1), SHAPE)
    image = sitk.GetImageFromArray(np.where(spine | speck, 800, 0).astype(np.int16))
    image.SetSpacing((pixel, pixel, 1.0))
    network = SoftThreshold(Info(Preprocessing(spacing=None, context=(0.0,))))
    labels, _ = filled(Search(AxialSlices(image, network.info.preprocessing, whole=True), network).spine())
    np.testing.assert_array_equal(labels, np.broadcast_to(spine | speck if followed else spine, SHAPE))


def test_everywhere_is_everywhere():
    searching, network = search(SCENES["an S"])
    labels, looked_at = filled(searching.everywhere())
    np.testing.assert_array_equal(labels, SCENES["an S"])
    assert looked_at.all()
    assert pixels(network) == looked_at.size


def test_a_speck_far_away_is_not_followed():
    spine, speck = tube(120, 150), np.broadcast_to(tube(40, 40, 3), SHAPE)  # 25 mm²
    labels, _ = filled(search(spine | speck)[0].spine())
    np.testing.assert_array_equal(labels, np.broadcast_to(spine, SHAPE))
    # alone it may be the tip of the coccyx
    labels, _ = filled(search(speck)[0].spine())
    np.testing.assert_array_equal(labels, speck)


def test_slices_of_looks_show_no_more_than_their_neighbours():
    """Else a slice would seem more doubtful only because more of it was looked at."""
    _, looked_at = filled(search(tube(120, 150))[0].spine())
    area = looked_at.sum(axis=(1, 2))
    assert area.max() < 4 * area.min()


def test_slices_without_spine_are_empty():
    searching, network = search(np.zeros(SHAPE, bool))
    assert [(seen.index, seen.parts) for seen in searching.spine()] == [(index, []) for index in range(64)]
    # looks at slices 0, 20, 40, 60, 63 and in the middle between them
    assert sum(shape[0] for shape in network.batches) == 9


def test_slices_come_in_order_from_any_part():
    searching, _ = search(SCENES["an S"])
    slices = searching._slices.part(slice(7, 58), slice(10, 230), slice(20, 290))
    seen = list(Search(slices, searching._network).spine())
    assert [one.index for one in seen] == list(range(7, 58))
    labels, _ = filled(seen)
    expected = np.array(np.broadcast_to(SCENES["an S"], SHAPE))
    expected[:7] = expected[58:] = False
    np.testing.assert_array_equal(labels, expected)


def test_no_slices():
    searching, network = search(SCENES["an S"])
    nothing = Search(searching._slices.part(slice(9, 9), *searching._slices.region[1:]), network)
    assert list(nothing.spine()) == list(nothing.everywhere()) == []


class Held(SoftThreshold):
    """A network that works on only so many batches until it may go on, and tells when it begins with one too many."""

    def __init__(self, batches):
        super().__init__(Info(Preprocessing(spacing=None, context=(0.0,))))
        self._left, self.stuck, self.may = batches, threading.Event(), threading.Event()

    def predict(self, batch):
        self._left -= 1
        if self._left < 0:
            self.stuck.set()
            assert self.may.wait(10)
        return super().predict(batch)


def test_the_first_slice_needs_one_look():
    searching, network = search(SCENES["an S"], Held(1))
    seen = searching.spine()
    assert next(seen).index == 0
    assert network.batches == [(1, 1, *SHAPE[1:])]
    network.may.set()
    seen.close()


@pytest.mark.parametrize(("kind", "needed"), [("spine", 3), ("everywhere", 1)])
def test_the_network_works_on_while_a_slice_is_used(kind, needed):
    """The second slice needs one batch, in `spine` after two looks; more than that is computed with nobody asking."""
    network = Held(needed)
    searching, _ = search(SCENES["an S"], network)
    network.may.set()
    seen = getattr(searching, kind)()
    assert [next(seen).index for _ in range(2)] == [0, 1]
    assert network.stuck.wait(10)
    seen.close()


def test_leaving_early_leaves_nothing_running():
    before = threading.active_count()
    for kind in ("spine", "everywhere"):
        searching, network = search(SCENES["an S"])
        seen = getattr(searching, kind)()
        for _ in range(5):
            next(seen)
        seen.close()
        assert threading.active_count() == before
        assert len(network.batches) <= 6  # of 20 and more: three looks, what the slices came in, and what had begun


def test_batches_are_even():
    """Each size of batch is prepared anew by some backends."""
    searching, network = search(tube(120, 150))
    list(searching.spine())
    between = [shape[0] for shape in network.batches if shape[2:] != SHAPE[1:]]
    assert sorted(between[:7]) == [2, 2, 3, 3, 3, 3, 3]  # 19 slices, three at most
