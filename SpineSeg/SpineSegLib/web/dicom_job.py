"""Segments what a PACS has sent, as a program of its own.

`python -m SpineSegLib.web.dicom_job FOLDER OUT` writes a DICOM SEG into OUT for each CT series of FOLDER that can be
segmented, with the current model; prints one JSON line: {"segmented": n, "refused": n}.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

MIN_SLICES = 10  # shorter series are scouts and single reformatted slices


def segment_all(folder: Path, out: Path) -> dict[str, int]:
    """Segment the CT series of a folder. Raises ModelError and ComputeError where none can be."""
    from SpineSegLib.engine.errors import InputError, OutputError
    from SpineSegLib.engine.files.dicom_series import list_series
    from SpineSegLib.engine.files.reading import read_volume
    from SpineSegLib.engine.files.writing import write_segmentation
    from SpineSegLib.engine.models.model_catalogue import resolve_model
    from SpineSegLib.engine.models.network import Network
    from SpineSegLib.engine.segmenter import Segmentation

    found = list_series(folder)
    wanted = [series for series in found if not series.problem and series.slices >= MIN_SLICES]
    done = 0
    network = Network(resolve_model()) if wanted else None
    for number, series in enumerate(wanted):
        try:
            volume = read_volume(folder, series.uid, repair=True)
            segmentation = Segmentation(volume, network)
            for _ in segmentation:
                pass
            write_segmentation(segmentation.labelmap(), segmentation.segments, out / f"{number}.dcm", volume)
            done += 1
        except (InputError, OutputError):
            continue  # counted as refused; the other series may be good
    return {"segmented": done, "refused": len(found) - done}


def main(arguments: list[str]) -> None:
    """Run as a program."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # libraries print what they like
    print(json.dumps(segment_all(*map(Path, arguments))), file=answers, flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
