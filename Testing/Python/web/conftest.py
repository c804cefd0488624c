"""A server as people start it, with a small model, and a real browser to use it with."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
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
BRAKE = Path(__file__).resolve().parent / "brake"
UPLOAD_MB = 40
IN_PROCESS = """
from pathlib import Path
import SimpleITK as sitk
from SpineSegLib.engine.models.network import Network
from SpineSegLib.engine.files.reading import read_volume
from SpineSegLib.engine.segmenter import Segmentation

segmentation = Segmentation(read_volume(Path({ct!r})), Network({model!r}, "cpu"))
for _ in segmentation:
    pass
sitk.WriteImage(segmentation.labelmap(), {out!r})
"""
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


@dataclass(frozen=True)
class Serving:
    """A running server: the `link` to open; the DICOM files of a CT lie in `data`/ct, models in `models`, folders of
    sessions in `temporary`."""

    link: str
    data: Path
    store: Path
    models: Path
    brake: Path
    temporary: Path

    @property
    def address(self) -> str:
        """The link without its key."""
        return self.link.split("?")[0]

    @contextmanager
    def holding(self, event: str, number: int) -> Iterator[None]:
        """Keep jobs from going on once they have reported so many: "progress" of slices, "epoch"."""
        file, whole = self.brake / event, self.brake / f"{event}.new"
        whole.write_text(str(number))
        whole.replace(file)  # so that nobody reads half of it
        try:
            yield
        finally:
            file.unlink()

    def uploads(self) -> set[Path]:
        """Folders of what was uploaded and is still there."""
        return set(self.temporary.glob("*/uploads/*"))

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
def study(tmp_path_factory) -> Path:
    """The DICOM files of a CT of a patient who has a name."""
    folder = tmp_path_factory.mktemp("study") / "ct"
    # a body with skin, as air that ends at once is padding
    body = sitk.Cast(sitk.SmoothingRecursiveGaussian(smooth_ct(size=(64, 60, 12)), 1.5), sitk.sitkInt16)
    write_ct_series(folder, body, patient="Doe^Jane")
    return folder


@pytest.fixture(scope="session")
def expected_mask(study, small_model, tmp_path_factory, run_python) -> sitk.Image:
    """What the engine, asked directly, makes of the study with the small model."""
    out = tmp_path_factory.mktemp("expected") / "mask.nrrd"
    run_python(IN_PROCESS.format(ct=str(study), model=str(small_model), out=str(out)))
    return sitk.ReadImage(str(out))


@pytest.fixture(scope="session")
def serving(tmp_path_factory, small_model, study) -> Iterator[Serving]:
    """`spineseg web` with two sessions at most."""
    pytest.importorskip("trame_slicer", reason="trame-slicer is needed for the web page: pip install 'spineseg[web]'")
    if not any(map(find_library, ("OSMesa", "EGL"))):
        pytest.skip("nothing to draw views with; install libosmesa6")
    folder = tmp_path_factory.mktemp("web")
    data, store, models, brake, temporary = (folder / name for name in ("data", "store", "models", "brake", "tmp"))
    for place in (models, brake, temporary):
        place.mkdir()
    shutil.copytree(study, data / "ct")
    for path in small_model.parent.iterdir():
        shutil.copy(path, models)
    environment = {"PYTHONPATH": f"{SOURCE}{os.pathsep}{BRAKE}", "SPINESEG_BRAKE": str(brake)}
    limits = ("--sessions", "2", "--upload-mb", str(UPLOAD_MB))
    command = [sys.executable, "-m", "SpineSegLib.cli", "web", "--port", "0", *limits]
    with (folder / "errors.txt").open("wb") as errors:
        process = subprocess.Popen(
            [*command, "--data", str(data), "--store", str(store)],
            stdout=subprocess.PIPE,
            stderr=errors,
            env={**os.environ, **environment, "SPINESEG_MODELS": str(models), "TMPDIR": str(temporary)},
            text=True,
        )
    try:
        said = process.stdout.readline()
        assert "SpineSeg is at " in said, (folder / "errors.txt").read_text()
        yield Serving(said.split()[-1], data, store, models, brake, temporary)
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
