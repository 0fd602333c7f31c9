"""Episodes made ahead are those that would be made one by one."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest

from gridai_env import GridAIEnv, make_instance
from gridai_env.envs.episode_source import DRAWN_SEEDS, EpisodeSource

HORIZON_H = 6.0


def env_of(**options: Any) -> GridAIEnv:
    """A small environment."""
    return GridAIEnv("microgrid_prosumer", horizon_h=HORIZON_H, **options)


def played(env: GridAIEnv, resets: int) -> list[tuple[int, str, float]]:
    """Seed, hash and first reward of the next episodes."""
    idle, out = np.zeros(env.action_space.shape or (), dtype=np.float32), []
    for _ in range(resets):
        _, info = env.reset()
        out.append((info["instance_seed"], env.instance.hash, env.step(idle)[1]))
    return out


def test_episodes_are_those_of_their_seeds() -> None:
    env = env_of()
    env.reset(seed=4)
    seeds = np.random.default_rng(copy.deepcopy(env.np_random.bit_generator)).integers(DRAWN_SEEDS, size=20)
    found = played(env, 20)
    assert [seed for seed, _, _ in found] == seeds.tolist()
    for seed, hash_, reward in found:
        alone = make_instance("microgrid_prosumer", seed, horizon_h=HORIZON_H)
        assert alone.hash == hash_
        single = env_of()
        single.reset(options={"instance": alone})
        assert single.step(np.zeros(env.action_space.shape or (), dtype=np.float32))[1] == reward


def test_other_draws_from_the_generator_come_in_between() -> None:
    env, plain = env_of(), env_of()
    for each in (env, plain):
        each.reset(seed=1)
    ahead = played(env, 5)
    env.reset(seed=1)
    assert played(env, 3) == ahead[:3]
    env.np_random.random()  # what was made ahead is not next any more
    for _ in range(3):
        plain.reset()
    plain.np_random.random()
    assert played(env, 4) == played(plain, 4)


def test_copies_and_snapshots_go_on_with_the_same_episodes() -> None:
    env = env_of()
    env.reset(seed=2)
    played(env, 4)
    state = pickle.loads(pickle.dumps(env.get_state()))
    others = [copy.deepcopy(env), pickle.loads(pickle.dumps(env)), env_of()]
    others[2].set_state(state)
    wanted = played(env, 6)
    assert all(played(other, 6) == wanted for other in others)


def test_an_instance_of_another_scenario_in_between_changes_nothing() -> None:
    env, plain = env_of(), env_of()
    for each in (env, plain):
        each.reset(seed=3)
    other = make_instance("microgrid_prosumer", 5, horizon_h=HORIZON_H, carbon_price_usd_per_t=500.0)
    before = played(env, 3)
    env.reset(options={"instance": other})
    assert before + played(env, 4) == played(plain, 7)


def test_a_few_are_made_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    batch = EpisodeSource.batch

    def counted(self: EpisodeSource, seeds: Any, *rest: Any) -> Any:
        made.append(len(seeds))
        return batch(self, seeds, *rest)

    monkeypatch.setattr(EpisodeSource, "batch", counted)
    env = env_of(start="2023-07-01T00:00")
    env.reset(seed=0)
    for _ in range(23):
        env.reset()
        assert str(env.instance.start_utc) == "2023-07-01T00:00"
    assert made == [1, 1, 2, 4, 8, 8]
