"""Somebody with a browser of their own, and how they use the page."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import numpy as np
import SimpleITK as sitk

PATIENCE = 240  # seconds; nothing waits so long where it comes at all


class Visitor:
    """What the page asked of other computers, and what went wrong in it, is kept."""

    def __init__(self, browser, serving, **options):
        self.serving = serving
        self.context = browser.new_context(viewport={"width": 1280, "height": 800}, **options)
        self.elsewhere, self.errors = [], []
        self.answer = self.open_page(serving.link)

    def open_page(self, address):
        """Open another tab, which is used from now on."""
        self.page = self.context.new_page()
        self.page.set_default_timeout(1000 * PATIENCE)
        served = self.serving.address
        own = (served, served.replace("http", "ws"), f"blob:{served}", "data:")
        self.page.on("request", lambda request: request.url.startswith(own) or self.elsewhere.append(request.url))
        self.page.on("websocket", lambda socket: socket.url.startswith(own) or self.elsewhere.append(socket.url))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("console", lambda said: said.type == "error" and self.errors.append(said.text))
        return self.page.goto(address)

    def panel(self, name):
        self.page.get_by_role("navigation").first.get_by_role("button", name=name, exact=True).click()

    def button(self, name):
        """The button of a panel, not that which opens the panel of the same name."""
        return self.page.get_by_role("button", name=name, exact=True).last

    def press(self, name):
        self.button(name).click()

    def waits_for(self, name):
        """Wait until a button can be pressed."""
        self.button(name).and_(self.page.locator(":enabled")).wait_for()

    def sees(self, text):
        self.page.get_by_text(text).first.wait_for()

    def choose(self, label, option):
        field = self.page.get_by_label(label, exact=True).first
        field.and_(self.page.locator(":enabled")).wait_for()  # keys do nothing while it is disabled
        field.press("ArrowDown")
        self.page.get_by_role("option", name=option, exact=True).click()

    def open_case(self):
        self.choose("Open a case of the server", "ct")
        self.waits_for("Segment")

    def answers(self, text=None):
        """Say yes to questions, with a text where one is asked for."""
        self.page.on("dialog", lambda dialog: dialog.accept(text) if dialog.type == "prompt" else dialog.accept())

    def upload(self, place, name, content):
        """Choose a file; the answer comes when it is opened or refused."""
        with self.page.expect_response(lambda answer: "/upload?" in answer.url) as waiting:
            self.page.locator(place).set_input_files({"name": name, "mimeType": "application/zip", "buffer": content})
        assert waiting.value.status in (200, 422)

    def download(self, link) -> bytes:
        with self.page.expect_download() as waiting:
            link.click()
        return Path(waiting.value.path()).read_bytes()

    def download_file(self, name) -> bytes:
        return self.download(self.page.locator(f"a[download='{name}']"))

    def mask(self) -> sitk.Image:
        """The segmentation, downloaded as NIfTI."""
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "mask.nii.gz").write_bytes(self.download_file("spine.nii.gz"))
            return sitk.ReadImage(str(Path(folder) / "mask.nii.gz"))

    @property
    def views(self):
        """The slice and 3D views, without what lies beside them."""
        return self.page.locator("main > div").first

    def coloured(self) -> int:
        """How many pixels of the views have a colour: a CT has none, segments have."""
        with tempfile.TemporaryDirectory() as folder:
            self.views.screenshot(path=f"{folder}/views.png")
            pixels = sitk.GetArrayFromImage(sitk.ReadImage(f"{folder}/views.png"))[..., :3].astype(int)
        return np.count_nonzero(np.ptp(pixels, axis=-1) > 20)

    def until(self, condition):
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < deadline
            self.page.wait_for_timeout(100)

    def tab_to(self, name):
        """Move the focus, by the Tab key alone, to what has this name."""
        for _ in range(60):
            self.page.keyboard.press("Tab")
            if self.page.evaluate(FOCUSED).lower() == name.lower():  # buttons are shown in capitals
                return
        raise AssertionError(f"{name} can't be reached with the keyboard")


FOCUSED = """() => {
  const here = document.activeElement, labels = [...(here.labels || [])].map((label) => label.textContent);
  return (labels.find(Boolean) || here.getAttribute("aria-label") || here.getAttribute("title")
    || here.querySelector("title")?.textContent || here.innerText).trim();
}"""
