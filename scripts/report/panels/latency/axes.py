"""The axes of a frontier as the plots use them: grids, labels, and means of columns over seeds along a grid."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gridai_env.analysis.statistics import Interval, mean_interval
from gridai_env.arrays.types import Float, Floats
from scripts.report.data.names import plain, policy_colour, policy_label, rounded, safe, words
from scripts.report.data.numbers import number
from scripts.report.data.parts import Choice
from scripts.report.data.run_folders import Table
from scripts.report.drawing import Drawing, drawing, stroke

SCALE = "scale"
SHARE = "%{y:.1f} %"  # hover text of shares


@dataclass(frozen=True)
class Axis:
    """A sweep: one class's budgets in ms, or factors on all budgets."""

    name: str  # "scale" or "class:NAME"
    points: tuple[int, ...]
    grid: Float[Floats, " P"]
    seeds: tuple[str, ...]

    @property
    def is_scale(self) -> bool:
        """Whether all budgets are scaled together."""
        return self.name == SCALE

    @property
    def class_name(self) -> str:
        """The class whose budget is swept; meaningless where all are."""
        return self.name.removeprefix("class:")

    @property
    def label(self) -> str:
        """For a selector: plain text."""
        return "all budgets together" if self.is_scale else f"budget of {words(self.class_name)}"

    @property
    def title(self) -> str:
        """For the axis of a plot."""
        if self.is_scale:
            return "factor on all latency budgets (1: as in the scenario)"
        return f"latency budget of {plain(self.class_name)} [ms]"

    def at(self, i: int) -> str:
        """Return a point in few characters."""
        return f"{number(float(self.grid[i]))}{'' if self.is_scale else ' ms'}"


def axes_of(frontier: Table) -> list[Axis]:
    """Return the axes of ``frontier.csv``, in the order of the file."""
    axes = []
    for name in frontier.unique("axis"):
        rows = frontier.where(axis=name)
        column = "scale" if name == SCALE else "budget_ms"
        grid = dict(zip(map(int, rows.text("point")), rows.numbers(column), strict=True))
        points = sorted(grid)
        axes.append(
            Axis(name, tuple(points), np.array([grid[i] for i in points]), tuple(rows.unique("seed")))
        )
    return axes


# Values along an axis ---------------------------------------------------------------------------------------


def along(rows: Table, axis: Axis, column: str) -> Float[Floats, "S P"]:
    """Return a column by seed and point; NaN where a point is missing.  ``rows`` holds one row for each."""
    out = np.full((len(axis.seeds), len(axis.points)), np.nan)
    values = rows.numbers(column)
    for seed, point, value in zip(rows.text("seed"), rows.text("point"), values, strict=True):
        if seed in axis.seeds and int(point) in axis.points:
            out[axis.seeds.index(seed), axis.points.index(int(point))] = value
    return out


def intervals(values: Float[Floats, "S P"]) -> list[Interval]:
    """Return the mean over seeds with its interval at each point; NaN where there is none."""
    nothing = Interval(float("nan"), float("nan"), float("nan"))
    columns = [column[np.isfinite(column)] for column in values.T]
    return [mean_interval(column, draws=2_000) if len(column) else nothing for column in columns]


def means(values: Float[Floats, "S P"]) -> list[float]:
    """Return the mean over the seeds at each point; NaN where there is none."""
    columns = [column[np.isfinite(column)] for column in values.T]
    return [float(column.mean()) if len(column) else float("nan") for column in columns]


def percents(values: Float[Floats, "S P"]) -> list[float | None]:
    """Return means of shares over the seeds, in per cent."""
    return rounded((100.0 * value for value in means(values)), 4)


# Selectors and plots ----------------------------------------------------------------------------------------


def axis_choice(axes: Sequence[Axis]) -> Choice:
    """Return the selector of the axis: the first class at first, else the scale."""
    first = next((axis.name for axis in axes if not axis.is_scale), axes[0].name)
    return Choice("axis", "Sweep", [(axis.name, axis.label) for axis in axes], first)


def class_label(name: str) -> str:
    """Return what a class is called: plain text."""
    return "all classes" if name == "all" else words(name)


def class_choice(classes: Iterable[str]) -> Choice:
    """Return the selector of the class."""
    return Choice("class", "Class", [(name, class_label(name)) for name in classes])


def axis_store(axes: Sequence[Axis]) -> dict[str, Any]:
    """Return grids and titles of the axes, as plots of `axis_drawing` need them."""
    grids = {f"{axis.name}|x": rounded(axis.grid) for axis in axes}
    return grids | {f"{axis.name}|title": axis.title for axis in axes}


def axis_drawing(height: int, **layout: Any) -> Drawing:
    """Return an empty figure over the selected axis."""
    out = drawing(height, hovermode="x unified", **layout)
    out.bind(xaxis_title_text="{axis}|title")
    return out


def add_curve(out: Drawing, key: str, name: str = "", colour: str = "", **look: Any) -> None:
    """Add a line over the selected axis; with a colour it has dots at its points."""
    if colour:
        look |= {"mode": "lines+markers", "line": stroke(colour), "marker": {"size": 6}}
    named = {"name": name} if name else {}
    out.add("scatter", {"x": "{axis}|x", "y": key}, **{"mode": "lines", **named, **look})


def add_policies(out: Drawing, keys: Mapping[str, str], hover: str, prefix: str = "") -> None:
    """Add a dashed line over the selected axis for each policy, by its key of the store."""
    for policy, key in keys.items():
        line = stroke(policy_colour(policy), 1.6, dash="dash")
        add_curve(out, key, prefix + safe(policy_label(policy)), line=line, hovertemplate=hover)
