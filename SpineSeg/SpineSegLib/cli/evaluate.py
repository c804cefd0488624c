"""`spineseg evaluate`: models on a whole data set, against its references."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from SpineSegLib.cli.compare import SCHEMES

if TYPE_CHECKING:
    from SpineSegLib.engine.comparison.study import CaseResult, Study
    from SpineSegLib.engine.datasets.find import Dataset
    from SpineSegLib.engine.evaluation import EvaluatedModel, EvaluationSettings, NamedCase

STATE, STORE = "evaluation.json", "results"

EPILOG = """\
DATASET is recognised by its layout: folders with ct.nii.gz (or dicom/) and mask.nii.gz each, pairs such as x_ct.nii.gz
and x_mask.nii.gz, folders images/ and labels/ side by side, VerSe (rawdata, derivatives), CTSpine1K, TotalSegmentator
(ct.nii.gz, segmentations/), nnU-Net (imagesTr, labelsTr) and 3D-IRCADb. For other names give both patterns, in which
{case} stands for the case.

With --report the results are kept case by case: an evaluation that was stopped goes on when the same command is given
again, and only new or changed cases are computed. A case that fails is named and is in no mean; the others go on.

Cases read from DICOM folders are called "case 1", "case 2" ... in results, as such folders are often named after
patients; --show-names uses the folders' names.

examples:
  spineseg evaluate cases --report evaluation
  spineseg evaluate dataset-verse20test --model default --model mine.weights.h5 --report evaluation
  spineseg evaluate scans --ct "{case}/image.nii.gz" --mask "{case}/manual.seg.nrrd"
"""


def add_parser(commands: argparse._SubParsersAction, common: argparse.ArgumentParser) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "evaluate",
        parents=[common],
        help="segment and compare a whole data set",
        description="Segment all cases of a data set with one or more models and compare them with their references.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("dataset", metavar="DATASET", type=Path, help="folder of CT with masks, see below")
    parser.add_argument(
        "--model",
        metavar="NAME|FILE",
        action="append",
        help="model to evaluate; more of them are compared with the first",
    )
    parser.add_argument("--report", metavar="DIR", type=Path, help="folder to keep results and write the report into")
    parser.add_argument("--labels", choices=SCHEMES, help="whose label numbers the masks have (default: recognised)")
    parser.add_argument("--ct", metavar="PATTERN", help='where each CT lies in DATASET, as "{case}/image.nii.gz"')
    parser.add_argument("--mask", metavar="PATTERN", help='where its mask lies, as "{case}/manual.seg.nrrd"')
    parser.add_argument(
        "--tolerance", metavar="MM", type=float, default=1.0, help="tolerance of the surface Dice in mm (default: 1)"
    )
    parser.add_argument(
        "--device", choices=("auto", "cpu", "gpu"), default="auto", help="where to compute (default: auto)"
    )
    parser.add_argument(
        "--backend",
        choices=("openvino", "tensorflow", "torch"),
        help="what to compute with (default: the fastest one installed)",
    )
    parser.add_argument("--repair", action="store_true", help="repair faulty CT as `spineseg segment` does")
    parser.add_argument("--show-names", action="store_true", help="also show the names of DICOM folders in results")
    parser.add_argument("--overwrite", action="store_true", help="replace the report of another evaluation")
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    parser.set_defaults(run=run, error=parser.error)


def run(options: argparse.Namespace) -> int:
    """Run the command with parsed options; see `add_parser`."""
    if not 0 <= options.tolerance < float("inf"):
        options.error("--tolerance must be 0 or more")
    if (options.ct is None) != (options.mask is None):
        options.error("--ct and --mask belong together")
    from SpineSegLib.cli import console
    from SpineSegLib.engine.comparison.study import study
    from SpineSegLib.engine.datasets.find import find_dataset
    from SpineSegLib.engine.errors import InputError
    from SpineSegLib.engine.evaluation import EvaluationSettings, evaluate, named_cases, named_models
    from SpineSegLib.engine.models.model_catalogue import resolve_model

    models = named_models([resolve_model(name) for name in options.model or [None]])
    patterns = None if options.ct is None else (options.ct, options.mask)
    dataset = find_dataset(options.dataset, options.labels, patterns)
    cases = named_cases(dataset.cases, options.show_names)
    settings = EvaluationSettings(options.tolerance, options.repair, options.device, options.backend)
    store = _prepare_report(options, cases, models, settings)
    silent = options.json or options.quiet
    if not silent:
        console.note(f"{dataset.kind}: {len(cases)} cases, {len(models)} {'model' if len(models) == 1 else 'models'}")
    found: dict[str, list[CaseResult]] = {}
    with console.progress("Evaluating", len(cases), "cases", silent) as update:
        for results in evaluate(cases, models, settings, store):
            found[results[0].case] = results
            update(len(found))
            if not silent:
                _tell(results)
    outcome = study([result for case in cases for result in found[case.name]])
    report = _write_report(options, dataset, models, settings, outcome)
    if not any(model.compared for model in outcome.models):
        raise InputError(f"None of the {len(cases)} cases could be compared; {outcome.problems[0][1]}")
    if options.json:
        console.print_json(_about(dataset, models, settings) | outcome.as_dict() | {"report": report and str(report)})
    else:
        _show(outcome, report)
    return 0


def _tell(results: Sequence[CaseResult]) -> None:
    """What came of a case that has a problem."""
    from SpineSegLib.cli import console

    for problem in dict.fromkeys(result.problem for result in results if result.problem):
        console.note(f"{results[0].case}: {problem}")


def _prepare_report(
    options: argparse.Namespace,
    cases: Sequence[NamedCase],
    models: Sequence[EvaluatedModel],
    settings: EvaluationSettings,
) -> Path | None:
    """The folder to keep results in, once it is sure that nothing of somebody else's is there. Raises OutputError."""
    if options.report is None:
        return None
    from SpineSegLib.cli.outputs import check_new_folder
    from SpineSegLib.engine.comparison.report import FILES
    from SpineSegLib.engine.evaluation import signature
    from SpineSegLib.engine.files.writing import atomic_output, check_place

    state = options.report / STATE
    wanted = {"evaluation": signature(cases, models, settings)}
    try:
        goes_on = json.loads(state.read_text(encoding="utf-8")) == wanted
    except (OSError, ValueError):
        goes_on = False
    check_new_folder(options.report, (*FILES, STATE, STORE), options.overwrite or goes_on)
    check_place(state)
    with atomic_output(state) as temporary:
        temporary.write_text(json.dumps(wanted) + "\n", encoding="utf-8")
    return options.report / STORE


