"""The future as a planner may see it at one step: an `Exogenous` made from the forecasts of that step.

This is what rolling-horizon (model predictive) baselines read; the environment itself does not.  It holds
what the observation of the same step holds, no more: the present exactly, the forecasts at their leads, the
limits under the events that are foreseen, the calendar, and what the scenario fixes.
"""

from __future__ import annotations

import numpy as np

from gridai_env.demand import calendar, expected_rows_gpuh, queue_limits_gpuh, session_growth
from gridai_env.events import EventTable, event_table
from gridai_env.forecast import day_steps, days_back
from gridai_env.instance import Instance
from gridai_env.state import Array, Exogenous
from gridai_env.world import battery_targets_mwh, billed_and_other, grid_fields

# An anomaly at the last lead fades with this time constant beyond it.
FADE_H = 12.0
MOST_RELATIVE = 1.0  # a dawn four times as bright as usual says little about noon


def exogenous_forecast(instance: Instance, t: int, horizon_steps: int) -> Exogenous:
    """Return steps t to t + ``horizon_steps`` - 1, [h,...], as foreseen at step t; h ends with the episode.

    The first is the truth.  perfect: all are.  persistence: the same hour of the last day known.  day_ahead:
    the forecast at its leads; between them the deviation from climatology (known in advance) is interpolated
    in lead, beyond them it fades.  PUE and the carbon signal that is not billed: the same hour of the last
    day known.  Limits: as `EventTable.as_foreseen` has the events, like those of the observation.  Rows share
    the arrivals of a region as the calendar lets one expect. Raises IndexError where t is no step of the
    episode, ValueError where ``horizon_steps`` < 1.
    """
    if not 0 <= t < instance.steps:
        raise IndexError(f"t = {t}: the episode has steps 0 to {instance.steps - 1}")
    if horizon_steps < 1:
        raise ValueError(f"horizon_steps = {horizon_steps}: must be at least 1")
    end = min(t + horizon_steps, instance.steps)
    if instance.scenario.forecast.kind == "perfect":
        return instance.exogenous.map(lambda x: x[t:end].copy())
    return _foreseen(instance, t, end)


def _foreseen(instance: Instance, t: int, end: int) -> Exogenous:
    compiled, exo = instance.compiled, instance.exogenous
    known = _known_events(instance, t, np.arange(t, end))
    series = forecast_series(instance, t, end, known)
    sites = compiled.shape.sites
    buy, carbon, renewable = (series[:, i * sites : (i + 1) * sites] for i in range(3))
    arrivals = _split_rows(instance, t, end, series[:, 3 * sites :])
    wait = compiled.row_wait_steps
    growth, rehomed = session_growth(arrivals, wait)
    _, other_now = billed_and_other(compiled, exo.carbon_average_kg_per_mwh, exo.carbon_marginal_kg_per_mwh)
    other = last_known_day(instance, instance.knowledge.history_other_carbon_kg_per_mwh, other_now, t, end)
    average, marginal = (other, carbon) if compiled.params.bill_marginal else (carbon, other)
    last = end == instance.steps
    future = Exogenous(
        arrivals_gpuh=arrivals,
        queue_limit_gpuh=_queue_limits(instance, arrivals, t, last),
        growth=growth,
        rehomed_gpuh=rehomed,
        pue=last_known_day(instance, instance.knowledge.history_pue, exo.pue, t, end),
        renewable_available_mw=renewable,
        **grid_fields(compiled, buy, known),
        carbon_average_kg_per_mwh=average,
        carbon_marginal_kg_per_mwh=marginal,
        battery_target_mwh=battery_targets_mwh(compiled, end - t, last),
        job_open=exo.job_open[t:end].copy(),
    )
    for name in Exogenous.names():
        getattr(future, name)[0] = getattr(exo, name)[t]
    return future


def _known_events(instance: Instance, t: int, at: np.ndarray) -> EventTable:
    """Return the events at steps ``at`` [h] as foreseen at t."""
    active = instance.knowledge.event_active
    return event_table(instance.scenario, active[at]).as_foreseen(active[t], instance.scenario.forecast.kind)


