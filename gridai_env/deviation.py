"""How far prices, carbon and weather usually stray from their climatology: one number per zone and quantity.

A property of the zone (generator) or of the whole file, never of the episode at hand.  Forecast noise needs it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from gridai_env.traces import ZoneSeries, synthetic_series
from gridai_env.traces.calibration import calibration_year
from gridai_env.traces.readers import TraceTable

SAMPLE_EPISODES = 48
SAMPLE_STEPS = 168
SAMPLE_SEED = 20230101


@dataclass(frozen=True)
class Deviation:
    """Root mean square of truth minus climatology, [Z] each."""

    price_usd_per_mwh: np.ndarray
    carbon_average_kg_per_mwh: np.ndarray
    carbon_marginal_kg_per_mwh: np.ndarray
    pv_relative: np.ndarray  # of the climatology: nothing strays at night
    wind_cf: np.ndarray


@lru_cache(maxsize=64)
def synthetic_deviation(zones: tuple[str, ...]) -> Deviation:
    """Return the deviation of the generator, from sample weeks spread over the year."""
    first = np.datetime64(f"{calibration_year()}-01-01T00:00", "m")
    starts = first + (np.arange(SAMPLE_EPISODES) * 365 * 1440 // SAMPLE_EPISODES).astype("timedelta64[m]")
    starts = starts.astype("datetime64[D]").astype("datetime64[m]")
    rngs = [np.random.default_rng(s) for s in np.random.SeedSequence(SAMPLE_SEED).spawn(SAMPLE_EPISODES)]
    return series_deviation(synthetic_series(zones, starts, SAMPLE_STEPS, 1.0, rngs))


_OF_TABLE: dict[tuple[str, tuple[str, ...]], Deviation] = {}


def table_deviation(table: TraceTable, zones: tuple[str, ...], starts_utc: np.ndarray, steps: int) -> Deviation:
    """Return the deviation in a file, from ``steps`` hours after some of the starts, spread over all of them."""
    key = (table.sha256, zones)
    if key not in _OF_TABLE:
        picked = np.unique(np.linspace(0, len(starts_utc) - 1, SAMPLE_EPISODES).astype(int))
        _OF_TABLE[key] = series_deviation(table.window(zones, starts_utc[picked], steps, 1.0))
    return _OF_TABLE[key]


def series_deviation(series: ZoneSeries) -> Deviation:
    """Return the deviation of series from their climatology."""
    pv = series.pv_cf_climatology
    pv_usual = np.sqrt((pv * pv).mean((0, 1)))
    return Deviation(
        price_usd_per_mwh=_rms(series.price_usd_per_mwh - series.price_climatology_usd_per_mwh),
        carbon_average_kg_per_mwh=_rms(
            series.carbon_average_kg_per_mwh - series.carbon_average_climatology_kg_per_mwh
        ),
        carbon_marginal_kg_per_mwh=_rms(
            series.carbon_marginal_kg_per_mwh - series.carbon_marginal_climatology_kg_per_mwh
        ),
        pv_relative=np.where(pv_usual > 0, _rms(series.pv_cf - pv) / np.where(pv_usual > 0, pv_usual, 1.0), 0.0),
        wind_cf=_rms(series.wind_cf - series.wind_cf_climatology),
    )


def _rms(x: np.ndarray) -> np.ndarray:
    return np.sqrt((x * x).mean((0, 1)))
