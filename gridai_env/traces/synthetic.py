"""Synthetic series of grid zones: the model of `calibration` driven by correlated random residuals.

An episode is a pure function of (zones, start, steps, dt) and the draws of its own generator: one call of
`standard_normal` per episode, and no operation that mixes episodes.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from gridai_env.traces.calibration import (
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

EPISODES = 16  # at a time: what is worked on stays in the processor's cache
EXPECTED = ("price", "carbon", "marginal", "pv", "wind")

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
    values = np.empty((len(VARIABLES), *cells.shape))
    for first in range(0, len(rngs), EPISODES):
        part = slice(first, first + EPISODES)
        _draw(model, cells[part], rngs[part], values[:, part])
    hourly = dict(zip(VARIABLES, values, strict=True))
    surplus = np.where(hourly["price"] <= 0.0, MARGINAL_AT_SURPLUS, 1.0)
    surplus *= model.marginal_normal_kg_per_mwh
    hourly["marginal"] = surplus
    expected = {name: model.climatology[name].take(cells) for name in EXPECTED}
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


def _draw(model: ZoneModel, cells: np.ndarray, rngs: Sequence[np.random.Generator], out: np.ndarray) -> None:
    """Write hourly values of the VARIABLES to ``out`` [V, B, hours, Z]."""
    residual, trigger, size = _latent(model, rngs, cells.shape[1])
    month = cells // 24
    _values(model, cells, month, residual, out)
    pv, price = out[VARIABLES.index("pv")], out[VARIABLES.index("price")]
    pv *= model.pv_profile.take(cells)
    np.minimum(model.pv_highest.take(month), pv, out=pv)
    on = np.nonzero(trigger > model.spike_level.take(cells))
    price[on] = _spikes_usd_per_mwh(model, month[on], size[on])


def _latent(
    model: ZoneModel, rngs: Sequence[np.random.Generator], hours: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Standard normals with memory: residuals [V, B, hours, Z], trigger and size of spikes [B, hours, Z]."""
    drive, count = model.drive, len(model.zones)
    draws = np.empty((hours, len(drive.phi)))
    z = np.empty((hours, len(rngs), len(drive.phi)))
    for b, rng in enumerate(rngs):
        rng.standard_normal(out=draws)
        # One product per episode: its rounding must not depend on how many episodes there are.
        for part, start, innovation in zip(drive.columns, drive.start, drive.innovation, strict=True):
            np.matmul(draws[:, part], innovation, out=z[:, b, part])
            np.matmul(start, draws[0, part], out=z[0, b, part])
    kept = np.empty_like(z[0])
    for before, now in pairwise(z):
        np.multiply(before, drive.phi, out=kept)
        now += kept
    parts = z.reshape(hours, len(rngs), -1, count).transpose(2, 1, 0, 3)
    variables = len(VARIABLES)
    residual = np.empty((variables, len(rngs), hours, count))
    np.add(parts[:variables], parts[variables : 2 * variables], out=residual)
    own, size = parts[2 * variables :]
    return residual, SPIKE_FROM_PRICE * residual[VARIABLES.index("price")] + own, size


def _values(
    model: ZoneModel, cells: np.ndarray, month: np.ndarray, residual: np.ndarray, out: np.ndarray
) -> None:
    """Write the quantiles of the residuals [V, B, hours, Z] to ``out``; those of PV are relative."""
    base = month * len(KNOTS)
    for v, place in enumerate(residual):
        place *= model.place_spread[v].take(cells)
        place += model.place_shift[v].take(cells)
        _interpolate(model.quantiles[v], len(KNOTS), base, place, out[v])


def _spikes_usd_per_mwh(model: ZoneModel, month: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Prices [N] of spikes in months `zone * 12 + month` [N]: cap + excess."""
    count = len(EXCESS_KNOTS)
    place = (size - EXCESS_KNOTS[0]) / (EXCESS_KNOTS[1] - EXCESS_KNOTS[0])
    excess = np.empty_like(place)
    _interpolate(model.spike_excess_shape, count, month // 12 * count, place, excess)
    return model.spike_cap_usd_per_mwh[month] + model.spike_mean_excess_usd_per_mwh[month] * excess


def _interpolate(table: np.ndarray, count: int, base: np.ndarray, place: np.ndarray, out: np.ndarray) -> None:
    """Write `table[base + place]` to ``out``, linear between the `count` knots, flat beyond the ends.

    `place` counts knots; it is used up.
    """
    np.clip(place, 0.0, count - 1.0, out=place)
    left = place.astype(np.int64)
    np.minimum(left, count - 2, out=left)
    place -= left
    left += base
    low = table.take(left)
    left += 1
    np.subtract(table.take(left), low, out=out)
    out *= place
    out += low


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
