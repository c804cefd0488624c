"""One volume from the slices of a DICOM series, checked and sorted by their place in the patient.

Slices are placed by Image Position (Patient) and Image Orientation (Patient) alone (DICOM PS3.3 C.7.6.2), never by
instance number or file name.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from SpineSegLib.engine.errors import InputError
from SpineSegLib.engine.files.dicom_frames import Frame, PixelReader, read_frames
from SpineSegLib.engine.files.dicom_series import Series
from SpineSegLib.engine.models.preprocessing import AIR_HU
from SpineSegLib.engine.volume import Repair

# Slices nearer to each other than this lie at the same position.
SAME_POSITION_MM = 0.01
# Slices further apart aren't one volume (two scouts, say).
MAX_SLICE_DISTANCE_MM = 20.0
# How far a slice may lie from an even grid, as part of the slice distance: scanners round positions.
MAX_UNEVENNESS = 0.2
# Slices that drift sideways by more than this part of a pixel over the whole stack are moved back.
MAX_DRIFT_PIXELS = 0.25


@dataclass(frozen=True)
class Stack:
    """A series as read: `image` is 3-D, HU, sitkInt16 or sitkFloat32; `files` in the order of its slices."""

    image: sitk.Image
    files: tuple[Path, ...]
    notes: tuple[str, ...]
    repairs: tuple[Repair, ...]


def read_series(series: Series) -> Stack:
    """Read a series into one volume: slices sorted along their normal, in HU, padding and values below -1024 HU as air.

    Doubled slices are kept once; slices shifted against each other (gantry tilt) are moved within their planes onto an
    orthogonal grid by linear interpolation; both are told as repairs. Raises InputError for missing, contradictory,
    unevenly spaced or damaged slices.
    """
    notes: list[str] = []
    repairs: list[Repair] = []
    if series.unplaced:
        notes.append(f"{series.unplaced} images in the series don't say where they lie and were left out.")
    frames = [frame for path in series.files for frame in read_frames(path)]
    frames = _largest_stack(frames, notes)
    pixels = PixelReader()
    frames = _sorted_once_each(frames, pixels, repairs)
    spacing = _slice_distance(frames)

    whole = all(frame.slope.is_integer() and frame.intercept.is_integer() for frame in frames)
    array = np.empty((len(frames), *frames[0].shape), np.int16 if whole else np.float32)
    for index, frame in enumerate(frames):
        array[index] = pixels.hu(frame)
    image = _place(array, frames, spacing, repairs)

    files = tuple(dict.fromkeys(frame.path for frame in frames))
    return Stack(image, files, tuple(notes), tuple(repairs))


def _largest_stack(frames: list[Frame], notes: list[str]) -> list[Frame]:
    """Frames of one size and direction: a series may hold a few reformatted or otherwise odd images besides."""
    stacks: list[list[Frame]] = []
    for frame in frames:
        for stack in stacks:
            first = stack[0]
            if (
                frame.shape == first.shape
                and np.allclose(frame.spacing, first.spacing, rtol=1e-3)
                and np.allclose(frame.orientation, first.orientation, atol=2e-3)
            ):
                stack.append(frame)
                break
        else:
            stacks.append([frame])
    stacks.sort(key=len, reverse=True)
    others = sum(map(len, stacks[1:]))
    if not stacks or len(stacks[0]) < 2:
        raise InputError("The series has no two slices of one size and direction, and a volume needs at least two.")
    if others > 0.2 * len(stacks[0]):
        raise InputError(
            f"The series mixes {len(stacks)} sets of slices with different size or direction; export them as separate"
            " series."
        )
    if others:
        notes.append(f"{others} images of another size or direction in the series were left out.")
    return stacks[0]


def _sorted_once_each(frames: list[Frame], pixels: PixelReader, repairs: list[Repair]) -> list[Frame]:
    """Frames in rising order along their normal, identical ones only once."""
    normal = frames[0].normal
    frames = sorted(frames, key=lambda frame: float(np.dot(normal, frame.position)))
    kept: list[Frame] = [frames[0]]
    doubled: list[float] = []
    for frame in frames[1:]:
        height = float(np.dot(normal, frame.position))
        if height - float(np.dot(normal, kept[-1].position)) > SAME_POSITION_MM:
            kept.append(frame)
            continue
        same_place = np.linalg.norm(frame.position - kept[-1].position) <= SAME_POSITION_MM
        if not same_place or not np.array_equal(pixels.hu(frame), pixels.hu(kept[-1])):
            raise InputError(
                f"The series holds different slices at the same position ({height:.1f} mm), as several phases or"
                " reconstructions do; export one of them as its own series."
            )
        doubled.append(height)
    if doubled:
        count = "A slice is" if len(doubled) == 1 else f"{len(doubled)} slices are"
        repairs.append(Repair(f"{count} in the series twice", "each is used once"))
    if len(kept) < 2:
        raise InputError("The series has a single slice, and a volume needs at least two.")
    return kept


def _slice_distance(frames: Sequence[Frame]) -> float:
    """Distance of the slices along their normal in mm. Raises InputError if slices are missing or unevenly spaced."""
    heights = np.array([np.dot(frames[0].normal, frame.position) for frame in frames])
    steps = np.diff(heights)
    usual = float(np.median(steps))
    if usual > MAX_SLICE_DISTANCE_MM:
        raise InputError(f"The slices are {usual:.0f} mm apart, so that they don't form a volume; choose a CT series.")
    wide = np.flatnonzero(steps > 1.5 * usual)
    if len(wide):
        missing = int(np.sum(np.rint(steps[wide] / usual) - 1).clip(1))
        places = ", ".join(f"{heights[i]:.1f} and {heights[i + 1]:.1f} mm" for i in wide[:3])
        more = " and elsewhere" if len(wide) > 3 else ""
        slices = "slice is" if missing == 1 else "slices are"
        raise InputError(
            f"{missing} {slices} missing in the series, between {places}{more}; export the complete series."
        )
    spacing = float((heights[-1] - heights[0]) / (len(heights) - 1))
    uneven = np.abs(heights - heights[0] - spacing * np.arange(len(heights))).max()
    if uneven > MAX_UNEVENNESS * spacing:
        raise InputError(
            f"The slices are unevenly spaced ({steps.min():.2f} to {steps.max():.2f} mm); export a series with even"
            " spacing."
        )
    return spacing


def _place(array: np.ndarray, frames: Sequence[Frame], spacing: float, repairs: list[Repair]) -> sitk.Image:
    """The volume in patient space; slices that don't lie straight above each other are shifted within their planes."""
    first = frames[0]
    along_row, along_column = first.orientation[:3], first.orientation[3:]
    offsets = np.array([frame.position for frame in frames]) - first.position
    # Pixels each slice lies aside of the first one, along rows (x) and along columns (y).
    aside = np.stack([offsets @ along_row / first.spacing[1], offsets @ along_column / first.spacing[0]], axis=1)
    # A drift too small to matter is shared out between both ends.
    origin_aside = (aside.min(axis=0) + aside.max(axis=0)) / 2
    if np.ptp(aside, axis=0).max() > MAX_DRIFT_PIXELS:
        array, origin_aside = _straighten(array, aside)
        repairs.append(_straightening(aside, first.spacing, spacing))
    image = sitk.GetImageFromArray(array)
    image.SetSpacing((first.spacing[1], first.spacing[0], spacing))
    origin = (
        first.position
        + origin_aside[0] * first.spacing[1] * along_row
        + origin_aside[1] * first.spacing[0] * along_column
    )
    image.SetOrigin(origin.tolist())
    image.SetDirection(np.stack([along_row, along_column, first.normal], axis=1).ravel().tolist())
    return image


