"""The job "compare": how well a segmentation agrees with a reference."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from SpineSegLib.jobs import Check, Report


def run(parameters: dict[str, Any], report: Report, check: Check) -> dict[str, Any]:
    """Compare the label maps `prediction.nrrd` and `reference.nrrd` in `folder`; see `comparing`.

    `prediction_structures` and `reference_structures`: pairs of label and structure, or None. The result is
    `PairComparison.as_dict()`; its `difference` is left in the folder as `difference.nrrd` where there is one.
    """
    import SimpleITK as sitk

    from SpineSegLib.engine.comparison.pair import comparing

    folder = Path(parameters["folder"])
    images = [sitk.ReadImage(str(folder / f"{name}.nrrd")) for name in ("prediction", "reference")]
    structures = [
        None if pairs is None else dict(pairs)
        for pairs in (parameters["prediction_structures"], parameters["reference_structures"])
    ]
    steps = comparing(*images, *structures, tolerance_mm=parameters["tolerance_mm"])
    while True:
        check()
        try:
            report("progress", done=round(next(steps) * 100), of=100, seconds_left=None)
        except StopIteration as finished:
            result = finished.value
            break
    difference = result.difference()
    if difference is not None:
        sitk.WriteImage(difference, str(folder / "difference.nrrd"))
    return result.as_dict()
