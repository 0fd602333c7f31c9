"""One run of `scripts.pareto`: its folder, its points, and what is made from them."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gridai_env.episodes.instance import Instance
from scripts.runs.folder import emptied, write_run
from scripts.runs.tasks import Store, open_store, run_tasks

if TYPE_CHECKING:
    from scripts.studies.carbon.points import FrontSettings, FrontTask

KIND = "front"
POINTS, BOARD = "points", "tensorboard"


class FrontRun:
    """One run: its folder, its points, and what is made from them."""

    def __init__(
        self,
        folder: Path,
        instances: Sequence[Instance],
        policies: Sequence[str],
        settings: FrontSettings,
        jobs: int,
        config: dict[str, Any],
    ) -> None:
        """Nothing is written yet."""
        from scripts.studies.carbon.points import KIND as POINT

        self.folder, self.instances, self.policies, self.settings = folder, instances, policies, settings
        self.jobs, self.config, self.seconds = jobs, config, 0.0
        self.store = Store(folder / POINTS, POINT)

    def open(self, overwrite: bool) -> None:
        """Make the folder ready; raises InputError for one that holds a front of another scenario."""
        holds = "the front of another scenario"
        open_store(self.folder, KIND, POINTS, self.config, ("scenario_resolved",), holds, overwrite)
        self._record(finished=False)

    def stages(self) -> Iterator[list[list[FrontTask]]]:
        """Yield the batches of each stage, see `points.stages`."""
        from scripts.studies.carbon.points import stages

        return stages(self.instances, self.policies, self.settings, self.store)

    def compute(self, ray: str | None) -> None:
        """Compute all points that have no file yet; raises InputError for files of something else."""
        from scripts.studies.carbon.points import compute, count_of

        begin = time.perf_counter()
        total = count_of(self.instances, self.policies, self.settings)
        run_tasks(self.store, self.stages(), compute, jobs=self.jobs, ray=ray, total=total)
        self.seconds = time.perf_counter() - begin

    def write(self, reference: Sequence[float] | None) -> str:
        """Make tables and TensorBoard files from the points; returns what to print."""
        from scripts.runs.tables import write_rows
        from scripts.studies.carbon import output
        from scripts.studies.carbon.points import check_policies

        rows = self._rows()
        check_policies(rows)
        rows = output.mark_nondominated(rows)
        volumes = output.hypervolume_rows(rows, reference)
        write_rows(rows, self.folder / "front.csv")
        write_rows(volumes, self.folder / "hypervolume.csv")
        output.write_board(emptied(self.folder / BOARD), rows, volumes, self.config)
        self._record(finished=True)
        return output.show(rows, volumes, given=reference is not None)

    def _rows(self) -> list[dict[str, Any]]:
        """Return all points, by seed: the front from least cost to least carbon, prices, policies."""
        tasks = [task for batches in self.stages() for batch in batches for task in batch]
        found = [row for task in tasks if (row := self.store.result(task)["row"]) is not None]
        order = {"epsilon": 0, "price": 1, "policy": 2}

        def place(row: dict[str, Any]) -> tuple[Any, ...]:
            along = -row["emissions_kg"] if row["method"] == "epsilon" else row["carbon_price_usd_per_t"]
            return row["seed"], order[row["method"]], 0.0 if math.isnan(along) else along

        return sorted(found, key=place)

    def _record(self, finished: bool) -> None:
        seeds = [instance.seed for instance in self.instances]
        write_run(
            self.folder, KIND, self.config, seeds, self.instances, finished=finished,
            seconds=self.seconds, jobs=self.jobs, threads=self.settings.solver.threads,
        )  # fmt: skip
