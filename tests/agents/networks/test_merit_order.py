"""The rule of the structured policy as a policy: its numbers; it plays every scenario, alone and in batches."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("stable_baselines3", reason="needs the extra 'rl'")

from agents.networks import merit_order
from agents.networks.merit_order import MeritOrder, fitted_numbers
from agents.structured.policy import StructuredPolicy
from agents.structured.weights import RULE_STEPS
from gridai_env.episodes.instance import make_batch
from gridai_env.rollout.run import run, run_many
from gridai_env.scenario.compile import compile_scenario
from gridai_env.scenario.load import load_scenario
from tests.support.small_scenario import small


def numbers_of(policy: MeritOrder) -> dict[str, float]:
    """The numbers of the rule that a policy acts by."""
    network = policy.network
    assert isinstance(network, StructuredPolicy)
    return {name: number.item() for name, (number, _) in network.rule_numbers().items()}


@pytest.mark.parametrize("name", fitted_numbers())
def test_the_numbers_are_those_of_the_scenario(name: str) -> None:
    compiled = compile_scenario(load_scenario(name, horizon_h=24.0))
    own = fitted_numbers()[name]
    assert own.keys() == RULE_STEPS.keys()
    assert numbers_of(MeritOrder(compiled)) == pytest.approx(own, rel=1e-6)
    assert numbers_of(MeritOrder(compiled, {"patience": 0.4}))["patience"] == pytest.approx(0.4)
    assert numbers_of(MeritOrder(compiled)) != numbers_of(MeritOrder(compiled, {}))


def test_other_scenarios_have_the_numbers_that_it_begins_with() -> None:
    compiled = small()
    assert compiled.name not in fitted_numbers()
    assert numbers_of(MeritOrder(compiled)) == numbers_of(MeritOrder(compiled, {}))


def test_it_plays_every_scenario_alone_and_in_batches() -> None:
    day = make_batch(compile_scenario(load_scenario("two_sites", horizon_h=6.0)), range(3)).instances
    policy = MeritOrder(day[0].compiled)
    assert (policy.name, policy.observed_parts) == (merit_order.NAME, None)
    other = make_batch(small(), range(2)).instances
    run_many(policy, other)  # and back again
    together = [played.benefit_usd for played in run_many(policy, day)]
    np.testing.assert_allclose(together, [run(policy, instance).benefit_usd for instance in day], rtol=1e-6)
    again = run_many(MeritOrder(day[0].compiled), day)  # nothing of it is drawn
    np.testing.assert_allclose(together, [played.benefit_usd for played in again], rtol=1e-9)
