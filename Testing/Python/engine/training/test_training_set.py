"""The training set: what goes in comes out, nothing tells who it was, and no program's death or neighbour harms it."""

import dataclasses
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import corrected_cases
import h5py
import numpy as np
import pytest
import SimpleITK as sitk
from corrected_cases import SEGMENTS, ball_case, ball_set, ball_submission
from SpineSegLib.engine.axial import AxialSlices
from SpineSegLib.engine.datasets.labels import UNCHECKED
from SpineSegLib.engine.errors import InputError, OutputError
from SpineSegLib.engine.files import writing
from SpineSegLib.engine.models.preprocessing import Preprocessing
from SpineSegLib.engine.training import hdf5_transaction, training_set
from SpineSegLib.engine.training.retraining import _StoredCase
from SpineSegLib.engine.training.training_data import prepare
from SpineSegLib.engine.training.training_set import HEADER, TrainingSet, fingerprint, slice_indices
from SpineSegLib.engine.volume import Grid

HELPERS = str(Path(corrected_cases.__file__).parent)  # for programs that tests start
QUICK_HASH = {"n": 2, "r": 1, "p": 1}


@pytest.fixture
def path(tmp_path, monkeypatch) -> Path:
    """Where the training set goes. Its hashes cost nothing here."""
    monkeypatch.setattr(training_set, "_HASH_COST", QUICK_HASH)
    return tmp_path / "balls.cases.h5"


@pytest.fixture
def empty(path) -> TrainingSet:
    return TrainingSet.create(path, "balls", SEGMENTS)


def arrays(images):
    return [sitk.GetArrayFromImage(image) for image in images]


def oblique(image: sitk.Image, degrees: float = 20.0) -> sitk.Image:
    turn = sitk.Euler3DTransform()
    turn.SetRotation(np.radians(degrees), 0, 0)
    image = sitk.Image(image)
    image.SetDirection(turn.GetMatrix())
    return image


@pytest.mark.parametrize("orientation", ["LPS", "RAI", "PSR"])
def test_a_case_comes_back_as_it_went_in(empty, orientation):
    submission = ball_submission(1)
    images = [sitk.DICOMOrient(image, orientation) for image in (submission.image, submission.mask)]
    case, replaced = empty.add(dataclasses.replace(submission, image=images[0], mask=images[1], model="default 1"))
    assert (case.case, replaced, case.model, case.slices) == ("case_0001", False, "default 1", 6)
    stored = TrainingSet(empty.path).images("case_0001")
    for given, back in zip(images, stored, strict=True):
        np.testing.assert_array_equal(sitk.GetArrayFromImage(back), sitk.GetArrayFromImage(given))
        assert back.GetSpacing() == given.GetSpacing()
        assert back.GetOrigin() == given.GetOrigin()
        assert back.GetDirection() == given.GetDirection()


def test_real_values_are_rounded_and_what_is_no_number_is_air(empty):
    ct, mask = ball_case(1)
    hu = sitk.GetArrayFromImage(ct).astype(np.float32) + 0.4
    hu[0, 0, :5] = (np.nan, -3000, 1e9, np.inf, -np.inf)
    real = sitk.GetImageFromArray(hu)
    real.CopyInformation(ct)
    empty.add(dataclasses.replace(ball_submission(1), image=real, mask=mask))
    stored = arrays(empty.images("case_0001"))[0]
    assert stored[0, 0, :5].tolist() == [-1024, -1024, 32767, -1024, -1024]
    np.testing.assert_array_equal(stored[1:], sitk.GetArrayFromImage(ct)[1:])


def test_nothing_in_the_file_tells_who_it_was(empty):
    empty.add(ball_submission(1, patient="Meier^Anna 4711", scan="1.2.840.99.4711"))
    content = empty.path.read_bytes()
    for word in (b"Meier", b"4711", b"1.2.840", b"2026"):
        assert word not in content
    # Another project's hashes of the same patient are others.
    other = TrainingSet.create(empty.path.with_name("other.h5"), "other", SEGMENTS)
    other.add(ball_submission(1, patient="Meier^Anna 4711", scan="1.2.840.99.4711"))
    assert other.cases()[0].patient != empty.cases()[0].patient
    assert other.cases()[0].scan != empty.cases()[0].scan
    assert fingerprint(other.cases()) == fingerprint(empty.cases())


