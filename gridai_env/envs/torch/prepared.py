"""Episodes ready to be played: all exogenous inputs in one tensor, and the initial states."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from gridai_env.arrays.torch_ops import batch_innermost, moved
from gridai_env.arrays.types import Float, Index
from gridai_env.envs.torch.episode_tensors import EpisodeTensors, Tensor
from gridai_env.envs.torch.ring import RingColumn, block_of, run_of
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
    initial: State  # [b,...]
    block: Float[Tensor, "T+1 M b"]  # see `ring.block_of`
    jobs: Float[Tensor, "J+1 5+K b"]  # features (see `observation.parts.job_table`); empty where none show

    def __len__(self) -> int:
        return int(self.block.shape[-1])

    def take(self, rows: Index) -> Prepared:
        """Return some of the episodes; views where they follow one another."""
        run = run_of(rows)
        at = run if run else moved(rows, self.block.device)

        def first(x: Tensor) -> Tensor:
            return x[at] if run else batch_innermost(x[at])

        mine = {name: first(getattr(self.params, name)) for name in INSTANCE_FIELDS}
        return Prepared(
            compiled=self.compiled,
            params=self.params.make(**self.params.__dict__ | mine),
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
        before = moved(np.maximum(t - 1, 0), self.block.device)
        index = before.expand(1, column.place.stop - column.place.start, len(t))
        arrivals = self.block[:, column.place].gather(0, index)[0]
        arrivals = arrivals.reshape(*column.shape, len(t)).movedim(-1, 0)
        placed = first_placement_gpuh(arrivals, self.params.home, self.compiled.row_wait_steps)
        return self.initial.replace(placed_gpuh=placed)


def prepare(
    episodes: EpisodeTensors, columns: dict[str, RingColumn], observed: ObservationLayout | None
) -> Prepared:
    """Return episodes ready to be played, with what observations of a layout need."""
    params = episodes.params()
    jobs = episodes.forecast.new_zeros(0)
    if observed and "jobs" in observed.parts:
        features = len(JOB_FEATURES) + episodes.compiled.shape.sites
        _, last = job_windows(episodes.compiled, episodes.exogenous)
        inverse = observed.inverse_scales["jobs"][:features]
        jobs = job_table(params, episodes.exogenous, last, inverse).movedim(0, -1)

    return Prepared(
        compiled=episodes.compiled,
        params=params,
        initial=episodes.initial.map(batch_innermost),
        block=block_of(episodes, columns),
        jobs=jobs,
    )


# Function by which an episode supply prepares new episodes.
Prepare = Callable[[EpisodeTensors], Prepared]
