"""The benchmark: what is compared with what, and how a row is judged."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("stable_baselines3", reason="needs the extra 'rl'")

import torch

from gridai_env.envs.ring import plan
from gridai_env.observation.layout import ObservationLayout
from gridai_env.scenario.compile import compile_scenario
from gridai_env.scenario.load import load_scenario
from scripts import benchmark
from scripts.runs import parallel
from scripts.runs.command import InputError
from scripts.studies.speed import against, growth, host, learning
from scripts.studies.speed.learning import COMPILED, EAGER, NUMPY, OURS, PLAIN, Way
from scripts.studies.speed.measure import TARGETS, Figure
from scripts.studies.speed.setting import Setting, settings_of

CPU = Setting(torch.device("cpu"), "float32", (8,), 3, True)


class Model:
    """What `learning_figures` reads of a model."""

    n_epochs, batch_size, n_envs = 3, 1024, 256

    def __init__(self, way: Way) -> None:
        self.way = way


def test_ours_is_compared_with_the_fastest_way_of_plain_ppo_turn_by_turn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The machine is half as fast in the second round; the ratio does not see it."""
    base = {Way(OURS, EAGER): 90, Way(OURS, COMPILED): 120, Way(PLAIN, NUMPY): 60}
    base |= {Way(PLAIN, EAGER): 80, Way(PLAIN, COMPILED): 70}
    asked: list[Way] = []

    def speed(model: Any, setting: Setting) -> float:
        asked.append(model.way)
        return base[model.way] * (0.5 if 5 < len(asked) <= 10 else 1.0)

    monkeypatch.setattr(learning, "warm", lambda setting, way: Model(way))
    monkeypatch.setattr(learning, "_speed", speed)
    found = {figure.name: figure for figure in learning.learning_figures(CPU)}
    assert asked == learning.ways(True) * 3
    assert found["FourMarkets PPO, cpu"].value == 120
    assert found["FourMarkets PPO, cpu, torch batch"].value == 90
    assert found["FourMarkets plain SB3 PPO, cpu"].value == 80
    assert found["FourMarkets plain SB3 PPO, cpu, NumPy batch"].value == 60
    ratio = found["FourMarkets PPO over plain SB3, cpu"]
    assert ratio.value == pytest.approx(1.5)
    assert "compiled torch batch, torch batch; 1.5 to 1.5" in ratio.note
    assert TARGETS.keys() >= {"FourMarkets PPO, cpu", "FourMarkets PPO over plain SB3, cpu"}


def test_without_a_compiler_nothing_is_compiled() -> None:
    assert learning.ways(False) == [Way(OURS, EAGER), Way(PLAIN, NUMPY), Way(PLAIN, EAGER)]


def test_all_ways_have_the_same_settings_but_for_the_batch() -> None:
    ours, plain = (settings_of(CPU, name, compile=True).model_dump() for name in (OURS, PLAIN))
    assert {key for key in ours if ours[key] != plain[key]} == {"algorithm"}
    assert ours["on_device"]["compile"] and ours["torch_threads"] == torch.get_num_threads()


@pytest.mark.parametrize("way", learning.ways(False), ids=lambda way: f"{way.algorithm} {way.batch}")
def test_every_way_runs(way: Way, monkeypatch: pytest.MonkeyPatch) -> None:
    def small(*args: Any, **kwargs: Any) -> Any:
        changes = {"num_envs": 4, "rollout_steps": 6, "batch_size": 24, "epochs": 1, "hidden": [8]}
        config = settings_of(*args, **kwargs).model_copy(update=changes)
        return config.model_copy(
            update={"environment": config.environment.model_copy(update={"horizon_h": 6.0})}
        )

    monkeypatch.setattr(learning, "settings_of", small)
    model = learning.warm(CPU, way)
    assert learning._speed(model, CPU) > 0.0
    assert model.num_timesteps == 2 * 24  # the warm-up, and one episode of each


def test_the_default_is_one_thread_for_each_core(monkeypatch: pytest.MonkeyPatch) -> None:
    assert 1 <= parallel.cores() <= (os.cpu_count() or 1)
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 7)
    assert parallel.cores() == 7


