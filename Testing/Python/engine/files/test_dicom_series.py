"""DICOM folders as hospitals export them, compared with the volume they were written from and with GDCM."""

from __future__ import annotations

import random
import shutil

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from ct_samples import (
    AXIAL,
    CORONAL_FLIPPED,
    SAGITTAL,
    assert_same_place,
    assert_sentence,
    edit,
    enhanced_ct,
    gdcm,
    oblique,
    sample_ct,
    stored,
    write_series,
)
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)
from SpineSegLib.engine.errors import InputError, OutputError
from SpineSegLib.engine.files.dicom_series import list_series
from SpineSegLib.engine.files.reading import read_volume


def test_real_series_is_what_gdcm_reads(shared_data):
    folder = shared_data / "cases" / "ts_example_dicom" / "dicom"
    volume = read_volume(folder)
    reference = gdcm(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder)))
    assert volume.image.GetPixelID() == sitk.sitkInt16
    assert_same_place(volume.image, sitk.Clamp(reference, sitk.sitkInt16, -1024, 32767))
    mask = sitk.ReadImage(str(folder.parent / "mask.nii.gz"))
    np.testing.assert_allclose(volume.image.GetSpacing(), mask.GetSpacing(), atol=1e-4)
    assert volume.name == "CT CT Body 3.0"
    assert len(volume.dicom_files) == 20
    assert not volume.notes


@pytest.mark.parametrize(
    "direction", [AXIAL, SAGITTAL, CORONAL_FLIPPED, oblique()], ids=["axial", "sagittal", "coronal flipped", "oblique"]
)
def test_any_direction_names_and_order(tmp_path, direction):
    truth = sample_ct(direction)
    files = write_series(tmp_path / "written", truth)
    # As exported: no endings, random names, instance numbers without meaning, subfolders, and other files among them.
    chance = random.Random(1)
    names = chance.sample(range(10**6), len(files))
    for file, name in zip(files, names, strict=True):
        edit(file, InstanceNumber=chance.randrange(1000))
        place = tmp_path / "export" / str(name % 2)
        place.mkdir(parents=True, exist_ok=True)
        file.rename(place / f"IM{name}")
    (tmp_path / "export" / "README.txt").write_text("export of the hospital")
    (tmp_path / "export" / "empty").write_bytes(b"")
    (tmp_path / "export" / "picture.jpg").write_bytes(b"\xff\xd8\xff\xe0" + bytes(500))

    volume = read_volume(tmp_path / "export")
    assert_same_place(volume.image, truth)
    assert np.linalg.det(np.array(volume.image.GetDirection()).reshape(3, 3)) == pytest.approx(1)
    # The files stand in the order of the slices.
    assert_same_place(gdcm(list(volume.dicom_files)), sitk.Cast(truth, sitk.sitkInt32))
    for index, file in enumerate(volume.dicom_files):
        expected = volume.image.TransformIndexToPhysicalPoint((0, 0, index))
        np.testing.assert_allclose(pydicom.dcmread(file).ImagePositionPatient, expected, atol=1e-6)


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_missing_preamble_and_meta_header(tmp_path, syntax):
    truth = sample_ct()
    for file in write_series(tmp_path / "s", truth):
        dataset = pydicom.dcmread(file)
        del dataset.file_meta
        dataset.preamble = None
        dataset.save_as(file, implicit_vr=syntax == ImplicitVRLittleEndian, little_endian=True)
        assert file.read_bytes()[128:132] != b"DICM"
    assert_same_place(read_volume(tmp_path / "s").image, truth)


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless, JPEG2000Lossless], ids=lambda uid: uid.name)
def test_compressed(tmp_path, syntax):
    truth = sample_ct(size=(40, 36, 3))
    for file in write_series(tmp_path / "s", truth):
        dataset = pydicom.dcmread(file)
        try:
            dataset.compress(syntax, generate_instance_uid=False)
        except RuntimeError:
            pytest.skip(f"no encoder for {syntax.name} installed")
        dataset.save_as(file)
    assert_same_place(read_volume(tmp_path / "s").image, truth)


def test_deflated(tmp_path):
    truth = sample_ct()
    for file in write_series(tmp_path / "s", truth):
        dataset = pydicom.dcmread(file)
        dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
        dataset.save_as(file)
    assert_same_place(read_volume(tmp_path / "s").image, truth)


