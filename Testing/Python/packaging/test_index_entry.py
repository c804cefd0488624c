"""What the Extensions Index asks of an extension: its entry, the texts in CMakeLists.txt, icons and pictures."""

from __future__ import annotations

import json
import re
import struct
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[3]
ENTRY = REPOSITORY / "SpineSegExtension" / "SpineSeg.json"
SCHEMA = (
    "https://raw.githubusercontent.com/Slicer/Slicer/main/Schemas/slicer-extension-catalog-entry-schema-v1.0.2.json#"
)
# From the schema: name of each property and its type.
PROPERTIES = {
    "$schema": str,
    "category": str,
    "scm_url": str,
    "scm_revision": str,
    "scm_type": str,
    "build_dependencies": list,
    "dicom_support_rule": str,
    "build_subdirectory": str,
    "enabled": bool,
    "tier": int,
}
# Asked for by the schema or by the index's maintainers.
REQUIRED = {"$schema", "build_dependencies", "build_subdirectory", "category", "scm_revision", "scm_url", "tier"}


@pytest.fixture(scope="module")
def entry() -> dict:
    return json.loads(ENTRY.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def described() -> dict[str, str]:
    """EXTENSION_* of CMakeLists.txt, read as text: the index's own checks do so, and see no CMake variable."""
    text = (REPOSITORY / "CMakeLists.txt").read_text(encoding="utf-8")
    return dict(re.findall(r'set\(EXTENSION_(\w+) "([^"]+)"\)', text))


def test_the_entry_follows_the_schema(entry):
    assert entry.keys() >= REQUIRED
    assert {key: PROPERTIES.get(key) for key in entry} == {key: type(value) for key, value in entry.items()}
    assert entry["$schema"] == SCHEMA
    assert 1 <= entry["tier"] <= 5
    assert all(isinstance(name, str) for name in entry["build_dependencies"])


def test_the_entry_agrees_with_cmake(entry, described):
    text = (REPOSITORY / "CMakeLists.txt").read_text(encoding="utf-8")
    assert re.search(r"^project\((\w+)\)", text, re.MULTILINE)[1] == ENTRY.stem
    assert entry["category"] == described["CATEGORY"]
    assert described["DEPENDS"] == (" ".join(entry["build_dependencies"]) or "NA")
    assert described["HOMEPAGE"] == entry["scm_url"]


def test_the_repository_is_named_after_the_extension(entry):
    assert re.fullmatch(r"https://github\.com/[\w-]+/SlicerSpineSeg", entry["scm_url"])


def test_pictures_are_raw_addresses_of_files_that_exist(entry, described):
    raw = entry["scm_url"].replace("github.com", "raw.githubusercontent.com") + f"/{entry['scm_revision']}/"
    addresses = [described["ICONURL"], *described["SCREENSHOTURLS"].split()]
    assert len(addresses) >= 2
    for address in addresses:
        assert address.startswith(raw)
        assert (REPOSITORY / address.removeprefix(raw)).read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("icon", ["SpineSegExtension/SpineSeg.png", "Resources/Icons/SpineSeg.png"])
def test_icons_are_128_pixels_wide_and_transparent(icon):
    """Width, height, depth and colour type (6: with alpha) as the PNG's first chunk has them."""
    head = (REPOSITORY / icon).read_bytes()[:26]
    assert struct.unpack(">4sIIBB", head[12:26]) == (b"IHDR", 128, 128, 8, 6)
