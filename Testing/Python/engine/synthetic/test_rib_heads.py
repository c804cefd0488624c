"""Ribs go on to the bodies of their vertebrae, and touch nothing that was there."""

import numpy as np
import pytest
from scipy import ndimage
from SpineSegLib.engine.synthetic.anatomy import Anatomy
from SpineSegLib.engine.synthetic.rib_heads import add_rib_heads, with_rib_heads
from SpineSegLib.engine.synthetic.tissues import Tissue
from SpineSegLib.engine.synthetic.vertebra import NUMBERS


def patient(level: str = "T9", gap: int = 22) -> tuple[np.ndarray, np.ndarray]:
    """A vertebra with body, canal and transverse processes, and on its left a rib that ends `gap` mm beside it."""
    tissue = np.full((60, 110, 180), Tissue.MUSCLE, dtype=np.uint8)
    z, y, x = np.mgrid[:60, :110, :180]
    body = (np.abs(z - 30) < 10) & (np.hypot(x - 80, y - 40) < 15)
    behind = (np.abs(z - 30) < 8) & (np.abs(x - 80) < 28) & (y > 62) & (y < 70)
    canal = np.hypot(x - 80, y - 60) < 7
    tissue[body | behind] = Tissue.VERTEBRA
    tissue[canal] = Tissue.CANAL
    vertebrae = np.where(tissue == Tissue.VERTEBRA, NUMBERS[level], 0).astype(np.uint8)
    rib = (np.hypot(z - 34, y - 66 - 0.1 * (x - 95)) < 5) & (x > 95 + gap)
    tissue[rib] = Tissue.RIB
    return tissue, vertebrae


@pytest.mark.parametrize("level", ["T2", "T9", "T12"])
def test_a_rib_reaches_the_body(level):
    tissue, vertebrae = patient(level)
    before = tissue.copy()
    assert add_rib_heads(tissue, vertebrae, 1.0, np.random.default_rng(1)) == 1
    new = (tissue == Tissue.RIB) & (before != Tissue.RIB)
    assert (before[new] == Tissue.MUSCLE).all()
    np.testing.assert_array_equal(tissue[~new], before[~new])
    z, _, x = np.argwhere(new).T
    assert x.min() > 80  # it stays on its side
    to_body = ndimage.distance_transform_edt((vertebrae == 0) | (np.mgrid[:110][:, None] > 55))[new]
    assert 1 <= to_body.min() < 5
    assert np.abs(z - 30).max() < 25
    assert 300 < new.sum() < 6000


def test_what_ends_elsewhere_is_no_matter():
    tissue, vertebrae = patient(gap=60)
    before = tissue.copy()
    assert add_rib_heads(tissue, vertebrae, 1.0, np.random.default_rng(1)) == 0
    np.testing.assert_array_equal(tissue, before)
    lumbar = patient()[0], np.where(patient()[1] > 0, NUMBERS["L3"], 0).astype(np.uint8)
    assert add_rib_heads(*lumbar, 1.0, np.random.default_rng(1)) == 0


def test_the_anatomy_gets_their_depth():
    tissue, vertebrae = patient()
    plain = Anatomy.from_tissue("one", tissue, vertebrae, 1.0)
    whole = with_rib_heads(plain, np.random.default_rng(1))
    new = (whole.tissue == Tissue.RIB) & (plain.tissue != Tissue.RIB)
    assert (whole.bone_depth[new] > -1).all()
    assert (plain.bone_depth[new] < 0).mean() > 0.9
    assert whole.vertebrae is plain.vertebrae
    np.testing.assert_array_equal(plain.tissue, tissue)
