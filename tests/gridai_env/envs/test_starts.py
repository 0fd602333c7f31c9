"""Given starts of episodes: in `make`, in the options of a reset, one or one for each environment."""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest

import gridai_env
from gridai_env.envs.vector_env import GridAIVectorEnv

ID = "gridai/TwoSites-v2"
JULY, AUGUST = "2023-07-01T00:00", "2023-08-01T05:00"


def _batch(**options: Any) -> GridAIVectorEnv:
    envs = gym.make_vec(ID, num_envs=2, vectorization_mode="vector_entry_point", horizon_h=3.0, **options)
    return envs.unwrapped  # type: ignore[return-value]


def _starts(envs: GridAIVectorEnv) -> list[str]:
    return [str(instance.start_utc) for instance in envs.instances]


def test_the_start_is_fixed_and_the_seed_draws_the_rest() -> None:
    env: Any = gym.make(ID, horizon_h=3.0)
    env.reset(seed=5, options={"start": AUGUST})
    made = gridai_env.make_instance("two_sites", seed=5, start=AUGUST, horizon_h=3.0)
    assert env.unwrapped.instance.hash == made.hash
    env.reset(seed=5)
    assert str(env.unwrapped.instance.start_utc) != AUGUST
    always: Any = gym.make(ID, horizon_h=3.0, start=AUGUST)
    for seed in (5, None):
        always.reset(seed=seed)
        assert str(always.unwrapped.instance.start_utc) == AUGUST


def test_a_batch_has_one_or_one_each_also_in_later_episodes() -> None:
    envs = _batch(start=[JULY, "2023-08-01T07:00+02:00"])
    envs.reset(seed=0)
    assert _starts(envs) == [JULY, AUGUST]
    for _ in range(4):
        envs.step(envs.action_space.sample())
    assert _starts(envs) == [JULY, AUGUST]
    envs.reset(options={"start": AUGUST})
    assert _starts(envs) == [AUGUST, AUGUST]
    assert [i.hash for i in envs.instances] != [envs.instances[0].hash] * 2


def test_a_batch_on_torch_plays_the_same_episodes() -> None:
    pytest.importorskip("torch", reason="needs the extra 'rl'")
    ours, theirs = _batch(start=JULY), _batch(start=JULY, device="cpu", dtype="float64")
    mine, other = (envs.reset(seed=3)[0]["buy_price"] for envs in (ours, theirs))
    np.testing.assert_allclose(mine, other.numpy())
    with pytest.raises(ValueError, match="use episodes='host'"):
        _batch(device="cpu").reset(options={"start": JULY})


@pytest.mark.parametrize(
    ("start", "message"),
    [
        ("yesterday", "start = 'yesterday': must be a UTC time"),
        ("2023-07-01T00:30", "must be a multiple of dt_h = 1 h"),
        (17, "start = 17: must be a UTC time"),
        ([JULY], r"start = a list of 1: .* or a list of 2"),
    ],
)
def test_bad_starts_are_said(start: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        _batch(start=start)
    with pytest.raises(ValueError, match=message):
        _batch().reset(options={"start": start})


def test_a_frozen_instance_has_a_start_of_its_own() -> None:
    instance = gridai_env.make_instance("two_sites")
    with pytest.raises(ValueError, match="one frozen episode"):
        gym.make(ID, instance=instance, start=JULY)
    with pytest.raises(ValueError, match="leave one of both out"):
        gym.make(ID).reset(options={"instance": instance, "start": JULY})


@pytest.mark.parametrize(
    ("keyword", "meant", "options"),
    [
        ("scenaro", "scenario", {}),
        ("devise", "device", {}),
        ("stager", "stagger", {}),
        ("dtyp", "dtype", {"device": "cpu"}),
    ],
)
def test_misspelt_keywords_of_make(keyword: str, meant: str, options: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match=f"{keyword}.*did you mean '{meant}'"):
        _batch(**{keyword: 1}, **options)
    if keyword == "scenaro":
        with pytest.raises(TypeError, match=f"{keyword}.*did you mean '{meant}'"):
            gym.make(ID, **{keyword: 1})


def test_misspelt_options_of_reset() -> None:
    with pytest.raises(ValueError, match=r"options\['strat'\]: unknown; did you mean 'start'"):
        gym.make(ID).reset(options={"strat": JULY})
    with pytest.raises(ValueError, match=r"options\['reset_msk'\]: unknown; did you mean 'reset_mask'"):
        _batch().reset(options={"reset_msk": None})
