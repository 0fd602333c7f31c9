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
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scripts._common import (
    INTERRUPTED,
    RUN_FILE,
    InputError,
    guarded,
    need_packages,
    open_folder,
    parse_seeds,
    read_run,
    write_run,
)
from scripts._parallel import (
    add_parallel_arguments,
    add_resumable_arguments,
    check_ray,
    checked_jobs,
    solver_threads,
    spread,
)
from scripts._text import aligned

KIND = "reproduce"
TASKS, FIGURES, BOARD = "tasks", "figures", "tensorboard"


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
    return guarded(lambda: reproduce(arguments))


def reproduce(arguments: argparse.Namespace) -> int:
    """Check everything, compute what is missing, write and print."""
    need_packages("pyomo", "highspy", "scipy", "tqdm", "tensorboard", "matplotlib")
    from tqdm import tqdm

    from scripts._reproduction_tasks import compute, tasks_of

    experiments = _experiments(arguments)
    jobs = checked_jobs(arguments.jobs, ray=arguments.ray)
    check_ray(arguments.ray)
    folder = open_folder(arguments.run_dir or f"runs/{KIND}{'-quick' if arguments.quick else ''}", KIND)
    config = _config(arguments, experiments)
    _open(folder, config, arguments.overwrite)
    seeds = sorted({seed for one in experiments.values() for seed in one.seeds})
    write_run(folder, KIND, config, seeds, finished=False)
    tasks = [task for one in experiments.values() for task in tasks_of(one)]
    store = (folder / TASKS).resolve()
    left = [task for task in tasks if task.read(store) is None]
    threads, begin = solver_threads(jobs, arguments.threads), time.perf_counter()
    with tqdm(total=len(tasks), initial=len(tasks) - len(left), unit="task", disable=not left) as bar:
        try:
            for name in spread(compute, [(task, store, threads) for task in left], jobs, arguments.ray):
                bar.set_postfix_str(name)
                bar.update()
        except KeyboardInterrupt:
            bar.close()
            done = sum((store / f"{task.name}.json").exists() for task in tasks)
            print(
                f"interrupted: {done} of {len(tasks)} tasks are kept; go on with --run-dir {folder}",
                file=sys.stderr,
            )
            return INTERRUPTED
    seconds = time.perf_counter() - begin
    _write(folder, store, experiments)
    write_run(folder, KIND, config, seeds, finished=True, seconds=seconds, computed=len(left), jobs=jobs)
    print(f"\n{len(left)} of {len(tasks)} tasks computed now, in {seconds:.0f} s; tables, figures: {folder}")
    return 0


def _experiments(arguments: argparse.Namespace) -> dict[str, Any]:
    """What to run, as the command line changes it."""
    from scripts._reproduction import load_experiments, with_parameters
    from scripts._reproduction_tables import check_headlines

    experiments = with_parameters(load_experiments(arguments.models), arguments.parameters)
    if arguments.seeds is not None:
        seeds = parse_seeds(arguments.seeds)
        experiments = {name: one.model_copy(update={"seeds": seeds}) for name, one in experiments.items()}
    for one in experiments.values():
        check_headlines(one)
    return {name: one.smaller() if arguments.quick else one for name, one in experiments.items()}


def _config(arguments: argparse.Namespace, experiments: dict[str, Any]) -> dict[str, Any]:
    from gridai_env.scenarios import load_scenario

    resolved = {
        name: load_scenario(one.scenario, horizon_h=one.horizon_h).model_dump(mode="json")
        for name, one in experiments.items()
    }
    return vars(arguments) | {
        "experiments": {name: one.model_dump(mode="json") for name, one in experiments.items()},
        "scenario_resolved": resolved,
    }


def _open(folder: Path, config: dict[str, Any], overwrite: bool) -> None:
    """Make the folder ready; raises InputError where it holds other scenarios or another version."""
    store = folder / TASKS
    if overwrite:
        shutil.rmtree(store, ignore_errors=True)
    elif (folder / RUN_FILE).exists():
        found = read_run(folder, KIND)["config"].get("scenario_resolved", {})
        for model, ours in config["scenario_resolved"].items():
            theirs = found.get(model, ours)
            keys = [key for key in ours if theirs.get(key) != ours[key]]
            if keys:
                raise InputError(
                    f"{folder} holds a reproduction of model {model} on another scenario (they differ in "
                    f"{', '.join(keys[:5])}); give another --run-dir, or --overwrite to compute it again"
                )
    elif store.exists() and any(store.iterdir()):
        raise InputError(f"{folder} holds results but no {RUN_FILE}; give another --run-dir, or --overwrite")
    store.mkdir(exist_ok=True)


