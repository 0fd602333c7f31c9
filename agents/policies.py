"""Former address of `agents.networks.checkpoint`."""

from __future__ import annotations

import warnings

from agents.networks.checkpoint import (
    CheckpointError,
    Identity,
    NetworkPolicy,
    load_model,
    load_policy,
    run_file_of,
    world_hash,
)

__all__ = [
    "CheckpointError",
    "Identity",
    "NetworkPolicy",
    "load_model",
    "load_policy",
    "run_file_of",
    "world_hash",
]

warnings.warn(
    "agents.policies is agents.networks.checkpoint now; this address goes in the next release",
    DeprecationWarning,
    stacklevel=2,
)
