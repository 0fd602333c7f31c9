"""The batch on torch: in float64 it is the NumPy batch, in float32 it keeps the limits; and what only it can do."""

from __future__ import annotations

import copy
import pickle
from dataclasses import replace
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode

import gridai_env  # noqa: F401  registers the environments
from gridai_env.envs.simulator import Simulator
from gridai_env.envs.step_figures import EPISODE_KEYS, KEYS
from gridai_env.episodes.instance import make_batch, make_instance
from gridai_env.scenario.compile import compile_scenario
from gridai_env.scenario.load import load_scenario
from gridai_env.world.state import Exogenous, Flows, State
from gridai_env.world.violations import relative_violations

torch = pytest.importorskip("torch", reason="torch is not installed (extra rl)")

from gridai_env.arrays.ops import product  # noqa: E402
from gridai_env.arrays.torch_ops import moved  # noqa: E402
from gridai_env.envs.torch.episode_supply import SHARE  # noqa: E402
from gridai_env.envs.torch.upload import uploaded  # noqa: E402
from gridai_env.envs.torch.vector_env import GridAITorchVectorEnv  # noqa: E402
from tests.support.device_watch import DeviceWatch  # noqa: E402
from tests.support.small_scenario import flexible  # noqa: E402

IDS = ("TwoSites", "FourMarkets", "MicrogridProsumer", "EnergyGeography", "Global")
ENVS, HORIZON_H = 3, 12.0
EXACT = 1e-9


def _numpy(name: str, num_envs: int = ENVS, **kwargs: Any) -> Any:
    kwargs = {"horizon_h": HORIZON_H, "vectorization_mode": "vector_entry_point", **kwargs}
    return gym.make_vec(f"gridai/{name}-v2", num_envs=num_envs, **kwargs).unwrapped


def _torch(name: str, num_envs: int = ENVS, **kwargs: Any) -> GridAITorchVectorEnv:
    kwargs = {"device": "cpu", "dtype": "float64", "episodes": "host", **kwargs}
    envs: GridAITorchVectorEnv = _numpy(name, num_envs, **kwargs)
    return envs


def _actions(envs: Any, steps: int, seed: int = 0) -> np.ndarray:
    shape = (steps, envs.num_envs, *envs.single_action_space.shape)
    return np.random.default_rng(seed).uniform(-1.0, 1.0, shape).astype(np.float32)


def _distance(ours: Any, theirs: Any) -> float:
    """Largest difference relative to the size of the numbers; keys, shapes and masks must be equal."""
    if isinstance(theirs, dict):
        assert ours.keys() == theirs.keys()
        return max((_distance(ours[key], theirs[key]) for key in theirs), default=0.0)
    if isinstance(theirs, np.ndarray) and theirs.dtype == object:  # rows of last observations, or None
        found = [(i, row) for i, row in enumerate(theirs) if row is not None]
        return max((_distance(_row(ours, i), row) for i, row in found), default=0.0)
    assert isinstance(ours, torch.Tensor)
    ours, theirs = ours.numpy(), np.asarray(theirs)
    assert ours.shape == theirs.shape
    if theirs.dtype.kind in "bi":
        assert np.array_equal(ours, theirs)
        return 0.0
    return float(np.abs(ours - theirs).max(initial=0.0) / np.abs(theirs).max(initial=1.0))


def _row(tree: Any, i: int) -> Any:
    return {key: part[i] for key, part in tree.items()} if isinstance(tree, dict) else tree[i]


# As on NumPy --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", IDS)
def test_equals_numpy_over_episodes(name: str) -> None:
    ours, theirs = _torch(name), _numpy(name)
    assert ours.observation_space == theirs.observation_space
    assert ours.action_space == theirs.action_space
    worst = max(map(_distance, ours.reset(seed=40), theirs.reset(seed=40)))
    for action in _actions(ours, 30):
        step, wanted = ours.step(torch.from_numpy(action)), theirs.step(action)
        worst = max(worst, *map(_distance, step, wanted))
    assert worst <= EXACT


