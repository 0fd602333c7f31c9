"""The program of a window of steps as sparse matrices, made by the simulator's own physics on affine arrays.

Columns, rows and sparsity follow from the constants of a scenario alone; what a forecast brings are bounds, right
sides, costs and coefficients.  The state before the window is a set of columns too, fixed by their bounds.
"""

from __future__ import annotations

from dataclasses import dataclass
from operator import itemgetter
from typing import NamedTuple

import numpy as np

from baselines.program.affine import Affine
from baselines.program.rows import Modes, Rows, has_both_ways, has_minimum_load, make_rows
from gridai_env.arrays.types import Bool, Bools, Float, Floats, Index, Int
from gridai_env.world import physics
from gridai_env.world.state import Exogenous, Flows, Outcome, Params, Shape, State

# State that is a flow of the step before: no columns of its own but in the first step.
CARRIED = {"placed_gpuh": "served_gpuh", "generation_mw": "generation_mw"}
# State that stays an expression in flows of the days before: likewise.
EXPRESSED = ("baseline_sum_mw", "day_before_mw")
ONLY_FIRST = (*CARRIED, *EXPRESSED)  # have columns of their own in the first step alone


@dataclass(frozen=True)
class Columns:
    """Where each flow of a window of h steps, and each state before and after a step, stands; -1: always 0."""

    flows: Flows  # of indices [h,...]
    state: State  # of indices [h+1,...]
    charging: Index  # [h,K] yes/no
    running: Index  # [h,K] yes/no
    count: int
    step: Index  # [count] of a flow, or of the flows that lead to a state; 0 for the state before the window

    def next_step(self) -> Index:
        """Return for each column the same one a step later; itself in the last step, [count]."""
        out = np.arange(self.count)
        flows = [getattr(self.flows, name) for name in Flows.names()]
        # Of what is carried over, only the first step has columns of its own.
        states = [getattr(self.state, name)[: 2 if name in ONLY_FIRST else None] for name in State.names()]
        for index in [*flows, *states, self.charging, self.running]:
            now, then = index[:-1], index[1:]
            both = (now >= 0) & (then >= 0)
            out[now[both]] = then[both]
        return out

    @property
    def modes(self) -> Int[Index, " n"]:
        """Columns of charging or discharging and of running generators."""
        together = np.concatenate([self.charging.ravel(), self.running.ravel()])
        return together[together >= 0]

    @property
    def choices(self) -> Int[Index, " n"]:
        """All yes/no columns: the modes, and starts of jobs."""
        started = self.flows.started[self.flows.started >= 0]
        return np.concatenate([self.modes, started])

    @property
    def counts(self) -> Bools:
        """Whether each column counts jobs or says yes or no; all others are amounts, [columns]."""
        out = np.zeros(self.count, dtype=bool)
        out[np.concatenate([self.choices, self.state.waiting[self.state.waiting >= 0]])] = True
        return out

    def flows_of(self, values: Float[Floats, " columns"]) -> Flows:
        """Return the flows [h,...] in a solution."""
        values = np.append(values, 0.0)  # index -1: always 0
        return self.flows.map(lambda index: values[index])

    @property
    def before(self) -> State:
        """Columns of the states before the steps, [h,...]."""
        return self.state.map(lambda x: x[:-1])

    @property
    def after(self) -> State:
        """Columns of the states after the steps, [h,...]."""
        return self.state.map(lambda x: x[1:])


def make_columns(
    p: Params,
    shape: Shape,
    steps: int,
    *,
    charging: Bool[Bools, "h K"] | None = None,
    all_queue: bool = False,
) -> Columns:
    """Return a column wherever the constants allow a flow at all.

    ``charging``: where batteries decide between charging and discharging; None: wherever they could do both.
    ``all_queue``: also what may not wait has a queue, which is empty.
    """
    used: list[Index] = []

    def columns(where: Bools, first_step: int = 0) -> Index:
        start = sum(map(len, used))
        out = np.where(where, start - 1 + np.cumsum(where).reshape(where.shape), -1)
        step = np.maximum(np.arange(len(where)) + first_step, 0)
        used.append(np.broadcast_to(step.reshape(-1, *[1] * (where.ndim - 1)), where.shape)[where])
        return out

    def at_steps(mask: Bools, count: int = steps) -> Bools:
        return np.broadcast_to(mask, (count, *mask.shape))

    # State that is a flow of the step before has columns of its own in the first step only.
    flow_masks, state_masks = _flow_masks(p, shape), _state_masks(p, shape)
    state_masks["backlog_gpuh"] = state_masks["backlog_gpuh"] | all_queue
    flows = Flows(**{name: columns(at_steps(flow_masks[name])) for name in Flows.names()})
    states = {
        name: columns(at_steps(mask, 1)) if name in ONLY_FIRST else columns(at_steps(mask, steps + 1), -1)
        for name, mask in state_masks.items()
    }
    for name, flow in CARRIED.items():
        is_kept = state_masks[name]
        states[name] = np.concatenate([states[name], np.where(is_kept, getattr(flows, flow), -1)])
    for name in EXPRESSED:
        states[name] = np.concatenate([states[name], np.full((steps, *states[name].shape[1:]), -1)])
    decided = columns(at_steps(has_both_ways(p)) if charging is None else charging)
    running = columns(at_steps(has_minimum_load(p)))
    step = np.concatenate(used)
    return Columns(flows, State(**states), decided, running, len(step), step)


