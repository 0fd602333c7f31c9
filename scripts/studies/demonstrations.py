"""Demonstrations of a planner: which episodes, playing those that are missing, and the table of them all."""

import time
from collections.abc import Iterator, Sequence
from copy import copy
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from agents.config import PPOConfig
from agents.imitation.demonstrations import Demonstration, DemonstrationError, Demonstrations, demonstrate
from agents.training.imitation import IMITATION, Labeller
from agents.vec_env.adapter import TRAINING_SEEDS
from baselines.rules.registry import REGISTRY
from gridai_env.benchmarks.sets import BenchmarkError, training_days
from gridai_env.episodes.instance import Instance, make_batch
from gridai_env.scenario.compile import Compiled, compile_scenario
from gridai_env.scenario.errors import closest
from scripts.runs.arguments import InstancesBySeed
from scripts.runs.command import InputError
from scripts.runs.folder import open_folder, write_run
from scripts.runs.parallel import cores
from scripts.runs.tables import Row, write_rows
from scripts.runs.tasks import ARRAYS, Record, Store, Task, key_of, open_store, results_of
from scripts.studies.contest import statuses_of
from scripts.studies.names import FORECASTS, LEARNED, MERIT_ORDER, OPTIMUM, OWN, PLANNER, SCENARIOS
from scripts.studies.policies import checkpoint_of, find_contender, unknown_name
from scripts.studies.solver import SolverOptions

KIND = "demonstrate"
EPISODES, TABLE = "episodes", "demonstrations.csv"
COLUMNS = ("planner", "seed", "start_utc", "benefit_usd", "status", "seconds", "instance_hash")
# What decides the data; threads, workers and folders do not, and more episodes may be asked for.
DECISIVE = ("scenario_resolved", "start", "planner", "actor", "window_h", "mip_gap", "time_limit_s")
WINDOW_H = 24.0
SOLVES = SolverOptions(1e-3, 120.0, 1)  # of whole episodes, where the optimum teaches


@dataclass(frozen=True)
class DemonstrationWork:
    """What a worker needs to know."""

    planner: str
    solver: SolverOptions
    window_h: float = WINDOW_H  # that a planner looks ahead
    # The policy that plays while the planner says what it would do; None: the planner plays.
    actor: str | None = None


# Which episodes -----------------------------------------------------------------------------------------------------


def on_days(episodes: InstancesBySeed, days: str | None, start: str | None) -> tuple[InstancesBySeed, str]:
    """Return the episodes on the training days of the scenario's benchmark, or on all days, and which in words.

    Raises InputError where no episode fits into the training days.
    """
    scenario = episodes.compiled.scenario
    if days is None:
        days = "train" if start is None and scenario.traces == "synthetic" else "all"
    elif days == "train" and start is not None:
        raise InputError("--days train: --start fixes the day; leave one of them out")

    if days == "all":
        return episodes, "all that the scenario has" if start is None else f"from {start} on"
    try:
        scenario, note = training_days(scenario)
    except BenchmarkError as error:
        raise InputError(f"--days train: {error}; or give --days all") from error
    out = copy(episodes)
    out.compiled = compile_scenario(scenario)
    return out, note


def training_instances(episodes: InstancesBySeed, seeds: Sequence[int]) -> list[Instance]:
    """Return the episodes of the seeds; raises InputError for seeds that are not for training."""
    bad = [seed for seed in seeds if seed not in TRAINING_SEEDS]
    if bad:
        raise InputError(
            f"--seeds {bad[0]}: not a training seed; those are {TRAINING_SEEDS.start} to {TRAINING_SEEDS.stop - 1} "
            "(others are judged on); or give --episodes N"
        )
    return episodes.batch(seeds).instances


