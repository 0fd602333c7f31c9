"""The perfect-foresight program of one instance as matrices, built by calling the simulator's own physics on Pyomo
variables.

The rows come from `baselines.optimum.rows`.  Added here: variables for flows, states and yes/no decisions, the
objective, and the service floor of the objectives ``cost`` and ``carbon``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from itertools import repeat
from operator import itemgetter
from typing import Any

import highspy
import numpy as np
import pyomo.environ as pyo
from pyomo.repn.plugins.standard_form import LinearStandardFormCompiler
from scipy import sparse

from baselines.optimum.highs import set_matrix
from baselines.optimum.objectives import OBJECTIVES, Objective, goal, last_resorts
from baselines.optimum.rows import Modes, Rows, flow_ceilings, has_both_ways, has_minimum_load, make_rows
from baselines.optimum.service_floor import FLOOR_SLACK, Floor
from gridai_env.arrays.types import Array, Bools, Float, Floats, Index, Objects
from gridai_env.episodes.instance import Instance
from gridai_env.world.size import unit_of
from gridai_env.world.state import Exogenous, Flows, Params, State


class Program:
    """The compiled program: as HiGHS gets it, and where each flow, decision and row stands in it."""

    def __init__(self, model: pyo.ConcreteModel, flows: list[Flows], p: Params) -> None:
        """Compile ``model`` (one linear objective, to be minimised); ``flows`` of each step: variables, or 0.0."""
        self.p, self.unit = p, unit_of(p)  # the unit is that of amounts inside the solver
        form = LinearStandardFormCompiler().write(model, mixed_form=True, set_sense=pyo.minimize)
        self.rows = form.rows
        self.index = {id(variable): i for i, variable in enumerate(form.columns)}
        self.integer: Bools = np.array([v.is_integer() for v in form.columns], dtype=bool)
        # Columns that count jobs or say yes or no; all others are amounts, which grow with the scenario.
        self.counts: Bools = self.integer | [v.index()[0] == "waiting" for v in form.columns]
        self.matrix = form.A.tocsc()
        self.lp = _highs_lp(form, self.matrix, self.integer)
        self.size = (len(form.rows), len(form.columns))

        columns = [step.map(self._columns_of) for step in flows]
        self.flows: Flows = Flows.stacked(columns)  # [T,...] of columns, -1: always 0
        # Columns of the modes [T,K], -1 where there is no choice.
        modes = {name: np.full(self.flows.charge_mw.shape, -1) for name in ("charging", "running")}
        for (name, *place), variable in model.choice.items():
            if name in modes:
                modes[name][tuple(place)] = self.index.get(id(variable), -1)
        self.charging, self.running = modes["charging"], modes["running"]

    def is_integral(self, values: Float[Floats, " columns"]) -> bool:
        """Return whether the integer columns hold whole numbers exactly, so that fixing them changes nothing."""
        choices = values[self.integer]
        return bool(np.array_equal(choices, np.round(choices)))

    def flows_of(self, values: Float[Floats, " columns"]) -> Flows:
        """Return the flows [T,...] in a solution."""
        values = np.append(values, 0.0)
        return self.flows.map(lambda columns: values[columns])

    def _columns_of(self, variables: Array) -> Index:
        """Return the column of each entry of an object array, -1 where it is a number or in no row."""
        array = np.asarray(variables, dtype=object)
        found = map(self.index.get, map(id, array.ravel().tolist()), repeat(-1))
        return np.fromiter(found, dtype=np.intp, count=array.size).reshape(array.shape)


def _highs_lp(form: Any, matrix: sparse.csc_matrix, integer: Bools) -> highspy.HighsLp:
    """Return the standard form as HiGHS wants it."""
    infinity = highspy.kHighsInf
    # Of each row: -1 at least, 0 equal to, 1 at most its side.
    kind = np.array([kind for _, kind in form.rows])

    lp = highspy.HighsLp()
    lp.col_cost_ = np.asarray(form.c.todense(), dtype=float).ravel()
    lp.offset_ = float(form.c_offset[0])
    lp.col_lower_ = np.array([-infinity if v.lb is None else v.lb for v in form.columns])
    lp.col_upper_ = np.array([infinity if v.ub is None else v.ub for v in form.columns])
    lp.row_lower_ = np.where(kind <= 0, form.rhs, -infinity)
    lp.row_upper_ = np.where(kind >= 0, form.rhs, infinity)
    set_matrix(lp, matrix)
    if integer.any():
        kinds = {True: highspy.HighsVarType.kInteger, False: highspy.HighsVarType.kContinuous}
        lp.integrality_ = [kinds[bool(i)] for i in integer]
    return lp


# Limits that are zero somewhere have a price there too: their flows keep a variable in a program that is to be priced.
PRICED_AT_ZERO = ("import_mw", "export_mw")


# What rounding may leave in a row of numbers, in units of the program.
CONSTANT_SLACK = 1e-6


def build(
    instance: Instance,
    objective: Objective,
    floor: Floor | None,
    carbon_cap_kg: float | None = None,
    priced: bool = False,
) -> Program:
    """Build the program.  The objective is minimised: minus benefit, cost, or kg.

    ``carbon_cap_kg`` bounds the objective that ``carbon`` would have (ties of a least-carbon plan go to the least
    cost).  ``priced``: leave out the ceilings that follow from other limits, so that duals fall on the limits alone.
    """
    return _Builder(instance, objective, floor, carbon_cap_kg, priced).build()


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

        # Burning energy (charge with discharge) may pay in a step at whose price consuming pays, and in all steps
        # before it: an emptied battery can be paid for being filled.
        paid_to_consume = self.instance.exogenous.buy_usd_per_mwh + self.p.wear_usd_per_mwh <= 0.0
        self.burn_pays = np.logical_or.accumulate(paid_to_consume[::-1])[::-1]

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
            self.model.carbon_cap = pyo.Constraint(expr=pyo.quicksum(carbon) <= self.carbon_cap_kg)
        self.model.goal = pyo.Objective(expr=pyo.quicksum(goals), sense=pyo.minimize)
        return Program(self.model, flows_of_steps, self.p)

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
        arrays = {name: self._variables(t, name, ceiling) for name, ceiling in self._ceilings(t, exo).items()}
        arrays["started"] = self._choices("started", t, exo.job_open > 0.5)
        arrays["carbon_excess_kg"] = arrays["carbon_excess_kg"][()]
        return Flows(**arrays)

    def _ceilings(self, t: int, exo: Exogenous) -> dict[str, Floats]:
        """The most that each flow can be in step ``t``."""
        before = self.instance.exogenous.queue_limit_gpuh[t - 1] if t else self.instance.initial.backlog_gpuh
        # A longer queue would bring work to steps that have none.
        return flow_ceilings(self.p, exo, before + 1.0 if self.priced else before)

    def _modes(self, t: int) -> Modes:
        """Return yes/no variables of step ``t`` where burning energy could pay, and for minimum loads."""
        p, minimum = self.p, has_minimum_load(self.p)
        # From this step on: a battery emptied now has room for energy that one is paid to take later.
        everywhere = self.objective == "carbon" or self.carbon_cap_kg is not None
        # A generator that rises slowly may run for the sake of the next step, with no use for its power now.
        slow = p.generator_ramp_mw_per_h * p.dt_h < p.generator_max_mw
        two_way = has_both_ways(p) & (self.burn_pays[t] | minimum | slow | everywhere)
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
        most = {
            "backlog_gpuh": exo.queue_limit_gpuh,
            "battery_mwh": p.battery_max_mwh,
            "committed_gpus": (p.utilisation_limit * p.gpus)[:, None],
            "waiting": 1.0,
            "peak_import_mw": self.instance.exogenous.import_limit_mw.max(0),
            "carbon_kg": p.carbon_budget_kg,
        }

        fresh = {
            name: self._fresh(t, name, getattr(reached, name), most.get(name, 0.0)) for name in State.names()
        }
        return State(**fresh)

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
            if not self.priced:  # a hair above the limit, which has its own row
                variable.setub(float(ceiling[place]) * (1.0 + 1e-6))
            self.model.update[name, t, *place] = variable == expression
            out[place] = variable
        return out if out.ndim else out[()]

    def _add(self, t: int, name: str, rows: Rows) -> None:
        """Add the rows of one kind in step ``t``; numbers are checked at once."""
        array, slack = np.asarray(rows.expression, dtype=object), CONSTANT_SLACK * self.unit
        for place in np.ndindex(array.shape):
            expression = array[place]
            if rows.where is not None and not rows.where[place[0]]:
                continue

            if not _is_number(expression):
                row = expression == 0.0 if rows.is_equality else expression >= 0.0
                self.model.limit[name, t, *place] = row
            elif expression < -slack or (rows.is_equality and expression > slack):
                raise ValueError(
                    f"instance contradicts itself: {name} at step {t}, index {place}: {expression}"
                )

    # Objective and floor --------------------------------------------------------------------------------------------

    def _service_floor(self, flows: list[Flows]) -> None:
        """Demand the same jobs, start and site free, and per row of work at least that of the floor."""
        assert self.floor is not None
        other = "which this instance never {}: floor of another instance?"
        self.model.floor = pyo.Constraint(pyo.Any)
        for w, served in enumerate(self.floor.served_gpuh):
            total = pyo.quicksum(v for f in flows for v in f.served_gpuh[:, w].ravel() if not _is_number(v))
            if not _is_number(total):
                self.model.floor["served", w] = total >= float(served) * (1.0 - FLOOR_SLACK)
            elif served > FLOOR_SLACK * self.unit:
                raise ValueError(f"floor wants work of row {w}, {other.format('has')}")

        for j, started in enumerate(self.floor.started):
            entries = [v for f in flows for v in f.started[j].ravel() if not _is_number(v)]
            if entries:
                self.model.floor["started", j] = pyo.quicksum(entries) == round(float(started))
            elif started > 0.5:
                raise ValueError(f"floor wants job {j}, {other.format('lets start')}")


def _is_number(expression: Any) -> bool:
    return isinstance(expression, int | float | np.number)
