"""A run whose results are points of episodes of one scenario: its folder, its points in stages, its record."""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, Self

from gridai_env.episodes.instance import Instance
from scripts.runs.arguments import InstancesBySeed, PointOptions, sources
from scripts.runs.command import InputError, interruptible
from scripts.runs.folder import default_folder, emptied, open_folder, write_run
from scripts.runs.tasks import Compute, K, Record, Store, open_store, run_tasks
from scripts.studies.names import OPTIMUM
from scripts.studies.policies import find_contenders, resolved
from scripts.studies.solver import SolverOptions

POINTS, BOARD = "points", "tensorboard"


@dataclass(kw_only=True)
class PointRun(ABC, Generic[K]):
    """One run of `scripts.frontier` or `scripts.pareto`; nothing is written before `open`."""

    kind: ClassVar[str]  # of the run folder
    point: ClassVar[str]  # kind of the points' files
    optimum: ClassVar[str]  # why it is no policy here
    always: ClassVar[tuple[str, ...]] = ()  # policies that are played unasked

    folder: Path
    instances: Sequence[Instance]
    policies: Sequence[str]
    solver: SolverOptions
    jobs: int
    ray: str | None
    config: dict[str, Any]
    seconds: float = 0.0  # wall time of what was computed now
    computed: int = 0  # points computed now

    @classmethod
    def of(cls, options: PointOptions, episodes: InstancesBySeed, **own: Any) -> Self:
        """Return the run of a command's options with its folder ready; ``own``: what runs of this kind add.

        Raises InputError for invalid options.
        """
        names = [resolved(name, episodes.compiled) for name in options.policies]
        if OPTIMUM in names:
            raise InputError(f"policy {OPTIMUM}: {cls.optimum}; leave it out")
        policies = [*cls.always, *(name for name in names if name not in cls.always)]
        find_contenders(policies, episodes.compiled)
        jobs, threads = options.workers()

        # Episodes that cannot be made must leave no folder behind.
        run = cls(
            instances=list(episodes.batch(options.seeds)),
            folder=open_folder(options.run_dir or default_folder(cls.kind, options.scenario), cls.kind),
            policies=policies,
            solver=SolverOptions(options.mip_gap, options.time_limit_s, threads),
            jobs=jobs,
            ray=options.ray,
            config=options.model_dump() | {"scenario_resolved": episodes.compiled.resolved_scenario()},
            **own,
        )
        run.open(options.overwrite)
        return run

    @property
    def store(self) -> Store:
        """Where the points lie."""
        return Store(self.folder / POINTS, self.point)

    @abstractmethod
    def stages(self) -> Iterator[list[list[K]]]:
        """Yield the batches of each stage, which may rest on the results of those before it."""

    @abstractmethod
    def planned(self) -> int:
        """Return the number of points of all stages."""

    def tasks(self) -> list[K]:
        """Return all points, once they are computed."""
        return [task for batches in self.stages() for batch in batches for task in batch]

    def open(self, overwrite: bool) -> None:
        """Make the folder ready; raises InputError for one that holds points of another scenario or version."""
        holds = f"the {self.kind} of another scenario"
        open_store(self.folder, self.kind, POINTS, self.config, ("scenario_resolved",), holds, overwrite)
        self.record(finished=False)

    @abstractmethod
    def compute(self) -> None:
        """Compute all points that have no file yet; raises InputError for files of something else."""

    def compute_all(self, what: str, kept: Callable[[], str]) -> None:
        """Say what is computed, compute it, and say what is ``kept`` where ctrl-C comes."""
        first = self.instances[0]
        head = f"{first.scenario_name}: {what}{len(self.instances)} episode(s)"
        print(head, *sources(first), sep="\n", flush=True)
        with interruptible(lambda: f"{kept()}; go on with --run-dir {self.folder}"):
            self.compute()

    def say_where(self, curves: str) -> None:
        """Print where the results are."""
        print(f"tables, points, run.json: {self.folder}")
        print(f"pictures:  python -m scripts.report {self.folder}")
        print(f"{curves}:  tensorboard --logdir {self.folder / BOARD}")

    def compute_by(self, compute: Compute[K, Record]) -> None:
        """Compute all points that have no file yet; raises InputError for files of something else."""
        begin = time.perf_counter()
        self.computed = run_tasks(
            self.store, self.stages(), compute, jobs=self.jobs, ray=self.ray, total=self.planned()
        )
        self.seconds = time.perf_counter() - begin

    def empty_board(self) -> Path:
        """Return the folder of TensorBoard files, without those of an earlier run."""
        return emptied(self.folder / BOARD)

    def facts(self) -> Record:
        """Return the facts in run.json besides the settings."""
        return {"seconds": self.seconds}

    def record(self, finished: bool) -> None:
        """Write run.json."""
        seeds = [instance.seed for instance in self.instances]
        facts: Record = {"finished": finished} | self.facts()
        facts |= {"jobs": self.jobs, "threads": self.solver.threads}
        write_run(self.folder, self.kind, self.config, seeds, self.instances, **facts)
