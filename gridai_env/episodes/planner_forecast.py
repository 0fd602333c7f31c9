"""The future as a planner may see it at one step: an `Exogenous` made from the forecasts of that step.

This is what rolling-horizon (model predictive) baselines read; the environment itself does not.  It holds
what the observations up to this step hold, no more: the present exactly, the forecasts at their leads, the
limits under the events that are foreseen, the calendar, and what the scenario fixes.
"""

from __future__ import annotations

from dataclasses import dataclass
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
from gridai_env.episodes.forecast import SeriesBlock
from gridai_env.episodes.instance import Instance
from gridai_env.episodes.lines import LINE_FIELDS, BaselineCalendar, line_fields
from gridai_env.episodes.planner_series import forecast_series, last_known_day, possible
from gridai_env.scenario.values import ForecastKind
from gridai_env.world.state import Exogenous, exogenous_shapes

FORECAST_KINDS: tuple[ForecastKind, ...] = get_args(ForecastKind)


@dataclass(frozen=True)
class Stray:
    """How the steps of a window differ from what is foreseen; nothing in the first, which is known."""

    series: Floats  # [h,S] added to the forecast series
    call_depth: Floats  # [h,Q] of calls that are not announced yet


def exogenous_forecast(
    instance: Instance,
    t: int,
    horizon_steps: int,
    kind: ForecastKind | None = None,
    stray: Stray | None = None,
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
    observation.  Rows share the arrivals of a region as the calendar lets one expect.  ``stray``: one way in which the
    future may differ from all this, within the same limits; a perfect forecast strays in nothing.

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
    return _foreseen(instance, t, end, kind, stray)


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


def _foreseen(instance: Instance, t: int, end: int, kind: ForecastKind, stray: Stray | None) -> Exogenous:
    compiled, exo = instance.compiled, instance.exogenous
    active = instance.knowledge.event_active
    known = EventTable(active[t:end], compiled.events).as_foreseen(active[t], kind)
    contracts = len(compiled.lines.matching)
    values = forecast_series(instance, t, end, known, kind)
    calls = CallTable(instance.knowledge.call_depth, instance.knowledge.call_known_from)
    call_depth = calls.as_foreseen(t, kind)
    if stray is not None:
        values = possible(instance, values + stray.series)
        call_depth = call_depth.copy()
        call_depth[t:end] = np.maximum(call_depth[t:end], stray.call_depth)
    series = SeriesBlock(values, compiled.shape.sites, contracts=contracts)
    arrivals = _split_rows(instance, t, end, series.arrivals_gpuh)
    growth, rehomed = session_growth(arrivals, compiled.row_wait_steps)

    average, marginal = _carbon(instance, series.carbon_kg_per_mwh, t, end)

    last = end == instance.steps
    own_sell = seen_sell_usd_per_mwh(compiled, exo.buy_usd_per_mwh[t], exo.sell_usd_per_mwh[t])
    grid = grid_fields(compiled, series.buy_usd_per_mwh, known, own_sell)
    grid |= _lines(instance, grid, series.clean_mw, t, end, call_depth)
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
    instance: Instance, grid: dict[str, Array], clean: Array, t: int, end: int, call_depth: Array
) -> dict[str, Array]:
    """Return the fields of lines in steps t to end - 1 under calls of ``call_depth`` [T,Q]."""
    compiled, shape = instance.compiled, instance.compiled.shape
    if not compiled.lines.rules:
        empty = {
            name: np.zeros((end - t, *size)) for name, size in exogenous_shapes(shape).items() if 0 in size
        }
        return {name: values for name, values in empty.items() if name in LINE_FIELDS}
    past = BaselineCalendar.of(compiled, np.array([instance.start_utc])) if compiled.lines.baselines else None

    def whole(values: Array) -> Array:
        """Return values [h,...] as those of a whole episode [1,T,...]; what lies before does not count."""
        out = np.zeros((1, instance.steps, *values.shape[1:]))
        out[0, t:end] = values
        return out

    fields = line_fields(
        compiled, call_depth[None], whole(clean), {name: whole(x) for name, x in grid.items()}, past
    )
    return {name: values[0, t:end] for name, values in fields.items()}


def _carbon(instance: Instance, billed: Floats, t: int, end: int) -> tuple[Floats, Floats]:
    """Return average and marginal intensity, [h,K]: the billed one as given, of the other the last known day."""
    compiled, exo = instance.compiled, instance.exogenous
    _, other_now = billed_and_other(compiled, exo.carbon_average_kg_per_mwh, exo.carbon_marginal_kg_per_mwh)
    other = last_known_day(instance, instance.knowledge.history_other_carbon_kg_per_mwh, other_now, t, end)
    return (other, billed) if compiled.params.bill_marginal else (billed, other)


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