@pytest.mark.parametrize("plugin", [True, False])
def test_jpeg_lossless_with_and_without_plugin(tmp_path, monkeypatch, plugin):
    """The transfer syntax most archives compress with; without a pydicom plugin the decoder in SimpleITK serves."""
    truth = sample_ct(size=(40, 36, 3))
    for file in write_series(tmp_path / "s", truth):
        dataset = pydicom.dcmread(file)
        picture = sitk.GetImageFromArray(stored(file)[None])
        sitk.WriteImage(picture, str(tmp_path / "jpeg.dcm"), useCompression=True, compressor="JPEG")
        compressed = pydicom.dcmread(tmp_path / "jpeg.dcm")
        assert compressed.file_meta.TransferSyntaxUID == JPEGLosslessSV1
        dataset.file_meta.TransferSyntaxUID = JPEGLosslessSV1
        dataset.PixelData = compressed.PixelData
        dataset["PixelData"].VR = "OB"
        dataset.save_as(file)
    if not plugin:

        def none_installed(uid):
            raise NotImplementedError

        monkeypatch.setattr(pydicom.pixels, "get_decoder", none_installed)
    elif not pydicom.pixels.get_decoder(JPEGLosslessSV1).is_available:
        pytest.skip("no pydicom plugin for JPEG lossless installed")
    assert_same_place(read_volume(tmp_path / "s").image, truth)


@pytest.mark.parametrize("per_frame", [True, False])
@pytest.mark.parametrize("direction", [AXIAL, SAGITTAL, oblique()], ids=["axial", "sagittal", "oblique"])
def test_enhanced_multi_frame(tmp_path, direction, per_frame):
    truth = sample_ct(direction)
    files = write_series(tmp_path / "s", truth)
    edit(files[2], RescaleSlope=2, RescaleIntercept=-2048)
    (tmp_path / "e").mkdir()
    enhanced_ct(files, [3, 0, 6, 5, 1, 2, 4], per_frame).save_as(tmp_path / "e" / "0001")
    expected = sitk.GetArrayFromImage(truth)
    expected[2] = (expected[2] + 1024) * 2 - 2048
    image = sitk.GetImageFromArray(np.maximum(expected, -1024))
    image.CopyInformation(truth)
    for place in (tmp_path / "e", tmp_path / "e" / "0001"):
        volume = read_volume(place)
        assert_same_place(volume.image, image)
        assert volume.dicom_files == (tmp_path / "e" / "0001",)


def test_enhanced_with_a_frame_in_each_file(tmp_path):
    truth = sample_ct(oblique())
    files = write_series(tmp_path / "s", truth)
    (tmp_path / "e").mkdir()
    for n, file in enumerate(files):
        enhanced_ct([file], [0], per_frame=True).save_as(tmp_path / "e" / f"{n:04d}")
    assert_same_place(read_volume(tmp_path / "e").image, truth)


def test_rescaling_differs_between_slices(tmp_path):
    truth = sample_ct()
    files = write_series(tmp_path / "s", truth)
    edit(files[1], RescaleSlope="0.5", RescaleIntercept="-1000.25")
    volume = read_volume(tmp_path / "s")
    assert volume.image.GetPixelID() == sitk.sitkFloat32
    expected = sitk.GetArrayFromImage(truth).astype(np.float32)
    expected[1] = (expected[1] + 1024) * 0.5 - 1000.25
    np.testing.assert_array_equal(sitk.GetArrayFromImage(volume.image), expected)


@pytest.mark.parametrize("signed", [True, False])
def test_twelve_bits_with_overlay_in_the_bits_above(tmp_path, signed):
    """Values 12 bits wide; what stands in the four bits above is no part of them."""
    files = write_series(tmp_path / "s")
    rng = np.random.default_rng(2)
    values = rng.integers(-1024, 1024, (len(files), 9, 11)) + (0 if signed else 1024)
    for file, slice_ in zip(files, values, strict=True):
        above = rng.integers(0, 16, slice_.shape) << 12
        edit(
            file,
            BitsStored=12,
            HighBit=11,
            PixelRepresentation=int(signed),
            RescaleIntercept=0 if signed else -1024,
            PixelData=((slice_ & 0xFFF) | above).astype("<u2").tobytes(),
        )
    read = sitk.GetArrayFromImage(read_volume(tmp_path / "s").image)
    np.testing.assert_array_equal(read, values - (0 if signed else 1024))


