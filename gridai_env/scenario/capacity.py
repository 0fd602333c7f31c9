"""How many accelerators a site has, and the size of its grid connection."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np

from gridai_env.arrays.types import Array
from gridai_env.scenario.spec import Scenario, Site

HOT_WET_BULB_C = 30.0  # design point of a default grid connection


def regional_demand_gpus(scenario: Scenario, day: datetime) -> np.ndarray:
    """Return noise-free working-day demand [96,C] in busy reference GPUs, by quarter-hour of a UTC day.

    Clocks are those of ``day``: its offset from UTC is used for all quarters.
    """
    share = np.array([c.share for c in scenario.classes])
    flat = np.array([c.flatness for c in scenario.classes])
    demand = []
    for region in scenario.regions:
        offset = day.astimezone(ZoneInfo(region.timezone)).utcoffset() or timedelta()
        hour = np.arange(96)[:, None] / 4.0 + offset / timedelta(hours=1)
        shape = daily_profile(hour, region.peak_hour, region.swing, flat)
        demand.append(region.mean_gpus * (shape @ share))
    return np.stack(demand, axis=1)


def peak_demand_gpus(scenario: Scenario) -> np.ndarray:
    """Return the peak [K] of the noise-free daily demand of the regions whose home a site is.

    Taken over a winter and a summer day, since clocks differ; noise is not in it, nor are weekends.
    """
    homes = np.array([scenario.index_of_site(r.home) for r in scenario.regions])
    at_home = homes[:, None] == np.arange(len(scenario.sites))[None, :]
    year = scenario.start.first.year
    days = (datetime(year, 1, 15, 12, tzinfo=UTC), datetime(year, 7, 15, 12, tzinfo=UTC))
    demand = np.concatenate([regional_demand_gpus(scenario, day) for day in days])
    return (demand @ at_home).max(axis=0)


def nameplate_gpus(scenario: Scenario) -> np.ndarray:
    """Return accelerators [K]: as given, else capacity_slack x capacity_scale x peak / (limit x speed)."""
    peak = peak_demand_gpus(scenario)
    wanted = [
        scenario.capacity_slack * s.capacity_scale * p / (s.utilisation_limit * s.speed)
        for s, p in zip(scenario.sites, peak, strict=True)
    ]
    given = [s.gpus for s in scenario.sites]
    return np.array([w if g is None else g for g, w in zip(given, wanted, strict=True)])


def full_load_mw(site: Site, gpus: float) -> float:
    """Return facility power with all usable accelerators busy on a hot day, in MW."""
    busy_kw = site.utilisation_limit * (site.busy_kw_per_gpu - site.idle_kw_per_gpu)
    it_mw = gpus * (site.idle_kw_per_gpu + busy_kw) / 1000.0
    pue = site.pue_base + site.pue_per_c * max(0.0, HOT_WET_BULB_C - site.pue_threshold_c)
    return pue * it_mw + site.base_load_mw


def import_limit_mw(site: Site, gpus: float) -> float:
    """Return the import limit: as given, else headroom x (full load + battery power), in MW."""
    if site.grid.import_limit_mw is not None:
        return site.grid.import_limit_mw
    battery_mw = site.battery.power_mw if site.battery is not None else 0.0
    return site.grid.import_headroom * (full_load_mw(site, gpus) + battery_mw)


def daily_profile(local_hour: Array, peak_hour: Array, swing: Array, flatness: Array) -> Array:
    """Return demand relative to its daily mean (mean 1) at a local hour of the day.

    A cosine with its top at ``peak_hour`` and an amplitude of ``(1 - flatness) * swing``.
    """
    return 1.0 + (1.0 - flatness) * swing * np.cos(2.0 * np.pi * (local_hour - peak_hour) / 24.0)


def weekly_factor(weekend: Array, weekend_factor: Array) -> Array:
    """Return 1 on working days, ``weekend_factor`` where ``weekend`` (Saturday, Sunday in local time)."""
    return np.where(weekend, weekend_factor, 1.0)
