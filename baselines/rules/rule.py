"""The frame of all rules: Stable-Baselines3's `predict` around one decision on a batch of views."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from baselines.rules.view import View, read_view
from gridai_env.observation.layout import ObservationLayout
from gridai_env.rollout.policy import Policy
from gridai_env.scenario.compile import Compiled
from gridai_env.world.actions import Layout


class Rule(Policy):
    """A policy that knows the scenario's constants (`prepare`) and the observation, nothing else.

    It takes one observation or a batch; row i of a batch is decided as if it stood alone.
    """

    def __init__(self, compiled: Compiled | None = None) -> None:
        """Make the rule ready for a scenario, now or later by `prepare`."""
        self._compiled: Compiled | None = None
        if compiled is not None:
            self.prepare(compiled)

    def prepare(self, compiled: Compiled) -> None:
        """Take the constants of the scenario that the next observations belong to."""
        if self._compiled is compiled:
            return
        self._compiled = compiled
        self._observation = ObservationLayout(compiled)
        self.layout = Layout(compiled.shape)

    @property
    def compiled(self) -> Compiled:
        """The scenario in use; raises RuntimeError before `prepare`."""
        if self._compiled is None:
            raise RuntimeError(
                f"{type(self).__name__} knows no scenario yet: call prepare(instance.compiled) first"
            )
        return self._compiled

    def predict(
        self,
        observation: Mapping[str, NDArray[np.float32]] | NDArray[np.float32],
        state: Any = None,
        episode_start: NDArray[np.bool_] | None = None,
        deterministic: bool = True,
    ) -> tuple[NDArray[np.float32], Any]:
        """Action [A] for an observation (Dict or flat), [B,A] for a batch; ``state`` passes through."""
        compiled = self.compiled
        if not isinstance(observation, Mapping):
            observation = self._observation.as_dict(np.asarray(observation))
        single = next(iter(observation.values())).ndim == 1
        batch = {
            name: np.asarray(part)[None] if single else np.asarray(part) for name, part in observation.items()
        }
        action = self.decide(read_view(self._observation, compiled, batch))
        return (action[0] if single else action), state

    @abstractmethod
    def decide(self, view: View) -> NDArray[np.float32]:
        """Actions [B,A] for a batch of views."""
