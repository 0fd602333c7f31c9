"""Demand response in played episodes: what a policy's baseline was, statements of events, and how it was gamed.

The baseline that pays in an episode is the mean of past days (affine, so that the optimum has it in its program).
Highest 4 of 5 and 10-in-10, with their adjustments to the day, are computed for statements alone.  Days before the
episode are those that are expected at home, see `gridai_env.episodes.lines.expected_home_mw`.

Shapes: T steps of an episode, E of an event, U of a day.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from gridai_env.analysis.customer_baselines import (
    FIRM_SERVICE_LEVEL,
    HIGHEST_4_OF_5,
    MEAN,
    TEN_IN_TEN,
    BaselineMethod,
    adjustment_window,
    baseline_inflation_mw,
    eligible_days,
    highest_of_last,
    shifted_to_day,
    ten_in_ten,
)
from gridai_env.analysis.settlement import EventStatement, Prices, Rebound, rebounds, settle_event
from gridai_env.arrays.runs import runs_of_true
from gridai_env.arrays.types import Bool, Bools, Float, Floats
from gridai_env.episodes.calls import DAYS_PER_WEEK, MONDAY, SATURDAY, site_days
from gridai_env.episodes.instance import Instance
from gridai_env.episodes.lines import expected_home_mw
from gridai_env.rollout.played import PlayedEpisode
from gridai_env.scenario.lines import LineRule
from gridai_env.world import physics
from gridai_env.world.state import State

PAST_DAYS = 49  # shown to methods that look back further than the episode: ten weekend days lie in them
SAME_DAY_H = 4.0  # before an event, that adjustments to the day look at
REBOUND_H = 4.0
UNKNOWN = Rebound(np.nan, np.nan, np.nan)


def programmes(instance: Instance) -> list[LineRule]:
    """Return the lines of demand response."""
    return [rule for rule in instance.compiled.lines.rules if rule.kind == "demand_response"]


def net_import_mw(episode: PlayedEpisode, rule: LineRule) -> Float[Floats, " T"]:
    """Return what a site took from the grid less what it gave, [T]."""
    return np.asarray((episode.flows.import_mw - episode.flows.export_mw)[:, rule.site])


def paid_baseline_mw(instance: Instance, rule: LineRule, before: State) -> Float[Floats, " T"]:
    """Return the baseline that pays, given the states before each step [T,...]; NaN outside events."""
    at = (slice(None), rule.slot, rule.site)
    committed_mw = instance.exogenous.committed_mw[at]
    line_mw = physics.line_mw(before, instance.exogenous)[at]
    return np.where(committed_mw > 0.0, line_mw + committed_mw, np.nan)


def event_statements(
    episode: PlayedEpisode, without: PlayedEpisode | None = None
) -> Iterator[EventStatement]:
    """Yield the statement of each event by each method, in order; ``without``: the same policy without calls.

    The first method is the one that the episode pays by.  Without ``without`` inflation and rebound are NaN.
    """
    instance = episode.instance
    for rule in programmes(instance):
        net_mw = net_import_mw(episode, rule)
        paid = paid_baseline_mw(instance, rule, episode.before)
        in_event = ~np.isnan(paid)
        honest, back = None, None
        if without is not None:
            honest = paid_baseline_mw(instance, rule, without.before)
            off_mw = net_import_mw(without, rule)
            back = rebounds(net_mw, off_mw, in_event, REBOUND_H, instance.params.dt_h)
        for number, (first, last) in enumerate(runs_of_true(in_event).tolist(), start=1):
            event = Event(instance, rule, number, slice(first, last))
            rebound = UNKNOWN if back is None else next(back)
            inflated = np.nan
            if honest is not None:
                inflated = baseline_inflation_mw(paid[first:last], honest[first:last])
            for method, baseline_mw in event.baselines(net_mw, paid):
                statement = event.statement(method, baseline_mw, episode.flows.import_mw[:, rule.site])
                own = method in (MEAN, FIRM_SERVICE_LEVEL)
                yield replace(statement, baseline_inflation_mw=inflated if own else np.nan, rebound=rebound)


def mean_inflation_mw(statements: Iterable[EventStatement]) -> float:
    """Return by how much the baselines that pay were raised, mean over events [MW]; NaN where none is known."""
    found = [s.baseline_inflation_mw for s in statements if np.isfinite(s.baseline_inflation_mw)]
    return float(np.mean(found)) if found else float("nan")


@dataclass(frozen=True)
class Event:
    """One event of a programme."""

    instance: Instance
    rule: LineRule
    number: int  # from 1
    steps: slice

    def statement(
        self, method: BaselineMethod, baseline_mw: Float[Floats, " E"], import_mw: Float[Floats, " T"]
    ) -> EventStatement:
        """Return what the event comes to by a baseline."""
        instance, rule, exo = self.instance, self.rule, self.instance.exogenous
        at = (self.steps, rule.slot, rule.site)
        prices = Prices(exo.response_usd_per_mwh[at], exo.line_usd_per_mwh[at])
        dt_h = instance.params.dt_h
        start = instance.start_utc + np.timedelta64(round(self.steps.start * dt_h * 60), "m")
        committed_mw = float(exo.committed_mw[at].max())
        return EventStatement(
            site=instance.compiled.site_names[rule.site],
            line=rule.spec.name,
            event=self.number,
            start_utc=f"{start}Z",
            baseline=method,
            settlement=settle_event(import_mw[self.steps], baseline_mw, committed_mw, prices, dt_h),
        )

    def baselines(
        self, net_mw: Float[Floats, " T"], paid_mw: Float[Floats, " T"]
    ) -> Iterator[tuple[BaselineMethod, Float[Floats, " E"]]]:
        """Yield the methods and their baselines: the one that pays first, then those of statements alone.

        The latter look at hours of the same day before the event: one that begins within `SAME_DAY_H` of midnight has
        none.  A site that exports in these hours on the mean day has no 10-in-10, whose adjustment is a ratio.  PJM's
        rule for weekends is the highest 2 of 3.
        """
        yield (MEAN if self.rule.spec.baseline is not None else FIRM_SERVICE_LEVEL), paid_mw[self.steps]
        steps_of_day = round(24.0 / self.instance.params.dt_h)
        series, counts = self._past(net_mw, steps_of_day)
        midnight = self._midnight(steps_of_day)
        # Whole local days; what lies behind the end of the episode is not looked at.
        skipped = midnight % steps_of_day
        whole = -(-(len(series) - skipped) // steps_of_day)
        missing = skipped + whole * steps_of_day - len(series)
        by_day = np.pad(series, (0, missing))[skipped:].reshape(whole, steps_of_day)
        today = midnight // steps_of_day
        first, dt_h = self.steps.start + PAST_DAYS * steps_of_day - midnight, self.instance.params.dt_h
        if first * dt_h < SAME_DAY_H:
            return
        # Past midnight, the same hours of the day.
        hours = (first + np.arange(self.steps.stop - self.steps.start)) % steps_of_day
        event = np.isin(np.arange(steps_of_day), hours)
        window = adjustment_window(first, steps_of_day, dt_h)
        is_weekend = self._weekends(midnight, whole, steps_of_day)
        excluded: Bools = np.pad(counts, (0, missing))[skipped:].reshape(whole, -1).max(1)
        highest, last = (2, 3) if is_weekend[today] else (4, 5)
        past = by_day[eligible_days(today, is_weekend, excluded, last)]
        found = shifted_to_day(highest_of_last(past, event, highest, last), by_day[today], window)
        yield HIGHEST_4_OF_5, found[hours]
        past = by_day[eligible_days(today, is_weekend, excluded, 10)]
        if past[:, window].mean() > 0.0:
            yield TEN_IN_TEN, ten_in_ten(past, by_day[today], window)[hours]

    def _past(self, net_mw: Floats, steps_of_day: int) -> tuple[Floats, Bool[Bools, " N"]]:
        """Return net import of the days before the episode and in it, and where an event was."""
        start = np.array([self.instance.start_utc])
        expected = expected_home_mw(self.instance.compiled, start, PAST_DAYS * steps_of_day)[
            0, :, self.rule.site
        ]
        in_event = self.instance.exogenous.committed_mw[:, self.rule.slot, self.rule.site] > 0.0
        return np.concatenate([expected, net_mw]), np.concatenate(
            [np.zeros(len(expected), dtype=bool), in_event]
        )

    def _midnight(self, steps_of_day: int) -> int:
        """Return the step at which the local day of the event begins, counted from the first past day."""
        start, dt_h = np.array([self.instance.start_utc]), self.instance.params.dt_h
        _, minute = site_days(self.instance.compiled, start, self.steps.start, 1)
        into = round(float(minute[0, 0, self.rule.site]) / 60.0 / dt_h)
        return PAST_DAYS * steps_of_day + self.steps.start - into

    def _weekends(self, midnight: int, days: int, steps_of_day: int) -> Bool[Bools, " D"]:
        """Return which of the local days are Saturdays or Sundays."""
        start = np.array([self.instance.start_utc])
        first = midnight % steps_of_day - PAST_DAYS * steps_of_day
        day, _ = site_days(self.instance.compiled, start, first, days * steps_of_day)
        return np.asarray((day[0, ::steps_of_day, self.rule.site] + MONDAY) % DAYS_PER_WEEK >= SATURDAY)
