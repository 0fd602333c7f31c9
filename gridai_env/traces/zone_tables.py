"""The generator's tables for a tuple of zones, flattened for fast look-up, and its correlated memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from gridai_env.arrays.types import Array
from gridai_env.traces.calibration import (
    ADDITIVE,
    KNOTS,
    MARGINAL_AT_SURPLUS,
    SLOW_PHI,
    SPIKE_FROM_PRICE,
    VARIABLES,
    ZoneCalibration,
    calibration_year,
    residual_correlation,
    zone_calibration,
)
from gridai_env.traces.errors import TraceError

_SMALLEST_EIGENVALUE = 1e-6
_HIGHEST_CORRELATION = 0.97


@dataclass(frozen=True)
class Drive:
    """The memory as the generator uses it, one entry for each block of columns correlated among themselves.

    The output columns of a block are variable by variable (not zone by zone, as the draws are), so that each
    variable lies in one piece, and carry the weights with which slow, fast and own parts enter the residual.
    """

    columns: tuple[slice, ...]
    start: tuple[np.ndarray, ...]  # [n,n], first value = start @ draws
    innovation: tuple[np.ndarray, ...]  # [n,n], innovations = draws @ innovation
    phi: np.ndarray  # of all output columns


@dataclass(frozen=True)
class ZoneModel:
    """Tables of a tuple of zones, flattened so that one index array serves all of them.

    `[Z*288]` tables are read with the cells of `month_hour_cells`; quantile tables `[Z*12*K]` with cell //
    24. The tables `[V,...]` hold all VARIABLES; a residual z has its place among the knots, counted from the
    first, at `place_shift + place_spread * z`.
    """

    zones: tuple[str, ...]
    quantiles: np.ndarray
    place_shift: np.ndarray
    place_spread: np.ndarray
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
    drive: Drive
    provenance: dict[str, str]

    def map(self, function: Callable[[Array], Array]) -> ZoneModel:
        """Return the model with ``function`` applied to every array that is needed to draw."""
        drive = replace(
            self.drive,
            start=tuple(map(function, self.drive.start)),
            innovation=tuple(map(function, self.drive.innovation)),
            phi=function(self.drive.phi),
        )
        arrays = {name: function(getattr(self, name)) for name in _TABLES}
        climatology = {name: function(table) for name, table in self.climatology.items()}
        return replace(self, drive=drive, climatology=climatology, **arrays)


_TABLES = (
    "quantiles",
    "place_shift",
    "place_spread",
    "pv_profile",
    "pv_highest",
    "spike_level",
    "spike_cap_usd_per_mwh",
    "spike_mean_excess_usd_per_mwh",
    "spike_excess_shape",
    "marginal_normal_kg_per_mwh",
)


@lru_cache(maxsize=64)
def zone_model(zones: tuple[str, ...]) -> ZoneModel:
    if not zones or len(set(zones)) != len(zones):
        raise TraceError(f"zones = {zones}: name at least one zone, each once")
    tables = [zone_calibration(zone) for zone in zones]
    slow = np.array([t.slow_share[name] for t in tables for name in VARIABLES])
    phi, start_factor, innovation_factor = _memory(zones, tables)
    place_shift, place_spread = _places(tables)
    return ZoneModel(
        zones=zones,
        quantiles=np.array([[t.quantiles[name] for t in tables] for name in VARIABLES]).reshape(
            len(VARIABLES), -1
        ),
        place_shift=place_shift,
        place_spread=place_spread,
        pv_profile=np.concatenate([t.pv_profile.ravel() for t in tables]),
        pv_highest=np.concatenate([t.pv_highest for t in tables]),
        climatology={
            k: np.concatenate([t.climatology[k].ravel() for t in tables]) for k in tables[0].climatology
        },
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
        drive=_drive(slow, phi, start_factor, innovation_factor),
        provenance={t.zone: _provenance(t) for t in tables},
    )


def _places(tables: list[ZoneCalibration]) -> tuple[np.ndarray, np.ndarray]:
    """Shift and spread [V, Z*288] that lead from a residual to its place among the knots.

    The residual of PV is the score itself.
    """
    cells = tables[0].shift[ADDITIVE[0]].size
    shift = np.zeros((len(VARIABLES), len(tables), cells))
    spread = np.ones_like(shift)
    for v, name in enumerate(VARIABLES):
        if name in ADDITIVE:
            shift[v] = [t.shift[name].ravel() for t in tables]
            spread[v] = [t.spread[name].ravel() for t in tables]
    width = KNOTS[1] - KNOTS[0]
    flat = (len(VARIABLES), -1)
    return ((shift - KNOTS[0]) / width).reshape(flat), (spread / width).reshape(flat)


def _drive(slow_share: np.ndarray, phi: np.ndarray, start: np.ndarray, innovation: np.ndarray) -> Drive:
    """Sort and weigh the output of the memory, block by block: slow, fast, own part of the trigger, size."""
    series = len(slow_share)
    count = series // len(VARIABLES)
    by_variable = np.arange(series).reshape(count, -1).T.ravel()
    zones = np.arange(count)
    own = np.full(count, np.sqrt(1 - SPIKE_FROM_PRICE**2))
    parts = [
        (by_variable, np.sqrt(slow_share)),
        (by_variable, np.sqrt(1 - slow_share)),
        (zones, own),
        (zones, np.ones(count)),
    ]
    at, columns, starts, innovations, kept = 0, [], [], [], []
    for order, weight in parts:
        block = slice(at, at + len(order))
        columns.append(block)
        starts.append((start[block, block] * weight[:, None])[order])
        innovations.append(np.ascontiguousarray((innovation[block, block] * weight[:, None])[order].T))
        kept.append(phi[block][order])
        at += len(order)
    return Drive(tuple(columns), tuple(starts), tuple(innovations), np.concatenate(kept))


def _provenance(table: ZoneCalibration) -> str:
    return (
        f"synthetic, calibrated on {calibration_year()} ({table.note}); average carbon: direct; "
        f"marginal carbon: {table.marginal_kg_per_mwh:g} kg/MWh ({table.marginal_source}), "
        f"{MARGINAL_AT_SURPLUS:g} of the usual "
        "value at prices <= 0, annual mean kept; wet bulb: calibrated generator; pv and wind: "
        "calibrated weather proxies"
    )


def _memory(
    zones: tuple[str, ...], tables: list[ZoneCalibration]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """AR(1) coefficients of all latent columns and the Cholesky factors of their start and their innovations.

    Columns: slow [Z*5], fast [Z*5], own part of the spike trigger [Z], spike size [Z]; n = Z*12. The
    triggers of the zones are correlated like their prices.
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


def _split_correlation(
    observed: np.ndarray, share: np.ndarray, fast_phi: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Correlations of the slow and of the fast parts that together give the observed one where that is
    possible.

    Two fast parts with different memory cannot be correlated fully; the slow parts then take over what is
    missing.
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
