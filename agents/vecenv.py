"""Former address of `agents.vec_env.numpy`."""

from __future__ import annotations

import warnings

from agents.vec_env.base import TOTALS, TRAINING_SEEDS
from agents.vec_env.numpy import GridAIVecEnv

__all__ = ["TOTALS", "TRAINING_SEEDS", "GridAIVecEnv"]

warnings.warn(
    "agents.vecenv is agents.vec_env.numpy now; this address goes in the next release",
    DeprecationWarning,
    stacklevel=2,
)
