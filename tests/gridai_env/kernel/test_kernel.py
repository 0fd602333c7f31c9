"""Compiled steps: equal to NumPy's, alone and in a batch; what happens where none can be compiled."""

from __future__ import annotations

import copy
import pickle
import shutil
import warnings
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from baselines.optimum.variants import no_routing
from gridai_env import GridAIEnv, GridAIVectorEnv
from gridai_env.envs import step_kernel
from gridai_env.envs.simulator import Simulator
from gridai_env.episodes.instance import make_instance, stack
from gridai_env.kernel import build, emit
from gridai_env.observation.layout import ObservationLayout
from gridai_env.scenario.compile import Compiled, compile_scenario
from gridai_env.scenario.load import load_scenario
from tests.support.kernels import (
    BATCHES,
    TOLERANCE,
    actions_of,
    apart,
    batch_of,
    check_equal,
    compiled_simulator,
    has_kernel,
)
from tests.support.small_scenario import small
from tests.support.strategies import random_instances

pytest.importorskip("torch", reason="the first compilation needs torch (extra rl)")
step_trace = pytest.importorskip("gridai_env.envs.torch.step_trace")
pytestmark = pytest.mark.skipif(
    not any(shutil.which(name) for name in ("g++", "clang++")), reason="no C++ compiler on this machine"
)

FOR_USE = dict(step_kernel.OPTIMISE)
SCENARIOS = ["two_sites", "four_markets", "microgrid_prosumer", "energy_geography", "global"]


# Equal to NumPy -----------------------------------------------------------------------------------


@pytest.mark.parametrize("lanes", BATCHES)
@pytest.mark.parametrize("name", SCENARIOS)
def test_steps_are_those_of_numpy(name: str, lanes: str) -> None:
    check_equal(batch_of(name, BATCHES[lanes]), 12)


