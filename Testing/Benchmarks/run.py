"""Speed and memory of SpineSeg on this machine: `python -m Testing.Benchmarks.run`, or `make bench`."""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from pathlib import Path

from SpineSegLib.engine.errors import SpineSegError
from SpineSegLib.engine.files.reading import read_volume
from SpineSegLib.engine.models.model_catalogue import resolve_model
from SpineSegLib.engine.models.preprocessing import Preprocessing
from SpineSegLib.engine.models.unet import PRESETS, Architecture, Preset
from SpineSegLib.engine.synthetic.phantom import make_phantom, write_phantom

from Testing.Benchmarks.engines import ENGINES, FEW
from Testing.Benchmarks.growth import measure_growth
from Testing.Benchmarks.laps import SHARE
from Testing.Benchmarks.machine import machine, versions
from Testing.Benchmarks.network_speed import measure_network
from Testing.Benchmarks.panel_latency import measure_panel
from Testing.Benchmarks.roofline import measure_roofline
from Testing.Benchmarks.rounds import REPOSITORY, apart
from Testing.Benchmarks.start import measure_start
from Testing.Benchmarks.table import Table
from Testing.Benchmarks.tall_ct import write_tall_ct
from Testing.Benchmarks.training_speed import measure_training
from Testing.Benchmarks.whole_job import measure_ways

PHANTOM = {"seed": 7, "region": "lumbar", "view": "trunk", "spacing": (0.8, 0.8, 3.0), "thickness": (0.0, 0.0, 3.0)}
TINY_PHANTOM = {"seed": 7, "region": ("L3", "L3"), "view": "spine", "spacing": (2.0, 2.0, 5.0)}
# Slices at once: on CPUs more gained nothing with any engine, and the paper's network takes seconds for one. And which
# engines: what is slow with `default` is so with the others.
NETWORKS = {"default": ((1, 8), ENGINES), "kim2020": ((1,), ENGINES), "fast": ((1, 8), FEW)}
TINY = Preset(
    Architecture(inputs=3, outputs=3, width=4, depth=1, normalization="batch"),
    Preprocessing(context=(-1.0, 0.0, 1.0)),
    ("vertebrae", "sacrum"),
)
# What is most important comes first, as who stops a long run keeps what was measured. Seconds that each should take on
# two quiet cores, and all may take: where rounds take long, none but the first is begun that would end later.
BUDGETS = {
    "ways": 220,
    "engines": 440,
    "growth": 80,
    "tall": 170,
    "start": 40,
    "limit": 30,
    "panel": 40,
    "training": 65,
}
ALL_SECONDS = 20 * 60
REAL_CT = "lidc_0314"  # of the test data
HOW_TO_READ = (
    "Medians of rounds; a round measures every row once, one after the other. In brackets: how many times less than "
    "the row with 1.00× it needs for the same work (median of the rounds' ratios)."
)


def main() -> int:
    """Measure, print the tables and write them."""
    parser = _parser()
    options = parser.parse_args()
    if options.rounds < 1:
        parser.error("--rounds must be at least 1")
    about = {"machine": machine(), "versions": versions()}
    options.out.mkdir(parents=True, exist_ok=True)
    tables: list[Table] = []
    took: dict[str, float] = {}
    failed = False
    before = time.monotonic()
    try:
        for what, table in _measured(options):
            took[what] = took.get(what, 0.0) + time.monotonic() - before
            before = time.monotonic()
            if table is None:
                failed = True
                continue
            tables.append(table)
            print(table.markdown(), flush=True)
            # after each table, so that who stops a long run keeps what was measured
            (options.out / "RESULTS.md").write_text(_markdown(about, tables, took), encoding="utf-8")
            results = about | {"seconds": took, "tables": [each.as_dict() for each in tables]}
            (options.out / "RESULTS.json").write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    except SpineSegError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    print(_seconds(took), flush=True)
    return int(failed)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m Testing.Benchmarks.run", description=__doc__)
    parser.add_argument(
        "--ct",
        metavar="FILE",
        type=Path,
        help=f"CT to segment, file or DICOM folder (default: {REAL_CT} where the test data is, else a phantom)",
    )
    parser.add_argument("--ct-name", metavar="TEXT", default="CT", help="what the table calls that CT (default: CT)")
    parser.add_argument("--model", metavar="NAME|FILE", help="model to segment it with (default: default)")
    parser.add_argument(
        "--rounds", metavar="N", type=int, default=3, help="most rounds to take medians of (default: 3)"
    )
    parser.add_argument(
        "--share",
        metavar="S",
        type=float,
        default=SHARE,
        help="share of its patches or slices on which the network of another way than SpineSeg is run, its time being "
        f"multiplied; 1 runs all of it (default: {SHARE:g})",
    )
    parser.add_argument(
        "--out",
        metavar="DIR",
        type=Path,
        default=Path("build/benchmarks"),
        help="folder for RESULTS.md and RESULTS.json (default: build/benchmarks)",
    )
    parser.add_argument(
        "--only",
        metavar="TABLE",
        nargs="+",
        choices=BUDGETS,
        default=list(BUDGETS),
        help=f"of {', '.join(BUDGETS)}, in that order (default: all)",
    )
    parser.add_argument(
        "--quick", action="store_true", help="tiny images, to see that everything runs; the numbers mean nothing"
    )
    return parser


