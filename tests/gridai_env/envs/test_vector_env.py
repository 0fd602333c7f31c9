"""The batch: environment i is the single environment with that seed, over several episodes, in every mode."""

import copy
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode

import gridai_env  # noqa: F401  registers the environments
from gridai_env.envs import episode_supply
from gridai_env.envs.env import GridAIEnv
from gridai_env.envs.vector_env import GridAIVectorEnv
from gridai_env.episodes.instance import Instance, make_instance
from gridai_env.scenario.spec import Scenario
from gridai_env.world.state import INSTANCE_FIELDS
from tests.support.small_scenario import SMALL, small

IDS = ("TwoSites", "FourMarkets", "MicrogridProsumer", "EnergyGeography", "Global")
ENVS, HORIZON_H = 3, 12.0


def _vector(name: str, num_envs: int = ENVS, **kwargs: Any) -> GridAIVectorEnv:
    kwargs.setdefault("horizon_h", HORIZON_H)
    envs = gym.make_vec(
        f"gridai/{name}-v2", num_envs=num_envs, vectorization_mode="vector_entry_point", **kwargs
    )
    return envs.unwrapped  # type: ignore[return-value]


def _same(a: Any, b: Any) -> bool:
    """Equal bit for bit, whatever is nested."""
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(_same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple) or (isinstance(a, np.ndarray) and a.dtype == object):
        return len(a) == len(b) and all(_same(x, y) for x, y in zip(a, b, strict=True))
    a, b = np.asarray(a), np.asarray(b)
    return a.dtype == b.dtype and a.shape == b.shape and np.array_equal(a, b)


def _actions(envs: GridAIVectorEnv, steps: int, seed: int = 0) -> np.ndarray:
    shape = (steps, *envs.action_space.shape)  # type: ignore[misc]
    return np.random.default_rng(seed).uniform(-1.0, 1.0, shape).astype(np.float32)


@pytest.mark.parametrize("name", IDS)
def test_equals_single_environments_over_episodes(name: str) -> None:
    envs = _vector(name)
    singles = [gym.make(f"gridai/{name}-v2", horizon_h=HORIZON_H) for _ in range(ENVS)]
    together, infos = envs.reset(seed=40)
    alone = [env.reset(seed=40 + i) for i, env in enumerate(singles)]
    for i, (observation, info) in enumerate(alone):
        assert _same({key: part[i] for key, part in together.items()}, observation)
        assert infos["instance_seed"][i] == info["instance_seed"] == 40 + i
    for action in _actions(envs, 30):
        together, rewards, ended, _, infos = envs.step(action)
        for i, env in enumerate(singles):
            observation, reward, over, _, info = env.step(action[i])
            assert rewards[i] == reward
            assert ended[i] == over
            if over:
                assert _same(infos["final_obs"][i], observation)
                for key, value in info.items():
                    assert infos["final_info"][key][i] == value
                    assert infos["final_info"][f"_{key}"][i]
                observation, info = env.reset()
            assert _same({key: part[i] for key, part in together.items()}, observation)
            assert all(infos[key][i] == value and infos[f"_{key}"][i] for key, value in info.items())


@pytest.mark.parametrize("limit", [None, 5, 12])
@pytest.mark.parametrize("mode", AutoresetMode)
def test_equals_sync_vector_env(mode: AutoresetMode, limit: int | None) -> None:
    envs = _vector("MicrogridProsumer", autoreset_mode=mode, max_episode_steps=limit)
    made = gym.make_vec(
        "gridai/MicrogridProsumer-v2",
        ENVS,
        "sync",
        vector_kwargs={"autoreset_mode": mode},
        horizon_h=HORIZON_H,
        **({} if limit is None else {"max_episode_steps": limit}),
    )
    assert made.single_observation_space == envs.single_observation_space
    assert made.observation_space == envs.observation_space
    assert made.action_space == envs.action_space
    assert _same(made.reset(seed=[7, 3, 0]), envs.reset(seed=[7, 3, 0]))
    for action in _actions(envs, 30):
        ours, theirs = envs.step(action), made.step(action)
        assert all(_same(a, b) for a, b in zip(ours, theirs, strict=True))
        over = ours[2] | ours[3]
        if mode is AutoresetMode.DISABLED and over.any():
            fresh = envs.reset(options={"reset_mask": over})
            assert _same(made.reset(options={"reset_mask": over}), fresh)


