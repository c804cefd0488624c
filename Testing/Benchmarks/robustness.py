"""How a model stands what happens to CT: `python -m Testing.Benchmarks.robustness`.

The same scan is turned, mirrored, cut, resampled, made noisy and given metal, each time together with its mask.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from SpineSegLib.engine.comparison.metrics import compare, volume_ml
from SpineSegLib.engine.errors import SpineSegError
from SpineSegLib.engine.files.reading import read_labelmap, read_volume
from SpineSegLib.engine.models.backends import activate, choose_backend
from SpineSegLib.engine.models.model_catalogue import resolve_model
from SpineSegLib.engine.synthetic.phantom import make_phantom, write_phantom

from Testing.Benchmarks.machine import machine, versions

PHANTOM = {"seed": 7, "region": "thoracolumbar", "view": "trunk", "spacing": (1.0, 1.0, 1.0), "noise_hu": 15.0}
TINY_PHANTOM = {"seed": 7, "region": ("L3", "L2"), "view": "spine", "spacing": (2.0, 2.0, 3.0)}
AIR_HU = -1024
SEED = 1


@dataclass(frozen=True)
class Scan:
    """A CT in HU and its mask (any label counts as spine) on one grid, whose axes run to the left, back and head."""

    image: sitk.Image
    mask: sitk.Image


Condition = Callable[[Scan, np.random.Generator], Scan]


def on_grid(scan: Scan, grid: sitk.Image, transform: sitk.Transform | None = None) -> Scan:
    """Resample a scan; outside of it there is air."""
    transform = transform or sitk.Transform()
    return Scan(
        sitk.Resample(scan.image, grid, transform, sitk.sitkLinear, AIR_HU),
        sitk.Resample(scan.mask, grid, transform, sitk.sitkNearestNeighbor, 0),
    )


def turned(axis: tuple[int, int, int], degrees: float) -> Condition:
    """The patient turned about the middle of the scan, on the same grid."""

    def change(scan: Scan, _rng: np.random.Generator) -> Scan:
        middle = scan.image.TransformContinuousIndexToPhysicalPoint([(n - 1) / 2 for n in scan.image.GetSize()])
        return on_grid(scan, scan.image, sitk.VersorTransform(axis, float(np.radians(degrees)), middle))

    return change


def oblique(scan: Scan, _rng: np.random.Generator) -> Scan:
    """The same patient stored on a grid that is tilted by 20 degrees against the body."""
    turn = sitk.VersorTransform((1, 0, 0), float(np.radians(20)))
    size = np.array(scan.image.GetSize())
    middle = scan.image.TransformContinuousIndexToPhysicalPoint(((size - 1) / 2).tolist())
    grid = sitk.Image(scan.image)
    direction = np.reshape(turn.GetMatrix(), (3, 3)) @ np.reshape(scan.image.GetDirection(), (3, 3))
    grid.SetDirection(direction.ravel().tolist())
    grid.SetOrigin((np.array(middle) - direction @ ((size - 1) / 2 * grid.GetSpacing())).tolist())
    return on_grid(scan, grid)


def stored(orientation: str) -> Condition:
    """The same voxels stored in another order of axes (three letters as in DICOMOrient)."""
    return lambda scan, _rng: Scan(*(sitk.DICOMOrient(i, orientation) for i in (scan.image, scan.mask)))


def mirrored(scan: Scan, _rng: np.random.Generator) -> Scan:
    """Left and right of the patient exchanged."""
    return Scan(*(_like(sitk.GetArrayFromImage(i)[:, :, ::-1], i) for i in (scan.image, scan.mask)))


def cut(share: float) -> Condition:
    """Only the middle `share` of the spine's height."""

    def change(scan: Scan, _rng: np.random.Generator) -> Scan:
        low, high = _extent(scan.mask, 2)
        rest = (high - low) * (1 - share) / 2
        first, last = int(low + rest), max(int(high - rest), int(low + rest) + 3)
        return Scan(*(i[:, :, first:last] for i in (scan.image, scan.mask)))

    return change


def field_of_view(factor: float) -> Condition:
    """A field of view of `factor` times the size in the plane: cut around the spine, or air around it."""

    def change(scan: Scan, _rng: np.random.Generator) -> Scan:
        size = np.array(scan.image.GetSize())
        middle = np.array([sum(_extent(scan.mask, axis)) / 2 for axis in range(2)] + [(size[2] - 1) / 2])
        new = np.array([round(size[0] * factor), round(size[1] * factor), size[2]])
        first = np.round(middle - (new - 1) / 2)
        if factor < 1:
            first = np.clip(first, 0, size - new)
        grid = sitk.Image([int(n) for n in new], sitk.sitkUInt8)
        grid.SetSpacing(scan.image.GetSpacing())
        grid.SetDirection(scan.image.GetDirection())
        grid.SetOrigin(scan.image.TransformContinuousIndexToPhysicalPoint(first.tolist()))
        return on_grid(scan, grid)

    return change


