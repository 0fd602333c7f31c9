"""How the truth strays from what a planner foresees: the error model of the forecasts, from which futures are drawn.

With ``a`` the truth less its expectation, of standard deviation ``s``, and ``S`` the forecast less the same, at skill r
(see `gridai_env.episodes.forecast`):

    S = r * a + s * bridge(r).

Bridges of different hours are independent, but the truth persists.  So ``a = s * x`` is drawn with x a process that
keeps `KEPT_PER_H` of itself in an hour, each forecast that was issued with it, and the planner's own rule makes of
them what it foresees between and beyond the leads: the error is a less that.  Where a step has a forecast of its own,
the variance of its error is ``(1 - r) * s^2``, and given S it has no bias.

- s is the usual deviation, which calibration and calendar tell in advance.  Of prices it is at least ``|S|``: they have
  spikes, and a forecast far from what is usual says that one is due, but little about its size.
- The error of persistence is the difference of x a day apart.
- KEPT_PER_H is that of the demand.  On 200 training seeds of two_sites, microgrid_prosumer and four_markets, errors of
  neighbouring hours correlate as this model says within 0.03 for arrivals, 0.05 for carbon and renewables, 0.15 for
  prices.

Calls of lines that are not announced yet are drawn from their rule (`gridai_env.episodes.call_futures`).

Published prices do not stray, nor does anything of a perfect forecast, nor what has no forecast of its own (PUE, the
carbon signal that is not billed) or no usual deviation (zones without a known past).  Events that are not announced
are not drawn.  Regions and sites are independent of each other.

Shapes: N futures, h steps, S series, T steps, Q lines that are called.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gridai_env.arrays.types import Float, Floats
from gridai_env.episodes import starts
from gridai_env.episodes.build import find_series
from gridai_env.episodes.call_futures import unknown_calls
from gridai_env.episodes.demand import NOISE_KEPT_PER_H, autoregress, draw_demand
from gridai_env.episodes.events import EventTable
from gridai_env.episodes.exogenous import forecast_background, site_series
from gridai_env.episodes.forecast import DAY_H, MEDIAN_OF_NORMAL, day_steps
from gridai_env.episodes.instance import Instance
from gridai_env.episodes.planner_forecast import Stray, kind_at_hand
from gridai_env.episodes.planner_series import (
    expectation,
    forecast_series,
    interpolated,
    last_issued,
    published_usd_per_mwh,
)
from gridai_env.scenario.values import ForecastKind
from gridai_env.traces import read_table

KEPT_PER_H = NOISE_KEPT_PER_H


@dataclass(frozen=True)
class ErrorModel:
    """The error model of one episode and kind of forecast."""

    instance: Instance
    kind: ForecastKind
    usual: Float[Floats, "T S"]  # standard deviation of the truth from its expectation
    kept_per_h: float = KEPT_PER_H

    @classmethod
    def of(cls, instance: Instance, kind: ForecastKind | None = None) -> ErrorModel:
        """Return the model of an episode; ``kind`` None: that of the scenario."""
        return cls(instance, kind_at_hand(instance, kind), usual_deviation(instance))

    def draw(self, t: int, end: int, count: int) -> list[Stray]:
        """Return ``count`` ways in which steps t to end - 1 may stray: the same for the same episode and step.

        They come in pairs of opposite signs, so that their mean is the forecast; one alone strays in nothing.  Raises
        ValueError for an odd count above 1.
        """
        if count < 1 or (count > 1 and count % 2):
            raise ValueError(f"count = {count}: futures come in pairs; must be 1 or an even number")
        if count == 1:
            calls = np.zeros((end - t, self.instance.knowledge.call_depth.shape[-1]))
            return [Stray(np.zeros((end - t, self.usual.shape[-1])), calls)]
        key = (len(starts.STREAMS), t)
        rng = np.random.default_rng(np.random.SeedSequence(self.instance.seed, spawn_key=key))
        errors = self.scale(t, end) * self._unit_errors(t, end, count // 2, rng)
        depths = self._calls(t, end, count, rng)
        return [Stray(*pair) for pair in zip(np.concatenate([errors, -errors]), depths, strict=True)]

    def scale(self, t: int, end: int) -> Float[Floats, "h S"]:
        """Return the deviation of the truth from its expectation as known at t; 0 of what is known."""
        instance, sites = self.instance, self.instance.compiled.shape.sites
        active = instance.knowledge.event_active
        known = EventTable(active[t:end], instance.compiled.events).as_foreseen(active[t], self.kind)
        out = self.usual[t:end] * float(self.kind != "perfect")
        out[:, :sites] *= known.limit_factor("price")
        if self.kind in ("day_ahead", "published"):
            mean, _ = expectation(instance, np.arange(t, end), known)
            foreseen = forecast_series(instance, t, end, known, self.kind)
            out[:, :sites] = np.maximum(out[:, :sites], np.abs(foreseen - mean)[:, :sites])
        if self.kind == "published":
            seen, _ = published_usd_per_mwh(instance, t, end)
            out[:, :sites] = np.where(seen, 0.0, out[:, :sites])
        return out

    def _calls(self, t: int, end: int, count: int, rng: np.random.Generator) -> Float[Floats, "N h Q"]:
        """Return the calls of lines that may still come."""
        instance, sites = self.instance, self.instance.compiled.shape.sites
        if self.kind == "perfect" or not instance.compiled.lines.calls:
            return np.zeros((count, end - t, instance.knowledge.call_depth.shape[-1]))
        active = instance.knowledge.event_active
        known = EventTable(active[t:], instance.compiled.events).as_foreseen(active[t], self.kind)
        foreseen = forecast_series(instance, t, instance.steps, known, self.kind)[:, :sites]
        prices = np.concatenate([instance.exogenous.buy_usd_per_mwh[:t], foreseen])
        return unknown_calls(instance, t, prices, count, rng)[:, t:end]

    def _unit_errors(self, t: int, end: int, count: int, rng: np.random.Generator) -> Float[Floats, "N h S"]:
        """Return errors of series whose deviation is 1; none in the first step, which is known."""
        rules, dt_h, steps = self.instance.compiled.forecast, self.instance.compiled.shape.dt_h, end - t
        leads, _, column = last_issued(rules.lead_steps, t, self.instance.steps)
        known_at, skill = np.append(0, leads), np.append(1.0, rules.skill[column])
        shape = (count, max(steps, int(known_at[-1]) + 1), self.usual.shape[-1])
        truth = self._persisting(rng.standard_normal(shape), dt_h)
        if self.kind == "persistence":
            out = np.sqrt(2.0 * (1.0 - self.kept_per_h**DAY_H)) * truth[:, :steps]
            out[:, 0] = 0.0
            return out

        # As in the forecasts, the steps of an hour share what is new.
        hour = np.arange(t, t + shape[1]) // max(1, round(1.0 / dt_h))
        fresh = rng.standard_normal(shape)[:, (hour - hour[0])[known_at]]
        r = skill[:, None]
        issued = r * truth[:, known_at] + np.sqrt(r * (1.0 - r)) * fresh
        weights = interpolated(known_at, np.eye(len(known_at)), steps, dt_h, len(known_at))  # [h, known]
        return np.asarray(truth[:, :steps] - weights @ issued)

    def _persisting(self, shocks: Float[Floats, "N h S"], dt_h: float) -> Float[Floats, "N h S"]:
        """Return a process of variance 1 from the first step on; ``shocks`` are used up."""
        kept = self.kept_per_h**dt_h
        shocks[:, 1:] *= np.sqrt(1.0 - kept * kept)
        return np.asarray(autoregress(shocks, kept))


def usual_deviation(instance: Instance) -> Float[Floats, "T S"]:
    """Return the standard deviation of each series from its expectation, which is known in advance.

    That is the usual size that forecasts are made with; the episode's own truth has no part in it.
    """
    compiled, seeds = instance.compiled, [instance.seed]
    lead_in = day_steps(compiled.shape.dt_h)
    table = None if compiled.traces == "synthetic" else read_table(compiled.traces)
    series, base, _, _ = find_series(compiled, seeds, lead_in, table, instance.start_utc)
    demand = draw_demand(compiled, np.array([instance.start_utc]), lead_in, starts.streams(seeds, "demand"))
    background = forecast_background(compiled, site_series(compiled, series), demand, series, base)
    return np.asarray(background.typical[0], dtype=float) / MEDIAN_OF_NORMAL
