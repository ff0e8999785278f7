"""Figures with goals, printed one a line."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Figure:
    """A measured value and what it should be; `note` says how wide it spread, or what it is made of."""

    name: str
    value: float
    operator: Literal[">=", "<="]
    goal: float
    note: str = ""

    @property
    def reached(self) -> bool:
        """Whether the goal is reached."""
        return self.value >= self.goal if self.operator == ">=" else self.value <= self.goal

    def __str__(self) -> str:
        note = f"  ({self.note})" if self.note else ""
        return f"figure {self.name} {self.value:.3g} goal {self.operator} {self.goal:g}{note}"


def ratio(name: str, ratios: Sequence[float], operator: Literal[">=", "<="], goal: float) -> Figure:
    """The median of several ratios, each from one pair of runs side by side."""
    spread = f"median of {len(ratios)}, {min(ratios):.3g} to {max(ratios):.3g}"
    return Figure(name, statistics.median(ratios), operator, goal, spread)
