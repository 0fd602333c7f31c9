"""The network: an MLP behind a layer that standardises observations by constants saved with the weights.

The environment scales observations by constants of the scenario, so prices of two sites may differ by a few
hundredths.  Centre and spread over some training episodes, taken once before training, put every entry on one
scale.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor

from agents.active import ActiveActions

# Entries that hardly vary would be blown up by their spread: it counts as at least this.
LEAST_SPREAD = 0.02


class Standardise(BaseFeaturesExtractor):
    """``asinh((x - centre) / spread)``; centre 0 and spread 1 until `fit` is called.

    Prices have rare spikes a hundred times their usual spread: centre and spread are therefore quantiles, and
    the inverse hyperbolic sine (linear near 0, logarithmic far out) keeps ordinary hours and spikes apart.
    """

    def __init__(self, observation_space: spaces.Box) -> None:
        size = int(np.prod(observation_space.shape))
        super().__init__(observation_space, features_dim=size)
        self.centre: torch.Tensor
        self.scale: torch.Tensor
        self.register_buffer("centre", torch.zeros(size))
        self.register_buffer("scale", torch.ones(size))

    def fit(self, observations: NDArray[np.float32]) -> None:
        """Take centre and spread from observations [n,N]; entries that never change become 0.

        Spread is half the distance of the 16 % and 84 % quantiles (the standard deviation of a normal), or
        the standard deviation of an entry that rarely changes.
        """
        low, centre, high = np.quantile(observations, (0.16, 0.5, 0.84), axis=0)
        spread = np.where(high > low, (high - low) / 2.0, observations.std(0))
        scale = 1.0 / np.maximum(spread, LEAST_SPREAD)
        self.centre.copy_(torch.as_tensor(centre))
        self.scale.copy_(torch.as_tensor(scale))

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        """Return the standardised observations, same shape."""
        return torch.asinh((observations - self.centre) * self.scale)


class ActivePolicy(ActorCriticPolicy):
    """SB3's policy for flat observations; it knows which entries of the environment's action it sets.

    ``index`` [n] and ``default`` [A] are those of `agents.active.ActiveActions`; they are saved with the
    weights.
    """

    def __init__(self, *args: Any, index: list[int], default: list[float], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.active = ActiveActions(np.array(index, dtype=np.intp), np.array(default, dtype=np.float32))

    def _get_constructor_parameters(self) -> dict[str, Any]:
        own = {"index": self.active.index.tolist(), "default": self.active.default.tolist()}
        return super()._get_constructor_parameters() | own