def resampled(pixel: float | None, slices: float | None) -> Condition:
    """Voxels of `pixel` mm in the plane and `slices` mm between slices; None keeps what is there.

    Where voxels grow, they average over what they cover.
    """

    def change(scan: Scan, _rng: np.random.Generator) -> Scan:
        old = np.array(scan.image.GetSpacing())
        new = np.array([pixel or old[0], pixel or old[1], slices or old[2]])
        size = np.maximum(1, np.round(old * scan.image.GetSize() / new)).astype(int)
        grid = sitk.Image(size.tolist(), sitk.sitkUInt8)
        grid.SetSpacing(new.tolist())
        grid.SetDirection(scan.image.GetDirection())
        edge = scan.image.TransformContinuousIndexToPhysicalPoint([-0.5] * 3)
        grid.SetOrigin((np.array(edge) + np.reshape(grid.GetDirection(), (3, 3)) @ (new / 2)).tolist())
        image, share = (sitk.Cast(i, sitk.sitkFloat32) for i in (scan.image, scan.mask > 0))
        for axis in np.flatnonzero(new > 1.01 * old):
            # a box of the new voxel's width has the standard deviation width / sqrt(12)
            sigma = float(np.sqrt((new[axis] ** 2 - old[axis] ** 2) / 12))
            image, share = (sitk.RecursiveGaussian(i, sigma, direction=int(axis)) for i in (image, share))
        image = sitk.Resample(image, grid, sitk.Transform(), sitk.sitkLinear, AIR_HU)
        share = sitk.Resample(share, grid, sitk.Transform(), sitk.sitkLinear, 0.0)
        return Scan(sitk.Cast(sitk.Round(image), sitk.sitkInt16), sitk.Cast(share >= 0.5, sitk.sitkUInt8))

    return change


def noisy(hu: float) -> Condition:
    """White noise of `hu` standard deviation added to every stored voxel."""

    def change(scan: Scan, rng: np.random.Generator) -> Scan:
        array = sitk.GetArrayFromImage(scan.image)
        noise = rng.normal(0, hu, array.shape)
        return Scan(_like(np.clip(np.round(array + noise), AIR_HU, 3071).astype(np.int16), scan.image), scan.mask)

    return change


def metal(scan: Scan, rng: np.random.Generator) -> Scan:
    """Two rods of 6 mm beside the spinous processes along the spine, with streaks that fall off with distance."""
    array, mask = sitk.GetArrayFromImage(scan.image).astype(np.float32), sitk.GetArrayViewFromImage(scan.mask) > 0
    dx, dy = scan.image.GetSpacing()[:2]
    y, x = np.mgrid[: mask.shape[1], : mask.shape[2]]
    phases = rng.uniform(0, 2 * np.pi, 3)
    for k in np.flatnonzero(mask.any(axis=(1, 2))):
        rows, columns = np.nonzero(mask[k])
        for side in (-1, 1):
            away_x, away_y = (x - columns.mean()) * dx - side * 16, (y - np.quantile(rows, 0.8)) * dy
            radius, angle = np.hypot(away_x, away_y), np.arctan2(away_y, away_x)
            star = sum(np.cos(f * angle + p) for f, p in zip((2, 5, 9), phases, strict=True))
            array[k] += 150 * star * np.exp(-radius / 25)
            array[k][radius < 3] = 3071
    return Scan(_like(np.clip(np.round(array), AIR_HU, 3071).astype(np.int16), scan.image), scan.mask)


CONDITIONS: dict[str, Condition] = {
    "as it is": lambda scan, _rng: scan,
    "turned by 15° about the body's axis": turned((0, 0, 1), 15),
    "turned by 90°": turned((0, 0, 1), 90),
    "prone (turned by 180°)": turned((0, 0, 1), 180),
    "tilted by 15° forwards": turned((1, 0, 0), 15),
    "tilted by 15° sidewards": turned((0, 1, 0), 15),
    "mirrored": mirrored,
    "stored as sagittal slices": stored("PIR"),
    "stored head first, left to right": stored("RAI"),
    "stored on an oblique grid": oblique,
    "half of the spine's height": cut(0.5),
    "a tenth of the spine's height": cut(0.1),
    "half the field of view": field_of_view(0.5),
    "double the field of view": field_of_view(2.0),
    "pixels of 0.5 mm": resampled(0.5, None),
    "pixels of 2 mm": resampled(2.0, None),
    "slices of 0.3 mm": resampled(None, 0.3),
    "slices of 2 mm": resampled(None, 2.0),
    "slices of 3 mm": resampled(None, 3.0),
    "slices of 5 mm": resampled(None, 5.0),
    "voxels of 3 mm": resampled(3.0, 3.0),
    "noise of 30 HU more": noisy(30),
    "noise of 60 HU more": noisy(60),
    "noise of 110 HU more": noisy(110),
    "metal rods": metal,
}


