"""The future as a planner may see it at one step: an `Exogenous` made from the forecasts of that step.

This is what rolling-horizon (model predictive) baselines read; the environment itself does not.  It holds
what the observations up to this step hold, no more: the present exactly, the forecasts at their leads, the
limits under the events that are foreseen, the calendar, and what the scenario fixes.
"""

from __future__ import annotations

from typing import get_args

import numpy as np

from gridai_env.arrays.types import Array, Floats
from gridai_env.episodes.calls import CallTable
from gridai_env.episodes.demand import calendar, expected_row_shares, queue_limits_gpuh, session_growth
from gridai_env.episodes.events import EventTable
from gridai_env.episodes.exogenous import (
    battery_targets_mwh,
    billed_and_other,
    grid_fields,
    seen_sell_usd_per_mwh,
)
from gridai_env.episodes.forecast import SeriesBlock, day_steps, days_back, publication
from gridai_env.episodes.instance import Instance
from gridai_env.episodes.lines import LINE_FIELDS, BaselineCalendar, line_fields
from gridai_env.scenario.values import ForecastKind
from gridai_env.world.state import Exogenous, exogenous_shapes

FORECAST_KINDS: tuple[ForecastKind, ...] = get_args(ForecastKind)

# An anomaly at the last lead fades with this time constant beyond it.
FADE_H = 12.0
MOST_RELATIVE = 1.0  # a dawn four times as bright as usual says little about noon


def exogenous_forecast(
    instance: Instance, t: int, horizon_steps: int, kind: ForecastKind | None = None
) -> Exogenous:
    """Return steps t to t + ``horizon_steps`` - 1, [h,...], as foreseen at step t; h ends with the episode.

    ``kind`` of forecast: None as the scenario says, else one of `FORECAST_KINDS`.  The first
    step is the truth.  perfect: all are.  persistence: the same hour of the last day known.  day_ahead: the
    forecast at its leads; for a step between them the last one that was issued for it, where there was one, else
    the deviation from climatology (known in advance) is interpolated in lead; beyond the leads it fades; only
    instances of day_ahead scenarios hold such forecasts.  published: likewise, with all prices that are published,
    also those between the leads.  PUE and the carbon signal that is not billed: the same
    hour of the last day known.  An export price that is no share of the price of import: as now, at most the foreseen
    price of import less the spread.  Limits: as `EventTable.as_foreseen` has the events, like those of the
    observation.  Rows share the arrivals of a region as the calendar lets one expect.

    Raises IndexError where t is no step of the episode, ValueError where ``horizon_steps`` < 1 or where the kind
    is unknown or not at hand.
    """
    if not 0 <= t < instance.steps:
        raise IndexError(f"t = {t}: the episode has steps 0 to {instance.steps - 1}")
    if horizon_steps < 1:
        raise ValueError(f"horizon_steps = {horizon_steps}: must be at least 1")
    end = min(t + horizon_steps, instance.steps)
    kind = kind_at_hand(instance, kind)
    if kind == "perfect":
        return instance.exogenous.map(lambda x: x[t:end].copy())
    return _foreseen(instance, t, end, kind)


def kind_at_hand(instance: Instance, kind: str | None) -> ForecastKind:
    """Return the kind of forecast, None being the scenario's; raises ValueError where the instance lacks it.

    Truth and history are in every instance; day-ahead forecasts are drawn with it.
    """
    own = instance.compiled.forecast.kind
    if kind is None:
        return own
    if kind not in FORECAST_KINDS:
        raise ValueError(f"kind = {kind!r}: must be one of {', '.join(FORECAST_KINDS)}")
    if kind in ("day_ahead", "published") and own != kind:
        raise ValueError(
            f"kind = {kind!r}: the instance was made with {own!r} forecasts and holds none of this kind; "
            f"make it from a scenario with forecast.kind: {kind}"
        )
    return kind


