"""Policies of others: Python code (``py:module:Factory``) and files of Stable-Baselines3 (``sb3:ALGO:FILE``)."""

import importlib
import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium.spaces import Dict, flatdim

from gridai_env.envs.env import GridAIEnv
from gridai_env.rollout.policy import AdaptedPolicy, Policy, PolicyError, as_policy
from gridai_env.scenario.compile import Compiled
from gridai_env.scenario.errors import closest
from gridai_env.version import pip_install
from scripts.runs.command import InputError
from scripts.runs.user_code import made_by, users_code
from scripts.studies.names import SB3

NORMALIZATION = "vecnormalize.pkl"
OPTION = "policy"  # commands call the option --policies, --policy or --planner


class GuardedPolicy(AdaptedPolicy):
    """A policy of a user's own code, named as on the command line, whose errors are one line."""

    def __init__(self, adapted: Any, name: str, compiled: Compiled) -> None:
        """Prepare the policy for the scenario."""
        self._called = name
        with users_code(f"{OPTION} {name}"):
            super().__init__(adapted)
            self.name = name
            self.prepare(compiled)

    def _own(self, name: str) -> Any:
        own = super()._own(name)
        return users_code(self._called)(own) if name in ("reseed", "begin") and own is not None else own

    def predict(self, *args: Any, **keywords: Any) -> tuple[Any, Any]:
        """Return what the policy predicts."""
        with users_code(self.name):
            return super().predict(*args, **keywords)


def from_python(name: str, compiled: Compiled) -> Policy:
    """Return the policy of ``py:module:Factory``, made by ``Factory()`` or ``Factory(env)``.

    Raises PolicyError or InputError in one line where it cannot be made.
    """
    made = made_by(name, OPTION, GridAIEnv(compiled.scenario))
    try:
        as_policy(made)  # says what a policy must have
    except ValueError as error:
        raise PolicyError(f"{OPTION} {name}: {error}") from error
    return GuardedPolicy(made, name, compiled)


@contextmanager
def named_in_errors(name: str, advice: str = "") -> Iterator[None]:
    """Name the policy where the packages of agents are missing, and where a file is no agent."""
    try:
        from agents.networks.checkpoint import CheckpointError
    except ModuleNotFoundError as error:
        raise ImportError(
            f"{OPTION} {name}: needs {error.name}, which is not installed: {pip_install('rl')}"
        ) from error
    try:
        yield
    except CheckpointError as error:
        raise InputError(f"{OPTION} {name}: {error}{advice}") from error


# Stable-Baselines3 --------------------------------------------------------------------------------------------


def sb3_parts(name: str) -> tuple[str, Path]:
    """Return algorithm and file; raises InputError for another form and a file that is missing."""
    algorithm, _, where = name.removeprefix(SB3).partition(":")
    path = Path(where)
    if where and not path.is_file():
        path = path.with_name(f"{path.name}.zip")  # Stable-Baselines3 adds it when it saves
    if not where or not path.is_file():
        raise InputError(
            f"{OPTION} {name}: no such file; must be {SB3}ALGO:FILE, e.g. sb3:ppo:runs/mine/model.zip"
        )
    return algorithm.lower(), path


def sb3_files(name: str) -> list[Path]:
    """Return the files that decide what a model does: its own, and its normalization where there is one."""
    path = sb3_parts(name)[1]
    beside = path.with_name(NORMALIZATION)
    return [path, *([beside] if beside.is_file() else [])]


def from_sb3(name: str, compiled: Compiled) -> Policy:
    """Return the policy of ``sb3:ALGO:FILE``; raises PolicyError or InputError in one line where there is none."""
    algorithm, path = sb3_parts(name)
    with named_in_errors(name, f"; or was it trained by another than {algorithm}?"):
        from agents.networks.checkpoint import load_model
        from agents.networks.kinds import ActingPolicy

        model = load_model(path, "cpu", _algorithm(name, algorithm))
    if isinstance(model.policy, ActingPolicy):
        raise InputError(f"{OPTION} {name}: is an agent of scripts.train; give ppo:{path}")
    normalization = _normalization(name, model, path)
    policy = GuardedPolicy(SB3Model(model, normalization), name, compiled)
    if policy.form is not None and (normalization is None or not normalization.norm_obs):
        _check_seen(name, model, policy.form.space, path)
    return policy


def _check_seen(name: str, model: Any, space: Any, path: Path) -> None:
    """Raise InputError where a model has learned from other numbers than the environment shows.

    Its file keeps the last observation of the training; normalized ones lie outside of the environment's range.
    """
    last = getattr(model, "_last_obs", None)
    pairs = (
        [(last, space)] if isinstance(last, np.ndarray) else [(x, space[k]) for k, x in (last or {}).items()]
    )
    if any(((x < box.low - 1e-5) | (x > box.high + 1e-5)).any() for x, box in pairs):
        raise InputError(
            f"{OPTION} {name}: was trained on changed observations (VecNormalize, NormalizeObservation, ...): the "
            f"last one in the file is none of the environment's; save the VecNormalize as {path.parent / NORMALIZATION}"
        )


def _algorithm(name: str, wanted: str) -> Any:
    """Return the class of an algorithm of Stable-Baselines3 or its contrib package, by its name in lower case."""
    from stable_baselines3.common.base_class import BaseAlgorithm

    known: dict[str, Any] = {}
    for package in ("stable_baselines3", "sb3_contrib"):
        if find_spec(package) is not None:
            every = vars(importlib.import_module(package)).items()
            known |= {n.lower(): k for n, k in every if isinstance(k, type) and issubclass(k, BaseAlgorithm)}
    if wanted in known:
        return known[wanted]
    more = "" if find_spec("sb3_contrib") else "; more with: pip install sb3-contrib"
    raise InputError(f"{OPTION} {name}: no algorithm {wanted!r} ({closest(wanted, sorted(known))}){more}")


def _normalization(name: str, model: Any, path: Path) -> Any:
    """Return the VecNormalize saved beside a model, None where there is none."""
    beside = path.with_name(NORMALIZATION)
    if not beside.is_file():
        return None
    from stable_baselines3.common.vec_env import VecNormalize

    where = f"{OPTION} {name}: {beside}"
    try:
        found = pickle.loads(beside.read_bytes())
    except (pickle.UnpicklingError, EOFError, AttributeError, ImportError, ValueError, IndexError) as error:
        raise InputError(f"{where}: not a saved VecNormalize ({error})") from error
    if not isinstance(found, VecNormalize):
        raise InputError(f"{where}: is a {type(found).__name__}, not a saved VecNormalize")

    own, read = (
        f"{'a Dict of ' * isinstance(space, Dict)}{flatdim(space)} numbers"
        for space in (found.observation_space, model.observation_space)
    )
    if own != read:
        raise InputError(f"{where}: of {own}, the model reads {read}")
    return found


class SB3Model:
    """A model of Stable-Baselines3 that sees observations as it did in training."""

    def __init__(self, model: Any, normalization: Any = None) -> None:
        """Take a model and the VecNormalize around its environment, where there was one."""
        self.model, self.normalization = model, normalization
        self.observation_space, self.action_space = model.observation_space, model.action_space

    def reseed(self, seed: int) -> None:
        """Seed what the model draws."""
        self.model.set_random_seed(seed)

    def predict(self, observation: Any, state: Any, episode_start: Any, deterministic: bool) -> Any:
        """Return the model's numbers and its state, of recurrent networks."""
        if self.normalization is not None:
            observation = self.normalization.normalize_obs(observation)
        return self.model.predict(observation, state, episode_start, deterministic)
