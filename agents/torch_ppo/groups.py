"""Advantages against the mean of a group: environments that play the same episode at the same time.

What the world brings is equal in a group, so its share of a return falls out of the difference, and what is left is
due to the actions (several rollouts of one input; Mao et al., 2018, "Variance Reduction for Reinforcement Learning in
Input-Driven Environments").  Shape letters: T steps, B environments.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from stable_baselines3.common.buffers import RolloutBuffer

from gridai_env.arrays.types import Array, Float

# What stays out of files, so that plain PPO of Stable-Baselines3 loads them: it takes its own buffer.
BUFFER = ("rollout_buffer_class", "rollout_buffer_kwargs")


def group_advantages(
    rewards: Float[Array, "T B"],
    episode_starts: Float[Array, "T B"],
    last_values: Float[Array, " B"],
    dones: Float[Array, " B"],
    gamma: float,
    group: int,
    returns: Float[Array, "T B"],
) -> Float[Array, "T B"]:
    """Return the return-to-go less its mean over the ``group`` neighbours at the same step; fill ``returns`` with it.

    Episodes that go on after the last step are worth ``last_values`` there; ``dones``: 1.0 where none does.  The mean
    includes the environment itself, which scales the expected gradient by 1 - 1/group and nothing else.
    """
    following, goes_on = last_values, 1.0 - dones
    for step in reversed(range(len(rewards))):
        following = rewards[step] + gamma * goes_on * following
        returns[step], goes_on = following, 1.0 - episode_starts[step]
    grouped = returns.reshape(len(rewards), -1, group)
    return (grouped - grouped.mean(-1)[..., None]).reshape(returns.shape)


class GroupRolloutBuffer(RolloutBuffer):
    """`RolloutBuffer` with `group_advantages`."""

    def __init__(self, *args: Any, group: int, **kwargs: Any) -> None:
        self.group = group
        super().__init__(*args, **kwargs)

    def compute_returns_and_advantage(self, last_values: torch.Tensor, dones: np.ndarray) -> None:
        """Fill advantages and returns; both arguments are of the last step."""
        values, over = last_values.cpu().numpy().flatten(), dones.astype(np.float32)
        given = (self.rewards, self.episode_starts, values, over, self.gamma, self.group)
        self.advantages = group_advantages(*given, returns=self.returns)
