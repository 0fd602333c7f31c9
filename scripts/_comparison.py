"""A comparison: every policy on every seed, each result written as soon as it is known."""

from __future__ import annotations

import csv
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tqdm import tqdm

from gridai_env.instance import Instance
from gridai_env.rollout import Trajectory
from gridai_env.tables import write_table
from scripts._boards import config_text, write_curves, write_episode
from scripts._common import RUN_FILE, InputError, open_folder, write_run
from scripts._contenders import OPTIMUM, Contender
from scripts._contest import Reference, play, refer, row_of
from scripts._events import EventWriter
from scripts._figures import schedule_figure
from scripts._scenarios import Episodes

KIND = "compare"
# Hourly curves and pictures of this many seeds; tables and summary hold all.
SHOWN_SEEDS = 5
SUMMARY, FOLDERS = "summary.csv", ("tables", "figures", "tensorboard")


def make_room(folder: Path, overwrite: bool) -> None:
    """Remove an older comparison from a folder, whose rows, files and curves would mix with the new ones.

    Raises InputError where ``overwrite`` does not say so, and where the files belong to no comparison.
    """
    if not (folder / RUN_FILE).exists():
        found = [name for name in (SUMMARY, *FOLDERS) if (folder / name).exists()]
        if found:
            raise InputError(
                f"{folder} holds {', '.join(found)} but no {RUN_FILE}: not a comparison's; give another --run-dir"
            )
        return
    if not overwrite:
        raise InputError(f"{folder} holds a comparison: replace it (--overwrite) or give another --run-dir")
    (folder / SUMMARY).unlink(missing_ok=True)
    for name in FOLDERS:
        if (folder / name).exists():
            shutil.rmtree(folder / name)
    (folder / RUN_FILE).unlink()


@dataclass
class Comparison:
    """Plays and writes; `rows` holds what is finished."""

    folder: Path
    episodes: Episodes
    contenders: Sequence[Contender]
    seeds: Sequence[int]
    objective: str
    solver: dict[str, Any]  # options of `baselines.milp.solve`
    config: dict[str, Any]
    rows: list[dict[str, Any]] = field(default_factory=list)
    instances: list[Instance] = field(default_factory=list)

    def run(self) -> None:
        """Play all seeds into an empty folder; after ctrl-C everything finished is on disk."""
        open_folder(self.folder, KIND)
        self._record(finished=False)
        for name in FOLDERS:
            (self.folder / name).mkdir()
        with ExitStack() as stack:
            writers = {c.name: stack.enter_context(self._writer(c)) for c in self.contenders}
            bar = stack.enter_context(tqdm(total=len(self.seeds) * (len(self.contenders) + 1), unit="run"))
            for position, seed in enumerate(self.seeds):
                for contender, trajectory, row, reference in self._one_seed(seed, bar):
                    write_episode(writers[contender.name], row, time.time())
                    if position < SHOWN_SEEDS:
                        write_curves(writers[contender.name], trajectory)
                        self._picture(writers[contender.name], contender, trajectory, reference)
                self._record(finished=False)
        self._record(finished=True)

    def _one_seed(
        self, seed: int, bar: Any
    ) -> Iterator[tuple[Contender, Trajectory, dict[str, Any], Reference]]:
        """Play every policy on the instance of ``seed`` and write its row and table."""
        bar.set_description(f"seed {seed}: optimum")
        instance = self.episodes.make(seed)
        reference = refer(instance, self.objective, **self.solver)
        self.instances.append(instance)
        bar.update()
        for contender in self.contenders:
            bar.set_description(f"seed {seed}: {contender.name}")
            trajectory = play(contender, reference, seed)
            bar.update()
            if trajectory is None:
                bar.write(
                    f"seed {seed}: {OPTIMUM} found no plan within the time limit; its bound still holds"
                )
                continue
            row = row_of(contender, reference, trajectory)
            write_table(trajectory.table, self.folder / "tables" / f"{contender.folder}_seed{seed}.csv")
            self._append(row)
            yield contender, trajectory, row, reference

    def _append(self, row: dict[str, Any]) -> None:
        """Add a row to ``summary.csv`` at once."""
        path = self.folder / SUMMARY
        with open(path, "a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, fieldnames=list(row), lineterminator="\n")
            if not self.rows:
                writer.writeheader()
            writer.writerow(row)
        self.rows.append(row)

    def _picture(
        self, writer: EventWriter, contender: Contender, trajectory: Trajectory, reference: Reference
    ) -> None:
        """Draw the schedule beside the optimum, as a file and in TensorBoard."""
        columns = {contender.name: trajectory}
        if contender.policy is not None and reference.optimum is not None:
            columns[f"optimum ({self.objective})"] = reference.optimum
        png, size = schedule_figure(columns)
        seed = trajectory.instance.seed
        (self.folder / "figures" / f"{contender.folder}_seed{seed}.png").write_bytes(png)
        writer.picture(f"schedule/seed{seed}", png, size, 0, time.time())

    def _writer(self, contender: Contender) -> EventWriter:
        writer = EventWriter(self.folder / "tensorboard" / contender.folder)
        writer.text("config", config_text(self.config | {"policy": contender.name}), time.time())
        return writer

    def _record(self, finished: bool) -> None:
        write_run(
            self.folder,
            KIND,
            self.config,
            self.seeds,
            self.instances,
            finished=finished,
            policies={c.folder: c.name for c in self.contenders},
        )
