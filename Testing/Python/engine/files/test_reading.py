"""Volume files and label maps: the same HU at the same place; what can't be used gets one sentence."""

from __future__ import annotations

import gzip
import itertools
import os
import struct
import subprocess
import sys

import numpy as np
import pytest
import SimpleITK as sitk
from ct_samples import CORONAL_FLIPPED, SAGITTAL, assert_same_place, assert_sentence, oblique, sample_ct, write_series
from SpineSegLib.engine.errors import InputError
from SpineSegLib.engine.files import gzipped
from SpineSegLib.engine.files.reading import read_labelmap, read_volume, segment_names


def from_array(array: np.ndarray, like: sitk.Image | None = None) -> sitk.Image:
    image = sitk.GetImageFromArray(array)
    image.CopyInformation(sample_ct() if like is None else like)
    return image


def saved(tmp_path, array: np.ndarray, name: str = "ct.nrrd"):
    sitk.WriteImage(from_array(array), str(tmp_path / name))
    return tmp_path / name


def values(kind=np.float32) -> np.ndarray:
    return sitk.GetArrayFromImage(sample_ct()).astype(kind)


@pytest.mark.parametrize("ending", [".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd", ".NII.GZ"])
@pytest.mark.parametrize("direction", [SAGITTAL, CORONAL_FLIPPED, oblique()], ids=["sagittal", "flipped", "oblique"])
def test_every_format_and_direction(tmp_path, ending, direction):
    truth = sample_ct(direction)
    path = tmp_path / f"Liver phase 2{ending.lower()}"
    sitk.WriteImage(truth, str(path))
    if ending.isupper():
        path = path.rename(tmp_path / f"Liver phase 2{ending}")
    volume = read_volume(path)
    assert volume.image.GetPixelID() == sitk.sitkInt16
    assert volume.name == "Liver phase 2"
    assert volume.dicom_files == ()
    assert volume.notes == ()
    assert_same_place(volume.image, truth)


@pytest.mark.parametrize("case", ["ts_example_ct", "tptbox_L3"])
def test_real_files(shared_data, case):
    path = shared_data / "cases" / case / "ct.nii.gz"
    expected = sitk.Clamp(sitk.ReadImage(str(path)), sitk.sitkInt16, -1024, 32767)
    volume = read_volume(path)
    assert volume.image.GetDirection() == expected.GetDirection()
    np.testing.assert_array_equal(sitk.GetArrayFromImage(volume.image), sitk.GetArrayFromImage(expected))


def test_whole_floats_become_int16_and_others_float32(tmp_path):
    whole = read_volume(saved(tmp_path, values(np.float64))).image
    assert whole.GetPixelID() == sitk.sitkInt16
    np.testing.assert_array_equal(sitk.GetArrayFromImage(whole), values())
    broken = read_volume(saved(tmp_path, values() + np.float32(0.25))).image
    assert broken.GetPixelID() == sitk.sitkFloat32
    np.testing.assert_array_equal(sitk.GetArrayFromImage(broken), values() + np.float32(0.25))


@pytest.mark.parametrize("kind", [np.int16, np.int32, np.float32])
@pytest.mark.parametrize("padding", [-2000, -3024, -1025])
def test_padding_is_air(tmp_path, kind, padding):
    array = values(kind)
    array[:, :2, :3] = padding
    read = sitk.GetArrayFromImage(read_volume(saved(tmp_path, array)).image)
    assert (read[:, :2, :3] == -1024).all()
    np.testing.assert_array_equal(read[:, 2:], values()[:, 2:])


def test_eight_bits_with_sign(tmp_path):
    """A soft tissue window, say: coarse, but HU."""
    array = RNG.integers(-128, 128, (7, 9, 11)).astype(np.int8)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(read_volume(saved(tmp_path, array)).image), array)


def test_values_beyond_16_bits_are_cut_off(tmp_path):
    array = values(np.int32)
    array[3, 3, 3] = 40000
    assert sitk.GetArrayFromImage(read_volume(saved(tmp_path, array)).image)[3, 3, 3] == 32767


