"""One measured figure, its target, and how repeated measurements become one."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

# What the project set out to reach: (figure, comparison).
TARGETS: dict[str, tuple[float, str]] = {
    "FourMarkets, 1 environment": (4_000.0, ">="),
    "Global, 1 environment": (2_500.0, ">="),
    "FourMarkets, 256 environments": (80_000.0, ">="),
    "Global, 256 environments": (40_000.0, ">="),
    "FourMarkets reset": (20.0, "<="),
    "Global reset": (20.0, "<="),
    "import gridai_env": (0.5, "<="),
    "Global environment, memory": (300.0, "<="),
    "TwoSites optimum": (2.0, "<="),
    "MicrogridProsumer optimum": (20.0, "<="),
    "FourMarkets optimum": (20.0, "<="),
    "Global optimum": (120.0, "<="),
    "Global optimum, share of building": (20.0, "<="),
    "TwoSites, MPC decision": (0.1, "<="),
    "FourMarkets, MPC decision": (0.3, "<="),
    "EnergyGeography frontier, 2 workers": (600.0, "<="),
    "EnergyGeography frontier, parallel efficiency": (0.8, ">="),
    "MicrogridProsumer optimum to 0.1 %": (60.0, "<="),
    "Global optimum, carbon budget 80 %": (300.0, "<="),
    "Global simulator, cpu": (150_000.0, ">="),
    "Global simulator, cuda": (50e6, ">="),
    "Global, memory of 8,192 environments, cpu": (8.0, "<="),
    "Global, memory of 8,192 environments, cuda": (8.0, "<="),
    "FourMarkets PPO, cpu": (10_000.0, ">="),
    "FourMarkets PPO, cuda": (500_000.0, ">="),
    "FourMarkets PPO over plain SB3, cpu": (1.0, ">="),
    "FourMarkets PPO over plain SB3, cuda": (10.0, ">="),
    "decision, 1 environment": (1.0, "<="),
}


@dataclass(frozen=True)
class Figure:
    """One measured figure; without a value it was not measured."""

    name: str
    value: float | None
    unit: str
    note: str = ""

    def line(self) -> str:
        """Return one row of the printed table."""
        target = TARGETS.get(self.name)
        goal = "" if target is None else f"{target[1]} {target[0]:,g}"
        if self.value is None:
            return f"| {self.name} | not measured | {self.unit} | {goal} |  | {self.note} |"
        verdict = "" if target is None else ("yes" if self._met(self.value, *target) else "no")
        return f"| {self.name} | {self.value:,.4g} | {self.unit} | {goal} | {verdict} | {self.note} |"

    @staticmethod
    def _met(value: float, goal: float, comparison: str) -> bool:
        return value >= goal if comparison == ">=" else value <= goal


def median_of(measure: Callable[[], float], repetitions: int) -> tuple[float, str]:
    """Return median of repeated measurements, and their range as a note."""
    values = [measure() for _ in range(repetitions)]
    return statistics.median(values), spread_of(values)


def spread_of(values: Sequence[float]) -> str:
    """Return the range of repeated measurements as text."""
    return f"{min(values):,.4g} to {max(values):,.4g}"
