"""`python -m Testing.Benchmarks.web_load`: many people at one server at once, each with a page in Chromium.

They come one after the other, and press Segment at the same moment. Measured are what each of them waits for, how long
the page takes to answer while others compute, the server's memory, and whether every downloaded segmentation is the one
that `spineseg segment` writes. The browsers run on the same processor as the server.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from SpineSegLib.cli import main as spineseg

from Testing.Benchmarks.machine import machine, versions

SOURCE = Path(__file__).resolve().parents[2] / "SpineSeg"
STATE = "() => ['status', 'problem', 'kind'].map((name) => window.trame.state.get('RunnerState__' + name))"
ASK_SECONDS = 2.0
LOOK_SECONDS = 0.05
PATIENCE_MS = 1_800_000


class Person:
    """One browser. `seconds`: what was waited for; `answers`: seconds of each round trip to the session's process."""

    def __init__(self, context) -> None:
        self.context = context
        self.seconds: dict[str, float] = {}
        self.answers: list[float] = []
        self.positions: list[int] = []
        self.problem = ""

    async def come(self, link: str) -> None:
        """Open the page and wait until its case is open."""
        self.page = await self.context.new_page()
        self.page.set_default_timeout(PATIENCE_MS)
        began = time.monotonic()
        await self.page.goto(link)
        self.button = self.page.get_by_role("button", name="Segment", exact=True).last
        await self.button.wait_for()
        self.seconds["page"] = time.monotonic() - began
        await self.button.and_(self.page.locator(":enabled")).wait_for()
        self.seconds["CT open"] = time.monotonic() - began

    async def segment(self) -> None:
        """Press Segment and look at what the page says until the end."""
        began = time.monotonic()

        def note(what: str) -> None:
            self.seconds.setdefault(what, time.monotonic() - began)

        asking = asyncio.create_task(self._ask())
        await self.button.click()
        while True:
            said, self.problem, kind = await self.page.evaluate(STATE)
            if said.startswith("Waiting: "):
                note("place in the queue")
                position = int(said.split()[1])
                if position not in self.positions:
                    self.positions.append(position)
            elif " of " in said:
                note("first slice")
            elif self.problem or (said.endswith("segmented.") and not kind):
                note("end")
                break
            await asyncio.sleep(LOOK_SECONDS)
        asking.cancel()

    async def _ask(self) -> None:
        """Have the session's process say something every now and then; it says that there is no such download."""
        while True:
            await asyncio.sleep(ASK_SECONDS)
            self.answers.append(
                await self.page.evaluate(
                    "async () => { const began = performance.now(); await (await fetch('download/nothing')).text();"
                    " return (performance.now() - began) / 1000; }"
                )
            )

    async def mask(self, path: Path) -> np.ndarray:
        """The downloaded segmentation."""
        async with self.page.expect_download() as waiting:
            await self.page.locator("a[download='spine.nii.gz']").click()
        await (await waiting.value).save_as(path)
        return sitk.GetArrayFromImage(sitk.ReadImage(str(path)))


def memory(pid: int) -> float:
    """MB that a process and all below it hold, shared pages counted once (PSS)."""
    parents = {}
    for place in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(place.name)] = int((place / "stat").read_text().rsplit(")", 1)[1].split()[1])
        except OSError:
            continue  # it has ended
    family, found = {pid}, True
    while found:
        found = {child for child, parent in parents.items() if parent in family} - family
        family |= found
    total = 0
    for each in family:
        try:
            lines = Path(f"/proc/{each}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total / 1024


async def visit(link: str, people: int, pid: int, expected: np.ndarray, folder: Path) -> tuple[list[Person], dict]:
    """Let people come one after the other, segment at the same moment, take their masks home and log out."""
    from playwright.async_api import async_playwright

    numbers = {"memory before": memory(pid)}
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=os.environ.get("CHROMIUM"), args=["--no-sandbox"])
        crowd = [Person(await browser.new_context(viewport={"width": 1280, "height": 800})) for _ in range(people)]
        for person in crowd:
            await person.come(link)
        began = time.monotonic()
        await asyncio.gather(*(person.segment() for person in crowd))
        numbers["all"] = time.monotonic() - began
        numbers["memory with all"] = memory(pid)
        masks = [await person.mask(folder / f"{n}.nii.gz") for n, person in enumerate(crowd)]
        numbers["right"] = sum(np.array_equal(mask, expected) for mask in masks)
        for person in crowd:
            person.page.on("dialog", lambda dialog: dialog.accept())
            await person.page.get_by_role("button", name="End the session").click()
            await person.page.get_by_label("Access token").wait_for()
        numbers["memory after"] = memory(pid)
        await browser.close()
    return crowd, numbers


def row(name: str, values: Sequence[float]) -> str:
    """A line of the table: median and extremes, in seconds."""
    if not values:
        return f"| {name} | - | - | - |"
    return f"| {name} | {min(values):.2f} | {statistics.median(values):.2f} | {max(values):.2f} |"


def report(title: str, crowd: Sequence[Person], numbers: dict) -> str:
    """The measurements as Markdown."""
    names = ("page", "CT open", "place in the queue", "first slice", "end")
    lines = [title, "", "| seconds | shortest | median | longest |", "|---|---|---|---|"]
    lines += [row(name, [each.seconds[name] for each in crowd if name in each.seconds]) for name in names]
    lines.append(row("round trip while others compute", [answer for each in crowd for answer in each.answers]))
    lines += [
        "",
        f"{numbers['right']} of {len(crowd)} downloaded segmentations are voxel for voxel what `spineseg segment`"
        f" writes; all were done after {numbers['all']:.1f} s. Places shown: "
        + ", ".join(str(each.positions[0] if each.positions else 0) for each in crowd)
        + f". Server's memory (PSS): {numbers['memory before']:.0f} MB before, {numbers['memory with all']:.0f} MB with"
        f" all sessions and their workers, {numbers['memory after']:.0f} MB after they logged out.",
    ]
    return "\n".join(lines)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sessions", type=int, default=8)
    parser.add_argument("--ct", type=Path, help="CT file; a synthetic one by default")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        ct = options.ct
        if ct is None:
            spineseg(["phantom", str(folder / "made"), "--seed", "7", "--region", "thoracolumbar", "--view", "spine"])
            ct = folder / "made" / "dicom"
        subprocess.run(
            [sys.executable, "-m", "SpineSegLib.cli", "segment", str(ct), "-o", str(folder / "expected.nii.gz")],
            env={**os.environ, "PYTHONPATH": str(SOURCE)},
            check=True,
        )
        expected = sitk.GetArrayFromImage(sitk.ReadImage(str(folder / "expected.nii.gz")))
        command = [sys.executable, "-m", "SpineSegLib.cli", "web", "--port", "0", "--sessions", str(options.sessions)]
        server = subprocess.Popen(
            [*command, "--data", str(ct.resolve().parent), "--open", ct.name, "--store", str(folder / "store")],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(SOURCE)},
        )
        try:
            link = server.stdout.readline().split()[-1]
            crowd, numbers = asyncio.run(visit(link, options.sessions, server.pid, expected, folder))
        finally:
            server.terminate()
            server.wait()
    size = " x ".join(map(str, expected.shape[::-1]))
    where = ", ".join(f"{name} {value}" for name, value in {**machine(), **versions()}.items())
    title = f"{len(crowd)} sessions, a CT of {size} voxels, load average {os.getloadavg()[1]:.1f} at the end. {where}."
    print(report(title, crowd, numbers))


if __name__ == "__main__":
    main()
