"""The batched environment on NumPy as a `VecEnv` of Stable-Baselines3."""

from __future__ import annotations

from typing import Any

import numpy as np

from agents.vec_env.base import TOTALS, BatchVecEnv
from agents.vec_env.home_reference import HomeReference
from gridai_env.arrays.types import Bools, Float, Floats, Floats32
from gridai_env.envs.vector_env import GridAIVectorEnv
from gridai_env.episodes.instance import Instance, make_batch


class GridAIVecEnv(BatchVecEnv):
    """Adapter for training on NumPy; ``env`` must give flat observations."""

    env: GridAIVectorEnv

    def _setup(self, reference_reward: bool) -> None:
        self._reference = HomeReference(self.env.compiled, self.num_envs) if reference_reward else None
        self._begin_all()

    def _begin_all(self) -> None:
        self._returns = np.zeros(self.num_envs)

    def _as_array(self, x: Floats32) -> Floats32:
        return x

    def step_wait(self) -> tuple[Float[Floats32, "B N"], Float[Floats32, " B"], Bools, list[dict[str, Any]]]:
        """Advance all episodes; ended ones come back with the first observation of their next episode."""
        assert self._actions is not None, "step_async comes first"
        at_home_usd = self._at_home_usd()
        observation, rewards, terminated, truncated, infos = self.env.step(self.actions.expand(self._actions))
        rewards = self.learned_from(rewards, at_home_usd, infos, observation)
        self._returns += rewards
        self._lengths += 1

        dones = terminated | truncated
        own: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        if dones.any():
            for i in np.flatnonzero(dones):
                own[i] = self._end_of_episode(int(i), infos, bool(truncated[i] and not terminated[i]))
            self._returns[dones] = 0.0
            self._lengths[dones] = 0
        observation = self.remembering.go_on(observation, dones)
        return observation, rewards.astype(np.float32), dones, own

    def _at_home_usd(self) -> Float[Floats, " B"] | float:
        """Return what serving at home earns in the coming step; 0 where the benefit itself is learned from."""
        if self._reference is None:
            return 0.0
        simulator = self.env.simulator
        return self._reference.benefit_usd(simulator.params, simulator.exogenous)

    def _end_of_episode(self, i: int, infos: dict[str, Any], truncated: bool) -> dict[str, Any]:
        """Return the info of the episode that ended at place ``i``; one that was cut short has no totals."""
        last = self.remembering.last(infos["final_obs"][i][None], np.array([i]))[0]
        totals = [] if truncated else [float(infos["final_info"][f"episode/{name}"][i]) for name in TOTALS]
        return self._info(last, truncated, float(self._returns[i]), int(self._lengths[i]), totals)

    def get_state(self) -> dict[str, Any]:
        """See `BatchVecEnv`; episodes are kept as their seeds and starts, from which they are rebuilt."""
        state = self.env.get_state()
        state |= {"instances": [(i.seed, i.start_utc) for i in state["instances"]], "last": None}
        return {
            "env": state,
            "returns": self._returns.copy(),
            "lengths": self._lengths.copy(),
            "seeds": list(self._seeds),
            "memory": self.remembering.state,
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """See `BatchVecEnv`."""
        self.env.set_state(state["env"] | {"instances": self._instances(state["env"]["instances"])})
        self._returns, self._lengths = state["returns"].copy(), state["lengths"].copy()
        self._seeds = list(state["seeds"])
        self.remembering.state = state["memory"]

    def _instances(self, episodes: list[tuple[int, np.datetime64]]) -> list[Instance]:
        seeds, starts = zip(*episodes, strict=True)
        return make_batch(self.env.compiled, seeds, start=starts).instances
