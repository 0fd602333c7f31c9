"""Sweeps of latency budgets: a grid of budgets that shows where routes open, and an episode at each of its points.

The grid follows from the scenario alone, without an episode.
Shapes: C regions, W rows, K sites.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from gridai_env.arrays.types import Bool, Bools, Floats
from gridai_env.episodes.instance import Instance
from gridai_env.episodes.last_resorts import last_resort_prices
from gridai_env.scenario.compile import Compiled, compile_scenario
from gridai_env.scenario.errors import closest
from gridai_env.scenario.load import parse_scenario
from gridai_env.scenario.spec import Scenario
from gridai_env.world.state import INSTANCE_FIELDS, Params

SCALE = "scale"
CLASS_PREFIX = "class:"
MOST_POINTS = 200  # of a default grid; each is solved three times per episode


@dataclass(frozen=True)
class Sweep:
    """Latency budgets to compare, tightest first.  Raises ValueError where the grid is invalid.

    ``axis`` is "class:NAME": ``grid`` holds budgets of that class in ms, the others stay; or "scale": ``grid``
    holds factors on the budgets of all classes as the scenario has them (1: as they are).
    """

    axis: str
    grid: tuple[float, ...]

    def __post_init__(self) -> None:
        if self.axis != SCALE and not (self.axis.startswith(CLASS_PREFIX) and self.class_name):
            raise ValueError(
                f"axis = {self.axis!r}: must be {SCALE!r} or {CLASS_PREFIX + 'NAME'!r} of a class"
            )
        _check_grid(self.grid, self.unit)

    def __len__(self) -> int:
        return len(self.grid)

    @property
    def class_name(self) -> str | None:
        """The class whose budget is swept, None on the scale axis."""
        return None if self.axis == SCALE else self.axis.removeprefix(CLASS_PREFIX)

    @property
    def unit(self) -> str:
        """Unit of the grid: "ms", or "1" for factors."""
        return "1" if self.axis == SCALE else "ms"

    def budget_ms(self, i: int) -> float:
        """Return the budget of the swept class at point ``i``; NaN on the scale axis."""
        return math.nan if self.axis == SCALE else self.grid[i]

    def scale(self, i: int) -> float:
        """Return the factor on all budgets at point ``i``; NaN where one class is swept."""
        return self.grid[i] if self.axis == SCALE else math.nan


def _check_grid(grid: Sequence[float], unit: str, least: int = 1) -> None:
    """Raise ValueError where a grid is shorter than ``least``, not of positive numbers, or does not rise."""
    shown = "a factor" if unit == "1" else "ms"
    if not len(grid):
        raise ValueError("grid: is empty; give at least one budget, tightest first")
    for value in grid:
        number = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
        if not number or not 0 < value < math.inf:
            raise ValueError(
                f"grid: {value!r} is not allowed; every point must be a number above 0 [{shown}]"
            )

    for before, value in pairwise(grid):
        if value == before:
            raise ValueError(f"grid: {value!r} stands twice; every point once [{shown}]")
        if value < before:
            raise ValueError(
                f"grid: {value!r} stands after {before!r}; sort the points, tightest first [{shown}]"
            )

    if len(grid) < least:
        raise ValueError(
            f"grid: {grid[0]!r} alone; a sweep needs at least two points, tightest first [{shown}]"
        )


def make_sweep(scenario: Scenario, axis: str, grid: Sequence[float] | None = None, points: int = 12) -> Sweep:
    """Return the sweep of an axis of a scenario, by default with the grid of `default_grid`.

    Raises ValueError for an unknown axis or class, for a bad grid and for one of a single point: there is nothing
    to compare it with.
    """
    if grid is None:
        grid = default_grid(scenario, axis, points)
    sweep = Sweep(axis, tuple(grid))
    check_class(scenario, sweep.class_name)
    _check_grid(sweep.grid, sweep.unit, least=2)
    return Sweep(axis, tuple(float(value) for value in grid))


def check_class(scenario: Scenario, name: str | None) -> None:
    """Raise ValueError where the scenario has no class of this name; None (the scale axis) passes."""
    known = [task.name for task in scenario.classes]
    if name is not None and name not in known:
        raise ValueError(
            f"axis = {CLASS_PREFIX + name!r}: the scenario has no such class ({closest(name, known)})"
        )


# Default grids ------------------------------------------------------------------------------------------------


def default_grid(scenario: Scenario, axis: str, points: int = 12) -> tuple[float, ...]:
    """Return ``points`` budgets that show where routes open, tightest first.

    An *opening* is a budget at which a route away from home opens that law, state and support allow.
    Class axis: from the budget that the slowest home still meets (below the first opening: only home) to 5 %
    of path latency above the last opening; the budget of the scenario itself is a point where it lies between.
    Scale axis: from below the first opening to 1, or to the last opening where none lies below 1.
    In between stand openings, evenly by rank (on the scale axis the last of each class first); where there are
    fewer than points, the widest gaps are halved.
    Openings are rounded up to three digits (of the path's latency, or of the factor).
    Raises ValueError where more budget would open nothing, or ``points`` is below 2 or above `MOST_POINTS`.
    """
    if points < 2:
        raise ValueError(f"points = {points}: must be at least 2")
    if points > MOST_POINTS:
        raise ValueError(
            f"points = {points}: must be at most {MOST_POINTS}; give a finer grid yourself (grid)"
        )

    sweep = Sweep(axis, (1.0,))
    check_class(scenario, sweep.class_name)
    compiled = compile_scenario(scenario)
    if sweep.class_name is None:
        return _spread(*_scale_openings(compiled), points=points)

    rows = compiled.row_class == compiled.class_names.index(sweep.class_name)
    low, opens, high, processing_ms, own_ms = _class_openings(compiled, rows, sweep.class_name)
    grid = _spread(low, opens, high, opens[:0], points)
    budgets = [processing_ms + path_ms for path_ms in grid]

    # The scenario's own budget is a point, so that a sweep shows the case as it stands.
    if points > 2 and budgets[0] < own_ms < budgets[-1] and own_ms not in budgets:
        nearest = min(range(1, points - 1), key=lambda i: abs(budgets[i] - own_ms))
        budgets[nearest] = own_ms
    return tuple(sorted(budgets))


def _allowed(compiled: Compiled) -> Bool[Bools, "C W K"]:
    """Return routes [C,W,K] away from home that only latency can close."""
    geo = compiled.geography
    return geo.by_law & geo.by_state & geo.by_support & ~geo.home[:, None, :]


def _class_openings(compiled: Compiled, rows: Bools, name: str) -> tuple[float, Floats, float, float, float]:
    """Return path latencies in ms (tightest point, openings, loosest), processing and the class's own budget."""
    geo = compiled.geography
    path_ms, allowed = geo.path_ms[:, rows], _allowed(compiled)[:, rows]
    if not allowed.any():
        raise ValueError(
            f"axis = {CLASS_PREFIX + name!r}: no budget opens a route of this class (law, state or support "
            "close all, or there is no other site); sweep another class"
        )

    opens = np.unique([_round_up(x) for x in path_ms[allowed]])
    home_ms = _round_up(float(path_ms[np.broadcast_to(geo.home[:, None, :], path_ms.shape)].max()))
    first_ms = float(path_ms[allowed].min())
    low = home_ms if home_ms < first_ms else 0.9 * first_ms

    processing_ms = float(geo.processing_ms[rows][0])
    return low, opens, 1.05 * float(opens[-1]), processing_ms, float(geo.budget_ms[rows][0])


def _scale_openings(compiled: Compiled) -> tuple[float, Floats, float, Floats]:
    """Return factors on all budgets (tightest point, openings, loosest) and each class's last opening."""
    geo, allowed = compiled.geography, _allowed(compiled)
    ratio = np.where(allowed, geo.latency_ms / geo.budget_ms[None, :, None], np.inf)
    if not allowed.any():
        raise ValueError(
            f"axis = {SCALE!r}: no budget opens a route (law, state or support close all, or there is one site)"
        )

    # Budgets above the scenario's own matter only where no route opens within them.
    ratio[ratio > 1.0] = np.inf if (ratio <= 1.0).any() else ratio[ratio > 1.0]
    within = ratio[np.isfinite(ratio)]
    opens = np.unique([_round_up(x) for x in within])
    high = max(1.0, float(opens[-1]))

    by_class = [ratio[:, compiled.row_class == n] for n in range(len(compiled.class_names))]
    last = np.array([_round_up(x[np.isfinite(x)].max()) for x in by_class if np.isfinite(x).any()])
    return 0.95 * float(within.min()), opens[opens < 0.99 * high], high, last


def _spread(low: float, opens: Floats, high: float, first: Floats, points: int) -> tuple[float, ...]:
    """Return ``points`` numbers from ``low`` to ``high``: openings in between, ``first`` before the others."""
    inner = opens[(opens > low) & (opens < high)]
    wanted = points - 2
    kept = _evenly(np.intersect1d(inner, first), wanted)
    kept = np.union1d(kept, _evenly(np.setdiff1d(inner, kept), wanted - len(kept)))
    grid = [low, *kept.tolist(), high]
    while len(grid) < points:
        at = int(np.diff(grid).argmax())
        grid.insert(at + 1, 0.5 * (grid[at] + grid[at + 1]))
    return tuple(float(value) for value in grid)


def _evenly(values: Floats, count: int) -> Floats:
    """Return at most ``count`` of the sorted ``values``, evenly by rank, both ends where there is room."""
    if len(values) <= count:
        return values
    return values[np.linspace(0, len(values) - 1, count).round().astype(int)]


def _round_up(value: float, digits: int = 3) -> float:
    """Return the least number of so many digits that is not below ``value`` > 0."""
    unit = 10.0 ** (math.floor(math.log10(value)) + 1 - digits)
    rounded = round(math.ceil(value / unit - 1e-9) * unit, 12)
    return rounded if rounded >= value else math.nextafter(value, math.inf)


def scenario_at(scenario: Scenario, sweep: Sweep, i: int) -> Scenario:
    """Return the checked scenario with the budgets of point ``i`` and nothing else changed.

    On a class axis the factor ``latency.budget_scale`` is worked into the budgets of the other classes, so
    that the swept one is the grid's number of ms exactly.
    """
    check_class(scenario, sweep.class_name)
    data = scenario.model_dump()
    if sweep.class_name is None:
        data["latency"]["budget_scale"] *= sweep.grid[i]
    else:
        scale, data["latency"]["budget_scale"] = data["latency"]["budget_scale"], 1.0
        for task in data["classes"]:
            own = task["name"] == sweep.class_name
            task["latency_budget_ms"] = sweep.grid[i] if own else task["latency_budget_ms"] * scale
    return parse_scenario(data, f"scenario {scenario.name!r} at {sweep.axis} = {sweep.grid[i]:g}")


def instance_at(instance: Instance, sweep: Sweep, i: int) -> Instance:
    """Return the same episode under the budgets of point ``i``; last-resort prices are those of ``instance``.

    Everything that can be played with the given instance can be with this one.  Raises ValueError where the
    routes of the instance are not those of its scenario (a variant), since the point would open them again.
    """
    if not np.array_equal(instance.params.route_open, instance.compiled.params.route_open):
        raise ValueError(
            "instance: its open routes were changed by hand; sweep the plain instance and change the points"
        )
    compiled = compile_scenario(scenario_at(instance.scenario, sweep, i))
    _check_only_routes_differ(instance.compiled, compiled)
    params = instance.params.replace(route_open=compiled.params.route_open)
    return replace(instance, compiled=compiled, params=params)


def widest(instance: Instance, sweep: Sweep) -> Instance:
    """Return the instance with last-resort prices that hold at every point: the base of the whole sweep.

    They must exceed all that shed load or a taken accelerator could save, and more open routes can save more;
    never lower than they are.  Where points share one base, they share all prices.
    """
    wide = instance_at(instance, sweep, len(sweep) - 1)
    shed, short = last_resort_prices(wide.params, wide.exogenous.map(lambda x: x[None]))
    old = instance.params
    return replace(
        instance,
        params=old.replace(
            shed_usd_per_mwh=np.maximum(old.shed_usd_per_mwh, shed[0]),
            gpu_short_usd_per_gpuh=np.maximum(old.gpu_short_usd_per_gpuh, short[0]),
        ),
    )


def _check_only_routes_differ(a: Compiled, b: Compiled) -> None:
    """Raise RuntimeError where budgets would have changed any constant but the open routes."""
    names = (n for n in Params.names() if n != "route_open" and n not in INSTANCE_FIELDS)
    other = [n for n in names if not np.array_equal(getattr(a.params, n), getattr(b.params, n))]
    if other or a.shape != b.shape:
        raise RuntimeError(f"budgets changed more than routes: {', '.join(other) or 'sizes'}")
