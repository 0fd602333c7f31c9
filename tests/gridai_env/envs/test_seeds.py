"""Equal seeds, equal episodes: across processes, orders, batches, copies; 0 is a seed like any other."""

import hashlib
import os
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from gridai_env.envs.env import GridAIEnv
from gridai_env.envs.vector_env import GridAIVectorEnv
from gridai_env.episodes.instance import make_instance

ROOT = Path(__file__).resolve().parents[3]
SCENARIOS = ("two_sites", "four_markets", "microgrid_prosumer", "energy_geography", "global")


def digest(scenario: str, seed: int, episodes: int = 2) -> str:
    """Hash of all that is seen in some episodes of random actions, horizon 24 h."""
    env = GridAIEnv(scenario, horizon_h=24.0)
    sha = hashlib.sha256()
    rng = np.random.default_rng(0)
    for episode in range(episodes):
        observation, info = env.reset(seed=seed if episode == 0 else None)
        over = False
        while True:
            sha.update(env.layout.flatten(observation).tobytes())
            sha.update(repr(sorted(info.items())).encode())
            if over:
                break
            action = rng.uniform(-1.0, 1.0, env.action_space.shape).astype(np.float32)
            observation, reward, over, _, info = env.step(action)
            sha.update(repr(reward).encode())
    return sha.hexdigest()


def test_fresh_processes_agree() -> None:
    code = (
        "from tests.gridai_env.envs.test_seeds import SCENARIOS, digest; "
        "print(*[digest(name, 0) for name in SCENARIOS])"
    )
    wanted = [digest(name, 0) for name in SCENARIOS]
    for hash_seed in ("1", "77"):
        env = {**os.environ, "PYTHONHASHSEED": hash_seed}
        done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, text=True)
        assert done.stdout.split() == wanted, done.stderr


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_seeds_differ_zero_included(scenario: str) -> None:
    digests = {digest(scenario, seed, 1) for seed in (0, 1, 2, 2**40)}
    assert len(digests) == 4
    assert digest(scenario, 0, 1) in digests


def test_later_episodes_follow_from_the_first_seed_and_differ() -> None:
    def seeds(first: int) -> list[int]:
        env = GridAIEnv("two_sites")
        infos = [env.reset(seed=first)[1]] + [env.reset()[1] for _ in range(4)]
        return [info["instance_seed"] for info in infos]

    assert seeds(0) == seeds(0)
    assert len(set(seeds(0))) == 5
    assert not set(seeds(0)) & set(seeds(1))


def test_without_a_seed_every_environment_is_another() -> None:
    drawn = [GridAIEnv("two_sites").reset()[1]["instance_seed"] for _ in range(3)]
    batch = GridAIVectorEnv(3, "two_sites").reset()[1]["instance_seed"].tolist()
    assert len({*drawn, *batch}) == 6


def test_a_seed_means_the_same_episode_alone_and_in_any_batch() -> None:
    envs = GridAIVectorEnv(5, "global")
    envs.reset(seed=[9, 0, 4, 9, 2])
    hashes = [instance.hash for instance in envs.instances]
    assert hashes == [make_instance("global", seed).hash for seed in (9, 0, 4, 9, 2)]
    assert hashes[0] == hashes[3]
    other = GridAIVectorEnv(2, "global")
    other.reset(seed=[2, 9])
    assert [instance.hash for instance in other.instances] == [hashes[4], hashes[0]]


def test_what_was_played_before_does_not_matter() -> None:
    env, fresh = GridAIEnv("microgrid_prosumer"), GridAIEnv("microgrid_prosumer")
    env.reset(seed=11)
    for _ in range(7):
        env.step(env.action_space.sample())
    ours, theirs = env.reset(seed=3)[0], fresh.reset(seed=3)[0]
    assert all(np.array_equal(ours[key], theirs[key]) for key in theirs)


def test_global_generators_are_not_touched() -> None:
    np.random.seed(5)  # noqa: NPY002  the point of the test
    random.seed(5)
    before = (str(np.random.get_state()), random.getstate())  # noqa: NPY002
    digest("two_sites", 1)
    assert before == (str(np.random.get_state()), random.getstate())  # noqa: NPY002


@pytest.mark.parametrize("seed", [-1, 1.5, "7"])
def test_impossible_seeds_are_refused(seed: object) -> None:
    with pytest.raises(Exception, match=r"[Ss]eed"):
        GridAIEnv("two_sites").reset(seed=seed)  # type: ignore[arg-type]
    with pytest.raises(Exception, match=r"[Ss]eed"):
        GridAIVectorEnv(2, "two_sites").reset(seed=seed)  # type: ignore[arg-type]
