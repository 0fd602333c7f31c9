"""Synthetic series of grid zones: the model of `calibration` driven by correlated random residuals.

An episode is a pure function of (zones, start, steps, dt) and the draws of its own generator: one call of
`standard_normal` per episode, and no operation that mixes episodes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from gridai_env.traces.calibration import (
    ADDITIVE,
    EXCESS_KNOTS,
    KNOTS,
    MARGINAL_AT_SURPLUS,
    SLOW_PHI,
    SPIKE_FROM_PRICE,
    VARIABLES,
    ZoneCalibration,
    calibration_year,
    known_zones,
    residual_correlation,
    zone_calibration,
)
from gridai_env.traces.clock import local_month_hour
from gridai_env.traces.series import StepGrid, TraceError, ZoneSeries, step_grid

__all__ = ["climatology_hourly", "known_zones", "month_hour_cells", "synthetic_series"]

_SMALLEST_EIGENVALUE = 1e-6
_HIGHEST_CORRELATION = 0.97


def synthetic_series(
    zones: Sequence[str], start_utc: np.ndarray, steps: int, dt_h: float, rngs: Sequence[np.random.Generator]
) -> ZoneSeries:
    """Random series for B episodes; episode b depends on `start_utc[b]` and `rngs[b]` alone, bit for bit.

    Hourly values are drawn; where dt < 1 h price and carbon stay constant inside the hour and weather is linear
    between the centres of the hours (held in the first half hour). Raises TraceError for an unknown or
    repeated zone, a bad clock, or a number of generators other than B.
    """
    model = _model(tuple(zones))
    grid = step_grid(np.asarray(start_utc), steps, dt_h)
    if len(rngs) != len(grid.first_hour):
        raise TraceError(f"rngs: need one generator per episode, got {len(rngs)} for {len(grid.first_hour)} starts")
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


@dataclass(frozen=True)
class _Model:
    """Tables of a tuple of zones, flattened so that one index array serves all of them.

    `[Z*288]` tables are read with the cells of `month_hour_cells`; quantile tables `[Z*12*K]` with cell // 24.
    """

    zones: tuple[str, ...]
    quantiles: dict[str, np.ndarray]
    shift: dict[str, np.ndarray]
    spread: dict[str, np.ndarray]
    pv_profile: np.ndarray
    pv_highest: np.ndarray
    climatology: dict[str, np.ndarray]
    spike_level: np.ndarray
    spike_cap_usd_per_mwh: np.ndarray
    spike_mean_excess_usd_per_mwh: np.ndarray
    spike_excess_shape: np.ndarray
    marginal_normal_kg_per_mwh: np.ndarray
    slow_weight: np.ndarray
    fast_weight: np.ndarray
    phi: np.ndarray
    start_factor: np.ndarray
    innovation_factor: np.ndarray
    provenance: dict[str, str]


@lru_cache(maxsize=64)
def _model(zones: tuple[str, ...]) -> _Model:
    if not zones or len(set(zones)) != len(zones):
        raise TraceError(f"zones = {zones}: name at least one zone, each once")
    tables = [zone_calibration(zone) for zone in zones]
    slow = np.array([t.slow_share[name] for t in tables for name in VARIABLES])
    phi, start_factor, innovation_factor = _memory(zones, tables)
    return _Model(
        zones=zones,
        quantiles={name: np.concatenate([t.quantiles[name].ravel() for t in tables]) for name in VARIABLES},
        shift={name: np.concatenate([t.shift[name].ravel() for t in tables]) for name in ADDITIVE},
        spread={name: np.concatenate([t.spread[name].ravel() for t in tables]) for name in ADDITIVE},
        pv_profile=np.concatenate([t.pv_profile.ravel() for t in tables]),
        pv_highest=np.concatenate([t.pv_highest for t in tables]),
        climatology={k: np.concatenate([t.climatology[k].ravel() for t in tables]) for k in tables[0].climatology},
        spike_level=np.concatenate([t.spike_level.ravel() for t in tables]),
        spike_cap_usd_per_mwh=np.concatenate([t.spike_cap_usd_per_mwh for t in tables]),
        spike_mean_excess_usd_per_mwh=np.concatenate([t.spike_mean_excess_usd_per_mwh for t in tables]),
        spike_excess_shape=np.concatenate([t.spike_excess_shape for t in tables]),
        marginal_normal_kg_per_mwh=np.array([t.marginal_normal_kg_per_mwh for t in tables]),
        slow_weight=np.sqrt(slow),
        fast_weight=np.sqrt(1 - slow),
        phi=phi,
        start_factor=start_factor,
        innovation_factor=innovation_factor,
        provenance={t.zone: _provenance(t) for t in tables},
    )


def _provenance(table: ZoneCalibration) -> str:
    return (
        f"synthetic, calibrated on {calibration_year()} ({table.note}); average carbon: direct; marginal carbon: "
        f"{table.marginal_kg_per_mwh:g} kg/MWh ({table.marginal_source}), {MARGINAL_AT_SURPLUS:g} of the usual value at "
        "prices <= 0, annual mean kept; wet bulb: calibrated generator; pv and wind: calibrated weather proxies"
    )


def _memory(zones: tuple[str, ...], tables: list[ZoneCalibration]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """AR(1) coefficients of all latent columns and the Cholesky factors of their start and their innovations.

    Columns: slow [Z*5], fast [Z*5], own part of the spike trigger [Z], spike size [Z]; n = Z*12. The triggers of
    the zones are correlated like their prices.
    """
    observed, count = residual_correlation(zones), len(zones)
    slow_phi = np.full(len(observed), SLOW_PHI)
    fast_phi = np.array([t.fast_phi[name] for t in tables for name in VARIABLES])
    share = np.array([t.slow_share[name] for t in tables for name in VARIABLES])
    slow, fast = _split_correlation(observed, share, fast_phi)
    price = slice(None, None, len(VARIABLES))
    blocks = [
        (slow, slow_phi),
        (fast, fast_phi),
        (observed[price, price], np.array([t.spike_phi for t in tables])),
        (np.eye(count), np.array([t.spike_size_phi for t in tables])),
    ]
    phi = np.concatenate([p for _, p in blocks])
    start, innovation = np.zeros((len(phi), len(phi))), np.zeros((len(phi), len(phi)))
    at = 0
    for stationary, p in blocks:
        rows = slice(at, at + len(p))
        decay = _decay(p)
        drive = _nearest_correlation(stationary * decay)
        innovation[rows, rows] = np.linalg.cholesky(drive) * np.sqrt(1 - p * p)[:, None]
        start[rows, rows] = np.linalg.cholesky(_nearest_correlation(drive / decay))
        at += len(p)
    return phi, start, innovation


def _decay(phi: np.ndarray) -> np.ndarray:
    """Correlation of the innovations over stationary correlation, for each pair of AR(1) with unit variance.

    A pair with innovation covariance c has the covariance c / (1 - phi_i * phi_j).
    """
    own = np.sqrt(1 - phi * phi)
    return (1 - np.outer(phi, phi)) / np.outer(own, own)


def _split_correlation(observed: np.ndarray, share: np.ndarray, fast_phi: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Correlations of the slow and of the fast parts that together give the observed one where that is possible.

    Two fast parts with different memory cannot be correlated fully; the slow parts then take over what is missing.
    """
    slow_weight = np.sqrt(np.outer(share, share))
    fast_weight = np.sqrt(np.outer(1 - share, 1 - share))
    reach = _HIGHEST_CORRELATION / _decay(fast_phi)
    fast = np.clip(observed / (slow_weight + fast_weight), -reach, reach)
    slow = (observed - fast_weight * fast) / np.maximum(slow_weight, 1e-6)
    slow = np.clip(slow, -_HIGHEST_CORRELATION, _HIGHEST_CORRELATION)
    np.fill_diagonal(slow, 1.0)
    np.fill_diagonal(fast, 1.0)
    return slow, fast


