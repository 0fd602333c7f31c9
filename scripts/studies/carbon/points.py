"""Points of cost-carbon fronts, one task each.

Stages: the benefit optimum of each episode (it sets the service that all points keep), both ends of the front and the
policies, then what lies between.

What no longer fits is computed again: points under another floor than the optimum's at hand, caps between other ends,
and what stopped at a shorter time limit than is allowed now.  So no front holds two floors, and finished points stay
where --time-limit-s is raised.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

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
from baselines.program.service_floor import Floor, meets_floor
from gridai_env.episodes.instance import Instance
from gridai_env.rollout.run import run
from gridai_env.rollout.trajectory import Trajectory
from scripts.runs.command import InputError
from scripts.runs.tasks import Record, Store, Task, had_time, key_of
from scripts.studies.names import OPTIMUM, VARIANT
from scripts.studies.policies import checkpoint_of, find_contender
from scripts.studies.solver import SolverOptions

KIND = "front point"
LOCAL = "local_only"
LEAST_COST, LEAST_CARBON = "least cost", "least carbon"
# Points of a front that one worker computes from one compiled program: few, so that all workers have something to do.
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

    points: int  # caps, both ends included
    prices_usd_per_t: tuple[float, ...]
    solver: SolverOptions


@dataclass(frozen=True)
class FrontTask(Task):
    """One point of an episode: the benefit optimum, a policy, or an optimum on the front."""

    settings: FrontSettings
    instance: Instance
    kind: str  # "optimum", "policy" or "front"
    label: str
    # What earlier stages found: the service to keep, and the emissions at both ends of the front (NaN without a plan).
    floor: Floor | None = None
    ends_kg: tuple[float, float] | None = None

    @property
    def name(self) -> str:
        """Name of the point's file."""
        word = "".join(c if c.isalnum() or c in "._-" else "_" for c in self.label)
        mark = hashlib.sha256(self.label.encode()).hexdigest()[:6]
        return f"seed{self.instance.seed}_{self.kind}_{word[-40:]}_{mark}"

    @cached_property
    def key(self) -> str:
        """What the point is computed from; floor, ends and time limit are no part, see `is_current`."""
        solved = self.kind != "policy" or self.label.startswith(VARIANT)
        grid = self.settings.points if self.label.startswith("cap ") else 0
        gap = self.settings.solver.mip_gap if solved else None
        return key_of(self.instance.hash, self.kind, self.label, gap, grid, checkpoint_of(self.label))

    @cached_property
    def _under(self) -> str:
        """Hash of the results of earlier stages that the point rests on."""
        if self.floor is None:
            return ""
        service = [(np.round(values, FLOOR_DECIMALS) + 0.0).tolist() for values in vars(self.floor).values()]
        ends = [] if self.ends_kg is None else [[f"{kg:.9g}" for kg in self.ends_kg]]
        return key_of(service, *ends)

    @property
    def stamp(self) -> Record:
        """Floor and ends that the point depends on, and the time limit of the solver."""
        return {"under": self._under, "time_limit_s": self.settings.solver.limit_s}

    def is_current(self, record: Record) -> bool:
        """Return whether earlier stages are unchanged and the solve finished, or had no less than the present limit."""
        return record["under"] == self._under and had_time(record, self.settings.solver.limit_s)


def stages(
    instances: Sequence[Instance], policies: Sequence[str], settings: FrontSettings, store: Store
) -> Iterator[list[list[FrontTask]]]:
    """Yield the batches of each stage, which hold what those before it have left in ``store``."""
    optima = [FrontTask(settings, i, "optimum", OPTIMUM) for i in instances]
    yield [[task] for task in optima]

    services = [store.result(task)["floor"] for task in optima]  # of the benefit plans, which all points keep
    floors = [Floor(**{name: np.array(x) for name, x in service.items()}) for service in services]
    ends = [
        [FrontTask(settings, i, "front", label, floor) for label in (LEAST_COST, LEAST_CARBON)]
        for i, floor in zip(instances, floors, strict=True)
    ]
    played = [
        [FrontTask(settings, i, "policy", name, floor)]
        for i, floor in zip(instances, floors, strict=True)
        for name in policies
    ]
    yield [*ends, *played]

    # Caps rest on both ends, prices on the floor alone.
    caps = [f"cap {i}" for i in range(1, settings.points - 1)]
    prices = [f"{price:g} USD/t" for price in settings.prices_usd_per_t]
    between = []
    for i, floor, (dirty, clean) in zip(instances, floors, ends, strict=True):
        ends_kg = _weighted_kg(store.result(dirty)), _weighted_kg(store.result(clean))
        rest = [FrontTask(settings, i, "front", label, floor, ends_kg) for label in caps]
        between += [rest[n : n + AT_ONCE] for n in range(0, len(rest), AT_ONCE)]
        rest = [FrontTask(settings, i, "front", label, floor) for label in prices]
        between += [rest[n : n + AT_ONCE] for n in range(0, len(rest), AT_ONCE)]
    yield between


