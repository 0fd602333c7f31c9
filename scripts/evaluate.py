"""Evaluate policies on a frozen set: its bounds and its planners' results are published, so nothing is solved.

    python -m scripts.evaluate --policy ppo:pretrained --scenario four_markets
    python -m scripts.evaluate --policies ppo:runs/seeds mpc:persistence greedy --scenario two_sites --set shifted
    python -m scripts.evaluate --policy ppo:runs/a/model.zip --scenario two_sites --where milp

``ppo:PATH`` is a model.zip, a run folder, a folder of run folders (one for each training seed) or a pattern.  The
last line is, for the first policy,

    gain_captured=<x> ci=[<lo>,<hi>] of_mpc_day_ahead=<y> dropped=<z>

x: share of the gain from Local-Only to the bound, ratio of sums, median over training seeds, with its 95 % bootstrap
interval; y: the same gain over that of MPC with the agent's own day-ahead forecasts; z: share of arrivals refused or
dropped, less that of the optimum.  A policy that passes the bound or uses a masked route ends with exit code 1.
``--recompute`` solves and plays again what is published and compares; ``--where`` says which lever (routing,
deferral, battery, generation, jobs) loses how much against the optimum or a planner.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from scripts.runs.command import InputError, need_packages, run_command
from scripts.studies.evaluation.run import DEFECT, _evaluate

if TYPE_CHECKING:
    pass


def parser() -> argparse.ArgumentParser:
    """The command line."""
    out = argparse.ArgumentParser(
        prog="python -m scripts.evaluate",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    out.add_argument(
        "--policy", "--policies", dest="policies", nargs="+", required=True, metavar="SPEC",
        help="ppo:PATH, ppo:pretrained, a rule, mpc:FORECAST, milp",
    )  # fmt: skip
    out.add_argument("--scenario", required=True, help="a scenario with a file in configs/benchmarks")
    out.add_argument("--set", default="test", help="test (default), validation, train, shifted")
    out.add_argument("--episodes", type=int, metavar="N", help="only N of the set's episodes, evenly spread")
    out.add_argument("--run-dir", help="output folder; default: runs/evaluate-<scenario>-<time>")
    out.add_argument(
        "--table", nargs="?", const="", metavar="FILE.md",
        help="write the table of results, default configs/benchmarks/<scenario>/<set>.md, and a .csv beside it",
    )  # fmt: skip
    out.add_argument(
        "--recompute", action="store_true", help="solve and play again what is published, and compare"
    )
    out.add_argument(
        "--where", nargs="?", const="milp", metavar="BETTER",
        help="which lever loses against BETTER: milp (default) or mpc:FORECAST; of the first policy",
    )  # fmt: skip
    out.add_argument("--where-episodes", type=int, default=6, metavar="N", help="for --where; default 6")
    out.add_argument(
        "--benchmarks", metavar="DIR", help="folder of the benchmarks; default: configs/benchmarks"
    )
    return out


def main(words: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    arguments = parser().parse_args(words)
    return run_command(lambda: evaluate(arguments))


def evaluate(arguments: argparse.Namespace) -> int:
    """Check everything, play, judge, write, print."""
    need_packages("pyomo", "highspy", "scipy", "tqdm")
    from gridai_env.benchmarks.sets import BenchmarkError
    from scripts.studies.contest import BoundError

    try:
        return _evaluate(arguments)
    except BenchmarkError as error:
        raise InputError(str(error)) from error
    except BoundError as error:
        print(f"defect: {error}", file=sys.stderr)
        return DEFECT


if __name__ == "__main__":
    sys.exit(main())
