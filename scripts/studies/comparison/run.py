"""A comparison: every policy on every seed; a seed is written as soon as all have played it, whole."""

import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from gridai_env.rollout.step_table import write_table
from scripts.runs.command import InputError
from scripts.runs.folder import RUN_FILE, open_folder, read_run, replace_run, write_run
from scripts.runs.progress import bar as progress_bar
from scripts.runs.tables import Row, write_rows
from scripts.runs.tasks import Record, Store, check_settings, results_of
from scripts.runs.tensorboard import EventWriter, is_installed
from scripts.studies.comparison.flexible_load import SETTLEMENT
from scripts.studies.comparison.ladder import ladder_table, record_of, rungs_of
from scripts.studies.comparison.match import EpisodeJob, Played, SeedResult, SeedTask, compute
from scripts.studies.comparison.tensorboard import LAYOUT, write_curves, write_episode, write_rung
from scripts.studies.contest import check_bound
from scripts.studies.policies import PolicySpec

KIND = "compare"
SUMMARY, LADDER = "summary.csv", "ladder.csv"
SEEDS = "seeds"  # the results, a file per seed, from which all tables are made
FOLDERS = (SEEDS, "tables", "tensorboard")
EARLIER = "figures"  # pictures that versions before this one wrote
PRICES = "shadow_prices_seed"
# What decides a result; threads, workers and folders do not.
DECISIVE = (
    "scenario_resolved", "policies", "checkpoints",
    "objective", "start", "mip_gap", "time_limit_s", "bounds",
)  # fmt: skip
# Hourly curves, pictures and shadow prices of this many seeds; tables and summary hold all.
SHOWN_SEEDS = 5


@dataclass
class Comparison:
    """Plays and writes; whoever plays, only this process writes."""

    folder: Path
    match: EpisodeJob
    contenders: Sequence[PolicySpec]
    seeds: Sequence[int]
    config: dict[str, Any]
    jobs: int = 1
    ray: str | None = None  # address of a Ray cluster that plays
    finished: dict[int, list[Row]] = field(default_factory=dict)  # rows of summary.csv, by seed
    settled: dict[int, list[Row]] = field(default_factory=dict)  # of settlement.csv
    earlier_commits: Sequence[str] = ()  # of the runs that this one goes on from

    @property
    def rows(self) -> list[Row]:
        """Rows of the finished seeds, in the order of the seeds."""
        return [row for seed in self.seeds for row in self.finished.get(seed, [])]

    @property
    def statements(self) -> list[Row]:
        """Statements of events of the finished seeds, in the order of the seeds."""
        return [row for seed in self.seeds for row in self.settled.get(seed, [])]

    @property
    def store(self) -> Store:
        """Where the rows of finished seeds lie."""
        return Store(self.folder / SEEDS, "comparison")

    @property
    def tasks(self) -> list[SeedTask]:
        """All seeds; the first of them are shown."""
        return [SeedTask(self.match, seed, i < SHOWN_SEEDS) for i, seed in enumerate(self.seeds)]

    def open(self, go_on: bool, overwrite: bool) -> None:
        """Empty the folder, or read what an earlier run has finished in it; raises InputError where it must not."""
        if not go_on:
            make_room(self.folder, overwrite)
            return
        self.earlier_commits = check_resumable(self.folder, self.config, self.seeds)
        for task in self.tasks:
            if (record := self.store.read(task)) is not None:
                self.finished[task.seed] = record["rows"]
                self.settled[task.seed] = record.get("statements", [])

    def run(self) -> None:
        """Play all seeds that are not finished; after ctrl-C all finished ones are on disk.

        Raises BoundError where a policy passes the proven bound.
        """
        open_folder(self.folder, KIND)
        self._record(done=False)
        for name in FOLDERS:
            (self.folder / name).mkdir(exist_ok=True)
        for row in self.rows:
            check_bound(row)

        with ExitStack() as stack:
            shown = self.contenders if is_installed() else ()
            writers = {c.name: stack.enter_context(self._writer(c)) for c in shown}
            try:
                self._play(writers)
            except KeyboardInterrupt:
                self._climb(writers)
                raise
            self._climb(writers)
        self._record(done=True)

    def _play(self, writers: dict[str, EventWriter]) -> None:
        """Play what is missing, here or in other processes."""
        alone = self.jobs == 1 and self.ray is None
        missing = [[task] for task in self.tasks if task.seed not in self.finished]
        with progress_bar(total=sum(self.match.works(task.shown) for (task,) in missing), unit="run") as bar:

            def on_progress(text: str) -> None:
                bar.set_description(text)
                bar.update()

            # Other processes cannot tell of each policy: there the bar moves seed by seed.
            work = partial(compute, on_progress=on_progress) if alone else compute
            for task, result in results_of(work, missing, self.jobs, self.ray):
                for note in result.notes:
                    bar.write(note)
                self._keep(task, result, writers)
                bar.update(0 if alone else self.match.works(task.shown))

    def _keep(self, task: SeedTask, result: SeedResult, writers: dict[str, EventWriter]) -> None:
        """Write all of a seed, its record last: a seed that has one is complete."""
        folders = {c.name: c.folder for c in self.contenders}
        for played in result.played:
            name = f"{folders[played.contender]}_seed{task.seed}"
            write_table(played.table, self.folder / "tables" / f"{name}.csv")
            if played.contender in writers:
                self._show(played, task.seed, writers[played.contender])
        if result.shadow_prices is not None:
            write_table(result.shadow_prices, self.folder / f"{PRICES}{task.seed}.csv")
        for writer in writers.values():
            writer.flush()

        self.finished[task.seed] = [played.row for played in result.played]
        self.settled[task.seed] = [row for played in result.played for row in played.statements]
        self.store.write(task, {"rows": self.finished[task.seed], "statements": self.settled[task.seed]})
        if self.rows:
            write_rows(self.rows, self.folder / SUMMARY)
        if self.statements:
            write_rows(self.statements, self.folder / SETTLEMENT)
        self._record(done=False)
        for row in self.finished[task.seed]:
            check_bound(row)

    def _show(self, played: Played, seed: int, writer: EventWriter) -> None:
        """Write the figures of the episode; of a seed that is shown also its picture and its hourly curves."""
        write_episode(writer, played.row, time.time())
        if played.picture is None:
            return
        png, size = played.picture
        write_curves(writer, played.table, self.match.episodes.compiled, seed)
        writer.picture(f"schedule/seed{seed}", png, size, 0, time.time())

    def _climb(self, writers: dict[str, EventWriter]) -> None:
        """Write the ladder of what is finished, as a file and in TensorBoard."""
        if not self.rows:
            return
        rungs = rungs_of(self.rows, self.match.episodes.compiled.forecast.kind)
        write_rows([record_of(i, rung) for i, rung in enumerate(rungs)], self.folder / LADDER)
        text = f"```\n{ladder_table(rungs)}\n```"
        for rung in rungs:
            if rung.policy in writers:
                write_rung(writers[rung.policy], record_of(0, rung), rung.episodes, time.time())
                writers[rung.policy].text("ladder", text, time.time())

    def _writer(self, contender: PolicySpec) -> EventWriter:
        writer = EventWriter(self.folder / "tensorboard" / contender.folder)
        writer.layout(LAYOUT, time.time())
        writer.settings(self.config | {"policy": contender.name}, time.time())
        return writer

    def _record(self, done: bool) -> None:
        write_run(
            self.folder,
            KIND,
            self.config,
            self.seeds,
            [_instance(self.finished[seed][0]) for seed in self.seeds if self.finished.get(seed)],
            finished=done,
            policies={c.folder: c.name for c in self.contenders},
            earlier_commits=list(self.earlier_commits),
        )


