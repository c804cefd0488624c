"""`spineseg models`: which models there are, where they come from, which one is current, and keeping them in order."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from SpineSegLib.cli import model_import

if TYPE_CHECKING:
    from SpineSegLib.engine.models.model_catalogue import FoundModel, Version

EPILOG = """\
Models are looked for in your own folder (the environment variable SPINESEG_MODELS names another one) and among those
that come with SpineSeg. `--model` of other commands takes a name from the list or the path of a file; where it is left
out, the current model is used. That is the default one until a re-training beats it or `use` names another.

examples:
  spineseg models list --tree
  spineseg models show default
  spineseg models use default-2
  spineseg models import unet_weights.h5 --name kim
"""


def add_parser(commands: argparse._SubParsersAction, common: argparse.ArgumentParser) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "models",
        help="list, choose, rename, export, delete and import models",
        description="What models there are, what they were trained on, and which one is used.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)

    listing = actions.add_parser("list", parents=[common], help="list the models found")
    listing.add_argument("--tree", action="store_true", help="as a family tree: versions under what they came from")
    listing.set_defaults(run=run_list)

    show = actions.add_parser("show", parents=[common], help="show all that is known about a model")
    show.add_argument("model", metavar="NAME|FILE", nargs="?", help="model to show (default: the current one)")
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
    use = actions.add_parser("use", parents=[common], help="make a model the current one")
    use.add_argument("model", metavar="NAME", help="its name in the list")
    use.set_defaults(run=run_use)

    rename = actions.add_parser("rename", parents=[common], help="give one of your models another name")
    rename.add_argument("model", metavar="NAME", help="its name in the list")
    rename.add_argument("new", metavar="NEW", help="the new one")
    rename.set_defaults(run=run_rename)

    export = actions.add_parser("export", parents=[common], help="copy a model to a file or folder")
    export.add_argument("model", metavar="NAME", help="its name in the list")
    export.add_argument("target", metavar="FILE|FOLDER", type=Path, help="where to, a file ends in .weights.h5")
    export.set_defaults(run=run_export)

    delete = actions.add_parser("delete", parents=[common], help="delete one of your models")
    delete.add_argument("model", metavar="NAME", help="its name in the list")
    delete.add_argument("--even-parent", action="store_true", help="also if others were trained from it")
    delete.set_defaults(run=run_delete)

    for action in (listing, show, imported, use, rename, export, delete):
        action.add_argument("--json", action="store_true", help="print JSON and nothing else")


def run_list(options: argparse.Namespace) -> int:
    """List the models found."""
    from SpineSegLib.cli import console
    from SpineSegLib.engine.models.model_catalogue import find_models, lineage, resolve_model, user_models_dir

    versions = lineage()
    found = [version.model for version in versions] if options.tree else find_models()
    if options.json:
        known = {version.model.path: version for version in versions}
        console.print_json({"models": [_described(model, known[model.path]) for model in found]})
    elif not found:
        console.say(f"No models found; put model files into {user_models_dir()}.")
    else:
        depths = {version.model.path: version.depth if options.tree else 0 for version in versions}
        current = resolve_model(None)
        rows = [_row(model, "  " * depths[model.path], model.path == current) for model in found]
        console.print_table("", ("Name", "", "Version", "Segments", "Input", "Licence", "Dice"), rows, right=(2, 6))
        for model in found:
            if model.problem:
                console.say(f"Note: {model.problem}")
    return 0


def run_show(options: argparse.Namespace) -> int:
    """Show one model."""
    from SpineSegLib.cli import console
    from SpineSegLib.engine.models.model_catalogue import resolve_model
    from SpineSegLib.engine.models.model_file import read_info, read_training

    path = resolve_model(options.model)
    values = {"file": str(path), **_values(read_info(path)), "training": read_training(path)}
    if options.json:
        console.print_json(values)
    else:
        console.print_table(
            "", ("Property", "Value"), [(key.replace("_", " "), _text(value)) for key, value in values.items()]
        )
    return 0


def run_use(options: argparse.Namespace) -> int:
    """Make a model current."""
    from SpineSegLib.engine.models.model_catalogue import make_current

    return _done(options, make_current(options.model), "is the current model now")


def run_rename(options: argparse.Namespace) -> int:
    """Rename a model."""
    from SpineSegLib.engine.models.model_catalogue import rename_model

    return _done(options, rename_model(options.model, options.new), "is its new name")


def run_export(options: argparse.Namespace) -> int:
    """Copy a model."""
    from SpineSegLib.engine.models.model_catalogue import export_model

    return _done(options, export_model(options.model, options.target), "was written")


def run_delete(options: argparse.Namespace) -> int:
    """Delete a model."""
    from SpineSegLib.engine.models.model_catalogue import delete_model, resolve_model

    path = resolve_model(options.model)
    delete_model(options.model, options.even_parent)
    return _done(options, path, "was deleted")


def _done(options: argparse.Namespace, path: Path, what: str) -> int:
    from SpineSegLib.cli import console

    if options.json:
        console.print_json({"file": str(path)})
    else:
        console.say(f"{path} {what}.")
    return 0


def _values(info: Any) -> dict[str, Any]:
    return {**asdict(info), "parameters": info.architecture.parameters}


def _described(model: FoundModel, version: Version) -> dict[str, Any]:
    known = {} if model.info is None else _values(model.info)
    place = {"current": version.current, "came_from": version.parent, "children": list(version.children)}
    return {"file": str(model.path), **known, "name": model.name, **place, "problem": model.problem}


def _row(model: FoundModel, indent: str, current: bool) -> tuple[str, ...]:
    info = model.info
    marked = "current" if current else ""
    if info is None:
        return (indent + model.name, marked, "", "can't be used", "", "", "")
    spacing = "stored pixels" if info.preprocessing.spacing is None else f"{info.preprocessing.spacing:g} mm"
    slices = len(info.preprocessing.context)
    dice = info.metrics.get("validation_dice")
    return (
        indent + model.name,
        marked,
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
