"""Does the loop pay? A simulated annotator corrects what the default model draws on scans unlike its training.

`python -m Testing.Benchmarks.loop` makes patients of another kind than any the model knows (cone-beam CT of a C-arm:
uncalibrated HU, cupping, a round field of view), lets the model segment them, corrects k = 1, 2, 4, 8 of them as far as
an annotator of limited patience would (the slices suggested, or as many drawn at random), re-trains as the panel does,
and measures on patients nobody has seen, of the new kind and of the old: phantoms, and with --labelmaps also scans
rendered from real anatomy, as the default model was trained on. With --real it does the same for masked real CT, each
one measured with what was learned from the others. Results go to LOOP.md, LOOP.json and LOOP.png beside this file, or
to --out; what LOOP.json there holds from a run with the same settings is not measured again.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
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
from SpineSegLib.engine.models.model_file import ENDING, read_info
from SpineSegLib.engine.synthetic.anatomy import Anatomy
from SpineSegLib.engine.synthetic.cases import render_case
from SpineSegLib.engine.synthetic.phantom import make_phantom
from SpineSegLib.engine.synthetic.recipe import load_anatomies
from SpineSegLib.engine.training.training_set import TRAINING, VALIDATION, Submission, TrainingSet
from SpineSegLib.engine.uncertainty import next_slice, uncertain_area
from SpineSegLib.engine.volume import Volume

from Testing.Benchmarks.machine import machine, versions

COUNTS = (1, 2, 4, 8)
UNSEEN = 4  # patients of the new kind to measure on
OLD = 2  # phantoms of the old kind
RENDERED = 6  # scans of real anatomy, of the old kind
ANATOMIES = ("s0328", "s0327", "verse010-spl")  # they show these: the default model never saw verse010's vertebrae
SEED = 7000
SACRUM, S1 = 25, 26  # labels of TotalSegmentator
# What a slice asks of an annotator, by the area that is wrong. The spine takes about 1500 mm² of a slice here. With
# less than the first wrong, its Dice is above 0.96, and nobody would touch it; with more than the second, a third of
# the spine is wrong, and to draw it anew is no more work than to correct it.
TOUCHED_MM2, REDRAWN_MM2 = 100.0, 500.0


@dataclass(frozen=True)
class Patient:
    """An axial CT with its truth (uint8 k, j, i, 1 vertebrae, 2 sacrum). `complete`: in which slices it is the whole
    truth (bool k), None for all."""

    name: str
    volume: Volume
    truth: np.ndarray
    complete: np.ndarray | None = None


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


def rendered_patients(anatomies: Sequence[Anatomy], count: int) -> list[Patient]:
    """Scans of a good part of the spine, rendered as for the default model's training, but with other seeds."""
    patients = []
    for n in range(count):
        anatomy = anatomies[n % len(anatomies)]
        case = render_case(anatomy, np.random.default_rng([SEED, n]), "long")
        patients.append(
            Patient(f"{anatomy.name} {n}", Volume(case.image, "rendered"), sitk.GetArrayFromImage(case.mask))
        )
    return patients


