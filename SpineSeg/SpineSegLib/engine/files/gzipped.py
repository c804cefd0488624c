"""Decompressing gzip in pieces: of compressed volume files most of the reading.

By ISA-L where it is installed, which takes half of zlib's time for a CT and an eighth for a label map; Slicer has none.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from typing import BinaryIO

import numpy as np

try:
    from isal import isal_zlib as fastest
except ImportError:
    fastest = zlib

CHUNK = 2**18  # compressed bytes read at once
PIECE = 2**22  # bytes decompressed at once: between two pieces a thread waits for its turn
MOST = 1032  # bytes that a byte of a gzip file can stand for


class DamagedError(Exception):
    """The stream ends too soon or isn't what its checksum says."""


def decompressed(file: BinaryIO) -> Iterator[bytes]:
    """What a gzip file holds from where it is read, member after member, in pieces of up to `PIECE` bytes, none empty.

    `gzip` would do the same in pieces of a few kB, and for each of them wait for its turn among Python's threads: while
    the network is imported in another one, it would hardly get any. Raises DamagedError.
    """
    data = file.read(CHUNK)
    while data:
        member = fastest.decompressobj(wbits=31)  # with gzip's header, and its checksum at the end
        while not member.eof:
            try:
                piece = member.decompress(data, PIECE)
            except fastest.error:
                raise DamagedError from None
            data = member.unconsumed_tail or member.unused_data or file.read(CHUNK)
            if piece:
                yield piece
            elif not data and not member.eof:
                raise DamagedError
        while data and not (data := data.lstrip(b"\0")):  # members may be followed by zeros
            data = file.read(CHUNK)


def gathered(pieces: Iterable[bytes], into: np.ndarray) -> int:
    """Put pieces one after the other into bytes (uint8) as far as there is room; gives how many bytes they are."""
    length = 0
    for piece in pieces:
        into[length : length + len(piece)] = np.frombuffer(piece, np.uint8)[: max(0, len(into) - length)]
        length += len(piece)
    return length
