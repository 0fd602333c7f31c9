"""What a millisecond of latency budget buys: least cost, least carbon and most benefit along a grid of budgets.

    python -m scripts.frontier --scenario energy_geography
    python -m scripts.frontier --scenario four_markets --axes scale interactive --points 8 --seeds 0 1 \\
        --policies local_only greedy

Axes: ``scale`` (all budgets together; 1 is as in the scenario) and classes (one class's budget in ms). At each
point and episode V = -most benefit, F_cost and F_co2 are solved; cost and carbon keep the service that the
benefit plan gives at the tightest point.  Writes frontier.csv (and .parquet), returns.csv (ERL, CRL), rid.csv,
layers.csv, closed.csv, breakeven.csv, figures/ and tensorboard/ into the run folder, and one file per point: a
killed sweep goes on where it stopped.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

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

KIND = "frontier"
POINTS = 12


def parser() -> argparse.ArgumentParser:
    """The command line."""
    out = argparse.ArgumentParser(
        prog="python -m scripts.frontier", description=(__doc__ or "").split("\n")[0]
    )
    add_scenario_arguments(out)
    out.add_argument(
        "--axes", nargs="+", metavar="AXIS", help="scale and names of classes; default: scale and every class"
    )
    out.add_argument("--points", type=int, help=f"of the default grid; default: {POINTS}")
    out.add_argument(
        "--grid",
        nargs="+",
        metavar="X",
        help="own ascending budgets of a single axis: ms, or factors on the scale axis",
    )
    out.add_argument("--seeds", nargs="+", default=["0-3"], help="whole numbers or ranges such as 0-3")
    out.add_argument("--policies", nargs="+", default=[], metavar="NAME", help="played at the same points")
    add_resumable_arguments(out, "frontier-<scenario>-<time>")
    out.add_argument("--mip-gap", type=float, default=1e-4, help="relative, where there are yes/no decisions")
    out.add_argument(
        "--time-limit-s", type=float, default=300.0, help="of one solve; the bound holds also then"
    )
    add_parallel_arguments(out)
    return out


def main(words: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    arguments = parser().parse_args(words)
    return exit_code(lambda: frontier(arguments))


def frontier(arguments: argparse.Namespace) -> int:
    """Check everything, compute what is missing, write and print."""
    need_packages("pyomo", "highspy", "scipy", "joblib", "tqdm", "tensorboard", "matplotlib", "pyarrow")
    from scripts.studies.latency.run import Frontier
    from scripts.studies.latency.text import show
    from scripts.studies.names import OPTIMUM
    from scripts.studies.policies import find_contenders, resolved

    checked_number("mip-gap", arguments.mip_gap, 0.0, 1.0, "relative")
    checked_number("time-limit-s", arguments.time_limit_s, 0.1, float("inf"), "s")
    seeds = parse_seeds(arguments.seeds)
    episodes = InstancesBySeed(arguments)
    sweeps = _sweeps(episodes.compiled.scenario, arguments)
    if OPTIMUM in arguments.policies:
        raise InputError(f"--policies {OPTIMUM}: the optimum is on the frontier anyway; leave it out")
    arguments.policies = [resolved(name, episodes.compiled.name) for name in arguments.policies]
    find_contenders(arguments.policies, episodes.compiled)
    check_ray(arguments.ray)
    jobs = checked_jobs(arguments.jobs, ray=arguments.ray)
    threads = solver_threads(jobs, arguments.threads)
    instances = list(episodes.batch(seeds))
    folder = open_folder(arguments.run_dir or default_folder(KIND, arguments.scenario), KIND)
    run = Frontier(
        folder=folder,
        instances=instances,
        sweeps=sweeps,
        policies=arguments.policies,
        mip_gap=arguments.mip_gap,
        time_limit_s=arguments.time_limit_s,
        jobs=jobs,
        threads=threads,
        ray=arguments.ray,
        config=vars(arguments) | {"scenario_resolved": episodes.compiled.resolved_scenario()},
    )
    run.open(arguments.overwrite)
    print("\n".join([_headline(episodes, sweeps, seeds), *sources(instances[0])]), flush=True)
    try:
        run.compute()
    except KeyboardInterrupt:
        print(
            f"interrupted: {run.finished()} of {run.planned()} points are kept; go on with --run-dir {folder}",
            file=sys.stderr,
        )
        return INTERRUPTED
    show(run.write())
    _where(folder)
    return 0


def _sweeps(scenario: Any, arguments: argparse.Namespace) -> list[Any]:
    """The axes with their grids; raises InputError for unknown ones and for bad grids."""
    from gridai_env.analysis.latency_budgets import MOST_POINTS, make_sweep

    classes = [task.name for task in scenario.classes]
    names = arguments.axes or ["scale", *classes]
    doubles = sorted({name for name in names if names.count(name) > 1})
    if doubles:
        raise InputError(f"--axes: given twice: {', '.join(doubles)}")
    grid = None
    if arguments.grid is not None:
        if len(names) != 1 or arguments.points is not None:
            raise InputError("--grid: belongs to a single axis (--axes NAME) and excludes --points")
        grid = [_number(word) for word in arguments.grid]
    if arguments.points is not None and arguments.points < 2:
        raise InputError(f"--points {arguments.points}: must be at least 2")
    if arguments.points is not None and arguments.points > MOST_POINTS:
        raise InputError(
            f"--points {arguments.points}: must be at most {MOST_POINTS}; --grid takes own points"
        )
    points = POINTS if arguments.points is None else arguments.points
    sweeps = []
    for name in names:
        try:
            axis = name if name == "scale" else f"class:{name.removeprefix('class:')}"
            sweeps.append(make_sweep(scenario, axis, grid, points=points))
        except ValueError as error:
            if arguments.axes:
                raise InputError(f"--axes {name}: {error}") from error
            print(f"left out: {error}")  # by default, every axis on which there is something to see
    if not sweeps:
        raise InputError("no latency budget opens any route in this scenario: there is no frontier")
    return sweeps


def _number(word: str) -> float:
    try:
        return float(word)
    except ValueError:
        raise InputError(f"--grid {word!r}: must be a number") from None


def _headline(episodes: InstancesBySeed, sweeps: Sequence[Any], seeds: Sequence[int]) -> str:
    axes = ", ".join(f"{sweep.axis} ({len(sweep)} points)" for sweep in sweeps)
    return f"{episodes.compiled.name}: {axes}; {len(seeds)} episode(s)"


def _where(folder: Path) -> None:
    print(f"\ntables, figures, points, run.json: {folder}")
    print(f"curves over the latency axis:  tensorboard --logdir {folder / 'tensorboard'}")


if __name__ == "__main__":
    sys.exit(main())
