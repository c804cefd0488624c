"""Painting a tissue map: CT numbers by tissue, shell and spongy bone, the edge where masks put it."""

import numpy as np
import pytest
from SpineSegLib.engine.synthetic.random_fields import smooth_noise
from SpineSegLib.engine.synthetic.tissues import SOFT_HU, Tissue, TissueStyle, paint, signed_depth

PLAIN = TissueStyle(trabecular_texture_hu=0.0)


def ball(radius: float, size: int = 60, centre: float = 29.3) -> tuple[np.ndarray, np.ndarray]:
    """Mask of a ball and the distance of each voxel from its centre."""
    distance = np.linalg.norm(np.stack(np.mgrid[:size, :size, :size]) - centre, axis=0)
    return distance < radius, distance


@pytest.mark.parametrize("spacing", [0.7, 1.0, 1.5])
def test_depth_of_a_ball_is_its_distance_to_the_surface(spacing):
    mask, distance = ball(18.0)
    depth = signed_depth(mask, spacing)
    near = np.abs(distance - 18) < 3
    error = depth[near] - (18 - distance[near]) * spacing
    assert abs(error.mean()) < 0.15 * spacing
    assert np.abs(error).max() < 1.2 * spacing


def test_soft_tissues_get_their_numbers():
    tissue = np.full((20, 40, 40), Tissue.MUSCLE, dtype=np.uint8)
    tissue[:, :, 20:] = Tissue.FAT
    tissue[:, 20:] = Tissue.GAS
    hu = paint(tissue, 1.0, PLAIN, np.random.default_rng(0)).hu
    assert hu[tissue == Tissue.MUSCLE].mean() == pytest.approx(55, abs=4)
    assert hu[tissue == Tissue.FAT].mean() == pytest.approx(-100, abs=4)
    assert hu[tissue == Tissue.GAS].mean() == pytest.approx(-980, abs=4)


def test_contrast_medium_is_brightest_in_arteries_early_and_reaches_the_liver_later():
    arterial = TissueStyle(enhancement=1.0, venous=0.0)
    venous = TissueStyle(enhancement=1.0, venous=1.0)
    plain = TissueStyle()
    assert arterial.hu(Tissue.ARTERY) > venous.hu(Tissue.ARTERY) > plain.hu(Tissue.ARTERY)
    assert venous.hu(Tissue.LIVER) > arterial.hu(Tissue.LIVER)
    assert venous.hu(Tissue.FAT) == plain.hu(Tissue.FAT)


def test_bone_has_a_shell_around_spongy_bone():
    mask, distance = ball(20.0)
    tissue = np.where(mask, Tissue.VERTEBRA, Tissue.MUSCLE).astype(np.uint8)
    hu = paint(tissue, 1.0, PLAIN, np.random.default_rng(1)).hu
    deep, rim, outside = (hu[(distance > a) & (distance < b)] for a, b in ((0, 15), (18.5, 19.5), (23, 26)))
    assert deep.mean() == pytest.approx(PLAIN.trabecular_hu, abs=25)
    assert rim.mean() > deep.mean() + 200
    assert outside.mean() == pytest.approx(55, abs=10)


def test_slender_bone_has_the_thicker_shell():
    _, y, x = np.mgrid[:40, :60, :60]
    body, rod = np.hypot(y - 20, x - 30) < 15, np.hypot(y - 50, x - 30) < 4
    tissue = np.where(body | rod, Tissue.VERTEBRA, Tissue.MUSCLE).astype(np.uint8)
    style = TissueStyle(trabecular_texture_hu=0.0, cortical_mm=0.3, posterior_mm=1.2)
    hu = paint(tissue, 1.0, style, np.random.default_rng(1)).hu[10:30]
    below_the_rim_of_body = (np.abs(np.hypot(y - 20, x - 30) - 13.5) < 0.5)[10:30]
    below_the_rim_of_rod = (np.abs(np.hypot(y - 50, x - 30) - 2.5) < 0.5)[10:30]
    assert hu[below_the_rim_of_rod].mean() > hu[below_the_rim_of_body].mean() + 200


def test_the_spine_is_painted_alone_too():
    tissue = np.full((30, 30, 60), Tissue.MUSCLE, dtype=np.uint8)
    tissue[5:25, 8:22, 5:20] = Tissue.VERTEBRA
    tissue[5:25, 8:22, 40:55] = Tissue.RIB
    tissue[:, :, 28:32] = Tissue.ARTERY
    painted = paint(tissue, 1.0, TissueStyle(enhancement=1.0, venous=0.0), np.random.default_rng(1))
    assert painted.hu[:, :, 29].mean() > 250
    assert (painted.plain[:, :, 25:] == SOFT_HU).all()
    assert painted.share[15, 15, 12] == 1
    assert not painted.share[:, :, 25:].any()
    # a surface that lies inside that of the mask drawn takes away a part of the outer voxels
    assert 0.05 < 1 - painted.share[tissue == Tissue.VERTEBRA].mean() < 0.25


def test_metal_and_cement_cover_what_is_below():
    tissue = np.full((10, 30, 30), Tissue.VERTEBRA, dtype=np.uint8)
    tissue[4:6, 10:20, 10:20] = Tissue.METAL
    hu = paint(tissue, 1.0, PLAIN, np.random.default_rng(0)).hu
    assert hu[tissue == Tissue.METAL].min() > 2900
    assert hu[tissue == Tissue.VERTEBRA].max() < 2000


def test_unknown_style_is_refused():
    with pytest.raises(ValueError, match="bone_colour"):
        TissueStyle.random(np.random.default_rng(0), bone_colour=3)


@pytest.mark.parametrize("grain", [1.0, 3.0, 10.0])
def test_noise_has_unit_variance_and_its_grain(grain):
    fields = [smooth_noise((40, 64, 64), grain, np.random.default_rng(seed)) for seed in range(4)]
    assert np.mean([f.var() for f in fields]) == pytest.approx(1.0, abs=0.15)
    # Neighbours are alike within a grain and unlike beyond two of them.
    lag = max(1, round(3 * grain))
    apart = np.mean([np.corrcoef(f[:, :, :-lag].ravel(), f[:, :, lag:].ravel())[0, 1] for f in fields])
    beside = np.mean([np.corrcoef(f[:, :, :-1].ravel(), f[:, :, 1:].ravel())[0, 1] for f in fields])
    assert abs(apart) < 0.12
    assert beside > 0.6 if grain > 1 else abs(beside) < 0.05
