"""A run of the frontier: its points, computed where missing, and the tables made from them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from baselines.program.objectives import OBJECTIVES
from gridai_env.analysis.latency_budgets import MOST_POINTS, Sweep, make_sweep
from gridai_env.analysis.net_benefit import break_even_rows
from gridai_env.episodes.instance import Instance
from gridai_env.scenario.spec import Scenario
from scripts.runs.command import InputError, refuse_doubles
from scripts.runs.tables import Row, replace_rows
from scripts.runs.tasks import Record
from scripts.studies.latency.points import KIND as POINT
from scripts.studies.latency.points import Curve, SweepTask, compute, cut
from scripts.studies.latency.tables import Results, check_frontier, return_rows, write_parquet
from scripts.studies.latency.tensorboard import write_board
from scripts.studies.point_run import PointRun

POINTS = 12  # of a grid, where no number is given


@dataclass(kw_only=True)
class Frontier(PointRun[SweepTask]):
    """One run of `scripts.frontier`."""

    kind, point = "frontier", POINT
    optimum = "the optimum is on the frontier anyway"

    sweeps: Sequence[Sweep]

    def stages(self) -> Iterator[list[list[SweepTask]]]:
        """Yield batches in the order of need: benefit sets the service floor of the other two."""
        yield self._batches("benefit")
        floors = {(i.seed, sweep): self._floor(i, sweep) for sweep in self.sweeps for i in self.instances}
        yield [*self._batches("cost", floors), *self._batches("carbon", floors)]
        yield [batch for policy in self.policies for batch in self._batches(policy, floors)]

    def _batches(
        self, what: str, floors: Mapping[tuple[int, Sweep], Record] = MappingProxyType({})
    ) -> list[list[SweepTask]]:
        return [
            batch
            for sweep in self.sweeps
            for batch in cut(
                [Curve(i, sweep, what, floors.get((i.seed, sweep))) for i in self.instances],
                self.solver,
                self.jobs,
            )
        ]

    def _floor(self, instance: Instance, sweep: Sweep) -> Record:
        """Return the service that the tightest point's benefit plan gives; raises InputError without such a plan."""
        tightest = SweepTask(Curve(instance, sweep, "benefit"), 0, self.solver)
        floor: Record | None = self.store.result(tightest)["floor"]
        if floor is None:
            raise InputError(
                f"{self.store.path(tightest)}: no benefit plan at the tightest budget in time, so cost and carbon "
                "have no service floor; raise --time-limit-s"
            )
        return floor

    def planned(self) -> int:
        """Return the number of points of all curves."""
        curves = len(self.instances) * len([*OBJECTIVES, *self.policies])
        return curves * sum(len(sweep) for sweep in self.sweeps)

    def finished(self) -> int:
        """Return the number of points that have their files."""
        batches = [batch for what in (*OBJECTIVES, *self.policies) for batch in self._batches(what)]
        return self.store.count(task for batch in batches for task in batch)

    def compute(self) -> None:
        """Compute all points that have no file yet; raises InputError for files of something else."""
        self.compute_by(compute)

    def write(self) -> Results:
        """Make tables and TensorBoard files from the points; raises FrontierError on contradictions."""
        results = self._collect()
        check_frontier(results.frontier, results.checks, self.sweeps)
        for name in ("frontier", "returns", "rid", "layers", "closed", "breakeven", "policies"):
            replace_rows(getattr(results, name), self.folder / f"{name}.csv")
        write_parquet(self.folder / "frontier.parquet", results.frontier)
        write_board(self.empty_board(), results, self.config)
        self.record(finished=True)
        return results

    def _collect(self) -> Results:
        solved: list[Row] = []
        policies: list[Row] = []
        checks: list[Row] = []
        parts: dict[str, list[Row]] = {"rid": [], "layers": [], "closed": []}
        for task in self.tasks():
            record = self.store.result(task)
            (policies if task.curve.is_policy else solved).append(record["row"])
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

    def facts(self) -> Record:
        """Return grids, time and number of points computed, for run.json."""
        grids = {sweep.axis: list(sweep.grid) for sweep in self.sweeps}
        return {"grids": grids} | super().facts() | {"computed": self.computed}


# Axes -------------------------------------------------------------------------------------------------------


def find_sweeps(
    scenario: Scenario, axes: Sequence[str] | None, grid: Sequence[float] | None, points: int | None
) -> list[Sweep]:
    """Return the sweeps of some axes (None: of all on which a route opens); raises InputError for bad ones."""
    names = axes or ["scale", *(task.name for task in scenario.classes)]
    check_grids(names, grid, points)

    sweeps = []
    for name in names:
        try:
            axis = name if name == "scale" else f"class:{name.removeprefix('class:')}"
            sweeps.append(make_sweep(scenario, axis, grid, points=points or POINTS))
        except ValueError as error:
            if axes:
                raise InputError(f"--axes {name}: {error}") from error
            print(f"left out: {error}")  # by default, every axis on which there is something to see
    if not sweeps:
        raise InputError("no latency budget opens any route in this scenario: there is no frontier")
    return sweeps


def check_grids(names: Sequence[str], grid: Sequence[float] | None, points: int | None) -> None:
    """Raise InputError where axes and their points do not go together."""
    refuse_doubles("--axes", names)
    if grid is not None and (len(names) != 1 or points is not None):
        raise InputError("--grid: belongs to a single axis (--axes NAME) and excludes --points")
    if points is not None and points > MOST_POINTS:
        raise InputError(f"--points {points}: must be at most {MOST_POINTS}; --grid takes own points")
