"""Former address of `agents.vec_env.actions`."""

import warnings

from agents.vec_env.actions import *  # noqa: F403

warnings.warn(
    "agents.active is agents.vec_env.actions now; this address goes in the next release",
    DeprecationWarning,
    stacklevel=2,
)