def check_planner(work: DemonstrationWork, compiled: Compiled) -> None:
    """Raise InputError for a planner that is unknown or cannot plan in this scenario."""
    known = [OPTIMUM, *(PLANNER + kind for kind in FORECASTS), OWN, SCENARIOS, MERIT_ORDER, *REGISTRY]
    if work.planner not in known:
        raise unknown_name("--planner", work.planner, closest(work.planner, known), known)
    if work.planner == OPTIMUM and work.actor is not None:
        raise InputError(
            f"--planner {OPTIMUM}: plans whole episodes, so it cannot say what to do in states that another policy "
            "reaches; give mpc:perfect"
        )
    if work.actor == OPTIMUM:
        raise InputError(
            f"--actor {OPTIMUM}: has a plan and no policy that decides step by step; give mpc:perfect"
        )
    for name in (work.planner, work.actor):
        if name is not None:
            find_contender(name, compiled, work.solver)


# Playing ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class DemonstrationTask(Task):
    """One episode of a planner."""

    instance: Instance
    work: DemonstrationWork

    @property
    def name(self) -> str:
        """Name of the episode's file."""
        return self.instance.hash

    @cached_property
    def key(self) -> str:
        """What the demonstration is computed from."""
        solver = (
            (self.work.solver.mip_gap, self.work.solver.time_limit_s)
            if self.work.planner == OPTIMUM
            else None
        )
        facts: list[Any] = [self.instance.hash, self.work.planner, solver]
        if self.work.window_h != WINDOW_H:
            facts.append(self.work.window_h)
        if self.work.actor is not None:
            facts.append(checkpoint_of(self.work.actor) or self.work.actor)
        return key_of(*facts)


def compute(batch: Sequence[DemonstrationTask]) -> Iterator[tuple[Row, Record | None]]:
    """Plan and play episodes; yield the row of the table and the demonstration, None without a plan in time."""
    for task in batch:
        begin = time.perf_counter()
        found, status = _demonstrated(task.instance, task.work)

        row = {
            "planner": task.work.planner,
            "seed": task.instance.seed,
            "start_utc": f"{task.instance.start_utc}Z",
            "benefit_usd": float("nan") if found is None else found.facts["benefit_usd"],
            "status": status,
            "seconds": time.perf_counter() - begin,
            "instance_hash": task.instance.hash,
        }
        if found is None:
            yield row, None
            continue
        # The episode's file names the planner as the command line does, and how it went.
        own = {name: row[name] for name in ("planner", "status", "seconds")}
        yield row, found.facts | own | {ARRAYS: found.arrays}


def _demonstrated(instance: Instance, work: DemonstrationWork) -> tuple[Demonstration | None, str]:
    """Return the demonstration and its status: that of the solve, or of decisions that were not proven optimal."""
    if work.planner == OPTIMUM:
        from baselines.optimum.milp import solve

        plan = solve(instance, **vars(work.solver))
        return (None, "no plan") if plan.actions is None else (demonstrate(plan, instance), plan.status)

    planner = find_contender(work.planner, instance.compiled, work.solver).decider
    if work.planner.startswith(PLANNER):
        planner.horizon_h = work.window_h  # type: ignore[attr-defined]
    if work.actor is None:
        found = demonstrate(planner, instance)
    else:
        found = demonstrate(find_contender(work.actor, instance.compiled).decider, instance, planner)
    statuses = statuses_of(planner)
    if all(status == "optimal" for status in statuses):
        return found, "played"
    return found, " ".join(f"{status}:{count}" for status, count in sorted(statuses.items()))


