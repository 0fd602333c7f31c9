"""The gradient of the return through the simulator, with the interface of Stable-Baselines3.

What the world brings does not depend on actions, and the step is differentiable: the return of an episode is a function
of the weights whose gradient can be computed instead of estimated (Alvo et al., 2023; Madeka et al., 2022; MDPs with
exogenous inputs, Sinclair et al., 2022).  Actions are deterministic: noise would change the goal.

Shapes: B environments, N numbers of an observation with memory, n numbers that the policy chooses.
"""

from __future__ import annotations

import math
from typing import Any, TypeVar, cast

import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import GymEnv, MaybeCallback, Schedule
from torch import Tensor

from agents.config import ConfigError
from agents.pathwise.rest_value import RestValue
from agents.structured.policy import StructuredPolicy
from agents.vec_env.adapter import GridAIVecEnv, has_tensors
from gridai_env.arrays.ops import smooth_decisions

Self = TypeVar("Self", bound="Pathwise")

# Added to the deviation of an episode's prices (USD/MWh) before its weight is taken: calm episodes count no more.
CALM_USD_PER_MWH = 10.0


class Cosine:
    """A learning rate that falls from ``first`` to ``last`` on half a cosine; the argument is the share left to do."""

    def __init__(self, first: float, last: float) -> None:
        self.first, self.last = first, last

    def __call__(self, left: float) -> float:
        """Return the rate."""
        return self.last + (self.first - self.last) * 0.5 * (1.0 - math.cos(math.pi * left))