def _weighted_kg(record: Record) -> float:
    """Return the emissions of an end of the front with the weight of last resorts, NaN without a plan in time."""
    return float(record["row"]["emissions_kg"] + record["row"]["last_resort_kg"])


# Work ---------------------------------------------------------------------------------------------------------------


def compute(batch: Sequence[FrontTask]) -> Iterator[Record]:
    """Yield the records of points of one kind and episode."""
    first = batch[0]
    if first.kind == "optimum":
        yield from map(_optimum, batch)
    elif first.kind == "policy":
        yield from ({"row": _play(task)} for task in batch)
    else:
        assert first.floor is not None
        program = FrontProgram(first.instance, first.floor, **vars(first.settings.solver))
        for task in batch:
            point = _point(program, task)
            yield {"row": None if point is None else _point_row(task.instance.seed, point)}


def _optimum(task: FrontTask) -> Record:
    """Solve for the benefit; raises InputError where there is no plan in time."""
    plan = solve(task.instance, **vars(task.settings.solver))
    if plan.flows is None:
        raise InputError(
            f"seed {task.instance.seed}: no benefit plan in time, so the front has no service floor; "
            "raise --time-limit-s"
        )
    floor = service_of(plan)
    row = _policy_row(OPTIMUM, run(plan, task.instance, replay="flows"), floor)
    row |= {"status": plan.status, "seconds": plan.build_s + plan.solve_s}
    return {"row": row, "floor": {name: values.tolist() for name, values in vars(floor).items()}}


def _play(task: FrontTask) -> Record:
    """Play a policy, or something that plans the episode beforehand; return its row."""
    instance, floor = task.instance, task.floor
    assert floor is not None
    contender = find_contender(task.label, instance.compiled, task.settings.solver)
    trajectory, status = contender.play(instance, instance.seed)
    if trajectory is None:
        return _row(instance.seed, "policy", task.label, None) | {"status": status, "meets_floor": 0}
    return _policy_row(task.label, trajectory, floor) | {"status": status}


def _point(program: FrontProgram, task: FrontTask) -> FrontPoint | None:
    """Solve a point of the front; None where the ends coincide (or one is not known) and nothing lies between."""
    if task.label == LEAST_COST:
        return program.least_cost()
    if task.label == LEAST_CARBON:
        return program.least_carbon()
    if task.ends_kg is None:
        return program.at_price(float(task.label.removesuffix(" USD/t")))

    caps = caps_between(*task.ends_kg, task.settings.points) if np.isfinite(task.ends_kg).all() else []
    number = int(task.label.removeprefix("cap "))
    return program.at_cap(caps[number - 1], task.label) if caps else None


# Rows of front.csv --------------------------------------------------------------------------------------------------


COLUMNS = (
    "seed", "method", "label", "carbon_price_usd_per_t", "cap_kg", "cost_usd", "emissions_kg", "bound", "gap",
    "meets_floor", "status", "seconds", "last_resort_usd", "last_resort_kg", "slope_usd_per_t", "least_kg",
    "scale_usd", "keeps_floor_exactly",
)  # fmt: skip


def _row(seed: int, method: str, label: str, place: CostCarbonPoint | None) -> Record:
    known = {"seed": seed, "method": method, "label": label, "status": ""} | (vars(place) if place else {})
    return dict.fromkeys(COLUMNS, float("nan")) | known | {"meets_floor": 1, "keeps_floor_exactly": 1}


# Columns that are fields of a `FrontPoint` under the same names.
SHARED = ("label", "status", "bound", "seconds", "method", "slope_usd_per_t", "gap", "least_kg")


def _point_row(seed: int, point: FrontPoint) -> Record:
    return _row(seed, point.method, point.label, point.place) | {
        **{name: getattr(point, name) for name in SHARED},
        "carbon_price_usd_per_t": point.price_usd_per_t,
        "cap_kg": point.cap_kg if np.isfinite(point.cap_kg) else float("nan"),
    }


def _policy_row(name: str, trajectory: Trajectory, floor: Floor) -> Record:
    scale_usd = sum(float(np.abs(term).sum()) for term in trajectory.outcome.terms_usd.values())
    return _row(trajectory.instance.seed, "policy", name, place_of(trajectory)) | {
        "meets_floor": int(meets_floor(floor, trajectory)),
        "seconds": trajectory.seconds_per_decision * trajectory.instance.steps,
        "scale_usd": scale_usd,
        "keeps_floor_exactly": int(meets_floor(floor, trajectory, slack=0.0)),
    }


def place_in(row: Record) -> CostCarbonPoint | None:
    """Return cost and emissions of a row; None without a plan."""
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
        **{name: row[name] for name in SHARED},
        cap_kg=cap_kg,
        price_usd_per_t=row["carbon_price_usd_per_t"],
        place=place_in(row),
    )
