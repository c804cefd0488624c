"""Which scans the recipe renders, and what of a rendering that was broken off is kept."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import SimpleITK as sitk
from crew_work import die
from small_anatomy import small_anatomy
from SpineSegLib.engine.crew import Share
from SpineSegLib.engine.errors import ComputeError, InputError
from SpineSegLib.engine.synthetic import recipe
from SpineSegLib.engine.synthetic.recipe import BETTER_SPINES, TRUNKS, VERTEBRAE, render_recipe
from SpineSegLib.engine.training.from_folder import TrainingSettings, find_and_split

COUNTS = {"MIXED_CASES": 2, "WIDE_CASES": 1, "EXCHANGED": 1, "VALIDATION_CASES": 1, "TEST_CASES": 1, "SCANS_OF_EACH": 2}
NONE_OF = ("SHORT_CASES", "PHANTOMS", "HEADS")


@pytest.fixture
def source(tmp_path, monkeypatch):
    """A folder with files of the right names, and few scans to render."""
    folder = tmp_path / "labelmaps"
    folder.mkdir()
    for name in (*TRUNKS.values(), *BETTER_SPINES.values(), *(f"{mask}.nii.gz" for mask in VERTEBRAE)):
        (folder / name).touch()
    for name, count in (COUNTS | dict.fromkeys(NONE_OF, 0)).items():
        monkeypatch.setattr(recipe, name, count)
    return folder


@pytest.fixture
def here(monkeypatch):
    """Small anatomies instead of those in the label maps, an empty scan of them, and no processes of their own."""
    scan = SimpleNamespace(image=sitk.Image(4, 4, 4, sitk.sitkInt16), mask=sitk.Image(4, 4, 4, sitk.sitkUInt8))
    monkeypatch.setattr(recipe, "render_case", lambda *_: scan)
    monkeypatch.setattr(recipe, "make_phantom", lambda *_, **__: scan)
    anatomies = tuple(replace(small_anatomy(), name=name) for name in (*TRUNKS, "verse010-spl"))
    monkeypatch.setattr(recipe, "_all_anatomies", lambda *_: anatomies)
    monkeypatch.setattr(recipe, "run_jobs", lambda work, jobs, _: ((n, work(job)) for n, job in enumerate(jobs)))
    recipe._all_shapes.cache_clear()
    yield
    recipe._all_shapes.cache_clear()


def test_scans_of_every_kind_and_of_no_patient_in_two_folders(source, here, tmp_path):
    told = []
    training, validation = render_recipe(source, tmp_path / "out", progress=lambda *done: told.append(done))
    names = {folder: sorted(p.name for p in (tmp_path / "out" / folder).iterdir()) for folder in ("validation", "test")}
    assert names == {"validation": ["verse010-spl_0000"], "test": ["verse010-spl_0200"]}
    assert sorted(p.name for p in training.iterdir()) == [
        "s0327_0001", "s0327_1000", "s0328-exchanged00_3000", "s0328-exchanged00_3001", "s0328_0000",
    ]  # fmt: skip
    assert told == [(1, 7), (2, 7), (3, 7), (5, 7), (6, 7), (7, 7)]
    cases = find_and_split([training], validation, TrainingSettings())
    assert [len(part) for part in cases] == [5, 1]

    # a mask comes last: what has none was broken off
    (training / "s0327_1000" / "mask.nii.gz").unlink()
    times = {p: p.stat().st_mtime_ns for p in training.glob("*/ct.nrrd")}
    told.clear()
    render_recipe(source, tmp_path / "out", progress=lambda *done: told.append(done))
    assert told == [(7, 7)]
    assert [p.parent.name for p, time in times.items() if p.stat().st_mtime_ns != time] == ["s0327_1000"]


@pytest.mark.parametrize("lost", ["s0328_0000", "phantom_0000", "head_0000"])
def test_scans_of_one_number_do_not_stand_for_each_other(source, here, monkeypatch, tmp_path, lost):
    for kind in ("PHANTOMS", "HEADS"):
        monkeypatch.setattr(recipe, kind, 1)
    training, _ = render_recipe(source, tmp_path / "out")
    names = sorted(p.name for p in training.iterdir())
    assert lost in names
    (training / lost / "mask.nii.gz").unlink()
    told = []
    render_recipe(source, tmp_path / "out", progress=lambda *done: told.append(done))
    assert told == [(9, 9)]
    assert (training / lost / "mask.nii.gz").exists()
    assert sorted(p.name for p in training.iterdir()) == names


def test_a_file_that_is_missing_is_named_before_anything_is_rendered(source, tmp_path):
    (source / "verse_gl017.nii.gz").unlink()
    with pytest.raises(InputError, match=r"verse_gl017\.nii\.gz"):
        render_recipe(source, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_process_that_ends_is_told(source, tmp_path, monkeypatch):
    monkeypatch.setattr(recipe, "_render", die)
    with pytest.raises(ComputeError, match="keeps what is rendered"):
        render_recipe(source, tmp_path / "out", places=[Share(())])