def test_few_nan_and_infinities_are_air_where_allowed(tmp_path):
    array = values()
    array[0, 0, :3] = np.nan, np.inf, -np.inf
    with pytest.raises(InputError) as error:
        read_volume(saved(tmp_path, array))
    assert "3 voxels are no number" in assert_sentence(error)
    volume = read_volume(saved(tmp_path, array), repair=True)
    assert (sitk.GetArrayFromImage(volume.image)[0, 0, :3] == -1024).all()
    assert "3 voxels" in volume.notes[0]


def test_a_fourth_dimension_of_one_is_no_dimension(tmp_path):
    array = values(np.int16)
    image = sitk.JoinSeries([from_array(array)])
    sitk.WriteImage(image, str(tmp_path / "ct.nii.gz"))
    assert_same_place(read_volume(tmp_path / "ct.nii.gz").image, sample_ct())


# --- what can't be used -----------------------------------------------------------------------------------------------

RNG = np.random.default_rng(3)
NOT_HU = {
    "label map": (RNG.integers(0, 3, (7, 9, 11)).astype(np.uint8), "label map"),
    "atlas": (RNG.choice(np.arange(0, 6000, 50), (7, 9, 11)).astype(np.int16), "label map"),
    "8 bits": (RNG.integers(0, 256, (7, 9, 11)).astype(np.uint8), "8-bit"),
    "0 to 1": (RNG.random((7, 9, 11)).astype(np.float32), "normalised"),
    "z-scores": (RNG.normal(size=(7, 9, 11)).astype(np.float32), "normalised"),
    "MR": (np.abs(RNG.normal(300, 200, (7, 9, 11))).astype(np.float32), "MR or PET"),
    "offset": (sitk.GetArrayFromImage(sample_ct(size=(11, 9, 7))).astype(np.int16) + np.int16(1024), "offset"),
    "only NaN": (np.full((7, 9, 11), np.nan, np.float32), "NaN"),
}


@pytest.mark.parametrize("name", NOT_HU)
def test_not_in_hu(tmp_path, name):
    array, reason = NOT_HU[name]
    with pytest.raises(InputError, match=reason) as error:
        read_volume(saved(tmp_path, array))
    assert_sentence(error)


def test_not_three_dimensions(tmp_path):
    rgb = sitk.GetImageFromArray(np.zeros((4, 5, 6, 3), np.uint8), isVector=True)
    series = sitk.JoinSeries([sample_ct(), sample_ct()])
    for image, reason in ((rgb, "colours"), (series, "4 dimensions"), (sample_ct()[:, :, 2], "single slice")):
        sitk.WriteImage(image, str(tmp_path / "x.nrrd"))
        with pytest.raises(InputError, match=reason) as error:
            read_volume(tmp_path / "x.nrrd")
        assert_sentence(error)
    for cut in (np.s_[:, :, 2:3], np.s_[2:3, :, :]):
        sitk.WriteImage(sample_ct()[cut], str(tmp_path / "x.nrrd"))
        with pytest.raises(InputError, match="single slice"):
            read_volume(tmp_path / "x.nrrd")