def real_patients(folder: Path) -> list[Patient]:
    """The masked cases of the shared data. Where S1 is marked but not the rest of the sacrum, only the slices above S1
    are complete."""
    patients = []
    for place in sorted(folder.iterdir()):
        if (place / "mask.nii.gz").exists():
            stored = read_volume(place / "dicom" if (place / "dicom").is_dir() else place / "ct.nii.gz").image
            volume = Volume(sitk.DICOMOrient(stored, "LPS"), "real")
            mask = on_grid_of(volume.image, read_labelmap(place / "mask.nii.gz"))[0]
            labels = sitk.GetArrayFromImage(mask)
            first_sacral = np.flatnonzero((labels == S1).any(axis=(1, 2)))
            complete = None
            if len(first_sacral) and not (labels == SACRUM).any():
                complete = np.arange(len(labels)) > first_sacral[-1]
            patients.append(Patient(place.name, volume, (labels > 0).astype(np.uint8), complete))
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
    """Means over patients: Dice, wrong voxels in thousands, and slices to touch and to draw anew."""
    dice, wrong, touched, redrawn = [], [], [], []
    for each, found in zip(patients, drawn, strict=True):
        counts = slice(None) if each.complete is None else each.complete
        truth, labels = each.truth[counts] > 0, found.labels[counts] > 0
        dice.append(2 * np.count_nonzero(truth & labels) / max(truth.sum() + labels.sum(), 1))
        differs = np.count_nonzero(truth != labels, axis=(1, 2))
        spacing = each.volume.grid.spacing
        area = differs * spacing[1] * spacing[2]
        wrong.append(differs.sum() / 1000)
        touched.append(np.count_nonzero(area > TOUCHED_MM2))
        redrawn.append(np.count_nonzero(area > REDRAWN_MM2))
    means = {"dice": dice, "wrong": wrong, "slices": touched, "redrawn": redrawn}
    return {name: float(np.mean(values)) for name, values in means.items()}


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
    path: Path,
    patients: Sequence[Patient],
    drawn: Sequence[Drawn],
    how: str,
    budget: int,
    side: str | None = None,
) -> TrainingSet:
    """A training set in which so many slices of each patient were checked, in this order; all of them on one `side`, or
    as SpineSeg shares them out where None."""
    target = TrainingSet.create(path, "benchmark", ("vertebrae", "sacrum"))
    for n, (each, found) in enumerate(zip(patients, drawn, strict=True)):
        checked = sorted(order_of(each, found, how, n)[:budget])
        while not (each.truth[checked] > 0).any():  # nothing but background was drawn at random
            checked.append(int(np.flatnonzero((each.truth > 0).any(axis=(1, 2)))[0]))
        target.add(submission_of(each, target.segments, checked=tuple(checked), side=side))
    return target


def submission_of(each: Patient, segments: tuple[str, ...], **values: Any) -> Submission:
    """A patient with its true mask, as far as that is complete."""
    if each.complete is not None:
        values = {"checked": tuple(np.flatnonzero(each.complete).tolist())} | values
    mask = each.volume.grid.image(each.truth)
    return Submission(each.volume.image, mask, segments, patient=each.name, scan=each.name, **values)


