"""Does the loop pay? A simulated annotator corrects what the default model draws on scans unlike its training.

`python -m Testing.Benchmarks.loop` makes patients of another kind than any the model knows (cone-beam CT of a C-arm:
uncalibrated HU, cupping, a round field of view), lets the model segment them, corrects k = 1, 2, 4, 8 of them as far as
an annotator of limited patience would (the slices suggested, or as many drawn at random), re-trains as the panel does,
and measures on patients nobody has seen, of the new kind and of the old. Without a GPU the default settings take a
quarter of an hour on two cores. Results go to LOOP.md, LOOP.json and LOOP.png beside this file, or to --out.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from scipy import ndimage
from SpineSegLib.engine.comparison.grids import on_grid_of
from SpineSegLib.engine.files.reading import read_labelmap, read_volume
from SpineSegLib.engine.models.backends import activate, choose_backend
from SpineSegLib.engine.models.model_catalogue import resolve_model
from SpineSegLib.engine.models.model_file import ENDING
from SpineSegLib.engine.synthetic.phantom import make_phantom
from SpineSegLib.engine.training.training_set import Submission, TrainingSet
from SpineSegLib.engine.uncertainty import next_slice, uncertain_area
from SpineSegLib.engine.volume import Volume

COUNTS = (1, 2, 4, 8)
UNSEEN = 3  # patients to measure on, of either kind
SEED = 7000
TOUCHED_MM2 = 25.0  # a slice with less wrong in it, nobody would touch


@dataclass(frozen=True)
class Patient:
    """A CT with its truth (uint8, 1 vertebrae, 2 sacrum)."""

    name: str
    volume: Volume
    truth: np.ndarray


@dataclass(frozen=True)
class Drawn:
    """What a model drew: labels (k, j, i), and for each stored slice the area in doubt."""

    labels: np.ndarray
    doubts: np.ndarray


def patient(seed: int, new: bool) -> Patient:
    """A phantom of three to four lumbar vertebrae; `new`: as a cone-beam scanner would show it."""
    phantom = make_phantom(seed, region=("L4", "L2"), view="spine", spacing=(1.0, 1.0, 2.5), noise_hu=30.0)
    image = cone_beam(phantom.image, seed) if new else phantom.image
    return Patient(f"{'new' if new else 'old'} {seed}", Volume(image, "phantom"), sitk.GetArrayFromImage(phantom.mask))


def cone_beam(image: sitk.Image, seed: int) -> sitk.Image:
    """As a C-arm sees it: HU compressed and shifted, darker in the middle, noisy, nothing outside a round field."""
    rng = np.random.default_rng([seed, 5])
    hu = sitk.GetArrayFromImage(image).astype(np.float32)
    _, rows, columns = hu.shape
    y, x = np.ogrid[:rows, :columns]
    radius = np.hypot((y - rows / 2) / rows, (x - columns / 2) / columns) * 2
    hu = hu * rng.uniform(0.38, 0.46) + rng.uniform(80, 150) + 180 * (radius**2 - 0.5)
    grain = ndimage.gaussian_filter(rng.standard_normal(hu.shape), (0, 1.2, 1.2))
    hu += 60 * grain / grain.std()
    hu[:, radius > 1.15] = -1024
    result = sitk.GetImageFromArray(np.clip(hu, -1024, 3071).astype(np.int16))
    result.CopyInformation(image)
    return result


def real_patients(folder: Path) -> list[Patient]:
    """The masked cases of the shared data."""
    patients = []
    for place in sorted(folder.iterdir()):
        if (place / "mask.nii.gz").exists():
            volume = read_volume(place / "dicom" if (place / "dicom").is_dir() else place / "ct.nii.gz")
            mask = on_grid_of(volume.image, read_labelmap(place / "mask.nii.gz"))[0]
            patients.append(Patient(place.name, volume, (sitk.GetArrayFromImage(mask) > 0).astype(np.uint8)))
    return patients


def draw(model: Path, patients: Sequence[Patient]) -> list[Drawn]:
    """Segment the patients."""
    from SpineSegLib.engine.models.network import Network
    from SpineSegLib.engine.segmenter import Segmentation

    network = Network(model)
    drawn = []
    for each in patients:
        segmentation = Segmentation(each.volume, network)
        spacing = segmentation.grid.spacing
        found = [(s.position, uncertain_area(s.probabilities, spacing[1] * spacing[2])) for s in segmentation]
        positions, doubts = np.array(found).T
        stored = positions_of(each.volume)
        nearest = np.abs(stored[:, None] - positions).argmin(axis=1)
        drawn.append(Drawn(sitk.GetArrayFromImage(segmentation.labelmap()), doubts[nearest]))
    return drawn


def positions_of(volume: Volume) -> np.ndarray:
    """Position in mm (LPS z) of the stored slices, which are axial."""
    return np.array([volume.grid.point(k, 0, 0)[2] for k in range(volume.grid.shape[0])])


def scores(patients: Sequence[Patient], drawn: Sequence[Drawn]) -> dict[str, float]:
    """Means over patients: Dice, wrong voxels in thousands, and slices that would have to be touched."""
    dice, wrong, slices = [], [], []
    for each, found in zip(patients, drawn, strict=True):
        truth, labels = each.truth > 0, found.labels > 0
        dice.append(2 * np.count_nonzero(truth & labels) / max(truth.sum() + labels.sum(), 1))
        differs = np.count_nonzero(truth != labels, axis=(1, 2))
        spacing = each.volume.grid.spacing
        wrong.append(differs.sum() / 1000)
        slices.append(np.count_nonzero(differs * spacing[1] * spacing[2] > TOUCHED_MM2))
    return {"dice": float(np.mean(dice)), "wrong": float(np.mean(wrong)), "slices": float(np.mean(slices))}


def order_of(each: Patient, found: Drawn, how: str, seed: int) -> list[int]:
    """In which order an annotator checks the slices."""
    count = len(found.doubts)
    if how == "random":
        return np.random.default_rng(seed).permutation(count).tolist()
    order: list[int] = []
    positions = positions_of(each.volume)
    while (index := next_slice(found.doubts, order, positions)) is not None and len(order) < count:
        order.append(index)
    return order + [k for k in range(count) if k not in order]


def repaired(patients: Sequence[Patient], drawn: Sequence[Drawn], how: str) -> dict[str, float]:
    """Share of the wrong voxels that lies in the first tenth, quarter and half of the slices."""
    shares = []
    for n, (each, found) in enumerate(zip(patients, drawn, strict=True)):
        differs = np.count_nonzero((each.truth > 0) != (found.labels > 0), axis=(1, 2))
        ordered = differs[order_of(each, found, how, n)]
        shares.append(
            [ordered[: max(1, round(part * len(ordered)))].sum() / differs.sum() for part in (0.1, 0.25, 0.5)]
        )
    return dict(zip(("10 %", "25 %", "50 %"), np.mean(shares, axis=0).tolist(), strict=True))


def corrected_set(
    path: Path, patients: Sequence[Patient], drawn: Sequence[Drawn], how: str, budget: int
) -> TrainingSet:
    """A training set in which so many slices of each patient were checked, in this order."""
    target = TrainingSet.create(path, "benchmark", ("vertebrae", "sacrum"))
    for n, (each, found) in enumerate(zip(patients, drawn, strict=True)):
        checked = sorted(order_of(each, found, how, n)[:budget])
        while not (each.truth[checked] > 0).any():  # nothing but background was drawn at random
            checked.append(int(np.flatnonzero((each.truth > 0).any(axis=(1, 2)))[0]))
        mask = each.volume.grid.image(each.truth)
        target.add(
            Submission(
                each.volume.image, mask, target.segments, patient=each.name, scan=each.name, checked=tuple(checked)
            )
        )
    return target


def run(options: argparse.Namespace) -> None:
    """Measure, and write the results after each re-training."""
    from SpineSegLib.engine.training.retraining import SETTINGS, retrain

    start = resolve_model(options.model)
    short = {"warm_up": min(SETTINGS.warm_up, options.steps), "patience": options.epochs}
    settings = replace(SETTINGS, epochs=options.epochs, steps=options.steps, **short)
    tell("making patients")
    to_correct = [patient(SEED + n, new=True) for n in range(max(options.counts))]
    unseen = [patient(SEED + 100 + n, new=True) for n in range(options.unseen)]
    old = [patient(SEED + 200 + n, new=False) for n in range(options.unseen)]
    tell("the starting model draws")
    drawn = draw(start, to_correct)
    drawn_unseen, drawn_old = draw(start, unseen), draw(start, old)
    before, old_before = scores(unseen, drawn_unseen), scores(old, drawn_old)
    rows = [{"order": "", "k": 0, "minutes": 0.0, "new": before, "old": old_before}]
    result = {
        "settings": {"epochs": options.epochs, "steps": options.steps, "budget": options.budget},
        "repaired": {
            f"{kind} kind, {how}": repaired(patients, found, how)
            for kind, patients, found in (("new", unseen, drawn_unseen), ("old", old, drawn_old))
            for how in ("suggested", "random")
        },
        "rows": rows,
    }
    for k in options.counts:
        for how in options.orders:
            with tempfile.TemporaryDirectory() as folder:
                models = Path(folder)
                # The phantoms to rehearse are rendered once.
                (models / ".rehearsal").symlink_to(options.cache.resolve(), target_is_directory=True)
                os.environ["SPINESEG_MODELS"] = folder
                cases = corrected_set(models / "cases.h5", to_correct[:k], drawn[:k], how, options.budget)
                began = time.monotonic()
                made = retrain(cases.path, start, settings, without_validation=k == 1, report=Teller(how, k))
                minutes = (time.monotonic() - began) / 60
                if options.keep:
                    options.keep.mkdir(parents=True, exist_ok=True)
                    shutil.copy(made.model, options.keep / f"{how}-{k}{ENDING}")
                new, kept = scores(unseen, draw(made.model, unseen)), scores(old, draw(made.model, old))
            rows.append({"order": how, "k": k, "minutes": minutes, "new": new, "old": kept, "said": made.sentence})
            write(result, options.out)
            tell(f"{how} k={k}: new {new['dice']:.3f}, old {kept['dice']:.3f}, {minutes:.1f} min. {made.sentence}")
    if options.real:
        rows += real_rows(options, start, settings)
        write(result, options.out)


def real_rows(options: argparse.Namespace, start: Path, settings: Any) -> list[dict[str, Any]]:
    """Each real case measured with a model re-trained on the others."""
    from SpineSegLib.engine.training.retraining import retrain

    patients = real_patients(options.real)
    rows = []
    for n, each in enumerate(patients):
        others = patients[:n] + patients[n + 1 :]
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / ".rehearsal").symlink_to(options.cache.resolve(), target_is_directory=True)
            os.environ["SPINESEG_MODELS"] = folder
            before = scores([each], draw(start, [each]))
            target = TrainingSet.create(Path(folder) / "cases.h5", "real", ("vertebrae", "sacrum"))
            for other in others:
                mask = other.volume.grid.image(other.truth)
                names = {"patient": other.name, "scan": other.name}
                target.add(Submission(other.volume.image, mask, target.segments, **names, side="training"))
            began = time.monotonic()
            made = retrain(target.path, start, settings, without_validation=True, report=Teller("real", len(others)))
            minutes = (time.monotonic() - began) / 60
            after = scores([each], draw(made.model, [each]))
        rows.append({"order": "real", "k": len(others), "minutes": minutes, "case": each.name, "before": before,
                     "new": after})  # fmt: skip
        tell(f"{each.name}: {before['dice']:.3f} -> {after['dice']:.3f}")
    return rows


def write(result: dict[str, Any], folder: Path) -> None:
    """The results so far as JSON, table and picture."""
    (folder / "LOOP.json").write_text(json.dumps(result, indent=1), encoding="utf-8")
    (folder / "LOOP.md").write_text(markdown(result), encoding="utf-8")
    picture(result, folder / "LOOP.png")


class Teller:
    """Tells the epochs of a re-training."""

    def __init__(self, how: str, k: int) -> None:
        self._name = f"{how} k={k}"

    def __call__(self, event: str, **values: Any) -> None:
        if event in ("baseline", "epoch"):
            shown = {key: round(v, 4) if isinstance(v, float) else v for key, v in values.items()}
            tell(f"{self._name} {event}: {shown}")


def tell(text: str) -> None:
    """A line for whoever waits."""
    print(time.strftime("%H:%M:%S"), text, flush=True)


def markdown(result: dict[str, Any]) -> str:
    """The tables."""
    settings = result["settings"]
    synthetic = [row for row in result["rows"] if row["order"] != "real"]
    first = synthetic[0]
    lines = [
        "# Does the loop pay?",
        "",
        "A simulated annotator corrects cone-beam-like phantoms, a kind of scan the default model was not trained on: "
        f"{settings['budget']} slices of each case, those suggested or drawn at random. Re-training: "
        f"{settings['epochs']} epochs of {settings['steps']} steps. Measured on patients nobody has seen, of the new "
        "kind and of the old (means). One corrected case trains without validation; from two on, one validates.",
        "",
        "| slices checked | k | Dice, new kind | wrong voxels (1000) | slices to touch | Dice, old kind | minutes |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for row in synthetic:
        new, old = row["new"], row["old"]
        lines.append(
            f"| {row['order'] or 'before'} | {row['k']} | {new['dice']:.3f} | {new['wrong']:.1f} | {new['slices']:.0f} "
            f"| {old['dice']:.3f} ({100 * (old['dice'] - first['old']['dice']):+.1f}) | {row['minutes']:.1f} |"
        )
    lines += ["", "Share of the wrong voxels found in the first slices looked at, on the unseen patients:", ""]
    lines += ["| order | 10 % | 25 % | 50 % |", "|---|---:|---:|---:|"]
    for how, shares in result["repaired"].items():
        lines.append(f"| {how} | " + " | ".join(f"{100 * share:.0f} %" for share in shares.values()) + " |")
    real = [row for row in result["rows"] if row["order"] == "real"]
    if real:
        lines += ["", "Real cases, each measured with a model re-trained on the other ones, whole volumes:", ""]
        lines += ["| case | Dice before | after | slices to touch before | after |", "|---|---:|---:|---:|---:|"]
        for row in real:
            b, a = row["before"], row["new"]
            lines.append(
                f"| {row['case']} | {b['dice']:.3f} | {a['dice']:.3f} | {b['slices']:.0f} | {a['slices']:.0f} |"
            )
    return "\n".join(lines) + "\n"


def picture(result: dict[str, Any], path: Path) -> None:
    """Dice against corrected cases, new kind and old."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot()
    first = result["rows"][0]
    for how, colour in (("suggested", "tab:blue"), ("random", "tab:orange")):
        rows = [row for row in result["rows"] if row["order"] == how]
        if rows:
            ks = [0, *(row["k"] for row in rows)]
            for kind, style in (("new", "-o"), ("old", "--")):
                values = [first[kind]["dice"], *(row[kind]["dice"] for row in rows)]
                axes.plot(ks, values, style, color=colour, label=f"{kind} kind of scans, {how} slices checked")
    axes.set(xlabel="Corrected cases", ylabel="Dice on unseen patients", xticks=[0, *COUNTS])
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=110)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="model to start from (default: the current one)")
    parser.add_argument("--counts", type=int, nargs="+", default=list(COUNTS), help="corrected cases")
    parser.add_argument("--orders", nargs="+", choices=("suggested", "random"), default=["suggested", "random"])
    parser.add_argument("--budget", type=int, default=16, help="slices checked of each case")
    parser.add_argument("--unseen", type=int, default=UNSEEN, help="patients of either kind to measure on")
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--real", type=Path, help="folder of masked real cases to try as well")
    parser.add_argument("--keep", type=Path, help="folder to copy the re-trained models into")
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "spineseg-rehearsal")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    options = parser.parse_args(arguments)
    options.cache.mkdir(parents=True, exist_ok=True)
    activate(choose_backend("auto", "train"))
    run(options)


if __name__ == "__main__":
    main()
