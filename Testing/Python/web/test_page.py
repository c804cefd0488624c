"""The page in a real browser: the whole loop, several people, and a lost connection."""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import replace
from urllib.parse import urlsplit

import numpy as np
import pytest
import SimpleITK as sitk
from relay import Relay

sync_api = pytest.importorskip("playwright.sync_api", reason="Playwright is needed to test the web page")

PATIENCE_MS = 120_000
NAMES_OF_A_PATIENT = ("Doe", "Jane")


class Visitor:
    """Somebody with a browser of their own; what the page asked of other computers and what went wrong is kept."""

    def __init__(self, browser, serving, **options):
        self.context = browser.new_context(viewport={"width": 1280, "height": 800}, **options)
        self.page = self.context.new_page()
        self.page.set_default_timeout(PATIENCE_MS)
        self.elsewhere, self.errors = [], []
        own = (serving.address, serving.address.replace("http", "ws"), f"blob:{serving.address}", "data:")
        self.page.on("request", lambda request: request.url.startswith(own) or self.elsewhere.append(request.url))
        self.page.on("websocket", lambda socket: socket.url.startswith(own) or self.elsewhere.append(socket.url))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("console", lambda said: said.type == "error" and self.errors.append(said.text))
        self.answer = self.page.goto(serving.link)

    @property
    def segment_button(self):
        return self.page.get_by_role("button", name="Segment", exact=True).last

    def open_case(self):
        self.page.get_by_label("Open a case of the server").first.press("ArrowDown")
        self.page.get_by_role("option", name="ct").click()
        self.segment_button.and_(self.page.locator(":enabled")).wait_for()

    def panel(self, name):
        self.page.get_by_role("navigation").first.get_by_role("button", name=name, exact=True).click()

    def press(self, name):
        self.page.get_by_role("button", name=name, exact=True).last.click()

    def sees(self, text):
        self.page.get_by_text(text).first.wait_for()

    def upload(self, place, name, content):
        self.page.locator(place).set_input_files({"name": name, "mimeType": "application/zip", "buffer": content})

    def download(self, name) -> bytes:
        with self.page.expect_download() as waiting:
            self.page.locator(f"a[download='{name}']").click()
        with open(waiting.value.path(), "rb") as file:  # noqa: PTH123 - Playwright gives a path of its own
            return file.read()

    def mask(self, tmp_path):
        (tmp_path / "download.nii.gz").write_bytes(self.download("spine.nii.gz"))
        return sitk.ReadImage(str(tmp_path / "download.nii.gz"))


@pytest.fixture
def visit(chromium, serving):
    visitors = []

    def visit(**options):
        visitors.append(Visitor(chromium, serving, **options))
        return visitors[-1]

    yield visit
    for visitor in visitors:
        visitor.context.close()
        assert visitor.elsewhere == []


def zipped(folder) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for path in folder.iterdir():
            archive.write(path, f"some folder/{path.name}")
    return data.getvalue()


