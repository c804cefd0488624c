"""`spineseg phantom`: synthetic CT with known truth."""

from __future__ import annotations

import argparse
from pathlib import Path

CONTENT = ("dicom", "ct.nii.gz", "mask.nii.gz", "vertebrae.nii.gz")

EPILOG = """\
A case is a folder with the CT (a DICOM series in dicom/, or ct.nii.gz), mask.nii.gz (1 vertebrae, 2 sacrum) and
vertebrae.nii.gz (single vertebrae, numbered as in VerSe). One case is written into DIR itself, several into folders
DIR/case_<seed>. The same seed gives the same case.

examples:
  spineseg phantom cases --count 3
  spineseg phantom cases --seed 7 --format nifti --region lumbar --view trunk
  spineseg phantom cases --region L5-L1 --implants screws
"""


def add_parser(commands: argparse._SubParsersAction, common: argparse.ArgumentParser) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "phantom",
        parents=[common],
        help="write synthetic CT of spines with their true masks",
        description="Write synthetic CT of spines with their true masks, for trying things out, tests and training.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", metavar="DIR", type=Path, help="folder to write the cases into")
    parser.add_argument("--count", metavar="N", type=int, default=1, help="number of cases (default: 1)")
    parser.add_argument(
        "--seed", metavar="S", type=int, default=0, help="seed of the first case, the next ones follow (default: 0)"
    )
    parser.add_argument(
        "--format", choices=("dicom", "nifti"), default="dicom", help="how the CT is written (default: dicom)"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace cases written before")
    choices = parser.add_argument_group("what to show", "what isn't chosen is drawn from the seed")
    choices.add_argument(
        "--kind",
        choices=("spine", "water", "head"),
        default="spine",
        help="a patient, a cylinder of water or a head without spine",
    )
    choices.add_argument(
        "--region", help="lumbar, lumbosacral, thoracolumbar, thoracic, abdomen, whole, or two levels such as L5-L1"
    )
    choices.add_argument(
        "--view", choices=("spine", "trunk"), help="field of view: around the spine or the whole trunk"
    )
    choices.add_argument("--implants", choices=("none", "screws", "cement"), help="what surgery left")
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    parser.set_defaults(run=run, error=parser.error)


def run(options: argparse.Namespace) -> int:
    """Run the command with parsed options; see `add_parser`."""
    if options.count < 1 or options.seed < 0:
        options.error("--count must be at least 1 and --seed at least 0")
    if options.kind != "spine" and (options.region or options.view or options.implants):
        options.error("--region, --view and --implants are for --kind spine")
    from SpineSegLib.cli import console
    from SpineSegLib.cli.outputs import check_new_folder
    from SpineSegLib.engine.files.writing import atomic_folder
    from SpineSegLib.engine.synthetic.phantom import make_phantom, write_phantom

    seeds = range(options.seed, options.seed + options.count)
    folders = [options.folder / f"case_{seed:04d}" for seed in seeds]
    if options.count == 1:
        folders = [options.folder]
    for folder in folders:
        check_new_folder(folder, CONTENT, options.overwrite)
    choices = {
        key: getattr(options, key) for key in ("region", "view", "implants") if getattr(options, key) is not None
    }
    if "-" in choices.get("region", ""):
        choices["region"] = tuple(choices["region"].split("-", 1))
    silent = options.json or options.quiet
    with console.progress("Phantoms", options.count, "cases", silent) as update:
        for n, (seed, folder) in enumerate(zip(seeds, folders, strict=True), start=1):
            phantom = make_phantom(seed, options.kind, **choices)
            check_new_folder(folder, CONTENT, options.overwrite)  # it may have come into being meanwhile
            with atomic_folder(folder) as temporary:
                write_phantom(temporary, phantom, format=options.format)
            update(n)
    if options.json:
        console.print_json({"cases": [{"seed": s, "folder": str(f)} for s, f in zip(seeds, folders, strict=True)]})
    else:
        for folder in folders:
            console.say(str(folder))
    return 0
