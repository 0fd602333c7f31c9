"""A study of learners from beginning to end: what is asked for, its tables, and what is missing of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from agents.training.curves import PROGRESS, SECONDS, STEP
from gridai_env.analysis import statistics
from gridai_env.analysis.statistics import UNKNOWN, Interval
from gridai_env.benchmarks.published import LOCAL, set_path
from gridai_env.benchmarks.sets import BenchmarkError, read_benchmark
from gridai_env.benchmarks.summary import PolicyResult, published_result, strata_of, summarise
from gridai_env.traces import TraceError
from scripts.runs.command import InputError, interruptible
from scripts.runs.folder import file_name, open_folder, read_run, write_run
from scripts.runs.tables import Row, aligned, interval_columns, read_rows, replace_rows
from scripts.runs.tasks import Store, run_tasks
from scripts.studies import training
from scripts.studies.evaluation.output import HEADERS, flat, table_lines
from scripts.studies.learning.study import Study, load_study
from scripts.studies.learning.tasks import Judging, StudyTask, Training, compute, freeze_year, set_name

KIND = "learning"
TABLE, CURVES = "learning.csv", "learning_curves.csv"
GAIN = "eval/gain_captured"


@dataclass
class StudyRun:
    """A study in its folder; a part of it may be asked for, the tables hold all that is there."""

    study: Study
    folder: Path
    jobs: int = 1
    threads: int = 1

    @property
    def store(self) -> Store:
        """Where records lie."""
        return Store(self.folder / "results", "result of a study")

    def trainings(self, scenario: str, method: str) -> list[Training]:
        """Return the planned trainings of a method on a scenario."""
        seeds = range(self.study.scenarios[scenario][method].seeds)
        return [Training(self.study, scenario, method, seed, self.folder, self.threads) for seed in seeds]

    def real_folder(self, year: int) -> Path:
        """Return the folder of the benchmarks on a real year."""
        return self.folder / "real" / str(year)

    def judgings(self, scenario: str, policy: str = "", player: str = "") -> list[Judging]:
        """Return the tasks that judge a policy, one for each set that is there."""
        places: dict[str, Path | None] = dict.fromkeys(self.study.sets, self.study.folder)
        places |= {str(year): self.real_folder(year) for year in self.study.years}
        return [
            Judging(scenario, label, folder, policy, file_name(player))
            for label, folder in places.items()
            if set_path(scenario, set_name(label), folder).is_file()
        ]

    def freeze_years(self, scenario: str) -> None:
        """Solve and play the real years of a scenario that are not there yet; say which cannot be had, and why."""
        for year in self.study.years:
            try:
                freeze_year(self.study, scenario, year, self.real_folder(year), self.jobs, self.threads)
            except (BenchmarkError, InputError, TraceError) as error:
                print(f"{scenario} on {year}: {error}")

    def compute(self, chosen: Sequence[Training]) -> int:
        """Train and judge what is not there yet; return how many tasks that were."""
        stages: list[list[list[StudyTask]]] = [
            [[task, *self.judgings(task.scenario, task.policy, task.player)] for task in own]
            for own in generations(chosen)
        ]
        for scenario in dict.fromkeys(task.scenario for task in chosen):
            stages[-1] += [[one] for rule in self.study.rules for one in self.judgings(scenario, rule, rule)]
        total = sum(len(batch) for own in stages for batch in own)
        go_on = f"go on by the same command and --run-dir {self.folder}"
        with interruptible(lambda: f"what is finished is kept; {go_on}"):
            return run_tasks(self.store, stages, compute, jobs=self.jobs, total=total, unit="task")

    # Tables ---------------------------------------------------------------------------------------------------------

    def write(self) -> None:
        """Write and print the tables of all that is there, and what is missing."""
        rows: list[Row] = []
        curves: list[Row] = []
        for scenario, methods in self.study.scenarios.items():
            done = {
                name: [task for task in self.trainings(scenario, name) if task.is_done] for name in methods
            }
            curves += [point for own in done.values() for task in own for point in curve(task)]
            rows += [row for one in self.judgings(scenario) for row in self._rows(one, done)]

        replace_rows(rows, self.folder / TABLE)
        replace_rows(curves, self.folder / CURVES)
        print("", *(f"missing: {one}" for one in missing(self.study, rows)), sep="\n")

    def _rows(self, one: Judging, done: dict[str, list[Training]]) -> list[Row]:
        """Return the rows of learning.csv on a set, and print them."""
        frozen, plans = one.frozen, self.study.scenarios[one.scenario]
        results = {name: published_result(name, frozen) for name in frozen.published}
        players = {method: [(task.policy, task.player) for task in own] for method, own in done.items()}
        for name, own in (players | {rule: [(rule, rule)] for rule in self.study.rules}).items():
            tasks = [replace(one, policy=policy, player=file_name(player)) for policy, player in own]
            found = [record for task in tasks if (record := self.store.read(task)) is not None]
            if found:
                figures, runs = [record["figures"] for record in found], tuple(map(str, range(len(found))))
                ms = float(np.median([record["decision_ms"] for record in found]))
                results[name] = PolicyResult(name, runs, figures, ms, "played")

        summaries = [summarise(result, frozen) for result in results.values()]
        print(f"\n{one.scenario}/{one.label}", aligned(HEADERS, table_lines(summaries)), sep="\n")
        local, head = frozen.column(LOCAL, "benefit_usd"), {"scenario": one.scenario, "set": one.label}
        rows = []
        for result, summary in zip(results.values(), summaries, strict=True):
            plan, method = plans.get(result.name), self.study.methods.get(result.name)
            shares = statistics.captured_by_episode(result.array("benefit_usd"), local, frozen.bound_usd)
            other = results.get(method.against) if method else None
            better = UNKNOWN if other is None else improvement(result, other, strata_of(frozen))
            row = head | flat(summary) | {"median_episode": float(np.nanmedian(shares))}
            row |= {"against": other.name if other else ""} | interval_columns("beats_against", better)
            rows.append(row | _training(done.get(result.name, []), summary.runs, plan.seeds if plan else 0))
        return rows


def generations(chosen: Sequence[Training]) -> list[list[Training]]:
    """Return trainings and those whose weights they begin with, each generation after the one that it needs."""
    found: list[dict[str, Training]] = []
    for task in chosen:
        for depth, one in enumerate(task.line):
            if depth == len(found):
                found.append({})
            found[depth][one.name] = one
    return [list(generation.values()) for generation in found]


def improvement(one: PolicyResult, other: PolicyResult, strata: Sequence[str]) -> Interval:
    """Return the probability that a policy is better than another on an episode, seed by seed where both have some."""
    mine, others = one.array("benefit_usd"), other.array("benefit_usd")
    seeds = min(len(mine), len(others)) if len(others) > 1 else len(mine)
    ahead = mine[:seeds] - others[:seeds]
    return statistics.interval(statistics.improvement, ahead, np.zeros(ahead.shape[1]), strata=strata)


def _training(tasks: Sequence[Training], runs: int, planned: int) -> Row:
    """Return what a row says of trainings: medians of their steps and minutes, and a mark where they are few.

    Those of the trainings that they begin with count as well.
    """
    costs = [[curve(one)[-1] for one in task.line] for task in tasks]
    cost = {
        name: float(np.median([sum(end[name] for end in ends) for ends in costs])) if costs else ""
        for name in ("steps", "minutes")
    }
    mark = f"{runs} of {planned} seeds" if runs < planned else "one seed" if planned == 1 else ""
    commits = sorted({str(read_run(task.folder, training.KIND)["commit"]) for task in tasks})
    return cost | {"planned": planned, "mark": mark, "commits": " ".join(commits)}


def curve(task: Training) -> list[Row]:
    """Return the gain on the validation episodes along a training, against steps and minutes."""
    head = {"scenario": task.scenario, "method": task.method, "seed": task.seed}
    return [
        head
        | {
            "steps": int(row[STEP]),
            "minutes": float(row[SECONDS]) / 60.0,
            "gain_captured": float(row[GAIN]),
        }
        for row in read_rows(task.folder / PROGRESS)
        if row.get(GAIN)
    ]


def missing(study: Study, rows: Sequence[Row]) -> list[str]:
    """Return what a study plans and its table does not hold, in words: trainings, rules, and sets of real years."""
    runs = {(row["scenario"], row["set"], row["policy"]): int(row["runs"]) for row in rows}
    found: list[str] = []
    for scenario, methods in study.scenarios.items():
        sets: dict[str, list[str]] = {}  # by what is missing of them
        planned = {name: plan.seeds for name, plan in methods.items()} | dict.fromkeys(study.rules, 1)
        own = [name for name in study.sets if name in read_benchmark(scenario, study.folder).sets]
        for label in (*own, *map(str, study.years)):
            there = {name: runs.get((scenario, label, name), 0) for name in planned}
            few = [f"{name} {n} of {planned[name]}" for name, n in there.items() if n < planned[name]]
            sets.setdefault(", ".join(few), []).append(label)
        found += [f"{scenario}, {', '.join(labels)}: {few}" for few, labels in sets.items() if few]
    return found


def run_study(name: str, options: Any) -> int:
    """Check everything, compute what is missing of the chosen part, write and print all that is there."""
    study, (jobs, threads) = load_study(name), options.workers()
    run = StudyRun(study, Path(options.run_dir or f"runs/{Path(name).stem}"), jobs, threads)
    for option, given, known in (
        ("scenarios", options.scenarios, study.scenarios),
        ("methods", options.methods, study.methods),
    ):
        for one in given or ():
            if one not in known:
                raise InputError(f"--{option} {one!r}: not in this study; there are {', '.join(known)}")
    chosen = [
        task
        for scenario, own in study.scenarios.items()
        for method in own
        for task in run.trainings(scenario, method)
        if scenario in (options.scenarios or study.scenarios)
        and method in (options.methods or own)
        and task.seed in (options.seeds or [task.seed])
    ]
    if not chosen:
        raise InputError(f"--seeds {options.seeds}: the study has no such training")
    for task in (one for generation in generations(chosen) for one in generation):
        task.check(options.overwrite)

    open_folder(run.folder, KIND)
    write_run(run.folder, KIND, options.model_dump() | {"study": study.model_dump(mode="json")}, [])
    for scenario in () if options.no_real else dict.fromkeys(task.scenario for task in chosen):
        run.freeze_years(scenario)
    computed = run.compute(chosen)
    run.write()
    print(f"\n{computed} tasks computed now; tables: {run.folder}")
    return 0
