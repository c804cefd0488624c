"""`spineseg segment`: a CT to a segmentation, and how well it agrees with a reference."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import SimpleITK as sitk

    from SpineSegLib.engine.comparison.metrics import Comparison
    from SpineSegLib.engine.volume import Volume

EPILOG = """\
The ending of OUT decides what is written:
  .seg.nrrd               segmentation for 3D Slicer, with names, colours and terminology
  .nii.gz .nii .nrrd .mha label map on the grid of the CT (1 vertebrae, 2 sacrum)
  .dcm                    DICOM SEG that refers to the CT's series (the CT must be DICOM)
Without -o the result is <name of the CT>.seg.nrrd in the current folder, numbered if that exists. A file that
exists is replaced only with --overwrite.

examples:
  spineseg segment chest.nii.gz
  spineseg segment dicom/ --series 4 -o chest.dcm
  spineseg segment chest.nii.gz --reference manual.seg.nrrd --picture chest.png --metrics chest.json
"""
ROWS = (
    ("dice", "Dice", ""),
    ("sensitivity", "Sensitivity", ""),
    ("precision", "Precision", ""),
    ("f1", "F1", ""),
    ("jaccard", "Jaccard", ""),
    ("specificity", "Specificity", ""),
    ("volume_ml", "Volume", "ml"),
    ("reference_volume_ml", "Reference volume", "ml"),
)


def add_parser(commands: argparse._SubParsersAction, common: argparse.ArgumentParser) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "segment",
        parents=[common],
        help="segment the spine in a CT",
        description="Segment the spine in a CT, slice by slice.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "ct", metavar="CT", type=Path, help="DICOM folder, or .nii .nii.gz .nrrd .nhdr .mha .mhd file in HU"
    )
    parser.add_argument("-o", "--output", metavar="OUT", type=Path, help="file to write the segmentation to, see below")
    parser.add_argument(
        "--model", metavar="NAME|FILE", help="model to use, see `spineseg models list` (default: the current one)"
    )
    parser.add_argument(
        "--device", choices=("auto", "cpu", "gpu"), default="auto", help="where to compute (default: auto)"
    )
    parser.add_argument(
        "--backend",
        choices=("openvino", "tensorflow", "torch"),
        help="what to compute with (default: the fastest one installed)",
    )
    parser.add_argument(
        "--reference", metavar="MASK", type=Path, help="manual segmentation to compare with, any label counts"
    )
    parser.add_argument("--series", metavar="S", help="number, UID or description of the series in a folder of several")
    parser.add_argument(
        "--repair",
        action="store_true",
        help="straighten gantry tilt, use doubled slices once, take voxels that are no number as air",
    )
    parser.add_argument(
        "--no-postprocess", action="store_true", help="keep small islands, holes and patches as they are"
    )
    parser.add_argument("--picture", metavar="PNG", type=Path, help="also draw slices with outlines into this file")
    parser.add_argument("--metrics", metavar="FILE", type=Path, help="also write what --json prints into this file")
    parser.add_argument("--overwrite", action="store_true", help="replace files that exist")
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the command with parsed options; see `add_parser`."""
    stages = _Stages()
    silent = options.json or options.quiet
    from concurrent.futures import ThreadPoolExecutor

    from SpineSegLib.cli import console
    from SpineSegLib.engine.models.model_catalogue import resolve_model
    from SpineSegLib.engine.models.model_file import read_info

    # cheap checks come before the work: a wrong model, CT or mask is known at once
    model = resolve_model(options.model)
    read_info(model)
    output = _output(options)
    _check_outputs(options, output, [path for path in (options.ct, options.reference, model) if path is not None])
    # the CT is read while the network gets ready
    with ThreadPoolExecutor(max_workers=1) as reading:
        inputs = reading.submit(_read, options, output)
        with console.quiet_libraries(options.debug):
            from SpineSegLib.engine.models.network import Network
            from SpineSegLib.engine.segmenter import Segmentation

            network = Network(model, device=options.device, backend=options.backend)
        stages.end("start")
        volume, reference, notes = inputs.result()
        stages.end("read")
    segmentation = Segmentation(volume, network)
    if not silent:
        console.note(f"{volume.name}: {' x '.join(str(n) for n in reversed(volume.grid.shape))} voxels")
        console.note(
            f"Model {network.info.name} {network.info.version}, {network.backend} on the {network.device.upper()}"
        )
    with console.progress("Segmenting", len(segmentation), "slices", silent) as update:
        for finished in segmentation:
            update(finished.index + 1)
    stages.end("network")
    labelmap = segmentation.labelmap(postprocess=not options.no_postprocess)
    stages.end("postprocess")

    output, renamed = _write(labelmap, segmentation.segments, output, volume, options.overwrite)
    stages.end("write")
    comparison = _compare(labelmap, reference, segmentation.segments)
    if options.picture is not None:
        _draw(options.picture, volume, labelmap, reference, comparison)
    result = {
        "output": str(output),
        "model": f"{network.info.name} {network.info.version}",
        "backend": network.backend,
        "device": network.device,
        "slices": len(segmentation),
        "seconds": stages.total(),
        "stages": stages.seconds,
        "seconds_per_slice": round(stages.seconds["network"] / len(segmentation), 4),
        "peak_memory_mb": _peak_memory(),
        "notes": [*notes, *renamed, *(comparison.notes if comparison else ())],
        "compared": list(comparison.compared) if comparison else [],
        "metrics": _metrics(labelmap, comparison),
    }
    if options.metrics is not None:
        _write_text(options.metrics, console.as_json(result) + "\n")
    if options.json:
        console.print_json(result)
    else:
        _report(result, options)
    return 0


