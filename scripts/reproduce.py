"""Run the two source models from their scenario files and set our figures beside the published ones.

    python -m scripts.reproduce                       # both models, all sensitivities
    python -m scripts.reproduce --models B --parameters generation
    python -m scripts.reproduce --quick               # one seed, the ends of each grid: a test of the machinery
    python -m scripts.reproduce --study learning      # the learners: every training, what each reaches on which set

Model A is arXiv 2604.27855 (`energy_geography`), model B arXiv 2605.03751 (`microgrid_prosumer`), on synthetic traces;
seeds, published ranges and grids stand in `configs/experiments`.  Writes headlines.csv, policies.csv,
sensitivity.csv and tensorboard/ into the run folder, and one file per task: a reproduction that was killed
goes on where it stopped.

``--study learning`` (or a file of that form) trains and judges what `configs/experiments/learning.yaml` lists; parts of
it may be asked for, and the same command goes on.  Each training has a folder RUN_DIR/scenario/method/seedN with its
``train.log``.  Writes learning.csv and learning_curves.csv, and prints what is missing.
"""

import time
from functools import partial
from typing import Annotated, Any

from pydantic import Field

from scripts.runs.arguments import ParallelOptions, ResumableOptions, Seeds
from scripts.runs.command import SOLVER, InputError, Shown, command, interruptible, need_packages
from scripts.runs.folder import open_folder, write_run
from scripts.runs.tasks import run_tasks

KIND = "reproduce"
Names = Annotated[list[str] | None, Shown(metavar="NAME")]


class ReproduceOptions(ResumableOptions, ParallelOptions):
    """What is reproduced, and how much of it."""

    models: Annotated[list[str] | None, Shown(metavar="MODEL")] = Field(
        None, description="A, B; default: both"
    )
    parameters: Annotated[list[str] | None, Shown(nargs="*", metavar="NAME")] = Field(
        None, description="sensitivities; default: all; empty: none"
    )
    seeds: Seeds | None = Field(None, description="of the main episodes, or of the study; default: all")
    quick: bool = Field(False, description="one seed, the ends of each grid, short episodes")
    run_dir: str | None = Field(
        None, description="output folder, also to go on with; default: runs/reproduce[-quick], runs/<study>"
    )
    study: str | None = Field(None, description="learning, or the file of a study of learners")
    scenarios: Names = Field(None, description="of the study; default: all")
    methods: Names = Field(None, description="of the study; default: all")
    no_real: bool = Field(False, description="leave out the study's real years, whose bounds take long")


@command(ReproduceOptions)
def main(options: ReproduceOptions) -> int:
    """Check everything, compute what is missing, write and print."""
    _check_together(options)
    if options.study is not None:
        need_packages(*SOLVER, "stable_baselines3", "torch", "tensorboard", "tqdm")
        from scripts.studies.learning.run import run_study

        return run_study(options.study, options)
    need_packages(*SOLVER, "tqdm", "tensorboard")
    from scripts.studies.reproduction.run import config_of, open_results, write_tables
    from scripts.studies.reproduction.tasks import compute, tasks_of

    experiments = _experiments(options)
    tasks = [task for one in experiments.values() for task in tasks_of(one)]
    jobs, threads = options.workers()

    folder = open_folder(options.run_dir or f"runs/{KIND}{'-quick' if options.quick else ''}", KIND)
    config = config_of(options, experiments)
    store = open_results(folder, config, options.overwrite)
    seeds = sorted({seed for one in experiments.values() for seed in one.seeds})
    write_run(folder, KIND, config, seeds, finished=False)

    work, stages = partial(compute, threads=threads), [[[task] for task in tasks]]
    begin = time.perf_counter()
    with interruptible(
        lambda: f"{store.count(tasks)} of {len(tasks)} tasks are kept; go on with --run-dir {folder}"
    ):
        computed = run_tasks(store, stages, work, jobs=jobs, ray=options.ray, total=len(tasks), unit="task")
    seconds = time.perf_counter() - begin
    write_tables(folder, store, experiments)
    write_run(folder, KIND, config, seeds, finished=True, seconds=seconds, computed=computed, jobs=jobs)
    print(f"\n{computed} of {len(tasks)} tasks computed now, in {seconds:.0f} s; tables: {folder}")
    print(f"pictures:  python -m scripts.report {folder}")
    return 0


def _check_together(options: ReproduceOptions) -> None:
    """Raise InputError for options of the papers beside a study, and the other way round."""
    papers, learners = ("models", "parameters", "quick", "ray"), ("scenarios", "methods", "no_real")
    names, where = (learners, "only") if options.study is None else (papers, "not")
    for name in names:
        if getattr(options, name):
            raise InputError(f"--{name.replace('_', '-')}: goes {where} with --study; leave it out")


def _experiments(options: ReproduceOptions) -> dict[str, Any]:
    """Return what to run, as the command line changes it."""
    from scripts.studies.reproduction.experiment import load_experiments, with_parameters
    from scripts.studies.reproduction.tables import check_headlines

    experiments = with_parameters(load_experiments(options.models), options.parameters)
    if options.seeds is not None:
        experiments = {
            name: one.model_copy(update={"seeds": options.seeds}) for name, one in experiments.items()
        }
    for one in experiments.values():
        check_headlines(one)
    return {name: one.smaller() if options.quick else one for name, one in experiments.items()}


if __name__ == "__main__":
    raise SystemExit(main())