def test_the_same_scan_again_replaces_its_case(empty):
    empty.add(ball_submission(1))
    empty.add(ball_submission(2))
    before = fingerprint(empty.cases())
    submission = ball_submission(1)
    mask = submission.mask * 1
    mask[0, 0, 3] = 1
    case, replaced = empty.add(dataclasses.replace(submission, mask=mask))
    assert (case.case, replaced) == ("case_0001", True)
    assert [case.case for case in empty.cases()] == ["case_0001", "case_0002"]
    assert arrays(empty.images("case_0001"))[1][3, 0, 0] == 1
    assert fingerprint(empty.cases()) != before


def test_without_identities_the_voxels_tell_scans_apart(empty):
    for seed, checked in ((1, None), (2, None), (1, (2, 3))):
        empty.add(ball_submission(seed, patient=None, scan=None, checked=checked))
    assert [(case.case, case.slices) for case in empty.cases()] == [("case_0001", 2), ("case_0002", 6)]


def test_replacing_does_not_fill_the_disk(empty):
    empty.add(ball_submission(1, size=200, slices=20))
    size = empty.path.stat().st_size
    assert size > 500_000
    for seed in range(2, 8):
        ct, mask = ball_case(seed, size=200, slices=20)
        empty.add(dataclasses.replace(ball_submission(1), image=ct, mask=mask))
    assert empty.path.stat().st_size < 2 * size + 2**20
    assert len(empty.cases()) == 1


def test_a_patient_is_on_one_side_for_ever(empty):
    for seed in range(12):
        for scan in range(2):
            empty.add(ball_submission(seed, scan=f"{seed} {scan}"))
    cases = empty.cases()
    sides = {patient: {c.side for c in cases if c.patient == patient} for patient in {c.patient for c in cases}}
    assert all(len(each) == 1 for each in sides.values())
    first_to_last = [cases[i].side[0] for i in range(0, 24, 2)]
    assert "".join(first_to_last) == "tvtttttvtttt"
    # What was trained on never validates later, whatever is removed.
    empty.remove([case.case for case in cases if case.side == "validation"])
    assert {c.side for c in empty.cases()} == {"training"}
    assert empty.add(ball_submission(20))[0].side == "validation"
    with pytest.raises(InputError, match="both sides"):
        empty.add(ball_submission(0, scan="new", side="validation"))


@pytest.mark.parametrize("orientation", ["LPS", "LPI", "PSR"])
def test_checked_slices_alone_are_stored_with_the_ct_around_them(empty, orientation):
    ct, mask = (sitk.DICOMOrient(image, orientation) for image in ball_case(3, slices=30))
    # From the feet: slices at -297, -295 ... mm; 3 and 25 are checked.
    positions = [-297 + 2 * 3, -297 + 2 * 25]
    checked = slice_indices(Grid.of(ct), positions)
    assert set(checked) == ({26, 4} if orientation == "LPI" else {3, 25})
    case, _ = empty.add(dataclasses.replace(ball_submission(3), image=ct, mask=mask, checked=checked))
    assert case.slices == 2
    stored = [sitk.GetArrayFromImage(sitk.DICOMOrient(image, "LPS")) for image in empty.images(case.case)]
    whole = [sitk.GetArrayFromImage(image) for image in ball_case(3, slices=30)]
    seen = [3, 25]
    np.testing.assert_array_equal(stored[1][seen], whole[1][seen])
    assert (np.delete(stored[1], seen, axis=0) == UNCHECKED).all()
    kept = (stored[0] != -1024).any(axis=(1, 2))
    assert np.flatnonzero(kept).tolist() == [*range(12), *range(17, 30)]  # 15 mm to both sides
    np.testing.assert_array_equal(stored[0][kept], whole[0][kept])


