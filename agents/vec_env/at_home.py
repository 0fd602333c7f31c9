"""The benefit at home of whole episodes, computed when they begin.

It depends on the exogenous input alone, which lies there for all steps of an episode.  Many steps at once need far
fewer calls than one after the other.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import torch

from agents.vec_env.home_reference import HomeReference
from gridai_env.arrays.ops import batch_first, batch_last, beside, namespace, zeros
from gridai_env.arrays.types import Array, Float, Index
from gridai_env.envs.batch_env import BatchEnv
from gridai_env.envs.ring import BEFORE, STORED, pick, put
from gridai_env.envs.simulator import Simulator, arrays_of
from gridai_env.envs.torch.compiled_step import Traced
from gridai_env.world.state import INSTANCE_FIELDS, Exogenous, Params

# Lanes (steps of episodes) computed at a time: on a CPU as many as its cache holds; on a GPU more would only need more
# memory.  Compiled code wants a fixed number and missing lanes are filled up, so fewer of them waste less.
AT_A_TIME, COMPILED_AT_A_TIME = {"cpu": 4_096, "cuda": 32_768}, {"cpu": 1_024, "cuda": 32_768}


class AtHome:
    """Benefit at home ``usd`` of every step [T+1,B], laid out like the ring of `gridai_env.envs.ring`."""

    def __init__(self, env: BatchEnv) -> None:
        self.usd = zeros((env.compiled.shape.steps + 1, env.num_envs), env.like)
        self._reference = HomeReference(env.compiled, env.like)
        lanes = COMPILED_AT_A_TIME if env.compiles else AT_A_TIME
        on_host = isinstance(env.like, np.ndarray)
        self._lanes = lanes.get("cpu" if on_host else env.like.device.type, lanes["cuda"])
        self._traced: Traced | None = None
        self._compiles = env.compiles

    def now_usd(self, simulator: Simulator) -> Float[Array, " B"]:
        """Return what serving at home earns in the present step of the simulator."""
        return self.usd[simulator.ring.row]

    def from_now_on(self, simulator: Simulator) -> Float[Array, "T+1 B"]:
        """Return a copy whose first row is the present step."""
        return namespace(self.usd).roll(self.usd, -simulator.ring.row, 0)

    def put_back(self, simulator: Simulator, usd: Float[Array, "T+1 B"]) -> None:
        """Put back what `from_now_on` gave."""
        self.usd = namespace(usd).roll(usd, simulator.ring.row, 0)

    @torch.no_grad()
    def begin(self, simulator: Simulator, rows: Index) -> None:
        """Compute all steps of the episodes that began at the places ``rows``."""
        for first in range(0, len(rows), self._lanes):
            some = rows[first : first + self._lanes]
            put(self.usd, some, self._usd_of(simulator, some))

    def _usd_of(self, simulator: Simulator, rows: Index) -> Float[Array, "T+1 n"]:
        """Return the benefit at home of the episodes at the places ``rows``."""
        series = pick(simulator.ring.values, rows)  # [T+1,M,n]
        at = beside(rows, series)
        own = [getattr(simulator.params, name)[at] for name in INSTANCE_FIELDS]
        ring, xp = simulator.ring, namespace(series)
        now = {name: series[:, ring.columns[name].place] for name in STORED}
        before = {name: xp.roll(series[:, ring.columns[name].place], 1, 0) for name in BEFORE}

        def lanes(some: dict[str, Array], steps: slice) -> dict[str, Array]:
            return {name: _lanes(x[steps], ring.columns[name].shape) for name, x in some.items()}

        together = self._lanes // len(rows)
        parts = []
        for first in range(0, len(series), together):
            steps = slice(first, first + together)
            world = arrays_of(ring.exogenous(lanes(now, steps), lanes(before, steps)))
            each = [_repeated(value, len(series[steps])) for value in own]
            parts.append(self._found(simulator.params, each, world).reshape(-1, len(rows)))
        return xp.concatenate(parts)

    def _found(self, known: Params, own: list[Array], world: list[Array]) -> Array:
        """Return the benefit [b] of b lanes, from their instances' parameters and exogenous inputs."""
        if not self._compiles:
            return self._benefit(known, own, world)[0]
        if self._traced is None:
            self._traced = Traced(partial(self._benefit, known), (0, 0))

        missing = self._lanes - len(own[0])
        filled = [[_filled_up(x, missing) for x in fields] for fields in (own, world)]
        return self._traced(*filled)[0][: len(own[0])]

    def _benefit(self, known: Params, own: list[Array], world: list[Array]) -> list[Array]:
        params = Params.make(**known.__dict__ | dict(zip(INSTANCE_FIELDS, own, strict=True)))
        exogenous = Exogenous.make(**dict(zip(Exogenous.names(), world, strict=True)))
        return [self._reference.benefit_usd(params, exogenous)]


def _lanes(columns: Float[Array, "t m n"], shape: tuple[int, ...]) -> Array:
    """Return one field of n episodes in t steps, [t*n,*shape]; the batch axis innermost."""
    steps, _, count = columns.shape
    inner = namespace(columns).moveaxis(columns, 0, 1)
    return batch_first(inner.reshape(*shape, steps * count))


def _repeated(x: Float[Array, "n ..."], times: int) -> Array:
    """Repeat ``x`` one after the other, [times*n,...], the batch axis innermost in memory."""
    spread = namespace(x).broadcast_to(batch_last(x)[..., None, :], (*x.shape[1:], times, len(x)))
    return batch_first(spread.reshape(*x.shape[1:], times * len(x)))


def _filled_up(x: Float[Array, "b ..."], missing: int) -> Array:
    """Return ``x`` with its last entry repeated ``missing`` times; the batch axis innermost in memory."""
    inner, xp = batch_last(x), namespace(x)
    rest = xp.broadcast_to(inner[..., -1:], (*inner.shape[:-1], missing))
    return batch_first(xp.concatenate([inner, rest], -1))
