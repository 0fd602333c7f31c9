"""Check given flows against the limits, as is done before a plan is scored.

The limits are `physics.slacks` and `physics.equalities`, flows >= 0, closed routes, and those that optimisers keep by
binary variables.  Relative to a size in its own unit each, so that one tolerance serves all.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gridai_env.arrays.types import Floats
from gridai_env.world import physics
from gridai_env.world.state import Exogenous, Flows, Params, State


def violations(
    p: Params, state: State, exo: Exogenous, flows: Flows, after: State
) -> dict[str, NDArray[np.float64]]:
    """Return by how much flows break each limit (0: kept), [B,...] in the limit's own unit."""
    sums = physics.totals(p, flows, exo, state)
    slacks = physics.slacks(p, state, flows, exo, after, sums)
    xp = p.xp
    broken = {name: xp.maximum(-slack, 0.0) for name, slack in slacks.items()}
    broken |= {name: xp.abs(gap) for name, gap in physics.equalities(flows, sums).items()}
    broken |= {f"{name} >= 0": xp.maximum(-getattr(flows, name), 0.0) for name in Flows.names()}
    broken["closed route"] = flows.served_gpuh * (1.0 - p.route_open)
    return broken


# Unit of each limit; those not listed are in MW.
UNITS = {
    "queue": "work",
    "backlog": "work",
    "gpus": "gpus",
    "gpu shortfall within jobs": "gpus",
    "gpu shortfall within fault": "gpus",
    "jobs fit": "gpus",
    "job once": "jobs",
    "job window": "jobs",
    "whole jobs": "jobs",
    "battery full": "mwh",
    "battery empty": "mwh",
    "battery target": "mwh",
    "relocated": "gpuh",
    "relocated within served": "gpuh",
    "warmed": "gpuh",
    "closed route": "gpuh",
    "carbon budget": "kg",
    "served_gpuh >= 0": "gpuh",
    "dropped_gpuh >= 0": "work",
    "started >= 0": "jobs",
    "gpu_short >= 0": "gpus",
    "relocated_gpuh >= 0": "gpuh",
    "warmed_gpuh >= 0": "gpuh",
    "battery_short_mwh >= 0": "mwh",
    "carbon_excess_kg >= 0": "kg",
}


def relative_violations(p: Params, state: State, exo: Exogenous, flows: Flows) -> dict[str, float]:
    """Return the largest violation of each limit by flows [B,...], over the size of the limit (0: kept).

    A value that is not a number shows as NaN.
    """
    after = physics.next_state(p, state, flows, exo)
    broken = violations(p, state, exo, flows, after) | _binary_violations(p, flows)
    sizes = _sizes(p, state, exo)
    return {
        name: float(np.max(amount / sizes[UNITS.get(name, "mw")], initial=0.0))
        for name, amount in broken.items()
        if np.size(amount)
    }


def _binary_violations(p: Params, flows: Flows) -> dict[str, Floats]:
    """Return by how much flows break either-or decisions: [B,J,K] starts, [B,K] MW."""
    generation = flows.generation_mw
    return {
        "whole jobs": np.abs(flows.started - np.rint(flows.started)),
        "charge or discharge": np.minimum(flows.charge_mw, flows.discharge_mw),
        "import or export": np.minimum(flows.import_mw, flows.export_mw),
        "generator minimum load": np.minimum(generation, np.maximum(p.generator_min_mw - generation, 0.0)),
    }


def _sizes(p: Params, state: State, exo: Exogenous) -> dict[str, Floats]:
    """Return the sizes to measure by: of a site [K] power, energy, accelerators and work, of the rest one number."""
    gpuh = p.gpus * p.speed * p.dt_h
    it_mw = p.gpus * p.busy_kw_per_gpu / 1000.0
    power = (it_mw, p.base_load_mw, p.charge_limit_mw, p.generator_max_mw)
    site_mw = np.maximum.reduce([np.asarray(x, dtype=float) for x in power])

    site_mw = np.maximum(site_mw, exo.renewable_available_mw.max(0))
    # Work is compared with what a site does in a step, so that a tiny demand does not inflate the error.
    most_work = max(float(physics.work_on_hand_gpuh(state, exo).max()), float(gpuh.max()))

    # Of carbon the budget and what a site may emit in the step.
    most_kg = float((site_mw * p.dt_h * physics.billed_carbon_kg_per_mwh(p, exo)).max())
    budget_kg = float(p.carbon_budget_kg) if p.has_carbon_budget else 0.0

    return {
        "mw": site_mw,
        "mwh": np.maximum(site_mw * p.dt_h, p.battery_max_mwh),
        "gpus": p.gpus,
        "gpuh": gpuh,
        "work": np.array(most_work),
        "jobs": np.array(1.0),
        "kg": np.array(budget_kg + most_kg or 1.0),
    }
