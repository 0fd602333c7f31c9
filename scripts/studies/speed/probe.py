"""What `scripts.benchmark --against` times in each of two checkouts: a file of its own, run with either on the path.

It uses nothing but the public interface, so that checkouts of other times can run it; where one has no compiled steps,
plain ones stand in their place.  ``python probe.py NAME`` prints the id of the environment, the package's file, and CPU
seconds of one unit of work, after a first one that is not counted (an optimum is solved once).
"""

import inspect
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np

import gridai_env

COMPILED = ", compiled"


def newest(name: str) -> str:
    """Return the id of the newest version of an environment in this checkout."""
    prefix = f"gridai/{name}-v"
    return prefix + str(max(int(one.removeprefix(prefix)) for one in gym.registry if one.startswith(prefix)))


def ways(compile: bool, kind: Any) -> dict[str, Any]:
    """Return the keywords of compiled steps, where this checkout has them."""
    return {"compile": True} if compile and "compile" in inspect.signature(kind).parameters else {}


def one_environment(name: str, compile: bool = False) -> Callable[[], int]:
    """Return a function that plays four episodes, resets included, and says how many steps that were."""
    env = gym.make(newest(name), **ways(compile, gridai_env.GridAIEnv))
    rng = np.random.default_rng(0)
    actions = rng.uniform(-1.0, 1.0, (64, *env.action_space.shape)).astype(np.float32)  # type: ignore[misc]
    env.reset(seed=0)

    def work() -> int:
        steps, total_usd = 0, 0.0
        for _ in range(4):
            env.reset()
            done = False
            while not done:
                _, reward, done, _, _ = env.step(actions[steps % 64])
                total_usd += float(reward)
                steps += 1
        assert total_usd != 0.0, "the environment did nothing"
        return steps

    return work


def batch(name: str, compile: bool = False) -> Callable[[], int]:
    """Return a function that plays an episode in each of 256 environments side by side."""
    options = ways(compile, gridai_env.GridAIVectorEnv)
    envs: Any = gym.make_vec(newest(name), num_envs=256, vectorization_mode="vector_entry_point", **options)
    rng = np.random.default_rng(0)
    actions = rng.uniform(-1.0, 1.0, (8, *envs.action_space.shape)).astype(np.float32)
    envs.reset(seed=0)
    steps = envs.unwrapped.simulator.steps

    def work() -> int:
        moved = np.zeros(256)
        for i in range(steps):
            moved += envs.step(actions[i % 8])[1]
        assert (moved != 0.0).all(), "some environments did nothing"
        return steps * 256

    return work


def optimum(name: str) -> Callable[[], int]:
    """Return a function that solves one episode to a gap of 1e-4."""
    from baselines.milp import solve

    env: Any = gym.make(newest(name)).unwrapped
    env.reset(seed=0)

    def work() -> int:
        plan = solve(env.instance, mip_gap=1e-4, threads=1)
        assert plan.gap <= 1e-4
        return 1

    return work


PROBES: dict[str, Callable[[], Callable[[], int]]] = {
    **{
        f"{name}, 1 environment{how}": partial(one_environment, name, bool(how))
        for name in ("TwoSites", "FourMarkets", "Global")
        for how in ("", COMPILED)
    },
    **{
        f"{name}, 256 environments{how}": partial(batch, name, bool(how))
        for name in ("FourMarkets", "Global")
        for how in ("", COMPILED)
    },
    "FourMarkets optimum": lambda: optimum("FourMarkets"),
    "Global optimum": lambda: optimum("Global"),
}


def cpu_s(work: Callable[[], int]) -> float:
    """Return the CPU seconds of a unit of some work."""
    begin = time.process_time()
    done = work()
    return (time.process_time() - begin) / done


if __name__ == "__main__":
    work = PROBES[sys.argv[1]]()
    if not sys.argv[1].endswith("optimum"):  # what is compiled or kept at first is not the speed
        work()
    seconds = cpu_s(work)
    print(newest(sys.argv[1].split(",")[0].removesuffix(" optimum")), gridai_env.__file__, seconds)
