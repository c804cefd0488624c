"""What is drawn beside the vertebrae of a label map: ribs of all shapes, and an aorta in front."""

import numpy as np
import pytest
from scipy import ndimage
from SpineSegLib.engine.synthetic.anatomy import Anatomy
from SpineSegLib.engine.synthetic.aorta import with_close_aorta
from SpineSegLib.engine.synthetic.bodies import find_bodies
from SpineSegLib.engine.synthetic.ribs import with_new_ribs
from SpineSegLib.engine.synthetic.tissues import Tissue
from SpineSegLib.engine.synthetic.vertebra import NUMBERS

MIDDLE, FRONT = 90, 50


def patient(levels: tuple[str, ...]) -> Anatomy:
    """Vertebrae 30 mm apart, the first uppermost, with canal and transverse processes, in a box of muscle.

    A rib and an aorta lie where those of a label map would.
    """
    height = 30 * len(levels) + 40
    tissue = np.full((height, 140, 180), Tissue.MUSCLE, dtype=np.uint8)
    vertebrae = np.zeros_like(tissue)
    z, y, x = np.mgrid[:height, :140, :180]
    for n, level in enumerate(reversed(levels)):
        at = 35 + 30 * n
        body = (np.abs(z - at) < 11) & (np.hypot(x - MIDDLE, y - FRONT - 16) < 16)
        behind = (np.abs(z - at) < 6) & (np.abs(x - MIDDLE) < 28) & (y > 88) & (y < 95)
        vertebrae[body | behind] = NUMBERS[level]
    tissue[vertebrae > 0] = Tissue.VERTEBRA
    tissue[np.hypot(x - MIDDLE, y - 85) < 7] = Tissue.CANAL
    vertebrae[tissue == Tissue.CANAL] = 0
    tissue[(np.hypot(z - 40, y - 110) < 4) & (x > 130)] = Tissue.RIB
    tissue[np.hypot(x - 100, y - 20) < 8] = Tissue.ARTERY
    return Anatomy.from_tissue("patient", tissue, vertebrae, 1.0)


@pytest.fixture(scope="module")
def thoracolumbar() -> Anatomy:
    return patient(("T10", "T11", "T12", "L1"))


@pytest.fixture(scope="module")
def to_spine(thoracolumbar) -> np.ndarray:
    """Distance to the spine in mm."""
    return ndimage.distance_transform_edt(thoracolumbar.vertebrae == 0)


def spine_is_untouched(before: Anatomy, after: Anatomy) -> bool:
    spine = before.vertebrae > 0
    return (after.tissue[spine] == Tissue.VERTEBRA).all() and np.array_equal(before.vertebrae, after.vertebrae)


def test_bodies_are_found_with_their_walls(thoracolumbar):
    bodies = find_bodies(thoracolumbar.vertebrae, 1.0, "T1", "T12")
    assert sorted(bodies) == [NUMBERS["T10"], NUMBERS["T11"], NUMBERS["T12"]]
    t11 = bodies[NUMBERS["T11"]]
    assert (t11.middle, t11.front) == (MIDDLE, FRONT + 1)
    np.testing.assert_allclose([t11.low, t11.high], [85, 105], atol=1)
    np.testing.assert_allclose(t11.wall(95, FRONT + 16, 1), [95, FRONT + 16, MIDDLE + 15])
    np.testing.assert_allclose(t11.transverse_tip(-1), [95, 91.5, MIDDLE - 26], atol=0.1)
    end = np.where(np.mgrid[: len(thoracolumbar.vertebrae)][:, None, None] < 121, thoracolumbar.vertebrae, 0)
    assert NUMBERS["T10"] not in find_bodies(end.astype(np.uint8), 1.0, "T1", "T12")  # too little of it is left


@pytest.mark.parametrize("seed", range(2))
def test_every_thoracic_vertebra_gets_ribs_and_the_old_ones_are_gone(thoracolumbar, to_spine, seed):
    after = with_new_ribs(thoracolumbar, np.random.default_rng(seed))
    assert spine_is_untouched(thoracolumbar, after)
    ribs = after.tissue == Tissue.RIB
    assert not ribs[36:45, 106:115, 175:].any()  # where the label map's ended
    parts, count = ndimage.label(ribs)
    sides = {1: 0, -1: 0}
    for part in range(1, count + 1):
        at = np.argwhere(parts == part)
        if len(at) > 300:
            sides[int(np.sign(at[:, 2].mean() - MIDDLE))] += 1
            assert to_spine[parts == part].min() < 4.5  # its head lies against a body
    assert all(2 <= found <= 6 for found in sides.values())  # a process may part neck and shaft
    assert to_spine[ribs].max() > 25  # shafts, not heads alone
    assert not ((after.tissue == Tissue.RIB) & (thoracolumbar.tissue == Tissue.CANAL)).any()
    assert (after.bone_depth[ribs] > -1).all()
    far = ~ndimage.binary_dilation(ribs, iterations=8)
    assert (after.bone_depth[far] < -1).all()
    assert (thoracolumbar.tissue == Tissue.RIB)[36:45, 106:115, 175:].any()  # the patient given is as it was


@pytest.mark.parametrize("seed", range(2))
def test_the_aorta_lies_against_the_spine(thoracolumbar, to_spine, seed):
    after = with_close_aorta(thoracolumbar, np.random.default_rng(seed))
    assert spine_is_untouched(thoracolumbar, after)
    artery = after.tissue == Tissue.ARTERY
    nearest = [to_spine[k][artery[k]].min() for k in range(50, 120, 10)]
    assert max(nearest) < 12
    assert min(nearest) < 5
    per_slice = artery[50:120].sum(axis=(1, 2))
    assert per_slice.min() > 100
    assert per_slice.max() < 1500
    assert np.argwhere(artery)[:, 1].max() < FRONT + 25


def test_below_the_fourth_lumbar_vertebra_it_has_split():
    lumbar = patient(("L2", "L3", "L4", "L5"))
    artery = with_close_aorta(lumbar, np.random.default_rng(3)).tissue == Tissue.ARTERY
    assert [ndimage.label(artery[k])[1] for k in (100, 25)] == [1, 2]


def test_a_neck_gets_neither():
    neck = patient(("C4", "C5"))
    rng = np.random.default_rng(1)
    assert with_close_aorta(neck, rng) is neck
    assert not (with_new_ribs(neck, rng).tissue == Tissue.RIB).any()
