"""Plans of the optimum or of a planner as demonstrations: what was seen and what was asked for, step by step.

    python -m scripts.demonstrate --scenario four_markets --planner mpc:day_ahead --episodes 100 --jobs 2 \\
        --run-dir runs/demonstrations

Plays each plan through the environment's public step and writes episodes/<hash of the episode>.npz (see
`agents.imitation.demonstrations`), demonstrations.csv (one row per episode) and run.json. Only training seeds
are taken, and where the scenario has a benchmark only its training days, so nothing that is learned here is
judged on later. A stopped run goes on where it stopped, with the same --run-dir; more episodes may be asked
for then.
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
from scripts.runs.parallel import (
    add_parallel_arguments,
    add_resumable_arguments,
    check_ray,
    checked_jobs,
    solver_threads,
)

if TYPE_CHECKING:
    from scripts.studies.demonstrations import DemonstrationRun

KIND = "demonstrate"
EPISODES = 20


def parser() -> argparse.ArgumentParser:
    """The command line."""
    out = argparse.ArgumentParser(
        prog="python -m scripts.demonstrate", description=(__doc__ or "").split("\n")[0]
    )
    add_scenario_arguments(out)
    out.add_argument(
        "--planner",
        default="mpc:day_ahead",
        help="milp (perfect foresight), mpc:FORECAST (day_ahead, persistence, perfect) or the name of a rule",
    )
    out.add_argument(
        "--episodes", type=int, help=f"how many, from the first training seed on; default: {EPISODES}"
    )
    out.add_argument("--seeds", nargs="+", help="training seeds in place of --episodes, e.g. 1000000-1000019")
    out.add_argument(
        "--days",
        choices=("train", "all"),
        help="days on which episodes lie: those for training of the scenario's benchmark (default where there is one) "
        "or all",
    )
    add_resumable_arguments(out, f"{KIND}-<scenario>-<time>")
    out.add_argument("--mip-gap", type=float, default=1e-3, help="relative gap at which milp may stop")
    out.add_argument("--time-limit-s", type=float, default=120.0, help="of one solve of milp")
    add_parallel_arguments(out, jobs=1)
    return out


def main(words: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    arguments = parser().parse_args(words)
    return exit_code(lambda: demonstrate(arguments))


def demonstrate(arguments: argparse.Namespace) -> int:
    """Check everything, play what is missing, write and print."""
    need_packages("pyomo", "highspy", "scipy", "torch", "stable_baselines3", "tqdm")
    run = prepared(arguments)
    first = run.instances[0]
    print(
        f"{first.scenario_name}: {len(run.instances)} episode(s) of {run.work.planner}, "
        f"{run.finished} of them finished before"
    )
    print("\n".join(sources(first)), flush=True)
    try:
        run.play()
    except KeyboardInterrupt:
        print(
            f"interrupted: {run.finished} of {len(run.instances)} episodes are kept; go on with --run-dir {run.folder}",
            file=sys.stderr,
        )
        return INTERRUPTED
    print(run.summary())
    print(f"demonstrations, table, run.json: {run.folder}")
    return 0


def prepared(arguments: argparse.Namespace) -> DemonstrationRun:
    """The run that is asked for, its folder ready; raises InputError for what cannot be done."""
    from scripts.studies.demonstrations import (
        DemonstrationRun,
        DemonstrationWork,
        check_planner,
        on_days,
        training_instances,
    )

    checked_number("mip-gap", arguments.mip_gap, 0.0, 1.0, "relative")
    checked_number("time-limit-s", arguments.time_limit_s, 0.1, float("inf"), "s")
    episodes = on_days(InstancesBySeed(arguments), arguments.days, arguments.start)
    instances = training_instances(episodes, _wanted_seeds(arguments))
    check_ray(arguments.ray)
    jobs = checked_jobs(arguments.jobs, len(instances), arguments.ray)
    work = DemonstrationWork(
        planner=arguments.planner,
        mip_gap=arguments.mip_gap,
        time_limit_s=arguments.time_limit_s,
        threads=solver_threads(jobs, arguments.threads),
    )
    check_planner(work, episodes.compiled)
    folder = open_folder(arguments.run_dir or default_folder(KIND, arguments.scenario), KIND)
    config = vars(arguments) | {"scenario_resolved": episodes.compiled.resolved_scenario()}
    run = DemonstrationRun(folder, work, instances, config, jobs, arguments.ray)
    run.open(arguments.overwrite)
    return run


def _wanted_seeds(arguments: argparse.Namespace) -> Sequence[int]:
    """The seeds given, or the first training seeds."""
    from agents.vec_env.base import TRAINING_SEEDS

    if arguments.seeds is not None:
        if arguments.episodes is not None:
            raise InputError("--seeds names the episodes: leave out --episodes")
        return parse_seeds(arguments.seeds)
    count = EPISODES if arguments.episodes is None else arguments.episodes
    if count < 1:
        raise InputError(f"--episodes {count}: must be at least 1")
    return TRAINING_SEEDS[:count]


if __name__ == "__main__":
    sys.exit(main())
