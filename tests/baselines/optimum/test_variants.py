"""Variants: restrictions close what they say, are worth what they report, and never beat the whole model."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from baselines.optimum.milp import Plan, solve
from baselines.optimum.relax_and_round import ProgramSolver
from baselines.optimum.variants import (
    LEVERS,
    RELAXATIONS,
    RESTRICTIONS,
    VARIANTS,
    VariantPlan,
    VariantPolicy,
    levers_of,
    plan_variant,
    with_levers,
)
from baselines.program.episode import build
from baselines.rules import single_signal as rules
from gridai_env import make_instance
from gridai_env.episodes.instance import Instance
from gridai_env.rollout.run import run, run_many
from gridai_env.rollout.trajectory import Trajectory
from gridai_env.world.state import Flows
from tests.support.strategies import random_instance

TOLERANCE = 1e-6
WORLDS = range(50_000, 50_024)


world = cache(random_instance)


@cache
def joint(seed: int) -> Plan:
    return solve(world(seed), mip_gap=1e-9, threads=1)


@cache
def planned(seed: int, name: str) -> VariantPlan:
    return plan_variant(world(seed), name, mip_gap=1e-9, threads=1)


def scale_of(by_flows: Trajectory) -> float:
    """Sum of the absolute terms of a plan's flows, and at least 1 USD."""
    return max(sum(float(np.abs(term).sum()) for term in by_flows.outcome.terms_usd.values()), 1.0)


def away_gpuh(instance: Instance, flows: Flows) -> float:
    """Work served at another site than its home."""
    return float((flows.served_gpuh * (1.0 - instance.params.home[:, None, :])).sum())


def waiting_gpuh(instance: Instance, flows: Flows) -> float:
    """Work that is neither served nor dropped in the step in which it arrives."""
    left = instance.exogenous.arrivals_gpuh - flows.served_gpuh.sum(-1) - flows.dropped_gpuh
    return float(np.maximum(left, 0.0).sum())


def own_power(flows: Flows) -> float:
    """All power that does not come from the grid, and all that goes there."""
    names = ("charge_mw", "discharge_mw", "generation_mw", "renewable_mw", "export_mw")
    return float(sum(getattr(flows, name).sum() for name in names))


@pytest.mark.parametrize("name", VARIANTS)
def test_plans_of_random_worlds_earn_what_they_report(name: str) -> None:
    for seed in WORLDS:
        instance, plan = world(seed), planned(seed, name)
        assert plan.instance.hash == instance.hash and plan.variant == name
        assert plan.flows is not None and plan.benefit_usd == plan.objective_value
        by_step, by_flows = run(plan, instance), run(plan, instance, replay="flows")
        scale = scale_of(by_flows)
        assert abs(by_step.benefit_usd - plan.benefit_usd) <= TOLERANCE * scale, seed
        assert abs(by_flows.benefit_usd - plan.benefit_usd) <= 1e-9 * scale, seed
        assert by_flows.emissions_kg == pytest.approx(plan.emissions_kg, rel=1e-9, abs=1e-6)
        assert plan.bound == np.inf and plan.gap == np.inf  # nothing is claimed of the original


def test_the_joint_optimum_is_no_worse_than_any_restriction() -> None:
    """A restriction has the true ledger already, so its own bound holds its plan, and the joint bound both."""
    loses: Counter[str] = Counter()
    for seed in WORLDS:
        best = joint(seed)
        scale = scale_of(run(best, world(seed), replay="flows"))
        for name in RESTRICTIONS:
            plan = planned(seed, name)
            assert plan.within.benefit_usd == pytest.approx(plan.benefit_usd, abs=TOLERANCE * scale), (
                seed,
                name,
            )
            assert plan.benefit_usd <= plan.variant_bound + TOLERANCE * scale, (seed, name)
            assert plan.benefit_usd <= best.objective_value + TOLERANCE * scale, (seed, name)
            assert plan.variant_bound <= best.bound + TOLERANCE * scale, (seed, name)
            loses[name] += plan.benefit_usd < best.objective_value - 1e-3 * scale
    assert all(loses[name] >= 3 for name in RESTRICTIONS), loses  # or nothing is taken away


def test_no_carbon_is_a_relaxation_judged_by_the_true_ledger() -> None:
    loses = 0
    for seed in WORLDS:
        best, plan = joint(seed), planned(seed, "no_carbon")
        scale = scale_of(run(plan, world(seed), replay="flows"))
        assert plan.variant_bound >= best.objective_value - TOLERANCE * scale, seed
        assert plan.benefit_usd <= best.bound + TOLERANCE * scale, seed
        assert plan.within.benefit_usd >= plan.benefit_usd - TOLERANCE * scale, seed
        loses += plan.benefit_usd < best.objective_value - 1e-3 * scale
    assert loses >= 3


@pytest.mark.parametrize("seed", WORLDS)
def test_restrictions_close_what_they_say(seed: int) -> None:
    instance = world(seed)
    flows = {name: planned(seed, name).flows for name in RESTRICTIONS}
    none = flows["no_battery"]
    assert none.charge_mw.sum() == none.discharge_mw.sum() == 0.0
    assert away_gpuh(instance, flows["no_routing"]) == 0.0
    assert waiting_gpuh(instance, flows["no_deferral"]) <= 1e-6 * instance.exogenous.arrivals_gpuh.max()
    assert flows["no_generator"].generation_mw.sum() == flows["no_modes"].saving_mw.sum() == 0.0
    assert own_power(flows["compute_only"]) <= 1e-12  # export closes the balance, up to rounding
    bound = flows["energy_only"]
    assert away_gpuh(instance, bound) == 0.0
    assert waiting_gpuh(instance, bound) <= 1e-6 * instance.exogenous.arrivals_gpuh.max()
    assert (bound.started <= run(rules.LocalOnly(), instance).flows.started).all()


