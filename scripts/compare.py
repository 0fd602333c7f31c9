"""Compare policies with each other and with the proven optimum, on the same episodes.

    python -m scripts.compare --scenario four_markets --policies local_only greedy \\
        ppo:runs/demo/model.zip milp --seeds 0 1 2

Prints one table and writes, into the run folder: summary.csv (one row per policy and seed), tables/ (one row
per step), figures/ (schedules beside the optimum), tensorboard/ (one run per policy, the same tags in each)
and run.json. The optimum's bound and Local-Only are always computed: gap and gain captured need them.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from scripts._common import (
    INTERRUPTED,
    checked_number,
    default_folder,
    guarded,
    need_packages,
    open_folder,
    parse_seeds,
)
from scripts._scenarios import Episodes, add_scenario_arguments, sources

if TYPE_CHECKING:
    from scripts._comparison import Comparison


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
        help="local_only nearest_region price_only carbon_only greedy random milp, ppo:PATH of a model.zip",
    )
    out.add_argument(
        "--seeds", nargs="+", default=["0", "1", "2"], help="whole numbers or ranges such as 0-19"
    )
    out.add_argument("--run-dir", help="output folder, by default runs/compare-<scenario>-<time>")
    out.add_argument("--overwrite", action="store_true", help="replace the comparison that is in --run-dir")
    out.add_argument(
        "--objective", choices=("benefit", "cost", "carbon"), default="benefit", help="of the optimum"
    )
    out.add_argument("--mip-gap", type=float, default=1e-3, help="relative gap at which the solver may stop")
    out.add_argument(
        "--time-limit-s", type=float, default=120.0, help="of one solve; the bound holds also then"
    )
    out.add_argument("--threads", type=int, default=2, help="of the solver")
    return out


def main(words: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    arguments = parser().parse_args(words)
    return guarded(lambda: compare(arguments))


def compare(arguments: argparse.Namespace) -> int:
    """Check everything, then play; bad input raises before anything is computed or overwritten."""
    need_packages("pyomo", "highspy", "scipy", "tensorboard", "tqdm", "matplotlib")
    from scripts._comparison import KIND, Comparison, make_room
    from scripts._contenders import find_contenders

    checked_number("mip-gap", arguments.mip_gap, 0.0, 1.0, "relative")
    checked_number("time-limit-s", arguments.time_limit_s, 0.1, float("inf"), "s")
    checked_number("threads", arguments.threads, 1, float("inf"), "threads")
    seeds = parse_seeds(arguments.seeds)
    episodes = Episodes(arguments)
    contenders = find_contenders(arguments.policies, episodes.compiled)
    first = episodes.make(seeds[0])
    folder = open_folder(arguments.run_dir or default_folder(KIND, arguments.scenario), KIND)
    make_room(folder, arguments.overwrite)
    print(
        "\n".join([f"{episodes.compiled.scenario.name}: {len(seeds)} episode(s)", *sources(first)]),
        flush=True,
    )
    comparison = Comparison(
        folder=folder,
        episodes=episodes,
        contenders=contenders,
        seeds=seeds,
        objective=arguments.objective,
        solver={
            "mip_gap": arguments.mip_gap,
            "time_limit_s": arguments.time_limit_s,
            "threads": arguments.threads,
        },
        config=vars(arguments) | {"scenario_resolved": episodes.compiled.scenario.model_dump(mode="json")},
    )
    try:
        comparison.run()
    except KeyboardInterrupt:
        print("interrupted: what is finished is written", file=sys.stderr)
        show(comparison, folder)
        return INTERRUPTED
    show(comparison, folder)
    return 0


def show(comparison: Comparison, folder: Path) -> None:
    """Print the table and where everything lies."""
    from scripts._report import comparison_table, footnotes

    if not comparison.rows:
        print("no policy has finished an episode")
        return
    print(comparison_table(comparison.rows))
    print("\n".join(footnotes(comparison.rows)))
    print(f"\nsummary, tables, figures, run.json: {folder}")
    print(f"schedules side by side:  tensorboard --logdir {folder / 'tensorboard'}")


if __name__ == "__main__":
    sys.exit(main())
