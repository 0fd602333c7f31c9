"""What a study of learners holds: a file of `configs/experiments`, checked."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from gridai_env.benchmarks.sets import SetName
from gridai_env.scenario.values import StrictModel
from scripts.runs.command import InputError
from scripts.studies.reproduction.experiment import FOLDER, read_experiment

Count = Annotated[int, Field(ge=1)]
Settings = dict[str, Any]  # by dotted key, on top of a file and of those before


class Method(StrictModel):
    """A way to train."""

    kind: Literal["learned", "residual", "ppo"] = Field(description="prefix of its agents on a command line")
    config: str = Field(description="file of settings, from the root of the repository")
    settings: Settings = Field({})
    against: str = Field("", description="policy or method that it is compared with, episode by episode")


class Trainings(StrictModel):
    """The trainings of a method on a scenario."""

    seeds: Count = Field(description="how many, from 0 on")
    config: str | None = Field(None, description="file of settings; null: that of the method")
    start_from: str | None = Field(
        None,
        pattern="^[^/]+/[^/]+$",
        description="SCENARIO/METHOD of this study whose weights, of the same seed, they begin with",
    )
    settings: Settings = Field({})


class RealYears(StrictModel):
    """Episodes on real traces, spread evenly over each year; their bounds are solved once."""

    file: str = Field(description="trace file, from the folder that GRIDAI_DATA_DIR names")
    years: list[int]
    episodes: Count
    planners: list[str]


class Study(StrictModel):
    """Methods, scenarios and what they are judged on."""

    methods: dict[str, Method]
    scenarios: dict[str, dict[str, Trainings]] = Field(description="by scenario and method")
    settings: Settings = Field({})
    rules: list[str] = Field([], description="policies without training that are played beside")
    sets: list[SetName]
    real: RealYears | None = None
    benchmarks: str | None = Field(None, description="folder of the frozen sets; null: the shipped ones")

    @model_validator(mode="after")
    def _beginnings_exist(self) -> Self:
        """Refuse methods that are not there, and weights to begin with that nothing here trains before."""
        plans = {
            f"{one}/{method}": plan for one, own in self.scenarios.items() for method, plan in own.items()
        }
        for name, plan in plans.items():
            if (method := name.partition("/")[2]) not in self.methods:
                raise ValueError(f"{name}: no method {method!r}; there are {', '.join(self.methods)}")
            line = [name]
            while (first := plans[line[-1]].start_from) is not None:
                if first not in plans or plans[first].seeds < plan.seeds or first in line:
                    raise ValueError(
                        f"{line[-1]}: start_from = {first!r}: must be a training of this study of at least "
                        f"{plan.seeds} seeds that does not itself begin with this one"
                    )
                line.append(first)
        return self

    @property
    def years(self) -> list[int]:
        """The real years."""
        return self.real.years if self.real else []

    @property
    def folder(self) -> Path | None:
        """Folder of the frozen sets; None for the shipped ones."""
        return Path(self.benchmarks) if self.benchmarks else None


def load_study(name: str) -> Study:
    """Return a study by its name in `configs/experiments` or the path of its file; raises InputError."""
    path = shipped if (shipped := FOLDER / f"{name}.yaml").is_file() else Path(name)
    if not path.is_file():
        raise InputError(f"--study {name!r}: no file of a study; give learning, or the path of one")
    return read_experiment(path, Study)
