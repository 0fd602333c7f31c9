"""What the judge takes and what it returns: policies, plans and trajectories."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from gridai_env.arrays.types import Floats
from gridai_env.episodes.instance import Instance
from gridai_env.rollout.metrics import episode_metrics
from gridai_env.rollout.played import PlayedEpisode
from gridai_env.rollout.step_table import Table, step_table
from gridai_env.world.state import Flows


class Policy(Protocol):
    """What Stable-Baselines3 calls a policy.

    Optional methods, called by the judge in this order at the start of an episode: ``prepare(compiled)`` gets
    the constants of the scenario, ``reseed(seed)`` the seed of the run, ``begin(instance)`` the episode itself.
    Only planners have ``begin``: they read forecasts beyond the observation
    (`gridai_env.episodes.planner_forecast`), or the whole episode where they stand for perfect foresight.
    Their ``predict`` gets one observation at a time, the steps of that episode in order.  Optional attribute:
    ``name``.
    """

    def predict(
        self,
        observation: dict[str, NDArray[np.float32]],
        state: Any = None,
        episode_start: NDArray[np.bool_] | None = None,
        deterministic: bool = True,
    ) -> tuple[NDArray[np.float32], Any]:
        """Action for an observation (or a batch of them), and the policy's own memory."""
        ...


class Schedule(Protocol):
    """A plan for a whole episode, such as `baselines.optimum.milp.Plan`."""

    @property
    def instance(self) -> Instance: ...
    @property
    def actions(self) -> NDArray[np.float32] | None: ...
    @property
    def flows(self) -> Flows | None: ...


@dataclass(frozen=True, eq=False)
class Trajectory:
    """What a policy did in an episode and what that came to."""

    policy: str
    episode: PlayedEpisode
    rewards: Floats  # [T]
    actions: NDArray[np.float32] | None  # [T,A]; None where flows were replayed
    seconds_per_decision: float  # wall time; NaN for a plan, which decided beforehand

    @property
    def instance(self) -> Instance:
        """The episode that was played."""
        return self.episode.instance

    @property
    def flows(self) -> Flows:
        """What was done, each field [T,...]."""
        return self.episode.flows

    @cached_property
    def metrics(self) -> dict[str, float]:
        """All totals by name, see `gridai_env.rollout.metrics`."""
        return episode_metrics(self.episode)

    @cached_property
    def table(self) -> Table:
        """One row per step, see `gridai_env.rollout.step_table`."""
        return step_table(self.episode, self.rewards)

    @cached_property
    def terms(self) -> dict[str, float]:
        """Each term of the ledger in USD, earnings positive; they sum to the benefit."""
        return self.episode.terms_usd

    @property
    def benefit_usd(self) -> float:
        """Sum of all terms: the undiscounted return times the scenario's reward scale."""
        return self.metrics["benefit_usd"]

    @property
    def bill_usd(self) -> float:
        """What energy, emissions and moving work cost (positive), without penalties and earnings."""
        return self.metrics["bill_usd"]

    @property
    def emissions_kg(self) -> float:
        """Emissions at the intensity that the scenario bills."""
        return self.metrics["emissions_kg"]

    @property
    def emissions_average_kg(self) -> float:
        """Emissions at average intensity."""
        return self.metrics["emissions_average_kg"]

    @property
    def emissions_marginal_kg(self) -> float:
        """Emissions at marginal intensity."""
        return self.metrics["emissions_marginal_kg"]
