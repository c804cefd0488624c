"""The page in a real browser: the whole loop, several people, and a lost connection."""

from __future__ import annotations

import io
import json
import re
import shutil
import zipfile
from collections import Counter
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
import SimpleITK as sitk
from relay import Relay
from SpineSegLib.engine.training.training_set import TrainingSet

sync_api = pytest.importorskip("playwright.sync_api", reason="Playwright is needed to test the web page")

from visitor import Visitor  # noqa: E402

NAMES_OF_A_PATIENT = ("Doe", "Jane")
UPLOAD_MB = 40  # of the server, see conftest


@pytest.fixture
def visit(chromium, serving):
    visitors = []

    def visit(**options):
        visitors.append(Visitor(chromium, serving, **options))
        return visitors[-1]

    yield visit
    for visitor in visitors:
        assert visitor.elsewhere == []
    leave(visitors, serving)


def leave(visitors, serving):
    """Close browsers, and wait until the server knows."""
    waiting = visitors[-1].page.wait_for_timeout if visitors else None
    for visitor in visitors[:-1]:
        visitor.context.close()
    if visitors:
        visitors[-1].page.goto("about:blank")
        while pages_open(serving):
            waiting(50)
        visitors[-1].context.close()


def events(serving) -> list[str]:
    return [line["event"] for line in serving.audit()]


def pages_open(serving) -> int:
    noted = events(serving)
    return noted.count("page opened") - noted.count("page closed")


def processes_by_folder(serving) -> Counter:
    """How many processes each session of the server has; they are told apart by their temporary folders."""
    counted = Counter()
    for place in Path("/proc").glob("[0-9]*"):
        try:
            variables = dict(line.partition("=")[::2] for line in (place / "environ").read_text().split("\0"))
        except OSError:
            continue  # it has ended
        if variables.get("SPINESEG_BRAKE") == str(serving.brake) and "spineseg-web-" in variables.get("TMPDIR", ""):
            counted[variables["TMPDIR"]] += 1
    return counted


def zipped(folder) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for path in folder.iterdir():
            archive.write(path, f"some folder/{path.name}")
    return data.getvalue()


def packed_zeros(megabytes) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros", b"\0" * megabytes * 2**20)
    return data.getvalue()


def nifti(array, image, tmp_path) -> bytes:
    """A mask on the grid of an image."""
    mask = sitk.GetImageFromArray(array.astype(np.uint8))
    mask.CopyInformation(image)
    sitk.WriteImage(mask, str(tmp_path / "mask.nii.gz"))
    return (tmp_path / "mask.nii.gz").read_bytes()


def array_of(image):
    return sitk.GetArrayFromImage(image)


def height_of(image, k) -> float:
    return image.TransformIndexToPhysicalPoint((0, 0, int(k)))[2]


def stroke(anna, tool):
    """Draw with a tool of the editor, in the axial view below right."""
    anna.panel("Edit")
    anna.page.locator(f".v-navigation-drawer .mdi-{tool}").last.click()
    box = anna.views.bounding_box()
    x, y = box["x"] + 0.75 * box["width"], box["y"] + 0.75 * box["height"]
    anna.page.mouse.move(x - 30, y - 30)
    anna.page.mouse.down()
    anna.page.mouse.move(x, y, steps=4)
    anna.page.mouse.up()


