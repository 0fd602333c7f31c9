"""What serving at home earns in a step, and the action that asks for it.

The earnings at home are the large, nearly constant part of every reward, and the noisy one: prices and demand
move them far more than any decision does.  They depend on the exogenous input alone, never on what the agent
did, so taking them off the reward leaves the optimum where it is and lets the agent learn from what its
decisions changed.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gridai_env.actions import Layout, decode
from gridai_env.compile import Compiled
from gridai_env.feasible import project
from gridai_env.state import Exogenous, Params, State
from gridai_env.terms import settle

Floats = NDArray[np.float64]


def home_action(compiled: Compiled, refuse: float = -1.0) -> NDArray[np.float32]:
    """Return the action [A] of "everything at home": no battery or generator, jobs at the first open site."""
    layout = Layout(compiled.shape)
    action = np.zeros(layout.size)
    part = layout.split(action)  # views
    sites = compiled.shape.sites
    part["routing"][..., :sites] = 2.0 * compiled.params.home[:, None, :] - 1.0
    part["routing"][..., sites + 1] = refuse
    part["jobs"][..., -1] = -1.0
    return action.astype(np.float32)


class HomeReference:
    """Benefit of serving everything at home in the step that a batch stands at, with idle batteries.

    Work that finds no room at home overflows as `project` has it.  Left out: jobs, the peak of the demand
    charge and the carbon budget, which depend on earlier decisions.
    """

    def __init__(self, compiled: Compiled, num_envs: int) -> None:
        self._layout = Layout(compiled.shape)
        self._action = np.broadcast_to(home_action(compiled), (num_envs, self._layout.size))
        self._battery_mwh = np.broadcast_to(
            compiled.start_state.battery_mwh, (num_envs, compiled.shape.sites)
        )
        self._home = compiled.params.home[:, None, :]  # [C,1,K]
        self._compiled = compiled

    def benefit_usd(self, params: Params, exogenous: Exogenous) -> Floats:
        """Return the benefit [B] of one step; ``params`` and ``exogenous`` are the simulator's."""
        params = params.replace(carbon_budget_kg=np.array(np.inf))
        state = self._state(params, exogenous)
        request = decode(params, self._layout, self._action)
        flows = project(params, state, exogenous, request)
        return settle(params, state, flows, exogenous).benefit_usd

    def _state(self, params: Params, exogenous: Exogenous) -> State:
        """Return the state of a world that has always served at home: nothing waits, no session moves."""
        shape, lead = self._compiled.shape, exogenous.available_gpus.shape[:-1]
        growth = exogenous.growth
        before = np.where(growth > 0.0, exogenous.arrivals_gpuh / np.where(growth > 0.0, growth, 1.0), 0.0)
        per_site = (*lead, shape.sites)
        return State(
            backlog_gpuh=np.zeros_like(exogenous.arrivals_gpuh),
            battery_mwh=self._battery_mwh,
            placed_gpuh=(before * (1.0 - params.may_wait))[..., None] * self._home,
            generation_mw=np.zeros(per_site),
            committed_gpus=np.zeros((*per_site, shape.job_steps)),
            waiting=np.zeros((*lead, shape.jobs)),
            peak_import_mw=np.full(per_site, np.inf),
            carbon_kg=np.zeros(lead),
        )
