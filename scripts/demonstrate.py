"""Record plans of the optimum or of a planner as demonstrations: observations and actions, step by step.

    python -m scripts.demonstrate --scenario four_markets --planner mpc:day_ahead --episodes 100 --jobs 2 \\
        --run-dir runs/demonstrations

Plays each plan through the environment's public step and writes episodes/<hash of the episode>.npz (see
`agents.imitation.demonstrations`), demonstrations.csv (one row per episode) and run.json. Only training seeds
are taken, and where the scenario has a benchmark only its training days, so nothing that is learned here is
judged on later. A stopped run goes on where it stopped, with the same --run-dir; more episodes may be asked
for then.

With ``--minari NAME`` the episodes are also written as a Minari data set (see `scripts.studies.minari_data`): where
Minari keeps its own, to be loaded with `minari.load_dataset`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from gridai_env.scenario.values import Positive
from scripts.runs import arguments
from scripts.runs.command import SOLVER, InputError, Shown, command, interruptible, need_packages
from scripts.runs.folder import default_folder, open_folder

if TYPE_CHECKING:
    from scripts.studies.demonstrations import DemonstrationRun
    from scripts.studies.minari_data import MinariDataSet

KIND = "demonstrate"
EPISODES = 20


class DemonstrateOptions(arguments.ScenarioOptions, arguments.ResumableOptions, arguments.ParallelOptions):
    """Whose plans are noted, on which episodes."""

    planner: str = Field(
        "mpc:day_ahead",
        description="milp (perfect foresight), mpc:FORECAST (day_ahead, persistence, perfect) or the name of a rule",
    )
    actor: str | None = Field(
        None,
        description="the policy that plays, e.g. learned:PATH, while the planner says what it would do; default: the "
        "planner plays",
    )
    window_h: Positive = Field(24.0, description="hours that mpc:FORECAST looks ahead")
    episodes: arguments.Count | None = Field(
        None, description=f"how many, from the first training seed on; default: {EPISODES}"
    )
    seeds: arguments.Seeds | None = Field(
        None, description="training seeds in place of --episodes, e.g. 1000000-1000019"
    )
    days: Literal["train", "all"] | None = Field(
        None,
        description="days on which episodes lie: those for training of the scenario's benchmark (default; all days "
        "where it has none) or all",
    )
    mip_gap: arguments.MipGap = Field(1e-3, description="relative gap at which milp may stop")
    time_limit_s: arguments.TimeLimit = Field(120.0, description="of one solve of milp")
    jobs: arguments.Count = Field(1, description="worker processes side by side")
    minari: Annotated[str | None, Shown(metavar="[NAMESPACE/]NAME-vN")] = Field(
        None,
        description="write the episodes as a Minari data set of this name, too; bounds are solved for its scores",
    )
    author: str | None = Field(None, description="that the data set names")
    code_permalink: str | None = Field(None, description="address of the code, that the data set names")


@command(DemonstrateOptions)
def main(options: DemonstrateOptions) -> int:
    """Check everything, play what is missing, write and print."""
    need_packages(*SOLVER, "torch", "stable_baselines3", "tqdm")
    data_set = data_set_of(options)
    run = prepared(options)
    first, count = run.instances[0], len(run.instances)
    print(
        f"{first.scenario_name}: {count} episode(s) of {run.work.planner}, {run.finished} of them finished before",
        *arguments.sources(first),
        sep="\n",
        flush=True,
    )

    with interruptible(
        lambda: f"{run.finished} of {count} episodes are kept; go on with --run-dir {run.folder}"
    ):
        run.play()
        print(run.summary())
        if data_set is not None:
            print(data_set.write(run))
    print(f"demonstrations, table, run.json: {run.folder}")
    return 0


def prepared(options: DemonstrateOptions) -> DemonstrationRun:
    """Return the run of these options with its folder ready; raises InputError for invalid options."""
    from scripts.studies.demonstrations import (
        DemonstrationRun,
        DemonstrationWork,
        check_planner,
        on_days,
        training_instances,
    )
    from scripts.studies.policies import resolved
    from scripts.studies.solver import SolverOptions

    episodes, days = on_days(arguments.InstancesBySeed(options), options.days, options.start)
    print(f"days: {days}")
    instances = training_instances(episodes, wanted_seeds(options))
    jobs, threads = options.workers(len(instances))
    solver = SolverOptions(options.mip_gap, options.time_limit_s, threads)
    actor = None if options.actor is None else resolved(options.actor, episodes.compiled)
    work = DemonstrationWork(options.planner, solver, options.window_h, actor)
    check_planner(work, episodes.compiled)

    folder = open_folder(options.run_dir or default_folder(KIND, options.scenario), KIND)
    config = options.model_dump() | {
        "scenario_resolved": episodes.compiled.resolved_scenario(),
        "days_in_words": days,
    }
    run = DemonstrationRun(folder, work, instances, config, jobs, options.ray)
    run.open(options.overwrite)
    return run


def data_set_of(options: DemonstrateOptions) -> MinariDataSet | None:
    """Return the Minari data set to write, checked; raises InputError for one that cannot be."""
    if options.minari is None:
        if odd := [name for name in ("author", "code_permalink") if getattr(options, name) is not None]:
            raise InputError(f"--{odd[0].replace('_', '-')}: is for a data set; give --minari NAME, too")
        return None
    need_packages("minari", "h5py", "PIL")
    from scripts.studies.minari_data import MinariDataSet

    return MinariDataSet.of(options)


def wanted_seeds(options: DemonstrateOptions) -> Sequence[int]:
    """Return the seeds given, or the first training seeds."""
    from agents.vec_env.adapter import TRAINING_SEEDS

    if options.seeds is None:
        return TRAINING_SEEDS[: options.episodes or EPISODES]
    if options.episodes is not None:
        raise InputError("--seeds names the episodes: leave out --episodes")
    return options.seeds


if __name__ == "__main__":
    raise SystemExit(main())
