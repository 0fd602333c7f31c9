"""Calls of the grid's operator: when lines are called, drawn with the dearness of the day, and when it is known.

In every seven local days of an episode a line has `per_week` possible calls; each strikes with its probability (in a
part of a week, with that part of it).  A call falls on one of the days not yet called, with a weight that rises
evenly with the rank of the day's mean price in the zone; it begins at a step drawn evenly from those that contain the
clock hours of the rule and has a length drawn evenly from its range.  Then, in the order of time, calls that begin
within the least gap are left out, and what exceeds the hours of a year.

Calls of lines whose rule is ``in_traces`` stand in the trace file (`gridai_env.episodes.calls_of_file`); none are
drawn for them.

A call is known from ``notice`` steps before it begins on, with its length; without notice, from its first step on.

Shapes: B episodes, T steps, K sites, Q lines that are called, D local days that an episode touches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gridai_env.arrays.draws import Draws, everyone
from gridai_env.arrays.ops import constant, namespace, real, stable_argsort, to_int64
from gridai_env.arrays.record import Record
from gridai_env.arrays.types import Array, Float, Int
from gridai_env.scenario.compile import Compiled
from gridai_env.scenario.lines import CallRule, on_clock
from gridai_env.traces.local_time import MINUTES_PER_DAY, local_minutes, step_minutes

DAYS_PER_WEEK = 7
HOURS_PER_YEAR = 8760.0
MONDAY = 3  # the first day of 1970 was a Thursday
SATURDAY = 5


@dataclass(frozen=True)
class CallCalendar(Record):
    """On which steps calls may begin on each local day of an episode."""

    first: Int[Array, "B Q D"]  # step
    count: Int[Array, "B Q D"]  # of such steps, 0 where there is none
    day: Int[Array, "B T Q"]  # local day of each step, counted from that of the first step

    @classmethod
    def of(cls, compiled: Compiled, start_utc: np.ndarray) -> CallCalendar:
        """Return the calendar of episodes that start at ``start_utc`` (datetime64 [B])."""
        lines, shape = compiled.lines, compiled.shape
        utc = step_minutes(start_utc, 0, shape.steps, shape.dt_h)
        day, minute = on_clock(local_minutes(compiled.sites.timezones, utc), shape.dt_h)
        sites, days = list(lines.call_site), days_touched(compiled)
        day, minute = (day - day[:, :1])[..., sites], minute[..., sites]
        first = np.zeros((len(day), len(sites), days), dtype=np.int64)
        count = np.zeros_like(first)
        for q, rule in enumerate(lines.calls):
            on_day = rule.may_begin(minute[..., q])[..., None] & (
                day[..., q, None] == np.arange(days)
            )  # [B,T,D]
            count[:, q], first[:, q] = on_day.sum(1), on_day.argmax(1)
        return cls(first, count, day)


def days_touched(compiled: Compiled) -> int:
    """Return the most local days that an episode can touch, D."""
    return int(compiled.shape.steps * compiled.shape.dt_h // 24) + 2


def site_days(
    compiled: Compiled, start_utc: np.ndarray, first_step: int, steps: int
) -> tuple[Int[np.ndarray, "B steps K"], Int[np.ndarray, "B steps K"]]:
    """Return the local day since 1970 and the minute of it at the start of each step, on the clocks of the sites."""
    utc = step_minutes(start_utc, first_step, steps, compiled.shape.dt_h)
    day, minute = np.divmod(local_minutes(compiled.sites.timezones, utc), MINUTES_PER_DAY)
    return day, minute


@dataclass(frozen=True)
class CallTable:
    """The calls of a batch of episodes."""

    depth: Float[
        Array, "*batch T Q"
    ]  # 0: not called; 1: the limit is down to the line; between: it is falling
    known_from: Int[
        Array, "*batch T Q"
    ]  # step from which the call of this step is known; T where there is none

    def beside(self, other: CallTable) -> CallTable:
        """Return the calls of both; a line has calls in one of them."""
        xp = namespace(self.depth)
        depth = xp.maximum(self.depth, other.depth)
        return CallTable(depth, xp.minimum(self.known_from, other.known_from))

    def as_foreseen(self, t: Any, forecast: str) -> Float[Array, "*batch T Q"]:
        """Return ``depth`` as known at step ``t``; ``forecast`` is the kind of the scenario's forecasts.

        perfect: the truth.  persistence: after t as in t.  day_ahead, published: calls that are known.
        """
        if forecast == "perfect":
            return self.depth
        xp, steps = namespace(self.depth), self.depth.shape[-2]
        ahead = constant(np.arange(steps)[:, None] > t, self.depth)
        if forecast == "persistence":
            return xp.where(ahead, self.depth[..., t : t + 1, :], self.depth)
        return xp.where(ahead & (self.known_from > t), 0.0, self.depth)

    def at_leads(self, leads: Sequence[int], forecast: str) -> Float[Array, "B T H Q"]:
        """Return ``depth`` as foreseen at each step at each lead; 0 beyond the end."""
        xp, steps = namespace(self.depth), self.depth.shape[1]
        none, now = xp.zeros_like(self.depth), constant(np.arange(steps)[:, None], self.known_from)
        found = []
        for lead in leads:
            left = max(steps - lead, 0)
            depth = xp.concatenate([self.depth[:, steps - left :], none[:, left:]], axis=1)
            if forecast == "persistence":
                depth = xp.concatenate([self.depth[:, :left], none[:, left:]], axis=1)
            elif forecast != "perfect":
                known = xp.concatenate(
                    [self.known_from[:, steps - left :], self.known_from[:, :lead]], axis=1
                )
                depth = xp.where(known[:, :steps] <= now, depth, 0.0)
            found.append(depth)
        return xp.stack(found, axis=2)


def draw_calls(compiled: Compiled, at: CallCalendar, buy_usd_per_mwh: Array, draws: Draws) -> CallTable:
    """Draw the calls of a batch; ``buy_usd_per_mwh`` [B,T,K] before shocks says which days are dear."""
    shape, lines = compiled.shape, compiled.lines
    weeks = -(-days_touched(compiled) // DAYS_PER_WEEK)
    most = max((rule.per_week for rule in lines.calls), default=0)
    depth, known = [], []
    numbers = draws.uniforms(everyone(draws), len(lines.calls), weeks, max(most, 1), 4)
    for q, rule in enumerate(lines.calls):
        price = buy_usd_per_mwh[..., lines.call_site[q]]
        weight = _weights(price, at.day[..., q], at.count[:, q])
        chosen = _chosen(rule, weight, at, q, numbers[:, q])
        starts, ends = _in_time(rule, *chosen, shape.steps, shape.dt_h)
        depth.append(_depth(rule, starts, ends, shape.steps))
        known.append(_known_from(rule, starts, ends, shape.steps))
    xp = namespace(numbers)
    if not lines.calls:
        none = xp.zeros_like(buy_usd_per_mwh[..., :0])
        return CallTable(none, to_int64(none))
    return CallTable(xp.stack(depth, axis=-1), xp.stack(known, axis=-1))


def _weights(price: Float[Array, "B T"], day: Int[Array, "B T"], count: Int[Array, "B D"]) -> Array:
    """Return the weight of each day [B,D]: it rises with the rank of its mean price, 0 where no call may begin."""
    xp, days = namespace(price), count.shape[-1]
    on_day = real(day[..., None] == constant(np.arange(days), day), price)
    mean = (price[..., None] * on_day).sum(1) / xp.maximum(on_day.sum(1), 1.0)
    may = count > 0
    cheaper = may[:, None, :] & (
        (mean[:, None, :] < mean[:, :, None])
        | ((mean[:, None, :] == mean[:, :, None]) & constant(np.tri(days, k=-1) > 0, may))
    )
    return real(may, price) * (2.0 * real(cheaper, price).sum(-1) + 1.0)


def _chosen(
    rule: CallRule, weight: Float[Array, "B D"], at: CallCalendar, q: int, numbers: Array
) -> tuple[Array, Array, Array]:
    """Return begin and length of all possible calls [B,n], and whether each strikes."""
    xp, days = namespace(numbers), weight.shape[-1]
    begins, lengths, strikes = [], [], []
    for week in range(numbers.shape[1]):
        in_week = constant(np.arange(days) // DAYS_PER_WEEK == week, weight)
        left = xp.where(in_week, weight, 0.0)
        share = real(left > 0.0, numbers).sum(-1) / DAYS_PER_WEEK
        for i in range(rule.per_week):
            strike, which, when, length = (numbers[:, week, i, n] for n in range(4))
            total = left.sum(-1)
            hit = (strike < rule.probability * share) & (total > 0.0)
            # The last day whose weights before it do not exceed the number drawn.
            before = xp.cumsum(left, axis=-1) - left
            is_open = (left > 0.0) & (before <= (which * total)[:, None])
            day = xp.where(is_open, constant(np.arange(days), left), -1.0)
            day = to_int64(xp.maximum(xp.amax(day, -1), 0.0))
            first, count = (
                xp.take_along_axis(x[:, q], day[:, None], axis=1)[:, 0] for x in (at.first, at.count)
            )
            begins.append(first + to_int64(xp.floor(when * count)))
            lengths.append(to_int64(xp.floor(length * (rule.longest - rule.shortest + 1))) + rule.shortest)
            strikes.append(hit)
            is_taken = hit[:, None] & (day[:, None] == constant(np.arange(days), day))
            left = xp.where(is_taken, 0.0, left)
    return xp.stack(begins, axis=-1), xp.stack(lengths, axis=-1), xp.stack(strikes, axis=-1)


def _in_time(
    rule: CallRule, begin: Array, length: Array, strikes: Array, steps: int, dt_h: float
) -> tuple[Array, Array]:
    """Return first and last step (not included) of the calls in their order [B,n]; equal ones are none."""
    xp = namespace(begin)
    order = stable_argsort(xp.where(strikes, begin, steps))
    begin, length, strikes = (xp.take_along_axis(x, order, axis=-1) for x in (begin, length, strikes))
    starts, ends = [], []
    free, called = xp.zeros_like(begin[:, 0]), xp.zeros_like(begin[:, 0])
    most = rule.most * max(1, round(steps * dt_h / HOURS_PER_YEAR))
    for i in range(begin.shape[-1]):
        start = begin[:, i]
        left = xp.minimum(xp.minimum(length[:, i], most - called), steps - start)
        goes = strikes[:, i] & (start >= free) & (left > 0)
        end = xp.where(goes, start + left, start)
        free = xp.where(goes, end + rule.gap, free)
        called = called + (end - start)
        starts.append(start)
        ends.append(end)
    return xp.stack(starts, axis=-1), xp.stack(ends, axis=-1)


def _depth(rule: CallRule, starts: Array, ends: Array, steps: int) -> Float[Array, "B T"]:
    """Return how far the limit has come down in each step."""
    within, since = _since(starts, ends, steps)
    xp = namespace(within)
    fallen = xp.minimum((since + 1.0) / (rule.ramp + 1.0), 1.0)
    return xp.amax(xp.where(within, fallen, 0.0), -1)


def _known_from(rule: CallRule, starts: Array, ends: Array, steps: int) -> Int[Array, "B T"]:
    """Return the step from which the call of each step is known; T where there is none."""
    within, _ = _since(starts, ends, steps)
    xp = namespace(within)
    return xp.amin(xp.where(within, xp.maximum(starts - rule.notice, 0)[:, None], steps), -1)


def _since(starts: Array, ends: Array, steps: int) -> tuple[Array, Array]:
    """Return where each step lies in each call [B,T,n], and the steps since its begin."""
    step = constant(np.arange(steps)[:, None], starts)
    return (step >= starts[:, None]) & (step < ends[:, None]), step - starts[:, None]
