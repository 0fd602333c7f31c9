"""The axes of a frontier with their grids, as a user names them."""

from __future__ import annotations

from collections.abc import Sequence

from gridai_env.analysis.latency_budgets import MOST_POINTS, Sweep, make_sweep
from gridai_env.scenario.spec import Scenario
from scripts.runs.command import InputError, refuse_doubles

POINTS = 12  # of a grid, where no number is given


def find_sweeps(
    scenario: Scenario, axes: Sequence[str] | None, grid: Sequence[float] | None, points: int | None
) -> list[Sweep]:
    """Return the sweeps of some axes (None: of all on which a route opens); raises InputError for bad ones."""
    names = axes or ["scale", *(task.name for task in scenario.classes)]
    check_grids(names, grid, points)

    sweeps = []
    for name in names:
        try:
            axis = name if name == "scale" else f"class:{name.removeprefix('class:')}"
            sweeps.append(make_sweep(scenario, axis, grid, points=points or POINTS))
        except ValueError as error:
            if axes:
                raise InputError(f"--axes {name}: {error}") from error
            print(f"left out: {error}")  # by default, every axis on which there is something to see
    if not sweeps:
        raise InputError("no latency budget opens any route in this scenario: there is no frontier")
    return sweeps


def check_grids(names: Sequence[str], grid: Sequence[float] | None, points: int | None) -> None:
    """Raise InputError where axes and their points do not go together."""
    refuse_doubles("--axes", names)
    if grid is not None and (len(names) != 1 or points is not None):
        raise InputError("--grid: belongs to a single axis (--axes NAME) and excludes --points")
    if points is not None and points > MOST_POINTS:
        raise InputError(f"--points {points}: must be at most {MOST_POINTS}; --grid takes own points")
