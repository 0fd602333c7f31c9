"""Compiled steps beside plain ones."""

from __future__ import annotations

from typing import Any

import numpy as np

from gridai_env import GridAIEnv
from gridai_env.envs import step_kernel
from gridai_env.envs.episode_arrays import EpisodeArrays
from gridai_env.envs.observer import Observer
from gridai_env.envs.simulator import Simulator
from gridai_env.episodes.instance import InstanceBatch, make_batch
from gridai_env.observation.layout import ObservationLayout
from gridai_env.scenario.compile import compile_scenario
from gridai_env.scenario.load import load_scenario
from gridai_env.world.state import State

BATCHES = {"one": 1, "few": 3, "many": 10}
TOLERANCE = 1e-12


def has_kernel(simulator: Simulator) -> bool:
    """Whether steps are one function."""
    return isinstance(simulator, step_kernel.CompiledSimulator) and simulator.kernel is not None


def compiled_simulator(batch: InstanceBatch, layout: ObservationLayout) -> tuple[Simulator, Observer]:
    """A simulator of all episodes whose steps are compiled, and its observer."""
    like, count = np.empty(0), len(batch)
    simulator = step_kernel.make_room(layout, count, like, compiles=True)
    if not has_kernel(simulator):
        raise TypeError("not compiled")
    simulator.begin(np.arange(count), simulator.prepare(EpisodeArrays.of(batch)))
    return simulator, Observer(simulator)


def actions_of(layout: ObservationLayout, count: int, steps: int, seed: int = 0) -> np.ndarray:
    """Random actions [T,B,A], a third of whose entries is 0."""
    rng, size = np.random.default_rng(seed), GridAIEnv(layout.compiled.scenario).action_space.shape
    actions = rng.uniform(-1.0, 1.0, (steps, count, *(size or ())))
    return (actions * (rng.random(actions.shape) < 2.0 / 3.0)).astype(np.float32)


def apart(found: Any, wanted: Any) -> float:
    """Largest difference over the largest number."""
    a, b = np.asarray(found, dtype=np.float64), np.asarray(wanted, dtype=np.float64)
    return float(np.abs(a - b).max(initial=0.0) / max(1.0, np.abs(b).max(initial=0.0)))


def apart_by_kind(found: Any, wanted: Any) -> float:
    """The same for figures [keys,B], each kind on its own."""
    return max(apart(one, other) for one, other in zip(found, wanted, strict=True))


def check_equal(batch: InstanceBatch, steps: int) -> None:
    """Insist that compiled steps, side by side with plain ones, leave the same."""
    layout = ObservationLayout(batch.compiled)
    plain = Simulator(batch, layout)
    shown, (ours, seen) = Observer(plain), compiled_simulator(batch, layout)
    assert apart(seen.observe(), shown.observe()) <= 1e-6
    for action in actions_of(layout, len(batch), min(steps, plain.steps)):
        (found, wrong), (wanted, _) = ours.step_figures(action), plain.step_figures(action)
        assert not wrong.any()
        assert apart_by_kind(found, wanted) <= TOLERANCE
        for name in State.names():
            assert apart(getattr(ours.state, name), getattr(plain.state, name)) <= TOLERANCE, name
        assert apart(seen.observe(), shown.observe()) <= 1e-6


def batch_of(name: str, count: int, horizon_h: float = 12.0) -> InstanceBatch:
    """Some episodes of a shipped scenario."""
    return make_batch(compile_scenario(load_scenario(name, horizon_h=horizon_h)), range(count))
