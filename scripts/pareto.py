"""Cost against carbon: what avoiding emissions costs at equal service, and where policies stand.

    python -m scripts.pareto --scenario four_markets --seeds 0 1 --points 9 --policies local_only greedy mpc:day_ahead

At each episode: least cost under caps on emissions (epsilon constraint, evenly from the least emissions possible to
those of the least-cost plan) and least cost at carbon prices, both under the service of the benefit optimum; the
benefit optimum, Local-Only and the policies named; hypervolumes.  Cost leaves out what carbon itself is charged.
Writes front.csv, hypervolume.csv and tensorboard/ into the run folder, and one file per point: a killed run
goes on where it stopped.
"""

import math
from typing import Annotated

from pydantic import Field

from scripts.runs.arguments import InstancesBySeed, MipGap, PointOptions, Policies, Seeds, TimeLimit
from scripts.runs.command import SOLVER, InputError, Shown, command, need_packages

PRICES_USD_PER_T = [0.0, 50.0, 100.0, 200.0, 400.0, 800.0, 1600.0, 3200.0, 6400.0]


class ParetoOptions(PointOptions):
    """Which points are solved, on which episodes."""

    seeds: Seeds = Field([0])
    points: Annotated[int, Field(ge=2)] = Field(9, description="caps, both ends included")
    prices: Annotated[list[float], Shown(nargs="*", metavar="USD_PER_T")] = Field(
        PRICES_USD_PER_T, description="carbon prices of the sweep"
    )
    policies: Policies = Field([], description="besides local_only and the optimum")
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
    need_packages(*SOLVER, "tqdm", "tensorboard", "moocore")
    from scripts.studies.carbon.run import FrontRun

    check_numbers(options)
    own = {"points": options.points, "prices_usd_per_t": tuple(options.prices)}
    run = FrontRun.of(options, InstancesBySeed(options), **own)
    run.compute_all("", lambda: "finished points are kept")

    print("\n" + run.write(options.reference))
    run.say_where("curves")
    return 0


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
