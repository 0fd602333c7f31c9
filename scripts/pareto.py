"""Cost against carbon: what avoiding emissions costs at equal service, and where policies stand.

    python -m scripts.pareto --scenario four_markets --seeds 0 1 --points 9 --policies local_only greedy mpc:day_ahead

At each episode: least cost under caps on emissions (epsilon constraint, evenly from the least emissions possible to
those of the least-cost plan) and least cost at carbon prices, both under the service of the benefit optimum; the
benefit optimum, Local-Only and the policies named; hypervolumes.  Cost leaves out what carbon itself is charged.
Writes front.csv, hypervolume.csv, figures/ and tensorboard/ into the run folder, and one file per point: a killed run
goes on where it stopped.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence

from scripts.runs.arguments import InstancesBySeed, add_scenario_arguments, parse_seeds, sources
from scripts.runs.command import (
    INTERRUPTED,
    InputError,
    checked_number,
    exit_code,
    need_packages,
)
from scripts.runs.folder import default_folder, open_folder
from scripts.runs.parallel import (
    add_parallel_arguments,
    add_resumable_arguments,
    check_ray,
    checked_jobs,
    solver_threads,
)
from scripts.studies.carbon.run import BOARD, KIND, FrontRun

PRICES_USD_PER_T = (0.0, 50.0, 100.0, 200.0, 400.0, 800.0, 1600.0, 3200.0, 6400.0)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    out = argparse.ArgumentParser(prog="python -m scripts.pareto", description=(__doc__ or "").split("\n")[0])
    add_scenario_arguments(out)
    out.add_argument("--seeds", nargs="+", default=["0"], help="whole numbers or ranges such as 0-3")
    out.add_argument("--points", type=int, default=9, help="caps, both ends included; default: 9")
    out.add_argument(
        "--prices",
        nargs="*",
        type=float,
        metavar="USD_PER_T",
        default=list(PRICES_USD_PER_T),
        help=f"carbon prices of the sweep; default: {' '.join(f'{p:g}' for p in PRICES_USD_PER_T)}",
    )
    out.add_argument(
        "--policies", nargs="+", default=[], metavar="NAME", help="besides local_only and the optimum"
    )
    out.add_argument(
        "--reference",
        nargs=2,
        type=float,
        metavar=("USD", "KG"),
        help="reference point of the hypervolume; default: the worst of Local-Only and the front and 5 %% of the range",
    )
    add_resumable_arguments(out, "front-<scenario>-<time>")
    out.add_argument("--mip-gap", type=float, default=1e-3, help="relative, where there are yes/no decisions")
    out.add_argument(
        "--time-limit-s", type=float, default=300.0, help="of one point; its bound holds also then"
    )
    add_parallel_arguments(out)
    return out


def main(words: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    arguments = parser().parse_args(words)
    return exit_code(lambda: front(arguments))


def front(arguments: argparse.Namespace) -> int:
    """Check everything, compute what is missing, write and print."""
    need_packages("pyomo", "highspy", "scipy", "joblib", "tqdm", "tensorboard", "matplotlib", "moocore")
    from scripts.studies.carbon.points import LOCAL, FrontSettings
    from scripts.studies.policies import find_contenders, resolved

    _check(arguments)
    seeds = parse_seeds(arguments.seeds)
    episodes = InstancesBySeed(arguments)
    scenario = episodes.compiled.name
    policies = _policies([resolved(name, scenario) for name in arguments.policies], LOCAL)
    find_contenders(policies, episodes.compiled)
    jobs = checked_jobs(arguments.jobs, ray=arguments.ray)
    check_ray(arguments.ray)
    threads = solver_threads(jobs, arguments.threads)
    instances = list(episodes.batch(seeds))
    folder = open_folder(arguments.run_dir or default_folder(KIND, arguments.scenario), KIND)
    settings = FrontSettings(
        arguments.points, tuple(arguments.prices), arguments.mip_gap,
        arguments.time_limit_s, threads,
    )  # fmt: skip
    config = vars(arguments) | {"scenario_resolved": episodes.compiled.resolved_scenario()}
    run = FrontRun(folder, instances, policies, settings, jobs, config)
    run.open(arguments.overwrite)
    print(
        "\n".join([f"{instances[0].scenario_name}: {len(seeds)} episode(s)", *sources(instances[0])]),
        flush=True,
    )
    try:
        run.compute(arguments.ray)
    except KeyboardInterrupt:
        print(f"interrupted: finished points are kept; go on with --run-dir {folder}", file=sys.stderr)
        return INTERRUPTED
    print("\n" + run.write(arguments.reference))
    print(f"tables, figures, points, run.json: {folder}")
    print(f"curves:  tensorboard --logdir {folder / BOARD}")
    return 0


def _check(arguments: argparse.Namespace) -> None:
    checked_number("mip-gap", arguments.mip_gap, 0.0, 1.0, "relative")
    checked_number("time-limit-s", arguments.time_limit_s, 0.1, float("inf"), "s")
    checked_number("points", arguments.points, 2, float("inf"), "points")
    reference = arguments.reference
    if reference is not None and not all(map(math.isfinite, reference)):
        raise InputError(
            f"--reference {' '.join(f'{x:g}' for x in reference)}: must be two finite numbers, USD and kg"
        )
    prices = arguments.prices
    if any(not 0.0 <= price < float("inf") for price in prices) or prices != sorted(set(prices)):
        raise InputError(
            f"--prices {' '.join(f'{p:g}' for p in prices)}: must be ascending, each once, >= 0 USD/t"
        )


def _policies(names: Sequence[str], local: str) -> list[str]:
    """Local-Only first, then the others; the optimum is there anyway."""
    from scripts.studies.names import OPTIMUM

    if OPTIMUM in names:
        raise InputError(f"--policies {OPTIMUM}: the benefit optimum is there anyway; leave it out")
    return [local, *(name for name in names if name != local)]


if __name__ == "__main__":
    sys.exit(main())
