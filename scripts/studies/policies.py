"""Policies by their names on the command line."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from glob import glob
from pathlib import Path
from typing import TYPE_CHECKING, Any

from baselines.rules.registry import REGISTRY
from gridai_env.episodes.instance import Instance
from gridai_env.rollout.policy import Policy
from gridai_env.rollout.run import run
from gridai_env.rollout.trajectory import Trajectory
from gridai_env.scenario.compile import Compiled
from gridai_env.scenario.errors import closest
from scripts.runs.command import SOLVER, InputError, need_packages, refuse_doubles
from scripts.runs.folder import file_name
from scripts.runs.user_code import module_files
from scripts.studies.names import (
    FORECASTS,
    MERIT_ORDER,
    NETWORK,
    OPTIMUM,
    OWN,
    PLANNER,
    PYTHON,
    SB3,
    SCENARIOS,
    VARIANT,
)
from scripts.studies.others import OPTION, from_python, from_sb3, named_in_errors, sb3_files
from scripts.studies.solver import SolverOptions, has_solver

if TYPE_CHECKING:
    from baselines.optimum.variants import VariantPlan

MODEL = "model.zip"


@dataclass(frozen=True)
class PolicySpec:
    """A policy that takes part in a comparison; the optimum has none."""

    name: str  # as on the command line
    folder: str  # name of its TensorBoard run and of its files
    policy: Policy | None = None
    # The same for one that plans the whole episode beforehand; its actions are None where time did not suffice.
    plan: Callable[[Instance], VariantPlan] | None = None

    def play(self, instance: Instance, seed: int) -> tuple[Trajectory | None, str]:
        """Return the episode, None for a plan that was not found in time, and "played" or the plan's status."""
        if self.plan is None:
            return run(self.decider, instance, seed=seed), "played"
        plan = self.plan(instance)
        found = None if plan.actions is None else run(plan, instance, seed=seed)
        return found, "time_limit" if found is None else plan.status

    @property
    def decider(self) -> Policy:
        """The policy that acts on observations; the optimum has none."""
        assert self.policy is not None, f"{self.name} decides nothing step by step"
        return self.policy


def find_contenders(
    names: Sequence[str], compiled: Compiled, solver: dict[str, Any] | None = None
) -> list[PolicySpec]:
    """Make the policies ready for a scenario; ``solver`` are the options of the variants' solves.

    Raises InputError for unknown names, doubles, and checkpoints that are missing, damaged or of another
    scenario or version; ImportError naming the extra where a package is missing.
    """
    refuse_doubles("policies", names)
    for name in names:
        _check_name(name)
    folders = _folders(names)
    return [_make(name, folders[name], compiled, solver or {}) for name in names]


def find_contender(name: str, compiled: Compiled, solver: SolverOptions | None = None) -> PolicySpec:
    """Return `find_contenders` of one policy."""
    return find_contenders([name], compiled, None if solver is None else vars(solver))[0]


def pretrained_root() -> Path:
    """Return the folder of the shipped agents: in it a folder per scenario, kind and training seed."""
    return Path(__file__).resolve().parents[2] / "configs" / "agents" / "pretrained"


def pretrained(name: str, scenario: str) -> list[Path]:
    """Return the checkpoints of a kind that are shipped for a scenario, one per training seed.

    Raises InputError where there is none; ``name``: the policy as on the command line, ``learned:pretrained``.
    """
    root, kind = pretrained_root(), name.partition(":")[0]
    found = sorted((root / scenario / kind).glob(f"seed*/{MODEL}"))
    if not found:
        shipped = sorted({file.parents[2].name for file in root.glob(f"*/{kind}/seed*/{MODEL}")})
        raise InputError(
            f"{OPTION} {name}: no agent of kind {kind!r} is shipped for {scenario!r} ({root / scenario / kind}; there "
            f"are: {', '.join(shipped) or 'none'}); train one: python -m scripts.train --scenario {scenario}, and give "
            f"{kind}:PATH of its {MODEL}"
        )
    return found


