"""Calls of lines that may still come: drawn from the rule, given the calls that are known at a step.

Whole episodes of calls are drawn by `gridai_env.episodes.calls.draw_calls`, many for each that is wanted, with the
prices that are foreseen.  Those count that had as many calls known by now in each week as there really were, and whose
later calls keep clear of the known ones; where too few do, those that come nearest.

Shapes: N futures, M candidates, T steps, Q lines that are called.
"""

from __future__ import annotations

import numpy as np

from gridai_env.arrays.draws import EpisodeDraws
from gridai_env.arrays.types import Bool, Bools, Float, Floats, Int, Ints
from gridai_env.episodes.calls import DAYS_PER_WEEK, CallCalendar, CallTable, draw_calls
from gridai_env.episodes.instance import Instance

CANDIDATES = 32  # for each future


def unknown_calls(
    instance: Instance, t: int, buy_usd_per_mwh: Float[Floats, "T K"], count: int, rng: np.random.Generator
) -> Float[Floats, "N T Q"]:
    """Return the depth of calls that are not known at step t, in ``count`` futures.

    ``buy_usd_per_mwh``: the prices of the whole episode as known at t.
    """
    knowledge, compiled = instance.knowledge, instance.compiled
    out = np.zeros((count, *knowledge.call_depth.shape))
    if not compiled.lines.calls:
        return out
    many = count * CANDIDATES
    calendar = CallCalendar.of(compiled, np.array([instance.start_utc]))
    of_all = calendar.map(lambda x: np.repeat(x, many, axis=0))
    prices = np.broadcast_to(buy_usd_per_mwh, (many, *buy_usd_per_mwh.shape))
    drawn = draw_calls(compiled, of_all, prices, EpisodeDraws(rng.spawn(many)))
    real = CallTable(knowledge.call_depth[None], knowledge.call_known_from[None])

    for q, rule in enumerate(compiled.lines.calls):
        day = calendar.day[0, :, q]
        candidates, known = (_of_line(table, q) for table in (drawn, real))
        now = np.where(known[1] <= t, known[0], 0.0)
        later = np.where(candidates[1] > t, candidates[0], 0.0)
        counts = [_by_week(np.where(x[1] <= t, x[0], 0.0), day) for x in (candidates, known)]
        misses = np.abs(counts[0] - counts[1]).sum(-1)
        misses += ((later > 0.0) & _taken(now[0], day, rule.gap)).any(-1)
        # The draws come in no order, so the first of the best are as good as any.
        best = np.argsort(misses, kind="stable")[:count]
        out[:, :, q] = later[best]
    return out


def _of_line(table: CallTable, q: int) -> tuple[Float[Floats, "M T"], Int[Ints, "M T"]]:
    return table.depth[..., q], table.known_from[..., q]


def _by_week(depth: Float[Floats, "M T"], day: Int[Ints, " T"]) -> Int[Ints, "M weeks"]:
    """Return how many calls begin in each seven days of the episode."""
    on = depth > 0.0
    begins = on & ~np.pad(on, ((0, 0), (1, 0)))[:, :-1]
    week = day // DAYS_PER_WEEK
    return np.stack([begins[:, week == w].sum(-1) for w in range(int(week[-1]) + 1)], axis=-1)


def _taken(depth: Float[Floats, " T"], day: Int[Ints, " T"], gap: int) -> Bool[Bools, " T"]:
    """Return the steps of days that have a known call, and those nearer to one than the least gap."""
    on = np.flatnonzero(depth > 0.0)
    steps = np.arange(len(depth))
    near = (np.abs(steps[:, None] - on) <= gap).any(-1)
    return np.asarray(near | np.isin(day, day[on]))
