"""What tells which slices are wrong? `python -m Testing.Benchmarks.uncertainty CASES...`

Segments the cases of one or more data sets (see `spineseg evaluate --help`) as they are and mirrored, and tells for
several measures of doubt how well they go with the error of each slice: Spearman's rank correlation within each case,
then the mean over cases, once with the number of wrong pixels (the work that waits) and once with 1 - Dice. The last
column is the share of all wrong pixels in the tenth of the slices that the measure puts first.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from scipy.stats import spearmanr
from SpineSegLib.engine.axial import AxialSlices
from SpineSegLib.engine.comparison.grids import on_grid_of
from SpineSegLib.engine.datasets.find import find_dataset
from SpineSegLib.engine.models.backends import activate, choose_backend
from SpineSegLib.engine.models.model_catalogue import resolve_model
from SpineSegLib.engine.uncertainty import uncertain_area

USED = "area in doubt (entropy)"  # by the panel and the page: `uncertain_area`
MIRRORED = "the same for the mean of plain and mirrored"
PERFECT = "nothing better is possible"


@dataclass(frozen=True)
class Slices:
    """Probability of spine (n, y, x) as the network gives it and from the mirrored slices, and the truth."""

    probability: np.ndarray
    mirrored: np.ndarray
    truth: np.ndarray
    threshold: float


def look_at(case, network) -> Slices:
    """Segment a case of a data set twice."""
    volume = case.read_volume()
    mask = on_grid_of(volume.image, case.read_reference(volume).image)[0]
    preprocessing = network.info.preprocessing
    slices = AxialSlices(volume, preprocessing)
    along, rows, columns = slices.region
    plain = replace(preprocessing, context=(0.0,), window=(0.0, 1.0), bits=None)
    share = AxialSlices(sitk.Cast(mask > 0, sitk.sitkFloat32), plain, whole=True)
    found = []
    for index in range(along.start, along.stop):
        batch = slices.batch(index, index + 1)
        direct = network.predict(batch)[0].sum(axis=0)
        mirrored = network.predict(np.ascontiguousarray(batch[..., ::-1]))[0].sum(axis=0)[:, ::-1]
        found.append((direct, mirrored, share.batch(index, index + 1)[0, 0, rows, columns] >= 0.5))
    return Slices(*(np.stack(arrays) for arrays in zip(*found, strict=True)), preprocessing.threshold)


def expected_dice(probabilities: np.ndarray, threshold: float) -> float:
    """Dice to expect of a slice with these probabilities p of spine (y, x): 2 sum(p inside) / (pixels inside + sum(p)).

    That is the mean Dice of the decision against truths drawn from p; 1 where nothing is found and nothing in doubt.
    """
    p = probabilities.astype(np.float64)
    inside = p >= threshold
    total = np.count_nonzero(inside) + p.sum()
    return float(2 * p[inside].sum() / total) if total else 1.0


def measures(slices: Slices) -> dict[str, np.ndarray]:
    """Doubt about each slice by several measures; more is more doubt."""
    p, mirrored = slices.probability, slices.mirrored
    inside = p >= slices.threshold
    beside = np.stack([inside != np.roll(inside, shift, axis=0) for shift in (1, -1)]).sum(axis=(2, 3))
    return {
        USED: np.array([uncertain_area(each[None], 1.0) for each in p]),
        MIRRORED: np.array([uncertain_area(each[None], 1.0) for each in (p + mirrored) / 2]),
        "pixels between 0.1 and 0.9": ((p > 0.1) & (p < 0.9)).sum(axis=(1, 2)),
        "plain against mirrored": (inside != (mirrored >= slices.threshold)).sum(axis=(1, 2)),
        "against the next slice": beside.min(axis=0),
        "1 - expected Dice": np.array([1 - expected_dice(each, slices.threshold) for each in p]),
    }


def agreement(slices: Slices) -> dict[str, tuple[float, float, float]]:
    """For each measure: its correlation with the wrong pixels of all slices, that with 1 - Dice of the slices with
    spine, and the share of the wrong pixels in the first tenth of the slices."""
    inside = slices.probability >= slices.threshold
    wrong = (inside != slices.truth).sum(axis=(1, 2))
    sizes = inside.sum(axis=(1, 2)) + slices.truth.sum(axis=(1, 2))
    spine = sizes > 0
    dice = 2 * (inside & slices.truth).sum(axis=(1, 2)) / np.maximum(sizes, 1)
    tenth = max(1, len(wrong) // 10)
    rows = {}
    for name, doubt in measures(slices).items():
        first = np.argsort(-doubt, kind="stable")[:tenth]
        ranks = spearmanr(doubt, wrong).statistic, spearmanr(doubt[spine], 1 - dice[spine]).statistic
        rows[name] = (*ranks, wrong[first].sum() / wrong.sum())
    rows[PERFECT] = (1.0, 1.0, np.sort(wrong)[-tenth:].sum() / wrong.sum())
    return rows


def conclusion(means: dict[str, Sequence[float]], single: Sequence[float]) -> list[str]:
    """What the means over the cases allow to say, and what is used. `single`: USED with wrong pixels, of each case."""
    measured = [name for name in means if name != PERFECT]
    by_pixels = max(measured, key=lambda name: means[name][0])
    by_dice = max(measured, key=lambda name: means[name][1])
    pixels, dice, share = means[USED]
    low, high, possible = np.nanmin(single), np.nanmax(single), means[PERFECT][2]
    return [
        "With the number of wrong pixels, so with the work that waits, goes best",
        f"*{by_pixels}* ({means[by_pixels][0]:.2f}), with 1 - Dice *{by_dice}* ({means[by_dice][1]:.2f}). The panel's",
        f"*Next slice to check* goes by *{USED}* (`uncertain_area` in `engine/uncertainty.py`):",
        f"{pixels:.2f} with the wrong pixels (single cases {low:.2f} to {high:.2f}), {dice:.2f} with 1 - Dice;",
        f"the tenth of the slices that it puts first holds {100 * share:.0f} % of the wrong pixels, where",
        f"{100 * possible:.0f} % is the most possible. It takes no time of the network; the mean with the mirrored",
        f"slice, which takes as much again, has {means[MIRRORED][0]:.2f} and {means[MIRRORED][1]:.2f}.",
    ]


def markdown(cases: dict[str, dict[str, tuple[float, float, float]]], model: str) -> str:
    """What follows, means over the cases, and for the measure in use each case. `model`: name and version."""
    names = next(iter(cases.values()))
    means = {name: np.nanmean([rows[name] for rows in cases.values()], axis=0) for name in names}
    lines = ["# What tells which slices are wrong?", ""]
    lines += [*conclusion(means, [rows[USED][0] for rows in cases.values()]), ""]
    lines += [f"Means over {len(cases)} cases, segmented by the model {model}; see uncertainty.py.", ""]
    lines += ["| measure | Spearman with wrong pixels | with 1 - Dice | wrong pixels in the first tenth |"]
    lines += ["|---|---:|---:|---:|"]
    for name, (pixels, dice, share) in means.items():
        lines.append(f"| {name} | {pixels:.2f} | {dice:.2f} | {100 * share:.0f} % |")
    lines += ["", "| case | area in doubt with wrong pixels | 1 - expected Dice with 1 - Dice |", "|---|---:|---:|"]
    for case, rows in cases.items():
        lines.append(f"| {case} | {rows[USED][0]:.2f} | {rows['1 - expected Dice'][1]:.2f} |")
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", type=Path, nargs="+", help="data sets: folders of CT with masks")
    parser.add_argument("--model", help="model to look at (default: the current one)")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("UNCERTAINTY.md"))
    options = parser.parse_args(arguments)
    activate(choose_backend("auto"))
    from SpineSegLib.engine.models.network import Network

    network = Network(resolve_model(options.model))
    warnings.filterwarnings("ignore", message="An input array is constant")
    found = {}
    for folder in options.cases:
        for case in find_dataset(folder).cases:
            if case.files:
                found[case.name] = agreement(look_at(case, network))
                print(case.name, flush=True)
    model = f"{network.info.name} {network.info.version}"
    options.out.write_text(markdown(found, model), encoding="utf-8")


if __name__ == "__main__":
    main()
