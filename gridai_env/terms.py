"""The ledger: what one step earns and costs, as named signed terms in USD.

Affine like the physics, so that simulator, optimiser and metrics read the same books.  Benefit is the sum of the
terms; minus the undiscounted return of an episode is the sum of its costs less its earnings.
"""

from __future__ import annotations

from functools import reduce
from operator import add

from gridai_env.arrays import total
from gridai_env.physics import Totals, billed_kg, totals, water_l
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


def settle(p: Params, state: State, flows: Flows, exo: Exogenous, sums: Totals | None = None) -> Outcome:
    """All terms and physical totals of one step, summed over regions, rows, sites and jobs."""
    sums = totals(p, flows, exo, state) if sums is None else sums
    nothing = 0.0 * sums.emissions_average_kg
    water_used_l = water_l(p, flows, sums.it_mw) if p.has_water else nothing
    terms: dict[str, Array] = {
        "revenue": total(total(p.revenue_usd_per_gpuh * sums.served_cw_gpuh, -1), -1),
        "job_value": (p.job_value_usd * flows.started.sum(-1)).sum(-1) if p.has_jobs else nothing,
        **_energy_terms(p, flows, exo, nothing),
        **_friction_terms(p, flows, exo, sums),
        "carbon_price": -p.carbon_price_usd_per_kg * billed_kg(p, sums),
        "carbon_excess": -p.carbon_excess_usd_per_kg * flows.carbon_excess_kg
        if p.has_carbon_budget
        else nothing,
        "water": -p.water_price_usd_per_l * water_used_l,
        **_penalty_terms(p, flows, nothing),
    }
    return Outcome.make(
        terms_usd={name: terms[name] for name in TERMS},
        benefit_usd=reduce(add, terms.values()),
        it_mw=sums.it_mw,
        facility_mw=sums.facility_mw,
        emissions_average_kg=sums.emissions_average_kg,
        emissions_marginal_kg=sums.emissions_marginal_kg,
        water_l=water_used_l,
    )


def _energy_terms(p: Params, flows: Flows, exo: Exogenous, nothing: Array) -> dict[str, Array]:
    """Import, export, fuel, battery wear and demand charge."""
    dt_h = p.dt_h
    worked_mw = flows.charge_mw + flows.discharge_mw
    rise = p.demand_charge_usd_per_mw * flows.peak_rise_mw if p.has_demand_charge else None
    return {
        "import": total(-dt_h * exo.buy_usd_per_mwh * flows.import_mw, -1),
        "export": total(dt_h * exo.sell_usd_per_mwh * flows.export_mw, -1),
        "fuel": total(-dt_h * p.fuel_usd_per_mwh * flows.generation_mw, -1) if p.has_generator else nothing,
        "battery_wear": total(-dt_h * p.wear_usd_per_mwh * worked_mw, -1) if p.has_battery else nothing,
        "demand_charge": nothing if rise is None else -total(rise, -1),
    }


def _friction_terms(p: Params, flows: Flows, exo: Exogenous, sums: Totals) -> dict[str, Array]:
    """Payloads, moved sessions and loaded weights: fixed prices plus the energy at the receiving site's price."""
    price = exo.network_usd_per_mwh
    egress = total(total(total(p.egress_usd_per_gpuh * flows.served_gpuh, -3), -2), -1)
    relocation = total(total(total(p.relocation_usd_per_gpuh * flows.relocated_gpuh, -3), -2), -1)
    warm_up = total(total(p.warm_usd_per_gpuh[..., None] * flows.warmed_gpuh, -2), -1)
    return {
        "egress": -egress - _energy_usd(p.has_network_energy, price, sums.egress_mwh),
        "relocation": -relocation - _energy_usd(p.has_relocation_energy, price, sums.relocation_mwh),
        "warm_up": -warm_up - _energy_usd(p.has_warm_energy, price, sums.warm_up_mwh),
    }


def _energy_usd(any_energy: bool, usd_per_mwh: Array, mwh: Array) -> Array:
    """What friction energy costs, summed over sites."""
    return total(usd_per_mwh * mwh, -1) if any_energy else 0.0


def _penalty_terms(p: Params, flows: Flows, nothing: Array) -> dict[str, Array]:
    """What not delivering costs: refused work, accelerators taken from jobs, shed load, an empty battery."""
    dt_h = p.dt_h
    short = p.battery_short_usd_per_mwh * flows.battery_short_mwh
    return {
        "drop_penalty": -total(total(p.drop_usd_per_gpuh * flows.dropped_gpuh, -1), -1),
        "gpu_shortfall": total(-dt_h * p.gpu_short_usd_per_gpuh * flows.gpu_short, -1)
        if p.has_jobs
        else nothing,
        "shed_penalty": total(-dt_h * p.shed_usd_per_mwh * flows.shed_mw, -1),
        "battery_shortfall": -total(short, -1) if p.has_battery else nothing,
    }
