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

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from scripts.runs.arguments import (
    InstancesBySeed,
    MipGap,
    ParallelOptions,
    ResumableOptions,
    ScenarioOptions,
    Seeds,
    TimeLimit,
    sources,
)
from scripts.runs.command import InputError, Shown, command, interruptible, need_packages
from scripts.runs.folder import default_folder, open_folder

if TYPE_CHECKING:
    from scripts.studies.latency.run import Frontier

KIND = "frontier"


class FrontierOptions(ScenarioOptions, ResumableOptions, ParallelOptions):
    """Which budgets are swept, on which episodes."""

    axes: Annotated[list[str] | None, Shown(metavar="AXIS")] = Field(
        None, description="scale and names of classes; default: scale and every class"
    )
    points: Annotated[int | None, Field(ge=2)] = Field(None, description="of the default grid; default: 12")
    grid: Annotated[list[float] | None, Shown(metavar="X")] = Field(
        None, description="own ascending budgets of a single axis: ms, or factors on the scale axis"
    )
    seeds: Seeds = Field([0, 1, 2, 3])
    policies: Annotated[list[str], Shown(names=("--policies", "--policy"), metavar="NAME")] = Field(
        [], description="played at the same points"
    )
    mip_gap: MipGap = Field(1e-4, description="relative, where there are yes/no decisions")
    time_limit_s: TimeLimit = 300.0


@command(FrontierOptions)
def main(options: FrontierOptions) -> int:
    """Check everything, compute what is missing, write and print."""
    need_packages("pyomo", "highspy", "scipy", "joblib", "tqdm", "tensorboard", "pyarrow")
    from scripts.studies.latency.text import show

    run = prepared(options)
    axes = ", ".join(f"{sweep.axis} ({len(sweep)} points)" for sweep in run.sweeps)
    first = run.instances[0]
    print(
        f"{first.scenario_name}: {axes}; {len(options.seeds)} episode(s)",
        *sources(first),
        sep="\n",
        flush=True,
    )

    with interruptible(
        lambda: f"{run.finished()} of {run.planned()} points are kept; go on with --run-dir {run.folder}"
    ):
        run.compute()
    show(run.write())
    print(f"\ntables, points, run.json: {run.folder}")
    print(f"pictures:  python -m scripts.report {run.folder}")
    print(f"curves over the latency axis:  tensorboard --logdir {run.folder / 'tensorboard'}")
    return 0


def prepared(options: FrontierOptions) -> Frontier:
    """Return the run of these options with its folder ready; raises InputError for invalid options."""
    from scripts.studies.latency.run import Frontier, find_sweeps
    from scripts.studies.names import OPTIMUM
    from scripts.studies.policies import find_contenders, resolved
    from scripts.studies.solver import SolverOptions

    episodes = InstancesBySeed(options)
    sweeps = find_sweeps(episodes.compiled.scenario, options.axes, options.grid, options.points)
    if OPTIMUM in options.policies:
        raise InputError(f"--policies {OPTIMUM}: the optimum is on the frontier anyway; leave it out")
    options.policies = [resolved(name, episodes.compiled) for name in options.policies]
    find_contenders(options.policies, episodes.compiled)
    jobs, threads = options.workers()

    instances = list(episodes.batch(options.seeds))
    run = Frontier(
        folder=open_folder(options.run_dir or default_folder(KIND, options.scenario), KIND),
        instances=instances,
        sweeps=sweeps,
        policies=options.policies,
        solver=SolverOptions(options.mip_gap, options.time_limit_s, threads),
        jobs=jobs,
        ray=options.ray,
        config=options.model_dump() | {"scenario_resolved": episodes.compiled.resolved_scenario()},
    )
    run.open(options.overwrite)
    return run


if __name__ == "__main__":
    raise SystemExit(main())