def _foreseen(instance: Instance, t: int, end: int, kind: ForecastKind) -> Exogenous:
    compiled, exo = instance.compiled, instance.exogenous
    active = instance.knowledge.event_active
    known = EventTable(active[t:end], compiled.events).as_foreseen(active[t], kind)
    contracts = len(compiled.lines.matching)
    series = SeriesBlock(
        forecast_series(instance, t, end, known, kind), compiled.shape.sites, contracts=contracts
    )
    arrivals = _split_rows(instance, t, end, series.arrivals_gpuh)
    growth, rehomed = session_growth(arrivals, compiled.row_wait_steps)

    average, marginal = _carbon(instance, series.carbon_kg_per_mwh, t, end)

    last = end == instance.steps
    own_sell = seen_sell_usd_per_mwh(compiled, exo.buy_usd_per_mwh[t], exo.sell_usd_per_mwh[t])
    grid = grid_fields(compiled, series.buy_usd_per_mwh, known, own_sell)
    grid |= _lines(instance, grid, series.clean_mw, t, end, kind)
    future = Exogenous(
        arrivals_gpuh=arrivals,
        queue_limit_gpuh=_queue_limits(instance, arrivals, t, last),
        growth=growth,
        rehomed_gpuh=rehomed,
        pue=last_known_day(instance, instance.knowledge.history_pue, exo.pue, t, end),
        renewable_available_mw=series.renewable_mw,
        **grid,
        carbon_average_kg_per_mwh=average,
        carbon_marginal_kg_per_mwh=marginal,
        battery_target_mwh=battery_targets_mwh(compiled, end - t, last),
        job_open=exo.job_open[t:end].copy(),
    )

    # The present is no forecast.
    for name in Exogenous.names():
        getattr(future, name)[0] = getattr(exo, name)[t]
    return future


def _lines(
    instance: Instance, grid: dict[str, Array], clean: Array, t: int, end: int, kind: ForecastKind
) -> dict[str, Array]:
    """Return the fields of lines in steps t to end - 1 under the calls that are known at t."""
    compiled, knowledge, shape = instance.compiled, instance.knowledge, instance.compiled.shape
    if not compiled.lines.rules:
        empty = {
            name: np.zeros((end - t, *size)) for name, size in exogenous_shapes(shape).items() if 0 in size
        }
        return {name: values for name, values in empty.items() if name in LINE_FIELDS}
    depth = CallTable(knowledge.call_depth, knowledge.call_known_from).as_foreseen(t, kind)
    past = BaselineCalendar.of(compiled, np.array([instance.start_utc])) if compiled.lines.baselines else None

    def whole(values: Array) -> Array:
        """Return values [h,...] as those of a whole episode [1,T,...]; what lies before does not count."""
        out = np.zeros((1, instance.steps, *values.shape[1:]))
        out[0, t:end] = values
        return out

    fields = line_fields(
        compiled, depth[None], whole(clean), {name: whole(x) for name, x in grid.items()}, past
    )
    return {name: values[0, t:end] for name, values in fields.items()}


def _carbon(instance: Instance, billed: Floats, t: int, end: int) -> tuple[Floats, Floats]:
    """Return average and marginal intensity, [h,K]: the billed one as given, of the other the last known day."""
    compiled, exo = instance.compiled, instance.exogenous
    _, other_now = billed_and_other(compiled, exo.carbon_average_kg_per_mwh, exo.carbon_marginal_kg_per_mwh)
    other = last_known_day(instance, instance.knowledge.history_other_carbon_kg_per_mwh, other_now, t, end)
    return (other, billed) if compiled.params.bill_marginal else (billed, other)


