"""Prices of the last resorts, derived for each instance: load shed and accelerators taken from running jobs.

Both must cost more than anything that they could save, so that neither the optimum nor a policy ever gains by
them.

*Load shed* of 1 MWh at a site is 1 MWh of supply.  It can

- replace supply at its highest price, at this site or (through the battery) at another time; the value is at
  most ``A = demand charge / dt + buy + fuel + carbon + water + battery shortfall`` USD/MWh, each at its
  highest, where the demand charge (USD/MW of peak) may be saved by 1/dt MW in one step, and carbon is the
  price, plus that of the excess where there is a budget, times the highest intensity of grid or generator;
- let 1/e more GPU-h be served here, ``e`` = least facility MWh per GPU-h = ``PUE * (busy - idle) kW / 1000 /
  speed``. A GPU-h is worth ``M = revenue + drop penalty + egress + (1 + growth) * relocation + 2 * warm-up``
  at most: served rather than dropped, or here rather than elsewhere (egress, relocation, warm-up now), and in
  place for the next step (growth(t+1) * relocation, warm-up then).  Egress, relocation and warm-up contain
  their energy at the highest price and intensity.  Served here rather than at another site, it frees up to
  ``E`` = most facility MWh per GPU-h there.

So ``shed >= A + (M + E * A) / e``.

*An accelerator-hour* taken from a job gives ``speed`` GPU-h, each worth ``M + E * A``, or ``PUE * (busy -
idle) / 1000`` MWh, each worth the shed price.  So ``gpu_short >= speed * (M + E * A) + PUE * (busy - idle) /
1000 * shed``.

Both get a margin of a tenth.  Left out on purpose: the value of starting a job, since a job may hang on any
small amount of power; its start is a decision of its own, and work is cut before power is shed in any case.
"""

from __future__ import annotations

import numpy as np

from gridai_env.arrays.ops import constant, namespace
from gridai_env.arrays.types import Array
from gridai_env.world.physics import billed_carbon_kg_per_mwh
from gridai_env.world.state import Exogenous, Params

MARGIN = 1.1


def last_resort_prices(p: Params, exo: Exogenous) -> tuple[Array, Array]:
    """Return shed price (USD/MWh) and GPU shortfall price (USD per accelerator-hour), [B] each.

    ``exo`` holds whole episodes, [B,T,...], as arrays or tensors; everything is taken at its highest over all
    sites and steps.  ``p`` are the host's constants, as NumPy arrays.
    """
    carbon_usd = carbon_usd_per_mwh(p, exo)
    energy_usd = energy_value_usd_per_mwh(p, exo, carbon_usd)
    least_mwh, most_mwh, most_mwh_per_gpu = facility_mwh_per_gpuh(p, exo)
    work_usd = work_value_usd_per_gpuh(p, exo, carbon_usd) + most_mwh * energy_usd
    shed = MARGIN * (energy_usd + work_usd / least_mwh)
    gpu_short = MARGIN * (float(np.max(p.speed)) * work_usd + most_mwh_per_gpu * shed)
    return shed, gpu_short


def carbon_usd_per_mwh(p: Params, exo: Exogenous) -> Array:
    """Return the most that the carbon of 1 MWh can cost, [B]: price and excess, grid or generator."""
    billed = billed_carbon_kg_per_mwh(p, exo)
    xp = namespace(billed)
    highest_kg = xp.maximum(xp.amax(billed, (1, 2)), float(np.max(p.generator_carbon_kg_per_mwh)))
    excess = float(p.carbon_excess_usd_per_kg) if np.isfinite(p.carbon_budget_kg) else 0.0
    return highest_kg * (float(p.carbon_price_usd_per_kg) + excess)


