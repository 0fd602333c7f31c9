"""Benefit, emissions and service as a reward vector, for multi-objective libraries.

    python -m scripts.examples.multi_objective --scenario two_sites --steps 480 --seed 0

`VectorReward` follows MO-Gymnasium: `step` returns an array in place of a number, `reward_space` is its space. The
wrappers of mo-gymnasium (``pip install mo-gymnasium``) and what is built on them take it as it is. More is better:

    0 benefit    everything in USD but what the other two are billed at
    1 emissions  minus the emissions, kg, at the intensity that the scenario bills
    2 service    minus the work that was dropped, GPU-h, each row in proportion to its penalty

All three are over the scenario's ``reward_scale_usd``, so the scalar product with ``prices`` (1, USD per kg, USD per
GPU-h) is the reward of the environment.

Plays rules and prints their vectors (episode means, in units), which are not dominated, and which one is the best
by the scenario's prices and where carbon is dearer. In two_sites that is `greedy` until carbon costs a lot,
then `carbon_only`.
"""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from baselines.rules.registry import REGISTRY
from gridai_env.arrays.types import Floats
from gridai_env.envs.env import GridAIEnv, Observation
from scripts.examples.common import ExampleOptions, iterations
from scripts.runs.command import InputError, command

OBJECTIVES = ("benefit", "emissions", "service")


class VectorReward(GridAIEnv):
    """The environment with a reward for each of `OBJECTIVES`; arguments as those of `GridAIEnv`.

    Beside `reward_space` it has ``prices``, what the scenario pays for each; ``info["reward"]`` is the scalar.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        params = self.compiled.params
        drop_usd_per_gpuh = float(np.mean(params.drop_usd_per_gpuh))
        self.prices: Floats = np.array([1.0, params.carbon_price_usd_per_kg, drop_usd_per_gpuh])
        self.reward_dim = len(OBJECTIVES)
        self.reward_space = gym.spaces.Box(-np.inf, np.inf, (self.reward_dim,), np.float64)

    def step(  # type: ignore[override] # Gymnasium's reward is a number
        self, action: NDArray[np.float32]
    ) -> tuple[Observation, Floats, bool, bool, dict[str, Any]]:
        """Advance one step; the reward is a vector."""
        observation, reward, terminated, truncated, info = super().step(action)
        return observation, self._vector(info), terminated, truncated, info | {"reward": reward}

    def _vector(self, info: dict[str, Any]) -> Floats:
        """Return the three figures of a step, over the scale of the reward."""
        emitted_kg = info["emissions_kg"]
        dropped_gpuh = -info["terms/drop_penalty_usd"] / self.prices[2]
        billed_usd = info["terms/carbon_price_usd"] + info["terms/drop_penalty_usd"]
        figures = np.array([info["benefit_usd"] - billed_usd, -emitted_kg, -dropped_gpuh])
        return figures / self.compiled.reward_scale_usd + 0.0  # no -0


def play(env: VectorReward, name: str, episodes: int, seed: int) -> Floats:
    """Return the mean vector of an episode under one of the rules, in units (USD, kg, GPU-h)."""
    rule = REGISTRY[name](env.compiled)
    returns = np.zeros(env.reward_dim)
    for episode in range(episodes):
        observation, _ = env.reset(seed=seed + episode)
        over = False
        while not over:
            action, _ = rule.predict(observation)
            observation, reward, over, _, _ = env.step(action)
            returns += reward
    return returns / episodes * env.compiled.reward_scale_usd


def undominated(points: Floats) -> NDArray[np.bool_]:
    """Return which of the points [n,d] no other one dominates (nowhere worse, somewhere better)."""
    no_worse = (points[:, None] >= points[None]).all(-1)
    better = (points[:, None] > points[None]).any(-1)
    beaten: NDArray[np.bool_] = np.any(no_worse & better, axis=0)
    return ~beaten


class RulesOptions(ExampleOptions):
    """Options of this example."""

    rules: list[str] = Field(sorted(REGISTRY), description="that are played")


@command(RulesOptions)
def main(options: RulesOptions) -> int:
    """Play the rules and print their vectors, and the best one at three prices of carbon."""
    if unknown := [name for name in options.rules if name not in REGISTRY]:
        raise InputError(f"--rules {unknown[0]!r}: must be one of {', '.join(sorted(REGISTRY))}")
    env = VectorReward(options.scenario)
    episodes = iterations(options.steps, env.compiled.shape.steps)
    points = np.array([play(env, name, episodes, options.seed) for name in options.rules])

    print(f"{'':<16}{'benefit [USD]':>16}{'-CO2 [kg]':>14}{'-dropped [GPU-h]':>18}")
    for name, point, good in zip(options.rules, points, undominated(points), strict=True):
        print(f"{name:<16}{point[0]:>16,.0f}{point[1]:>14,.0f}{point[2]:>18,.1f}{'  *' if good else ''}")
    print("* not dominated")

    # The scenario's own price of carbon first.
    for usd_per_t in (1000.0 * env.prices[1], 200.0, 2000.0):
        prices = np.array([1.0, usd_per_t / 1000.0, env.prices[2]])
        print(f"best at {usd_per_t:,g} USD per t of CO2: {options.rules[int(np.argmax(points @ prices))]}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
