"""The batched environment on tensors as Stable-Baselines3 wants it, and a step that never leaves the device.

As a `VecEnv` it takes and gives NumPy arrays, like `agents.vec_env.numpy`; `step_tensor` does the same on
tensors.  Which episodes end is known from the clock, on the host; what they came to stays on the device until
`read_ends`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from agents.vec_env.actions import AgentActions
from agents.vec_env.base import TOTALS, BatchVecEnv
from agents.vec_env.memory import Memory
from agents.vec_env.torch_home_reference import AtHome
from gridai_env.arrays.record import Record
from gridai_env.arrays.types import Bools
from gridai_env.envs.torch.vector_env import GridAITorchVectorEnv


@dataclass(frozen=True, eq=False)
class EpisodeEnds:
    """The episodes that ended in one step, n of them."""

    rows: NDArray[np.intp]  # [n] which environments
    truncated: Bools  # [n] cut short, on the host
    whole: Bools  # [n] played from their first step: only these have totals
    lengths: NDArray[np.int64]  # [n] steps played
    final_obs: Tensor  # [n,N]
    figures: Tensor  # [n, 1 + len(TOTALS)]: return as learned from, then the totals


class DeviceVecEnv(BatchVecEnv):
    """Adapter for training on a device; rewards are shaped as in `agents.vec_env.numpy.GridAIVecEnv`.

    ``env`` must give flat observations and restart episodes in the same step.
    """

    env: GridAITorchVectorEnv

    def __init__(
        self,
        env: GridAITorchVectorEnv,
        actions: AgentActions,
        reference_reward: bool = False,
        reward_factor: float = 1.0,
        drop_charge_usd_per_gpuh: float = 0.0,
        memory: Memory | None = None,
    ) -> None:
        memory = None if memory is None else memory.to(env.device)
        super().__init__(env, actions, memory, reward_factor, drop_charge_usd_per_gpuh)
        self._at_home = AtHome(env) if reference_reward else None
        self._returns = torch.zeros(self.num_envs, dtype=env.dtype, device=env.device)
        self._begun_at = np.zeros(self.num_envs, dtype=np.int64)
        self._lengths = np.zeros(self.num_envs, dtype=np.int64)

    @property
    def device(self) -> torch.device:
        """Where the tensors are."""
        return self.env.device

    def reset(self) -> NDArray[np.float32]:
        """Start new episodes everywhere, from the seeds given to `seed` where there are any."""
        observation, _ = self.env.reset(seed=self._first_seeds())
        self._reset_seeds()
        self._reset_options()
        self.reset_infos = [{} for _ in range(self.num_envs)]
        self._returns = torch.zeros_like(self._returns)
        self._begun_at = self.env.simulator.t_host.astype(np.int64)
        self._lengths = np.zeros(self.num_envs, dtype=np.int64)
        self._look_ahead(np.arange(self.num_envs))
        return _array(self.remembering.begin(observation))

    def _look_ahead(self, rows: NDArray[np.intp]) -> None:
        """Work out what serving at home will earn in the episodes that began at ``rows``."""
        if self._at_home is not None:
            self._at_home.begin(self.env.simulator, rows)

    def _first_seeds(self) -> int | list[int | None] | None:
        """The seeds of `seed`: one for each environment, or the first where one generator draws all episodes."""
        if self._seeds[0] is None:
            return None
        return list(self._seeds) if self.env.episodes == "host" else self._seeds[0]

    # Steps ---------------------------------------------------------------------------------------

    def step_tensor(self, numbers: Tensor) -> tuple[Tensor, Tensor, Bools, EpisodeEnds | None]:
        """Advance all episodes by the agent's numbers [B,n] on the device.

        Returns observations [B,N] (of the next episode where one ended) and rewards [B], float32, on the device;
        which episodes ended [B], on the host; and what those were (None where none ended).
        """
        simulator = self.env.simulator
        terminates = simulator.t_host + 1 >= simulator.steps
        at_home_usd = 0.0 if self._at_home is None else self._at_home.now_usd(simulator)
        observation, earned, _, _, infos = self.env.step(self.actions.expand(numbers))
        rewards = self.learned_from(earned, at_home_usd, infos)
        self._returns = self._returns + rewards
        self._lengths = self._lengths + 1
        dones = self.env.simulator.t_host == 0  # a step leads to 1 at least, but for what began anew
        ended = self._ends(dones, terminates, infos) if dones.any() else None
        observation = self.remembering.go_on(observation, dones)
        return observation, rewards.float(), dones, ended

    def _ends(self, dones: Bools, terminates: Bools, infos: dict[str, Any]) -> EpisodeEnds:
        """What ended in the step just made; its books are closed."""
        rows = np.flatnonzero(dones)
        at = torch.as_tensor(rows, device=self.device)
        final = infos["final_info"]
        nothing = torch.zeros_like(self._returns)
        totals = [final.get(f"episode/{name}", nothing) for name in TOTALS]
        truncated = ~terminates[rows]
        ends = EpisodeEnds(
            rows=rows,
            truncated=truncated,
            whole=(self._begun_at[rows] == 0) & ~truncated,
            lengths=self._lengths[rows],
            final_obs=self.remembering.last(infos["final_obs"][at], rows),
            figures=torch.stack([self._returns, *totals], 1)[at],
        )
        self._returns = self._returns * torch.as_tensor(~dones, device=self.device)
        self._lengths, self._begun_at = self._lengths * ~dones, self._begun_at * ~dones
        self._look_ahead(rows)
        return ends

    def step_wait(self) -> tuple[NDArray[np.float32], NDArray[np.float32], Bools, list[dict[str, Any]]]:
        """Advance all episodes; ended ones come back with the first observation of their next episode."""
        assert self._actions is not None, "step_async comes first"
        numbers = torch.as_tensor(self._actions, device=self.device)
        with torch.no_grad():
            observation, rewards, dones, ended = self.step_tensor(numbers)
        own: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        if ended is not None:
            for i, info in zip(ended.rows, self._infos(ended), strict=True):
                own[i] = info
        return _array(observation), _array(rewards), dones, own

    def _infos(self, ended: EpisodeEnds) -> list[dict[str, Any]]:
        final, figures = _array(ended.final_obs), ended.figures.tolist()
        return [
            {
                "terminal_observation": final[i],
                "TimeLimit.truncated": bool(ended.truncated[i]),
                "episode": {"r": figures[i][0], "l": int(ended.lengths[i]), "t": self.seconds()},
                **(dict(zip(TOTALS, figures[i][1:], strict=True)) if ended.whole[i] else {}),
            }
            for i in range(len(ended.rows))
        ]

    # State ---------------------------------------------------------------------------------------

    def get_state(self) -> dict[str, Any]:
        """See `BatchVecEnv`; all tensors are on the host."""
        return {
            "env": _moved(self.env.get_state(), torch.device("cpu")),
            "returns": self._returns.cpu(),
            "lengths": self._lengths.copy(),
            "begun_at": self._begun_at.copy(),
            "seeds": list(self._seeds),
            "memory": None if self.remembering.state is None else self.remembering.state.cpu(),
            "at_home": None if self._at_home is None else self._at_home.usd.cpu(),
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """See `BatchVecEnv`."""
        self.env.set_state(state["env"])
        self._returns = state["returns"].to(self.device)
        self._lengths, self._begun_at = state["lengths"].copy(), state["begun_at"].copy()
        self._seeds = list(state["seeds"])
        if state["memory"] is not None:
            self.remembering.state = state["memory"].to(self.device)
        if self._at_home is not None:  # worked out again in other groups, it could differ in the last bit
            self._at_home.usd = state["at_home"].to(self.device)


def read_ends(ends: Sequence[EpisodeEnds], seconds: float) -> tuple[list[dict[str, Any]], list[list[float]]]:
    """Read ended episodes from the device, all at once: their ``episode`` infos, and totals of the whole ones."""
    if not ends:
        return [], []
    figures = torch.cat([ended.figures for ended in ends]).tolist()
    lengths = np.concatenate([ended.lengths for ended in ends]).tolist()
    whole = np.concatenate([ended.whole for ended in ends]).tolist()
    infos = [{"r": row[0], "l": length, "t": seconds} for row, length in zip(figures, lengths, strict=True)]
    return infos, [row[1:] for row, is_whole in zip(figures, whole, strict=True) if is_whole]


def _array(x: Tensor) -> NDArray[np.float32]:
    """An array of its own: the tensor may be written over by the next steps."""
    return np.array(x.detach().cpu().numpy(), order="C")


def _moved(value: Any, device: torch.device) -> Any:
    """The tensors of nested tables and records on another device."""
    if isinstance(value, torch.Tensor):
        return value.to(device)
    if isinstance(value, Record):
        return value.map(lambda field: _moved(field, device))
    if isinstance(value, dict):
        return {key: _moved(item, device) for key, item in value.items()}
    return value
