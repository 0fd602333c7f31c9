"""Former address of `agents.vec_env.actions`."""

from __future__ import annotations

import warnings

from agents.vec_env.actions import ActiveActions
from gridai_env.envs.action_space import active_mask

__all__ = ["ActiveActions", "active_mask"]

warnings.warn(
    "agents.active is agents.vec_env.actions now; this address goes in the next release",
    DeprecationWarning,
    stacklevel=2,
)