def test_partial_reset_lets_the_others_go_on() -> None:
    envs = _vector("Global", autoreset_mode="Disabled")
    singles = [GridAIEnv("global", horizon_h=HORIZON_H) for _ in range(ENVS)]
    envs.reset(seed=5)
    for i, env in enumerate(singles):
        env.reset(seed=5 + i)
    masks = {3: [True, False, False], 6: [False, True, True], 12: [False, False, False]}
    for t, action in enumerate(_actions(envs, 12)):
        together, rewards, ended, _, _ = envs.step(action)
        alone = [env.step(action[i]) for i, env in enumerate(singles)]
        assert rewards.tolist() == [step[1] for step in alone]
        assert ended.tolist() == [step[2] for step in alone]
        rest = np.array(masks.get(t, [False] * 3)) | ended
        if rest.any():
            together, infos = envs.reset(options={"reset_mask": rest})
            assert infos["_instance_seed"].tolist() == rest.tolist()
        for i, env in enumerate(singles):
            observation = env.reset()[0] if rest[i] else alone[i][0]
            assert _same({key: part[i] for key, part in together.items()}, observation)


def test_seeds_of_a_partial_reset_count_for_the_mask_alone() -> None:
    envs = _vector("TwoSites", autoreset_mode="Disabled")
    envs.reset(seed=5)
    envs.reset(seed=[90, None, None], options={"reset_mask": np.array([True, False, False])})
    assert [instance.seed for instance in envs.instances] == [90, 6, 7]


def test_flat_observations_are_the_dict_side_by_side() -> None:
    flat, named = _vector("FourMarkets", flat_observations=True), _vector("FourMarkets")
    assert flat.single_observation_space == spaces.flatten_space(named.single_observation_space)
    assert flat.observation_space.shape == (ENVS, flat.layout.size)
    ours, _ = flat.reset(seed=1)
    theirs, _ = named.reset(seed=1)
    assert np.array_equal(ours, named.layout.flatten(theirs))
    for action in _actions(flat, 13):
        ours, *_, infos = flat.step(action)
        theirs, *_, named_infos = named.step(action)
        assert np.array_equal(ours, named.layout.flatten(theirs))
        if "final_obs" in infos:
            rows = zip(infos["final_obs"], named_infos["final_obs"], strict=True)
            assert all(np.array_equal(a, named.layout.flatten(b)) for a, b in rows)


def test_spaces_and_conventions() -> None:
    envs = gym.make_vec("gridai/Global-v2", num_envs=4, vectorization_mode="vector_entry_point")
    base = envs.unwrapped
    assert isinstance(base, GridAIVectorEnv)
    assert base.metadata["autoreset_mode"] is base.autoreset_mode is AutoresetMode.SAME_STEP
    assert envs.num_envs == 4
    assert envs.single_action_space == GridAIEnv("global").action_space
    observation, infos = envs.reset(seed=0)
    assert observation in envs.observation_space
    assert [instance.hash for instance in base.instances] == [
        make_instance("global", s).hash for s in range(4)
    ]
    observation, rewards, terminated, truncated, infos = envs.step(envs.action_space.sample())
    assert observation in envs.observation_space
    assert rewards.dtype == np.float64
    assert terminated.dtype == truncated.dtype == np.bool_
    for key, value in infos.items():
        assert isinstance(value, np.ndarray)
        assert value.shape == (4,)
        kind = np.int64 if key == "instance_seed" else np.float64
        assert value.dtype == (np.bool_ if key.startswith("_") else kind)
    again = gym.make_vec(envs.spec).unwrapped  # type: ignore[arg-type]
    assert again.layout.parts == base.layout.parts  # type: ignore[attr-defined]
    envs.close()


