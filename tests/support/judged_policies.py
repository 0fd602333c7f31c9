"""Policies as users write them, for the commands that take ``py:module:Factory``."""

from typing import Any

import numpy as np


class Home:
    """All zeros, whatever is observed."""

    def __init__(self, env: Any) -> None:
        self.size = env.action_space.shape[0]

    def predict(
        self, observation: Any, state: Any = None, episode_start: Any = None, deterministic: bool = True
    ) -> Any:
        assert all(part.ndim == 1 and part.dtype == np.float32 for part in observation.values())
        return np.zeros(self.size, dtype=np.float32), state


class Silent(Home):
    """Returns no memory."""

    def predict(
        self, observation: Any, state: Any = None, episode_start: Any = None, deterministic: bool = True
    ) -> Any:
        return np.zeros(self.size)


class Broken(Home):
    """Fails in its third step."""

    def predict(
        self, observation: Any, state: Any = None, episode_start: Any = None, deterministic: bool = True
    ) -> Any:
        if state == 2:
            raise KeyError("price\nof tomorrow")
        return np.zeros(self.size), (state or 0) + 1


class Empty:
    """No policy."""


def unfinished() -> Any:
    """Cannot be made."""
    raise RuntimeError("no weights")


def without_environment() -> Home:
    """Made without the environment."""
    made = Home.__new__(Home)
    made.size = 30
    return made


ready = without_environment()
