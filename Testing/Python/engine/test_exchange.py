"""The folder between a front door and the worker: what goes in comes out, and no more space is taken than there is."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import SimpleITK as sitk
from ct_samples import assert_sentence, oblique, sample_ct
from SpineSegLib.engine import exchange
from SpineSegLib.engine.errors import InputError, OutputError
from SpineSegLib.engine.exchange import open_mask, read_exchanged_volume, reset_mask, write_volume_steps
from SpineSegLib.engine.volume import ArrayVolume

HERE = {"spacing": (0.7, 0.9, 2.5), "origin": (-12.5, 33.25, -104.75), "direction": tuple(oblique().ravel())}


def write(folder, array, place=HERE):
    return list(write_volume_steps(folder, array, **place))


@pytest.mark.parametrize(
    ("given", "stored"),
    [("i2", "i2"), ("u2", "u2"), ("i4", "i4"), ("u1", "u1"), ("f4", "f4"), ("f8", "f4"), (">i2", "i2"), ("?", "u1")],
)
def test_voxels_of_any_type_arrive(tmp_path, given, stored):
    array = np.random.default_rng(0).integers(0, 100, (5, 6, 7)).astype(given)
    if np.dtype(given).kind in "if":
        array -= 20
    write(tmp_path, array)
    volume = read_exchanged_volume(tmp_path)
    assert volume.array.dtype == np.dtype(stored)
    assert isinstance(volume.array, np.memmap)
    np.testing.assert_array_equal(volume.array, array.astype(stored))


def test_place_and_voxels_are_those_of_the_image(tmp_path):
    image = sample_ct(oblique())
    place = {"spacing": image.GetSpacing(), "origin": image.GetOrigin(), "direction": image.GetDirection()}
    write(tmp_path, sitk.GetArrayViewFromImage(image), place)
    volume = read_exchanged_volume(tmp_path)
    assert isinstance(volume, ArrayVolume)
    for index in [(0, 0, 0), (3, 5, 2), (10, 8, 6)]:
        expected = image.TransformIndexToPhysicalPoint(index)
        np.testing.assert_allclose(volume.grid.point(*index[::-1]), expected, atol=1e-9)
        assert volume.image.TransformIndexToPhysicalPoint(index) == expected
        assert volume.image[index] == image[index] == volume.array[index[::-1]]


def test_a_view_of_any_memory_order_is_written_as_it_looks(tmp_path):
    array = np.arange(5 * 6 * 7, dtype=np.int16).reshape(5, 6, 7).transpose(2, 0, 1)[::-1, :, ::2]
    write(tmp_path, array)
    np.testing.assert_array_equal(read_exchanged_volume(tmp_path).array, array)


def test_steps_are_small_and_tell_how_far_it_is(tmp_path, monkeypatch):
    monkeypatch.setattr(exchange, "STEP", 6 * 7 * 2 * 3)
    sizes, fractions = [], []
    for fraction in write_volume_steps(tmp_path, np.zeros((10, 6, 7), np.int16), **HERE):
        fractions.append(fraction)
        sizes.append((tmp_path / "volume.npy").stat().st_size)
    assert fractions == [0.3, 0.6, 0.9, 1.0]
    assert sizes[-1] - 10 * 6 * 7 * 2 < 200


@pytest.mark.parametrize("array", [np.zeros((3, 4)), np.zeros((3, 4, 5), complex), np.zeros((2, 3, 4, 3), np.uint8)])
def test_what_is_no_volume_is_refused(tmp_path, array):
    with pytest.raises(ValueError, match="real numbers"):
        write(tmp_path, array)


def test_nothing_of_the_patient_is_written_but_voxels_and_place(tmp_path):
    write(tmp_path, np.zeros((2, 2, 2), np.int16))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["volume.json", "volume.npy"]


@pytest.mark.parametrize(
    "damage", ["no volume.json", "no volume.npy", "cut off", "spacing", "direction", "nan", "json"]
)
def test_a_damaged_folder_is_one_sentence(tmp_path, damage):
    write(tmp_path, np.zeros((5, 6, 7), np.int16))
    place = (tmp_path / "volume.json").read_text()
    if damage.startswith("no "):
        (tmp_path / damage[3:]).unlink()
    elif damage == "cut off":
        data = (tmp_path / "volume.npy").read_bytes()
        (tmp_path / "volume.npy").write_bytes(data[:-10])
    else:
        changed = {
            "spacing": place.replace("0.7", "0.0"),
            "direction": place.replace('"direction": [', '"direction": [9.0, '),
            "nan": place.replace("33.25", "NaN"),
            "json": place[:-5],
        }[damage]
        assert changed != place
        (tmp_path / "volume.json").write_text(changed)
    with pytest.raises(InputError) as error:
        read_exchanged_volume(tmp_path)
    assert_sentence(error)


def test_a_mask_starts_with_nothing_computed_also_the_second_time(tmp_path):
    for _ in range(2):
        mask = reset_mask(tmp_path, (5, 6, 7))
        seen = open_mask(tmp_path)
        assert seen.shape == (5, 6, 7)
        assert seen.dtype == np.uint8
        assert (seen == 255).all()
        mask[2, 3, 4] = 1
        assert seen[2, 3, 4] == 1  # at once, and not only once it is flushed
        with pytest.raises(ValueError):
            seen[0, 0, 0] = 1


def test_too_little_space_is_known_before_anything_is_written(tmp_path, monkeypatch):
    class Usage:
        free = 2 * 2**20

    monkeypatch.setattr(exchange.shutil, "disk_usage", lambda folder: Usage)
    with pytest.raises(OutputError, match=r"not enough space for temporary files \(0\.0 GB") as error:
        write(tmp_path, np.zeros((10, 60, 70), np.int16))
    assert_sentence(error)
    assert not any(tmp_path.iterdir())


LIMITED = """
import resource, sys
import numpy as np
from SpineSegLib.engine.errors import OutputError
from SpineSegLib.engine.exchange import reset_mask, write_volume_steps
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
place = {"spacing": (1, 1, 1), "origin": (0, 0, 0), "direction": (1, 0, 0, 0, 1, 0, 0, 0, 1)}
for work in (
    lambda: list(write_volume_steps(sys.argv[1], np.zeros((10, 200, 200), np.int16), **place)),
    lambda: reset_mask(sys.argv[1], (10, 200, 200)),
):
    try:
        work()
    except OutputError as error:
        print(error)
"""


def test_a_disk_that_gets_full_is_one_sentence(tmp_path):
    """The limit on a file's size stands in for the end of a disk: the same calls fail."""
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(tmp_path)],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": ":".join(sys.path)},
        check=True,
    )
    assert done.stdout.splitlines() == 2 * [
        "There is not enough space for temporary files; free some or choose another folder for them."
    ]