def forecast_series(instance: Instance, t: int, end: int, known: EventTable) -> np.ndarray:
    """Return all forecast series of steps t to end - 1 as known at t, [h,S], the first the truth."""
    truth = _true_series(instance)
    if instance.scenario.forecast.kind == "persistence":
        return last_known_day(instance, instance.knowledge.history, truth, t, end)
    known_at, points, strays = _forecasts_now(instance, truth[t], t)
    mean, scale = _expectation(instance, np.arange(t, end), known)
    out = mean + scale * _interpolated(known_at, strays, end - t, instance.compiled.shape.dt_h)
    inside = known_at < end - t
    out[known_at[inside]] = points[inside]
    sites = instance.compiled.shape.sites
    most_mw = [site.pv_mw + site.wind_mw for site in instance.scenario.sites]
    out[:, sites:] = np.maximum(out[:, sites:], 0.0)
    out[1:, 2 * sites : 3 * sites] = np.minimum(out[1:, 2 * sites : 3 * sites], most_mw)
    return out


def _forecasts_now(
    instance: Instance, present: np.ndarray, t: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return leads [n] with 0 for the present, forecasts at them and how these stray from expectation, [n,S]
    each."""
    leads = {lead: i for i, lead in enumerate(instance.forecast.leads) if t + lead < instance.steps}
    points = np.stack([present, *(instance.forecast.values[t, i].astype(float) for i in leads.values())])
    known_at = np.array([0, *leads])
    mean, scale = _expectation(instance, t + known_at, _known_events(instance, t, t + known_at))
    strays = np.where(scale > 0, (points - mean) / np.where(scale > 0, scale, 1.0), 0.0)
    relative = strays[:, 2 * instance.compiled.shape.sites :]
    np.clip(relative, -1.0, MOST_RELATIVE, out=relative)
    return known_at, points, strays


def _expectation(instance: Instance, at: np.ndarray, known: EventTable) -> tuple[np.ndarray, np.ndarray]:
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


def _interpolated(known_at: np.ndarray, strays: np.ndarray, steps: int, dt_h: float) -> np.ndarray:
    """Return deviations at 0..steps-1 from those at the leads ``known_at``: linear between them, fading
    after."""
    at = np.arange(steps)
    between = np.stack([np.interp(at, known_at, column) for column in strays.T], axis=-1)
    beyond_h = np.maximum(at - known_at[-1], 0) * dt_h
    return between * np.exp(-beyond_h / FADE_H)[:, None]


def _true_series(instance: Instance) -> np.ndarray:
    """Return the true series [T,S] in the order of the forecasts."""
    exo = instance.exogenous
    carbon, _ = billed_and_other(
        instance.compiled, exo.carbon_average_kg_per_mwh, exo.carbon_marginal_kg_per_mwh
    )
    parts = [exo.buy_usd_per_mwh, carbon, exo.renewable_available_mw, exo.arrivals_gpuh.sum(-1)]
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


def _split_rows(instance: Instance, t: int, end: int, region_gpuh: Array) -> np.ndarray:
    """Return the arrivals of regions [h,C] split over rows as the calendar lets one expect, [h,C,W]."""
    compiled = instance.compiled
    days = calendar(compiled.scenario, np.array([instance.start_utc]), t, end - t)
    expected = expected_rows_gpuh(compiled, days)[0]
    total = expected.sum(-1, keepdims=True)
    share = expected / np.where(total > 0, total, 1.0)
    return np.concatenate([instance.exogenous.arrivals_gpuh[t : t + 1], (region_gpuh[..., None] * share)[1:]])


def _queue_limits(instance: Instance, arrivals: np.ndarray, t: int, last: bool) -> np.ndarray:
    """Return the bounds of the queue [h,C,W] from true arrivals up to t and foreseen ones after it."""
    wait = instance.compiled.row_wait_steps
    past = instance.exogenous.arrivals_gpuh[max(0, t + 1 - int(wait.max())) : t]
    # One step more, so that only the end of the episode empties the queue, not that of the window.
    after = arrivals[-1:] if not last else arrivals[:0]
    limits = queue_limits_gpuh(np.concatenate([past, arrivals, after]), wait)
    return limits[len(past) : len(past) + len(arrivals)]
