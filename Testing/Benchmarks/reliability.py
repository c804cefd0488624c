"""Whether a model's probabilities can be believed: `python -m Testing.Benchmarks.reliability CASES`.

CASES is a folder as `spineseg train` takes it, of patients the model was not trained on.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

import numpy as np
from SpineSegLib.engine.errors import SpineSegError
from SpineSegLib.engine.models.backends import activate, choose_backend
from SpineSegLib.engine.models.model_catalogue import resolve_model
from SpineSegLib.engine.training.training_data import find_cases, prepare

BINS = 10
EVERY_MM = 5.0  # neighbouring slices say the same


def count(probability: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Voxels, those that are spine, and the sum of probabilities by bin of probability: float64 (BINS, 3).

    `probability`: any shape, 0 to 1; `truth`: boolean, same shape.
    """
    place = np.minimum((probability * BINS).astype(int), BINS - 1).ravel()
    weights = (None, truth.ravel().astype(float), probability.ravel().astype(float))
    return np.stack([np.bincount(place, weights=w, minlength=BINS) for w in weights], axis=1).astype(float)


def expected_error(counts: np.ndarray) -> float:
    """Expected calibration error (Naeini et al. 2015) of counts as of `count`, over all bins."""
    voxels, spine, probabilities = counts.T
    return float(np.abs(spine - probabilities).sum() / max(voxels.sum(), 1.0))


def draw(counts: np.ndarray, name: str, path: Path) -> None:
    """Picture of the share of spine against the probability that was promised."""
    from matplotlib.figure import Figure

    voxels, spine, probabilities = counts.T
    there = voxels > 0
    figure = Figure(figsize=(4.2, 4.2), layout="constrained")
    axes = figure.add_subplot()
    axes.plot([0, 1], [0, 1], color="0.6", linestyle="--", linewidth=1)
    axes.plot(probabilities[there] / voxels[there], spine[there] / voxels[there], marker="o", color="#2f7ebc")
    axes.set(
        xlim=(0, 1),
        ylim=(0, 1),
        aspect="equal",
        xlabel="Probability of spine",
        ylabel="Share that is spine",
        title=name,
    )
    figure.savefig(path, dpi=90)


def main() -> int:
    """Measure, draw and write."""
    parser = argparse.ArgumentParser(prog="python -m Testing.Benchmarks.reliability", description=__doc__)
    parser.add_argument("cases", metavar="CASES", type=Path, help="folder of cases with CT and mask")
    parser.add_argument("--model", metavar="NAME|FILE", help="model to test (default: default)")
    parser.add_argument(
        "--out", metavar="DIR", type=Path, default=Path("build/benchmarks"), help="default: %(default)s"
    )
    options = parser.parse_args()
    try:
        counts, name = _measure(options.cases, resolve_model(options.model).resolve())
    except SpineSegError as error:
        print(f"reliability: {error}", file=sys.stderr)
        return 1
    options.out.mkdir(parents=True, exist_ok=True)
    draw(counts, name, options.out / "reliability.png")
    doubtful = counts[1:-1]
    results = {
        "model": name,
        "bins": counts.tolist(),
        "expected_calibration_error": expected_error(counts),
        "expected_calibration_error_between_0.1_and_0.9": expected_error(doubtful),
        "share_of_voxels_between_0.1_and_0.9": float(doubtful[:, 0].sum() / counts[:, 0].sum()),
    }
    (options.out / "reliability.json").write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(results, indent=2))
    return 0


def _measure(folder: Path, model: Path) -> tuple[np.ndarray, str]:
    activate(choose_backend("auto"))
    from SpineSegLib.engine.models.network import Network

    network = Network(model, "auto")
    wanted = network.info.preprocessing
    counts = np.zeros((BINS, 3))
    with tempfile.TemporaryDirectory() as temporary:
        for case in find_cases(folder):
            prepared = prepare(case, wanted, len(network.info.labels), Path(temporary))
            for index in range(0, len(prepared.hu), max(1, round(EVERY_MM / prepared.step))):
                slices = wanted.normalise(prepared.slab(index, wanted.context))
                probability = np.minimum(network.predict(slices[None])[0].sum(axis=0), 1.0)
                counts += count(probability, np.asarray(prepared.labels[index]) > 0)
            del prepared  # Windows removes no file that is still mapped
    return counts, f"{network.info.name} {network.info.version}"


if __name__ == "__main__":
    sys.exit(main())