class Pathwise(BaseAlgorithm):
    """Gradient ascent on the mean return of fresh episodes, one update after each batch or window of them.

    ``env`` must not restart episodes by itself (``autoreset_mode="Disabled"``) and hand out tensors of its own
    (``copy=True``).  ``last_steps``: episodes begin so many steps before their end (None: at their first step).
    ``weigh``: an episode counts by (deviation of its prices + 10 USD/MWh) ** -0.5, which no action changes, so that
    days of price spikes do not drown the others.  ``warm_up``: updates over which the learning rate rises.
    ``window_steps``: an update plays so many steps from where the episodes stand and adds what the rest of them is
    worth, which is learned beside (see `agents.pathwise.rest_value`); None: whole episodes.
    """

    env: GridAIVecEnv
    policy: BasePolicy

    def __init__(
        self,
        policy: str | type[BasePolicy],
        env: GymEnv | str,
        learning_rate: float | Schedule = 1e-3,
        max_grad_norm: float = 1.0,
        warm_up: int = 10,
        last_steps: int | None = None,
        window_steps: int | None = None,
        weigh: bool = True,
        _init_setup_model: bool = True,
        **kwargs: Any,
    ) -> None:
        """Take ``kwargs`` as `BaseAlgorithm` does: policy_kwargs, tensorboard_log, verbose, device, seed."""
        kwargs |= {"support_multi_env": True, "supported_action_spaces": (spaces.Box,)}
        super().__init__(policy, env, learning_rate, **kwargs)
        self.max_grad_norm, self.warm_up = max_grad_norm, warm_up
        self.last_steps, self.window_steps, self.weigh = last_steps, window_steps, weigh
        self.rest_value: RestValue | None = None
        if _init_setup_model:
            self._setup_model()

    def _setup_model(self) -> None:
        env = self.env
        if env is not None and not (has_tensors(env) and env.env.autoreset_mode is AutoresetMode.DISABLED):
            raise TypeError(
                "Pathwise needs a GridAIVecEnv on a batch of torch with autoreset_mode='Disabled' and copy=True, "
                f"got a {type(env).__name__}"
            )
        self._setup_lr_schedule()
        self.set_random_seed(self.seed)
        made = self.policy_class(
            self.observation_space, self.action_space, self.lr_schedule, **self.policy_kwargs
        )
        self.policy = made.to(self.device)
        if self.window_steps is not None:
            if not isinstance(made, StructuredPolicy):
                raise ConfigError(
                    "pathwise.window_h: needs policy = 'set', 'smooth_mlp' or 'structured' (or null)"
                )
            kept = math.ceil((self.last_steps or made.compiled.shape.steps) / self.window_steps)
            self.rest_value = RestValue(made.compiled, kept).to(self.device)

    def learn(
        self: Self,
        total_timesteps: int,
        callback: MaybeCallback = None,
        log_interval: int = 1,
        tb_log_name: str = "pathwise",
        reset_num_timesteps: bool = True,
        progress_bar: bool = False,
    ) -> Self:
        """Learn for so many environment steps; callbacks see each step and each batch of episodes as a rollout."""
        total, called = self._setup_learn(
            total_timesteps, callback, reset_num_timesteps, tb_log_name, progress_bar
        )
        called.on_training_start(locals(), globals())
        while self.num_timesteps < total:
            called.on_rollout_start()
            with smooth_decisions():
                played = self._play(called)
            if played is None:
                break
            self._update_current_progress_remaining(self.num_timesteps, total)
            called.on_rollout_end()

            # Written before the update, as other algorithms do: its figures stay to be looked at.
            if log_interval and (self._n_updates + 1) % log_interval == 0:
                OnPolicyAlgorithm.dump_logs(cast(Any, self), self._n_updates + 1)
            self._update(*played)
            self._learn_value()
        called.on_training_end()
        return self

    def _update(self, returns: Tensor, weights: Tensor) -> None:
        """Follow the gradient of what a batch of episodes earned [B], weighed [B]."""
        optimizer = cast(Any, self.policy).optimizer
        self.policy.set_training_mode(True)
        rising = min(1.0, (self._n_updates + 1) / self.warm_up)
        rate = self.lr_schedule(self._current_progress_remaining) * rising
        for group in optimizer.param_groups:
            group["lr"] = rate

        loss = -(returns * weights).mean()
        optimizer.zero_grad()
        loss.backward()
        length = torch.nn.utils.clip_grad_norm_(self.policy.parameters(), self.max_grad_norm)

        # A gradient that is no number (a division at a corner of the equations) moves nothing.
        if is_finite := bool(length.isfinite()):
            optimizer.step()
        self._n_updates += 1

        self.logger.record("train/loss", loss.item())
        self.logger.record("train/gradient_length", length.item() if is_finite else 0.0)
        self.logger.record("train/skipped", float(not is_finite))
        self.logger.record("train/learning_rate", rate)

    def _play(self, callback: BaseCallback) -> tuple[Tensor, Tensor] | None:
        """Return what is to grow [B], with gradients, and the weights of the episodes [B]; None where a callback stops.

        That is what fresh episodes earn, or what a window earns and the rest is worth.
        """
        env, steps = self.env, self.env.env.simulator.steps
        if self.rest_value is None or self._left() in (0, steps):
            self._last_obs = env.begin(self.last_steps)
        observation = torch.as_tensor(self._last_obs, device=self.device)
        stop = 0 if self.window_steps is None else max(self._left() - self.window_steps, 0)
        returns, weights = torch.zeros(env.num_envs, device=self.device), self._weights()
        seen, earned = [observation], []

        while self._left() > stop:
            numbers = self.policy._predict(observation, deterministic=True)
            observation, rewards, dones, _ = env.step_batch(numbers)
            returns = returns + rewards
            seen.append(observation.detach())
            earned.append(rewards.detach())
            self.num_timesteps += env.num_envs
            callback.update_locals({"dones": dones, "infos": ()})
            if not callback.on_step():
                self._last_obs = None  # in the midst of a window nothing can go on
                return None

        if self.rest_value is not None:
            self._window = torch.stack(seen), torch.stack(earned), weights, not stop
            if stop:
                returns = returns + self.rest_value(observation)
            env.env.simulator.detach()
            self._last_obs = observation.detach()  # type: ignore[assignment]
        self._note_ends(callback, is_over=not stop)
        return returns, weights

    def _left(self) -> int:
        """Return the steps left, the same everywhere."""
        return int(self.env.steps_left()[0])

    def _note_ends(self, callback: BaseCallback, is_over: bool) -> None:
        """Hand on the figures of the episodes, where they are over; totals belong to whole ones."""
        env = self.env
        are_whole = is_over and self.last_steps is None
        callback.update_locals({"ended_totals": env.totals().tolist() if are_whole else []})
        length = self.last_steps or env.env.simulator.steps
        assert self.ep_info_buffer is not None
        if is_over:
            self.ep_info_buffer.extend(
                {"r": earned, "l": length, "t": env.seconds()} for earned in env.returns().tolist()
            )

    def _learn_value(self) -> None:
        """Let the value of the rest learn from the last window."""
        if self.rest_value is not None:
            self.logger.record("train/value_loss", self.rest_value.learn(*self._window))

    def _weights(self) -> Tensor:
        """Return the weight of each episode [B], 1 on average."""
        if not self.weigh:
            return torch.ones(self.env.num_envs, device=self.device)
        prices = self.env.env.simulator.series("buy_usd_per_mwh")  # [T,K,B]
        weights = (prices.std((0, 1)) + CALM_USD_PER_MWH) ** -0.5
        return (weights / weights.mean()).float()

    def _get_torch_save_params(self) -> tuple[list[str], list[str]]:
        return ["policy", "policy.optimizer"], []

    def _excluded_save_params(self) -> list[str]:
        """Keep out of files what only a run that goes on needs (see `agents.training.checkpoints`)."""
        return [*super()._excluded_save_params(), "rest_value", "_window", "_last_obs"]