@pytest.mark.parametrize(
    ("padding", "representation", "attribute"),
    [(-2000, 1, -2000), (63536, 0, 63536), (-3024, 1, -3024), (-2000, 1, None), (-32768, 1, -32768)],
)
def test_padding_is_air(tmp_path, padding, representation, attribute):
    """Outside the field of view scanners store -2000 or -3024, some as unsigned numbers, some without saying so."""
    truth = sitk.GetArrayFromImage(sample_ct())
    truth[:, :3, :3] = -1024
    for file, values in zip(write_series(tmp_path / "s"), truth, strict=True):
        data = values.astype(np.int64) + (0 if representation else 1024)
        data[:3, :3] = padding
        edit(
            file,
            PixelRepresentation=representation,
            RescaleIntercept=0 if representation else -1024,
            PixelData=data.astype("<i2" if representation else "<u2").tobytes(),
        )
        if attribute is not None:
            dataset = pydicom.dcmread(file)
            dataset.add_new("PixelPaddingValue", "SS" if representation else "US", attribute)
            dataset.save_as(file)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(read_volume(tmp_path / "s").image), truth)


def test_values_in_the_highest_bits(tmp_path):
    """12 bits wide, with the four bits below them belonging to no pixel."""
    truth = np.random.default_rng(2).integers(-1024, 2000, (7, 9, 11))
    for file, slice_ in zip(write_series(tmp_path / "s"), truth, strict=True):
        data = ((slice_ + 1024) << 4 | 5).astype("<u2")
        edit(file, BitsStored=12, HighBit=15, RescaleIntercept=-1024, PixelData=data.tobytes())
    np.testing.assert_array_equal(sitk.GetArrayFromImage(read_volume(tmp_path / "s").image), truth)


@pytest.mark.parametrize(("limit", "believed"), [(-950, True), (100, False)])
def test_a_range_of_padding_is_air_where_it_holds_no_tissue(tmp_path, limit, believed):
    truth = sitk.GetArrayFromImage(sample_ct()).astype(np.int16)
    truth[:, :3, :3] = -960
    for file, values in zip(write_series(tmp_path / "s"), truth, strict=True):
        edit(file, PixelRepresentation=1, RescaleIntercept=0, PixelData=values.astype("<i2").tobytes())
        dataset = pydicom.dcmread(file)
        dataset.add_new("PixelPaddingValue", "SS", -2000)
        dataset.add_new("PixelPaddingRangeLimit", "SS", limit)
        dataset.save_as(file)
    expected = np.where((truth <= limit) & believed, -1024, truth)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(read_volume(tmp_path / "s").image), expected)


def test_padding_value_inside_tissue_is_not_believed(tmp_path):
    truth = sample_ct()
    for file in write_series(tmp_path / "s", truth):
        dataset = pydicom.dcmread(file)
        dataset.add_new("PixelPaddingValue", "US", 1024)  # 0 HU
        dataset.save_as(file)
    assert_same_place(read_volume(tmp_path / "s").image, truth)


def test_images_without_a_position_are_told(tmp_path):
    """They may be slices at the end of the CT, where nothing else shows that they are missing."""
    files = write_series(tmp_path / "s")
    for path in files[-2:]:
        edit(path, ImagePositionPatient=None)
    volume = read_volume(tmp_path / "s")
    assert volume.grid.shape[0] == len(files) - 2
    assert volume.notes == ("2 images in the series don't say where they lie and were left out.",)


