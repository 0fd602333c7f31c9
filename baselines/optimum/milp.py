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
from numpy.typing import NDArray

from baselines.optimum.highs import Deadline, InfeasibleError, SolverError, SolverResult
from baselines.optimum.objectives import OBJECTIVES, Objective, goal, last_resorts
from baselines.optimum.program import Program, build
from baselines.optimum.relax_and_round import ProgramSolver
from baselines.optimum.rounding import rounding
from baselines.optimum.service_floor import Floor
from gridai_env.envs.simulator import Simulator
from gridai_env.episodes.instance import Instance, stack
from gridai_env.world.actions import Layout, encode
from gridai_env.world.feasible import to_normal_form
from gridai_env.world.physics import billed_kg
from gridai_env.world.state import Flows

# The replayed plan must earn what the solver reported, relative to the sum of absolute terms.
REPLAY_TOLERANCE = 1e-6


@dataclass(frozen=True)
class Plan:
    """A schedule of a whole episode, with what is proven about it."""

    instance: Instance
    objective: Objective
    status: str  # "optimal" or "time_limit"
    unit: str  # of objective_value and bound: "USD" or "kg"
    objective_value: float | None  # of the plan as replayed; None where no plan was found in time
    solver_objective: float | None  # the same as the solver saw it
    bound: float  # no plan and no policy does better: above for benefit, below for cost and carbon
    gap: float  # |objective_value - bound| / |objective_value|, infinite without a plan
    benefit_usd: float | None
    emissions_kg: float | None  # at the billed intensity
    flows: Flows | None  # each [T,...]
    actions: NDArray[np.float32] | None  # [T,A] inside the action space
    build_s: float
    solve_s: float
    rows: int
    columns: int


def solve(
    instance: Instance,
    objective: Objective = "benefit",
    mip_gap: float = 1e-4,
    time_limit_s: float | None = None,
    threads: int = 2,
    seed: int = 0,
    floor: Plan | Floor | None = None,
) -> Plan:
    """Solve the perfect-foresight program of ``instance``.

    Parameters: ``objective`` "benefit" (most USD, all terms), "cost" (least USD without revenue and job value) or
    "carbon" (least billed kg, ties by cost); ``mip_gap`` relative; ``time_limit_s`` wall seconds of all solves
    together (None: no limit; building the model and reading the plan back come on top);
    ``floor`` the service that cost and carbon must keep, by default that of the instance's own benefit plan.

    At the time limit the plan carries the incumbent (if any) and the bound, with status "time_limit".
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
    clock = Deadline(time_limit_s)

    def options() -> dict[str, Any]:
        return {"mip_gap": mip_gap, "time_limit_s": clock.left_s(), "threads": threads, "seed": seed}

    service: Floor | None = None
    base: Plan | Floor | None = floor
    if objective == "benefit":
        if floor is not None:
            raise ValueError("a floor belongs to the objectives cost and carbon, not to benefit")
    else:
        base = solve(instance, "benefit", **options()) if floor is None else floor
        service = base if isinstance(base, Floor) else service_of(base)
    plan = _solve_program(instance, objective, service, None, **options())
    if objective == "carbon" and plan.objective_value is not None:
        plan = _break_ties(plan, service, **options())
    if floor is None and isinstance(base, Plan):  # the floor was found on the way
        plan = replace(plan, build_s=plan.build_s + base.build_s, solve_s=plan.solve_s + base.solve_s)
    return plan


def service_of(plan: Plan) -> Floor:
    """The service floor that a plan sets: its set of jobs and the work it serves per row."""
    if plan.flows is None:
        raise ValueError("the plan has no flows (time limit without an incumbent): it sets no floor")
    return Floor(started=plan.flows.started.sum((0, 2)), served_gpuh=plan.flows.served_gpuh.sum((0, 1, 3)))


def _break_ties(plan: Plan, service: Floor | None, **options: Any) -> Plan:
    """Among plans that emit no more than ``plan``, the one of least cost; bound and status stay the first's."""
    assert plan.objective_value is not None
    cap = plan.objective_value * (1.0 + 1e-7) + 1e-6
    try:
        cheaper = _solve_program(plan.instance, "cost", service, cap, **options)
    except InfeasibleError:  # the cap is met by the plan at hand, but within tolerances only
        return plan
    if cheaper.flows is None:
        return plan
    value = _objective(plan.instance, cheaper.flows, "carbon")
    return replace(
        cheaper,
        objective="carbon",
        unit="kg",
        status=plan.status,
        objective_value=value,
        solver_objective=plan.solver_objective,
        bound=plan.bound,
        gap=_gap(value, plan.bound),
        build_s=plan.build_s + cheaper.build_s,
        solve_s=plan.solve_s + cheaper.solve_s,
    )


