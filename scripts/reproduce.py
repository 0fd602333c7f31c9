"""Run the two source models from their scenario files and set our figures beside the published ones.

    python -m scripts.reproduce                       # both models, all sensitivities
    python -m scripts.reproduce --models B --parameters generation
    python -m scripts.reproduce --quick               # one seed, the ends of each grid: a test of the machinery

Model A is arXiv 2604.27855 (`energy_geography`), model B arXiv 2605.03751 (`microgrid_prosumer`), on synthetic traces;
seeds, published ranges and grids stand in `configs/experiments`.  Writes headlines.csv, policies.csv,
sensitivity.csv, figures/ and tensorboard/ into the run folder, and one file per task: a reproduction that was killed
goes on where it stopped.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from functools import partial
from typing import Any

from scripts.runs.arguments import parse_seeds
from scripts.runs.command import INTERRUPTED, exit_code, need_packages
from scripts.runs.folder import open_folder, write_run
from scripts.runs.parallel import (
    add_parallel_arguments,
    add_resumable_arguments,
    check_ray,
    checked_jobs,
    solver_threads,
)
from scripts.runs.tasks import run_tasks
from scripts.studies.reproduction.run import KIND, config_of, open_results, write_tables


def parser() -> argparse.ArgumentParser:
    """The command line."""
    out = argparse.ArgumentParser(
        prog="python -m scripts.reproduce", description=(__doc__ or "").split("\n")[0]
    )
    out.add_argument("--models", nargs="+", metavar="MODEL", help="A, B; default: both")
    out.add_argument(
        "--parameters", nargs="*", metavar="NAME", help="sensitivities; default: all; empty: none"
    )
    out.add_argument("--seeds", nargs="+", help="of the main episodes; default: those of the experiment")
    out.add_argument("--quick", action="store_true", help="one seed, the ends of each grid, short episodes")
    add_resumable_arguments(out, "reproduce[-quick]")
    add_parallel_arguments(out)
    return out


def main(words: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    arguments = parser().parse_args(words)
    return exit_code(lambda: reproduce(arguments))


def reproduce(arguments: argparse.Namespace) -> int:
    """Check everything, compute what is missing, write and print."""
    need_packages("pyomo", "highspy", "scipy", "tqdm", "tensorboard", "matplotlib")
    from scripts.studies.reproduction.tasks import compute, tasks_of

    experiments = _experiments(arguments)
    jobs = checked_jobs(arguments.jobs, ray=arguments.ray)
    check_ray(arguments.ray)
    folder = open_folder(arguments.run_dir or f"runs/{KIND}{'-quick' if arguments.quick else ''}", KIND)
    config = config_of(arguments, experiments)
    store = open_results(folder, config, arguments.overwrite)
    seeds = sorted({seed for one in experiments.values() for seed in one.seeds})
    write_run(folder, KIND, config, seeds, finished=False)

    tasks = [task for one in experiments.values() for task in tasks_of(one)]
    work = partial(compute, threads=solver_threads(jobs, arguments.threads))
    begin = time.perf_counter()
    try:
        computed = run_tasks(
            store,
            [[[task] for task in tasks]],
            work,
            jobs=jobs,
            ray=arguments.ray,
            total=len(tasks),
            unit="task",
        )
    except KeyboardInterrupt:
        print(
            f"interrupted: {store.count(tasks)} of {len(tasks)} tasks are kept; go on with --run-dir {folder}",
            file=sys.stderr,
        )
        return INTERRUPTED

    seconds = time.perf_counter() - begin
    write_tables(folder, store, experiments)
    write_run(folder, KIND, config, seeds, finished=True, seconds=seconds, computed=computed, jobs=jobs)
    print(f"\n{computed} of {len(tasks)} tasks computed now, in {seconds:.0f} s; tables, figures: {folder}")
    return 0


def _experiments(arguments: argparse.Namespace) -> dict[str, Any]:
    """What to run, as the command line changes it."""
    from scripts.studies.reproduction.experiment import load_experiments, with_parameters
    from scripts.studies.reproduction.tables import check_headlines

    experiments = with_parameters(load_experiments(arguments.models), arguments.parameters)
    if arguments.seeds is not None:
        seeds = parse_seeds(arguments.seeds)
        experiments = {name: one.model_copy(update={"seeds": seeds}) for name, one in experiments.items()}
    for one in experiments.values():
        check_headlines(one)
    return {name: one.smaller() if arguments.quick else one for name, one in experiments.items()}


if __name__ == "__main__":
    sys.exit(main())
