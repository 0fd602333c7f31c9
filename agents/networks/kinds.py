"""Kinds of networks: what each decides, how it is built, and how it begins.

The setting ``policy`` chooses a kind.  Training, evaluation and imitation know a network only by its `AgentActions`
(numbers of the network -> action of the environment) and by this table.
"""

from __future__ import annotations

import math
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.policies import ActorCriticPolicy

from agents.config import ConfigError, PPOConfig
from agents.networks.learned import LearnedPolicy
from agents.networks.mlp import ActivePolicy, CostFeatures, Standardise
from agents.structured.action_numbers import OpenActions
from agents.structured.policy import StructuredPolicy
from agents.vec_env.actions import ActiveActions, AgentActions
from gridai_env.arrays.types import Floats32
from gridai_env.observation.forecast_memory import ForecastMemory
from gridai_env.scenario.compile import Compiled

ACTIVATIONS: dict[str, type[torch.nn.Module]] = {"tanh": torch.nn.Tanh, "relu": torch.nn.ReLU}


@runtime_checkable
class ActingPolicy(Protocol):
    """A policy of Stable-Baselines3 that says what its numbers mean."""

    @property
    def actions(self) -> AgentActions:
        """How the numbers become actions of the environment."""


def memory_of(policy: object) -> ForecastMemory | None:
    """Return the memory of a policy; None for one that sees the environment's observations alone."""
    return policy.memory if isinstance(policy, StructuredPolicy) else None


class Mlp:
    """An MLP on standardised observations; its first mean action serves everything at home."""

    def actions(self, config: PPOConfig, compiled: Compiled) -> ActiveActions:
        """Return the entries of the action that have an effect."""
        return ActiveActions.of(compiled, config.may_refuse, config.shared_routing)

    def memory(self, compiled: Compiled) -> None:
        """Return None: the network sees the present observation alone."""

    def policy(
        self, config: PPOConfig, compiled: Compiled, actions: AgentActions, seen: Floats32
    ) -> tuple[type[ActorCriticPolicy], dict[str, Any]]:
        """Return `ActivePolicy`; entries that never change in the observations ``seen`` are left out."""
        assert isinstance(actions, ActiveActions)
        return ActivePolicy, {
            "active": actions.as_dict(),
            "net_arch": {"pi": list(config.hidden), "vf": list(config.hidden)},
            "activation_fn": ACTIVATIONS[config.activation],
            "log_std_init": math.log(config.initial_deviation),
            "features_extractor_class": Standardise,
            "features_extractor_kwargs": {
                "kept": np.flatnonzero(np.ptp(seen, axis=0) > 0.0).tolist(),
                "costs": CostFeatures.places(compiled) if config.cost_features else None,
            },
        }

    def begin(self, model: BaseAlgorithm, actions: AgentActions, seen: Floats32) -> None:
        """Set the initial mean action to ``actions.start``, and fit the scales of the observations."""
        with torch.no_grad():
            model.policy.action_net.bias.copy_(torch.as_tensor(actions.start))  # type: ignore[operator,union-attr]

        extractor = model.policy.features_extractor
        assert isinstance(extractor, Standardise)
        extractor.fit(seen)


class Structured:
    """A policy with the structure of the problem built in (see `agents.structured`); untrained, it acts by a rule."""

    def actions(self, config: PPOConfig, compiled: Compiled) -> OpenActions:
        """Return the open entries; raise ConfigError for settings that this kind does not have."""
        if config.may_refuse or config.shared_routing:
            raise ConfigError(
                "policy = 'structured': has no may_refuse and no shared_routing; leave them out"
            )
        return OpenActions.of(compiled)

    def memory(self, compiled: Compiled) -> ForecastMemory:
        """Return the memory of forecasts."""
        return ForecastMemory(compiled)

    def policy(
        self, config: PPOConfig, compiled: Compiled, actions: AgentActions, seen: Floats32
    ) -> tuple[type[ActorCriticPolicy], dict[str, Any]]:
        """Return `StructuredPolicy`; its networks have the first of the widths ``hidden``, its value head the last."""
        return StructuredPolicy, {
            "scenario": compiled.resolved_scenario(),
            "hidden": config.hidden[0],
            "value_hidden": config.hidden[-1],
            "deviation": config.initial_deviation,
        }

    def begin(self, model: BaseAlgorithm, actions: AgentActions, seen: Floats32) -> None:
        """Do nothing: the untrained network already acts by its rule."""


class Learned(Structured):
    """A network without a rule (see `agents.networks.learned`); untrained, it serves most at home."""

    def __init__(self, network: str) -> None:
        self.network = network

    def policy(
        self, config: PPOConfig, compiled: Compiled, actions: AgentActions, seen: Floats32
    ) -> tuple[type[ActorCriticPolicy], dict[str, Any]]:
        """Return `LearnedPolicy`; an MLP has all of the widths ``hidden``, a set network the first."""
        _, arguments = super().policy(config, compiled, actions, seen)
        own = {"network": self.network, "widths": list(config.hidden), "attention": config.attention}
        return LearnedPolicy, arguments | own

    def begin(self, model: BaseAlgorithm, actions: AgentActions, seen: Floats32) -> None:
        """Fit the scales of the features."""
        assert isinstance(model.policy, LearnedPolicy)
        model.policy.judgement.fit(seen)


# One kind of network: what it decides, what it remembers, what it is made of, and how it begins.
Design = Mlp | Structured

# Kinds by the setting `policy`.
DESIGNS: dict[str, Design] = {
    "mlp": Mlp(),
    "structured": Structured(),
    "smooth_mlp": Learned("mlp"),
    "set": Learned("set"),
}


def design_of(config: PPOConfig) -> Design:
    """Return the kind of network that the settings ask for."""
    return DESIGNS[config.policy]
