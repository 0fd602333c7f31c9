"""A training run: its folder, its bounds, how it starts and goes on."""

import json
import sys
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from tqdm import tqdm

from agents.config import PPOConfig, compiled_of, days_of, parse_config
from agents.networks.checkpoint import Identity
from agents.training import environments, train
from agents.training.checkpoints import latest_checkpoint
from agents.training.curves import EVENTS, PROGRESS, curves
from agents.training.imitation import IMITATION, IMITATION_FILE
from agents.training.validation import HeldOut, Milestones
from agents.vec_env.adapter import RewardWrapper
from baselines.rules.single_signal import LocalOnly
from gridai_env.benchmarks.published import validation_of
from gridai_env.episodes.instance import Instance
from gridai_env.files import write_json
from gridai_env.rollout.run import run_many
from gridai_env.scenario.compile import Compiled
from scripts.runs.command import INTERRUPTED, SOLVER, InputError, need_packages
from scripts.runs.folder import default_folder, open_folder, read_run, replace_run, write_run
from scripts.runs.user_code import made_by
from scripts.studies.demonstrations import check_teacher, labeller

KIND = "train"
BOUNDS = "bounds.json"
# What may change when a run goes on; everything else is part of what the checkpoint holds.
CHANGEABLE = (
    "total_steps", "evaluation.", "checkpoint_every_steps",
    "device", "torch_threads", "callbacks", "wandb", "imitation.workers",
)  # fmt: skip
CHECKPOINTS = "checkpoints"


def start(config: PPOConfig, run_dir: str | None, overwrite: bool, evaluates: bool) -> int:
    """Begin a run; everything that can be wrong is found before a file is written."""
    if config.evaluation.bounds and evaluates:
        need_packages(*SOLVER, advice=", or --no-bounds")
    compiled, (callbacks, reward) = compiled_of(config), own_code(config)
    check_teacher(config, compiled)
    model = train.build(config, environments.make_training_env(config, compiled, reward))
    folder = open_folder(run_dir or default_folder(KIND, config.environment.scenario), KIND)
    replace_run(folder, "training run", f"--resume {folder}", OWN, overwrite)
    return _train(config, compiled, model, folder, evaluates, callbacks)


def own_code(config: PPOConfig) -> tuple[list[BaseCallback], RewardWrapper | None]:
    """Return what the user's code adds to a run; raise InputError where it cannot be had or is something else."""
    if config.wandb is not None:
        need_packages("wandb", advice=", or leave out --wandb")

    def made(option: str, name: str, kind: Any, what: str) -> Any:
        try:
            found = made_by(name, option, config)
        except InputError as error:
            raise InputError(f"{error}; must give {what}") from error
        if not isinstance(found, kind):
            raise InputError(f"{option} {name}: must give {what}, not {type(found).__name__}")
        return found

    wanted, wrapper = "a BaseCallback of Stable-Baselines3", config.reward_wrapper
    callbacks = [made("--callbacks", name, BaseCallback, wanted) for name in config.callbacks]
    rewards = "a function (reward, info, observation) -> reward"
    reward = None if wrapper is None else made("--reward-wrapper", wrapper, Callable, rewards)
    return callbacks, reward


# What a run writes and another one must not find; bounds, which belong to the instances, stay.
OWN = (
    "model.zip", "best_model.zip", "stages.json", "calibration.json",
    IMITATION, IMITATION_FILE, PROGRESS, CHECKPOINTS, EVENTS,
)  # fmt: skip


def resume(folder: Path, overrides: dict[str, Any], evaluates: bool) -> int:
    """Go on with a run: its own settings, but a new total, evaluation and so on where given."""
    fixed = sorted(key for key in overrides if not key.startswith(CHANGEABLE))
    if fixed:
        raise InputError(f"--resume: {', '.join(fixed)} cannot change within a run; start a new one")

    record = read_run(folder, KIND)
    config = parse_config(record["config"], str(folder / "run.json"), overrides)
    compiled = compiled_of(config)
    Identity.read(folder / "run.json").check(Identity.of(compiled), str(folder))

    checkpoint = latest_checkpoint(folder)
    if checkpoint is None and (folder / "model.zip").exists():
        raise InputError(
            f"{folder}: no checkpoint in {folder / CHECKPOINTS}, though it was trained; start it anew by its own "
            "command and --overwrite"
        )
    open_folder(folder, KIND)
    callbacks, reward = own_code(config)
    env = environments.make_training_env(config, compiled, reward)

    # Calibration and imitation come before the first checkpoint: a run that ended in them begins with them again.
    model = train.build(config, env) if checkpoint is None else train.resume(config, env, checkpoint)
    print(f"resuming {folder} after {model.num_timesteps:,} of {config.total_steps:,} steps")
    return _train(config, compiled, model, folder, evaluates, callbacks, record.get("wandb"))


