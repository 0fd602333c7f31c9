"""PPO (Schulman et al., 2017) whose rollouts and updates stay on the device; the rest is Stable-Baselines3's.

`learn`, `save`, `load`, `predict`, callbacks and logger are inherited.  The host decides when to step and when
episodes end (both known from the clock); it reads from the device once per rollout (totals of ended episodes) and
once per update (losses).  Files load into plain ``stable_baselines3.PPO``.

Where the first layer of a policy has no weights (`FixedFeatures`), its output is computed once, while acting, and
stored in place of the observations: PPO would compute it again in every epoch.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol, cast, runtime_checkable

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3 import PPO
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.distributions import DiagGaussianDistribution, StateDependentNoiseDistribution
from stable_baselines3.common.distributions import Distribution as ActionDistribution
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.type_aliases import RolloutBufferSamples
from stable_baselines3.common.vec_env import VecEnv
from torch import Tensor
from torch.distributions import Distribution
from torch.nn.functional import mse_loss

from agents.torch_ppo.buffer import DeviceRolloutBuffer
from agents.torch_ppo.groups import BUFFER
from agents.vec_env.adapter import EpisodeEnds, GridAIVecEnv, has_tensors, read_ends
from gridai_env.arrays.torch_ops import moved

# What an update reports, in the order in which `_loss` returns it.
FIGURES = ("policy_gradient_loss", "value_loss", "entropy_loss", "clip_fraction", "approx_kl", "loss")

# Policies with these have a standard deviation, ``log_std``.
GAUSSIAN = (DiagGaussianDistribution, StateDependentNoiseDistribution)


@runtime_checkable
class FixedFeatures(Protocol):
    """A policy whose `extract_features` has no weights: ``judge(extract_features(obs))`` is its forward pass."""

    features_dim: int

    def extract_features(self, obs: Any) -> Tensor:
        """Return the features [B,F] of observations [B,N]."""

    def judge(self, features: Tensor) -> tuple[ActionDistribution, Tensor]:
        """Return the distribution of the actions, and the values [B,1]."""


class DevicePPO(PPO):
    """`PPO` on a `GridAIVecEnv` (whose device must be the model's); arguments as there.

    ``compile_loss``: pass the loss through ``torch.compile`` (minutes at the first update).
    """

    def __init__(self, *args: Any, compile_loss: bool = False, **kwargs: Any) -> None:
        self.compile_loss = compile_loss
        self._loss_function: Any = None
        if kwargs.get("rollout_buffer_class") is None:
            kwargs["rollout_buffer_class"] = DeviceRolloutBuffer
        super().__init__(*args, **kwargs)

    def _setup_model(self) -> None:
        super()._setup_model()

        assert isinstance(self.action_space, spaces.Box)
        self._low = torch.as_tensor(self.action_space.low, device=self.device)
        self._high = torch.as_tensor(self.action_space.high, device=self.device)
        self.fixed = fixed_features(self.policy)
        if self.fixed is not None and isinstance(self.rollout_buffer, DeviceRolloutBuffer):
            self.rollout_buffer.keep_features(self.fixed.features_dim)

        if isinstance(self.policy.optimizer, torch.optim.Adam):
            for group in self.policy.optimizer.param_groups:
                group["fused"] = True  # one call for all weights

    def _excluded_save_params(self) -> list[str]:
        """Keep tensors of this device out of files, and the buffer's class: plain PPO takes its own."""
        own = ["_low", "_high", "fixed", "_last_obs", "_last_episode_starts", "_loss_function"]
        return [*super()._excluded_save_params(), *own, *BUFFER]

    def _setup_learn(self, *args: Any, **kwargs: Any) -> tuple[int, BaseCallback]:
        """Begin to learn; the last observations go to the device."""
        found = super()._setup_learn(*args, **kwargs)
        self._last_obs = torch.as_tensor(self._last_obs, device=self.device)  # type: ignore[assignment]
        starts = torch.as_tensor(self._last_episode_starts, device=self.device)
        self._last_episode_starts = starts  # type: ignore[assignment]
        return found

    # Rollouts ------------------------------------------------------------------------------------

    def collect_rollouts(
        self, env: VecEnv, callback: BaseCallback, rollout_buffer: RolloutBuffer, n_rollout_steps: int
    ) -> bool:
        """Fill the buffer; callbacks see ``dones`` [B] on the host, and ``ended_totals`` at the end.

        Raise TypeError for an environment or a buffer that is not on tensors.
        """
        if not has_tensors(env) or not isinstance(rollout_buffer, DeviceRolloutBuffer):
            raise TypeError(
                "DevicePPO needs a GridAIVecEnv on a batch of torch and a DeviceRolloutBuffer; use PPO for others"
            )

        self.policy.set_training_mode(False)
        rollout_buffer.reset()
        callback.on_rollout_start()
        infos: tuple[dict[str, Any], ...] = ()
        ends: list[EpisodeEnds] = []

        # Callbacks read the local variables of this function by name: ``dones``, ``infos``, ``ended_totals``.
        with unchecked_distributions(), torch.no_grad():
            for _ in range(n_rollout_steps):
                rewards, dones, ended = self.advance(env, rollout_buffer)
                if ended is not None:
                    ends.append(ended)
                self.num_timesteps += env.num_envs
                callback.update_locals(locals())
                if not callback.on_step():
                    return False
                rollout_buffer.rewards[rollout_buffer.pos - 1].copy_(rewards)  # callbacks may have changed it
            values = self.policy.predict_values(self._last_obs)  # type: ignore[arg-type]
            rollout_buffer.compute_returns_and_advantage(values, self._last_episode_starts)

        infos_of_episodes, ended_totals = read_ends(ends, env.seconds())
        self.ep_info_buffer.extend(infos_of_episodes)  # type: ignore[union-attr]
        callback.update_locals(locals())
        callback.on_rollout_end()
        return True

    def advance(
        self, env: GridAIVecEnv, buffer: DeviceRolloutBuffer
    ) -> tuple[Tensor, np.ndarray, EpisodeEnds | None]:
        """Act once everywhere and store the transition; return rewards, dones on the host, and ended episodes."""
        observation, starts = self._last_obs, cast(Tensor, self._last_episode_starts)
        seen, (actions, values, log_probs) = self._act(cast(Tensor, observation))
        after, rewards, dones, ended = env.step_batch(self._executed(actions))
        if ended is not None and ended.truncated.any():
            rewards = self._bootstrapped(rewards, ended)
        buffer.add(seen, actions, rewards, starts, values, log_probs)

        self._last_obs = after
        begun = torch.zeros_like(starts) if ended is None else moved(dones, self.device)
        self._last_episode_starts = begun  # type: ignore[assignment]
        return rewards, dones, ended

    def _act(self, observation: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor]]:
        """Return observations or their features, whichever is stored; sampled actions, values, log-probabilities."""
        if self.fixed is None:
            return observation, self.policy(observation)
        features = self.fixed.extract_features(observation)
        distribution, values = self.fixed.judge(features)
        actions = distribution.get_actions()
        return features, (actions, values, distribution.log_prob(actions))

    def _executed(self, actions: Tensor) -> Tensor:
        """Return the actions that samples [B,n] stand for: rescaled where the policy squashes, else clipped."""
        if self.policy.squash_output:
            return self._low + 0.5 * (actions + 1.0) * (self._high - self._low)
        return torch.clamp(actions, self._low, self._high)

    def _bootstrapped(self, rewards: Tensor, ended: EpisodeEnds) -> Tensor:
        """Add the value of what would have followed in truncated episodes (bootstrapping)."""
        at, cut = (
            moved(x, rewards.device) for x in (ended.rows[ended.truncated], np.flatnonzero(ended.truncated))
        )
        values = self.policy.predict_values(ended.final_obs[cut]).flatten()
        return rewards.index_add(0, at, values.to(rewards.dtype), alpha=self.gamma)

    # Updates -------------------------------------------------------------------------------------

    def train(self) -> None:
        """Update the policy from the buffer, as PPO does; losses are read once, at the end."""
        self.policy.set_training_mode(True)
        self._update_learning_rate(self.policy.optimizer)
        clip_range = self.clip_range(self._current_progress_remaining)  # type: ignore[operator]
        clip_values = None
        if self.clip_range_vf is not None:
            clip_values = self.clip_range_vf(self._current_progress_remaining)  # type: ignore[operator]

        # Compiled once for all updates; not before the first, for it is not saved.
        if self._loss_function is None:
            self._loss_function = torch.compile(self._loss) if self.compile_loss else self._loss

        figures: list[list[Tensor]] = []
        with unchecked_distributions():
            for _ in range(self.n_epochs):
                figures.append([])
                goes_on = self._epoch(clip_range, clip_values, figures[-1])
                self._n_updates += 1
                if not goes_on:
                    break
        self._report(figures, clip_range, clip_values)

    def _epoch(self, clip_range: float, clip_values: float | None, figures: list[Tensor]) -> bool:
        """Pass once over the buffer; return False where the divergence exceeds its limit."""
        for batch in self.rollout_buffer.get(self.batch_size):
            loss, reported = self._loss_function(batch, clip_range, clip_values)
            figures.append(reported)
            if self.target_kl is not None and float(reported[4]) > 1.5 * self.target_kl:
                return False

            self.policy.optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.policy.parameters(), self.max_grad_norm)
            self.policy.optimizer.step()
        return True

    def _loss(
        self, batch: RolloutBufferSamples, clip_range: float, clip_values: float | None
    ) -> tuple[Tensor, Tensor]:
        """Return the clipped surrogate loss of a batch and the figures of `FIGURES`."""
        values, log_prob, entropy = self._judged(batch.observations, batch.actions)
        values = values.flatten()
        advantages = batch.advantages
        if self.normalize_advantage and len(advantages) > 1:
            advantages = (advantages - advantages.mean()) / (advantages.std() + 1e-8)

        log_ratio = log_prob - batch.old_log_prob
        ratio = torch.exp(log_ratio)
        clipped = torch.clamp(ratio, 1 - clip_range, 1 + clip_range)
        policy_loss = -torch.min(advantages * ratio, advantages * clipped).mean()

        if clip_values is not None:
            values = batch.old_values + torch.clamp(values - batch.old_values, -clip_values, clip_values)
        value_loss = mse_loss(batch.returns, values)
        entropy_loss = torch.mean(log_prob) if entropy is None else -torch.mean(entropy)

        loss = policy_loss + self.ent_coef * entropy_loss + self.vf_coef * value_loss

        # The divergence by the estimator (r - 1) - log r, which is never negative (Schulman, 2020).
        with torch.no_grad():
            clip_fraction = torch.mean((torch.abs(ratio - 1) > clip_range).float())
            approx_kl = torch.mean((ratio - 1) - log_ratio)
            reported = torch.stack([policy_loss, value_loss, entropy_loss, clip_fraction, approx_kl, loss])
        return loss, reported

    def _judged(self, seen: Tensor, actions: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return values, log-probabilities and entropies of actions, from what `_act` stored."""
        if self.fixed is None:
            return self.policy.evaluate_actions(seen, actions)
        distribution, values = self.fixed.judge(seen)
        return values, distribution.log_prob(actions), distribution.entropy()

    def _report(self, figures: list[list[Tensor]], clip_range: float, clip_values: float | None) -> None:
        """Read the figures of the update from the device and log them under the names that PPO uses."""
        assert isinstance(self.rollout_buffer, DeviceRolloutBuffer)
        found = of_update(figures) | {"explained_variance": self.rollout_buffer.explained_variance()}
        if isinstance(self.policy.action_dist, GAUSSIAN):
            found["std"] = torch.exp(self.policy.log_std).mean()

        # One read for all of them: each waits for the device.
        for name, value in zip(found, torch.stack(list(found.values())).tolist(), strict=True):
            self.logger.record(f"train/{name}", value)
        self.logger.record("train/n_updates", self._n_updates, exclude="tensorboard")
        self.logger.record("train/clip_range", clip_range)
        if clip_values is not None:
            self.logger.record("train/clip_range_vf", clip_values)


def of_update(figures: list[list[Tensor]]) -> dict[str, Tensor]:
    """Return the figures of an update, from those of its epochs and gradient steps, as PPO reports them.

    They are means over the update, but for the divergence (of the last epoch) and the loss (of the last step).
    """
    steps = torch.stack([reported for epoch in figures for reported in epoch])
    found = dict(zip(FIGURES, steps.mean(0), strict=True))
    return found | {"approx_kl": steps[-len(figures[-1]) :, 4].mean(), "loss": steps[-1, 5]}


def fixed_features(policy: ActorCriticPolicy) -> FixedFeatures | None:
    """Return the policy if it implements `FixedFeatures` and its first layer has no weights, else None."""
    learns = not policy.share_features_extractor or any(True for _ in policy.features_extractor.parameters())
    return policy if isinstance(policy, FixedFeatures) and not learns else None


@contextmanager
def unchecked_distributions() -> Iterator[None]:
    """Skip checks of distributions' arguments: each waits for the device.  NaNs are looked for once per update."""
    before = Distribution._validate_args
    Distribution.set_default_validate_args(False)
    try:
        yield
    finally:
        Distribution.set_default_validate_args(before)