@pytest.mark.parametrize("orientation", ["LPS", "LPI"])
@pytest.mark.parametrize(("step", "count"), [(0.4, 50), (0.5, 60), (0.5, 61), (0.625, 45), (0.7, 30), (2.0, 24)])
def test_all_slices_that_are_checked_can_be_trained_on(empty, tmp_path, step, count, orientation):
    """Thin slices are averaged in groups, so that all those of a group must count as checked."""
    ct, mask = (sitk.DICOMOrient(image, orientation) for image in ball_case(3, slices=count))
    for image in (ct, mask):
        image.SetSpacing((1.0, 1.0, step))
    preprocessing = Preprocessing(context=(0.0,))
    slices = AxialSlices(ct, preprocessing)
    looked_at = [5, 6, 7, 12]
    checked = slice_indices(Grid.of(ct), [round(slices.position(n), 3) for n in looked_at])
    case, _ = empty.add(dataclasses.replace(ball_submission(3), image=ct, mask=mask, checked=checked))
    prepared = prepare(_StoredCase(empty, case, SEGMENTS), preprocessing, 2, tmp_path / "cache")
    assert (slices.region[0].start + prepared.slices).tolist() == looked_at


def test_removed_cases_leave_nothing_behind(empty):
    ct, _ = ball_case(7)
    marked = sitk.GetArrayFromImage(ct)
    marked[2, 5] = 12345  # a row that can be found again if it is stored
    image = sitk.GetImageFromArray(marked)
    image.CopyInformation(ct)
    empty.add(ball_submission(1))
    empty.add(dataclasses.replace(ball_submission(7), image=image))
    about = empty.cases()[1].digest.encode()
    assert about in empty.path.read_bytes()
    empty.remove(["case_0002"])
    assert [case.case for case in empty.cases()] == ["case_0001"]
    assert about not in empty.path.read_bytes()
    assert empty.add(ball_submission(8))[0].case == "case_0003"  # names are not used twice


def test_a_link_is_the_file_it_leads_to(empty, tmp_path):
    link = tmp_path / "elsewhere" / "mine.cases.h5"
    link.parent.mkdir()
    try:
        link.symlink_to(empty.path)
    except OSError:
        pytest.skip("this account may make no links")
    for seed in (1, 2):
        empty.add(ball_submission(seed))
    TrainingSet(link).remove(["case_0001"])
    assert link.is_symlink()
    assert [case.case for case in empty.cases()] == ["case_0002"]
    assert [path.name for path in link.parent.iterdir()] == [link.name]  # one lock, beside the file


def test_removing_first_ends_what_a_killed_program_began(empty, monkeypatch):
    for seed in (1, 2):
        empty.add(ball_submission(seed))
    opened = TrainingSet(empty.path)
    with monkeypatch.context() as patch:
        recover = hdf5_transaction.recover

        def killed(path):
            if Path(f"{path}.journal").exists():
                raise KeyboardInterrupt
            recover(path)

        patch.setattr(hdf5_transaction, "recover", killed)
        with pytest.raises(KeyboardInterrupt):
            empty.add(ball_submission(3))
    assert Path(f"{empty.path}.journal").exists()
    opened.remove(["case_0001"])
    assert [case.case for case in opened.cases()] == ["case_0002", "case_0003"]
    for case in opened.cases():
        opened.images(case.case)


def test_ctrl_c_while_a_change_is_made_final_takes_nothing_away(empty, monkeypatch):
    """Once the journal has its name, the change is on its way, and what it speaks of must stay."""
    submissions = [ball_submission(seed) for seed in (1, 2)]
    empty.add(submissions[0])
    to_disk = writing._to_disk

    def interrupted(path, flags):
        to_disk(path, flags)
        if path == empty.path.parent:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(writing, "_to_disk", interrupted)
        with pytest.raises(KeyboardInterrupt):
            empty.add(submissions[1])
    assert [case.case for case in empty.cases()] == ["case_0001", "case_0002"]
    for case, submission in zip(empty.cases(), submissions, strict=True):
        for back, given in zip(arrays(empty.images(case.case)), (submission.image, submission.mask), strict=True):
            np.testing.assert_array_equal(back, sitk.GetArrayFromImage(given))


def test_what_something_relies_on_is_on_the_disk_before_it(empty, monkeypatch):
    """New data before the journal that makes it count, changes of the file before the journal goes."""
    journal, synced, fsync = Path(f"{empty.path}.journal"), [], os.fsync

    def recorded(descriptor):
        fsync(descriptor)
        if os.fstat(descriptor).st_ino == empty.path.stat().st_ino:
            synced.append((journal.exists(), empty.path.stat().st_size))

    size = empty.path.stat().st_size
    monkeypatch.setattr(os, "fsync", recorded)
    empty.add(ball_submission(1))
    assert [there for there, _ in synced] == [False, True]
    assert size < synced[0][1]
    assert synced[1][1] == empty.path.stat().st_size


