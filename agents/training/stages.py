"""Stages before PPO: fitting the numbers of a rule to the scenario, imitation of plans.

Each stage changes the weights of the untrained model.  They run before the first checkpoint is written, so a resumed
run does not repeat them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from stable_baselines3.common.base_class import BaseAlgorithm

from agents.config import PPOConfig
from agents.imitation.cloning import CloneReport, warm_start
from agents.training.rule_tuning import Found, calibrate

# What a stage reports has ``steps`` learned from.
Stage = Callable[[BaseAlgorithm, PPOConfig, Path], Found | CloneReport]


def stages(config: PPOConfig) -> Iterator[tuple[str, Stage, int]]:
    """Yield name, function and epochs of the stages that the settings ask for, in their order."""
    if config.calibration.rounds:
        yield "calibration", calibrate, config.calibration.rounds
    if config.warm_start.data is not None:
        yield "imitation", warm_start, config.warm_start.epochs
