"""What may come before PPO: imitation of plans.

Each stage is a function ``(model, config, run_dir) -> None`` that changes the weights of the untrained model.  A
run that is resumed has them behind it: they run before its first checkpoint is written.
"""

from __future__ import annotations

from pathlib import Path

from stable_baselines3 import PPO

from agents.config import PPOConfig
from agents.imitation import warm_start


def stages(model: PPO, config: PPOConfig, run_dir: Path) -> None:
    """Run the stages that the settings ask for on an untrained model."""
    if config.warm_start.data is not None:
        warm_start(model, config, run_dir)
