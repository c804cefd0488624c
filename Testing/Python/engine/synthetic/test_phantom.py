"""The phantom against published anatomy and against its own promises; geometry is checked with SimpleITK alone."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
from scipy import ndimage
from SpineSegLib.engine.errors import InputError, OutputError
from SpineSegLib.engine.synthetic.canvas import Canvas, union
from SpineSegLib.engine.synthetic.implicit import Ellipsoid, Frame, Grid, Limb
from SpineSegLib.engine.synthetic.phantom import Body, build_body, make_phantom, write_phantom
from SpineSegLib.engine.synthetic.skeleton import Cage, draw_ribs
from SpineSegLib.engine.synthetic.spine import Spine, SpineTraits
from SpineSegLib.engine.synthetic.tissues import Tissue
from SpineSegLib.engine.synthetic.trunk import TrunkTraits

CLEAN = {"spacing": (1.0, 1.0, 1.0), "thickness": (0.0, 0.0, 1.0), "noise_hu": 8.0, "streak_hu": 0.0, "psf_fwhm": 0.9}
SMALL = {"region": ("L4", "L3"), "view": "spine", "implants": "none", "fractures": (), "lumbar": 5, "detail": 1.0}


@pytest.fixture(scope="module")
def whole_spine() -> tuple[Spine, Canvas]:
    """All bones and the canal of an average spine at 1 mm, C3 to the coccyx, without the trunk."""
    spine = Spine(SpineTraits())
    canvas = Canvas(Grid((700, 155, 140), 1.0, (-70.0, -65.0, -145.0)))
    spine.draw_soft(canvas)
    spine.draw_bones(canvas)
    return spine, canvas


@pytest.fixture(scope="module")
def small():
    return make_phantom(5, **SMALL, **CLEAN, trabecular_hu=150.0)


def test_ellipsoid_and_limb_are_measured_in_mm():
    grid = Grid((60, 60, 60), 1.0, (-30.0, -30.0, -30.0))
    turn = np.array([[0.6, -0.8, 0], [0.8, 0.6, 0], [0, 0, 1.0]])
    ball = union(grid, [Ellipsoid((1, 2, 3), (9, 9, 9))], Frame(np.array([4.0, -3.0, 2.0]), turn))
    centre = np.array([4.0, -3.0, 2.0]) + turn @ [1, 2, 3]
    z, y, x = np.meshgrid(*(grid.axis(d, ball.where[d]) for d in range(3)), indexing="ij")
    exact = np.sqrt((x - centre[0]) ** 2 + (y - centre[1]) ** 2 + (z - centre[2]) ** 2) - 9
    near = np.abs(exact) < 2.5
    np.testing.assert_allclose(ball.distance[near], exact[near], atol=1e-3)
    rod = union(grid, [Limb((-9.7, 0.4, 0.3), (10.3, 0.4, 0.3), (4, 6), across=(0, 1, 0))])
    # Area of the elliptic section times length, and two caps.
    assert (rod.distance < 0).sum() == pytest.approx(np.pi * 24 * 20 + 4 / 3 * np.pi * 4 * 24, rel=0.04)


def test_every_vertebra_is_there_in_order_and_of_human_size(whole_spine):
    numbers = whole_spine[1].vertebrae
    assert set(np.unique(numbers)) == {0, *range(3, 25), 26}
    slices = np.stack([np.bincount(plane.ravel(), minlength=27) for plane in numbers])
    volumes = slices.sum(0) / 1000
    heights = [np.average(np.arange(len(slices)), weights=slices[:, n]) for n in range(3, 25)]
    assert np.all(np.diff(heights) < -8), "numbers must fall from the head to the pelvis"
    # Volumes in ml: expert masks of VerSe patients have 13 to 27 (C3-C7), 23 to 41 (T1-T12) and 40 to 78 (L1-L5).
    for n in range(3, 8):
        assert 7 < volumes[n] < 22
    for n in range(8, 20):
        assert 16 < volumes[n] < 48
    for n in range(20, 25):
        assert 38 < volumes[n] < 80
    assert 140 < volumes[26] < 300
    boxes = ndimage.find_objects(numbers)
    for n in [*range(3, 25), 26]:
        parts, count = ndimage.label(numbers[boxes[n - 1]] == n, np.ones((3, 3, 3)))
        sizes = np.bincount(parts[parts > 0])
        assert sizes.max() > 0.98 * sizes.sum(), f"vertebra {n} is in {count} pieces"


def test_neighbours_never_touch(whole_spine):
    numbers = whole_spine[1].vertebrae
    for axis in range(3):
        a, b = np.moveaxis(numbers, axis, 0)[:-1], np.moveaxis(numbers, axis, 0)[1:]
        assert not ((a > 0) & (b > 0) & (a != b)).any()


def test_the_canal_is_free_and_each_level_closes_a_ring_around_it(whole_spine):
    spine, canvas = whole_spine
    grid = canvas.grid
    line = np.array(spine.canal)
    inside = (line[:, 2] > spine.level("L5").frame.centre[2]) & (line[:, 2] < spine.level("C4").frame.centre[2])
    z = np.arange(line[inside, 2].min(), line[inside, 2].max(), 1.0)
    order = np.argsort(line[:, 2])
    x, y = (np.interp(z, line[order, 2], line[order, i]) for i in (0, 1))
    for dx in (-5, 0, 5):
        for dy in (-4, 0, 4):
            index = [
                np.rint(v).astype(int) for v in (z - grid.origin[2], y + dy - grid.origin[1], x + dx - grid.origin[0])
            ]
            assert not canvas.vertebrae[tuple(index)].any()
    boxes = ndimage.find_objects(canvas.vertebrae)
    for level in spine.levels:
        box = boxes[level.number - 1]
        number = canvas.vertebrae == level.number
        closed = 0
        for height in range(box[0].start, box[0].stop):
            px, py = (np.interp(height + grid.origin[2], line[order, 2], line[order, i]) for i in (0, 1))
            holes = ndimage.binary_fill_holes(number[height]) & ~number[height]
            closed += holes[round(py - grid.origin[1]), round(px - grid.origin[0])]
        assert closed >= 2, f"{level.name} has no closed ring"


def test_processes_point_backwards_and_to_the_sides(whole_spine):
    spine, canvas = whole_spine
    boxes = ndimage.find_objects(canvas.vertebrae)
    for level in spine.levels:
        box = boxes[level.number - 1]
        _, y, x = np.nonzero(canvas.vertebrae[box] == level.number)
        y, x = y + box[1].start, x + box[2].start
        body_y, body_x = level.frame.centre[1] + 65, level.frame.centre[0] + 70
        assert y.max() - body_y > body_y - y.min() + 12, "the spinous process is posterior (+y)"
        tip = x[y > y.max() - 3]
        assert abs(tip.mean() - body_x) < 4
        assert x.max() - body_x == pytest.approx(level.size.span / 2, abs=6)
        assert body_x - x.min() == pytest.approx(level.size.span / 2, abs=6)


def test_scoliosis_bends_and_lordosis_tilts():
    straight, bent = Spine(SpineTraits(cobb=0.0)), Spine(SpineTraits(cobb=30.0))
    assert max(abs(level.frame.centre[0]) for level in straight.levels) < 1e-6
    assert np.ptp([level.frame.centre[0] for level in bent.levels]) > 10
    ups = np.array([level.frame.rotation[:, 2] for level in bent.levels])
    tilt = np.degrees(np.arctan2(ups[:, 0], ups[:, 2]))
    assert np.ptp(tilt) == pytest.approx(30, abs=5), "Cobb angle"
    flat, curved = Spine(SpineTraits(lordosis=35.0)), Spine(SpineTraits(lordosis=60.0))

    def lean(spine: Spine) -> float:
        ups = np.array([level.frame.rotation[:, 2] for level in spine.levels])
        return float(np.degrees(np.arcsin(-ups[0, 1]) - np.arcsin(-ups[4, 1])))

    assert lean(curved) > lean(flat) + 8


def test_a_fracture_lowers_the_front_of_the_body():
    def front_height(fractures: tuple) -> int:
        spine = Spine(SpineTraits(fractures=fractures, lumbar=5))
        level = spine.level("L2")
        middle = level.frame.centre
        grid = Grid((60, 60, 5), 0.5, (-1.0, middle[1] - 25, middle[2] - 15))
        canvas = Canvas(grid)
        spine.draw_bones(canvas)
        column = canvas.vertebrae[:, int((25 - 0.38 * level.size.depth) / 0.5), 2] == level.number
        return int(column.sum())

    assert front_height((("L2", 0.4),)) < 0.75 * front_height(())


@pytest.mark.parametrize(("lumbar", "last"), [(4, 23), (6, 25)])
def test_transitional_anatomy(lumbar, last):
    spine = Spine(SpineTraits(lumbar=lumbar))
    assert [level.number for level in spine.levels][: lumbar + 1] == [*range(last, 19, -1), 19]


def test_twelve_pairs_of_ribs_each_with_a_joint_gap():
    spine = Spine(SpineTraits())
    canvas = Canvas(Grid((165, 130, 150), 2.0, (-150.0, -160.0, 160.0)))
    spine.draw_bones(canvas)
    draw_ribs(canvas, spine, Cage(spine, 1.0, 1.0), np.random.default_rng(0))
    ribs = canvas.tissue == Tissue.RIB
    parts, _ = ndimage.label(ribs)
    assert (np.bincount(parts[ribs]) * 0.008 > 1.5).sum() == 24
    gap = ndimage.distance_transform_edt(canvas.vertebrae == 0) * 2.0
    for level in spine.levels:
        if level.name[0] == "T":
            near = np.abs(np.arange(165) * 2.0 + 160 - level.frame.centre[2]) < 14
            assert 1.2 < gap[near][ribs[near]].min() < 4.5, f"the rib of {level.name} is jointed, not fused or adrift"


def test_whole_trunk_holds_every_structure():
    body = Body(SpineTraits(seed=3), TrunkTraits(seed=4, arms_down=True), "whole", "trunk", 3.0, "screws", 5)
    anatomy, origin = build_body(body)
    present = {Tissue(code) for code in np.unique(anatomy.tissue)}
    absent = set(Tissue) - present
    assert absent == {Tissue.SKULL, Tissue.BRAIN, Tissue.CEMENT, Tissue.ORAL_CONTRAST}
    x = origin[0] + 3.0 * np.arange(anatomy.tissue.shape[2])
    assert np.mean(x[np.nonzero(anatomy.tissue == Tissue.LIVER)[2]]) < -20, (
        "the liver is on the right, negative x in LPS"
    )
    assert np.mean(x[np.nonzero(anatomy.tissue == Tissue.SPLEEN)[2]]) > 40
    z = {t: np.mean(np.nonzero(anatomy.tissue == t)[0]) for t in (Tissue.LUNG, Tissue.LIVER, Tissue.BLADDER)}
    assert z[Tissue.LUNG] > z[Tissue.LIVER] > z[Tissue.BLADDER]


def test_mask_and_numbers_agree_and_bone_is_brighter(small):
    numbers, mask, ct = (sitk.GetArrayFromImage(i) for i in (small.vertebrae, small.mask, small.image))
    assert ct.dtype == np.int16
    assert mask.dtype == numbers.dtype == np.uint8
    np.testing.assert_array_equal(mask > 0, numbers > 0)
    np.testing.assert_array_equal(mask == 2, numbers == 26)
    assert {22, 23} <= set(np.unique(numbers))
    inside = ndimage.binary_erosion(mask > 0, iterations=2)
    around = ndimage.binary_dilation(mask > 0, iterations=4) & ~ndimage.binary_dilation(mask > 0, iterations=2)
    assert np.median(ct[inside]) > 120
    assert -110 < np.median(ct[around]) < 130
    edge = (mask > 0) & ~ndimage.binary_erosion(mask > 0)
    assert np.median(ct[edge]) > np.median(ct[around]) + 100, (
        "the mask reaches to half of the cortical shell, not beyond"
    )


def test_seed_decides(small):
    again = make_phantom(5, **SMALL, **CLEAN, trabecular_hu=150.0)
    other = make_phantom(6, **SMALL, **CLEAN, trabecular_hu=150.0)
    assert sitk.Hash(again.image) == sitk.Hash(small.image)
    assert sitk.Hash(again.vertebrae) == sitk.Hash(small.vertebrae)
    assert other.image.GetSize() != small.image.GetSize() or sitk.Hash(other.vertebrae) != sitk.Hash(small.vertebrae)


def test_a_part_of_the_body_is_the_same_body():
    """The field of view cuts, it does not change the patient."""
    traits = SpineTraits(seed=8, cobb=20.0), TrunkTraits(seed=9)
    parts = [build_body(Body(*traits, region, "spine", 2.0, "none", 1)) for region in (("L4", "L1"), ("S1", "T11"))]
    boxes = []
    for anatomy, origin in parts:
        z, y, x = np.nonzero(anatomy.vertebrae == 21)
        boxes.append(np.array([x.mean(), y.mean(), z.mean()]) * 2.0 + origin)
        boxes.append((anatomy.vertebrae == 21).sum() * 8 / 1000)
    np.testing.assert_allclose(boxes[0], boxes[2], atol=0.3)
    assert boxes[1] == pytest.approx(boxes[3], rel=0.02)


@pytest.mark.parametrize("kind", ["water", "head"])
def test_objects_without_a_spine(kind):
    phantom = make_phantom(
        1,
        kind=kind,
        detail=2.0,
        spacing=(2.0, 2.0, 2.0),
        thickness=(0, 0, 2.0),
        noise_hu=5.0,
        streak_hu=0.0,
        cupping_hu=0.0,
    )
    assert not sitk.GetArrayViewFromImage(phantom.mask).any()
    ct = sitk.GetArrayFromImage(phantom.image)
    z, y, x = (n // 2 for n in ct.shape)
    middle = ct[z - 3 : z + 3, y - 5 : y + 5, x + 10 : x + 20].mean()
    assert middle == pytest.approx(0 if kind == "water" else 36, abs=4 if kind == "water" else 25)
    assert (ct.max() > 500) == (kind == "head")


@pytest.mark.parametrize(
    ("choices", "words"),
    [
        ({"kind": "cat"}, "water"),
        ({"region": "neck"}, "lumbar"),
        ({"region": ("T12", "L4")}, "lower level first"),
        ({"region": ("L9", "L1")}, "no level L9"),
        ({"view": "toe"}, "trunk"),
        ({"implants": "gold"}, "screws"),
        ({"colour": 3}, "colour"),
    ],
)
def test_wrong_choices_are_named(choices, words):
    with pytest.raises(InputError, match=words):
        make_phantom(1, **{**SMALL, "detail": 4.0, **choices})


def test_dicom_reads_back_with_the_same_geometry(small, tmp_path):
    ct = write_phantom(tmp_path / "case", small, "dicom")
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(ct)))
    image = reader.Execute()
    assert image.GetSize() == small.image.GetSize()
    np.testing.assert_allclose(image.GetSpacing(), small.image.GetSpacing(), atol=1e-4)
    np.testing.assert_allclose(image.GetOrigin(), small.image.GetOrigin(), atol=1e-3)
    np.testing.assert_allclose(image.GetDirection(), small.image.GetDirection(), atol=1e-6)
    np.testing.assert_array_equal(sitk.GetArrayViewFromImage(image), sitk.GetArrayViewFromImage(small.image))
    for name, truth in (("mask", small.mask), ("vertebrae", small.vertebrae)):
        written = sitk.ReadImage(str(tmp_path / "case" / f"{name}.nii.gz"))
        np.testing.assert_array_equal(sitk.GetArrayViewFromImage(written), sitk.GetArrayViewFromImage(truth))
        np.testing.assert_allclose(written.GetOrigin(), small.image.GetOrigin(), atol=1e-3)


def test_nifti_and_refusals(small, tmp_path):
    path = write_phantom(tmp_path / "case", small, "nifti")
    np.testing.assert_array_equal(
        sitk.GetArrayFromImage(sitk.ReadImage(str(path))), sitk.GetArrayFromImage(small.image)
    )
    with pytest.raises(InputError, match="dicom or nifti"):
        write_phantom(tmp_path, small, "jpeg")
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError):
        write_phantom(tmp_path / "file", small)
