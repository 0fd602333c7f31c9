"""Combine zone series, demand, jobs and events to the exogenous arrays of a batch, and to the base of forecasts.

Shapes: B episodes, T steps, L steps of history before the start, K sites, C regions, Z zones; X = L + T.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from operator import attrgetter

import numpy as np

from gridai_env.arrays.ops import as_float32, columns, constant, empty, namespace, take_rows
from gridai_env.arrays.types import Array, Bool, Bools, Float, Floats, Floats32, Index, Int
from gridai_env.episodes.calls import CallTable
from gridai_env.episodes.demand import Demand, queue_limits_gpuh, session_growth
from gridai_env.episodes.deviation import Deviation
from gridai_env.episodes.events import EventTable
from gridai_env.episodes.forecast import MEDIAN_OF_NORMAL, Background, Publication
from gridai_env.episodes.jobs import JobTable
from gridai_env.episodes.lines import BaselineCalendar, contracted, line_fields
from gridai_env.scenario.compile import Compiled
from gridai_env.traces import ZoneSeries
from gridai_env.world.state import Exogenous

# Limits that events may reduce: kind of the event -> field of `Exogenous`, and the most that it can be.
LIMITS: dict[str, tuple[str, Callable[[Compiled], Floats]]] = {
    "available_gpus": ("available_gpus", attrgetter("params.gpus")),
    "import_limit": ("import_limit_mw", attrgetter("import_limit_mw")),
    "export_limit": ("export_limit_mw", attrgetter("export_limit_mw")),
}


SAME_USD_PER_MWH = 0.01  # prices that differ by less are equal, in single precision too


@dataclass(frozen=True)
class SiteSeries:
    """Prices, carbon and weather at the sites, [B,X,K] each, before events."""

    buy_usd_per_mwh: Array
    buy_climatology_usd_per_mwh: Array
    carbon_average_kg_per_mwh: Array
    carbon_marginal_kg_per_mwh: Array
    carbon_climatology_kg_per_mwh: Array  # of the signal that is billed
    renewable_mw: Array
    renewable_climatology_mw: Array
    pue: Array
    clean_mw: Array  # of contracts, [B,X,M], and its climatology
    clean_climatology_mw: Array
    sell_usd_per_mwh: Array | None = None  # of the file itself; NaN or None: by the rule of the site


@dataclass(frozen=True)
class ForecastBase:
    """What forecasts of a batch are made from beside the series themselves.

    First the median of |truth - climatology| of prices, billed carbon, wind and solar power at the sites.
    """

    # By month and hour in UTC, or by episode: USD/MWh, kg/MWh, MW of wind at the sites and of M contracts.
    by_month_hour: Float[Array, "N 3*K+M"]
    sun_mw: Float[Floats32, "*episodes K+M"]  # for each unit of the climatology of PV
    row: Int[Array, "B T"]  # of ``by_month_hour``, for each step: month * 24 + hour in UTC, or the episode
    blind: Bool[Bools, "B Z"] | None = None  # zones of which no past is known: persistence
    published: Publication | None = None  # None: no prices are


def site_series(compiled: Compiled, series: ZoneSeries) -> SiteSeries:
    """Return the zones' series by site: ``buy = scale * (m + spread * (price - m)) + adder``, m the climatology."""
    table = compiled.sites

    def at(values: Array) -> Array:
        return columns(values, table.zone_index)

    def of(values: np.ndarray) -> Array:
        return constant(values, series.price_usd_per_mwh)

    # The tariff of the site on top of the market's price; its spread stretches deviations alone.
    scale, adder = of(table.price_scale), of(table.price_adder_usd_per_mwh)
    expected_usd = at(series.price_climatology_usd_per_mwh)
    strays_usd = of(table.price_spread_scale) * (at(series.price_usd_per_mwh) - expected_usd)

    pv_mw, wind_mw = of(table.pv_mw), of(table.wind_mw)
    expected_mw = pv_mw * at(series.pv_cf_climatology) + wind_mw * at(series.wind_cf_climatology)
    # A wet bulb that is not known (NaN) leaves PUE at its base.
    clean, expected_clean = contracted(compiled, series)
    warm_c = namespace(scale).fmax(at(series.wetbulb_c) - of(table.pue_threshold_c), 0.0)
    return SiteSeries(
        buy_usd_per_mwh=scale * (expected_usd + strays_usd) + adder,
        buy_climatology_usd_per_mwh=scale * expected_usd + adder,
        carbon_average_kg_per_mwh=at(series.carbon_average_kg_per_mwh),
        carbon_marginal_kg_per_mwh=at(series.carbon_marginal_kg_per_mwh),
        carbon_climatology_kg_per_mwh=at(
            getattr(series, f"carbon_{compiled.carbon_signal}_climatology_kg_per_mwh")
        ),
        renewable_mw=pv_mw * at(series.pv_cf) + wind_mw * at(series.wind_cf),
        renewable_climatology_mw=expected_mw,
        pue=of(table.pue_base) + of(table.pue_per_c) * warm_c,
        clean_mw=clean,
        clean_climatology_mw=expected_clean,
        sell_usd_per_mwh=None if series.sell_usd_per_mwh is None else at(series.sell_usd_per_mwh),
    )


