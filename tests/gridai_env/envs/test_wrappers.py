"""Active actions and remembered forecasts: the batch shows row by row what the single environment shows."""

from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.wrappers import FlattenObservation, TransformObservation

import gridai_env
from gridai_env.arrays.types import Floats32
from gridai_env.envs.action_space import ActiveActions

ID, HORIZON_H, ENVS, STEPS = "gridai/MicrogridProsumer-v2", 5.0, 2, 12
SAME, NEXT = AutoresetMode.SAME_STEP, AutoresetMode.NEXT_STEP


def _make(flat: bool) -> Any:
    env = gym.make(ID, horizon_h=HORIZON_H, disable_env_checker=True)
    return FlattenObservation(env) if flat else env


def _batch(kind: str, flat: bool) -> Any:
    if kind in ("same step", "next step"):
        mode = SAME if kind == "same step" else NEXT
        return SyncVectorEnv([partial(_make, flat)] * ENVS, autoreset_mode=mode)
    options: dict[str, Any] = {}
    if kind == "torch":
        pytest.importorskip("torch", reason="needs the extra 'rl'")
        options = {"device": "cpu", "dtype": "float64", "episodes": "host"}
    return gym.make_vec(
        ID,
        num_envs=ENVS,
        vectorization_mode="vector_entry_point",
        horizon_h=HORIZON_H,
        flat_observations=flat,
        **options,
    )


def _flat(observation: Any, row: int | None = None) -> Floats32:
    """One observation as an array, of a batch that of a row."""
    parts = observation.values() if isinstance(observation, dict) else [observation]
    return np.concatenate([np.asarray(part if row is None else part[row]) for part in parts])


def _wrapped(env: Any) -> Any:
    """Both wrappers, in the form that fits."""
    if isinstance(env, gym.Env):
        return gridai_env.ActiveAction(gridai_env.RememberForecasts(env), may_refuse=True)
    return gridai_env.VectorActiveAction(gridai_env.VectorRememberForecasts(env), may_refuse=True)


@pytest.mark.parametrize("kind", ["numpy", "torch", "same step", "next step"])
@pytest.mark.parametrize("flat", [False, True])
def test_a_batch_is_its_single_environments(kind: str, flat: bool) -> None:
    """Over two ends of an episode, last observations and their memory included."""
    envs, singles = _wrapped(_batch(kind, flat)), [_wrapped(_make(flat)) for _ in range(ENVS)]
    assert envs.single_observation_space == singles[0].observation_space
    assert envs.single_action_space == singles[0].action_space
    close = partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-4)
    together, _ = envs.reset(seed=6)
    for i, env in enumerate(singles):
        close(_flat(together, i), _flat(env.reset(seed=6 + i)[0]))

    over = [False] * ENVS
    for action in np.random.default_rng(0).uniform(-1, 1, (STEPS, *envs.action_space.shape)):
        together, rewards, *_, infos = envs.step(action.astype(np.float32))
        for i, env in enumerate(singles):
            if kind == "next step" and over[i]:
                over[i] = False
                close(_flat(together, i), _flat(env.reset()[0]))
                continue
            alone, reward, over[i], _, _ = env.step(action[i].astype(np.float32))
            assert alone in env.observation_space
            close(float(rewards[i]), reward, rtol=1e-9)
            if over[i] and kind != "next step":
                final = infos["final_obs"]
                shown = _flat(final, i) if kind == "torch" else _flat(final[i])
                close(shown, _flat(alone))
                alone, _ = env.reset()
            close(_flat(together, i), _flat(alone))


def test_what_is_remembered_of_a_part_is_kept_when_others_are_reset() -> None:
    """With resets by hand only the masked rows forget."""
    envs = gridai_env.VectorRememberForecasts(
        gridai_env.GridAIVectorEnv(
            ENVS, "two_sites", autoreset_mode=AutoresetMode.DISABLED, flat_observations=True
        )
    )
    envs.reset(seed=0)
    for _ in range(3):
        before, *_ = envs.step(envs.action_space.sample())
    after, _ = envs.reset(options={"reset_mask": np.array([True, False])})
    np.testing.assert_array_equal(after[1], before[1])
    assert after[:, -1].tolist() == [0.0, 3.0]  # the last entry is the age in steps


