"""Decisions for one environment, recorded: the same operations, without what it costs to call them from Python.

A single decision is more than a thousand small operations, and calling one takes longer than doing it.  Once enough
decisions were asked for, they are recorded as a graph (TorchScript), with the weights as they are then; when the
weights change, they are recorded again.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

Tensor = torch.Tensor
Decision = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]

WORTH_IT = 100  # decisions: recording takes as long as about so many
WARM_UP = 3


class Whole(nn.Module):
    """From an observation [B,N] and the memory [B,M] to the action [B,A] and the memory after it."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def forward(self, observation: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        """Decide without noise."""
        after = self.network.memory.update(memory, observation)
        numbers, _ = self.network.mean_numbers(torch.cat([observation, after], 1))
        return self.network.actions.expand(numbers), after


class Recorded:
    """Decisions of a network (a `StructuredPolicy` on the CPU) for one environment."""

    def __init__(self, network: nn.Module) -> None:
        self._network = network
        self._asked = 0
        self._versions: list[int] = []
        self._graph: Decision | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Everything but the graph, which is recorded again where it is needed."""
        return self.__dict__ | {"_graph": None, "_asked": 0}

    def __call__(self, observation: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        """Return the action [1,A] and the memory [1,M] after an observation [1,N]."""
        versions = [parameter._version for parameter in self._network.parameters()]
        if versions != self._versions:
            self._versions, self._graph, self._asked = versions, None, 0
        self._asked += 1
        if self._graph is None and self._asked > WORTH_IT:
            self._graph = self._record(observation, memory)
        with torch.inference_mode():
            return (self._graph or Whole(self._network))(observation, memory)

    def _record(self, observation: Tensor, memory: Tensor) -> Decision:
        """Record a copy of the network.

        What it decides on in Python (which parts a scenario has) does not depend on the observation; PyTorch warns that
        it might, and that it would rather compile, which takes minutes and a compiler.
        """
        network = copy.deepcopy(self._network).requires_grad_(False).eval()
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            traced = torch.jit.trace(Whole(network).eval(), (observation, memory), check_trace=False)
            graph: Decision = torch.jit.freeze(traced)
        with torch.inference_mode():
            for _ in range(WARM_UP):
                graph(observation, memory)
        return graph