def test_the_whole_model_uses_what_restrictions_close() -> None:
    """Else the test above would hold for anything."""
    used: Counter[str] = Counter()
    for seed in WORLDS:
        instance, flows = world(seed), joint(seed).flows
        used["battery"] += flows.charge_mw.sum() + flows.discharge_mw.sum() > 0.0
        used["routing"] += away_gpuh(instance, flows) > 1e-6
        used["deferral"] += waiting_gpuh(instance, flows) > 1e-6
        used["own power"] += own_power(flows) > 0.0
        used["generator"] += flows.generation_mw.sum() > 0.0
        used["modes"] += flows.saving_mw.sum() > 0.0
        early = run(rules.LocalOnly(), instance).flows.started
        used["jobs"] += bool((flows.started > early).any())
    levers = ("battery", "routing", "deferral", "own power", "generator", "modes", "jobs")
    assert min(used[x] for x in levers) >= 3, used


CLOSED = {
    "no_battery": ("charge_mw", "discharge_mw"),
    "no_generator": ("generation_mw",),
    "no_modes": ("saving_mw",),
    "compute_only": ("charge_mw", "discharge_mw", "generation_mw", "renewable_mw", "export_mw"),
}


@pytest.mark.parametrize("name", CLOSED)
def test_a_restriction_is_the_program_with_its_columns_at_zero(name: str) -> None:
    """Another way to the same optimum: the whole program, its variables held at 0 in the solver."""
    for seed in WORLDS:
        instance = world(seed)
        program = build(instance, "benefit", None)
        for field in CLOSED[name]:
            columns = getattr(program.flows, field)
            program.lp.upper[columns[columns >= 0]] = 0.0
        found = ProgramSolver(program).solve(mip_gap=1e-9)
        plan = planned(seed, name)
        assert -found.objective == pytest.approx(
            plan.benefit_usd, abs=TOLERANCE * scale_of(run(plan, instance, replay="flows"))
        ), seed


def test_a_variant_leaves_its_original_alone() -> None:
    worlds = {"no_deferral": "two_sites", "no_modes": "flexible_campus"}
    for name in VARIANTS:
        instance = make_instance(worlds.get(name, "microgrid_prosumer"), seed=1)
        before = instance.hash
        other = VARIANTS[name](instance)
        assert other.hash != before, name
        assert instance.hash == before and other.compiled is instance.compiled
        assert (other.params.shed_usd_per_mwh == instance.params.shed_usd_per_mwh).all()
    assert set(RESTRICTIONS) | set(RELAXATIONS) == set(VARIANTS)


def test_levers_of_worlds() -> None:
    campus, hub = make_instance("flexible_campus", seed=1), make_instance("energy_geography", seed=1)
    assert levers_of(campus) == tuple(LEVERS)
    assert "routing" in levers_of(hub) and not {"battery", "modes"} & set(levers_of(hub))
    assert with_levers(campus, LEVERS).hash == campus.hash
    assert with_levers(campus, set(LEVERS) - {"modes"}).hash == VARIANTS["no_modes"](campus).hash
    assert levers_of(with_levers(campus, ())) == ()


def test_unknown_names_are_refused_with_the_closest() -> None:
    instance = random_instance(1)
    with pytest.raises(ValueError, match="'no_batery' is unknown: did you mean 'no_battery'"):
        plan_variant(instance, "no_batery")
    with pytest.raises(ValueError, match="'no_batery' is unknown"):
        VariantPolicy("no_batery")


# As a policy --------------------------------------------------------------------------------------------------------


def test_as_a_policy_it_plays_its_plan() -> None:
    instances = [make_instance("two_sites", seed=seed, horizon_h=8.0) for seed in (1, 2)]
    policy = VariantPolicy("no_battery", threads=1)
    assert policy.name == "variant:no_battery"
    together = run_many(policy, instances)
    for instance, played in zip(instances, together, strict=True):
        plan = plan_variant(instance, "no_battery", threads=1)
        alone = run(policy, instance)
        assert played.policy == alone.policy == "variant:no_battery"
        assert alone.benefit_usd == pytest.approx(plan.benefit_usd, rel=1e-6)
        assert played.benefit_usd == pytest.approx(plan.benefit_usd, rel=1e-6)


def test_a_policy_without_an_episode_or_after_its_end_says_so() -> None:
    policy = VariantPolicy("no_routing", threads=1)
    with pytest.raises(RuntimeError, match="variant:no_routing knows no episode yet"):
        policy.predict({})
    instance = random_instance(3)
    policy.begin(instance)
    memory = None
    for _ in range(instance.steps):
        _, memory = policy.predict({}, state=memory)
    with pytest.raises(RuntimeError, match="all are played"):
        policy.predict({}, state=memory)
    action, memory = policy.predict({}, state=memory, episode_start=np.ones(1, dtype=np.bool_))
    np.testing.assert_array_equal(action, policy.plan.actions[0])
    assert memory == 1


def test_a_time_limit_without_a_plan_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    instance = random_instance(3)
    empty = replace(joint(3), flows=None, actions=None, benefit_usd=None, objective_value=None)
    monkeypatch.setattr(
        "baselines.optimum.variants.solve", lambda *_, **__: replace(empty, status="time_limit")
    )
    plan = plan_variant(instance, "no_battery")
    assert (plan.flows, plan.actions, plan.benefit_usd) == (None, None, None)
    assert plan.status == "time_limit" and plan.bound == np.inf
    with pytest.raises(ValueError, match="no plan was found within the time limit"):
        VariantPolicy("no_battery").begin(instance)
