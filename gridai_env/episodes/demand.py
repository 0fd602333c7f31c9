"""Arrivals of inference work: daily and weekly shape in local time, with autocorrelated noise per region.

``arrivals = mean_gpus * dt * row share * daily profile * weekend factor * (1 + noise)``, never negative.  The
noise is common to all rows of a region: an AR(1) process with the region's standard deviation.  From the
arrivals follow the two exogenous quantities that keep the physics affine: the bound of the queue and the
growth of sessions.

Shapes: B episodes, T steps, L steps of history before the start, C regions, W rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from gridai_env.arrays.draws import Draws, as_draws, in_parts
from gridai_env.arrays.ops import constant, empty, namespace, take_rows, window_sum
from gridai_env.arrays.record import Record
from gridai_env.arrays.types import Array, Bool, Bools, Float, Floats
from gridai_env.episodes.demand_shape import demand_shape, place_regions, place_shape, regional_table
from gridai_env.scenario.capacity import daily_profile, weekly_factor
from gridai_env.scenario.compile import Compiled, once_per_scenario
from gridai_env.traces.local_time import MINUTES_PER_DAY, MINUTES_PER_HOUR, local_minutes, step_minutes

NOISE_KEPT_PER_H = 0.9  # share of the noise that is still there after an hour: swings last about half a day
MIN_REFERENCE = 0.01  # arrivals below this share of the next step's are no reference for placements
MONDAY_MIN = 3 * MINUTES_PER_DAY  # from Monday to the first minute of 1970, a Thursday
SATURDAY = 5
WEEK_MIN = 7 * MINUTES_PER_DAY
CHUNK = 32


@dataclass(frozen=True)
class Demand:
    """The demand of a batch of episodes."""

    arrivals_gpuh: Float[Array, "B T C W"]
    region_gpuh: Float[Array, "B L+T C"]  # arrivals over all rows, history first
    expected_gpuh: Float[Array, "B L+T C"]  # the same without noise: what calendar and clock tell in advance
    deviation_gpuh: Float[Array, "B T C"]  # usual (standard) deviation of region_gpuh from expected_gpuh
    provenance: tuple[str, ...] = ()  # [B] where it came from; empty: synthetic
    # Regions of which too little is known before the start: persistence.
    blind: Bool[Bools, "B C"] | None = None


@dataclass(frozen=True)
class Week(Record):
    """The noise-free arrivals by local minute of the week, from Monday 0:00 on, each for C regions."""

    rows_gpuh: Float[Array, "10080*C W"]
    region_gpuh: Float[Array, " 10080*C"]  # over all rows


@dataclass(frozen=True)
class Calendar:
    """Local time in each region at the middle of each step, or (no batch axis) of each minute of a week."""

    local_hour: Float[Floats, "*batch T C"]  # in [0, 24)
    weekend: Bool[Bools, "*batch T C"]  # Saturday or Sunday in local time


def draw_demand(
    compiled: Compiled, start_utc: np.ndarray, lead_in: int, rngs: Sequence[np.random.Generator]
) -> Demand:
    """Draw the arrivals of episodes that start at ``start_utc`` (datetime64 [B]), one generator each.

    They are synthetic or, where the scenario's ``demand`` names a file, follow that file.  Raises TraceError where
    the file cannot be used.
    """
    if compiled.demand.source != "synthetic":
        return _demand_of_file(compiled, start_utc, lead_in, rngs)
    places = week_places(compiled, start_utc, lead_in)
    return synthetic_demand(compiled, week_gpuh(compiled), places, as_draws(rngs))


def synthetic_demand(compiled: Compiled, week: Week, places: Array, draws: Draws) -> Demand:
    """Draw synthetic arrivals; ``places`` [B,L+T,C] say where in ``week`` each step of each region lies."""
    steps = compiled.shape.steps
    factor = noise_factor(compiled, places.shape[1], draws)
    expected = take_rows(week.region_gpuh, places)
    arrivals = take_rows(week.rows_gpuh, places[:, -steps:])
    arrivals *= factor[:, -steps:, :, None]
    factor *= expected
    deviation = constant(compiled.regions.noise, expected) * expected[:, -steps:]
    return Demand(arrivals, region_gpuh=factor, expected_gpuh=expected, deviation_gpuh=deviation)


def week_places(compiled: Compiled, start_utc: np.ndarray, lead_in: int) -> np.ndarray:
    """Return where in `Week` the steps of episodes lie that start at ``start_utc``, int64 [B,L+T,C]."""
    regions = compiled.shape.regions
    at = week_minutes(compiled, start_utc, -lead_in, lead_in + compiled.shape.steps)
    at *= regions
    at += np.arange(regions)
    return at


def _demand_of_file(
    compiled: Compiled, start_utc: np.ndarray, lead_in: int, rngs: Sequence[np.random.Generator]
) -> Demand:
    """Return demand whose rows follow the file of the scenario; those of other classes stay synthetic."""
    dt_h, regions = compiled.shape.dt_h, compiled.regions
    own = _synthetic_rows(compiled)
    days = calendar(compiled, start_utc, -lead_in, lead_in + compiled.shape.steps)

    rows = expected_rows_gpuh(compiled, days) * own  # [B,X,C,W]
    expected = rows.sum(-1)
    variance = (regions.noise * expected) ** 2
    rows *= noise_factor(compiled, lead_in + compiled.shape.steps, as_draws(rngs))[..., None]

    regional = regional_table(compiled.demand)
    if regional is None:
        placed = place_shape(demand_shape(compiled.demand), compiled, start_utc, lead_in, rngs)
    else:
        placed = place_regions(regional, compiled, start_utc, lead_in)
    mean_gpuh = regions.mean_gpus * dt_h
    share = np.where(own, 0.0, compiled.row_share)
    rows += (mean_gpuh * placed.shape)[..., None] * share
    from_file = mean_gpuh * placed.expected * share.sum()
    usual = mean_gpuh * placed.deviation[:, None] * share.sum()
    variance += usual**2

    return Demand(
        arrivals_gpuh=rows[:, lead_in:],
        region_gpuh=rows.sum(-1),
        expected_gpuh=expected + from_file,
        deviation_gpuh=np.sqrt(variance[:, lead_in:]),
        provenance=placed.provenance,
        blind=placed.blind,
    )


def _synthetic_rows(compiled: Compiled) -> np.ndarray:
    """Return which rows keep the synthetic shape, bool [W]: with a file, those of classes it does not name."""
    spec = compiled.demand
    if spec.source == "synthetic" or spec.classes is None:
        return np.full(compiled.shape.rows, spec.source == "synthetic")
    return np.array([compiled.class_names[c] not in spec.classes for c in compiled.row_class])


def expected_row_shares(compiled: Compiled, days: Calendar, region_gpuh: np.ndarray) -> np.ndarray:
    """Return how the arrivals of regions are expected to split over rows, [B,T,C,W], sums to 1 (0 without any).

    ``region_gpuh`` [B,T,C] is the climatology of the arrivals: rows that follow a file share what the synthetic
    rows leave of it.
    """
    own = _synthetic_rows(compiled)
    expected = expected_rows_gpuh(compiled, days)
    if not own.all():
        expected = expected * own
        rest = np.maximum(region_gpuh - expected.sum(-1), 0.0)
        share = np.where(own, 0.0, compiled.row_share)
        expected += rest[..., None] * share / share.sum()
    total = expected.sum(-1, keepdims=True)
    return np.asarray(expected / np.where(total > 0, total, 1.0))


@once_per_scenario
def week_gpuh(compiled: Compiled) -> Week:
    """Return the noise-free arrivals of each row and region by local minute of the week."""
    minute = np.arange(WEEK_MIN)
    days = _calendar_of(np.repeat(minute[:, None], compiled.shape.regions, axis=1))
    rows = expected_rows_gpuh(compiled, days)
    return Week(rows.reshape(-1, rows.shape[-1]), expected_region_gpuh(compiled, days).ravel())


def calendar(compiled: Compiled, start_utc: np.ndarray, first_step: int, steps: int) -> Calendar:
    """Return local hour and weekend for ``steps`` steps from ``first_step`` (negative: before the start)."""
    return _calendar_of(week_minutes(compiled, start_utc, first_step, steps))


def _calendar_of(week_minute: np.ndarray) -> Calendar:
    """Return local hour and weekend for local minutes of the week."""
    day, minute = np.divmod(week_minute, MINUTES_PER_DAY)
    return Calendar(minute / MINUTES_PER_HOUR, day >= SATURDAY)


def week_minutes(compiled: Compiled, start_utc: np.ndarray, first_step: int, steps: int) -> np.ndarray:
    """Return the local minute of the week (from Monday 0:00) at the middle of each step, int [B,steps,C]."""
    utc = step_minutes(start_utc, first_step + 0.5, steps, compiled.shape.dt_h)
    return (local_minutes(compiled.regions.timezones, utc) + MONDAY_MIN) % WEEK_MIN


def expected_region_gpuh(compiled: Compiled, days: Calendar) -> np.ndarray:
    """Return the noise-free arrivals of each region over all rows, [...,T,C].

    The profile is affine in flatness, so the rows together have the profile of their mean flatness.
    """
    flatness = float(np.sum(compiled.row_share * compiled.row_flatness))
    return _shaped_gpuh(compiled, days, np.array(flatness))


def expected_rows_gpuh(compiled: Compiled, days: Calendar) -> np.ndarray:
    """Return the noise-free arrivals of each row, [...,T,C,W]."""
    flatness = compiled.row_flatness
    levels, index = np.unique(flatness, return_inverse=True)
    shaped = [_shaped_gpuh(compiled, days, level) for level in levels]
    return np.stack([shaped[i] * share for i, share in zip(index, compiled.row_share, strict=True)], axis=-1)


def _shaped_gpuh(compiled: Compiled, days: Calendar, flatness: np.ndarray) -> np.ndarray:
    """Return mean demand times daily and weekly shape for one flatness, [...,T,C]."""
    regions = compiled.regions
    mean_gpuh = regions.mean_gpus * compiled.shape.dt_h
    week = weekly_factor(days.weekend, regions.weekend_factor)
    return mean_gpuh * week * daily_profile(days.local_hour, regions.peak_hour, regions.swing, flatness)


def noise_factor(compiled: Compiled, steps: int, draws: Draws) -> Array:
    """Return ``max(0, 1 + noise)``, [B,steps,C]; the noise is stationary from the first step on."""
    kept = NOISE_KEPT_PER_H**compiled.shape.dt_h
    strength = compiled.regions.noise

    def few(part: slice) -> tuple[Array]:
        shocks = draws.normals(part, steps, len(strength))
        # The first step has the full variance, the others what the decay takes away.
        shocks[:, 1:] *= float(np.sqrt(1.0 - kept * kept))
        noise = autoregress(shocks, kept)
        noise *= constant(strength, noise)
        noise += 1.0
        return (namespace(noise).maximum(noise, 0.0),)

    return in_parts(draws, CHUNK, few)[0]


def autoregress(shocks: Array, kept: float) -> Array:
    """Return ``x(t) = kept * x(t-1) + shocks(t)`` along axis 1, x(-1) = 0.

    Doubling the span of a partial sum in each pass takes log2(T) array operations instead of T.
    """
    x, span, weight = namespace(shocks).copy(shocks), 1, kept
    while span < shocks.shape[1] and weight > 1e-18:
        x[:, span:] += weight * x[:, :-span]
        span, weight = 2 * span, weight * weight
    return x


def queue_limits_gpuh(arrivals_gpuh: Array, wait_steps: np.ndarray) -> Array:
    """Return the most work that may be left at the end of each step, shaped as ``arrivals_gpuh`` [...,T,C,W].

    For a row that may wait D steps: the arrivals of the last D steps, this one included (the queue starts
    empty). 0 for rows that may not wait, and for all rows in the last step.
    """
    limit = empty(arrivals_gpuh.shape, arrivals_gpuh)
    limit[...] = 0.0
    for part, out in _few_at_a_time(arrivals_gpuh, limit):
        for w in np.flatnonzero(wait_steps).tolist():
            total = window_sum(part[..., w], int(wait_steps[w]))
            total[:, -1] = 0.0
            out[..., w] = total
    return limit


def _few_at_a_time(*arrays: Array) -> Iterator[tuple[Array, ...]]:
    """Yield arrays [...,T,C,W] of one shape a few episodes [b,T,C,W] at a time, as views where they are
    contiguous: what is worked on stays in the processor's cache.  Tensors all at once."""
    flat = [array.reshape(-1, *array.shape[-3:]) for array in arrays]
    size = CHUNK if isinstance(flat[0], np.ndarray) else len(flat[0])
    for first in range(0, len(flat[0]), size):
        yield tuple(array[first : first + size] for array in flat)