def _solve_program(
    instance: Instance,
    objective: Objective,
    service: Floor | None,
    carbon_cap_kg: float | None,
    mip_gap: float,
    time_limit_s: float | None,
    threads: int,
    seed: int,
) -> Plan:
    begin = time.perf_counter()
    program = build(instance, objective, service, carbon_cap_kg)
    built = time.perf_counter()
    solver = ProgramSolver(program, rounding=rounding(program, instance.params), threads=threads, seed=seed)
    result = solver.solve(mip_gap=mip_gap, time_limit_s=time_limit_s)
    solved = time.perf_counter()
    return read_plan(instance, objective, program, result, built - begin, solved - built)


def read_plan(
    instance: Instance,
    objective: Objective,
    program: Program,
    result: SolverResult,
    build_s: float,
    solve_s: float,
) -> Plan:
    """The plan in a solver's result, replayed in the simulator; raises SolverError where the two disagree."""
    sign = -1.0 if objective == "benefit" else 1.0
    unit = "kg" if objective == "carbon" else "USD"
    common = {"build_s": build_s, "solve_s": solve_s, "rows": program.size[0], "columns": program.size[1]}
    if result.values is None:
        empty = {"objective_value": None, "solver_objective": None, "benefit_usd": None, "emissions_kg": None}
        return Plan(
            instance, objective, result.status, unit, bound=sign * result.bound, gap=np.inf, flows=None,
            actions=None, **empty, **common,  # type: ignore[arg-type]
        )  # fmt: skip
    raw = [step.map(lambda x: x[None]) for step in program.flows_of(result.values)]
    replay = replayed(instance, raw, objective)
    assert result.objective is not None
    if abs(replay.value - result.objective) > REPLAY_TOLERANCE * replay.scale:
        raise SolverError(
            f"the plan replays to {replay.value:.9g} {unit} but the solver reported {result.objective:.9g}: "
            "model and simulator disagree"
        )
    bound = min(result.bound, replay.value)  # in the minimising sense
    return Plan(
        instance=instance,
        objective=objective,
        status=result.status,
        unit=unit,
        objective_value=sign * replay.value,
        solver_objective=sign * result.objective,
        bound=sign * bound,
        gap=_gap(replay.value, bound),
        benefit_usd=replay.benefit_usd,
        emissions_kg=replay.emissions_kg,
        flows=replay.flows,
        actions=replay.actions,
        **common,  # type: ignore[arg-type]
    )


def _gap(value: float, bound: float) -> float:
    return abs(value - bound) / max(abs(value), 1e-9)


@dataclass(frozen=True)
class Replayed:
    flows: Flows
    actions: NDArray[np.float32]
    value: float  # of the minimised objective
    scale: float  # sum of absolute terms
    benefit_usd: float
    emissions_kg: float


def replayed(instance: Instance, raw: list[Flows], objective: Objective) -> Replayed:
    """Replay solver flows in the simulator: rounding is cleaned, derived flows are tight, the books close."""
    simulator = Simulator(stack([instance]))
    layout = Layout(instance.compiled.shape)
    resorts = last_resorts(instance, objective)
    value = scale = benefit_usd = emissions_kg = 0.0
    cleaned: list[Flows] = []
    actions: list[NDArray[np.float32]] = []
    for flows in raw:
        p, state, exo = simulator.params, simulator.state, simulator.exogenous
        flows = to_normal_form(p, state, exo, flows)
        actions.append(encode(p, layout, state, exo, flows)[0])
        _, outcome = simulator.step_flows(flows)
        value += float(goal(p, flows, outcome, objective, resorts)[0])
        scale += sum(abs(float(term[0])) for term in outcome.terms_usd.values())
        benefit_usd += float(outcome.benefit_usd[0])
        emissions_kg += float(billed_kg(p, outcome)[0])
        cleaned.append(flows)
    joined = Flows(**{n: np.concatenate([getattr(f, n) for f in cleaned]) for n in Flows.names()})
    return Replayed(
        joined, np.stack(actions), value, max(scale, emissions_kg, 1.0), benefit_usd, emissions_kg
    )


def _objective(instance: Instance, flows: Flows, objective: Objective) -> float:
    """Value of the minimised objective of flows [T,...]."""
    steps = [flows.map(itemgetter(slice(t, t + 1))) for t in range(instance.steps)]
    return replayed(instance, steps, objective).value
