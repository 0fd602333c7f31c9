"""Freeze a set: solve and play its episodes, one file per result, then publish."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

from baselines.optimum.milp import Plan, solve
from baselines.rules.single_signal import LocalOnly
from gridai_env.benchmarks.published import (
    LOCAL,
    OPTIMUM,
    Entry,
    entry_record,
    figures_of,
    head,
    set_path,
    sketch,
)
from gridai_env.benchmarks.sets import Benchmark, EpisodeKey, SetName, episode_keys, make
from gridai_env.episodes.instance import Instance
from gridai_env.files import atomic_write
from gridai_env.rollout.run import run
from gridai_env.rollout.trajectory import Trajectory
from gridai_env.version import __version__
from scripts.runs.command import InputError
from scripts.runs.folder import commit, machine, versions
from scripts.runs.tasks import Record, key_of, read_record, write_record
from scripts.studies.contest import BOUND_TOLERANCE
from scripts.studies.policies import find_contenders

KIND = "frozen result"
DIGITS = 12  # significant, of published figures


@dataclass(frozen=True)
class FreezeSettings:
    """What all results of a run share; it travels to worker processes."""

    benchmark: Benchmark
    folder: Path  # of the benchmarks
    run_dir: Path
    threads: int
    overwrite: bool
    planners: bool = True  # else only bounds and Local-Only


@dataclass(frozen=True)
class FreezeTask:
    """One policy on one episode of a set."""

    set_name: SetName
    place: int
    key: EpisodeKey
    policy: str

    def path(self, settings: FreezeSettings) -> Path:
        """File of its result."""
        return settings.run_dir / self.set_name / f"{self.place:03d}_{self.policy.replace(':', '_')}.json"


def tasks_of(settings: FreezeSettings, name: SetName) -> list[FreezeTask]:
    """All results of a set: optima first, since they take longest, then rules and planners."""
    planners = settings.benchmark.sets[name].planners if settings.planners else []
    keys = list(enumerate(episode_keys(settings.benchmark, name)))
    return [FreezeTask(name, i, key, policy) for policy in (LOCAL, OPTIMUM, *planners) for i, key in keys]


def is_done(settings: FreezeSettings, task: FreezeTask) -> bool:
    """Whether the result lies there, computed from the very same episode; raises InputError for another."""
    if settings.overwrite:
        task.path(settings).unlink(missing_ok=True)
        return False
    return task.path(settings).exists() and read_result(settings, task) is not None


def compute(settings: FreezeSettings, task: FreezeTask) -> str:
    """Compute a result and write it; return what to say of it."""
    instance = episode(settings, task.key)
    begin = time.perf_counter()
    record = _optimum(settings, instance) if task.policy == OPTIMUM else _played(task.policy, instance)
    record["seconds"] = time.perf_counter() - begin
    path = task.path(settings)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_record(path, KIND, _key(settings, task), record)
    return f"{task.policy} {task.place}: {record['seconds']:.1f} s"


def episode(settings: FreezeSettings, key: EpisodeKey) -> Instance:
    """The episode of a key, kept for the next question."""
    return _episode(settings.benchmark.model_dump_json(), settings.folder, key)


@lru_cache(maxsize=64)
def _episode(benchmark: str, folder: Path, key: EpisodeKey) -> Instance:
    return make(Benchmark.model_validate_json(benchmark), key, folder)


def _optimum(settings: FreezeSettings, instance: Instance) -> Record:
    """Bound and plan of the perfect-foresight optimum; raises InputError where no plan was found in time."""
    options = settings.benchmark.solver
    plan = solve(
        instance, mip_gap=options.mip_gap, time_limit_s=options.time_limit_s, threads=settings.threads
    )
    if plan.actions is None:
        raise InputError(
            f"{instance.scenario_name}, seed {instance.seed}: no plan within {options.time_limit_s:g} s; raise "
            "solver.time_limit_s of the benchmark"
        )
    return {"bound_usd": plan.bound, "solver": _solver_facts(plan), "result": figures_of(run(plan, instance))}


def _solver_facts(plan: Plan) -> dict[str, Any]:
    return {"status": plan.status, "gap": plan.gap, "seconds": plan.build_s + plan.solve_s}


def _played(policy: str, instance: Instance) -> Record:
    contender = find_contenders([policy], instance.compiled)[0]
    player = LocalOnly() if policy == LOCAL else contender.policy
    assert player is not None
    return {"result": figures_of(played := run(player, instance)) | _of_decisions(player, played)}


def _of_decisions(player: Any, played: Trajectory) -> dict[str, Any]:
    """What a planner's decisions took, and how many were not proven optimal."""
    statuses: dict[str, int] | None = getattr(player, "statuses", None)
    if statuses is None:
        return {}
    unproven = sum(count for status, count in statuses.items() if status != "optimal")
    return {"seconds_per_decision": played.seconds_per_decision, "decisions_not_optimal": unproven}


def _key(settings: FreezeSettings, task: FreezeTask) -> str:
    solver = settings.benchmark.solver.model_dump() if task.policy == OPTIMUM else None
    return key_of(episode(settings, task.key).hash, task.policy, solver)


def read_result(settings: FreezeSettings, task: FreezeTask) -> Record | None:
    """The result in a file, None where there is none; raises InputError where it was computed from something else."""
    return read_record(task.path(settings), KIND, _key(settings, task))


# Publishing -------------------------------------------------------------------------------------------------


def publish(settings: FreezeSettings, name: SetName, tasks: list[FreezeTask]) -> Path:
    """Write the set's file from the results; return its path."""
    records: dict[int, dict[str, Record]] = {}
    keys = {task.place: task.key for task in tasks}
    for task in tasks:
        record = read_result(settings, task)
        if record is None:
            raise InputError(f"{task.path(settings)}: missing; run the same command again")
        records.setdefault(task.place, {})[task.policy] = record
    entries = [_entry(settings, keys[place], own) for place, own in sorted(records.items())]
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
    with atomic_write(path) as partial:
        partial.write_text(f'{text},\n "episodes": [\n{lines}\n ]\n}}\n', encoding="utf-8")
    return path


def _entry(settings: FreezeSettings, key: EpisodeKey, own: dict[str, Record]) -> Entry:
    """What is published of an episode; raises InputError where a result passes the bound."""
    optimum = own[OPTIMUM]
    instance = episode(settings, key)
    results = {policy: dict(record["result"]) for policy, record in own.items()}
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
    """Numbers to DIGITS significant digits, all the way down."""
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}")
    if isinstance(value, dict):
        return {key: _short(item) for key, item in value.items()}
    return [_short(item) for item in value] if isinstance(value, list) else value