def _measured(options: argparse.Namespace) -> Iterator[tuple[str, Table | None]]:
    """The tables, and which of `BUDGETS` each belongs to; None where one failed."""
    start = time.monotonic()

    def tell(what: str) -> None:
        print(f"[{time.monotonic() - start:4.0f} s] {what}", file=sys.stderr, flush=True)

    model = resolve_model(options.model).resolve()
    size = 64 if options.quick else 512
    networks = {"tiny": (TINY, (1, 2), ENGINES)} if options.quick else {n: (PRESETS[n], *NETWORKS[n]) for n in NETWORKS}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        ct, name = (options.ct.resolve(), options.ct_name) if options.ct else _real_ct(options.quick)
        if ct is None:
            tell("making a phantom")
            ct = apart(_make_phantom, folder, options.quick)
        description = f"{name}, {apart(_describe, ct)},"

        def tables(what: str) -> Iterator[Table]:
            rounds = options.rounds
            budget = min(BUDGETS[what], start + ALL_SECONDS - time.monotonic())
            if what == "ways":
                yield measure_ways(ct, description, model, folder, rounds, budget, options.share, tell)
            elif what == "tall":
                tall, slices = folder / "tall.nrrd", 12 if options.quick else 600
                phantom = apart(_make_phantom, folder / "trunk", options.quick)
                apart(write_tall_ct, phantom, slices, size, tall, True)
                shape = f"Tall phantom, a phantom of the trunk up and down again, {size} x {size} x {slices} voxels,"
                yield measure_ways(tall, shape, model, folder, 1, budget, options.share / 2, tell)
            elif what == "engines":
                for each, (preset, batches, engines) in networks.items():
                    share = budget / len(networks)
                    yield measure_network(each, preset, batches, engines, size, folder, rounds, tell, share)
            elif what == "growth":
                little = {"slices": (4, 8), "size": size} if options.quick else {}
                yield measure_growth(ct, description, model, folder, tell, **little)
            elif what == "start":
                yield measure_start(ct, model, folder, budget, tell)
            elif what == "limit":
                presets = [(each, preset) for each, (preset, _, engines) in networks.items() if engines is not FEW]
                yield measure_roofline(presets, size, folder, rounds, budget, tell)
            elif what == "panel":
                yield measure_panel(ct, description, rounds, budget, tell)
            elif what == "training":
                little = {"batch": 2, "patch": 32, "steps": 1} if options.quick else {}
                yield measure_training(ct, rounds, budget, tell, **little)

        for what in (each for each in BUDGETS if each in options.only):
            tell(what)
            try:
                yield from ((what, table) for table in tables(what))
            except Exception:  # what fails must not cost the tables that come after it
                traceback.print_exc()
                yield what, None
    tell("done")


def _real_ct(quick: bool) -> tuple[Path | None, str]:
    """The patient's CT that is measured unless another is asked for, and what it is called; None where a phantom is."""
    data = Path(os.environ.get("SPINESEG_DATA") or REPOSITORY.parent / "shared" / "data")
    ct = data.resolve() / "cases" / REAL_CT / "ct.nii.gz"
    return (ct, REAL_CT) if ct.is_file() and not quick else (None, "Phantom")


def _make_phantom(folder: Path, tiny: bool) -> Path:
    """Write a phantom and return where its CT is."""
    return write_phantom(folder, make_phantom(**(TINY_PHANTOM if tiny else PHANTOM)), format="dicom")


def _describe(ct: Path) -> str:
    """Size of a CT; having read it once also puts it into the system's file cache, for all engines alike."""
    image = read_volume(ct).image
    size, spacing = image.GetSize(), image.GetSpacing()
    return f"{' x '.join(map(str, size))} voxels of {' x '.join(f'{mm:.2f}' for mm in spacing)} mm"


def _markdown(about: dict[str, dict[str, str]], tables: list[Table], took: dict[str, float]) -> str:
    """The whole report."""
    parts = ["# Speed and memory\n"]
    parts += ["\n".join(f"- {name}: {value}" for name, value in about["machine"].items())]
    parts += ["- " + ", ".join(f"{name} {version}" for name, version in about["versions"].items()) + "\n"]
    parts += [HOW_TO_READ + "\n", *(table.markdown() for table in tables), _seconds(took)]
    return "\n".join(parts)


def _seconds(took: dict[str, float]) -> str:
    """How long the measuring took, beside what it should."""
    lines = ["## Duration of this run", "", "| tables | took, s | budget, s |", "|---|---:|---:|"]
    lines += [f"| {what} | {seconds:.0f} | {BUDGETS[what]} |" for what, seconds in took.items()]
    lines += [f"| all of these | {sum(took.values()):.0f} | {sum(BUDGETS[what] for what in took)} |"]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
