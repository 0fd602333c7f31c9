"""The options of `scripts.evaluate`: importing them needs none of the packages that an evaluation needs."""

from typing import Annotated

from pydantic import Field

from scripts.runs.command import CommandOptions, Folder, Shown


class EvaluateOptions(CommandOptions):
    """What is evaluated on what, and what is written."""

    policies: Annotated[list[str], Shown(names=("--policy", "--policies"), metavar="SPEC")] = Field(
        description="learned:PATH, learned:pretrained (or residual: ppo:), sb3:ALGO:FILE, py:MODULE:FACTORY, rule, milp"
    )
    scenario: str = Field(description="a scenario with a file in configs/benchmarks")
    set: str = Field("test", description="test, validation, train or shifted")
    episodes: Annotated[int | None, Shown(metavar="N")] = Field(
        None, description="only N of the set's episodes, evenly spread"
    )
    run_dir: str | None = Field(None, description="output folder; default: runs/evaluate-<scenario>-<time>")
    table: Annotated[str | None, Shown(nargs="?", const="", metavar="FILE.md")] = Field(
        None,
        description="write the table of results, default configs/benchmarks/<scenario>/<set>.md, and a .csv beside it",
    )
    save_results: Folder | None = Field(
        None,
        description="write the figures of each policy there, one JSON each, as gridai_env.evaluate saves them",
    )
    recompute: bool = Field(False, description="solve and play again what is published, and compare")
    where: Annotated[str | None, Shown(nargs="?", const="milp", metavar="BETTER")] = Field(
        None,
        description="which lever loses against BETTER: milp (where none is named) or mpc:FORECAST; of the first policy",
    )
    where_episodes: Annotated[int, Field(ge=1), Shown(metavar="N")] = Field(6, description="for --where")
    benchmarks: Annotated[str | None, Shown(metavar="DIR")] = Field(
        None, description="folder of the benchmarks; default: configs/benchmarks"
    )
