"""A server as people start it, with a small model, and a real browser to use it with."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from ctypes.util import find_library
from dataclasses import dataclass
from pathlib import Path

import pytest
import SimpleITK as sitk
from geometry import smooth_ct
from small_models import model_info, random_weights
from SpineSegLib.engine.files.dicom_write import write_ct_series
from SpineSegLib.engine.models.model_file import save_weights
from SpineSegLib.engine.models.preprocessing import Preprocessing
from SpineSegLib.engine.models.unet import Architecture

SOURCE = Path(__file__).resolve().parents[3] / "SpineSeg"
SIZE = (64, 60, 12)  # of the CT
IN_PROCESS = """
import SimpleITK as sitk
from SpineSegLib.engine.models.network import Network
from SpineSegLib.engine.files.reading import read_volume
from SpineSegLib.engine.segmenter import Segmentation

segmentation = Segmentation(read_volume({ct!r}), Network({model!r}, "cpu"))
for _ in segmentation:
    pass
sitk.WriteImage(segmentation.labelmap(), {out!r})
"""
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


@dataclass(frozen=True)
class Serving:
    """A running server: the `link` to open; the DICOM files of a CT lie in `data`/ct."""

    link: str
    data: Path
    store: Path

    @property
    def address(self) -> str:
        """The link without its key."""
        return self.link.split("?")[0]

    def audit(self) -> list[dict]:
        """The audit log so far."""
        return [json.loads(line) for line in (self.store / "audit.jsonl").read_text().splitlines()]


def save_small_model(path: Path) -> None:
    """A model for vertebrae alone, which is re-trained without rehearsing phantoms."""
    architecture = Architecture(inputs=1, outputs=1, width=4, depth=2)
    preprocessing = Preprocessing(spacing=1.5, context=(0.0,))
    info = model_info(architecture, labels=("vertebrae",), preprocessing=preprocessing)
    save_weights(random_weights(architecture, seed=3), info, path)


@pytest.fixture(scope="session")
def small_model(tmp_path_factory) -> Path:
    """The small model, current in a folder of its own."""
    folder = tmp_path_factory.mktemp("models")
    save_small_model(folder / "small.weights.h5")
    (folder / "current.json").write_text(json.dumps({"model": "small"}))
    return folder / "small.weights.h5"


@pytest.fixture(scope="session")
def expected_mask(small_model, tmp_path_factory, run_python) -> sitk.Image:
    """What the engine, asked directly, makes of the CT with the small model."""
    folder = tmp_path_factory.mktemp("expected")
    sitk.WriteImage(smooth_ct(size=SIZE), str(folder / "ct.nrrd"))
    run_python(IN_PROCESS.format(ct=str(folder / "ct.nrrd"), model=str(small_model), out=str(folder / "mask.nrrd")))
    return sitk.ReadImage(str(folder / "mask.nrrd"))


@pytest.fixture(scope="session")
def serving(tmp_path_factory, small_model) -> Iterator[Serving]:
    """`spineseg web` with two sessions at most."""
    pytest.importorskip("trame_slicer", reason="trame-slicer is needed for the web page: pip install 'spineseg[web]'")
    if not any(map(find_library, ("OSMesa", "EGL"))):
        pytest.skip("nothing to draw views with; install libosmesa6")
    folder = tmp_path_factory.mktemp("web")
    data, store, models = (folder / name for name in ("data", "store", "models"))
    for place in (data, models):
        place.mkdir()
    for path in small_model.parent.iterdir():
        shutil.copy(path, models)
    write_ct_series(data / "ct", smooth_ct(size=SIZE), patient="Doe^Jane")
    command = [sys.executable, "-m", "SpineSegLib.cli", "web", "--port", "0", "--sessions", "2"]
    with (folder / "errors.txt").open("wb") as errors:
        process = subprocess.Popen(
            [*command, "--data", str(data), "--store", str(store)],
            stdout=subprocess.PIPE,
            stderr=errors,
            env={**os.environ, "PYTHONPATH": str(SOURCE), "SPINESEG_MODELS": str(models)},
            text=True,
        )
    try:
        said = process.stdout.readline()
        assert "SpineSeg is at " in said, (folder / "errors.txt").read_text()
        yield Serving(said.split()[-1], data, store)
    finally:
        process.terminate()
        process.wait(30)


@pytest.fixture(scope="module")
def chromium():
    """Headless Chromium: the system's, else Playwright's own. While it is there, asyncio can't run anything else."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="Playwright is needed to test the web page")
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    with sync_api.sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        except sync_api.Error:
            pytest.skip("no Chromium to test the web page with: apt install chromium, or playwright install chromium")
        yield browser
        browser.close()
