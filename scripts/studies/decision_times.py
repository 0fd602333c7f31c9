"""How long a policy takes to decide, alone and one observation at a time, as in use with one environment."""

import time
from collections.abc import Iterator

import numpy as np

from gridai_env.envs.env import GridAIEnv
from gridai_env.episodes.instance import Instance
from gridai_env.rollout.policy import Policy


def decision_times_s(policy: Policy, instance: Instance) -> Iterator[float]:
    """Yield the wall time of each decision along an episode; between two decisions the environment makes its step."""
    env = GridAIEnv(instance.scenario)
    observation, _ = env.reset(seed=0, options={"instance": instance})
    policy.prepare(instance.compiled)
    policy.begin(instance)

    memory, terminated = None, False
    start = np.ones(1, dtype=np.bool_)
    while not terminated:
        begin = time.perf_counter()
        action, memory = policy.predict(observation, memory, start, deterministic=True)
        yield time.perf_counter() - begin
        observation, _, terminated, _, _ = env.step(action)
        start = np.zeros(1, dtype=np.bool_)
