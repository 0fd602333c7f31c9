"""What the limits imply for single flows, and how jobs are rounded: shared by the programs of episodes and windows.

Every function takes one step or, with a leading axis, a whole window.
"""

from __future__ import annotations

import numpy as np

from gridai_env.arrays.types import Floats
from gridai_env.world import physics
from gridai_env.world.state import Exogenous, Params


def flow_ceilings(p: Params, exo: Exogenous, carried_gpuh: Floats) -> dict[str, Floats]:
    """The most that each flow can be: implied by the limits, it helps the solver and its bound.

    ``carried_gpuh`` [C,W] is the most work that may have waited since the step before.  Starts of jobs are left out.
    """
    on_hand = exo.arrivals_gpuh + carried_gpuh
    served = p.route_open * on_hand[..., None]
    placed = p.is_session[:, None] * served
    steps = np.ones_like(exo.import_limit_mw)
    return {
        "served_gpuh": served,
        "dropped_gpuh": on_hand,
        "charge_mw": p.charge_limit_mw * steps,
        "discharge_mw": p.discharge_limit_mw * steps,
        "generation_mw": p.generator_max_mw * steps,
        "renewable_mw": exo.renewable_available_mw,
        "import_mw": exo.import_limit_mw,
        "export_mw": exo.export_limit_mw,
        "shed_mw": most_shed_mw(p, exo),
        "gpu_short": p.has_jobs * p.utilisation_limit * (p.gpus - exo.available_gpus),
        "relocated_gpuh": placed,
        "warmed_gpuh": placed.sum(-3),
        "peak_rise_mw": np.where(p.demand_charge_usd_per_mw > 0.0, exo.import_limit_mw, 0.0),
        "battery_short_mwh": exo.battery_target_mwh,
        "carbon_excess_kg": most_carbon_kg(p, exo, served) * float(p.has_carbon_budget),
    }


def most_carbon_kg(p: Params, exo: Exogenous, served_gpuh: Floats) -> Floats:
    """Emissions of a step in which everything is at its highest, []."""
    per_gpuh = p.network_mwh_per_gpuh + p.relocation_mwh_per_gpuh + p.warm_mwh_per_gpuh[:, None]
    network_mwh = (per_gpuh * served_gpuh).sum((-3, -2, -1))
    grid_mwh = p.dt_h * exo.import_limit_mw.sum(-1) + network_mwh
    fuel_kg = p.dt_h * (p.generator_max_mw * p.generator_carbon_kg_per_mwh).sum()
    return np.asarray(grid_mwh * physics.billed_carbon_kg_per_mwh(p, exo).max(-1) + fuel_kg)


def most_shed_mw(p: Params, exo: Exogenous) -> Floats:
    """Load of a site with all accelerators busy that may be; 0 where import can feed it: nothing is shed there."""
    it_mw = physics.it_power_mw(p, exo, p.utilisation_limit * exo.available_gpus)
    most_mw = physics.facility_power_mw(p, exo, it_mw) * (1.0 + 1e-6)
    return np.where(most_mw > exo.import_limit_mw, most_mw, 0.0)
