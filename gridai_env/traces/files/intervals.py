"""How long the interval of each row is, from the stamps alone.

The steps of a file (at most an hour, a whole part of it) may change from hour to hour.  An hour whose parts are all
there shows its step, however short the stretch.  One hour alone may also be a finer one that lost its other parts,
where an hour beside it has the finer step: then it is read as that, and what is missing is a gap.  Else the first
quarter of an hour, with which many quarter-hourly files end, would pass for the whole hour.
"""

from __future__ import annotations

import numpy as np

from gridai_env.arrays.types import Bool, Bools, Int, Ints
from gridai_env.traces.local_time import MINUTES_PER_HOUR

FINEST_PHASE_MIN = 5  # hours may begin at any multiple of it after the UTC hour: 30 in India, 45 in Nepal


def interval_minutes(start: Int[Ints, " n"]) -> Int[Ints, " n"]:
    """Return the length of the interval that begins with each row, 0 where a row is off the grid of its hour.

    ``start``: minutes since 1970 UTC, rising, each once.
    """
    phase = int(np.bincount(start % MINUTES_PER_HOUR).argmax())
    clock, minute = np.divmod(start - (0 if phase % FINEST_PHASE_MIN else phase), MINUTES_PER_HOUR)
    clock, hour, count = np.unique(clock, return_inverse=True, return_counts=True)

    # The coarsest grid that all rows of an hour lie on; a finer one than any phase is that of a stray row.
    grid = np.full(len(clock), MINUTES_PER_HOUR)
    np.gcd.at(grid, hour, minute)
    whole = count * grid == MINUTES_PER_HOUR
    grid[~whole & (grid < FINEST_PHASE_MIN)] = MINUTES_PER_HOUR
    grid, whole = _without_doubtful(clock, grid, whole)

    # Other hours are as fine as their rows and both neighbours are, unless a neighbour's parts are all there.
    at = np.arange(len(clock))
    before = np.maximum.accumulate(np.where(whole, at, 0))
    after = np.minimum.accumulate(np.where(whole, at, len(at) - 1)[::-1])[::-1]
    step = np.where(whole, grid, np.minimum(grid, np.minimum(grid[before], grid[after])))
    for near in (grid[before], grid[after]):
        parts = np.bincount(hour, minute % near[hour] == 0) * near
        step = np.where(~whole & (near < MINUTES_PER_HOUR) & (parts == MINUTES_PER_HOUR), near, step)
    return np.where(minute % step[hour], 0, step[hour])


def _without_doubtful(
    clock: Int[Ints, " hours"], grid: Int[Ints, " hours"], whole: Bool[Bools, " hours"]
) -> tuple[Int[Ints, " hours"], Bool[Bools, " hours"]]:
    """Return grids and whole hours, where a coarser hour alone beside finer ones has their grid and is not whole."""
    finest, twin = grid.copy(), np.zeros(len(grid), bool)
    same = (np.diff(clock) == 1) & (np.diff(grid) == 0) & whole[1:] & whole[:-1]
    twin[1:] |= same
    twin[:-1] |= same

    for mine, near in ((slice(1, None), slice(None, -1)), (slice(None, -1), slice(1, None))):
        fits = (grid[mine] % grid[near] == 0) & (whole[near] | (grid[mine] == MINUTES_PER_HOUR))
        finest[mine] = np.where(fits, np.minimum(finest[mine], grid[near]), finest[mine])
    doubtful = whole & ~twin & (finest < grid)
    return np.where(doubtful, finest, grid), whole & ~doubtful
