"""The numbers that a network chooses: active entries of the action, also as tensors and as saved with weights."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property
from typing import Protocol, TypeVar

import numpy as np
import torch

from gridai_env.arrays.types import Array, Float, Floats32
from gridai_env.envs import action_space


class AgentActions(Protocol):
    """The numbers [n] that a network chooses, and what they mean for the environment."""

    @property
    def low(self) -> float | Float[Floats32, " n"]:
        """Least value of the numbers, one for all or [n]."""

    @property
    def high(self) -> float | Float[Floats32, " n"]:
        """Greatest value of the numbers, one for all or [n]."""

    @property
    def size(self) -> int:
        """How many numbers there are, n."""

    @property
    def start(self) -> Float[Floats32, " n"]:
        """The numbers that learning starts from."""

    def expand(self, actions: Float[Array, "*batch n"]) -> Float[Array, "*batch A"]:
        """Return the environment's actions for the numbers; a tensor for a tensor."""


Numbers = TypeVar("Numbers", Floats32, torch.Tensor)


@dataclass(frozen=True, eq=False)
class ActiveActions(action_space.ActiveActions):
    """The active entries of a scenario for numbers that may be tensors."""

    @classmethod
    def read(cls, saved: dict[str, list[float]]) -> ActiveActions:
        """Return what `as_dict` has written."""
        index, source = (np.array(saved[name], dtype=np.intp) for name in ("index", "source"))
        default, base, factor = (np.array(saved[name], np.float32) for name in ("default", "base", "factor"))
        return cls(index, default, source, base, factor)

    def as_dict(self) -> dict[str, list[float]]:
        """Return plain lists, to be saved with the weights."""
        return {field.name: getattr(self, field.name).tolist() for field in fields(self)}

    def expand(self, actions: Numbers) -> Numbers:
        """Return the environment's actions [...,A] for the agent's numbers [...,n]; a tensor for a tensor.

        Tensors stay on their device; gradients pass where nothing was cut.
        """
        if isinstance(actions, torch.Tensor):
            return self._expand_tensor(actions)
        return super().expand(actions)

    def _expand_tensor(self, actions: torch.Tensor) -> torch.Tensor:
        index, default, source, base, factor = self._tensors(actions.device)
        moved = torch.clamp(base + factor * actions[..., source], -1.0, 1.0)
        return default.expand(*actions.shape[:-1], -1).index_copy(-1, index, moved.to(default.dtype))

    def _tensors(self, device: torch.device) -> list[torch.Tensor]:
        """Return the fields on a device, copied there once."""
        if device not in self._copies:
            self._copies[device] = [
                torch.as_tensor(getattr(self, f.name), device=device) for f in fields(self)
            ]
        return self._copies[device]

    @cached_property
    def _copies(self) -> dict[torch.device, list[torch.Tensor]]:
        return {}
