"""Solve the perfect-foresight optimum of one episode and prove it by replay through the public step.

    python -m scripts.solve --scenario two_sites --seed 0 --objective benefit \\
        --mip-gap 1e-4 --time-limit-s 60 --out plan.npz

Writes the plan (flows and actions) and, beside it, the instance (plan.instance.npz), both without pickled
objects. ``--shadow-prices prices.csv`` writes what one more unit of each limit would earn, by hour and site (see
baselines/duals.py). Exit code 1: no plan was found within the time limit; the bound is printed all the same.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from scripts.runs.arguments import add_scenario_arguments
from scripts.runs.command import run_command
from scripts.studies.optimum import solve_one

if TYPE_CHECKING:
    pass


def parser() -> argparse.ArgumentParser:
    """The command line."""
    out = argparse.ArgumentParser(prog="python -m scripts.solve", description=(__doc__ or "").split("\n")[0])
    add_scenario_arguments(out)
    out.set_defaults(scenario=None)
    for action in out._actions:
        if action.dest == "scenario":
            action.required = False
    out.add_argument("--seed", type=int, help="of the episode; default: 0")
    out.add_argument(
        "--instance", help="a saved instance in place of --scenario, --seed and what changes them"
    )
    out.add_argument("--objective", choices=("benefit", "cost", "carbon"), default="benefit")
    out.add_argument("--mip-gap", type=float, default=1e-4, help="relative gap at which the solver may stop")
    out.add_argument("--time-limit-s", type=float, help="of one solve; default: none")
    out.add_argument("--threads", type=int, default=2, help="of the solver")
    out.add_argument(
        "--carbon-budget-share",
        type=float,
        help="carbon budget as a share of what the benefit optimum emits without one, in place of the scenario's",
    )
    out.add_argument("--out", help="file for the plan (.npz); default: nothing is written")
    out.add_argument(
        "--shadow-prices", help="file for the prices of all limits (.csv); objective benefit or cost"
    )
    return out


def main(words: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    arguments = parser().parse_args(words)
    return run_command(lambda: solve_one(arguments))


if __name__ == "__main__":
    sys.exit(main())