def _straightening(aside: np.ndarray, pixel: tuple[float, float], spacing: float) -> Repair:
    sideways = np.hypot(*((aside[-1] - aside[0]) * (pixel[1], pixel[0]))) / (len(aside) - 1)
    angle = np.degrees(np.arctan2(sideways, spacing))
    return Repair(f"The gantry was tilted by {angle:.1f} degrees", "the slices are moved onto a straight grid")


def _straighten(array: np.ndarray, aside: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Move slice k of `array` (z, y, x) by `aside[k]` pixels (x, y), on a grid that holds all of them.

    Returns the array and the place of its first pixel, in pixels (x, y) from that of the first slice.
    """
    low, high = np.floor(aside.min(axis=0)), np.ceil(aside.max(axis=0))
    width, height = (np.array(array.shape[:0:-1]) + (high - low)).astype(int)
    wider = np.full((len(array), height, width), AIR_HU, array.dtype)
    grid = sitk.Image(int(width), int(height), sitk.sitkInt16)
    grid.SetOrigin(low.tolist())
    for index, (pixels, place) in enumerate(zip(array, aside, strict=True)):
        image = sitk.GetImageFromArray(pixels)
        image.SetOrigin(place.tolist())
        moved = sitk.Resample(
            image, grid, sitk.Transform(2, sitk.sitkIdentity), sitk.sitkLinear, AIR_HU, sitk.sitkFloat32
        )
        values = sitk.GetArrayViewFromImage(moved)
        wider[index] = np.rint(values) if array.dtype == np.int16 else values
    return wider, low
