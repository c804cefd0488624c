"""`slicer.i18n`: translations. There are none, so that texts stay English."""
# ruff: noqa: N802 (names are Slicer's)

from __future__ import annotations

import inspect
from types import ModuleType


def translate(context: str, text: str) -> str:
    """`text` in the application's language."""
    if not isinstance(context, str) or not isinstance(text, str):
        raise TypeError("translate() takes a context and a text")
    return text


def getContext(sourceFile: str) -> str:
    """The context of a source file: its name without ending."""
    from pathlib import Path

    path = Path(sourceFile)
    return path.parent.name if path.stem == "__init__" else path.stem


def tr(text: str) -> str:
    """The same, with the context of the file that calls."""
    return translate(getContext(inspect.stack()[1].filename), text)


def make_module() -> ModuleType:
    module = ModuleType("slicer.i18n", __doc__)
    module.translate, module.getContext, module.tr = translate, getContext, tr
    return module
