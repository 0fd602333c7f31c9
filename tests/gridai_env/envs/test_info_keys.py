"""Every ``info`` of an environment has the same keys, so that libraries can lay out their buffers from the first."""

from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from gridai_env.envs.step_figures import INFO_KEYS

ID, HORIZON_H, ENVS = "gridai/TwoSites-v2", 6.0, 3
STEPS = 20  # over three ends of an episode
KEYS = {*INFO_KEYS, "instance_seed"}
BATCHES: dict[str, dict[str, Any]] = {
    "numpy": {},
    "host episodes on torch": {"device": "cpu", "episodes": "host"},
    "device episodes on torch": {"device": "cpu"},
    "staggered": {"device": "cpu", "stagger": True},
}


def _batch(**options: Any) -> Any:
    if "device" in options:
        pytest.importorskip("torch", reason="needs the extra 'rl'")
    return gym.make_vec(
        ID, num_envs=ENVS, vectorization_mode="vector_entry_point", horizon_h=HORIZON_H, **options
    )


def _single_ones() -> SyncVectorEnv:
    return SyncVectorEnv(
        [partial(gym.make, ID, horizon_h=HORIZON_H)] * ENVS, autoreset_mode=AutoresetMode.SAME_STEP
    )


def _is_over(infos: dict[str, Any]) -> set[str]:
    return {"final_obs", "_final_obs", "final_info", "_final_info"} if "final_info" in infos else set()


def test_keys_of_a_single_environment() -> None:
    """Also after a reset in the middle, with an instance, and in the step that ends the episode."""
    env = gym.make(ID, horizon_h=HORIZON_H)
    infos = [env.reset(seed=4)[1]]
    infos += [env.step(env.action_space.sample())[4] for _ in range(6)]
    infos += [env.reset()[1], env.reset(options={"instance": env.unwrapped.instance})[1]]  # type: ignore[attr-defined]
    assert all(set(info) == KEYS for info in infos)
    assert {info["instance_seed"] for info in infos[:7]} == {4}
    assert infos[6]["episode/benefit_usd"] == pytest.approx(sum(i["benefit_usd"] for i in infos[:7]))


@pytest.mark.parametrize("options", BATCHES.values(), ids=BATCHES)
def test_keys_of_a_batch(options: dict[str, Any]) -> None:
    envs = _batch(**options)
    masks = {f"_{key}" for key in KEYS}
    seen = [envs.reset(seed=0)[1]]
    seen += [envs.step(envs.action_space.sample())[4] for _ in range(STEPS)]
    assert all(set(infos) == KEYS | masks | _is_over(infos) for infos in seen)
    finals = [infos["final_info"] for infos in seen if _is_over(infos)]
    assert len(finals) >= 3
    assert all(set(final) == KEYS | masks for final in finals)
    has_seeds = options.get("episodes") == "host" or not options
    for infos in seen:
        assert infos["_instance_seed"].tolist() == [has_seeds] * ENVS
        assert all((seed >= 0) == has_seeds for seed in infos["instance_seed"].tolist())


def test_keys_of_single_environments_side_by_side() -> None:
    """Gymnasium's own batch of single environments shows what ours shows, keys, masks and numbers."""
    ours, theirs = _batch(), _single_ones()
    pairs = [(ours.reset(seed=3)[1], theirs.reset(seed=3)[1])]
    for _ in range(STEPS):
        action = ours.action_space.sample()
        pairs.append((ours.step(action)[4], theirs.step(action)[4]))
    for mine, other in pairs:
        assert set(mine) == set(other)
        for key in KEYS:
            np.testing.assert_array_equal(mine[key], other[key])
            np.testing.assert_array_equal(mine[f"_{key}"], other[f"_{key}"])
            if "final_info" in mine:
                np.testing.assert_array_equal(mine["final_info"][key], other["final_info"][key])


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", [*BATCHES, "single ones"])
def test_torchrl_plays_over_the_ends(name: str) -> None:
    """Its stock wrapper, without a word about infos: what it stores are the figures of the steps."""
    wrapper = pytest.importorskip("torchrl.envs", reason="needs the extra 'examples'").GymWrapper
    envs = _single_ones() if name == "single ones" else _batch(**BATCHES[name])
    played = wrapper(envs).rollout(STEPS, break_when_any_done=False)["next"]
    assert played.shape == (ENVS, STEPS)
    assert played["done"].sum() >= 3 * ENVS
    scale_usd = _batch().unwrapped.compiled.reward_scale_usd
    np.testing.assert_allclose(played["benefit_usd"].ravel(), played["reward"].ravel() * scale_usd, rtol=1e-5)
    # The total of the first whole episode stands where it ended.
    end = int(played["done"][0].flatten().nonzero()[0])
    if name != "staggered":
        earned = float(played["benefit_usd"][0, : end + 1].sum())
        assert float(played["episode/benefit_usd"][0, end]) == pytest.approx(earned, rel=1e-4)
