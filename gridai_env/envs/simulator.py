"""A batch of B episodes of one scenario, advanced together: ``state, action -> flows -> state', outcome``.

The simulator knows nothing of rewards, observations or Gymnasium.  Row i of a batch is that episode alone, bit for
bit.  Episodes may stand at different steps.
"""

from __future__ import annotations

from operator import itemgetter
from typing import Any

import numpy as np

from gridai_env.arrays.ops import all_zero, batch_innermost
from gridai_env.arrays.types import AnyFloats, Bool, Bools, Index
from gridai_env.episodes.instance import InstanceBatch
from gridai_env.world import physics
from gridai_env.world.actions import Layout, decode
from gridai_env.world.feasible import project_load
from gridai_env.world.state import INSTANCE_FIELDS, Exogenous, Flows, Outcome, Params, State
from gridai_env.world.terms import settle


def play(
    p: Params, layout: Layout, state: State, exo: Exogenous, action: Any
) -> tuple[State, Flows, Outcome]:
    """Play one step, for arrays and tensors: an action [B,A] in [-1, 1] becomes flows, these the next state."""
    flows, load = project_load(p, state, exo, decode(p, layout, action))
    after, outcome = advance(p, state, exo, flows, load)
    return after, flows, outcome


def advance(
    p: Params, state: State, exo: Exogenous, flows: Flows, load: physics.Load | None = None
) -> tuple[State, Outcome]:
    """Return next state and outcome (terms, loads, emissions) of feasible flows."""
    xp = p.xp
    # Most steps start no job: then the profile of running jobs is what it was.
    committed = state.committed_gpus if all_zero(flows.started) else None
    sums = physics.totals(p, flows, exo, state, load, committed)
    outcome = settle(p, state, flows, exo, sums)
    after = physics.next_state(p, state, flows, exo, sums)

    # Rounding may exceed a bound by 1e-16 of its size; balances close to within the same.
    after = after.replace(
        backlog_gpuh=xp.minimum(xp.maximum(after.backlog_gpuh, 0.0), exo.queue_limit_gpuh),
        committed_gpus=after.committed_gpus
        if committed is not None
        else batch_innermost(after.committed_gpus),
        battery_mwh=xp.minimum(xp.maximum(after.battery_mwh, p.battery_min_mwh), p.battery_max_mwh),
    )
    return after, outcome


class Simulator:
    """Steps a batch of instances.  `state`, `exogenous` and `t` [B] describe where each episode stands."""

    def __init__(self, batch: InstanceBatch) -> None:
        """Put every episode of ``batch`` at its first step."""
        self.layout = Layout(batch.compiled.shape)
        self.steps = batch.compiled.shape.steps
        self._series = batch.exogenous
        self.params: Params = batch.params.replace(
            **{name: batch_innermost(getattr(batch.params, name)) for name in INSTANCE_FIELDS}
        )
        self.state: State = batch.initial.map(batch_innermost)
        self.t = np.zeros(len(batch), dtype=np.intp)
        self.exogenous = self._exogenous_at(self.t)

    def _exogenous_at(self, t: Index) -> Exogenous:
        """Return the exogenous inputs of step ``t`` [B]; past the end those of the last step, which nobody uses."""
        rows = len(t)
        step: Any = min(int(t[0]), self.steps - 1)
        where: Any = slice(None)
        if rows > 1 and (t != t[0]).any():
            where, step = np.arange(rows), np.minimum(t, self.steps - 1)

        now = self._series.map(itemgetter((where, step)))
        # Copied with the batch axis innermost: all that is computed from these arrays lies so, too.
        return now if rows == 1 else now.map(batch_innermost)

    def step(self, action: AnyFloats) -> tuple[Flows, Outcome]:
        """Advance every episode by one action [B,A] in [-1, 1]."""
        self.state, flows, outcome = play(self.params, self.layout, self.state, self.exogenous, action)
        self._go_on()
        return flows, outcome

    def step_flows(self, flows: Flows) -> tuple[Flows, Outcome]:
        """Advance every episode by flows [B,...] that are feasible already."""
        self.state, outcome = advance(self.params, self.state, self.exogenous, flows)
        self._go_on()
        return flows, outcome

    def _go_on(self) -> None:
        self.t = self.t + 1
        self.exogenous = self._exogenous_at(self.t)

    @property
    def done(self) -> Bool[Bools, " B"]:
        """Which episodes have reached the end of their horizon [B]."""
        return self.t >= self.steps

    def replace(self, rows: Index, batch: InstanceBatch) -> None:
        """Put new episodes at the places ``rows``, each at its first step."""
        for name in INSTANCE_FIELDS:
            getattr(self.params, name)[rows] = getattr(batch.params, name)

        if len(rows) == len(self.t):  # nothing of the old episodes stays
            order = np.argsort(rows)
            in_order = (order == np.arange(len(rows))).all()
            self._series = batch.exogenous if in_order else batch.exogenous.map(itemgetter(order))
        else:
            self._series = self._series.map(np.copy)
            for name in Exogenous.names():
                getattr(self._series, name)[rows] = getattr(batch.exogenous, name)

        state = self.state.map(batch_innermost)
        for name in State.names():
            getattr(state, name)[rows] = getattr(batch.initial, name)
        self.state = state
        self.t = self.t.copy()
        self.t[rows] = 0
        self.exogenous = self._exogenous_at(self.t)

    def get_state(self) -> dict[str, Any]:
        """Return the state and step of every episode, as copies."""
        return {"state": self.state.map(np.array), "t": self.t.copy()}

    def set_state(self, snapshot: dict[str, Any]) -> None:
        """Put back what `get_state` gave, for the same instances."""
        self.state = snapshot["state"].map(np.array)
        self.t = snapshot["t"].copy()
        self.exogenous = self._exogenous_at(self.t)