def sell_usd_per_mwh(
    compiled: Compiled, buy_usd_per_mwh: Array, own_usd_per_mwh: Array | None = None
) -> Array:
    """Return the price of export, always below that of import: ``min(own, buy - spread)``.

    ``own_usd_per_mwh`` is ``share * buy`` where it is None or NaN.
    """
    share = constant(compiled.sites.sell_share, buy_usd_per_mwh)
    spread = constant(compiled.sites.sell_spread_usd_per_mwh, buy_usd_per_mwh)
    xp, own = namespace(share), share * buy_usd_per_mwh
    if own_usd_per_mwh is not None:
        own = xp.where(xp.isnan(own_usd_per_mwh), own, own_usd_per_mwh)
    return xp.minimum(own, buy_usd_per_mwh - spread)


def seen_sell_usd_per_mwh(compiled: Compiled, buy_usd_per_mwh: Array, sell_usd_now: Array) -> Array:
    """Return the price of export [...,K] where it shows to be no share of that of import, NaN elsewhere.

    Such a price, a feed-in tariff, is expected to stay as it is.
    """
    rule = sell_usd_per_mwh(compiled, buy_usd_per_mwh)
    xp = namespace(rule)
    return xp.where(xp.abs(sell_usd_now - rule) > SAME_USD_PER_MWH, sell_usd_now, np.nan)


def battery_targets_mwh(compiled: Compiled, steps: int, last: bool) -> np.ndarray:
    """Return the wanted charge [steps,K]: 0, except in the last of the steps where that ends the episode."""
    target = np.zeros((steps, compiled.shape.sites))
    if last:
        target[-1] = compiled.sites.battery_target_mwh
    return target


def grid_fields(
    compiled: Compiled, buy_usd_per_mwh: Array, events: EventTable, own_sell_usd_per_mwh: Array | None = None
) -> dict[str, Array]:
    """Return prices and limits that follow from the price of import (shocks included), one of export and events,
    [...,K] each."""
    sell = sell_usd_per_mwh(compiled, buy_usd_per_mwh, own_sell_usd_per_mwh)
    limits = {field: limit(compiled, kind, events, sell) for kind, (field, _) in LIMITS.items()}
    return {
        "buy_usd_per_mwh": buy_usd_per_mwh,
        "sell_usd_per_mwh": sell,
        "network_usd_per_mwh": namespace(buy_usd_per_mwh).maximum(buy_usd_per_mwh, 0.0),
        **limits,
    }


def limit(compiled: Compiled, kind: str, events: EventTable, sell_usd_per_mwh: Array) -> Array:
    """Return the limit of a kind [...,K] with the events; the price [...,K] decides on export alone."""
    _, most = LIMITS[kind]
    factor = events.limit_factor(kind, beside=sell_usd_per_mwh)
    limited = constant(most(compiled), factor) * factor
    if kind != "export_limit":
        return limited
    # Selling at a negative price would be a way to burn energy.
    return namespace(factor).where(sell_usd_per_mwh < 0.0, 0.0, limited)


def exogenous_arrays(
    compiled: Compiled,
    sites: SiteSeries,
    demand: Demand,
    jobs: JobTable,
    events: EventTable,
    calls: CallTable,
    past: BaselineCalendar | None,
) -> Exogenous:
    """Return the exogenous input of whole episodes, [B,T,...]; ``past`` where a line has a baseline."""
    shape, wait = compiled.shape, compiled.row_wait_steps
    now = np.s_[:, -shape.steps :]
    growth, rehomed = session_growth(demand.arrivals_gpuh, wait)

    # Events act on prices and limits; demand, weather and an export price of its own do not feel them.
    own = None if sites.sell_usd_per_mwh is None else sites.sell_usd_per_mwh[now]
    buy = events.shocked_usd_per_mwh(sites.buy_usd_per_mwh[now])
    grid = grid_fields(compiled, buy, events, own)
    grid |= line_fields(compiled, calls.depth, sites.clean_mw[now], grid, past)
    target = empty(buy.shape, buy)
    target[...] = constant(battery_targets_mwh(compiled, shape.steps, last=True), buy)

    return Exogenous(
        arrivals_gpuh=demand.arrivals_gpuh,
        queue_limit_gpuh=queue_limits_gpuh(demand.arrivals_gpuh, wait),
        growth=growth,
        rehomed_gpuh=rehomed,
        pue=sites.pue[now],
        renewable_available_mw=sites.renewable_mw[now],
        **grid,
        carbon_average_kg_per_mwh=sites.carbon_average_kg_per_mwh[now],
        carbon_marginal_kg_per_mwh=sites.carbon_marginal_kg_per_mwh[now],
        battery_target_mwh=target,
        job_open=jobs.open,
    )