def _flow_masks(p: Params, shape: Shape) -> dict[str, Bools]:
    """Return which flows the constants allow."""
    route = p.route_open > 0.5
    session = (p.is_session > 0.5)[:, None] & route
    site = np.ones(shape.sites, dtype=bool)

    return {
        "served_gpuh": route,
        "dropped_gpuh": np.ones((shape.regions, shape.rows), dtype=bool),
        "started": np.full((shape.jobs, shape.sites), p.has_jobs),
        "charge_mw": p.charge_limit_mw > 0.0,
        "discharge_mw": p.discharge_limit_mw > 0.0,
        "generation_mw": p.generator_max_mw > 0.0,
        "renewable_mw": site,
        "import_mw": site,
        "export_mw": site,
        "shed_mw": site,
        "gpu_short": site & p.has_jobs,
        "relocated_gpuh": session,
        "warmed_gpuh": session.any(0),
        "peak_rise_mw": p.demand_charge_usd_per_mw > 0.0,
        "battery_short_mwh": p.battery_max_mwh > 0.0,
        "carbon_excess_kg": np.array(p.has_carbon_budget),
        "saving_mw": (p.saving_kw_per_busy_gpu > 0.0).any(0) if p.has_modes else site[:0],
        "line_excess_mw": np.ones((shape.lines, shape.sites), dtype=bool),
    }


def _state_masks(p: Params, shape: Shape) -> dict[str, Bools]:
    """Return which states can be other than 0."""
    waits = np.broadcast_to(p.may_wait > 0.5, (shape.regions, shape.rows))
    return {
        "backlog_gpuh": waits,
        "battery_mwh": p.battery_max_mwh > 0.0,
        "placed_gpuh": (p.is_session > 0.5)[:, None] & (p.route_open > 0.5),
        "generation_mw": p.generator_max_mw > 0.0,
        "committed_gpus": np.full((shape.sites, shape.job_steps), p.has_jobs),
        "waiting": np.full(shape.jobs, p.has_jobs),
        "peak_import_mw": p.demand_charge_usd_per_mw > 0.0,
        "carbon_kg": np.array(p.has_carbon_budget),
        **{name: np.ones((shape.sites, shape.day_steps), dtype=bool) for name in EXPRESSED},
    }


class RowBlock(NamedTuple):
    """Rows of one kind, each ``expression >= 0`` or ``== 0``."""

    name: str
    expression: Affine  # [h,...]
    is_equality: bool
    first_step: int = 0


@dataclass
class Expressions:
    """All rows of a window, and what it costs (minus the benefit)."""

    rows: list[RowBlock]
    cost: Affine  # [h] USD


def expressions(p: Params, columns: Columns, exo: Exogenous) -> Expressions:
    """Run the physics on the columns; ``exo`` [h,...]."""
    found, outcome = window_rows(p, columns, exo, has_both_ways(p))
    # Equalities stand first: the order decides which of equally good plans the solver returns.
    rows = [RowBlock(name, _at(block), block.is_equality) for name, block in found.items()]
    return Expressions(sorted(rows, key=lambda row: not row.is_equality), -outcome.benefit_usd)


def window_rows(
    p: Params, columns: Columns, exo: Exogenous, is_charging_open: Bools
) -> tuple[dict[str, Rows], Outcome]:
    """Return all rows of a window ``exo`` [h,...] by name, expressions [h,...], and its ledger [h].

    Rows ``next <state>`` say what the state after a step is.
    """
    after = columns.after.map(Affine.of_columns)
    updates: dict[str, Rows] = {}

    def link(reached: State) -> State:
        for name in State.names():
            if name not in ONLY_FIRST and not _is_idle(p, name):
                updates[f"next {name}"] = Rows(getattr(reached, name) - getattr(after, name), True)
        return after

    modes = Modes(
        charging=Affine.of_columns(columns.charging),
        is_charging_open=is_charging_open,
        running=Affine.of_columns(columns.running),
        is_running_open=has_minimum_load(p),
    )
    flows, before = columns.flows.map(Affine.of_columns), columns.before.map(Affine.of_columns)
    before = _with_past_days(before, flows, exo)
    limits, _, outcome = make_rows(p, before, flows, exo, modes, link)
    return updates | limits, outcome


def _with_past_days(before: State, flows: Flows, exo: Exogenous) -> State:
    """Return the states before the steps in which past imports are expressions in the flows."""
    if not before.baseline_sum_mw.shape[-1]:
        return before
    at = [before.map(itemgetter(0))]
    for t in range(len(exo.pue) - 1):
        past = physics.next_baseline(at[-1], flows.map(itemgetter(t)), exo.map(itemgetter(t)))
        at.append(at[-1].replace(**dict(zip(EXPRESSED, past, strict=True))))
    return before.replace(**{name: Affine.stack([getattr(s, name) for s in at]) for name in EXPRESSED})


def _at(rows: Rows) -> Affine:
    """Return the expressions [h,...] of the places that need them."""
    expression: Affine = rows.expression
    return expression if rows.where is None else expression[:, np.flatnonzero(rows.where)]


def _is_idle(p: Params, name: str) -> bool:
    """Return whether a field of the state never changes in this scenario."""
    without_jobs = name in ("committed_gpus", "waiting") and not p.has_jobs
    without_charge = name == "peak_import_mw" and not p.has_demand_charge
    return without_jobs or without_charge or (name == "carbon_kg" and not p.has_carbon_budget)
