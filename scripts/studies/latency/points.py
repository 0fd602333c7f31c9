"""Points of a frontier: each is solved in a worker and lies in a file of its own, written whole or not at all.

A file names what it was computed from; a killed sweep goes on where it stopped, and nothing is computed twice.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from baselines.optimum.latency_chain import LatencySweepSolver
from baselines.optimum.milp import Plan, service_of
from baselines.optimum.objectives import OBJECTIVES, Objective, last_resorts
from baselines.optimum.service_floor import Floor, meets_floor
from gridai_env.analysis.latency_budgets import Sweep, instance_at, widest
from gridai_env.analysis.relocation import closed_routes, layer_shares, relocatable
from gridai_env.episodes.instance import Instance
from gridai_env.rollout.run import run
from gridai_env.rollout.trajectory import Trajectory
from scripts.runs.command import InputError
from scripts.runs.tasks import Record, checkpoint_of, key_of, read_record, write_record
from scripts.studies.policies import find_contenders

KIND = "frontier point"


@dataclass(frozen=True)
class SweepSettings:
    """What all points of a sweep share."""

    folder: Path  # of the point files
    mip_gap: float
    time_limit_s: float | None
    threads: int

    @property
    def solver(self) -> dict[str, Any]:
        """Options of `baselines.optimum.milp.solve`."""
        return {"mip_gap": self.mip_gap, "time_limit_s": self.time_limit_s, "threads": self.threads}


@dataclass(frozen=True)
class SweepTask:
    """Some points of one curve: an objective, or a policy, on one episode along one axis."""

    instance: Instance  # of the seed, at the budgets of its scenario
    sweep: Sweep
    what: str  # an objective or the name of a policy
    points: tuple[int, ...]
    floor: Record | None = (
        None  # service of the tightest point's benefit plan; None for benefit, which sets it
    )

    @property
    def is_policy(self) -> bool:
        """Whether a policy plays, rather than the solver."""
        return self.what not in OBJECTIVES

    def path(self, folder: Path, point: int) -> Path:
        """File of one of its points."""
        name = self.what.replace(":", "_").replace("/", "_")
        axis = self.sweep.axis.replace(":", "_")
        return folder / f"{axis}_seed{self.instance.seed}_{name}_point{point:02d}.json"

    def key(self, point: int, settings: SweepSettings) -> str:
        """What the point's file must have been computed from."""
        return key_of(self.at(point).hash, self.what, checkpoint_of(self.what), self.floor, settings.mip_gap)

    def read(self, point: int, settings: SweepSettings) -> Record | None:
        """The record of a point; None where there is none yet, or where more time than it had is allowed now."""
        record = read_record(self.path(settings.folder, point), KIND, self.key(point, settings))
        if record is None or record["row"].get("status") != "time_limit":
            return record
        now_s = math.inf if settings.time_limit_s is None else settings.time_limit_s
        return record if now_s <= record["time_limit_s"] else None

    def write(self, point: int, settings: SweepSettings, record: Record) -> None:
        """Write the record of a point."""
        limit_s = math.inf if settings.time_limit_s is None else settings.time_limit_s
        whole = record | {"time_limit_s": limit_s}
        write_record(self.path(settings.folder, point), KIND, self.key(point, settings), whole)

    @cached_property
    def _base(self) -> Instance:
        return widest(self.instance, self.sweep)

    def at(self, point: int) -> Instance:
        """The episode at the budgets of a point; last-resort prices are the same at all of them."""
        return instance_at(self._base, self.sweep, point)

    def service(self) -> Floor:
        """The service floor that cost and carbon keep."""
        assert self.floor is not None
        return Floor(np.array(self.floor["started"]), np.array(self.floor["served_gpuh"]))


# Work -------------------------------------------------------------------------------------------------------


def missing(task: SweepTask, settings: SweepSettings) -> SweepTask | None:
    """The task without the points that have their files; None where nothing is left."""
    left = tuple(i for i in task.points if task.read(i, settings) is None)
    return replace(task, points=left) if left else None


def with_floor(task: SweepTask, settings: SweepSettings) -> SweepTask:
    """The task with the service floor that the tightest point's benefit plan sets.

    Raises InputError where no such plan was found in time.
    """
    first = SweepTask(task.instance, task.sweep, "benefit", (0,))
    record = first.read(0, settings)
    if record is None or record["floor"] is None:
        raise InputError(
            f"{first.path(settings.folder, 0)}: no benefit plan at the tightest budget in time, so cost and carbon "
            "have no service floor; raise --time-limit-s"
        )
    return replace(task, floor=record["floor"])


def compute(task: SweepTask, settings: SweepSettings) -> list[tuple[int, Record]]:
    """Compute the points of a task; each is written as soon as it is known, where the folder is at hand.

    It is not on another machine of a cluster: the records are returned, for `keep` to write what is not there.
    """
    done = []
    for point, record in _play(task, settings) if task.is_policy else _solve(task, settings):
        if settings.folder.is_dir():
            task.write(point, settings, record)
        done.append((point, record))
    return done


