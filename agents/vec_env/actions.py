"""The entries of the action that have an effect, so that the agent learns on those alone.

Many entries of the flat action have none: closed routes, routes of work that has only one, the hold of work that may
not wait, batteries and generators where there are none.  Exploration noise on them would only add variance.

With shared routing, one number for each row and site moves the routes of all regions away from "everything at home",
and one number for each row holds or refuses the work of all regions.  A site that is cheap is cheap for all regions, so
a quarter of the numbers (with four regions) loses little and is learned much sooner.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property
from typing import ClassVar, Protocol, TypeVar

import numpy as np
import torch

from gridai_env.arrays.types import Array, Bools, Float, Floats, Floats32, Index, Int
from gridai_env.envs.action_space import active_mask, home_action
from gridai_env.scenario.compile import Compiled
from gridai_env.world.actions import Layout


class AgentActions(Protocol):
    """The numbers [n] that a network chooses, and what they mean for the environment."""

    @property
    def low(self) -> float | Float[Floats32, " n"]:
        """Least value of the numbers, one for all or [n]."""

    @property
    def high(self) -> float | Float[Floats32, " n"]:
        """Greatest value of the numbers, one for all or [n]."""

    @property
    def size(self) -> int:
        """How many numbers there are, n."""

    @property
    def start(self) -> Float[Floats32, " n"]:
        """The numbers that learning starts from."""

    def expand(self, actions: Float[Array, "*batch n"]) -> Float[Array, "*batch A"]:
        """Return the environment's actions for the numbers; a tensor for a tensor."""


# The refuse entry at the start: far enough below 0.5 that noise refuses nothing, near enough to be learned.
INITIAL_REFUSE = -0.5

# A shared number in [-1, 1] moves a route over the whole range, from -1 to 1 or back.
SHARED_FACTOR = 2.0
Numbers = TypeVar("Numbers", Floats32, torch.Tensor)


@dataclass(frozen=True, eq=False)
class ActiveActions:
    """Which entries of the action [A] the agent's numbers [n] set, and what the others are.

    Entry ``index[i]`` becomes ``base[i] + factor[i] * number[source[i]]``, cut to [-1, 1].
    """

    index: Int[Index, " m"]  # m = n where no number is shared
    default: Float[Floats32, " A"]  # the action of "everything at home"
    source: Int[Index, " m"]  # in 0..n-1
    base: Float[Floats32, " m"]
    factor: Float[Floats32, " m"]

    # Bounds of every number.
    low: ClassVar[float] = -1.0
    high: ClassVar[float] = 1.0

    @classmethod
    def of(cls, compiled: Compiled, may_refuse: bool, shared_routing: bool = False) -> ActiveActions:
        """Return the active entries of a scenario; ``may_refuse``: whether the agent may turn work away."""
        default = home_action(compiled, refuse=INITIAL_REFUSE if may_refuse else -1.0)
        index = np.flatnonzero(active_mask(compiled, may_refuse))
        if not shared_routing:
            one = np.ones(len(index), dtype=np.float32)
            return cls(index, default, np.arange(len(index)), 0.0 * one, one)

        owner, is_route = _shared(compiled)
        _, source = np.unique(owner[index], return_inverse=True)
        moved = is_route[index]
        base = np.where(moved, default[index], 0.0).astype(np.float32)
        return cls(index, default, source, base, np.where(moved, SHARED_FACTOR, 1.0).astype(np.float32))

    @classmethod
    def read(cls, saved: dict[str, list[float]]) -> ActiveActions:
        """Return what `as_dict` has written."""
        index, source = (np.array(saved[name], dtype=np.intp) for name in ("index", "source"))
        default, base, factor = (np.array(saved[name], np.float32) for name in ("default", "base", "factor"))
        return cls(index, default, source, base, factor)

    def as_dict(self) -> dict[str, list[float]]:
        """Return plain lists, to be saved with the weights."""
        return {field.name: getattr(self, field.name).tolist() for field in fields(self)}

    @property
    def size(self) -> int:
        """How many numbers the agent chooses, n."""
        return int(self.source.max(initial=-1)) + 1

    @property
    def start(self) -> Float[Floats32, " n"]:
        """The first mean action of the agent: everything at home."""
        start = np.zeros(self.size, dtype=np.float32)
        start[self.source] = (self.default[self.index] - self.base) / self.factor
        return start

    def expand(self, actions: Numbers) -> Numbers:
        """Return the environment's actions [...,A] for the agent's numbers [...,n]; a tensor for a tensor.

        Tensors stay on their device; gradients pass where nothing was cut.
        """
        if isinstance(actions, torch.Tensor):
            return self._expand_tensor(actions)

        full = np.empty((*actions.shape[:-1], len(self.default)), dtype=np.float32)
        full[...] = self.default
        full[..., self.index] = np.clip(self.base + self.factor * actions[..., self.source], -1.0, 1.0)
        return full

    def _expand_tensor(self, actions: torch.Tensor) -> torch.Tensor:
        index, default, source, base, factor = self._tensors(actions.device)
        moved = torch.clamp(base + factor * actions[..., source], -1.0, 1.0)
        return default.expand(*actions.shape[:-1], -1).index_copy(-1, index, moved.to(default.dtype))

    def _tensors(self, device: torch.device) -> list[torch.Tensor]:
        """Return the fields on a device, copied there once."""
        if device not in self._copies:
            self._copies[device] = [
                torch.as_tensor(getattr(self, f.name), device=device) for f in fields(self)
            ]
        return self._copies[device]

    @cached_property
    def _copies(self) -> dict[torch.device, list[torch.Tensor]]:
        return {}


def _shared(compiled: Compiled) -> tuple[Float[Floats, " A"], Bools]:
    """Return for each entry [A] the entry whose number it shares (the first region's), and whether it is a route."""
    layout = Layout(compiled.shape)
    owner, is_route = np.arange(layout.size, dtype=float), np.zeros(layout.size)
    routing = layout.split(owner)["routing"]  # a view: setting it sets ``owner``
    routing[...] = routing[0]
    layout.split(is_route)["routing"][..., : compiled.shape.sites] = 1.0
    return owner, is_route > 0.0
