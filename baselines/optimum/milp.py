"""The perfect-foresight optimum of one instance, as a plan that the environment can replay.

It knows the whole episode beforehand: a bound for every policy, never a competitor.

    plan = solve(instance)                 # most benefit
    plan = solve(instance, "carbon")       # least kg for the service of the benefit plan, ties by cost
    trajectory = run(plan, instance)       # gridai_env.rollout: through the public step, action by action
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from operator import itemgetter
from typing import Any

import numpy as np

from baselines.optimum import InfeasibleError, SolverError
from baselines.optimum.highs import Deadline, SolverResult
from baselines.optimum.relax_and_round import ProgramSolver
from baselines.optimum.time_split import solve_split
from baselines.program.episode import Builder, build
from baselines.program.linear import Program
from baselines.program.objectives import OBJECTIVES, Objective, goal, last_resorts
from baselines.program.service_floor import FLOOR_SLACK, Floor
from gridai_env.arrays.types import Float, Floats32
from gridai_env.envs.simulator import Simulator
from gridai_env.episodes.instance import Instance, stack
from gridai_env.world.actions import Layout, encode
from gridai_env.world.feasible import to_normal_form
from gridai_env.world.physics import billed_kg
from gridai_env.world.size import unit_of
from gridai_env.world.state import Flows

# Programs above this number of rows are split in time: solved as one they take many minutes and gigabytes.
SPLIT_ROWS = 100_000

# The replayed plan must earn what the solver reported, relative to the sum of absolute terms.
REPLAY_TOLERANCE = 1e-6

# By how much plans of least carbon may exceed the least emissions, relative and in units of the program.
TIE_SHARE, TIE_KG = 1e-7, 1e-6

# USD or kg: an objective that is smaller is rounding, as where a plan needs no power from the grid.
ZERO = 1e-6


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A schedule of a whole episode, with what is proven about it."""

    instance: Instance
    objective: Objective
    status: str  # "optimal", "time_limit", or "stalled": split in time, its gap had stopped to fall
    unit: str  # of objective_value and bound: "USD" or "kg"
    objective_value: float | None = None  # of the plan as replayed; None where no plan was found in time
    solver_objective: float | None = None  # the same as the solver saw it
    bound: float  # no plan and no policy does better: above for benefit, below for cost and carbon
    is_safe: bool  # whether the bound is proven in exact numbers, else to the solver's tolerances
    # |objective_value - bound| / |objective_value|, see `relative_gap`; infinite without a plan.
    gap: float = np.inf
    benefit_usd: float | None = None
    emissions_kg: float | None = None  # at the billed intensity
    flows: Flows | None = None  # each [T,...]
    actions: Float[Floats32, "T A"] | None = None  # inside the action space
    build_s: float
    solve_s: float
    rows: int
    columns: int

    def __repr__(self) -> str:
        found = "no plan found"
        if self.objective_value is not None:
            found = (
                f"{self.objective_value:,.2f} {self.unit}, gap {self.gap:.2g}; benefit {self.benefit_usd:,.2f} USD, "
                f"emissions {self.emissions_kg:,.1f} kg"
            )

        return (
            f"{self.objective}: {self.status} in {self.instance.title}\n"
            f"  {found}; bound {self.bound:,.2f} {self.unit}\n"
            f"  {self.rows:,} rows, {self.columns:,} columns, solved in {self.solve_s:.2g} s; hash of the episode "
            f"{self.instance.hash}"
        )