def nifti(tmp_path, offset: int, layout: str, *numbers) -> os.PathLike:
    """A NIfTI file whose header is changed at `offset`."""
    path = tmp_path / "ct.nii"
    sitk.WriteImage(sample_ct(), str(path))
    data = bytearray(path.read_bytes())
    struct.pack_into(layout, data, offset, *numbers)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("offset", "layout", "numbers", "reason"),
    [
        (252, "<hh", (0, 0), "how the patient lies"),
        (80, "<f", (0.0,), "voxel size of zero"),
        (80, "<f", (float("nan"),), "voxel size|damaged"),
        (123, "<B", (1,), "fits no CT"),  # metres
        (40, "<h", (4000,), "damaged|dimensions"),
        (0, "<i", (1,), "damaged"),
    ],
    ids=["no orientation", "zero spacing", "NaN spacing", "metres", "dimensions", "magic"],
)
def test_nifti_header(tmp_path, offset, layout, numbers, reason):
    with pytest.raises(InputError, match=reason) as error:
        read_volume(nifti(tmp_path, offset, layout, *numbers))
    assert_sentence(error)


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
@pytest.mark.parametrize("qform", [0, 1])
def test_nifti_that_says_two_things_of_its_grid(tmp_path, ending, qform):
    sitk.WriteImage(sample_ct(oblique()), str(tmp_path / "ct.nii"))
    data = bytearray((tmp_path / "ct.nii").read_bytes())
    rows = np.array(struct.unpack_from("<12f", data, 280)).reshape(3, 4)
    sheared, larger = rows.copy(), rows.copy()
    sheared[:, 2] += 0.1 * rows[:, 1]
    larger[:, 0] *= 1.2
    for axes, reason in ((rows, None), (sheared, "right angles"), (larger, "contradicts itself")):
        struct.pack_into("<hh", data, 252, qform, 1)
        struct.pack_into("<12f", data, 280, *axes.ravel())
        path = tmp_path / f"x{ending}"
        path.write_bytes(gzip.compress(data) if ending == ".nii.gz" else data)
        if reason is None:
            assert read_volume(path).grid.spacing == pytest.approx(sample_ct().GetSpacing()[::-1])
        else:
            with pytest.raises(InputError, match=reason) as error:
                read_volume(path)
            assert_sentence(error)


@pytest.mark.parametrize("kind", ["uint8", "int8", "int16", "uint16", "int32", "uint32", "float32", "float64"])
def test_compressed_nifti_is_read_as_the_plain_one(tmp_path, kind):
    """ITK reads the plain file, `checked_voxels` the compressed one."""
    labels = sitk.GetImageFromArray(np.random.default_rng(0).integers(0, 100, (4, 5, 6)).astype(kind))
    labels.CopyInformation(sample_ct(size=(6, 5, 4)))
    for name in ("mask.nii", "mask.nii.gz"):
        sitk.WriteImage(labels, str(tmp_path / name))
    plain, compressed = (read_labelmap(tmp_path / name) for name in ("mask.nii", "mask.nii.gz"))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(compressed), sitk.GetArrayFromImage(labels))
    for of in ("GetPixelID", "GetSize", "GetSpacing", "GetOrigin", "GetDirection"):
        assert getattr(plain, of)() == getattr(compressed, of)()


@pytest.mark.parametrize(
    ("order", "slope", "intercept"),
    [("<", 0, 0), ("<", 1, 0), ("<", 0, 5), ("<", 2, 0), ("<", 1, -24), (">", 0, 0), (">", 1, 0)],
)
def test_compressed_nifti_scaled_or_in_the_other_byte_order(tmp_path, order, slope, intercept):
    path = nifti(tmp_path, 112, "<2f", slope, intercept)
    data = bytearray(path.read_bytes())
    if order == ">":
        for offset, layout in ((0, "i"), (40, "8h"), (68, "4h"), (76, "8f"), (108, "3f"), (252, "2h"), (256, "18f")):
            struct.pack_into(f">{layout}", data, offset, *struct.unpack_from(f"<{layout}", data, offset))
        data[352:] = np.frombuffer(bytes(data[352:]), "<i2").astype(">i2").tobytes()
    (tmp_path / "ct.nii.gz").write_bytes(gzip.compress(bytes(data)))
    expected = sitk.GetArrayFromImage(sample_ct()).astype(float) * (slope or 1) + intercept
    found = sitk.GetArrayFromImage(read_volume(tmp_path / "ct.nii.gz").image)
    np.testing.assert_allclose(found, np.maximum(expected, -1024))


def nrrd(tmp_path, data: bytes, *fields: str, name: str = "ct.nrrd") -> os.PathLike:
    """A .nrrd file of int16 voxels, 6 x 5 x 4 of them, that holds `data` after a header with some more fields."""
    lines = ["NRRD0004", "# made by hand: with a comment", "type: short", "dimension: 3", "sizes: 6 5 4", *fields]
    lines += ["space: left-posterior-superior", "space directions: (1,0,0) (0,1,0) (0,0,2)", "space origin: (7,8,9)"]
    (tmp_path / name).write_bytes("\n".join([*lines, "a key:=a: value", "", ""]).encode() + data)
    return tmp_path / name


