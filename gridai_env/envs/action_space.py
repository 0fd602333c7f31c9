"""The flat action space: its box, the names of its entries, and which of them have an effect."""

from __future__ import annotations

import gymnasium as gym
import numpy as np

from gridai_env.arrays.types import Bool, Bools, Float, Floats32
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