def test_scouts_are_passed_over(tmp_path):
    truth = sample_ct()
    folder = tmp_path / "export"
    write_series(folder / "ct", truth, seed=1, series_number=2, series_description="Thorax 2.5")
    # One scout with the type it should have, in the CT's own series; another one that looks like a normal slice.
    scouts = write_series(folder / "scout", sample_ct(SAGITTAL, size=(30, 40, 2)), seed=1, series_number=1)
    ct = pydicom.dcmread(next((folder / "ct").iterdir()))
    edit(scouts[0], ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"], SeriesInstanceUID=ct.SeriesInstanceUID)
    volume = read_volume(folder)
    assert_same_place(volume.image, truth)
    assert volume.name == "CT 2 Thorax 2.5"


def test_several_series_are_listed_and_chosen(tmp_path):
    thorax, abdomen = sample_ct(seed=1), sample_ct(seed=2, size=(11, 9, 5))
    write_series(tmp_path / "a", thorax, seed=1, series_number=3, series_description="Thorax B70")
    files = write_series(tmp_path / "b", abdomen, seed=1, series_number=4, series_description="Abdomen")
    with pytest.raises(InputError) as error:
        read_volume(tmp_path)
    message = assert_sentence(error)
    for part in ("--series", "number 3 'Thorax B70' (CT, 7 slices)", "number 4 'Abdomen' (CT, 5 slices)"):
        assert part in message
    uid = pydicom.dcmread(files[0]).SeriesInstanceUID
    for choice in ("4", 4, "abdomen", uid):
        assert_same_place(read_volume(tmp_path, choice).image, abdomen)
    assert_same_place(read_volume(tmp_path, "3").image, thorax)
    # One file stands for its series, also when another series is in the folder.
    shutil.copytree(
        tmp_path / "a", tmp_path / "b", dirs_exist_ok=True, copy_function=lambda a, b: shutil.copy(a, b + "x")
    )
    assert_same_place(read_volume(files[1]).image, abdomen)
    with pytest.raises(InputError, match=r"'Pelvis'.*Thorax B70"):
        read_volume(tmp_path, "Pelvis")
    listed = list_series(tmp_path / "a")
    assert [(series.number, series.description, series.slices) for series in listed] == [(3, "Thorax B70", 7)]


def test_equal_names_are_told_apart_by_uid(tmp_path):
    uids = []
    for seed in (1, 2):
        files = write_series(tmp_path / str(seed), seed=seed)
        uids.append(pydicom.dcmread(files[0]).SeriesInstanceUID)
    with pytest.raises(InputError) as error:
        read_volume(tmp_path, "1")
    assert all(uid in assert_sentence(error) for uid in uids)


def test_series_without_any_uid(tmp_path):
    """As anonymisation leaves them, the real example for one."""
    truth = sample_ct(seed=5)
    for number, image in ((1, sample_ct(seed=4)), (2, truth)):
        for file in write_series(tmp_path / str(number), image, series_number=number):
            edit(file, SeriesInstanceUID="", StudyInstanceUID="", SOPClassUID="")
    assert_same_place(read_volume(tmp_path, 2).image, truth)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"Modality": "MR"}, "not a CT but MR"),
        ({"Modality": "PT"}, "not a CT but PT"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, "only a scout"),
        ({"ImagePositionPatient": None}, "no slice positions"),
        ({"SamplesPerPixel": 3}, "colour"),
        ({"RescaleType": "Z_EFF"}, "not in HU"),
    ],
)
def test_what_is_no_ct_volume(tmp_path, change, reason):
    for file in write_series(tmp_path / "s", series_number=7):
        edit(file, **change)
    for choice in (None, 7):
        with pytest.raises(InputError, match=reason) as error:
            read_volume(tmp_path, choice)
        assert_sentence(error)


def test_one_slice(tmp_path):
    for file in write_series(tmp_path / "s")[1:]:
        file.unlink()
    with pytest.raises(InputError, match="at least two") as error:
        read_volume(tmp_path)
    assert_sentence(error)


def test_missing_slices_say_where(tmp_path):
    files = write_series(tmp_path / "s", sample_ct(size=(11, 9, 12)))
    for index in (4, 5, 9):
        files[index].unlink()
    with pytest.raises(InputError) as error:
        read_volume(tmp_path / "s")
    message = assert_sentence(error)
    assert "3 slices are missing" in message
    # Slice 3 lies at -104.75 + 3 * 2.5 mm, slice 6 at -89.75 mm.
    assert "-97.2 and -89.8 mm" in message
    assert "-84.8 and -79.8 mm" in message


def test_doubled_slices(tmp_path):
    truth = sample_ct()
    files = write_series(tmp_path / "s", truth)
    shutil.copy(files[3], tmp_path / "s" / "again")
    with pytest.raises(InputError) as error:
        read_volume(tmp_path)
    assert "--repair" in assert_sentence(error)
    volume = read_volume(tmp_path, repair=True)
    assert_same_place(volume.image, truth)
    assert len(volume.dicom_files) == 7
    assert "twice" in volume.notes[0]

    edit(tmp_path / "s" / "again", PixelData=bytes(2 * 11 * 9))
    with pytest.raises(InputError, match=r"same position \(-97\.2 mm\)") as error:
        read_volume(tmp_path)
    assert_sentence(error)


def test_equal_slices_beside_each_other_are_not_doubled(tmp_path):
    files = write_series(tmp_path / "s")
    x, y, z = pydicom.dcmread(files[3]).ImagePositionPatient
    shutil.copy(files[3], tmp_path / "s" / "beside")
    edit(tmp_path / "s" / "beside", ImagePositionPatient=[float(x) + 5, y, z])
    with pytest.raises(InputError, match="same position"):
        read_volume(tmp_path, repair=True)


