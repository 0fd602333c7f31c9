"""Cost against carbon: what avoiding emissions costs at equal service, and where policies stand.

    python -m scripts.front --scenario four_markets --seeds 0 1 --points 9 --policies local_only greedy mpc:day_ahead

At each episode: least cost under caps on emissions (epsilon constraint, evenly from the least emissions possible to
those of the least-cost plan) and least cost at carbon prices, both under the service of the benefit optimum; the
benefit optimum, Local-Only and the policies named; hypervolumes.  Cost leaves out what carbon itself is charged.
Writes front.csv, hypervolume.csv, figures/ and tensorboard/ into the run folder, and one file per point: a killed run
goes on where it stopped.
"""

from __future__ import annotations

import argparse
import math
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gridai_env.instance import Instance
from scripts._common import (
    INTERRUPTED,
    RUN_FILE,
    InputError,
    checked_number,
    default_folder,
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
from scripts._scenarios import Episodes, add_scenario_arguments, sources

KIND = "front"
POINTS, FIGURES, BOARD = "points", "figures", "tensorboard"
PRICES_USD_PER_T = (0.0, 50.0, 100.0, 200.0, 400.0, 800.0, 1600.0, 3200.0, 6400.0)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    out = argparse.ArgumentParser(prog="python -m scripts.front", description=(__doc__ or "").split("\n")[0])
    add_scenario_arguments(out)
    out.add_argument("--seeds", nargs="+", default=["0"], help="whole numbers or ranges such as 0-3")
    out.add_argument("--points", type=int, default=9, help="caps, both ends included; default: 9")
    out.add_argument(
        "--prices",
        nargs="*",
        type=float,
        metavar="USD_PER_T",
        default=list(PRICES_USD_PER_T),
        help=f"carbon prices of the sweep; default: {' '.join(f'{p:g}' for p in PRICES_USD_PER_T)}",
    )
    out.add_argument(
        "--policies", nargs="+", default=[], metavar="NAME", help="besides local_only and the optimum"
    )
    out.add_argument(
        "--reference",
        nargs=2,
        type=float,
        metavar=("USD", "KG"),
        help="reference point of the hypervolume; default: the worst of Local-Only and the front and 5 %% of the range",
    )
    add_resumable_arguments(out, "front-<scenario>-<time>")
    out.add_argument("--mip-gap", type=float, default=1e-3, help="relative, where there are yes/no decisions")
    out.add_argument(
        "--time-limit-s", type=float, default=300.0, help="of one point; its bound holds also then"
    )
    add_parallel_arguments(out)
    return out


def main(words: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    arguments = parser().parse_args(words)
    return guarded(lambda: front(arguments))


def front(arguments: argparse.Namespace) -> int:
    """Check everything, compute what is missing, write and print."""
    need_packages("pyomo", "highspy", "scipy", "joblib", "tqdm", "tensorboard", "matplotlib", "moocore")
    from scripts._contenders import find_contenders, resolved
    from scripts._front import LOCAL, Settings

    _check(arguments)
    seeds = parse_seeds(arguments.seeds)
    episodes = Episodes(arguments)
    scenario = episodes.compiled.scenario.name
    policies = _policies([resolved(name, scenario) for name in arguments.policies], LOCAL)
    find_contenders(policies, episodes.compiled)
    jobs = checked_jobs(arguments.jobs, ray=arguments.ray)
    check_ray(arguments.ray)
    threads = solver_threads(jobs, arguments.threads)
    instances = list(episodes.batch(seeds))
    folder = open_folder(arguments.run_dir or default_folder(KIND, arguments.scenario), KIND)
    settings = Settings(
        (folder / POINTS).resolve(), arguments.points, tuple(arguments.prices), arguments.mip_gap,
        arguments.time_limit_s, threads,
    )  # fmt: skip
    config = vars(arguments) | {"scenario_resolved": episodes.compiled.scenario.model_dump(mode="json")}
    run = Run(folder, instances, policies, settings, jobs, config)
    run.open(arguments.overwrite)
    print(
        "\n".join([f"{instances[0].scenario_name}: {len(seeds)} episode(s)", *sources(instances[0])]),
        flush=True,
    )
    try:
        run.compute(arguments.ray)
    except KeyboardInterrupt:
        print(f"interrupted: finished points are kept; go on with --run-dir {folder}", file=sys.stderr)
        return INTERRUPTED
    print("\n" + run.write(arguments.reference))
    print(f"tables, figures, points, run.json: {folder}")
    print(f"curves:  tensorboard --logdir {folder / BOARD}")
    return 0


def _check(arguments: argparse.Namespace) -> None:
    checked_number("mip-gap", arguments.mip_gap, 0.0, 1.0, "relative")
    checked_number("time-limit-s", arguments.time_limit_s, 0.1, float("inf"), "s")
    checked_number("points", arguments.points, 2, float("inf"), "points")
    reference = arguments.reference
    if reference is not None and not all(map(math.isfinite, reference)):
        raise InputError(
            f"--reference {' '.join(f'{x:g}' for x in reference)}: must be two finite numbers, USD and kg"
        )
    prices = arguments.prices
    if any(not 0.0 <= price < float("inf") for price in prices) or prices != sorted(set(prices)):
        raise InputError(
            f"--prices {' '.join(f'{p:g}' for p in prices)}: must be ascending, each once, >= 0 USD/t"
        )


def _policies(names: Sequence[str], local: str) -> list[str]:
    """Local-Only first, then the others; the optimum is there anyway."""
    from scripts._contenders import OPTIMUM

    if OPTIMUM in names:
        raise InputError(f"--policies {OPTIMUM}: the benefit optimum is there anyway; leave it out")
    return [local, *(name for name in names if name != local)]


class Run:
    """One run: its folder, its points, and what is made from them."""

    def __init__(
        self,
        folder: Path,
        instances: Sequence[Instance],
        policies: Sequence[str],
        settings: Any,
        jobs: int,
        config: dict[str, Any],
    ) -> None:
        """Nothing is written yet."""
        from scripts._front import stages

        self.folder, self.instances, self.settings = folder, instances, settings
        self.jobs, self.config, self.seconds = jobs, config, 0.0
        self.stages = stages(instances, policies, settings)

    def open(self, overwrite: bool) -> None:
        """Make the folder ready; raises InputError for one that holds a front of another scenario."""
        points = self.folder / POINTS
        if overwrite:
            shutil.rmtree(points, ignore_errors=True)
        elif (self.folder / RUN_FILE).exists():
            found = read_run(self.folder, KIND)["config"].get("scenario_resolved")
            if found != self.config["scenario_resolved"]:
                raise InputError(
                    f"{self.folder} holds the front of another scenario; give another --run-dir, or --overwrite"
                )
        elif points.exists():
            raise InputError(f"{self.folder} holds points but no {RUN_FILE}: give another --run-dir")
        points.mkdir(exist_ok=True)
        self._record(finished=False)

    def compute(self, ray: str | None) -> None:
        """Compute all points that have no file yet; raises InputError for files of something else."""
        from tqdm import tqdm

        from scripts._front import compute, missing

        begin = time.perf_counter()
        left = [[m for task in stage if (m := missing(task, self.settings))] for stage in self.stages]
        total = sum(len(task.names) for stage in self.stages for task in stage)
        todo = sum(len(task.names) for stage in left for task in stage)
        with tqdm(total=total, initial=total - todo, unit="point", disable=todo == 0) as bar:
            for stage in left:
                for count in spread(compute, [(task, self.settings) for task in stage], self.jobs, ray):
                    bar.update(count)
        self.seconds = time.perf_counter() - begin

    def write(self, reference: Sequence[float] | None) -> str:
        """Make tables, figures and TensorBoard files from the points; returns what to print."""
        from scripts import _front_output as output
        from scripts._front import check_policies
        from scripts._rows import write_rows

        rows = self._rows()
        check_policies(rows)
        rows = output.mark_nondominated(rows)
        volumes = output.hypervolume_rows(rows, reference)
        write_rows(rows, self.folder / "front.csv")
        write_rows(volumes, self.folder / "hypervolume.csv")
        for name in (FIGURES, BOARD):
            shutil.rmtree(self.folder / name, ignore_errors=True)
            (self.folder / name).mkdir()
        scenario = self.instances[0].scenario_name
        pictures = output.write_pictures(self.folder / FIGURES, rows, volumes, scenario)
        output.write_board(self.folder / BOARD, rows, volumes, pictures, self.config)
        self._record(finished=True)
        return output.show(rows, volumes, given=reference is not None)

    def _rows(self) -> list[dict[str, Any]]:
        """All points, by seed: the front from least cost to least carbon, prices, policies."""
        found = []
        for task in (task for stage in self.stages for task in stage):
            for name in task.names:
                record = task.read(name, self.settings)
                assert record is not None
                if record["row"] is not None:
                    found.append(record["row"])
        order = {"epsilon": 0, "price": 1, "policy": 2}

        def place(row: dict[str, Any]) -> tuple[Any, ...]:
            along = -row["emissions_kg"] if row["method"] == "epsilon" else row["carbon_price_usd_per_t"]
            return row["seed"], order[row["method"]], 0.0 if math.isnan(along) else along

        return sorted(found, key=place)

    def _record(self, finished: bool) -> None:
        seeds = [instance.seed for instance in self.instances]
        write_run(
            self.folder, KIND, self.config, seeds, self.instances, finished=finished,
            seconds=self.seconds, jobs=self.jobs, threads=self.settings.threads,
        )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
