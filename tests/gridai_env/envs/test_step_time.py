"""A step is not twice as slow as it was: its time in units of small NumPy calls, which every machine has its own of.

A step of one environment is some hundred NumPy calls on small arrays.  Both are timed in turn in CPU seconds, and the
median of the ratios counts, so that other work on the machine matters little.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median

import numpy as np
import pytest

from gridai_env import GridAIEnv

# Time of a step with its observation over that of `small_calls`, as measured; and what is too much.
MEASURED = {"two_sites": 1.0, "four_markets": 1.05, "global": 2.0}
TOO_MUCH = 1.75
ROUNDS, STEPS, CALLS = 12, 12, 100


def small_calls() -> None:
    """A hundred times the like of what a step does."""
    a, b = np.ones((1, 4, 3, 5)), np.full((1, 4, 3, 5), 0.5)
    for _ in range(CALLS):
        c = np.maximum(a * b + a, 0.0)
        np.where(c > 1.0, c, b).sum(-1)


def cpu_s(work: Callable[[], object]) -> float:
    """CPU seconds of a call."""
    begin = time.process_time()
    work()
    return time.process_time() - begin


def ratio(name: str, taken: int = 1) -> float:
    """A step's time over that of the calls; ``taken``: how often the work of each step is done."""
    env = GridAIEnv(name)
    action = np.zeros(env.action_space.shape, dtype=np.float32)  # type: ignore[arg-type]
    env.reset(seed=0)
    state = env.get_state()

    def steps() -> None:
        for _ in range(taken):
            env.set_state(state)
            for _ in range(STEPS):
                env.step(action)

    return median(cpu_s(steps) / STEPS / cpu_s(small_calls) for _ in range(ROUNDS))


@pytest.mark.parametrize("name", MEASURED)
def test_a_step_takes_no_longer_than_it_did(name: str) -> None:
    assert ratio(name) <= TOO_MUCH * MEASURED[name]


@pytest.mark.parametrize("name", MEASURED)
def test_twice_the_work_is_twice_the_ratio(name: str) -> None:
    assert 1.6 < ratio(name, taken=2) / ratio(name) < 2.5
