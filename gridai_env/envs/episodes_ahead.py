"""The next episodes of one environment, a few made at a time: several together cost little more than one.

They are those that would be made one by one.  An environment that is reset seldom makes none for nothing: twice as many
are made each time, up to eight.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np

from gridai_env.envs.episode_source import DRAWN_SEEDS, EpisodeSource
from gridai_env.envs.prepared import Prepared
from gridai_env.episodes.instance import InstanceBatch

MOST = 8

# An episode as a batch of one, as such and ready to be played.
Ready = tuple[InstanceBatch, Prepared]


class EpisodesAhead:
    """Episodes of a source whose seeds a generator draws."""

    def __init__(self, source: EpisodeSource) -> None:
        """Make none yet."""
        self._source = source
        self._made: dict[int, Ready] = {}
        self._count = 1

    def __getstate__(self) -> dict[str, Any]:
        """Leave the episodes out of copies: they are made again."""
        return vars(self) | {"_made": {}, "_count": 1}

    def next(self, generator: np.random.Generator, prepare: Callable[[InstanceBatch], Prepared]) -> Ready:
        """Return the episode of the next seed that ``generator`` draws."""
        seed = int(generator.integers(DRAWN_SEEDS))
        if seed not in self._made:
            # The generator itself stays where it is: somebody else may draw from it before the next reset.
            ahead = copy.deepcopy(generator)
            seeds = [seed, *ahead.integers(DRAWN_SEEDS, size=self._count - 1).tolist()]
            starts = self._source.starts(np.zeros(len(seeds), dtype=np.intp))
            batch = self._source.batch(seeds, starts)
            prepared = prepare(batch)
            self._made = {
                each: (batch.some(slice(i, i + 1)), prepared.take(np.array([i])))
                for i, each in enumerate(seeds)
            }
            self._count = min(2 * self._count, MOST)
        return self._made.pop(seed)
