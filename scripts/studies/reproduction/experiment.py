"""Runs and published figures of a reproduction: the files in `configs/experiments`, checked."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

import yaml
from pydantic import Field, ValidationError, model_validator

from baselines.optimum.variants import VARIANTS
from baselines.rules.registry import REGISTRY
from gridai_env.scenario.errors import closest
from gridai_env.scenario.values import StrictModel
from scripts.runs.command import InputError, refuse_doubles
from scripts.studies.reproduction.sensitivities import LEVERS

FOLDER = Path(__file__).resolve().parents[3] / "configs" / "experiments"
JOINT = "joint"
StrictT = TypeVar("StrictT", bound=StrictModel)
Seeds = Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)]


class Headline(StrictModel):
    """A published figure as a range; the ends lie inside."""

    quantity: str = Field(
        description="what of ours is compared, see `scripts.studies.reproduction.tables.QUANTITIES`"
    )
    name: str
    unit: str
    low: float
    high: float


class LatencyAxis(StrictModel):
    """A sweep of one class's latency budget."""

    task_class: str
    seeds: Seeds
    budget_ms: Annotated[list[float], Field(min_length=3)]


class Quick(StrictModel):
    """What `--quick` changes besides seeds and grids; null: the scenario's own horizon."""

    horizon_h: float | None = None
    mip_gap: float = 0.01


class Experiment(StrictModel):
    """One model: its scenario, policies, headlines and sensitivities."""

    model: str
    scenario: str
    source: str
    reference: str = Field(description="policy that savings are measured against")
    policies: Annotated[list[str], Field(min_length=2)]
    seeds: Seeds
    sensitivity_seeds: Seeds
    mip_gap: Annotated[float, Field(ge=0, lt=1)] = 1e-4
    time_limit_s: Annotated[float, Field(gt=0)] = 300.0
    latency: LatencyAxis | None = None
    headlines: Annotated[list[Headline], Field(min_length=1)]
    sensitivities: dict[str, Annotated[list[float], Field(min_length=1)]]
    quick: Quick = Quick()
    horizon_h: float | None = Field(None, description="null: the scenario's own")

    @model_validator(mode="after")
    def _names(self) -> Experiment:
        for name in (self.reference, *self.policies):
            if name != JOINT and name not in VARIANTS and name not in REGISTRY:
                raise ValueError(
                    f"policy {name!r} is unknown: {closest(name, [JOINT, *VARIANTS, *REGISTRY])}"
                )
        if not {JOINT, self.reference} <= set(self.policies):
            raise ValueError(f"policies must contain {JOINT!r} and the reference {self.reference!r}")

        for name, grid in self.sensitivities.items():
            if name not in LEVERS:
                raise ValueError(f"parameter {name!r} is unknown: {closest(name, LEVERS)}")
            if sorted(set(grid)) != list(grid):
                raise ValueError(f"sensitivities.{name}: must rise and hold nothing twice")
        return self

    @property
    def limits(self) -> dict[str, Any]:
        """The limits of a solve."""
        return self.model_dump(include={"mip_gap", "time_limit_s"})

    def smaller(self) -> Experiment:
        """Return one seed, the ends of each grid, and what `quick` says."""
        first = self.seeds[:1]
        axis = self.latency
        if axis is not None:
            ends = [axis.budget_ms[0], axis.budget_ms[len(axis.budget_ms) // 2], axis.budget_ms[-1]]
            axis = axis.model_copy(update={"seeds": first, "budget_ms": ends})

        # Both ends of each grid and the middle of the axis: the headline of its first half needs it.
        grids = {name: sorted({grid[0], grid[-1]}) for name, grid in self.sensitivities.items()}
        return self.model_copy(
            update={
                "seeds": first,
                "sensitivity_seeds": first,
                "latency": axis,
                "sensitivities": grids,
                "mip_gap": self.quick.mip_gap,
                "horizon_h": self.quick.horizon_h,
            }
        )


def load_experiments(names: Sequence[str] | None = None) -> dict[str, Experiment]:
    """Return the experiments by model name, all of them or those named; raises InputError."""
    found = (read_experiment(path, Experiment) for path in sorted(FOLDER.glob("reproduce_*.yaml")))
    known = {one.model: one for one in found}
    wanted = list(known) if names is None else list(names)

    for name in wanted:
        if name not in known:
            raise InputError(f"--models {name!r}: unknown model ({closest(name, known)})")
    refuse_doubles("--models", wanted)
    return {name: known[name] for name in wanted}


def read_experiment(path: Path, kind: type[StrictT]) -> StrictT:
    """Return what a file says, checked; raises InputError naming file and key."""
    try:
        data: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
        return kind.model_validate(data)
    except (OSError, yaml.YAMLError) as error:
        raise InputError(f"{path}: cannot be read: {error}") from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "file"
        raise InputError(f"{path}, {place}: {first['msg']}") from error


def with_parameters(experiments: dict[str, Experiment], names: Sequence[str] | None) -> dict[str, Experiment]:
    """Keep the named sensitivities alone (None: all; empty: none); raises InputError for unknown ones."""
    if names is None:
        return experiments
    known = sorted({parameter for one in experiments.values() for parameter in one.sensitivities})
    for name in names:
        if name not in known:
            raise InputError(f"--parameters {name!r}: unknown parameter ({closest(name, known)})")

    return {
        model: one.model_copy(
            update={"sensitivities": {k: v for k, v in one.sensitivities.items() if k in names}}
        )
        for model, one in experiments.items()
    }
