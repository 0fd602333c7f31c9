"""The tasks of a study of learners: a training each, a policy on a set each, and real years with their bounds."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from datetime import date
from functools import cached_property, lru_cache
from pathlib import Path

import yaml

from agents.config import ConfigError, PPOConfig, load_config, parse_config
from agents.networks.checkpoint import CheckpointError
from agents.training.failures import TrainingError
from agents.training.validation import STAGES_FILE
from gridai_env.benchmarks.published import FrozenSet, read_set, set_path
from gridai_env.benchmarks.sets import Benchmark, read_benchmark
from gridai_env.files import write_text
from gridai_env.scenario.compile import compile_scenario
from scripts.runs.command import InputError
from scripts.runs.folder import RUN_FILE, read_run
from scripts.runs.tasks import Record, Store, Task, check_settings, key_of, run_tasks
from scripts.studies import training
from scripts.studies.evaluation import freeze
from scripts.studies.evaluation.play import check_local, play_network
from scripts.studies.learning.study import Study
from scripts.studies.policies import MODEL, checkpoint_of, find_contender

ROOT = Path(__file__).resolve().parents[3]


class StudyTask(Task):
    """A task of a policy, whose result holds as long as the policy's file is the same."""

    policy: str

    @property
    def stamp(self) -> Record:
        """The hash of the file; empty where there is none (yet)."""
        try:
            return {"model": checkpoint_of(self.policy)}
        except FileNotFoundError:
            return {"model": ""}

    def is_current(self, record: Record) -> bool:
        """Return whether the file is the one that the record is of."""
        return bool(record["model"] == self.stamp["model"])

    def result(self) -> Record:
        """Do the work."""
        raise NotImplementedError


def compute(batch: Sequence[StudyTask]) -> Iterator[Record]:
    """Yield the results of tasks, each after those before it."""
    for task in batch:
        yield task.result()


@dataclass(frozen=True)
class Training(StudyTask):
    """One training run in its own folder, which alone says how far it is."""

    study: Study
    scenario: str
    method: str
    seed: int
    root: Path
    workers: int = 1  # that label for an imitation

    @property
    def player(self) -> str:
        """Name of the agent in the names of files."""
        return f"{self.method}_seed{self.seed}"

    @property
    def name(self) -> str:
        """Name of the file of its record."""
        return f"{self.scenario}_{self.player}"

    @property
    def key(self) -> str:
        """Its name: settings are compared with those of the folder, see `check`."""
        return key_of(self.name)

    @property
    def folder(self) -> Path:
        """Folder of the run."""
        return self.root / self.scenario / self.method / f"seed{self.seed}"

    @property
    def policy(self) -> str:  # type: ignore[override]
        """The agent as a command line names it."""
        return f"{self.study.methods[self.method].kind}:{self.folder / MODEL}"

    @property
    def is_done(self) -> bool:
        """Whether the run has ended: its model is written last."""
        return (self.folder / MODEL).is_file() and (self.folder / STAGES_FILE).is_file()

    @property
    def line(self) -> list[Training]:
        """This training after those that it begins with, the first of all in front."""
        return [*(self.before.line if self.before else ()), self]

    @property
    def before(self) -> Training | None:
        """The training whose weights this one begins with."""
        first = self.study.scenarios[self.scenario][self.method].start_from
        if first is None:
            return None
        scenario, _, method = first.partition("/")
        return replace(self, scenario=scenario, method=method)

    def config(self) -> PPOConfig:
        """Return the settings; raises InputError for invalid ones."""
        method, own = self.study.methods[self.method], self.study.scenarios[self.scenario][self.method]
        settings = self.study.settings | method.settings | own.settings
        world = read_benchmark(self.scenario, self.study.folder).file or self.scenario
        settings |= {"environment.scenario": world, "environment.benchmarks": self.study.benchmarks}
        settings |= {"seed": self.seed, "imitation.workers": self.workers}
        if self.before:
            settings["start_from"] = str(self.before.folder / MODEL)
        try:
            return load_config(ROOT / (own.config or method.config), settings)
        except ConfigError as error:
            raise InputError(f"{self.scenario}, {self.method}: {error}") from error

    def check(self, overwrite: bool) -> None:
        """Raise InputError for invalid settings, and where the folder holds a training with others.

        With ``overwrite`` the latter is deleted.
        """
        ours = self.config().model_dump(mode="json")
        if not (self.folder / RUN_FILE).is_file():
            return
        decisive = [key for key in ours if key not in ("evaluation", "imitation", *training.CHANGEABLE)]
        decisive += ["total_steps", *(f"imitation.{key}" for key in ours["imitation"] if key != "workers")]
        # Settings that the run does not name are what they were before there were any.
        found = parse_config(read_run(self.folder, training.KIND)["config"], str(self.folder)).model_dump(
            mode="json"
        )
        for one in (ours, found):
            one["start_from"] = within_study(one.get("start_from"))
        try:
            check_settings(found, ours, decisive, f"{self.folder} holds another training")
        except InputError:
            if not overwrite:
                raise
            shutil.rmtree(self.folder)

    def result(self) -> Record:
        """Begin or go on with the run; what it prints goes to ``train.log`` in its folder."""
        if self.is_done:
            return {}
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "train.log").open("a", encoding="utf-8") as log, redirect_stdout(log):
            try:
                if (self.folder / RUN_FILE).is_file():
                    code = training.resume(self.folder, {"imitation.workers": self.workers}, True)
                else:
                    code = training.start(self.config(), str(self.folder), False, True)
            except (ConfigError, CheckpointError, TrainingError) as error:
                raise InputError(f"{self.name}: {error}") from error
        if code:
            raise KeyboardInterrupt
        return {}


