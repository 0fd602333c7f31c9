"""Points of a frontier: each is solved in a worker and lies in a file of its own, written whole or not at all.

A file names what it was computed from; a killed sweep goes on where it stopped, and nothing is computed twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from baselines.milp import Plan, service_of
from baselines.model import Floor, Objective
from baselines.sweep import Chain
from gridai_env.frontier import Sweep, instance_at, widest
from gridai_env.instance import Instance
from gridai_env.relocation import closed_routes, layer_shares, relocatable
from gridai_env.rollout import run
from scripts._common import InputError
from scripts._contenders import find_contenders
from scripts._records import Record, checkpoint_of, key_of, read_record, write_record

KIND = "frontier point"


@dataclass(frozen=True)
class Settings:
    """What all points of a sweep share."""

    folder: Path  # of the point files
    mip_gap: float
    time_limit_s: float | None
    threads: int


@dataclass(frozen=True)
class Task:
    """Some points of one curve: an objective, or a policy, on one episode along one axis."""

    instance: Instance  # of the seed, at the budgets of its scenario
    sweep: Sweep
    what: str  # an objective or the name of a policy
    points: tuple[int, ...]

    @property
    def is_policy(self) -> bool:
        """Whether a policy plays, rather than the solver."""
        return self.what not in ("benefit", "cost", "carbon")

    def path(self, folder: Path, point: int) -> Path:
        """File of one of its points."""
        return point_path(folder, self.sweep.axis, self.instance.seed, self.what, point)

    def key(self, point: int, settings: Settings) -> str:
        """What the point's file must have been computed from."""
        here, tightest = self.at(point).hash, self.at(0).hash
        if self.is_policy:
            return key_of(here, self.what, checkpoint_of(self.what))
        return key_of(here, tightest, self.what, settings.mip_gap, settings.time_limit_s)

    def read(self, point: int, settings: Settings) -> Record | None:
        """The record of a point, None where it is not computed yet."""
        return read_record(self.path(settings.folder, point), KIND, self.key(point, settings))

    def write(self, point: int, settings: Settings, record: Record) -> None:
        """Write the record of a point."""
        write_record(self.path(settings.folder, point), KIND, self.key(point, settings), record)

    @cached_property
    def _base(self) -> Instance:
        return widest(self.instance, self.sweep)

    def at(self, point: int) -> Instance:
        """The episode at the budgets of a point; last-resort prices are the same at all of them."""
        return instance_at(self._base, self.sweep, point)


def point_path(folder: Path, axis: str, seed: int, what: str, point: int) -> Path:
    """File of a point."""
    name = what.replace(":", "_").replace("/", "_")
    return folder / f"{axis.replace(':', '_')}_seed{seed}_{name}_point{point:02d}.json"


# Work -------------------------------------------------------------------------------------------------------


def missing(task: Task, settings: Settings) -> Task | None:
    """The task without the points that have their files; None where nothing is left."""
    left = tuple(i for i in task.points if task.read(i, settings) is None)
    return Task(task.instance, task.sweep, task.what, left) if left else None


def compute(task: Task, settings: Settings) -> int:
    """Compute the points of a task and write their files; returns how many."""
    if task.is_policy:
        _play(task, settings)
    else:
        _solve(task, settings)
    return len(task.points)


def _solve(task: Task, settings: Settings) -> None:
    objective: Objective = task.what  # type: ignore[assignment]
    floor = None if objective == "benefit" else read_floor(task, settings)
    chain = Chain(task.at(len(task.sweep) - 1), objective, floor, threads=settings.threads)
    for point in task.points:
        plan = chain.solve(task.at(point), mip_gap=settings.mip_gap, time_limit_s=settings.time_limit_s)
        task.write(point, settings, _plan_record(task, point, plan))


def read_floor(task: Task, settings: Settings) -> Floor:
    """The service of the tightest point's benefit plan, which cost and carbon must keep everywhere."""
    path = point_path(settings.folder, task.sweep.axis, task.instance.seed, "benefit", 0)
    record = read_record(path, KIND)
    if record is None or record["floor"] is None:
        raise InputError(
            f"{path}: no benefit plan at the tightest budget in time, so cost and carbon have no service floor; "
            "raise --time-limit-s"
        )
    floor = record["floor"]
    return Floor(started=np.array(floor["started"]), served_gpuh=np.array(floor["served_gpuh"]))


def _place(task: Task, point: int) -> Record:
    return {
        "seed": task.instance.seed,
        "point": point,
        "axis": task.sweep.axis,
        "budget_ms": task.sweep.budget_ms(point),
        "scale": task.sweep.scale(point),
    }


def _plan_record(task: Task, point: int, plan: Plan) -> Record:
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


def _play(task: Task, settings: Settings) -> None:
    for point in task.points:
        instance = task.at(point)
        contender = find_contenders([task.what], instance.compiled)[0]
        player = contender.plan(instance) if contender.plan is not None else contender.policy
        assert player is not None  # the optimum is no policy of a sweep
        trajectory = run(player, instance, seed=task.instance.seed)
        rid = relocatable(instance, trajectory.flows).rows()
        row = _place(task, point) | {
            "policy": task.what,
            "benefit_usd": trajectory.benefit_usd,
            "cost_usd": trajectory.metrics["cost_usd"],
            "emissions_kg": trajectory.emissions_kg,
            "dropped_gpuh": trajectory.metrics["dropped_gpuh"],
            "rid_real": next(entry["rid_real"] for entry in rid if entry["class"] == "all"),
        }
        task.write(point, settings, {"row": row})


def is_linear(instance: Instance) -> bool:
    """Whether the programs of an episode have no yes/no decisions, so that points are solved one from the other."""
    p = instance.params
    return not (p.has_jobs or p.has_battery or (p.generator_min_mw > 0.0).any())


def cut_tasks(instances: Sequence[Instance], sweep: Sweep, what: str, jobs: int) -> list[Task]:
    """One curve on all episodes, cut so that every worker has something to do.

    Points of linear programs start from the point before, so they stay together as far as there are enough
    episodes; others stand alone.
    """
    pieces = len(sweep) if what not in ("benefit", "cost", "carbon") or not is_linear(instances[0]) else 1
    if pieces == 1 and what != "benefit":
        pieces = max(1, -(-jobs // (2 * len(instances))))
    parts = np.array_split(np.arange(len(sweep)), min(pieces, len(sweep)))
    return [Task(i, sweep, what, tuple(int(n) for n in part)) for i in instances for part in parts]
