"""Options and spaces of a batch, and the checks of what users hand in."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.error import ResetNeeded
from gymnasium.vector.utils import batch_space

from gridai_env.arrays.types import Array, Bool, Bools, Index, Int
from gridai_env.envs.action_space import action_box, names_of_actions
from gridai_env.envs.arguments import checked_mask
from gridai_env.envs.options import VectorOptions
from gridai_env.envs.simulator import Simulator
from gridai_env.episodes.instance import Instance
from gridai_env.observation.layout import ObservationLayout
from gridai_env.scenario.compile import Compiled

Info = dict[str, Any]


class BatchSpaces(gym.vector.VectorEnv[Any, Any, Any]):
    """B episodes of one scenario; spaces are made on first use, since those of many environments are large."""

    _simulator: Simulator
    _mask_kinds = "a NumPy array"  # of reset masks, for messages
    _books: tuple[str, ...]  # what a snapshot keeps besides the simulator
    like: Array  # empty, of the type and in the place of all numbers
    stagger = False  # episodes that a reset of all begins start midway
    episodes = "host"  # where they are made
    compiles = False  # steps, by torch's compiler
    _elapsed: Int[Index, " B"]  # steps played of each episode
    _over: Bool[Bools, " B"]

    def __init__(self, options: VectorOptions) -> None:
        """Open the scenario; raises ValueError (ScenarioError, InstanceError, ...) where that fails."""
        self.num_envs, self.max_episode_steps = options.num_envs, options.max_episode_steps
        self.group, self.num_groups = options.group, options.num_envs // options.group
        self.render_mode, self.autoreset_mode = options.render_mode, options.autoreset_mode
        self.metadata = {**type(self).metadata, "autoreset_mode": self.autoreset_mode}
        self.flat_observations = options.flat_observations
        self._source = options.open_source()
        self.layout = ObservationLayout(self.compiled)
        self._begun = False

    # Spaces --------------------------------------------------------------------------------------

    @cached_property
    def single_observation_space(self) -> gym.Space[Any]:  # type: ignore[override]
        """The space of one environment."""
        return self.layout.flat_space() if self.flat_observations else self.layout.space()

    @cached_property
    def single_action_space(self) -> gym.spaces.Box:  # type: ignore[override]
        """The action space of one environment."""
        return action_box(self.compiled)

    @cached_property
    def observation_space(self) -> gym.Space[Any]:  # type: ignore[override]
        """The space of all."""
        return batch_space(self.single_observation_space, self.num_envs)

    @cached_property
    def action_space(self) -> gym.Space[Any]:  # type: ignore[override]
        """The action space of all."""
        return batch_space(self.single_action_space, self.num_envs)

    # What stands behind --------------------------------------------------------------------------

    @property
    def compiled(self) -> Compiled:
        """The scenario of the environments as arrays."""
        return self._source.compiled

    @property
    def simulator(self) -> Simulator:
        """The simulator with the current state of the episodes; raises ResetNeeded before the first reset."""
        if not self._begun:
            raise ResetNeeded("no episodes yet: call reset() first")
        return self._simulator

    @property
    def action_names(self) -> list[str]:
        """A name for every index of the single action."""
        return names_of_actions(self.compiled)

    def _ready(self) -> Simulator:
        """Return the simulator; raises ResetNeeded where an episode is over."""
        simulator = self.simulator
        if self._over.any():
            raise ResetNeeded(
                f"environments {np.flatnonzero(self._over).tolist()} are over: reset them first"
            )
        return simulator

    # Arguments of reset --------------------------------------------------------------------------

    def _rows(self, mask: Bool[Bools, " B"] | None) -> Int[Index, " rows"]:
        """Return the environments to reset; raises ValueError for a mask of a wrong kind."""
        if mask is None:
            return np.arange(self.num_envs)
        found = checked_mask(mask, self.num_envs, self._mask_kinds)
        if not self._begun and not found.all():
            raise ResetNeeded("no episodes yet: the first reset() must be of all environments")
        groups = found.reshape(-1, self.group)
        if (groups.any(1) & ~groups.all(1)).any():
            raise ValueError(
                f"options['reset_mask']: must take whole groups, {self.group} neighbours each, which begin together"
            )
        return np.flatnonzero(found)

    def _groups(self, rows: Int[Index, " rows"]) -> Int[Index, " groups"]:
        """Return the groups of environments that are given in whole groups."""
        return rows[:: self.group] // self.group

    def _members(self, groups: Int[Index, " groups"]) -> Int[Index, " rows"]:
        """Return the environments of groups."""
        return (groups[:, None] * self.group + np.arange(self.group)).ravel()

    def _check_given(self, instances: Sequence[str | Path | Instance], count: int) -> None:
        """Raise ValueError unless there is one instance for each of ``count`` environments (groups of them)."""
        if not isinstance(instances, Sequence) or isinstance(instances, str):
            raise ValueError(
                f"options['instances'] = {instances!r}: must be a list of instances (or of their files), one "
                "for each environment to reset; leave it out for episodes of the environments' own"
            )
        if len(instances) != count:
            what = "environments" if self.group == 1 else f"groups of {self.group} environments"
            raise ValueError(f"options['instances']: {len(instances)} given, {count} {what} to reset")

    def _foreign(self) -> ValueError:
        """Return the error where the environments' own episodes would begin beside those of another scenario."""
        return ValueError(
            "options['instances']: were of another scenario than the environments' own, which would "
            "begin now beside them; reset all environments at the end of such episodes"
        )

    def _mask(self, rows: Int[Index, " rows"]) -> Bool[Bools, " B"]:
        """Return True at the places ``rows``."""
        mask = np.zeros(self.num_envs, dtype=np.bool_)
        mask[rows] = True
        return mask

    def _truncated(self) -> Bool[Bools, " B"]:
        """Return which episodes have reached ``max_episode_steps``."""
        limit = self.max_episode_steps
        return np.zeros(self.num_envs, dtype=np.bool_) if limit is None else self._elapsed >= limit

    def _shown(self, flat: Any) -> Any:
        """Return observations [B,N] as they are (``flat_observations``) or as a Dict of parts."""
        return flat if self.flat_observations else self.layout.as_dict(flat)

    # Snapshots -----------------------------------------------------------------------------------

    def _made_with(self) -> dict[str, Any]:
        """Return what environments must have in common to take each other's snapshots, besides the scenario."""
        tensors = not isinstance(self.like, np.ndarray)
        return {"group": self.group, "num_envs": self.num_envs, "episodes": self.episodes, "tensors": tensors}

    def _check_snapshot(self, state: dict[str, Any]) -> None:
        """Raise ValueError for a snapshot of another scenario, of other environments, or of an earlier version."""
        if "made_with" not in state:
            raise ValueError(
                "state: not a snapshot of this version's batches; take one anew with get_state()"
            )
        if state["scenario"] != self.compiled.hash:
            raise ValueError(
                f"state: a snapshot of another scenario than {self.compiled.name!r} with its overrides and traces; "
                "make the environments with the arguments of those that get_state() was called on"
            )
        for name, own in self._made_with().items():
            if (other := state["made_with"][name]) != own:
                raise ValueError(
                    f"{name} = {own}: the snapshot is of {name} = {other}; make the environments with {name}={other}"
                )

    def _get_books(self) -> dict[str, Any]:
        """Return copies of the books and of Gymnasium's generator."""
        names = (*self._books, "_np_random", "_np_random_seed")
        return {name: copy.deepcopy(getattr(self, name)) for name in names}

    def _set_books(self, books: dict[str, Any]) -> None:
        """Put back copies of what `_get_books` gave."""
        for name, value in books.items():
            setattr(self, name, copy.deepcopy(value))
