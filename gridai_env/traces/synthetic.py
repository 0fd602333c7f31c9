"""Synthetic series of grid zones: the model of `calibration` driven by correlated random residuals.

An episode is a pure function of (zones, start, steps, dt) and the draws of its own generator: one call of
`standard_normal` per episode, and no operation that mixes episodes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gridai_env.traces.calibration import (
    ADDITIVE,
    EXCESS_KNOTS,
    KNOTS,
    MARGINAL_AT_SURPLUS,
    SPIKE_FROM_PRICE,
    VARIABLES,
    known_zones,
    zone_calibration,
)
from gridai_env.traces.clock import local_month_hour
from gridai_env.traces.model import ZoneModel, zone_model
from gridai_env.traces.series import StepGrid, TraceError, ZoneSeries, step_grid

__all__ = ["climatology_hourly", "known_zones", "month_hour_cells", "synthetic_series"]


def synthetic_series(
    zones: Sequence[str], start_utc: np.ndarray, steps: int, dt_h: float, rngs: Sequence[np.random.Generator]
) -> ZoneSeries:
    """Random series for B episodes; episode b depends on `start_utc[b]` and `rngs[b]` alone, bit for bit.

    Hourly values are drawn; where dt < 1 h price and carbon stay constant inside the hour and weather is
    linear between the centres of the hours (held in the first half hour). Raises TraceError for an unknown or
    repeated zone, a bad clock, or a number of generators other than B.
    """
    model = zone_model(tuple(zones))
    grid = step_grid(np.asarray(start_utc), steps, dt_h)
    if len(rngs) != len(grid.first_hour):
        raise TraceError(
            f"rngs: need one generator per episode, got {len(rngs)} for {len(grid.first_hour)} starts"
        )
    cells = month_hour_cells(model.zones, grid.first_hour, grid.hours)
    latent = _latent(model, rngs, grid.hours)
    hourly = {name: _additive(model, name, cells, latent[name]) for name in ADDITIVE}
    hourly["pv"] = _pv(model, cells, latent["pv"])
    hourly["price"] = _with_spikes(model, cells, hourly["price"], latent)
    surplus = np.where(hourly["price"] <= 0.0, MARGINAL_AT_SURPLUS, 1.0)
    hourly["marginal"] = model.marginal_normal_kg_per_mwh * surplus
    expected = {name: model.climatology[name].take(cells) for name in model.climatology}
    return _series(model, grid, start_utc, dt_h, hourly, expected)


def month_hour_cells(zones: tuple[str, ...], first_hour: np.ndarray, hours: int) -> np.ndarray:
    """Index `zone*288 + month*24 + hour` (local) of every hour, int64 [B, hours, Z]."""
    cells = np.empty((len(first_hour), hours, len(zones)), dtype=np.int64)
    done: dict[str, np.ndarray] = {}
    for i, zone in enumerate(zones):
        timezone = zone_calibration(zone).timezone
        if timezone not in done:
            month, hour = local_month_hour(timezone, first_hour, hours)
            done[timezone] = month * 24 + hour
        cells[:, :, i] = done[timezone] + i * 288
    return cells


def climatology_hourly(zone: str, first_hour: np.ndarray, hours: int) -> dict[str, np.ndarray]:
    """Month-hour means of a calibrated zone, [B, hours]: price, carbon, marginal, wetbulb, pv, wind."""
    cells = month_hour_cells((zone,), first_hour, hours)[:, :, 0]
    return {name: values.take(cells) for name, values in zone_calibration(zone).climatology.items()}


def _latent(model: ZoneModel, rngs: Sequence[np.random.Generator], hours: int) -> dict[str, np.ndarray]:
    """Standard normal residuals with memory, [B, hours, Z] each: the VARIABLES, `trigger` and `size`."""
    columns, count = len(model.phi), len(model.zones)
    z = np.empty((hours, len(rngs), columns))
    for b, rng in enumerate(rngs):
        draws = rng.standard_normal((hours, columns))
        # One product per episode: its rounding must not depend on how many episodes there are.
        z[:, b] = draws @ model.innovation_factor.T
        z[0, b] = model.start_factor @ draws[0]
    for t in range(1, hours):
        z[t] += model.phi * z[t - 1]
    series = count * len(VARIABLES)
    residual = model.slow_weight * z[:, :, :series] + model.fast_weight * z[:, :, series : 2 * series]
    latent = {name: residual[:, :, i :: len(VARIABLES)].swapaxes(0, 1) for i, name in enumerate(VARIABLES)}
    own = z[:, :, 2 * series : 2 * series + count].swapaxes(0, 1)
    latent["trigger"] = SPIKE_FROM_PRICE * latent["price"] + np.sqrt(1 - SPIKE_FROM_PRICE**2) * own
    latent["size"] = z[:, :, 2 * series + count :].swapaxes(0, 1)
    return latent


def _additive(model: ZoneModel, name: str, cells: np.ndarray, z: np.ndarray) -> np.ndarray:
    score = model.shift[name].take(cells) + model.spread[name].take(cells) * z
    return _lookup(model.quantiles[name], KNOTS, cells // 24, score)


def _pv(model: ZoneModel, cells: np.ndarray, z: np.ndarray) -> np.ndarray:
    month = cells // 24
    factor = _lookup(model.quantiles["pv"], KNOTS, month, z)
    return np.minimum(model.pv_highest.take(month), model.pv_profile.take(cells) * factor)


def _with_spikes(
    model: ZoneModel, cells: np.ndarray, body: np.ndarray, latent: dict[str, np.ndarray]
) -> np.ndarray:
    """Replace the body of the price by cap + excess where the trigger is above its level."""
    on = np.flatnonzero(latent["trigger"] > model.spike_level.take(cells))
    price = body.copy()
    cell = cells.ravel()[on]
    size = _lookup(model.spike_excess_shape, EXCESS_KNOTS, cell // 288, latent["size"].ravel()[on])
    month = cell // 24
    price.reshape(-1)[on] = (
        model.spike_cap_usd_per_mwh[month] + model.spike_mean_excess_usd_per_mwh[month] * size
    )
    return price


def _lookup(table: np.ndarray, knots: np.ndarray, row: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Linear interpolation over equidistant knots in row `row` of a flattened table; flat beyond the ends."""
    count = len(knots)
    place = (x - knots[0]) / (knots[1] - knots[0])
    np.clip(place, 0.0, count - 1.0, out=place)
    left = np.minimum(place.astype(np.int64), count - 2)
    place -= left
    left += row * count
    low = table.take(left)
    left += 1
    return low + place * (table.take(left) - low)


