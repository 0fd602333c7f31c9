"""Former address of `agents.vec_env.numpy`."""

import warnings

from agents.vec_env.base import *  # noqa: F403
from agents.vec_env.numpy import *  # noqa: F403

warnings.warn(
    "agents.vecenv is agents.vec_env.numpy now; this address goes in the next release",
    DeprecationWarning,
    stacklevel=2,
)
