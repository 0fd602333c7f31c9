"""Policies by their names on the command line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from baselines.rules import REGISTRY
from gridai_env.compile import Compiled
from gridai_env.problems import closest
from scripts._common import InputError

OPTIMUM = "milp"
NETWORK = "ppo:"


@dataclass(frozen=True)
class Contender:
    """A policy that takes part in a comparison; the optimum has none."""

    name: str  # as on the command line
    policy: Any | None
    folder: str  # name of its TensorBoard run and of its files


def find_contenders(names: Sequence[str], compiled: Compiled) -> list[Contender]:
    """Make the policies ready for a scenario.

    Raises InputError for unknown names, doubles, and checkpoints that are missing, damaged or of another
    scenario or version; ImportError naming the extra where a package is missing.
    """
    doubles = sorted({name for name in names if list(names).count(name) > 1})
    if doubles:
        raise InputError(f"--policies: given twice: {', '.join(doubles)}")
    for name in names:
        _check_name(name)
    folders = _folders(names)
    return [Contender(name, _make(name, compiled), folders[name]) for name in names]


def _check_name(name: str) -> None:
    if name in REGISTRY or name == OPTIMUM or (name.startswith(NETWORK) and len(name) > len(NETWORK)):
        return
    known = [*REGISTRY, OPTIMUM, "ppo:PATH"]
    advice = closest(name, known)
    raise InputError(f"--policies {name!r}: unknown ({advice}); known: {', '.join(known)}")


def _make(name: str, compiled: Compiled) -> Any | None:
    if name == OPTIMUM:
        return None
    if name.startswith(NETWORK):
        return _load_network(name.removeprefix(NETWORK), compiled)
    return REGISTRY[name](compiled)


def _load_network(path: str, compiled: Compiled) -> Any:
    try:
        from agents.policies import CheckpointError, load_policy
    except ModuleNotFoundError as error:
        raise ImportError(
            f"--policies ppo:{path}: needs {error.name}, which is not installed: pip install 'gridai-env[rl]'"
        ) from error
    try:
        policy = load_policy(path)
        policy.prepare(compiled)
    except CheckpointError as error:
        raise InputError(f"--policies ppo:{path}: {error}") from error
    return policy


def _folders(names: Sequence[str]) -> dict[str, str]:
    """A folder for each policy: ``ppo`` where there is one network, else ``ppo_1``, ``ppo_2`` in order."""
    networks = [name for name in names if name.startswith(NETWORK)]
    folders = {name: name for name in names if name not in networks}
    for i, name in enumerate(networks):
        folders[name] = "ppo" if len(networks) == 1 else f"ppo_{i + 1}"
    return folders
