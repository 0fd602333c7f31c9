"""What serving at home earns, worked out for whole episodes when they begin.

It depends on the exogenous input alone, which lies on the device for all steps of an episode.  Many steps at once
cost far fewer calls than one after the other.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from agents.reference import HomeReference
from gridai_env.device.simulator import DeviceSimulator
from gridai_env.device.vector_env import GridAITorchVectorEnv
from gridai_env.state import INSTANCE_FIELDS, Params

Tensor = torch.Tensor

# Steps of episodes (environments times steps) worked out at a time: more would only need more memory.
AT_A_TIME = 32_768


class AtHome:
    """`usd`: benefit at home of every step [T+1,B], laid out like the ring of `gridai_env.device.ring`."""

    def __init__(self, env: GridAITorchVectorEnv) -> None:
        self._compiled, self._like = env.compiled, torch.zeros(0, dtype=env.dtype, device=env.device)
        self.usd = self._like.new_zeros((env.compiled.shape.steps + 1, env.num_envs))
        self._references: dict[int, HomeReference] = {}  # by the number of steps at a time

    def now_usd(self, simulator: DeviceSimulator) -> Tensor:
        """Return what serving at home earns in the step that the simulator stands at [B]."""
        return self.usd[simulator.ring.row]

    @torch.no_grad()
    def begin(self, simulator: DeviceSimulator, rows: NDArray[np.intp]) -> None:
        """Work out all steps of the episodes that began at the places ``rows``."""
        at = torch.as_tensor(rows, device=self._like.device)
        series = simulator.ring.values[:, :, at]  # [T+1,M,n]
        own = {name: getattr(simulator.params, name)[at] for name in INSTANCE_FIELDS}
        together = max(AT_A_TIME // len(rows), 1)
        parts = [
            self._usd_of(simulator, series[first : first + together], own)
            for first in range(0, len(series), together)
        ]
        self.usd = self.usd.index_copy(1, at, torch.cat(parts))

    def _usd_of(self, simulator: DeviceSimulator, series: Tensor, own: dict[str, Tensor]) -> Tensor:
        """Benefit at home [t,n] of t steps of n episodes, from the columns [t,M,n] of the ring."""
        steps, _, count = series.shape
        lanes = series.movedim(1, 0).reshape(series.shape[1], steps * count)
        each = {name: _repeated(value, steps) for name, value in own.items()}
        params = Params.make(**simulator.params.__dict__ | each)
        reference = self._reference(steps * count)
        found: Tensor = reference.benefit_usd(params, simulator.ring.fields(lanes))
        return found.reshape(steps, count)

    def _reference(self, lanes: int) -> HomeReference:
        if lanes not in self._references:
            if len(self._references) > 8:  # staggered resets come in many sizes
                self._references.clear()
            self._references[lanes] = HomeReference(self._compiled, lanes, self._like)
        return self._references[lanes]


def _repeated(x: Tensor, times: int) -> Tensor:
    """``x`` [n,...] one after the other, [times*n,...], the batch axis innermost in memory."""
    spread = x.movedim(0, -1)[..., None, :].expand(*x.shape[1:], times, len(x))
    return spread.reshape(*x.shape[1:], times * len(x)).movedim(-1, 0)
