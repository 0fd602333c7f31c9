"""The ledger: what one step earns and costs, as named signed terms in USD.

Affine like the physics, so that simulator, optimiser and metrics read the same books.  Benefit is the sum of the
terms; minus the undiscounted return of an episode is the sum of its costs less its earnings.
"""

from __future__ import annotations

from functools import reduce
from operator import add

from gridai_env.arrays.ops import total, total_each
from gridai_env.arrays.types import Array
from gridai_env.world.physics import Totals, billed_kg, totals, water_l
from gridai_env.world.state import Exogenous, Flows, Outcome, Params, State

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
    "line_excess",
    "dr_energy",
    "dr_capacity",
)
# Prices of not delivering; shown beside every saving.
PENALTIES = ("drop_penalty", "gpu_shortfall", "shed_penalty", "battery_shortfall")

# All of them, in the order of ledgers and tables.
TERMS = (*EARNINGS, *BILL, *PENALTIES)


def energy_usd_per_mwh(
    price_usd_per_mwh: Array, carbon_kg_per_mwh: Array, carbon_usd_per_kg: Array | float
) -> Array:
    """Return the cost of a MWh with the carbon that is billed for it; the arguments broadcast."""
    return price_usd_per_mwh + carbon_usd_per_kg * carbon_kg_per_mwh


def settle(p: Params, state: State, flows: Flows, exo: Exogenous, sums: Totals | None = None) -> Outcome:
    """Return all terms and physical totals of one step, summed over regions, rows, sites and jobs."""
    sums = totals(p, flows, exo, state) if sums is None else sums
    nothing = 0.0 * sums.emissions_average_kg
    water_used_l = water_l(p, flows, sums.it_mw) if p.has_water else nothing

    terms = _terms(p, flows, exo, sums, nothing)
    if p.has_water:
        terms["water"] = -p.water_price_usd_per_l * water_used_l

    return Outcome.make(
        terms_usd=terms,
        benefit_usd=reduce(add, terms.values()),
        it_mw=sums.it_mw,
        facility_mw=sums.facility_mw,
        emissions_average_kg=sums.emissions_average_kg,
        emissions_marginal_kg=sums.emissions_marginal_kg,
        water_l=water_used_l,
    )


def _terms(p: Params, flows: Flows, exo: Exogenous, sums: Totals, nothing: Array) -> dict[str, Array]:
    """Return all terms in USD but that of water; ``nothing``: zero of their shape."""
    by_site = site_terms(p, flows, exo, sums)
    at_sites = dict(zip(by_site, total_each(list(by_site.values())), strict=True))

    # A term that the scenario lacks is a zero of the shape of the others.
    terms: dict[str, Array] = dict.fromkeys(TERMS, nothing) | {
        name: at_sites[name] for name in TERMS if name in at_sites
    }
    for name, usd in _friction_terms(p, flows).items():
        terms[name] = at_sites[f"{name} energy"] - usd if f"{name} energy" in at_sites else -usd

    terms["revenue"] = total(total(p.revenue_usd_per_gpuh * sums.served_cw_gpuh, -1), -1)
    terms["drop_penalty"] = -total(total(p.drop_usd_per_gpuh * flows.dropped_gpuh, -1), -1)
    terms["carbon_price"] = -p.carbon_price_usd_per_kg * billed_kg(p, sums)

    if p.has_jobs:
        terms["job_value"] = (p.job_value_usd * flows.started.sum(-1)).sum(-1)
    if p.has_carbon_budget:
        terms["carbon_excess"] = -p.carbon_excess_usd_per_kg * flows.carbon_excess_kg
    return terms


def site_terms(p: Params, flows: Flows, exo: Exogenous, sums: Totals) -> dict[str, Array]:
    """Return what arises at the sites, [K] each: energy, wear, last resorts, and the energy part of the friction terms.

    The latter is billed at the price of the receiving site.  What a scenario does not have at all is left out.
    """
    dt_h, price = p.dt_h, exo.network_usd_per_mwh
    found: dict[str, Array] = {
        "import": -dt_h * exo.buy_usd_per_mwh * flows.import_mw,
        "export": dt_h * exo.sell_usd_per_mwh * flows.export_mw,
        "shed_penalty": -dt_h * p.shed_usd_per_mwh * flows.shed_mw,
    }

    if p.has_generator:
        found["fuel"] = -dt_h * p.fuel_usd_per_mwh * flows.generation_mw
    if p.has_battery:
        found["battery_wear"] = -dt_h * p.wear_usd_per_mwh * (flows.charge_mw + flows.discharge_mw)
        found["battery_shortfall"] = -p.battery_short_usd_per_mwh * flows.battery_short_mwh
    if p.has_demand_charge:
        found["demand_charge"] = -p.demand_charge_usd_per_mw * flows.peak_rise_mw
    if p.has_lines:
        found["line_excess"] = -dt_h * total(exo.line_usd_per_mwh * flows.line_excess_mw, -2)
        if exo.committed_mw.shape[-2]:
            # What is promised and not delivered is import above the line.
            delivered_mw = exo.committed_mw - flows.line_excess_mw
            found["dr_energy"] = dt_h * total(exo.response_usd_per_mwh * delivered_mw, -2)
            found["dr_capacity"] = dt_h * (total(p.capacity_usd_per_h, -2) + 0.0 * flows.import_mw)
    if p.has_jobs:
        found["gpu_shortfall"] = -dt_h * p.gpu_short_usd_per_gpuh * flows.gpu_short

    if p.has_network_energy:
        found["egress energy"] = -price * sums.egress_mwh
    if p.has_relocation_energy:
        found["relocation energy"] = -price * sums.relocation_mwh
    if p.has_warm_energy:
        found["warm_up energy"] = -price * sums.warm_up_mwh
    return found


def _friction_terms(p: Params, flows: Flows) -> dict[str, Array]:
    """Return the fixed prices of payloads, moved sessions and loaded weights, positive."""
    return {
        "egress": total(total(total(p.egress_usd_per_gpuh * flows.served_gpuh, -3), -2), -1),
        "relocation": total(total(total(p.relocation_usd_per_gpuh * flows.relocated_gpuh, -3), -2), -1),
        "warm_up": total(total(p.warm_usd_per_gpuh[..., None] * flows.warmed_gpuh, -2), -1),
    }
