"""The batched environment as Stable-Baselines3 wants it: a `VecEnv` over `GridAIVectorEnv`.

Observations are flat float32 arrays [B,N].  Episodes end by termination and restart in the same step; the
infos of an ended episode hold ``terminal_observation``, ``episode`` (return and length as learned from) and
the totals ``benefit_usd``, ``emissions_kg``, ``dropped_gpuh`` in their own units.  Infos of running episodes
are empty: at thousands of environments, building them costs more than the step.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv

from agents.active import ActiveActions
from agents.reference import HomeReference
from gridai_env.vector_env import GridAIVectorEnv

# Totals of an ended episode that are handed on.
TOTALS = ("benefit_usd", "emissions_kg", "dropped_gpuh")

# Seeds of training episodes.  Below are those that people type, above those of held-out episodes.
TRAINING_SEEDS = range(1_000_000, 2**31)

Indices = int | Iterable[int] | None


class GridAIVecEnv(VecEnv):
    """Adapter for training.  The agent acts on the active entries alone (see `agents.active`).

    ``env`` must give flat observations.  ``reference_reward``: learn from the gain over serving at home (see
    `agents.reference`) instead of from the benefit; ``reward_factor`` multiplies either.
    ``drop_charge_usd_per_gpuh`` is taken off either for work that is dropped, on top of what the scenario
    bills: dropping a little now and then costs next to nothing, so it would hardly be unlearned.
    """

    def __init__(
        self,
        env: GridAIVectorEnv,
        actions: ActiveActions,
        reference_reward: bool = False,
        reward_factor: float = 1.0,
        drop_charge_usd_per_gpuh: float = 0.0,
    ) -> None:
        self.env = env
        self.actions = actions
        space = spaces.Box(-1.0, 1.0, (actions.size,), np.float32)
        super().__init__(env.num_envs, env.single_observation_space, space)
        self._reference = HomeReference(env.compiled, env.num_envs) if reference_reward else None
        self._scale_usd, self._factor = env.compiled.scenario.reward_scale_usd, reward_factor
        self._drop_charge_usd_per_gpuh = drop_charge_usd_per_gpuh
        self._actions: NDArray[np.float32] | None = None
        self._returns = np.zeros(self.num_envs)
        self._lengths = np.zeros(self.num_envs, dtype=np.int64)
        self._begin = time.monotonic()

    def seed(self, seed: int | None = None) -> Sequence[int | None]:
        """Choose the episodes from the next reset on; None leaves it to chance.

        The seeds of the first episodes are drawn from `TRAINING_SEEDS` by ``seed``, not counted up from it:
        so a run with seed 0 never trains on the episodes 0, 1, 2, ... that comparisons use.
        """
        if seed is None:
            self._reset_seeds()
        else:
            rng = np.random.default_rng(seed)
            self._seeds = rng.integers(TRAINING_SEEDS.start, TRAINING_SEEDS.stop, self.num_envs).tolist()
        return self._seeds

    def reset(self) -> NDArray[np.float32]:
        """Start new episodes everywhere, from the seeds given to `seed` where there are any."""
        seeds = None if self._seeds[0] is None else list(self._seeds)
        observation, _ = self.env.reset(seed=seeds)
        self._reset_seeds()
        self._reset_options()
        self.reset_infos = [{} for _ in range(self.num_envs)]
        self._returns[:] = 0.0
        self._lengths[:] = 0
        return observation

    def step_async(self, actions: NDArray[np.float32]) -> None:
        """Keep the active actions [B,n] for `step_wait`."""
        self._actions = actions

    def step_wait(
        self,
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_], list[dict[str, Any]]]:
        """Advance all episodes; ended ones come back with the first observation of their next episode."""
        assert self._actions is not None, "step_async comes first"
        at_home_usd = self._at_home_usd()
        observation, rewards, terminated, truncated, infos = self.env.step(self.actions.expand(self._actions))
        charge_usd = self._drop_charge_usd_per_gpuh * _dropped_gpuh(infos)
        rewards = self._factor * (rewards - (at_home_usd + charge_usd) / self._scale_usd)
        self._returns += rewards
        self._lengths += 1
        dones = terminated | truncated
        own: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        if dones.any():
            for i in np.flatnonzero(dones):
                own[i] = self._end_of_episode(int(i), infos, bool(truncated[i] and not terminated[i]))
            self._returns[dones] = 0.0
            self._lengths[dones] = 0
        return observation, rewards.astype(np.float32), dones, own

    def _at_home_usd(self) -> NDArray[np.float64] | float:
        """What serving at home earns in the coming step [B]; 0 where the benefit itself is learned from."""
        if self._reference is None:
            return 0.0
        simulator = self.env.simulator
        return self._reference.benefit_usd(simulator.params, simulator.exogenous)

    def _end_of_episode(self, i: int, infos: dict[str, Any], truncated: bool) -> dict[str, Any]:
        final = infos["final_info"]
        seconds = round(time.monotonic() - self._begin, 6)
        return {
            "terminal_observation": infos["final_obs"][i],
            "TimeLimit.truncated": truncated,
            "episode": {"r": float(self._returns[i]), "l": int(self._lengths[i]), "t": seconds},
            **{name: float(final[f"episode/{name}"][i]) for name in TOTALS},
        }

    def close(self) -> None:
        """Close the environment."""
        self.env.close()

    def get_attr(self, attr_name: str, indices: Indices = None) -> list[Any]:
        """Return an attribute of the batched environment, once for each index."""
        value = getattr(self.env, attr_name)
        return [value for _ in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: Indices = None) -> None:
        """Set an attribute of the batched environment; all episodes share it, so ``indices`` must be None."""
        if indices is not None:
            raise ValueError(
                f"attribute {attr_name!r}: the episodes share one environment; leave indices out"
            )
        setattr(self.env, attr_name, value)

    def env_method(
        self, method_name: str, *method_args: Any, indices: Indices = None, **method_kwargs: Any
    ) -> list[Any]:
        """Call a method of the batched environment once and return its result for each index."""
        value = getattr(self.env, method_name)(*method_args, **method_kwargs)
        return [value for _ in self._get_indices(indices)]

    def env_is_wrapped(self, wrapper_class: type, indices: Indices = None) -> list[bool]:
        """Return False for each index: single episodes cannot be wrapped."""
        return [False for _ in self._get_indices(indices)]

    def get_images(self) -> Sequence[NDArray[np.uint8] | None]:
        """Return a picture of each episode (None where the environment was made without ``render_mode``)."""
        frames = self.env.render()
        return [None] * self.num_envs if frames is None else list(frames)


def _dropped_gpuh(infos: dict[str, Any]) -> NDArray[np.float64]:
    """Work dropped in the step [B]; that of episodes which end in it stands among their last figures."""
    dropped: NDArray[np.float64] = infos["dropped_gpuh"]
    return dropped + infos["final_info"]["dropped_gpuh"] if "final_info" in infos else dropped