class Bench:
    """Re-trains the starting model again and again, and measures what comes of it."""

    def __init__(self, options: argparse.Namespace) -> None:
        from SpineSegLib.engine.training.retraining import SETTINGS

        self.options = options
        self.start = resolve_model(options.model)
        short = {"warm_up": min(SETTINGS.warm_up, options.steps), "patience": options.epochs}
        self.settings = replace(SETTINGS, epochs=options.epochs, steps=options.steps, **short)
        tell("making scans of the old kind")
        self.old = {"phantoms": [patient(SEED + 200 + n, new=False) for n in range(OLD)]}
        if options.labelmaps:
            anatomies = [each for each in load_anatomies(options.labelmaps) if each.name in ANATOMIES]
            self.old["rendered"] = rendered_patients(anatomies, RENDERED)
        info = read_info(self.start)
        settings = {
            "model": f"{info.name} {info.version}",
            "epochs": options.epochs,
            "steps": options.steps,
            "budget": options.budget,
            "unseen": options.unseen,
            "machine": machine() | versions(),
        }
        self.result: dict[str, Any] = {"settings": settings, "rows": [], "real": []}
        done = options.out / "LOOP.json"
        if done.exists() and (found := json.loads(done.read_text(encoding="utf-8")))["settings"] == settings:
            self.result = found
        else:
            self.result["old_before"] = self._old_scores(self.start)

    def run(self) -> None:
        """Measure, and write the results after each re-training."""
        options, result = self.options, self.result
        # Beside what SpineSeg does by itself: with two patients both can train, if nobody needs to know how good it is.
        wanted = [(k, how, None if k > 1 else TRAINING) for k in options.counts for how in options.orders]
        wanted += [(2, how, TRAINING) for how in options.orders if 2 in options.counts]
        rows = {(row["k"], row["order"], TRAINING if not row["validation"] else None) for row in result["rows"]}
        if wanted := [each for each in wanted if each not in rows]:
            self._run_phantoms(wanted)
        if options.real:
            self._run_real(real_patients(options.real))
        self._write()

    def _run_phantoms(self, wanted: Sequence[tuple[int, str, str | None]]) -> None:
        """So many patients of the new kind, the order of their slices, and the one side they are on if any."""
        options, result = self.options, self.result
        tell("making patients of the new kind")
        to_correct = [patient(SEED + n, new=True) for n in range(max(options.counts, default=0))]
        unseen = [patient(SEED + 100 + n, new=True) for n in range(options.unseen)]
        drawn, drawn_unseen = draw(self.start, to_correct), draw(self.start, unseen)
        result["before"] = scores(unseen, drawn_unseen)
        result["repaired"] = {how: repaired(unseen, drawn_unseen, how) for how in ("suggested", "random")}
        for k, how, side in wanted:

            def corrected(path: Path, k: int = k, how: str = how, side: str | None = side) -> TrainingSet:
                return corrected_set(path, to_correct[:k], drawn[:k], how, options.budget, side)

            row = {"order": how, "k": k} | self._retrained(corrected, unseen, f"{how} k={k}")
            result["rows"].append(row)
            result["rows"].sort(
                key=lambda row: (not row["validation"] and row["k"] > 1, row["order"] == "random", row["k"])
            )
            self._write()

    def _run_real(self, patients: Sequence[Patient]) -> None:
        """Each real case measured with models re-trained on the next one, and on all others, whole volumes."""
        done = [(row["case"], row["others"]) for row in self.result["real"]]
        for n, each in enumerate(patients):
            before = scores([each], draw(self.start, [each]))
            others = [*patients[n + 1 :], *patients[:n]]
            for k in range(1, len(others) + 1):
                if (each.name, [other.name for other in others[:k]]) in done:
                    continue

                def corrected(path: Path, others: Sequence[Patient] = others[:k]) -> TrainingSet:
                    target = TrainingSet.create(path, "real", ("vertebrae", "sacrum"))
                    for other in others:
                        target.add(submission_of(other, target.segments, side=TRAINING))
                    return target

                row = {"case": each.name, "others": [other.name for other in others[:k]], "before": before}
                self.result["real"].append(row | self._retrained(corrected, [each], f"{each.name} k={k}"))
                self._write()

    def _retrained(
        self, corrected: Callable[[Path], TrainingSet], unseen: Sequence[Patient], name: str
    ) -> dict[str, Any]:
        """Re-train on the training set that `corrected` makes at a path; what it took, and the scores of what came."""
        from SpineSegLib.engine.training.retraining import retrain

        with tempfile.TemporaryDirectory() as folder:
            models = Path(folder)
            # The phantoms to rehearse are rendered once.
            (models / ".rehearsal").symlink_to(self.options.cache.resolve(), target_is_directory=True)
            os.environ["SPINESEG_MODELS"] = folder
            cases = corrected(models / "cases.h5")
            sides = [case.side for case in cases.cases()]
            alone = VALIDATION not in sides
            began, computed = time.monotonic(), time.process_time()
            made = retrain(cases.path, self.start, self.settings, without_validation=alone, report=Teller(name))
            took = {"minutes": time.monotonic() - began, "cpu": time.process_time() - computed}
            if self.options.keep:
                self.options.keep.mkdir(parents=True, exist_ok=True)
                shutil.copy(made.model, self.options.keep / f"{name.replace(' ', '-')}-{len(sides)}{ENDING}")
            new, old = scores(unseen, draw(made.model, unseen)), self._old_scores(made.model)
        tell(f"{name}: new {new['dice']:.3f}, old {old}, {took['minutes'] / 60:.1f} min. {made.sentence}")
        return {key: seconds / 60 for key, seconds in took.items()} | {
            "training": sides.count(TRAINING),
            "validation": sides.count(VALIDATION),
            "new": new,
            "old": old,
            "said": made.sentence,
        }

    def _old_scores(self, model: Path) -> dict[str, float]:
        return {kind: scores(patients, draw(model, patients))["dice"] for kind, patients in self.old.items()}

    def _write(self) -> None:
        write(self.result, self.options.out)


