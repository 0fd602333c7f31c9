"""The benefit at home of whole episodes, computed when they begin.

It depends on the exogenous input alone, which lies on the device for all steps of an episode.  Many steps at once
need far fewer kernel calls than one after the other.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from agents.vec_env.home_reference import HomeReference
from gridai_env.arrays.torch_ops import moved
from gridai_env.arrays.types import Float, Index
from gridai_env.envs.ring import RingColumn, pick
from gridai_env.envs.simulator import Simulator
from gridai_env.envs.torch.compiled_step import Traced
from gridai_env.envs.torch.vector_env import GridAITorchVectorEnv
from gridai_env.world.state import INSTANCE_FIELDS, Exogenous, Params

# Lanes (steps of episodes) computed at a time: on a CPU as many as its cache holds; on a GPU more would only need more
# memory.  Compiled code wants a fixed number and missing lanes are filled up, so fewer of them waste less.
AT_A_TIME, COMPILED_AT_A_TIME = {"cpu": 4_096, "cuda": 32_768}, {"cpu": 1_024, "cuda": 32_768}


class AtHome:
    """Benefit at home ``usd`` of every step [T+1,B], laid out like the ring of `gridai_env.envs.ring`."""

    def __init__(self, env: GridAITorchVectorEnv) -> None:
        like = torch.zeros(0, dtype=env.dtype, device=env.device)
        self.usd = like.new_zeros((env.compiled.shape.steps + 1, env.num_envs))
        self._reference = HomeReference(env.compiled, 1, like)  # one request is broadcast to all lanes
        lanes = COMPILED_AT_A_TIME if env.compiles else AT_A_TIME
        self._lanes = lanes.get(env.device.type, lanes["cuda"])
        self._traced: Traced | None = None
        self._compiles = env.compiles

    def now_usd(self, simulator: Simulator) -> Float[Tensor, " B"]:
        """Return what serving at home earns in the present step of the simulator."""
        return self.usd[simulator.ring.row]

    @torch.no_grad()
    def begin(self, simulator: Simulator, rows: Index) -> None:
        """Compute all steps of the episodes that began at the places ``rows``."""
        for first in range(0, len(rows), self._lanes):
            some = rows[first : first + self._lanes]
            at = moved(some, self.usd.device)
            self.usd = self.usd.index_copy(1, at, self._usd_of(simulator, some, at))

    def _usd_of(self, simulator: Simulator, rows: Index, at: Tensor) -> Float[Tensor, "T+1 n"]:
        """Return the benefit at home of the episodes at the places ``rows``."""
        series = pick(simulator.ring.values, rows)  # [T+1,M,n]
        own = [getattr(simulator.params, name)[at] for name in INSTANCE_FIELDS]
        columns = [simulator.ring.columns[name] for name in Exogenous.names()]

        together = self._lanes // len(rows)
        parts = []
        for first in range(0, len(series), together):
            some = series[first : first + together]
            world = [_lanes(some, column) for column in columns]
            each = [_repeated(value, len(some)) for value in own]
            parts.append(self._found(simulator.params, each, world).reshape(len(some), len(rows)))
        return torch.cat(parts)

    def _found(self, known: Params, own: list[Tensor], world: list[Tensor]) -> Tensor:
        """Return the benefit [b] of b lanes, from their instances' parameters and exogenous inputs."""
        if not self._compiles:
            return self._benefit(known, own, world)[0]
        if self._traced is None:
            self._traced = Traced(partial(self._benefit, known), (0, 0))

        missing = self._lanes - len(own[0])
        filled = [[_filled_up(x, missing) for x in fields] for fields in (own, world)]
        return self._traced(*filled)[0][: len(own[0])]

    def _benefit(self, known: Params, own: list[Tensor], world: list[Tensor]) -> list[Tensor]:
        params = Params.make(**known.__dict__ | dict(zip(INSTANCE_FIELDS, own, strict=True)))
        exogenous = Exogenous.make(**dict(zip(Exogenous.names(), world, strict=True)))
        return [self._reference.benefit_usd(params, exogenous)]


def _lanes(series: Tensor, column: RingColumn) -> Tensor:
    """Return one field of n episodes in t steps, [t*n,...], from columns [t,M,n]; the batch axis innermost."""
    steps, _, count = series.shape
    inner = series[:, column.place].movedim(0, 1)
    return inner.reshape(*column.shape, steps * count).movedim(-1, 0)


def _repeated(x: Tensor, times: int) -> Tensor:
    """Repeat ``x`` [n,...] one after the other, [times*n,...], the batch axis innermost in memory."""
    spread = x.movedim(0, -1)[..., None, :].expand(*x.shape[1:], times, len(x))
    return spread.reshape(*x.shape[1:], times * len(x)).movedim(-1, 0)


def _filled_up(x: Tensor, missing: int) -> Tensor:
    """Return ``x`` [b,...] with its last entry repeated ``missing`` times; the batch axis innermost in memory."""
    inner = x.movedim(0, -1)
    return torch.cat([inner, inner[..., -1:].expand(*inner.shape[:-1], missing)], -1).movedim(-1, 0)