def solve(
    instance: Instance,
    objective: Objective = "benefit",
    mip_gap: float = 1e-4,
    time_limit_s: float | None = None,
    threads: int = 2,
    seed: int = 0,
    floor: Plan | Floor | None = None,
    builder: Builder = "affine",
) -> Plan:
    """Solve the perfect-foresight program of ``instance``.

    Parameters: ``objective`` "benefit" (most USD, all terms), "cost" (least USD without revenue and job value) or
    "carbon" (least billed kg, ties by cost); ``mip_gap`` relative; ``time_limit_s`` wall seconds of all solves
    together (None: no limit; building the model and reading the plan back come on top);
    ``floor`` the service that cost and carbon must keep, by default that of the instance's own benefit plan;
    ``builder`` how the program is made: "affine" from whole arrays, "pyomo" by the readable formulation of the same.

    At the time limit the plan carries the incumbent (if any) and the bound, with status "time_limit".  Programs of
    more than 100,000 rows (a week of 20 sites, a day of 50) are split in time (`baselines.optimum.time_split`) for the
    objective benefit, in ``threads`` processes, without branching: where their gap stops to fall above ``mip_gap`` the
    status is "stalled"; plan, if any, and bound hold.  Cost and carbon are solved whole: a floor cannot be split.
    Raises InfeasibleError, naming rows that conflict, where no plan exists (a floor that cannot be met).
    """
    if objective not in OBJECTIVES:
        raise ValueError(f"objective {objective!r} is unknown; allowed: {', '.join(OBJECTIVES)}")
    if not 0 <= mip_gap < 1:
        raise ValueError(f"mip_gap {mip_gap} must lie in [0, 1)")
    if threads < 1:
        raise ValueError(f"threads {threads} must be at least 1")
    if time_limit_s is not None and not time_limit_s > 0:
        raise ValueError(f"time_limit_s {time_limit_s} must be above 0 seconds, or None for no limit")
    if objective == "benefit" and floor is not None:
        raise ValueError("a floor belongs to the objectives cost and carbon, not to benefit")
    clock = Deadline(time_limit_s)

    def options() -> dict[str, Any]:
        limits = {"mip_gap": mip_gap, "time_limit_s": clock.left_s()}
        return limits | {"threads": threads, "seed": seed, "builder": builder}

    # Without a floor, cost and carbon keep the service of the instance's own benefit plan.
    base: Plan | Floor | None = floor
    if objective != "benefit" and floor is None:
        base = solve(instance, "benefit", **options())
    service = service_of(base) if isinstance(base, Plan) else base
    plan = _solve_program(instance, objective, service, None, **options())
    if objective == "carbon" and plan.objective_value is not None:
        plan = _break_ties(plan, service, **options())
    return _with_time_of(base, plan) if floor is None and isinstance(base, Plan) else plan


def service_of(plan: Plan) -> Floor:
    """Return the service floor that a plan sets: its set of jobs and the work it serves per row."""
    if plan.flows is None:
        raise ValueError("the plan has no flows (none was found): it sets no floor")
    served = plan.flows.served_gpuh.sum((0, 1, 3))
    # What a solver leaves of nothing is no service.
    is_work = served > FLOOR_SLACK * unit_of(plan.instance.params)
    return Floor(started=plan.flows.started.sum((0, 2)), served_gpuh=np.where(is_work, served, 0.0))


def _break_ties(plan: Plan, service: Floor | None, **options: Any) -> Plan:
    """Return the plan of least cost among those that emit no more; bound and status stay those of ``plan``."""
    assert plan.objective_value is not None
    cap = plan.objective_value * (1.0 + TIE_SHARE) + TIE_KG * unit_of(plan.instance.params)
    try:
        cheaper = _solve_program(plan.instance, "cost", service, cap, **options)
    except InfeasibleError:  # the cap is met by the plan at hand, but within tolerances only
        return plan
    if cheaper.flows is None:
        return plan

    value = replayed(plan.instance, cheaper.flows, "carbon").value
    proven = {
        name: getattr(plan, name)
        for name in ("objective", "unit", "status", "solver_objective", "bound", "is_safe")
    }
    cheaper = replace(cheaper, **proven, objective_value=value, gap=relative_gap(value, plan.bound))
    return _with_time_of(plan, cheaper)


def _with_time_of(before: Plan, plan: Plan) -> Plan:
    """Add the time of a plan that was solved on the way."""
    return replace(plan, build_s=plan.build_s + before.build_s, solve_s=plan.solve_s + before.solve_s)


def _solve_program(
    instance: Instance,
    objective: Objective,
    service: Floor | None,
    carbon_cap_kg: float | None,
    mip_gap: float,
    time_limit_s: float | None,
    threads: int,
    seed: int,
    builder: Builder,
) -> Plan:
    begin = time.perf_counter()
    program = build(instance, objective, service, carbon_cap_kg, builder=builder)
    built = time.perf_counter()
    result = solved_program(program, mip_gap, Deadline(time_limit_s), threads, seed)
    solved = time.perf_counter()
    return read_plan(instance, objective, program, result, built - begin, solved - built)


