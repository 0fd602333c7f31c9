"""Former address of `agents.vec_env.actions`."""

import warnings

from agents.vec_env.actions import *  # noqa: F403
from gridai_env.envs.action_space import active_mask as active_mask

warnings.warn(
    "agents.active is agents.vec_env.actions now; this address goes in the next release",
    DeprecationWarning,
    stacklevel=2,
)