def test_rows_say_whether_a_target_is_met() -> None:
    assert "| >= 1 | no |" in Figure("FourMarkets PPO over plain SB3, cpu", 0.99, "1").line()
    assert "| >= 1 | yes |" in Figure("FourMarkets PPO over plain SB3, cpu", 1.05, "1").line()
    assert "not measured" in Figure("FourMarkets PPO, cuda", None, "env-steps/s").line()


def test_goals_stand_beside_the_first_version() -> None:
    line = Figure("Global optimum", 25.0, "s", "seed 0").line()
    assert line == "| Global optimum | 25 | s | <= 30 | yes | 71 | seed 0 |"
    assert line.count("|") == host.HEADER_OF_FIGURES.splitlines()[0].count("|")


def test_environments_of_others_are_played(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One by Gymnasium's interface, of 10 steps and its resets; one that plays by itself."""
    text = """
import gymnasium as gym
class Counting(gym.Env):
    action_space, observation_space, steps, resets = gym.spaces.Discrete(3), gym.spaces.Discrete(1), 0, 0
    def reset(self, *, seed=None, options=None):
        Counting.resets += 1
        return 0, {}
    def step(self, action):
        Counting.steps += 1
        return 0, 0.0, Counting.steps % 10 == 0, False, {}
def make(): return Counting()
def own(): return lambda: 5
def none(): return 3
"""
    (tmp_path / "a_peer.py").write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    measure = host.peer_speed("py:a_peer:make")
    assert measure() > 0.0
    import a_peer  # type: ignore[import-not-found]

    assert (a_peer.Counting.steps, a_peer.Counting.resets) == (2000, 201)
    assert host.peer_speed("py:a_peer:own")() > 0.0
    for name, told in (
        ("py:a_peer:none", "a int has neither step"),
        ("py:nothing_here:make", "--peers py:nothing"),
    ):
        with pytest.raises(InputError, match=told):
            host.peer_speed(name)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--device", "nonsense"], "error: --device: "),
        (["--device", "meta"], "--device meta: must be none, cpu or cuda"),
        (["--out", "."], "is a folder"),
    ],
)
def test_what_cannot_be_measured_is_refused_before_measuring(
    words: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert benchmark.main(words) == 2
    said = capsys.readouterr()
    assert told in said.err and not said.out


def test_a_checkout_is_compared_with_another_one_in_turn() -> None:
    """With itself: the same work in both, so a ratio near 1, whatever the machine does."""
    name = "TwoSites, 1 environment"
    (found,) = against.compare("HEAD", 2, [name])
    assert isinstance(found, against.Ratio) and len(found.here) == len(found.there) == 2
    assert found.here[0].env_id == found.there[0].env_id == "gridai/TwoSites-v2"
    assert 0.5 < found.speedup.value < 2.0
    assert found.line().startswith(f"| {name} | ")


def test_ratios_are_of_the_rounds() -> None:
    """The machine is half as fast in the second round; the ratio does not see it."""
    sides = [tuple(against.Timed(f"w-v{v}", v * x) for x in (1.0, 2.0, 1.0)) for v in (1, 3)]
    found = against.Ratio("a step", *sides)
    assert found.speedup.value == found.speedup.low == found.speedup.high == 3.0
    assert found.line() == "| a step (there w-v3) | 1 | 3 | 3.00 | 3.00 to 3.00 |"


@pytest.mark.skipif(not any(map(shutil.which, ("g++", "clang++"))), reason="no C++ compiler on this machine")
def test_a_scenario_does_not_grow_over_itself() -> None:
    same = load_scenario("two_sites")
    few, many, ratio, memory = growth.growth_figures(same, same, 3)
    assert few.name == many.name == "2 sites, a step" and few.value and many.value
    assert ratio.value is not None and 0.2 < ratio.value < 5.0 and "of open routes 1.0" in ratio.note
    compiled = compile_scenario(same)
    columns = next(iter(reversed(plan(compiled, ObservationLayout(compiled)).values()))).place.stop
    assert memory.value is not None and memory.value > 25 * columns * 4 / 1e6


def test_a_commit_that_is_not_there_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert benchmark.main(["--against", "nonsense"]) == 2
    assert "--against nonsense: " in capsys.readouterr().err