def _like(array: np.ndarray, image: sitk.Image) -> sitk.Image:
    result = sitk.GetImageFromArray(array)
    result.CopyInformation(image)
    return result


def _extent(mask: sitk.Image, axis: int) -> tuple[int, int]:
    """First and last index along x, y or z (0 to 2) that holds spine."""
    array = sitk.GetArrayViewFromImage(mask)
    found = np.flatnonzero(array.any(axis=tuple(a for a in range(3) if a != 2 - axis)))
    return int(found[0]), int(found[-1])


def main() -> int:
    """Measure, print the tables and write them."""
    parser = argparse.ArgumentParser(prog="python -m Testing.Benchmarks.robustness", description=__doc__)
    parser.add_argument("--ct", metavar="FILE", type=Path, help="CT, file or DICOM folder (default: a phantom)")
    parser.add_argument("--mask", metavar="FILE", type=Path, help="mask of that CT's spine")
    parser.add_argument("--ct-name", metavar="TEXT", default="CT", help="what the table calls that CT (default: CT)")
    parser.add_argument("--model", metavar="NAME|FILE", help="model to test (default: default)")
    parser.add_argument(
        "--out", metavar="DIR", type=Path, default=Path("build/benchmarks"), help="default: %(default)s"
    )
    parser.add_argument("--quick", action="store_true", help="a tiny phantom, to see that everything runs")
    options = parser.parse_args()
    if (options.ct is None) != (options.mask is None):
        parser.error("--ct and --mask go together")
    try:
        results = _measure(options)
    except SpineSegError as error:
        print(f"robustness: {error}", file=sys.stderr)
        return 1
    text = markdown(results)
    print(text)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "ROBUSTNESS.md").write_text(text, encoding="utf-8")
    results |= {"machine": machine(), "versions": versions()}
    (options.out / "ROBUSTNESS.json").write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    return 0


def _measure(options: argparse.Namespace) -> dict[str, object]:
    model = resolve_model(options.model).resolve()
    activate(choose_backend("auto"))
    from SpineSegLib.engine.files.writing import write_image
    from SpineSegLib.engine.models.network import Network
    from SpineSegLib.engine.segmenter import Segmentation

    network = Network(model, "auto")

    def segment(image: sitk.Image, folder: Path) -> sitk.Image:
        write_image(image, folder / "ct.nrrd")
        segmentation = Segmentation(read_volume(folder / "ct.nrrd"), network)
        for _ in segmentation:
            pass
        return segmentation.labelmap()

    phantom = TINY_PHANTOM if options.quick else PHANTOM
    if options.ct:
        scan = Scan(read_volume(options.ct).image, sitk.Cast(read_labelmap(options.mask) > 0, sitk.sitkUInt8))
        name = options.ct_name
    else:
        made = make_phantom(**phantom)
        scan, name = Scan(made.image, sitk.Cast(made.mask > 0, sitk.sitkUInt8)), made.name
    # conditions speak of the patient's axes: x to the left, y to the back, z to the head
    scan = Scan(*(sitk.DICOMOrient(i, "LPS") for i in (scan.image, scan.mask)))
    rows, empty = {}, {}
    with tempfile.TemporaryDirectory() as temporary:
        for condition, change in CONDITIONS.items():
            changed = change(scan, np.random.default_rng(SEED))
            found = sitk.Cast(segment(changed.image, Path(temporary)) > 0, sitk.sitkUInt8)
            rows[condition] = compare(found, changed.mask, {"spine": 1}).metrics
            print(f"{condition}: {rows[condition]['dice']:.3f}", file=sys.stderr, flush=True)
        for kind in ("head", "water"):
            write_phantom(Path(temporary) / kind, make_phantom(3, kind=kind), "nifti")
            image = read_volume(Path(temporary) / kind / "ct.nii.gz").image
            empty[kind] = volume_ml(segment(image, Path(temporary)))
    return {"model": f"{network.info.name} {network.info.version}", "ct": name, "conditions": rows, "empty": empty}


def markdown(results: dict) -> str:
    """The results as a table, with what each condition changes."""
    rows = results["conditions"]
    lines = [
        "# Robustness",
        "",
        f"Model {results['model']} on {results['ct']}: the same scan and its mask, changed in one way at a time.",
        "",
        "| condition | Dice | change | sensitivity | precision |",
        "|---|---:|---:|---:|---:|",
    ]
    plain = rows["as it is"]["dice"]
    for name, metrics in rows.items():
        numbers = (metrics["dice"], metrics["sensitivity"], metrics["precision"])
        shown = ["–" if n is None else f"{n:.3f}" for n in numbers]
        lines.append(f"| {name} | {shown[0]} | {numbers[0] - plain:+.3f} | {shown[1]} | {shown[2]} |")
    lines += ["", "Objects without a spine; anything found is wrong:", "", "| object | found, ml |", "|---|---:|"]
    lines += [f"| {name} | {volume:.1f} |" for name, volume in results["empty"].items()]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
