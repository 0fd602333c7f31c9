"""Supply of episodes for a batch, in a form from which they can be rebuilt.

A *batch* is a few episodes and the places that they go to: environments, or groups of them.  Its recipe is small:
seeds, instances, or the state that a device's generator had.  A snapshot keeps recipes, not episodes.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from gridai_env.arrays.types import Index, Int
from gridai_env.envs.episode_arrays import EpisodeArrays
from gridai_env.envs.episode_source import EpisodeSeeds, EpisodeSource
from gridai_env.envs.prepared import Prepare, Prepared
from gridai_env.episodes.instance import Instance, InstanceBatch
from gridai_env.episodes.starts import Starts
from gridai_env.scenario.compile import Compiled

# Episodes made at a time, at most.
MOST = 1024
# Puts episodes of the host where the numbers of a batch lie.
ToArrays = Callable[[InstanceBatch], EpisodeArrays]


@dataclass(frozen=True)
class EpisodeBatch:
    """Episodes and the environments ``rows`` that play them; -1: no longer played."""

    rows: Int[Index, " b"]
    kind: str  # "seeds", "instances" or "drawn"
    recipe: Any
    seeds: NDArray[np.int64] | None = None  # [b] of the instances, where they have some

    def without(self, rows: Index) -> EpisodeBatch | None:
        """Return the batch after other episodes began at ``rows``; None where none of its episodes is still played."""
        left = np.where(np.isin(self.rows, rows), -1, self.rows)
        return EpisodeBatch(left, self.kind, self.recipe, self.seeds) if (left >= 0).any() else None


Supplied = tuple[EpisodeBatch, Prepared]


class EpisodeSupply(Protocol):
    """Makes the episodes of environments (or of groups of them), again and again."""

    def next_episodes(
        self, rows: Index, seeds: list[int | None] | None, prepare: Prepare, starts: Starts | None = None
    ) -> Iterator[Supplied]:
        """Yield the next episodes of the environments ``rows``; ``seeds`` [num_envs] and ``starts`` where given."""

    def seed(self, rows: Index, seeds: list[int | None]) -> None:
        """Start the generators of the environments ``rows`` anew; None lets one go on."""

    def rebuild(self, batch: EpisodeBatch, prepare: Prepare) -> Prepared:
        """Return the episodes of an earlier batch."""

    def get_state(self) -> Any:
        """Return the state of the generators."""

    def set_state(self, state: Any) -> None:
        """Put back the generators as `get_state` returned them."""


class HostEpisodeSupply:
    """Instances of NumPy, one generator for each environment."""

    def __init__(self, source: EpisodeSource, num_envs: int, to_arrays: ToArrays) -> None:
        """Make episodes of ``source`` for ``num_envs`` environments; ``to_arrays`` puts them where they are played."""
        self._source, self._to_arrays = source, to_arrays
        self._seeds = EpisodeSeeds(num_envs)

    def next_episodes(
        self, rows: Index, seeds: list[int | None] | None, prepare: Prepare, starts: Starts | None = None
    ) -> Iterator[Supplied]:
        """Yield the next episodes of the environments ``rows``.

        An environment that is seeded plays the instance of its seed.
        """
        fixed = self._source.fixed
        for first in range(0, len(rows), MOST):
            some = rows[first : first + MOST]
            if seeds:
                self.seed(some, seeds)
            chosen = self._seeds.draw(some, seeds)
            if fixed is not None:
                yield self._supplied(some, "instances", [fixed] * len(some), prepare)
                continue
            recipe = (chosen, None if starts is None else starts[first : first + MOST])
            yield self._supplied(some, "seeds", recipe, prepare)

    def _supplied(self, rows: Index, kind: str, recipe: Any, prepare: Prepare) -> Supplied:
        """Return episodes made from a recipe."""
        batch = EpisodeBatch(rows, kind, recipe)
        made = self.instances(batch)
        batch = replace(batch, seeds=np.array(made.seeds, dtype=np.int64))
        return batch, prepare(self._to_arrays(made))

    def seed(self, rows: Index, seeds: list[int | None]) -> None:
        """Start the generators of the environments ``rows`` anew; None lets one go on."""
        self._seeds.seed(rows, seeds)

    def given(
        self, rows: Index, instances: Sequence[str | Path | Instance]
    ) -> tuple[EpisodeBatch, EpisodeArrays]:
        """Return given instances, or those in their files."""
        given = self._source.of_instances(instances)
        batch = EpisodeBatch(rows, "instances", list(given), np.array(given.seeds, dtype=np.int64))
        return batch, self._to_arrays(given)

    def instances(self, batch: EpisodeBatch) -> InstanceBatch:
        """Return the instances of an earlier batch."""
        source = self._source
        return source.batch(*batch.recipe) if batch.kind == "seeds" else source.of_instances(batch.recipe)

    def compiled_of(self, batch: EpisodeBatch) -> Compiled:
        """Return the scenario of an earlier batch: the own, or that of given instances."""
        return batch.recipe[0].compiled if batch.kind == "instances" else self._source.compiled

    def rebuild(self, batch: EpisodeBatch, prepare: Prepare) -> Prepared:
        """Return the episodes of an earlier batch."""
        return prepare(self._to_arrays(self.instances(batch)))

    def get_state(self) -> Any:
        """Return the state of the generators."""
        return copy.deepcopy(self._seeds)

    def set_state(self, state: Any) -> None:
        """Put back the generators as `get_state` returned them."""
        self._seeds = copy.deepcopy(state)
