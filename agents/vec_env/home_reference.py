"""The benefit of serving everything at home: a baseline for the reward.

It is the large and noisy part of every reward: prices and demand move it far more than any decision does.  It depends
on the exogenous input alone, never on the actions, so taking it off the reward leaves the optimal policy unchanged and
the agent learns from the effect of its decisions.
"""

from __future__ import annotations

import numpy as np

from gridai_env.arrays.ops import constant, namespace
from gridai_env.arrays.types import Array, Float
from gridai_env.envs.action_space import home_action
from gridai_env.scenario.compile import Compiled
from gridai_env.world.actions import Layout, decode
from gridai_env.world.feasible import project
from gridai_env.world.state import Exogenous, Params, State
from gridai_env.world.terms import settle

_NUMPY = np.empty(0)


class HomeReference:
    """Benefit of serving everything at home in the present step of a batch, with idle batteries.

    Work that finds no room at home overflows by the rules of `project`.  Left out: jobs, the peak of the demand
    charge, the carbon budget and the days inside the episode of a baseline, which depend on earlier decisions.
    ``like``: an array of the type, and in the place, of all numbers.
    """

    def __init__(self, compiled: Compiled, like: Array = _NUMPY) -> None:
        self._layout, self._compiled = Layout(compiled.shape), compiled
        # One request, and one charge of the batteries, stand for all episodes.
        self._action = constant(home_action(compiled)[None], like)
        self._battery_mwh = constant(compiled.start_battery_mwh[None], like)
        self._home = constant(compiled.params.home[:, None, :], like)  # [C,1,K]
        self._no_budget_kg = constant(np.array(np.inf), like)

    def benefit_usd(self, params: Params, exogenous: Exogenous) -> Float[Array, " B"]:
        """Return the benefit of one step; ``params`` and ``exogenous`` are the simulator's."""
        # Cached facts about the parameters (on a device: known from the host) stay valid, but for the budget.
        unlimited = {"carbon_budget_kg": self._no_budget_kg, "has_carbon_budget": False}
        params = Params.make(**params.__dict__ | unlimited)

        state = self._state(params, exogenous)
        request = decode(params, self._layout, self._action)
        flows = project(params, state, exogenous, request)
        return settle(params, state, flows, exogenous).benefit_usd

    def _state(self, params: Params, exogenous: Exogenous) -> State:
        """Return the state of a world that has always served at home: nothing waits, no session moves."""
        xp, shape = namespace(exogenous.growth), self._compiled.shape
        growth, per_site = exogenous.growth, exogenous.available_gpus

        # Sessions of the step before: this step's arrivals over their growth.
        before = xp.where(growth > 0.0, exogenous.arrivals_gpuh / xp.where(growth > 0.0, growth, 1.0), 0.0)
        none = xp.zeros_like(per_site)
        past_mw = xp.broadcast_to(none[..., None], (*none.shape, shape.day_steps))
        return State(
            backlog_gpuh=xp.zeros_like(exogenous.arrivals_gpuh),
            battery_mwh=self._battery_mwh,
            placed_gpuh=(before * params.is_session)[..., None] * self._home,
            generation_mw=none,
            committed_gpus=xp.broadcast_to(none[..., None], (*none.shape, shape.job_steps)),
            waiting=xp.broadcast_to(none[..., :1], (*none.shape[:-1], shape.jobs)),
            peak_import_mw=xp.full_like(per_site, xp.inf),
            carbon_kg=none[..., 0],
            baseline_sum_mw=past_mw,
            day_before_mw=past_mw,
        )
