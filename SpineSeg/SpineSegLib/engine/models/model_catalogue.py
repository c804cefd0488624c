"""The models that can be named: those that ship with SpineSeg and those in the user's own folder.

One of them is current: it is used where none is named. A file `current.json` in the user's folder names it; without
one it is the default model.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from SpineSegLib.engine.errors import ModelError, OutputError
from SpineSegLib.engine.files.writing import as_output_error, atomic_output
from SpineSegLib.engine.models.model_file import (
    ENDING,
    NAME,
    ModelInfo,
    check_new_model,
    read_identity,
    read_info,
    read_training,
)
from SpineSegLib.resources import resources_dir

DEFAULT = "default"
CURRENT = "current.json"


@dataclass(frozen=True)
class FoundModel:
    """A file in a model folder: the name to ask for it, and its description, or the problem why it can't be used."""

    name: str
    path: Path
    info: ModelInfo | None
    problem: str | None = None

    @property
    def shipped(self) -> bool:
        """Whether it belongs to SpineSeg and not to the user."""
        return self.path.parent != user_models_dir()


@dataclass(frozen=True)
class Version:
    """A model in its family tree: `depth` generations below the oldest ancestor that is still there; `parent`: name of
    the model it was trained from, as far as it is known; `children`: names of those trained from it."""

    model: FoundModel
    depth: int
    parent: str | None
    children: tuple[str, ...]
    current: bool


def user_models_dir() -> Path:
    """The user's model folder, which need not exist: from the environment (SPINESEG_MODELS) or the platform's place."""
    if os.environ.get("SPINESEG_MODELS"):
        return Path(os.environ["SPINESEG_MODELS"]).expanduser()
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Application Support"
    else:
        base = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
    return base / "spineseg" / "models"


def find_models() -> list[FoundModel]:
    """All model files, the user's before the shipped ones and each folder by name; broken ones with their problem."""
    return [_look_at(path) for path in _files()]


def resolve_model(name_or_path: str | Path | None = None) -> Path:
    """The file of a model given by name (file name without `.weights.h5`) or by path; None means the current model.

    Raises ModelError, naming the models there are, if there is no such model. The file itself is not checked.
    """
    files = _files()
    wanted = str(name_or_path or _current_name(files))
    for path in files:
        if path.name == wanted + ENDING:
            return path
    try:
        if Path(wanted).is_file():
            return Path(wanted)
    except OSError as error:
        raise ModelError(f"The model {wanted} can't be opened ({error.strerror}); check its permissions.") from None
    names = ", ".join(dict.fromkeys(_name(path) for path in files)) or "none"
    raise ModelError(f"There is no model {wanted}; give the path of a model file or one of the names found: {names}.")


def make_current(name: str | None) -> Path:
    """Make the model of this name the one that is used where none is named; None: the default model. Returns its file.

    Raises ModelError if there is no such model or it can't be used, OutputError if the choice can't be kept.
    """
    path = resolve_model(name or DEFAULT)
    if name is None:
        try:
            (user_models_dir() / CURRENT).unlink(missing_ok=True)
        except OSError as error:
            raise as_output_error(user_models_dir() / CURRENT, error) from None
        return path
    if _named(path.name.removesuffix(ENDING)) != path:
        raise ModelError(f"{path} lies in no model folder; put it into {user_models_dir()} first.")
    read_info(path)
    with atomic_output(user_models_dir() / CURRENT) as temporary:
        temporary.write_text(json.dumps({"model": _name(path)}), encoding="utf-8")
    return path


def lineage() -> list[Version]:
    """All models as a family tree, flat: each is followed by its children, the oldest ones by name."""
    models = find_models()
    current = _current_name([model.path for model in models])
    identities = {read_identity(model.path): model for model in reversed(models) if model.info}
    parents = {model.path: _parent(model, models, identities) for model in models}
    tree: list[Version] = []

    def grow(model: FoundModel, depth: int) -> None:
        children = [child for child in models if parents[child.path] is model]
        known = parents[model.path].name if parents[model.path] else (model.info.parent if model.info else None)
        names = tuple(child.name for child in children)
        tree.append(Version(model, depth, known, names, model.name == current and _named(model.name) == model.path))
        for child in sorted(children, key=lambda child: (child.info.version, child.name)):
            grow(child, depth + 1)

    for model in sorted(models, key=lambda model: (not model.shipped, model.name)):
        if parents[model.path] is None:
            grow(model, 0)
    return tree