def test_remembered_hours_are_those_issued_before() -> None:
    """A step ahead that is at no lead now shows what was issued when it was at one."""
    env = gridai_env.RememberForecasts(gridai_env.GridAIEnv("two_sites", forecast="perfect"))
    leads = env.unwrapped.compiled.forecast.lead_steps  # type: ignore[attr-defined]
    env.reset(seed=1)
    for _ in range(leads[1]):
        observation, *_ = env.step(env.action_space.sample())  # type: ignore[attr-defined]
    steps, sites = leads[-1], 2
    ahead = observation["remembered"][:-1].reshape(steps, -1)[:, :sites]
    exogenous = env.unwrapped.instance.exogenous  # type: ignore[attr-defined]
    compiled, now = env.unwrapped.compiled, leads[1]  # type: ignore[attr-defined]
    kg = getattr(exogenous, f"carbon_{compiled.carbon_signal}_kg_per_mwh")
    truth = exogenous.buy_usd_per_mwh + compiled.params.carbon_price_usd_per_kg * kg
    # Everything up to the second lead has been at it since the start.
    np.testing.assert_allclose(ahead[: leads[1]], truth[now + 1 : now + 1 + leads[1]], rtol=1e-4)


def test_numbers_of_everything_at_home() -> None:
    env = gridai_env.ActiveAction(gridai_env.GridAIEnv("two_sites"))
    mapping = ActiveActions.of(env.unwrapped.compiled, may_refuse=False)  # type: ignore[attr-defined]
    full = env.unwrapped.action_space.shape  # type: ignore[attr-defined]
    assert env.action_space.shape == (mapping.size,) < full
    env.reset(seed=0)
    *_, info = env.step(env.numbers.start)
    assert info["served_gpuh"] > 0.0
    assert info["terms/egress_usd"] == info["terms/relocation_usd"] == 0.0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: gridai_env.ActiveAction(gym.make("CartPole-v1")), "gridai_env, not CartPoleEnv"),
        (
            lambda: gridai_env.VectorRememberForecasts(SyncVectorEnv([partial(gym.make, "CartPole-v1")])),
            "gridai_env, not SyncVectorEnv",
        ),
        (lambda: gridai_env.ActiveAction(gridai_env.DictAction(_make(True))), "put ActiveAction below it"),
        (
            lambda: gridai_env.RememberForecasts(
                TransformObservation(_make(True), lambda x: x, gym.spaces.Box(-1.0, 1.0, (3,)))
            ),
            "put RememberForecasts below it",
        ),
    ],
)
def test_what_cannot_be_wrapped_is_said(make: Any, message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        make()


@pytest.mark.parametrize("kind", ["numpy", "torch"])
def test_wrong_numbers_are_said(kind: str) -> None:
    envs = gridai_env.VectorActiveAction(_batch(kind, True))
    envs.reset(seed=0)
    with pytest.raises(ValueError, match=r"action: shape \(2, 1\), must be"):
        envs.step(np.zeros((2, 1), dtype=np.float32))
    with pytest.raises(ValueError, match=r"action\[1, 0\] = 2: must be a number"):
        envs.step(np.array([[0.0], [2.0]]) * np.ones(envs.single_action_space.shape))


def test_power_modes_are_set_where_a_site_has_them() -> None:
    env = gridai_env.ActiveAction(gridai_env.RememberForecasts(gridai_env.GridAIEnv("flexible_campus")))
    names = np.array(env.unwrapped.action_names)[ActiveActions.of(env.unwrapped.compiled, False).index]
    assert [name for name in names if name.startswith("mode/")] == ["mode/texas"]
    env.reset(seed=1)
    low, high = (env.step(np.full(env.action_space.shape, a, dtype=np.float32)) for a in (-1.0, 1.0))
    assert low[0] in env.observation_space and high[0] in env.observation_space