def _about(dataset: Dataset, models: Sequence[EvaluatedModel], settings: EvaluationSettings) -> dict[str, object]:
    return {
        "dataset": dataset.kind,
        "evaluated": [{"model": model.name, "sha256": model.digest} for model in models],
        "tolerance_mm": settings.tolerance_mm,
    }


def _write_report(
    options: argparse.Namespace,
    dataset: Dataset,
    models: Sequence[EvaluatedModel],
    settings: EvaluationSettings,
    outcome: Study,
) -> Path | None:
    if options.report is None:
        return None
    from SpineSegLib.engine.comparison.report import write_report

    names = ", ".join(model.name for model in models)
    count = len({result.case for model in outcome.models for result in model.results})
    subtitle = f"{dataset.kind}, {count} cases. {'Models' if len(models) > 1 else 'Model'}: {names}."
    return write_report(options.report, "Evaluation", subtitle, outcome, _about(dataset, models, settings))


def _show(outcome: Study, report: Path | None) -> None:
    from SpineSegLib.cli import console
    from SpineSegLib.engine.comparison.study import TABLE

    for model in outcome.models:
        rows = []
        for metric in TABLE:
            over = model.over_cases[metric.key]
            pooled = _number(model.pooled[metric.key], metric.digits) if metric.key in model.pooled else ""
            values = (over.mean, over.sd, over.minimum, over.maximum)
            name = f"{metric.name} ({metric.unit})" if metric.unit else metric.name
            rows.append((name, *(_number(v, metric.digits) for v in values), pooled, str(over.count)))
        title = f"{model.model}: {len(model.compared)} of {len(model.results)} cases"
        console.print_table(title, ("Metric", "Mean", "SD", "Min", "Max", "Pooled", "Cases"), rows, right=range(1, 7))
    for name, differences in outcome.differences.items():
        rows = []
        for metric in TABLE:
            d = differences[metric.key]
            p = "undefined" if d.wilcoxon_p is None else f"{d.wilcoxon_p:.4f}"
            rows.append(
                (metric.name, _number(d.mean, metric.digits), _number(d.median, metric.digits), p, str(d.count))
            )
        title = f"{name} minus {outcome.models[0].model}, case by case"
        console.print_table(title, ("Metric", "Mean", "Median", "Wilcoxon p", "Cases"), rows, right=range(1, 5))
    for who, problem in outcome.problems:
        console.say(f"Not compared: {who}: {problem}")
    if report is not None:
        console.say(f"Report: {report}")


def _number(value: float | None, digits: int) -> str:
    return "undefined" if value is None else f"{value:.{digits}f}"
