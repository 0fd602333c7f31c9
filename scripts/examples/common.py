"""What the examples share: options, the batch on a device, an honest end, a word where a library is missing."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Annotated, Any

import gymnasium as gym
import numpy as np
from pydantic import Field

import gridai_env
from gridai_env.arrays.types import Floats32
from gridai_env.benchmarks.sets import BenchmarkError
from scripts.runs.arguments import Count
from scripts.runs.command import BAD_INPUT, CommandOptions, InputError

PIP = "pip install -c constraints.txt -e '.[examples]'"


class ExampleOptions(CommandOptions):
    """Options of every example."""

    scenario: str = Field("two_sites", description="name or YAML file")
    steps: Count = Field(480, description="environment steps, all environments together")
    seed: Annotated[int, Field(ge=0)] = Field(0, description="of episodes and learning")


class BatchOptions(ExampleOptions):
    """Options of the examples that learn on a batch of tensors."""

    steps: Count = Field(300_000, description="environment steps, all environments together")
    num_envs: Count = Field(128, description="environments in the batch")
    device: str = Field("cpu", description="of torch: cpu, cuda, cuda:1, ...")


@contextmanager
def needed(pip: str = PIP) -> Iterator[None]:
    """Exit with code 2 where an import inside fails, and say which command brings the library."""
    try:
        yield
    except ModuleNotFoundError as error:
        print(f"error: this example needs {error.name}: {pip}", file=sys.stderr)
        raise SystemExit(BAD_INPUT) from error


def make_batch(options: BatchOptions, **more: Any) -> gym.vector.VectorEnv:
    """Return the batch of environments that steps tensors; raises InputError for what it refuses (a device)."""
    try:
        return gym.make_vec(
            "gridai/Custom-v2",  # or one of the named scenarios, e.g. "gridai/FourMarkets-v2"
            num_envs=options.num_envs,
            vectorization_mode="vector_entry_point",
            scenario=options.scenario,
            device=options.device,
            flat_observations=True,
            **more,
        )
    except ValueError as error:
        raise InputError(str(error)) from error


def iterations(steps: int, each: int) -> int:
    """Return how often ``each`` steps fit into the budget; raises InputError where they do not fit once."""
    if steps < each:
        raise InputError(f"--steps {steps}: must be at least {each}, what all environments play in one go")
    return steps // each


def print_gain(mean: Callable[[Any], Any], options: ExampleOptions, device: str = "cpu") -> None:
    """Print how much was trained and what gain that captures on the frozen validation episodes.

    ``mean``: gives actions [1,A] without noise for flat observations [1,N], both tensors on ``device``.
    """
    import torch

    def predict(observation: Floats32, state: Any = None, **_: Any) -> tuple[Floats32, Any]:
        with torch.no_grad():
            action = mean(torch.as_tensor(observation[None], device=device))[0]
        return np.clip(action.cpu().numpy(), -1.0, 1.0), state  # as in the training

    seconds = f"{time.process_time():,.0f} s of this process's CPU time"
    print(f"a short training: {options.steps:,} steps, seed {options.seed}, {seconds}")
    try:
        policy = gridai_env.FlatObservations(SimpleNamespace(predict=predict))
        found = gridai_env.evaluate(policy, options.scenario, "validation")
    except BenchmarkError as error:
        print(f"gain captured: unknown, {error}")
        return
    where = f"{found.episodes} episodes of {found.scenario}/validation"
    print(f"gain captured: {found.cells()[1]} on {where} (0 %: Local-Only, 100 %: proven bound)")
