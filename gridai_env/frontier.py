"""The grid of the energy-latency frontier: one episode, played under several latency budgets.

A `Sweep` is a grid of budgets: those of one class in ms, or one factor on the budgets of all.  `instance_at` is
the *same* episode under the budgets of a point: prices, demand, weather, jobs and last-resort prices stay, only
the open routes change.  Sets of open routes nest along the grid (a larger budget closes nothing), so V = -max
benefit, F_cost and F_co2 never rise along it (arXiv 2604.27855: return on latency; `gridai_env.returns`).

    sweep = make_sweep(instance.scenario, "class:interactive")
    base = widest(instance, sweep)
    points = [instance_at(base, sweep, i) for i in range(len(sweep))]
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from gridai_env.compile import Compiled, compile_scenario
from gridai_env.guards import last_resort_prices
from gridai_env.instance import Instance
from gridai_env.scenarios import parse_scenario
from gridai_env.spec import Scenario
from gridai_env.state import INSTANCE_FIELDS, Params
from gridai_env.sweep import Sweep, check_class, default_grid, make_sweep

__all__ = [
    "Sweep",
    "default_grid",
    "instance_at",
    "instances_at",
    "make_sweep",
    "scenario_at",
    "widest",
]


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


def instances_at(instance: Instance, sweep: Sweep) -> list[Instance]:
    """Return the episode at every point of the grid."""
    return [instance_at(instance, sweep, i) for i in range(len(sweep))]


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
