"""The network that stays loaded in the worker process from one job to the next."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from SpineSegLib.engine.models.network import Network

_kept: dict[tuple[Any, ...], Network] = {}  # one at most: a second one would only take memory


def loaded_network(model: str | Path, device: str = "auto", backend: str | None = None) -> Network:
    """The network of a model file, loaded anew only where file, device or backend is another than last time.

    Raises ModelError for the file and ComputeError if it can't be run here.
    """
    path = Path(model)
    try:
        state = path.stat()
        key = (str(path.resolve()), state.st_mtime_ns, state.st_size, device, backend)
    except OSError:
        key = ()  # Network has the sentence for a file that can't be read
    if key not in _kept:
        _kept.clear()
        _kept[key] = Network(path, device, backend)
    return _kept[key]