NRRD_VOXELS = np.random.default_rng(3).integers(-1000, 1000, (4, 5, 6)).astype(np.int16)


@pytest.mark.parametrize("encoding", ["gzip", "gz", "GZip"])
@pytest.mark.parametrize(("endian", "order"), [("little", "<"), ("big", ">"), ("Big", ">")])
def test_compressed_nrrd(tmp_path, monkeypatch, encoding, endian, order):
    monkeypatch.setattr(sitk.ImageFileReader, "Execute", None)  # ITK is not asked for the voxels
    data = NRRD_VOXELS.astype(f"{order}i2").tobytes()
    fields = [f"endian: {endian}", f"encoding: {encoding}"]
    for compressed in (gzip.compress(data), gzip.compress(data[:100]) + gzip.compress(data[100:])):
        volume = read_volume(nrrd(tmp_path, compressed, *fields))
        assert volume.array.dtype == np.int16
        np.testing.assert_array_equal(volume.array, NRRD_VOXELS)
        assert (volume.grid.spacing, volume.grid.origin) == ((2.0, 1.0, 1.0), (7.0, 8.0, 9.0))


@pytest.mark.parametrize("kind", ["int8", "int16", "int32", "int64", "float32", "float64"])
def test_compressed_nrrd_is_read_as_the_plain_one(tmp_path, kind):
    array = np.clip(values(), -128, 127) + (0.25 if "float" in kind else 0)
    for name in ("plain.nrrd", "compressed.nrrd"):
        image = from_array(array.astype(kind))
        sitk.WriteImage(image, str(tmp_path / name), useCompression=name == "compressed.nrrd")
    assert b"encoding: gzip" in (tmp_path / "compressed.nrrd").read_bytes()
    plain, compressed = (read_volume(tmp_path / name) for name in ("plain.nrrd", "compressed.nrrd"))
    assert plain.array.dtype == compressed.array.dtype
    np.testing.assert_array_equal(plain.array, compressed.array)
    assert plain.grid == compressed.grid


def test_nrrd_whose_voxels_are_not_right_behind_the_header(tmp_path):
    """ITK knows where they are."""
    data = NRRD_VOXELS.tobytes()
    fields = ["endian: little", "encoding: gzip"]
    (tmp_path / "ct.gz").write_bytes(gzip.compress(data))
    for path in (
        nrrd(tmp_path, gzip.compress(b"0123" + data), *fields, "byte skip: 4", name="skip.nrrd"),
        nrrd(tmp_path, b"", *fields, "data file: ct.gz", name="apart.nrrd"),
        nrrd(tmp_path, data, "endian: little", "encoding: raw", name="raw.nrrd"),
    ):
        volume = read_volume(path)
        np.testing.assert_array_equal(volume.array, NRRD_VOXELS)


def test_damaged_compressed_nrrd(tmp_path):
    fields = ["endian: little", "encoding: gzip"]
    data = gzip.compress(NRRD_VOXELS.tobytes())
    wrong_sum = bytearray(data)
    wrong_sum[-8] ^= 1
    for damaged in (data[:-1], data[: len(data) // 2], b"", bytes(wrong_sum), gzip.compress(NRRD_VOXELS[1:].tobytes())):
        with pytest.raises(InputError, match="damaged") as error:
            read_volume(nrrd(tmp_path, damaged, *fields))
        assert_sentence(error)
    huge = nrrd(tmp_path, data, *fields)
    huge.write_bytes(huge.read_bytes().replace(b"6 5 4", b"60000 60000 400"))
    with pytest.raises(InputError, match="damaged"):
        read_volume(huge)


def test_axes_not_at_right_angles(tmp_path):
    path = tmp_path / "ct.nii"
    sitk.WriteImage(sample_ct(), str(path))
    data = bytearray(path.read_bytes())
    struct.pack_into("<hh", data, 252, 0, 1)  # by sform alone
    struct.pack_into("<4f", data, 280, 0.7, 0.3, 0, 10)  # sheared
    path.write_bytes(data)
    with pytest.raises(InputError, match="right angles") as error:
        read_volume(path)
    assert_sentence(error)


@pytest.mark.parametrize("field", ["ElementSpacing = 0 0.9 2.5", "TransformMatrix = 0 0 0 0 0 0 0 0 0"])
def test_mha_header(tmp_path, field):
    path = tmp_path / "ct.mha"
    sitk.WriteImage(sample_ct(), str(path))
    header, rest = path.read_bytes().split(b"ElementDataFile", 1)
    lines = [line for line in header.decode().splitlines() if line.split(" ")[0] != field.split(" ")[0]]
    path.write_bytes("\n".join([*lines, field, ""]).encode() + b"ElementDataFile" + rest)
    with pytest.raises(InputError) as error:
        read_volume(path)
    assert_sentence(error)


@pytest.mark.parametrize("ending", [".nii", ".nii.gz", ".nrrd", ".mha"])
@pytest.mark.parametrize("keep", [0, 0.1, 0.5, 0.98])
def test_truncated(tmp_path, ending, keep):
    path = tmp_path / f"ct{ending}"
    sitk.WriteImage(sample_ct(size=(40, 30, 20)), str(path), useCompression=ending != ".nii")
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])
    with pytest.raises(InputError) as error:
        read_volume(path)
    assert_sentence(error)