def test_the_whole_loop(visit, serving, expected_mask, tmp_path):
    anna = visit()
    page = anna.page
    slices = expected_mask.GetSize()[2]
    anna.panel("Segment")
    anna.upload("#ct-files", "case.zip", zipped(serving.data / "ct"))
    anna.waits_for("Segment")

    # what the browser says is no path
    page.evaluate("window.trame.state.set('SegmentState__model', '/etc/passwd')")
    anna.press("Segment")
    anna.sees("This model is not on the server")
    page.evaluate("window.trame.state.set('SegmentState__model', 'small')")

    with serving.holding("progress", slices - 1):
        anna.press("Segment")
        anna.sees(f"{slices - 1} of {slices} slices")
        anna.until(lambda: anna.coloured() > 50)  # finished slices show while the rest is computed
    anna.sees(f"{slices} slices segmented.")
    mask = anna.mask()
    labels = array_of(mask)
    assert np.array_equal(labels, array_of(expected_mask))
    assert labels.any()
    assert np.allclose(mask.GetOrigin(), expected_mask.GetOrigin())
    assert anna.download_file("spine.seg.nrrd").startswith(b"NRRD")
    assert anna.download_file("spine.dcm")[128:132] == b"DICM"

    # a reference that lies a slice higher, and has a second label: what the numbers must be is known
    anna.panel("Compare")
    higher = np.zeros_like(labels)
    higher[1:] = labels[:-1]
    reference = higher.copy()
    reference[:, :9, :9] = 2
    anna.upload("#reference-files", "higher.nii.gz", nifti(reference, mask, tmp_path))
    anna.waits_for("Compare")
    anna.choose("Segment of the reference", "Label 1")
    tolerance = page.get_by_label("Tolerance of the surface Dice (mm)")
    tolerance.fill("0")
    anna.press("Compare")
    anna.sees("The tolerance must be a number from 0.1 to 10")
    tolerance.fill("10")
    anna.press("Compare")
    dice = 2 * np.count_nonzero(labels & higher) / (np.count_nonzero(labels) + np.count_nonzero(higher))
    anna.sees(f"Dice {dice:.4g}")
    assert page.locator("tr", has_text="Surface Dice").locator("td").nth(1).inner_text() == "1"
    marked = np.flatnonzero((labels | higher).any(axis=(1, 2)))
    points = page.locator("svg[role=img]").first.locator("circle")
    assert points.count() == len(marked)
    points.last.click()
    anna.sees(f"S {height_of(mask, marked[-1]):.1f} mm")
    page.locator("svg[role=img]").first.press("ArrowLeft")
    anna.sees(f"S {height_of(mask, marked[-2]):.1f} mm")
    assert "report.html" in zipfile.ZipFile(io.BytesIO(anna.download_file("report.zip"))).namelist()

    # paint, erase, and take both back
    stroke(anna, "brush")
    page.locator("button:enabled .mdi-undo").wait_for()
    anna.panel("Segment")
    painted = np.count_nonzero(array_of(anna.mask()))
    assert painted > np.count_nonzero(labels)
    stroke(anna, "eraser")
    anna.panel("Segment")
    anna.until(lambda: np.count_nonzero(array_of(anna.mask())) < painted)
    page.locator(".mdi-undo").click()
    page.locator("button:enabled .mdi-redo").wait_for()
    page.locator(".mdi-undo").click()
    page.locator("button:disabled .mdi-undo").wait_for()
    assert np.array_equal(array_of(anna.mask()), labels)

    # the slice most in doubt is shown, marked, and alone submitted
    anna.panel("Edit")
    anna.press("Next slice to check")
    anna.sees("in doubt")
    (shown,) = re.findall(r"S (\S+) mm: \d+ mm² in doubt", page.get_by_text("in doubt").inner_text())
    anna.press("Checked")
    anna.sees(f"1 of {slices} slices checked. S {shown} mm is checked.")
    fullest = int((labels > 0).sum(axis=(1, 2)).argmax())
    anna.panel("Compare")
    points.nth(int(np.flatnonzero(marked == fullest)[0])).click()
    anna.sees(f"S {height_of(mask, fullest):.1f} mm")
    anna.panel("Edit")
    anna.press("Checked")
    anna.panel("Re-train")
    anna.choose("Slices to submit", "Checked slices only")
    anna.press("Submit")
    anna.sees("Stored on this server: 1 case of 1 patient.")
    training_set = TrainingSet(serving.store / "web.cases.h5")
    (case,) = training_set.cases()
    heights = [height_of(mask, checked) for checked in case.checked]
    assert heights == pytest.approx(sorted({float(shown), height_of(mask, fullest)}), abs=0.06)
    page.get_by_title(f"Lock {case.case}").click()
    page.get_by_title(f"Unlock {case.case}").click()
    page.get_by_title(f"Lock {case.case}").wait_for()
    stored = training_set.path.read_bytes()
    assert not any(name.encode() in stored for name in NAMES_OF_A_PATIENT)

    # closing the tab ends nothing: who comes back finds the training
    page.get_by_label("Without validation").click()
    page.get_by_label("Epochs").fill("0")
    anna.press("Re-train")
    anna.sees("Epochs must be a number from 1 to 50")
    page.get_by_label("Epochs").fill("2")
    with serving.holding("epoch", 1):
        anna.press("Re-train")
        anna.sees("Epoch 1 of 2")
        page.close()
        anna.open_page(serving.address)
        page = anna.page
        anna.sees("Epoch 1 of 2")
    page.locator("svg[role=img] circle").nth(1).wait_for()

    def made() -> set[str]:
        return {path.name for path in serving.models.glob("[!.]*.h5")} - {"small.weights.h5"}

    anna.until(made)  # the last epoch is drawn before the weights are judged and kept
    (new,) = made()
    page.locator("tr", has_text=new.removesuffix(".weights.h5")).wait_for()
    (serving.models / new).unlink()
    assert anna.errors == []

    done = ("upload", "segment finished", "compare finished", "submit finished", "train finished", "download")
    assert set(done) <= set(events(serving))
    text = json.dumps(serving.audit())
    assert not any(name in text for name in (*NAMES_OF_A_PATIENT, "case.zip", "higher"))


