"""From zone series, demand, jobs and events to the exogenous arrays of a batch, and to the base of forecasts.

Shapes: B episodes, T steps, L steps of history before the start, K sites, C regions, Z zones; X = L + T.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gridai_env.compile import Compiled
from gridai_env.demand import Demand, queue_limits_gpuh, session_growth
from gridai_env.deviation import Deviation, month_hours_utc
from gridai_env.events import EventTable, event_table
from gridai_env.forecast import Background, ForecastSet
from gridai_env.jobs import JobTable
from gridai_env.state import Exogenous
from gridai_env.traces import ZoneSeries

# Limits that events may reduce: kind of the event -> field of `Exogenous`.
LIMITS = {
    "available_gpus": "available_gpus",
    "import_limit": "import_limit_mw",
    "export_limit": "export_limit_mw",
}


@dataclass(frozen=True)
class SiteSeries:
    """Prices, carbon and weather at the sites, [B,X,K] each, before events."""

    buy_usd_per_mwh: np.ndarray
    buy_climatology_usd_per_mwh: np.ndarray
    carbon_average_kg_per_mwh: np.ndarray
    carbon_marginal_kg_per_mwh: np.ndarray
    carbon_climatology_kg_per_mwh: np.ndarray  # of the signal that is billed
    renewable_mw: np.ndarray
    renewable_climatology_mw: np.ndarray
    pue: np.ndarray


def zones_of(compiled: Compiled) -> tuple[tuple[str, ...], np.ndarray]:
    """Return the zones in use, each once, and the zone index [K] of each site."""
    names = [site.zone for site in compiled.scenario.sites]
    zones = tuple(dict.fromkeys(names))
    return zones, np.array([zones.index(name) for name in names])


def site_array(compiled: Compiled, name: str) -> np.ndarray:
    """Return a number of every site, [K]."""
    return np.array([getattr(site, name) for site in compiled.scenario.sites], dtype=float)


def grid_array(compiled: Compiled, name: str) -> np.ndarray:
    """Return a number of every site's grid connection, [K]."""
    return np.array([getattr(site.grid, name) for site in compiled.scenario.sites], dtype=float)


def site_series(compiled: Compiled, series: ZoneSeries) -> SiteSeries:
    """Lay the series of zones on sites: ``buy = scale * (m + spread * (price - m)) + adder``, m the
    climatology."""
    _, at = zones_of(compiled)
    marginal = bool(compiled.params.bill_marginal)
    scale, adder = grid_array(compiled, "price_scale"), grid_array(compiled, "price_adder_usd_per_mwh")
    expected_usd = series.price_climatology_usd_per_mwh.take(at, axis=-1)
    strays_usd = grid_array(compiled, "price_spread_scale") * (
        series.price_usd_per_mwh.take(at, axis=-1) - expected_usd
    )
    pv_mw, wind_mw = site_array(compiled, "pv_mw"), site_array(compiled, "wind_mw")
    warm_c = np.maximum(series.wetbulb_c.take(at, axis=-1) - site_array(compiled, "pue_threshold_c"), 0.0)
    expected_carbon = (
        series.carbon_marginal_climatology_kg_per_mwh
        if marginal
        else series.carbon_average_climatology_kg_per_mwh
    )
    return SiteSeries(
        buy_usd_per_mwh=scale * (expected_usd + strays_usd) + adder,
        buy_climatology_usd_per_mwh=scale * expected_usd + adder,
        carbon_average_kg_per_mwh=series.carbon_average_kg_per_mwh.take(at, axis=-1),
        carbon_marginal_kg_per_mwh=series.carbon_marginal_kg_per_mwh.take(at, axis=-1),
        carbon_climatology_kg_per_mwh=expected_carbon.take(at, axis=-1),
        renewable_mw=pv_mw * series.pv_cf.take(at, axis=-1) + wind_mw * series.wind_cf.take(at, axis=-1),
        renewable_climatology_mw=pv_mw * series.pv_cf_climatology.take(at, axis=-1)
        + wind_mw * series.wind_cf_climatology.take(at, axis=-1),
        pue=site_array(compiled, "pue_base") + site_array(compiled, "pue_per_c") * warm_c,
    )


def sell_usd_per_mwh(compiled: Compiled, buy_usd_per_mwh: np.ndarray) -> np.ndarray:
    """Return the price of export, always below that of import: ``min(share * buy, buy - spread)``."""
    share, spread = grid_array(compiled, "sell_share"), grid_array(compiled, "sell_spread_usd_per_mwh")
    return np.minimum(share * buy_usd_per_mwh, buy_usd_per_mwh - spread)


def battery_targets_mwh(compiled: Compiled, steps: int, last: bool) -> np.ndarray:
    """Return the wanted charge [steps,K]: 0, except in the last of the steps where that ends the episode."""
    batteries = [site.battery for site in compiled.scenario.sites]
    target = np.zeros((steps, len(batteries)))
    if last:
        target[-1] = [b.target_share * b.capacity_mwh if b else 0.0 for b in batteries]
    return target


def grid_fields(compiled: Compiled, buy_usd_per_mwh: np.ndarray, events: EventTable) -> dict[str, np.ndarray]:
    """Return prices and limits that follow from the price of import (shocks included) and events, [...,K]
    each."""
    sell = sell_usd_per_mwh(compiled, buy_usd_per_mwh)
    limits = {field: limit(compiled, kind, events, buy_usd_per_mwh) for kind, field in LIMITS.items()}
    return {
        "buy_usd_per_mwh": buy_usd_per_mwh,
        "sell_usd_per_mwh": sell,
        "network_usd_per_mwh": np.maximum(buy_usd_per_mwh, 0.0),
        **limits,
    }