@pytest.mark.parametrize("limit", [5, 12])
@pytest.mark.parametrize("mode", list(AutoresetMode))
@pytest.mark.parametrize("keep", [True, False])
def test_equals_numpy_in_every_mode(mode: AutoresetMode, limit: int, keep: bool) -> None:
    options = {"autoreset_mode": mode, "max_episode_steps": limit, "flat_observations": keep}
    ours = _torch("MicrogridProsumer", copy=keep, **options)
    theirs = _numpy("MicrogridProsumer", **options)
    assert max(map(_distance, ours.reset(seed=[7, 3, 0]), theirs.reset(seed=[7, 3, 0]))) <= EXACT
    for action in _actions(ours, 30):
        step, wanted = ours.step(torch.from_numpy(action)), theirs.step(action)
        assert max(map(_distance, step, wanted)) <= EXACT
        over = wanted[2] | wanted[3]
        if mode is AutoresetMode.DISABLED and over.any():
            with pytest.raises(ResetNeeded, match=r"\[0, 1, 2\] are over"):
                ours.step(torch.from_numpy(action))
            again = {"options": {"reset_mask": over}}
            assert max(map(_distance, ours.reset(**again), theirs.reset(**again))) <= EXACT


def test_partial_resets_leave_the_others_alone() -> None:
    """After the first mask the episodes stand at different steps for good."""
    ours, theirs = (make("Global", autoreset_mode="Disabled") for make in (_torch, _numpy))
    late = {"seed": 5, "options": {"first_step": 2}}
    assert max(map(_distance, ours.reset(**late), theirs.reset(**late))) <= EXACT
    assert not ours.reset(**late)[1]["_episode/benefit_usd"].any()  # totals of a part are not shown
    masks = {3: [True, False, False], 6: [False, True, True]}
    for t, action in enumerate(_actions(ours, 20)):
        step, wanted = ours.step(torch.from_numpy(action)), theirs.step(action)
        assert max(map(_distance, step, wanted)) <= EXACT
        rest = np.array(masks.get(t, [False] * 3)) | wanted[2]
        if rest.any():
            found = ours.reset(options={"reset_mask": torch.from_numpy(rest)})
            assert max(map(_distance, found, theirs.reset(options={"reset_mask": rest}))) <= EXACT
    assert len(set(ours.simulator.t.tolist())) > 1


def test_given_instances_are_played() -> None:
    ours, theirs = _torch("TwoSites"), _numpy("TwoSites")
    dear = {"horizon_h": HORIZON_H, "carbon_price_usd_per_t": 300.0}
    for episodes in (
        [make_instance("two_sites", seed, horizon_h=HORIZON_H) for seed in (31, 5, 31)],
        [make_instance("two_sites", seed, **dear) for seed in (1, 2, 3)],  # another scenario, other terms
    ):
        options = {"seed": 4, "options": {"instances": episodes}}
        assert max(map(_distance, ours.reset(**options), theirs.reset(**options))) <= EXACT
        for action in _actions(ours, 13):
            assert max(map(_distance, ours.step(torch.from_numpy(action)), theirs.step(action))) <= EXACT
        ours.reset(seed=1), theirs.reset(seed=1)


# float32 ------------------------------------------------------------------------------------------


def _as_numpy(record: Any) -> Any:
    return record.map(lambda x: x.double().numpy() if isinstance(x, torch.Tensor) else x)