class _Stages:
    """Where the time went: `seconds` by stage. "read" is what reading took longer than the start of the network."""

    def __init__(self) -> None:
        self._start = self._last = time.monotonic()
        self.seconds: dict[str, float] = {}

    def end(self, stage: str) -> None:
        """What was done since the last stage was this one."""
        now = time.monotonic()
        self.seconds[stage] = round(now - self._last, 3)
        self._last = now

    def total(self) -> float:
        return round(time.monotonic() - self._start, 3)


def _read(options: argparse.Namespace, output: Path) -> tuple[Volume, sitk.Image | None, tuple[str, ...]]:
    """The CT, the reference on its grid if there is one, and notes on both; what to write suits the CT."""
    import SimpleITK as sitk

    from SpineSegLib.engine.comparison.grids import on_grid_of
    from SpineSegLib.engine.files.reading import read_labelmap, read_volume

    if not options.debug:
        sitk.ProcessObject.SetGlobalWarningDisplay(False)
    volume = read_volume(options.ct, options.series, options.repair)
    _check_outputs(options, output, volume.dicom_files, volume)
    if options.reference is None:
        return volume, None, volume.notes
    reference, resampled = on_grid_of(volume.image, read_labelmap(options.reference))
    return volume, reference, volume.notes + resampled


def _output(options: argparse.Namespace) -> Path:
    """Where the segmentation goes, once the inputs are known to be there."""
    from SpineSegLib.cli.outputs import free_name
    from SpineSegLib.engine.files.reading import existing, volume_ending

    for path in (options.ct, options.reference):
        if path is not None:
            existing(path)
    if options.output is not None:
        return options.output
    name = options.ct.resolve().name
    return free_name(Path.cwd(), name.removesuffix(volume_ending(Path(name)) or ".dcm"), ".seg.nrrd")


def _check_outputs(
    options: argparse.Namespace, output: Path, inputs: Sequence[Path], volume: Volume | None = None
) -> None:
    """Everything that can be known about the files to write before the work, once the CT is read also its format."""
    from SpineSegLib.cli.outputs import check_new_file
    from SpineSegLib.engine.errors import OutputError
    from SpineSegLib.engine.files.writing import check_output

    if options.picture is not None and options.picture.suffix.lower() != ".png":
        raise OutputError(f"The picture {options.picture} must end in .png; choose such a name.")
    files = [path for path in (output, options.picture, options.metrics) if path is not None]
    for n, path in enumerate(files):
        check_new_file(path, [*inputs, *files[:n]], options.overwrite)
    check_output(output, volume)


def _write(
    labelmap: sitk.Image, segments: tuple, wanted: Path, volume: Volume, overwrite: bool
) -> tuple[Path, tuple[str, ...]]:
    """Write the segmentation; where another program has taken the name meanwhile, beside it, which the notes tell."""
    from SpineSegLib.cli.outputs import free_name
    from SpineSegLib.engine.errors import ExistsError
    from SpineSegLib.engine.files.writing import ending_of, write_segmentation

    path = wanted
    while True:
        try:
            write_segmentation(labelmap, segments, path, volume, overwrite)
        except ExistsError:
            ending = ending_of(wanted)
            path = free_name(wanted.parent, wanted.name[: -len(ending)], wanted.name[-len(ending) :])
        else:
            note = f"{wanted} came into being meanwhile and was left as it is; the segmentation is in {path}"
            return path, () if path == wanted else (note,)


def _compare(labelmap: sitk.Image, reference: sitk.Image | None, segments: tuple) -> Comparison | None:
    if reference is None:
        return None
    from SpineSegLib.engine.comparison.metrics import compare

    return compare(labelmap, reference, {segment.key: segment.label for segment in segments})


def _metrics(labelmap: sitk.Image, comparison: Comparison | None) -> dict[str, Any]:
    from SpineSegLib.engine.comparison.metrics import volume_ml

    return {"volume_ml": volume_ml(labelmap)} if comparison is None else comparison.metrics


def _peak_memory() -> float | None:
    from SpineSegLib.cli.measure import peak_memory_mb

    peak = peak_memory_mb()
    return None if peak is None else round(peak, 1)


def _draw(
    path: Path, volume: Volume, labelmap: sitk.Image, reference: sitk.Image | None, comparison: Comparison | None
) -> None:
    from SpineSegLib.engine.files.writing import atomic_output
    from SpineSegLib.engine.overview import draw_overview

    dice = comparison.metrics["dice"] if comparison else None
    with atomic_output(path) as temporary:
        draw_overview(temporary, volume.image, labelmap, reference, "" if dice is None else f"Dice {dice:.3f}")


def _write_text(path: Path, text: str) -> None:
    from SpineSegLib.engine.files.writing import atomic_output

    with atomic_output(path) as temporary:
        Path(temporary).write_text(text, encoding="utf-8")


def _report(result: dict[str, Any], options: argparse.Namespace) -> None:
    from SpineSegLib.cli import console

    values = result["metrics"]
    rows = []
    for key, name, unit in ROWS:
        if key in values:
            value = values[key]
            shown = "undefined" if value is None else f"{value:.1f} {unit}" if unit else f"{value:.4f}"
            rows.append((name, shown))
    title = "Compared: " + " and ".join(result["compared"]) if result["compared"] else "Segmentation"
    console.print_table(title, ("Metric", "Value"), rows, right=(1,))
    for note in result["notes"]:
        console.say(f"Note: {note[:1].upper()}{note[1:]}")
    for what, path in (("Segmentation", result["output"]), ("Picture", options.picture), ("Metrics", options.metrics)):
        if path is not None:
            console.say(f"{what}: {path}")
    memory = "" if result["peak_memory_mb"] is None else f", {result['peak_memory_mb'] / 1000:.1f} GB at most"
    console.say(f"{result['slices']} slices in {result['seconds']:.1f} s{memory}")
