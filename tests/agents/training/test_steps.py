"""How the environment steps of a run are computed."""

from __future__ import annotations

from typing import Any

import pytest

from agents.config import ConfigError, PPOConfig
from agents.training.environments import WORTH_STEPS, has_kernels, make_training_env, steps_in_words
from gridai_env.kernel import build
from gridai_env.scenario.compile import compile_scenario
from gridai_env.scenario.load import load_scenario

LONG, SHORT = {"total_steps": WORTH_STEPS}, {"total_steps": WORTH_STEPS - 1}


def config_of(**settings: Any) -> PPOConfig:
    """Settings of a run on the CPU."""
    return PPOConfig.model_validate({"device": "cpu", **settings})


@pytest.mark.parametrize(
    ("settings", "kernels", "words"),
    [
        ({**LONG}, True, "one compiled function"),
        ({**SHORT}, False, "NumPy"),
        ({**SHORT, "compile": True}, True, "one compiled function"),
        ({**LONG, "compile": False}, False, "NumPy"),
        ({**LONG, "algorithm": "device_ppo"}, True, "one compiled function"),
        (
            {**LONG, "algorithm": "device_ppo", "on_device": {"compile": True}},
            False,
            "torch, by its compiler",
        ),
        ({**LONG, "algorithm": "pathwise", "policy": "smooth_mlp"}, False, "torch"),
    ],
)
def test_long_runs_have_kernels(
    settings: dict[str, Any], kernels: bool, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agents.training.environments.compiler", lambda: "g++")
    assert has_kernels(config_of(**settings)) == kernels
    assert steps_in_words(config_of(**settings)) == words


def test_without_a_compiler_the_words_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> str:
        raise build.CannotBuild("none")

    monkeypatch.setattr("agents.training.environments.compiler", missing)
    assert steps_in_words(config_of(**LONG)) == "NumPy"


def test_gradients_have_no_kernels() -> None:
    with pytest.raises(
        ConfigError, match=r"^compile = True: steps of algorithm 'pathwise' are compiled by on_device"
    ):
        has_kernels(config_of(algorithm="pathwise", policy="smooth_mlp", compile=True))


@pytest.mark.parametrize("compile", [True, False])
def test_the_batch_is_made_so(compile: bool) -> None:
    compiled = compile_scenario(load_scenario("two_sites", horizon_h=6.0))
    env = make_training_env(config_of(num_envs=2, batch_size=48, compile=compile, **SHORT), compiled)
    assert env.env._kernels == compile