@pytest.mark.parametrize("ending", [".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd"])
def test_encrypted_or_foreign_content(tmp_path, ending):
    path = tmp_path / f"ct{ending}"
    for content in (np.random.default_rng(0).bytes(5000), b"PK\x03\x04" + bytes(3000), gzip.compress(b"text" * 1000)):
        path.write_bytes(content)
        with pytest.raises(InputError) as error:
            read_volume(path)
        assert_sentence(error)


@pytest.mark.parametrize(
    ("ending", "data"), [(".mhd", ".raw"), (".mhd", ".zraw"), (".nhdr", ".raw"), (".nhdr", ".raw.gz")]
)
def test_truncated_data_file(tmp_path, ending, data):
    sitk.WriteImage(sample_ct(size=(40, 30, 20)), str(tmp_path / f"ct{ending}"), useCompression="z" in data)
    data = tmp_path / f"ct{data}"
    data.write_bytes(data.read_bytes()[: data.stat().st_size // 2])
    with pytest.raises(InputError, match="damaged") as error:
        read_volume(tmp_path / f"ct{ending}")
    assert_sentence(error)


def test_damage_inside_a_compressed_file(tmp_path):
    path = tmp_path / "ct.nii.gz"
    sitk.WriteImage(sample_ct(size=(40, 30, 20)), str(path))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(InputError, match="damaged") as error:
        read_volume(path)
    assert_sentence(error)


def test_a_compressed_file_in_several_members(tmp_path, monkeypatch):
    """As `cat a.gz b.gz` and tapes make them: one after the other, the last followed by zeros. The CT is larger than
    what is read and decompressed at once, in parts that compress well and not at all."""
    monkeypatch.setattr(gzipped, "PIECE", 2**20)
    array = np.random.default_rng(2).integers(-1000, 1000, (6, 320, 300)).astype(np.int16)
    array[2:4] = -1000
    array[5] = 40
    image = sitk.GetImageFromArray(array)
    sitk.WriteImage(image, str(tmp_path / "plain.nii"))
    data = (tmp_path / "plain.nii").read_bytes()
    path = tmp_path / "ct.nii.gz"
    cuts = (0, 100, 500_000, 500_000, len(data))  # the first ends within the header, one is empty
    members = [gzip.compress(data[start:stop]) for start, stop in itertools.pairwise(cuts)]
    path.write_bytes(b"".join(members) + bytes(300_000))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(read_volume(path).image), array)
    wrong_sum = bytearray(members[-1])
    wrong_sum[-8] ^= 1
    for last in (bytes(wrong_sum), members[-1][:-1], members[-1] + b"more", b""):
        path.write_bytes(b"".join(members[:-1]) + last)
        with pytest.raises(InputError, match="damaged"):
            read_volume(path)


def test_header_without_its_data_file(tmp_path):
    for ending, data in ((".mhd", "ct.raw"), (".nhdr", "ct.raw")):
        sitk.WriteImage(sample_ct(), str(tmp_path / f"ct{ending}"))
        (tmp_path / data).unlink()
        with pytest.raises(InputError, match="damaged") as error:
            read_volume(tmp_path / f"ct{ending}")
        assert_sentence(error)


def test_nothing_there_or_not_an_image(tmp_path):
    (tmp_path / "notes.txt").write_text("CT of the spine")
    (tmp_path / "picture.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))
    for path, reason in (
        (tmp_path / "missing.nii.gz", "does not exist"),
        (tmp_path / "notes.txt", "no image SpineSeg can read"),
        (tmp_path / "picture.png", "no image SpineSeg can read"),
        (tmp_path / "notes.txt" / "ct.nii", "does not exist|can't be opened"),
        (tmp_path / ("x" * 5000), "can't be opened"),
    ):
        with pytest.raises(InputError, match=reason) as error:
            read_volume(path)
        assert str(error.value).endswith(".")
        with pytest.raises(InputError):
            read_labelmap(path)


CLOSED = """
import os, sys
from pathlib import Path
import pydicom, pydicom.pixels
from SpineSegLib.engine.files import dicom_series, dicom_volume
from SpineSegLib.engine.errors import InputError
from SpineSegLib.engine.files.reading import read_volume

if os.geteuid() == 0:
    os.setuid(65534)  # permissions don't bind root
for path in sys.argv[1:]:
    try:
        read_volume(path)
    except InputError as error:
        print(error)
"""


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX permissions")
def test_no_permission(tmp_path):
    paths = [saved(tmp_path, values(np.int16), f"ct{ending}") for ending in (".nii", ".nii.gz", ".nrrd", ".mha")]
    files = write_series(tmp_path / "s")
    paths += [tmp_path / "s", tmp_path / "closed"]
    (tmp_path / "closed").mkdir()
    for folder in (tmp_path, *tmp_path.parents[:2]):
        if folder.stat().st_uid == os.geteuid():
            folder.chmod(folder.stat().st_mode | 0o555)
    for path in [*paths[:-2], files[3], paths[-1]]:
        path.chmod(0)
    result = subprocess.run(
        [sys.executable, "-c", CLOSED, *map(str, paths)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        check=False,
    )
    (tmp_path / "closed").chmod(0o700)
    if result.returncode:
        pytest.skip(f"another user can't run this Python: {result.stderr.splitlines()[-1]}")
    sentences = result.stdout.splitlines()
    assert len(sentences) == len(paths)
    assert all("can't be opened" in sentence for sentence in sentences)


def test_series_is_for_dicom_only(tmp_path):
    with pytest.raises(InputError, match="DICOM folder") as error:
        read_volume(saved(tmp_path, values(np.int16)), series="3")
    assert_sentence(error)
    (file, *_) = write_series(tmp_path / "s")
    with pytest.raises(InputError, match="DICOM folder"):
        read_volume(file, series="1")


# --- label maps -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.float32, np.float64])
@pytest.mark.parametrize("ending", [".nii.gz", ".nrrd", ".mha"])
def test_label_map_of_any_type(tmp_path, kind, ending):
    labels = RNG.integers(0, 27, (7, 9, 11))
    image = read_labelmap(saved(tmp_path, labels.astype(kind), f"mask{ending}"))
    assert image.GetPixelID() == sitk.sitkUInt8
    assert segment_names(image) == {}
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image), labels)
    np.testing.assert_allclose(image.GetOrigin(), sample_ct().GetOrigin(), rtol=1e-6)


def test_a_mask_cut_to_one_slice(tmp_path):
    mask = sitk.Cast(sample_ct() > 0, sitk.sitkUInt8)[:, :, 2:3]
    sitk.WriteImage(mask, str(tmp_path / "x.seg.nrrd"))
    found = read_labelmap(tmp_path / "x.seg.nrrd")
    assert found.GetOrigin() == pytest.approx(mask.GetOrigin())
    np.testing.assert_array_equal(sitk.GetArrayFromImage(found), sitk.GetArrayFromImage(mask))


def test_large_labels(tmp_path):
    labels = RNG.choice([0, 412, 600], (7, 9, 11)).astype(np.int32)
    image = read_labelmap(saved(tmp_path, labels))
    assert image.GetPixelID() == sitk.sitkUInt16
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image), labels)


