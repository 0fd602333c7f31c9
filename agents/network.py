"""The network's first layer: every observation standardised by constants that are saved with the weights.

The environment scales observations by constants of the scenario, so prices of two sites may differ by a few
hundredths.  Mean and spread over some training episodes, taken once before training, put every entry on one scale.
"""

from __future__ import annotations

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor

# Entries that hardly vary would be blown up by their spread: it counts as at least this.
LEAST_SPREAD = 0.02


class Standardise(BaseFeaturesExtractor):
    """``(x - mean) / spread``, cut at ``clip``; mean 0 and spread 1 until `fit` is called."""

    def __init__(self, observation_space: spaces.Box, clip: float = 5.0) -> None:
        size = int(np.prod(observation_space.shape))
        super().__init__(observation_space, features_dim=size)
        self.mean: torch.Tensor
        self.scale: torch.Tensor
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("scale", torch.ones(size))
        self.clip = clip

    def fit(self, observations: NDArray[np.float32]) -> None:
        """Take mean and spread from observations [n,N]; entries that never change become 0."""
        mean, spread = observations.mean(0), observations.std(0)
        scale = np.where(spread > 0.0, 1.0 / np.maximum(spread, LEAST_SPREAD), 1.0)
        self.mean.copy_(torch.as_tensor(mean))
        self.scale.copy_(torch.as_tensor(scale))

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        """Return the standardised observations, same shape."""
        return torch.clamp((observations - self.mean) * self.scale, -self.clip, self.clip)


class MlpPolicy(ActorCriticPolicy):
    """SB3's policy for flat observations, under a name that it does not warn about on a GPU."""