def test_every_call_returns_new_arrays() -> None:
    envs = _vector("TwoSites")
    calls = [envs.reset(seed=0)]
    for action in _actions(envs, 14):
        given = action.copy()
        step = envs.step(action)
        assert np.array_equal(action, given)
        calls.append((step[0], {"rewards": step[1], "ended": step[2], "cut": step[3], **step[4]}))

    def arrays(tree: Any) -> list[np.ndarray]:
        if isinstance(tree, dict):
            return [array for value in tree.values() for array in arrays(value)]
        if tree.dtype == object:
            return [array for value in tree if value is not None for array in arrays(value)]
        return [tree]

    groups = [arrays({"observation": call[0], "info": call[1]}) for call in calls[10:]]
    for i, group in enumerate(groups):
        others = [array for other in groups[i + 1 :] for array in other]
        assert not any(np.shares_memory(a, b) for a in group for b in others)
        for a in group:
            assert not any(np.shares_memory(a, b) for b in group if b is not a)


def test_given_instances_are_played() -> None:
    envs = _vector("TwoSites")
    instances = [make_instance("two_sites", seed, horizon_h=HORIZON_H) for seed in (31, 5, 31)]
    together, _ = envs.reset(options={"instances": instances})
    assert [instance.hash for instance in envs.instances] == [instance.hash for instance in instances]
    assert np.array_equal(together["arrivals"][0], together["arrivals"][2])
    fixed = GridAIVectorEnv(2, scenario=None, instance=instances[0])
    fixed.reset(seed=4)
    assert [instance.hash for instance in fixed.instances] == [instances[0].hash] * 2


def test_given_instances_may_be_files(tmp_path: Path) -> None:
    envs = _vector("TwoSites", 2)
    one, two = (make_instance("two_sites", seed, horizon_h=HORIZON_H) for seed in (31, 5))
    envs.reset(options={"instances": [one.save(tmp_path / "one.npz"), two]})
    assert [instance.hash for instance in envs.instances] == [one.hash, two.hash]


@pytest.mark.parametrize("seed", [np.int64(3), [np.int64(3), 4, np.uint8(5)], np.array([3, 4, 5])])
def test_seeds_may_be_of_numpy(seed: Any) -> None:
    envs = _vector("TwoSites")
    _, infos = envs.reset(seed=seed)
    assert infos["instance_seed"].tolist() == [3, 4, 5]


def test_state_can_be_taken_and_put_back() -> None:
    envs = _vector("MicrogridProsumer")
    envs.reset(seed=3)
    actions = _actions(envs, 40)
    for action in actions[:15]:
        envs.step(action)
    state = pickle.loads(pickle.dumps(envs.get_state()))
    twins = [copy.deepcopy(envs), pickle.loads(pickle.dumps(envs)), _vector("MicrogridProsumer")]
    twins[2].set_state(state)
    ahead = [envs.step(action) for action in actions[15:]]
    for twin in twins:
        assert all(_same(twin.step(a), b) for a, b in zip(actions[15:], ahead, strict=True))
    envs.set_state(state)
    assert all(_same(envs.step(a), b) for a, b in zip(actions[15:], ahead, strict=True))


def test_pictures_are_those_of_the_single_environments() -> None:
    pytest.importorskip("matplotlib", reason="needs the extra 'render'")
    envs = _vector("TwoSites", 2, render_mode="rgb_array")
    singles = [GridAIEnv("two_sites", horizon_h=HORIZON_H, render_mode="rgb_array") for _ in range(2)]
    envs.reset(seed=0)
    for i, env in enumerate(singles):
        env.reset(seed=i)
    for action in [None, *_actions(envs, 1)]:
        if action is not None:
            envs.step(action)
            for i, env in enumerate(singles):
                env.step(action[i])
        frames = envs.render()
        assert frames is not None
        assert all(np.array_equal(env.render(), frame) for env, frame in zip(singles, frames, strict=True))


