"""What serving at home earns in a step, and the action that asks for it.

The earnings at home are the large, nearly constant part of every reward, and the noisy one: prices and demand
move them far more than any decision does.  They depend on the exogenous input alone, never on what the agent
did, so taking them off the reward leaves the optimum where it is and lets the agent learn from what its
decisions changed.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from gridai_env.arrays.ops import namespace
from gridai_env.envs.action_space import home_action
from gridai_env.scenario.compile import Compiled
from gridai_env.world.actions import Layout, decode
from gridai_env.world.feasible import project
from gridai_env.world.state import Exogenous, Params, State
from gridai_env.world.terms import settle


class HomeReference:
    """Benefit of serving everything at home in the step that a batch stands at, with idle batteries.

    Work that finds no room at home overflows as `project` has it.  Left out: jobs, the peak of the demand
    charge and the carbon budget, which depend on earlier decisions.  ``like``: a tensor for a batch of tensors
    of its type on its device; None: NumPy.
    """

    def __init__(self, compiled: Compiled, num_envs: int, like: torch.Tensor | None = None) -> None:
        self._layout = Layout(compiled.shape)
        self._compiled, self._num_envs, self._like = compiled, num_envs, like
        self._action = self._everywhere(home_action(compiled))
        self._battery_mwh = self._everywhere(compiled.start_state.battery_mwh)
        self._home = self._there(compiled.params.home[:, None, :])  # [C,1,K]
        self._no_budget_kg = self._there(np.array(np.inf))

    def _there(self, x: NDArray[Any]) -> Any:
        like = self._like
        return x if like is None else torch.as_tensor(x, dtype=like.dtype, device=like.device)

    def _everywhere(self, x: NDArray[Any]) -> Any:
        """``x`` [n] for every environment [B,n], the batch axis innermost in memory."""
        return self._there(np.repeat(x[:, None], self._num_envs, 1)).T

    def benefit_usd(self, params: Params, exogenous: Exogenous) -> Any:
        """Return the benefit [B] of one step; ``params`` and ``exogenous`` are the simulator's."""
        # What was derived from the parameters (on a device: known from the host) stays, but for the budget.
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
        before = xp.where(growth > 0.0, exogenous.arrivals_gpuh / xp.where(growth > 0.0, growth, 1.0), 0.0)
        none = xp.zeros_like(per_site)
        return State(
            backlog_gpuh=xp.zeros_like(exogenous.arrivals_gpuh),
            battery_mwh=self._battery_mwh,
            placed_gpuh=(before * (1.0 - params.may_wait))[..., None] * self._home,
            generation_mw=none,
            committed_gpus=xp.broadcast_to(none[..., None], (*none.shape, shape.job_steps)),
            waiting=xp.broadcast_to(none[..., :1], (*none.shape[:-1], shape.jobs)),
            peak_import_mw=xp.full_like(per_site, xp.inf),
            carbon_kg=none[..., 0],
        )
