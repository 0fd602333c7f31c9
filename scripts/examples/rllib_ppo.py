"""RLlib on Ray: PPO with environments in other processes, or on other machines.

    .venv-rllib/bin/python -m scripts.examples.rllib_ppo --scenario two_sites --steps 50000 --num-env-runners 1

Needs a virtual environment of its own: RLlib pins Gymnasium 1.2.2 (see requirements-rllib.txt for the commands).
For the same reason the tests do not run this file. RLlib steps single environments, so it is the slowest of the
examples on one machine; its place is a cluster.

Seen with Python 3.11, ray 2.60.0, gymnasium 1.2.2, numpy 2.4.6 and torch 2.13.0: 49,152 steps in 124 s on two busy
cores. The environment needed no workaround. Ray warns of deprecated calls of its own, and that it uses token
authentication. Where its processes get too little of the machine, an update has no samples and shows "nan".
Prints the mean benefit of an episode after each update, and in the end the gain captured on the frozen validation
episodes.
"""

from __future__ import annotations

from typing import Annotated, Any

import gymnasium as gym
import numpy as np
from pydantic import Field

from gridai_env.world.actions import Layout
from scripts.examples.common import ExampleOptions, iterations, needed, print_gain
from scripts.runs.arguments import Count
from scripts.runs.command import command

with needed("pip install -r scripts/examples/requirements-rllib.txt, in a virtual environment of its own"):
    import ray
    from ray.rllib.algorithms.algorithm import Algorithm
    from ray.rllib.algorithms.ppo import PPOConfig
    from ray.tune.registry import register_env

EPISODES_PER_UPDATE = 64
LENGTH = 3.0  # of RLlib's action where the environment's is 1


def make_env(config: dict[str, Any]) -> gym.Env:
    """Return one environment with a flat observation; Ray calls this in its own processes.

    RLlib's first deviation of an action is 1, of which noise alone refuses a lot of work: here an action is three times
    as long as the environment's. Actions beyond the bounds, which the environment does not take, are clipped.
    """
    import gridai_env  # noqa: F401  registers the environments

    env = gym.wrappers.FlattenObservation(gym.make("gridai/Custom-v2", **config))
    space = gym.spaces.Box(-LENGTH, LENGTH, env.action_space.shape, np.float32)
    return gym.wrappers.TransformAction(env, lambda action: np.clip(action / LENGTH, -1.0, 1.0), space)


def make_algorithm(scenario: str, steps_per_episode: int, runners: int, seed: int) -> Algorithm:
    """Return PPO for a scenario, with environments in ``runners`` processes (0: in this one)."""
    register_env("gridai", make_env)
    steps = EPISODES_PER_UPDATE * steps_per_episode

    # The actions of `make_env` have bounds of their own: RLlib must not normalise them again.
    config = (
        PPOConfig()
        .environment("gridai", env_config={"scenario": scenario}, normalize_actions=False)
        .env_runners(num_env_runners=runners, num_envs_per_env_runner=4)
        .training(
            train_batch_size_per_learner=steps, minibatch_size=steps // 4, num_epochs=4, lr=1e-3, gamma=1.0
        )
        .debugging(seed=seed)
    )
    return config.build_algo()


class RllibOptions(ExampleOptions):
    """Options of this example."""

    steps: Count = Field(50_000, description="environment steps, all environments together")
    num_env_runners: Annotated[int, Field(ge=0)] = Field(1, description="processes that play; 0: this one")


@command(RllibOptions)
def main(options: RllibOptions) -> int:
    """Train, and print the mean benefit of an episode after each update."""
    from gridai_env.envs.env import GridAIEnv

    compiled = GridAIEnv(options.scenario).compiled  # says at once where the scenario is wrong
    updates = iterations(options.steps, EPISODES_PER_UPDATE * compiled.shape.steps)
    ray.init(include_dashboard=False)
    algorithm = make_algorithm(options.scenario, compiled.shape.steps, options.num_env_runners, options.seed)

    for _ in range(updates):
        found = algorithm.train()
        mean_usd = found["env_runners"]["episode_return_mean"] * compiled.reward_scale_usd
        print(f"{found['num_env_steps_sampled_lifetime']:>9,.0f} steps  {mean_usd:>9,.0f} USD per episode")

    module, size = algorithm.get_module(), Layout(compiled.shape).size  # means come first, then deviations
    print_gain(
        lambda seen: module.forward_inference({"obs": seen})["action_dist_inputs"][:, :size] / LENGTH, options
    )
    algorithm.stop()
    ray.shutdown()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