def rename_model(name: str, new: str) -> Path:
    """Give a model of the user another name. Children find it still. Raises ModelError, OutputError."""
    model = _own(name, "renamed")
    if not NAME.fullmatch(new):
        raise ModelError(f"{new!r} can't be a model's name; use 1 to 64 letters, digits, spaces or . _ + -.")
    target = model.with_name(new + ENDING)
    check_new_model(target)
    was_current = resolve_model(None) == model
    try:
        model.rename(target)
    except OSError as error:
        raise as_output_error(target, error) from None
    if was_current:
        make_current(new)
    return target


def export_model(name: str, target: Path) -> Path:
    """Copy a model to a file, or into a folder. Raises ModelError, OutputError: it exists, no permission, disk full."""
    model = resolve_model(name)
    target = target / model.name if target.is_dir() else target
    if not target.name.endswith(ENDING):
        raise OutputError(f"{target} must end in {ENDING}; choose such a name.")
    check_new_model(target)
    with atomic_output(target, overwrite=False) as temporary:
        shutil.copyfile(model, temporary)
    return target


def delete_model(name: str, even_parent: bool = False) -> None:
    """Delete a model of the user; was it current, the default model is again.

    Raises ModelError for a shipped model, and for one that others were trained from unless `even_parent`; OutputError.
    """
    model = _own(name, "deleted")
    children = next((version.children for version in lineage() if version.model.path == model), ())
    if children and not even_parent:
        raise ModelError(
            f"{' and '.join(children)} came from {name} and would lose the way back; delete that first, or say that "
            "the parent may go too (--even-parent)."
        )
    was_current = resolve_model(None) == model
    try:
        model.unlink()
    except OSError as error:
        raise as_output_error(model, error) from None
    if was_current:
        make_current(None)


def _own(name: str, what: str) -> Path:
    """The file of a model in the user's folder. Raises ModelError for any other: it can't be `what`."""
    path = user_models_dir() / (name + ENDING)
    if path.is_file() and Path(name).name == name:
        return path
    resolve_model(name)
    raise ModelError(f"{name} is not in your model folder and can't be {what}; choose one of your own.")


def _parent(model: FoundModel, models: list[FoundModel], identities: dict[str, FoundModel]) -> FoundModel | None:
    """By the weights it was trained from; where a file doesn't tell them, by the name and version it gives."""
    if model.info is None or model.info.parent is None:
        return None
    found = identities.get(str(read_training(model.path).get("parent", "")))
    if found is None:
        known = (other for other in models if other.info)
        found = next((other for other in known if f"{other.info.name} {other.info.version}" == model.info.parent), None)
    # Versions grow from parent to child; what says otherwise is not believed, so that the tree has no circles.
    return found if found is not None and found.info.version < model.info.version else None


def _current_name(files: list[Path]) -> str:
    """Name of the current model: what the user's choice says if there is such a file."""
    try:
        name = json.loads((user_models_dir() / CURRENT).read_text(encoding="utf-8"))["model"]
    except (OSError, ValueError, TypeError, KeyError):
        return DEFAULT
    return name if any(path.name == f"{name}{ENDING}" for path in files) else DEFAULT


def _named(name: str) -> Path | None:
    return next((path for path in _files() if path.name == name + ENDING), None)


def _files() -> list[Path]:
    # The user's folder comes first, so that a re-trained "default" takes the place of the shipped one.
    folders = [user_models_dir(), resources_dir() / "Models"]
    files = [path for folder in folders if _is_folder(folder) for path in sorted(folder.glob(f"*{ENDING}"))]
    return [path for path in files if not path.name.startswith(".")]  # hidden ones are being written


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # somebody else's
        return False


def _name(path: Path) -> str:
    return path.name.removesuffix(ENDING)


def _look_at(path: Path) -> FoundModel:
    try:
        return FoundModel(_name(path), path, _info(path, *_state(path)))
    except ModelError as error:
        return FoundModel(_name(path), path, None, str(error))


@lru_cache(maxsize=256)
def _info(path: Path, *_state: int) -> ModelInfo:
    """As `read_info`, but read once for each state of the file: panels ask again and again."""
    return read_info(path)


def _state(path: Path) -> tuple[int, ...]:
    try:
        state = path.stat()
    except OSError:
        return ()  # reading it tells what is wrong
    return state.st_mtime_ns, state.st_size
