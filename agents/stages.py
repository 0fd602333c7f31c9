"""What may come before PPO: imitation of plans, gradients through the physics.

Each stage is a function ``(model, config, run_dir) -> None`` that changes the weights of the untrained model.  A
run that is resumed has them behind it: they run before its first checkpoint is written.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from stable_baselines3 import PPO

from agents.config import ConfigError, PPOConfig
from agents.imitation import warm_start

Stage = Callable[[PPO, PPOConfig, Path], None]

# Name of the section of the settings -> whether it is wanted.
WANTED: dict[str, Callable[[PPOConfig], bool]] = {
    "warm_start": lambda config: config.warm_start.data is not None,
    "pathwise": lambda config: config.pathwise.steps > 0,
}

# Name of the section -> what it does, in the order of work.
STAGES: dict[str, Stage] = {"warm_start": warm_start}


def check_stages(config: PPOConfig) -> None:
    """Raise ConfigError where the settings ask for a stage that is not there."""
    missing = [name for name, wanted in WANTED.items() if wanted(config) and name not in STAGES]
    if missing:
        known = ", ".join(STAGES) or "none"
        raise ConfigError(f"{missing[0]}: no such stage before PPO (there are: {known}); leave it out")


def stages(model: PPO, config: PPOConfig, run_dir: Path) -> None:
    """Run the stages that the settings ask for on an untrained model."""
    check_stages(config)
    for name, stage in STAGES.items():
        if WANTED[name](config):
            stage(model, config, run_dir)
