"""Freeze the benchmark sets of a scenario: episodes with hashes, proven bounds, and what rules and planners get.

    python -m scripts.maintenance.freeze --scenario four_markets --jobs 2
    python -m scripts.maintenance.freeze --scenario four_markets --sets test --save-arrays runs/four_markets-test

Reads ``configs/benchmarks/<scenario>.yaml`` and writes ``configs/benchmarks/<scenario>/<set>.json``, which
``scripts.evaluate`` reads.  Every result is a file of its own in the run folder: a killed run goes on where it
stopped.  ``--save-arrays`` writes the episodes themselves, one .npz each, for use without this package's generator.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scripts.runs.command import InputError, exit_code, need_packages
from scripts.runs.folder import open_folder, write_run
from scripts.runs.parallel import (
    add_parallel_arguments,
    add_resumable_arguments,
    check_ray,
    checked_jobs,
)
from scripts.runs.tasks import Store, run_tasks

KIND = "freeze"


def parser() -> argparse.ArgumentParser:
    """The command line."""
    out = argparse.ArgumentParser(
        prog="python -m scripts.maintenance.freeze", description=(__doc__ or "").split("\n")[0]
    )
    out.add_argument("--scenario", required=True, help="a scenario with a file in configs/benchmarks")
    out.add_argument("--sets", nargs="+", metavar="SET", help="train validation test shifted; default: all")
    out.add_argument(
        "--save-arrays", metavar="DIR", help="write the episodes there, one .npz each; solve nothing"
    )
    out.add_argument(
        "--benchmarks", metavar="DIR", help="folder of the benchmarks; default: configs/benchmarks"
    )
    out.add_argument(
        "--bounds-only", action="store_true", help="leave the planners out; run again without it to add them"
    )
    add_resumable_arguments(out, "freeze-<scenario>")
    add_parallel_arguments(out, jobs=1)
    return out


def main(words: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    arguments = parser().parse_args(words)
    return exit_code(lambda: freeze(arguments))


def freeze(arguments: argparse.Namespace) -> int:
    """Make the sets; bad input raises before anything is computed."""
    need_packages("pyomo", "highspy", "scipy", "joblib", "tqdm")
    from gridai_env.benchmarks.sets import BenchmarkError

    try:
        return _freeze(arguments)
    except BenchmarkError as error:
        raise InputError(str(error)) from error


def _freeze(arguments: argparse.Namespace) -> int:
    from gridai_env.benchmarks.sets import benchmark_folder, read_benchmark

    folder = Path(arguments.benchmarks) if arguments.benchmarks else benchmark_folder()
    benchmark = read_benchmark(arguments.scenario, folder)
    names = list(arguments.sets or benchmark.sets)
    if unknown := [name for name in names if name not in benchmark.sets]:
        raise InputError(f"--sets {unknown[0]!r}: the benchmark has {', '.join(benchmark.sets)}")
    if arguments.save_arrays:
        return _save_arrays(benchmark, names, folder, Path(arguments.save_arrays))
    from scripts.studies.evaluation.freeze import KIND as RESULT
    from scripts.studies.evaluation.freeze import FreezeSettings, compute, publish, tasks_of

    jobs = checked_jobs(arguments.jobs, None, arguments.ray)
    check_ray(arguments.ray)
    run_dir = open_folder(arguments.run_dir or Path("runs") / f"{KIND}-{arguments.scenario}", KIND)
    settings = FreezeSettings(benchmark, folder, arguments.threads or 1, not arguments.bounds_only)
    write_run(run_dir, KIND, vars(arguments), [], benchmark=benchmark.model_dump(mode="json"))
    for name in names:
        if arguments.overwrite:
            shutil.rmtree(run_dir / name, ignore_errors=True)
        store, tasks = Store(run_dir / name, RESULT), tasks_of(settings, name)
        run_tasks(
            store, [[[task] for task in tasks]], compute, jobs=jobs, ray=arguments.ray, total=len(tasks),
            unit="result", label=f"{benchmark.scenario}/{name}",
        )  # fmt: skip
        print(
            f"{publish(settings, name, tasks, store)}: {benchmark.sets[name].episodes} episodes", flush=True
        )
    return 0


def _save_arrays(benchmark: Any, names: Sequence[Any], folder: Path, target: Path) -> int:
    """Write the episodes of sets as files; those of frozen sets are checked."""
    from tqdm import tqdm

    from gridai_env.benchmarks.published import read_set, set_path
    from gridai_env.benchmarks.sets import episode_keys, make

    for name in names:
        place = target / name
        place.mkdir(parents=True, exist_ok=True)
        if set_path(benchmark.scenario, name, folder).is_file():
            instances = read_set(benchmark.scenario, name, folder).instances()
        else:
            instances = [make(benchmark, key, folder) for key in episode_keys(benchmark, name)]
        for i, instance in enumerate(tqdm(instances, desc=str(place))):
            instance.save(place / f"{i:03d}_{instance.hash[:16]}.npz")
        print(f"{place}: {len(instances)} episodes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
