"""The numbers that the network decides, and how they become actions of the environment.

Only open entries are numbers: closed routes, missing batteries and work that has a single route add neither noise nor
entropy nor log-probability.

========== ===============================================================================================
routes     logarithm of the share of a route, for work with at least two open routes; shares are their softmax
hold       fraction of the work on hand that waits, for rows that may
refuse     fraction of the work on hand that is refused; nothing up to 0, so that noise refuses nothing
battery    charge (+) or discharge (-) over the power limit
generator  output over the capacity
renewable  share curtailed, as a number below 0; from 0 on all is used, so that noise curtails nothing
jobs       score of each slot and site, and of waiting
mode       share of what power modes can save; only in scenarios that have them
========== ===============================================================================================
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from gridai_env.arrays.types import Array, Float, Floats32, Index, Int
from gridai_env.envs.action_space import active_mask, home_action
from gridai_env.scenario.compile import Compiled
from gridai_env.world.actions import Layout

# Logarithms of shares below this count as no share.
LOWEST = -12.0
KINDS = ("routes", "hold", "refuse", "battery", "generator", "renewable", "jobs", "mode")
# Distance from 0 of the numbers of work that is served (below) and of renewables that are used (above).
DEAD_ZONE = 0.3


def kinds_of(compiled: Compiled) -> tuple[str, ...]:
    """Return the kinds of numbers in a scenario: those of power modes only where it has them."""
    return KINDS if compiled.params.has_modes else KINDS[:-1]


@dataclass(frozen=True, eq=False)
class OpenActions:
    """The numbers [n] of a scenario, sorted by `KINDS`.

    Routes keep their groups: one row of ``route`` for each region and workload row that has a choice, with the
    number of each site's route, -1 where it is closed.
    """

    default: Float[Floats32, " A"]  # the action of "everything at home"
    kind: Int[Index, " n"]  # index in KINDS
    entry: Int[Index, " n"]  # place in the flat action
    route: Int[Index, "G K"]
    places: Int[Index, "G K"]  # of these routes in the flat action

    @classmethod
    def of(cls, compiled: Compiled) -> OpenActions:
        """Return the numbers of a scenario."""
        layout, sites = Layout(compiled.shape), compiled.shape.sites
        index = np.arange(layout.size, dtype=float)
        active = active_mask(compiled, may_refuse=False).astype(float)
        at = {name: part.astype(np.intp) for name, part in layout.split(index).items()}
        on = {name: part > 0.5 for name, part in layout.split(active).items()}

        chosen = {
            "routes": at["routing"][..., :sites][on["routing"][..., :sites]],
            "hold": at["routing"][..., sites][on["routing"][..., sites]],
            "refuse": at["routing"][..., sites + 1].ravel(),
            "battery": at["battery"][on["battery"]],
            "generator": at["generator"][on["generator"]],
            "renewable": at["renewable"][on["renewable"]],
            "jobs": at["jobs"][on["jobs"]],
            "mode": at["mode"][on["mode"]],
        }
        kind = np.concatenate([np.full(len(chosen[name]), i) for i, name in enumerate(KINDS)])
        entry = np.concatenate([chosen[name] for name in KINDS]).astype(np.intp)

        # Rows of routes of which at least one is a number.
        number = np.full(layout.size, -1)
        number[entry] = np.arange(len(entry))
        routes = at["routing"][..., :sites].reshape(-1, sites)
        groups = routes[(number[routes] >= 0).any(-1)].reshape(-1, sites)
        return cls(home_action(compiled), kind, entry, number[groups], groups)

    @property
    def size(self) -> int:
        """How many numbers there are, n."""
        return len(self.entry)

    @cached_property
    def low(self) -> Float[Floats32, " n"]:
        """Least value of each number."""
        return np.array([LOWEST, 0.0, -1.0, -1.0, 0.0, -1.0, -1.0, 0.0], dtype=np.float32)[self.kind]

    @cached_property
    def high(self) -> Float[Floats32, " n"]:
        """Greatest value of each number."""
        return np.array([-LOWEST, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0], dtype=np.float32)[self.kind]

    @cached_property
    def start(self) -> Float[Floats32, " n"]:
        """Numbers that mean "everything at home"."""
        is_route = self.kind == 0
        at_entry = self.default[self.entry]
        return np.where(is_route, np.where(at_entry > 0.0, 0.0, LOWEST), at_entry).astype(np.float32)

    @cached_property
    def _tensors(self) -> dict[str, torch.Tensor]:
        """Return constants of `expand`: for each entry of the action the number or share that sets it, or neither."""
        source = np.full(len(self.default), -1)
        own = self.kind > 0
        source[self.entry[own]] = np.flatnonzero(own)
        source[self.places.ravel()] = self.size + np.arange(self.places.size)
        fixed = source < 0

        return {
            "source": torch.as_tensor(np.where(fixed, 0, source)),
            "fixed": torch.as_tensor(fixed),
            "default": torch.as_tensor(self.default),
            "route": torch.as_tensor(np.maximum(self.route, 0).ravel()),
            "closed": torch.as_tensor(self.route < 0),
            "low": torch.as_tensor(self.low),
            "high": torch.as_tensor(self.high),
            "refuse": torch.as_tensor(self.kind == KINDS.index("refuse")),
        }

    def expand(self, numbers: Float[Array, "*batch n"]) -> Float[Array, "*batch A"]:
        """Return the environment's actions for the numbers; a tensor for a tensor."""
        if isinstance(numbers, np.ndarray):
            return self._expand(torch.as_tensor(np.asarray(numbers, dtype=np.float32))).numpy()
        return self._expand(numbers)

    def _there(self, device: torch.device) -> dict[str, torch.Tensor]:
        """Return the constants on a device, copied there once."""
        if device not in self._copies:
            self._copies[device] = {name: value.to(device) for name, value in self._tensors.items()}
        return self._copies[device]

    @cached_property
    def _copies(self) -> dict[torch.device, dict[str, torch.Tensor]]:
        return {}

    def _expand(self, numbers: torch.Tensor) -> torch.Tensor:
        at = self._there(numbers.device)
        inside = torch.minimum(torch.maximum(numbers, at["low"]), at["high"])
        logs = inside[..., at["route"]].unflatten(-1, at["closed"].shape)
        logs = logs.masked_fill(at["closed"], -torch.inf)
        share = torch.exp(logs - logs.amax(-1, keepdim=True))  # over the greatest: 1 there
        # The environment refuses from an entry of 0.5 on.
        refusal = 0.5 + torch.where(inside > 0.0, 0.5, 1.5) * inside
        entries = torch.where(at["refuse"], refusal, inside)
        every = torch.cat([entries, 2.0 * share.flatten(-2) - 1.0], -1)
        return torch.where(at["fixed"], at["default"], every[..., at["source"]])
