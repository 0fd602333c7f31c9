"""Typical (median) deviation of prices, carbon and weather from climatology, by zone, month and hour.

A property of the generator, not of the episode at hand.  Forecast noise needs it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np

from gridai_env.arrays.types import Float, Floats
from gridai_env.traces import synthetic_series
from gridai_env.traces.calibration import calibration_year
from gridai_env.traces.local_time import month_hour, step_minutes
from gridai_env.traces.series import CLIMATOLOGY_OF

SAMPLE_EPISODES = 192
SAMPLE_STEPS = 120
SAMPLE_SEED = 20230101


@dataclass(frozen=True)
class Deviation:
    """Median of |truth - climatology|: N = 288, each month and hour of the day in UTC, or N episodes."""

    price_usd_per_mwh: Float[Floats, "N Z"]
    carbon_average_kg_per_mwh: Float[Floats, "N Z"]
    carbon_marginal_kg_per_mwh: Float[Floats, "N Z"]
    pv_relative: Float[Floats, "*episodes Z"]  # of the climatology: the sun never shines at night
    wind_cf: Float[Floats, "N Z"]


@lru_cache(maxsize=64)
def synthetic_deviation(zones: tuple[str, ...]) -> Deviation:
    """Return the deviation of the generator, from sample weeks spread over the year."""
    first = np.datetime64(f"{calibration_year()}-01-01T00:00", "m")
    starts = first + (np.arange(SAMPLE_EPISODES) * 365 * 1440 // SAMPLE_EPISODES).astype("timedelta64[m]")
    starts = starts.astype("datetime64[D]").astype("datetime64[m]")
    rngs = [np.random.default_rng(s) for s in np.random.SeedSequence(SAMPLE_SEED).spawn(SAMPLE_EPISODES)]
    series = synthetic_series(zones, starts, SAMPLE_STEPS, 1.0, rngs)
    cell = month_hours_utc(series.start_utc, 0, series.steps, series.dt_h)
    usual = {
        name: _typical(getattr(series, name) - getattr(series, climatology), cell)
        for name, climatology in CLIMATOLOGY_OF.items()
        if name != "pv_cf"
    }
    return Deviation(pv_relative=relative_median(series.pv_cf, series.pv_cf_climatology), **usual)


def month_hours_utc(start_utc: np.ndarray, first_step: int, steps: int, dt_h: float) -> np.ndarray:
    """Return month * 24 + hour of the day in UTC (month 0..11) at the start of each step, int [B,steps]."""
    month, hour = month_hour(step_minutes(start_utc, first_step, steps, dt_h))
    return month * 24 + hour


def relative_median(values: Floats, expected: Floats) -> Floats:
    """Return the median of ``|values / expected - 1|`` [B,L,Z] in hours brighter than the mean, [Z]; 0 without any."""
    bright = expected > expected.mean((0, 1))
    strays = np.abs(values - expected) / np.where(bright, expected, 1.0)
    return np.array([np.median(x[on]) if on.any() else 0.0 for x, on in zip(strays.T, bright.T, strict=True)])


def _typical(anomaly: np.ndarray, cell: np.ndarray) -> np.ndarray:
    """Return the median of |anomaly| [B,L,Z] by month and hour ``cell`` [B,L], [288,Z].

    What does not occur counts as usual.
    """
    size = np.abs(anomaly).reshape(-1, anomaly.shape[-1])
    order = np.argsort(cell, axis=None, kind="stable")
    first = np.searchsorted(cell.ravel()[order], np.arange(289))
    overall = np.median(size, axis=0)
    found = [size[order[a:b]] for a, b in pairwise(first)]
    return np.stack([np.median(values, axis=0) if len(values) else overall for values in found])
