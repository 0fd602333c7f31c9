"""One measured figure, its target, and how repeated measurements become one."""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

# What the project set out to reach: goal, comparison, and what the first version had where that is known.
TARGETS: dict[str, tuple[float, str] | tuple[float, str, float]] = yaml.safe_load(
    Path(__file__).with_name("targets.yaml").read_text(encoding="utf-8")
)


@dataclass(frozen=True)
class Figure:
    """One measured figure; without a value it was not measured."""

    name: str
    value: float | None
    unit: str
    note: str = ""

    def row(self) -> dict[str, str]:
        """Return the cells of the printed table by column."""
        target = TARGETS.get(self.name)
        goal, first = "" if target is None else f"{target[1]} {target[0]:,g}", ""
        if target is not None and len(target) == 3:
            first = f"{target[2]:,g}"
        value, verdict = "not measured", ""
        if self.value is not None:
            value = f"{self.value:,.4g}"
            verdict = "" if target is None else ("yes" if self._met(self.value, *target[:2]) else "no")
        cells = {"figure": self.name, "median": value, "unit": self.unit, "target": goal, "met": verdict}
        return cells | {"first version": first, "range, details": self.note}

    def line(self) -> str:
        """Return one row of the printed table."""
        return f"| {' | '.join(self.row().values())} |"

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