def forecast_series(
    instance: Instance, t: int, end: int, known: EventTable, kind: ForecastKind
) -> np.ndarray:
    """Return all forecast series of steps t to end - 1 as known at t, [h,S], the first the truth."""
    truth = _true_series(instance)
    if kind == "persistence":
        return last_known_day(instance, instance.knowledge.history, truth, t, end)

    known_at, anomaly = _anomaly_known(instance, truth[t], t)
    mean, scale = _expectation(instance, np.arange(t, end), known)
    shape, sites = instance.compiled.shape, instance.compiled.shape.sites
    out = mean + scale * _interpolated(known_at, anomaly, end - t, shape.dt_h, sites)

    if kind == "published":
        clock = publication(instance.compiled, np.array([instance.start_utc]), t, end - t)
        active = EventTable(instance.knowledge.event_active[t:end], instance.compiled.events)
        before = active.unshocked_usd_per_mwh(truth[t:end, :sites])
        seen = (clock.day[0] <= clock.last[0, 0]) & np.isfinite(before)
        out[:, :sites] = np.where(seen, known.shocked_usd_per_mwh(before), out[:, :sites])

    # Prices may be negative; carbon, renewables and arrivals may not.
    out[:, sites:] = np.maximum(out[:, sites:], 0.0)
    out[1:, 2 * sites : 3 * sites] = np.minimum(
        out[1:, 2 * sites : 3 * sites], instance.compiled.sites.renewable_mw
    )
    return out


def _anomaly_known(instance: Instance, present: np.ndarray, t: int) -> tuple[np.ndarray, np.ndarray]:
    """Return leads [n], 0 for the present, and how the truth is foreseen to stray from expectation there, [n,S].

    A step between two leads was foreseen, too, when it lay one of these leads ahead: the last forecast issued for
    each step counts, as it strayed from what was expected when it was issued.
    """
    leads, issued, column = _last_issued(instance.forecast.leads, t, instance.steps)
    points = np.concatenate([present[None], instance.forecast.values[issued, column].astype(float)])
    known_at, issued = np.append(0, leads), np.append(t, issued)
    active = instance.knowledge.event_active
    events = EventTable(active[t + known_at], instance.compiled.events).as_foreseen(
        active[issued], "day_ahead"
    )
    mean, scale = _expectation(instance, t + known_at, events)
    return known_at, np.where(scale > 0, (points - mean) / np.where(scale > 0, scale, 1.0), 0.0)


def _last_issued(leads: tuple[int, ...], t: int, steps: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return leads [n] of steps after t for which there is a forecast, when the last was issued, and its number."""
    ahead = np.arange(1, min(leads[-1], steps - 1 - t) + 1)
    column = np.searchsorted(leads, ahead)
    issued = t + ahead - np.array(leads)[column]
    there = issued >= 0
    return ahead[there], issued[there], column[there]


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


def _interpolated(
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


def _true_series(instance: Instance) -> np.ndarray:
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


def _split_rows(instance: Instance, t: int, end: int, region_gpuh: Array) -> np.ndarray:
    """Return the arrivals of regions [h,C] split over rows as the calendar lets one expect, [h,C,W]."""
    compiled = instance.compiled
    days = calendar(compiled, np.array([instance.start_utc]), t, end - t)
    usual = SeriesBlock(
        instance.knowledge.climatology, compiled.shape.sites, contracts=len(compiled.lines.matching)
    )
    climatology = usual.arrivals_gpuh[None, t:end].astype(float)
    share = expected_row_shares(compiled, days, climatology)[0]
    return np.concatenate([instance.exogenous.arrivals_gpuh[t : t + 1], (region_gpuh[..., None] * share)[1:]])


def _queue_limits(instance: Instance, arrivals: np.ndarray, t: int, last: bool) -> np.ndarray:
    """Return the bounds of the queue [h,C,W] from true arrivals up to t and foreseen ones after it."""
    wait = instance.compiled.row_wait_steps
    past = instance.exogenous.arrivals_gpuh[max(0, t + 1 - int(wait.max())) : t]
    # One step more, so that only the end of the episode empties the queue, not that of the window.
    after = arrivals[-1:] if not last else arrivals[:0]
    limits = queue_limits_gpuh(np.concatenate([past, arrivals, after]), wait)
    return limits[len(past) : len(past) + len(arrivals)]
