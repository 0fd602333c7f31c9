"""Demonstrations of a planner: which episodes, playing those that are missing, and the table of them all."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from agents.imitation.demonstrations import Demonstration, DemonstrationError, check, demonstrate
from agents.networks.checkpoint import Identity
from agents.vec_env.base import TRAINING_SEEDS
from baselines.rules.single_signal import REGISTRY
from gridai_env.benchmarks.sets import BenchmarkError, benchmark_names, restricted
from gridai_env.episodes.instance import Instance
from gridai_env.scenario.compile import Compiled, compile_scenario
from gridai_env.scenario.errors import closest
from scripts.runs.arguments import InstancesBySeed
from scripts.runs.command import InputError
from scripts.runs.folder import RUN_FILE, as_stored, differences, instance_record, read_run, write_run
from scripts.runs.parallel import spread
from scripts.runs.tables import write_rows
from scripts.studies.names import FORECASTS, OPTIMUM, PLANNER
from scripts.studies.policies import find_contenders

KIND = "demonstrate"
EPISODES, TABLE = "episodes", "demonstrations.csv"
# What decides the data; threads, workers and folders do not, and more episodes may be asked for.
DECISIVE = ("scenario_resolved", "start", "planner", "mip_gap", "time_limit_s")


@dataclass(frozen=True)
class DemonstrationWork:
    """What a worker needs to know."""

    planner: str
    mip_gap: float
    time_limit_s: float
    threads: int

    @property
    def solver(self) -> dict[str, Any]:
        """Options of `baselines.optimum.milp.solve`."""
        return {"mip_gap": self.mip_gap, "time_limit_s": self.time_limit_s, "threads": self.threads}


# Which episodes -----------------------------------------------------------------------------------------------------


def on_days(episodes: InstancesBySeed, days: str | None, start: str | None) -> InstancesBySeed:
    """The episodes on the training days of the scenario's benchmark, or on all days; says which.

    Raises InputError for training days that are asked for where they are not known.
    """
    scenario = episodes.compiled.scenario
    if days is None:
        fits = start is None and scenario.traces == "synthetic" and scenario.name in benchmark_names()
        days = "train" if fits else "all"
    elif days == "train" and start is not None:
        raise InputError("--days train: --start fixes the day; leave one of them out")
    if days == "all":
        print("days: all that the scenario has" if start is None else f"days: from {start} on")
        return episodes
    try:
        scenario = restricted(scenario, "train")
    except BenchmarkError as error:
        raise InputError(f"--days train: {error}; or give --days all") from error
    periods = ", ".join(f"{period.first} to {period.last}" for period in scenario.start.periods or [])
    print(f"days: the benchmark's training days, episodes start on {periods}")
    out = copy(episodes)
    out.compiled = compile_scenario(scenario)
    return out


def training_instances(episodes: InstancesBySeed, seeds: Sequence[int]) -> list[Instance]:
    """The episodes of the seeds; raises InputError for seeds that are not for training."""
    bad = [seed for seed in seeds if seed not in TRAINING_SEEDS]
    if bad:
        raise InputError(
            f"--seeds {bad[0]}: not a training seed; those are {TRAINING_SEEDS.start} to {TRAINING_SEEDS.stop - 1} "
            "(others are judged on); or give --episodes N"
        )
    return episodes.batch(seeds).instances


def check_planner(work: DemonstrationWork, compiled: Compiled) -> None:
    """Raise InputError for a planner that is unknown or cannot plan in this scenario."""
    known = [OPTIMUM, *(PLANNER + kind for kind in FORECASTS), *REGISTRY]
    if work.planner not in known:
        hint = closest(work.planner, known)
        told = f" ({hint})" if hint.startswith("did you mean") else ""
        raise InputError(f"--planner {work.planner!r}: unknown{told}; known: {', '.join(known)}")
    try:
        find_contenders([work.planner], compiled, work.solver)
    except InputError as error:
        raise InputError(str(error).replace("--policies", "--planner")) from error


# Playing ------------------------------------------------------------------------------------------------------------


def play(number: int, instance: Instance, work: DemonstrationWork, path: Path) -> dict[str, Any]:
    """Plan and play an episode and write its file; returns its row of the table, with its ``number``."""
    begin = time.perf_counter()
    status = "played"
    if work.planner == OPTIMUM:
        from baselines.optimum.milp import solve

        actor: Any = solve(instance, **work.solver)
        status = actor.status
        if actor.actions is None:
            return {"number": number, **_row(instance, work, "no plan", float("nan"), begin)}
    else:
        actor = find_contenders([work.planner], instance.compiled, work.solver)[0].policy
    found = demonstrate(actor, instance)
    statuses: dict[str, int] = getattr(actor, "statuses", {})
    if any(key != "optimal" for key in statuses):
        status = " ".join(f"{key}:{value}" for key, value in sorted(statuses.items()))
    row = _row(instance, work, status, found.facts["benefit_usd"], begin)
    facts = found.facts | {"planner": work.planner, "status": status, "seconds": row["seconds"]}
    Demonstration(facts, found.arrays).save(path)
    return {"number": number, **row}


def _row(
    instance: Instance, work: DemonstrationWork, status: str, benefit_usd: float, begin: float
) -> dict[str, Any]:
    return {
        "planner": work.planner,
        "seed": instance.seed,
        "start_utc": f"{instance.start_utc}Z",
        "benefit_usd": benefit_usd,
        "status": status,
        "seconds": time.perf_counter() - begin,
        "instance_hash": instance.hash,
    }


@dataclass
class DemonstrationRun:
    """One run of `scripts.demonstrate`."""

    folder: Path
    work: DemonstrationWork
    instances: Sequence[Instance]
    config: dict[str, Any]
    jobs: int = 1
    ray: str | None = None
    rows: dict[str, dict[str, Any]] = field(default_factory=dict)  # by hash of the instance

    @property
    def finished(self) -> int:
        """Episodes that have their files."""
        return sum(self.path(instance).exists() for instance in self.instances)

    def path(self, instance: Instance) -> Path:
        """The file of an episode."""
        return self.folder / EPISODES / f"{instance.hash}.npz"

    def open(self, overwrite: bool) -> None:
        """Make the folder ready; raises InputError for one whose demonstrations are of something else."""
        episodes = self.folder / EPISODES
        if overwrite:
            shutil.rmtree(episodes, ignore_errors=True)
            (self.folder / RUN_FILE).unlink(missing_ok=True)
        if (self.folder / RUN_FILE).exists():
            self._check_same()
        elif episodes.exists():
            raise InputError(f"{self.folder} holds {EPISODES}/ but no {RUN_FILE}: give another --run-dir")
        episodes.mkdir(exist_ok=True)
        self._read()
        self._record(finished=False)

    def _check_same(self) -> None:
        record = read_run(self.folder, KIND)
        for key in DECISIVE:
            found = next(differences(record["config"].get(key), as_stored(self.config[key]), key), None)
            if found:
                raise InputError(
                    f"{self.folder} holds other demonstrations: {found}; give another --run-dir, or --overwrite"
                )

    def _read(self) -> None:
        """Take the rows of the episodes that are there; raises InputError for files that are damaged or foreign."""
        here = Identity.of(self.instances[0].compiled)
        for instance in self.instances:
            path = self.path(instance)
            if not path.exists():
                continue
            try:
                found = Demonstration.load(path)
                check(found, here)
            except DemonstrationError as error:
                raise InputError(f"{path}: {error}") from error
            names = ("planner", "seed", "start_utc", "benefit_usd", "status", "seconds", "instance_hash")
            self.rows[instance.hash] = {name: found.facts.get(name) for name in names}

    def play(self) -> None:
        """Play all episodes that have no file yet."""
        tasks = [
            (number, instance, self.work, self.path(instance).resolve())
            for number, instance in enumerate(self.instances)
            if not self.path(instance).exists()
        ]
        try:
            with tqdm(total=len(self.instances), initial=self.finished, unit="episode") as bar:
                for row in spread(play, tasks, self.jobs, self.ray):
                    self.rows[self.instances[row.pop("number")].hash] = row
                    bar.update()
        finally:
            self._write()
        self._record(finished=True)

    def _write(self) -> None:
        if self.rows:
            write_rows(list(self._ordered()), self.folder / TABLE)

    def _ordered(self) -> list[dict[str, Any]]:
        return [self.rows[i.hash] for i in self.instances if i.hash in self.rows]

    def summary(self) -> str:
        """What came out, in two lines."""
        seconds = [row["seconds"] for row in self._ordered()]
        benefit = [row["benefit_usd"] for row in self._ordered()]
        missing = sum(row["status"] == "no plan" for row in self._ordered())
        lines = f"benefit {np.nanmean(benefit):,.0f} USD an episode, {np.mean(seconds):.2f} s each"
        return (
            lines
            if not missing
            else f"{lines}\n{missing} episode(s) without a plan in time: raise --time-limit-s"
        )

    def _record(self, finished: bool) -> None:
        seeds = [instance.seed for instance in self.instances]
        write_run(
            self.folder,
            KIND,
            self.config,
            seeds,
            [instance_record(i) for i in self.instances],
            finished=finished,
        )
