"""One run of `scripts.pareto`: its folder, its points, and what is made from them."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from scripts.runs.tables import write_rows
from scripts.studies.carbon import output
from scripts.studies.carbon.points import KIND as POINT
from scripts.studies.carbon.points import LOCAL, FrontSettings, FrontTask, check_policies, compute, stages
from scripts.studies.point_run import PointRun


@dataclass(kw_only=True)
class FrontRun(PointRun[FrontTask]):
    """One run: its folder, its points, and what is made from them."""

    kind, point = "front", POINT
    optimum, always = "the benefit optimum is there anyway", (LOCAL,)

    points: int
    prices_usd_per_t: tuple[float, ...]

    @property
    def settings(self) -> FrontSettings:
        """What all points share."""
        return FrontSettings(self.points, self.prices_usd_per_t, self.solver)

    def stages(self) -> Iterator[list[list[FrontTask]]]:
        """Yield the batches of each stage, see `points.stages`."""
        return stages(self.instances, self.policies, self.settings, self.store)

    def planned(self) -> int:
        """Return the number of points of all stages."""
        own = 1 + self.points + len(self.prices_usd_per_t) + len(self.policies)
        return len(self.instances) * own

    def compute(self) -> None:
        """Compute all points that have no file yet; raises InputError for files of something else."""
        self.compute_by(compute)

    def write(self, reference: Sequence[float] | None) -> str:
        """Make tables and TensorBoard files from the points; returns what to print."""
        rows = self._rows()
        check_policies(rows)
        rows = output.mark_nondominated(rows)
        volumes = output.hypervolume_rows(rows, reference)
        write_rows(rows, self.folder / "front.csv")
        write_rows(volumes, self.folder / "hypervolume.csv")
        output.write_board(self.empty_board(), rows, volumes, self.config)
        self.record(finished=True)
        return output.show(rows, volumes, given=reference is not None)

    def _rows(self) -> list[dict[str, Any]]:
        """Return all points, by seed: the front from least cost to least carbon, prices, policies."""
        found = [row for task in self.tasks() if (row := self.store.result(task)["row"]) is not None]
        order = {"epsilon": 0, "price": 1, "policy": 2}

        def place(row: dict[str, Any]) -> tuple[Any, ...]:
            along = -row["emissions_kg"] if row["method"] == "epsilon" else row["carbon_price_usd_per_t"]
            return row["seed"], order[row["method"]], 0.0 if math.isnan(along) else along

        return sorted(found, key=place)
