"""Freeze a set: solve and play its episodes, then publish; and check that published figures are reproduced."""

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache, cached_property, lru_cache
from pathlib import Path
from typing import Any

from gridai_env.benchmarks.play import BOUND_TOLERANCE, scale_usd
from gridai_env.benchmarks.published import (
    LOCAL,
    OPTIMUM,
    Entry,
    FrozenSet,
    entry_record,
    figures_of,
    head,
    set_path,
    sketch,
)
from gridai_env.benchmarks.sets import Benchmark, EpisodeKey, SetName, episode_keys, make
from gridai_env.episodes.instance import Instance
from gridai_env.files import write_text
from gridai_env.rollout.policy import Policy
from gridai_env.rollout.run import run
from gridai_env.rollout.trajectory import Trajectory
from gridai_env.version import __version__
from scripts.runs.command import InputError
from scripts.runs.folder import commit, file_name, machine, versions
from scripts.runs.tasks import Record, Store, Task, key_of, run_tasks
from scripts.studies.contest import decisions_not_optimal, statuses_of
from scripts.studies.evaluation.play import SAME, solved
from scripts.studies.names import OWN, PLANNER
from scripts.studies.policies import find_contender

KIND = "frozen result"
DIGITS = 12  # significant, of published figures


@dataclass(frozen=True)
class FreezeSettings:
    """What all results of a run share; it travels to worker processes."""

    benchmark: Benchmark
    folder: Path  # of the benchmarks
    threads: int
    planners: bool = True  # else only bounds and Local-Only


@dataclass(frozen=True)
class FreezeTask(Task):
    """One policy on one episode of a set."""

    settings: FreezeSettings
    place: int
    episode: EpisodeKey
    policy: str

    @property
    def name(self) -> str:
        """Name of the file of its result."""
        return f"{self.place:03d}_{file_name(self.policy)}"

    @cached_property
    def key(self) -> str:
        """What the result is computed from."""
        solver = self.settings.benchmark.solver.model_dump() if self.policy == OPTIMUM else None
        return key_of(_hash(*self._made_from), self.policy, solver)

    def instance(self) -> Instance:
        """Return the episode, cached for the next call."""
        return _instance(*self._made_from)

    @property
    def _made_from(self) -> tuple[str, Path, EpisodeKey]:
        return self.settings.benchmark.model_dump_json(), self.settings.folder, self.episode


@lru_cache(maxsize=64)
def _instance(benchmark: str, folder: Path, key: EpisodeKey) -> Instance:
    return make(Benchmark.model_validate_json(benchmark), key, folder)


@cache  # several policies ask for each of many episodes
def _hash(benchmark: str, folder: Path, key: EpisodeKey) -> str:
    return _instance(benchmark, folder, key).hash


def tasks_of(settings: FreezeSettings, name: SetName) -> list[FreezeTask]:
    """Return all results of a set: optima first, since they take longest, then rules and planners."""
    planners = settings.benchmark.sets[name].planners if settings.planners else []
    own = PLANNER + settings.benchmark.world.forecast.kind
    planners = list(dict.fromkeys(own if planner == OWN else planner for planner in planners))
    keys = list(enumerate(episode_keys(settings.benchmark, name)))
    return [FreezeTask(settings, i, key, policy) for policy in (LOCAL, OPTIMUM, *planners) for i, key in keys]


def compute(batch: Sequence[FreezeTask]) -> Iterator[Record]:
    """Yield the results of tasks."""
    for task in batch:
        begin = time.perf_counter()
        record = _optimum(task) if task.policy == OPTIMUM else _played(task.policy, task.instance())
        yield record | {"seconds": time.perf_counter() - begin}


def _optimum(task: FreezeTask) -> Record:
    """Return bound and plan of the perfect-foresight optimum; raises InputError where no plan was found in time."""
    instance = task.instance()
    plan = solved(task.settings.benchmark, instance, task.settings.threads)
    proof = {"status": plan.status, "gap": plan.gap, "is_safe": int(plan.is_safe)}
    proof["seconds"] = plan.build_s + plan.solve_s
    return {"bound_usd": plan.bound, "solver": proof, "result": figures_of(run(plan, instance))}


def _played(policy: str, instance: Instance) -> Record:
    player = find_contender(policy, instance.compiled).decider
    return {"result": figures_of(played := run(player, instance)) | _of_decisions(player, played)}