def keep(task: SweepTask, settings: SweepSettings, done: Sequence[tuple[int, Record]]) -> int:
    """Write what a worker elsewhere could not write; return how many points are done."""
    for point, record in done:
        if not task.path(settings.folder, point).exists():
            task.write(point, settings, record)
    return len(done)


def work(number: int, task: SweepTask, settings: SweepSettings) -> tuple[int, list[tuple[int, Record]]]:
    """`compute`, with the number of the task: results come in the order in which they finish."""
    return number, compute(task, settings)


def _solve(task: SweepTask, settings: SweepSettings) -> Iterator[tuple[int, Record]]:
    objective: Objective = task.what  # type: ignore[assignment]
    floor = None if objective == "benefit" else task.service()
    chain = LatencySweepSolver(task.at(len(task.sweep) - 1), objective, floor, threads=settings.threads)
    for point in task.points:
        plan = chain.solve(task.at(point), mip_gap=settings.mip_gap, time_limit_s=settings.time_limit_s)
        yield point, _plan_record(task, point, plan)


def _place(task: SweepTask, point: int) -> Record:
    return {
        "seed": task.instance.seed,
        "point": point,
        "axis": task.sweep.axis,
        "budget_ms": task.sweep.budget_ms(point),
        "scale": task.sweep.scale(point),
    }


def _plan_record(task: SweepTask, point: int, plan: Plan) -> Record:
    """What is kept of a plan: one row of ``frontier.csv``, and for benefit what happened in it."""
    sign = -1.0 if plan.objective == "benefit" else 1.0
    none = float("nan")
    trajectory = None if plan.flows is None else run(plan, plan.instance, replay="flows")
    row = _place(task, point) | {
        "objective": plan.objective,
        "value": none if plan.objective_value is None else sign * plan.objective_value,
        "bound": sign * plan.bound,
        "gap": plan.gap,
        "benefit_usd": none if trajectory is None else trajectory.benefit_usd,
        "cost_usd": none if trajectory is None else trajectory.metrics["cost_usd"],
        "emissions_kg": none if trajectory is None else trajectory.emissions_kg,
        "moved_share": none if trajectory is None else trajectory.metrics["moved_share"],
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


def _play(task: SweepTask, settings: SweepSettings) -> Iterator[tuple[int, Record]]:
    contender = find_contenders([task.what], task.instance.compiled, settings.solver)[0]
    for point in task.points:
        instance = task.at(point)
        player = contender.plan(instance) if contender.plan is not None else contender.policy
        assert player is not None  # the optimum is no policy of a sweep
        row = _place(task, point) | {"policy": task.what}
        if getattr(player, "actions", True) is None:  # a variant without a plan in time
            yield point, {"row": row | dict.fromkeys(POLICY_FIGURES, math.nan) | {"status": "time_limit"}}
            continue
        yield point, _policy_record(task, row, run(player, instance, seed=task.instance.seed))


POLICY_FIGURES = ("benefit_usd", "cost_usd", "emissions_kg", "dropped_gpuh", "rid_real")


def _policy_record(task: SweepTask, row: Record, played: Trajectory) -> Record:
    """One row of ``policies.csv``, and what must not lie below the frontier."""
    rid = relocatable(played.instance, played.flows).rows()
    figures = {
        "benefit_usd": played.benefit_usd,
        "cost_usd": played.metrics["cost_usd"],
        "emissions_kg": played.emissions_kg,
        "dropped_gpuh": played.metrics["dropped_gpuh"],
        "rid_real": next(entry["rid_real"] for entry in rid if entry["class"] == "all"),
        "status": "played",
    }
    resorts = {
        name: float(last_resorts(played.instance, name).total(played.instance.params, played.flows).sum())
        for name in ("cost", "carbon")
    }
    checks = {
        "keeps_floor": meets_floor(task.service(), played, slack=0.0),
        "benefit": -played.benefit_usd,
        "cost": figures["cost_usd"] + resorts["cost"],
        "carbon": figures["emissions_kg"] + resorts["carbon"],
        "scale": sum(abs(value) for value in played.terms.values()) + figures["emissions_kg"],
    }
    return {"row": row | figures, "checks": row | checks}


def is_linear(instance: Instance) -> bool:
    """Whether the programs of an episode have no yes/no decisions, so that points are solved one from the other."""
    p = instance.params
    return not (p.has_jobs or p.has_battery or (p.generator_min_mw > 0.0).any())


def cut_tasks(instances: Sequence[Instance], sweep: Sweep, what: str, jobs: int) -> list[SweepTask]:
    """One curve on all episodes, cut so that every worker has something to do.

    Points of linear programs start from the point before, so they stay together as far as there are enough
    episodes; others stand alone.
    """
    pieces = len(sweep) if what not in OBJECTIVES or not is_linear(instances[0]) else 1
    if pieces == 1 and what != "benefit":
        pieces = max(1, -(-jobs // (2 * len(instances))))
    parts = np.array_split(np.arange(len(sweep)), min(pieces, len(sweep)))
    return [SweepTask(i, sweep, what, tuple(int(n) for n in part)) for i in instances for part in parts]
