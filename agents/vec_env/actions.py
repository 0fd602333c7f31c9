"""What training asks of the numbers that a network chooses."""

from __future__ import annotations

from typing import Protocol

from gridai_env.arrays.types import Array, Float, Floats32
from gridai_env.envs.action_space import ActiveActions as ActiveActions


class AgentActions(Protocol):
    """The numbers [n] that a network chooses, and what they mean for the environment."""

    @property
    def low(self) -> float | Float[Floats32, " n"]:
        """Least value of the numbers, one for all or [n]."""

    @property
    def high(self) -> float | Float[Floats32, " n"]:
        """Greatest value of the numbers, one for all or [n]."""

    @property
    def size(self) -> int:
        """How many numbers there are, n."""

    @property
    def start(self) -> Float[Floats32, " n"]:
        """The numbers that learning starts from."""

    def expand(self, actions: Float[Array, "*batch n"]) -> Float[Array, "*batch A"]:
        """Return the environment's actions for the numbers; a tensor for a tensor."""