@pytest.mark.parametrize("lanes", BATCHES)
def test_steps_are_those_of_numpy_as_they_are_built_for_use(
    lanes: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(step_kernel, "OPTIMISE", FOR_USE)
    check_equal(batch_of("microgrid_prosumer", BATCHES[lanes]), 12)


@pytest.mark.parametrize("seed", range(4))
def test_steps_are_those_of_numpy_in_random_worlds(seed: int) -> None:
    check_equal(stack(random_instances(seed, 2, short_days=True)), 8)


@pytest.mark.slow  # each world has a kernel of its own
@pytest.mark.parametrize("first", range(0, 1000, 100))
def test_steps_are_those_of_numpy_in_a_thousand_worlds(first: int) -> None:
    for seed in range(first, first + 100):
        check_equal(stack(random_instances(10_000 + seed, 2, short_days=True)), 8)


@pytest.mark.parametrize("name", ["two_sites", "microgrid_prosumer"])
def test_an_episode_is_the_same_alone_and_in_any_batch(name: str) -> None:
    batch = batch_of(name, BATCHES["many"])
    layout = ObservationLayout(batch.compiled)
    (many, seen), actions = compiled_simulator(batch, layout), actions_of(layout, BATCHES["many"], 12)
    pieces = {b: compiled_simulator(stack([batch[i] for i in range(*b)]), layout) for b in ((9, 10), (2, 5))}
    for action in actions:
        figures, _ = many.step_figures(action)
        observation = seen.observe()
        for (first, last), (few, its) in pieces.items():
            assert np.array_equal(few.step_figures(action[first:last])[0], figures[:, first:last])
            assert np.array_equal(its.observe(), observation[first:last])


def test_a_wrong_sign_in_the_translation_is_noticed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GRIDAI_CACHE_DIR", str(tmp_path))
    monkeypatch.setitem(emit.ARITHMETIC, "sub", "({0} + {1})")
    with pytest.raises(AssertionError):
        check_equal(batch_of("two_sites", 1), 3)


@pytest.mark.parametrize("word", ["amin", "amax"])
def test_a_wrong_extreme_in_the_translation_is_noticed(
    word: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GRIDAI_CACHE_DIR", str(tmp_path))
    names = ("maximum", "clamp_min") if word == "amax" else ("minimum", "clamp_max")
    for name in names:
        monkeypatch.setitem(emit.ARITHMETIC, name, "({0})")
    with pytest.raises(AssertionError):
        check_equal(batch_of("microgrid_prosumer", 1), 6)


# What a kernel depends on -------------------------------------------------------------------------


def source(compiled: Compiled) -> str:
    """The C++ of a scenario's step."""
    return str(step_trace.step_source(compiled.params, ObservationLayout(compiled), "double", "one")[0])


def test_numbers_of_the_scenario_are_inputs() -> None:
    one = small()
    dear = compile_scenario(load_scenario(one.scenario, carbon_price_usd_per_t=77.0, latency_scale=1.1))
    assert one.hash != dear.hash
    assert source(one) == source(dear)
    days = [compile_scenario(load_scenario("two_sites", horizon_h=h)) for h in (14.0, 24.0)]
    assert source(days[0]) == source(days[1])


def test_no_axis_is_taken_for_that_of_the_batch() -> None:
    compiled = compile_scenario(load_scenario("microgrid_prosumer"))
    step = step_trace._Step(compiled.params, ObservationLayout(compiled), step_trace.torch.float64)
    others = [step.width, step.simulator.layout.size, step.observer.layout.size, *step.jobs]
    assert step.batch > max(others)


def test_a_trace_takes_no_memory() -> None:
    torch = step_trace.torch
    many = torch.empty((10**6, 10**7), device="meta")
    one = torch.ones(1)
    graph = step_trace.recorded(lambda given: [given[0] * one + 2.0], [many])
    assert [each.name for each in graph.operations] == ["mul", "add"]
    for wrong in (lambda given: [given[0] * float(given[0].sum())], lambda given: [given[0].add_(1.0)]):
        with pytest.raises(NotImplementedError, match="must neither depend on a number nor write in place"):
            step_trace.recorded(wrong, [many])


@pytest.mark.parametrize("compile", [True, False])
def test_constants_of_an_instance_count(compile: bool) -> None:
    """A variant of an episode has the hash of its scenario, and other constants."""
    instance = make_instance("two_sites", 1, horizon_h=6.0)
    closed = no_routing(instance)
    env = GridAIEnv("two_sites", horizon_h=6.0, compile=compile)
    action = actions_of(env.layout, 1, 1)[0, 0]

    def benefit_usd(*played: Any) -> list[float]:
        found = []
        for one in played:
            env.reset(**({"options": {"instance": one}} if one is not None else {"seed": 1}))
            found.append(float(env.step(action)[4]["benefit_usd"]))
        return found

    plain, other = (Simulator(stack([one])) for one in (instance, closed))
    wanted = [float(each.step_figures(action[None])[0][0, 0]) for each in (plain, other)]
    assert wanted[0] != wanted[1]
    assert benefit_usd(instance, closed, None) == pytest.approx([*wanted, wanted[0]], rel=1e-9)
    assert benefit_usd(closed, instance, closed) == pytest.approx([wanted[1], *wanted], rel=1e-9)


def test_other_constants_beside_episodes_that_go_on_are_refused() -> None:
    envs = GridAIVectorEnv(2, "two_sites", horizon_h=6.0)
    envs.reset(seed=0)
    closed = no_routing(make_instance("two_sites", 1, horizon_h=6.0))
    with pytest.raises(
        ValueError, match=r"options\['instances'\]: their constants were changed, .* reset all"
    ):
        envs.reset(options={"instances": [closed], "reset_mask": np.array([True, False])})


def test_a_kernel_from_the_cache_needs_no_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    batch = batch_of("two_sites", 1)
    layout = ObservationLayout(batch.compiled)
    compiled_simulator(batch, layout)
    build._here.clear()
    monkeypatch.setattr(step_trace, "step_source", lambda *_: pytest.fail("traced again"))
    monkeypatch.setattr(step_kernel, "find_spec", lambda _: None)
    compiled_simulator(batch, layout)


# Where there is none ------------------------------------------------------------------------------


def said() -> str:
    """What an environment that cannot compile says, and that it works."""
    with pytest.warns(UserWarning) as told:
        env = GridAIEnv("two_sites", compile=True)
        env.reset(seed=0)
    copies = [copy.deepcopy(env), pickle.loads(pickle.dumps(env))]
    idle = np.zeros(env.action_space.shape or (), dtype=np.float32)
    assert len({each.step(idle)[1] for each in (*copies, copy.deepcopy(env))}) == 1
    assert env.step(env.action_space.sample())[1] != 0.0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        GridAIEnv("two_sites", compile=True).reset(seed=0)  # said once
    (line,) = [str(each.message) for each in told]
    assert "\n" not in line
    return line


def test_without_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr("shutil.which", lambda _: None)
    assert said() == (
        "compile=True: no C++ compiler was found; install g++ or clang++, or name one in $CXX. Steps are not compiled, "
        "with the same results"
    )


def test_a_compiler_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert said().startswith(
        "compile=True: CXX = 'no-such-compiler' is no program; name a C++ compiler, or unset it"
    )


def test_without_torch(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GRIDAI_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(step_kernel, "find_spec", lambda _: None)
    assert "needs torch; run pip install" in said()


def test_a_compiler_that_fails(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GRIDAI_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(build, "FLAGS", ("--no-such-flag",))
    assert "failed: " in said()


def test_an_operation_without_a_translation(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GRIDAI_CACHE_DIR", str(tmp_path))
    monkeypatch.delitem(emit.ARITHMETIC, "maximum")
    assert "has no translation (maximum" in said()


def test_a_folder_that_cannot_be_written_to(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("GRIDAI_CACHE_DIR", str(tmp_path / "file" / "cache"))
    with pytest.warns(UserWarning, match="cannot be kept in .*; set GRIDAI_CACHE_DIR to a folder"):
        check_equal(batch_of("two_sites", 1), 2)
    check_equal(batch_of("two_sites", 1), 2)  # built and said once


def test_a_damaged_library_is_built_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GRIDAI_CACHE_DIR", str(tmp_path))
    batch = batch_of("two_sites", 1)
    check_equal(batch, 2)
    (kept,) = tmp_path.glob("*.so")
    whole = kept.read_bytes()
    kept.unlink()  # the library that is loaded stays as it is
    kept.write_bytes(whole[: len(whole) // 2])
    build._here.clear()
    check_equal(batch, 2)
    assert len(kept.read_bytes()) == len(whole)


# In environments ----------------------------------------------------------------------------------


def test_an_environment_passes_the_checks_of_gymnasium() -> None:
    check_env(gym.make("gridai/TwoSites-v2", compile=True).unwrapped, skip_render_check=True)


def test_an_environment_goes_on_from_copies_and_snapshots() -> None:
    env, plain = (GridAIEnv("microgrid_prosumer", horizon_h=12.0, compile=c) for c in (True, False))
    actions = actions_of(env.layout, 1, 14)[:, 0]
    for each in (env, plain):
        each.reset(seed=3)
    for action in actions[:5]:
        found, wanted = env.step(action), plain.step(action)
        assert found[1] == pytest.approx(wanted[1], rel=1e-9, abs=1e-9)
        assert found[4] == pytest.approx(wanted[4], rel=1e-9, abs=1e-9)
    state = pickle.loads(pickle.dumps(env.get_state()))
    others = [
        copy.deepcopy(env),
        pickle.loads(pickle.dumps(env)),
        GridAIEnv("microgrid_prosumer", horizon_h=12.0),
    ]
    others += [GridAIEnv("microgrid_prosumer", horizon_h=12.0, compile=True), env]
    ahead = [env.step(action) for action in actions[5:12]]
    for other in others[2:]:
        other.set_state(state)
    for other in others:
        exact = has_kernel(other.simulator)
        for action, wanted in zip(actions[5:12], ahead, strict=True):
            found = other.step(action)
            assert found[1] == (wanted[1] if exact else pytest.approx(wanted[1], rel=1e-9, abs=1e-9))


def test_an_environment_plays_the_same_episodes_one_after_another() -> None:
    env, plain = (GridAIEnv("microgrid_prosumer", compile=c) for c in (True, False))
    assert "jobs" in env.layout.parts
    shown = [each.reset(seed=5)[0] for each in (env, plain)]
    actions, t = actions_of(env.layout, 1, 8)[:, 0], 0
    for _ in range(6):
        over = False
        while not over:
            found, wanted = env.step(actions[t % 8]), plain.step(actions[t % 8])
            assert found[4] == pytest.approx(wanted[4], rel=1e-9, abs=1e-9)
            shown, over, t = [found[0], wanted[0]], wanted[2], t + 1
        shown = [each.reset()[0] for each in (env, plain)]
        assert all(apart(shown[0][name], shown[1][name]) <= 1e-6 for name in shown[1])


def test_a_batch_restarts_like_its_environments() -> None:
    envs = GridAIVectorEnv(5, "two_sites", horizon_h=6.0, compile=True)
    singles = [GridAIEnv("two_sites", horizon_h=6.0, compile=True) for _ in range(5)]
    envs.reset(seed=7)
    for i, env in enumerate(singles):
        env.reset(seed=7 + i)
    for action in actions_of(envs.layout, 5, 15):
        together, rewards, ended, _, _ = envs.step(action)
        for i, env in enumerate(singles):
            observation, reward, over, _, _ = env.step(action[i])
            assert (reward, over) == (rewards[i], ended[i])
            if over:
                observation, _ = env.reset()
            assert all(np.array_equal(together[name][i], observation[name]) for name in observation)


def test_the_last_step_can_be_drawn() -> None:
    env = GridAIEnv("two_sites", horizon_h=6.0, render_mode="rgb_array", compile=True)
    plain = GridAIEnv("two_sites", horizon_h=6.0, render_mode="rgb_array")
    for each in (env, plain):
        each.reset(seed=1)
        for action in actions_of(each.layout, 1, 2)[:, 0]:
            each.step(action)
    assert np.array_equal(env.render(), plain.render())


def test_what_was_played_last_is_the_callers_no_more() -> None:
    """Actions that are written over, flows in between, and snapshots that go to an environment without kernels."""
    env, plain = (GridAIEnv("two_sites", horizon_h=6.0, compile=c) for c in (True, False))
    for each in (env, plain):
        each.reset(seed=1)
    action = actions_of(env.layout, 1, 1)[0, 0]
    given = action.copy()
    env.step(given)
    given[:] = 0.9
    plain.step(action)
    found, wanted = env.simulator.last_step(), plain.simulator.last_step()
    assert found is not None
    assert wanted is not None
    assert apart(found[0].served_gpuh, wanted[0].served_gpuh) <= TOLERANCE

    plain.set_state(env.get_state())
    again = plain.simulator.last_step()
    assert again is not None
    assert np.array_equal(again[0].served_gpuh, found[0].served_gpuh)
    plain.simulator.step_flows(wanted[0])
    assert plain.simulator.last_step() is None


def test_actions_of_another_shape_are_refused() -> None:
    batch = batch_of("two_sites", 3)
    simulator, _ = compiled_simulator(batch, ObservationLayout(batch.compiled))
    for shape in ((3, 5), (2, simulator.layout.size)):
        with pytest.raises(ValueError, match=r"^action: shape .*, must be \(3, "):
            simulator.step_figures(np.zeros(shape, dtype=np.float32))


@pytest.mark.parametrize("value", ["yes", 2, 1, "torch", np.zeros(2)])
def test_another_word_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match=r"^compile = .*: must be one of \[False, True\]$"):
        GridAIEnv("two_sites", compile=value)


# The batch on torch -------------------------------------------------------------------------------


def torch_envs(compile: bool, dtype: str = "float64", **options: Any) -> Any:
    """A batch on torch, of a scenario with jobs, whose episodes end at different times."""
    from gridai_env.envs.torch.vector_env import GridAITorchVectorEnv

    options = {"horizon_h": 6.0, "flat_observations": True, "stagger": True, "dtype": dtype, **options}
    return GridAITorchVectorEnv(9, "microgrid_prosumer", compile=compile, **options)


@pytest.mark.parametrize("copies", [True, False])
@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-12), ("float32", 1e-4)])
def test_a_batch_on_torch_is_the_same_over_episodes(dtype: str, tolerance: float, copies: bool) -> None:
    fast, plain = (torch_envs(compile, dtype, copy=copies) for compile in (True, False))
    found, wanted = fast.reset(seed=3), plain.reset(seed=3)
    assert apart(found[0], wanted[0]) <= 1e-5
    for action in actions_of(fast.layout, 9, 15):
        found, wanted = fast.step(action), plain.step(action)
        assert has_kernel(fast.simulator)
        assert apart(found[0], wanted[0]) <= 1e-5
        assert apart(found[1], wanted[1]) <= tolerance
        assert np.array_equal(found[2], wanted[2])
        for key in ("benefit_usd", "episode/served_gpuh"):
            assert apart(found[-1][key], wanted[-1][key]) <= tolerance
        if "final_obs" in found[-1]:
            over = np.asarray(found[-1]["_final_obs"])
            assert apart(found[-1]["final_obs"][over], wanted[-1]["final_obs"][over]) <= 1e-5


def test_a_batch_on_torch_goes_on_from_a_snapshot() -> None:
    envs = torch_envs(True)
    envs.reset(seed=1)
    actions = actions_of(envs.layout, 9, 12)
    for action in actions[:4]:
        envs.step(action)
    state = pickle.loads(pickle.dumps(envs.get_state()))
    ahead = [envs.step(action)[1] for action in actions[4:]]
    other = torch_envs(True)
    other.set_state(state)
    assert all(np.array_equal(other.step(a)[1], b) for a, b in zip(actions[4:], ahead, strict=True))


def test_a_kernel_passes_no_gradients() -> None:
    import torch

    envs = torch_envs(True)
    envs.reset(seed=0)
    actions = torch.zeros((9, envs.simulator.layout.size), dtype=torch.float64, requires_grad=True)
    with pytest.raises(
        ValueError, match=r"^action: carries gradients .* use compile='torch' or compile=False"
    ):
        envs.step(actions)
    with torch.no_grad():
        envs.step(actions)


def test_wrong_actions_are_noticed() -> None:
    import torch

    envs = torch_envs(True, stagger=False)
    envs.reset(seed=0)
    actions = torch.zeros((9, envs.simulator.layout.size), dtype=torch.float64)
    actions[4, 2] = float("nan")
    with pytest.raises(ValueError, match="for environments 4 "):
        for _ in range(6):
            envs.step(actions)