def write(result: dict[str, Any], folder: Path) -> None:
    """The results so far as JSON, table and picture."""
    (folder / "LOOP.json").write_text(json.dumps(result, indent=1), encoding="utf-8")
    (folder / "LOOP.md").write_text(markdown(result), encoding="utf-8")
    picture(result, folder / "LOOP.png")


class Teller:
    """Tells the epochs of a re-training."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __call__(self, event: str, **values: Any) -> None:
        if event in ("baseline", "epoch"):
            shown = {key: round(v, 4) if isinstance(v, float) else v for key, v in values.items()}
            tell(f"{self._name} {event}: {shown}")


def tell(text: str) -> None:
    """A line for whoever waits."""
    print(time.strftime("%H:%M:%S"), text, flush=True)


def markdown(result: dict[str, Any]) -> str:
    """The tables."""
    settings, before, old_before = result["settings"], result.get("before"), result["old_before"]
    kinds = list(old_before)
    where = "; ".join(f"{key} {value}" for key, value in settings["machine"].items())
    lines = [
        "# Does the loop pay?",
        "",
        f"Made by `loop.py` from the model {settings['model']}. Re-training: {settings['epochs']} epochs of "
        f"{settings['steps']} steps, half of every batch rehearsal. Measured on: {where}.",
        "",
        "## Scans of a kind the model does not know",
        "",
        f"A simulated annotator corrects {settings['budget']} slices of each of k patients, those suggested or drawn "
        "at random: phantoms as a cone-beam scanner would show them, three to four lumbar vertebrae in about 40 slices "
        f"of 2.5 mm. Means over {settings['unseen']} such patients nobody has seen. Of k cases some train and some "
        "validate, as SpineSeg shares them out; one that is alone trains, and nobody knows whether the new version is "
        "better. With two, SpineSeg wants to know: one trains as before, the other validates. In the last rows both "
        "train (`spineseg cases add --side training`).",
        "",
        "| slices checked | k | train + validate | Dice | wrong voxels, 1000 | slices to touch | to redraw "
        + "".join(f"| old kind, {kind} " for kind in kinds)
        + "| minutes | CPU minutes |",
        "|---|---:|---|---:|---:|---:|---:" + "|---:" * len(kinds) + "|---:|---:|",
    ]
    if before:
        lines.append(f"| before | 0 | | {_work(before)} {_old(old_before, old_before)}| | |")
    lines += [
        f"| {row['order']} | {row['k']} | {row['training']} + {row['validation']} | {_work(row['new'])} "
        f"{_old(row['old'], old_before)}| {row['minutes']:.1f} | {row['cpu']:.1f} |"
        for row in result["rows"]
    ]
    lines += [
        "",
        f"A slice is to be touched where more than {TOUCHED_MM2:.0f} mm² are wrong, and to be redrawn from "
        f"{REDRAWN_MM2:.0f} mm² on; the spine takes about 1500 mm² of it. Old kind: Dice, and points lost or gained.",
    ]
    if "repaired" in result:
        lines += [
            "",
            "Share of the wrong voxels in the first slices looked at, on these patients before re-training:",
            "",
        ]
        lines += ["| order | 10 % | 25 % | 50 % |", "|---|---:|---:|---:|"]
        for how, shares in result["repaired"].items():
            lines.append(f"| {how} | " + " | ".join(f"{100 * share:.0f} %" for share in shares.values()) + " |")
    if result["real"]:
        lines += ["", "## Real CT", ""]
        lines += ["Each masked case measured with models re-trained on others, whole volumes, nobody validating.", ""]
        lines.append(
            "| case | trained on | Dice | wrong voxels, 1000 | slices to touch | to redraw "
            + "".join(f"| old kind, {kind} " for kind in kinds)
            + "| minutes |"
        )
        lines.append("|---|---|---:|---:|---:|---:" + "|---:" * len(kinds) + "|---:|")
        for row in result["real"]:
            if len(row["others"]) == 1:
                lines.append(f"| {row['case']} | before | {_work(row['before'])} {_old(old_before, old_before)}| |")
            lines.append(
                f"| | {', '.join(row['others'])} | {_work(row['new'])} {_old(row['old'], old_before)}"
                f"| {row['minutes']:.1f} |"
            )
    lines += ["", "## Limits", ""]
    lines.append(
        "Every re-training was done once, with one seed; differences of a point may be chance. The new kind is made "
        "up; of real CT there are few cases, whose masks are automatic (TotalSegmentator, TPTBox), so that the loop "
        "learns to draw as those programs do. With its usual settings SpineSeg trains longer than here: 12 epochs of "
        "60 steps. Minutes are by the clock, with whatever else ran on the machine; CPU minutes are those of all cores."
    )
    return "\n".join(lines) + "\n"


def _work(found: dict[str, float]) -> str:
    """Cells of what is left to do."""
    return f"{found['dice']:.3f} | {found['wrong']:.1f} | {found['slices']:.1f} | {found['redrawn']:.1f}"


def _old(found: dict[str, float], before: dict[str, float]) -> str:
    """Cells of what is known still."""
    if found is before:
        return "".join(f"| {dice:.3f} " for dice in before.values())
    return "".join(f"| {dice:.3f} ({100 * (dice - before[kind]):+.1f}) " for kind, dice in found.items())


def picture(result: dict[str, Any], path: Path) -> None:
    """Dice of the new kind and the old against corrected cases, and the slices that are left to touch."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    shared_out = [row for row in result["rows"] if row["validation"] or row["k"] == 1]
    for how, colour in (("suggested", "tab:blue"), ("random", "tab:orange")):
        rows = [row for row in shared_out if row["order"] == how]
        if not rows:
            continue
        ks = [0, *(row["k"] for row in rows)]
        dice = [result["before"]["dice"], *(row["new"]["dice"] for row in rows)]
        left.plot(ks, dice, "-o", color=colour, label=f"new kind, {how} slices checked")
        for kind, style in zip(result["old_before"], ("--", ":"), strict=False):
            dice = [result["old_before"][kind], *(row["old"][kind] for row in rows)]
            left.plot(ks, dice, style, color=colour, label=f"old kind ({kind})")
        for key, style, what in (("slices", "-o", "touch"), ("redrawn", "--s", "redraw")):
            slices = [result["before"][key], *(row["new"][key] for row in rows)]
            right.plot(ks, slices, style, color=colour, label=f"to {what}, {how} slices checked")
    left.set(xlabel="Corrected cases", ylabel="Dice on unseen patients")
    right.set(xlabel="Corrected cases", ylabel="Slices of an unseen patient", ylim=(0, None))
    for axes in (left, right):
        axes.set_xticks(sorted({0, *(row["k"] for row in shared_out)}))
        axes.grid(alpha=0.3)
        if axes.lines:
            axes.legend(fontsize=8)
    figure.savefig(path, dpi=100)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="model to start from (default: the current one)")
    parser.add_argument("--counts", type=int, nargs="*", default=list(COUNTS), help="corrected cases")
    parser.add_argument("--orders", nargs="+", choices=("suggested", "random"), default=["suggested", "random"])
    parser.add_argument("--budget", type=int, default=16, help="slices checked of each case")
    parser.add_argument("--unseen", type=int, default=UNSEEN, help="patients of the new kind to measure on")
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--labelmaps", type=Path, help="label maps as `spineseg train --recipe default` wants them")
    parser.add_argument("--real", type=Path, help="folder of masked real cases to try as well")
    parser.add_argument("--keep", type=Path, help="folder to copy the re-trained models into")
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "spineseg-rehearsal")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    options = parser.parse_args(arguments)
    options.cache.mkdir(parents=True, exist_ok=True)
    activate(choose_backend("auto", "train"))
    Bench(options).run()


if __name__ == "__main__":
    main()
