"""Value of what is left at the end of a window: without it a rolling horizon empties batteries and queues for nothing.

Valued at the mean cost of energy that the window foresees, ``e`` [K] (price and billed carbon, USD/MWh):

- a MWh in the battery: what its discharge saves, ``eta_d * (e - wear)``, not below 0;
- work that waits: its revenue less the energy of serving it at home (the cheapest site need not have room, and at
  home nothing is paid for the network);
- a job that may still start later: its value less its energy at the cheapest site, not below 0;
- accelerators that running jobs still hold: minus their energy.

These values hardly matter in windows of 8 hours and more; shorter windows need them.  At the end
of the episode nothing of this counts: targets and queue limits are those of the episode.  A demand charge falls on
rises above the highest import so far, which is part of the state.  The budget of carbon that a window may spend is
what is left of it, shared evenly over the steps left.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from baselines.program.window import Columns
from gridai_env.arrays.types import Bool, Bools, Floats
from gridai_env.world import physics
from gridai_env.world.state import Exogenous, Params
from gridai_env.world.terms import energy_usd_per_mwh


@dataclass(frozen=True)
class Ending:
    """Weights of the end values; 1 is as documented, 0 leaves one out."""

    battery: float = 1.0
    backlog: float = 1.0
    jobs: float = 1.0


def ending_costs(
    p: Params, exo: Exogenous, columns: Columns, n: int, later: Bool[Bools, " J"] | None, ending: Ending
) -> Floats:
    """Return the cost (minus value, USD) of each column for what it leaves after step n - 1; ``exo`` [n,...]."""
    costs = np.zeros(columns.count + 1)
    energy = mean_energy_usd_per_mwh(p, exo)
    at_end = columns.state.map(lambda index: index[n])
    costs[at_end.battery_mwh] -= ending.battery * battery_usd_per_mwh(p, energy)
    costs[at_end.backlog_gpuh] -= ending.backlog * backlog_usd_per_gpuh(p, exo)
    if p.has_jobs:
        per_gpu = gpu_step_usd(p, exo)
        costs[at_end.committed_gpus] += ending.jobs * per_gpu[:, None]
        waiting = later_job_usd(p, exo, per_gpu)
        costs[at_end.waiting] -= ending.jobs * np.where(True if later is None else later, waiting, 0.0)
    return costs[:-1]


def mean_energy_usd_per_mwh(p: Params, exo: Exogenous) -> Floats:
    """Return the mean cost of a MWh with its carbon, [K]."""
    billed = physics.billed_carbon_kg_per_mwh(p, exo)
    steps = energy_usd_per_mwh(exo.buy_usd_per_mwh, billed, p.carbon_price_usd_per_kg)
    return np.asarray(steps.mean(0))


def battery_usd_per_mwh(p: Params, energy_usd_per_mwh: Floats) -> Floats:
    """Return the value of a MWh left in the battery, [K]."""
    return np.maximum(p.discharge_efficiency * (energy_usd_per_mwh - p.wear_usd_per_mwh), 0.0)


def backlog_usd_per_gpuh(p: Params, exo: Exogenous) -> Floats:
    """Return the value of a GPU-h left waiting, [C,W]."""
    at_site = work_mwh_per_gpuh(p, exo) * mean_energy_usd_per_mwh(p, exo)
    return np.asarray(p.revenue_usd_per_gpuh - (p.home * at_site).sum(-1)[:, None])


def gpu_step_usd(p: Params, exo: Exogenous) -> Floats:
    """Return the energy cost of an accelerator that runs a job for one step, [K]."""
    gpuh_per_step = p.speed * p.dt_h
    return np.asarray(gpuh_per_step * work_mwh_per_gpuh(p, exo) * mean_energy_usd_per_mwh(p, exo))


def work_mwh_per_gpuh(p: Params, exo: Exogenous) -> Floats:
    """Return the mean energy of a GPU-h of work, [K]."""
    return np.asarray((physics.work_power_mw_per_gpuh(p, exo) * p.dt_h).mean(0))


def later_job_usd(p: Params, exo: Exogenous, per_gpu_step_usd: Floats) -> Floats:
    """Return the value of a job that is started after the window, [J]."""
    run_steps = p.job_profile.sum(-1) * p.job_gpus
    cost = run_steps * per_gpu_step_usd.min()
    return np.maximum(p.job_value_usd - cost, 0.0)