def _series(
    model: ZoneModel,
    grid: StepGrid,
    start_utc: np.ndarray,
    dt_h: float,
    hourly: dict[str, np.ndarray],
    expected: dict[str, np.ndarray],
) -> ZoneSeries:
    return ZoneSeries(
        zones=model.zones,
        start_utc=np.asarray(start_utc).astype("datetime64[m]"),
        dt_h=dt_h,
        price_usd_per_mwh=grid.hold(hourly["price"]),
        carbon_average_kg_per_mwh=grid.hold(hourly["carbon"]),
        carbon_marginal_kg_per_mwh=grid.hold(hourly["marginal"]),
        wetbulb_c=grid.interpolate(hourly["wetbulb"]),
        pv_cf=grid.interpolate(hourly["pv"]),
        wind_cf=grid.interpolate(hourly["wind"]),
        price_climatology_usd_per_mwh=grid.hold(expected["price"]),
        carbon_average_climatology_kg_per_mwh=grid.hold(expected["carbon"]),
        carbon_marginal_climatology_kg_per_mwh=grid.hold(expected["marginal"]),
        pv_cf_climatology=grid.interpolate(expected["pv"]),
        wind_cf_climatology=grid.interpolate(expected["wind"]),
        provenance=dict(model.provenance),
    )
