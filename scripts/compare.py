"""Compare policies with each other and with the proven optimum, on the same episodes.

    python -m scripts.compare --scenario four_markets --policies local_only greedy ppo:runs/demo/model.zip \\
        mpc:persistence mpc:day_ahead mpc:perfect milp --seeds 0-19 --jobs 2

Prints a table and the ladder (bound, planners, learned, rules; regret split into foresight and decisions, see
`scripts.studies.comparison.ladder`) and writes, into the run folder: summary.csv (one row per policy and
seed), ladder.csv, tables/ (one row per step), figures/ (schedules beside the optimum), shadow prices,
tensorboard/ (one run per policy, the same tags in each) and run.json. The optimum's bound and Local-Only are
always computed: gap and gain captured need them. A policy that passes the bound ends the command with exit
code 1.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from scripts.runs.arguments import InstancesBySeed, add_scenario_arguments, parse_seeds, sources
from scripts.runs.command import (
    INTERRUPTED,
    InputError,
    checked_number,
    exit_code,
    need_packages,
)
from scripts.runs.folder import default_folder, open_folder
from scripts.runs.parallel import add_parallel_arguments, check_ray, checked_jobs, solver_threads

if TYPE_CHECKING:
    from scripts.studies.comparison.run import Comparison

DEFECT = 1  # exit code where a policy passes the proven bound


def parser() -> argparse.ArgumentParser:
    """The command line."""
    out = argparse.ArgumentParser(
        prog="python -m scripts.compare", description=(__doc__ or "").split("\n")[0]
    )
    add_scenario_arguments(out)
    out.add_argument(
        "--policies",
        nargs="+",
        required=True,
        metavar="NAME",
        help="local_only nearest_region price_only carbon_only greedy random milp, mpc:FORECAST (perfect, "
        "day_ahead, persistence), variant:NAME (no_battery, no_routing, ...), ppo:PATH of a model.zip, ppo:pretrained",
    )
    out.add_argument(
        "--seeds", nargs="+", default=["0", "1", "2"], help="whole numbers or ranges such as 0-19"
    )
    out.add_argument("--run-dir", help="output folder, by default runs/compare-<scenario>-<time>")
    out.add_argument("--overwrite", action="store_true", help="replace the comparison that is in --run-dir")
    out.add_argument(
        "--continue",
        dest="go_on",
        action="store_true",
        help="keep the seeds that are finished in --run-dir and play the rest",
    )
    out.add_argument(
        "--objective", choices=("benefit", "cost", "carbon"), default="benefit", help="of the optimum"
    )
    out.add_argument("--mip-gap", type=float, default=1e-3, help="relative gap at which the solver may stop")
    out.add_argument(
        "--time-limit-s", type=float, default=120.0, help="of one solve; the bound holds also then"
    )
    add_parallel_arguments(out, jobs=1)
    return out


def main(words: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    arguments = parser().parse_args(words)
    return exit_code(lambda: compare(arguments))


def compare(arguments: argparse.Namespace) -> int:
    """Check everything, then play; bad input raises before anything is computed or overwritten."""
    need_packages("pyomo", "highspy", "scipy", "tensorboard", "tqdm", "matplotlib")
    from scripts.studies.contest import BoundError

    comparison = prepared(arguments)
    if not comparison.finished:
        print("\n".join(sources(comparison.match.episodes.make(comparison.seeds[0]))), flush=True)
    try:
        comparison.run()
    except KeyboardInterrupt:
        print("interrupted: finished seeds are written; --continue plays the rest", file=sys.stderr)
        show(comparison)
        return INTERRUPTED
    except BoundError as error:
        print(f"defect: {error}", file=sys.stderr)
        return DEFECT
    show(comparison)
    return 0


def prepared(arguments: argparse.Namespace) -> Comparison:
    """The comparison that is asked for, its folder ready; raises InputError for what cannot be done."""
    from scripts.studies.comparison.match import EpisodeJob
    from scripts.studies.comparison.resume import KIND
    from scripts.studies.comparison.run import Comparison
    from scripts.studies.policies import checkpoints, find_contenders, resolved

    checked_number("mip-gap", arguments.mip_gap, 0.0, 1.0, "relative")
    checked_number("time-limit-s", arguments.time_limit_s, 0.1, float("inf"), "s")
    if arguments.go_on and (arguments.overwrite or not arguments.run_dir):
        raise InputError("--continue needs the --run-dir to go on with, and goes without --overwrite")
    seeds = parse_seeds(arguments.seeds)
    jobs = checked_jobs(arguments.jobs, len(seeds), arguments.ray)
    check_ray(arguments.ray)
    solver = {
        "mip_gap": arguments.mip_gap,
        "time_limit_s": arguments.time_limit_s,
        "threads": solver_threads(jobs, arguments.threads),
    }
    episodes = InstancesBySeed(arguments)
    compiled = episodes.compiled
    arguments.policies = [resolved(name, compiled.name) for name in arguments.policies]
    contenders = find_contenders(arguments.policies, compiled, solver)
    match = EpisodeJob(
        episodes, tuple(arguments.policies), arguments.objective, solver, checkpoints(arguments.policies)
    )
    config = vars(arguments) | {
        "scenario_resolved": compiled.resolved_scenario(),
        "checkpoints": match.checkpoints,
        "threads": solver["threads"],
    }
    episodes.make(seeds[0])
    folder = open_folder(arguments.run_dir or default_folder(KIND, arguments.scenario), KIND)
    comparison = Comparison(folder, match, contenders, seeds, config, jobs, arguments.ray)
    comparison.open(arguments.go_on, arguments.overwrite)
    before = len(comparison.finished)
    print(f"{compiled.name}: {len(seeds)} episode(s), {before} of them finished before", flush=True)
    return comparison


def show(comparison: Comparison) -> None:
    """Print the tables and where everything lies."""
    from scripts.studies.comparison.ladder import ladder_notes, ladder_table, rungs_of
    from scripts.studies.comparison.table import comparison_table, footnotes

    if not comparison.rows:
        print("no policy has finished an episode")
        return
    forecast = comparison.match.episodes.compiled.forecast.kind
    rungs = rungs_of(comparison.rows, forecast)
    print(comparison_table(comparison.rows), *footnotes(comparison.rows), sep="\n")
    print("", ladder_table(rungs), *ladder_notes(rungs, forecast), sep="\n")
    folder = comparison.folder
    print(f"\nsummary, ladder, tables, figures, run.json: {folder}")
    print(f"schedules side by side:  tensorboard --logdir {folder / 'tensorboard'}")


if __name__ == "__main__":
    sys.exit(main())
