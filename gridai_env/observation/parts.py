"""What observations show that does not depend on what the agent does, for whole episodes, in units.

The same functions prepare arrays and tensors.  Two things come from later steps without telling anything new: how
long a waiting job may still be started (known at its release), and that the queue must be empty at the end.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from operator import attrgetter

import numpy as np
from numpy.typing import NDArray

from gridai_env.arrays.ops import all_zero, constant, flipped, namespace, positions, product
from gridai_env.arrays.types import Array, Bool, Float, Int
from gridai_env.episodes.calls import CallTable
from gridai_env.episodes.events import EventTable
from gridai_env.episodes.exogenous import limit, seen_sell_usd_per_mwh, sell_usd_per_mwh
from gridai_env.episodes.forecast import ForecastSet
from gridai_env.observation.decode import FIELDS, JOB_FEATURES
from gridai_env.scenario.compile import Compiled
from gridai_env.traces.local_time import MINUTES_PER_DAY
from gridai_env.world.state import Exogenous, Params, State

# Of sums of arrivals, relative, by the bytes of a number.
ROUNDING = {8: 1e-12, 4: 1e-6}
_SLACK = JOB_FEATURES.index("slack")


# The equations of a step, for arrays and tensors ---------------------------------------------------


def due_gpuh(on_hand_gpuh: Array, recent_gpuh: Array) -> Array:
    """Return work that must leave the queue by the end of this and the next steps, [B,C,Q,D].

    That is all on hand [B,C,Q] but ``recent_gpuh`` [B,C,Q,D]: arrivals whose wait does not end by then.
    """
    # Sums of arrivals differ by rounding; what is not due must not show as due.
    surely = on_hand_gpuh * (1.0 - ROUNDING[on_hand_gpuh.dtype.itemsize])
    return namespace(surely).maximum(surely[..., None] - recent_gpuh, 0.0)


def recent_gpuh(arrivals_gpuh: Array, wait_steps: Sequence[int], left: Array) -> Array:
    """Return arrivals whose wait does not end by the end of this and the next steps, [B,C,Q,D].

    ``arrivals_gpuh`` [D,C,Q,B]: of the last steps, this one last; ``left`` [B]: steps from this one on.  At the end of
    the episode all work is due.  What is older than the episode may be anything: where it counts all that arrived since
    does, too, and nothing is due.
    """
    xp, longest = namespace(arrivals_gpuh), len(arrivals_gpuh)
    ahead = constant(np.arange(float(longest)).reshape(-1, 1, 1, 1), arrivals_gpuh)
    # From each of the last steps to this one.
    summed = flipped(flipped(arrivals_gpuh).cumsum(0))

    # Those of a row with a shorter wait begin later.
    if min(wait_steps) < longest:
        begins, none = [longest - wait for wait in wait_steps], xp.zeros_like(summed)
        rows = [
            xp.concatenate([summed[begin:, :, q : q + 1], none[:begin, :, q : q + 1]])
            for q, begin in enumerate(begins)
        ]
        summed = xp.concatenate(rows, axis=2)
    return xp.where(ahead < left - 1.0, summed, 0.0).swapaxes(0, -1)


def arrivals_before_gpuh(now_gpuh: Array, before_gpuh: Array, elapsed: Array, left: Array) -> Array:
    """Return the arrivals [...,B] of the step before; in the first step its own, after the last none (as then)."""
    return namespace(now_gpuh).where(elapsed * left > 0.0, before_gpuh, now_gpuh)


def job_slots(active: Array, table: Array, slots: int, elapsed: Array) -> Array:
    """Return the features [B,V,5+K] of the jobs [B,J] that may be started now, most urgent first.

    ``table``: see `job_table`; ``elapsed`` [B,1]: share of the episode that is over.
    """
    xp, jobs = namespace(table), active.shape[-1]
    if all_zero(active):
        return xp.broadcast_to(table[:, -1:], (len(table), slots, table.shape[-1]))
    number, slot = positions(active, -1), xp.cumsum(active, axis=-1) - 1
    mine = active[:, None, :] & (slot[:, None, :] == constant(np.arange(slots)[:, None], slot))
    # Empty slots get the row of zeros behind the jobs.
    chosen = xp.amin(xp.where(mine, number, jobs), axis=-1)
    shown = xp.take_along_axis(table, chosen[..., None], axis=1)
    is_slack = constant(np.arange(table.shape[-1]) == _SLACK, table)
    return shown - shown[..., :1] * elapsed[..., None] * is_slack


def state_parts(
    shown: Container[str], p: Params, s: State, sessions: int, due: Callable[[Array], Array]
) -> Iterator[tuple[str, Array]]:
    """Yield the parts that show the state, in units, as far as they are ``shown``; the first rows are ``sessions``.

    ``due`` gives the work [B,C,Q,D] that a backlog [B,C,Q] makes due.
    """
    yield from (
        ("battery", s.battery_mwh),
        ("generation", s.generation_mw),
        ("peak_import", s.peak_import_mw),
    )
    if "baseline_sum" in shown:
        yield "baseline_sum", s.baseline_sum_mw
        yield "day_before", s.day_before_mw
    if "placed" in shown:
        yield "placed", s.placed_gpuh[:, :, :sessions]
    if "due" in shown:
        backlog = s.backlog_gpuh[:, :, sessions:]
        yield "backlog", backlog
        yield "due", due(backlog)

    if "carbon_budget_left" in shown:
        yield "carbon_budget_left", p.carbon_budget_kg - s.carbon_kg
    if "jobs" in shown:
        yield "committed_gpus", s.committed_gpus


def limit_forecast(outside: ExogenousView, kind: str) -> Array:
    """Return the limit of a kind as foreseen at each step at each lead, [B,T,H,K], 0 beyond the end.

    Of the events, what the scenario's kind of forecast may know is used.  The limit of export is 0 where the
    forecast of the price says so.
    """
    compiled, exo, forecast = outside.compiled, outside.exogenous, outside.forecast
    seen = EventTable(outside.event_active, compiled.events).at_leads(forecast.leads, compiled.forecast.kind)
    price = forecast.buy_usd_per_mwh
    if kind == "export_limit":
        own_sell = seen_sell_usd_per_mwh(compiled, exo.buy_usd_per_mwh, exo.sell_usd_per_mwh)[:, :, None]
        price = sell_usd_per_mwh(compiled, price, own_sell)
    values = limit(compiled, kind, seen, price)
    for i, lead in enumerate(forecast.leads):
        values[:, max(compiled.shape.steps - lead, 0) :, i] = 0.0
    return values


def call_forecast(outside: ExogenousView) -> Array:
    """Return how far lines will be down as known at each step at each lead, [B,T,H,Q], 0 beyond the end."""
    calls, kind = CallTable(outside.call_depth, outside.call_known_from), outside.compiled.forecast.kind
    return calls.at_leads(outside.forecast.leads, kind)


MINUTES_PER_WEEK = 7 * MINUTES_PER_DAY
THURSDAY = 3  # 1970-01-01, with Monday = 0
DAYS_PER_YEAR = 365.25
YEARS = ("1900", "2201")  # first and last (not included) year that `clock` covers


@dataclass(frozen=True, eq=False)
class ExogenousView:
    """Exogenous inputs of some episodes, as arrays or as tensors."""

    compiled: Compiled
    exogenous: Exogenous  # [B,T,...]
    forecast: ForecastSet  # [B,T,H,S]
    event_active: Bool[Array, "B T E"]
    start_minutes: Int[Array, " B"]  # since 1970 (UTC)
    call_depth: Float[Array, "B T Q"]
    call_known_from: Int[Array, "B T Q"]


# Values [B,T or T+1,...] of one part of the observation.
Prepared = Callable[[ExogenousView], Array]


def clock(outside: ExogenousView) -> Array:
    """Return sine and cosine of hour of day, day of week and day of year (UTC) at each step, [B,T+1,6]."""
    shape, start = outside.compiled.shape, outside.start_minutes
    xp, like = namespace(start), outside.exogenous.pue
    steps = np.round(np.arange(shape.steps + 1) * shape.dt_h * 60.0).astype(np.int64)
    total = start[:, None] + constant(steps, start)

    # Day of year counts from 1 January of the same year, so that leap years cause no shift.
    begins = constant(_year_starts(), start)
    of_year = total - begins[xp.searchsorted(begins, total, side="right") - 1]
    angle = of_year * constant(np.array(2.0 * np.pi / (MINUTES_PER_DAY * DAYS_PER_YEAR)), like)

    return xp.concatenate(
        [
            constant(_hand(MINUTES_PER_DAY), like)[total % MINUTES_PER_DAY],
            constant(_hand(MINUTES_PER_WEEK), like)[(total + THURSDAY * MINUTES_PER_DAY) % MINUTES_PER_WEEK],
            xp.stack([xp.sin(angle), xp.cos(angle)], axis=-1),
        ],
        axis=-1,
    )


@cache
def _year_starts() -> NDArray[np.int64]:
    """Return the minutes since 1970 at the start of each of `YEARS`."""
    return np.arange(*YEARS, dtype="datetime64[Y]").astype("datetime64[m]").astype(np.int64)


@cache
def _hand(period: int) -> NDArray[np.float64]:
    """Return sine and cosine of every minute of a period, [period,2]."""
    angle = 2.0 * np.pi * np.arange(period) / period
    return np.stack([np.sin(angle), np.cos(angle)], axis=-1)


def steps_left(outside: ExogenousView) -> Array:
    """Return the steps still to come, [B,T+1,1]."""
    steps, like = outside.compiled.shape.steps, outside.exogenous.pue
    falling = constant(np.arange(steps, -1.0, -1.0)[:, None], like)
    return namespace(like).broadcast_to(falling, (len(like), steps + 1, 1))


# What of the observation does not depend on what the agent does: name -> field of `Exogenous`.
EXOGENOUS_PARTS = {name: field for name, field in FIELDS.items() if field in Exogenous.names()}
# The same, name -> values in units.
PART_FUNCTIONS: dict[str, Prepared] = {
    **{name: attrgetter(f"exogenous.{field}") for name, field in EXOGENOUS_PARTS.items()},
    "clock": clock,
    "forecast_arrivals": attrgetter("forecast.arrivals_gpuh"),
    "forecast_available_gpus": partial(limit_forecast, kind="available_gpus"),
    "forecast_call": call_forecast,
    "forecast_clean": attrgetter("forecast.clean_mw"),
    "forecast_buy_price": attrgetter("forecast.buy_usd_per_mwh"),
    "forecast_carbon": attrgetter("forecast.carbon_kg_per_mwh"),
    "forecast_export_limit": partial(limit_forecast, kind="export_limit"),
    "forecast_import_limit": partial(limit_forecast, kind="import_limit"),
    "forecast_renewable": attrgetter("forecast.renewable_mw"),
    "steps_left": steps_left,
}


def prepared_runs(places: Mapping[str, slice]) -> list[list[str]]:
    """Return the parts of PART_FUNCTIONS by their places in the observation: those side by side in one list."""
    runs: list[list[str]] = []
    for name in places:
        if name not in PART_FUNCTIONS:
            continue
        if runs and places[runs[-1][-1]].stop == places[name].start:
            runs[-1].append(name)
        else:
            runs.append([name])
    return runs


# Jobs --------------------------------------------------------------------------------------------


def job_windows(compiled: Compiled, exogenous: Exogenous) -> tuple[Array, Array]:
    """Return first and last step in which each job may be started, [B,J] each; T and -1 where it never may."""
    steps, opened = compiled.shape.steps, exogenous.job_open
    xp = namespace(opened)
    # A product with ones is a fast way to ask for any.
    sites_open = product(
        opened.reshape(-1, opened.shape[-1]), constant(np.ones((opened.shape[-1], 1)), opened)
    )
    possible = sites_open.reshape(opened.shape[:-1]) > 0.0
    step = constant(np.arange(steps)[:, None], opened)
    return xp.amin(xp.where(possible, step, steps), axis=1), xp.amax(xp.where(possible, step, -1), axis=1)


def job_table(p: Params, exogenous: Exogenous, last: Array, inverse: NDArray[np.floating]) -> Array:
    """Return scaled features [B,J+1,5+K] of jobs at step 0; the last row, for an empty slot, is zero.

    ``last`` [B,J]: the last possible start; ``inverse`` [5+K]: one over the scales of the features.
    """
    xp, duration = p.xp, p.job_profile.sum(-1)
    columns = [xp.ones_like(duration), p.job_gpus, duration, last + 0.0 * duration, p.job_value_usd]
    sites_open = xp.amax(exogenous.job_open, axis=1)
    table = xp.concatenate([xp.stack(columns, axis=-1), sites_open], axis=-1)
    table = table * constant(inverse, table)
    return xp.concatenate([table, xp.zeros_like(table[:, :1])], axis=1)