def session_growth(arrivals_gpuh: Array, wait_steps: np.ndarray) -> tuple[Array, Array]:
    """Return growth and rehomed GPU-h of rows that hold sessions, shaped as ``arrivals_gpuh`` [...,T,C,W].

    Growth is the ratio of successive arrivals: what grows in place is no move.  Where the step before is no
    reference (below 1 % of this step's, 0 included) growth is 0 and the reference is all arrivals at home.
    In the first step growth is 1, the placement before it being these arrivals at home.  Rows that may wait
    (they come last): 0.
    """
    growth, rehomed = (empty(arrivals_gpuh.shape, arrivals_gpuh) for _ in range(2))
    waits = np.flatnonzero(wait_steps).tolist()

    for arrivals, ratio, at_home in _few_at_a_time(arrivals_gpuh, growth, rehomed):
        ratio[:, 0], at_home[:, 0] = 1.0, 0.0
        # All rows at once, as they lie in memory, is faster than the sessions alone.
        ratio[:, 1:], at_home[:, 1:] = growth_between(arrivals[:, :-1], arrivals[:, 1:])
        for w in waits:
            ratio[..., w] = at_home[..., w] = 0.0
    return growth, rehomed


def growth_between(before_gpuh: Array, now_gpuh: Array) -> tuple[Array, Array]:
    """Return growth and rehomed GPU-h of sessions from their arrivals in a step and in the one before it."""
    is_reference = (before_gpuh >= MIN_REFERENCE * now_gpuh) & (before_gpuh > 0.0)
    growth = now_gpuh / namespace(now_gpuh).where(is_reference, before_gpuh, 1.0)
    return growth * is_reference, now_gpuh * ~is_reference


def first_placement_gpuh(first_arrivals_gpuh: Array, home: np.ndarray, wait_steps: np.ndarray) -> Array:
    """Return the placement [...,C,W,K] before the first step: its arrivals [...,C,W] at home, sessions
    only."""
    xp = namespace(first_arrivals_gpuh)
    sessions = xp.where(constant(wait_steps > 0, first_arrivals_gpuh), 0.0, first_arrivals_gpuh)
    return sessions[..., None] * constant(home, first_arrivals_gpuh)[:, None, :]