def test_locks_protect(empty):
    empty.add(ball_submission(1))
    empty.add(ball_submission(2))
    empty.lock(["case_0001"])
    for attempt in (lambda: empty.remove(["case_0001"]), lambda: empty.add(ball_submission(1))):
        with pytest.raises(InputError, match="case_0001 is locked"):
            attempt()
    empty.remove(["case_0002"])
    empty.lock()
    assert empty.locked
    with pytest.raises(InputError, match=r"set balls\.cases\.h5 is locked"):
        empty.add(ball_submission(3))
    empty.lock(locked=False)
    empty.lock(["case_0001"], locked=False)
    empty.remove(["case_0001"])
    assert empty.cases() == []


def test_what_can_not_be_stored_says_why_and_changes_nothing(empty):
    empty.add(ball_submission(1))
    before = empty.path.read_bytes()
    good = ball_submission(2)
    nothing = good.mask * 0
    strange = sitk.Cast(good.mask, sitk.sitkUInt16) * 300
    wrong = [
        (dataclasses.replace(good, mask=nothing), "mask is empty"),
        (dataclasses.replace(good, mask=good.mask[1:]), "another grid"),
        (dataclasses.replace(good, mask=oblique(good.mask)), "another grid"),
        (dataclasses.replace(good, mask=strange), "label 300"),
        (dataclasses.replace(good, segments=("spine",)), "holds spine, but"),
        (dataclasses.replace(good, checked=()), "No slice is marked"),
        (dataclasses.replace(good, checked=(99,)), "No slice is marked"),
        (dataclasses.replace(good, image=oblique(good.image), mask=oblique(good.mask), checked=(2,)), "whole volume"),
    ]
    for submission, words in wrong:
        with pytest.raises(InputError, match=words):
            empty.add(submission)
    lower = sitk.GetArrayFromImage(good.mask)
    lower[3:] = 0
    mask = sitk.GetImageFromArray(lower)
    mask.CopyInformation(good.mask)
    with pytest.raises(InputError, match="No checked slice holds spine"):
        empty.add(dataclasses.replace(good, mask=mask, checked=(4,)))
    with pytest.raises(InputError, match=r"no case case_0009; it has case_0001\."):
        empty.remove(["case_0009"])
    assert empty.path.read_bytes() == before


def test_an_oblique_case_is_stored_whole(empty):
    submission = ball_submission(2)
    image, mask = oblique(submission.image), oblique(submission.mask)
    case, _ = empty.add(dataclasses.replace(submission, image=image, mask=mask))
    assert empty.images(case.case)[0].GetDirection() == pytest.approx(image.GetDirection())


def test_files_that_are_no_training_set_of_this_project(empty, tmp_path):
    with pytest.raises(InputError, match="another project"):
        TrainingSet(empty.path, project="of somebody else")
    assert TrainingSet(empty.path, project=empty.identity).name == "balls"
    with pytest.raises(OutputError, match="exists already"):
        TrainingSet.create(empty.path, "again", SEGMENTS)
    with pytest.raises(InputError, match="no training set"):
        TrainingSet(tmp_path / "none.h5")
    (tmp_path / "text.h5").write_text("text")
    with pytest.raises(InputError, match=r"text\.h5 is not a training set"):
        TrainingSet(tmp_path / "text.h5")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file.attrs["x"] = 1
    with pytest.raises(InputError, match=r"other\.h5 is not a training set"):
        TrainingSet(tmp_path / "other.h5")
    for change, words in (
        ({"format": 2}, "newer SpineSeg"),
        ({"segments": ["tail"]}, "damaged"),
        ({"next": "x"}, "damaged"),
    ):
        changed = shutil.copy(empty.path, tmp_path / "changed.h5")
        with h5py.File(changed, "r+") as file:
            file.attrs[HEADER] = json.dumps(json.loads(file.attrs[HEADER]) | change)
        with pytest.raises(InputError, match=words):
            TrainingSet(changed)


