"""Episodes ready to be played: all exogenous inputs in one tensor, and the initial states."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

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
from gridai_env.envs.ring import RingColumn, lay_out, run_of
from gridai_env.episodes.demand import first_placement_gpuh
from gridai_env.observation.decode import JOB_FEATURES
from gridai_env.observation.layout import ObservationLayout
from gridai_env.observation.parts import job_table, job_windows
from gridai_env.scenario.compile import Compiled
from gridai_env.world.state import INSTANCE_FIELDS, Params, State


@dataclass(eq=False)
class Prepared:
    """b episodes of one scenario on one device.

    Their columns are laid out where they are played, or in a block beforehand, of which some episodes can be taken.
    """

    compiled: Compiled
    params: Params  # INSTANCE_FIELDS with a leading b
    constants: Params  # of NumPy; what INSTANCE_FIELDS hold there counts for nothing
    initial: State  # [b,...]
    jobs: Float[Array, "J+1 5+K b"]  # features (see `observation.parts.job_table`); empty where none show
    columns: dict[str, RingColumn]
    arrays: EpisodeArrays | None  # None: they are laid out
    laid_out: Float[Array, "T+1 M b"] | None = None

    def __len__(self) -> int:
        return len(self.initial.battery_mwh)

    @property
    def block(self) -> Float[Array, "T+1 M b"]:
        """The columns, see `ring.lay_out`; made where they are asked for."""
        if self.laid_out is None:
            assert self.arrays is not None
            width = max(c.place.stop for c in self.columns.values())
            self.laid_out = room((self.compiled.shape.steps + 1, width, len(self)), self.arrays.like)
            lay_out(self.arrays, self.columns, self.laid_out)
            self.arrays = None  # its memory is free
        return self.laid_out

    def write(self, target: Float[Array, "T+1 M b"]) -> None:
        """Write the columns to ``target``."""
        if self.arrays is None:
            target[...] = self.block
        else:
            lay_out(self.arrays, self.columns, target)

    def take(self, rows: Index) -> Prepared:
        """Return some of the episodes; views where they follow one another."""
        run, block = run_of(rows), self.block
        at = run if run else beside(rows, block)

        def first(x: Array) -> Array:
            return x[at] if run else batch_innermost(x[at])

        mine = {name: first(getattr(self.params, name)) for name in INSTANCE_FIELDS}
        return replace(
            self,
            params=self.params.make(**self.params.__dict__ | mine),
            initial=self.initial.map(first),
            jobs=self.jobs[..., at] if self.jobs.ndim > 1 else self.jobs,
            laid_out=block[..., at],
        )

    def midway(self, t: Index) -> State:
        """Return the initial states of episodes that begin at steps ``t`` [b]: sessions of the step before at home."""
        if not t.any():
            return self.initial
        column, xp = self.columns["arrivals_gpuh"], namespace(self.block)
        before = beside(np.maximum(t - 1, 0), self.block)
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
        jobs=jobs,
        columns=columns,
        arrays=episodes,
    )


# Function by which an episode supply prepares new episodes.
Prepare = Callable[[EpisodeArrays], Prepared]
