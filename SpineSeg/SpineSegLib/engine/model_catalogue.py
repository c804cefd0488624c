"""The models that can be named: those that ship with SpineSeg and those in the user's own folder."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from SpineSegLib.engine.errors import ModelError
from SpineSegLib.engine.model_file import ENDING, ModelInfo, read_info
from SpineSegLib.resources import resources_dir

DEFAULT = "default"


@dataclass(frozen=True)
class FoundModel:
    """A file in a model folder: the name to ask for it, and its description, or the problem why it can't be used."""

    name: str
    path: Path
    info: ModelInfo | None
    problem: str | None = None


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
    """The file of a model given by name (file name without `.weights.h5`) or by path; None means the default model.

    Raises ModelError, naming the models there are, if there is no such model. The file itself is not checked.
    """
    wanted = str(name_or_path or DEFAULT)
    files = _files()
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


def _files() -> list[Path]:
    # The user's folder comes first, so that a re-trained "default" takes the place of the shipped one.
    folders = [user_models_dir(), resources_dir() / "Models"]
    files = [path for folder in folders if folder.is_dir() for path in sorted(folder.glob(f"*{ENDING}"))]
    return [path for path in files if not path.name.startswith(".")]  # hidden ones are being written


def _name(path: Path) -> str:
    return path.name.removesuffix(ENDING)


def _look_at(path: Path) -> FoundModel:
    try:
        return FoundModel(_name(path), path, read_info(path))
    except ModelError as error:
        return FoundModel(_name(path), path, None, str(error))
