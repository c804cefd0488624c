"""`spineseg cases`: the training set of corrected cases that `spineseg train --cases` trains on."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from SpineSegLib.cli.compare import SCHEMES

if TYPE_CHECKING:
    from SpineSegLib.engine.training.training_set import TrainingSet

EPILOG = """\
A training set is one file, by custom called <project>.cases.h5; the panel in 3D Slicer uses the same files. It holds CT
and corrected masks, but no names, dates or identifiers: patients are salted hashes, which keep the scans of one patient
together. The first patient trains, the second validates, then every fifth; none ever changes sides.

Of a DICOM CT the PatientID says whose it is; of other files give --patient where there are several scans of one
patient, for `import` a file case.json with {"patient": "any name"} in the case's folder, which comes first. Adding the
same scan again replaces it. Removing a case leaves nothing of it in the file.

examples:
  spineseg cases add spine.cases.h5 chest.nii.gz corrected.seg.nrrd
  spineseg cases add spine.cases.h5 dicom/ corrected.seg.nrrd --slices 40-60,75
  spineseg cases import spine.cases.h5 dataset-verse20training
  spineseg cases list spine.cases.h5
  spineseg train --cases spine.cases.h5 --from default
  spineseg cases export spine.cases.h5 Dataset042_Spine --format nnunet
