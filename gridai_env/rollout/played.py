"""A played episode: states and flows step by step, and what follows from them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from gridai_env.arrays.types import Float, Floats
from gridai_env.episodes.instance import Instance
from gridai_env.world import physics
from gridai_env.world.physics import Totals
from gridai_env.world.state import Flows, Outcome, State
from gridai_env.world.terms import settle


@dataclass(frozen=True, eq=False)
class PlayedEpisode:
    """One played episode: the state before each step and the flows of each step, every field [T,...]."""

    instance: Instance
    before: State
    flows: Flows

    @cached_property
    def totals(self) -> Totals:
        """Sums and powers of each step, [T,...]."""
        return physics.totals(self.instance.params, self.flows, self.instance.exogenous, self.before)

    @cached_property
    def outcome(self) -> Outcome:
        """Terms, loads, emissions and water of each step, [T,...]: the same ledger that pays the reward."""
        return settle(self.instance.params, self.before, self.flows, self.instance.exogenous, self.totals)

    @cached_property
    def after(self) -> State:
        """The state after each step, [T,...]."""
        return physics.next_state(
            self.instance.params, self.before, self.flows, self.instance.exogenous, self.totals
        )

    @property
    def terms_usd(self) -> dict[str, float]:
        """Each term summed over the episode, earnings positive."""
        return {name: float(value.sum()) for name, value in self.outcome.terms_usd.items()}

    @property
    def billed_kg(self) -> Float[Floats, " T"]:
        """Emissions at the intensity that the scenario bills, [T]."""
        return physics.billed_kg(self.instance.params, self.totals)