@dataclass(frozen=True)
class Judging(StudyTask):
    """One policy on one set."""

    scenario: str
    label: str  # of the set: its name, or a real year
    folder: Path | None  # of the benchmark
    policy: str
    player: str  # in the name of the file

    @property
    def name(self) -> str:
        """Name of the file of the result."""
        return f"{self.scenario}_{self.label}_{self.player}"

    @cached_property
    def key(self) -> str:
        """The episodes and the player; which network it was says the stamp."""
        return key_of(self.frozen.hash, self.player)

    @property
    def frozen(self) -> FrozenSet:
        """The set."""
        return _frozen(self.scenario, set_name(self.label), self.folder)

    def result(self) -> Record:
        """Play the set."""
        frozen = self.frozen
        instances = frozen.instances()
        check_local(frozen, instances)
        policy = find_contender(self.policy, compile_scenario(frozen.benchmark.world)).decider
        found = play_network(self.player, [self.player], [policy], frozen, instances, lambda: None)
        return {"figures": found.figures[0], "decision_ms": found.decision_ms}


_frozen = lru_cache(maxsize=64)(read_set)


def set_name(label: str) -> str:
    """Return the name of the frozen set of a label: a real year is the test set of a benchmark of its own."""
    return "test" if label.isdigit() else label


def within_study(model: str | None) -> str | None:
    """Return where the model of a training lies within the folder of its study, wherever that is."""
    return model and "/".join(Path(model).parts[-4:])


# Real years ---------------------------------------------------------------------------------------------------------


def freeze_year(study: Study, scenario: str, year: int, folder: Path, jobs: int, threads: int) -> None:
    """Make a frozen set of a real year as any other is made, where it is not there yet.

    Raises InputError where the traces are missing or a bound cannot be had in time, TraceError for a zone without data.
    """
    if set_path(scenario, "test", folder).is_file():
        return
    settings = freeze.FreezeSettings(_real_benchmark(study, scenario, year, folder), folder, threads)
    tasks, store = freeze.tasks_of(settings, "test"), Store(folder / "results" / scenario, freeze.KIND)
    batches, label = [[task] for task in tasks], f"{scenario}/{year}"
    run_tasks(store, [batches], freeze.compute, jobs=jobs, total=len(tasks), label=label)
    freeze.publish(settings, "test", tasks, store)


def _real_benchmark(study: Study, scenario: str, year: int, folder: Path) -> Benchmark:
    """Write and return the benchmark of a scenario on a real year: its episodes are spread evenly over it."""
    assert study.real is not None
    traces = Path(os.environ.get("GRIDAI_DATA_DIR", "")) / study.real.file
    if not traces.is_file():
        raise InputError(f"{traces}: no such file; set GRIDAI_DATA_DIR to the folder of the real traces")
    own = read_benchmark(scenario, study.folder)
    days = {"first": date(year, 1, 1), "last": date(year, 12, 31)}
    start = own.world.start.model_copy(update={**days, "periods": None})
    world = own.world.model_copy(update={"traces": str(traces.resolve()), "start": start})

    file = f"{scenario}.world"  # not .yaml: that is a benchmark
    record = {
        "scenario": scenario,
        "file": file,
        "calendar": {"test": [days]},
        "sets": {"test": {"part": "test"} | study.real.model_dump(include={"episodes", "planners"})},
        "solver": own.solver.model_dump(),
    }
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / file, yaml.safe_dump(world.model_dump(mode="json")))
    write_text(folder / f"{scenario}.yaml", yaml.safe_dump(record))
    return read_benchmark(scenario, folder)
