"""A frontier: which points there are, computing those that are missing, and everything that is made from them."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from baselines.optimum.objectives import OBJECTIVES
from gridai_env.analysis.latency_budgets import Sweep
from gridai_env.analysis.net_benefit import break_even_rows
from gridai_env.episodes.instance import Instance
from scripts.runs.command import InputError
from scripts.runs.folder import RUN_FILE, read_run, write_run
from scripts.runs.parallel import spread
from scripts.runs.tables import write_rows
from scripts.studies.latency.points import (
    SweepSettings,
    SweepTask,
    cut_tasks,
    keep,
    missing,
    with_floor,
    work,
)
from scripts.studies.latency.tables import Results, Row, check_frontier, return_rows, write_parquet

KIND = "frontier"
POINTS, FIGURES, BOARD = "points", "figures", "tensorboard"


@dataclass
class Frontier:
    """One run of `scripts.frontier`."""

    folder: Path
    instances: Sequence[Instance]
    sweeps: Sequence[Sweep]
    policies: Sequence[str]
    mip_gap: float
    time_limit_s: float | None
    jobs: int
    threads: int
    ray: str | None
    config: dict[str, Any]
    seconds: float = 0.0
    computed: int = 0

    @property
    def settings(self) -> SweepSettings:
        """What the workers need to know."""
        folder = (self.folder / POINTS).resolve()
        return SweepSettings(folder, self.mip_gap, self.time_limit_s, self.threads)

    def open(self, overwrite: bool) -> None:
        """Make the folder ready; raises InputError for one that holds a sweep of another scenario or version."""
        if (self.folder / RUN_FILE).exists() and not overwrite:
            self._check_same()
        elif (self.folder / POINTS).exists():
            if not overwrite:
                raise InputError(
                    f"{self.folder} holds points but no {RUN_FILE}: not a frontier's; give another --run-dir"
                )
            shutil.rmtree(self.folder / POINTS)
        (self.folder / POINTS).mkdir(exist_ok=True)
        self._record(finished=False)

    def _check_same(self) -> None:
        found = read_run(self.folder, KIND)["config"].get("scenario_resolved")
        ours = self.config["scenario_resolved"]
        if found != ours:
            keys = [k for k in ours if not isinstance(found, dict) or found.get(k) != ours[k]]
            raise InputError(
                f"{self.folder} holds the frontier of another scenario (they differ in {', '.join(keys[:5])}); "
                "give another --run-dir, or --overwrite to compute it again"
            )

    def stages(self) -> list[list[SweepTask]]:
        """Tasks in the order of need: benefit sets the service floor of the other two."""
        jobs = self.jobs

        def curve(what: str) -> list[SweepTask]:
            return [task for sweep in self.sweeps for task in cut_tasks(self.instances, sweep, what, jobs)]

        solved = [curve("benefit"), [*curve("cost"), *curve("carbon")]]
        return [*solved, [task for policy in self.policies for task in curve(policy)]]

    def planned(self) -> int:
        """Number of points of all curves."""
        return sum(len(task.points) for stage in self.stages() for task in stage)

    def finished(self) -> int:
        """Number of points that have their files."""
        settings = self.settings
        tasks = [task for stage in self.stages() for task in stage]
        return sum(task.path(settings.folder, i).exists() for task in tasks for i in task.points)

    def compute(self) -> None:
        """Compute all points that have no file yet; raises InputError for files of something else."""
        settings, begin = self.settings, time.perf_counter()
        with tqdm(total=self.planned(), unit="point", mininterval=0.5) as bar:
            for stage in self.stages():
                tasks = [m for task in self._ready(stage) if (m := missing(task, settings))]
                bar.update(sum(len(task.points) for task in stage) - sum(len(task.points) for task in tasks))
                calls = [(number, task, settings) for number, task in enumerate(tasks)]
                for number, done in spread(work, calls, self.jobs, self.ray):
                    self.computed += keep(tasks[number], settings, done)
                    bar.update(len(done))
        self.seconds = time.perf_counter() - begin

    def _ready(self, stage: Sequence[SweepTask]) -> list[SweepTask]:
        """The tasks of a stage, with their service floor where they keep or are judged by one."""
        return [task if task.what == "benefit" else with_floor(task, self.settings) for task in stage]

    def write(self) -> Results:
        """Make tables, figures and TensorBoard files from the points; raises FrontierError on contradictions."""
        from scripts.studies.latency.tensorboard import write_board, write_figures

        results = self._collect()
        check_frontier(results.frontier, results.checks, self.sweeps)
        names = ("frontier", "returns", "rid", "layers", "closed", "breakeven", "policies")
        for name in names:
            (self.folder / f"{name}.csv").unlink(missing_ok=True)
            if rows := getattr(results, name):
                write_rows(rows, self.folder / f"{name}.csv")
        write_parquet(self.folder / "frontier.parquet", results.frontier)
        for name in (FIGURES, BOARD):
            shutil.rmtree(self.folder / name, ignore_errors=True)
            (self.folder / name).mkdir()
        write_figures(self.folder / FIGURES, results)
        write_board(self.folder / BOARD, results, self.config)
        self._record(finished=True)
        return results

    def _collect(self) -> Results:
        settings = self.settings
        solved: list[Row] = []
        policies: list[Row] = []
        checks: list[Row] = []
        parts: dict[str, list[Row]] = {"rid": [], "layers": [], "closed": []}
        for task in (task for stage in self.stages() for task in self._ready(stage)):
            for point in task.points:
                record = task.read(point, settings)
                assert record is not None
                (policies if task.is_policy else solved).append(record["row"])
                checks += [record["checks"]] if "checks" in record else []
                place = {name: record["row"][name] for name in ("seed", "point", "axis")}
                for name, rows in parts.items():
                    rows += [place | row for row in record.get(name, [])]
        solved.sort(key=lambda r: (r["axis"] != "scale", OBJECTIVES.index(r["objective"])))
        return Results(
            instances=self.instances,
            sweeps=self.sweeps,
            frontier=solved,
            returns=return_rows(solved, self.sweeps),
            breakeven=[{"seed": i.seed} | row for i in self.instances for row in break_even_rows(i)],
            policies=policies,
            checks=checks,
            seconds=self.seconds,
            computed=self.computed,
            **parts,
        )

    def _record(self, finished: bool) -> None:
        seeds = [instance.seed for instance in self.instances]
        grids = {sweep.axis: list(sweep.grid) for sweep in self.sweeps}
        write_run(
            self.folder, KIND, self.config, seeds, self.instances, finished=finished, grids=grids,
            seconds=self.seconds, computed=self.computed, jobs=self.jobs, threads=self.threads,
        )  # fmt: skip
