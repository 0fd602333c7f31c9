"""Gymnasium's own wrappers over the batch: which work as they are, which ask for another form."""

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.wrappers import TimeAwareObservation
from gymnasium.wrappers import vector as wrappers

import gridai_env

HORIZON_H, ENVS = 4.0, 3
Wrap = Callable[[Any], Any]

ANY: dict[str, Wrap] = {  # of actions, rewards and infos
    "ClipAction": lambda e: wrappers.ClipAction(e),
    "ClipReward": lambda e: wrappers.ClipReward(e, -1.0, 1.0),
    "DictInfoToList": lambda e: wrappers.DictInfoToList(e),
    "NormalizeReward": lambda e: wrappers.NormalizeReward(e),
    "RecordEpisodeStatistics": lambda e: wrappers.RecordEpisodeStatistics(e),
    "RescaleAction": lambda e: wrappers.RescaleAction(e, np.float32(0.0), np.float32(1.0)),
    "TransformAction": lambda e: wrappers.TransformAction(e, lambda a: a),
    "TransformReward": lambda e: wrappers.TransformReward(e, lambda r: 2.0 * r),
    "VectorizeTransformReward": lambda e: wrappers.VectorizeTransformReward(
        e, gym.wrappers.TransformReward, func=lambda r: 2.0 * r
    ),
}
OBSERVATIONS: dict[str, Wrap] = {
    "FilterObservation": lambda e: wrappers.FilterObservation(e, ["battery", "buy_price"]),
    "FlattenObservation": lambda e: wrappers.FlattenObservation(e),
    "TransformObservation": lambda e: wrappers.TransformObservation(e, lambda x: x),
}
FLAT: dict[str, Wrap] = {
    "DtypeObservation": lambda e: wrappers.DtypeObservation(e, np.float64),
    "NormalizeObservation": lambda e: wrappers.NormalizeObservation(e),
    "RescaleObservation": lambda e: wrappers.RescaleObservation(e, np.float32(-1.0), np.float32(1.0)),
}


def _batch(**options: Any) -> Any:
    return gridai_env.GridAIVectorEnv(ENVS, "two_sites", horizon_h=HORIZON_H, **options)


def _play(envs: Any) -> None:
    """Play over two ends of an episode; every observation is of the space."""
    observation, _ = envs.reset(seed=0)
    assert observation in envs.observation_space
    for _ in range(10):
        observation, rewards, *_ = envs.step(envs.action_space.sample())
        assert observation in envs.observation_space
        assert rewards.shape == (ENVS,)


@pytest.mark.filterwarnings("ignore:.*precision lowered")
@pytest.mark.parametrize("mode", ["SameStep", "NextStep"])
@pytest.mark.parametrize("wrap", ANY.values(), ids=ANY)
def test_actions_rewards_and_infos(wrap: Wrap, mode: str) -> None:
    _play(wrap(_batch(autoreset_mode=mode)))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", [*OBSERVATIONS, *FLAT])
def test_observations_ask_for_resets_in_the_next_step(name: str) -> None:
    wrap, flat = (OBSERVATIONS | FLAT)[name], name in FLAT
    _play(wrap(_batch(autoreset_mode="NextStep", flat_observations=flat)))
    with pytest.raises(ValueError, match="NEXT_STEP"):
        wrap(_batch(flat_observations=flat))


def test_flattened_and_normalised_as_single_environments_are() -> None:
    """What Gymnasium makes of the Dict is the flat observation, also after an end."""
    flat, made = (
        _batch(autoreset_mode="NextStep", flat_observations=True),
        wrappers.FlattenObservation(_batch(autoreset_mode="NextStep")),
    )
    np.testing.assert_array_equal(flat.reset(seed=2)[0], made.reset(seed=2)[0])
    for _ in range(9):
        action = flat.action_space.sample()
        np.testing.assert_array_equal(flat.step(action)[0], made.step(action)[0])


def test_recorded_statistics_are_the_returns() -> None:
    envs = wrappers.RecordEpisodeStatistics(_batch())
    envs.reset(seed=0)
    earned = np.zeros(ENVS)
    for _ in range(4):
        _, rewards, *_, infos = envs.step(envs.action_space.sample())
        earned += rewards
    np.testing.assert_allclose(infos["episode"]["r"], earned)
    assert infos["episode"]["l"].tolist() == [4] * ENVS


def test_time_needs_a_limit() -> None:
    """Episodes terminate, so Gymnasium knows no limit unless it is told; the observation has `steps_left` anyway."""
    with pytest.raises(ValueError, match="max_episode_steps"):
        TimeAwareObservation(gym.make("gridai/TwoSites-v2"))
    env = TimeAwareObservation(gym.make("gridai/TwoSites-v2", max_episode_steps=24), flatten=False)
    env.reset(seed=0)
    observation, *_ = env.step(env.unwrapped.action_space.sample())
    assert observation["time"] == 1
    assert observation["steps_left"] == pytest.approx(23 / 24)
