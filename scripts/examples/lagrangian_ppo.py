"""Safe reinforcement learning: PPO of Stable-Baselines3 under a budget, by a Lagrange multiplier.

    python -m scripts.examples.lagrangian_ppo --scenario flexible_campus --quantity dropped_gpuh --budget 20000

The environment shows the quantity of a scenario's ``constraint`` as ``info["cost"]``, apart from the reward. The agent
learns from ``reward - multiplier * cost``, and after each rollout the multiplier rises where episodes cost more than
the budget and falls where they cost less (Ray, Achiam, Amodei, 2019: PPO-Lagrangian). Prints how it went, the gain
captured on the frozen validation episodes, and the cost of episodes without noise.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import gymnasium as gym
import numpy as np
from gymnasium.wrappers import FlattenObservation
from pydantic import Field

from gridai_env.arrays.types import Floats
from gridai_env.envs.env import GridAIEnv
from gridai_env.scenario.load import load_scenario, parse_scenario
from gridai_env.scenario.spec import Scenario
from gridai_env.scenario.values import NonNegative, Positive
from scripts.examples.common import ExampleOptions, needed, print_gain
from scripts.runs.arguments import Count
from scripts.runs.command import command

JUDGED = range(2_000_000, 2_000_008)  # seeds of the episodes whose cost is printed


class LagrangianOptions(ExampleOptions):
    """Options of this example."""

    scenario: str = Field("flexible_campus", description="name or YAML file")
    steps: Count = Field(100_000, description="environment steps, all environments together")
    quantity: Literal["line_excess_mwh", "carbon_excess_kg", "dropped_gpuh"] = "dropped_gpuh"
    budget: NonNegative = Field(20_000.0, description="of the quantity in an episode, in its unit")
    num_envs: Count = Field(8, description="environments side by side")
    rate: Positive = Field(
        0.1, description="of the multiplier: its change where an episode costs twice the budget"
    )


@dataclass
class Multiplier:
    """The price of the quantity, in rewards for a budget's worth of it; it is at least 0."""

    budget: float
    rate: float
    value: float = 0.0
    costs: list[float] = field(default_factory=list)  # of the episodes that ended since the last update

    @property
    def scale(self) -> float:
        """What cost is measured in: the budget, or a unit where there is none."""
        return self.budget or 1.0

    def update(self) -> None:
        """Rise where episodes cost more than the budget on average, fall where they cost less."""
        if self.costs:
            self.value = max(
                0.0, self.value + self.rate * (float(np.mean(self.costs)) - self.budget) / self.scale
            )
        self.costs.clear()


class Charged(gym.Wrapper[Any, Any, Any, Any]):
    """The environment whose reward is less what the multiplier asks for."""

    def __init__(self, env: gym.Env[Any, Any], multiplier: Multiplier) -> None:
        super().__init__(env)
        self.multiplier = multiplier

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Advance one step."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        if terminated or truncated:
            self.multiplier.costs.append(info["episode/cost"])
        charge = self.multiplier.value * info["cost"] / self.multiplier.scale
        return observation, float(reward) - charge, terminated, truncated, info


def constrained(options: LagrangianOptions) -> Scenario:
    """Return the scenario with the constraint asked for."""
    data = load_scenario(options.scenario).model_dump(mode="json")
    data["constraint"] = {"quantity": options.quantity, "budget": options.budget}
    return parse_scenario(data, options.scenario)


def costs_of(predict: Callable[[Any], Any], scenario: Scenario) -> Floats:
    """Return the cost of some episodes that no training has seen, without noise."""
    env, found = FlattenObservation(GridAIEnv(scenario)), []
    for seed in JUDGED:
        observation, info = env.reset(seed=seed)
        over = False
        while not over:
            observation, _, over, _, info = env.step(predict(observation))
        found.append(info["episode/cost"])
    return np.array(found)


@command(LagrangianOptions)
def main(options: LagrangianOptions) -> int:
    """Train, and say what it came to."""
    with needed():
        from stable_baselines3 import PPO
        from stable_baselines3.common.callbacks import BaseCallback
        from stable_baselines3.common.vec_env import DummyVecEnv

    scenario = constrained(options)
    multiplier = Multiplier(options.budget, options.rate)

    class Update(BaseCallback):
        """Moves the multiplier after each rollout, and says where it stands."""

        def _on_step(self) -> bool:
            return True

        def _on_rollout_end(self) -> None:
            mean = float(np.mean(multiplier.costs)) if multiplier.costs else float("nan")
            multiplier.update()
            self.logger.record("rollout/episode_cost", mean)
            print(
                f"{self.num_timesteps:>9,} steps: an episode costs {mean:,.4g}, multiplier {multiplier.value:.3g}"
            )

    def make() -> gym.Env[Any, Any]:
        return Charged(FlattenObservation(GridAIEnv(scenario)), multiplier)

    envs = DummyVecEnv([make] * options.num_envs)
    length = min(2 * scenario.steps, max(options.steps // options.num_envs, 2))
    agent = PPO(
        "MlpPolicy",
        envs,
        n_steps=length,
        seed=options.seed,
        device="cpu",
        policy_kwargs={"log_std_init": -1.2},
    )
    agent.learn(options.steps, callback=Update())

    def mean(observation: Any) -> Any:
        return agent.policy._predict(observation, deterministic=True)

    print_gain(mean, options)
    costs = costs_of(lambda observation: agent.predict(observation, deterministic=True)[0], scenario)
    within = float((costs <= options.budget).mean())
    print(
        f"{options.quantity}: {costs.mean():,.4g} in the mean of {len(costs)} episodes, {within:.0%} within the budget"
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
