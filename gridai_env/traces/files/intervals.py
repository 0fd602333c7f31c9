"""How long the interval of each row is, from the stamps alone.

The steps of a file (at most an hour, a whole part of it) may change from hour to hour.  An hour shows its step where
its rows are all there; a step is believed where consecutive hours show it.  Else one quarter of an hour whose three
neighbours are missing would pass for a whole hour, and a stray row for the beginning of a half.
"""

from __future__ import annotations

import numpy as np

from gridai_env.arrays.types import Int, Ints
from gridai_env.traces.local_time import MINUTES_PER_HOUR

LEAST_HOURS = 3  # in a row that show a step
FINEST_PHASE_MIN = 5  # hours may begin at any multiple of it after the UTC hour: 30 in India, 45 in Nepal


def interval_minutes(start: Int[Ints, " n"]) -> Int[Ints, " n"]:
    """Return the length of the interval that begins with each row, 0 where a row is off the grid of its stretch.

    ``start``: minutes since 1970 UTC, rising, each once.
    """
    phase = int(np.bincount(start % MINUTES_PER_HOUR).argmax())
    hour, minute = np.divmod(start - (0 if phase % FINEST_PHASE_MIN else phase), MINUTES_PER_HOUR)
    hour -= hour[0]

    count = np.bincount(hour)
    step = np.where(MINUTES_PER_HOUR % np.maximum(count, 1), 0, MINUTES_PER_HOUR // np.maximum(count, 1))
    step[count == 0] = 0
    off = minute % np.maximum(step, 1)[hour] != 0
    step[np.bincount(hour, off) > 0] = 0

    if not step.any():  # less than a whole hour of rows
        least = int(np.diff(start).min(initial=MINUTES_PER_HOUR))
        step[:] = MINUTES_PER_HOUR if MINUTES_PER_HOUR % least else least
    length = _believed(step)[hour]
    return np.where(minute % length, 0, length)


def _believed(step: Int[Ints, " hours"]) -> Int[Ints, " hours"]:
    """Return the step of each hour from what hours show, 0 being nothing: others are as the hours before them."""
    first = np.flatnonzero(np.diff(step, prepend=-1))
    length = np.diff(first, append=len(step))
    long = (step[first] > 0) & (length >= LEAST_HOURS)
    if not long.any():
        # A file of a few hours: what most of them show.
        seen = np.bincount(step[step > 0], minlength=1)
        return np.full(len(step), int(seen.argmax()) or MINUTES_PER_HOUR)

    believed = np.repeat(np.where(long, step[first], 0), length)
    at = np.maximum.accumulate(np.where(believed > 0, np.arange(len(step)), -1))
    return believed[np.where(at < 0, int((believed > 0).argmax()), at)]
