"""The version of the package, and that of the environments, which rises only when behaviour changes."""

from __future__ import annotations

import gymnasium as gym

__version__ = "0.2.0"


def environment_version() -> int:
    """Return the version of the environments, the number in ``gridai/Custom-v2``: it rises when behaviour changes."""
    names = [name for name in gym.registry if name.startswith("gridai/Custom-v")]
    return max(int(name.rsplit("-v", 1)[1]) for name in names)
