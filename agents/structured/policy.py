"""The actor-critic policy for Stable-Baselines3: a normal distribution over the open numbers of a `Decision`."""

from __future__ import annotations

import math
from typing import Any, Self

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.distributions import DiagGaussianDistribution, Distribution
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.torch_layers import FlattenExtractor
from stable_baselines3.common.type_aliases import PyTorchObs, Schedule
from torch import Tensor, nn

from agents.structured.action_numbers import OpenActions, kinds_of
from agents.structured.decision import Decision
from agents.structured.weights import RULE_STEPS, overlaid
from gridai_env.arrays.types import Float, Int
from gridai_env.observation.forecast_memory import ForecastMemory
from gridai_env.observation.layout import ObservationLayout
from gridai_env.scenario.compile import Compiled, compile_scenario
from gridai_env.scenario.load import parse_scenario


class StructuredPolicy(ActorCriticPolicy):
    """Acts by `Decision`; explores its open numbers, each kind with a standard deviation of its own.

    ``scenario``: the scenario as plain values, saved with the weights; the weights themselves fit any scenario.
    """

    entry: Int[Tensor, " n"]  # place of each number in the flat action
    kind: Int[Tensor, " n"]  # index in `KINDS`

    def __init__(
        self,
        observation_space: spaces.Box,
        action_space: spaces.Box,
        lr_schedule: Schedule,
        *args: Any,
        scenario: dict[str, Any],
        hidden: int = 32,
        value_hidden: int = 64,
        deviation: float = 0.1,
        **kwargs: Any,
    ) -> None:
        self._own: dict[str, Any] = {
            "scenario": scenario,
            "hidden": hidden,
            "value_hidden": value_hidden,
            "deviation": deviation,
        }
        kwargs["features_extractor_class"] = FlattenExtractor
        kwargs["net_arch"] = []
        super().__init__(observation_space, action_space, lr_schedule, *args, **kwargs)

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return super()._get_constructor_parameters() | self._own

    @property
    def memory(self) -> ForecastMemory:
        """The memory that is appended to the environment's observations."""
        return self.judgement.reader.memory

    def _build(self, lr_schedule: Schedule) -> None:
        # The scenario that the policy decides on, and how its numbers become actions of the environment.
        self.compiled = compile_scenario(parse_scenario(self._own["scenario"], "checkpoint"))
        self.actions = OpenActions.of(self.compiled)
        # Saved weights use this name.
        self.judgement = self._decision()

        width = self._own["value_hidden"]
        layers = [
            nn.Linear(self.judgement.summary_size, width),
            nn.Tanh(),
            nn.Linear(width, width),
            nn.Tanh(),
            nn.Linear(width, 1),
        ]
        self.value_net = nn.Sequential(*layers)  # type: ignore[assignment]  # annotated as a single layer

        self.log_std = nn.Parameter(
            torch.full((len(kinds_of(self.compiled)),), math.log(self._own["deviation"]))
        )
        self.action_dist = DiagGaussianDistribution(self.actions.size)
        for name, index in (("entry", self.actions.entry), ("kind", self.actions.kind)):
            self.register_buffer(name, torch.as_tensor(np.asarray(index)), persistent=False)
        settings = {"lr": lr_schedule(1)} | self.optimizer_kwargs
        self.optimizer = self.optimizer_class(self.parameters(), **settings)

    def _decision(self) -> Any:
        """Return the module that decides: from observations with memory to raw actions and inputs of the value."""
        return Decision(self.compiled, self._own["hidden"])

    def rule_numbers(self) -> dict[str, tuple[nn.Parameter, float]]:
        """Return the numbers of the rule, each with the first step of a search (see `agents.training.rule_tuning`)."""
        return {name: (getattr(self.judgement, name), step) for name, step in RULE_STEPS.items()}

    @classmethod
    def of(cls, compiled: Compiled, **own: Any) -> Self:
        """Return the untrained policy of a scenario; ``own``: arguments of the class."""
        actions = OpenActions.of(compiled)
        return cls(
            ForecastMemory(compiled).space(ObservationLayout(compiled).flat_space()),
            spaces.Box(actions.low, actions.high, (actions.size,), np.float32),
            lambda _: 0.0,
            **own | {"scenario": compiled.resolved_scenario()},
        )

    def for_scenario(self, compiled: Compiled) -> StructuredPolicy:
        """Return the same weights for another scenario: other sites, regions, rows or routes."""
        if compiled.hash == self.compiled.hash:
            return self

        other = self.of(compiled, **self._own)
        other.load_state_dict(self.weights_for(other))
        return other.to(self.device).train(self.training)

    def weights_for(self, other: StructuredPolicy) -> dict[str, Tensor]:
        """Return these weights for a network whose scenario may have lines and power modes where this one has none.

        What is not known here ``other`` decides as it does now.  Or the reverse: what it lacks is left out.
        """
        return self.state_dict() | {"log_std": overlaid(self.log_std, other.log_std)}

    def mean_numbers(
        self, observation: Float[Tensor, "B N+M"]
    ) -> tuple[Float[Tensor, "B n"], Float[Tensor, "B S"]]:
        """Return the mean numbers, and the inputs of the value estimate."""
        raw_actions, summary = self.judgement(observation.float())
        return raw_actions[:, self.entry], summary

    def _distribution(self, mean: Tensor) -> DiagGaussianDistribution:
        dist = self.action_dist
        assert isinstance(dist, DiagGaussianDistribution)
        return dist.proba_distribution(mean, self.log_std[self.kind])

    def forward(self, obs: Tensor, deterministic: bool = False) -> tuple[Tensor, Tensor, Tensor]:
        """Return numbers [B,n], values [B,1] and log-probabilities [B]."""
        mean, summary = self.mean_numbers(obs)
        distribution = self._distribution(mean)
        numbers = distribution.get_actions(deterministic=deterministic)
        return numbers, self.value_net(summary), distribution.log_prob(numbers)

    def evaluate_actions(self, obs: PyTorchObs, actions: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return values [B,1], log-probabilities [B] and entropies [B] of numbers [B,n]."""
        assert isinstance(obs, Tensor)
        mean, summary = self.mean_numbers(obs)
        distribution = self._distribution(mean)
        return self.value_net(summary), distribution.log_prob(actions), distribution.entropy()

    def get_distribution(self, obs: PyTorchObs) -> Distribution:
        """Return the distribution of the numbers."""
        assert isinstance(obs, Tensor)
        return self._distribution(self.mean_numbers(obs)[0])

    def predict_values(self, obs: PyTorchObs) -> Tensor:
        """Return the values [B,1]."""
        assert isinstance(obs, Tensor)
        return self.value_net(self.mean_numbers(obs)[1])

    def _predict(self, observation: PyTorchObs, deterministic: bool = False) -> Tensor:
        assert isinstance(observation, Tensor)
        mean, _ = self.mean_numbers(observation)
        return mean if deterministic else self._distribution(mean).get_actions()