def test_a_real_ct_is_segmented_before_your_eyes(visit, serving, shared_data):
    case = shared_data / "cases" / "ts_example_dicom"
    anna = visit()
    anna.panel("Segment")
    anna.upload("#ct-files", "case.zip", zipped(case / "dicom"))
    anna.waits_for("Segment")
    anna.choose("Model", "default")
    with serving.holding("progress", 19):
        anna.press("Segment")
        anna.sees("19 of 20 slices")
        anna.until(lambda: anna.coloured() > 500)
    anna.sees("20 slices segmented.")
    mask = anna.mask()
    drawn = sitk.ReadImage(str(case / "mask.nii.gz"))
    drawn = array_of(sitk.Resample(drawn, mask, sitk.Transform(), sitk.sitkNearestNeighbor)) > 0
    marked = array_of(mask) > 0
    assert 2 * np.count_nonzero(marked & drawn) / (np.count_nonzero(marked) + np.count_nonzero(drawn)) > 0.8
    assert anna.download_file("spine.dcm")[128:132] == b"DICM"  # its headers lost their IDs by anonymisation
    anna.choose("Model", "small")


def test_versions_are_renamed_taken_home_used_and_deleted(visit, serving, small_model):
    # as re-training leaves it, but surely there
    shutil.copy(small_model, serving.models / "second.weights.h5")
    anna = visit()
    anna.panel("Segment")
    anna.panel("Re-train")
    anna.answers("better one")
    for act, then in (("Rename second", "Use better one"), ("Use better one", "better one is in use")):
        anna.page.get_by_title(act, exact=True).click()
        anna.page.get_by_title(then, exact=True).wait_for()
    file = serving.models / "better one.weights.h5"
    assert not (serving.models / "second.weights.h5").exists()
    assert json.loads((serving.models / "current.json").read_text()) == {"model": "better one"}
    assert anna.download(anna.page.get_by_title("Download better one")) == file.read_bytes() == small_model.read_bytes()
    assert anna.page.get_by_title("Delete default").is_disabled(), "what comes with SpineSeg stays"
    answer = anna.page.request.get(f"{serving.address}download/models/..%2F..%2Fweb%2Fdata")
    assert answer.status == 404
    anna.page.get_by_title("Use small", exact=True).click()
    anna.page.get_by_title("small is in use", exact=True).wait_for()
    anna.page.get_by_title("Delete better one").click()
    anna.page.get_by_title("Delete better one").wait_for(state="detached")
    assert not file.exists()


def test_two_people_wait_for_their_turn_and_do_not_see_each_other(visit, serving):
    anna, ben = visit(), visit()
    for each in (anna, ben):
        each.panel("Segment")
    assert ben.button("Segment").is_disabled(), "what the other has open isn't here"
    third = visit()
    assert third.answer.status == 503
    third.sees("All sessions are taken")
    for each in (anna, ben):
        each.open_case()

    with serving.holding("progress", 2):
        anna.press("Segment")
        anna.sees("2 of ")
        ben.press("Segment")
        ben.sees("Waiting: 1 before you.")
        assert ben.coloured() == 0
        anna.press("Cancel")
        anna.sees("The segmentation was cancelled.")
        ben.sees("2 of ")
        anna.until(lambda: anna.coloured() == 0)  # as it was before

        # a session that is ended, here in another tab, leaves no process even where it computes
        assert len(processes_by_folder(serving)) == 2
        assert max(processes_by_folder(serving).values()) >= 2, "ben's worker, which is held"
        left = ben.page
        ben.open_page(serving.address)
        ben.answers()
        ben.page.get_by_role("button", name="End the session").click()
        ben.until(lambda: "session ended" in events(serving))
        ben.until(lambda: len(processes_by_folder(serving)) == 1)
    left.get_by_text("The session has ended").wait_for()
    ben.open_page(f"{serving.address}login")
    ben.page.get_by_label("Access token").fill("a guess")
    ben.page.get_by_label("Access token").press("Enter")
    ben.sees("This token is not known")
    ben.page.get_by_label("Access token").fill(serving.link.split("key=")[1])
    ben.page.get_by_label("Access token").press("Enter")
    ben.button("Segment").wait_for()
    assert ben.button("Segment").is_disabled(), "a new session, with nothing of the one that was ended"


