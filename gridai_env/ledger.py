"""The figures of a step in the order of `KEYS`, one row each: what ``info`` shows and what totals add up."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

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
    billed_kg = (
        outcome.emissions_marginal_kg if simulator.params.bill_marginal else outcome.emissions_average_kg
    )
    work = _totals([flows.dropped_gpuh, before.arrivals_gpuh, simulator.state.backlog_gpuh])
    curtailed_mw = before.renewable_available_mw - flows.renewable_mw
    energy_mwh = simulator.params.dt_h * _totals(
        [flows.import_mw, flows.export_mw, curtailed_mw, flows.shed_mw]
    )
    figures = np.concatenate(
        [
            outcome.benefit_usd,
            outcome.emissions_average_kg,
            outcome.emissions_marginal_kg,
            outcome.water_l,
            np.add.reduce(flows.served_gpuh.reshape(len(curtailed_mw), -1), axis=1),
            *work,
            *energy_mwh,
            billed_kg,
            billed_kg,
            *[outcome.terms_usd[name] for name in TERMS],
        ]
    ).reshape(len(KEYS), -1)
    # One row per environment, so that the order of summation does not depend on their number.
    figures[_BILL] = -np.add.reduce(np.ascontiguousarray(figures[_BILL_ROWS].T), axis=1)
    return figures


def _totals(arrays: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Sums [n,B] of n arrays [B,...] of one shape over all but the first axis."""
    batch = len(arrays[0])
    side_by_side = np.concatenate([array.reshape(batch, 1, -1) for array in arrays], axis=1)
    return np.add.reduce(side_by_side, axis=2).T


def add_step(totals: NDArray[np.float64], figures: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the totals [len(KEYS),B] with one more step; the backlog is that of the last step."""
    after = totals + figures
    after[_BACKLOG] = figures[_BACKLOG]
    return after
