"""Freeze the benchmark sets of a scenario: episodes with hashes, proven bounds, and what rules and planners get.

    python -m scripts.maintenance.freeze --scenario four_markets --jobs 2
    python -m scripts.maintenance.freeze --scenario four_markets --sets test --save-arrays runs/four_markets-test

Reads ``configs/benchmarks/<scenario>.yaml`` and writes ``configs/benchmarks/<scenario>/<set>.json``, which
``scripts.evaluate`` reads.  Every result is a file of its own in the run folder: a killed run goes on where it
stopped.  ``--save-arrays`` writes the episodes themselves, one .npz each, for use without this package's generator.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from gridai_env.benchmarks.sets import SetName
from scripts.runs.arguments import Count, ParallelOptions, ResumableOptions
from scripts.runs.command import SOLVER, Folder, InputError, Shown, command, need_packages
from scripts.runs.folder import open_folder, write_run
from scripts.runs.parallel import check_ray
from scripts.runs.tasks import Store, run_tasks

KIND = "freeze"


class FreezeOptions(ResumableOptions, ParallelOptions):
    """Which sets are made, and how."""

    scenario: str = Field(description="a scenario with a file in configs/benchmarks")
    sets: Annotated[list[SetName] | None, Shown(metavar="SET")] = Field(
        None, description="train validation test shifted; default: all"
    )
    save_arrays: Folder | None = Field(
        None, description="write the episodes there, one .npz each; solve nothing"
    )
    benchmarks: Folder | None = Field(
        None, description="folder of the benchmarks; default: configs/benchmarks"
    )
    bounds_only: bool = Field(False, description="leave the planners out; run again without it to add them")
    run_dir: str | None = Field(
        None, description="output folder, also to go on with; default: runs/freeze-<scenario>"
    )
    jobs: Count = Field(1, description="worker processes side by side")


@command(FreezeOptions)
def main(options: FreezeOptions) -> int:
    """Make the sets; bad input raises before anything is computed."""
    need_packages(*SOLVER, "tqdm")
    from gridai_env.benchmarks.sets import benchmark_folder, read_benchmark

    folder = Path(options.benchmarks) if options.benchmarks else benchmark_folder()
    benchmark = read_benchmark(options.scenario, folder)
    names: list[SetName] = list(options.sets or benchmark.sets)
    if unknown := [name for name in names if name not in benchmark.sets]:
        raise InputError(f"--sets {unknown[0]!r}: the benchmark has {', '.join(benchmark.sets)}")
    if options.save_arrays:
        return _save_arrays(benchmark, names, folder, Path(options.save_arrays))

    from scripts.studies.evaluation import freeze

    check_ray(options.ray)
    run_dir = open_folder(options.run_dir or Path("runs") / f"{KIND}-{options.scenario}", KIND)
    settings = freeze.FreezeSettings(benchmark, folder, options.threads or 1, not options.bounds_only)
    write_run(run_dir, KIND, vars(options), [], benchmark=benchmark.model_dump(mode="json"))

    for name in names:
        if options.overwrite:
            shutil.rmtree(run_dir / name, ignore_errors=True)
        store, tasks = Store(run_dir / name, freeze.KIND), freeze.tasks_of(settings, name)
        run_tasks(
            store, [[[task] for task in tasks]], freeze.compute, jobs=options.jobs, ray=options.ray, total=len(tasks),
            unit="result", label=f"{benchmark.scenario}/{name}",
        )  # fmt: skip
        path = freeze.publish(settings, name, tasks, store)
        print(f"{path}: {benchmark.sets[name].episodes} episodes", flush=True)
    return 0


def _save_arrays(benchmark: Any, names: Sequence[SetName], folder: Path, target: Path) -> int:
    """Write the episodes of sets as files; those of frozen sets are checked."""
    from tqdm import tqdm

    from gridai_env.benchmarks.published import read_set, set_path
    from gridai_env.benchmarks.sets import episode_keys, make

    for name in names:
        place = target / name
        place.mkdir(parents=True, exist_ok=True)

        # Frozen episodes are checked against their hashes; others are drawn now.
        if set_path(benchmark.scenario, name, folder).is_file():
            instances = read_set(benchmark.scenario, name, folder).instances()
        else:
            instances = [make(benchmark, key, folder) for key in episode_keys(benchmark, name)]
        for i, instance in enumerate(tqdm(instances, desc=str(place))):
            instance.save(place / f"{i:03d}_{instance.hash[:16]}.npz")
        print(f"{place}: {len(instances)} episodes")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
