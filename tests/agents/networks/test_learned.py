"""Networks without a rule: smooth everywhere, and a set network that fits scenarios of other sizes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("stable_baselines3", reason="needs the extra 'rl'")

import torch
from gymnasium import spaces

from agents.networks.items import Items
from agents.networks.learned import LearnedPolicy
from agents.structured.action_numbers import OpenActions
from gridai_env.envs.vector_env import GridAIVectorEnv
from gridai_env.observation.forecast_memory import ForecastMemory, ObservationMemory
from gridai_env.observation.layout import ObservationLayout
from gridai_env.scenario.compile import Compiled, compile_scenario
from gridai_env.scenario.load import load_scenario
from gridai_env.world.actions import Layout
from tests.support.small_scenario import small


def policy_of(compiled: Compiled, network: str, seed: int = 0) -> LearnedPolicy:
    memory, actions = ForecastMemory(compiled), OpenActions.of(compiled)
    torch.manual_seed(seed)
    policy = LearnedPolicy(
        memory.space(ObservationLayout(compiled).flat_space()),
        spaces.Box(actions.low, actions.high, (actions.size,), np.float32),
        lambda _: 0.0,
        scenario=compiled.resolved_scenario(),
        hidden=16,
        network=network,
        widths=[16, 16],
    )
    policy.judgement.fit(seen(compiled).numpy())
    return policy


def seen(compiled: Compiled, seed: int = 3, count: int = 6) -> torch.Tensor:
    """First observations with memory of some episodes."""
    env = GridAIVectorEnv(count, scenario=compiled.scenario, flat_observations=True)
    return torch.as_tensor(ObservationMemory(ForecastMemory(compiled)).begin(env.reset(seed=seed)[0]))


@pytest.mark.parametrize("network", ["mlp", "set"])
def test_every_number_follows_the_weights(network: str) -> None:
    """No head is flat at the start: each number has a slope, also those of jobs, generator and renewables."""
    compiled = small()
    policy, observation = policy_of(compiled, network), seen(compiled)
    numbers, summary = policy.mean_numbers(observation)
    low, high = torch.as_tensor(policy.actions.low), torch.as_tensor(policy.actions.high)
    assert bool(((numbers >= low) & (numbers <= high)).all()) and not summary.requires_grad
    for i in range(numbers.shape[1]):
        slopes = torch.autograd.grad(
            numbers[:, i].sum(), policy.judgement.parameters(), retain_graph=True, allow_unused=True
        )
        assert any(slope is not None and bool((slope != 0.0).any()) for slope in slopes), i


def test_the_order_of_sites_does_not_matter() -> None:
    policy = policy_of(small(), "set")
    decision, layout = policy.judgement, Layout(policy.compiled.shape)
    items = Items.of(decision.reader, seen(policy.compiled))
    turned = replace(items, sites=items.sites.flip(1), routes=items.routes.flip(3), jobs=items.jobs.flip(2))
    home = decision.reader.params.home
    one, other = (
        layout.split(decision.decide(*given)[0].detach()) for given in ((items, home), (turned, home.flip(1)))
    )
    sites = layout.shape.sites
    for name in ("battery", "generator", "renewable"):
        torch.testing.assert_close(other[name].flip(-1), one[name])
    for name in ("routing", "jobs"):
        torch.testing.assert_close(other[name][..., :sites].flip(-1), one[name][..., :sites])
        torch.testing.assert_close(other[name][..., sites:], one[name][..., sites:])


@pytest.mark.parametrize("scenario", ["two_sites", "microgrid_prosumer"])
def test_a_set_network_acts_in_scenarios_of_other_sizes(scenario: str) -> None:
    other = compile_scenario(load_scenario(scenario, horizon_h=24.0))
    policy = policy_of(compile_scenario(load_scenario("four_markets", horizon_h=24.0)), "set")
    moved = policy.for_scenario(other)
    weights = [dict(p.named_parameters()) for p in (policy, moved)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    numbers, _ = moved.predict(seen(other).numpy(), deterministic=True)
    assert numbers.shape == (6, OpenActions.of(other).size) and np.isfinite(numbers).all()
