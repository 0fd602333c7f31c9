"""A batch of episodes on one device, advanced together; the equations are those of `gridai_env.envs.simulator`.

Nothing in a step waits for the device: time is known on the host, and no branch depends on a number.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
import torch

from gridai_env.arrays.record import Record
from gridai_env.arrays.torch_ops import batch_innermost
from gridai_env.arrays.types import Float, Index
from gridai_env.envs.simulator import advance, play
from gridai_env.envs.step_figures import figures_of
from gridai_env.envs.torch.compiled_step import Traced
from gridai_env.envs.torch.episode_tensors import EpisodeTensors, Tensor
from gridai_env.envs.torch.prepared import Prepared, prepare
from gridai_env.envs.torch.ring import Ring, plan, put
from gridai_env.observation.layout import ObservationLayout
from gridai_env.scenario.compile import Compiled
from gridai_env.world.actions import Layout
from gridai_env.world.state import INSTANCE_FIELDS, Exogenous, Flows, Outcome, Params, State
from gridai_env.world.terms import TERMS

R = TypeVar("R", bound=Record)

_SUMMARY = tuple(name for name in Outcome.names() if name != "terms_usd")


class TorchSimulator:
    """Steps B episodes.  `state` and `exogenous` [B,...] are tensors; `t_host` [B] (NumPy) are their steps.

    Differentiable: where the state or the actions require gradients, flows, outcome and the next state carry them
    (of the uncompiled step).  Nothing is written in place to a tensor that was given out.
    """

    def __init__(
        self,
        compiled: Compiled,
        num_envs: int,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        *,
        compile: bool = False,
        graphs: bool = False,
        observed: ObservationLayout | None = None,
    ) -> None:
        """Make room for ``num_envs`` episodes; `begin` must bring them all before the first step.

        ``compile``: fuse each step with torch's compiler (its first call takes seconds).  ``graphs``: besides,
        replay it as a CUDA graph.  ``observed``: keep also what observations of this layout need.
        """
        self.device, self.dtype = torch.device(device), dtype
        if graphs and (not compile or self.device.type != "cuda"):
            raise ValueError(
                f"graphs=True: needs compile=True and a CUDA device, got compile={compile}, device={str(device)!r}"
            )

        self.compiled, self.layout, self.num_envs = compiled, Layout(compiled.shape), num_envs
        self.steps = compiled.shape.steps
        like = torch.empty(0, dtype=dtype, device=self.device)
        self.ring = Ring(plan(compiled, observed), self.steps, num_envs, like)
        self.t_host = np.zeros(num_envs, dtype=np.intp)
        self._observed = observed

        self.params: Params
        self.state: State
        self._begun = False
        self._compile = compile
        at = (0, 0, -1, 0)  # the batch axis of state, instances, present row, actions
        self._flows_step = Traced(self._flows_flat, at, graphs)
        self._figures_step = Traced(self.figures_flat, at, graphs)

    @classmethod
    def of(cls, episodes: EpisodeTensors, **options: Any) -> TorchSimulator:
        """Return a simulator of all ``episodes``, each at its first step; ``options`` as for the constructor."""
        simulator = cls(episodes.compiled, len(episodes), episodes.device, episodes.dtype, **options)
        simulator.begin(np.arange(len(episodes)), simulator.prepare(episodes))
        return simulator

    # Episodes ------------------------------------------------------------------------------------

    def prepare(self, episodes: EpisodeTensors) -> Prepared:
        """Return episodes in the form that `begin` takes."""
        return prepare(episodes, self.ring.columns, self._observed)

    def begin(self, rows: Index, episodes: Prepared, t: Index | None = None) -> None:
        """Put episodes at the places ``rows``, at their first steps or at steps ``t`` [b].

        An episode that begins midway has its sessions of the step before at home and nothing queued.
        """
        t = np.zeros(len(rows), dtype=np.intp) if t is None else t
        initial = episodes.midway(self.ring.columns["arrivals_gpuh"], t)

        if not self._begun:
            self._make_room(episodes)

        # Where all environments begin anew, drop the older episodes.
        if len(rows) == self.num_envs and (rows == np.arange(self.num_envs)).all():
            self.params = self.params.make(**self.params.__dict__ | _instance(episodes.params))
            self.state = initial
        else:
            old, new = _instance(self.params), _instance(episodes.params)
            fields = {name: _with(old[name], rows, new[name]) for name in INSTANCE_FIELDS}
            self.params = self.params.make(**self.params.__dict__ | fields)
            pairs = zip(tensors_of(self.state), tensors_of(initial), strict=True)
            self.state = record_of(State, [_with(one, rows, other) for one, other in pairs])

        self.ring.write(rows, episodes.block, t)
        self.t_host = self.t_host.copy()
        self.t_host[rows] = t

    def _make_room(self, episodes: Prepared) -> None:
        """Make parameters and state of the right shapes, whose episodes are still to come."""

        def room(x: Tensor) -> Tensor:
            return batch_innermost(x.new_zeros((self.num_envs, *x.shape[1:])))

        fields = {name: room(x) for name, x in _instance(episodes.params).items()}
        self.params = episodes.params.make(**episodes.params.__dict__ | fields)
        self.state = episodes.initial.map(room)
        self._begun = True

    @property
    def exogenous(self) -> Exogenous:
        """Exogenous inputs of the present step, as views [B,...]."""
        return self.ring.fields(self.ring.now())

    def series(self, name: str) -> Float[Tensor, "T ... B"]:
        """Return one exogenous input of episodes that stand at the same step, in all their steps."""
        first = (self.ring.row - int(self.t_host[0])) % len(self.ring.values)
        column = self.ring.columns[name]
        steps = torch.roll(self.ring.values[:, column.place], -first, 0)[: self.steps]
        return steps.reshape(self.steps, *column.shape, self.num_envs)

    # Steps ---------------------------------------------------------------------------------------

    def step(self, actions: Tensor) -> tuple[Flows, Outcome]:
        """Advance every episode by one action [B,A] in [-1, 1]."""
        if not self._compile:
            self.state, flows, outcome = play(self.params, self.layout, self.state, self.exogenous, actions)
        else:
            found = self._take(self._flows_step(*self.inputs(), actions))
            flows = record_of(Flows, found)
            summary = dict(zip(_SUMMARY, found[len(Flows.names()) :], strict=False))
            terms = dict(zip(TERMS, found[-len(TERMS) :], strict=True))
            outcome = Outcome.make(terms_usd=terms, **summary)
        self._go_on()
        return flows, outcome

    def step_flows(self, flows: Flows) -> tuple[Flows, Outcome]:
        """Advance every episode by flows [B,...] that are feasible already."""
        self.state, outcome = advance(self.params, self.state, self.exogenous, flows)
        self._go_on()
        return flows, outcome

    def step_figures(self, actions: Tensor) -> tuple[Tensor, Tensor]:
        """Advance by one action; return the figures [len(KEYS),B] and where actions were invalid [B] bool."""
        run = self._figures_step if self._compile else self.figures_flat
        figures, wrong = self._take(run(*self.inputs(), actions))
        self._go_on()
        return figures, wrong

    def _go_on(self) -> None:
        self.ring.forward()
        self.t_host = self.t_host + 1

    def inputs(self) -> tuple[list[Tensor], list[Tensor], Tensor]:
        """Return state, parameters of the instances, and the present row."""
        return tensors_of(self.state), list(_instance(self.params).values()), self.ring.now()

    def _take(self, found: list[Tensor]) -> list[Tensor]:
        """Keep the state, which comes first; return the rest."""
        self.state = record_of(State, found)
        return found[len(State.names()) :]

    def _play(
        self, state: list[Tensor], instance: list[Tensor], now: Tensor, actions: Tensor
    ) -> tuple[Params, State, Exogenous, Flows, Outcome]:
        """Play one step of plain lists of tensors."""
        known = self.params.__dict__ | dict(zip(INSTANCE_FIELDS, instance, strict=True))
        p, exo = self.params.make(**known), self.ring.fields(now)
        after, flows, outcome = play(p, self.layout, record_of(State, state), exo, actions)
        return p, after.map(batch_innermost), exo, flows, outcome

    def _flows_flat(
        self, state: list[Tensor], instance: list[Tensor], now: Tensor, actions: Tensor
    ) -> list[Tensor]:
        """Return state, flows, outcome, one after the other."""
        _, after, _, flows, outcome = self._play(state, instance, now, actions)
        summary = [getattr(outcome, name) for name in _SUMMARY]
        return tensors_of(after) + tensors_of(flows) + summary + [outcome.terms_usd[name] for name in TERMS]

    def figures_flat(
        self, state: list[Tensor], instance: list[Tensor], now: Tensor, actions: Tensor
    ) -> list[Tensor]:
        """Return state, figures, wrong actions."""
        p, after, exo, flows, outcome = self._play(state, instance, now, actions)
        wrong = ~(actions.abs() <= 1.0).all(-1)
        figures = figures_of(p, after, exo, flows, outcome)
        return [*tensors_of(after), figures, wrong]

    def detach(self) -> None:
        """Detach the state from its history, so that gradients end here."""
        self.state = self.state.map(torch.Tensor.detach)

    # Snapshots -----------------------------------------------------------------------------------

    def get_state(self) -> dict[str, Any]:
        """Return the state, step and ring position of every episode as copies, without the episodes themselves."""
        state = self.state.map(lambda x: x.detach().clone())
        return {"state": state, "t": self.t_host.copy(), "row": self.ring.row}

    def set_state(self, snapshot: dict[str, Any]) -> None:
        """Put back what `get_state` gave, for the same episodes, which stand in the ring as they did then."""
        self.state = snapshot["state"].map(lambda x: x.to(self.device).clone())
        self.t_host, self.ring.row = snapshot["t"].copy(), snapshot["row"]


def tensors_of(record: Record) -> list[Tensor]:
    """Return the fields of a record in their order."""
    return [getattr(record, name) for name in record.names()]


def record_of(kind: type[R], tensors: Sequence[Tensor]) -> R:
    """Return the record whose fields are the first of ``tensors``."""
    return kind.make(**dict(zip(kind.names(), tensors, strict=False)))


def _instance(p: Params) -> dict[str, Tensor]:
    """Return the parameters that belong to the instances, [B,...] each."""
    return {name: getattr(p, name) for name in INSTANCE_FIELDS}


def _with(old: Tensor, rows: Index, new: Tensor) -> Float[Tensor, "B ..."]:
    """Return a copy of ``old`` [B,...] with other entries at ``rows``; the batch axis stays innermost."""
    fresh = old.movedim(0, -1).clone(memory_format=torch.contiguous_format)
    put(fresh, rows, new.movedim(0, -1))
    return fresh.movedim(-1, 0)
