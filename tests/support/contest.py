"""Policies against the bound: many action sequences on one instance at once, and their scores.

Shapes: T steps, P policies (rows of one batch, all on the same instance), A entries of an action.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from numpy.typing import NDArray

from baselines.optimum.milp import Plan
from baselines.program.objectives import last_resorts
from baselines.program.service_floor import Floor
from gridai_env.envs.simulator import Simulator
from gridai_env.episodes.instance import Instance, stack
from gridai_env.world.physics import next_state
from gridai_env.world.state import Exogenous, Flows, State
from gridai_env.world.terms import EARNINGS
from gridai_env.world.violations import violations
from tests.support.strategies import random_actions

Floats = NDArray[np.float64]

WORK_LIMITS = ("queue", "backlog", "closed route", "relocated", "warmed", "relocated within served")
FLOOR_SLACK = 1e-9 + 1e-11  # the floor's own, and the solver's tolerance


@dataclass
class Run:
    """What P policies did on one instance."""

    terms_usd: dict[str, Floats]  # name -> [T,P]
    emissions_kg: Floats  # [T,P] at the billed intensity
    flows: Flows  # [T,P,...]
    states: State  # [T,P,...] before each step
    broken: dict[str, float]  # limit -> worst violation, relative to the size of the limit
    dt_h: float

    @property
    def benefit_usd(self) -> Floats:
        """Benefit of the episode [P]."""
        return np.add.reduce([term.sum(0) for term in self.terms_usd.values()])

    @property
    def scale_usd(self) -> Floats:
        """Sum of absolute terms of all steps [P]."""
        return np.add.reduce([np.abs(term).sum(0) for term in self.terms_usd.values()])

    def objective(self, instance: Instance, name: str) -> Floats:
        """Value of the minimised objective "cost" [USD] or "carbon" [kg], last resorts weighted, [P]."""
        extra = last_resorts(instance, name).total(instance.params, self.flows).sum(0)  # type: ignore[arg-type]
        return self.plain_objective(name) + extra

    def plain_objective(self, name: str) -> Floats:
        """The same without the weight on last resorts."""
        if name == "carbon":
            return self.emissions_kg.sum(0)
        return -np.add.reduce([v.sum(0) for k, v in self.terms_usd.items() if k not in EARNINGS])

    def of(self, policies: slice) -> Run:
        """What some of the policies did; limits are those of all."""
        parts = {name: getattr(self, name).map(lambda a: a[:, policies]) for name in ("flows", "states")}
        terms = {name: term[:, policies] for name, term in self.terms_usd.items()}
        return replace(self, terms_usd=terms, emissions_kg=self.emissions_kg[:, policies], **parts)

    @property
    def last_resort_mwh(self) -> Floats:
        """Load shed and energy missing in batteries at the end [P]."""
        return self.dt_h * self.flows.shed_mw.sum((0, 2)) + self.flows.battery_short_mwh.sum((0, 2))

    def keeps(self, floor: Floor) -> NDArray[np.bool_]:
        """Which policies keep a service floor [P]."""
        served = self.flows.served_gpuh.sum((0, 2, 4))
        jobs = self.flows.started.sum((0, 3))
        work = (served >= floor.served_gpuh * (1.0 - FLOOR_SLACK)).all(-1)
        return work & (jobs == np.round(floor.started)).all(-1)


def play(instance: Instance, actions: Floats) -> Run:
    """Run P action sequences [T,P,A] of one instance through the simulator."""
    return _run(instance, actions.shape[1], lambda simulator, t: simulator.step(actions[t]))


def replay(instance: Instance, flows: Flows) -> Run:
    """Run the flows [T,...] of a plan through the simulator, as they are."""
    return _run(instance, 1, lambda simulator, t: simulator.step_flows(flows.map(lambda a: a[t : t + 1])))


def _run(instance: Instance, rows: int, step: Callable) -> Run:  # type: ignore[type-arg]
    simulator = Simulator(stack([instance] * rows))
    terms: list[dict[str, Floats]] = []
    kg, all_flows, states = [], [], []
    broken: dict[str, float] = {}
    size_of = cache(lambda name: unit_size(instance, name))
    for t in range(instance.steps):
        p, state, exo = simulator.params, simulator.state, simulator.exogenous
        flows, outcome = step(simulator, t)
        worst = violations(p, state, exo, flows, next_state(p, state, flows, exo))
        for name, amount in worst.items():
            if np.size(amount):
                broken[name] = max(broken.get(name, 0.0), float(np.max(amount)) / size_of(name))
        terms.append(outcome.terms_usd)
        kg.append(outcome.emissions_marginal_kg if p.bill_marginal else outcome.emissions_average_kg)
        all_flows.append(flows)
        states.append(state)
    return Run(
        {name: np.stack([step_terms[name] for step_terms in terms]) for name in terms[0]},
        np.stack(kg),
        Flows(**{n: np.stack([getattr(f, n) for f in all_flows]) for n in Flows.names()}),
        State(**{n: np.stack([getattr(s, n) for s in states]) for n in State.names()}),
        broken,
        instance.params.dt_h,
    )


def unit_size(instance: Instance, limit: str) -> float:
    """Size of the quantity that a limit speaks of: tolerances are relative to it."""
    p, x = instance.params, instance.exogenous
    if "gpuh" in limit or limit in WORK_LIMITS:
        return max(float(x.arrivals_gpuh.sum(0).max()), float((p.gpus * p.speed).max() * p.dt_h))
    if "gpu" in limit or limit == "jobs fit":
        return float(p.gpus.max())
    if "carbon" in limit:
        return 1000.0
    return max(float(p.gpus.max() * p.busy_kw_per_gpu.max()) / 1000.0, 0.1)


# Policies -------------------------------------------------------------------------------------------------


def blind_actions(rng: np.random.Generator, instance: Instance, size: int) -> Floats:
    """Random, constant and corner actions that know nothing of the instance [T,P,A]."""
    steps = instance.steps
    corners = np.stack([np.full(size, value) for value in (1.0, -1.0, 0.0, 0.5, -0.5)])
    hot = -np.ones((6, size))
    hot[np.arange(6), rng.integers(0, size, 6)] = 1.0
    lone = np.zeros((6, size))
    lone[np.arange(6), rng.integers(0, size, 6)] = rng.choice([-1.0, 1.0], 6)
    constant = np.broadcast_to(np.concatenate([corners, hot, lone]), (steps, 17, size))
    return np.concatenate([constant, random_actions(rng, steps, 12, size)], axis=1)


def near_actions(rng: np.random.Generator, best: Floats, count: int) -> Floats:
    """Copies of a plan's actions [T,A] with noise of many sizes, dense or in a few entries, [T,count,A]."""
    steps, size = best.shape
    amount = 10.0 ** rng.uniform(-4.0, 0.0, (1, count, 1))
    where = rng.random((steps, count, size)) < rng.choice([0.02, 0.1, 1.0], (1, count, 1))
    noise = rng.normal(size=(steps, count, size)) * amount * where
    return np.clip(best[:, None] + noise, -1.0, 1.0)


