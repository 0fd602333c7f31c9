"""The worlds of a run: the scenario that it trains on, its training episodes, and the held-out ones."""

from __future__ import annotations

from typing import Any

import torch

from agents.batch_vecenv import BatchVecEnv
from agents.benchmarks import BenchmarkError, Part, restricted
from agents.config import ConfigError, PPOConfig
from agents.design import AgentActions, design_of
from agents.vecenv import GridAIVecEnv
from gridai_env.compile import Compiled, compile_scenario
from gridai_env.instance import Instance, make_batch
from gridai_env.scenarios import load_scenario
from gridai_env.vector_env import GridAIVectorEnv

# Held-out episodes have the seeds from here on; training episodes are drawn below (see `BatchVecEnv.seed`).
FIRST_HELD_OUT_SEED = 2**31


def compiled_of(config: PPOConfig, part: Part = "train") -> Compiled:
    """Return the scenario of a run, compiled; with ``environment.days: train`` on the days of a part of its benchmark.

    Raises ConfigError where it has no such days.
    """
    world = config.environment
    scenario = load_scenario(world.scenario, **world.overrides())
    if world.days == "train":
        try:
            scenario = restricted(scenario, part)
        except BenchmarkError as error:
            raise ConfigError(f"environment.days = 'train': {error}") from error
    return compile_scenario(scenario)


def held_out_instances(compiled: Compiled, count: int) -> list[Instance]:
    """Return the first ``count`` held-out episodes of a scenario: the same for every run."""
    return make_batch(compiled, range(FIRST_HELD_OUT_SEED, FIRST_HELD_OUT_SEED + count)).instances


def device_of(config: PPOConfig) -> torch.device:
    """Return where a run computes.

    Raises ConfigError where the wanted GPU is not there (the library would take the CPU without a word).
    """
    there = torch.cuda.is_available()
    if config.device == "cuda" and not there:
        raise ConfigError("device = 'cuda': torch finds no CUDA device here; use 'auto' or 'cpu'")
    return torch.device("cuda" if there and config.device != "cpu" else "cpu")


def make_training_env(config: PPOConfig, compiled: Compiled) -> BatchVecEnv:
    """Return the training episodes of a run."""
    design = design_of(config)
    actions = design.actions(config, compiled)
    rewards: dict[str, Any] = {
        "reference_reward": config.reference_reward,
        "reward_factor": config.reward_factor,
        "drop_charge_usd_per_gpuh": config.drop_charge_usd_per_gpuh,
        "memory": design.memory(compiled),
    }
    if config.algorithm == "ppo":
        env = GridAIVectorEnv(config.num_envs, scenario=compiled.scenario, flat_observations=True)
        return GridAIVecEnv(env, actions, **rewards)
    return _on_device(config, compiled, actions, rewards)


def _on_device(
    config: PPOConfig, compiled: Compiled, actions: AgentActions, rewards: dict[str, Any]
) -> BatchVecEnv:
    """The training episodes on the device of the run; raises ConfigError where they cannot be drawn there."""
    from agents.device_vecenv import DeviceVecEnv
    from gridai_env.device.vector_env import GridAITorchVectorEnv

    options = config.on_device
    try:
        env = GridAITorchVectorEnv(
            config.num_envs,
            scenario=compiled.scenario,
            flat_observations=True,
            device=device_of(config),
            dtype=options.dtype,
            episodes=options.episodes,
            stagger=options.stagger,
            compile=options.compile,
            copy=False,  # what is learned from is copied to the rollout buffer
        )
    except ValueError as error:
        raise ConfigError(f"on_device: {error}") from error
    return DeviceVecEnv(env, actions, **rewards)
