"""Compare policies with each other and with the proven optimum, on the same episodes.

    python -m scripts.compare --scenario four_markets --policies local_only greedy learned:runs/demo/model.zip \\
        mpc:persistence mpc:own mpc:perfect milp --seeds 0-19 --jobs 2

Prints a table, the ladder (bound, planners, learned, rules; regret split into foresight and decisions, see
`scripts.studies.comparison.ladder`) and, where sites have lines, compliance and hourly matching; and writes, into
the run folder:
summary.csv (one row per policy and seed), ladder.csv, settlement.csv (one row per event of demand response, policy and
method), tables/ (one row per step), shadow prices, seeds/ (results to go on with), tensorboard/ (one run per
policy, the same tags in each) and run.json. The optimum's bound and Local-Only are always computed: gap and gain
captured need them. A policy that passes the bound: exit code 1.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from baselines.rules.registry import REGISTRY
from gridai_env.version import pip_install
from scripts.runs import arguments
from scripts.runs.command import INTERRUPTED, SOLVER, InputError, Shown, command, need_packages
from scripts.runs.folder import default_folder, open_folder
from scripts.runs.tensorboard import is_installed
from scripts.studies.names import OPTIMUM

if TYPE_CHECKING:
    from scripts.studies.comparison.run import Comparison


class CompareOptions(arguments.ScenarioOptions, arguments.ParallelOptions):
    """Which policies are compared, on which episodes."""

    policies: arguments.Policies = Field(
        description=f"{' '.join(REGISTRY)} rule:merit_order milp, mpc:FORECAST (perfect, day_ahead, ...), "
        "mpc:scenarios, variant:NAME (no_battery, ...), learned:PATH, learned:pretrained (or residual: ppo:), "
        "sb3:ALGO:FILE, py:MODULE:FACTORY"
    )
    seeds: arguments.Seeds = Field([0, 1, 2])
    run_dir: str | None = Field(None, description="output folder; default: runs/compare-<scenario>-<time>")
    overwrite: bool = Field(False, description="replace the comparison that is in --run-dir")
    go_on: Annotated[bool, Shown(names=("--continue",))] = Field(False, description="finish --run-dir")
    objective: arguments.Objective = "benefit"
    mip_gap: arguments.MipGap = 1e-3
    time_limit_s: arguments.TimeLimit = 120.0
    jobs: arguments.Count = Field(1, description="worker processes side by side")


@command(CompareOptions)
def main(options: CompareOptions) -> int:
    """Check everything, then play; bad input raises before anything is computed or overwritten."""
    comparison = prepared(options)
    if not comparison.config["bounds"]:
        print(f"note: no bounds, so neither gap nor gain captured: {pip_install('milp')} brings the solver")
    if not comparison.finished:
        print("\n".join(arguments.sources(comparison.match.episodes.make(comparison.seeds[0]))), flush=True)

    try:
        comparison.run()
    except KeyboardInterrupt:
        print("interrupted: finished seeds are written; --continue plays the rest", file=sys.stderr)
        show(comparison)
        return INTERRUPTED

    show(comparison)
    return 0


def prepared(options: CompareOptions) -> Comparison:
    """Return the comparison of these options with its folder ready; raises InputError for invalid options."""
    from scripts.studies.comparison.match import EpisodeJob
    from scripts.studies.comparison.run import KIND, Comparison
    from scripts.studies.policies import checkpoints, find_contenders, resolved
    from scripts.studies.solver import SolverOptions, has_solver

    if options.objective != "benefit":
        need_packages(*SOLVER)
    if is_installed():
        need_packages("matplotlib")  # pictures of schedules in TensorBoard
    if options.go_on and (options.overwrite or not options.run_dir):
        raise InputError("--continue needs the --run-dir to go on with, and goes without --overwrite")

    seeds, episodes = options.seeds, arguments.InstancesBySeed(options)
    jobs, threads = options.workers(len(seeds))
    solver = SolverOptions(options.mip_gap, options.time_limit_s, threads)
    compiled = episodes.compiled
    options.policies = [resolved(name, compiled) for name in options.policies]
    if compiled.shape.has_response and has_solver() and OPTIMUM not in options.policies:
        options.policies = [*options.policies, OPTIMUM]
        print(f"{OPTIMUM} plays too: whether the optimum raises its baseline is part of demand response")
    contenders = find_contenders(options.policies, compiled, vars(solver))
    files = checkpoints(options.policies)
    match = EpisodeJob(episodes, tuple(options.policies), options.objective, solver, files)
    config = options.model_dump() | {
        "scenario_resolved": compiled.resolved_scenario(),
        "checkpoints": files,
        "threads": threads,
        "bounds": has_solver(),
    }

    episodes.make(seeds[0])  # one that cannot be made must leave no folder behind
    folder = open_folder(options.run_dir or default_folder(KIND, options.scenario), KIND)
    comparison = Comparison(folder, match, contenders, seeds, config, jobs, options.ray)
    comparison.open(options.go_on, options.overwrite)

    before = f"{len(comparison.finished)} of them finished before"
    print(f"{compiled.name}: {len(seeds)} episode(s), {before}", flush=True)
    return comparison


def show(comparison: Comparison) -> None:
    """Print the tables and the paths of the files."""
    from scripts.studies.comparison.flexible_load import compliance_table, matching_table, statement_table
    from scripts.studies.comparison.ladder import ladder_notes, ladder_table, rungs_of
    from scripts.studies.comparison.table import comparison_table, footnotes

    if not comparison.rows:
        print("no policy has finished an episode")
        return
    forecast = comparison.match.episodes.compiled.forecast.kind
    rungs = rungs_of(comparison.rows, forecast)
    print(comparison_table(comparison.rows), *footnotes(comparison.rows), sep="\n")
    print("", ladder_table(rungs), *ladder_notes(rungs, forecast), sep="\n")
    tables = (
        compliance_table(comparison.rows),
        statement_table(comparison.statements),
        matching_table(comparison.rows),
    )
    for table in filter(None, tables):
        print("", table, sep="\n")

    folder = comparison.folder
    print(f"\nsummary, ladder, tables, run.json: {folder}")
    print(f"pictures:  python -m scripts.report {folder}")
    if is_installed():
        print(f"schedules side by side:  tensorboard --logdir {folder / 'tensorboard'}")


if __name__ == "__main__":
    raise SystemExit(main())
