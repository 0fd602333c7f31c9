"""Groups: neighbours of a batch play the same episode at the same time, each with actions of its own."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

import gridai_env

pytest.importorskip("torch", reason="torch is not installed (extra rl)")

HOST = {"device": "cpu", "dtype": "float64", "episodes": "host"}
DRAWN = {"device": "cpu", "episodes": "device", "stagger": True}
OUTSIDE = ("steps_left", "buy_price", "carbon_average", "arrivals", "forecast_buy_price", "pue")
KINDS = pytest.mark.parametrize("kind", [{}, HOST, DRAWN], ids=["numpy", "host", "device"])


def batch(num_envs: int = 12, group: int = 4, **kwargs: Any) -> Any:
    kwargs = {"horizon_h": 6.0, "vectorization_mode": "vector_entry_point", **kwargs}
    return gym.make_vec("gridai/TwoSites-v2", num_envs=num_envs, group=group, **kwargs).unwrapped


def played(envs: Any, steps: int, seed: int = 0) -> list[tuple[Any, ...]]:
    rng = np.random.default_rng(seed)
    shape = (envs.num_envs, *envs.single_action_space.shape)
    return [envs.step(rng.uniform(-1.0, 1.0, shape).astype(np.float32)) for _ in range(steps)]


def rows(x: Any) -> np.ndarray:
    return np.asarray(x, dtype=np.float64).reshape(len(x), -1)


def equal_in_groups(x: np.ndarray, group: int = 4) -> bool:
    grouped = x.reshape(-1, group, x.shape[-1])
    return bool((grouped == grouped[:, :1]).all())


@KINDS
def test_a_group_sees_one_world_and_others_see_another(kind: dict[str, Any]) -> None:
    envs = batch(**kind)
    begun, _ = envs.reset(seed=5)
    for observation, rewards, *_ in [(begun, None), *played(envs, 14)]:  # two episodes end
        outside = np.concatenate([rows(observation[name]) for name in OUTSIDE], 1)
        assert equal_in_groups(outside)
        assert len(np.unique(outside, axis=0)) == 3
        assert rewards is None or len(np.unique(np.asarray(rewards))) == 12  # actions are their own
    steps = rows(begun["steps_left"])[::4, 0]
    assert len(set(steps.tolist())) == (3 if kind.get("stagger") else 1)


@pytest.mark.parametrize("kind", [{}, HOST], ids=["numpy", "host"])
def test_group_g_plays_the_episodes_of_environment_g_of_single_ones(kind: dict[str, Any]) -> None:
    envs, single = batch(**kind), batch(3, 1, **kind)
    shape = (7, 3, *envs.single_action_space.shape)
    actions = np.random.default_rng(1).uniform(-1.0, 1.0, shape).astype(np.float32)
    for seed in (9, [4, 2, 7]):
        found, wanted = envs.reset(seed=seed), single.reset(seed=seed)
        for action in actions:
            for name, values in wanted[0].items():
                np.testing.assert_allclose(rows(found[0][name])[::4], rows(values), rtol=1e-6, atol=1e-9)
            seeds = [np.asarray(info["instance_seed"]) for info in (found[-1], wanted[-1])]
            np.testing.assert_array_equal(seeds[0], np.repeat(seeds[1], 4))
            found, wanted = envs.step(np.repeat(action, 4, 0)), single.step(action)


@KINDS
def test_a_batch_in_groups_goes_on_from_a_snapshot(kind: dict[str, Any]) -> None:
    envs = batch(flat_observations=True, **kind)
    envs.reset(seed=3)
    played(envs, 8)
    state = pickle.loads(pickle.dumps(envs.get_state()))
    others = [copy.deepcopy(envs), batch(flat_observations=True, **kind), envs]
    ahead = played(envs, 14, seed=1)
    for other in others[1:]:
        other.set_state(state)
    for other in others:
        for found, wanted in zip(played(other, 14, seed=1), ahead, strict=True):
            assert all(np.array_equal(a, b) for a, b in zip(found[:4], wanted[:4], strict=True))
    with pytest.raises(
        ValueError, match=r"^group = 2: the snapshot is of group = 4; make the .* with group=4$"
    ):
        batch(group=2, flat_observations=True, **kind).set_state(state)


@KINDS
def test_groups_begin_as_a_whole(kind: dict[str, Any]) -> None:
    envs = batch(autoreset_mode="Disabled", **{key: kind[key] for key in kind if key != "stagger"})
    envs.reset(seed=0)
    played(envs, 2)
    mask = np.arange(12) // 4 == 1
    observation, _ = envs.reset(options={"reset_mask": mask})
    assert rows(observation["steps_left"])[::4, 0].argmax() == 1
    mask[0] = True
    with pytest.raises(ValueError, match="whole groups, 4 neighbours each"):
        envs.reset(options={"reset_mask": mask})


@pytest.mark.parametrize("kind", [{}, HOST], ids=["numpy", "host"])
def test_instances_and_starts_are_one_for_each_group(kind: dict[str, Any]) -> None:
    instances = [gridai_env.make_instance("two_sites", seed, horizon_h=6.0) for seed in (8, 3, 8)]
    envs = batch(**kind)
    _, infos = envs.reset(options={"instances": instances})
    np.testing.assert_array_equal(np.asarray(infos["instance_seed"]), np.repeat([8, 3, 8], 4))
    with pytest.raises(ValueError, match="2 given, 3 groups of 4 environments to reset"):
        envs.reset(options={"instances": instances[:2]})
    starts = ["2023-01-01", "2023-07-01", "2023-04-01"]
    assert equal_in_groups(rows(batch(start=starts, **kind).reset(seed=1)[0]["buy_price"]))


def test_groups_lie_in_memory_as_other_batches_do() -> None:
    found = []
    for group in (1, 4):
        envs = batch(group=group, **DRAWN)
        envs.reset(seed=0)
        state = envs.simulator.state
        found.append([x.stride() for x in (getattr(state, name) for name in state.names()) if x.numel()])
    assert found[0] == found[1]


def test_a_group_that_does_not_divide() -> None:
    for kind in ({}, HOST):
        with pytest.raises(ValueError, match=r"^group = 5: must divide num_envs = 12"):
            batch(group=5, **kind)
    with pytest.raises(ValueError, match="group = 0: must be an integer >= 1"):
        batch(group=0)
