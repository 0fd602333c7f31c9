"""The generator's tables for a tuple of zones, flattened for fast look-up, and its correlated memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from gridai_env.arrays.types import Array, Float, Floats
from gridai_env.traces import calibration
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
    start: tuple[Float[Array, "n n"], ...]  # first value = start @ draws
    innovation: tuple[Float[Array, "n n"], ...]  # innovations = draws @ innovation
    phi: Float[Array, " columns"]  # AR(1) coefficients of all output columns


@dataclass(frozen=True)
class ZoneModel:
    """Tables of a tuple of zones, flattened so that one index array serves all of them.

    Z zones, V variables, K knots.  Tables by cell (Z * 288) are read with the cells of `month_hour_cells`, those by
    month (Z * 12) with cell // 24.  A residual z has its place among the knots, counted from the first, at
    `place_shift + place_spread * z`.
    """

    zones: tuple[str, ...]
    quantiles: Float[Array, "V month*K"]
    place_shift: Float[Array, "V cell"]
    place_spread: Float[Array, "V cell"]
    pv_profile: Float[Array, " cell"]
    pv_highest: Float[Array, " month"]
    climatology: dict[str, Float[Array, " cell"]]
    spike_level: Float[Array, " cell"]
    spike_cap_usd_per_mwh: Float[Array, " month"]
    spike_mean_excess_usd_per_mwh: Float[Array, " month"]
    spike_excess_shape: Float[Array, " Z*E"]
    marginal_normal_kg_per_mwh: Float[Array, " Z"]
    slow_weight: Float[Floats, " Z*V"]
    fast_weight: Float[Floats, " Z*V"]
    phi: Float[Floats, " n"]
    start_factor: Float[Floats, "n n"]
    innovation_factor: Float[Floats, "n n"]
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


# Tables of a zone that stand one after the other; with the others these are what drawing needs.
_FLAT = (
    "pv_profile",
    "pv_highest",
    "spike_level",
    "spike_cap_usd_per_mwh",
    "spike_mean_excess_usd_per_mwh",
    "spike_excess_shape",
)
_TABLES = (*_FLAT, "quantiles", "place_shift", "place_spread", "marginal_normal_kg_per_mwh")


@lru_cache(maxsize=64)
def zone_model(zones: tuple[str, ...]) -> ZoneModel:
    """Return the generator's tables; raises TraceError for no zone, a repeated one or one without calibration."""
    if not zones or len(set(zones)) != len(zones):
        raise TraceError(f"zones = {zones}: name at least one zone, each once")
    tables = [calibration.zone_calibration(zone) for zone in zones]
    slow = np.array([t.slow_share[name] for t in tables for name in calibration.VARIABLES])
    phi, start_factor, innovation_factor = _memory(zones, tables)
    place_shift, place_spread = _places(tables)
    quantiles = np.array([[t.quantiles[name] for t in tables] for name in calibration.VARIABLES])

    def flat(name: str) -> Float[Floats, " n"]:
        return np.concatenate([getattr(t, name).ravel() for t in tables])

    return ZoneModel(
        zones=zones,
        quantiles=quantiles.reshape(len(calibration.VARIABLES), -1),
        place_shift=place_shift,
        place_spread=place_spread,
        climatology={
            k: np.concatenate([t.climatology[k].ravel() for t in tables]) for k in tables[0].climatology
        },
        **{name: flat(name) for name in _FLAT},
        marginal_normal_kg_per_mwh=np.array([t.marginal_normal_kg_per_mwh for t in tables]),
        slow_weight=np.sqrt(slow),
        fast_weight=np.sqrt(1 - slow),
        phi=phi,
        start_factor=start_factor,
        innovation_factor=innovation_factor,
        drive=_drive(slow, phi, start_factor, innovation_factor),
        provenance={t.zone: _provenance(t) for t in tables},
    )