def _nearest_correlation(matrix: np.ndarray) -> np.ndarray:
    """Positive definite matrix with unit diagonal near `matrix`: eigenvalues clipped, diagonal rescaled."""
    values, vectors = np.linalg.eigh(matrix)
    clipped = (vectors * np.maximum(values, _SMALLEST_EIGENVALUE)) @ vectors.T
    scale = np.sqrt(np.diag(clipped))
    return clipped / np.outer(scale, scale)


def _latent(model: _Model, rngs: Sequence[np.random.Generator], hours: int) -> dict[str, np.ndarray]:
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


def _additive(model: _Model, name: str, cells: np.ndarray, z: np.ndarray) -> np.ndarray:
    score = model.shift[name].take(cells) + model.spread[name].take(cells) * z
    return _lookup(model.quantiles[name], KNOTS, cells // 24, score)


def _pv(model: _Model, cells: np.ndarray, z: np.ndarray) -> np.ndarray:
    month = cells // 24
    factor = _lookup(model.quantiles["pv"], KNOTS, month, z)
    return np.minimum(model.pv_highest.take(month), model.pv_profile.take(cells) * factor)


def _with_spikes(model: _Model, cells: np.ndarray, body: np.ndarray, latent: dict[str, np.ndarray]) -> np.ndarray:
    """Replace the body of the price by cap + excess where the trigger is above its level."""
    on = np.flatnonzero(latent["trigger"] > model.spike_level.take(cells))
    price = body.copy()
    cell = cells.ravel()[on]
    size = _lookup(model.spike_excess_shape, EXCESS_KNOTS, cell // 288, latent["size"].ravel()[on])
    month = cell // 24
    price.reshape(-1)[on] = model.spike_cap_usd_per_mwh[month] + model.spike_mean_excess_usd_per_mwh[month] * size
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
    model: _Model, grid: StepGrid, start_utc: np.ndarray, dt_h: float,
    hourly: dict[str, np.ndarray], expected: dict[str, np.ndarray],
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
