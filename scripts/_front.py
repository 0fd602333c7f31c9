"""Points of cost-carbon fronts: computed in workers, each kept in a file of its own, written whole or not at all.

A file names what it was computed from, so that a killed run goes on where it stopped.  Stages: the benefit optimum of
each episode (it sets the service that all points keep), both ends of the front and the policies, then what lies
between.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from baselines.front import FrontPoint, FrontProgram, Place, caps_between, margin_below, meets_floor, place_of
from baselines.milp import service_of, solve
from baselines.model import Floor
from gridai_env.instance import Instance
from gridai_env.rollout import Trajectory, run
from scripts._common import InputError
from scripts._contenders import OPTIMUM, find_contenders
from scripts._records import Record, checkpoint_of, key_of, read_record, write_record

KIND = "front point"
LOCAL = "local_only"
LEAST_COST, LEAST_CARBON = "least cost", "least carbon"
# Points of a front that one task computes: few, so that progress shows and a killed run loses little.
AT_ONCE = 4
# By how much a policy may pass the front, over the sum of its absolute terms: rounding, no more.
BOUND_TOLERANCE = 1e-6


class FrontError(RuntimeError):
    """A policy lies beyond the proven front: solver and simulator disagree, and no figure can be trusted."""


@dataclass(frozen=True)
class Settings:
    """What all points share."""

    folder: Path  # of the point files
    points: int  # caps, both ends included
    prices_usd_per_t: tuple[float, ...]
    mip_gap: float
    time_limit_s: float | None
    threads: int

    def solver(self) -> dict[str, Any]:
        """Options of every solve."""
        return {"mip_gap": self.mip_gap, "time_limit_s": self.time_limit_s, "threads": self.threads}


@dataclass(frozen=True)
class Task:
    """Some points of one episode: the benefit optimum, policies, or optima on the front, by name."""

    instance: Instance
    kind: str  # "optimum", "policy" or "front"
    names: tuple[str, ...]

    def path(self, folder: Path, name: str) -> Path:
        """File of one of its points."""
        word = "".join(c if c.isalnum() or c in "._-" else "_" for c in name)
        mark = hashlib.sha256(name.encode()).hexdigest()[:6]
        return folder / f"seed{self.instance.seed}_{self.kind}_{word[-40:]}_{mark}.json"

    def key(self, name: str, settings: Settings) -> str:
        """What the point's file must have been computed from."""
        kind = "policy" if self.kind == "policy" else (settings.mip_gap, settings.time_limit_s)
        grid = settings.points if name.startswith("cap ") else 0
        return key_of(self.instance.hash, kind, name, grid, checkpoint_of(name))

    def read(self, name: str, settings: Settings) -> Record | None:
        """The record of a point, None where it is not computed yet."""
        return read_record(self.path(settings.folder, name), KIND, self.key(name, settings))

    def write(self, name: str, settings: Settings, record: Record) -> None:
        """Write the record of a point."""
        write_record(self.path(settings.folder, name), KIND, self.key(name, settings), record)


def stages(instances: Sequence[Instance], policies: Sequence[str], settings: Settings) -> list[list[Task]]:
    """All tasks, those of a stage independent of each other."""
    between = [f"cap {i}" for i in range(1, settings.points - 1)]
    prices = [f"{price:g} USD/t" for price in settings.prices_usd_per_t]
    return [
        [Task(i, "optimum", (OPTIMUM,)) for i in instances],
        [Task(i, "front", (LEAST_COST, LEAST_CARBON)) for i in instances]
        + [Task(i, "policy", (name,)) for i in instances for name in policies],
        [Task(i, "front", part) for i in instances for part in [*_parts(between), *_parts(prices)]],
    ]


def _parts(names: list[str]) -> list[tuple[str, ...]]:
    return [tuple(names[i : i + AT_ONCE]) for i in range(0, len(names), AT_ONCE)]


# Files --------------------------------------------------------------------------------------------------------------


def missing(task: Task, settings: Settings) -> Task | None:
    """The task without the points that have their files; None where nothing is left."""
    names = [name for name in task.names if task.read(name, settings) is None]
    return Task(task.instance, task.kind, tuple(names)) if names else None


# Work ---------------------------------------------------------------------------------------------------------------


def compute(task: Task, settings: Settings) -> int:
    """Compute the points of a task and write their files; returns how many."""
    if task.kind == "optimum":
        _optimum(task, settings)
    elif task.kind == "policy":
        for name in task.names:
            task.write(name, settings, {"row": _play(task.instance, name, settings)})
    else:
        _front(task, settings)
    return len(task.names)


def _play(instance: Instance, name: str, settings: Settings) -> Record:
    """Judge a policy, or something that plans the episode beforehand."""
    contender = find_contenders([name], instance.compiled, settings.solver())[0]
    what = contender.policy if contender.plan is None else contender.plan(instance)
    if getattr(what, "actions", True) is None:
        return _row(instance.seed, "policy", name, None) | {"status": "time_limit", "meets_floor": 0}
    trajectory = run(what, instance, seed=instance.seed)  # type: ignore[arg-type]
    return _policy_row(name, trajectory, read_floor(instance, settings))


