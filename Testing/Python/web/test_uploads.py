"""Hostile and broken uploads: what gets out of its folder, what is too large, what isn't what it says."""

from __future__ import annotations

import asyncio
import gzip
import io
import stat
import sys
import zipfile

import h5py
import numpy as np
import pytest
import SimpleITK as sitk
from ct_samples import assert_sentence, edit, write_series
from geometry import smooth_ct
from SpineSegLib.engine.errors import InputError
from SpineSegLib.engine.exchange import read_exchanged_volume

aiohttp = pytest.importorskip("aiohttp", reason="trame-slicer brings aiohttp")

from SpineSegLib.web.intake import check_plain, take_in  # noqa: E402
from SpineSegLib.web.uploads import Budget, read_apart, receive, unpack  # noqa: E402


def packed(entries: dict[str, bytes], **attributes: int) -> bytes:
    """A zip; `attributes`: Unix mode of an entry by its name."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            info = zipfile.ZipInfo(name)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = attributes.get(name, stat.S_IFREG | 0o644) << 16
            archive.writestr(info, content)
    return data.getvalue()


@pytest.fixture
def post(tmp_path):
    """Upload files (name, content) to a session's folder; gives the folder and what was stored, or raises."""
    from aiohttp import web
    from aiohttp.test_utils import TestClient, TestServer

    folder = tmp_path / "session" / "uploads"

    def post(*files: tuple[str, bytes], kind="ct", megabytes=1, data=None):
        taken = []

        async def take(request):
            try:
                taken.append(await receive(request, folder, megabytes))
            except InputError as error:
                taken.append(error)
            return web.Response()

        async def go():
            application = web.Application()
            application.router.add_post("/upload", take)
            form = aiohttp.FormData()
            for name, content in files:
                form.add_field("file", content, filename=name)
            async with TestClient(TestServer(application)) as client:
                await client.post("/upload", params={"kind": kind}, data=form if data is None else data)

        asyncio.run(go())
        if isinstance(taken[0], InputError):
            assert not any(folder.glob("*")), "what was refused is removed"
            raise taken[0]
        return taken[0][1]

    post.folder = folder
    return post


def stored(place):
    return sorted(path.read_bytes() for path in place.iterdir())


@pytest.mark.parametrize(
    "name",
    ["../../evil.dcm", "/etc/cron.d/evil", "C:\\evil.dcm", "a/../../../b", "x" * 300 + ".dcm", ".", "🦴.nii.gz/.."],
)
def test_names_lead_nowhere(post, tmp_path, name):
    place = post((name, b"one"), ("ok", b"two"))
    assert place.parent == post.folder
    assert stored(place) == [b"one", b"two"]
    inside = post(("case.zip", packed({name: b"three", "sub/ok": b"four"})))
    assert stored(inside) == [b"four", b"three"]
    assert all(path.is_relative_to(post.folder) for path in tmp_path.rglob("*") if path.is_file())


def test_links_in_a_zip_are_files_like_others(post):
    place = post(("case.zip", packed({"link": b"/etc/passwd"}, link=stat.S_IFLNK | 0o777)))
    (path,) = place.iterdir()
    assert not path.is_symlink()
    assert path.read_bytes() == b"/etc/passwd"


def test_too_much_is_refused_whatever_the_zip_states(post, tmp_path):
    bomb = packed({"zeros": b"\0" * 2**22})
    assert len(bomb) < 2**14
    lying = bomb.replace((2**22).to_bytes(4, "little"), (100).to_bytes(4, "little"))
    for files in ([("case.zip", bomb)], [("case.zip", lying)], [("a.dcm", b"\0" * 2**20), ("b.dcm", b"\0" * 2**20)]):
        with pytest.raises(InputError) as error:
            post(*files)
        assert_sentence(error)
    many = tmp_path / "many.zip"
    many.write_bytes(packed({str(n): b"" for n in range(9)}))
    (tmp_path / "out").mkdir()
    budget = Budget(1)
    budget.files = 8
    with pytest.raises(InputError) as error:
        unpack(many, tmp_path / "out", budget)
    assert "files" in assert_sentence(error)


def test_what_is_no_upload_is_refused(post):
    wrong = (
        {"files": [("case.zip", b"PK\3\4 not really")]},
        {"files": [("case.zip", packed({}))]},
        {"files": [("a.nii.gz", b"1"), ("b.dcm", b"2")]},
        {"files": [("a.dcm", b"1")], "kind": "model"},
        {"files": [], "data": b"no form"},
        {"files": [], "data": {"field": "no file"}},
    )
    for each in wrong:
        files = each.pop("files")
        with pytest.raises(InputError) as error:
            post(*files, **each)
        assert_sentence(error)


# --- files that ITK would open, and that lead elsewhere ---------------------------------------------------------------

NRRD = b"NRRD0004\ntype: uint8\ndimension: 3\nsizes: 4 4 4\nencoding: raw\n"
MHA = b"ObjectType = Image\nNDims = 3\nDimSize = 4 4 4\nElementType = MET_UCHAR\n"


