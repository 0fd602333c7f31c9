"""What a policy is measured against: the bound, not the plan that was found."""

from __future__ import annotations

from dataclasses import replace

import pytest

from baselines.optimum.milp import solve
from baselines.rules.single_signal import LocalOnly
from gridai_env import make_instance
from gridai_env.rollout.run import run
from scripts.studies.contest import BOUND_TOLERANCE, Reference


def test_the_bound_is_not_the_incumbent() -> None:
    instance = make_instance("two_sites", seed=3, horizon_h=4.0)
    plan = solve(instance, threads=1)
    assert plan.objective_value is not None
    open_usd = 25.0
    cut = replace(plan, bound=plan.objective_value + open_usd)
    local = run(LocalOnly(), instance)
    reference = Reference(instance, cut, cut, local, None)
    assert reference.bound_score == cut.bound == plan.objective_value + open_usd

    scale = sum(abs(value) for value in local.terms.values())
    best = run(plan, instance)
    assert reference.bound_margin(best) > 0.5 * open_usd / scale > BOUND_TOLERANCE
    assert reference.bound_margin(best) == pytest.approx(
        (cut.bound - best.benefit_usd) / sum(abs(value) for value in best.terms.values()), rel=0.05
    )


def test_a_lower_bound_on_cost_is_raised_with_its_sign() -> None:
    instance = make_instance("two_sites", seed=3, horizon_h=4.0)
    base = solve(instance, threads=1)
    cost = replace(solve(instance, "cost", floor=base, threads=1), bound=123.0)
    assert Reference(instance, base, cost, run(LocalOnly(), instance), None).bound_score == -123.0