def _train(
    config: PPOConfig,
    compiled: Compiled,
    model: BaseAlgorithm,
    folder: Path,
    evaluates: bool,
    callbacks: Sequence[BaseCallback],
    wandb: dict[str, str] | None = None,
) -> int:
    """Write run.json, train and print; ``wandb`` is the run of W&B that an earlier part of the training went to."""
    frozen = _validation(config, compiled) if evaluates else None
    instances: Sequence[Instance] = [] if frozen is None else frozen.instances
    if evaluates and frozen is None:  # on validation days, if there are any
        instances = environments.held_out_instances(
            compiled_of(config, "validation"), config.evaluation.instances
        )
    settings, facts = config.model_dump(mode="json"), _facts(config, compiled, model, wandb)
    write_run(folder, KIND, settings, [config.seed], instances, **facts)
    print(f"days: {facts['days']}\nsteps: {facts['steps']}")

    # Bounds may take minutes to solve: run.json stands before, so that the folder says what is under way.
    held_out = _held_out(config, instances, folder) if evaluates and frozen is None else frozen
    try:
        with curves(model, settings, folder, facts.get("wandb")):
            watched = [folder / EVENTS]
            label = labeller(config, compiled, folder)
            evaluations = train.train(model, config, folder, held_out, callbacks, watched, label)
    except KeyboardInterrupt:
        _say_how_to_go_on(model, folder)
        return INTERRUPTED

    if held_out is not None and evaluations is not None and evaluations.last is not None:
        print(f"{model.num_timesteps:,} steps: {evaluations.last.line()}")
        print(f"over Local-Only by stage: {Milestones(folder, held_out).line()}")
    print(f"agent: {folder / 'model.zip'}\ncurves: {folder / PROGRESS}, tensorboard --logdir {folder}")
    return 0


def _facts(
    config: PPOConfig, compiled: Compiled, model: BaseAlgorithm, wandb: dict[str, str] | None
) -> dict[str, Any]:
    """Return what run.json says besides the settings."""
    facts: dict[str, Any] = {
        "device": str(model.device),
        "agent": Identity.of(compiled).as_dict(),
        "days": days_of(config),
        "steps": environments.steps_in_words(config),
    }
    if config.reward_wrapper is not None:
        facts["rewards"] = {"training": config.reward_wrapper, "evaluation": "the environment's own"}
    if config.wandb is not None:
        known = wandb is not None and wandb["project"] == config.wandb
        facts["wandb"] = wandb if known else {"project": config.wandb, "id": uuid.uuid4().hex[:8]}
    return facts


def _say_how_to_go_on(model: BaseAlgorithm, folder: Path) -> None:
    last = latest_checkpoint(folder) or "none yet, what stages before the algorithm have finished is kept"
    print(f"\nstopped after {model.num_timesteps:,} steps; last checkpoint: {last}", file=sys.stderr)
    print(f"go on with: python -m scripts.train --resume {folder}", file=sys.stderr)


def _validation(config: PPOConfig, compiled: Compiled) -> HeldOut | None:
    """Return the frozen validation episodes with their published bounds, where a run trains on the training days."""
    if config.environment.days == "all":
        return None
    folder = config.environment.benchmark_folder
    frozen = validation_of(compiled.scenario, config.evaluation.instances, folder)
    return None if frozen is None else HeldOut.published(frozen)


def _held_out(config: PPOConfig, instances: Sequence[Instance], folder: Path) -> HeldOut:
    """Play Local-Only on the held-out episodes and solve them, as far as wanted."""
    bounds = bounds_usd(config, instances, folder / BOUNDS) if config.evaluation.bounds else None
    return HeldOut.of(run_many(LocalOnly(), instances), bounds)


def bounds_usd(config: PPOConfig, instances: Sequence[Instance], cache: Path) -> list[float]:
    """Return the proven bound of each instance; those solved before are read from ``cache``."""

    from baselines.optimum.milp import solve

    known = _cached(cache)
    options = config.evaluation
    for instance in tqdm(instances, desc="bounds of held-out episodes", disable=not sys.stderr.isatty()):
        if instance.hash not in known:
            plan = solve(instance, mip_gap=options.bound_mip_gap, time_limit_s=options.bound_time_limit_s)
            known[instance.hash] = plan.bound
            write_json(cache, known, indent=1)
    return [known[instance.hash] for instance in instances]


def _cached(cache: Path) -> dict[str, float]:
    if not cache.is_file():
        return {}
    try:
        return dict(json.loads(cache.read_text(encoding="utf-8")))
    except (json.JSONDecodeError, UnicodeDecodeError, TypeError, ValueError) as error:
        raise InputError(f"{cache}: damaged ({error}); delete it and the bounds are solved again") from error
