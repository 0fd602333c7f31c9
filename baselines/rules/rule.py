"""Base classes of policies that know a scenario, and of rules: one decision on a batch of views."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TypeAlias

import numpy as np

from baselines.rules.view import View, read_view
from gridai_env.arrays.types import Float, Floats32
from gridai_env.observation.layout import ObservationLayout
from gridai_env.rollout.policy import Policy
from gridai_env.scenario.compile import Compiled
from gridai_env.world.actions import Layout

Actions: TypeAlias = Float[Floats32, "*batch A"]
Observed: TypeAlias = Mapping[str, Floats32] | Floats32  # parts, or flat


class ScenarioPolicy(Policy):
    """A policy that knows the constants of a scenario and reads its observations."""

    def __init__(self, compiled: Compiled | None = None) -> None:
        """Make the policy ready for a scenario, now or later by `prepare`."""
        self._compiled: Compiled | None = None
        if compiled is not None:
            self.prepare(compiled)

    def prepare(self, compiled: Compiled) -> None:
        """Take the constants of the scenario that the next observations belong to."""
        if self._compiled is compiled:
            return
        self._compiled = compiled
        self.observation_layout = ObservationLayout(compiled)
        self.layout = Layout(compiled.shape)

    @property
    def compiled(self) -> Compiled:
        """The scenario in use; raises RuntimeError before `prepare`."""
        if self._compiled is None:
            raise RuntimeError(
                f"{type(self).__name__} knows no scenario yet: call prepare(instance.compiled) first"
            )
        return self._compiled

    def parts_of(self, observation: Observed) -> Mapping[str, Floats32]:
        """Return the parts of an observation, Dict or flat."""
        if isinstance(observation, Mapping):
            return observation
        return self.observation_layout.as_dict(np.asarray(observation))


class Rule(ScenarioPolicy, ABC):
    """A policy of the scenario's constants (`prepare`) and the observation alone.

    It takes one observation or a batch; row i of a batch is decided as if it stood alone.
    """

    def act(self, observation: Observed) -> Actions:
        """Return the action [A] for an observation (Dict or flat), [B,A] for a batch."""
        compiled = self.compiled
        parts = self.parts_of(observation)
        single = next(iter(parts.values())).ndim == 1
        batch = {name: np.asarray(part)[None] if single else np.asarray(part) for name, part in parts.items()}
        action = self.decide(read_view(self.observation_layout, compiled, batch))
        return action[0] if single else action

    @abstractmethod
    def decide(self, view: View) -> Actions:
        """Return actions [B,A] for a batch of views."""
