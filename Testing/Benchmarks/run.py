"""Speed and memory of SpineSeg on this machine: `python -m Testing.Benchmarks.run`, or `make bench`."""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from SpineSegLib.engine.errors import SpineSegError
from SpineSegLib.engine.files.reading import read_volume
from SpineSegLib.engine.models.model_catalogue import resolve_model
from SpineSegLib.engine.models.preprocessing import Preprocessing
from SpineSegLib.engine.models.unet import PRESETS, Architecture, Preset
from SpineSegLib.engine.synthetic.phantom import make_phantom, write_phantom

from Testing.Benchmarks.growth import measure_growth
from Testing.Benchmarks.machine import machine, versions
from Testing.Benchmarks.network_speed import measure_network
from Testing.Benchmarks.panel_latency import measure_panel
from Testing.Benchmarks.roofline import measure_roofline
from Testing.Benchmarks.rounds import apart
from Testing.Benchmarks.table import Table
from Testing.Benchmarks.tall_ct import write_tall_ct
from Testing.Benchmarks.training_speed import measure_training
from Testing.Benchmarks.whole_job import measure_ways, measure_whole_job

PHANTOM = {"seed": 7, "region": "lumbar", "view": "trunk", "spacing": (0.8, 0.8, 3.0), "thickness": (0.0, 0.0, 3.0)}
TINY_PHANTOM = {"seed": 7, "region": ("L3", "L3"), "view": "spine", "spacing": (2.0, 2.0, 5.0)}
# Slices at once: on CPUs more gained nothing with any engine, and the paper's network takes seconds for one.
BATCHES = {"default": (1, 8), "kim2020": (1, 2)}
TINY = Preset(
    Architecture(inputs=3, outputs=3, width=4, depth=1, normalization="batch"),
    Preprocessing(context=(-1.0, 0.0, 1.0)),
    ("vertebrae", "sacrum"),
)
TABLES = ("ways", "whole", "panel", "engines", "limit", "growth", "training")
HOW_TO_READ = (
    "Medians of rounds, {rounds} of them; a round measures every row once, one after the other. In brackets: how many "
    "times less than the row with 1.00× it needs for the same work (median of the rounds' ratios)."
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
    try:
        for table in _measured(options):
            tables.append(table)
            print(table.markdown(), flush=True)
            # after each table, so that who stops a long run keeps what was measured
            (options.out / "RESULTS.md").write_text(_markdown(about, tables, options.rounds), encoding="utf-8")
            results = about | {"rounds": options.rounds, "tables": [each.as_dict() for each in tables]}
            (options.out / "RESULTS.json").write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    except SpineSegError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m Testing.Benchmarks.run", description=__doc__)
    parser.add_argument(
        "--ct", metavar="FILE", type=Path, help="CT to segment, file or DICOM folder (default: a phantom)"
    )
    parser.add_argument("--ct-name", metavar="TEXT", default="CT", help="what the table calls that CT (default: CT)")
    parser.add_argument("--model", metavar="NAME|FILE", help="model to segment it with (default: default)")
    parser.add_argument("--rounds", metavar="N", type=int, default=3, help="rounds to take the median of (default: 3)")
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
        choices=TABLES,
        default=TABLES,
        help=f"of {', '.join(TABLES)} (default: all)",
    )
    parser.add_argument(
        "--quick", action="store_true", help="tiny images, to see that everything runs; the numbers mean nothing"
    )
    return parser


def _measured(options: argparse.Namespace) -> Iterator[Table]:
    start = time.monotonic()

    def tell(what: str) -> None:
        print(f"[{time.monotonic() - start:4.0f} s] {what}", file=sys.stderr, flush=True)

    model = resolve_model(options.model).resolve()
    size = 64 if options.quick else 512
    networks = {"tiny": (TINY, (1, 2))} if options.quick else {n: (PRESETS[n], BATCHES[n]) for n in BATCHES}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        # as on a computer on which SpineSeg has run before, and without traces on this one
        os.environ["SPINESEG_CACHE"] = str(folder / "cache")
        if options.ct is None:
            tell("making a phantom")
            ct, name = apart(_make_phantom, folder, options.quick), "Phantom"
        else:
            ct, name = options.ct.resolve(), options.ct_name
        description = f"{name}, {apart(_describe, ct)},"
        for what in options.only:
            tell(what)
            if what == "ways":
                yield measure_ways(ct, description, model, folder, min(options.rounds, 2), tell)
                tall, slices = folder / "tall.nrrd", 12 if options.quick else 600
                apart(write_tall_ct, ct, slices, size, tall, True)
                shape = f"{name} up and down again, {size} x {size} x {slices} voxels,"
                yield measure_ways(tall, shape, model, folder, 1, tell)
            elif what == "whole":
                yield measure_whole_job(ct, description, model, folder, options.rounds, tell)
            elif what == "panel":
                yield measure_panel(ct, description, options.rounds, tell)
            elif what == "engines":
                for each, (preset, batches) in networks.items():
                    yield measure_network(each, preset, batches, size, folder, options.rounds, tell)
            elif what == "limit":
                presets = [(each, preset) for each, (preset, _) in networks.items()]
                yield measure_roofline(presets, size, folder, options.rounds, tell)
            elif what == "growth":
                tall = {"slices": (4, 8), "size": size} if options.quick else {}
                yield measure_growth(ct, description, model, folder, tell, **tall)
            elif what == "training":
                little = {"batch": 2, "patch": 32, "steps": 1} if options.quick else {}
                yield measure_training(ct, options.rounds, tell, **little)
    tell("done")


def _make_phantom(folder: Path, tiny: bool) -> Path:
    """Write a phantom and return where its CT is."""
    return write_phantom(folder, make_phantom(**(TINY_PHANTOM if tiny else PHANTOM)), format="dicom")


def _describe(ct: Path) -> str:
    """Size of a CT; having read it once also puts it into the system's file cache, for all engines alike."""
    image = read_volume(ct).image
    size, spacing = image.GetSize(), image.GetSpacing()
    return f"{' x '.join(map(str, size))} voxels of {' x '.join(f'{mm:.2f}' for mm in spacing)} mm"


def _markdown(about: dict[str, dict[str, str]], tables: list[Table], rounds: int) -> str:
    """The whole report."""
    parts = ["# Speed and memory\n"]
    parts += ["\n".join(f"- {name}: {value}" for name, value in about["machine"].items())]
    parts += ["- " + ", ".join(f"{name} {version}" for name, version in about["versions"].items()) + "\n"]
    parts += [HOW_TO_READ.format(rounds=rounds) + "\n"]
    return "\n".join(parts) + "\n" + "\n".join(table.markdown() for table in tables)


if __name__ == "__main__":
    sys.exit(main())
