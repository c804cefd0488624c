"""`spineseg models import`: Keras 2 weights as a model file."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path

DESCRIPTION = """\
Make a model file from a Keras 2 weights file (.h5) of a U-Net with two 3x3 convolutions a level and 2x2
up-convolutions. The weights don't say how the CT was prepared in training; what you don't give is
taken as in Kim et al. 2020: one slice with its stored pixels, 12-bit CT in 8 bits. Wrong settings give a wrong
segmentation."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.add_argument("weights", metavar="WEIGHTS", type=Path, help="Keras 2 weights file (.h5)")
    parser.add_argument("--name", help="name of the model (default: the file's)")
    parser.add_argument(
        "--out", metavar="MODEL", type=Path, help="model file to write (default: NAME.weights.h5 in your model folder)"
    )
    parser.add_argument(
        "--labels",
        nargs="+",
        metavar="KEY",
        default=["spine"],
        help="what the outputs mean, e.g. vertebrae sacrum (default: spine)",
    )
    parser.add_argument("--licence", default="", help="licence of the weights")
    training = parser.add_argument_group("how the network was trained")
    training.add_argument("--spacing", type=float, metavar="MM", help="pixel size in mm (default: stored pixels)")
    training.add_argument(
        "--context", type=float, nargs="+", metavar="MM", help="offsets in mm of the slices given as channels"
    )
    training.add_argument("--window", type=float, nargs=2, metavar=("LOW", "HIGH"), help="HU that became 0 and 1")
    training.add_argument("--bits", type=int, help="bits the intensities were stored in, 0 for no rounding")
    training.add_argument("--threshold", type=float, help="probability from which a voxel belongs to the spine")
    training.add_argument("--up-relu", action="store_true", help="a ReLU follows each up-convolution")
    training.add_argument(
        "--skip-last", action="store_true", help="the skip connection comes second in the concatenation"
    )


def run(options: argparse.Namespace) -> int:
    """Run the command with parsed options; see `add_arguments`."""
    from dataclasses import replace

    from SpineSegLib.cli import console
    from SpineSegLib.engine.errors import ModelError
    from SpineSegLib.engine.models.keras2_import import import_keras2
    from SpineSegLib.engine.models.model_catalogue import user_models_dir
    from SpineSegLib.engine.models.model_file import ENDING
    from SpineSegLib.engine.models.unet import PRESETS
    from SpineSegLib.engine.segments import SEGMENTS

    if options.out is not None and not options.out.name.endswith(ENDING):
        options.error(f"--out must end in {ENDING}")
    unknown = [key for key in options.labels if key not in SEGMENTS]
    if unknown:
        raise ModelError(f"There is no structure {unknown[0]}; labels are among {', '.join(SEGMENTS)}.")
    given = {key: getattr(options, key) for key in ("spacing", "context", "window", "bits", "threshold")}
    given = {
        key: tuple(value) if isinstance(value, list) else value for key, value in given.items() if value is not None
    }
    if given.get("bits") == 0:
        given["bits"] = None
    try:
        preprocessing = replace(PRESETS["kim2020"].preprocessing, **given)
    except ValueError as error:
        raise ModelError(f"The network can't have been trained like this: {error}.") from None
    name = options.name or options.weights.name.removesuffix(".h5").removesuffix(".weights")
    out = options.out or user_models_dir() / f"{name}{ENDING}"
    info = import_keras2(
        options.weights,
        out,
        name=name,
        up_relu=options.up_relu,
        skip_first=not options.skip_last,
        labels=tuple(options.labels),
        preprocessing=preprocessing,
        licence=options.licence,
    )
    if options.json:
        console.print_json({"file": str(out), **asdict(info)})
    else:
        console.say(f"Model {info.name}: {out}")
    return 0
