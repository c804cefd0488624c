"""What was measured, as a table: medians over the rounds, and ratios to the baseline."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any


@dataclass(frozen=True)
class Quantity:
    """A column: `key` in the rounds' numbers, `heading` with its unit, `digits` after the point.

    `compared`: whether the ratio to the baseline stands beside it.
    """

    key: str
    heading: str
    digits: int
    compared: bool = True


@dataclass(frozen=True)
class Candidate:
    """One way to do the work: `rounds` has its numbers by quantity, one entry a round; `device` what it ran on.

    A candidate that could not be measured has no rounds and a `problem`.
    """

    name: str
    device: str = ""
    rounds: tuple[Mapping[str, float], ...] = ()
    problem: str = ""


@dataclass(frozen=True)
class Table:
    """Candidates measured in turn, so that their n-th rounds belong together.

    `baseline` names one of them, None where nothing is compared.
    """

    title: str
    conditions: str
    quantities: tuple[Quantity, ...]
    candidates: tuple[Candidate, ...]
    baseline: str | None

    def median(self, candidate: Candidate, key: str) -> float | None:
        """Median over the rounds, None where nothing was measured."""
        values = [numbers[key] for numbers in candidate.rounds]
        return median(values) if values else None

    def ratio(self, candidate: Candidate, key: str) -> float | None:
        """How many times less than the baseline the candidate needs: median of the ratios of each round.

        Ratios are taken round by round because the speed of a machine drifts. None without a measured baseline.
        """
        if self.baseline is None:
            return None
        baseline = next((other.rounds for other in self.candidates if other.name == self.baseline), ())
        ratios = [base[key] / numbers[key] for base, numbers in zip(baseline, candidate.rounds, strict=False)]
        return median(ratios) if ratios else None

    def markdown(self) -> str:
        """The table with its title; each cell is the median, and the ratio in brackets."""
        rounds = max((len(candidate.rounds) for candidate in self.candidates), default=0)
        lines = [
            f"## {self.title}",
            "",
            f"{self.conditions} Rounds: {rounds}.",
            "",
            "| " + " | ".join(["", "device", *(quantity.heading for quantity in self.quantities)]) + " |",
            "|---|---|" + "---:|" * len(self.quantities),
        ]
        for candidate in self.candidates:
            if candidate.rounds:
                cells = [candidate.device, *(self._cell(candidate, quantity) for quantity in self.quantities)]
            else:
                cells = [candidate.problem, *("–" for _ in self.quantities)]
            lines.append("| " + " | ".join([candidate.name, *cells]) + " |")
        return "\n".join(lines) + "\n"

    def as_dict(self) -> dict[str, Any]:
        """Everything for JSON, the single rounds included."""
        return {
            "title": self.title,
            "conditions": self.conditions,
            "baseline": self.baseline,
            "rows": [
                {
                    "name": candidate.name,
                    "device": candidate.device,
                    "problem": candidate.problem,
                    "median": {q.key: self.median(candidate, q.key) for q in self.quantities},
                    "ratio": {q.key: self.ratio(candidate, q.key) for q in self.quantities if q.compared},
                    "rounds": [dict(numbers) for numbers in candidate.rounds],
                }
                for candidate in self.candidates
            ],
        }

    def _cell(self, candidate: Candidate, quantity: Quantity) -> str:
        ratio = self.ratio(candidate, quantity.key) if quantity.compared else None
        shown = f"{self.median(candidate, quantity.key):.{quantity.digits}f}"
        return shown if ratio is None else f"{shown} ({ratio:.2f}×)"
