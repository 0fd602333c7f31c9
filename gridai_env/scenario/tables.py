"""Constants of sites, regions, events and forecasts as arrays: what making and showing episodes needs.

What the equations of a step need stands in `gridai_env.world.state.Params`.  Letters: K sites, C regions,
E events, H leads of the forecast.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from gridai_env.arrays.types import Bool, Bools, Float, Floats, Index, Int, Ints
from gridai_env.scenario.spec import ForecastSpec, Scenario, Site
from gridai_env.scenario.values import ForecastKind
from gridai_env.traces import known_zones
from gridai_env.traces.calibration import zone_calibration


@dataclass(frozen=True)
class SiteTable:
    """Constants of the sites."""

    zones: tuple[str, ...]  # price and carbon zones in use, each once
    zone_index: Int[Index, " K"]  # into `zones`, of each site
    timezones: tuple[str, ...]  # [K] IANA names
    longitude: Float[Floats, " K"]  # degrees east
    latitude: Float[Floats, " K"]  # degrees north
    pv_mw: Float[Floats, " K"]
    wind_mw: Float[Floats, " K"]
    renewable_mw: Float[Floats, " K"]  # installed: PV and wind
    price_scale: Float[Floats, " K"]  # factor on the trace's price
    price_spread_scale: Float[Floats, " K"]  # factor on its deviation from the climatology
    price_adder_usd_per_mwh: Float[Floats, " K"]
    sell_share: Float[Floats, " K"]
    sell_spread_usd_per_mwh: Float[Floats, " K"]
    clean_share: Float[Floats, " K"]  # of the grid's mix; NaN: not known
    residual_kg_per_mwh: Float[Floats, " K"]  # of unmatched import; NaN: the marginal intensity
    pue_base: Float[Floats, " K"]
    pue_per_c: Float[Floats, " K"]  # rise per degree of wet bulb above the threshold
    pue_threshold_c: Float[Floats, " K"]
    battery_target_mwh: Float[Floats, " K"]  # wanted at the end of the episode; 0 without a battery

    @classmethod
    def of(cls, scenario: Scenario) -> SiteTable:
        """Return the table of a scenario."""
        sites, grids = scenario.sites, [site.grid for site in scenario.sites]
        zones = tuple(dict.fromkeys(site.zone for site in sites))
        batteries = [site.battery for site in sites]

        return cls(
            zones=zones,
            zone_index=np.array([zones.index(site.zone) for site in sites]),
            timezones=tuple(site_timezone(scenario, site)[0] for site in sites),
            renewable_mw=np.array([site.pv_mw + site.wind_mw for site in sites]),
            battery_target_mwh=np.array([b.target_share * b.capacity_mwh if b else 0.0 for b in batteries]),
            **_columns(cls, sites),
            **_columns(cls, grids),
        )


def site_timezone(scenario: Scenario, site: Site) -> tuple[str, str]:
    """Return the time zone of a site's market and, in words, where it is from."""
    if site.timezone is not None:
        return site.timezone, "as the scenario says"
    if site.zone in known_zones():
        return zone_calibration(site.zone).timezone, f"of zone {site.zone}"
    for region in scenario.regions:
        if region.home == site.name:
            return region.timezone, f"of region {region.name!r}, which is at home there"
    return "UTC", "for want of another; say sites[].timezone"


@dataclass(frozen=True)
class RegionTable:
    """Constants of the client regions: where they lie and what demand they have."""

    timezones: tuple[str, ...]  # [C] IANA names
    longitude: Float[Floats, " C"]  # degrees east
    latitude: Float[Floats, " C"]  # degrees north
    mean_gpus: Float[Floats, " C"]  # mean demand of a weekday in busy reference accelerators
    peak_hour: Float[Floats, " C"]  # local time
    swing: Float[Floats, " C"]  # amplitude of the daily profile relative to its mean
    weekend_factor: Float[Floats, " C"]
    noise: Float[Floats, " C"]  # relative standard deviation

    @classmethod
    def of(cls, scenario: Scenario) -> RegionTable:
        """Return the table of a scenario."""
        timezones = tuple(region.timezone for region in scenario.regions)
        return cls(timezones=timezones, **_columns(cls, scenario.regions))


