"""The figures of a step in the order of `KEYS`, one row each: what ``info`` shows and what totals add up."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gridai_env.physics import billed_kg
from gridai_env.simulator import Simulator
from gridai_env.state import Exogenous, Flows, Outcome
from gridai_env.terms import BILL, TERMS

PHYSICAL = (
    "benefit_usd",
    "emissions_average_kg",
    "emissions_marginal_kg",
    "water_l",
    "served_gpuh",
    "dropped_gpuh",
    "arrived_gpuh",
    "backlog_gpuh",
    "import_mwh",
    "export_mwh",
    "curtailed_mwh",
    "shed_mwh",
)
TERM_KEYS = tuple(f"terms/{name}_usd" for name in TERMS)
# `emissions_kg` is at the intensity that is billed; `bill_usd` is what energy and its emissions cost.
KEYS = (*PHYSICAL, "emissions_kg", "bill_usd", *TERM_KEYS)
EPISODE_KEYS = tuple(f"episode/{key}" for key in KEYS)
_BACKLOG = KEYS.index("backlog_gpuh")
_BILL = KEYS.index("bill_usd")
_BILL_ROWS = np.array([KEYS.index(f"terms/{name}_usd") for name in BILL])


def step_figures(
    simulator: Simulator, before: Exogenous, flows: Flows, outcome: Outcome
) -> NDArray[np.float64]:
    """Return the figures of the step just made, [len(KEYS),B]; ``before`` is the input of that step.

    All are sums over the step, but the backlog, which is what waits at its end.
    """
    billed = billed_kg(simulator.params, outcome)
    curtailed_mw = before.renewable_available_mw - flows.renewable_mw
    dt_h = simulator.params.dt_h
    figures = np.concatenate(
        [
            outcome.benefit_usd,
            outcome.emissions_average_kg,
            outcome.emissions_marginal_kg,
            outcome.water_l,
            _sum(flows.served_gpuh),
            _sum(flows.dropped_gpuh),
            _sum(before.arrivals_gpuh),
            _sum(simulator.state.backlog_gpuh),
            dt_h * _sum(flows.import_mw),
            dt_h * _sum(flows.export_mw),
            dt_h * _sum(curtailed_mw),
            dt_h * _sum(flows.shed_mw),
            billed,
            billed,  # in the place of the bill, which is filled in below
            *[outcome.terms_usd[name] for name in TERMS],
        ]
    ).reshape(len(KEYS), -1)
    figures[_BILL] = -_sum(figures[_BILL_ROWS].T)
    return figures


def _sum(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sum [B] over all axes but the first, number by number: to the same bits in any batch."""
    batch = len(x)
    if batch == 1:
        return np.add.accumulate(x.reshape(-1))[-1:]
    # The batch is the innermost axis in memory, so each environment adds one number after the other.
    return np.add.reduce(np.ascontiguousarray(np.moveaxis(x, 0, -1)).reshape(-1, batch), axis=0)


def add_step(totals: NDArray[np.float64], figures: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the totals [len(KEYS),B] with one more step; the backlog is that of the last step."""
    after = totals + figures
    after[_BACKLOG] = figures[_BACKLOG]
    return after