@dataclass
class DemonstrationRun:
    """One run of `scripts.demonstrate`."""

    folder: Path
    work: DemonstrationWork
    instances: Sequence[Instance]
    config: dict[str, Any]
    jobs: int = 1
    ray: str | None = None
    rows: dict[str, Row] = field(default_factory=dict)  # by hash of the instance

    @property
    def store(self) -> Store:
        """Where the episodes lie; `agents.imitation` reads the same files."""
        return Store(self.folder / EPISODES, "demonstration", binary=True)

    @property
    def tasks(self) -> list[DemonstrationTask]:
        """All episodes."""
        return [DemonstrationTask(instance, self.work) for instance in self.instances]

    @property
    def finished(self) -> int:
        """Episodes that have their files."""
        return self.store.count(self.tasks)

    def open(self, overwrite: bool) -> None:
        """Make the folder ready; raises InputError for one whose demonstrations are of something else."""
        open_store(self.folder, KIND, EPISODES, self.config, DECISIVE, "other demonstrations", overwrite)
        for task in self.tasks:
            if (record := self.store.read(task)) is not None:
                self.rows[task.name] = {name: record.get(name) for name in COLUMNS}
        self._record(finished=False)

    def play(self) -> None:
        """Play all episodes that have no file yet."""
        tasks = self.tasks

        missing = [[task] for task in tasks if task.name not in self.rows]
        try:
            with tqdm(total=len(tasks), initial=len(tasks) - len(missing), unit="episode") as bar:
                for task, (row, record) in results_of(compute, missing, self.jobs, self.ray):
                    if record is not None:
                        self.store.write(task, record)
                    self.rows[task.name] = row
                    bar.update()
        finally:
            if self.rows:
                write_rows(self._ordered(), self.folder / TABLE)
        self._record(finished=True)

    def _ordered(self) -> list[Row]:
        return [self.rows[i.hash] for i in self.instances if i.hash in self.rows]

    def summary(self) -> str:
        """Return a summary of two lines."""
        rows = self._ordered()
        missing = sum(row["status"] == "no plan" for row in rows)
        benefit_usd, seconds = ([row[name] for row in rows] for name in ("benefit_usd", "seconds"))
        line = f"benefit {np.nanmean(benefit_usd):,.0f} USD an episode, {np.mean(seconds):.2f} s each"
        lost = f"\n{missing} episode(s) without a plan in time: raise --time-limit-s"
        return line + (lost if missing else "")

    def _record(self, finished: bool) -> None:
        seeds = [instance.seed for instance in self.instances]
        write_run(self.folder, KIND, self.config, seeds, self.instances, finished=finished)


# For a training -----------------------------------------------------------------------------------------------------


def check_teacher(config: PPOConfig, compiled: Compiled) -> None:
    """Raise InputError for demonstrations that do not belong here, and a teacher that is unknown or cannot label."""
    wanted = config.imitation
    try:
        if wanted.data is not None:
            Demonstrations.load(wanted.data, compiled)
        if wanted.teacher is None:
            return
        check_planner(DemonstrationWork(wanted.teacher, SOLVES, wanted.window_h), compiled)
        if wanted.teacher == OPTIMUM and wanted.rounds:
            raise InputError(
                f"--planner {OPTIMUM}: plans whole episodes, so it cannot label the states of a network; give "
                "mpc:perfect, or imitation.rounds 0"
            )
    except DemonstrationError as error:
        raise InputError(f"imitation.data = {wanted.data!r}: {error}") from error
    except InputError as error:
        raise InputError(str(error).replace("--planner", "imitation.teacher =", 1)) from error


def labeller(config: PPOConfig, compiled: Compiled, run_dir: Path) -> Labeller | None:
    """Return what labels the episodes of each round of an imitation; None without a teacher.

    The episodes of a round are new ones; those that were labelled before a run was stopped are kept.
    """
    wanted, teacher = config.imitation, config.imitation.teacher
    if teacher is None:
        return None

    def label(number: int, acting: Path | None) -> Path:
        actor = None if acting is None else f"{LEARNED}{acting}"
        work = DemonstrationWork(teacher, SOLVES, wanted.window_h, actor)
        # Each seed of a training has a million seeds of its own.
        first = TRAINING_SEEDS.start + (config.seed % 2000) * 1_000_000 + number * wanted.episodes
        seeds = range(first, first + wanted.episodes)
        settings = {"scenario_resolved": compiled.resolved_scenario(), **asdict(work)}
        folder = open_folder(run_dir / IMITATION / f"labels_{number}", KIND)
        instances = make_batch(compiled, seeds).instances
        jobs = min(wanted.workers or cores(), wanted.episodes)
        run = DemonstrationRun(folder, work, instances, settings, jobs)
        run.open(overwrite=False)
        run.play()
        return folder

    return label