def _write(folder: Path, store: Path, experiments: dict[str, Any]) -> None:
    """Make tables, figures and TensorBoard files from the records, and print."""
    from scripts._reproduction_figures import write_board, write_figures
    from scripts._reproduction_tables import headline_rows, policy_rows, sensitivity_rows
    from scripts._rows import write_rows

    models = list(experiments.values())
    headlines = [row for one in models for row in headline_rows(one, store)]
    policies = [row for one in models for row in policy_rows(one, store)]
    sensitivities = [row for one in models for row in sensitivity_rows(one, store)]
    for name, rows in (("headlines", headlines), ("policies", policies), ("sensitivity", sensitivities)):
        if rows:
            write_rows(rows, folder / f"{name}.csv")
        else:
            (folder / f"{name}.csv").unlink(missing_ok=True)
    for name in (FIGURES, BOARD):
        shutil.rmtree(folder / name, ignore_errors=True)
        (folder / name).mkdir()
    write_figures(folder / FIGURES, models, headlines, sensitivities)
    write_board(folder / BOARD, headlines, sensitivities)
    for one in models:
        _show(one, headlines, policies, sensitivities)


# Words --------------------------------------------------------------------------------------------------------------


def _show(one: Any, headlines: list[Any], policies: list[Any], sensitivities: list[Any]) -> None:
    own = [row for row in headlines if row["model"] == one.model]
    print(
        f"\nModel {one.model}: {one.source}, scenario {one.scenario}, synthetic traces, {len(one.seeds)} episode(s)"
    )
    print(
        aligned(("headline", "unit", "published", "ours [95 %]", "inside"), [_headline(row) for row in own])
    )
    print()
    print(aligned(POLICY_HEADERS, [_policy(row) for row in policies if row["model"] == one.model]))
    _show_outside(own, sensitivities)


def _headline(row: dict[str, Any]) -> tuple[str, ...]:
    low, high = f"{row['published_low']:g}", f"{row['published_high']:g}"
    ends = "" if row["low"] != row["low"] else f" [{row['low']:.3g}, {row['high']:.3g}]"
    return (
        row["headline"],
        row["unit"],
        f"{low} to {high}",
        f"{row['ours']:.3g}{ends}",
        "yes" if row["inside"] else "NO",
    )


POLICY_HEADERS = (
    "policy", "benefit kUSD", "electricity kUSD", "emissions t", "moved", "refused", "jobs",
    "cost vs local-only", "carbon", "joint/it: benefit", "emissions",
)  # fmt: skip


def _policy(row: dict[str, Any]) -> tuple[str, ...]:
    def known(value: float, form: str) -> str:
        return "-" if value != value else form.format(value)

    return (
        row["policy"],
        f"{row['benefit_usd'] / 1e3:,.1f}",
        f"{row['cost_usd'] / 1e3:,.1f}",
        f"{row['emissions_kg'] / 1e3:,.1f}",
        f"{row['moved_share']:.1%}",
        f"{row['dropped_share']:.2%}",
        f"{row['jobs_started']:.1f}",
        known(row["cost_change"], "{:+.1f} %"),
        known(row["carbon_change"], "{:+.1f} %"),
        known(row["joint_benefit_over_it"], "{:.3f}"),
        known(row["joint_emissions_over_it"], "{:.3f}"),
    )


def _show_outside(headlines: list[Any], sensitivities: list[Any]) -> None:
    """For each headline outside its range, which assumptions move it."""
    from scripts._reproduction_tables import movers

    for row in headlines:
        if row["inside"]:
            continue
        lines = movers(row, sensitivities)
        print(f"\noutside: {row['headline']}. What moves it (one assumption at a time, {row['unit']}):")
        print("\n".join(f"  {line}" for line in lines) or "  no sensitivity was run for it")


if __name__ == "__main__":
    sys.exit(main())
