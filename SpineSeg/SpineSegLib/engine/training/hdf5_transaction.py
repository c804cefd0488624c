"""Changes to an HDF5 file that happen completely or not at all, at the cost of what is new and not of the whole file.

HDF5 itself promises nothing about a file whose writer was killed. But all it does to add data is to append, and to
change a few kilobytes of what was there. So the two are kept apart: what is appended goes behind the committed end of
the file, where no reader looks; changes below it wait in memory, are then put into a journal beside the file, and only
when that is safely on disk are they made (a redo log, as databases have it). A program killed before the journal is
complete leaves the file as it was, one killed later leaves a journal that the next one carries out.

Whoever uses a file holds its lock (`exclusive`), which the operating system takes back from programs that die.
"""

from __future__ import annotations

import base64
import errno
import glob
import json
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from SpineSegLib.engine.errors import InputError, OutputError
from SpineSegLib.engine.files.writing import as_output_error, atomic_output

if TYPE_CHECKING:
    import h5py

PAGE = 4096
PATIENCE = 10.0  # seconds to wait for another program that is just at the file
# Where superblocks of each version keep the end of the file (HDF5 File Format Specification, II.A).
_END_AT = {0: 40, 1: 44, 2: 28, 3: 28}


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Keep other programs from `path` meanwhile.

    Raises OutputError if one has it for longer than `PATIENCE`, or where files can't be locked. Where nothing may be
    written, no lock is needed.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(f"{path}.lock")
    try:
        lock.acquire(timeout=PATIENCE)
    except Timeout:
        raise OutputError(f"{path.name} is in use by another program; wait until that is done and try again.") from None
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT):
            raise as_output_error(path, error) from None
    try:
        yield
    finally:
        lock.release()


@contextmanager
def changing(path: Path) -> Iterator[h5py.File]:
    """The HDF5 file for changes that take effect when the block ends without an error, all at once.

    The caller holds the lock. Raises OutputError: no permission, disk full; the file then is as it was before.
    """
    import h5py

    recover(path)
    try:
        stream = path.open("r+b", buffering=0)
    except OSError as error:
        raise as_output_error(path, error) from None
    with stream:
        try:
            committed = _committed_end(stream)
        except OSError as error:
            raise as_output_error(path, error) from None
        pending = _Pending(stream, committed)
        try:
            with h5py.File(pending, "r+") as file:
                yield file
            if pending.error is not None:
                raise pending.error
            os.fsync(stream.fileno())
            journal = {"end": pending.end, "pages": {at: base64.b64encode(p).decode() for at, p in pending.pages()}}
            with atomic_output(_journal(path)) as temporary:
                temporary.write_text(json.dumps(journal), encoding="ascii")
        except BaseException as error:
            # What lies behind the end is never looked at, but takes room on a disk that may be full. Once the journal
            # is there it is needed: Ctrl-C may come while the journal's folder is written to disk.
            if not _journal(path).exists():
                with suppress(OSError):
                    stream.truncate(committed)
            if isinstance(error, OSError):
                raise as_output_error(path, error) from None
            raise
    recover(path)


def recover(path: Path) -> None:
    """Clear up after programs that were killed: finish a change whose journal is complete, forget any other.

    The caller holds the lock. Raises InputError where there is a change to finish and the file may not be written.
    """
    for leftover in path.parent.glob(f".????????-{glob.escape(path.name)}*"):  # of atomic_output
        with suppress(OSError):
            leftover.unlink()
    journal = _journal(path)
    if not journal.exists():
        return
    try:
        content = json.loads(journal.read_text(encoding="ascii"))
        with path.open("r+b", buffering=0) as stream:
            for at, page in content["pages"].items():
                stream.seek(int(at))
                _write_all(stream, base64.b64decode(page))
            stream.truncate(content["end"])
            os.fsync(stream.fileno())
        journal.unlink()
    except PermissionError:
        raise InputError(
            f"{path.name} was left in the middle of a change and can't be finished because permission is missing; "
            "open it once from an account that may write it."
        ) from None
    except OSError as error:
        raise as_output_error(path, error) from None


def _journal(path: Path) -> Path:
    return path.with_name(path.name + ".journal")


def _committed_end(stream: BinaryIO) -> int:
    """Where the file ends by its own account: behind it lies what killed programs left."""
    stream.seek(0)
    head = stream.read(64)
    if len(head) < 64 or not head.startswith(b"\x89HDF\r\n\x1a\n") or head[8] not in _END_AT:
        raise OSError(errno.EIO, "the file is damaged")
    return struct.unpack_from("<Q", head, _END_AT[head[8]])[0]


def _write_all(stream: BinaryIO, data: bytes | memoryview) -> None:
    """Unbuffered files may take less than they are given."""
    view = memoryview(data)
    while len(view):
        view = view[stream.write(view) :]


class _Pending:
    """What HDF5 takes for the file: changes below `committed` stay in memory, appended data goes to the file.

    Errors of the file system are kept in `error` instead of raised: HDF5 can't close a file that can't be written.
    """

    def __init__(self, stream: BinaryIO, committed: int) -> None:
        self._stream = stream
        self._committed = committed
        self._pages: dict[int, bytearray] = {}
        self._at = 0
        self.end = committed
        self.error: OSError | None = None

    def pages(self) -> list[tuple[int, bytes]]:
        """Offset and content of everything changed below the committed end."""
        return [(number * PAGE, bytes(page)) for number, page in sorted(self._pages.items())]

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self.end}[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def truncate(self, size: int) -> int:
        self.end = size
        return size

    def flush(self) -> None:
        pass

    def read(self, size: int) -> bytes:
        buffer = bytearray(size)
        return bytes(buffer[: self.readinto(buffer)])

    def readinto(self, buffer: memoryview) -> int:
        target = memoryview(buffer).cast("B")
        self._stream.seek(self._at)
        count = 0
        while count < len(target) and (n := self._stream.readinto(target[count:])):
            count += n
        for number in range(self._at // PAGE, (self._at + len(target) - 1) // PAGE + 1):
            page = self._pages.get(number)
            if page is not None:
                low, high = max(self._at, number * PAGE), min(self._at + len(target), number * PAGE + len(page))
                target[low - self._at : high - self._at] = page[low - number * PAGE : high - number * PAGE]
        self._at += len(target)
        return len(target)

    def write(self, data: memoryview) -> int:
        data = memoryview(data).cast("B")
        below = min(max(self._committed - self._at, 0), len(data))
        done = 0
        while done < below:
            number, within = divmod(self._at + done, PAGE)
            n = min(PAGE - within, below - done)
            self._page(number)[within : within + n] = data[done : done + n]
            done += n
        try:
            if below < len(data) and self.error is None:
                self._stream.seek(self._at + below)
                _write_all(self._stream, data[below:])
        except OSError as error:
            self.error = error
        self._at += len(data)
        self.end = max(self.end, self._at)
        return len(data)

    def _page(self, number: int) -> bytearray:
        if number not in self._pages:
            self._stream.seek(number * PAGE)
            size = min(PAGE, self._committed - number * PAGE)
            self._pages[number] = bytearray(self._stream.read(size))
        return self._pages[number]
