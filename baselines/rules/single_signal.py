"""Simple policies that every result is measured against.

They see the observation and the constants of the scenario, like any agent.  `LocalOnly` is the reference of
all savings; `NearestRegion`, `PriceOnly` and `CarbonOnly` are the single-signal rules of arXiv 2604.27855.
"""

from __future__ import annotations

from abc import abstractmethod

import numpy as np

from baselines.rules.placing import ServiceOptions, allocate, place_urgent, start_at_once, to_action
from baselines.rules.rule import Actions, Rule
from baselines.rules.view import View
from gridai_env.arrays.types import Floats
from gridai_env.scenario.compile import Compiled
from gridai_env.world import physics


class RoutingRule(Rule):
    """Sends work to the open site that it prefers and that has room; nothing waits while there is room.

    Battery and generator stay idle, all renewables are used.  Jobs start as early as they fit, at the first
    site of the job's own list (without a list: in the order of the scenario) where they fit.
    """

    def decide(self, view: View) -> Actions:
        """Return actions that place the work on hand by preference."""
        cost = np.where(view.p.route_open > 0.5, self.preference(view), np.inf)
        cost = np.broadcast_to(cost, (*view.on_hand_gpuh.shape, cost.shape[-1]))
        job_score = self.job_score(view)
        room = view.room_gpuh(view.starts(job_score))
        placed, left = allocate(
            view.on_hand_gpuh, ServiceOptions(cost), room, tie=self.compiled.geography.path_ms
        )
        placed = place_urgent(view, placed, left, cost)
        return to_action(view, self.layout, placed, hold_gpuh=left, job_score=job_score)

    @abstractmethod
    def preference(self, view: View) -> Floats:
        """Return what the rule minimises, broadcast to [B,C,W,K]."""

    def job_score(self, view: View) -> Floats:
        """Return scores [B,V,K+1]: start at once, in the order of the job's own list of sites."""
        return start_at_once(view, view.job_site_rank.astype(np.float64))


class LocalOnly(RoutingRule):
    """Home; overflow to the nearest open site with room."""

    name = "local_only"

    def preference(self, view: View) -> Floats:
        """Return path latency in ms, -1 for home."""
        return np.where(view.p.home[:, None, :] > 0.5, -1.0, self.compiled.geography.path_ms)


class NearestRegion(RoutingRule):
    """The open site of least path latency with room."""

    name = "nearest_region"

    def preference(self, view: View) -> Floats:
        """Return path latency in ms, [C,W,K]."""
        path_ms: Floats = self.compiled.geography.path_ms
        return path_ms


class PriceOnly(RoutingRule):
    """The open site with room where the energy of a unit of work (PUE included) is cheapest."""

    name = "price_only"

    def preference(self, view: View) -> Floats:
        """Return USD per GPU-h for energy, [B,1,1,K]."""
        usd = physics.work_power_mw_per_gpuh(view.p, view.exo) * view.exo.buy_usd_per_mwh
        return usd[:, None, None, :]

    def job_score(self, view: View) -> Floats:
        """Return scores that start jobs at once where energy is cheapest."""
        return start_at_once(view, self.preference(view)[:, 0, 0])


class CarbonOnly(RoutingRule):
    """The open site with room where a unit of work (PUE included) emits least, at the billed intensity."""

    name = "carbon_only"

    def preference(self, view: View) -> Floats:
        """Return kg per GPU-h, [B,1,1,K]."""
        carbon = physics.billed_carbon_kg_per_mwh(view.p, view.exo)
        return (physics.work_power_mw_per_gpuh(view.p, view.exo) * carbon)[:, None, None, :]

    def job_score(self, view: View) -> Floats:
        """Return scores that start jobs at once where energy is cleanest."""
        return start_at_once(view, self.preference(view)[:, 0, 0])


class Random(Rule):
    """Uniform actions.  Step and seed alone decide, so that batches equal single runs."""

    name = "random"

    def __init__(self, compiled: Compiled | None = None, seed: int = 0) -> None:
        """Draw from ``seed``."""
        super().__init__(compiled)
        self.seed = seed

    def reseed(self, seed: int) -> None:
        """Draw from another seed."""
        self.seed = seed

    def decide(self, view: View) -> Actions:
        """Return one uniform action per row, the same for rows that stand at the same step."""
        step = np.maximum(self.compiled.shape.steps - view.steps_left, 0.0).astype(int)
        drawn = [np.random.default_rng((self.seed, t)).uniform(-1.0, 1.0, self.layout.size) for t in step]
        return np.array(drawn, dtype=np.float32)
