"""Points of cost-carbon fronts: computed in workers, each kept in a file of its own, written whole or not at all.

A file names what it was computed from, so that a killed run goes on where it stopped.  Stages: the benefit optimum of
each episode (it sets the service that all points keep), both ends of the front and the policies, then what lies
between.

What no longer fits is computed again: points under another floor than the optimum's at hand, caps between other ends,
and what stopped at a shorter time limit than is allowed now.  So no front holds two floors, and finished points stay
where --time-limit-s is raised.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from baselines.optimum.carbon_front import (
    CostCarbonPoint,
    FrontPoint,
    FrontProgram,
    caps_between,
    margin_below,
    place_of,
)
from baselines.optimum.milp import service_of, solve
from baselines.optimum.service_floor import Floor, meets_floor
from gridai_env.episodes.instance import Instance
from gridai_env.rollout.run import run
from gridai_env.rollout.trajectory import Trajectory
from scripts.runs.command import InputError
from scripts.runs.tasks import Record, checkpoint_of, key_of, read_record, write_record
from scripts.studies.names import OPTIMUM, VARIANT
from scripts.studies.policies import find_contenders

KIND = "front point"
LOCAL = "local_only"
LEAST_COST, LEAST_CARBON = "least cost", "least carbon"
# Points of a front that one task computes: few, so that progress shows and a killed run loses little.
AT_ONCE = 4
# Floors that agree to this many decimals (of GPU-h, and of jobs) are the same: solving again repeats rounding.
FLOOR_DECIMALS = 6
# By how much a policy may pass the front, over the sum of its absolute terms: rounding, no more.
BOUND_TOLERANCE = 1e-6


class FrontError(RuntimeError):
    """A policy lies beyond the proven front: solver and simulator disagree, and no figure can be trusted."""


@dataclass(frozen=True)
class FrontSettings:
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

    @property
    def limit_s(self) -> float:
        """The time limit of a solve as a number."""
        return np.inf if self.time_limit_s is None else self.time_limit_s


@dataclass(frozen=True)
class FrontTask:
    """Some points of one episode: the benefit optimum, policies, or optima on the front, by name."""

    instance: Instance
    kind: str  # "optimum", "policy" or "front"
    names: tuple[str, ...]

    def path(self, folder: Path, name: str) -> Path:
        """File of one of its points."""
        word = "".join(c if c.isalnum() or c in "._-" else "_" for c in name)
        mark = hashlib.sha256(name.encode()).hexdigest()[:6]
        return folder / f"seed{self.instance.seed}_{self.kind}_{word[-40:]}_{mark}.json"

    def key(self, name: str, settings: FrontSettings) -> str:
        """What the point's file must have been computed from; the time limit is no part, see `read`."""
        solved = self.kind != "policy" or name.startswith(VARIANT)
        grid = settings.points if name.startswith("cap ") else 0
        gap = settings.mip_gap if solved else None
        return key_of(self.instance.hash, self.kind, name, gap, grid, checkpoint_of(name))

    def under(self, name: str, settings: FrontSettings) -> str | None:
        """The results of earlier stages that the point rests on, as one word; None where they are not there (yet)."""
        if self.kind == "optimum":
            return ""
        floor = _floor(self.instance, settings)
        if floor is None:
            return None
        service = [(np.round(values, FLOOR_DECIMALS) + 0.0).tolist() for values in vars(floor).values()]
        if not name.startswith("cap "):
            return key_of(service)
        ends_kg = _ends_kg(self.instance, settings)
        return None if ends_kg is None else key_of(service, [f"{kg:.9g}" for kg in ends_kg])

    def read(self, name: str, settings: FrontSettings) -> Record | None:
        """The record of a point; None where there is none yet, or where it has to be computed again."""
        record = read_record(self.path(settings.folder, name), KIND, self.key(name, settings))
        if record is None or record["under"] != self.under(name, settings):
            return None
        stopped = record["row"] is not None and record["row"]["status"] == "time_limit"
        return None if stopped and record["time_limit_s"] < settings.limit_s else record

    def write(self, name: str, settings: FrontSettings, record: Record) -> None:
        """Write the record of a point."""
        whole = record | {"under": self.under(name, settings), "time_limit_s": settings.limit_s}
        write_record(self.path(settings.folder, name), KIND, self.key(name, settings), whole)


