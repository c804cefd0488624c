"""Two masks of one CT compared: over the whole, for each structure and for each axial slice."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import SimpleITK as sitk

from SpineSegLib.engine.comparison.agreement import BlandAltman, bland_altman
from SpineSegLib.engine.comparison.grids import common_grid, marked_box
from SpineSegLib.engine.comparison.metrics import drawn_without, mask_metrics, ratio, voxel_ml, without_sacrum
from SpineSegLib.engine.comparison.surfaces import surface_metrics
from SpineSegLib.engine.datasets.labels import LEVELS, is_vertebra, labels_in

TOLERANCE_MM = 1.0  # of the surface Dice: about a voxel of a CT of the spine
AGREED, MISSED, EXTRA = 1, 2, 3  # values of the difference
AREA = "area per slice"


@dataclass(frozen=True)
class SliceComparison:
    """One axial slice in which at least one of the masks marks something.

    `index`: along the prediction's axis that runs from feet to head, negative below its first slice; `position_mm`:
    LPS z of the slice's middle; `focus`: LPS mm of the middle of what differs there, where nothing does of what is
    marked. Areas are the prediction's unless said otherwise.
    """

    index: int
    position_mm: float
    dice: float
    true_positives: int
    false_positives: int
    false_negatives: int
    true_negatives: int
    area_px: int
    reference_area_px: int
    area_mm2: float
    reference_area_mm2: float
    focus: tuple[float, float, float]

    @property
    def wrong(self) -> int:
        """Pixels that differ."""
        return self.false_positives + self.false_negatives


@dataclass(frozen=True)
class StructureComparison:
    """What was measured of one structure: `key` as in `datasets.labels`, "all" for everything together."""

    key: str
    metrics: dict[str, float | int | None]
    slices: tuple[SliceComparison, ...]


@dataclass(frozen=True)
class PairComparison:
    """Result of `compare_pair`.

    `whole`: everything together; `structures`: those that both masks tell apart. `compared`: structures of the
    prediction that entered, empty where its labels have no meaning. `tolerance_mm` is that of the surface Dice.
    `notes`: plain sentences on what was done to make the two comparable, and on what could not be measured.
    """

    whole: StructureComparison
    structures: tuple[StructureComparison, ...]
    compared: tuple[str, ...]
    tolerance_mm: float
    notes: tuple[str, ...]
    _difference: sitk.Image | None = field(default=None, repr=False, compare=False)

    @property
    def metrics(self) -> dict[str, float | int | None]:
        """Metrics of the whole, see `mask_metrics` and `surface_metrics`."""
        return self.whole.metrics

    @property
    def slices(self) -> tuple[SliceComparison, ...]:
        """Slices of the whole, in order of their index."""
        return self.whole.slices

    def worst_slices(self) -> tuple[SliceComparison, ...]:
        """Slices in which something differs, the one with most wrong pixels first.

        By pixels rather than by Dice, as that is lowest where a mask merely ends a slice early.
        """
        return tuple(sorted((s for s in self.slices if s.wrong), key=lambda s: (-s.wrong, s.dice, s.index)))

    def area_agreement(self, unit: str = "pixels") -> BlandAltman:
        """Bland-Altman analysis of the area in each slice, in "pixels" or "mm2"."""
        return area_agreement(self.slices, unit)

    def difference(self) -> sitk.Image | None:
        """Labels AGREED, MISSED (only the reference marks it) and EXTRA (only the prediction does): uint8, on a part
        of the prediction's grid that holds both masks. None where both are empty."""
        return self._difference

    def as_dict(self) -> dict[str, Any]:
        """Everything but the difference, for JSON."""
        return {
            "metrics": self.metrics,
            "compared": list(self.compared),
            "tolerance_mm": self.tolerance_mm,
            "structures": [{"key": s.key, "metrics": s.metrics} for s in self.structures],
            "bland_altman": self.area_agreement().as_dict() | {"mm2": self.area_agreement("mm2").as_dict()},
            "slices": [asdict(s) for s in self.slices],
            "worst_slices": [s.index for s in self.worst_slices()],
            "notes": list(self.notes),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> PairComparison:
        """What `as_dict` gave; the slices of single structures and the difference are not in it."""
        slices = tuple(SliceComparison(**each | {"focus": tuple(each["focus"])}) for each in values["slices"])
        return cls(
            StructureComparison("all", values["metrics"], slices),
            tuple(StructureComparison(each["key"], each["metrics"], ()) for each in values["structures"]),
            tuple(values["compared"]),
            values["tolerance_mm"],
            tuple(values["notes"]),
        )


def area_agreement(slices: Sequence[SliceComparison], unit: str = "pixels") -> BlandAltman:
    """Bland-Altman analysis of the area per slice, in "pixels" or "mm2", over slices where a mask marks something."""
    name = {"pixels": "area_px", "mm2": "area_mm2"}[unit]
    areas = [getattr(s, name) for s in slices], [getattr(s, f"reference_{name}") for s in slices]
    return bland_altman(*areas, AREA, unit)


def compare_pair(prediction: sitk.Image, reference: sitk.Image, *arguments, **options) -> PairComparison:
    """`comparing` in one go; the same arguments and errors."""
    steps = comparing(prediction, reference, *arguments, **options)
    while True:
        try:
            next(steps)
        except StopIteration as done:
            return done.value


def comparing(
    prediction: sitk.Image,
    reference: sitk.Image,
    prediction_structures: Mapping[int, str] | None = None,
    reference_structures: Mapping[int, str] | None = None,
    tolerance_mm: float = TOLERANCE_MM,
) -> Generator[float, None, PairComparison]:
    """Compare two label maps of the same place; yields the fraction done and returns a PairComparison.

    Closing the generator cancels. Both are 3-D, uint8 or uint16; on another grid the reference is resampled to the
    prediction's (nearest neighbour), which is extended where the reference reaches further. `*_structures`: what
    their labels mean, by label; labels that aren't there are left out, and None means that every label counts. Where
    the reference was drawn without the sacrum that the prediction has, the sacrum is left out.
    Axial is the axis of the prediction's grid that comes closest to the patient's from feet to head. Voxels that are
    true negatives are those of the whole grid.
    Raises InputError where the two have no place in common or one has lost its geometry.
    """
    origin = prediction.GetOrigin()
    prediction, reference, notes = common_grid(prediction, reference)
    yield 0.05
    boxes = [box for box in (marked_box(prediction), marked_box(reference)) if box is not None]
    grid = _Grid.of(prediction, boxes, origin)
    arrays = [grid.crop(sitk.GetArrayViewFromImage(image)) for image in (prediction, reference)]
    present = [labels_in(array) for array in arrays]
    meanings = _meanings(present, prediction_structures, reference_structures)
    yield 0.1

    drawn = _labels(meanings[1], "sacrum") & present[1]  # then it's no matter of where
    if not drawn and set(meanings[0].values()) - {"sacrum"} and "sacrum" in meanings[0].values():
        sacrum, marked = (_mask(a, _labels(m, k)) for a, m, k in zip(arrays, meanings, ("sacrum", None), strict=True))
        inside = np.count_nonzero(sacrum & marked)
        if drawn_without(np.count_nonzero(sacrum) - inside, inside):
            meanings[0] = {label: key for label, key in meanings[0].items() if key != "sacrum"}
            notes += (without_sacrum(tuple(dict.fromkeys(meanings[0].values()))),)
    yield 0.15

    whole = [_mask(array, _labels(meaning)) for array, meaning in zip(arrays, meanings, strict=True)]
    notes += tuple(
        f"the {name} is empty, so ratios and distances to it are not defined"
        for name, mask in zip(("prediction", "reference"), whole, strict=True)
        if not mask.any()
    )
    of_whole = _measure("all", whole, grid, tolerance_mm)
    yield 0.5
    found = []
    keys = _common(meanings, present)
    for n, key in enumerate(keys, start=1):
        labels = [_labels(meaning, key) for meaning in meanings]
        if all(each & there == _labels(m) & there for each, m, there in zip(labels, meanings, present, strict=True)):
            found.append(StructureComparison(key, of_whole.metrics, of_whole.slices))
        else:
            masks = [_mask(array, each) for array, each in zip(arrays, labels, strict=True)]
            found.append(_measure(key, masks, grid, tolerance_mm))
        yield 0.5 + 0.5 * n / len(keys)
    compared = () if prediction_structures is None else tuple(dict.fromkeys(meanings[0].values()))
    return PairComparison(of_whole, tuple(found), compared, tolerance_mm, notes, grid.difference(*whole))


@dataclass(frozen=True)
class _Grid:
    """The part of an image's grid that holds both masks: `start`, `size` as i, j, k; empty where both masks are.

    `first`: index along `axial` at which the prediction began before its grid was extended.
    """

    image: sitk.Image
    start: tuple[int, int, int]
    size: tuple[int, int, int]
    axial: int
    first: int

    @classmethod
    def of(cls, image: sitk.Image, boxes: Sequence[tuple[np.ndarray, np.ndarray]], origin: Sequence[float]) -> _Grid:
        low = np.min([low for low, _ in boxes], axis=0) if boxes else np.zeros(3, dtype=int)
        high = np.max([high for _, high in boxes], axis=0) if boxes else low - 1
        towards_head = np.abs(np.array(image.GetDirection()).reshape(3, 3)[2])
        size = tuple(int(n) for n in high - low + 1)
        axial = int(towards_head.argmax())
        first = round(image.TransformPhysicalPointToContinuousIndex(origin)[axial])
        return cls(image, tuple(int(n) for n in low), size, axial, first)

    @property
    def spacing(self) -> tuple[float, ...]:
        """mm along k, j, i."""
        return self.image.GetSpacing()[::-1]

    @property
    def voxels(self) -> int:
        return int(np.prod(self.image.GetSize(), dtype=np.int64))

    @property
    def plane_voxels(self) -> int:
        """Voxels of an axial slice."""
        return self.voxels // self.image.GetSize()[self.axial]

    def crop(self, array: np.ndarray) -> np.ndarray:
        """The part of an array (k, j, i)."""
        return array[tuple(slice(a, a + n) for a, n in zip(self.start[::-1], self.size[::-1], strict=True))]

    def point(self, index: np.ndarray) -> tuple[float, float, float]:
        """LPS mm of an index (i, j, k, may be fractional) in the part."""
        return self.image.TransformContinuousIndexToPhysicalPoint((index + np.array(self.start)).tolist())

    def difference(self, prediction: np.ndarray, reference: np.ndarray) -> sitk.Image | None:
        if 0 in self.size:
            return None
        values = np.zeros(prediction.shape, dtype=np.uint8)
        values[prediction & reference] = AGREED
        values[reference & ~prediction] = MISSED
        values[prediction & ~reference] = EXTRA
        image = sitk.GetImageFromArray(values)
        image.SetSpacing(self.image.GetSpacing())
        image.SetDirection(self.image.GetDirection())
        image.SetOrigin(self.point(np.zeros(3)))
        return image


def _meanings(present: Sequence[frozenset[int]], *given: Mapping[int, str] | None) -> list[dict[int, str]]:
    """Structure by label for both masks; "label 7" or "spine" where a mask's labels have no meaning."""
    meanings = []
    for labels, meaning in zip(present, given, strict=True):
        if meaning is None:
            named = all(m is None for m in given)
            meaning = {label: f"label {label}" if named else "spine" for label in sorted(labels)}
        meanings.append(dict(meaning))
    return meanings


def _labels(meaning: Mapping[int, str], key: str | None = None) -> frozenset[int]:
    """Labels that mean a structure; "vertebrae" means every single one too, None everything."""
    return frozenset(
        label for label, k in meaning.items() if key in (None, k) or (key == "vertebrae" and is_vertebra(k))
    )


def _mask(array: np.ndarray, labels: frozenset[int]) -> np.ndarray:
    """Bool array (k, j, i) of voxels with one of the labels."""
    table = np.zeros(np.iinfo(array.dtype).max + 1, dtype=bool)
    table[[label for label in labels if 0 < label < len(table)]] = True
    return table[array]


def _common(meanings: Sequence[Mapping[int, str]], present: Sequence[frozenset[int]]) -> list[str]:
    """Structures that both masks tell apart and at least one of them marks: groups first, then from neck to pelvis."""
    keys = [set(meaning.values()) for meaning in meanings]
    marked = {m[label] for m, labels in zip(meanings, present, strict=True) for label in labels if label in m}
    if not all(keys):
        return []
    common = [key for key in dict.fromkeys(meanings[1].values()) if key in keys[0] and key != "spine"]
    if all(k & set(LEVELS) for k in keys):
        common += [level for level in LEVELS if level in keys[0] | keys[1]]
    if all(any(is_vertebra(key) for key in k) for k in keys):
        common.append("vertebrae")
        marked |= {"vertebrae"} if any(is_vertebra(key) for key in marked) else set()
    order = {key: n for n, key in enumerate(("vertebrae", "sacrum", *LEVELS))}
    found = sorted((key for key in set(common) if key in marked), key=lambda key: (order.get(key, len(order)), key))
    return [] if len(found) == 1 and found[0].startswith("label ") else found


def _measure(key: str, masks: Sequence[np.ndarray], grid: _Grid, tolerance_mm: float) -> StructureComparison:
    """Metrics and slices of two masks (bool, k, j, i) on the grid's part."""
    prediction, reference = masks
    axis = 2 - grid.axial  # of the arrays
    others = tuple(n for n in range(3) if n != axis)
    tp, fp, fn = (
        both.sum(axis=others, dtype=np.int64)
        for both in (prediction & reference, prediction & ~reference, reference & ~prediction)
    )
    totals = [int(n.sum()) for n in (tp, fp, fn)]
    metrics = mask_metrics(*totals, grid.voxels - sum(totals), voxel_ml(grid.image))
    metrics |= _surfaces(prediction, reference, grid.spacing, tolerance_mm)
    pixel = float(np.prod([grid.spacing[n] for n in others]))
    slices = []
    for n in np.flatnonzero(tp + fp + fn):
        hits, extra, missed = (int(counts[n]) for counts in (tp, fp, fn))
        planes = [mask.take(n, axis=axis) for mask in masks]
        shown = planes[0] ^ planes[1] if extra + missed else planes[0]
        middle = np.insert(np.argwhere(shown).mean(axis=0), axis, n)[::-1]
        centre = np.array([(s - 1) / 2 for s in grid.image.GetSize()]) - grid.start
        centre[grid.axial] = n
        slices.append(
            SliceComparison(
                index=int(n) + grid.start[grid.axial] - grid.first,
                position_mm=grid.point(centre)[2],
                dice=ratio(2 * hits, 2 * hits + extra + missed),
                true_positives=hits,
                false_positives=extra,
                false_negatives=missed,
                true_negatives=grid.plane_voxels - hits - extra - missed,
                area_px=hits + extra,
                reference_area_px=hits + missed,
                area_mm2=(hits + extra) * pixel,
                reference_area_mm2=(hits + missed) * pixel,
                focus=grid.point(middle),
            )
        )
    return StructureComparison(key, metrics, tuple(slices))


def _surfaces(
    prediction: np.ndarray, reference: np.ndarray, spacing: Sequence[float], tolerance_mm: float
) -> dict[str, float | None]:
    """`surface_metrics` of the box that holds both masks."""
    either = prediction | reference
    box = []
    for axis in range(3):
        used = np.flatnonzero(either.any(axis=tuple(n for n in range(3) if n != axis)))
        box.append(slice(used[0], used[-1] + 1) if len(used) else slice(0, 0))
    return surface_metrics(prediction[tuple(box)], reference[tuple(box)], spacing, tolerance_mm)
