"""The ledger: what one step earns and costs, as named signed terms in USD.

Affine like the physics, so that simulator, optimiser and metrics read the same books.  Benefit is the sum of the
terms; minus the undiscounted return of an episode is the sum of its costs less its earnings.
"""

from __future__ import annotations

from functools import reduce
from operator import add

from gridai_env import physics
from gridai_env.state import Array, Exogenous, Flows, Outcome, Params, State

TERMS = (
    "revenue",
    "job_value",
    "import",
    "export",
    "fuel",
    "battery_wear",
    "egress",
    "relocation",
    "warm_up",
    "demand_charge",
    "carbon_price",
    "carbon_excess",
    "water",
    "drop_penalty",
    "gpu_shortfall",
    "shed_penalty",
    "battery_shortfall",
)

# What `cost` leaves out of the benefit.
EARNINGS = ("revenue", "job_value")
# What is paid for energy and its emissions: the bill that savings are measured against.
BILL = (
    "import",
    "export",
    "fuel",
    "battery_wear",
    "egress",
    "relocation",
    "warm_up",
    "demand_charge",
    "carbon_price",
    "carbon_excess",
    "water",
)
# Prices of not delivering; shown beside every saving.
PENALTIES = ("drop_penalty", "gpu_shortfall", "shed_penalty", "battery_shortfall")


def settle(p: Params, state: State, flows: Flows, exo: Exogenous) -> Outcome:
    """All terms and physical totals of one step, summed over regions, rows, sites and jobs."""
    committed_now = physics.committed_profile_gpus(p, state, flows)[..., 0]
    it_mw = physics.it_power_mw(p, exo, physics.busy_gpus(p, flows, committed_now))
    egress_mwh = physics.egress_mwh(p, flows)
    relocation_mwh = physics.relocation_mwh(p, flows)
    warm_up_mwh = physics.warm_up_mwh(p, flows)
    network_mwh = egress_mwh + relocation_mwh + warm_up_mwh
    average_kg = physics.emissions_kg(p, flows, exo.carbon_average_kg_per_mwh, network_mwh)
    marginal_kg = physics.emissions_kg(p, flows, exo.carbon_marginal_kg_per_mwh, network_mwh)
    billed_kg = marginal_kg if p.bill_marginal else average_kg
    water_l = physics.water_l(p, flows, it_mw)
    dt_h = p.dt_h
    price = exo.network_usd_per_mwh
    terms: dict[str, Array] = {
        "revenue": (p.revenue_usd_per_gpuh * flows.served_gpuh.sum(-1)).sum(-1).sum(-1),
        "job_value": (p.job_value_usd * flows.started.sum(-1)).sum(-1),
        "import": -dt_h * (exo.buy_usd_per_mwh * flows.import_mw).sum(-1),
        "export": dt_h * (exo.sell_usd_per_mwh * flows.export_mw).sum(-1),
        "fuel": -dt_h * (p.fuel_usd_per_mwh * flows.generation_mw).sum(-1),
        "battery_wear": -dt_h * (p.wear_usd_per_mwh * (flows.charge_mw + flows.discharge_mw)).sum(-1),
        "egress": -(p.egress_usd_per_gpuh * flows.served_gpuh).sum(-1).sum(-1).sum(-1) - (price * egress_mwh).sum(-1),
        "relocation": -(p.relocation_usd_per_gpuh * flows.relocated_gpuh).sum(-1).sum(-1).sum(-1)
        - (price * relocation_mwh).sum(-1),
        "warm_up": -(p.warm_usd_per_gpuh * flows.warmed_gpuh.sum(-1)).sum(-1) - (price * warm_up_mwh).sum(-1),
        "demand_charge": -(p.demand_charge_usd_per_mw * flows.peak_rise_mw).sum(-1),
        "carbon_price": -p.carbon_price_usd_per_kg * billed_kg,
        "carbon_excess": -p.carbon_excess_usd_per_kg * flows.carbon_excess_kg,
        "water": -p.water_price_usd_per_l * water_l,
        "drop_penalty": -(p.drop_usd_per_gpuh * flows.dropped_gpuh).sum(-1).sum(-1),
        "gpu_shortfall": -dt_h * (p.gpu_short_usd_per_gpuh * flows.gpu_short).sum(-1),
        "shed_penalty": -dt_h * (p.shed_usd_per_mwh * flows.shed_mw).sum(-1),
        "battery_shortfall": -(p.battery_short_usd_per_mwh * flows.battery_short_mwh).sum(-1),
    }
    return Outcome(
        terms_usd=terms,
        benefit_usd=reduce(add, terms.values()),
        it_mw=it_mw,
        facility_mw=physics.facility_power_mw(p, exo, it_mw),
        emissions_average_kg=average_kg,
        emissions_marginal_kg=marginal_kg,
        water_l=water_l,
    )