def stages(
    instances: Sequence[Instance], policies: Sequence[str], settings: FrontSettings
) -> list[list[FrontTask]]:
    """All tasks, those of a stage independent of each other."""
    between = [f"cap {i}" for i in range(1, settings.points - 1)]
    prices = [f"{price:g} USD/t" for price in settings.prices_usd_per_t]
    return [
        [FrontTask(i, "optimum", (OPTIMUM,)) for i in instances],
        [FrontTask(i, "front", (LEAST_COST, LEAST_CARBON)) for i in instances]
        + [FrontTask(i, "policy", (name,)) for i in instances for name in policies],
        [FrontTask(i, "front", part) for i in instances for part in [*_parts(between), *_parts(prices)]],
    ]


def _parts(names: list[str]) -> list[tuple[str, ...]]:
    return [tuple(names[i : i + AT_ONCE]) for i in range(0, len(names), AT_ONCE)]


# Files --------------------------------------------------------------------------------------------------------------


def missing(task: FrontTask, settings: FrontSettings) -> FrontTask | None:
    """The task without the points that have their files; None where nothing is left.

    Points of later stages count as missing as long as what they rest on is: `compute` looks again.
    """
    names = [name for name in task.names if task.read(name, settings) is None]
    return FrontTask(task.instance, task.kind, tuple(names)) if names else None


# Work ---------------------------------------------------------------------------------------------------------------


def compute(task: FrontTask, settings: FrontSettings) -> int:
    """Compute the points of a task that are still missing and write their files; returns how many it has."""
    left = missing(task, settings)
    if left is None:
        return len(task.names)
    if task.kind == "optimum":
        _optimum(left, settings)
    elif task.kind == "policy":
        for name in left.names:
            task.write(name, settings, {"row": _play(task.instance, name, settings)})
    else:
        _front(left, settings)
    return len(task.names)


def _play(instance: Instance, name: str, settings: FrontSettings) -> Record:
    """Judge a policy, or something that plans the episode beforehand."""
    contender = find_contenders([name], instance.compiled, settings.solver())[0]
    what = contender.policy if contender.plan is None else contender.plan(instance)
    if getattr(what, "actions", True) is None:
        return _row(instance.seed, "policy", name, None) | {"status": "time_limit", "meets_floor": 0}
    trajectory = run(what, instance, seed=instance.seed)  # type: ignore[arg-type]
    row = _policy_row(name, trajectory, read_floor(instance, settings))
    return row | {"status": getattr(what, "status", row["status"])}


def _optimum(task: FrontTask, settings: FrontSettings) -> None:
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


def read_floor(instance: Instance, settings: FrontSettings) -> Floor:
    """The service of the episode's benefit plan, which all points keep."""
    floor = _floor(instance, settings)
    assert floor is not None
    return floor


def _floor(instance: Instance, settings: FrontSettings) -> Floor | None:
    record = FrontTask(instance, "optimum", (OPTIMUM,)).read(OPTIMUM, settings)
    if record is None:
        return None
    return Floor(**{name: np.array(values) for name, values in record["floor"].items()})


def _front(task: FrontTask, settings: FrontSettings) -> None:
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


def _cap_kg(task: FrontTask, settings: FrontSettings, i: int) -> float | None:
    """The cap of point ``i``; None where the ends coincide (or one is not known) and nothing lies between."""
    ends_kg = _ends_kg(task.instance, settings)
    assert ends_kg is not None
    caps = caps_between(*ends_kg, settings.points) if np.isfinite(ends_kg).all() else []
    return caps[i - 1] if caps else None


def _ends_kg(instance: Instance, settings: FrontSettings) -> tuple[float, float] | None:
    """Emissions at both ends, NaN without a plan in time; None where they are not computed (yet)."""
    ends = FrontTask(instance, "front", (LEAST_COST, LEAST_CARBON))
    records = [ends.read(name, settings) for name in ends.names]
    high, low = (
        None if record is None else record["row"]["emissions_kg"] + record["row"]["last_resort_kg"]
        for record in records
    )
    return None if high is None or low is None else (high, low)


# Rows of front.csv --------------------------------------------------------------------------------------------------


def _row(seed: int, method: str, label: str, place: CostCarbonPoint | None) -> Record:
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


def place_in(row: Record) -> CostCarbonPoint | None:
    """Where a row stands; None without a plan."""
    values = [row[name] for name in ("cost_usd", "emissions_kg", "last_resort_usd", "last_resort_kg")]
    return None if np.isnan(values[0]) else CostCarbonPoint(*values)


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
