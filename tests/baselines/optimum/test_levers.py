"""Every lever of the teaching scenarios works: foresight pays, and no lever may be taken away for nothing."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from baselines.optimum.milp import solve
from baselines.optimum.variants import plan_variant
from baselines.rules import single_signal as rules
from gridai_env import make_instance
from gridai_env.rollout.run import run

LEVERS = {"routing": "no_routing", "battery": "no_battery", "deferral": "no_deferral"}
ALL_LEVERS = LEVERS | {"generator": "no_generator", "modes": "no_modes"}


def check_levers(
    scenario: str, seeds: range, horizon_h: float | None, levers: Mapping[str, str] = LEVERS
) -> dict[str, float]:
    """Share of the gain that each lever carries, over several episodes together."""
    instances = [make_instance(scenario, seed=seed, horizon_h=horizon_h) for seed in seeds]
    local = [run(rules.LocalOnly(), instance) for instance in instances]
    base = sum(t.benefit_usd for t in local)
    gain = sum(solve(instance, threads=1).benefit_usd or 0.0 for instance in instances) - base
    assert gain >= 0.10 * sum(t.bill_usd for t in local), (
        "perfect foresight must be worth a tenth of the bill"
    )
    shares = {}
    for name, restriction in levers.items():
        rest = sum(plan_variant(i, restriction, threads=1).benefit_usd or 0.0 for i in instances) - base
        shares[name] = 1.0 - rest / gain
        assert shares[name] >= 0.05, f"{scenario}: {name} carries only {shares[name]:.3f} of the gain"
    return shares


def test_levers_of_two_sites() -> None:
    check_levers("two_sites", range(200, 212), None)


def test_levers_of_four_markets() -> None:
    check_levers("four_markets", range(200, 203), 48.0)


def test_levers_of_a_flexible_campus() -> None:
    """Whole weeks: calls come in some of their days."""
    check_levers("flexible_campus", range(200, 202), None, ALL_LEVERS)


@pytest.mark.slow
def test_levers_of_a_flexible_campus_over_many_weeks() -> None:
    """Weeks with and without calls, as they come: gain lost over gain, both summed."""
    check_levers("flexible_campus", range(8), None, ALL_LEVERS)


@pytest.mark.slow
def test_levers_of_four_markets_over_whole_weeks() -> None:
    check_levers("four_markets", range(300, 304), None)
