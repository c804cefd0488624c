"""Packages that are slow to import and not needed at once."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any


class _Later(ModuleType):
    """Stands for a package until something of it is used, and holds all of it from then on.

    `importlib.util.LazyLoader` is no help: a second `import` looks at the module's spec, which makes it load.
    """

    def __init__(self, spec: ModuleSpec) -> None:
        super().__init__(spec.name)
        # who asks for these only wants to know whether the package is there
        self.__spec__ = spec
        self.__file__ = spec.origin

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name not in ("__all__", "__path__", "__version__"):
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
    spec = None if name in sys.modules else importlib.util.find_spec(name)
    if spec is not None:
        sys.modules[name] = _Later(spec)