def limit(compiled: Compiled, kind: str, events: EventTable, buy_usd_per_mwh: np.ndarray) -> np.ndarray:
    """Return the limit of a kind [...,K] with the events; the price [...,K] decides on export alone."""
    if kind == "available_gpus":
        return compiled.params.gpus * events.limit_factor(kind)
    if kind == "import_limit":
        return compiled.import_limit_mw * events.limit_factor(kind)
    most_mw = compiled.export_limit_mw * events.limit_factor(kind)
    # Selling at a negative price would be a way to burn energy.
    return np.where(sell_usd_per_mwh(compiled, buy_usd_per_mwh) < 0.0, 0.0, most_mw)


def limit_forecast(
    compiled: Compiled, kind: str, event_active: np.ndarray, forecast: ForecastSet
) -> np.ndarray:
    """Return the limit of a kind as foreseen at each step at each lead, [B,T,H,K], 0 beyond the end.

    ``event_active`` [B,T,E] is the truth; of it, what the scenario's kind of forecast may know is used.  The
    limit of export is 0 where the forecast of the price says so.
    """
    table = event_table(compiled.scenario, event_active)
    seen = table.at_leads(forecast.leads, compiled.scenario.forecast.kind)
    values = limit(compiled, kind, seen, forecast.buy_usd_per_mwh)
    for i, lead in enumerate(forecast.leads):
        values[:, max(compiled.shape.steps - lead, 0) :, i] = 0.0
    return values


def exogenous_arrays(
    compiled: Compiled, sites: SiteSeries, demand: Demand, jobs: JobTable, events: EventTable
) -> Exogenous:
    """Return the exogenous input of whole episodes, [B,T,...]."""
    shape, wait = compiled.shape, compiled.row_wait_steps
    now = np.s_[:, -shape.steps :]
    growth, rehomed = session_growth(demand.arrivals_gpuh, wait)
    buy = events.shocked_usd_per_mwh(sites.buy_usd_per_mwh[now])
    target = battery_targets_mwh(compiled, shape.steps, last=True)
    return Exogenous(
        arrivals_gpuh=demand.arrivals_gpuh,
        queue_limit_gpuh=queue_limits_gpuh(demand.arrivals_gpuh, wait),
        growth=growth,
        rehomed_gpuh=rehomed,
        pue=sites.pue[now],
        renewable_available_mw=sites.renewable_mw[now],
        **grid_fields(compiled, buy, events),
        carbon_average_kg_per_mwh=sites.carbon_average_kg_per_mwh[now],
        carbon_marginal_kg_per_mwh=sites.carbon_marginal_kg_per_mwh[now],
        battery_target_mwh=np.broadcast_to(target, buy.shape).copy(),
        job_open=jobs.open,
    )


def billed_and_other(
    compiled: Compiled, average: np.ndarray, marginal: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the carbon signal that is billed, then the one that is only reported."""
    return (marginal, average) if compiled.params.bill_marginal else (average, marginal)


def forecast_background(
    compiled: Compiled, sites: SiteSeries, demand: Demand, series: ZoneSeries, deviation: Deviation
) -> Background:
    """Return what forecasts are made from: truth before price events, climatology and usual deviation."""
    carbon, _ = billed_and_other(compiled, sites.carbon_average_kg_per_mwh, sites.carbon_marginal_kg_per_mwh)
    truth = [sites.buy_usd_per_mwh, carbon, sites.renewable_mw, demand.region_gpuh]
    expected = [
        sites.buy_climatology_usd_per_mwh,
        sites.carbon_climatology_kg_per_mwh,
        sites.renewable_climatology_mw,
        demand.expected_gpuh,
    ]
    shape = compiled.shape
    installed_mw = site_array(compiled, "pv_mw") + site_array(compiled, "wind_mw")
    unknown = np.full(shape.sites, np.inf)
    return Background(
        truth=np.concatenate(truth, axis=-1, dtype=np.float32, casting="same_kind"),
        climatology=np.concatenate(expected, axis=-1, dtype=np.float32, casting="same_kind"),
        deviation=_deviations(compiled, series, demand, deviation),
        upper=np.concatenate([unknown, unknown, installed_mw, np.full(shape.regions, np.inf)]),
        sites=shape.sites,
    )


def _deviations(compiled: Compiled, series: ZoneSeries, demand: Demand, deviation: Deviation) -> np.ndarray:
    """Return the usual deviation of each series from its climatology, float32 [B,T,3K+C]."""
    _, at = zones_of(compiled)
    steps, sites = compiled.shape.steps, compiled.shape.sites
    average, marginal = deviation.carbon_average_kg_per_mwh, deviation.carbon_marginal_kg_per_mwh
    carbon, _ = billed_and_other(compiled, average, marginal)
    price_scale = grid_array(compiled, "price_scale") * grid_array(compiled, "price_spread_scale")
    pv_mw = site_array(compiled, "pv_mw") * deviation.pv_relative[at]
    wind_mw = site_array(compiled, "wind_mw") * deviation.wind_cf[:, at]
    cell = month_hours_utc(series.start_utc, series.steps - steps, steps, series.dt_h)
    by_cell = np.concatenate(
        [price_scale * deviation.price_usd_per_mwh[:, at], carbon[:, at], wind_mw], axis=-1
    )
    out = np.empty((len(cell), steps, 3 * sites + compiled.shape.regions), dtype=np.float32)
    out[..., : 3 * sites] = by_cell.astype(np.float32).take(cell, axis=0)
    sun_mw = pv_mw.astype(np.float32) * series.pv_cf_climatology[:, -steps:, at].astype(np.float32)
    renewable = out[..., 2 * sites : 3 * sites]
    np.sqrt(renewable * renewable + sun_mw * sun_mw, out=renewable)
    out[..., 3 * sites :] = demand.deviation_gpuh
    return out