def test_the_whole_loop(visit, serving, expected_mask, tmp_path):
    anna = visit()
    page = anna.page
    anna.panel("Segment")
    anna.upload("#ct-files", "case.zip", zipped(serving.data / "ct"))
    anna.segment_button.and_(page.locator(":enabled")).wait_for()

    # what the browser says is no path
    page.evaluate("window.trame.state.set('SegmentState__model', '/etc/passwd')")
    anna.press("Segment")
    anna.sees("This model is not on the server")
    page.evaluate("window.trame.state.set('SegmentState__model', 'small')")

    anna.press("Segment")
    anna.sees("12 slices segmented.")
    mask = anna.mask(tmp_path)
    labels = sitk.GetArrayFromImage(mask)
    assert np.array_equal(labels, sitk.GetArrayFromImage(expected_mask))
    assert labels.any()
    assert np.allclose(mask.GetOrigin(), expected_mask.GetOrigin())
    assert anna.download("spine.seg.nrrd").startswith(b"NRRD")
    assert anna.download("spine.dcm")[128:132] == b"DICM"

    # a reference that has half of it: Dice is known
    anna.panel("Compare")
    half = labels.copy()
    half[:, : labels.shape[1] // 2] = 0
    image = sitk.GetImageFromArray(half)
    image.CopyInformation(mask)
    sitk.WriteImage(image, str(tmp_path / "half.nii.gz"))
    anna.upload("#reference-files", "half.nii.gz", (tmp_path / "half.nii.gz").read_bytes())
    page.get_by_role("button", name="Compare", exact=True).last.and_(page.locator(":enabled")).wait_for()
    anna.press("Compare")
    dice = 2 * np.count_nonzero(half) / (np.count_nonzero(labels) + np.count_nonzero(half))
    anna.sees(f"Dice {dice:.4g}")
    slices = np.flatnonzero(labels.any(axis=(1, 2)))
    assert page.locator("svg[role=img]").first.locator("circle").count() == len(slices)
    page.locator("svg[role=img]").first.locator("circle").last.click()
    height = mask.TransformIndexToPhysicalPoint((0, 0, int(slices[-1])))[2]
    anna.sees(f"S {height:.1f} mm")
    assert "report.html" in zipfile.ZipFile(io.BytesIO(anna.download("report.zip"))).namelist()

    # paint in the axial view, below right, and undo
    anna.panel("Edit")
    page.locator(".v-navigation-drawer .mdi-brush").last.click()
    box = page.get_by_role("main").bounding_box()
    x, y = box["x"] + 0.75 * box["width"], box["y"] + 0.75 * box["height"]
    page.mouse.move(x - 30, y - 30)
    page.mouse.down()
    page.mouse.move(x, y, steps=4)
    page.mouse.up()
    page.locator("button:enabled .mdi-undo").wait_for()
    anna.panel("Segment")
    painted = sitk.GetArrayFromImage(anna.mask(tmp_path))
    assert np.count_nonzero(painted) > np.count_nonzero(labels)
    page.locator(".mdi-undo").click()
    page.locator("button:enabled .mdi-redo").wait_for()
    assert np.array_equal(sitk.GetArrayFromImage(anna.mask(tmp_path)), labels)

    anna.panel("Re-train")
    anna.press("Submit")
    anna.sees("1 cases of 1 patients")
    page.get_by_label("Without validation").click()
    page.get_by_label("Epochs").fill("2")
    anna.press("Re-train")
    anna.sees("Epoch 1 of 2")
    page.reload()
    page.locator("svg[role=img] circle").nth(1).wait_for()  # the curve of two epochs, after coming back
    page.locator("tbody tr", has_text="small").nth(1).wait_for()
    stored = (serving.store / "web.cases.h5").read_bytes()
    assert not any(name.encode() in stored for name in NAMES_OF_A_PATIENT)
    assert anna.errors == []

    log = serving.audit()
    assert {"upload", "segment finished", "compare finished", "submit finished", "train finished", "download"} <= {
        line["event"] for line in log
    }
    text = json.dumps(log)
    assert not any(name in text for name in (*NAMES_OF_A_PATIENT, "case.zip", "half"))


def test_two_people_do_not_see_each_other_and_a_third_must_wait(visit, serving):
    anna, ben = visit(), visit()
    for each in (anna, ben):
        each.panel("Segment")
    anna.open_case()
    assert ben.segment_button.is_disabled()
    third = visit()
    assert third.answer.status == 503
    third.sees("All sessions are taken")

    # closing the browser ends nothing: another one finds the case open
    anna.context.close()
    anna = visit()
    anna.panel("Segment")
    anna.segment_button.and_(anna.page.locator(":enabled")).wait_for()

    ben.page.on("dialog", lambda dialog: dialog.accept())
    ben.page.get_by_role("button", name="End the session").click()
    ben.page.get_by_label("Access token").fill("a guess")
    assert serving.audit()[-1]["event"] == "session ended"
    ben.page.get_by_label("Access token").press("Enter")
    ben.sees("This token is not known")
    ben.page.get_by_label("Access token").fill(serving.link.split("key=")[1])
    ben.page.get_by_label("Access token").press("Enter")
    ben.segment_button.wait_for()
    assert ben.segment_button.is_disabled(), "a new session, with nothing of the one that was ended"


def test_a_lost_connection_comes_back(chromium, serving):
    port = urlsplit(serving.link).port
    relay = Relay(port)
    anna = Visitor(chromium, replace(serving, link=serving.link.replace(f":{port}/", f":{relay.port}/")))
    anna.panel("Re-train")
    anna.sees("Corrected cases")
    with anna.page.expect_websocket():
        relay.cut()
    anna.panel("Segment")
    anna.page.get_by_label("Open a case of the server").first.wait_for()
    anna.context.close()
    relay.close()
