"""A batch of B episodes of one scenario, advanced together: ``state, action -> flows -> state', outcome``.

NumPy arrays or tensors: the equations do not care.  The simulator knows nothing of rewards or Gymnasium.  Row i of a
batch is that episode alone, on NumPy bit for bit.  Episodes may stand at different steps.  Time is known on the host,
and no branch depends on a number of a tensor, so that nothing in a step waits for a device.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from functools import reduce
from operator import or_
from typing import Any, Self, TypeVar, cast

import numpy as np

from gridai_env.arrays.ops import (
    all_zero,
    batch_first,
    batch_innermost,
    batch_last,
    copied,
    namespace,
    room,
    zeros,
)
from gridai_env.arrays.record import Record
from gridai_env.arrays.types import Array, Bool, Bools, Float, Index
from gridai_env.envs.episode_arrays import EpisodeArrays
from gridai_env.envs.prepared import Prepared, prepare
from gridai_env.envs.ring import Ring, plan, put
from gridai_env.envs.step_figures import figures_of
from gridai_env.episodes.instance import InstanceBatch, same_constants
from gridai_env.observation.layout import ObservationLayout
from gridai_env.scenario.compile import Compiled
from gridai_env.world import physics
from gridai_env.world.actions import Layout, decode
from gridai_env.world.feasible import project_load
from gridai_env.world.state import INSTANCE_FIELDS, Exogenous, Flows, Outcome, Params, State
from gridai_env.world.terms import settle

R = TypeVar("R", bound=Record)
# Runs a function of flat lists of arrays in another way (compiled): the function, the batch axes of its arguments.
Wrap = Callable[[Callable[..., list[Array]], tuple[int, ...]], Callable[..., list[Array]]]


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
    """Steps B episodes.  `state` and `exogenous` [B,...] describe where they stand, `t` [B] (on the host) says when.

    Differentiable on tensors: where the state or the actions require gradients, flows, outcome and the next state
    carry them.  Nothing is written in place to an array that was given out, but for `exogenous`: views that hold until
    other episodes begin.
    """

    def __init__(
        self, episodes: InstanceBatch | EpisodeArrays, observed: ObservationLayout | None = None
    ) -> None:
        """Put each of the episodes at its first step; ``observed``: see `room_for`."""
        arrays = EpisodeArrays.of(episodes) if isinstance(episodes, InstanceBatch) else episodes
        self._open(arrays.compiled, len(arrays), arrays.like, observed)
        self.begin(np.arange(len(arrays)), self.prepare(arrays))

    @classmethod
    def room_for(
        cls,
        compiled: Compiled,
        num_envs: int,
        like: Array,
        observed: ObservationLayout | None = None,
        wrap: Wrap | None = None,
    ) -> Self:
        """Make room for ``num_envs`` episodes beside an array; `begin` must bring them all before the first step.

        ``observed``: keep also what observations of this layout need.  ``wrap``: computes figures in another way.
        """
        simulator = object.__new__(cls)
        simulator._open(compiled, num_envs, like, observed, wrap)
        return simulator

    def _open(
        self,
        compiled: Compiled,
        num_envs: int,
        like: Array,
        observed: ObservationLayout | None,
        wrap: Wrap | None = None,
    ) -> None:
        self.compiled, self.layout, self.num_envs = compiled, Layout(compiled.shape), num_envs
        self.steps, self.observed = compiled.shape.steps, observed
        self.ring = Ring(plan(compiled, observed), compiled.shape, num_envs, like)
        self.jobs = room((0,), like)  # features [J+1,5+K,B], where they are observed
        self.t = np.zeros(num_envs, dtype=np.intp)
        self.params: Params
        self.constants: Params  # of NumPy
        self.state: State
        self._begun = False
        self._present: Exogenous | None = None
        self._before: tuple[Any, Array] | None = None  # state and actions of the step before

        at = (0, 0, -1, 0)  # the batch axis of state, instances, rows, actions
        self._figures_step = wrap(self.figures_flat, at) if wrap else None

    # Episodes ------------------------------------------------------------------------------------

    def prepare(self, episodes: EpisodeArrays) -> Prepared:
        """Return episodes in the form that `begin` takes."""
        return prepare(episodes, self.ring.columns, self.observed)

    def begin(self, rows: Index, episodes: Prepared, t: Index | None = None) -> None:
        """Put episodes at the places ``rows``, at their first steps or at steps ``t`` [b].

        An episode that begins midway has its sessions of the step before at home and nothing queued.  Raise ValueError
        where the constants of some differ from those of others that go on.
        """
        t = np.zeros(len(rows), dtype=np.intp) if t is None else t
        initial = episodes.midway(t)

        if not self._begun:
            self._make_room(episodes)

        # Where all environments begin anew, drop the older episodes.
        everyone = len(rows) == self.num_envs and (rows == np.arange(self.num_envs)).all()
        if everyone:
            self.params, self.constants = episodes.params, episodes.constants
            self.state, self.jobs, self._before = initial, episodes.jobs, None
        else:
            if not same_constants(self.constants, episodes.constants):
                raise ValueError(
                    "options['instances']: their constants were changed, while episodes with others go on beside them; "
                    "reset all environments with such instances"
                )
            old, new = _instance(self.params), _instance(episodes.params)
            fields = {name: _with(old[name], rows, new[name]) for name in INSTANCE_FIELDS}
            self.params = self.params.make(**self.params.__dict__ | fields)
            pairs = zip(arrays_of(self.state), arrays_of(initial), strict=True)
            self.state = record_of(State, [_with(one, rows, other) for one, other in pairs])
            if self.jobs.ndim > 1:
                self.jobs = copied(self.jobs)
                put(self.jobs, rows, episodes.jobs)

        if everyone and not t.any():
            episodes.write(self.ring.begin_anew())
        else:
            self.ring.write(rows, episodes.block, t)
        self.t = self.t.copy()
        self.t[rows] = t
        self._present = None

    def clear(self) -> None:
        """Forget the episodes: others are to come at all places, before the next step."""
        self._begun = False

    def _make_room(self, episodes: Prepared) -> None:
        """Make parameters and state of the right shapes, whose episodes are still to come."""

        def empty(x: Array) -> Array:
            return batch_first(zeros((*x.shape[1:], self.num_envs), x))

        fields = {name: empty(x) for name, x in _instance(episodes.params).items()}
        self.params = episodes.params.make(**episodes.params.__dict__ | fields)
        self.constants, self.state = episodes.constants, episodes.initial.map(empty)
        if episodes.jobs.ndim > 1:
            self.jobs = batch_last(empty(batch_first(episodes.jobs)))
        self._begun = True

    @property
    def exogenous(self) -> Exogenous:
        """Exogenous inputs of the present step, as views [B,...]; zero after the last one."""
        if self._present is None:
            self._present = self.ring.present()
        return self._present

    @property
    def done(self) -> Bool[Bools, " B"]:
        """Which episodes have reached the end of their horizon [B]."""
        return self.t >= self.steps

    def series(self, name: str) -> Float[Array, "T ... B"]:
        """Return one exogenous input of episodes that stand at the same step, in all their steps."""
        first = self.ring.row - int(self.t[0])
        rows = (first + np.arange(self.steps)) % len(self.ring.values)
        return self.ring.column(self.ring.values, name)[rows.tolist()]

    # Steps ---------------------------------------------------------------------------------------

    def step(self, actions: Array) -> tuple[Flows, Outcome]:
        """Advance every episode by one action [B,A] in [-1, 1]."""
        self._remember(actions)
        after, flows, outcome = play(self.params, self.layout, self.state, self.exogenous, actions)
        self.state = after.map(_in_order)
        self._go_on()
        return flows, outcome

    def step_flows(self, flows: Flows) -> tuple[Flows, Outcome]:
        """Advance every episode by flows [B,...] that are feasible already."""
        self.state, outcome = advance(self.params, self.state, self.exogenous, flows)
        self._before = None
        self._go_on()
        return flows, outcome

    def step_figures(self, actions: Array) -> tuple[Array, Array]:
        """Advance by one action; return the figures [len(KEYS),B] and where actions were invalid [B] bool."""
        if self._figures_step is None:
            before = self.exogenous
            flows, outcome = self.step(actions)
            return figures_of(self.params, self.state, before, flows, outcome), _are_wrong(actions)
        figures, wrong = self._take(self._figures_step(*self.inputs(), actions))
        self._go_on()
        return figures, wrong

    def _remember(self, actions: Array) -> None:
        """Keep what `last_step` needs; of tensors nothing, whose history would live on."""
        if isinstance(actions, np.ndarray):
            self._before = self._place(), np.array(actions)

    def _place(self) -> Any:
        """Return what `_state_at` makes the present state of."""
        return self.state

    def _state_at(self, place: Any) -> State:
        """Return the state that `_place` stood for."""
        return cast(State, place)

    def last_step(self) -> tuple[Flows, Outcome] | None:
        """Return flows and outcome of the last action, played again; None where there was none, and for tensors."""
        if self._before is None:
            return None
        place, actions = self._before
        row = self.ring.row
        exo = self.ring.fields(self.ring.values[row - 1], self.ring.values[row - 2])
        return play(self.params, self.layout, self._state_at(place), exo, actions)[1:]

    def look(self) -> Float[Array, "N B"] | None:
        """Return the observation of where the episodes stand, where the step has made it; it is handed out once."""
        return None

    def _go_on(self) -> None:
        self.ring.forward()
        self.t, self._present = self.t + 1, None

    def inputs(self) -> tuple[list[Array], list[Array], list[Array]]:
        """Return state, parameters of the instances, and the present row and the one before it."""
        rows = [self.ring.now(), self.ring.values[self.ring.row - 1]]
        return arrays_of(self.state), list(_instance(self.params).values()), rows

    def _take(self, found: list[Array]) -> list[Array]:
        """Keep the state, which comes first; return the rest."""
        self.state = record_of(State, found)
        return found[len(State.names()) :]

    def figures_flat(
        self, state: list[Array], instance: list[Array], rows: list[Array], actions: Array
    ) -> list[Array]:
        """Play one step of plain lists of arrays; return state, figures, wrong actions."""
        known = self.params.__dict__ | dict(zip(INSTANCE_FIELDS, instance, strict=True))
        p, exo = self.params.make(**known), self.ring.fields(*rows)
        played, flows, outcome = play(p, self.layout, record_of(State, state), exo, actions)
        after = played.map(_in_order)
        # Part by part, so that a kernel sees each number of an action once.
        parts = [part for part in self.layout.split(actions).values() if 0 not in part.shape]
        wrong = reduce(or_, map(_are_wrong, parts))
        return [*arrays_of(after), figures_of(p, after, exo, flows, outcome), wrong]

    def detach(self) -> None:
        """Detach the state from its history, so that gradients end here (of tensors)."""
        self.state = self.state.map(lambda x: x.detach())

    # Snapshots -----------------------------------------------------------------------------------

    def get_state(self) -> dict[str, Any]:
        """Return the state, step and ring position of every episode as copies, without the episodes themselves."""
        where = {"state": self.state.map(copied), "t": self.t.copy(), "row": self.ring.row}
        if self._before is None:
            return where | {"before": None}
        place, actions = self._before
        return where | {"before": (self._state_at(place).map(copied), actions.copy())}

    def set_state(self, snapshot: dict[str, Any], placed: bool = False) -> None:
        """Put back what `get_state` gave, for the same episodes, which stand in the ring as they did then.

        ``placed``: they were put there anew, at the steps of the snapshot.
        """
        like = self.ring.values
        self.state = snapshot["state"].map(lambda x: copied(x, like))
        self.t, self._present = snapshot["t"].copy(), None
        if not placed:
            self.ring.row = snapshot["row"]
        self._before = copy.deepcopy(snapshot["before"])


def arrays_of(record: Record) -> list[Array]:
    """Return the fields of a record in their order."""
    return [getattr(record, name) for name in record.names()]


def record_of(kind: type[R], arrays: Sequence[Array]) -> R:
    """Return the record whose fields are the first of ``arrays``."""
    return kind.make(**dict(zip(kind.names(), arrays, strict=False)))


def _instance(p: Params) -> dict[str, Array]:
    """Return the parameters that belong to the instances, [B,...] each."""
    return {name: getattr(p, name) for name in INSTANCE_FIELDS}


def _with(old: Array, rows: Index, new: Array) -> Float[Array, "B ..."]:
    """Return a copy of ``old`` [B,...] with other entries at ``rows``; the batch axis stays innermost."""
    fresh = room((*old.shape[1:], len(old)), old)
    fresh[...] = batch_last(old)
    put(fresh, rows, batch_last(new))
    return batch_first(fresh)


def _in_order(x: Array) -> Array:
    """Return a result with the batch axis innermost in memory; of NumPy it lies as what it comes from."""
    return x if isinstance(x, np.ndarray) else batch_innermost(x)


def _are_wrong(actions: Array) -> Bool[Array, " B"]:
    """Return where actions [B,...] are not in [-1, 1]."""
    return ~(namespace(actions).abs(actions) <= 1.0).all(tuple(range(1, actions.ndim)))
