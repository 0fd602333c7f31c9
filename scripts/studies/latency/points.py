"""Points of a frontier, one task each: an objective or a policy on an episode at some latency budgets.

The points of a curve are solved by one worker, each from the solution of the one before, see `cut`.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from baselines.optimum.latency_chain import LatencySweepSolver
from baselines.optimum.milp import Plan, service_of
from baselines.program.objectives import OBJECTIVES, Objective, resort_weight
from baselines.program.service_floor import Floor, meets_floor
from gridai_env.analysis.latency_budgets import Sweep, instance_at, widest
from gridai_env.analysis.relocation import closed_routes, layer_shares, relocatable
from gridai_env.episodes.instance import Instance
from gridai_env.rollout.run import run
from gridai_env.rollout.trajectory import Trajectory
from scripts.runs.folder import file_name
from scripts.runs.tasks import Record, Task, had_time, key_of
from scripts.studies.policies import checkpoint_of, find_contender
from scripts.studies.solver import SolverOptions

KIND = "frontier point"


@dataclass(frozen=True)
class Curve:
    """An objective, or a policy, on one episode along one axis."""

    instance: Instance  # of the seed, at the budgets of its scenario
    sweep: Sweep
    what: str  # an objective or the name of a policy
    # Service of the tightest point's benefit plan, which cost and carbon keep; None for benefit, which sets it.
    floor: Record | None = None

    @property
    def is_policy(self) -> bool:
        """Whether a policy plays, rather than the solver."""
        return self.what not in OBJECTIVES

    @cached_property
    def _base(self) -> Instance:
        return widest(self.instance, self.sweep)

    def at(self, point: int) -> Instance:
        """Return the episode at the budgets of a point; last-resort prices are the same at all of them."""
        return instance_at(self._base, self.sweep, point)

    def service(self) -> Floor:
        """Return the service floor that cost and carbon keep."""
        assert self.floor is not None
        return Floor(np.array(self.floor["started"]), np.array(self.floor["served_gpuh"]))


@dataclass(frozen=True)
class SweepTask(Task):
    """One point of a curve."""

    curve: Curve
    point: int
    solver: SolverOptions

    @property
    def name(self) -> str:
        """Name of the point's file."""
        what, axis = file_name(self.curve.what), file_name(self.curve.sweep.axis)
        return f"{axis}_seed{self.curve.instance.seed}_{what}_point{self.point:02d}"

    @cached_property
    def key(self) -> str:
        """What the point is computed from; the time limit is no part, see `is_current`."""
        curve = self.curve
        instance, checkpoint = curve.at(self.point), checkpoint_of(curve.what)
        return key_of(instance.hash, curve.what, checkpoint, curve.floor, self.solver.mip_gap)

    @property
    def stamp(self) -> Record:
        """The time that the solver had."""
        return {"time_limit_s": self.solver.limit_s}

    def is_current(self, record: Record) -> bool:
        """Return whether the point is solved, or stopped at a limit no shorter than now."""
        return had_time(record, self.solver.limit_s)

    @property
    def place(self) -> Record:
        """The columns that place the point, the same in all tables."""
        sweep = self.curve.sweep
        return {
            "seed": self.curve.instance.seed,
            "point": self.point,
            "axis": sweep.axis,
            "budget_ms": sweep.budget_ms(self.point),
            "scale": sweep.scale(self.point),
        }


