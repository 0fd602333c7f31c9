"""What a policy did in an episode, and every figure that follows from it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from gridai_env.arrays.types import Float, Floats, Floats32
from gridai_env.rollout.metrics import episode_metrics
from gridai_env.rollout.played import PlayedEpisode
from gridai_env.rollout.step_table import Table, step_table


@dataclass(frozen=True, eq=False)
class Trajectory(PlayedEpisode):
    """What a policy did in an episode, and every figure that follows from it."""

    policy: str
    rewards: Float[Floats, " T"]
    actions: Float[Floats32, "T A"] | None  # None where flows were replayed
    seconds_per_decision: float  # wall time; NaN for a plan, which decided beforehand

    def __repr__(self) -> str:
        m = self.metrics
        figures = (
            f"benefit {m['benefit_usd']:,.2f} USD, bill {m['bill_usd']:,.2f} USD, emissions "
            f"{m['emissions_kg']:,.1f} kg, {m['dropped_gpuh']:,.1f} of {m['arrived_gpuh']:,.1f} GPU-h dropped"
        )
        return (
            f"{self.policy} in {self.instance.title}\n  {figures}\n  hash of the episode {self.instance.hash}"
        )

    @property
    def episode(self) -> PlayedEpisode:
        """The played episode: the trajectory itself."""
        return self

    @cached_property
    def metrics(self) -> dict[str, float]:
        """All totals by name, see `gridai_env.rollout.metrics`."""
        return episode_metrics(self)

    @cached_property
    def table(self) -> Table:
        """One row per step, see `gridai_env.rollout.step_table`."""
        return step_table(self, self.rewards)

    @cached_property
    def terms(self) -> dict[str, float]:
        """Each term of the ledger in USD, earnings positive; they sum to the benefit."""
        return self.terms_usd

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