def test_two_sizes_of_pixels_in_one_series(tmp_path):
    for file in write_series(tmp_path / "s")[4:]:
        edit(file, PixelSpacing=[0.5, 0.5])
    with pytest.raises(InputError, match="mixes 2 sets"):
        read_volume(tmp_path)


def test_positions_rounded_by_the_scanner_are_even_enough(tmp_path):
    image = sample_ct(size=(11, 9, 30))
    image.SetSpacing((0.7, 0.9, 0.625))
    for file in write_series(tmp_path / "s", image):
        x, y, z = pydicom.dcmread(file).ImagePositionPatient
        edit(file, ImagePositionPatient=[x, y, round(float(z), 1)])
    read = read_volume(tmp_path).image
    assert read.GetSpacing()[2] == pytest.approx(0.625, abs=0.005)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(read), sitk.GetArrayFromImage(image))


def test_uneven_slices(tmp_path):
    for index, file in enumerate(write_series(tmp_path / "s", sample_ct(size=(11, 9, 12)))):
        x, y, z = pydicom.dcmread(file).ImagePositionPatient
        edit(file, ImagePositionPatient=[x, y, float(z) + max(0, index - 6) * 1.0])
    with pytest.raises(InputError, match=r"2\.50 to 3\.50 mm") as error:
        read_volume(tmp_path)
    assert_sentence(error)


def test_two_directions_in_one_series(tmp_path):
    axial = write_series(tmp_path / "a")
    uid = pydicom.dcmread(axial[0]).SeriesInstanceUID
    for file in write_series(tmp_path / "b", sample_ct(SAGITTAL)):
        edit(file, SeriesInstanceUID=uid)
    with pytest.raises(InputError, match="mixes 2 sets") as error:
        read_volume(tmp_path)
    assert_sentence(error)
    # A single odd image is left out instead.
    for file in sorted((tmp_path / "b").iterdir())[1:]:
        file.unlink()
    volume = read_volume(tmp_path)
    assert volume.image.GetSize() == (11, 9, 7)
    assert "left out" in volume.notes[0]


def tilted(folder, degrees: float, pattern) -> tuple[np.ndarray, float]:
    """A series of a tilted gantry that shows `pattern(points in mm, LPS)`; returns the slices' normal and distance."""
    angle, table_step, pixel = np.radians(degrees), 2.5, 1.0
    down = np.array([0.0, np.cos(angle), np.sin(angle)])
    normal = np.cross([1.0, 0, 0], down)
    files = write_series(folder, sample_ct(size=(40, 60, 30)))
    for index, file in enumerate(files):
        position = np.array([-20.0, -30.0, index * table_step])
        y, x = np.mgrid[0:60, 0:40] * pixel
        points = position + x[..., None] * np.array([1.0, 0, 0]) + y[..., None] * down
        edit(
            file,
            ImagePositionPatient=position.tolist(),
            ImageOrientationPatient=[1, 0, 0, *down.tolist()],
            PixelSpacing=[pixel, pixel],
            PixelData=(np.rint(pattern(points)) + 1024).astype("<u2").tobytes(),
        )
    return normal, table_step * np.cos(angle)


@pytest.mark.parametrize("degrees", [15, -22])
def test_gantry_tilt_is_straightened(tmp_path, degrees):
    """A smooth pattern in patient space must be found in its place again, with air around what was scanned."""

    def pattern(points):
        x, y, z = np.moveaxis(points, -1, 0)
        return 400 * np.sin(x / 9) * np.cos((y + 4) / 8) + 5 * z - 300

    normal, distance = tilted(tmp_path / "s", degrees, pattern)
    with pytest.raises(InputError) as error:
        read_volume(tmp_path)
    assert "--repair" in assert_sentence(error)
    volume = read_volume(tmp_path, repair=True)
    image = volume.image
    assert f"tilted by {abs(degrees)}.0 degrees" in volume.notes[0]
    direction = np.array(image.GetDirection()).reshape(3, 3)
    np.testing.assert_allclose(direction.T @ direction, np.eye(3), atol=1e-9)
    np.testing.assert_allclose(direction[:, 2], normal, atol=1e-6)
    assert image.GetSpacing() == pytest.approx((1, 1, distance))

    array = sitk.GetArrayFromImage(image)
    z, y, x = np.indices(array.shape)
    index = np.stack([x, y, z], axis=-1) * image.GetSpacing()
    points = index @ direction.T + image.GetOrigin()
    # Where slices have been: air elsewhere. The parallelepiped of the slices, less a pixel for interpolation.
    from_first = points - [-20, -30, 0]
    steps = from_first @ normal / distance
    aside = from_first - steps[..., None] * [0, 0, 2.5]
    down = direction[:, 1]
    inside = (aside[..., 0] > 0) & (aside[..., 0] < 39) & (aside @ down > 1) & (aside @ down < 58)
    assert inside.mean() > 0.4
    # Linear interpolation between pixels 1 mm apart of a pattern with second derivative up to 400 / 64.
    assert np.abs(array - pattern(points))[inside].max() < 3
    outside = (aside @ down < -1) | (aside @ down > 60)
    assert outside.any()
    assert (array[outside] == -1024).all()