def energy_value_usd_per_mwh(p: Params, exo: Exogenous, carbon_usd: Array) -> Array:
    """Return the most that 1 MWh of supply can save without serving more work, [B]."""
    water_l = np.max(p.site_water_l_per_mwh)
    water_l = water_l + max(np.max(p.grid_water_l_per_mwh), np.max(p.generator_water_l_per_mwh))
    has_generator, has_battery = p.generator_max_mw > 0, p.battery_max_mwh > 0
    constant = (
        np.max(p.demand_charge_usd_per_mw) / p.dt_h
        + np.max(p.fuel_usd_per_mwh * has_generator)
        + np.max(p.battery_short_usd_per_mwh * has_battery)
        + p.water_price_usd_per_l * water_l
    )
    return highest_buy_usd_per_mwh(exo) + carbon_usd + float(constant) + highest_line_usd_per_mwh(exo)


def highest_buy_usd_per_mwh(exo: Exogenous) -> Array:
    """Return the highest price of import, at least 0, [B]."""
    xp = namespace(exo.buy_usd_per_mwh)
    return xp.maximum(xp.amax(exo.buy_usd_per_mwh, (1, 2)), 0.0)


def highest_line_usd_per_mwh(exo: Exogenous) -> Array:
    """Return the most that 1 MWh above all lines of a site costs, lost energy payments included, [B]."""
    usd = exo.line_usd_per_mwh
    if exo.response_usd_per_mwh.shape[-2]:
        usd = usd + exo.response_usd_per_mwh
    if not usd.shape[-2]:
        return 0.0 * usd.sum((1, 2, 3))
    xp = namespace(usd)
    return xp.maximum(xp.amax(xp.amax(usd, 1).sum(-2), -1), 0.0)


def facility_mwh_per_gpuh(p: Params, exo: Exogenous) -> tuple[Array, Array, Array]:
    """Return least and most facility MWh of a GPU-h of work, and most of an accelerator-hour taken from a job, [B]
    each."""
    xp, extra_kw = namespace(exo.pue), p.busy_kw_per_gpu - p.idle_kw_per_gpu
    # In power modes the next GPU-h takes more or less, and an accelerator taken from a job lets others save more.
    saved_kw = p.saving_kw_per_busy_gpu
    least_kw = extra_kw - saved_kw.max(0, initial=0.0)
    most_kw = extra_kw - saved_kw.min(0, initial=0.0)
    freed_kw = extra_kw + p.saving_kw_per_gpu.max(0, initial=0.0)

    def per_gpu_mwh(kw: np.ndarray) -> Array:
        return exo.pue * constant(kw, exo.pue) / 1000.0

    speed = constant(p.speed, exo.pue)
    least_mwh = xp.amin(per_gpu_mwh(least_kw) / speed, (1, 2))
    most_mwh = xp.amax(per_gpu_mwh(most_kw) / speed, (1, 2))
    return least_mwh, most_mwh, xp.amax(per_gpu_mwh(freed_kw), (1, 2))


def work_value_usd_per_gpuh(p: Params, exo: Exogenous, carbon_usd: Array) -> Array:
    """Return the most that serving a GPU-h, here and now, can earn or save apart from energy, [B]."""
    xp = namespace(exo.growth)

    def of(values: np.ndarray) -> Array:
        return constant(values, exo.growth)

    energy_usd = (xp.amax(exo.network_usd_per_mwh, (1, 2)) + carbon_usd)[:, None, None, None]

    growth = xp.amax(exo.growth, 1)[..., None]
    egress = of(p.egress_usd_per_gpuh) + of(p.network_mwh_per_gpuh) * energy_usd
    relocation = of(p.relocation_usd_per_gpuh) + of(p.relocation_mwh_per_gpuh) * energy_usd
    warm_up = of(p.warm_usd_per_gpuh)[:, None] + of(p.warm_mwh_per_gpuh)[:, None] * energy_usd
    value = of(p.revenue_usd_per_gpuh + p.drop_usd_per_gpuh)[:, None] + egress
    # Served here now and still here in the next step.
    value = value + (1.0 + growth) * relocation + 2.0 * warm_up
    return xp.amax(value * of(p.route_open), (1, 2, 3))
