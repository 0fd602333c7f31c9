"""Episodes ready to be played: all exogenous inputs in one tensor, and the initial states."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from gridai_env.arrays.ops import (
    batch_first,
    batch_innermost,
    batch_last,
    beside,
    in_memory_order,
    namespace,
    room,
)
from gridai_env.arrays.types import Array, Float, Index
from gridai_env.envs.episode_arrays import EpisodeArrays
from gridai_env.envs.ring import RingColumn, block_of, run_of
from gridai_env.episodes.demand import first_placement_gpuh
from gridai_env.observation.decode import JOB_FEATURES
from gridai_env.observation.layout import ObservationLayout
from gridai_env.observation.parts import job_table, job_windows
from gridai_env.scenario.compile import Compiled
from gridai_env.world.state import INSTANCE_FIELDS, Params, State


@dataclass(frozen=True, eq=False)
class Prepared:
    """b episodes of one scenario on one device."""

    compiled: Compiled
    params: Params  # INSTANCE_FIELDS with a leading b
    constants: Params  # of NumPy; what INSTANCE_FIELDS hold there counts for nothing
    initial: State  # [b,...]
    block: Float[Array, "T+1 M b"]  # see `ring.block_of`
    jobs: Float[Array, "J+1 5+K b"]  # features (see `observation.parts.job_table`); empty where none show

    def __len__(self) -> int:
        return int(self.block.shape[-1])

    def take(self, rows: Index) -> Prepared:
        """Return some of the episodes; views where they follow one another."""
        run = run_of(rows)
        at = run if run else beside(rows, self.block)

        def first(x: Array) -> Array:
            return x[at] if run else batch_innermost(x[at])

        mine = {name: first(getattr(self.params, name)) for name in INSTANCE_FIELDS}
        return Prepared(
            compiled=self.compiled,
            params=self.params.make(**self.params.__dict__ | mine),
            constants=self.constants,
            initial=self.initial.map(first),
            block=self.block[..., at],
            jobs=self.jobs[..., at] if self.jobs.ndim > 1 else self.jobs,
        )

    def midway(self, column: RingColumn, t: Index) -> State:
        """Return the initial states of episodes that begin at steps ``t`` [b]: sessions of the step before at home.

        ``column``: where the arrivals are.
        """
        if not t.any():
            return self.initial
        xp, before = namespace(self.block), beside(np.maximum(t - 1, 0), self.block)
        index = xp.broadcast_to(before, (1, column.place.stop - column.place.start, len(t)))
        arrivals = xp.take_along_axis(self.block[:, column.place], index, axis=0)
        arrivals = batch_first(arrivals.reshape(*column.shape, len(t)))
        placed = first_placement_gpuh(arrivals, self.params.home, self.compiled.row_wait_steps)
        return self.initial.replace(placed_gpuh=placed)


def prepare(
    episodes: EpisodeArrays, columns: dict[str, RingColumn], observed: ObservationLayout | None
) -> Prepared:
    """Return episodes ready to be played, with what observations of a layout need."""
    params = episodes.params()
    own = {name: batch_innermost(getattr(params, name)) for name in INSTANCE_FIELDS}
    params = params.make(**params.__dict__ | own)
    jobs = room((0,), episodes.like)
    if observed and "jobs" in observed.parts:
        features = len(JOB_FEATURES) + episodes.compiled.shape.sites
        _, last = job_windows(episodes.compiled, episodes.exogenous)
        inverse = observed.inverse_scales["jobs"][:features]
        jobs = in_memory_order(batch_last(job_table(params, episodes.exogenous, last, inverse)))

    return Prepared(
        compiled=episodes.compiled,
        params=params,
        constants=episodes.compiled.params if episodes.constants is None else episodes.constants,
        initial=episodes.initial.map(batch_innermost),
        block=block_of(episodes, columns),
        jobs=jobs,
    )


# Function by which an episode supply prepares new episodes.
Prepare = Callable[[EpisodeArrays], Prepared]
