"""`spineseg compare`: how well one segmentation agrees with another."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from SpineSegLib.engine.comparison.pair import PairComparison

SCHEMES = ("spineseg", "verse", "totalsegmentator", "totalsegmentator-v1", "totalspineseg", "any")
WORST = 5  # slices named

EPILOG = """\
Both masks may be a label map (.nii .nii.gz .nrrd .mha ...), a Slicer segmentation (.seg.nrrd) or a DICOM SEG, on any
grid. Segments with names such as "L3 vertebra" or "vertebrae_L3" are compared one by one; for label maps that have only
numbers, --labels says whose numbers they are. With --report, DIR gets report.html with figures, and all numbers as CSV
and JSON.

examples:
  spineseg compare spine.seg.nrrd manual.nii.gz
  spineseg compare spine.nii.gz manual.nii.gz --ct chest.nii.gz --report compared
  spineseg compare spine.nii.gz verse_mask.nii.gz --labels verse --json
"""


def add_parser(commands: argparse._SubParsersAction, common: argparse.ArgumentParser) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "compare",
        parents=[common],
        help="compare a segmentation with a reference",
        description="Compare a segmentation with a reference: overlap, distances, agreement of areas, worst slices.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("prediction", metavar="PREDICTION", type=Path, help="mask to judge")
    parser.add_argument("reference", metavar="REFERENCE", type=Path, help="mask to judge it by, usually a manual one")
    parser.add_argument("--ct", metavar="CT", type=Path, help="their CT, to be shown in the report's pictures")
    parser.add_argument("--series", metavar="S", help="number, UID or description of the series in a folder of several")
    parser.add_argument("--repair", action="store_true", help="repair a faulty CT as `spineseg segment` does")
    parser.add_argument("--labels", choices=SCHEMES, help="whose label numbers the reference has")
    parser.add_argument("--prediction-labels", choices=SCHEMES, help="whose label numbers the prediction has")
    parser.add_argument(
        "--tolerance", metavar="MM", type=float, default=1.0, help="tolerance of the surface Dice in mm (default: 1)"
    )
    parser.add_argument("--report", metavar="DIR", type=Path, help="folder to write a report with figures into")
    parser.add_argument("--overwrite", action="store_true", help="replace a report that is there")
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    parser.set_defaults(run=run, error=parser.error)


def run(options: argparse.Namespace) -> int:
    """Run the command with parsed options; see `add_parser`."""
    if not 0 <= options.tolerance < float("inf"):
        options.error("--tolerance must be 0 or more")
    from dataclasses import replace

    import SimpleITK as sitk

    from SpineSegLib.cli import console
    from SpineSegLib.engine.comparison.pair import compare_pair
    from SpineSegLib.engine.datasets.case import meaning_of_labels, notes_on_segments
    from SpineSegLib.engine.files.reading import read_labelmap, read_volume

    if not options.debug:
        sitk.ProcessObject.SetGlobalWarningDisplay(False)
    _check_report(options)
    prediction, reference = read_labelmap(options.prediction), read_labelmap(options.reference)
    meanings = (
        meaning_of_labels(prediction, options.prediction_labels),
        meaning_of_labels(reference, options.labels),
    )
    image = None if options.ct is None else read_volume(options.ct, options.series, options.repair).image
    pair = compare_pair(prediction, reference, *meanings, options.tolerance)
    notes = (*notes_on_segments(prediction, options.prediction_labels), *notes_on_segments(reference, options.labels))
    pair = replace(pair, notes=(*pair.notes, *dict.fromkeys(notes)))
    report = None
    if options.report is not None:
        report = _write_report(options, pair, (image, prediction, reference))
    if options.json:
        files = {"prediction": str(options.prediction), "reference": str(options.reference)}
        console.print_json(files | pair.as_dict() | {"report": report and str(report)})
    else:
        _show(pair, report)
    return 0


def _check_report(options: argparse.Namespace) -> None:
    if options.report is None:
        return
    from SpineSegLib.cli.outputs import check_new_folder
    from SpineSegLib.engine.comparison.report import FILES
    from SpineSegLib.engine.files.writing import check_place

    check_new_folder(options.report, FILES, options.overwrite)
    check_place(options.report / FILES[0])


def _write_report(options: argparse.Namespace, pair: PairComparison, images: tuple) -> Path:
    from SpineSegLib.engine.comparison.pictures import draw_worst_slices
    from SpineSegLib.engine.comparison.report import PAGE, write_report
    from SpineSegLib.engine.comparison.study import CaseResult, study
    from SpineSegLib.engine.files.writing import atomic_folder

    result = CaseResult("case", "prediction", pair, picture=draw_worst_slices(*images, pair))
    with atomic_folder(options.report) as temporary:
        write_report(temporary, "Segmentation compared with its reference", "", study([result]), {})
    return options.report / PAGE


def _show(pair: PairComparison, report: Path | None) -> None:
    from SpineSegLib.cli import console
    from SpineSegLib.engine.comparison.study import METRICS

    shown = (pair.whole, *pair.structures)
    rows = [
        (f"{m.name} ({m.unit})" if m.unit else m.name, *(_number(each.metrics[m.key], m.digits) for each in shown))
        for m in METRICS
    ]
    columns = ("Metric", *(each.key for each in shown))
    console.print_table("Prediction and reference", columns, rows, right=range(1, len(columns)))
    for unit, analysis in (("pixels", pair.area_agreement()), ("mm²", pair.area_agreement("mm2"))):
        if analysis.lower is not None:
            limits = f"limits of agreement {analysis.lower:.1f} to {analysis.upper:.1f}"
            console.say(f"Area per slice in {unit}: bias {analysis.bias:.1f}, {limits} ({analysis.count} slices)")
    worst = [f"{s.index} (Dice {s.dice:.2f}, {s.wrong} pixels)" for s in pair.worst_slices()[:WORST]]
    if worst:
        console.say(f"Worst slices: {', '.join(worst)}")
    for note in pair.notes:
        console.say(f"Note: {note[:1].upper()}{note[1:]}")
    if report is not None:
        console.say(f"Report: {report}")


def _number(value: Any, digits: int) -> str:
    return "undefined" if value is None else f"{value:.{digits}f}"
