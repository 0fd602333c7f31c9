"""The rollout buffer of Stable-Baselines3 on tensors: allocated once, filled and read on the device.

The class is passed to an algorithm as ``rollout_buffer_class``.  Arithmetic and order of samples are those of
`RolloutBuffer`, so equal data and an equal permutation give equal updates.  Shape letters: T steps, B environments,
N observation entries, n numbers of the action.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.type_aliases import RolloutBufferSamples
from torch import Tensor

from agents.torch_ppo.groups import group_advantages
from gridai_env.arrays.types import Array, Float, Floats32, Int


class DeviceRolloutBuffer(RolloutBuffer):
    """Transitions [T,B,...] as float32 tensors on ``device``; `add` takes tensors or arrays.

    `values` and `returns` are NumPy arrays, as the base class promises.  After `keep_features`, ``observations`` are
    features of them, in `add` as in samples.  ``group``: more than 1 for `group_advantages` in place of GAE.
    """

    def __init__(self, *args: Any, group: int = 1, **kwargs: Any) -> None:
        self._allocated, self.group = False, group
        super().__init__(*args, **kwargs)

    def reset(self) -> None:
        """Start to fill the buffer from the beginning; memory is allocated at the first call alone."""
        if not self._allocated:
            self._allocate()
        self.pos, self.full, self.generator_ready = 0, False, False

    def keep_features(self, size: int) -> None:
        """Store features [T,B,size] in place of observations; the buffer begins anew."""
        self.obs_shape = (size,)
        self._allocated = False
        self.reset()

    def _allocate(self) -> None:
        if not isinstance(self.observation_space, spaces.Box) or not isinstance(
            self.action_space, spaces.Box
        ):
            raise TypeError("DeviceRolloutBuffer: observations and actions must be boxes")

        lead = (self.buffer_size, self.n_envs)

        def empty(*shape: int) -> Tensor:
            return torch.zeros((*lead, *shape), dtype=torch.float32, device=self.device)

        self.observations: Tensor = empty(*self.obs_shape)  # type: ignore[assignment]
        self.actions: Tensor = empty(self.action_dim)  # type: ignore[assignment]
        self.rewards: Tensor = empty()  # type: ignore[assignment]
        self.episode_starts: Tensor = empty()  # type: ignore[assignment]
        self.log_probs: Tensor = empty()  # type: ignore[assignment]
        self.advantages: Tensor = empty()  # type: ignore[assignment]
        self.value_estimates, self.lambda_returns = empty(), empty()
        self._allocated = True

    @property
    def values(self) -> Float[Floats32, "T B"]:  # type: ignore[override]
        """Estimated values."""
        return np.asarray(self.value_estimates.cpu())

    @property
    def returns(self) -> Float[Floats32, "T B"]:  # type: ignore[override]
        """TD(lambda) returns."""
        return np.asarray(self.lambda_returns.cpu())

    def add(
        self,
        obs: Float[Array, "B N"],
        action: Float[Array, "B n"],
        reward: Float[Array, " B"],
        episode_start: Array,
        value: Tensor,
        log_prob: Tensor,
    ) -> None:
        """Store one step of all environments; tensors or arrays."""
        at = self.pos
        self.observations[at].copy_(torch.as_tensor(obs).reshape(self.n_envs, *self.obs_shape))
        self.actions[at].copy_(torch.as_tensor(action).reshape(self.n_envs, self.action_dim))
        self.rewards[at].copy_(torch.as_tensor(reward))
        self.episode_starts[at].copy_(torch.as_tensor(episode_start))
        self.value_estimates[at].copy_(value.detach().flatten())
        self.log_probs[at].copy_(log_prob.detach().flatten())

        self.pos += 1
        self.full = self.pos == self.buffer_size

    def compute_returns_and_advantage(self, last_values: Float[Tensor, " B"], dones: Array) -> None:
        """Fill advantages (GAE; Schulman et al., 2016) and returns; both arguments are of the last step."""
        following = last_values.detach().flatten()
        over = torch.as_tensor(dones, device=self.device).to(torch.float32)
        if self.group > 1:
            given = (self.rewards, self.episode_starts, following, over, self.gamma, self.group)
            self.advantages.copy_(group_advantages(*given, returns=self.lambda_returns))
            return

        goes_on = 1.0 - over
        advantage = torch.zeros_like(following)

        for step in reversed(range(self.buffer_size)):
            now = self.value_estimates[step]
            surprise = self.rewards[step] + self.gamma * following * goes_on - now
            advantage = surprise + self.gamma * self.gae_lambda * goes_on * advantage
            self.advantages[step] = advantage
            following, goes_on = now, 1.0 - self.episode_starts[step]
        torch.add(self.advantages, self.value_estimates, out=self.lambda_returns)

    def explained_variance(self) -> Tensor:
        """Return 1 - Var[returns - values] / Var[returns], a scalar on the device."""
        left = torch.var(self.lambda_returns - self.value_estimates, correction=0)
        return 1 - left / torch.var(self.lambda_returns, correction=0)

    def get(self, batch_size: int | None = None) -> Generator[RolloutBufferSamples, None, None]:
        """Yield all transitions once in random order, ``batch_size`` at a time (None: all)."""
        assert self.full, "the rollout is not complete"
        count = self.buffer_size * self.n_envs
        order = self.places(self.permutation(count))
        size = count if batch_size is None else batch_size
        for start in range(0, count, size):
            yield self._samples(order[start : start + size])

    def permutation(self, count: int) -> Int[Tensor, " count"]:
        """Return 0..count-1 in random order, drawn on the device."""
        return torch.randperm(count, device=self.device)

    def places(self, order: Tensor) -> Tensor:
        """Return the places in [T*B] of transitions ``order``, which the base class counts in [B*T]."""
        return (order % self.buffer_size) * self.n_envs + order // self.buffer_size

    def _samples(self, at: Tensor) -> RolloutBufferSamples:
        def taken(field: Tensor) -> Tensor:
            return field.flatten(0, 1).index_select(0, at)

        return RolloutBufferSamples(
            observations=taken(self.observations),
            actions=taken(self.actions),
            old_values=taken(self.value_estimates),
            old_log_prob=taken(self.log_probs),
            advantages=taken(self.advantages),
            returns=taken(self.lambda_returns),
        )
