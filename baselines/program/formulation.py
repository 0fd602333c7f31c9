"""The perfect-foresight program of one instance in Pyomo: the readable formulation.

It calls the simulator's own physics on variables, step by step.  `baselines.program.episode` makes the same program
from whole arrays, in a tenth of the time.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from itertools import repeat
from operator import itemgetter
from typing import Any

import numpy as np
import pyomo.environ as pyo
from pyomo.repn.plugins.standard_form import LinearStandardFormCompiler

from baselines.program.linear import (
    PRICED_AT_ZERO,
    LinearProgram,
    Program,
    check_floor,
    contradiction,
    contradicts,
)
from baselines.program.objectives import OBJECTIVES, Objective, goal, last_resorts
from baselines.program.rows import (
    Modes,
    Rows,
    charging_choices,
    flow_ceilings,
    has_minimum_load,
    make_rows,
    state_ceilings,
)
from baselines.program.service_floor import FLOOR_SLACK, Floor
from baselines.program.window import EXPRESSED
from gridai_env.arrays.types import Array, Bools, Floats, Index, Objects
from gridai_env.episodes.instance import Instance
from gridai_env.world.size import unit_of
from gridai_env.world.state import Exogenous, Flows, Params, State


def build(
    instance: Instance,
    objective: Objective,
    floor: Floor | None,
    carbon_cap_kg: float | None = None,
    priced: bool = False,
) -> Program:
    """Build the program; see `baselines.program.episode.build`."""
    return _Builder(instance, objective, floor, carbon_cap_kg, priced).build()


def _read(model: pyo.ConcreteModel, flows: list[Flows], p: Params) -> Program:
    """Compile ``model`` (one linear objective, to be minimised); ``flows`` of each step: variables, or 0.0."""
    form = LinearStandardFormCompiler().write(model, mixed_form=True, set_sense=pyo.minimize)
    integer: Bools = np.array([v.is_integer() for v in form.columns], dtype=bool)
    # Of each row: -1 at least, 0 equal to, 1 at most its side.
    kind = np.array([kind for _, kind in form.rows])
    lp = LinearProgram(
        matrix=form.A.tocsc(),
        costs=np.asarray(form.c.todense(), dtype=float).ravel(),
        lower=np.array([-np.inf if v.lb is None else v.lb for v in form.columns]),
        upper=np.array([np.inf if v.ub is None else v.ub for v in form.columns]),
        row_lower=np.where(kind <= 0, form.rhs, -np.inf),
        row_upper=np.where(kind >= 0, form.rhs, np.inf),
        integer=integer,
        offset=float(form.c_offset[0]),
    )

    # Where flows, modes and rows stand; -1 for a number, or what is in no row.
    index = {id(variable): i for i, variable in enumerate(form.columns)}
    found = Flows.stacked([step.map(partial(_columns_of, index)) for step in flows])
    modes = {name: np.full(found.charge_mw.shape, -1) for name in ("charging", "running")}
    for (name, *place), variable in model.choice.items():
        if name in modes:
            modes[name][tuple(place)] = index.get(id(variable), -1)
    counts = integer | [v.index()[0] == "waiting" for v in form.columns]
    return Program(
        p=p,
        lp=lp,
        flows=found,
        charging=modes["charging"],
        running=modes["running"],
        counts=counts,
        column_step=np.array([v.index()[1] for v in form.columns]),
        rows=_places([_name(row) for row, _ in form.rows]),
    )


def _columns_of(index: dict[int, int], variables: Array) -> Index:
    """Return the column of each entry of an object array, -1 where it is a number or in no row."""
    array = np.asarray(variables, dtype=object)
    found = map(index.get, map(id, array.ravel().tolist()), repeat(-1))
    return np.fromiter(found, dtype=np.intp, count=array.size).reshape(array.shape)


def _name(row: Any) -> tuple[str, tuple[int, ...]]:
    """Return kind and place of a row."""
    index = row.index() if isinstance(row.index(), tuple) else (row.index(),)
    component = row.parent_component().local_name
    if component == "carbon_cap":
        return "carbon cap", ()
    prefix = {"limit": "", "update": "next ", "floor": "floor "}[component]
    return prefix + index[0], tuple(index[1:])


def _places(names: list[tuple[str, tuple[int, ...]]]) -> dict[str, Index]:
    """Return the rows of each kind at their places, -1 where there is none."""
    by_kind: dict[str, dict[tuple[int, ...], int]] = {}
    for row, (kind, place) in enumerate(names):
        by_kind.setdefault(kind, {})[place] = row
    out = {}
    for kind, rows in by_kind.items():
        out[kind] = np.full(np.max(list(rows), axis=0, initial=-1).astype(int) + 1, -1)
        for place, row in rows.items():
            out[kind][place] = row
    return out


@dataclass
class _Builder:
    """Builds a program step by step; one instance of it per build."""

    instance: Instance
    objective: Objective
    floor: Floor | None
    carbon_cap_kg: float | None
    priced: bool

    def __post_init__(self) -> None:
        self.p: Params = self.instance.params
        self.unit = unit_of(self.p)

        self.model = pyo.ConcreteModel()
        self.model.flow = pyo.Var(pyo.Any, dense=False, domain=pyo.NonNegativeReals)
        self.model.state = pyo.Var(pyo.Any, dense=False, domain=pyo.NonNegativeReals)
        self.model.choice = pyo.Var(pyo.Any, dense=False, domain=pyo.Binary)
        self.model.limit = pyo.Constraint(pyo.Any)
        self.model.update = pyo.Constraint(pyo.Any)

        emissions_count = self.objective == "carbon" or self.carbon_cap_kg is not None
        self.two_way = charging_choices(self.p, self.instance.exogenous, emissions_count)
        exo, initial = self.instance.exogenous, self.instance.initial
        self.most = state_ceilings(self.p, exo)
        carried = np.concatenate([initial.backlog_gpuh[None], exo.queue_limit_gpuh[:-1]])
        # A longer queue would bring work to steps that have none.
        self.ceilings = flow_ceilings(self.p, exo, carried + 1.0 if self.priced else carried)

    def build(self) -> Program:
        """Return the program of all steps."""
        flows_of_steps: list[Flows] = []
        goals: list[Any] = []
        carbon: list[Any] = []
        resorts = {name: last_resorts(self.instance, name) for name in OBJECTIVES}
        state = self.instance.initial
        for t in range(self.instance.steps):
            exo = self.instance.exogenous.map(itemgetter(t))
            flows = self._flows(t, exo)
            rows, state, outcome = make_rows(
                self.p, state, flows, exo, self._modes(t), partial(self._link, t, exo)
            )
            for name, block in rows.items():
                self._add(t, name, block)
            goals.append(goal(self.p, flows, outcome, self.objective, resorts[self.objective]))
            if self.carbon_cap_kg is not None:
                carbon.append(goal(self.p, flows, outcome, "carbon", resorts["carbon"]))
            flows_of_steps.append(flows)

        if self.floor is not None:
            self._service_floor(flows_of_steps)
        if self.carbon_cap_kg is not None:
            self.model.carbon_cap = pyo.Constraint(expr=self.carbon_cap_kg - pyo.quicksum(carbon) >= 0.0)
        self.model.goal = pyo.Objective(expr=pyo.quicksum(goals), sense=pyo.minimize)
        return _read(self.model, flows_of_steps, self.p)

    # Variables ------------------------------------------------------------------------------------------------------

    def _variables(self, t: int, name: str, ceiling: Floats) -> Objects:
        """A variable wherever the flow can be positive, the number 0 elsewhere."""
        out = np.zeros(ceiling.shape, dtype=object)
        everywhere = self.priced and name in PRICED_AT_ZERO
        for place in np.ndindex(ceiling.shape):
            if ceiling[place] > 0.0 or everywhere:
                variable = self.model.flow[(name, t, *place)]
                if not self.priced:
                    variable.setub(float(ceiling[place]))
                out[place] = variable
        return out

    def _flows(self, t: int, exo: Exogenous) -> Flows:
        """The flows of step ``t``; those that are 0 in every feasible step get no variable."""
        arrays = {name: self._variables(t, name, ceiling[t]) for name, ceiling in self.ceilings.items()}
        arrays["started"] = self._choices("started", t, exo.job_open > 0.5)
        arrays["carbon_excess_kg"] = arrays["carbon_excess_kg"][()]
        return Flows(**arrays)

    def _modes(self, t: int) -> Modes:
        """Return yes/no variables of step ``t`` where burning energy could pay, and for minimum loads."""
        two_way, minimum = self.two_way[t], has_minimum_load(self.p)
        return Modes(
            self._choices("charging", t, two_way), two_way, self._choices("running", t, minimum), minimum
        )

    def _choices(self, name: str, t: int, where: Bools) -> Objects:
        """Return a yes/no variable at each place of ``where``, 0 elsewhere."""
        out = np.zeros(where.shape, dtype=object)
        for place in np.argwhere(where).tolist():
            out[tuple(place)] = self.model.choice[name, t, *place]
        return out

    # Rows -----------------------------------------------------------------------------------------------------------

    def _link(self, t: int, exo: Exogenous, reached: State) -> State:
        """Return the state after the step as fresh variables tied to the physics' expressions."""
        p = self.p
        # Without a demand charge the peak is not needed; without budget and jobs their states are constants.
        if not p.has_demand_charge:
            reached = reached.replace(peak_import_mw=np.zeros(len(p.gpus)))
        fresh = {
            name: self._fresh(t, name, getattr(reached, name), self._most(t, name))
            for name in State.names()
            if name not in EXPRESSED
        }
        return reached.replace(**fresh)

    def _most(self, t: int, name: str) -> Array:
        """Return the ceiling of a state after step ``t``; nothing is left to say of flows carried over."""
        most = self.most.get(name, np.zeros(1))
        return most[t] if name == "backlog_gpuh" else most

    def _fresh(self, t: int, name: str, value: Array, most: Array) -> Array:
        """Replace every expression by a variable that equals it; numbers and bare variables stay."""
        array = np.asarray(value, dtype=object)
        ceiling = np.broadcast_to(np.asarray(most, dtype=float), array.shape)
        out = np.empty(array.shape, dtype=object)
        for place in np.ndindex(array.shape):
            expression: Any = array[place]
            if _is_number(expression) or expression.is_variable_type():
                out[place] = expression
                continue

            variable = self.model.state[name, t, *place]
            if not self.priced:
                variable.setub(float(ceiling[place]))
            self.model.update[name, t, *place] = expression - variable == 0.0
            out[place] = variable
        return out if out.ndim else out[()]

    def _add(self, t: int, name: str, rows: Rows) -> None:
        """Add the rows of one kind in step ``t``; numbers are checked at once."""
        array = np.asarray(rows.expression, dtype=object)
        for place in np.ndindex(array.shape):
            expression = array[place]
            if rows.where is not None and not rows.where[place[0]]:
                continue

            if not _is_number(expression):
                row = expression == 0.0 if rows.is_equality else expression >= 0.0
                self.model.limit[name, t, *place] = row
            elif contradicts(expression, rows.is_equality, self.unit):
                raise contradiction(name, (t, *place), float(expression))

    # Objective and floor --------------------------------------------------------------------------------------------

    def _service_floor(self, flows: list[Flows]) -> None:
        """Demand the same jobs, start and site free, and per row of work at least that of the floor."""
        assert self.floor is not None
        work = [
            [v for f in flows for v in f.served_gpuh[:, w].ravel() if not _is_number(v)]
            for w in range(len(self.floor.served_gpuh))
        ]
        starts = [
            [v for f in flows for v in f.started[j].ravel() if not _is_number(v)]
            for j in range(len(self.floor.started))
        ]
        check_floor(
            self.floor, np.array([*map(bool, work)]), np.array([*map(bool, starts)], dtype=bool), self.unit
        )

        self.model.floor = pyo.Constraint(pyo.Any)
        for w in range(len(work)):
            if work[w]:
                least = float(self.floor.served_gpuh[w]) * (1.0 - FLOOR_SLACK)
                self.model.floor["served", w] = pyo.quicksum(work[w]) >= least
        for j in range(len(starts)):
            if starts[j]:
                self.model.floor["started", j] = pyo.quicksum(starts[j]) == round(
                    float(self.floor.started[j])
                )


def _is_number(expression: Any) -> bool:
    return isinstance(expression, int | float | np.number)