def billed_and_other(compiled: Compiled, average: Array, marginal: Array) -> tuple[Array, Array]:
    """Return the carbon signal that is billed, then the one that is only reported."""
    return (marginal, average) if compiled.params.bill_marginal else (average, marginal)


def forecast_background(
    compiled: Compiled, sites: SiteSeries, demand: Demand, series: ZoneSeries, base: ForecastBase
) -> Background:
    """Return what forecasts are made from: truth before price events, climatology and usual deviation."""
    carbon, _ = billed_and_other(compiled, sites.carbon_average_kg_per_mwh, sites.carbon_marginal_kg_per_mwh)
    truth = [sites.buy_usd_per_mwh, carbon, sites.renewable_mw, demand.region_gpuh, sites.clean_mw]
    expected = [
        sites.buy_climatology_usd_per_mwh,
        sites.carbon_climatology_kg_per_mwh,
        sites.renewable_climatology_mw,
        demand.expected_gpuh,
        sites.clean_climatology_mw,
    ]

    shape, xp = compiled.shape, namespace(carbon)
    unknown = np.full(shape.sites, np.inf)
    blind, of_demand = base.blind, demand.blind
    if blind is not None or of_demand is not None:
        episodes = len(demand.expected_gpuh)
        blind = np.zeros((episodes, len(compiled.sites.zones)), dtype=bool) if blind is None else blind
        at_sites = blind[:, compiled.sites.zone_index]
        of_demand = np.zeros((episodes, shape.regions), dtype=bool) if of_demand is None else of_demand
        at_contracts = at_sites[:, [rule.site for rule in compiled.lines.matching]]
        blind = np.concatenate([at_sites, at_sites, at_sites, of_demand, at_contracts], axis=-1)

    return Background(
        truth=xp.concatenate([as_float32(values) for values in truth], axis=-1),
        climatology=xp.concatenate([as_float32(values) for values in expected], axis=-1),
        typical=xp.concatenate(_typical(compiled, series, demand, base), axis=-1),
        upper=np.concatenate(
            [
                unknown,
                unknown,
                compiled.sites.renewable_mw,
                np.full(shape.regions, np.inf),
                _most_clean_mw(compiled),
            ]
        ),
        sites=shape.sites,
        blind=blind,
        published=base.published,
    )


def _most_clean_mw(compiled: Compiled) -> Floats:
    """Return the contracted power of each matching line, [M]."""
    return np.array([rule.spec.wind_mw + rule.spec.pv_mw for rule in compiled.lines.matching])


def usual_deviations(
    compiled: Compiled, deviation: Deviation
) -> tuple[Float[Floats32, "N 3*K+M"], Float[Floats32, "*episodes K+M"]]:
    """Return the deviation of zones at the sites, as `ForecastBase` has it."""
    table, at = compiled.sites, compiled.sites.zone_index
    zone, contracts = _renewable_zones(compiled), [rule.spec for rule in compiled.lines.matching]
    carbon, _ = billed_and_other(
        compiled, deviation.carbon_average_kg_per_mwh, deviation.carbon_marginal_kg_per_mwh
    )
    price_scale = table.price_scale * table.price_spread_scale
    wind_mw = np.append(table.wind_mw, [c.wind_mw for c in contracts]) * deviation.wind_cf[:, zone]
    usual = [price_scale * deviation.price_usd_per_mwh[:, at], carbon[:, at], wind_mw]
    sun_mw = np.append(table.pv_mw, [c.pv_mw for c in contracts]) * deviation.pv_relative[..., zone]
    return as_float32(np.concatenate(usual, axis=-1)), as_float32(sun_mw)


def _renewable_zones(compiled: Compiled) -> Index:
    """Return the zones of the renewable power at the sites and of contracts, [K+M] into `SiteTable.zones`."""
    zone = compiled.sites.zone_index
    return np.append(zone, [zone[rule.site] for rule in compiled.lines.matching]).astype(zone.dtype)


def _typical(compiled: Compiled, series: ZoneSeries, demand: Demand, base: ForecastBase) -> list[Array]:
    """Return the typical |truth - climatology| of each series, float32, together [B,T,3K+C+M]."""
    at = _renewable_zones(compiled)
    now, sites = np.s_[:, -compiled.shape.steps :], compiled.shape.sites
    grid = take_rows(base.by_month_hour, base.row)
    wind_mw = grid[..., 2 * sites :]
    sun_mw = as_float32(columns(series.pv_cf_climatology[now], at))
    sun_mw = constant(base.sun_mw, sun_mw) * sun_mw
    renewable_mw = namespace(sun_mw).sqrt(wind_mw * wind_mw + sun_mw * sun_mw)
    demand_gpuh = MEDIAN_OF_NORMAL * as_float32(demand.deviation_gpuh)
    return [grid[..., : 2 * sites], renewable_mw[..., :sites], demand_gpuh, renewable_mw[..., sites:]]