@pytest.mark.parametrize("name", ["four_markets", "microgrid_prosumer", "global"])
def test_float32_step_by_step(name: str) -> None:
    """From a common state one step in float32 stays near float64, and its flows keep every limit."""
    compiled = compile_scenario(load_scenario(name, horizon_h=24.0))
    batch = make_batch(compiled, range(8))
    exact = Simulator(batch)
    single = Simulator(uploaded(batch, "cpu", torch.float32))
    rng = np.random.default_rng(1)
    for _ in range(exact.steps):
        action = rng.uniform(-1.0, 1.0, (8, exact.layout.size)).astype(np.float32)
        common = exact.state.map(lambda x: torch.from_numpy(np.array(x, dtype=np.float32)))
        single.state, before, exo = common, _as_numpy(common), _as_numpy(single.exogenous)
        flows, outcome = exact.step(action)
        ours, summary = single.step(torch.from_numpy(action))
        for field in Flows.names():
            wanted, found = np.asarray(getattr(flows, field)), getattr(ours, field).numpy()
            np.testing.assert_allclose(found, wanted, rtol=0, atol=2e-5 * max(1.0, wanted.max(initial=0.0)))
        size = sum(np.abs(usd) for usd in outcome.terms_usd.values())
        assert (np.abs(summary.benefit_usd.numpy() - outcome.benefit_usd) <= 2e-5 * size).all()
        broken = relative_violations(_as_numpy(single.params), before, exo, _as_numpy(ours))
        assert max(broken.values()) <= 1e-5, broken


# Time ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["MicrogridProsumer", "FourMarkets"])
def test_staggered_episodes_begin_midway_once(name: str) -> None:
    envs = _torch(name, 6, stagger=True, flat_observations=True)
    _, infos = envs.reset(seed=11)
    starts = envs.simulator.t.copy()
    assert starts.tolist() == [0, 2, 4, 6, 8, 10]
    seeds = infos["instance_seed"].tolist()
    played = [make_instance(envs.compiled.scenario, seed) for seed in seeds]
    for field in Exogenous.names():
        wanted = [getattr(p.exogenous, field)[t] for p, t in zip(played, starts, strict=True)]
        np.testing.assert_array_equal(getattr(envs.simulator.exogenous, field).numpy(), wanted)
    # Sessions of the step before stand at home: nothing moves if they are served there again.
    p, placed = envs.compiled.params, envs.simulator.state.placed_gpuh.numpy()
    for i, t in enumerate(starts):
        before = played[i].exogenous.arrivals_gpuh[max(t - 1, 0)] * p.is_session
        np.testing.assert_allclose(placed[i], before[..., None] * p.home[:, None, :])
    ends = np.zeros(6, dtype=int)
    for t, action in enumerate(_actions(envs, 25), start=1):
        *_, terminated, _, infos = envs.step(torch.from_numpy(action))
        over = (starts + t) % 12 == 0
        assert terminated.tolist() == over.tolist()
        if over.any():
            assert infos["_final_obs"].tolist() == over.tolist()
            whole = over & ((ends > 0) | (starts == 0))
            assert infos["final_info"]["_episode/benefit_usd"].tolist() == whole.tolist()
        ends += over
    assert (ends == 2).all()


def test_staggered_worlds_go_on_as_on_numpy() -> None:
    """An episode that stands alone at its step sees and earns what the same one sees and earns on NumPy."""
    envs = _torch("Global", 4, stagger=True, flat_observations=True)
    envs.reset(seed=2)
    actions = _actions(envs, 24)
    for action in actions[:12]:
        *_, infos = envs.step(torch.from_numpy(action))
        begun = int(infos["instance_seed"][3])
    alone = _numpy("Global", 1, flat_observations=True)
    now = int(envs.simulator.t[3])
    assert now == 9
    alone.reset(seed=begun)
    for action in actions[12 - now : 12]:
        alone.step(action[3:])
    for action in actions[12:15]:
        ours, theirs = envs.step(torch.from_numpy(action)), alone.step(action[3:])
        assert _distance(ours[1][3:], theirs[1]) <= EXACT
        final = ours[4].get("final_obs", ours[0])[3]
        assert _distance(final[None], theirs[4]["final_obs"][0][None] if theirs[2] else theirs[0]) <= EXACT


