"""Imitation as a stage of training: cloning, then DAgger on the states that the network itself reaches.

A cloned network has seen only the planner's states.  So in each round the network plays, the planner says what it would
have done in the states met, and the network is cloned again from all labels so far (Ross et al., 2011).
"""

import json
import math
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.policies import ActorCriticPolicy

from agents.config import ConfigError, PPOConfig, compiled_of
from agents.imitation.cloning import CloneReport, ImitationError, ValueGoal, clone
from agents.imitation.demonstrations import DemonstrationError, Demonstrations
from agents.networks.kinds import ActingPolicy
from agents.training.checkpoints import save_model
from gridai_env.files import write_json

IMITATION, IMITATION_FILE = "imitation", "imitation.json"

# From the number of a round and the checkpoint that acts (None: the teacher acts) to the folder of demonstrations.
Labeller = Callable[[int, Path | None], Path]


def imitate(
    model: BaseAlgorithm, config: PPOConfig, run_dir: Path, label: Labeller | None = None
) -> CloneReport:
    """Clone demonstrations, and label and clone again in rounds (a stage of `agents.training.stages`).

    Write the weights after each round below ``imitation/``, and ``imitation.json``; rounds that were finished before
    are taken from there.  Raise ConfigError for demonstrations that are missing or of another scenario.
    """
    wanted, policy = config.imitation, model.policy
    if not isinstance(policy, ActingPolicy) or not isinstance(policy, ActorCriticPolicy):
        raise ConfigError(f"imitation: a {type(policy).__name__} does not say what its numbers mean")
    compiled, data, reports = compiled_of(config), None, []
    rounds = wanted.rounds if label is not None else 0
    folders: list[str | Path] = [] if wanted.data is None else [wanted.data]

    for number in range(rounds + 1):
        before, after = (run_dir / IMITATION / f"round_{n}.zip" for n in (number - 1, number))
        if label is not None and (number or not folders):
            folders.append(label(number, before if number else None))
        try:
            data = Demonstrations.load(folders, compiled, str(model.device))
        except DemonstrationError as error:
            raise ConfigError(f"imitation.data = {wanted.data!r}: {error}") from error

        if after.exists():
            model.set_parameters(str(after), device=model.device)
            reports.append(CloneReport(**json.loads(after.with_suffix(".json").read_text("utf-8"))))
            continue
        reports.append(_cloned(policy, config, data, number))
        after.parent.mkdir(exist_ok=True)
        write_json(after.with_suffix(".json"), asdict(reports[-1]))
        save_model(model, after)

    assert data is not None
    if wanted.deviation is not None:
        _set_deviation(policy, wanted.deviation)
    planners = sorted({episode.facts["planner"] for episode in data.episodes})
    record = {"planners": planners, "rounds": [asdict(report) for report in reports]}
    write_json(run_dir / IMITATION_FILE, asdict(reports[-1]) | record)
    return replace(reports[-1], seconds=sum(report.seconds for report in reports))


def _cloned(policy: Any, config: PPOConfig, data: Demonstrations, number: int) -> CloneReport:
    """Clone all demonstrations so far; the value head learns the return that PPO learns from."""
    wanted = config.imitation
    goal = ValueGoal(config.gamma, config.reward_factor, config.drop_charge_usd_per_gpuh)
    has_value = config.reference_reward and config.algorithm != "pathwise"
    try:
        passes = wanted.model_dump(include={"epochs", "batch_size", "learning_rate"})
        value = goal if has_value else None
        return clone(policy, policy.actions, data, seed=config.seed + number, value=value, **passes)
    except ImitationError as error:
        raise ConfigError(f"imitation: {error}") from error


def _set_deviation(policy: ActorCriticPolicy, deviation: float) -> None:
    """Set the standard deviation of the actions; raise ConfigError where the policy has none of its own."""
    if not isinstance(getattr(policy, "log_std", None), torch.nn.Parameter):
        raise ConfigError(
            f"imitation.deviation: a {type(policy).__name__} has no deviation to set; leave it out"
        )
    with torch.no_grad():
        policy.log_std.fill_(math.log(deviation))