@pytest.mark.parametrize("wrong", [np.float32(0.5), np.float32(-1), np.float32(1e6), np.float32(np.nan)])
def test_not_a_label_map(tmp_path, wrong):
    array = np.ones((7, 9, 11), np.float32)
    array[2, 3, 4] = wrong
    with pytest.raises(InputError, match="not a mask") as error:
        read_labelmap(saved(tmp_path, array))
    assert_sentence(error)


def test_slicer_segmentation_with_names(shared_data):
    image = read_labelmap(shared_data / "labelmaps" / "ts_s0328_117.seg.nrrd")
    names = segment_names(image)
    present = set(np.unique(sitk.GetArrayViewFromImage(image))) - {0}
    assert present <= set(names)
    assert any("L3" in name for name in names.values())


@pytest.mark.parametrize("labels", [(1, 1, 2), (1, 2, 3)], ids=["values used twice", "values used once"])
def test_layers_of_overlapping_segments_are_merged(tmp_path, labels):
    """As Slicer saves overlapping segments: several layers, each with its own numbering."""
    first, second = np.zeros((7, 9, 11), np.uint8), np.zeros((7, 9, 11), np.uint8)
    first[1:5] = labels[0]
    second[3:6] = labels[1]
    second[6] = labels[2]
    layers = sitk.Compose(from_array(first), from_array(second))
    for index, (name, layer, label) in enumerate(zip(("L1", "L2", "disc"), (0, 1, 1), labels, strict=True)):
        layers.SetMetaData(f"Segment{index}_Name", name)
        layers.SetMetaData(f"Segment{index}_Layer", str(layer))
        layers.SetMetaData(f"Segment{index}_LabelValue", str(label))
    sitk.WriteImage(layers, str(tmp_path / "x.seg.nrrd"))
    image = read_labelmap(tmp_path / "x.seg.nrrd")
    assert segment_names(image) == {1: "L1", 2: "L2", 3: "disc"}
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image)[:, 0, 0], [0, 1, 1, 2, 2, 2, 3])
    np.testing.assert_allclose(image.GetSpacing(), (0.7, 0.9, 2.5))


