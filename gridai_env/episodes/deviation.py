"""Root-mean-square deviation of prices, carbon and weather from climatology, by zone, month and hour.

A property of the generator, not of the episode at hand.  Forecast noise needs it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from gridai_env.arrays.types import Float, Floats
from gridai_env.traces import ZoneSeries, synthetic_series
from gridai_env.traces.calibration import calibration_year
from gridai_env.traces.local_time import MINUTES_PER_HOUR

SAMPLE_EPISODES = 192
SAMPLE_STEPS = 72
SAMPLE_SEED = 20230101
ORDINARY = 0.99


@dataclass(frozen=True)
class Deviation:
    """Root mean square of truth minus climatology: N = 288, each month and hour of the day in UTC, or N episodes."""

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
    return series_deviation(synthetic_series(zones, starts, SAMPLE_STEPS, 1.0, rngs))


def series_deviation(series: ZoneSeries) -> Deviation:
    """Return the deviation of hourly series from their climatology."""
    pv, cell = series.pv_cf_climatology, month_hours_utc(series.start_utc, 0, series.steps, series.dt_h)
    pv_usual = np.sqrt((pv * pv).mean((0, 1)))
    pv_strays = np.sqrt(((series.pv_cf - pv) ** 2).mean((0, 1)))
    average = series.carbon_average_kg_per_mwh - series.carbon_average_climatology_kg_per_mwh
    marginal = series.carbon_marginal_kg_per_mwh - series.carbon_marginal_climatology_kg_per_mwh

    return Deviation(
        price_usd_per_mwh=_rms(series.price_usd_per_mwh - series.price_climatology_usd_per_mwh, cell),
        carbon_average_kg_per_mwh=_rms(average, cell),
        carbon_marginal_kg_per_mwh=_rms(marginal, cell),
        pv_relative=np.where(pv_usual > 0, pv_strays / np.where(pv_usual > 0, pv_usual, 1.0), 0.0),
        wind_cf=_rms(series.wind_cf - series.wind_cf_climatology, cell),
    )


def month_hours_utc(start_utc: np.ndarray, first_step: int, steps: int, dt_h: float) -> np.ndarray:
    """Return month * 24 + hour of the day in UTC (month 0..11) at the start of each step, int [B,steps]."""
    minutes = np.round((first_step + np.arange(steps)) * dt_h * MINUTES_PER_HOUR).astype(np.int64)
    utc = start_utc.astype("datetime64[m]").astype(np.int64)[:, None] + minutes
    hour = utc // MINUTES_PER_HOUR
    day = hour // 24
    months = np.arange(day.min(), day.max() + 1).astype("datetime64[D]").astype("datetime64[M]")
    return months.astype(np.int64)[day - day.min()] % 12 * 24 + hour % 24


def _rms(anomaly: np.ndarray, cell: np.ndarray) -> np.ndarray:
    """Return the root mean square by month and hour, [288,Z]: that of the month, with the shape of the day.

    Both come from many more values than a single month and hour have; what does not occur counts as usual.
    The largest hundredth is cut to its least: else a few price spikes set the noise of all ordinary hours.
    """
    most = np.quantile(np.abs(anomaly), ORDINARY, axis=(0, 1))
    squares = np.minimum(np.abs(anomaly), most) ** 2
    overall = squares.mean((0, 1))
    by_month = _means(squares, cell // 24, 12, overall)
    by_hour = _means(squares, cell % 24, 24, overall)
    shape = by_hour / np.where(overall > 0, overall, 1.0)
    return np.sqrt(by_month[:, None] * shape).reshape(288, -1)


def _means(values: np.ndarray, group: np.ndarray, groups: int, otherwise: np.ndarray) -> np.ndarray:
    """Return the mean of ``values`` [B,L,Z] in each group [B,L], [groups,Z]; ``otherwise`` where a group is
    empty."""
    means = [values[group == g].mean(0) if (group == g).any() else otherwise for g in range(groups)]
    return np.stack(means)