def climb(rng: np.random.Generator, instance: Instance, start: Floats, rounds: int, width: int) -> float:
    """Best benefit [USD] that hill climbing finds from actions [T,A]."""
    best, best_usd = start, -np.inf
    for _ in range(rounds):
        tries = np.concatenate([best[:, None], near_actions(rng, best, width)], axis=1)
        earned_usd = play(instance, tries).benefit_usd
        winner = int(np.argmax(earned_usd))
        if earned_usd[winner] > best_usd:
            best, best_usd = tries[:, winner], float(earned_usd[winner])
    return best_usd


def normal_form_faults(instance: Instance, run: Run) -> list[str]:
    """In what the flows of a run are not in normal form; tolerances relative to power and work."""
    x, f = instance.exogenous, run.flows
    mw = 1e-6 * unit_size(instance, "import")
    gpuh = 1e-6 * unit_size(instance, "queue")
    limit = x.import_limit_mw[:, None]
    shed = f.shed_mw > mw
    tests = {
        "charge with discharge": np.minimum(f.charge_mw, f.discharge_mw) > mw,
        "import with export": np.minimum(f.import_mw, f.export_mw) > mw,
        "export with shed": np.minimum(f.export_mw, f.shed_mw) > mw,
        "shed below the import limit": shed & (f.import_mw < limit - mw),
        "shed while charging": shed & (f.charge_mw > mw),
        "shed while serving": shed & (f.served_gpuh.sum((2, 3)) > gpuh),
        "peak rise is not tight": f.peak_rise_mw
        > np.maximum(f.import_mw - run.states.peak_import_mw, 0.0) + mw,
    }
    return [name for name, found in tests.items() if np.any(found)]


def exogenous_at(instance: Instance, t: int) -> Exogenous:
    """Exogenous input of one step, without a batch axis."""
    return instance.exogenous.map(lambda a: a[t])


def margin(plan: Plan, values: Floats, scale: Floats) -> Floats:
    """Distance of scores from the bound over the sum of absolute terms; negative: bound broken."""
    sign = 1.0 if plan.objective == "benefit" else -1.0
    return sign * (plan.bound - values) / np.maximum(scale, 1e-3)
