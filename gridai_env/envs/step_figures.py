"""The figures of a step in the order of `KEYS`, one row each: what ``info`` shows and what totals add up."""

from __future__ import annotations

from functools import reduce
from operator import add
from typing import Any

import numpy as np

from gridai_env.arrays.types import Array, Float
from gridai_env.world.physics import billed_kg
from gridai_env.world.state import Exogenous, Flows, Outcome, Params, State
from gridai_env.world.terms import BILL, TERMS

PHYSICAL = (
    "benefit_usd", "emissions_average_kg", "emissions_marginal_kg",
    "water_l", "served_gpuh", "dropped_gpuh", "arrived_gpuh",
    "backlog_gpuh", "import_mwh", "export_mwh", "curtailed_mwh", "shed_mwh", "line_excess_mwh", "carbon_excess_kg",
)  # fmt: skip
TERM_KEYS = tuple(f"terms/{name}_usd" for name in TERMS)
# `emissions_kg` is at the intensity that is billed; `bill_usd` is what energy and its emissions cost; `cost` is the
# quantity of the scenario's constraint, 0 without one.  `line_excess_mwh` leaves out what contracts do not match, and
# knows no hard line: above one load is shed.
KEYS = (*PHYSICAL, "cost", "emissions_kg", "bill_usd", *TERM_KEYS)
EPISODE_KEYS = tuple(f"episode/{key}" for key in KEYS)
INFO_KEYS = (*KEYS, *EPISODE_KEYS)
_BACKLOG = KEYS.index("backlog_gpuh")


def figures_of(p: Params, after: State, exo: Exogenous, flows: Flows, outcome: Outcome) -> Array:
    """Return the figures of a step with input ``exo`` that ended in the state ``after``, [len(KEYS),B].

    All are sums over the step, but the backlog, which is what waits at its end.
    """
    billed = billed_kg(p, outcome)
    curtailed_mw = exo.renewable_available_mw - flows.renewable_mw

    excess_mwh = p.dt_h * _sum(p.limits_import * flows.line_excess_mw) if p.has_lines else 0.0 * billed
    carbon_excess_kg = flows.carbon_excess_kg if p.has_carbon_budget else 0.0 * billed
    dropped_gpuh = _sum(flows.dropped_gpuh)
    cost = 0.0 * billed
    if p.has_constraint:
        parts = (excess_mwh, carbon_excess_kg, dropped_gpuh)
        cost = reduce(add, [p.constraint[i] * part for i, part in enumerate(parts)])

    # In the order of KEYS.
    rows = [
        outcome.benefit_usd,
        outcome.emissions_average_kg,
        outcome.emissions_marginal_kg,
        outcome.water_l,
        _sum(flows.served_gpuh),
        dropped_gpuh,
        _sum(exo.arrivals_gpuh),
        _sum(after.backlog_gpuh),
        p.dt_h * _sum(flows.import_mw),
        p.dt_h * _sum(flows.export_mw),
        p.dt_h * _sum(curtailed_mw),
        p.dt_h * _sum(flows.shed_mw),
        excess_mwh,
        carbon_excess_kg,
        cost,
        billed,
        -reduce(add, [outcome.terms_usd[name] for name in BILL]),
        *[outcome.terms_usd[name] for name in TERMS],
    ]
    return p.xp.concatenate([row[None] for row in rows])


def _sum(x: Array) -> Float[Array, " B"]:
    """Sum [B] over all axes but the first, number by number: to the same bits in any batch of arrays."""
    if not isinstance(x, np.ndarray):
        return x.sum(tuple(range(1, x.ndim)))
    batch = len(x)
    if batch == 1:
        return np.add.accumulate(x.reshape(-1))[-1:]
    # The batch is the innermost axis in memory, so each environment adds one number after the other.
    return np.add.reduce(np.ascontiguousarray(np.moveaxis(x, 0, -1)).reshape(-1, batch), axis=0)


def add_step(totals: Array, figures: Array) -> Any:
    """Return the totals [len(KEYS),B] with one more step; the backlog is that of the last step."""
    after = totals + figures
    after[_BACKLOG] = figures[_BACKLOG]
    return after