def _places(
    tables: list[calibration.ZoneCalibration],
) -> tuple[Float[Floats, "V cell"], Float[Floats, "V cell"]]:
    """Return shift and spread that lead from a residual to its place among the knots."""
    cells = tables[0].shift[calibration.ADDITIVE[0]].size
    # PV has neither: its residual is the score itself.
    shift = np.zeros((len(calibration.VARIABLES), len(tables), cells))
    spread = np.ones_like(shift)
    for v, name in enumerate(calibration.VARIABLES):
        if name in calibration.ADDITIVE:
            shift[v] = [t.shift[name].ravel() for t in tables]
            spread[v] = [t.spread[name].ravel() for t in tables]

    width = calibration.KNOTS[1] - calibration.KNOTS[0]
    flat = (len(calibration.VARIABLES), -1)
    return ((shift - calibration.KNOTS[0]) / width).reshape(flat), (spread / width).reshape(flat)


def _drive(
    slow_share: Float[Floats, " s"],
    phi: Float[Floats, " n"],
    start: Float[Floats, "n n"],
    innovation: Float[Floats, "n n"],
) -> Drive:
    """Sort and weigh the output of the memory, block by block: slow, fast, own part of the trigger, size."""
    series = len(slow_share)
    count = series // len(calibration.VARIABLES)
    by_variable = np.arange(series).reshape(count, -1).T.ravel()
    zones = np.arange(count)
    own = np.full(count, np.sqrt(1 - calibration.SPIKE_FROM_PRICE**2))
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


def _provenance(table: calibration.ZoneCalibration) -> str:
    return (
        f"synthetic, calibrated on {calibration.calibration_year()} ({table.note}); average carbon: direct; "
        f"marginal carbon: {table.marginal_kg_per_mwh:g} kg/MWh ({table.marginal_source}), "
        f"{calibration.MARGINAL_AT_SURPLUS:g} of the usual "
        "value at prices <= 0, annual mean kept; wet bulb: calibrated generator; pv and wind: "
        "calibrated weather proxies"
    )


def _memory(
    zones: tuple[str, ...], tables: list[calibration.ZoneCalibration]
) -> tuple[Float[Floats, " n"], Float[Floats, "n n"], Float[Floats, "n n"]]:
    """Return AR(1) coefficients of all latent columns and the Cholesky factors of their start and their innovations.

    Columns: slow [Z*5], fast [Z*5], own part of the spike trigger [Z], spike size [Z]; n = Z*12. The
    triggers of the zones are correlated like their prices.
    """
    observed, count = calibration.residual_correlation(zones), len(zones)
    slow_phi = np.full(len(observed), calibration.SLOW_PHI)
    fast_phi = np.array([t.fast_phi[name] for t in tables for name in calibration.VARIABLES])
    share = np.array([t.slow_share[name] for t in tables for name in calibration.VARIABLES])
    slow, fast = _split_correlation(observed, share, fast_phi)
    price = slice(None, None, len(calibration.VARIABLES))  # the first of each zone's variables

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
        # Clip the innovations to a valid correlation first; the stationary one follows from what is left of them.
        drive = _nearest_correlation(stationary * decay)
        innovation[rows, rows] = np.linalg.cholesky(drive) * np.sqrt(1 - p * p)[:, None]
        start[rows, rows] = np.linalg.cholesky(_nearest_correlation(drive / decay))
        at += len(p)
    return phi, start, innovation


def _decay(phi: Float[Floats, " n"]) -> Float[Floats, "n n"]:
    """Return innovation over stationary correlation for each pair of AR(1) processes with unit variance.

    A pair with innovation covariance c has the covariance c / (1 - phi_i * phi_j).
    """
    own = np.sqrt(1 - phi * phi)
    return (1 - np.outer(phi, phi)) / np.outer(own, own)


def _split_correlation(
    observed: Float[Floats, "n n"], share: Float[Floats, " n"], fast_phi: Float[Floats, " n"]
) -> tuple[Float[Floats, "n n"], Float[Floats, "n n"]]:
    """Return correlations of slow and fast parts that give the observed one where that is possible.

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


def _nearest_correlation(matrix: Float[Floats, "n n"]) -> Float[Floats, "n n"]:
    """Return a positive definite matrix with unit diagonal near `matrix`: eigenvalues clipped, diagonal rescaled."""
    values, vectors = np.linalg.eigh(matrix)
    clipped = (vectors * np.maximum(values, _SMALLEST_EIGENVALUE)) @ vectors.T
    scale = np.sqrt(np.diag(clipped))
    return clipped / np.outer(scale, scale)
