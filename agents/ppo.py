"""PPO of Stable-Baselines3 on the batched environment: build, train, resume.

The network starts as a rule: its first mean action serves everything at home (see `agents.reference`), so
learning begins with a sane schedule and not with noise.  On a CPU, equal settings and seeds give equal
weights.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3 import PPO
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.utils import LinearSchedule

from agents.active import ActiveActions
from agents.callbacks import (
    CheckpointCallback,
    EvaluationCallback,
    ProgressCallback,
    TotalsCallback,
    checkpoint_path,
    save_model,
)
from agents.config import ConfigError, PPOConfig
from agents.evaluation import HeldOut
from agents.network import ActivePolicy, CostFeatures, Standardise
from agents.policies import Identity, NetworkPolicy, load_model
from agents.vecenv import GridAIVecEnv
from gridai_env.compile import Compiled, compile_scenario
from gridai_env.instance import Instance, make_batch
from gridai_env.scenarios import load_scenario
from gridai_env.vector_env import GridAIVectorEnv

# Held-out episodes have the seeds from here on; training episodes are drawn below (see `GridAIVecEnv.seed`).
FIRST_HELD_OUT_SEED = 2**31

ACTIVATIONS: dict[str, type[torch.nn.Module]] = {"tanh": torch.nn.Tanh, "relu": torch.nn.ReLU}


def compiled_of(config: PPOConfig) -> Compiled:
    """Return the scenario of a run, compiled."""
    world = config.environment
    return compile_scenario(load_scenario(world.scenario, **world.overrides()))


def held_out_instances(compiled: Compiled, count: int) -> list[Instance]:
    """Return the first ``count`` held-out episodes of a scenario: the same for every run."""
    return make_batch(compiled, range(FIRST_HELD_OUT_SEED, FIRST_HELD_OUT_SEED + count)).instances


def make_training_env(config: PPOConfig, compiled: Compiled) -> GridAIVecEnv:
    """Return the training episodes of a run."""
    return GridAIVecEnv(
        GridAIVectorEnv(config.num_envs, scenario=compiled.scenario, flat_observations=True),
        ActiveActions.of(compiled, config.may_refuse, config.shared_routing),
        reference_reward=config.reference_reward,
        reward_factor=config.reward_factor,
        drop_charge_usd_per_gpuh=config.drop_charge_usd_per_gpuh,
    )


def build(config: PPOConfig, env: GridAIVecEnv) -> PPO:
    """Return an untrained model whose mean action is near "everything at home"."""
    torch.set_num_threads(config.torch_threads)
    check_device(config)
    seen = sample_observations(env, config.initial_deviation, config.seed)
    model = PPO(
        ActivePolicy,
        env,
        learning_rate=LinearSchedule(config.learning_rate, config.learning_rate_end, 1.0),
        n_steps=config.rollout_steps,
        batch_size=config.batch_size,
        n_epochs=config.epochs,
        gamma=config.gamma,
        gae_lambda=config.gae_lambda,
        clip_range=config.clip_range,
        ent_coef=config.entropy_coefficient,
        vf_coef=config.value_coefficient,
        max_grad_norm=config.max_grad_norm,
        target_kl=config.target_kl,
        policy_kwargs=_network(config, env, seen),
        seed=config.seed,
        device=config.device,
    )
    with torch.no_grad():
        model.policy.action_net.bias.copy_(torch.as_tensor(env.actions.start))  # type: ignore[operator]
    extractor = model.policy.features_extractor
    assert isinstance(extractor, Standardise)
    extractor.fit(seen)
    return model


def check_device(config: PPOConfig) -> None:
    """Raise ConfigError where the wanted GPU is not there (the library would take the CPU without a word)."""
    if config.device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("device = 'cuda': torch finds no CUDA device here; use 'auto' or 'cpu'")


def sample_observations(env: GridAIVecEnv, deviation: float, seed: int) -> NDArray[np.float32]:
    """Return the observations [n,N] of one episode of each environment under noisy first actions."""
    mean = env.actions.start
    rng = np.random.default_rng(seed)
    env.seed(seed)
    seen: list[Any] = [env.reset()]
    for _ in range(env.env.compiled.shape.steps - 1):
        noise = rng.normal(0.0, deviation, (env.num_envs, len(mean)))
        seen.append(env.step(np.clip(mean + noise, -1.0, 1.0).astype(np.float32))[0])
    env.seed(seed)
    return np.concatenate(seen)


def _network(config: PPOConfig, env: GridAIVecEnv, seen: NDArray[np.float32]) -> dict[str, Any]:
    """Arguments of `ActivePolicy`; entries that never change in the observations ``seen`` are left out."""
    return {
        "active": env.actions.as_dict(),
        "net_arch": {"pi": list(config.hidden), "vf": list(config.hidden)},
        "activation_fn": ACTIVATIONS[config.activation],
        "log_std_init": math.log(config.initial_deviation),
        "features_extractor_class": Standardise,
        "features_extractor_kwargs": {
            "kept": np.flatnonzero(np.ptp(seen, axis=0) > 0.0).tolist(),
            "costs": CostFeatures.places(env.env.compiled) if config.cost_features else None,
        },
    }


def resume(config: PPOConfig, env: GridAIVecEnv, checkpoint: Path) -> PPO:
    """Return the model of a checkpoint, ready to go on: weights, optimiser, step count and schedules are
    restored.

    Episodes and exploration noise are drawn afresh, so a resumed run is not bit for bit the uninterrupted
    one. Raises CheckpointError where the checkpoint is damaged.
    """
    torch.set_num_threads(config.torch_threads)
    check_device(config)
    model = load_model(checkpoint, config.device, env=env)
    model.set_random_seed(
        int(np.random.SeedSequence([config.seed, model.num_timesteps]).generate_state(1)[0] >> 1)
    )
    return model


def train(
    model: PPO,
    config: PPOConfig,
    run_dir: Path,
    held_out: HeldOut | None = None,
    extra: Sequence[BaseCallback] = (),
    always_progress: bool = False,
) -> EvaluationCallback | None:
    """Train to ``config.total_steps``; write checkpoints and ``model.zip`` below ``run_dir``.

    Returns the evaluations (None without held-out episodes).  On KeyboardInterrupt a checkpoint is saved
    first.
    """
    callbacks: list[BaseCallback] = [
        TotalsCallback(),
        CheckpointCallback(run_dir, config.checkpoint_every_steps),
    ]
    evaluations = None
    if held_out is not None:
        evaluations = EvaluationCallback(_as_policy(config), held_out, config.evaluation.every_steps)
        callbacks.append(evaluations)
    progress = ProgressCallback(config.total_steps, evaluations, always_progress)
    left = max(config.total_steps - model.num_timesteps, 0)
    try:
        model.learn(
            left, callback=[*callbacks, progress, *extra], reset_num_timesteps=model.num_timesteps == 0
        )
    finally:
        progress.close()
        save_model(model, checkpoint_path(run_dir, model.num_timesteps))
    save_model(model, run_dir / "model.zip")
    return evaluations


def _as_policy(config: PPOConfig) -> Any:
    """Return a function from a model to the policy that is evaluated."""
    identity = Identity.of(compiled_of(config))

    def policy(model: BaseAlgorithm) -> NetworkPolicy:
        assert isinstance(model.policy, ActivePolicy)
        return NetworkPolicy(model.policy, identity)

    return policy
