"""The axes of a frontier as the plots use them: grids, labels, and means of columns over seeds along a grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gridai_env.analysis.statistics import Interval, mean_interval
from scripts.report.data.look import plain
from scripts.report.data.numbers import number
from scripts.report.data.parts import Choice
from scripts.report.data.run_folders import Floats, Table

SCALE = "scale"


@dataclass(frozen=True)
class Axis:
    """A sweep: one class's budgets in ms, or factors on all budgets."""

    name: str  # "scale" or "class:NAME"
    points: tuple[int, ...]
    grid: Floats  # [P]
    seeds: tuple[str, ...]

    @property
    def is_scale(self) -> bool:
        """Whether all budgets are scaled together."""
        return self.name == SCALE

    @property
    def label(self) -> str:
        """For a selector: plain text."""
        class_name = self.name.removeprefix("class:").replace("_", " ")
        return "all budgets together" if self.is_scale else f"budget of {class_name}"

    @property
    def title(self) -> str:
        """For the axis of a plot."""
        if self.is_scale:
            return "factor on all latency budgets (1: as in the scenario)"
        return f"latency budget of {plain(self.name.removeprefix('class:'))} [ms]"

    @property
    def unit(self) -> str:
        """Of the grid."""
        return "" if self.is_scale else " ms"

    def at(self, i: int) -> str:
        """A point in few characters."""
        return f"{number(float(self.grid[i]))}{self.unit}"


def axes_of(frontier: Table) -> list[Axis]:
    """The axes of ``frontier.csv``, in the order of the file."""
    axes = []
    for name in frontier.unique("axis"):
        rows = frontier.where(axis=name)
        column = "scale" if name == SCALE else "budget_ms"
        grid = dict(zip(rows.text("point"), rows.numbers(column), strict=True))
        points = sorted(grid, key=int)
        values = np.array([grid[point] for point in points])
        axes.append(Axis(name, tuple(map(int, points)), values, tuple(rows.unique("seed"))))
    return axes


def along(rows: Table, axis: Axis, column: str) -> Floats:
    """A column by seed and point, [S,P]; NaN where a point is missing. ``rows`` holds one row for each."""
    out = np.full((len(axis.seeds), len(axis.points)), np.nan)
    values = rows.numbers(column)
    for seed, point, value in zip(rows.text("seed"), rows.text("point"), values, strict=True):
        if seed in axis.seeds and int(point) in axis.points:
            out[axis.seeds.index(seed), axis.points.index(int(point))] = value
    return out


def complete(values: Floats) -> Floats:
    """The rows of [S,P] without a missing point."""
    return values[np.isfinite(values).all(axis=1)]


def intervals(values: Floats) -> list[Interval]:
    """Mean over seeds with its interval at each point of [S,P]; NaN where there is none."""
    nothing = Interval(float("nan"), float("nan"), float("nan"))
    columns = [column[np.isfinite(column)] for column in values.T]
    return [mean_interval(column, draws=2_000) if len(column) else nothing for column in columns]


def means(values: Floats) -> list[float]:
    """Mean over the seeds at each point of [S,P]."""
    return [interval.value for interval in intervals(values)]


def pick(options: Sequence[Axis]) -> str:
    """The axis that is shown at first: the first class, else the scale."""
    classes = [axis.name for axis in options if not axis.is_scale]
    return classes[0] if classes else options[0].name


def axis_choice(axes: Sequence[Axis]) -> Choice:
    """Selector of the axis."""
    return Choice("axis", "Sweep", [(axis.name, axis.label) for axis in axes], pick(axes))


def class_choice(classes: Sequence[str], first: str | None = None) -> Choice:
    """Selector of the class."""
    options = [(name, "all classes" if name == "all" else name.replace("_", " ")) for name in classes]
    return Choice("class", "Class", options, first)