def solved_program(
    program: Program, mip_gap: float, clock: Deadline, threads: int, seed: int
) -> SolverResult:
    """Return the solver's result, split in time where the program is very large and its rows allow it."""
    if program.size[0] > SPLIT_ROWS and program.is_by_steps and not program.reaches_back:
        try:
            return solve_split(program, mip_gap=mip_gap, clock=clock, threads=threads, seed=seed)
        except InfeasibleError:
            pass  # the whole program says which rows conflict
    solver = ProgramSolver(program, threads=threads, seed=seed)
    return solver.solve(mip_gap=mip_gap, time_limit_s=clock.left_s())


def read_plan(
    instance: Instance,
    objective: Objective,
    program: Program,
    result: SolverResult,
    build_s: float,
    solve_s: float,
) -> Plan:
    """Return the plan in a solver's result, replayed in the simulator; raise SolverError where their values differ."""
    # The solver minimises minus the benefit; a plan reports the benefit itself.
    sign = -1.0 if objective == "benefit" else 1.0
    unit = "kg" if objective == "carbon" else "USD"
    plan = Plan(
        instance=instance,
        objective=objective,
        status=result.status,
        unit=unit,
        bound=sign * result.bound,
        is_safe=result.is_safe,
        build_s=build_s,
        solve_s=solve_s,
        rows=program.size[0],
        columns=program.size[1],
    )

    return (
        plan if result.values is None else _with_schedule(plan, program.flows_of(result.values), result, sign)
    )


def _with_schedule(plan: Plan, flows: Flows, result: SolverResult, sign: float) -> Plan:
    """Add the schedule of solver flows [T,...], as the simulator replays it."""
    replay = replayed(plan.instance, flows, plan.objective)
    assert result.objective is not None
    if abs(replay.value - result.objective) > REPLAY_TOLERANCE * replay.scale:
        raise SolverError(
            f"the plan replays to {replay.value:.9g} {plan.unit} but the solver reported {result.objective:.9g}: "
            "model and simulator disagree"
        )
    # Replayed, a plan may be better than its bound by rounding.
    bound = min(result.bound, replay.value)

    return replace(
        plan,
        objective_value=sign * replay.value,
        solver_objective=sign * result.objective,
        bound=sign * bound,
        gap=relative_gap(replay.value, bound),
        **replay.schedule,
    )


def relative_gap(value: float, bound: float) -> float:
    """Return the distance of a value to its bound over the value; what is smaller than ZERO counts as ZERO there."""
    return abs(value - bound) / max(abs(value), ZERO)


@dataclass(frozen=True)
class Replayed:
    """A schedule as the simulator carries it out."""

    flows: Flows  # [T,...]
    actions: Float[Floats32, "T A"]
    value: float  # of the minimised objective
    scale: float  # sum of absolute terms
    benefit_usd: float
    emissions_kg: float

    @property
    def schedule(self) -> dict[str, Any]:
        """Fields that a `Plan` has under the same names."""
        return {name: getattr(self, name) for name in ("flows", "actions", "benefit_usd", "emissions_kg")}


def replayed(instance: Instance, raw: Flows, objective: Objective) -> Replayed:
    """Replay solver flows [T,...] in the simulator, in normal form: rounding removed, derived flows at least values."""
    simulator = Simulator(stack([instance]))
    layout = Layout(instance.compiled.shape)
    resorts = last_resorts(instance, objective)
    value = scale = benefit_usd = emissions_kg = 0.0
    cleaned: list[Flows] = []
    actions: list[Floats32] = []
    for t in range(instance.steps):
        p, state, exo = simulator.params, simulator.state, simulator.exogenous
        flows = to_normal_form(p, state, exo, raw.map(itemgetter(slice(t, t + 1))))
        cleaned.append(flows.map(itemgetter(0)))
        # Before the step: an action is encoded against the state that it meets.
        actions.append(encode(p, layout, state, exo, flows)[0])
        _, outcome = simulator.step_flows(flows)

        value += float(goal(p, flows, outcome, objective, resorts)[0])
        scale += sum(abs(float(term[0])) for term in outcome.terms_usd.values())
        benefit_usd += float(outcome.benefit_usd[0])
        emissions_kg += float(billed_kg(p, outcome)[0])
    scale = max(scale, emissions_kg) or 1.0
    return Replayed(Flows.stacked(cleaned), np.stack(actions), value, scale, benefit_usd, emissions_kg)
