"""The scanner: grid, slice thickness, resolution, noise and labels on the scanned grid."""

import numpy as np
import pytest
import SimpleITK as sitk
from SpineSegLib.engine.synthetic.scanner import ScanSettings, acquire, truth_on_grid
from SpineSegLib.engine.synthetic.tissues import SOFT_HU, Painted


def scan(hu: np.ndarray, settings: ScanSettings, origin=(0.0, 0.0, 0.0)) -> sitk.Image:
    image = sitk.GetImageFromArray(hu.astype(np.float32))
    image.SetOrigin(origin)
    return acquire(image, settings, np.random.default_rng(0))


def test_scan_covers_the_same_extent_on_its_own_grid():
    settings = ScanSettings(noise_hu=0.0, spacing=(1.5, 1.5, 3.0))
    image = scan(np.zeros((30, 30, 45)), settings, origin=(10.0, -20.0, 5.0))
    assert image.GetSize() == (30, 20, 10)
    assert image.GetSpacing() == (1.5, 1.5, 3.0)
    # Outer edges: 10 - 0.5 in x, and so on.
    edge = np.array(image.GetOrigin()) - np.array(image.GetSpacing()) / 2
    np.testing.assert_allclose(edge, [9.5, -20.5, 4.5])


def test_a_voxel_averages_over_the_slice_thickness():
    hu = np.zeros((41, 8, 8))
    hu[20] = 900.0  # one bright millimetre
    for thickness in (1.0, 3.0, 5.0):
        settings = ScanSettings(noise_hu=0.0, psf_fwhm=0.0, thickness=(0.0, 0.0, thickness))
        profile = sitk.GetArrayFromImage(scan(hu, settings))[:, 4, 4]
        assert profile[20] == pytest.approx(900 / thickness, abs=2)
        assert profile.sum() == pytest.approx(900, abs=8)


def test_resolution_is_the_asked_width():
    hu = np.zeros((5, 61, 61))
    hu[:, :, 30] = 2000.0
    profile = sitk.GetArrayFromImage(scan(hu, ScanSettings(noise_hu=0, psf_fwhm=4.0)))[2, 30].astype(float)
    x = np.arange(61) - 30
    sigma = np.sqrt((profile * x**2).sum() / profile.sum())
    assert 2.355 * sigma == pytest.approx(4.0, abs=0.35)


@pytest.mark.parametrize("grain", [0.8, 2.0])
def test_noise_has_the_asked_strength(grain):
    settings = ScanSettings(noise_hu=40.0, noise_grain=grain)
    noise = sitk.GetArrayFromImage(scan(np.zeros((20, 80, 80)), settings))
    assert noise.std() == pytest.approx(40, rel=0.05)
    assert abs(noise.mean()) < 2


def test_values_stay_within_12_bits():
    hu = np.full((4, 20, 20), -1000.0)
    hu[:, 8:12, 8:12] = 6000.0
    result = sitk.GetArrayFromImage(scan(hu, ScanSettings(noise_hu=100.0)))
    assert result.dtype == np.int16
    assert result.min() >= -1024
    assert result.max() <= 3071


def test_metal_streaks_reach_beyond_the_metal_and_only_its_slices():
    hu = np.zeros((5, 64, 64))
    hu[2, 30:34, 30:34] = 6000.0
    result = sitk.GetArrayFromImage(scan(hu, ScanSettings(noise_hu=0.0, psf_fwhm=0.2, metal_streak_hu=300.0)))
    assert np.abs(result[2, 30, 45:55]).max() > 30
    assert np.abs(result[0]).max() < 5


def slab(width: int, bone_hu: float, settings: ScanSettings, edge: float = 170.0) -> np.ndarray:
    """Mask along z of a slab of bone, `width` mm thick from z = 20 mm on, as drawn into a scan of it."""
    inside = np.zeros((60, 8, 8), dtype=bool)
    inside[20 : 20 + width] = True
    painted = Painted(inside * 1.0, np.where(inside, bone_hu, SOFT_HU).astype(np.float32), inside.astype(np.float32))
    geometry = sitk.GetImageFromArray(painted.plain)
    grid = scan(painted.plain, settings)
    mask = truth_on_grid(painted, inside.astype(np.uint8), geometry, grid, settings, edge)
    assert mask.GetSize() == grid.GetSize()
    assert mask.GetSpacing() == grid.GetSpacing()
    return sitk.GetArrayFromImage(mask)[:, 4, 4]


def test_the_edge_is_drawn_where_the_scan_crosses_the_number():
    # A slab of 900 HU averaged over 3 mm: its ramp is 3 mm long, centred on its surface, and crosses 170 HU where
    # the share of bone is (170 - 55) / (900 - 55) = 0.136, that is 1.1 mm outside, beyond one more voxel's centre.
    thick = ScanSettings(noise_hu=0, psf_fwhm=0.0, thickness=(0.0, 0.0, 3.0))
    np.testing.assert_array_equal(np.flatnonzero(slab(20, 900.0, thick)), np.arange(19, 41))
    # At half of the contrast it is at the surface itself.
    np.testing.assert_array_equal(np.flatnonzero(slab(20, 900.0, thick, edge=480.0)), np.arange(20, 40))


def test_faint_bone_is_drawn_at_half_its_contrast():
    blurred = ScanSettings(noise_hu=0, psf_fwhm=0.0, thickness=(0.0, 0.0, 5.0))
    drawn = np.flatnonzero(slab(2, 300.0, blurred))  # 153 HU at most in the scan, less than the edge's number
    assert drawn.size >= 2
    assert abs(drawn.mean() - 20.5) < 1
    assert slab(2, 90.0, blurred).sum() == 0  # so faint that nobody would draw it
    assert slab(20, 60.0, blurred).sum() in (18, 19, 20, 21, 22)  # but what is bone throughout is full


def test_each_voxel_gets_the_number_that_fills_most_of_it():
    numbers = np.zeros((12, 6, 6), dtype=np.uint8)
    numbers[0:4], numbers[4:8] = 1, 2  # the second thick slice (mm 3 to 5) is 1/3 number 1 and 2/3 number 2
    bone = (numbers > 0).astype(np.float32)
    painted = Painted(bone, SOFT_HU + 445 * bone, bone)
    settings = ScanSettings(noise_hu=0, psf_fwhm=0.0, spacing=(1.0, 1.0, 3.0), thickness=(0.0, 0.0, 3.0))
    grid = scan(np.zeros(numbers.shape), settings)
    result = truth_on_grid(painted, numbers, sitk.GetImageFromArray(bone), grid, settings, 170.0)
    assert sitk.GetArrayFromImage(result)[:, 3, 3].tolist() == [1, 2, 2, 0]
    assert result.GetOrigin() == grid.GetOrigin()


def test_random_scans_can_be_fixed_in_part():
    settings = ScanSettings.random(np.random.default_rng(3), noise_hu=7.0)
    assert settings.noise_hu == 7.0
    with pytest.raises(ValueError, match="dose"):
        ScanSettings.random(np.random.default_rng(3), dose=1)