def resolved(name: str, compiled: Compiled) -> str:
    """Return the name of a policy, ``ppo:pretrained`` as the path of its first training seed, ``mpc:own`` by its kind.

    Raises InputError where no agent is shipped for the scenario.
    """
    if name == OWN:
        return PLANNER + compiled.forecast.kind
    return (
        _runs(name, compiled.name)[0] if name.startswith(NETWORK) and name.endswith(":pretrained") else name
    )


def checkpoint_of(name: str) -> str:
    """Return SHA-256 (hex) of the files of a trained or fitted policy or a module; empty for every other policy."""
    files = []
    if name.startswith(NETWORK):
        files = [Path(name.partition(":")[2])]
    elif name == MERIT_ORDER:
        from agents.networks.merit_order import NUMBERS_FILE

        files = [NUMBERS_FILE]
    elif name.startswith(SB3):
        files = sb3_files(name)
    elif name.startswith(PYTHON):
        files = module_files(name, OPTION)
    whole = b"".join(file.read_bytes() for file in files)
    return hashlib.sha256(whole).hexdigest() if files else ""


def checkpoints(names: Sequence[str]) -> dict[str, str]:
    """Return `checkpoint_of` of the policies that have files, by name."""
    return {name: found for name in names if (found := checkpoint_of(name))}


def _check_name(name: str) -> None:
    kind, colon, what = name.partition(":")
    if kind + colon in (*NETWORK, PYTHON, SB3) and what:
        return

    if name == OPTIMUM or name.startswith((PLANNER, VARIANT)):
        need_packages(*SOLVER)
    known = known_names()
    if name in known:
        return

    # Suggest names of the same kind alone: mpc:foo is not a misspelt rule.
    same_kind = [other for other in known if other.startswith(f"{kind}:")]
    paths = [f"{network}PATH" for network in NETWORK]
    names = same_kind or [*known, *paths, "sb3:ALGO:FILE", "py:MODULE:FACTORY"]
    advice = (
        closest(what, [other.partition(":")[2] for other in names]) if same_kind else closest(name, names)
    )
    if same_kind:
        advice = advice.replace("mean '", f"mean '{kind}:")
    raise unknown_name(OPTION, name, advice, names)


def unknown_name(option: str, name: str, advice: str, known: Sequence[str]) -> InputError:
    """Return the error for an unknown name; ``advice`` as `closest` gives it."""
    hint = f" ({advice})" if advice.startswith("did you mean") else ""
    return InputError(f"{option} {name!r}: unknown{hint}; known: {', '.join(known)}")


def known_names() -> list[str]:
    """Return all policies but networks, whose names end in a path."""
    planners = [*(PLANNER + kind for kind in FORECASTS), OWN, SCENARIOS]
    variants: Sequence[str] = ()
    if has_solver():
        from baselines.optimum.variants import VARIANTS

        variants = [VARIANT + name for name in VARIANTS]
    return [*REGISTRY, MERIT_ORDER, *planners, *variants, OPTIMUM]


def _make(name: str, folder: str, compiled: Compiled, solver: dict[str, Any]) -> PolicySpec:
    kind, _, what = name.partition(":")
    if name == OPTIMUM:
        return PolicySpec(name, folder)
    if name == SCENARIOS:
        from baselines.mpc.scenarios import ScenarioMPC

        return PolicySpec(name, folder, ScenarioMPC())
    if name.startswith(SB3):
        return PolicySpec(name, folder, from_sb3(name, compiled))
    if name.startswith(PYTHON):
        return PolicySpec(name, folder, from_python(name, compiled))
    if name.startswith(NETWORK) or name == MERIT_ORDER:
        return PolicySpec(name, folder, _load_network(resolved(name, compiled), compiled))
    if kind == "mpc":
        own = compiled.forecast.kind
        if what in ("day_ahead", "published") and own != what:
            raise InputError(
                f"{OPTION} {name}: episodes with {own!r} forecasts hold none of this kind; add --forecast {what}"
            )
        from baselines.mpc.policy import MPC

        return PolicySpec(name, folder, MPC(None if name == OWN else what))  # type: ignore[arg-type]
    if kind == "variant":
        from baselines.optimum.variants import VariantPolicy, plan_variant

        return PolicySpec(
            name, folder, VariantPolicy(what, **solver), partial(plan_variant, name=what, **solver)
        )
    return PolicySpec(name, folder, REGISTRY[name](compiled))


