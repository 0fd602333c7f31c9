"""The series that a planner foresees at one step: forecasts at their leads, and what lies between and beyond them."""

from __future__ import annotations

import numpy as np

from gridai_env.episodes.events import EventTable
from gridai_env.episodes.exogenous import billed_and_other
from gridai_env.episodes.forecast import day_steps, days_back, publication
from gridai_env.episodes.instance import Instance
from gridai_env.scenario.values import ForecastKind

# An anomaly at the last lead fades with this time constant beyond it.
FADE_H = 12.0
MOST_RELATIVE = 1.0  # a dawn four times as bright as usual says little about noon


def forecast_series(
    instance: Instance, t: int, end: int, known: EventTable, kind: ForecastKind
) -> np.ndarray:
    """Return all forecast series of steps t to end - 1 as known at t, [h,S], the first the truth."""
    truth = true_series(instance)
    if kind == "persistence":
        return last_known_day(instance, instance.knowledge.history, truth, t, end)

    known_at, anomaly = anomaly_known(instance, truth[t], t)
    mean, scale = expectation(instance, np.arange(t, end), known)
    shape, sites = instance.compiled.shape, instance.compiled.shape.sites
    out = mean + scale * interpolated(known_at, anomaly, end - t, shape.dt_h, sites)

    if kind == "published":
        seen, before = published_usd_per_mwh(instance, t, end)
        out[:, :sites] = np.where(seen, known.shocked_usd_per_mwh(before), out[:, :sites])
    return possible(instance, out)


def published_usd_per_mwh(instance: Instance, t: int, end: int) -> tuple[np.ndarray, np.ndarray]:
    """Return which prices of steps t to end - 1 are published at t, and all of them before shocks, [h,K] each."""
    buy = instance.exogenous.buy_usd_per_mwh[t:end]
    clock = publication(instance.compiled, np.array([instance.start_utc]), t, end - t)
    active = EventTable(instance.knowledge.event_active[t:end], instance.compiled.events)
    before = active.unshocked_usd_per_mwh(buy)
    return (clock.day[0] <= clock.last[0, 0]) & np.isfinite(before), before


def possible(instance: Instance, series: np.ndarray) -> np.ndarray:
    """Return the series [h,S] within what is possible; the first step is the truth."""
    out, sites = series.copy(), instance.compiled.shape.sites
    # Prices may be negative; carbon, renewables and arrivals may not.
    out[:, sites:] = np.maximum(out[:, sites:], 0.0)
    out[1:, 2 * sites : 3 * sites] = np.minimum(
        out[1:, 2 * sites : 3 * sites], instance.compiled.sites.renewable_mw
    )
    return out


def anomaly_known(instance: Instance, present: np.ndarray, t: int) -> tuple[np.ndarray, np.ndarray]:
    """Return leads [n], 0 for the present, and how the truth is foreseen to stray from expectation there, [n,S].

    A step between two leads was foreseen, too, when it lay one of these leads ahead: the last forecast issued for
    each step counts, as it strayed from what was expected when it was issued.
    """
    leads, issued, column = last_issued(instance.forecast.leads, t, instance.steps)
    points = np.concatenate([present[None], instance.forecast.values[issued, column].astype(float)])
    known_at, issued = np.append(0, leads), np.append(t, issued)
    active = instance.knowledge.event_active
    events = EventTable(active[t + known_at], instance.compiled.events).as_foreseen(
        active[issued], "day_ahead"
    )
    mean, scale = expectation(instance, t + known_at, events)
    return known_at, np.where(scale > 0, (points - mean) / np.where(scale > 0, scale, 1.0), 0.0)


def last_issued(leads: tuple[int, ...], t: int, steps: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return leads [n] of steps after t for which there is a forecast, when the last was issued, and its number."""
    ahead = np.arange(1, min(leads[-1], steps - 1 - t) + 1)
    column = np.searchsorted(leads, ahead)
    issued = t + ahead - np.array(leads)[column]
    there = issued >= 0
    return ahead[there], issued[there], column[there]


def expectation(instance: Instance, at: np.ndarray, known: EventTable) -> tuple[np.ndarray, np.ndarray]:
    """Return what climatology and known price events let one expect at steps ``at`` [h], and the scale of
    deviations from it, [h,S] each: 1 for prices (times the events' factors) and carbon, and the expected
    value itself for renewables and arrivals, which stray in proportion."""
    sites = instance.compiled.shape.sites
    mean = instance.knowledge.climatology[at].astype(float)
    scale = np.ones_like(mean)
    scale[:, :sites] = known.limit_factor("price")
    scale[:, 2 * sites :] = mean[:, 2 * sites :]
    mean[:, :sites] = known.shocked_usd_per_mwh(mean[:, :sites])
    return mean, scale


def interpolated(
    known_at: np.ndarray, anomaly: np.ndarray, steps: int, dt_h: float, sites: int
) -> np.ndarray:
    """Return deviations at 0..steps-1 from those at the leads ``known_at``: linear between them, fading
    after."""
    at = np.arange(steps)
    between = np.stack([np.interp(at, known_at, column) for column in anomaly.T], axis=-1)
    beyond_h = np.maximum(at - known_at[-1], 0) * dt_h
    between *= np.exp(-beyond_h / FADE_H)[:, None]
    guessed, relative = ~np.isin(at, known_at), np.s_[2 * sites :]
    between[guessed, relative] = np.clip(between[guessed, relative], -1.0, MOST_RELATIVE)
    return between


def true_series(instance: Instance) -> np.ndarray:
    """Return the true series [T,S] in the order of the forecasts."""
    exo = instance.exogenous
    carbon, _ = billed_and_other(
        instance.compiled, exo.carbon_average_kg_per_mwh, exo.carbon_marginal_kg_per_mwh
    )
    clean = [exo.line_mw[:, rule.slot, rule.site, None] for rule in instance.compiled.lines.matching]
    parts = [exo.buy_usd_per_mwh, carbon, exo.renewable_available_mw, exo.arrivals_gpuh.sum(-1), *clean]
    return np.concatenate(parts, axis=-1)


def last_known_day(
    instance: Instance, history: np.ndarray, truth: np.ndarray, t: int, end: int
) -> np.ndarray:
    """Return the last value seen at t of the same hour of the day, for steps t to end - 1; the first is the
    truth.

    ``history`` [L,...] is the day before the start, ``truth`` [T,...] the episode.
    """
    per_day = day_steps(instance.compiled.shape.dt_h)
    seen = np.concatenate([history, truth[: t + 1]])
    back = np.array([days_back(lead, per_day) for lead in range(end - t)])
    return seen[len(seen) - 1 - back]