def cut(curves: Sequence[Curve], options: SolverOptions, jobs: int) -> list[list[SweepTask]]:
    """Cut curves of one objective or policy on all episodes into batches, so that every worker has something to do.

    Points of linear programs start from the point before, so they stay together as far as there are enough
    episodes; others stand alone.
    """
    what, points = curves[0].what, len(curves[0].sweep)
    pieces = points if curves[0].is_policy or not is_linear(curves[0].instance) else 1
    if pieces == 1 and what != "benefit":
        pieces = max(1, -(-jobs // (2 * len(curves))))

    parts = np.array_split(np.arange(points), min(pieces, points))
    return [[SweepTask(curve, int(n), options) for n in part] for curve in curves for part in parts]


def is_linear(instance: Instance) -> bool:
    """Return whether the programs have no yes/no decisions, so that points are solved one from the other."""
    p = instance.params
    return not (p.has_jobs or p.has_battery or (p.generator_min_mw > 0.0).any())


# Work -------------------------------------------------------------------------------------------------------


def compute(batch: Sequence[SweepTask]) -> Iterator[Record]:
    """Yield the records of points of one curve."""
    curve = batch[0].curve
    if curve.is_policy:
        yield from map(_played, batch)
        return

    options = batch[0].solver
    objective: Objective = curve.what  # type: ignore[assignment]
    floor = None if objective == "benefit" else curve.service()
    solver = LatencySweepSolver(curve.at(len(curve.sweep) - 1), objective, floor, threads=options.threads)
    for task in batch:
        plan = solver.solve(curve.at(task.point), mip_gap=options.mip_gap, time_limit_s=options.time_limit_s)
        yield _plan_record(task, plan)


def _plan_record(task: SweepTask, plan: Plan) -> Record:
    """Return what is kept of a plan: one row of ``frontier.csv``, and for benefit what happened in it."""
    # All objectives as something to be lowered: V = -benefit.
    sign = -1.0 if plan.objective == "benefit" else 1.0
    none = float("nan")
    figures = dict.fromkeys(PLAN_FIGURES, none)
    if plan.flows is not None:
        figures = _figures(run(plan, plan.instance, replay="flows"), PLAN_FIGURES)
    row = task.place | {
        "objective": plan.objective,
        "value": none if plan.objective_value is None else sign * plan.objective_value,
        "bound": sign * plan.bound,
        "gap": plan.gap,
        **figures,
        "status": plan.status,
        "seconds": plan.build_s + plan.solve_s,
    }
    record: Record = {"row": row}
    if plan.objective != "benefit":
        return record

    record["floor"] = None
    if plan.flows is not None:
        floor = service_of(plan)
        record["floor"] = {"started": floor.started.tolist(), "served_gpuh": floor.served_gpuh.tolist()}
        record["layers"] = layer_shares(plan.instance, plan.flows)
    record["rid"] = relocatable(plan.instance, plan.flows).rows()
    record["closed"] = closed_routes(plan.instance, plan.flows)
    return record


PLAN_FIGURES = ("benefit_usd", "cost_usd", "emissions_kg", "moved_share")
POLICY_FIGURES = ("benefit_usd", "cost_usd", "emissions_kg", "dropped_gpuh")


def _played(task: SweepTask) -> Record:
    """Play the policy at a point; return one row of ``policies.csv``, and what must not lie below the frontier."""
    instance = task.curve.at(task.point)
    contender = find_contender(task.curve.what, task.curve.instance.compiled, task.solver)
    played, status = contender.play(instance, instance.seed)
    row = task.place | {"policy": task.curve.what}
    if played is None:  # a variant without a plan in time
        return {"row": row | dict.fromkeys((*POLICY_FIGURES, "rid_real"), math.nan) | {"status": status}}

    rid = relocatable(instance, played.flows).rows()
    real = next(entry["rid_real"] for entry in rid if entry["class"] == "all")
    figures = _figures(played, POLICY_FIGURES) | {"rid_real": real, "status": "played"}
    return {"row": row | figures, "checks": row | _minimised(task.curve.service(), played)}


def _figures(played: Trajectory, names: Sequence[str]) -> Record:
    return {name: played.metrics[name] for name in names}


def _minimised(floor: Floor, played: Trajectory) -> Record:
    """Return what a policy comes to in the minimised sense of the solver, last resorts weighted."""
    instance, flows = played.instance, played.flows
    return {
        "keeps_floor": meets_floor(floor, played, slack=0.0),
        "benefit": -played.benefit_usd,
        "cost": played.metrics["cost_usd"] + resort_weight(instance, "cost", flows),
        "carbon": played.emissions_kg + resort_weight(instance, "carbon", flows),
        "scale": sum(abs(value) for value in played.terms.values()) + played.emissions_kg,
    }