"""


def add_parser(commands: argparse._SubParsersAction, common: argparse.ArgumentParser) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "cases",
        help="keep corrected cases to re-train on",
        description="Keep corrected cases to re-train on.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)

    def action(name: str, text: str) -> argparse.ArgumentParser:
        made = actions.add_parser(name, parents=[common], help=text, description=text[0].upper() + text[1:] + ".")
        made.add_argument("file", metavar="FILE", type=Path, help="the training set")
        made.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
        made.set_defaults(run=globals()[f"run_{name}"], error=made.error)
        return made

    add = action("add", "add a CT and its corrected mask; a new file is made where there is none")
    add.add_argument("ct", metavar="CT", type=Path, help="DICOM folder or volume file")
    add.add_argument("mask", metavar="MASK", type=Path, help="its mask: 1 vertebrae, 2 sacrum, or segments with names")
    add.add_argument("--patient", metavar="TEXT", help="whose it is, in any words; only a salted hash is kept")
    add.add_argument("--series", metavar="S", help="number, UID or description of the series in a folder of several")
    add.add_argument(
        "--slices", metavar="A-B,C", help="slices that were checked, counted from 0 as stored (default: all)"
    )
    add.add_argument("--side", choices=("training", "validation"), help="what a new patient is used for")
    add.add_argument("--repair", action="store_true", help="repair a faulty CT as `spineseg segment` does")
    brought = action("import", "add all cases of a data set; see `spineseg evaluate --help` for what is recognised")
    brought.add_argument("dataset", metavar="DATASET", type=Path, help="folder of CT with masks")
    for made in (add, brought):
        made.add_argument("--labels", choices=SCHEMES, help="whose label numbers masks have (default: recognised)")
        made.add_argument("--model", metavar="NAME|FILE", help="model whose segments a new file is made for")
    action("list", "list the cases")
    for name, text, several in (
        ("remove", "remove cases, and every byte of them", "+"),
        ("lock", "protect cases, or with no names the whole file, from being replaced or removed", "*"),
        ("unlock", "allow again what `lock` forbids", "*"),
    ):
        action(name, text).add_argument("cases", metavar="CASE", nargs=several, help="names as in `list`")
    export = action("export", "write all cases for other programs")
    export.add_argument("folder", metavar="FOLDER", type=Path, help="new folder to write into")
    export.add_argument(
        "--format",
        choices=("nifti", "nnunet"),
        default="nifti",
        help="nifti: a folder per case as `spineseg train` reads it; nnunet: a raw data set of nnU-Net 2",
    )


def run_add(options: argparse.Namespace) -> int:
    """Add one case."""
    slices = _slices(options)
    from dataclasses import replace

    from SpineSegLib.cli import console
    from SpineSegLib.engine.datasets.case import notes_on_segments
    from SpineSegLib.engine.files.reading import read_labelmap
    from SpineSegLib.engine.training.training_set_files import submission_of_files

    submission = submission_of_files(
        options.ct, options.mask, _segments(options), options.patient, options.series, options.repair, options.labels
    )
    notes = notes_on_segments(read_labelmap(options.mask), options.labels)
    target = _opened_or_new(options)
    case, replaced = target.add(replace(submission, checked=slices, side=options.side))
    if options.json:
        found = {"case": case.case, "side": case.side, "replaced": replaced, "cases": len(target.cases())}
        console.print_json(found | ({"notes": list(notes)} if notes else {}))
    else:
        for note in notes:
            console.say(f"Note: {note[:1].upper()}{note[1:]}.")
        verb = "replaced" if replaced else "added"
        console.say(f"{case.case} {verb}, for {case.side}; {options.file} holds {_count(len(target.cases()))}.")
    return 0


def run_import(options: argparse.Namespace) -> int:
    """Add a data set."""
    from SpineSegLib.cli import console
    from SpineSegLib.engine.datasets.find import find_dataset
    from SpineSegLib.engine.errors import InputError
    from SpineSegLib.engine.training.training_set_files import submissions

    dataset = find_dataset(options.dataset, options.labels)
    target = _opened_or_new(options)
    known = [case for case in dataset.cases if case.files]
    added, problems = [], []
    with console.progress("Importing", len(known), "cases", options.json or options.quiet) as update:
        for n, (case, found) in enumerate(submissions(dataset.cases, target.segments), start=1):
            name = f"case {n}" if case.private else case.name
            try:
                if isinstance(found, InputError):
                    raise found
                added.append({"case": target.add(found)[0].case, "from": name})
            except InputError as error:
                sentence = case.without_paths(str(error)) if case.private else str(error)
                problems.append({"from": name, "problem": sentence})
            update(n)
    if options.json:
        console.print_json({"kind": dataset.kind, "added": added, "problems": problems})
    else:
        for each in problems:
            console.say(f"Note: {each['from']} was left out: {each['problem']}")
        console.say(f"{_count(len(added))} imported from {dataset.kind}.")
    return 0 if added else InputError.exit_code


def run_list(options: argparse.Namespace) -> int:
    """List the cases."""
    from dataclasses import asdict

    from SpineSegLib.cli import console
    from SpineSegLib.engine.training.training_set import TrainingSet

    target = TrainingSet(options.file)
    cases = target.cases()
    if options.json:
        listed = [asdict(case) | {"slices": case.slices} for case in cases]
        console.print_json({"name": target.name, "segments": target.segments, "locked": target.locked, "cases": listed})
        return 0
    patients = {patient: n for n, patient in enumerate(dict.fromkeys(case.patient for case in cases), start=1)}
    rows = [
        (
            case.case,
            str(patients[case.patient]),
            case.side,
            "all" if case.checked is None else str(case.slices),
            " x ".join(str(n) for n in case.shape[::-1]),
            case.model,
            "locked" if case.locked else "",
        )
        for case in cases
    ]
    console.print_table("", ("Case", "Patient", "Side", "Checked slices", "Voxels", "Drawn by", ""), rows, right=(1, 3))
    console.say(f"{_count(len(cases))} of {_count(len(patients), 'patient')}" + (", locked." if target.locked else "."))
    return 0


def run_remove(options: argparse.Namespace) -> int:
    """Remove cases."""
    from SpineSegLib.engine.training.training_set import TrainingSet

    target = TrainingSet(options.file)
    target.remove(options.cases)
    return _changed(options, target)


def run_lock(options: argparse.Namespace) -> int:
    """Lock cases or the file."""
    from SpineSegLib.engine.training.training_set import TrainingSet

    target = TrainingSet(options.file)
    target.lock(options.cases)
    return _changed(options, target)


def run_unlock(options: argparse.Namespace) -> int:
    """Unlock cases or the file."""
    from SpineSegLib.engine.training.training_set import TrainingSet

    target = TrainingSet(options.file)
    target.lock(options.cases, locked=False)
    return _changed(options, target)


def run_export(options: argparse.Namespace) -> int:
    """Write the cases for other programs."""
    from SpineSegLib.cli import console
    from SpineSegLib.cli.outputs import check_new_folder
    from SpineSegLib.engine.training.training_set import TrainingSet
    from SpineSegLib.engine.training.training_set_files import export_nifti, export_nnunet

    target = TrainingSet(options.file)
    check_new_folder(options.folder, (), overwrite=False)
    exported = {"nifti": export_nifti, "nnunet": export_nnunet}[options.format](target, options.folder)
    if options.json:
        console.print_json({"folder": str(options.folder), "format": options.format} | exported._asdict())
    else:
        console.say(f"{options.folder}: {_count(exported.cases)}.")
        if exported.single_slices:
            console.say(
                f"Note: left out, as a single slice is no CT: {exported.single_slices} without a checked neighbour."
            )
    return 0


def _segments(options: argparse.Namespace) -> tuple[str, ...]:
    """Those of the training set, or of the model that a new one is made for."""
    from SpineSegLib.engine.models.model_catalogue import resolve_model
    from SpineSegLib.engine.models.model_file import read_info
    from SpineSegLib.engine.training.training_set import TrainingSet

    if options.file.exists():
        return TrainingSet(options.file).segments
    return read_info(resolve_model(options.model)).labels


def _opened_or_new(options: argparse.Namespace) -> TrainingSet:
    from SpineSegLib.engine.training.training_set import TrainingSet

    if options.file.exists():
        return TrainingSet(options.file)
    return TrainingSet.create(options.file, options.file.name.split(".")[0], _segments(options))


def _slices(options: argparse.Namespace) -> tuple[int, ...] | None:
    """What "3-5,9" means; None for all."""
    if options.slices is None:
        return None
    chosen: set[int] = set()
    try:
        for part in options.slices.split(","):
            first, _, last = part.partition("-")
            chosen |= set(range(int(first), int(last or first) + 1))
    except ValueError:
        options.error("--slices must be numbers and ranges such as 40-60,75")
    return tuple(sorted(chosen))


def _changed(options: argparse.Namespace, target: TrainingSet) -> int:
    from SpineSegLib.cli import console

    count = len(target.cases())
    if options.json:
        console.print_json({"cases": count, "locked": target.locked})
    else:
        console.say(f"{options.file} holds {_count(count)}" + (", locked." if target.locked else "."))
    return 0


def _count(number: int, what: str = "case") -> str:
    return f"{number} {what}{'s' * (number != 1)}"