def test_what_is_no_spine_hides_none_of_it(tmp_path):
    """A metastasis drawn into a vertebra, or the body around it, takes nothing from the vertebra."""
    whole, vertebra, body = (np.zeros((7, 9, 11), np.uint8) for _ in range(3))
    whole[1:6], vertebra[2:4], body[:] = 1, 1, 1
    layers = sitk.Compose(*(from_array(layer) for layer in (vertebra, whole, body)))
    for index, name in enumerate(("L3 vertebra", "Vertebrae", "Body")):
        layers.SetMetaData(f"Segment{index}_Name", name)
        layers.SetMetaData(f"Segment{index}_Layer", str(index))
        layers.SetMetaData(f"Segment{index}_LabelValue", "1")
    sitk.WriteImage(layers, str(tmp_path / "x.seg.nrrd"))
    found = sitk.GetArrayFromImage(read_labelmap(tmp_path / "x.seg.nrrd"))[:, 0, 0]
    np.testing.assert_array_equal(found, [3, 2, 1, 1, 2, 2, 3])


def test_colour_image_is_no_label_map(tmp_path):
    image = sitk.Compose(from_array(values(np.uint8)), from_array(values(np.uint8)), from_array(values(np.uint8)))
    sitk.WriteImage(image, str(tmp_path / "x.nrrd"))
    with pytest.raises(InputError, match="colours") as error:
        read_labelmap(tmp_path / "x.nrrd")
    assert_sentence(error)


def test_ct_slice_is_no_dicom_mask(tmp_path):
    (file, *_) = write_series(tmp_path / "s")
    for path, reason in ((file, "no mask"), (tmp_path / "s", "folder")):
        with pytest.raises(InputError, match=reason) as error:
            read_labelmap(path)
        assert_sentence(error)
