"""Forecasts of what is uncertain: prices, carbon intensity, renewables and arrivals, at a few leads.

Three kinds.  *perfect*: the truth.  *persistence*: what was seen at the same hour of the last day known.
*day_ahead*: calibrated noise.  With m the climatology (known in advance), a = truth - m and s the standard
deviation of a, the forecast at a lead of skill r is

    m + S(r),   S(r) = r * a + s * bridge(r),

where bridge is a Brownian bridge on [0, 1], drawn once per target and series.  S is then a Brownian motion on
its way to a: the squared correlation with the truth is r, E[a | S(r)] = S(r) for normal a (no bias, no
over-confidence), and S(r) of a short lead already contains all that a longer lead told, so that collecting
the forecasts of one target does not average the noise away.  Errors of different targets (hours) are
independent.

Targets beyond the end of the episode are 0.  Shapes: B episodes, T steps, L steps of history, H leads, K
sites, C regions, and S = 3K + C series: buy price, billed carbon, renewable power, arrivals.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist

import numpy as np

from gridai_env.spec import ForecastSpec

DAY_H = 24.0
CHUNK = 16


@dataclass(frozen=True)
class SeriesBlock:
    """The forecast series side by side, [...,S], S = 3K + C."""

    values: np.ndarray
    sites: int

    @property
    def buy_usd_per_mwh(self) -> np.ndarray:
        """Price of import, events included, [...,K]."""
        return self.values[..., : self.sites]

    @property
    def carbon_kg_per_mwh(self) -> np.ndarray:
        """Carbon intensity that is billed, [...,K]."""
        return self.values[..., self.sites : 2 * self.sites]

    @property
    def renewable_mw(self) -> np.ndarray:
        """Renewable power available, [...,K]."""
        return self.values[..., 2 * self.sites : 3 * self.sites]

    @property
    def arrivals_gpuh(self) -> np.ndarray:
        """Arrivals over all rows, [...,C]."""
        return self.values[..., 3 * self.sites :]


@dataclass(frozen=True)
class ForecastSet(SeriesBlock):
    """Forecasts issued at each step for each lead: ``values`` float32 [...,T,H,S], 0 beyond the end."""

    leads: tuple[int, ...]  # [H] steps ahead


@dataclass(frozen=True)
class Background:
    """What a forecast is made from, all but the truth known in advance."""

    # float32
    truth: np.ndarray  # [B,L+T,S] before price events
    climatology: np.ndarray  # [B,L+T,S]
    deviation: np.ndarray  # [B,T,S] standard deviation of truth - climatology, a property of zone and hour
    upper: np.ndarray  # [S] most that is possible, infinite where nothing is known
    sites: int


def lead_steps(spec: ForecastSpec, dt_h: float) -> tuple[int, ...]:
    """Return the leads in steps (the checks of the scenario made sure that they are whole)."""
    return tuple(round(lead / dt_h) for lead in spec.leads_h)


def day_steps(dt_h: float) -> int:
    """Return the steps of a day."""
    return round(DAY_H / dt_h)


def skills(spec: ForecastSpec) -> np.ndarray:
    """Return the squared correlation of forecast and truth at each lead [H]: it falls linearly in log
    lead."""
    log_lead = np.log(np.array(spec.leads_h))
    span = max(float(log_lead[-1] - log_lead[0]), 1e-12)
    return spec.skill_first + (spec.skill_last - spec.skill_first) * (log_lead - log_lead[0]) / span


def ahead(series: np.ndarray, leads: Sequence[int]) -> np.ndarray:
    """Return ``series`` [B,T,S] as seen from each step at each lead, float32 [B,T,H,S], 0 beyond the end."""
    steps = series.shape[1]
    out = np.zeros((series.shape[0], steps, len(leads), series.shape[2]), dtype=np.float32)
    for i, lead in enumerate(leads):
        if lead < steps:
            out[:, : steps - lead, i] = series[:, lead:]
    return out


def persistence(seen: np.ndarray, steps: int, leads: Sequence[int], per_day: int) -> np.ndarray:
    """Return the last known value of the same hour of the day, float32 [B,T,H,S].

    ``seen`` [B,L+T,S] starts with L >= one day of history; at step t nothing after t is used.
    """
    history = seen.shape[1] - steps
    out = np.zeros((seen.shape[0], steps, len(leads), seen.shape[2]), dtype=np.float32)
    for i, lead in enumerate(leads):
        count = max(steps - lead, 0)
        first = history - days_back(lead, per_day)
        out[:, :count, i] = seen[:, first : first + count]
    return out


def days_back(lead: int, per_day: int) -> int:
    """Return how far before the step of issue the same hour as that of the target was last seen, in steps."""
    return -(-lead // per_day) * per_day - lead


def day_ahead(
    spec: ForecastSpec, dt_h: float, background: Background, rngs: Sequence[np.random.Generator]
) -> np.ndarray:
    """Return calibrated forecasts before price events, float32 [B,T,H,S]; one generator per episode."""
    leads = lead_steps(spec, dt_h)
    steps, series = background.deviation.shape[1:]
    # Written once, zeros beyond the end included: memory that comes as zeros is slower.
    out = np.empty((len(rngs), steps, len(leads), series), dtype=np.float32)
    for i, lead in enumerate(leads):
        out[:, max(steps - lead, 0) :, i] = 0.0
    least = np.where(np.arange(series) < background.sites, -np.inf, 0.0).astype(np.float32)
    for first in range(0, len(rngs), CHUNK):  # a few episodes at a time stay in the processor's cache
        part = slice(first, first + CHUNK)
        normal = _target_normals(steps, len(leads), series, dt_h, rngs[part])
        mean = background.climatology[part, -steps:]
        anomaly = background.truth[part, -steps:] - mean
        most = _most(background, mean)
        for i, value in _vintages(skills(spec), mean, anomaly, background.deviation[part], normal):
            if leads[i] < steps:
                np.maximum(value, least, out=value)
                ahead = np.s_[:, leads[i] :]
                np.minimum(value[ahead], most[ahead], out=out[part, : steps - leads[i], i])
    return out


def _most(background: Background, mean: np.ndarray) -> np.ndarray:
    """Return the most that is possible [B,T,S]: what is installed; 0 where the climatology knows of nothing
    (night)."""
    priced = np.arange(mean.shape[-1]) < background.sites
    return np.where((mean > 0) | priced, background.upper.astype(np.float32), np.float32(0))


def _vintages(
    skill: np.ndarray, mean: np.ndarray, anomaly: np.ndarray, deviation: np.ndarray, normal: np.ndarray
) -> Iterator[tuple[int, np.ndarray]]:
    """Yield lead number and forecast by target [B,T,S], from the longest lead (least skill) to the shortest.

    Each point of the bridge follows from the one before.  ``normal`` is used up; the array that is yielded is
    written anew for the next lead.
    """
    bridge, before = np.zeros_like(anomaly), 0.0
    value, noise = np.empty_like(anomaly), np.empty_like(anomaly)
    for i in reversed(range(len(skill))):
        now = float(skill[i])
        keep, fresh = _bridge_step(before, now)
        bridge *= np.float32(keep)
        normal[:, i] *= np.float32(fresh)
        bridge += normal[:, i]
        np.multiply(anomaly, np.float32(now), out=value)
        np.multiply(deviation, bridge, out=noise)
        value += noise
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


def _target_normals(
    steps: int, leads: int, series: int, dt_h: float, rngs: Sequence[np.random.Generator]
) -> np.ndarray:
    """Return normals [B,H,T,S], the same for all steps of an hour: quarter-hours must not average the
    noise."""
    per_hour = max(1, round(1.0 / dt_h))
    hours = -(-steps // per_hour)
    hourly = np.empty((len(rngs), leads, hours, series), dtype=np.float32)
    for row, rng in zip(hourly, rngs, strict=True):
        coarse_normals(rng, row)
    return hourly if per_hour == 1 else np.repeat(hourly, per_hour, axis=2)[:, :, :steps]


def coarse_normals(rng: np.random.Generator, out: np.ndarray) -> None:
    """Fill ``out`` (float32) with normals that take the values of `normal_quantiles`, each equally likely.

    Several times faster than exact normals, which would be the dearest part of a reset.
    """
    words = rng.bit_generator.random_raw(-(-out.size // 4))
    level = words.astype("<u8", copy=False).view("<u2")[: out.size]
    normal_quantiles().take(level.reshape(out.shape), out=out, mode="clip")


@lru_cache(maxsize=1)
def normal_quantiles() -> np.ndarray:
    """Return the normal quantiles of 65,536 equally likely levels, float32, mean 0 and variance 1."""
    half = [NormalDist().inv_cdf((i + 0.5) / 2**16) for i in range(2**15)]
    quantiles = np.concatenate([half, np.negative(half[::-1])])
    return (quantiles / quantiles.std()).astype(np.float32)