def test_a_lost_connection_comes_back_to_what_runs(chromium, serving):
    port = urlsplit(serving.link).port
    relay = Relay(port)
    anna = Visitor(chromium, replace(serving, link=serving.link.replace(f":{port}/", f":{relay.port}/")))
    anna.panel("Segment")
    anna.upload("#ct-files", "case.zip", zipped(serving.data / "ct"))
    anna.waits_for("Segment")
    with serving.holding("progress", 2):
        anna.press("Segment")
        anna.sees("2 of ")
        with anna.page.expect_websocket():
            relay.cut()
        anna.press("Cancel")
        anna.sees("The segmentation was cancelled.")
    leave([anna], serving)
    relay.close()


def test_what_is_no_ct_or_no_mask_is_told(visit, serving, tmp_path):
    anna = visit()
    anna.panel("Segment")
    others = serving.uploads()
    whole = zipped(serving.data / "ct")
    ones = sitk.Image(4, 4, 4, sitk.sitkUInt8) + 1
    away = sitk.Image(ones)
    away.SetOrigin((5000, 5000, 5000))
    for name, content, sentence in (
        ("photo.jpg", b"\xff\xd8\xff\xe0 JFIF", "The upload holds no DICOM images"),
        ("ct.nii.gz", b"text", "The file is not what its ending says"),
        ("mask.nii.gz", nifti(array_of(ones), ones, tmp_path), "looks like a label map"),
        ("case.zip", whole[: len(whole) // 2], "The zip is damaged"),
        ("bomb.zip", packed_zeros(UPLOAD_MB + 1), f"The upload is larger than {UPLOAD_MB} MB, unpacked"),
    ):
        anna.upload("#ct-files", name, content)
        anna.sees(sentence)
    # too large: the page says so before it sends anything, and the server to who sends nevertheless
    for way in (
        f"spinesegUpload('ct', [file], {UPLOAD_MB}, () => {{}})",
        f"spinesegUpload('ct', [file], {10 * UPLOAD_MB}, () => {{}})",
    ):
        file = f"new File([new Uint8Array({UPLOAD_MB + 1} * 2 ** 20)], 'a.nrrd')"
        said = anna.page.evaluate(f"(() => {{ const file = {file}; return {way}; }})()")
        assert said.startswith(f"The upload is larger than {UPLOAD_MB} MB")

    assert serving.uploads() == others, "what was refused takes room no more"

    anna.upload("#ct-files", "case.zip", whole)
    anna.waits_for("Segment")
    first = serving.uploads()
    anna.upload("#ct-files", "case.zip", whole)
    anna.until(lambda: not serving.uploads() & (first - others))
    anna.waits_for("Segment")
    (kept,) = serving.uploads() - others  # the CT's own files, for DICOM SEG; those before went
    assert len(list(kept.iterdir())) == len(list((serving.data / "ct").iterdir()))
    anna.panel("Compare")
    for name, image, sentence in (
        ("ct.nii.gz", sitk.Cast(ones, sitk.sitkInt16) * -500, "not a mask or label map"),
        ("empty.nii.gz", ones * 0, "The reference marks nothing"),
    ):
        sitk.WriteImage(image, str(tmp_path / name))
        anna.upload("#reference-files", name, (tmp_path / name).read_bytes())
        anna.sees(sentence)
    anna.upload("#reference-files", "away.nii.gz", nifti(array_of(away), away, tmp_path))
    anna.page.get_by_label("Tolerance").wait_for(state="detached")  # nothing is segmented that could be compared
    assert serving.uploads() - others == {kept}

    # a case of the server takes the upload's place, and is no upload
    files = set((serving.data / "ct").iterdir())
    for way in ("case", "upload"):
        anna.panel("Segment")
        if way == "case":
            anna.choose("Open a case of the server", "ct")
            anna.until(lambda: serving.uploads() == others)
        else:
            anna.upload("#ct-files", "case.zip", whole)
            anna.until(lambda: serving.uploads() != others)
        anna.waits_for("Segment")
    assert set((serving.data / "ct").iterdir()) == files


def test_the_keyboard_is_enough(visit):
    anna = visit()
    keys = anna.page.keyboard
    anna.tab_to("Segment")
    keys.press("Enter")
    anna.tab_to("Open a case of the server")
    keys.press("ArrowDown")
    anna.page.get_by_role("option", name="ct", exact=True).wait_for()
    keys.press("ArrowDown")
    keys.press("Enter")
    anna.waits_for("Segment")
    anna.tab_to("Segment")
    keys.press("Enter")
    anna.sees("slices segmented.")
    anna.tab_to(".seg.nrrd")
    with anna.page.expect_download():
        keys.press("Enter")
