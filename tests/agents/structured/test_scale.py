"""Scale does not matter: a scenario larger or smaller gives the same decisions."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("stable_baselines3", reason="needs the extra 'rl'")

import torch

from gridai_env.envs.vector_env import GridAIVectorEnv
from gridai_env.observation.forecast_memory import ObservationMemory
from gridai_env.scenario.compile import Compiled, compile_scenario
from gridai_env.scenario.load import parse_scenario
from tests.support.scaled import scaled_node
from tests.support.structure_worlds import numbers_of, policy_of, world


def rewards(compiled: Compiled) -> np.ndarray:
    """Rewards of an episode that the untrained policy plays, but for its last step."""
    torch.manual_seed(0)  # of the inner layers
    policy = policy_of(compiled, seed=1)
    env = GridAIVectorEnv(1, scenario=compiled.scenario, flat_observations=True)
    memory, found = ObservationMemory(policy.memory), []
    now = memory.begin(env.reset(seed=3)[0])
    for _ in range(compiled.shape.steps - 1):
        numbers = numbers_of(policy, torch.as_tensor(now)).numpy()
        observation, reward, *_ = env.step(policy.actions.expand(numbers))
        now = memory.go_on(observation, None)
        found.append(reward[0])
    return np.array(found)


@pytest.mark.parametrize("name", ["small", "two_sites"])
def test_scale_does_not_matter(name: str) -> None:
    """Amounts are counted in powers of 16: exact for these, nearly the same in between."""
    keys = world(name).scenario.model_dump(mode="json")
    plain = rewards(world(name))
    for factor in (16.0**-3, 1e-3, 1e3, 16.0**3):
        scaled = rewards(compile_scenario(parse_scenario(scaled_node(keys, factor), "scaled")))
        if factor in (1e-3, 1e3):
            assert abs(scaled.sum() - plain.sum()) <= 0.05 * np.abs(plain).sum()
        else:
            np.testing.assert_allclose(scaled, plain, rtol=1e-4, atol=1e-4)