@pytest.mark.parametrize(
    ("name", "episodes"), [("Global", "device"), ("Global", "host"), ("MicrogridProsumer", "device")]
)
def test_nothing_waits_for_the_device_and_no_product_is_rounded(
    name: str, episodes: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No number is read, nothing is uploaded but through one door, and TF32 has nothing to round: with new episodes."""
    envs = _torch(name, 4, stagger=True, episodes=episodes, dtype="float32", horizon_h=24.0)
    envs.reset(seed=1)
    for action in torch.from_numpy(_actions(envs, 25)):
        envs.step(action)
    # Whether actions were valid is asked once per episode.
    monkeypatch.setattr(GridAITorchVectorEnv, "_check_wrong", lambda self: None)
    actions = torch.from_numpy(_actions(envs, 25))
    with DeviceWatch() as watch:
        envs.reset()
    # Constants of the scenario are on the device already; episodes of the host have 32 tensors.
    assert watch.uploads <= (8 if episodes == "device" else 40)
    with watch:
        ended = sum("final_obs" in envs.step(action)[4] for action in actions)
    assert ended > 2
    assert not watch.waits and not watch.products


def test_uploads_to_a_gpu_are_page_locked_and_do_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda self: asked.append("pinned") or self)
    monkeypatch.setattr(torch.Tensor, "to", lambda self, *args, **kwargs: asked.append((args, kwargs)))
    cuda = torch.device("cuda", 0)
    moved(np.arange(3), cuda)
    assert asked == ["pinned", ((cuda,), {"non_blocking": True})]


def test_products_written_out_are_products() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(5, 3, 4)), rng.normal(size=(5, 4, 2))
    one = torch.from_numpy(x)
    torch.testing.assert_close(product(one, torch.from_numpy(y)), torch.from_numpy(product(x, y)))
    torch.testing.assert_close(product(one[0], torch.from_numpy(y)), torch.from_numpy(x[0] @ y))
    torch.testing.assert_close(product(one, torch.from_numpy(y[0])), torch.from_numpy(x @ y[0]))


# Observations -------------------------------------------------------------------------------------


def test_two_observations_in_turn() -> None:
    """Without copies an observation lives until the next call but one, and open routes are written twice in all."""
    fresh = _torch("Global", episodes="device", flat_observations=True)
    lent = _torch("Global", episodes="device", flat_observations=True, copy=False)
    last, _ = fresh.reset(seed=3)
    lent_last, _ = lent.reset(seed=3)
    places = set()
    for action in torch.from_numpy(_actions(fresh, 26)):
        ours, theirs = lent.step(action), fresh.step(action)
        assert torch.equal(ours[0], theirs[0])
        assert torch.equal(lent_last, last)
        if "final_obs" in theirs[4]:
            assert torch.equal(ours[4]["final_obs"], theirs[4]["final_obs"])
        last, lent_last = theirs[0], ours[0]
        places.add(lent_last.data_ptr())
    assert len(places) == 2


def test_flat_observations_are_the_dict_side_by_side() -> None:
    flat, named = _torch("FourMarkets", flat_observations=True), _torch("FourMarkets")
    (ours, _), (theirs, _) = flat.reset(seed=1), named.reset(seed=1)
    assert torch.equal(ours, torch.cat([theirs[name] for name in named.layout.parts], -1))
    assert ours.dtype == torch.float32
    assert ours.shape == (ENVS, flat.layout.size)


# Episodes of the device ---------------------------------------------------------------------------


def test_seeds_of_the_device() -> None:
    one, two = (_torch("Global", 5, episodes="device", flat_observations=True) for _ in range(2))
    (a, _), (b, infos) = one.reset(seed=8), two.reset(seed=8)
    assert torch.equal(a, b)
    assert infos["instance_seed"].tolist() == [-1] * 5
    assert not infos["_instance_seed"].any()
    assert not torch.equal(a, two.reset(seed=9)[0])
    assert not torch.equal(one.reset()[0], a)
    with pytest.raises(ValueError, match="one generator"):
        one.reset(seed=[1, 2, 3, 4, 5])


def test_files_need_episodes_of_the_host() -> None:
    instance = make_instance("two_sites", 3, horizon_h=HORIZON_H)
    fixed = GridAITorchVectorEnv(2, scenario=None, instance=instance, dtype="float64")
    assert fixed.episodes == "host"
    assert GridAITorchVectorEnv(2).episodes == "device"
    with pytest.raises(ValueError, match=r"one frozen episode; use episodes='host'"):
        GridAITorchVectorEnv(2, scenario=None, instance=instance, episodes="device")


# States -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("episodes", ["host", "device"])
def test_state_can_be_taken_and_put_back(episodes: str) -> None:
    options = {"episodes": episodes, "stagger": True, "dtype": "float32", "flat_observations": True}
    envs = _torch("MicrogridProsumer", 7, **options)
    envs.reset(seed=3)
    actions = torch.from_numpy(_actions(envs, 40))
    for action in actions[:15]:
        envs.step(action)
    state = pickle.loads(pickle.dumps(envs.get_state()))
    twins = [copy.deepcopy(envs), pickle.loads(pickle.dumps(envs)), _torch("MicrogridProsumer", 7, **options)]
    twins[2].set_state(state)
    ahead = [envs.step(action) for action in actions[15:]]
    envs.set_state(state)
    for twin in [*twins, envs]:
        for action, wanted in zip(actions[15:], ahead, strict=True):
            found = twin.step(action)
            assert all(torch.equal(a, b) for a, b in zip(found[:4], wanted[:4], strict=True))
            assert found[4].keys() == wanted[4].keys()


def test_state_of_given_instances() -> None:
    envs = _torch("TwoSites", 2)
    dear = [make_instance("two_sites", s, horizon_h=HORIZON_H, carbon_price_usd_per_t=300.0) for s in (1, 2)]
    envs.reset(seed=1, options={"instances": dear})
    actions = torch.from_numpy(_actions(envs, 8))
    envs.step(actions[0])
    other = _torch("TwoSites", 2)
    other.set_state(envs.get_state())
    assert all(torch.equal(envs.step(a)[1], other.step(a)[1]) for a in actions[1:])


# Gradients ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["two_sites", "microgrid_prosumer", "flexible"])
def test_gradients_are_those_of_finite_differences(name: str) -> None:
    """Through three steps, state and projection included; random actions do not sit on a kink."""
    is_flexible = name == "flexible"
    batch = make_batch(
        flexible() if is_flexible else compile_scenario(load_scenario(name, horizon_h=12.0)), range(4)
    )
    episodes = uploaded(batch, "cpu", torch.float64)
    rng = np.random.default_rng(5)
    size = Simulator(episodes).layout.size
    actions = torch.from_numpy(rng.uniform(-0.9, 0.9, (3, 4, size)))
    actions[..., 1] = -0.3  # whatever is refused or held is no corner of this point
    if is_flexible:
        actions[..., -2:] = actions[..., -2:].abs()  # some power is saved
    direction = torch.from_numpy(rng.standard_normal(actions.shape))

    def benefit_usd(a: Any) -> Any:
        simulator = Simulator(episodes)
        return sum(simulator.step(step)[1].benefit_usd for step in a)

    wanted = (benefit_usd(actions + 1e-6 * direction) - benefit_usd(actions - 1e-6 * direction)) / 2e-6
    given = actions.clone().requires_grad_()
    (slope,) = torch.autograd.grad(benefit_usd(given).sum(), given)
    found = (slope * direction).sum((0, 2))
    assert (slope != 0.0).any(-1).all()
    np.testing.assert_allclose(found.numpy(), wanted.numpy(), rtol=1e-5)


@pytest.mark.parametrize("limit", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("mode", [0.0, 0.4, 1.0])
def test_gradients_at_corners_of_power_modes_are_numbers(mode: float, limit: float) -> None:
    """Nothing saved, or all of it; no work at a site, none at all, and import that feeds a part or nothing."""
    batch = make_batch(flexible(), range(4))
    episodes = uploaded(batch, "cpu", torch.float64)
    lower = episodes.exogenous.import_limit_mw * limit
    episodes = replace(episodes, exogenous=episodes.exogenous.replace(import_limit_mw=lower))
    layout = Simulator(episodes).layout
    at_one, refused, at_home = (np.zeros(layout.size) for _ in range(3))
    layout.split(at_one)["routing"][..., :2] = [-1.0, 1.0]
    layout.split(refused)["routing"][..., -1] = 1.0
    for action in (at_one, refused, at_home):
        layout.split(action)["mode"][...] = mode
        simulator = Simulator(episodes)
        given = torch.tensor(np.tile(action, (24, 4, 1))).requires_grad_()
        total: Any = 0.0
        for step in given:
            total = total + simulator.step(step)[1].benefit_usd.sum()
        (slope,) = torch.autograd.grad(total, given)
        assert bool(slope.isfinite().all())
        saves = slope[..., layout.slices["mode"]]
        if action is at_home and mode == 0.4:
            # Less power for the same work earns, wherever any is served.
            assert bool((saves > 0.0).any(-1).all()) or limit == 0.0


def test_gradients_flow_through_rewards_and_observations() -> None:
    envs = _torch("FourMarkets", 2, flat_observations=True)
    envs.reset(seed=0)
    given = torch.zeros((2, envs.simulator.layout.size), requires_grad=True)
    observation, rewards, *_ = envs.step(given)
    later = envs.step(torch.zeros_like(given))[1]
    assert observation.requires_grad
    slope = torch.autograd.grad(rewards.sum() + later.sum() + observation.sum(), given)[0]
    assert bool((slope != 0.0).any())
    envs.simulator.detach()
    assert not envs.step(torch.zeros_like(given))[1].requires_grad


# Faults -------------------------------------------------------------------------------------------


def test_a_wrong_value_is_found_at_the_end_of_the_episode() -> None:
    envs = _torch("TwoSites", 3)
    envs.reset(seed=0)
    good = torch.zeros((3, envs.simulator.layout.size))
    bad = good.clone()
    bad[1, 4] = torch.nan
    envs.step(bad)
    for _ in range(10):
        envs.step(good)
    with pytest.raises(ValueError, match=r"environments 1 \(1 of 3\)"):
        envs.step(good)
    with pytest.raises(ResetNeeded):
        envs.step(good)
    envs.reset(seed=0)
    envs.step(good * 2.0 - 1.5)
    with pytest.raises(ValueError, match="3 of 3"):
        envs.reset()
    envs.reset()


def test_a_wrong_action_is_refused_at_once() -> None:
    envs = _torch("TwoSites", 3, dtype="float32")
    with pytest.raises(ResetNeeded, match="reset"):
        envs.step(torch.zeros((3, 30)))
    envs.reset(seed=0)
    good = torch.zeros((3, envs.simulator.layout.size))
    for bad, message in (
        (good[:2], r"shape \(2, 30\), must be \(3, 30\)"),
        (good.long(), "must be float32 or float64"),
        (good.to("meta"), r"on device 'meta', must be on 'cpu'"),
        (np.full((3, 30), np.nan), r"action\[0, 0\] = nan"),
        (np.zeros((3, 29)), "shape"),
    ):
        with pytest.raises(ValueError, match=message):
            envs.step(bad)
    assert not envs.simulator.t.any()
    twin = _torch("TwoSites", 3, dtype="float32")
    twin.reset(seed=0)
    assert torch.equal(envs.step(good.numpy())[1], twin.step(good)[1])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"device": "tpu3"}, "device = 'tpu3'"),
        ({"device": "cuda:99"}, "leave device out"),
        ({"dtype": "float16"}, "dtype = 'float16'"),
        ({"episodes": "moon"}, "episodes = 'moon'"),
        ({"render_mode": "rgb_array"}, "draw no pictures"),
        ({"graphs": True}, "needs a compiled step and a CUDA device"),
        ({"num_envs": 0}, "num_envs = 0"),
        ({"autoreset_mode": "Later"}, "autoreset_mode = 'Later'"),
    ],
)
def test_wrong_arguments(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GridAITorchVectorEnv(**arguments)


def test_wrong_resets() -> None:
    envs = _torch("TwoSites")
    with pytest.raises(ResetNeeded, match="all environments"):
        envs.reset(options={"reset_mask": np.array([True, False, False])})
    envs.reset(seed=0)
    for options, message in (
        ({"mask": 1}, r"'mask'\]: unknown"),
        ({"reset_mask": np.zeros(3, dtype=bool)}, "at least one"),
        ({"reset_mask": torch.ones(2, dtype=torch.bool)}, "tensor of bool"),
        ({"instances": []}, "0 given, 3"),
        ({"instances": "abc"}, "must be a list"),
    ):
        with pytest.raises(ValueError, match=message):
            envs.reset(options=options)


def test_the_entry_point_chooses(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="dtype, stagger: only with a device"):
        _numpy("TwoSites", stagger=True, dtype="float32")
    envs = gym.make_vec("gridai/TwoSites-v2", 2, "vector_entry_point", device="cpu", horizon_h=HORIZON_H)
    assert isinstance(envs.unwrapped, GridAITorchVectorEnv)
    assert envs.unwrapped.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP
    again = gym.make_vec(envs.spec).unwrapped  # type: ignore[arg-type]
    assert isinstance(again, GridAITorchVectorEnv)
    assert again.num_envs == 2
    monkeypatch.setattr("gridai_env.entry.find_spec", lambda name: None)
    with pytest.raises(gym.error.DependencyNotInstalled, match=r"pip install .*\[rl\]"):
        _torch("TwoSites")


# Size and speed -----------------------------------------------------------------------------------


def tensor_bytes(thing: Any, seen: dict[int, int] | None = None) -> int:
    """Bytes of all memory that tensors hold which can be reached from ``thing``, each counted once."""
    seen = {} if seen is None else seen
    todo, known = [thing], set()
    while todo:
        x = todo.pop()
        if id(x) in known or isinstance(x, str | bytes | np.ndarray | np.generic | type):
            continue
        known.add(id(x))
        if isinstance(x, torch.Tensor):
            storage = x.untyped_storage()
            seen[storage.data_ptr()] = storage.nbytes()
        elif isinstance(x, dict):
            todo += x.values()
        elif isinstance(x, list | tuple | set):
            todo += x
        elif hasattr(x, "__dict__") and type(x).__module__.startswith("gridai_env"):
            todo += vars(x).values()
    return sum(seen.values())


def test_eight_thousand_global_environments_fit_in_8_gb() -> None:
    """Counted: what an environment holds, what a step hands out, and an eighth more episodes in stock."""
    few, many = 64, 128
    held = []
    for count in (few, many):
        envs = _torch("Global", count, episodes="device", dtype="float32", horizon_h=168.0)
        envs.reset(seed=0)
        result = envs.step(torch.zeros((count, envs.simulator.layout.size)))
        held.append(tensor_bytes([envs, result]))
    per_environment = (held[1] - held[0]) / (many - few)
    assert per_environment > 300e3
    assert 8192 * (1 + SHARE) * per_environment <= 8e9


@pytest.mark.parametrize(
    "name", ["EnergyGeography", "MicrogridProsumer", pytest.param("Global", marks=pytest.mark.slow)]
)
def test_the_batch_axis_moved_last_changes_nothing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The graph that the compiler gets, run as it is."""
    monkeypatch.setattr("torch.compile", lambda graph, **_: graph)
    options = {"episodes": "device", "flat_observations": True, "copy": False}
    plain, moved = _torch(name, 7, **options), _torch(name, 7, compile="torch", **options)
    assert torch.equal(plain.reset(seed=1)[0], moved.reset(seed=1)[0])
    for action in torch.from_numpy(_actions(plain, 14)):
        ours, theirs = moved.step(action), plain.step(action)
        for found, wanted in zip(ours, theirs, strict=True):
            if isinstance(wanted, dict):
                wanted = {key: x.numpy() for key, x in wanted.items() if isinstance(x, torch.Tensor)}
                assert _distance({key: found[key] for key in wanted}, wanted) <= EXACT
            else:
                assert _distance(found, wanted.numpy()) <= EXACT


def _slopes(envs: GridAITorchVectorEnv, dtype: torch.dtype) -> torch.Tensor:
    """Gradients [3,B,A] of rewards and observations by the actions of three steps."""
    envs.reset(seed=1)
    actions = torch.from_numpy(np.random.default_rng(5).uniform(-0.9, 0.9, (3, *envs.action_space.shape)))
    given = actions.to(dtype).requires_grad_()
    total = torch.zeros((), dtype=dtype)
    for action in given:
        observation, rewards, *_ = envs.step(action)
        total = total + (rewards * torch.arange(1, 8)).sum() + 0.1 * observation.square().mean()
    return torch.autograd.grad(total, given)[0]


@pytest.mark.parametrize(
    "name",
    [
        "MicrogridProsumer",
        "DemandResponse",
        *(pytest.param(one, marks=pytest.mark.slow) for one in ("EnergyGeography", "Global")),
    ],
)
def test_gradients_of_the_compiled_step_are_those_of_the_equations(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.compile", lambda graph, **_: graph)
    options: dict[str, Any] = {"episodes": "device", "flat_observations": True}
    plain, moved = (_slopes(_torch(name, 7, compile=c, **options), torch.float64) for c in (False, "torch"))
    assert bool((plain != 0.0).any(-1).all())
    torch.testing.assert_close(moved, plain, rtol=1e-9, atol=1e-12)


@pytest.mark.slow  # torch's compiler needs a minute
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch in its own compiler
def test_compiled_gradients_are_the_same() -> None:
    options: dict[str, Any] = {"dtype": "float32", "episodes": "device", "flat_observations": True}
    plain, fused = (
        _slopes(_torch("TwoSites", 7, compile=c, **options), torch.float32) for c in (False, "torch")
    )
    torch.testing.assert_close(fused, plain, rtol=1e-3, atol=1e-4)


@pytest.mark.slow  # torch's compiler needs half a minute
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch in its own compiler
@pytest.mark.parametrize("name", ["TwoSites", "Global"])
def test_compiled_steps_are_the_same(name: str) -> None:
    options = {"dtype": "float32", "episodes": "device", "flat_observations": True}
    plain, fused = _torch(name, 8, **options), _torch(name, 8, compile="torch", **options)
    assert torch.equal(plain.reset(seed=1)[0], fused.reset(seed=1)[0])
    for action in torch.from_numpy(_actions(plain, 14)):
        ours, theirs = fused.step(action), plain.step(action)
        assert _distance(ours[0], theirs[0].numpy()) <= 1e-4
        assert _distance(ours[1], theirs[1].numpy()) <= 1e-4
        assert ours[4].keys() == theirs[4].keys()


def test_names_of_the_figures() -> None:
    envs = _torch("TwoSites", 2)
    _, infos = envs.reset(seed=0)
    assert {*KEYS, *EPISODE_KEYS} < set(infos)
    for action in torch.from_numpy(_actions(envs, 12)):
        *_, infos = envs.step(action)
    assert set(EPISODE_KEYS) < set(infos["final_info"])
    total = infos["final_info"]["episode/benefit_usd"]
    assert total.shape == (2,)
    assert bool(infos["final_info"]["_episode/benefit_usd"].all())
    assert State.names() == tuple(envs.simulator.state.names())


def test_batches_that_cannot_be_told_from_the_sites_are_not_compiled() -> None:
    for count, refused in ((4, True), (5, False)):
        options: dict[str, Any] = {"scenario": "four_markets", "device": "cpu", "compile": "torch"}
        if refused:
            with pytest.raises(ValueError, match=r"num_envs = 4: .* number of sites \(4\)"):
                GridAITorchVectorEnv(count, **options)
        else:
            GridAITorchVectorEnv(count, **options).close()
