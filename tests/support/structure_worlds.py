"""Structured policies in small worlds, for the tests of `agents.structured`."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import torch
from gymnasium import spaces

from agents.structured.action_numbers import OpenActions
from agents.structured.policy import StructuredPolicy
from agents.vec_env.adapter import GridAIVecEnv
from gridai_env.envs.vector_env import GridAIVectorEnv
from gridai_env.episodes.instance import make_batch
from gridai_env.observation.forecast_memory import ForecastMemory, ObservationMemory
from gridai_env.observation.layout import ObservationLayout
from gridai_env.scenario.compile import Compiled, compile_scenario
from gridai_env.scenario.load import load_scenario, parse_scenario
from tests.support.small_scenario import small

Tensor = torch.Tensor


@cache
def world(name: str) -> Compiled:
    """A scenario with a short horizon; "small" has everything in it."""
    return small() if name == "small" else compile_scenario(load_scenario(name, horizon_h=30.0))


def changed(compiled: Compiled, **changes: Any) -> Compiled:
    """The scenario with other values of some keys."""
    data = compiled.scenario.model_dump(mode="json")
    return compile_scenario(parse_scenario(data | changes, "changed"))


def policy_of(compiled: Compiled, seed: int | None = None, hidden: int = 8) -> StructuredPolicy:
    """The policy of a scenario, as it begins; with a seed its networks say something."""
    memory, actions = ForecastMemory(compiled), OpenActions.of(compiled)
    policy = StructuredPolicy(
        memory.space(ObservationLayout(compiled).flat_space()),
        spaces.Box(actions.low, actions.high, (actions.size,), np.float32),
        lambda _: 0.0,
        scenario=compiled.scenario.model_dump(mode="json"),
        hidden=hidden,
    )
    if seed is not None:
        speak(policy, seed)
    return policy


def speak(policy: StructuredPolicy, seed: int) -> None:
    """Give the last layers of the networks, which begin at 0, some weights."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name in ("route", "site", "wait", "job"):
            last = getattr(policy.judgement, name)[-1]
            last.weight.copy_(0.5 * torch.randn(last.weight.shape, generator=generator))
            last.bias.copy_(0.2 * torch.randn(last.bias.shape, generator=generator))


def numbers_of(policy: StructuredPolicy, observations: Tensor) -> Tensor:
    """Mean numbers [B,n] for observations with memory [B,N+M]."""
    with torch.no_grad():
        return policy.mean_numbers(observations)[0]


def adapter(policy: StructuredPolicy, num_envs: int) -> GridAIVecEnv:
    """Training episodes of the scenario of a policy, on NumPy."""
    compiled = policy.compiled
    env = GridAIVectorEnv(num_envs, scenario=compiled.scenario, flat_observations=True)
    return GridAIVecEnv(env, policy.actions, memory=ForecastMemory(compiled))


@cache
def observations(name: str, seed: int = 3, num_envs: int = 3, steps: int = 14) -> Tensor:
    """Observations with memory [steps*B,N+M] along episodes that a policy with some noise plays."""
    policy = policy_of(world(name))
    envs = adapter(policy, num_envs)
    envs.seed(seed)
    rng, now, found = np.random.default_rng(seed), envs.reset(), []
    for _ in range(steps):
        found.append(torch.as_tensor(now))
        numbers = numbers_of(policy, found[-1]).numpy()
        noise = 0.2 * rng.standard_normal(numbers.shape).astype(np.float32)
        now, *_ = envs.step(numbers + noise)
    return torch.cat(found)


def first_observation(compiled: Compiled, seed: int = 0) -> Tensor:
    """The first observation [1,N] of an episode."""
    env = GridAIVectorEnv(1, scenario=compiled.scenario, flat_observations=True)
    return torch.as_tensor(env.reset(seed=seed)[0])


class Scene:
    """An observation that is written by hand, in units, over the first one of an episode."""

    def __init__(self, policy: StructuredPolicy) -> None:
        self.policy, self.memory = policy, policy.memory
        self.layout = self.memory.layout
        self.flat = first_observation(policy.compiled)
        self.ahead = self.memory.curves(self.memory.update(None, self.flat))[0, 1:].clone()  # [F-1,2K+C]
        self.sites = policy.compiled.shape.sites

    def put(self, name: str, value: Any) -> Scene:
        """Set a part of the observation, in units."""
        part = self.layout.by_name[name]
        plain = np.broadcast_to(np.asarray(value, dtype=float), part.shape)
        scaled = (plain - part.offset) / part.scale
        self.flat[0, self.layout.parts[name]] = torch.as_tensor(scaled.ravel(), dtype=torch.float32)
        return self

    def prices(self, now: Any, ahead: Any) -> Scene:
        """Prices of import now [K] and foreseen ([steps,K] or what becomes that), without carbon."""
        for name in ("carbon_average", "carbon_marginal"):
            self.put(name, 0.0)
        self.put("buy_price", now).put("sell_price", 0.0)
        self.ahead[:, : self.sites] = torch.as_tensor(np.asarray(ahead, dtype=np.float32))
        return self

    def observation(self) -> Tensor:
        """Return [1,N+M]."""
        age = torch.full((1,), float(self.memory.steps))
        return torch.cat([self.flat[0], self.ahead.flatten(), age])[None]


def issued_forecasts(compiled: Compiled, seed: int) -> np.ndarray:
    """What is issued along an episode [T,H,F] in the terms of the memory: price with carbon, renewables, arrivals."""
    values, sites = make_batch(compiled, [seed]).forecast.values[0], compiled.shape.sites
    usd_per_kg = compiled.scenario.carbon_price_usd_per_t / 1000.0
    price = values[..., :sites] + usd_per_kg * values[..., sites : 2 * sites]
    return np.concatenate([price, values[..., 2 * sites :]], axis=-1)


def remembered(policy: StructuredPolicy, steps: int, seed: int) -> Tensor:
    """Memories [steps,M] along an episode from its first step on, by the environment's own observations."""
    env = GridAIVectorEnv(1, scenario=policy.compiled.scenario, flat_observations=True)
    remembering = ObservationMemory(policy.memory)
    now, found = remembering.begin(env.reset(seed=seed)[0]), []
    for _ in range(steps):
        found.append(torch.as_tensor(now[:, policy.memory.layout.size :]))
        numbers = numbers_of(policy, torch.as_tensor(now)).numpy()
        now = remembering.go_on(env.step(policy.actions.expand(numbers))[0], None)
    return torch.cat(found)
