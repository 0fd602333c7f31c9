"""How a step, and what an environment holds, grow with sites."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import torch

from gridai_env.envs.torch.vector_env import GridAITorchVectorEnv
from gridai_env.scenario.spec import Scenario
from scripts.studies.speed.measure import Figure, spread_of

BATCH, STEPS = 64, 4  # environments side by side, steps of a timing


class Batch:
    """Environments of a scenario, compiled, in float32, in the middle of an episode."""

    def __init__(self, scenario: Scenario) -> None:
        self.envs: Any = GridAITorchVectorEnv(BATCH, scenario, compile=True, flat_observations=True)
        self.observation, _ = self.envs.reset(seed=0)
        size, generator = self.envs.simulator.layout.size, torch.Generator().manual_seed(0)
        draw = partial(torch.rand, (BATCH, size), generator=generator)
        self.actions = [draw() * 2.0 - 1.0 for _ in range(STEPS)]
        self.step_us()  # the first one is not the speed

    def step_us(self) -> float:
        """Return CPU microseconds of a step of one environment, observation included."""
        begin, total_usd = time.process_time(), 0.0
        for action in self.actions:
            self.observation, reward, *_ = self.envs.step(action)
            total_usd += float(reward.sum())
        assert total_usd != 0.0, "the environments did nothing"
        return 1e6 * (time.process_time() - begin) / (STEPS * BATCH)

    @property
    def held_mb(self) -> dict[str, float]:
        """What an environment holds, in MB, by what it is for."""
        simulator = self.envs.simulator
        state = simulator.inputs()[0]
        held = {
            "episode": [simulator.ring.values],
            "observation": [self.observation],
            "action": self.actions[:1],
            "state": state,
        }
        return {
            name: sum(x.numel() * x.element_size() for x in some) / BATCH / 1e6 for name, some in held.items()
        }

    @property
    def open_routes(self) -> int:
        """How many routes are open."""
        return int(self.envs.simulator.compiled.params.route_open.sum())


def growth_figures(smaller: Scenario, larger: Scenario, repetitions: int) -> Iterator[Figure]:
    """Yield time of a step with few and with many sites, measured in turn, their ratio, and memory with many."""
    few, many = Batch(smaller), Batch(larger)
    names = [f"{len(scenario.sites)} sites" for scenario in (smaller, larger)]
    repetitions = min(repetitions, few.envs.simulator.steps // STEPS - 2)  # within an episode
    times = [(few.step_us(), many.step_us()) for _ in range(repetitions)]
    for batch, name, some in zip((few, many), names, zip(*times, strict=True), strict=True):
        note = f"{BATCH} environments, float32, {batch.open_routes:,} routes are open; {spread_of(some)}"
        yield Figure(f"{name}, a step", statistics.median(some), "CPU us", note)

    ratios = [later / first for first, later in times]
    note = f"{spread_of(ratios)}; of open routes {many.open_routes / few.open_routes:.1f}"
    yield Figure(f"{names[1]}, a step over that of {names[0]}", statistics.median(ratios), "1", note)
    held = many.held_mb
    note = ", ".join(f"{part} {mb:.2f}" for part, mb in held.items())
    yield Figure(f"{names[1]}, memory of an environment", sum(held.values()), "MB", note)
