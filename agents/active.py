"""The entries of the action that do something, so that the agent learns on those alone.

Many entries of the flat action are without effect: closed routes, routes of work that has only one, the hold
of work that may not wait, batteries and generators where there are none.  Noise on them would only blur what
is learned.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agents.reference import home_action
from gridai_env.actions import Layout
from gridai_env.compile import Compiled

# The refuse entry at the start: far enough below 0.5 that noise refuses nothing, near enough to be learned.
INITIAL_REFUSE = -0.5


@dataclass(frozen=True, eq=False)
class ActiveActions:
    """Which entries of the action [A] the agent sets, and what the others are."""

    index: NDArray[np.intp]  # [n]
    default: NDArray[np.float32]  # [A] the action of "everything at home"

    @classmethod
    def of(cls, compiled: Compiled, may_refuse: bool) -> ActiveActions:
        """Return the active entries of a scenario; ``may_refuse``: whether the agent may turn work away."""
        default = home_action(compiled, refuse=INITIAL_REFUSE if may_refuse else -1.0)
        return cls(np.flatnonzero(active_mask(compiled, may_refuse)), default)

    @property
    def start(self) -> NDArray[np.float32]:
        """The first mean action of the agent [n]: everything at home."""
        return self.default[self.index]

    def expand(self, actions: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the environment's actions [...,A] for the agent's [...,n]."""
        full = np.empty((*actions.shape[:-1], len(self.default)), dtype=np.float32)
        full[...] = self.default
        full[..., self.index] = actions
        return full


def active_mask(compiled: Compiled, may_refuse: bool) -> NDArray[np.bool_]:
    """Return which entries of the flat action [A] can change anything."""
    layout, p, sites = Layout(compiled.shape), compiled.params, compiled.shape.sites
    mask = np.zeros(layout.size)
    part = layout.split(mask)  # views
    is_open = p.route_open > 0.0
    part["routing"][..., :sites] = is_open & (is_open.sum(-1, keepdims=True) > 1)
    part["routing"][..., sites] = p.may_wait > 0.0
    part["routing"][..., sites + 1] = may_refuse
    part["battery"][...] = (p.charge_limit_mw > 0.0) | (p.discharge_limit_mw > 0.0)
    part["generator"][...] = p.generator_max_mw > 0.0
    part["renewable"][...] = [site.pv_mw + site.wind_mw > 0.0 for site in compiled.scenario.sites]
    part["jobs"][..., :sites] = compiled.job_allowed.any(0)
    part["jobs"][..., sites] = 1.0
    return mask > 0.0
