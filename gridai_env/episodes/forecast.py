"""Forecasts of what is uncertain: prices, carbon intensity, renewables and arrivals, at a few leads.

Four kinds.  *perfect*: the truth.  *persistence*: what was seen at the same hour of the last day known.
*published*: like day_ahead, but prices are the truth before unannounced shocks as far as they are published.
*day_ahead*: calibrated noise.  With m the expectation (known in advance) and a = truth - m, the forecast at a
lead of skill r is

    m + S(r),   S(r) = r * a + s * bridge(r),   s = max(typical, NOISE_SHARE * |a|),

where bridge is a Brownian bridge on [0, 1] (variance r * (1 - r)), drawn once per target and series, and typical
is the usual median of |a| (known in advance).  S is on its way from 0 to a.  Its squared correlation with a is

    r / (r + (1 - r) * q),   q = E[s^2] / E[a^2],

so it is the skill r where q = 1.  For normal a of deviation 1 the median of |a| is 0.6745, and
E[max(0.6745, k * |a|)^2] = 1 holds for k = 0.911: that is NOISE_SHARE.  Rare spikes, which a typical size does not
know, bring q down to k^2 = 0.83 at the least, and the squared correlation above r by at most 0.05: a forecast in a
week of spikes does not know the spikes.  Where a is more evenly spread than normal, q is up to 1.1; where anomalies
are suddenly smaller than usual, the forecast is worse than its skill.  The forecast has no bias: E[S(r)] = r * E[a].

Where q = 1, the error of the newest forecast of a target is uncorrelated with every older one, so that collecting
them does not average the noise away.  They are not independent, though, and E[a | S(r)] = S(r) holds for the best
linear estimate alone: the steps of S tell how large |a| may be.  Errors of different targets (hours) are
independent.

Targets beyond the end of the episode are 0.  Shapes: B episodes, T steps, L steps of history, H leads, K
sites, C regions, and S = 3K + C + M series: buy price, billed carbon, renewable power, arrivals, and the clean
generation of M contracts (lines of kind matching).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from gridai_env.arrays.draws import Draws, in_parts
from gridai_env.arrays.ops import add_product, add_scaled, as_float32, constant, empty, namespace, within
from gridai_env.arrays.types import Array, Bool, Bools, Float, Floats, Int
from gridai_env.scenario.compile import Compiled
from gridai_env.scenario.tables import ForecastRules
from gridai_env.traces.local_time import MINUTES_PER_DAY, MINUTES_PER_HOUR, local_minutes, step_minutes

DAY_H = 24.0
MEDIAN_OF_NORMAL = 0.6745  # of |x| for a standard normal x
NOISE_SHARE = 0.911  # least scale of the noise, as a share of |truth - expectation| (see above)
CHUNK = 16


@dataclass(frozen=True)
class SeriesBlock:
    """The forecast series side by side, [...,S], S = 3K + C + M."""

    values: Array
    sites: int
    contracts: int = field(default=0, kw_only=True)  # M

    @property
    def buy_usd_per_mwh(self) -> Array:
        """Price of import, events included, [...,K]."""
        return self.values[..., : self.sites]

    @property
    def carbon_kg_per_mwh(self) -> Array:
        """Carbon intensity that is billed, [...,K]."""
        return self.values[..., self.sites : 2 * self.sites]

    @property
    def renewable_mw(self) -> Array:
        """Renewable power available, [...,K]."""
        return self.values[..., 2 * self.sites : 3 * self.sites]

    @property
    def arrivals_gpuh(self) -> Array:
        """Arrivals over all rows, [...,C]."""
        return self.values[..., 3 * self.sites : self.values.shape[-1] - self.contracts]

    @property
    def clean_mw(self) -> Array:
        """Contracted clean generation, [...,M]."""
        return self.values[..., self.values.shape[-1] - self.contracts :]


@dataclass(frozen=True)
class ForecastSet(SeriesBlock):
    """Forecasts issued at each step for each lead: ``values`` float32 [...,T,H,S], 0 beyond the end."""

    leads: tuple[int, ...]  # [H] steps ahead


@dataclass(frozen=True)
class Background:
    """What a forecast is made from, all but the truth known in advance."""

    # float32
    truth: Float[Array, "B L+T S"]  # before price events
    climatology: Float[Array, "B L+T S"]
    typical: Float[Array, "B T S"]  # usual median of |truth - climatology|, known in advance
    upper: Float[Floats, " S"]  # most that is possible, infinite where nothing is known
    sites: int
    blind: Bool[Bools, "B S"] | None = None  # series without a known past: their forecasts are persistence
    published: Publication | None = None  # None: no prices are


def day_steps(dt_h: float) -> int:
    """Return the steps of a day."""
    return round(DAY_H / dt_h)


def ahead(series: Array, leads: Sequence[int]) -> Array:
    """Return ``series`` [B,T,S] as seen from each step at each lead, float32 [B,T,H,S], 0 beyond the end."""
    series = as_float32(series)
    return _by_lead(series.shape[1], leads, lambda i, count: series[:, leads[i] : leads[i] + count])


def persistence(seen: Array, steps: int, leads: Sequence[int], per_day: int) -> Array:
    """Return the last known value of the same hour of the day, float32 [B,T,H,S].

    ``seen`` [B,L+T,S] starts with L >= one day of history; at step t nothing after t is used.
    """
    seen, history = as_float32(seen), seen.shape[1] - steps
    first = [history - days_back(lead, per_day) for lead in leads]
    return _by_lead(steps, leads, lambda i, count: seen[:, first[i] : first[i] + count])


def _by_lead(steps: int, leads: Sequence[int], values: Callable[[int, int], Array]) -> Array:
    """Return [B,T,H,S]: at each lead ``values(lead number, count)`` [B,count,S] in the first steps, then 0."""
    counts = [max(steps - lead, 0) for lead in leads]
    found = values(0, counts[0])
    # Written once, zeros beyond the end included: memory that comes as zeros is slower.
    out = empty((found.shape[0], steps, len(leads), found.shape[2]), found)
    for i, count in enumerate(counts):
        out[:, :count, i] = found if i == 0 else values(i, count)
        out[:, count:, i] = 0.0
    return out


def days_back(lead: int, per_day: int) -> int:
    """Return how far before the step of issue the same hour as that of the target was last seen, in steps."""
    return -(-lead // per_day) * per_day - lead


def day_ahead(rules: ForecastRules, dt_h: float, background: Background, draws: Draws) -> Array:
    """Return calibrated forecasts before price events, float32 [B,T,H,S]."""
    leads = rules.lead_steps
    steps, series = background.typical.shape[1:]
    counts = [max(steps - lead, 0) for lead in leads]
    least = np.where(np.arange(series) < background.sites, -np.inf, 0.0).astype(np.float32)

    def few(part: slice) -> tuple[Array]:
        normal = _target_normals(steps, len(leads), series, dt_h, draws, part)
        mean = background.climatology[part, -steps:]
        anomaly = background.truth[part, -steps:] - mean
        xp = namespace(anomaly)
        scale = xp.maximum(NOISE_SHARE * xp.abs(anomaly), background.typical[part])
        most, lowest = _most(background, mean), constant(least, mean)
        out = empty((mean.shape[0], steps, len(leads), series), mean)

        # From the longest lead on: each forecast refines the one before it.
        for i, value in _vintages(rules.skill.tolist(), mean, anomaly, scale, normal):
            ahead = np.s_[:, steps - counts[i] :]
            out[:, : counts[i], i] = within(value[ahead], lowest, most[ahead])
            out[:, counts[i] :, i] = 0.0
        return (out,)

    return in_parts(draws, CHUNK, few)[0]


def with_published(values: Array, background: Background, leads: Sequence[int]) -> Array:
    """Return forecasts before price events [B,T,H,S] in which published prices stand as they are; overwritten."""
    known, steps, sites = background.published, values.shape[1], background.sites
    for i, lead in enumerate(leads):
        if known is not None and lead < steps:
            price, truth = values[:, : steps - lead, i, :sites], background.truth[:, lead - steps :, :sites]
            price[...] = namespace(price).where(known.at_lead(lead), truth, price)
    return values


def _most(background: Background, mean: Array) -> Array:
    """Return the most that is possible [B,T,S]: what is installed; 0 where the climatology knows of nothing
    (night)."""
    priced = np.arange(mean.shape[-1]) < background.sites
    highest = constant(background.upper.astype(np.float32), mean)
    xp = namespace(mean)
    return xp.where((mean > 0) | constant(priced, mean), highest, xp.zeros_like(highest))


def _vintages(
    skill: list[float], mean: Array, anomaly: Array, scale: Array, normal: Array
) -> Iterator[tuple[int, Array]]:
    """Yield lead number and forecast by target [B,T,S], from the longest lead (least skill) to the shortest.

    Each point of the bridge follows from the one before.  ``normal`` [B,H,T,S] is used up.
    """
    bridge, before = namespace(anomaly).zeros_like(anomaly), 0.0
    for i in reversed(range(len(skill))):
        now = skill[i]
        keep, fresh = _bridge_step(before, now)
        bridge *= keep
        add_scaled(bridge, normal[:, i], fresh)
        value = anomaly * now
        add_product(value, scale, bridge)
        value += mean
        before = now
        yield i, value


def _bridge_step(before: float, now: float) -> tuple[float, float]:
    """Return weight of the last bridge value and standard deviation of the new part, at skill before <=
    now."""
    if before >= 1.0:
        return 0.0, 0.0
    keep = (1.0 - now) / (1.0 - before)
    return keep, float(np.sqrt(max((now - before) * keep, 0.0)))


def _target_normals(steps: int, leads: int, series: int, dt_h: float, draws: Draws, part: slice) -> Array:
    """Return normals [B,H,T,S], the same for all steps of an hour: quarter-hours must not average the
    noise."""
    per_hour = max(1, round(1.0 / dt_h))
    hourly = draws.coarse_normals(part, leads, -(-steps // per_hour), series)
    if per_hour == 1:
        return hourly
    hour = np.arange(steps) // per_hour
    return namespace(hourly).take(hourly, constant(hour, hourly), axis=2)


# Published prices ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Publication:
    """Local days, counted from 1970, of the market of each site."""

    day: Int[Array, "B T K"]  # in which the step starts
    last: Int[Array, "B T K"]  # up to which prices are known in the step

    def at_lead(self, lead: int) -> Bool[Array, "B T-lead K"]:
        """Return whether the price ``lead`` steps ahead is known, for each step that has such a target."""
        return self.day[:, lead:] <= self.last[:, : self.last.shape[1] - lead]


def publication(compiled: Compiled, start_utc: np.ndarray, first_step: int, steps: int) -> Publication:
    """Return what is published in ``steps`` steps from ``first_step`` of episodes that start at ``start_utc``.

    A day has the hours that its clocks give it, 23 or 25 where these change.
    """
    utc = step_minutes(start_utc, first_step, steps, compiled.shape.dt_h)
    day, minute = np.divmod(local_minutes(compiled.sites.timezones, utc), MINUTES_PER_DAY)
    return Publication(day, day + (minute >= compiled.forecast.published_from_h * MINUTES_PER_HOUR))


def publication_words(compiled: Compiled) -> str:
    """Return in words when each site learns the prices of the next day."""
    hour, minute = divmod(round(compiled.forecast.published_from_h * MINUTES_PER_HOUR), MINUTES_PER_HOUR)
    named = zip(compiled.site_names, compiled.sites.timezones, strict=True)
    clocks = ", ".join(f"{site} {zone}" for site, zone in named)
    return (
        f"prices of the next day are known from {hour:02d}:{minute:02d} on the clock of the site ({clocks})"
    )