def hdf5_with_outside_voxels(secret) -> bytes:
    """An ITK HDF5 image whose voxels lie in another file of this computer."""
    path = secret.with_name("image.h5")
    with h5py.File(path, "w") as file:
        file["ITKVersion"] = "5"
        group = file.create_group("ITKImage/0")
        group.create_dataset("VoxelData", (4, 4, 4), "u1", external=[(str(secret), 0, 64)])
        group["VoxelType"] = "UCHAR"
        group["Dimension"] = np.array([4, 4, 4], "u8")
        group["Directions"], group["Origin"], group["Spacing"] = np.eye(3), np.zeros(3), np.ones(3)
    return path.read_bytes()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.nrrd", lambda secret: NRRD + b"data file: %s\n" % bytes(secret)),
        ("a.nrrd", lambda secret: NRRD + b"Datafile:%s\n" % bytes(secret)),
        ("a.nrrd", lambda secret: NRRD.replace(b"\n", b"\r\n") + b"data file: LIST\r\n%s\r\n" % bytes(secret)),
        ("a.seg.nrrd", lambda secret: NRRD + b"DATA FILE: %s\n" % bytes(secret)),
        ("a.mha", lambda secret: MHA + b"ElementDataFile = %s\n" % bytes(secret)),
        ("a.mha", lambda secret: MHA + b"ElementDataFile = LIST\n%s\n" % bytes(secret)),
        # ITK follows the key in this spelling alone, wherever in the file it is
        ("a.mha", lambda secret: MHA + b"elementdatafile = LOCAL\nElementDataFile = %s\n" % bytes(secret)),
        ("a.mha", lambda secret: MHA + b" ElementDataFile = LOCAL\nElementDataFile = %s\n" % bytes(secret)),
        ("a.mha", lambda secret: MHA + b"ElementDataFile : LOCAL\nElementDataFile = %s\n" % bytes(secret)),
        ("a.mha", lambda secret: MHA + b"ElementDataFile = LOCAL\n" + bytes(2**21) + b"ElementDataFile = x\n"),
        ("a.mha", lambda secret: MHA + b"ElementDataFile = LOCAL/../x\n"),
        ("a.nrrd", lambda secret: NRRD + b"# padding\n" * 2**17 + b"data file: %s\n" % bytes(secret)),
        ("a.nrrd", lambda secret: NRRD + b"content: x\rdata file: %s\n" % bytes(secret)),
        ("a.mhd", lambda secret: MHA + b"ElementDataFile = %s\n" % bytes(secret)),
        ("a.nhdr", lambda secret: NRRD + b"data file: %s\n" % bytes(secret)),
        ("a.nrrd", hdf5_with_outside_voxels),
        ("a.nii", hdf5_with_outside_voxels),
        ("a.mha", hdf5_with_outside_voxels),
        ("a.nii.gz", lambda secret: gzip.compress(hdf5_with_outside_voxels(secret))),
        ("a.nii.gz", lambda secret: b"\x1f\x8b damaged"),
        ("a.nrrd", lambda secret: NRRD.replace(b"4 4 4", b"99999 99999 99999") + b"\n"),
        ("a.nii", lambda secret: b""),
    ],
)
def test_files_that_are_or_lead_to_something_else_are_refused(tmp_path, name, content):
    secret = tmp_path / "secret.txt"
    secret.write_bytes(bytes(range(64)))
    path = tmp_path / name
    path.write_bytes(content(secret))
    with pytest.raises(InputError) as error:
        check_plain(path)
    assert "secret" not in assert_sentence(error)


def test_a_header_would_lead_elsewhere_without_the_check(tmp_path):
    """The danger is real: SimpleITK follows it."""
    secret = tmp_path / "secret.txt"
    secret.write_bytes(bytes(range(64)))
    (tmp_path / "a.nrrd").write_bytes(NRRD + b"data file: %s\n" % bytes(secret))
    assert sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "a.nrrd"))).tobytes() == bytes(range(64))


@pytest.mark.parametrize("ending", [".nrrd", ".nii", ".nii.gz", ".mha"])
def test_real_files_pass(tmp_path, ending):
    path = tmp_path / f"ct{ending}"
    sitk.WriteImage(sitk.Image(3, 4, 5, sitk.sitkInt16), str(path), useCompression=True)
    check_plain(path)


# --- reading ----------------------------------------------------------------------------------------------------------


def test_the_larger_of_two_series_is_taken_and_told(tmp_path):
    from ct_samples import sample_ct

    small, large = sample_ct(size=(11, 9, 5)), sample_ct(size=(11, 9, 8), seed=2)
    (tmp_path / "dicom").mkdir()
    for n, image in enumerate((small, large)):
        for path in write_series(tmp_path / str(n), image, patient="Doe^Jane", series_number=n + 1):
            path.rename(tmp_path / "dicom" / f"{n}-{path.name}")
    (tmp_path / "out").mkdir()
    taken = take_in("ct", tmp_path / "dicom", tmp_path / "out")
    assert "2 CT series" in taken["notes"][0]
    assert np.array_equal(
        read_exchanged_volume(tmp_path / "out").array, np.maximum(sitk.GetArrayFromImage(large), -1024)
    )
    assert len(taken["dicom"]["instances"]) == 8
    assert taken["dicom"]["patient"] == "Doe^Jane"


def test_reading_apart_tells_problems_and_outlives_a_crash(tmp_path, monkeypatch):
    sitk.WriteImage(sitk.Image(4, 4, 4, sitk.sitkUInt8), str(tmp_path / "000001.nii.gz"))
    with pytest.raises(InputError) as error:
        asyncio.run(read_apart("ct", tmp_path / "000001.nii.gz", tmp_path))
    assert "label map" in assert_sentence(error)
    assert str(tmp_path) not in str(error.value)
    # a reader that dies, as one of a hostile file may
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(InputError) as error:
        asyncio.run(read_apart("ct", tmp_path / "000001.nii.gz", tmp_path))
    assert_sentence(error)


def test_a_slice_that_states_more_pixels_than_it_has_is_refused(tmp_path):
    for path in write_series(tmp_path / "ct", smooth_ct(size=(8, 8, 3))):
        edit(path, Rows=65535, Columns=65535)
    with pytest.raises(InputError) as error:
        asyncio.run(read_apart("ct", tmp_path / "ct", tmp_path))
    assert_sentence(error)
