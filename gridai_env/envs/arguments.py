"""Checks of the arguments of environments: actions, seeds, options, modes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode

from gridai_env.arrays.types import AnyFloats, Bools
from gridai_env.scenario.errors import closest


def checked_action(action: Any, shape: tuple[int, ...]) -> AnyFloats:
    """Return the action as an array; raises ValueError where shape, type or values are impossible."""
    array = np.asarray(action)
    if array.shape != shape:
        raise ValueError(f"action: shape {array.shape}, must be {shape} with values in [-1, 1]")
    if array.dtype.kind not in "fiu":
        raise ValueError(f"action: type {array.dtype}, must be numbers in [-1, 1]")
    if not np.abs(array).max(initial=0.0) <= 1.0:
        raise ValueError(_fault(array))
    return array


def _fault(action: AnyFloats) -> str:
    """Say which entry of an action is not in [-1, 1]."""
    with np.errstate(invalid="ignore"):
        index = np.argwhere(~(np.abs(action) <= 1.0))[0]
    place = ", ".join(str(i) for i in index)
    value = action[tuple(index)]
    advice = "look for NaN in what made it" if np.isnan(value) else "clip the action"
    return f"action[{place}] = {value:.6g}: must be a number in [-1, 1]; {advice}, nothing was changed"


def checked_options(options: dict[str, Any] | None, known: tuple[str, ...]) -> dict[str, Any]:
    """Return the options of a reset; raises ValueError for unknown ones, and two that exclude each other."""
    given = options or {}
    if unknown := [name for name in given if name not in known]:
        raise ValueError(
            f"options[{unknown[0]!r}]: unknown; {closest(str(unknown[0]), known)} Allowed: {', '.join(known)}"
        )
    if "start" in given and (both := [name for name in given if name.startswith("instance")]):
        raise ValueError(f"options['start']: {both[0]} have starts of their own; leave one of both out")
    return given


def plain_seed(seed: Any) -> int | None:
    """Return a seed as a Python integer, None as it is; raises ValueError for all that is no integer >= 0."""
    if seed is None:
        return None
    if isinstance(seed, bool | np.bool_) or not isinstance(seed, int | np.integer) or seed < 0:
        raise ValueError(f"seed = {seed!r}: must be an integer >= 0, or None")
    return int(seed)


def seed_list(seed: int | Sequence[int | None] | None, num_envs: int) -> list[int | None]:
    """Return a seed for each environment: seed + i, or those of the list; raises ValueError for a wrong one."""
    if not isinstance(seed, Sequence | np.ndarray) or isinstance(seed, str):
        first = plain_seed(seed)
        return [None if first is None else first + i for i in range(num_envs)]
    if len(seed) != num_envs:
        raise ValueError(
            f"seed: a list of {len(seed)}, must have one entry for each of {num_envs} environments"
        )
    return [plain_seed(each) for each in seed]


def checked_step(step: Any, steps: int) -> int:
    """Return the step at which episodes of ``steps`` steps begin; raises ValueError where it is none of theirs."""
    if isinstance(step, bool) or not isinstance(step, int | np.integer) or not 0 <= step < steps:
        raise ValueError(
            f"options['first_step'] = {step!r}: must be a whole number in [0, {steps - 1}] [steps]"
        )
    return int(step)


def checked_mask(mask: Any, num_envs: int, kinds: str) -> Bools:
    """Return a reset mask; raises ValueError where it is of another kind or empty."""
    if not isinstance(mask, np.ndarray) or mask.dtype != np.bool_ or mask.shape != (num_envs,):
        raise ValueError(f"options['reset_mask']: must be {kinds} of bool with shape ({num_envs},)")
    if not mask.any():
        raise ValueError("options['reset_mask']: must be True for at least one environment")
    return mask


def positive_int(name: str, value: Any) -> int:
    """Return a number that must be an integer >= 1."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        raise ValueError(f"{name} = {value!r}: must be an integer >= 1")
    return int(value)


def checked_mode(mode: AutoresetMode | str) -> AutoresetMode:
    """Return the autoreset mode; raises ValueError for another word."""
    for known in AutoresetMode:
        if mode in (known, known.value, known.name):
            return known
    raise ValueError(f"autoreset_mode = {mode!r}: must be one of {[known.value for known in AutoresetMode]}")
