"""Time of one decision of the structured policy, from a Dict observation to an action, along episodes.

Three ways: machine code (`NetworkPolicy.compile`), the operations called one by one, and the reference MLP.  Between
two decisions the environment makes its step, as in use, so that the processor's caches are cold.
The weights are untrained; the time does not depend on them.
"""

import tempfile
import time
from collections.abc import Iterator
from itertools import chain, count, islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from agents.config import compiled_of, load_config
from agents.networks.checkpoint import Identity, NetworkPolicy
from agents.structured.compiled import RecordingError
from agents.training.environments import make_training_env
from agents.training.train import build
from gridai_env.episodes.instance import make_instance
from gridai_env.scenario.compile import Compiled
from scripts.runs.command import InputError
from scripts.studies.decision_times import decision_times_s
from scripts.studies.speed.measure import Figure

SCENARIO, DECISIONS = "four_markets", 400
STRUCTURED, MLP = "ppo", "ppo_mlp"  # files of settings under configs/agents
CALLED = "operations called one by one"


def decision_figures(compiled: bool) -> Iterator[Figure]:
    """Yield times of a decision on the processor, in ms; ``compiled``: also as machine code (minutes to compile)."""
    name = "decision, 1 environment"
    policy, world = untrained(STRUCTURED, SCENARIO)
    yield _figure(f"{name}, eager", policy, world, f"structured policy, {CALLED}")
    if compiled:
        yield _compiled_figure(name, policy, world)
    else:
        yield Figure(name, None, "ms", "machine code is left out by --eager")
    yield _figure(f"{name}, MLP", *untrained(MLP, SCENARIO), CALLED)


def _compiled_figure(name: str, policy: NetworkPolicy, world: Compiled) -> Figure:
    """Return the figure as machine code; raises InputError where it cannot be made."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "decision.pt2"
        begin = time.perf_counter()
        try:
            policy.compile(path)
        except RecordingError as error:
            raise InputError(f"{error}; --eager leaves it out") from error
        seconds = time.perf_counter() - begin
        note = f"structured policy, machine code, made in {seconds:.0f} s, {path.stat().st_size / 1e6:.1f} MB"
        return _figure(name, policy, world, note)


def _figure(name: str, policy: NetworkPolicy, world: Compiled, note: str) -> Figure:
    # Wall times along episodes, the first ten left out.
    episodes = (make_instance(world.scenario, seed) for seed in count())
    times_s = chain.from_iterable(decision_times_s(policy, instance) for instance in episodes)
    times_ms = [1e3 * time_s for time_s in islice(times_s, 10, DECISIONS + 10)]
    low, high = np.quantile(times_ms, [0.05, 0.95])
    more = (
        f"{world.scenario.name}, cpu, {torch.get_num_threads()} threads; {low:.3g} to {high:.3g} (5 to 95 %)"
    )
    return Figure(name, float(np.median(times_ms)), "ms", f"{note}; {more}")


def untrained(settings: str, scenario: str) -> tuple[NetworkPolicy, Compiled]:
    """Return the policy that training with a shipped configuration begins with, and its scenario."""
    changes: dict[str, Any] = {
        "device": "cpu",
        "num_envs": 2,
        "environment": {"scenario": scenario},
        "algorithm": "ppo",
        "batch_size": 2,
        "torch_threads": torch.get_num_threads(),
    }
    config = load_config(f"configs/agents/{settings}.yaml", changes)
    world = compiled_of(config)
    envs = make_training_env(config, world)
    model = build(config, envs)
    envs.close()
    return NetworkPolicy(model.policy, Identity.of(world), settings), world