def test_a_damaged_or_hostile_case_is_refused(empty, tmp_path):
    empty.add(ball_submission(1))
    secret = tmp_path / "secret.npy"
    secret.write_bytes(bytes(2 * 6 * 40 * 40))

    def tampered(change):
        path = shutil.copy(empty.path, tmp_path / "tampered.h5")
        with h5py.File(path, "r+") as file:
            change(file["cases/case_0001"])
        return TrainingSet(path)

    def external(group):
        del group["ct"]
        group.create_dataset("ct", (6, 40, 40), "<i2", external=[(str(secret), 0, 19200)])

    def about(**values):
        def change(group):
            group.attrs["about"] = json.dumps(json.loads(group.attrs["about"]) | values)

        return change

    with pytest.raises(InputError, match="damaged"):
        tampered(external).images("case_0001")
    with pytest.raises(InputError, match="damaged"):
        tampered(about(shape=[6, 40, 41])).images("case_0001")
    for values in (
        {"shape": [2**20] * 3},
        {"shape": [6, 40]},
        {"side": "x"},
        {"spacing": [1.0]},
        {"checked": [[0, 10**15]]},
    ):
        with pytest.raises(InputError, match="damaged"):
            tampered(about(**values)).cases()
    cut = tmp_path / "cut.h5"
    cut.write_bytes(empty.path.read_bytes()[:-3000])
    with pytest.raises(InputError, match="damaged"):
        TrainingSet(cut)
    opened = TrainingSet(shutil.copy(empty.path, tmp_path / "later.h5"))
    opened.path.write_bytes(b"something else")
    with pytest.raises(OutputError, match="damaged"):
        opened.add(ball_submission(2))


@pytest.mark.skipif(not hasattr(os, "setuid"), reason="Windows has other permissions")
def test_a_read_only_place_can_be_read_but_not_changed(empty, run_python):
    empty.add(ball_submission(1))
    with tempfile.TemporaryDirectory() as folder:  # pytest's own may not be entered by others
        path = Path(shutil.copy(empty.path, folder))
        path.chmod(0o444)
        Path(folder).chmod(0o555)
        said = run_python(f"""
import os, sys
sys.path.insert(0, {HELPERS!r})
from corrected_cases import ball_submission
from SpineSegLib.engine.training.training_set import TrainingSet
target = TrainingSet({str(empty.path)!r})
target.images("case_0001")  # imports all that may not be readable for others
if os.geteuid() == 0:  # who may write anywhere
    os.setuid(65534)
target = TrainingSet({str(path)!r})
print(len(target.cases()), target.images("case_0001")[0].GetSize())
for change in (lambda: target.add(ball_submission(2)), target.lock, lambda: target.remove(["case_0001"])):
    try:
        change()
    except Exception as error:
        print(type(error).__name__, "permission is missing" in str(error))
""")
        Path(folder).chmod(0o755)
    assert said.splitlines() == ["1 (40, 40, 6)"] + ["OutputError True"] * 3


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit on the size of files")
def test_a_full_disk_leaves_the_training_set_as_it_was(empty, run_python):
    empty.add(ball_submission(1))
    before = empty.path.read_bytes()
    said = run_python(f"""
import resource, signal, sys
sys.path.insert(0, {HELPERS!r})
from corrected_cases import ball_submission
from SpineSegLib.engine.training.training_set import TrainingSet
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
target = TrainingSet({str(empty.path)!r})
resource.setrlimit(resource.RLIMIT_FSIZE, ({len(before)} + 5000, resource.RLIM_INFINITY))
try:
    target.add(ball_submission(2, size=120))
except Exception as error:
    print(type(error).__name__, error)
print(len(target.cases()))
""")
    assert re.match(r"OutputError .*balls.cases.h5 can't be written because the disk is full; make room.*\n1\n", said)
    assert empty.path.read_bytes() == before
    assert {p.name for p in empty.path.parent.iterdir()} <= {"balls.cases.h5", "balls.cases.h5.lock"}


# Of about 640 lines of hdf5_transaction that adding runs through, the last ones are those that matter most.
LINES = [*range(1, 20, 3), *range(20, 580, 50), *range(585, 645)]