def test_instances_of_another_scenario_cannot_stand_beside_the_own() -> None:
    envs = _vector("TwoSites", 2, autoreset_mode="Disabled")
    other = [make_instance("two_sites", 3, horizon_h=HORIZON_H, carbon_price_usd_per_t=9.0)]
    envs.reset(seed=0, options={"instances": other * 2})
    with pytest.raises(ValueError, match="another scenario"):
        envs.reset(options={"reset_mask": np.array([True, False])})
    envs.reset(seed=0)


def test_faults_change_nothing() -> None:
    envs = _vector("TwoSites", autoreset_mode="Disabled")
    with pytest.raises(ResetNeeded, match="reset"):
        envs.step(envs.action_space.sample())
    envs.reset(seed=0)
    good = envs.action_space.sample()
    for bad, message in (
        (good[:2], "shape"),
        (np.where(good == good[1, 3], np.nan, good), r"action\[1, 3\] = nan"),
        (good * 1e3, r"must be a number in \[-1, 1\]"),
        (good.astype(str), "type"),
    ):
        with pytest.raises(ValueError, match=message):
            envs.step(bad)
    assert not envs.simulator.t.any()
    for _ in range(12):
        envs.step(good)
    with pytest.raises(ResetNeeded, match=r"\[0, 1, 2\] are over"):
        envs.step(good)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"options": {"mask": 1}}, r"'mask'\]: unknown"),
        ({"options": {"reset_mask": [True, False, False]}}, "NumPy array of bool"),
        ({"options": {"reset_mask": np.zeros(3, dtype=bool)}}, "at least one"),
        ({"options": {"instances": []}}, "0 given, 3"),
        ({"options": {"instances": None}}, "must be a list of instances"),
        ({"options": {"instances": "abc"}}, "must be a list of instances"),
        ({"options": {"instances": [None] * 3}}, "instance = None: must be an Instance"),
        ({"seed": [1, 2]}, "3 environments"),
        ({"seed": 1.0}, "must be an integer >= 0"),
        ({"seed": True}, "must be an integer >= 0"),
        ({"seed": [0, "1", 2]}, "seed = '1': must be an integer >= 0"),
    ],
)
def test_wrong_resets(arguments: dict[str, Any], message: str) -> None:
    envs = _vector("TwoSites")
    envs.reset(seed=0)
    with pytest.raises(ValueError, match=message):
        envs.reset(**arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_envs": 0}, "num_envs = 0"),
        ({"autoreset_mode": "never"}, "autoreset_mode"),
        ({"max_episode_steps": -1}, "max_episode_steps = -1"),
        ({"render_mode": "human"}, "render_mode = 'human'"),
    ],
)
def test_wrong_arguments(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GridAIVectorEnv(**arguments)


def test_a_mask_needs_episodes() -> None:
    with pytest.raises(ResetNeeded, match="all environments"):
        _vector("TwoSites").reset(options={"reset_mask": np.array([True, False, False])})


def test_gymnasium_statistics_wrapper() -> None:
    envs = gym.wrappers.vector.RecordEpisodeStatistics(_vector("TwoSites"))
    envs.reset(seed=0)
    total = np.zeros(ENVS)
    for action in _actions(envs.unwrapped, 12):  # type: ignore[arg-type]
        _, rewards, _, _, infos = envs.step(action)
        total += rewards
    np.testing.assert_allclose(infos["episode"]["r"], total, rtol=1e-6)
    assert infos["episode"]["l"].tolist() == [12] * ENVS


def test_what_ends_beside_others_is_marked() -> None:
    envs = GridAIVectorEnv(3, "two_sites", horizon_h=4.0)
    envs.reset(seed=0)
    idle = np.zeros(envs.action_space.shape or (), dtype=np.float32)
    for _ in range(2):
        envs.step(idle)
    envs.reset(options={"reset_mask": np.array([False, True, False])})
    for _ in range(2):
        _, _, ended, _, infos = envs.step(idle)
    assert ended.tolist() == [True, False, True]
    assert infos["_final_obs"].tolist() == infos["_final_info"].tolist() == [True, False, True]
    assert infos["final_info"]["_benefit_usd"].tolist() == [True, False, True]
    assert [x is not None for x in infos["final_obs"]] == [True, False, True]
    assert not infos["benefit_usd"][ended].any()
    assert infos["benefit_usd"][1] != 0.0


def test_neighbours_in_a_batch_are_neighbours_in_memory() -> None:
    """Else sums over sites and regions take several times as long."""
    envs = GridAIVectorEnv(8, "microgrid_prosumer", horizon_h=6.0)
    envs.reset(seed=0)
    for _ in range(3):
        envs.step(np.zeros(envs.action_space.shape or (), dtype=np.float32))
    simulator = envs.simulator
    records = (simulator.state, simulator.exogenous)
    arrays = [getattr(record, name) for record in records for name in record.names()]
    arrays += [getattr(simulator.params, name) for name in INSTANCE_FIELDS]
    assert all(x.strides[0] == x.itemsize for x in arrays if x.size)


# Snapshots and resets beside given instances -------------------------------------------------------


def _dear(count: int) -> list[Instance]:
    return [
        make_instance("two_sites", seed, horizon_h=6.0, carbon_price_usd_per_t=300.0) for seed in range(count)
    ]


def _same_steps(one: GridAIVectorEnv, other: GridAIVectorEnv) -> None:
    rng = np.random.default_rng(0)
    for _ in range(8):
        action = rng.uniform(-1.0, 1.0, one.action_space.shape).astype(np.float32)
        for mine, theirs in zip(one.step(action)[:4], other.step(action)[:4], strict=True):
            assert np.array_equal(mine, theirs)


def test_snapshots_of_instances_of_another_scenario_go_both_ways() -> None:
    """Their batches may each be of a part of the environments; what is played at present does not matter."""
    options: dict[str, Any] = {"horizon_h": 6.0, "flat_observations": True}
    envs, others = GridAIVectorEnv(2, "two_sites", **options), GridAIVectorEnv(2, "two_sites", **options)
    envs.reset(seed=1)
    first = np.array([True, False])
    for mask in (first, ~first):  # own episodes in two batches
        envs.reset(options={"reset_mask": mask})
    own = envs.get_state()
    envs.reset(options={"instances": _dear(2)})
    for mask in (first, ~first):
        envs.reset(options={"instances": _dear(1), "reset_mask": mask})
    dear = envs.get_state()
    others.set_state(dear)
    _same_steps(envs, others)
    envs.set_state(own)
    others.set_state(own)
    _same_steps(envs, others)


def test_a_reset_that_is_refused_leaves_the_episodes() -> None:
    envs = GridAIVectorEnv(2, "two_sites", horizon_h=6.0, flat_observations=True)
    twin = GridAIVectorEnv(2, "two_sites", horizon_h=6.0, flat_observations=True)
    envs.reset(seed=1), twin.reset(seed=1)
    with pytest.raises(ValueError, match="first_step"):
        envs.reset(options={"instances": _dear(2), "first_step": 10**6})
    _same_steps(envs, twin)
    for each in (envs, twin):
        each.reset(options={"instances": _dear(2)})
    with pytest.raises(ValueError, match="start = 'nonsense'"):
        envs.reset(options={"start": "nonsense"})
    rng = np.random.default_rng(0)
    action = rng.uniform(-1.0, 1.0, envs.action_space.shape).astype(np.float32)
    assert np.array_equal(envs.step(action)[1], twin.step(action)[1])


def test_own_episodes_follow_instances_with_other_constants(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where they are made one by one."""
    monkeypatch.setattr(episode_supply, "MOST", 1)
    envs = GridAIVectorEnv(2, "two_sites", horizon_h=6.0, flat_observations=True)
    twin = GridAIVectorEnv(2, "two_sites", horizon_h=6.0, flat_observations=True)
    envs.reset(seed=1)
    changed = [
        replace(each, params=each.params.replace(drop_usd_per_gpuh=2.0 * each.params.drop_usd_per_gpuh))
        for each in envs.instances
    ]
    envs.reset(options={"instances": changed})
    envs.reset(seed=5), twin.reset(seed=5)
    _same_steps(envs, twin)


def test_snapshots_of_other_environments_are_refused() -> None:
    envs = GridAIVectorEnv(2, "two_sites", horizon_h=6.0)
    envs.reset(seed=1)
    state = envs.get_state()
    wider = GridAIVectorEnv(4, "two_sites", horizon_h=6.0)
    wider.reset(seed=1)
    with pytest.raises(ValueError, match="num_envs = 4: the snapshot is of num_envs = 2"):
        wider.set_state(state)
    wider.step(np.zeros(wider.action_space.shape, dtype=np.float32))
    with pytest.raises(ValueError, match="another scenario"):
        GridAIVectorEnv(2, "two_sites", horizon_h=7.0).set_state(state)
    with pytest.raises(ValueError, match="this version's"):
        envs.set_state({"group": 1})


def _two_waits() -> Scenario:
    """A small scenario with rows of work that wait for 6 and for 3 hours."""
    chat, batch = SMALL["classes"]
    return small(
        classes=[chat, batch | {"share": 0.2}, batch | {"name": "soon", "share": 0.1, "wait_h": 3.0}]
    ).scenario


@pytest.mark.parametrize("scenario", ["microgrid_prosumer", _two_waits()], ids=["no_waits", "two_waits"])
def test_steps_find_the_inputs_of_their_own_episodes(scenario: str | Scenario) -> None:
    """What is gathered from earlier steps is that of the episode, whatever was played before or begins beside it."""
    envs = GridAIVectorEnv(3, scenario, flat_observations=True)
    observation, _ = envs.reset(seed=0)
    holds = [name.endswith("/hold") for name in envs.action_names]
    rng, steps, wait = np.random.default_rng(0), envs.compiled.shape.steps, envs.compiled.row_wait_steps
    for number in range(2 * steps + 5):
        if number in (7, 17):
            options = {"reset_mask": np.array([False, True, False]), "first_step": number - 7}
            observation, _ = envs.reset(options=options)
        units, simulator = envs.layout.physical(observation), envs.simulator

        for b, (t, instance) in enumerate(zip(simulator.t, envs.instances, strict=True)):
            exo = instance.exogenous
            for name in exo.names():
                assert np.array_equal(getattr(simulator.exogenous, name)[b], getattr(exo, name)[t]), (name, t)
            before = exo.arrivals_gpuh[max(t - 1, 0)] * (wait == 0)
            np.testing.assert_allclose(units["arrivals_before_gpuh"][b], before, rtol=1e-6)
            on_hand = simulator.state.backlog_gpuh[b] + exo.arrivals_gpuh[t]
            for w in np.flatnonzero(wait):
                for ahead in range(wait.max()):
                    since = steps if t + ahead >= steps - 1 else max(t + ahead - wait[w] + 1, 0)
                    recent = exo.arrivals_gpuh[since : t + 1, :, w].sum(0)
                    due = np.maximum(on_hand[:, w] - recent, 0.0)
                    found = units["due_gpuh"][b, :, w, ahead]
                    np.testing.assert_allclose(found, due, rtol=1e-5, atol=1e-5 * on_hand[:, w].max())
        # Work waits as long as it may.
        actions = rng.uniform(-1.0, 0.0, (3, simulator.layout.size)).astype(np.float32)
        actions[:, holds] = 1.0
        observation, *_ = envs.step(actions)
