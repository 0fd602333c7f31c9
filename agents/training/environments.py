"""Training episodes of a run, and the held-out ones."""

from contextlib import suppress
from typing import Any

import torch
from gymnasium.vector import AutoresetMode

from agents.config import ConfigError, PPOConfig
from agents.networks.kinds import design_of
from agents.vec_env.adapter import GridAIVecEnv, RewardWrapper
from gridai_env.envs.batch_env import BatchEnv
from gridai_env.envs.vector_env import GridAIVectorEnv
from gridai_env.episodes.instance import Instance, make_batch
from gridai_env.kernel.build import CannotBuild, compiler
from gridai_env.scenario.compile import Compiled

# Held-out episodes have the seeds from here on; those of training episodes are lower (see `GridAIVecEnv.seed`).
FIRST_HELD_OUT_SEED = 2**31
# Steps of a run from which on it pays to compile them.
WORTH_STEPS = 100_000


def held_out_instances(compiled: Compiled, count: int) -> list[Instance]:
    """Return the first ``count`` held-out episodes of a scenario, the same for every run."""
    return make_batch(compiled, range(FIRST_HELD_OUT_SEED, FIRST_HELD_OUT_SEED + count)).instances


def device_of(config: PPOConfig) -> torch.device:
    """Return the device of a run.

    Raise ConfigError where the GPU of the settings is missing (the library would silently take the CPU).
    """
    there = torch.cuda.is_available()
    if config.device == "cuda" and not there:
        raise ConfigError("device = 'cuda': torch finds no CUDA device here; use 'auto' or 'cpu'")
    return torch.device("cuda" if there and config.device != "cpu" else "cpu")


def has_kernels(config: PPOConfig) -> bool:
    """Return whether the steps of a run are to be compiled functions, which takes seconds; raise ConfigError."""
    possible = config.algorithm == "ppo" or (
        config.algorithm == "device_ppo" and device_of(config).type == "cpu" and not config.on_device.compile
    )
    if config.compile and not possible:
        raise ConfigError(
            f"compile = True: steps of algorithm {config.algorithm!r} are compiled by on_device.compile here; use null "
            "or false"
        )
    return possible and (config.total_steps >= WORTH_STEPS if config.compile is None else config.compile)


def steps_in_words(config: PPOConfig) -> str:
    """Return how the environment steps of a run are computed, for its first lines and its run.json."""
    with suppress(CannotBuild):
        if has_kernels(config) and compiler():
            return "one compiled function"
    if config.algorithm == "ppo":
        return "NumPy"
    return "torch, by its compiler" if config.on_device.compile else "torch"


def make_training_env(
    config: PPOConfig, compiled: Compiled, reward_wrapper: RewardWrapper | None = None
) -> GridAIVecEnv:
    """Return the batched environment of a run, with the rewards that it learns from."""
    design = design_of(config)
    actions = design.actions(config, compiled)
    rewards = config.model_dump(include={"reference_reward", "reward_factor", "drop_charge_usd_per_gpuh"})
    rewards |= {"memory": design.memory(compiled), "reward_wrapper": reward_wrapper}

    return GridAIVecEnv(_batch(config, compiled), actions, **rewards)


def _batch(config: PPOConfig, compiled: Compiled) -> BatchEnv:
    """Return the environments of a run, on its device; raise ConfigError where they cannot run there."""
    shared: dict[str, Any] = {"scenario": compiled.scenario, "flat_observations": True, "group": config.group}
    if config.algorithm == "ppo":
        return GridAIVectorEnv(config.num_envs, compile=has_kernels(config), **shared)
    from gridai_env.envs.torch.vector_env import GridAITorchVectorEnv

    is_pathwise = config.algorithm == "pathwise"
    options = config.on_device.model_dump()
    options["compile"] = "torch" if options["compile"] else has_kernels(config)
    try:
        return GridAITorchVectorEnv(
            config.num_envs,
            device=device_of(config),
            copy=is_pathwise,  # else what is learned from is copied to the rollout buffer
            autoreset_mode=AutoresetMode.DISABLED if is_pathwise else AutoresetMode.SAME_STEP,
            **shared,
            **options,
        )
    except ValueError as error:
        raise ConfigError(f"on_device: {error}") from error