def _instance(row: dict[str, Any]) -> dict[str, Any]:
    """Return what identifies the instance of a row, as `instance_record` has it."""
    start_utc = row["start_utc"].removesuffix("Z")
    return {"seed": row["seed"], "start_utc": start_utc, "hash": row["instance_hash"]}


# Going on ---------------------------------------------------------------------------------------------------


def make_room(folder: Path, overwrite: bool) -> None:
    """Remove an older comparison from a folder, whose rows, files and curves would mix with the new ones.

    Raises InputError where ``overwrite`` does not say so, and where the files belong to no comparison.
    """
    if not (folder / RUN_FILE).exists():
        found = [name for name in (SUMMARY, LADDER, *FOLDERS, EARLIER) if (folder / name).exists()]
        if found:
            raise InputError(
                f"{folder} holds {', '.join(found)} but no {RUN_FILE}: not a comparison's; give another --run-dir"
            )
        return
    own = (SUMMARY, LADDER, SETTLEMENT, f"{PRICES}*.csv", *FOLDERS, EARLIER)
    replace_run(folder, "comparison", "--continue", own, overwrite)


def check_resumable(folder: Path, config: Record, seeds: Sequence[int]) -> list[str]:
    """Return the commits of the runs that left what is in ``folder``.

    Raises InputError, naming the difference, where the run cannot go on with these settings.
    """
    if not (folder / RUN_FILE).exists():
        make_room(folder, overwrite=False)
        return []
    record = read_run(folder, KIND)
    check_settings(record["config"], config, DECISIVE, f"--continue: {folder} was set up otherwise")

    # Tables and ladder follow the order of the seeds, so they may only grow at the end.
    if list(seeds)[: len(record["seeds"])] != record["seeds"]:
        raise InputError(
            f"--continue: {folder} has the seeds {' '.join(map(str, record['seeds']))}: --seeds must begin with these; "
            "more may follow"
        )
    if (folder / SUMMARY).exists() and not (folder / SEEDS).exists():
        raise InputError(
            f"--continue: {folder} was written by an earlier version of this program ({SUMMARY} without {SEEDS}/); "
            "start anew (--overwrite), or give another --run-dir"
        )
    return sorted({*record.get("earlier_commits", []), str(record["commit"])})
