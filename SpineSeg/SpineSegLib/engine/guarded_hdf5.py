"""HDF5 files that nobody vouches for: reads plain arrays of a known kind that lie in the file itself, and nothing else.

HDF5 can point to other files (external links, external storage, virtual datasets), declare arrays far larger than the
file (chunked, compressed or never written ones) and hold pickled objects. All of these are refused, not read; only
`plain_dataset` takes compressed arrays, whose shape its caller knows.
"""

from __future__ import annotations

import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from SpineSegLib.engine.errors import ModelError

if TYPE_CHECKING:
    import h5py

# What h5py raises on damaged files.
HDF5_ERRORS = (OSError, RuntimeError, ValueError, TypeError, KeyError)


class ForeignFileError(ModelError):
    """The file is not HDF5 at all, or far too large."""


@contextmanager
def open_hdf5(path: Path, max_bytes: int) -> Iterator[h5py.File]:
    """Open a regular file for reading. Raises ModelError if it can't be, `ForeignFileError` if it is no HDF5 file."""
    import h5py

    try:
        status = path.stat()
    except (OSError, ValueError):
        raise ModelError(f"There is no readable model file {path}; check the path.") from None
    if not stat.S_ISREG(status.st_mode) or status.st_size > max_bytes:
        raise ForeignFileError(f"{path.name} is not a model file; choose another.")
    try:
        # Models may lie on read-only network folders, where locking fails.
        file = h5py.File(path, "r", locking=False)
    except PermissionError:
        raise ModelError(f"The model file {path} can't be read; check its permissions.") from None
    except HDF5_ERRORS:
        if h5py.is_hdf5(path):
            raise corrupt(path, "it is incomplete") from None
        raise ForeignFileError(f"{path.name} is not a model file; choose another.") from None
    with file:
        yield file


def corrupt(path: str | Path, why: str) -> ModelError:
    """The error for a file that is damaged: one sentence."""
    return ModelError(f"The model file {Path(path).name} is corrupt ({why}); get it again.")


def text_attribute(group: h5py.Group, key: str) -> str | None:
    """A text attribute, None if there is none or it is something else. Raises what h5py raises on damaged files."""
    import h5py

    if key not in group.attrs:
        return None
    attribute = group.attrs.get_id(key)
    if attribute.shape != () or h5py.check_string_dtype(attribute.dtype) is None:
        return None
    value = group.attrs[key]
    return value.decode() if isinstance(value, bytes) else value


def names_attribute(group: h5py.Group, key: str) -> list[str]:
    """A list of texts, as Keras 2 keeps the names of layers and weights. Raises ValueError if it is something else."""
    import h5py

    attribute = group.attrs.get_id(key)
    if len(attribute.shape) != 1 or attribute.shape[0] > 10_000:
        raise ValueError(key)
    if not attribute.shape[0]:
        return []
    if h5py.check_string_dtype(attribute.dtype) is None:
        raise ValueError(key)
    return [name.decode() if isinstance(name, bytes) else str(name) for name in group.attrs[key]]


def read_group(parent: h5py.Group, path: str) -> h5py.Group:
    """The group at `path` (parts separated by "/") under `parent`. Raises ValueError if a part is no plain group."""
    import h5py

    for part in path.split("/"):
        parent = _plain(parent, part, h5py.Group)
    return parent


def read_array(parent: h5py.Group, key: str) -> np.ndarray:
    """The float32 array `key` of `parent`. Raises ValueError for anything else than a plain array inside the file."""
    import h5py

    dataset = _plain(parent, key, h5py.Dataset)
    layout = dataset.id.get_create_plist().get_layout()
    if dataset.external or dataset.dtype != np.dtype("<f4") or layout != h5py.h5d.CONTIGUOUS:
        raise ValueError(key)
    # Only what was written has storage, and all of it must lie within the file.
    size = 4 * int(np.prod(dataset.shape, dtype=object))
    if dataset.id.get_storage_size() != size or size > dataset.file.id.get_filesize():
        raise ValueError(key)
    return dataset[()]


def plain_dataset(parent: h5py.Group, key: str, shape: tuple[int, ...], kind: str) -> np.ndarray:
    """The array `key` of `parent`, which may be compressed. Raises ValueError if its shape or type is another one, or
    anything of it lies outside the file."""
    import h5py

    dataset = _plain(parent, key, h5py.Dataset)
    layout = dataset.id.get_create_plist().get_layout()
    if dataset.external or dataset.shape != shape or dataset.dtype != np.dtype(kind) or layout == h5py.h5d.VIRTUAL:
        raise ValueError(key)
    return dataset[()]


def _plain(parent: h5py.Group, key: str, kind: type) -> Any:
    """A link is looked at, and followed only if it stays in this file and leads to what is expected."""
    import h5py

    hard = isinstance(parent.get(key, getlink=True), h5py.HardLink)
    if not hard or parent.get(key, getclass=True) is not kind:
        raise ValueError(key)
    return parent[key]
