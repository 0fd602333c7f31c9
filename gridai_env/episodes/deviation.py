"""Typical (median) deviation of prices, carbon and weather from climatology, by zone, month and hour.

A property of the zone (generator) or of the whole file, not of the episode at hand.  Forecast noise needs it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np

from gridai_env.arrays.kept import kept_by
from gridai_env.arrays.types import Float, Floats
from gridai_env.traces import ZoneSeries, synthetic_series
from gridai_env.traces.calibration import calibration_year
from gridai_env.traces.files.zones import TraceTable
from gridai_env.traces.local_time import MINUTES_PER_HOUR

SAMPLE_EPISODES = 192
SAMPLE_STEPS = 120
SAMPLE_SEED = 20230101
# Days cut from a file: any file that serves an episode has one day in a row (the history before the start).
FILE_SAMPLES = 366
FILE_STEPS = 24
KEPT_TABLES = 64


@dataclass(frozen=True)
class Deviation:
    """Median of |truth - climatology|, for each month and hour of the day in UTC: spikes do not move it."""

    price_usd_per_mwh: Float[Floats, "288 Z"]
    carbon_average_kg_per_mwh: Float[Floats, "288 Z"]
    carbon_marginal_kg_per_mwh: Float[Floats, "288 Z"]
    pv_relative: Float[Floats, " Z"]  # of the climatology: the sun never shines at night
    wind_cf: Float[Floats, "288 Z"]


@lru_cache(maxsize=64)
def synthetic_deviation(zones: tuple[str, ...]) -> Deviation:
    """Return the deviation of the generator, from sample weeks spread over the year."""
    first = np.datetime64(f"{calibration_year()}-01-01T00:00", "m")
    starts = first + (np.arange(SAMPLE_EPISODES) * 365 * 1440 // SAMPLE_EPISODES).astype("timedelta64[m]")
    starts = starts.astype("datetime64[D]").astype("datetime64[m]")
    rngs = [np.random.default_rng(s) for s in np.random.SeedSequence(SAMPLE_SEED).spawn(SAMPLE_EPISODES)]
    return series_deviation(synthetic_series(zones, starts, SAMPLE_STEPS, 1.0, rngs))


@kept_by(lambda table, zones: (table.sha256, zones), KEPT_TABLES)
def table_deviation(table: TraceTable, zones: tuple[str, ...]) -> Deviation:
    """Return the deviation in a file, from days spread over all of it.

    Nothing of an episode enters, neither dates nor horizon: whatever was made before in the process, the
    same file and zones give the same deviation.
    """
    starts_utc = table.valid_starts(zones, FILE_STEPS, 1.0)
    picked = np.unique(np.linspace(0, len(starts_utc) - 1, FILE_SAMPLES).astype(int))
    return series_deviation(table.window(zones, starts_utc[picked], FILE_STEPS, 1.0))


def series_deviation(series: ZoneSeries) -> Deviation:
    """Return the deviation of hourly series from their climatology."""
    cell = month_hours_utc(series.start_utc, 0, series.steps, series.dt_h)
    average = series.carbon_average_kg_per_mwh - series.carbon_average_climatology_kg_per_mwh
    marginal = series.carbon_marginal_kg_per_mwh - series.carbon_marginal_climatology_kg_per_mwh

    return Deviation(
        price_usd_per_mwh=_typical(series.price_usd_per_mwh - series.price_climatology_usd_per_mwh, cell),
        carbon_average_kg_per_mwh=_typical(average, cell),
        carbon_marginal_kg_per_mwh=_typical(marginal, cell),
        pv_relative=relative_median(series.pv_cf, series.pv_cf_climatology),
        wind_cf=_typical(series.wind_cf - series.wind_cf_climatology, cell),
    )


def month_hours_utc(start_utc: np.ndarray, first_step: int, steps: int, dt_h: float) -> np.ndarray:
    """Return month * 24 + hour of the day in UTC (month 0..11) at the start of each step, int [B,steps]."""
    minutes = np.round((first_step + np.arange(steps)) * dt_h * MINUTES_PER_HOUR).astype(np.int64)
    utc = start_utc.astype("datetime64[m]").astype(np.int64)[:, None] + minutes
    hour = utc // MINUTES_PER_HOUR
    day = hour // 24
    months = np.arange(day.min(), day.max() + 1).astype("datetime64[D]").astype("datetime64[M]")
    return months.astype(np.int64)[day - day.min()] % 12 * 24 + hour % 24


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
