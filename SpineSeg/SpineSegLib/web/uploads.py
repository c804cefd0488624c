"""What people upload: kept under names of ours in the session's folder, unpacked within limits, read elsewhere."""

from __future__ import annotations

import asyncio
import json
import secrets
import shutil
import sys
import zipfile
import zlib
from pathlib import Path
from typing import Any, BinaryIO

from aiohttp import BodyPartReader, web

from SpineSegLib.engine.errors import InputError
from SpineSegLib.engine.files.reading import VOLUME_ENDINGS, volume_ending

MAX_FILES = 5000
CHUNK = 2**18
READ_SECONDS = 600


class Budget:
    """How many bytes and files may still come."""

    def __init__(self, megabytes: int) -> None:
        self.megabytes = megabytes
        self.bytes = megabytes * 2**20
        self.files = MAX_FILES

    def take(self, count: int) -> None:
        """Use up bytes. Raises InputError where too many come."""
        self.bytes -= count
        if self.bytes < 0:
            raise InputError(f"The upload is larger than {self.megabytes} MB, unpacked; leave out what isn't the CT.")

    def take_file(self) -> None:
        """Use up a file. Raises InputError where too many come."""
        self.files -= 1
        if self.files < 0:
            raise InputError(f"The upload has more than {MAX_FILES} files; leave out what isn't the CT.")


async def receive(request: web.Request, folder: Path, megabytes: int) -> tuple[str, Path]:
    """Store a form of files in a new folder inside `folder`; returns what it is said to be ("ct" or "reference") and
    the volume file, or the folder of DICOM files.

    Raises InputError for what is too large or can't be what it should.
    """
    kind = request.query.get("kind", "")
    if kind not in ("ct", "reference"):
        raise InputError("The upload does not say whether it is a CT or a reference; load the page again.")
    budget = Budget(megabytes)
    place = folder / secrets.token_hex(8)
    place.mkdir(parents=True)
    try:
        parts = await request.multipart()
        while (part := await parts.next()) is not None:
            if not isinstance(part, BodyPartReader) or not part.filename:
                raise InputError("The upload is not a form of files; load the page again.")
            await _store(part, place, budget)
        return kind, _one_volume_or_folder(place)
    except BaseException as error:
        shutil.rmtree(place, ignore_errors=True)
        if isinstance(error, (ValueError, AssertionError)):  # what aiohttp raises for a broken form
            raise InputError("The upload is damaged; try again.") from None
        raise


async def _store(part: BodyPartReader, place: Path, budget: Budget) -> None:
    """Store a file under a name of ours: only a known ending of the sender's name is kept."""
    budget.take_file()
    packed = part.filename.lower().endswith(".zip")
    ending = ".zip" if packed else _ending(part.filename)
    path = place / f"{budget.files:06d}{ending}"
    with path.open("xb") as file:
        while chunk := await part.read_chunk(CHUNK):
            budget.take(len(chunk))
            file.write(chunk)
    if packed:
        await asyncio.to_thread(unpack, path, place, budget)
        path.unlink()


def _ending(name: str) -> str:
    """The ending of a volume file, else of DICOM."""
    lower = name.lower()
    return next((ending for ending in (".seg.nrrd", *VOLUME_ENDINGS) if lower.endswith(ending)), ".dcm")


def unpack(archive: Path, place: Path, budget: Budget) -> None:
    """Unpack a zip into `place`, each file under a number: names, folders and links in it mean nothing.

    What counts is what really comes out, not the sizes the zip states. Raises InputError.
    """
    try:
        with zipfile.ZipFile(archive) as packed:
            for entry in packed.infolist():
                if entry.is_dir():
                    continue
                budget.take_file()
                with packed.open(entry) as source:
                    _copy(source, place / f"{budget.files:06d}{_ending(entry.filename)}", budget)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError):
        raise InputError("The zip is damaged or locked by a password; pack it again without one.") from None


def _copy(source: BinaryIO, path: Path, budget: Budget) -> None:
    with path.open("xb") as target:
        while chunk := source.read(CHUNK):
            budget.take(len(chunk))
            target.write(chunk)


def _one_volume_or_folder(place: Path) -> Path:
    files = list(place.iterdir())
    volumes = [path for path in files if volume_ending(path)]
    if not files:
        raise InputError("The upload holds no files; choose the CT's files or a zip of its DICOM folder.")
    if len(files) == 1 and volumes:
        return files[0]
    if volumes:
        raise InputError("The upload mixes volume files with others; give one volume file or one DICOM folder.")
    return place


async def read_apart(kind: str, source: Path, target: Path) -> dict[str, Any]:
    """Have `intake` read an upload or a case of the server's folder; returns what `take_in` does. Raises InputError."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "SpineSegLib.web.intake", kind, str(source), str(target)),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(READ_SECONDS):
            said, _ = await process.communicate()
        answer = json.loads(said.splitlines()[-1])
    except (TimeoutError, ValueError, IndexError):
        answer = {"problem": "The upload can't be read within this server's limits; export it again or crop it."}
    finally:
        if process.returncode is None:
            process.kill()
    if "problem" in answer:
        raise InputError(answer["problem"])
    return answer