def test_small_drift_keeps_the_grid(tmp_path):
    """A drift below a quarter of a pixel is left alone, so that the grid stays that of the instances."""
    for index, file in enumerate(write_series(tmp_path / "s")):
        x, y, z = pydicom.dcmread(file).ImagePositionPatient
        edit(file, ImagePositionPatient=[float(x) + 0.02 * index, y, z])
    volume = read_volume(tmp_path)
    assert not volume.notes
    assert volume.image.GetSize() == (11, 9, 7)
    assert volume.image.GetOrigin()[0] == pytest.approx(-12.5 + 0.06)


def test_truncated_header(tmp_path):
    """At the end of the stack, where no gap would tell."""
    files = write_series(tmp_path / "s")
    data = files[-1].read_bytes()
    place = data.index(b"\x28\x00\x02\x00")  # Samples per Pixel, after position and identifiers
    files[-1].write_bytes(data[:place])
    with pytest.raises(InputError, match="lacks its position") as error:
        read_volume(tmp_path)
    assert_sentence(error)


@pytest.mark.parametrize("keep", [0.4, 0.95])
def test_truncated_file(tmp_path, keep):
    files = write_series(tmp_path / "s", sample_ct(size=(40, 36, 5)))
    data = files[2].read_bytes()
    files[2].write_bytes(data[: int(len(data) * keep)])
    with pytest.raises(InputError, match="truncated or damaged") as error:
        read_volume(tmp_path)
    assert_sentence(error)


def test_damaged_header(tmp_path):
    files = write_series(tmp_path / "s")
    for change in ({"PixelSpacing": [0, 0]}, {"ImageOrientationPatient": [1, 0, 0, 1, 0, 0]}, {"RescaleSlope": 0}):
        before = files[3].read_bytes()
        edit(files[3], **change)
        with pytest.raises(InputError, match="lacks its position") as error:
            read_volume(tmp_path)
        assert_sentence(error)
        files[3].write_bytes(before)


@pytest.mark.parametrize(
    "content", [None, b"", b"not DICOM", bytes(range(256)) * 40, b"\0" * 128 + b"DICM" + b"\x99" * 300]
)
def test_folder_without_images(tmp_path, content):
    if content is not None:
        (tmp_path / "file").write_bytes(content)
    with pytest.raises(InputError, match="no DICOM images") as error:
        read_volume(tmp_path)
    assert_sentence(error)


def test_errors_name_no_patient(tmp_path):
    files = write_series(tmp_path / "s", patient="Doe^Jane")
    files[3].rename(tmp_path / "s" / "Doe_Jane_0004.dcm")
    files[4].unlink()
    with pytest.raises(InputError) as error:
        read_volume(tmp_path / "s")
    assert "Doe" not in assert_sentence(error)


def test_written_series_is_valid_and_the_same_for_the_same_seed(tmp_path):
    image = sample_ct(oblique())
    first = write_series(tmp_path / "a", image, seed=7)
    again = write_series(tmp_path / "b", image, seed=7)
    other = write_series(tmp_path / "c", image, seed=8)
    assert all(a.read_bytes() == b.read_bytes() for a, b in zip(first, again, strict=True))
    uids = {pydicom.dcmread(file).SOPInstanceUID for file in first + other}
    assert len(uids) == 2 * len(first)
    assert_same_place(gdcm(first), sitk.Cast(image, sitk.sitkInt32))
    dataset = pydicom.dcmread(first[0])
    assert dataset.file_meta.MediaStorageSOPInstanceUID == dataset.SOPInstanceUID
    assert all(len(str(value)) <= 16 for value in dataset["ImageOrientationPatient"].value)
    with pytest.raises(OutputError, match="exists already"):
        write_series(tmp_path / "a", image)
    assert sorted(tmp_path.iterdir()) == [tmp_path / "a", tmp_path / "b", tmp_path / "c"]
