"""Stages before the algorithm: fitting the numbers of a rule to the scenario, imitation of plans.

Each stage changes the weights of the untrained model.  They run before the first checkpoint is written: a run that is
resumed before it repeats them, but for the finished rounds of an imitation.
"""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from stable_baselines3.common.base_class import BaseAlgorithm

from agents.config import PPOConfig
from agents.imitation.cloning import CloneReport
from agents.training.imitation import Labeller, imitate
from agents.training.rule_tuning import Found, calibrate

# What a stage reports has ``steps`` learned from.
Stage = Callable[[BaseAlgorithm, PPOConfig, Path], Found | CloneReport]


def stages(config: PPOConfig, label: Labeller | None = None) -> Iterator[tuple[str, Stage, int]]:
    """Yield name, function and epochs of the stages that the settings ask for, in their order.

    ``label``: how a teacher labels (see `agents.training.imitation`).
    """
    if config.calibration.rounds:
        yield "calibration", calibrate, config.calibration.rounds
    if config.imitation.is_on:
        yield "imitation", partial(imitate, label=label), config.imitation.epochs