def _load_network(name: str, compiled: Compiled) -> Policy:
    with named_in_errors(name):
        from agents.networks.checkpoint import load_policy
        from agents.networks.merit_order import MeritOrder

        policy = MeritOrder(compiled) if name == MERIT_ORDER else load_policy(name.partition(":")[2])
        policy.prepare(compiled)
    return policy


def _folders(names: Sequence[str]) -> dict[str, str]:
    """Return a folder for each policy: ``ppo`` where there is one network, else ``ppo_1``, ``ppo_2`` in order."""
    folders = {name: file_name(name) for name in names if not name.startswith((*NETWORK, SB3))}
    for kind in (*NETWORK, SB3):
        networks = [name for name in names if name.startswith(kind)]
        for i, name in enumerate(networks):
            folders[name] = kind[:-1] if len(networks) == 1 else f"{kind[:-1]}_{i + 1}"
    return folders


ENOUGH_SEEDS = 5  # below it a note says so


@dataclass(frozen=True)
class TrainedPolicy:
    """One policy and the runs it is known from: several where a network was trained with several seeds."""

    name: str  # as on the command line
    runs: tuple[str, ...]  # names that `find_contenders` takes, one per training seed

    @property
    def is_network(self) -> bool:
        """Whether it was trained."""
        return self.name.startswith((*NETWORK, SB3))


def find_entrants(names: Sequence[str], scenario: str) -> list[TrainedPolicy]:
    """Return the policies of the command line; raises InputError for doubles and networks without a file."""
    refuse_doubles("policies", names)
    return [TrainedPolicy(name, tuple(_runs(name, scenario))) for name in names]


def _runs(name: str, scenario: str) -> list[str]:
    if name.startswith(SB3):
        kind, _, where = name.removeprefix(SB3).partition(":")
        several = where and (Path(where).is_dir() or any(sign in where for sign in "*?["))
        return [f"{SB3}{kind}:{path}" for path in checkpoint_files(where, SB3)] if several else [name]
    kind, _, where = name.partition(":")
    if not name.startswith(NETWORK) or not where:
        return [name]
    files = pretrained(name, scenario) if where == "pretrained" else checkpoint_files(where, f"{kind}:")
    return [f"{kind}:{path}" for path in files]


def checkpoint_files(where: str, kind: str = "") -> list[Path]:
    """Return the checkpoints of one agent: a file, a run folder, a folder of run folders, or a pattern with ``*``.

    Raises InputError where there is none, saying how to get one.
    """
    path = Path(where)
    if any(sign in where for sign in "*?["):
        found = sorted(map(Path, glob(where, recursive=True)), key=_natural)
        found = [file / MODEL if file.is_dir() else file for file in found]
    elif path.is_dir():
        found = [path / MODEL] if (path / MODEL).is_file() else sorted(path.glob(f"*/{MODEL}"), key=_natural)
    else:
        found = [path]

    # A pattern may match folders without an agent.
    found = [file for file in found if file.is_file()]
    if not found:
        raise InputError(
            f"{OPTION} {kind}{where}: no {MODEL} there; give a checkpoint, a run folder, a folder of run "
            "folders (one per training seed) or a pattern; train one with python -m scripts.train --run-dir FOLDER"
        )
    return found


def _natural(path: Path) -> list[str | int]:
    """Return order in which seed10 comes after seed9."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", str(path))]
