"""Arrivals of inference work: daily and weekly shape in local time, with autocorrelated noise per region.

``arrivals = mean_gpus * dt * row share * daily profile * weekend factor * (1 + noise)``, never negative.  The
noise is common to all rows of a region: an AR(1) process with the region's standard deviation.  From the
arrivals follow the two exogenous quantities that keep the physics affine: the bound of the queue and the
growth of sessions.

Shapes: B episodes, T steps, L steps of history before the start, C regions, W rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gridai_env.compile import Compiled
from gridai_env.profiles import daily_profile, weekly_factor
from gridai_env.spec import Scenario
from gridai_env.traces.clock import MINUTES_PER_DAY, MINUTES_PER_HOUR, offset_minutes

NOISE_KEPT_PER_H = 0.9  # share of the noise that is still there after an hour: swings last about half a day
MIN_REFERENCE = 0.01  # arrivals below this share of the next step's are no reference for placements
THURSDAY = 3  # 1970-01-01, with Monday = 0
SATURDAY = 5


@dataclass(frozen=True)
class Demand:
    """The demand of a batch of episodes."""

    arrivals_gpuh: np.ndarray  # [B,T,C,W]
    region_gpuh: np.ndarray  # [B,L+T,C] arrivals over all rows, history first
    expected_gpuh: np.ndarray  # [B,L+T,C] the same without noise: what calendar and clock tell in advance


@dataclass(frozen=True)
class Calendar:
    """What clock and calendar say in each region at the middle of each step."""

    local_hour: np.ndarray  # [B,T,C] in [0, 24)
    weekend: np.ndarray  # [B,T,C] bool: Saturday or Sunday in local time


def draw_demand(
    compiled: Compiled, start_utc: np.ndarray, lead_in: int, rngs: Sequence[np.random.Generator]
) -> Demand:
    """Draw the arrivals of episodes that start at ``start_utc`` (datetime64 [B]), one generator each."""
    steps = compiled.shape.steps
    factor = noise_factor(compiled.scenario, lead_in + steps, rngs)
    days = calendar(compiled.scenario, start_utc, -lead_in, lead_in + steps)
    expected = expected_region_gpuh(compiled, days)
    within = Calendar(days.local_hour[:, lead_in:], days.weekend[:, lead_in:])
    return Demand(
        arrivals_gpuh=expected_rows_gpuh(compiled, within) * factor[:, lead_in:, :, None],
        region_gpuh=expected * factor,
        expected_gpuh=expected,
    )


def calendar(scenario: Scenario, start_utc: np.ndarray, first_step: int, steps: int) -> Calendar:
    """Return local hour and weekend for ``steps`` steps from ``first_step`` (negative: before the start)."""
    step_min = scenario.dt_h * MINUTES_PER_HOUR
    middle = np.round((first_step + np.arange(steps) + 0.5) * step_min).astype(np.int64)
    utc = start_utc.astype("datetime64[m]").astype(np.int64)[:, None] + middle
    offsets = {zone: offset_minutes(zone, utc) for zone in {r.timezone for r in scenario.regions}}
    local = np.stack([utc + offsets[r.timezone] for r in scenario.regions], axis=-1)
    day = local // MINUTES_PER_DAY
    hour = (local - day * MINUTES_PER_DAY) / MINUTES_PER_HOUR
    return Calendar(hour, (day + THURSDAY) % 7 >= SATURDAY)


def expected_region_gpuh(compiled: Compiled, days: Calendar) -> np.ndarray:
    """Return the noise-free arrivals of each region over all rows, [B,T,C].

    The profile is affine in flatness, so the rows together have the profile of their mean flatness.
    """
    flatness = float(np.sum(compiled.row_share * _row_flatness(compiled)))
    return _shaped_gpuh(compiled.scenario, days, np.array(flatness))


def expected_rows_gpuh(compiled: Compiled, days: Calendar) -> np.ndarray:
    """Return the noise-free arrivals of each row, [B,T,C,W]."""
    flatness = _row_flatness(compiled)
    levels, index = np.unique(flatness, return_inverse=True)
    shaped = [_shaped_gpuh(compiled.scenario, days, level) for level in levels]
    return np.stack([shaped[i] * share for i, share in zip(index, compiled.row_share, strict=True)], axis=-1)


def _row_flatness(compiled: Compiled) -> np.ndarray:
    return np.array([c.flatness for c in compiled.scenario.classes])[compiled.row_class]


def _shaped_gpuh(scenario: Scenario, days: Calendar, flatness: np.ndarray) -> np.ndarray:
    """Return mean demand times daily and weekly shape for one flatness, [B,T,C]."""
    regions = scenario.regions
    mean_gpuh = np.array([r.mean_gpus for r in regions]) * scenario.dt_h
    peak_hour = np.array([r.peak_hour for r in regions])
    swing = np.array([r.swing for r in regions])
    week = weekly_factor(days.weekend, np.array([r.weekend_factor for r in regions]))
    return mean_gpuh * week * daily_profile(days.local_hour, peak_hour, swing, flatness)


def noise_factor(scenario: Scenario, steps: int, rngs: Sequence[np.random.Generator]) -> np.ndarray:
    """Return ``max(0, 1 + noise)``, [B,steps,C]; the noise is stationary from the first step on."""
    kept = NOISE_KEPT_PER_H**scenario.dt_h
    normal = np.empty((len(rngs), steps, len(scenario.regions)))
    for row, rng in zip(normal, rngs, strict=True):
        rng.standard_normal(out=row)
    normal[:, 1:] *= np.sqrt(1.0 - kept * kept)
    noise = autoregress(normal, kept) * np.array([r.noise for r in scenario.regions])
    return np.maximum(1.0 + noise, 0.0)


def autoregress(shocks: np.ndarray, kept: float) -> np.ndarray:
    """Return ``x(t) = kept * x(t-1) + shocks(t)`` along axis 1, x(-1) = 0.

    Doubling the span of a partial sum in each pass takes log2(T) array operations instead of T.
    """
    x, span, weight = shocks.copy(), 1, kept
    while span < shocks.shape[1] and weight > 1e-18:
        x[:, span:] += weight * x[:, :-span]
        span, weight = 2 * span, weight * weight
    return x


def queue_limits_gpuh(arrivals_gpuh: np.ndarray, wait_steps: np.ndarray) -> np.ndarray:
    """Return the most work that may be left at the end of each step, shaped as ``arrivals_gpuh`` [...,T,C,W].

    For a row that may wait D steps: the arrivals of the last D steps, this one included (the queue starts
    empty). 0 for rows that may not wait, and for all rows in the last step.
    """
    limit = np.zeros_like(arrivals_gpuh)
    steps = arrivals_gpuh.shape[-3]
    for w in np.flatnonzero(wait_steps):
        row, total = arrivals_gpuh[..., w], limit[..., w]
        for back in range(min(int(wait_steps[w]), steps)):
            total[..., back:, :] += row[..., : steps - back, :]
    limit[..., -1, :, :] = 0.0
    return limit


def session_growth(arrivals_gpuh: np.ndarray, wait_steps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return growth and rehomed GPU-h of rows that hold sessions, shaped as ``arrivals_gpuh`` [...,T,C,W].

    Growth is the ratio of successive arrivals: what grows in place is no move.  Where the step before is no
    reference (below 1 % of this step's, 0 included) growth is 0 and the reference is all arrivals at home.
    In the first step growth is 1, the placement before it being these arrivals at home.  Rows that may wait
    (they come last): 0.
    """
    sessions = slice(0, int(np.count_nonzero(wait_steps == 0)))
    before, now = arrivals_gpuh[..., :-1, :, sessions], arrivals_gpuh[..., 1:, :, sessions]
    is_reference = (before > 0.0) & (before >= MIN_REFERENCE * now)
    growth, rehomed = np.zeros_like(arrivals_gpuh), np.zeros_like(arrivals_gpuh)
    growth[..., 0, :, sessions] = 1.0
    np.divide(now, before, out=growth[..., 1:, :, sessions], where=is_reference)
    np.multiply(now, ~is_reference, out=rehomed[..., 1:, :, sessions])
    return growth, rehomed


def first_placement_gpuh(
    first_arrivals_gpuh: np.ndarray, home: np.ndarray, wait_steps: np.ndarray
) -> np.ndarray:
    """Return the placement [...,C,W,K] before the first step: its arrivals [...,C,W] at home, sessions
    only."""
    sessions = np.where(wait_steps > 0, 0.0, first_arrivals_gpuh)
    return sessions[..., None] * home[:, None, :]
