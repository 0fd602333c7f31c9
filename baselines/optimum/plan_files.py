"""A solved plan as a file: flows, actions and what is proven about them, without pickled objects."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from baselines.optimum.milp import Plan
from gridai_env.arrays.types import Float, Floats32
from gridai_env.files import InstanceError, read_archive, write_archive
from gridai_env.version import environment_version
from gridai_env.world.state import Flows

FORMAT = "gridai-env plan"
FORMAT_VERSION = 1
FACTS = (
    "objective", "status", "unit", "objective_value", "solver_objective", "bound", "is_safe",
    "gap", "benefit_usd", "emissions_kg", "build_s", "solve_s", "rows", "columns",
)  # fmt: skip


@dataclass(frozen=True)
class SavedPlan:
    """What `load_plan` returns; replay it with the instance of the same hash."""

    facts: dict[str, Any]  # see FACTS, and instance_hash
    flows: Flows
    actions: Float[Floats32, "T A"]


def save_plan(plan: Plan, path: Path) -> Path:
    """Write a plan that holds a schedule, atomically; raise InstanceError where it holds none."""
    if plan.flows is None or plan.actions is None:
        raise InstanceError("the plan holds no schedule: raise --time-limit-s")
    header = _kind() | {
        "scenario": plan.instance.scenario_name,
        "seed": plan.instance.seed,
        "instance_hash": plan.instance.hash,
        **{name: getattr(plan, name) for name in FACTS},
    }
    arrays = {f"flows/{name}": getattr(plan.flows, name) for name in Flows.names()}
    write_archive(path, header, arrays | {"actions": plan.actions})
    return path


def load_plan(path: str | Path) -> SavedPlan:
    """Return the plan in a file; raise InstanceError for another kind or version and for a damaged file."""
    header, arrays = read_archive(Path(path))
    for key, value in _kind().items():
        if header.get(key) != value:
            raise InstanceError(
                f"{path}: {key} is {header.get(key)!r}, this program reads {value!r}; solve again"
            )
    flows = Flows(**{name: arrays[f"flows/{name}"] for name in Flows.names()})
    return SavedPlan(header, flows, arrays["actions"])


def _kind() -> dict[str, Any]:
    """Return what a file must say of itself to be read."""
    return {"format": FORMAT, "format_version": FORMAT_VERSION, "environment_version": environment_version()}
