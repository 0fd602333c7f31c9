"""The flat action space: its box, the names of its entries, and which of them have an effect."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property
from typing import ClassVar, Self

import gymnasium as gym
import numpy as np

from gridai_env.arrays.ops import Constants, namespace, put_at
from gridai_env.arrays.types import Array, Bool, Bools, Float, Floats, Floats32, Index, Int
from gridai_env.scenario.compile import Compiled
from gridai_env.world.actions import Layout, action_names


def active_mask(compiled: Compiled, may_refuse: bool) -> Bool[Bools, " A"]:
    """Return which entries of the flat action [A] can change anything."""
    layout, p, sites = Layout(compiled.shape), compiled.params, compiled.shape.sites
    mask = np.zeros(layout.size)
    part = layout.split(mask)  # views

    # With one open route all work goes there, whatever its entry says.
    is_open = p.route_open > 0.0
    part["routing"][..., :sites] = is_open & (is_open.sum(-1, keepdims=True) > 1)
    part["routing"][..., sites] = p.may_wait > 0.0
    part["routing"][..., sites + 1] = may_refuse

    part["battery"][...] = (p.charge_limit_mw > 0.0) | (p.discharge_limit_mw > 0.0)
    part["generator"][...] = p.generator_max_mw > 0.0
    part["renewable"][...] = compiled.sites.renewable_mw > 0.0
    if part["mode"].size:
        part["mode"][...] = (p.saving_kw_per_busy_gpu > 0.0).any(0)
    part["jobs"][..., :sites] = compiled.job_allowed.any(0)
    part["jobs"][..., sites] = 1.0
    return mask > 0.0


def home_action(compiled: Compiled, refuse: float = -1.0) -> Float[Floats32, " A"]:
    """Return the action [A] of "everything at home": no battery or generator, jobs at the first open site."""
    layout = Layout(compiled.shape)
    action = np.zeros(layout.size)
    part = layout.split(action)  # views
    sites = compiled.shape.sites
    part["routing"][..., :sites] = 2.0 * compiled.params.home[:, None, :] - 1.0
    part["routing"][..., sites + 1] = refuse
    part["jobs"][..., -1] = -1.0
    return action.astype(np.float32)


def action_box(compiled: Compiled) -> gym.spaces.Box:
    """Return the action space of a scenario."""
    return gym.spaces.Box(-1.0, 1.0, (Layout(compiled.shape).size,), np.float32)


def names_of_actions(compiled: Compiled) -> list[str]:
    """Return a name for every index of the flat action."""
    rows = [name.replace("/", "-") for name in compiled.row_names]
    return action_names(Layout(compiled.shape), list(compiled.region_names), rows, list(compiled.site_names))


# The refuse entry at the start: far enough below 0.5 that noise refuses nothing, near enough to be learned.
INITIAL_REFUSE = -0.5

# A shared number in [-1, 1] moves a route over the whole range, from -1 to 1 or back.
SHARED_FACTOR = 2.0


@dataclass(frozen=True, eq=False)
class ActiveActions:
    """Which entries of the action [A] the agent's numbers [n] set, and what the others are.

    Entry ``index[i]`` becomes ``base[i] + factor[i] * number[source[i]]``, cut to [-1, 1].

    Many entries have no effect: closed routes, routes of work that has only one, the hold of work that may not wait,
    batteries and generators where there are none.  Exploration noise on them would only add variance.

    With shared routing, one number for each row and site moves the routes of all regions away from "everything at
    home", and one number for each row holds or refuses the work of all regions.  A site that is cheap is cheap for
    all regions, so a quarter of the numbers (with four regions) loses little and is learned much sooner.
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
    def of(cls, compiled: Compiled, may_refuse: bool, shared_routing: bool = False) -> Self:
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

    @classmethod
    def read(cls, saved: dict[str, list[float]]) -> Self:
        """Return what `as_dict` has written."""
        index, source = (np.array(saved[name], dtype=np.intp) for name in ("index", "source"))
        default, base, factor = (np.array(saved[name], np.float32) for name in ("default", "base", "factor"))
        return cls(index, default, source, base, factor)

    def as_dict(self) -> dict[str, list[float]]:
        """Return plain lists, to be saved with the weights."""
        return {field.name: getattr(self, field.name).tolist() for field in fields(self)}

    def expand(self, actions: Float[Array, "*batch n"]) -> Float[Array, "*batch A"]:
        """Return the environment's actions for the agent's numbers; a tensor, on its device, for a tensor.

        Gradients pass where nothing was cut.
        """
        c = self._constants.beside(actions)
        moved = namespace(actions).clip(c.base + c.factor * actions[..., c.source], -1.0, 1.0)
        return put_at(c.default, c.index, moved)

    @cached_property
    def _constants(self) -> Constants:
        return Constants(**{field.name: getattr(self, field.name) for field in fields(self)})


def _shared(compiled: Compiled) -> tuple[Float[Floats, " A"], Bools]:
    """Return for each entry [A] the entry whose number it shares (the first region's), and whether it is a route."""
    layout = Layout(compiled.shape)
    owner, is_route = np.arange(layout.size, dtype=float), np.zeros(layout.size)
    routing = layout.split(owner)["routing"]  # a view: setting it sets ``owner``
    routing[...] = routing[0]
    layout.split(is_route)["routing"][..., : compiled.shape.sites] = 1.0
    return owner, is_route > 0.0
