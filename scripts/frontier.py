"""What a millisecond of latency budget buys: least cost, least carbon and most benefit along a grid of budgets.

    python -m scripts.frontier --scenario energy_geography
    python -m scripts.frontier --scenario four_markets --axes scale interactive --points 8 --seeds 0 1 \\
        --policies local_only greedy

Axes: ``scale`` (all budgets together; 1 is as in the scenario) and classes (one class's budget in ms). At each
point and episode V = -most benefit, F_cost and F_co2 are solved; cost and carbon keep the service that the
benefit plan gives at the tightest point.  Writes frontier.csv (and .parquet), returns.csv (ERL, CRL), rid.csv,
layers.csv, closed.csv, breakeven.csv and tensorboard/ into the run folder, and one file per point: a
killed sweep goes on where it stopped.
"""

from typing import Annotated

from pydantic import Field

from scripts.runs.arguments import InstancesBySeed, MipGap, PointOptions, Policies, Seeds, TimeLimit
from scripts.runs.command import SOLVER, Shown, command, need_packages


class FrontierOptions(PointOptions):
    """Which budgets are swept, on which episodes."""

    axes: Annotated[list[str] | None, Shown(metavar="AXIS")] = Field(
        None, description="scale and names of classes; default: scale and every class"
    )
    points: Annotated[int | None, Field(ge=2)] = Field(None, description="of the default grid; default: 12")
    grid: Annotated[list[float] | None, Shown(metavar="X")] = Field(
        None, description="own ascending budgets of a single axis: ms, or factors on the scale axis"
    )
    seeds: Seeds = Field([0, 1, 2, 3])
    policies: Policies = Field([], description="played at the same points")
    mip_gap: MipGap = Field(1e-4, description="relative, where there are yes/no decisions")
    time_limit_s: TimeLimit = 300.0


@command(FrontierOptions)
def main(options: FrontierOptions) -> int:
    """Check everything, compute what is missing, write and print."""
    need_packages(*SOLVER, "tqdm", "tensorboard", "pyarrow")
    from scripts.studies.latency.run import Frontier, find_sweeps
    from scripts.studies.latency.text import show
    from scripts.studies.policies import resolved

    episodes = InstancesBySeed(options)
    sweeps = find_sweeps(episodes.compiled.scenario, options.axes, options.grid, options.points)
    options.policies = [resolved(name, episodes.compiled) for name in options.policies]
    run = Frontier.of(options, episodes, sweeps=sweeps)
    axes = ", ".join(f"{sweep.axis} ({len(sweep)} points)" for sweep in run.sweeps)
    run.compute_all(f"{axes}; ", lambda: f"{run.finished()} of {run.planned()} points are kept")

    show(run.write())
    print()
    run.say_where("curves over the latency axis")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
