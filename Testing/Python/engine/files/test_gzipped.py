"""Gzip streams: the same by each decompressor, in pieces of any size; what is damaged is never taken for whole."""

from __future__ import annotations

import gzip
import importlib.util
import io
import zlib

import numpy as np
import pytest
from SpineSegLib.engine.files import gzipped
from SpineSegLib.engine.files.gzipped import DamagedError, decompressed, gathered

# what compresses to next to nothing, to a half, and not at all
DATA = bytes(50_000) + bytes(np.random.default_rng(0).integers(0, 16, 50_000, np.uint8)) + b"end" * 3
DATA += np.random.default_rng(1).bytes(50_000)


@pytest.fixture(params=[zlib, gzipped.fastest], ids=lambda module: module.__name__)
def library(request, monkeypatch):
    monkeypatch.setattr(gzipped, "fastest", request.param)


@pytest.fixture(params=[(7, 11), (1000, 200), (200, 50_000), (2**18, 2**22)], ids=str)
def sizes(request, monkeypatch):
    monkeypatch.setattr(gzipped, "CHUNK", request.param[0])
    monkeypatch.setattr(gzipped, "PIECE", request.param[1])


def pieces(data):
    return list(decompressed(io.BytesIO(data)))


def test_isa_l_is_used_where_it_is_installed():
    assert ("isal" in gzipped.fastest.__name__) == (importlib.util.find_spec("isal") is not None)


def test_any_number_of_members(library, sizes):
    members = [gzip.compress(part) for part in (DATA[:70_000], b"", DATA[70_000:])]
    for after in (b"", bytes(3000)):
        found = pieces(b"".join(members) + after)
        assert b"".join(found) == DATA
        assert all(0 < len(piece) <= gzipped.PIECE for piece in found)
    assert pieces(b"") == []


@pytest.mark.parametrize("keep", [5, 15, 1000, -9, -8, -1])
def test_too_short(library, sizes, keep):
    with pytest.raises(DamagedError):
        pieces(gzip.compress(DATA)[:keep])


@pytest.mark.parametrize("place", [0, 5000, -6, -2], ids=["magic", "middle", "checksum", "length"])
def test_damaged(library, place):
    data = bytearray(gzip.compress(DATA))
    data[place] ^= 0x55
    with pytest.raises(DamagedError):
        pieces(bytes(data))


def test_something_else_behind_it(library):
    with pytest.raises(DamagedError):
        pieces(gzip.compress(DATA) + b"more")


def test_gathered_takes_what_there_is_room_for():
    room = np.full(5, 9, np.uint8)
    assert gathered([b"\1\2", b"\3"], room) == 3
    assert room.tolist() == [1, 2, 3, 9, 9]
    assert gathered(iter([b"\4\5\6", b"\7\7\7", b"\7"]), room) == 7
    assert room.tolist() == [4, 5, 6, 7, 7]
