"""Run."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gridai_env.episodes.instance import Instance
from scripts.runs.command import InputError
from scripts.runs.folder import RUN_FILE, read_run, write_run
from scripts.runs.parallel import spread

KIND = "front"
POINTS, FIGURES, BOARD = "points", "figures", "tensorboard"


class FrontRun:
    """One run: its folder, its points, and what is made from them."""

    def __init__(
        self,
        folder: Path,
        instances: Sequence[Instance],
        policies: Sequence[str],
        settings: Any,
        jobs: int,
        config: dict[str, Any],
    ) -> None:
        """Nothing is written yet."""
        from scripts.studies.carbon.points import stages

        self.folder, self.instances, self.settings = folder, instances, settings
        self.jobs, self.config, self.seconds = jobs, config, 0.0
        self.stages = stages(instances, policies, settings)

    def open(self, overwrite: bool) -> None:
        """Make the folder ready; raises InputError for one that holds a front of another scenario."""
        points = self.folder / POINTS
        if overwrite:
            shutil.rmtree(points, ignore_errors=True)
        elif (self.folder / RUN_FILE).exists():
            found = read_run(self.folder, KIND)["config"].get("scenario_resolved")
            if found != self.config["scenario_resolved"]:
                raise InputError(
                    f"{self.folder} holds the front of another scenario; give another --run-dir, or --overwrite"
                )
        elif points.exists():
            raise InputError(f"{self.folder} holds points but no {RUN_FILE}: give another --run-dir")
        points.mkdir(exist_ok=True)
        self._record(finished=False)

    def compute(self, ray: str | None) -> None:
        """Compute all points that have no file yet; raises InputError for files of something else."""
        from tqdm import tqdm

        from scripts.studies.carbon.points import compute, missing

        begin = time.perf_counter()
        left = [[m for task in stage if (m := missing(task, self.settings))] for stage in self.stages]
        total = sum(len(task.names) for stage in self.stages for task in stage)
        todo = sum(len(task.names) for stage in left for task in stage)
        with tqdm(total=total, initial=total - todo, unit="point", disable=todo == 0) as bar:
            for stage in left:
                for count in spread(compute, [(task, self.settings) for task in stage], self.jobs, ray):
                    bar.update(count)
        self.seconds = time.perf_counter() - begin

    def write(self, reference: Sequence[float] | None) -> str:
        """Make tables, figures and TensorBoard files from the points; returns what to print."""
        from scripts.runs.tables import write_rows
        from scripts.studies.carbon import output
        from scripts.studies.carbon.points import check_policies

        rows = self._rows()
        check_policies(rows)
        rows = output.mark_nondominated(rows)
        volumes = output.hypervolume_rows(rows, reference)
        write_rows(rows, self.folder / "front.csv")
        write_rows(volumes, self.folder / "hypervolume.csv")
        for name in (FIGURES, BOARD):
            shutil.rmtree(self.folder / name, ignore_errors=True)
            (self.folder / name).mkdir()
        scenario = self.instances[0].scenario_name
        pictures = output.write_pictures(self.folder / FIGURES, rows, volumes, scenario)
        output.write_board(self.folder / BOARD, rows, volumes, pictures, self.config)
        self._record(finished=True)
        return output.show(rows, volumes, given=reference is not None)

    def _rows(self) -> list[dict[str, Any]]:
        """All points, by seed: the front from least cost to least carbon, prices, policies."""
        found = []
        for task in (task for stage in self.stages for task in stage):
            for name in task.names:
                record = task.read(name, self.settings)
                assert record is not None
                if record["row"] is not None:
                    found.append(record["row"])
        order = {"epsilon": 0, "price": 1, "policy": 2}

        def place(row: dict[str, Any]) -> tuple[Any, ...]:
            along = -row["emissions_kg"] if row["method"] == "epsilon" else row["carbon_price_usd_per_t"]
            return row["seed"], order[row["method"]], 0.0 if math.isnan(along) else along

        return sorted(found, key=place)

    def _record(self, finished: bool) -> None:
        seeds = [instance.seed for instance in self.instances]
        write_run(
            self.folder, KIND, self.config, seeds, self.instances, finished=finished,
            seconds=self.seconds, jobs=self.jobs, threads=self.settings.threads,
        )  # fmt: skip
