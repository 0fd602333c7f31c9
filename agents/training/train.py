"""PPO of Stable-Baselines3 on the batched environment: build, train, resume.

The network starts as a rule, e.g. serving everything at home (see `agents.networks.kinds`), so that learning begins
with a sane schedule and not with noise.  On a CPU, equal settings and seeds give equal weights, also where a run
was killed and resumed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.utils import LinearSchedule

from agents.config import ConfigError, PPOConfig, compiled_of
from agents.networks.checkpoint import CheckpointError, Identity, NetworkPolicy, load_model, load_policy
from agents.networks.kinds import design_of
from agents.pathwise.trainer import Cosine, Pathwise
from agents.structured.policy import StructuredPolicy
from agents.torch_ppo.groups import GroupRolloutBuffer
from agents.training import failures
from agents.training.callbacks import CheckpointCallback, EvaluationCallback, ProgressCallback, TotalsCallback
from agents.training.checkpoints import read_training_state, remove_leftovers, save_model, set_training_state
from agents.training.environments import device_of
from agents.training.imitation import Labeller
from agents.training.stages import stages
from agents.training.validation import Evaluation, HeldOut, Milestones
from agents.vec_env.adapter import GridAIVecEnv
from gridai_env.arrays.types import Float, Floats32
from gridai_env.world.state import Shape

# Settings that Stable-Baselines3 calls by the same names.
SAME_NAMES = {"batch_size", "gamma", "gae_lambda", "clip_range", "target_kl"}


def build(config: PPOConfig, env: GridAIVecEnv) -> Any:
    """Return an untrained model that acts as its kind of network begins (see `agents.networks.kinds`)."""
    torch.set_num_threads(config.torch_threads)
    design, algorithm = design_of(config), algorithm_of(config)

    # The layer that standardises is fitted once, before training, to what the first policy would see.
    seen = sample_observations(env, config.initial_deviation, config.seed)
    policy_class, arguments = design.policy(config, env.env.compiled, env.actions, seen)
    model = algorithm(
        policy_class,
        env,
        max_grad_norm=config.max_grad_norm,
        policy_kwargs=arguments,
        seed=config.seed,
        device=device_of(config),
        **(_of_pathwise(config, env) if algorithm is Pathwise else _of_ppo(config)),
    )
    design.begin(model, env.actions, seen)
    if algorithm is Pathwise and model.rest_value is not None:
        model.rest_value.fit(torch.as_tensor(seen, device=model.device))
    if config.start_from is not None:
        _take_weights(model, config.start_from)
    return model


def _take_weights(model: BaseAlgorithm, source: str) -> None:
    """Give the network the weights of a trained one; raise ConfigError where they do not fit."""
    try:
        network, own = load_policy(source, str(model.device)).network, cast(ActorCriticPolicy, model.policy)
        weights = network.state_dict()
        if isinstance(network, StructuredPolicy) and isinstance(own, StructuredPolicy):
            weights = network.weights_for(own)
        own.load_state_dict(with_own_scales(weights, own.state_dict()))
    except (CheckpointError, RuntimeError) as error:
        reason = " ".join(line.strip() for line in str(error).splitlines()[:2])
        raise ConfigError(
            f"start_from = {source!r}: {reason}; needs a model.zip of the same policy and widths (an MLP's weights "
            "belong to one scenario)"
        ) from error


def with_own_scales(
    weights: dict[str, torch.Tensor], own: dict[str, torch.Tensor]
) -> dict[str, torch.Tensor]:
    """Return weights with a network's own scales of the features that had none where they were learned.

    A feature that never changed there has scale 0, and would stay unseen; those of items that were not there have kept
    what `Scaled` begins with (see `agents.networks.learned`).
    """
    found = dict(weights)
    for name in (name for name in own.keys() & weights.keys() if name.endswith(".scale")):
        centre = name.removesuffix("scale") + "centre"
        begins = bool((weights[name] == 1.0).all() and (weights[centre] == 0.0).all())
        for one in (name, centre):
            if own[one].shape == weights[one].shape:
                found[one] = torch.where((weights[name] == 0.0) | begins, own[one], weights[one])
    return found


def _of_ppo(config: PPOConfig) -> dict[str, Any]:
    """Return the arguments that only PPO takes."""
    more = {"compile_loss": config.on_device.compile} if config.algorithm == "device_ppo" else {}
    return more | {
        "learning_rate": LinearSchedule(config.learning_rate, config.learning_rate_end, 1.0),
        "n_steps": config.rollout_steps,
        "n_epochs": config.epochs,
        "ent_coef": config.entropy_coefficient,
        "vf_coef": config.value_coefficient,
        **config.model_dump(include=SAME_NAMES),
        **_buffer(config),
    }


def _buffer(config: PPOConfig) -> dict[str, Any]:
    """Return the arguments of PPO that choose its advantages."""
    if config.advantage == "gae":
        return {}
    own = {"rollout_buffer_class": GroupRolloutBuffer} if config.algorithm == "ppo" else {}
    return own | {"rollout_buffer_kwargs": {"group": config.group}}


def _of_pathwise(config: PPOConfig, env: GridAIVecEnv) -> dict[str, Any]:
    """Return the arguments that only the gradient through the simulator takes."""
    own, shape = config.pathwise, env.env.compiled.shape
    return {
        "learning_rate": Cosine(config.learning_rate, config.learning_rate_end),
        "warm_up": own.warm_up,
        "last_steps": _steps("last_h", own.last_h, shape),
        "window_steps": _steps("window_h", own.window_h, shape),
        "weigh": own.weigh,
    }


def _steps(key: str, hours: float | None, shape: Shape) -> int | None:
    """Return hours of an episode in steps; raise ConfigError where it has fewer."""
    whole_h = shape.steps * shape.dt_h
    if hours is not None and hours > whole_h:
        raise ConfigError(
            f"pathwise.{key} = {hours:g}: must be in (0, {whole_h:g}], the hours of an episode; null is all [h]"
        )
    return None if hours is None else max(round(hours / shape.dt_h), 1)


def algorithm_of(config: PPOConfig) -> Any:
    """Return the algorithm that the settings ask for."""
    if config.algorithm == "ppo":
        return PPO
    if config.algorithm == "pathwise":
        return Pathwise
    from agents.torch_ppo.ppo import DevicePPO

    return DevicePPO


def sample_observations(env: GridAIVecEnv, deviation: float, seed: int) -> Float[Floats32, "n N"]:
    """Return the observations of as many episodes as there are environments, under noisy first actions.

    Groups give those of one environment each, over several episodes: their others would show the same worlds again.
    """
    mean, group = env.actions.start, env.env.group
    rng = np.random.default_rng(seed)
    env.seed(seed)

    shown: Any = env.reset()
    seen = [shown[::group]]
    for _ in range(env.env.compiled.shape.steps * group - 1):
        noise = rng.normal(0.0, deviation, (env.num_envs, len(mean)))
        numbers = np.clip(mean + noise, env.actions.low, env.actions.high).astype(np.float32)
        shown = env.step(numbers)[0]
        seen.append(shown[::group])

    env.seed(seed)
    return np.concatenate(seen)


def resume(config: PPOConfig, env: GridAIVecEnv, checkpoint: Path) -> BaseAlgorithm:
    """Return the model of a checkpoint, ready to go on: on a CPU to the same weights as an uninterrupted run.

    Raise CheckpointError where the checkpoint is damaged or holds no state of training.
    """
    torch.set_num_threads(config.torch_threads)
    state = read_training_state(checkpoint)
    model = load_model(checkpoint, str(device_of(config)), algorithm_of(config), env=env, **_buffer(config))
    set_training_state(model, state)
    return model


def train(
    model: BaseAlgorithm,
    config: PPOConfig,
    run_dir: Path,
    held_out: HeldOut | None = None,
    extra: Sequence[BaseCallback] = (),
    watched: Sequence[Path] = (),
    label: Labeller | None = None,
) -> EvaluationCallback | None:
    """Train to ``config.total_steps``; write checkpoints and ``model.zip`` below ``run_dir``.

    The figures after each stage are written to ``stages.json``.  With ``evaluation.keep: best`` the model ends with the
    weights that earned most on the way.

    ``label``: how the teacher of an imitation labels.  Return the evaluations (None without held-out episodes).
    Ctrl-C and SIGTERM let the running update end, write a checkpoint and raise KeyboardInterrupt.  Raise TrainingError
    where losses or weights are no numbers, the disk is full, or one of the folders ``watched`` is gone; the last good
    checkpoint stays.
    """
    remove_leftovers(run_dir)
    fresh = model._last_obs is None and model.num_timesteps == 0
    milestones = None if held_out is None else Milestones(run_dir, held_out)
    before = _before(model, config, run_dir, milestones, label) if fresh else None
    evaluations = None if held_out is None else _evaluations(config, run_dir, held_out, before)
    progress = ProgressCallback(config.total_steps, evaluations)
    guard = failures.GuardCallback(run_dir, tuple(watched))

    began = time.perf_counter()
    with failures.stop_request() as stop, failures.writers_report_once():
        # Evaluations come before checkpoints, which save the best one so far.
        looking: list[BaseCallback] = [guard] if evaluations is None else [guard, evaluations]
        checkpoints = CheckpointCallback(run_dir, config.checkpoint_every_steps, stop)
        callbacks = [*looking, checkpoints, TotalsCallback(), progress, *extra]
        try:
            _learn(model, config, run_dir, callbacks, fresh)
            if evaluations is not None and milestones is not None:
                found, seconds = evaluations.final(), time.perf_counter() - began
                milestones.note(
                    config.algorithm.removeprefix("device_"),
                    found,
                    model.num_timesteps,
                    1 if algorithm_of(config) is Pathwise else config.epochs,
                    seconds,
                )
            save_model(model, run_dir / "model.zip")
        except OSError as error:
            guard.check_folders()
            raise failures.not_written(model, run_dir, error) from error
        finally:
            progress.close()
    return evaluations


def _evaluations(
    config: PPOConfig, run_dir: Path, held_out: HeldOut, before: Evaluation | None
) -> EvaluationCallback:
    best = run_dir / "best_model.zip" if config.evaluation.keep == "best" else None
    every = config.evaluation.every_steps
    return EvaluationCallback(_as_policy(config), held_out, every, best, before)


def _before(
    model: BaseAlgorithm,
    config: PPOConfig,
    run_dir: Path,
    milestones: Milestones | None,
    label: Labeller | None,
) -> Evaluation | None:
    """Run the stages before the algorithm; return the figures of the weights that they end with."""
    as_policy, found = _as_policy(config), None
    if milestones is not None:
        milestones.begin()
        found = milestones.measure("start", as_policy(model))

    for name, stage, epochs in stages(config, label):
        began = time.perf_counter()
        steps = stage(model, config, run_dir).steps
        if milestones is not None:
            seconds = time.perf_counter() - began
            found = milestones.measure(name, as_policy(model), steps, epochs, seconds)
    return found


def _learn(
    model: BaseAlgorithm, config: PPOConfig, run_dir: Path, callbacks: list[BaseCallback], fresh: bool
) -> None:
    """Learn to ``config.total_steps``; raise TrainingError for weights that are no numbers, wherever they surface."""
    left = max(config.total_steps - model.num_timesteps, 0)
    try:
        model.learn(left, callback=callbacks, reset_num_timesteps=fresh)
    except ValueError as error:  # distributions refuse a mean that is no number
        bad = failures.bad_figures(model)
        if not bad:
            raise
        raise failures.not_numbers(model, run_dir, ", ".join(bad)) from error


def _as_policy(config: PPOConfig) -> Callable[[BaseAlgorithm], NetworkPolicy]:
    """Return a function from a model to the policy that is evaluated."""
    identity = Identity.of(compiled_of(config))

    def policy(model: BaseAlgorithm) -> NetworkPolicy:
        return NetworkPolicy(cast(ActorCriticPolicy, model.policy), identity)

    return policy
