"""A batch of B episodes of one scenario, advanced together: ``state, action -> flows -> state', outcome``.

The simulator knows nothing of rewards, observations or Gymnasium.  Row i of a batch is that episode alone, bit for
bit.  Episodes may stand at different steps.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gridai_env import physics
from gridai_env.actions import Layout, decode
from gridai_env.arrays import batch_innermost
from gridai_env.feasible import project
from gridai_env.instance import InstanceBatch
from gridai_env.state import INSTANCE_FIELDS, Exogenous, Flows, Outcome, Params, State
from gridai_env.terms import settle

Rows = NDArray[np.intp]


class Simulator:
    """Steps a batch of instances.  `state`, `exogenous` and `t` [B] describe where each episode stands."""

    def __init__(self, batch: InstanceBatch) -> None:
        """Put every episode of ``batch`` at its first step."""
        self.layout = Layout(batch.compiled.shape)
        self.steps = batch.compiled.shape.steps
        self._fields = self._places(batch.exogenous)
        self._data = self._pack(batch.exogenous)
        self.params: Params = batch.params.replace(
            **{name: batch_innermost(getattr(batch.params, name)) for name in INSTANCE_FIELDS}
        )
        self.state: State = batch.initial.map(batch_innermost)
        self.t = np.zeros(len(batch), dtype=np.intp)
        self.exogenous = self._exogenous_at(self.t)

    @staticmethod
    def _places(exogenous: Exogenous) -> list[tuple[str, slice, tuple[int, ...], tuple[int, ...]]]:
        """Name, place in the packed block, shape with the batch axis last, and the order that brings it first."""
        places, start = [], 0
        for name in Exogenous.names():
            tail = getattr(exogenous, name).shape[2:]
            size = prod(tail)
            order = (len(tail), *range(len(tail)))
            places.append((name, slice(start, start + size), (*tail, -1), order))
            start += size
        return places

    @staticmethod
    def _pack(exogenous: Exogenous) -> NDArray[np.float64]:
        """All exogenous arrays as one [T,F,B] block: a step reads one slice, with the batch axis innermost."""
        fields = [getattr(exogenous, name) for name in Exogenous.names()]
        flat = [field.reshape(*field.shape[:2], -1) for field in fields]
        return np.ascontiguousarray(np.concatenate(flat, axis=-1, dtype=np.float64).transpose(1, 2, 0))

    def _exogenous_at(self, t: NDArray[np.intp]) -> Exogenous:
        """Exogenous input of step ``t`` [B]; past the end the last step stands (nothing is done with it)."""
        first = min(int(t[0]), self.steps - 1)
        if len(t) == 1 or (t == t[0]).all():
            block = self._data[first]
        else:
            block = np.ascontiguousarray(self._data[np.minimum(t, self.steps - 1), :, np.arange(len(t))].T)
        sizes = len(t)
        return Exogenous(
            *[block[where].reshape(*shape[:-1], sizes).transpose(order) for _, where, shape, order in self._fields]
        )

    def step(self, action: NDArray[np.floating]) -> tuple[Flows, Outcome]:
        """Advance every episode by one action [B,A] in [-1, 1]."""
        request = decode(self.params, self.layout, action)
        return self.step_flows(project(self.params, self.state, self.exogenous, request))

    def step_flows(self, flows: Flows) -> tuple[Flows, Outcome]:
        """Advance every episode by flows [B,...] that are feasible already."""
        p, state, exo = self.params, self.state, self.exogenous
        sums = physics.totals(p, flows, exo, state)
        outcome = settle(p, state, flows, exo, sums)
        after = physics.next_state(p, state, flows, exo, sums)
        # Rounding alone may leave a bound by 1e-16 of its size; the books stay closed to that.
        self.state = after.replace(
            backlog_gpuh=np.maximum(after.backlog_gpuh, 0.0),
            battery_mwh=np.minimum(np.maximum(after.battery_mwh, p.battery_min_mwh), p.battery_max_mwh),
        )
        self.t = self.t + 1
        self.exogenous = self._exogenous_at(self.t)
        return flows, outcome

    @property
    def done(self) -> NDArray[np.bool_]:
        """Which episodes have reached the end of their horizon [B]."""
        return self.t >= self.steps

    def replace(self, rows: Rows, batch: InstanceBatch) -> None:
        """Put new episodes at the places ``rows``, each at its first step."""
        for name in INSTANCE_FIELDS:
            getattr(self.params, name)[rows] = getattr(batch.params, name)
        self._data[:, :, rows] = self._pack(batch.exogenous)
        state = self.state.map(batch_innermost)
        for name in State.names():
            getattr(state, name)[rows] = getattr(batch.initial, name)
        self.state = state
        self.t = self.t.copy()
        self.t[rows] = 0
        self.exogenous = self._exogenous_at(self.t)

    def get_state(self) -> dict[str, Any]:
        """Where every episode stands, as copies."""
        return {"state": self.state.map(np.array), "t": self.t.copy()}

    def set_state(self, snapshot: dict[str, Any]) -> None:
        """Put back what `get_state` gave, for the same instances."""
        self.state = snapshot["state"].map(np.array)
        self.t = snapshot["t"].copy()
        self.exogenous = self._exogenous_at(self.t)
