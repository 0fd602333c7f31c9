"""The next episodes of one environment, a few made at a time: several together cost little more than one.

They are those that would be made one by one.  An environment that is reset seldom makes none for nothing: twice as many
are made each time, up to eight, or to what fits into a little memory.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np

from gridai_env.envs.episode_source import DRAWN_SEEDS, EpisodeSource
from gridai_env.episodes.instance import InstanceBatch

MOST, MOST_BYTES = 8, 2**21


class EpisodesAhead:
    """Episodes of a source whose seeds a generator draws."""

    def __init__(self, source: EpisodeSource) -> None:
        """Make none yet."""
        self._source = source
        self._made: dict[int, InstanceBatch] = {}
        self._count = 1

    def __getstate__(self) -> dict[str, Any]:
        """Leave the episodes out of copies: they are made again."""
        return vars(self) | {"_made": {}, "_count": 1}

    def next(self, generator: np.random.Generator) -> InstanceBatch:
        """Return the episode of the next seed that ``generator`` draws."""
        seed = int(generator.integers(DRAWN_SEEDS))
        if seed not in self._made:
            # The generator itself stays where it is: somebody else may draw from it before the next reset.
            ahead = copy.deepcopy(generator)
            seeds = [seed, *ahead.integers(DRAWN_SEEDS, size=self._count - 1).tolist()]
            batch = self._source.batch(seeds, self._source.starts(np.zeros(len(seeds), dtype=np.intp)))
            self._made = {each: batch.some(slice(i, i + 1)) for i, each in enumerate(seeds)}
            self._count = min(2 * self._count, self._most(batch))
        return self._made.pop(seed)

    def _most(self, batch: InstanceBatch) -> int:
        """Return how many episodes may be made at a time; a given one is there already."""
        size = sum(x.nbytes for x in batch[0].arrays().values())
        return 1 if self._source.fixed is not None else max(1, min(MOST, MOST_BYTES // size))
