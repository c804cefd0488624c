"""`python -m Testing.Benchmarks.staged segment ... --json` is the command `spineseg` that also tells what of its stage
"network" the network itself took, as "predict_seconds".
"""

from __future__ import annotations

import sys
import time
from typing import Any

import numpy as np
from SpineSegLib.cli import console, main
from SpineSegLib.engine.models import network

print_json = console.print_json


class TimedNetwork(network.Network):
    """A network that knows how long it has worked."""

    seconds = 0.0

    def predict(self, x: np.ndarray) -> np.ndarray:
        start = time.perf_counter()
        result = super().predict(x)
        TimedNetwork.seconds += time.perf_counter() - start
        return result


def print_all(values: dict[str, Any]) -> None:
    """Print what the command prints and the network's time."""
    print_json(values | {"predict_seconds": TimedNetwork.seconds})


if __name__ == "__main__":
    # the command looks them up when it runs
    network.Network, console.print_json = TimedNetwork, print_all
    sys.exit(main())
