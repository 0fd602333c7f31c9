"""Observations with the agent's memory appended, for environments and for single decisions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from gridai_env.arrays.types import Bools, Floats32, Index
from gridai_env.observation.layout import BOUND

A = TypeVar("A", Floats32, Tensor)


def extended(space: spaces.Box, size: int) -> spaces.Box:
    """Return the space of observations [N] with ``size`` remembered numbers behind them."""
    more = np.full(size, BOUND, dtype=np.float32)
    return spaces.Box(
        np.concatenate([space.low, -more]), np.concatenate([space.high, more]), dtype=np.float32
    )


class Memory(Protocol):
    """The memory of earlier observations that a network reads (see `agents.structured.forecast_memory`)."""

    size: int

    def update(self, memory: Tensor | None, observation: Tensor, fresh: Tensor | None = None) -> Tensor:
        """Return the memory [B,M] after an observation [B,N]; ``fresh`` [B]: rows that begin anew."""

    def along(self, observations: Tensor, lengths: Sequence[int]) -> Tensor:
        """Return the memories [n,M] along whole episodes of observations [n,N], one episode after the other."""

    def to(self, device: torch.device | str) -> Any:
        """Move the constants to a device and return the memory."""


class ObservationMemory:
    """The memory of a batch of episodes; without a memory, observations pass as they are."""

    def __init__(self, memory: Memory | None) -> None:
        self.memory = memory
        self.state: Tensor | None = None

    @property
    def size(self) -> int:
        """Number of entries appended, M."""
        return 0 if self.memory is None else self.memory.size

    def begin(self, observation: A) -> A:
        """Return the first observations [B,N+M] of episodes that all begin now."""
        self.state = None
        return self.go_on(observation, None)

    def go_on(self, observation: A, fresh: Bools | None) -> A:
        """Return the next observations [B,N+M]; ``fresh`` [B]: episodes that begin with them."""
        if self.memory is None:
            return observation
        seen = torch.as_tensor(observation)
        # In most steps no episode begins, and an empty mask would cost a copy to the device.
        begun = None if fresh is None or not fresh.any() else torch.as_tensor(fresh, device=seen.device)
        with torch.no_grad():
            self.state = self.memory.update(self.state, seen, begun)
        return _alike(torch.cat([seen, self.state], 1), observation)

    def last(self, observation: A, rows: Index) -> A:
        """Return the last observations [n,N+M] of the episodes ``rows``, before the next ones begin."""
        if self.memory is None:
            return observation
        seen = torch.as_tensor(observation)
        assert self.state is not None
        with torch.no_grad():
            after = self.memory.update(self.state[torch.as_tensor(rows, device=seen.device)], seen)
        return _alike(torch.cat([seen, after], 1), observation)


def _alike(x: Tensor, like: A) -> A:
    return x.numpy() if isinstance(like, np.ndarray) else x
