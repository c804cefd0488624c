"""Packages that are slow to import and not needed at once."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from types import ModuleType
from typing import Any


class _Later(ModuleType):
    """Stands for a package until something of it is used, and holds all of it from then on.

    `importlib.util.LazyLoader` is no help: a second `import` looks at the module's spec, which makes it load.
    """

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name != "__path__":  # Qt asks every module for its file, and uses nothing of it
            raise AttributeError(name)
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        package = importlib.import_module(self.__name__)
        self.__dict__.update(vars(package))
        return getattr(package, name)


def import_later(name: str) -> None:
    """From now on `import name` costs nothing; the package is imported when something of it is used first.

    Nothing changes where it is imported already or not installed.
    """
    if name not in sys.modules and importlib.util.find_spec(name) is not None:
        sys.modules[name] = _Later(name)
