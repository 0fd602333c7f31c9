"""A batch of B episodes of one scenario, advanced together: ``state, action -> flows -> state', outcome``.

The simulator knows nothing of rewards, observations or Gymnasium.  Row i of a batch is that episode alone, bit for
bit.  Episodes may stand at different steps.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gridai_env import physics
from gridai_env.actions import Layout, decode
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
        self._tail_shapes = {name: getattr(batch.exogenous, name).shape[2:] for name in Exogenous.names()}
        self._data = self._pack(batch.exogenous)
        self.params: Params = batch.params.replace(
            **{name: np.array(getattr(batch.params, name)) for name in INSTANCE_FIELDS}
        )
        self.state: State = batch.initial.map(np.array)
        self.t = np.zeros(self._data.shape[1], dtype=np.intp)
        self.exogenous = self._exogenous_at(self.t)

    def _pack(self, exogenous: Exogenous) -> NDArray[np.float64]:
        """All exogenous arrays as one [T,B,F] block, so that a step reads one contiguous slice."""
        fields = [getattr(exogenous, name) for name in Exogenous.names()]
        flat = [np.swapaxes(field, 0, 1).reshape(field.shape[1], field.shape[0], -1) for field in fields]
        return np.ascontiguousarray(np.concatenate(flat, axis=-1), dtype=np.float64)

    def _exogenous_at(self, t: NDArray[np.intp]) -> Exogenous:
        """Exogenous input of step ``t`` [B]; past the end the last step stands (nothing is done with it)."""
        t = np.minimum(t, self.steps - 1)
        first = int(t[0])
        block = self._data[first] if (t == first).all() else self._data[t, np.arange(len(t))]
        fields, start = {}, 0
        for name, tail in self._tail_shapes.items():
            size = int(np.prod(tail, dtype=int))
            fields[name] = block[:, start : start + size].reshape((len(t), *tail))
            start += size
        return Exogenous(**fields)

    def step(self, action: NDArray[np.floating]) -> tuple[Flows, Outcome]:
        """Advance every episode by one action [B,A] in [-1, 1]."""
        request = decode(self.params, self.layout, action)
        return self.step_flows(project(self.params, self.state, self.exogenous, request))

    def step_flows(self, flows: Flows) -> tuple[Flows, Outcome]:
        """Advance every episode by flows [B,...] that are feasible already."""
        outcome = settle(self.params, self.state, flows, self.exogenous)
        after = physics.next_state(self.params, self.state, flows, self.exogenous)
        # Rounding alone may leave a bound by 1e-16 of its size; the books stay closed to that.
        self.state = after.replace(
            backlog_gpuh=np.maximum(after.backlog_gpuh, 0.0),
            battery_mwh=np.clip(after.battery_mwh, self.params.battery_min_mwh, self.params.battery_max_mwh),
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
        self._data[:, rows] = self._pack(batch.exogenous)
        state = self.state.map(np.array)
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
