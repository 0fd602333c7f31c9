"""Cost against carbon: what avoiding emissions costs at equal service, and where policies stand.

    python -m scripts.pareto --scenario four_markets --seeds 0 1 --points 9 --policies local_only greedy mpc:day_ahead

At each episode: least cost under caps on emissions (epsilon constraint, evenly from the least emissions possible to
those of the least-cost plan) and least cost at carbon prices, both under the service of the benefit optimum; the
benefit optimum, Local-Only and the policies named; hypervolumes.  Cost leaves out what carbon itself is charged.
Writes front.csv, hypervolume.csv and tensorboard/ into the run folder, and one file per point: a killed run
goes on where it stopped.
"""

from __future__ import annotations

import math
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
    from scripts.studies.carbon.run import FrontRun

KIND = "front"

PRICES_USD_PER_T = [0.0, 50.0, 100.0, 200.0, 400.0, 800.0, 1600.0, 3200.0, 6400.0]


class ParetoOptions(ScenarioOptions, ResumableOptions, ParallelOptions):
    """Which points are solved, on which episodes."""

    seeds: Seeds = Field([0])
    points: Annotated[int, Field(ge=2)] = Field(9, description="caps, both ends included")
    prices: Annotated[list[float], Shown(nargs="*", metavar="USD_PER_T")] = Field(
        PRICES_USD_PER_T, description="carbon prices of the sweep"
    )
    policies: Annotated[list[str], Shown(names=("--policies", "--policy"), metavar="NAME")] = Field(
        [], description="besides local_only and the optimum"
    )
    reference: Annotated[list[float] | None, Shown(nargs=2, metavar=("USD", "KG"))] = Field(
        None,
        min_length=2,
        max_length=2,
        description="reference point of the hypervolume; default: the worst of Local-Only and the front and 5 % of "
        "the range",
    )
    run_dir: str | None = Field(
        None, description="output folder, also to go on with; default: runs/front-<scenario>-<time>"
    )
    mip_gap: MipGap = Field(1e-3, description="relative, where there are yes/no decisions")
    time_limit_s: TimeLimit = Field(300.0, description="of one point; its bound holds also when it runs out")


@command(ParetoOptions)
def main(options: ParetoOptions) -> int:
    """Check everything, compute what is missing, write and print."""
    need_packages("pyomo", "highspy", "scipy", "joblib", "tqdm", "tensorboard", "moocore")
    run = prepared(options)
    first = run.instances[0]
    print(f"{first.scenario_name}: {len(options.seeds)} episode(s)", *sources(first), sep="\n", flush=True)

    with interruptible(lambda: f"finished points are kept; go on with --run-dir {run.folder}"):
        run.compute()
    print("\n" + run.write(options.reference))
    print(f"tables, points, run.json: {run.folder}")
    print(f"pictures:  python -m scripts.report {run.folder}")
    print(f"curves:  tensorboard --logdir {run.folder / 'tensorboard'}")
    return 0


def prepared(options: ParetoOptions) -> FrontRun:
    """Return the run of these options with its folder ready; raises InputError for invalid options."""
    from scripts.studies.carbon.points import LOCAL, FrontSettings
    from scripts.studies.carbon.run import FrontRun
    from scripts.studies.names import OPTIMUM
    from scripts.studies.policies import find_contenders, resolved
    from scripts.studies.solver import SolverOptions

    check_numbers(options)
    episodes = InstancesBySeed(options)
    names = [resolved(name, episodes.compiled) for name in options.policies]
    if OPTIMUM in names:
        raise InputError(f"--policies {OPTIMUM}: the benefit optimum is there anyway; leave it out")
    policies = [LOCAL, *(name for name in names if name != LOCAL)]
    find_contenders(policies, episodes.compiled)
    jobs, threads = options.workers()

    instances = list(episodes.batch(options.seeds))
    solver = SolverOptions(options.mip_gap, options.time_limit_s, threads)
    run = FrontRun(
        folder=open_folder(options.run_dir or default_folder(KIND, options.scenario), KIND),
        instances=instances,
        policies=policies,
        solver=solver,
        settings=FrontSettings(options.points, tuple(options.prices), solver),
        jobs=jobs,
        ray=options.ray,
        config=options.model_dump() | {"scenario_resolved": episodes.compiled.resolved_scenario()},
    )
    run.open(options.overwrite)
    return run


def check_numbers(options: ParetoOptions) -> None:
    """Raise InputError for a reference point that is not finite, and for prices out of order."""
    reference, prices = options.reference, options.prices
    if reference is not None and not all(map(math.isfinite, reference)):
        given = " ".join(f"{x:g}" for x in reference)
        raise InputError(f"--reference {given}: must be two finite numbers, USD and kg")
    if any(not 0.0 <= price < math.inf for price in prices) or prices != sorted(set(prices)):
        given = " ".join(f"{price:g}" for price in prices)
        raise InputError(f"--prices {given}: must be ascending, each once, >= 0 USD/t")


if __name__ == "__main__":
    raise SystemExit(main())