KILLED = """
import os, random, signal, sys, time
sys.path.insert(0, {tests!r})
from corrected_cases import ball_submission
from SpineSegLib.engine.training import hdf5_transaction, training_set
from SpineSegLib.engine.training.training_set import TrainingSet
training_set._HASH_COST = {hash}
path = {path!r}

def child(pipe, first, lines):
    # dies at the given line of the module that writes, or is killed from outside
    count = 0
    def trace(frame, event, argument):
        nonlocal count
        if frame.f_code.co_filename != hdf5_transaction.__file__:
            return None
        if event == "line":
            count += 1
            if count == lines:
                os.kill(os.getpid(), signal.SIGKILL)
        return trace
    target = TrainingSet(path)
    if lines:
        sys.settrace(trace)
    for seed in range(first, first + {each}):
        target.add(ball_submission(seed, size=16 + seed % 9, slices=4))
        os.write(pipe, b"x")
    os.write(pipe, b"e")
    os._exit(0)

added, killed = 2, 0
for round in range({rounds}):
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        child(write, added, {lines})
    os.close(write)
    {wait}
    os.waitpid(pid, 0)
    told += os.read(read, 10**6)
    os.close(read)
    killed += b"e" not in told
    cases = TrainingSet(path).cases()
    # what was told to be done is there, and at most the one that was just being added
    assert len(told.strip(b"e")) <= len(cases) - added <= len(told.strip(b"e")) + 1, (round, told, len(cases))
    added = len(cases)
    for case in cases[-3:]:
        TrainingSet(path).images(case.case)
for case in TrainingSet(path).cases():
    TrainingSet(path).images(case.case)
print(killed, added)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="only systems that fork can kill so often in so short a time")
@pytest.mark.parametrize("where", ["at random moments", "at every line"])
def test_killing_the_writer_loses_no_earlier_case(path, run_python, where):
    ball_set(path, 2)
    random = where == "at random moments"
    # After its first case the writer goes on until it is killed, however fast or slow the machine is.
    wait = "told = os.read(read, 1); time.sleep(random.uniform(0, 0.2)); os.kill(pid, signal.SIGKILL)"
    said = run_python(
        KILLED.format(
            tests=HELPERS, path=str(path), hash=QUICK_HASH, wait=wait if random else "told = b''",
            each=10**6 if random else 1, rounds=15 if random else len(LINES),
            lines="0" if random else f"{LINES}[round]",
        )
    )  # fmt: skip
    killed, added = map(int, said.split())
    assert killed >= (15 if random else 60)
    assert added > 2
    with h5py.File(path) as file:  # any program reads it
        assert len(file["cases"]) == added
    assert not list(path.parent.glob(".*"))


def test_two_programs_at_one_training_set(path):
    """Both add at the same time; every case of both is there."""
    ball_set(path, 1)
    program = f"""
import sys
sys.path.insert(0, {HELPERS!r})
from corrected_cases import ball_submission
from SpineSegLib.engine.training.training_set import TrainingSet
print("ready", flush=True)
sys.stdin.readline()
for seed in range(int(sys.argv[1]), int(sys.argv[1]) + 5):
    TrainingSet({str(path)!r}).add(ball_submission(seed))
"""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[4] / "SpineSeg")}
    programs = [
        subprocess.Popen([sys.executable, "-c", program, first], env=environment, stdin=subprocess.PIPE,
                         stdout=subprocess.PIPE, text=True)
        for first in ("100", "200")
    ]  # fmt: skip
    for each in programs:
        each.stdout.readline()
    for each in programs:
        each.stdin.write("go\n")
        each.stdin.flush()
    for each in programs:
        each.communicate()
        assert each.returncode == 0
    cases = TrainingSet(path).cases()
    assert len(cases) == 11
    assert len({case.patient for case in cases}) == 11
    for case in cases:
        TrainingSet(path).images(case.case)


def test_while_another_program_writes_there_is_a_sentence(path, monkeypatch):
    target = ball_set(path, 1)
    program = (
        "import sys, filelock\nlock = filelock.FileLock(sys.argv[1])\nlock.acquire()\n"
        "print(1, flush=True)\nsys.stdin.readline()"
    )
    holder = subprocess.Popen([sys.executable, "-c", program, f"{path}.lock"], stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE, text=True)  # fmt: skip
    holder.stdout.readline()
    monkeypatch.setattr("SpineSegLib.engine.training.hdf5_transaction.PATIENCE", 0.1)
    with pytest.raises(OutputError, match=r"^balls\.cases\.h5 is in use by another program; wait .*\.$"):
        target.add(ball_submission(2))
    holder.kill()  # a lock dies with its program, though its file stays
    holder.communicate()
    assert Path(f"{path}.lock").exists()
    target.add(ball_submission(2))
    assert len(target.cases()) == 2