def _optimum(task: Task, settings: Settings) -> None:
    plan = solve(task.instance, **settings.solver())
    if plan.flows is None:
        raise InputError(
            f"seed {task.instance.seed}: no benefit plan in time, so the front has no service floor; "
            "raise --time-limit-s"
        )
    floor = service_of(plan)
    row = _policy_row(OPTIMUM, run(plan, task.instance, replay="flows"), floor)
    row |= {"status": plan.status, "seconds": plan.build_s + plan.solve_s}
    kept = {"started": floor.started.tolist(), "served_gpuh": floor.served_gpuh.tolist()}
    task.write(OPTIMUM, settings, {"row": row, "floor": kept})


def read_floor(instance: Instance, settings: Settings) -> Floor:
    """The service of the episode's benefit plan, which all points keep."""
    record = Task(instance, "optimum", (OPTIMUM,)).read(OPTIMUM, settings)
    assert record is not None
    floor = record["floor"]
    return Floor(started=np.array(floor["started"]), served_gpuh=np.array(floor["served_gpuh"]))


def _front(task: Task, settings: Settings) -> None:
    program = FrontProgram(task.instance, read_floor(task.instance, settings), **settings.solver())
    for name in task.names:
        if name == LEAST_COST:
            point = program.least_cost()
        elif name == LEAST_CARBON:
            point = program.least_carbon()
        elif name.startswith("cap "):
            cap_kg = _cap_kg(task, settings, int(name.removeprefix("cap ")))
            if cap_kg is None:
                task.write(name, settings, {"row": None})
                continue
            point = program.at_cap(cap_kg, name)
        else:
            point = program.at_price(float(name.removesuffix(" USD/t")))
        task.write(name, settings, {"row": _point_row(task.instance.seed, point)})


def _cap_kg(task: Task, settings: Settings, i: int) -> float | None:
    """The cap of point ``i``; None where the ends coincide (or one is not known) and nothing lies between."""
    ends = Task(task.instance, "front", (LEAST_COST, LEAST_CARBON))
    kg = []
    for name in ends.names:
        record = ends.read(name, settings)
        assert record is not None
        kg.append(sum(record["row"][field] for field in ("emissions_kg", "last_resort_kg")))
    caps = caps_between(kg[0], kg[1], settings.points) if np.isfinite(kg).all() else []
    return caps[i - 1] if caps else None


# Rows of front.csv --------------------------------------------------------------------------------------------------


def _row(seed: int, method: str, label: str, place: Place | None) -> Record:
    none = float("nan")
    return {
        "seed": seed,
        "method": method,
        "label": label,
        "carbon_price_usd_per_t": none,
        "cap_kg": none,
        "cost_usd": none if place is None else place.cost_usd,
        "emissions_kg": none if place is None else place.emissions_kg,
        "bound": none,
        "gap": none,
        "meets_floor": 1,
        "status": "",
        "seconds": none,
        "last_resort_usd": none if place is None else place.last_resort_usd,
        "last_resort_kg": none if place is None else place.last_resort_kg,
        "slope_usd_per_t": none,
        "least_kg": none,
        "scale_usd": none,
        "keeps_floor_exactly": 1,
    }


def _point_row(seed: int, point: FrontPoint) -> Record:
    return _row(seed, point.method, point.label, point.place) | {
        "carbon_price_usd_per_t": point.price_usd_per_t,
        "cap_kg": point.cap_kg if np.isfinite(point.cap_kg) else float("nan"),
        "bound": point.bound,
        "gap": point.gap,
        "status": point.status,
        "seconds": point.seconds,
        "slope_usd_per_t": point.slope_usd_per_t,
        "least_kg": point.least_kg,
    }


def _policy_row(name: str, trajectory: Trajectory, floor: Floor) -> Record:
    scale_usd = sum(float(np.abs(term).sum()) for term in trajectory.episode.outcome.terms_usd.values())
    return _row(trajectory.instance.seed, "policy", name, place_of(trajectory)) | {
        "meets_floor": int(meets_floor(floor, trajectory)),
        "status": "played",
        "seconds": trajectory.seconds_per_decision * trajectory.instance.steps,
        "scale_usd": scale_usd,
        "keeps_floor_exactly": int(meets_floor(floor, trajectory, slack=0.0)),
    }


def place_in(row: Record) -> Place | None:
    """Where a row stands; None without a plan."""
    values = [row[name] for name in ("cost_usd", "emissions_kg", "last_resort_usd", "last_resort_kg")]
    return None if np.isnan(values[0]) else Place(*values)


def check_policies(rows: Sequence[Record]) -> None:
    """Raise FrontError where a policy that keeps the floor lies beyond what is proven, by more than rounding."""
    for row in rows:
        place = place_in(row)
        if row["method"] != "policy" or place is None or not row["keeps_floor_exactly"]:
            continue
        points = [_point_in(r) for r in rows if r["method"] != "policy" and r["seed"] == row["seed"]]
        margin = margin_below(points, place, row["scale_usd"])
        if margin < -BOUND_TOLERANCE:
            raise FrontError(
                f"seed {row['seed']}: {row['label']} lies beyond the proven front by {-margin:.2e} of its absolute "
                f"terms (allowed {BOUND_TOLERANCE:g}); solver and simulator disagree, please report it"
            )


def _point_in(row: Record) -> FrontPoint:
    cap_kg = np.inf if np.isnan(row["cap_kg"]) else row["cap_kg"]
    return FrontPoint(
        row["method"], row["label"], cap_kg, row["carbon_price_usd_per_t"], row["slope_usd_per_t"], place_in(row),
        row["bound"], row["gap"], row["status"], row["seconds"], None, row["least_kg"],
    )  # fmt: skip
