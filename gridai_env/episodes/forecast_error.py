"""How the truth strays from what a planner foresees: the error model of the forecasts, from which futures are drawn.

With ``a`` the truth less its expectation, of standard deviation ``s``, and ``S`` the forecast less the same, at skill r
(see `gridai_env.episodes.forecast`):

    a = s * x,        S = r * a + s * bridge(r).

Bridges of different hours are independent, but the truth persists: x is normal, of variance 1, and correlates over
time as `MEMORY` says.  So an hour's own forecast is not all that is known of it: those of its neighbours and the
present tell of it, too.  Given all of them x is normal again, its mean a weighted sum of the forecasts (Gaussian
conditioning: kriging, or a Kalman smoother).  A future is that mean and one draw of what is left.  ``filtered=False``
leaves the mean where the planner's own rule has it, between and beyond the leads too, and draws the errors of that
rule: where a step has a forecast of its own, their variance is ``(1 - r) * s^2``.

- s is the usual deviation, which calibration and calendar tell in advance.  The errors of prices grow with ``|S|``:
  they have spikes, and a forecast far from what is usual says that one is due, but little about its size.  What lies
  beyond `SPIKE` usual deviations is believed of its own hour and says nothing of others.
- The error of persistence is the difference of x a day apart, and nothing is filtered.
- Calls of lines that are not announced yet are drawn from their rule (`gridai_env.episodes.call_futures`).

MEMORY and SPIKE were chosen on training seeds: the correlation of deviations one, three and twelve hours apart is 0.90,
0.74, 0.32 for arrivals (it is known), 0.86, 0.65, 0.26 for renewables, 0.69 to 0.84, 0.52 to 0.66, 0.37 to 0.44 for
prices.  Carbon has more.

Published prices do not stray, nor does anything of a perfect forecast, nor what has no forecast of its own (PUE, the
carbon signal that is not billed) or no usual deviation (zones without a known past).  Events that are not announced
are not drawn.  Regions and sites are independent of each other.

Shapes: N futures, h steps, n steps with a forecast, S series, T steps, Q lines that are called.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gridai_env.arrays.types import Bool, Bools, Float, Floats, Index
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
    anomaly_known,
    expectation,
    forecast_series,
    interpolated,
    last_issued,
    published_usd_per_mwh,
    true_series,
)
from gridai_env.scenario.values import ForecastKind
from gridai_env.traces import read_table

# Parts of the variance, and what is kept of each in an hour: of prices, and of all else.
MEMORY = (((0.5, 0.97), (0.5, 0.6)), ((1.0, NOISE_KEPT_PER_H),))
SPIKE = 2.5


@dataclass(frozen=True)
class _Known:
    """What has been forecast for the steps from t on: the present, and the newest forecast of each step."""

    at: Index  # [n] steps after t, 0 for the present
    skill: Float[Floats, " n"]
    hour: Index  # [n] steps of the same hour share the noise


@dataclass(frozen=True)
class ErrorModel:
    """The error model of one episode and kind of forecast."""

    instance: Instance
    kind: ForecastKind
    usual: Float[Floats, "T S"]  # standard deviation of the truth from its expectation
    filtered: bool = True

    @classmethod
    def of(cls, instance: Instance, kind: ForecastKind | None = None, *, filtered: bool = True) -> ErrorModel:
        """Return the model of an episode; ``kind`` None: that of the scenario."""
        return cls(instance, kind_at_hand(instance, kind), usual_deviation(instance), filtered)

    def draw(self, t: int, end: int, count: int) -> list[Stray]:
        """Return ``count`` ways in which steps t to end - 1 may stray: the same for the same episode and step.

        They come in pairs of opposite signs about the mean; one alone is the mean.  Raises ValueError for an odd count
        above 1.
        """
        if count < 1 or (count > 1 and count % 2):
            raise ValueError(f"count = {count}: futures come in pairs; must be 1 or an even number")
        mean = self.shift(t, end)
        if count == 1:
            return [Stray(mean, np.zeros((end - t, self.instance.knowledge.call_depth.shape[-1])))]
        key = (len(starts.STREAMS), t)
        rng = np.random.default_rng(np.random.SeedSequence(self.instance.seed, spawn_key=key))
        errors = self.scale(t, end) * self._unit_errors(t, end, count // 2, rng)
        depths = self._calls(t, end, count, rng)
        both = np.concatenate([mean + errors, mean - errors])
        return [Stray(*pair) for pair in zip(both, depths, strict=True)]

    def shift(self, t: int, end: int) -> Float[Floats, "h S"]:
        """Return how far the mean of the futures lies from what the planner's own rule foresees."""
        instance, sites = self.instance, self.instance.compiled.shape.sites
        if not self.filtered or self.kind not in ("day_ahead", "published"):
            return np.zeros((end - t, self.usual.shape[-1]))
        known, events = self._known(t), self._events(t, end)
        issued = self._issued(t, known)
        spread = issued.copy()
        spread[:, :sites] = np.clip(spread[:, :sites], -SPIKE, SPIKE)
        found = self._summed(known, end - t, spread)
        inside = known.at < end - t
        found[known.at[inside]] += (issued - spread)[inside]

        mean, scale = expectation(instance, np.arange(t, end), events)
        usual = self.usual[t:end].copy()
        usual[:, :sites] *= scale[:, :sites]
        out = mean + usual * found - forecast_series(instance, t, end, events, self.kind)
        out[(usual == 0.0) | ~self._strays(t, end)] = 0.0
        out[0] = 0.0
        return np.asarray(out)

    def _issued(self, t: int, known: _Known) -> Float[Floats, "n S"]:
        """Return what was forecast less what was expected, in usual deviations; 0 where there is none."""
        sites, at = self.instance.compiled.shape.sites, t + known.at
        _, anomaly = anomaly_known(self.instance, true_series(self.instance)[t], t)
        # Renewables and arrivals stray in proportion.
        anomaly[:, 2 * sites :] *= self.instance.knowledge.climatology[at, 2 * sites :]
        usual = self.usual[at]
        return np.asarray(np.where(usual > 0.0, anomaly / np.where(usual > 0.0, usual, 1.0), 0.0))

    def scale(self, t: int, end: int) -> Float[Floats, "h S"]:
        """Return the deviation of the truth from its expectation as known at t; 0 of what is known."""
        instance, sites, events = self.instance, self.instance.compiled.shape.sites, self._events(t, end)
        out = self.usual[t:end].copy()
        out[:, :sites] *= events.limit_factor("price")
        if self.kind in ("day_ahead", "published"):
            mean, _ = expectation(instance, np.arange(t, end), events)
            foreseen = forecast_series(instance, t, end, events, self.kind)
            out[:, :sites] = np.maximum(out[:, :sites], np.abs(foreseen - mean)[:, :sites])
        return out * self._strays(t, end)

    def _strays(self, t: int, end: int) -> Bool[Bools, "h S"]:
        """Return which numbers are not known for certain."""
        out, sites = (
            np.full((end - t, self.usual.shape[-1]), self.kind != "perfect"),
            self.instance.compiled.shape.sites,
        )
        if self.kind == "published":
            out[:, :sites] &= ~published_usd_per_mwh(self.instance, t, end)[0]
        return out

    def _events(self, t: int, end: int) -> EventTable:
        """Return the events of steps t to end - 1 as foreseen at t."""
        active = self.instance.knowledge.event_active
        return EventTable(active[t:end], self.instance.compiled.events).as_foreseen(active[t], self.kind)

    def _known(self, t: int) -> _Known:
        rules, per_hour = (
            self.instance.compiled.forecast,
            max(1, round(1.0 / self.instance.compiled.shape.dt_h)),
        )
        leads, _, column = last_issued(rules.lead_steps, t, self.instance.steps)
        at = np.append(0, leads)
        return _Known(at, np.append(1.0, rules.skill[column]), (t + at) // per_hour)

    def _calls(self, t: int, end: int, count: int, rng: np.random.Generator) -> Float[Floats, "N h Q"]:
        """Return the calls of lines that may still come."""
        instance, sites = self.instance, self.instance.compiled.shape.sites
        if self.kind == "perfect" or not instance.compiled.lines.calls:
            return np.zeros((count, end - t, instance.knowledge.call_depth.shape[-1]))
        events = self._events(t, instance.steps)
        foreseen = forecast_series(instance, t, instance.steps, events, self.kind)[:, :sites]
        prices = np.concatenate([instance.exogenous.buy_usd_per_mwh[:t], foreseen])
        return unknown_calls(instance, t, prices, count, rng)[:, t:end]

    # Series whose usual deviation is 1 --------------------------------------------------------------------------

    def _unit_errors(self, t: int, end: int, count: int, rng: np.random.Generator) -> Float[Floats, "N h S"]:
        """Return errors; none in the first step, which is known."""
        known, steps = self._known(t), end - t
        shape = (count, max(steps, int(known.at[-1]) + 1), self.usual.shape[-1])
        truth = self._truth(shape, rng)
        if self.kind == "persistence":
            sites = self.instance.compiled.shape.sites
            apart = [np.sqrt(2.0 * (1.0 - _correlation(np.array(DAY_H), parts))) for parts in MEMORY]
            out = truth[:, :steps] * np.where(np.arange(shape[-1]) < sites, *apart)
            out[:, 0] = 0.0
            return out

        # As in the forecasts, the steps of an hour share what is new.
        fresh = rng.standard_normal(shape)[:, known.hour - known.hour[0]]
        r = known.skill[:, None]
        issued = r * truth[:, known.at] + np.sqrt(r * (1.0 - r)) * fresh
        return truth[:, :steps] - self._summed(known, steps, issued)

    def _truth(self, shape: tuple[int, ...], rng: np.random.Generator) -> Float[Floats, "N h S"]:
        """Return series that correlate over time as `MEMORY` says."""
        dt_h, sites = self.instance.compiled.shape.dt_h, self.instance.compiled.shape.sites
        out = np.zeros(shape)
        for parts, series in zip(MEMORY, (np.s_[..., :sites], np.s_[..., sites:]), strict=True):
            for share, kept_per_h in parts:
                shocks, kept = rng.standard_normal(shape)[series], kept_per_h**dt_h
                shocks[:, 1:] *= np.sqrt(1.0 - kept * kept)
                out[series] += np.sqrt(share) * autoregress(shocks, kept)
        return out

    def _summed(self, known: _Known, steps: int, issued: Float[Floats, "*N n S"]) -> Float[Floats, "*N h S"]:
        """Return what follows for each step of a window from forecasts ``issued``."""
        dt_h, sites = self.instance.compiled.shape.dt_h, self.instance.compiled.shape.sites
        if not self.filtered:
            size = len(known.at)
            return np.asarray(interpolated(known.at, np.eye(size), steps, dt_h, size) @ issued)
        prices, others = (_weights(known, steps, dt_h, parts) for parts in MEMORY)
        return np.concatenate([prices @ issued[..., :sites], others @ issued[..., sites:]], axis=-1)


def _weights(
    known: _Known, steps: int, dt_h: float, parts: tuple[tuple[float, float], ...]
) -> Float[Floats, "h n"]:
    """Return the weights of forecasts in the mean of the truth given all of them."""
    apart_h = dt_h * np.abs(known.at[:, None] - known.at)
    noise = np.sqrt(known.skill * (1.0 - known.skill))
    same_hour = known.hour[:, None] == known.hour
    of_forecasts = known.skill[:, None] * known.skill * _correlation(apart_h, parts)
    of_forecasts += noise[:, None] * noise * same_hour
    ahead_h = dt_h * np.abs(np.arange(steps)[:, None] - known.at)
    with_truth = known.skill * _correlation(ahead_h, parts)
    return np.asarray(np.linalg.solve(of_forecasts, with_truth.T).T, dtype=np.float64)


def _correlation(apart_h: Floats, parts: tuple[tuple[float, float], ...]) -> Floats:
    return np.asarray(sum(share * kept_per_h**apart_h for share, kept_per_h in parts))


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
