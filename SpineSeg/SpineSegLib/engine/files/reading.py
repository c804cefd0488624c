"""Reads CT volumes and label maps from the files people have, and says plainly what can't be used."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from SpineSegLib.engine.datasets.labels import nearness
from SpineSegLib.engine.errors import InputError
from SpineSegLib.engine.files.nifti import checked_voxels
from SpineSegLib.engine.files.nrrd import compressed_voxels
from SpineSegLib.engine.models.preprocessing import AIR_HU
from SpineSegLib.engine.volume import ArrayVolume, Grid, Repair, Volume

VOLUME_ENDINGS = (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd")
# Pixel sizes outside are units gone wrong (metres, micrometres) rather than a patient.
SPACING_LIMITS_MM = (0.02, 20.0)
# Any CT of a body has fat, lung or air: at least one voxel in a thousand below this.
FAT_HU = -20.0


def read_volume(path: str | Path, series: str | int | None = None, repair: bool = False) -> Volume:
    """Read a CT in HU from a volume file, a DICOM folder (with subfolders) or one file of a DICOM series.

    `series` chooses among the CT series of a DICOM folder by number, UID or description. The image is sitkInt16 where
    all values are whole numbers, else sitkFloat32; values below -1024 HU become -1024 HU.
    `repair` allows what changes a faulty CT: gantry tilt is straightened, a slice that is there twice is used once, NaN
    and infinities become -1024 HU.

    Raises InputError with one sentence if there is nothing to read, if it isn't a CT in HU or isn't a volume, if slices
    are missing, doubled with different content, unevenly spaced or damaged, or if it needs a repair that isn't allowed.
    """
    volume = _read(existing(path), series)
    if not volume.repairs:
        return volume
    if not repair:
        fault = volume.repairs[0]
        raise InputError(f"{fault.problem}; export a CT without that, or add --repair, with which {fault.cure}.")
    return replace(volume, notes=volume.notes + tuple(f"{fault.problem}; {fault.cure}." for fault in volume.repairs))


def _read(path: Path, series: str | int | None) -> Volume:
    if path.is_dir():
        return _read_dicom(path, series)
    ending = volume_ending(path)
    if ending is None:
        volume = _read_dicom_file(path, series)
        if volume is None:
            raise InputError(
                f"{path} is no image SpineSeg can read; give a DICOM folder or a file ending in {_or(VOLUME_ENDINGS)}."
            )
        return volume
    if series is not None:
        raise InputError(f"A series can only be chosen in a DICOM folder, and {path} is a volume file; leave it out.")
    if path.name.lower().endswith(".seg.nrrd"):
        raise InputError(f"{path} is a segmentation, not a CT; give the CT it was made from.")

    return _in_hu(_read_file(path, path.name[: -len(ending)]), str(path))


def read_labelmap(path: str | Path) -> sitk.Image:
    """Read a mask or label map: a volume file, a Slicer segmentation (.seg.nrrd) or a DICOM SEG.

    Returns a 3-D sitkUInt8 image (sitkUInt16 where labels exceed 255) on the file's own grid, which for segmentations
    may be smaller than the CT's. Overlapping segments are merged, the later one on top; then, and for DICOM SEG, each
    segment has its own value. The names of segments, where the file has them, are given by `segment_names`.

    Raises InputError with one sentence if the file can't be read or doesn't hold whole-numbered labels.
    """
    path = existing(path)
    if path.is_dir():
        raise InputError(f"{path} is a folder; give the mask's file, for DICOM SEG the .dcm file.")
    if volume_ending(path) is None:
        from SpineSegLib.engine.files.dicom_seg import read_dicom_seg

        image, names = read_dicom_seg(path)
        return _with_names(image, names)

    image = _read_file(path, path.name, layers=True).image
    image, names = _merged_layers(image, path)
    return _with_names(_to_labels(image, path), names)


def segment_names(labelmap: sitk.Image) -> dict[int, str]:
    """Names of the labels of an image from `read_labelmap`, by label value; empty if the file had none."""
    names = {}
    for key in labelmap.GetMetaDataKeys():
        if match := re.fullmatch(r"Segment(\d+)_LabelValue", key):
            name = f"Segment{match[1]}_Name"
            if labelmap.HasMetaDataKey(name):
                names[int(labelmap.GetMetaData(key))] = labelmap.GetMetaData(name)
    return dict(sorted(names.items()))


def volume_ending(path: Path) -> str | None:
    """The ending of a volume file as written in its name, without a `.seg` before it; None for other files."""
    name = path.name.lower()
    return next((path.name[-len(ending) :] for ending in VOLUME_ENDINGS if name.endswith(ending)), None)


def existing(path: str | Path) -> Path:
    """`path` if there is a file or folder that may be opened. Raises InputError."""
    path = Path(path)
    try:
        str(path).encode()  # SimpleITK crashes on names that are no text
        path.stat()
        if path.is_file():
            # ITK would call a closed file a damaged one.
            path.open("rb").close()
    except FileNotFoundError:
        raise InputError(f"{path} does not exist; check the path.") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a valid path"
        raise InputError(f"{path} can't be opened ({reason}); check the path and its permissions.") from None
    return path


def _or(words: Iterable[str]) -> str:
    *first, last = words
    return f"{', '.join(first)} or {last}"


# --- DICOM ------------------------------------------------------------------------------------------------------------


def _read_dicom(folder: Path, series: str | int | None) -> Volume:
    from SpineSegLib.engine.files.dicom_series import choose_series, list_series

    return _dicom_volume(choose_series(list_series(folder), series, folder))


def _read_dicom_file(path: Path, series: str | int | None) -> Volume | None:
    """The series a file belongs to, from the file's own folder; None if it isn't DICOM."""
    from SpineSegLib.engine.files.dicom_frames import read_header
    from SpineSegLib.engine.files.dicom_series import choose_series, list_series

    header = read_header(path)
    if header is None:
        return None
    if series is not None:
        raise InputError(f"A series can only be chosen in a DICOM folder, and {path} is one file; give its folder.")
    found = [each for each in list_series(path.parent, recursive=False) if path in each.files]
    if not found:
        raise InputError(f"{path} is no slice of a CT volume; give the folder of the series.")
    return _dicom_volume(choose_series(found, None, path))


def _dicom_volume(series) -> Volume:
    from SpineSegLib.engine.files.dicom_volume import read_series

    stack = read_series(series)
    name = " ".join(
        str(part) for part in (series.modality, series.number, series.description) if part not in (None, "")
    )
    return _in_hu(Volume(stack.image, name, stack.files, stack.notes, stack.repairs), "The series")


# --- volume files -----------------------------------------------------------------------------------------------------


def _read_file(path: Path, name: str, layers: bool = False) -> Volume:
    """A 3-D scalar image (with `layers` also a vector image) with a usable geometry, and any values."""
    voxels = checked_voxels(path) if path.name.lower().endswith((".nii", ".nii.gz")) else None
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise _unreadable(path, error) from None
    _check_header(reader, path, layers)
    if path.name.lower().endswith(".nrrd") and not layers and reader.GetDimension() == 3:
        kind = sitk.GetArrayViewFromImage(sitk.Image([1, 1, 1], reader.GetPixelID())).dtype
        voxels = compressed_voxels(path, reader.GetSize()[::-1], kind)
    if reader.GetPixelID() == sitk.sitkFloat64:
        # Enough for HU and labels, and half the memory.
        reader.SetOutputPixelType(sitk.sitkFloat32)
    if voxels is not None:
        place = Grid(voxels.shape, reader.GetSpacing()[::-1], reader.GetOrigin(), reader.GetDirection())
        return ArrayVolume(voxels.astype(np.float32) if voxels.dtype == np.float64 else voxels, place, name)
    try:
        image = reader.Execute()
    except RuntimeError as error:
        raise _unreadable(path, error) from None
    if image.GetDimension() == 4:
        image = image[:, :, :, 0]
    return Volume(image, name)


def _unreadable(path: Path, error: RuntimeError) -> InputError:
    reason = str(error).lower()
    if "orthonormal" in reason or "direction" in reason or "determinant" in reason:
        return InputError(f"{path} has axes that are not at right angles; resample it to a regular grid first.")
    if "zero-valued spacing" in reason or "negative spacing" in reason:
        return InputError(f"{path} gives a voxel size of zero or less; export it again.")
    if "allocat" in reason and "memory" in reason:
        raise MemoryError
    if "permission" in reason:
        return InputError(f"{path} can't be opened; check its permissions.")
    return InputError(f"{path} is damaged, truncated or not what its ending says; copy or export it again.")


def _check_header(reader: sitk.ImageFileReader, path: Path, layers: bool) -> None:
    size, spacing = reader.GetSize(), reader.GetSpacing()
    if reader.GetNumberOfComponents() > 1 and not layers:
        raise InputError(f"{path} has colours or several values a voxel, so it is not a CT; give a CT in HU.")
    if len(size) > 4 or (len(size) == 4 and size[3] > 1):
        raise InputError(f"{path} has {len(size)} dimensions; give one volume of it as its own file.")
    if len(size) < 3 or (min(size[:3]) < 2 and not layers):  # masks may be cut to what they mark
        raise InputError(f"{path} holds a single slice; a volume of at least two slices is needed.")
    low, high = SPACING_LIMITS_MM
    if not (min(spacing[:3]) >= low and max(spacing[:3]) <= high):
        sizes = " x ".join(f"{value:.4g}" for value in spacing[:3])
        raise InputError(f"{path} gives a voxel size of {sizes} mm, which fits no CT; check its units.")
    if not np.isfinite(reader.GetOrigin()).all() or not np.isfinite(reader.GetDirection()).all():
        raise InputError(f"{path} has a damaged position or direction; export it again.")


# --- values -----------------------------------------------------------------------------------------------------------


def _in_hu(stored: Volume, place: str) -> Volume:
    """A volume as int16 (float32 where values aren't whole), -1024 HU and more; refuses what isn't in HU."""
    repairs = stored.repairs
    array = stored.array
    if array.dtype.kind == "f":
        bad = ~np.isfinite(array)
        count = int(np.count_nonzero(bad))
        if count == array.size:
            raise InputError(f"{place} holds no numbers at all (only NaN); export it again.")
        if count:
            voxels = "A voxel is" if count == 1 else f"{count} voxels are"
            repairs += (Repair(f"{voxels} no number (NaN or infinite)", "such voxels are treated as air"),)
            array = np.where(bad, array.dtype.type(AIR_HU), array)
    require_hu(array, place)

    if array.dtype.kind == "f" and not _whole(array):
        converted = np.empty(array.shape, np.float32)
    elif array.dtype == np.int16 and array.min() >= AIR_HU:
        return stored
    else:
        converted = np.empty(array.shape, np.int16)
    real = converted.dtype.kind == "f"
    # Slice by slice: no further copy of a large volume.
    for target, source in zip(converted, array, strict=True):
        source = source.astype(np.float32 if real else np.int64)
        target[...] = np.clip(source, int(AIR_HU), None if real else np.iinfo(np.int16).max)
    return Volume(stored.grid.image(converted), stored.name, stored.dicom_files, stored.notes, repairs)


def require_hu(array: np.ndarray, place: str) -> None:
    """Refuse what is clearly not in HU, by values: label maps, normalised images, MR and PET, CT with an offset."""
    # Every voxel of small volumes; of large ones enough to be sure, from everywhere.
    step = max(1, round((array.size / 4e6) ** (1 / 3)))
    sample = array[::step, ::step, ::step]
    low, high = float(array.min()), float(array.max())
    if low >= 0 and _whole(sample) and len(np.unique(sample)) <= 256:
        raise InputError(f"{place} looks like a label map or an 8-bit picture, not a CT in HU; give the CT itself.")
    if low > -500 and high - low < 100:
        raise InputError(
            f"{place} has values from {low:g} to {high:g}, not HU (a normalised image?); give the CT itself."
        )
    if np.mean(sample < FAT_HU) >= 0.001:
        return
    raise InputError(
        f"{place} has no values below zero as fat and air have in HU, so it is an MR or PET image, or a CT stored with"
        " an offset (subtract it first, usually 1024)."
    )


def _whole(array: np.ndarray) -> bool:
    if array.dtype.kind != "f":
        return True
    # Slice by slice: no copy of a large volume.
    return all(np.array_equal(slice_, np.rint(slice_)) for slice_ in array)


def _to_labels(image: sitk.Image, path: Path) -> sitk.Image:
    array = sitk.GetArrayViewFromImage(image)
    if not (np.isfinite(array).all() if array.dtype.kind == "f" else True) or not _whole(array):
        raise InputError(
            f"{path} has values between whole numbers, so it is not a mask or label map; threshold it first."
        )
    low, high = array.min(), array.max()
    if low < 0 or high > np.iinfo(np.uint16).max:
        raise InputError(f"{path} has values from {low:g} to {high:g}, so it is not a mask or label map.")
    return sitk.Cast(image, sitk.sitkUInt8 if high <= 255 else sitk.sitkUInt16)


def _merged_layers(image: sitk.Image, path: Path) -> tuple[sitk.Image, dict[int, str]]:
    """One label map of a Slicer segmentation, whose overlapping segments lie in several layers, and their names."""
    segments = _stored_segments(image)
    layers = image.GetNumberOfComponentsPerPixel()
    if layers == 1:
        return image, {label: name for _, label, name in segments}
    if not segments:
        raise InputError(f"{path} has colours or several values a voxel, so it is not a mask or label map.")
    array = sitk.GetArrayViewFromImage(image)
    labels = [label for _, label, _ in segments]
    # Layers number their segments independently.
    numbers = labels if len(set(labels)) == len(labels) else range(1, len(labels) + 1)
    merged = np.zeros(array.shape[:3], np.uint16)
    drawn = sorted(zip(numbers, segments, strict=True), key=lambda each: nearness(each[1][2]))
    for number, (layer, label, _) in drawn:
        if layer < layers:
            merged[array[..., layer] == label] = number
    result = sitk.GetImageFromArray(merged)
    result.CopyInformation(image)
    return result, {number: name for number, (_, _, name) in zip(numbers, segments, strict=True)}


def _stored_segments(image: sitk.Image) -> list[tuple[int, int, str]]:
    """Layer, label value and name of each segment in the header of a .seg.nrrd, in their order."""
    found = []
    for index in range(len(image.GetMetaDataKeys())):
        values = {
            field: image.GetMetaData(key)
            for field in ("Layer", "LabelValue", "Name")
            if image.HasMetaDataKey(key := f"Segment{index}_{field}")
        }
        if not values:
            break
        # Files of old Slicer versions have one layer a segment, always with label 1, and don't say so.
        try:
            found.append((int(values.get("Layer", index)), int(values.get("LabelValue", 1)), values.get("Name", "")))
        except ValueError:
            continue
    return found


def _with_names(image: sitk.Image, names: dict[int, str]) -> sitk.Image:
    """`image` with nothing but the segments' names in its meta data."""
    for key in image.GetMetaDataKeys():
        image.EraseMetaData(key)
    for index, (label, name) in enumerate(names.items()):
        image.SetMetaData(f"Segment{index}_LabelValue", str(label))
        image.SetMetaData(f"Segment{index}_Name", name)
    return image
