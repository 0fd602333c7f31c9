"""Fit the numbers of a rule to the scenario: a stage before PPO.

A policy that starts from a rule has a few parameters of it (how wide choices are, how long work waits).  Noise on
single actions says little about them, so PPO moves them slowly.  Here they are fitted by coordinate search
(Hooke and Jeeves, 1961) on the same training episodes for all tries (common random numbers).
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from tqdm import tqdm

from agents.config import ConfigError, PPOConfig, compiled_of
from agents.networks.checkpoint import Identity, NetworkPolicy
from agents.structured.policy import StructuredPolicy
from gridai_env.episodes.instance import make_batch
from gridai_env.files import write_json
from gridai_env.rollout.run import run_many

CALIBRATION_FILE = "calibration.json"
FIRST_SEED = 2**30  # of the episodes; below those that are held out, beside those that PPO trains on
RUNS, EPISODES_OF_A_RUN = 2**14, 2**16
HALVED = 0.5

Score = Callable[[], float]


@dataclass(frozen=True)
class Found:
    """Result of a search."""

    numbers: dict[str, float]
    before_usd: float  # earned per episode, drops charged as in training
    after_usd: float
    tries: int
    episodes: int
    steps: int  # environment steps of all tries


def search(
    numbers: Mapping[str, tuple[torch.nn.Parameter, float]],
    score: Score,
    rounds: int,
    on_progress: Callable[[str], None] = lambda _: None,
) -> tuple[float, float, int]:
    """Maximise ``score`` by moving one number after the other; return it before and after, and the number of tries.

    Each number is tried a step up, else a step down, and keeps a value that scored more; steps halve each round.
    """
    best = before = score()
    tries = 1
    for at in range(rounds):
        for name, (number, step) in numbers.items():
            start = number.item()
            for move in (step, -step):
                _set(number, start + move * HALVED**at)
                value, tries = score(), tries + 1
                on_progress(f"{name} {number.item():.3g}")
                if value > best:
                    best = value
                    break

                _set(number, start)
                # Equal scores: the scenario does not use this number, so the other direction is no use either.
                if value == best:
                    break
    return before, best, tries


def _set(number: torch.nn.Parameter, value: float) -> None:
    with torch.no_grad():
        number.fill_(value)


def calibrate(model: BaseAlgorithm, config: PPOConfig, run_dir: Path) -> Found:
    """Fit the numbers of the model's rule on training episodes; write ``calibration.json``.

    Raise ConfigError for a network that has none.
    """
    policy = model.policy
    if not isinstance(policy, StructuredPolicy) or not policy.rule_numbers():
        raise ConfigError(f"calibration: a {type(policy).__name__} has no numbers of a rule; set rounds to 0")

    compiled, wanted = compiled_of(config), config.calibration
    count = max(wanted.steps // compiled.shape.steps, 1)
    first = FIRST_SEED + config.seed % RUNS * EPISODES_OF_A_RUN
    instances = make_batch(compiled, range(first, first + count)).instances
    actor = NetworkPolicy(policy, Identity.of(compiled))

    def score() -> float:
        played = run_many(actor, instances)
        dropped = np.mean([t.metrics["dropped_gpuh"] for t in played])
        return float(np.mean([t.benefit_usd for t in played]) - config.drop_charge_usd_per_gpuh * dropped)

    numbers = policy.rule_numbers()
    most = 1 + 2 * wanted.rounds * len(numbers)
    with tqdm(total=most, desc="calibration", unit="try", dynamic_ncols=True, disable=None) as bar:

        def on_progress(what: str) -> None:
            bar.set_postfix_str(what, refresh=False)
            bar.update()

        before, after, tries = search(numbers, score, wanted.rounds, on_progress)

    values = {name: number.item() for name, (number, _) in numbers.items()}
    found = Found(values, before, after, tries, count, steps=tries * count * compiled.shape.steps)
    write_json(run_dir / CALIBRATION_FILE, asdict(found))
    return found
