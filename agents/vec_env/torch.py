"""The batched environment on tensors as a `VecEnv` of Stable-Baselines3, and a step that never leaves the device.

As a `VecEnv` it takes and gives NumPy arrays, like `agents.vec_env.numpy`; `step_tensor` does the same on tensors.
Which episodes end is known from the clock, on the host; their figures stay on the device until `read_ends`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from agents.vec_env.base import TOTALS, BatchVecEnv
from agents.vec_env.torch_home_reference import AtHome
from gridai_env.arrays.record import Record
from gridai_env.arrays.torch_ops import moved
from gridai_env.arrays.types import Bools, Float, Floats32, Index, Ints
from gridai_env.envs.torch.vector_env import GridAITorchVectorEnv


@dataclass(frozen=True, eq=False)
class EpisodeEnds:
    """The episodes that ended in one step, n of them."""

    rows: Index  # [n] which environments
    truncated: Bools  # [n] cut short, on the host
    whole: Bools  # [n] played from their first step: only these have totals
    lengths: Ints  # [n] steps played
    final_obs: Float[Tensor, "n N"]
    figures: Tensor  # [n, 1 + len(TOTALS)] return as learned from, then the totals


class DeviceVecEnv(BatchVecEnv):
    """Adapter for training on a device; ``env`` must give flat observations and restart episodes in the same step."""

    env: GridAITorchVectorEnv

    def _setup(self, reference_reward: bool) -> None:
        self._at_home = AtHome(self.env) if reference_reward else None
        self._returns = torch.zeros(self.num_envs, dtype=self.env.dtype, device=self.device)
        self._begun_at = np.zeros(self.num_envs, dtype=np.int64)

    @property
    def device(self) -> torch.device:
        """Where the tensors are."""
        return self.env.device

    def _begin_all(self) -> None:
        self._returns = torch.zeros_like(self._returns)
        self._begun_at = self.env.simulator.t.astype(np.int64)
        self._look_ahead(np.arange(self.num_envs))

    def _as_array(self, x: Tensor) -> Floats32:
        # A copy: the tensor may be written over by the next steps.
        return np.array(x.detach().cpu().numpy(), order="C")

    def _look_ahead(self, rows: Index) -> None:
        """Work out what serving at home will earn in the episodes that began at ``rows``."""
        if self._at_home is not None:
            self._at_home.begin(self.env.simulator, rows)

    def _first_seeds(self) -> int | list[int | None] | None:
        # On the device one generator draws all episodes.
        return self._seeds[0] if self.env.episodes == "device" else super()._first_seeds()

    def begin(self, last_steps: int | None = None) -> Float[Tensor, "B N"]:
        """Start new episodes everywhere, ``last_steps`` before their end (None: at their first step), on the device."""
        steps = self.env.compiled.shape.steps
        first = 0 if last_steps is None else max(steps - last_steps, 0)
        return cast(Tensor, self._started({"first_step": first}))

    def steps_left(self) -> Ints:
        """Return the steps left in each episode [B]."""
        return np.asarray(self.env.simulator.steps - self.env.simulator.t, dtype=np.int64)

    def totals(self) -> Float[Tensor, "B 3"]:
        """Return the totals of `TOTALS` in the episodes so far."""
        return torch.stack([self._last[f"episode/{name}"] for name in TOTALS], 1)

    def returns(self) -> Float[Tensor, " B"]:
        """Return what the episodes earned so far, as learned from."""
        return self._returns

    # Steps ---------------------------------------------------------------------------------------

    def step_tensor(self, numbers: Tensor) -> tuple[Tensor, Tensor, Bools, EpisodeEnds | None]:
        """Advance all episodes by the agent's numbers [B,n] on the device.

        Return observations [B,N] (of the next episode where one ended) and rewards [B], float32, on the device;
        which episodes ended [B], on the host; and their ends (None where none ended).
        """
        simulator = self.env.simulator
        terminates = simulator.t + 1 >= simulator.steps
        at_home_usd = 0.0 if self._at_home is None else self._at_home.now_usd(simulator)
        observation, earned, _, _, infos = self.env.step(self.actions.expand(numbers))
        self._last = infos
        rewards = self.learned_from(earned, at_home_usd, infos, observation)
        self._returns = self._returns + rewards.detach()
        self._lengths = self._lengths + 1

        dones = self.env.simulator.t == 0  # a step leads to 1 at least, but for what began anew
        ended = self._ends(dones, terminates, infos) if dones.any() else None
        observation = self.remembering.go_on(observation, dones)
        return observation, rewards.float(), dones, ended

    def _ends(self, dones: Bools, terminates: Bools, infos: dict[str, Any]) -> EpisodeEnds:
        """Return what ended in the step just made, and begin to count the next episodes there."""
        rows = np.flatnonzero(dones)
        at = moved(rows, self.device)
        totals = [infos["final_info"][f"episode/{name}"] for name in TOTALS]
        truncated = ~terminates[rows]

        ends = EpisodeEnds(
            rows=rows,
            truncated=truncated,
            whole=(self._begun_at[rows] == 0) & ~truncated,
            lengths=self._lengths[rows],
            final_obs=self.remembering.last(infos["final_obs"][at], rows),
            figures=torch.stack([self._returns, *totals], 1)[at],
        )

        self._returns = self._returns * moved(~dones, self.device)
        self._lengths, self._begun_at = self._lengths * ~dones, self._begun_at * ~dones
        self._look_ahead(rows)
        return ends

    def step_wait(self) -> tuple[Float[Floats32, "B N"], Float[Floats32, " B"], Bools, list[dict[str, Any]]]:
        """Advance all episodes; ended ones come back with the first observation of their next episode."""
        assert self._actions is not None, "step_async comes first"
        numbers = moved(self._actions, self.device)
        with torch.no_grad():
            observation, rewards, dones, ended = self.step_tensor(numbers)

        own: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        if ended is not None:
            final, figures = self._as_array(ended.final_obs), ended.figures.tolist()
            for k, i in enumerate(ended.rows):
                earned, *totals = figures[k]
                length, truncated = int(ended.lengths[k]), bool(ended.truncated[k])
                own[i] = self._info(final[k], truncated, earned, length, totals if ended.whole[k] else [])
        return self._as_array(observation), self._as_array(rewards), dones, own

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
        # Restored, not recomputed: in a batch of another size the last bit could differ.
        if self._at_home is not None:
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


def _moved(value: Any, device: torch.device) -> Any:
    """Return nested tables and records with their tensors on another device."""
    if isinstance(value, torch.Tensor):
        return value.to(device)
    if isinstance(value, Record):
        return value.map(lambda field: _moved(field, device))
    if isinstance(value, dict):
        return {key: _moved(item, device) for key, item in value.items()}
    return value
