"""Where in a demand file an episode lies: each region at its own local time, the day drawn from the seed.

The file's midnight is laid on the local midnight before the first step of any region, then shifted by the whole days
that were drawn, the same for all regions; weekdays are not matched.  Days on which the episode, with its history,
would run over the end or into a hole of the file are not drawn.

A file of less than a day has no time of day: it is used only where ``repeat`` says so, end to end, for episodes no
longer than itself (the day of history that forecasts look back on is then a repetition).  ``repeat`` lets a longer
file begin again after its last whole day.

Shapes: B episodes, X steps (history first), C regions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gridai_env.spec import Scenario
from gridai_env.traces import TraceError
from gridai_env.traces.clock import MINUTES_PER_DAY, MINUTES_PER_HOUR, offset_minutes
from gridai_env.workload import DemandShape

LEAST_STEPS = 2  # of a file without a time of day


@dataclass(frozen=True)
class Placed:
    """The shape as the regions of a batch see it, [B,X,C] each, mean over each step."""

    shape: np.ndarray
    expected: np.ndarray
    provenance: tuple[str, ...]  # [B]


def place_shape(
    shape: DemandShape,
    scenario: Scenario,
    start_utc: np.ndarray,
    lead_in: int,
    rngs: Sequence[np.random.Generator],
) -> Placed:
    """Return the shape of episodes that start at ``start_utc`` [B], ``lead_in`` steps of history first.

    One integer of each generator is drawn: the day of the file (the minute of a file without days).  Raises
    TraceError where the file is too short or has holes everywhere.
    """
    step_min = round(scenario.dt_h * MINUTES_PER_HOUR)
    _check_length(shape, scenario, step_min)
    local = local_minutes(scenario, start_utc, lead_in, step_min)
    begin = np.empty_like(local)
    notes = []
    for b, rng in enumerate(rngs):
        first_day = local[b].min() // MINUTES_PER_DAY * MINUTES_PER_DAY
        since = local[b] - first_day - shape.first_minute
        offset, note = _drawn_offset(shape, since, step_min, rng)
        begin[b] = since + offset
        notes.append(f"{shape.text}; {note}")
    if shape.repeat:
        begin %= shape.period_min
    day = local % MINUTES_PER_DAY
    expected = shape.expected_cumulative[day + step_min] - shape.expected_cumulative[day]
    value = shape.cumulative[begin + step_min] - shape.cumulative[begin]
    return Placed(value / step_min, expected / step_min, tuple(notes))


def local_minutes(scenario: Scenario, start_utc: np.ndarray, lead_in: int, step_min: int) -> np.ndarray:
    """Return the local minute since 1970 at which each step begins in each region, int [B,X,C]."""
    steps = np.arange(-lead_in, scenario.steps, dtype=np.int64) * step_min
    utc = start_utc.astype("datetime64[m]").astype(np.int64)[:, None] + steps
    zones = [region.timezone for region in scenario.regions]
    of_zone = {zone: utc + offset_minutes(zone, utc) for zone in set(zones)}
    return np.stack([of_zone[zone] for zone in zones], axis=-1)


def _check_length(shape: DemandShape, scenario: Scenario, step_min: int) -> None:
    """Raise TraceError where a file without days is used otherwise than for short episodes of fine steps."""
    length = len(shape.per_min)
    if shape.has_days:
        return
    if length < LEAST_STEPS * step_min:
        raise TraceError(
            f"{shape.source}: holds {length} min, less than {LEAST_STEPS} steps of dt_h = {scenario.dt_h:g} h; use a "
            "longer file or a smaller dt_h"
        )
    if not shape.repeat:
        raise TraceError(
            f"{shape.source}: holds {length / 60:.2f} h, less than a day, so it has no time of day and no day of "
            "history for the forecasts; use a longer file, or repeat=true for an episode within its length"
        )
    if scenario.horizon_h * MINUTES_PER_HOUR > length:
        raise TraceError(
            f"{shape.source}: holds {length / 60:.2f} h, the episode lasts {scenario.horizon_h:g} h; use a longer "
            "file or a shorter horizon_h (a file of less than a day may not repeat inside an episode)"
        )


def _drawn_offset(
    shape: DemandShape, since: np.ndarray, step_min: int, rng: np.random.Generator
) -> tuple[int, str]:
    """Return the minutes to add to ``since`` [X,C], and what was drawn."""
    if not shape.has_days:
        offset = int(rng.integers(shape.period_min))
        return offset, f"repeated end to end, from its minute {offset}; it has no time of day"
    first, end = since.min(0), since.max(0) + step_min  # [C] minutes in use, of day 0
    days = _good_days(shape, first, end)
    if not days.size:
        _refuse(shape, int(first.min()), int(end.max()))
    day = int(days[rng.integers(len(days))])
    how = "not repeated"
    if shape.repeat:
        how = (
            f"repeated every {shape.period_min / MINUTES_PER_DAY:g} days, so what comes again is no surprise"
        )
    known = "" if np.ptp(shape.expected_by_hour) == 0 else " by local hour"
    note = f"local time, day {day + 1} of the file first, {how}; "
    note += f"climatology: mean{known} over the whole file, this episode in it"
    return day * MINUTES_PER_DAY, note


def _good_days(shape: DemandShape, first: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Return the days of the file on which an episode may start, ascending."""
    length = len(shape.per_min)
    count = shape.period_min // MINUTES_PER_DAY if shape.repeat else -(-length // MINUTES_PER_DAY) + 1
    shift = np.arange(count)[:, None] * MINUTES_PER_DAY
    low, high = first + shift, end + shift
    if shape.repeat:
        return np.flatnonzero(_holes_cyclic(shape, low, high) == 0)
    inside = ((low >= 0) & (high <= length)).all(1)
    holes = shape.holes[np.clip(high, 0, length)] - shape.holes[np.clip(low, 0, length)]
    return np.flatnonzero(inside & (holes == 0).all(1))


def _holes_cyclic(shape: DemandShape, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Return the number of holes from ``low`` to ``high`` of a repeated file, summed over regions."""
    period = shape.period_min
    each = shape.holes[period]

    def before(minute: np.ndarray) -> np.ndarray:
        return minute // period * each + shape.holes[minute % period]

    return np.sum(before(high) - before(low), axis=1)


def _refuse(shape: DemandShape, first: int, end: int) -> None:
    hours, length = (end - first) / 60, len(shape.per_min) / 60
    if not shape.repeat and np.ceil(hours / 24) * 24 > length:
        raise TraceError(
            f"{shape.source}: holds {length:.1f} h, but an episode with its day of history and the regions' time zones "
            f"needs {hours:.1f} h from a midnight; use a longer file, a shorter horizon_h, or repeat=true"
        )
    raise TraceError(
        f"{shape.source}: no {hours:.1f} h in a row without a hole ({np.isnan(shape.per_min).sum()} min of holes); use "
        "fill_gap_h= to interpolate short holes, a shorter horizon_h, or another model"
    )
