"""What a model wants its input to be: spacing, neighbouring slices, intensity window."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

AIR_HU = -1024.0


@dataclass(frozen=True)
class Preprocessing:
    """Settings between a CT in HU and the network's input.

    `spacing`: in-plane pixel size in mm the slices are resampled to; None keeps the stored pixels (Kim et al. 2020).
    `context`: offsets in mm along the patient's axis of the slices given as channels, (0.0,) for one slice.
    `window`: lowest and highest HU, mapped to 0 and 1; values outside are clipped.
    `bits`: quantisation within the window (8 as in Kim et al. 2020, 12-bit CT to 8 bits), None for none.
    `threshold`: foreground probability at and above which a voxel belongs to the segmentation.
    """

    spacing: float | None = 1.0
    context: tuple[float, ...] = (-2.0, 0.0, 2.0)
    window: tuple[float, float] = (-200.0, 1000.0)
    bits: int | None = None
    threshold: float = 0.5

    def __post_init__(self) -> None:
        if self.spacing is not None and not 0.1 <= self.spacing <= 10.0:
            raise ValueError(f"spacing must be between 0.1 and 10 mm, not {self.spacing}")
        if 0.0 not in self.context or len(self.context) > 15 or not np.isfinite(self.context).all():
            raise ValueError("context must hold 1 to 15 offsets in mm, 0 among them")
        if not self.window[0] < self.window[1] or not np.isfinite(self.window).all():
            raise ValueError("window must rise")
        if self.bits is not None and not 1 <= self.bits <= 16:
            raise ValueError("bits must be between 1 and 16")
        if not 0.0 < self.threshold < 1.0:
            raise ValueError("threshold must lie between 0 and 1")

    def normalise(self, hu: np.ndarray) -> np.ndarray:
        """Map HU (any shape) to float32 in [0, 1], NaN to air."""
        low, high = self.window
        scaled = np.array(hu, dtype=np.float32)
        np.copyto(scaled, AIR_HU, where=np.isnan(scaled))
        np.clip(scaled, low, high, out=scaled)
        scaled -= low
        scaled /= np.float32(high - low)
        if self.bits is not None:
            levels = np.float32(2**self.bits - 1)
            scaled = np.round(scaled * levels) / levels
        return scaled
