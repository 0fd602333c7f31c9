"""The batched environment as Stable-Baselines3 wants it: a `VecEnv` over `GridAIVectorEnv`."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from agents.vec_env.actions import AgentActions
from agents.vec_env.base import TOTALS, BatchVecEnv
from agents.vec_env.home_reference import HomeReference
from agents.vec_env.memory import Memory
from gridai_env.envs.vector_env import GridAIVectorEnv
from gridai_env.episodes.instance import Instance, make_batch


class GridAIVecEnv(BatchVecEnv):
    """Adapter for training on NumPy.

    ``env`` must give flat observations.  ``reference_reward``: learn from the gain over serving at home (see
    `agents.vec_env.home_reference`) instead of from the benefit; ``reward_factor`` multiplies either.
    ``drop_charge_usd_per_gpuh`` is taken off either for work that is dropped, on top of what the scenario
    bills: dropping a little now and then costs next to nothing, so it would hardly be unlearned.
    """

    env: GridAIVectorEnv

    def __init__(
        self,
        env: GridAIVectorEnv,
        actions: AgentActions,
        reference_reward: bool = False,
        reward_factor: float = 1.0,
        drop_charge_usd_per_gpuh: float = 0.0,
        memory: Memory | None = None,
    ) -> None:
        super().__init__(env, actions, memory, reward_factor, drop_charge_usd_per_gpuh)
        self._reference = HomeReference(env.compiled, env.num_envs) if reference_reward else None
        self._returns = np.zeros(self.num_envs)
        self._lengths = np.zeros(self.num_envs, dtype=np.int64)

    def reset(self) -> NDArray[np.float32]:
        """Start new episodes everywhere, from the seeds given to `seed` where there are any."""
        seeds = None if self._seeds[0] is None else list(self._seeds)
        observation, _ = self.env.reset(seed=seeds)
        self._reset_seeds()
        self._reset_options()
        self.reset_infos = [{} for _ in range(self.num_envs)]
        self._returns[:] = 0.0
        self._lengths[:] = 0
        return self.remembering.begin(observation)

    def step_wait(
        self,
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_], list[dict[str, Any]]]:
        """Advance all episodes; ended ones come back with the first observation of their next episode."""
        assert self._actions is not None, "step_async comes first"
        at_home_usd = self._at_home_usd()
        observation, rewards, terminated, truncated, infos = self.env.step(self.actions.expand(self._actions))
        rewards = self.learned_from(rewards, at_home_usd, infos)
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

    def _at_home_usd(self) -> NDArray[np.float64] | float:
        """What serving at home earns in the coming step [B]; 0 where the benefit itself is learned from."""
        if self._reference is None:
            return 0.0
        simulator = self.env.simulator
        earned: NDArray[np.float64] = self._reference.benefit_usd(simulator.params, simulator.exogenous)
        return earned

    def _end_of_episode(self, i: int, infos: dict[str, Any], truncated: bool) -> dict[str, Any]:
        """The info of an ended episode; one that was cut short has no totals."""
        final = infos["final_info"]
        return {
            "terminal_observation": self.remembering.last(infos["final_obs"][i][None], np.array([i]))[0],
            "TimeLimit.truncated": truncated,
            "episode": {"r": float(self._returns[i]), "l": int(self._lengths[i]), "t": self.seconds()},
            **{name: float(final[f"episode/{name}"][i]) for name in TOTALS if not truncated},
        }

    def get_state(self) -> dict[str, Any]:
        """See `BatchVecEnv`; episodes are kept as their seeds, which make them again."""
        state = self.env.get_state()
        state |= {"instances": [instance.seed for instance in state["instances"]], "last": None}
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

    def _instances(self, seeds: list[int]) -> list[Instance]:
        return make_batch(self.env.compiled, seeds).instances
