"""`spineseg models`: which models there are, what is known about them, and old weights as new model files."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from SpineSegLib.cli import model_import

if TYPE_CHECKING:
    from SpineSegLib.engine.model_catalogue import FoundModel

EPILOG = """\
Models are looked for in your own folder (the environment variable SPINESEG_MODELS names another one) and among those
that come with SpineSeg. `--model` of other commands takes a name from the list or the path of a file.

examples:
  spineseg models list
  spineseg models show default
  spineseg models import unet_weights.h5 --name kim
"""


def add_parser(commands: argparse._SubParsersAction, common: argparse.ArgumentParser) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "models",
        help="list, show and import models",
        description="What models there are and what they were trained on.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)

    listing = actions.add_parser("list", parents=[common], help="list the models found")
    listing.set_defaults(run=run_list)

    show = actions.add_parser("show", parents=[common], help="show all that is known about a model")
    show.add_argument("model", metavar="NAME|FILE", nargs="?", help="model to show (default: default)")
    show.set_defaults(run=run_show)

    imported = actions.add_parser(
        "import",
        parents=[common],
        help="make a model file from Keras 2 weights",
        description=model_import.DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    model_import.add_arguments(imported)
    imported.set_defaults(run=model_import.run, error=imported.error)
    for action in (listing, show, imported):
        action.add_argument("--json", action="store_true", help="print JSON and nothing else")


def run_list(options: argparse.Namespace) -> int:
    """List the models found."""
    from SpineSegLib.cli import console
    from SpineSegLib.engine.model_catalogue import find_models, user_models_dir

    found = find_models()
    if options.json:
        console.print_json({"models": [_described(model) for model in found]})
    elif not found:
        console.say(f"No models found; put model files into {user_models_dir()}.")
    else:
        rows = [_row(model) for model in found]
        console.print_table("", ("Name", "Version", "Segments", "Input", "Licence", "Dice"), rows, right=(1, 5))
        for model in found:
            if model.problem:
                console.say(f"Note: {model.problem}")
    return 0


def run_show(options: argparse.Namespace) -> int:
    """Show one model."""
    from SpineSegLib.cli import console
    from SpineSegLib.engine.model_catalogue import resolve_model
    from SpineSegLib.engine.model_file import read_info

    path = resolve_model(options.model)
    values = {"file": str(path), **_values(read_info(path))}
    if options.json:
        console.print_json(values)
    else:
        console.print_table(
            "", ("Property", "Value"), [(key.replace("_", " "), _text(value)) for key, value in values.items()]
        )
    return 0


def _values(info: Any) -> dict[str, Any]:
    return {**asdict(info), "parameters": info.architecture.parameters}


def _described(model: FoundModel) -> dict[str, Any]:
    known = {} if model.info is None else _values(model.info)
    return {"file": str(model.path), **known, "name": model.name, "problem": model.problem}


def _row(model: FoundModel) -> tuple[str, ...]:
    info = model.info
    if info is None:
        return (model.name, "", "can't be used", "", "", "")
    spacing = "stored pixels" if info.preprocessing.spacing is None else f"{info.preprocessing.spacing:g} mm"
    slices = len(info.preprocessing.context)
    dice = info.metrics.get("validation_dice")
    return (
        model.name,
        str(info.version),
        ", ".join(info.labels),
        f"{slices} slice{'s' if slices > 1 else ''}, {spacing}",
        info.licence,
        "" if dice is None else f"{dice:.3f}",
    )


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return "\n".join(f"{key.replace('_', ' ')}: {_text(item)}" for key, item in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(_text(item) for item in value)
    return "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