def _of_decisions(player: Policy, played: Trajectory) -> dict[str, Any]:
    """Return what a planner's decisions took, and how many were not proven optimal."""
    if not statuses_of(player):
        return {}
    return {
        "seconds_per_decision": played.seconds_per_decision,
        "decisions_not_optimal": decisions_not_optimal(player),
    }


# Publishing -------------------------------------------------------------------------------------------------


def publish(settings: FreezeSettings, name: SetName, tasks: Sequence[FreezeTask], store: Store) -> Path:
    """Write the set's file from the results; return its path."""
    by_place: dict[int, list[FreezeTask]] = {}
    for task in tasks:
        by_place.setdefault(task.place, []).append(task)
    entries = [_entry(own, store) for _, own in sorted(by_place.items())]

    data = head() | {
        "scenario": settings.benchmark.scenario,
        "set": name,
        "package_version": __version__,
        "time_utc": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "versions": versions(),
        "machine": machine(),
        "solver": settings.benchmark.solver.model_dump(),
    }
    path = set_path(settings.benchmark.scenario, name, settings.folder)
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(data, indent=1).removesuffix("\n}")
    lines = ",\n".join(json.dumps(_short(entry_record(entry))) for entry in entries)
    write_text(path, f'{text},\n "episodes": [\n{lines}\n ]\n}}\n')
    return path


def _entry(own: Sequence[FreezeTask], store: Store) -> Entry:
    """Return what is published of an episode; raises InputError where a result passes the bound."""
    records = {task.policy: store.result(task) for task in own}
    optimum, key, instance = records[OPTIMUM], own[0].episode, own[0].instance()
    results = {policy: dict(record["result"]) for policy, record in records.items()}

    # Terms that a world does not have are left out of what is published.
    for policy, result in results.items():
        result["terms_usd"] = {name: value for name, value in result["terms_usd"].items() if value}
        scale = max(sum(abs(value) for value in result["terms_usd"].values()), 1.0)
        if result["benefit_usd"] > optimum["bound_usd"] + BOUND_TOLERANCE * scale:
            raise InputError(
                f"seed {key.seed}: {policy} earns {result['benefit_usd']:,.6f} USD and passes the bound "
                f"{optimum['bound_usd']:,.6f}: solver and simulator disagree, please report it"
            )
    return Entry(
        key=key,
        hash=instance.hash,
        sketch=tuple(sketch(instance)),
        bound_usd=optimum["bound_usd"],
        solver=optimum["solver"],
        results=results,
    )


def _short(value: Any) -> Any:
    """Return numbers to DIGITS significant digits, all the way down."""
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}")
    if isinstance(value, dict):
        return {key: _short(item) for key, item in value.items()}
    return [_short(item) for item in value] if isinstance(value, list | tuple) else value


# Recomputing ------------------------------------------------------------------------------------------------


def differences(frozen: FrozenSet, folder: Path) -> list[str]:
    """Return one line for each published figure that is not reproduced; results are kept in ``folder``."""
    settings = FreezeSettings(frozen.benchmark, frozen.folder, threads=1)
    work = [
        (entry, FreezeTask(settings, place, entry.key, policy))
        for policy in frozen.published
        for place, entry in enumerate(frozen.entries)
    ]
    store = Store(folder / frozen.name, KIND)
    run_tasks(store, [[[task] for _, task in work]], compute, total=len(work), label="recomputing")
    return [fault for entry, task in work for fault in _faults(frozen, entry, task, store.result(task))]


def _faults(frozen: FrozenSet, entry: Entry, task: FreezeTask, record: Record) -> list[str]:
    """Return a bound may differ by the solver's gap, and so may the optimum's plan; the rest by rounding."""
    own, there = record["result"], entry.results[task.policy]
    gap_usd = frozen.benchmark.solver.mip_gap * abs(entry.bound_usd)
    allowed = SAME * scale_usd(own) + (2.0 * gap_usd if task.policy == OPTIMUM else 0.0)
    pairs = [("benefit", own["benefit_usd"], there["benefit_usd"])]
    if task.policy == OPTIMUM:
        pairs.append(("bound", record["bound_usd"], entry.bound_usd))
    return [
        f"seed {entry.key.seed}, {task.policy}: {what} is {here:,.4f} USD here, {published:,.4f} published"
        for what, here, published in pairs
        if not abs(here - published) <= allowed
    ]
