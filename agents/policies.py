"""Former address of `agents.networks.checkpoint`."""

import warnings

from agents.networks.checkpoint import *  # noqa: F403

warnings.warn(
    "agents.policies is agents.networks.checkpoint now; this address goes in the next release",
    DeprecationWarning,
    stacklevel=2,
)