@dataclass(frozen=True)
class EventRules:
    """What may strike an episode, when, and what it does."""

    kind: tuple[str, ...]  # [E]
    announced: Bool[Bools, " E"]
    at_site: Bool[Bools, "E K"]
    factor: Float[Floats, " E"]  # on the limit, the accelerators or the price
    add_usd_per_mwh: Float[Floats, " E"]  # price shocks only
    probability: Float[Floats, " E"]
    first_step: Int[Ints, " E"]  # earliest start
    last_step: Int[Ints, " E"]  # latest start
    length_steps: Int[Ints, " E"]

    @classmethod
    def of(cls, scenario: Scenario) -> EventRules:
        """Return the rules of a scenario's events, in its order."""
        events, dt_h = scenario.events, scenario.dt_h
        # An event that names no sites hits all of them.
        hit = [[e.sites is None or site.name in e.sites for site in scenario.sites] for e in events]
        latest_h = [scenario.horizon_h if e.latest_h is None else e.latest_h for e in events]
        # A start at the very end would not be seen.
        last = np.minimum(_whole([h / dt_h for h in latest_h]), scenario.steps - 1)

        return cls(
            kind=tuple(e.kind for e in events),
            announced=np.array([e.announced for e in events], dtype=bool),
            factor=np.array([e.factor for e in events], dtype=float),
            add_usd_per_mwh=np.array([e.add_usd_per_mwh for e in events], dtype=float),
            probability=np.array([e.probability for e in events], dtype=float),
            at_site=np.array(hit, dtype=bool).reshape(len(events), len(scenario.sites)),
            first_step=_whole([e.earliest_h / dt_h for e in events]),
            last_step=last,
            length_steps=np.maximum(_whole([e.duration_h / dt_h for e in events]), 1),
        )


@dataclass(frozen=True)
class ForecastRules:
    """What is known of the future, and how well."""

    kind: ForecastKind
    leads_h: tuple[float, ...]  # [H] rising
    lead_steps: tuple[int, ...]  # [H]
    skill: Float[Floats, " H"]  # squared correlation of a day-ahead forecast and the truth
    published_from_h: float  # local hour from which the prices of the next day are known

    @classmethod
    def of(cls, scenario: Scenario) -> ForecastRules:
        """Return the rules of a scenario's forecasts."""
        spec = scenario.forecast
        steps = tuple(round(lead / scenario.dt_h) for lead in spec.leads_h)
        return cls(spec.kind, tuple(spec.leads_h), steps, skills(spec), spec.published_from_h)


def skills(spec: ForecastSpec) -> Float[Floats, " H"]:
    """Return the squared correlation of forecast and truth at each lead: it falls linearly in log lead."""
    log_lead = np.log(np.array(spec.leads_h))
    span = max(float(log_lead[-1] - log_lead[0]), 1e-12)
    return spec.skill_first + (spec.skill_last - spec.skill_first) * (log_lead - log_lead[0]) / span


def synthetic_starts(scenario: Scenario) -> NDArray[np.datetime64]:
    """Return the possible starts of episodes without a trace file, datetime64[m] in UTC.

    They are the scenario's hour of each of its days, or of those in its periods, where it has some.
    """
    start = scenario.start
    parts = [(part.first, part.last) for part in start.periods or []] or [(start.first, start.last)]
    # Each day from first to last, both included.
    days = np.concatenate([np.arange(np.datetime64(first), np.datetime64(last) + 1) for first, last in parts])
    moments: NDArray[np.datetime64] = days.astype("datetime64[m]")
    return moments + np.timedelta64(start.hour_utc, "h")


def _columns(table: type, items: Sequence[BaseModel]) -> dict[str, Floats]:
    """Return the fields of a table that are keys of the items, of which there is at least one; null is NaN."""
    names = [f.name for f in fields(table) if f.name in type(items[0]).model_fields]
    return {name: np.array([getattr(item, name) for item in items], dtype=float) for name in names}


def _whole(values: list[float]) -> Ints:
    return np.array([round(value) for value in values], dtype=np.int64)
