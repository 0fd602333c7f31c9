"""What counts as a policy, and what `as_policy` makes of everything else."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from baselines.rules.greedy import Greedy
from baselines.rules.single_signal import LocalOnly
from gridai_env import make_batch
from gridai_env.analysis.loss_by_lever import lever_losses
from gridai_env.episodes.instance import Instance
from gridai_env.rollout import Policy, as_policy, policy_name, run, run_many
from tests.support.small_scenario import small


@pytest.fixture(scope="module")
def instances() -> list[Instance]:
    compiled = small()
    return [make_batch(compiled, [seed])[0] for seed in (0, 1)]


class Model:
    """As a model of Stable-Baselines3: `predict` alone, deterministic only where asked."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.deterministic: list[bool] = []

    def predict(
        self, observation: Any, state: Any = None, episode_start: Any = None, deterministic: bool = False
    ) -> tuple[Any, Any]:
        self.deterministic.append(deterministic)
        return np.zeros((*observation["pue"].shape[:-1], self.size), dtype=np.float32), state


class Watcher(Model):
    """A duck-typed planner, which notes what it is told."""

    name = "watcher"

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self.told: list[Any] = []

    def begin(self, instance: Instance) -> None:
        self.told.append(instance)


def size_of(instance: Instance) -> int:
    return run(LocalOnly(), instance).actions.shape[1]  # type: ignore[union-attr]


def test_a_policy_stays_what_it_is() -> None:
    rule = LocalOnly()
    assert as_policy(rule) is rule
    assert not rule.plays_one_episode
    assert rule.observed_parts is None


def test_a_model_is_adapted_and_asked_for_its_mode(instances: list[Instance]) -> None:
    model = Model(size_of(instances[0]))
    policy = as_policy(model)
    assert isinstance(policy, Policy)
    assert (policy.name, policy.plays_one_episode) == ("Model", False)
    assert [t.policy for t in run_many(model, instances)] == ["Model"] * 2
    assert model.deterministic == [True] * instances[0].steps  # both episodes at once


def test_a_duck_that_begins_plays_one_episode_at_a_time(instances: list[Instance]) -> None:
    duck = Watcher(size_of(instances[0]))
    assert as_policy(duck).plays_one_episode
    trajectories = run_many(duck, instances)
    assert duck.told == instances
    assert [t.policy for t in trajectories] == ["watcher"] * 2
    with pytest.raises(ValueError, match="watcher: a planner plays one episode at a time"):
        lever_losses(duck, instances, [])


@pytest.mark.parametrize("method", ["prepare", "reseed"])
def test_each_method_of_a_duck_is_optional(method: str, instances: list[Instance]) -> None:
    told: list[Any] = []
    duck = Model(size_of(instances[0]))
    setattr(duck, method, told.append)
    run(duck, instances[0], seed=7)
    assert told == [{"prepare": instances[0].compiled, "reseed": 7}[method]]


def test_a_policy_that_begins_is_a_planner() -> None:
    class Planner(LocalOnly):
        def begin(self, instance: Instance) -> None: ...

    assert Planner().plays_one_episode
    assert Planner().name == LocalOnly.name


def test_a_policy_without_a_name_has_that_of_its_class() -> None:
    class Quiet(Policy):
        def predict(self, *_: Any, **__: Any) -> Any: ...

    class Still(Quiet): ...

    assert [Quiet().name, Still().name] == ["Quiet", "Still"]


def test_a_plan_is_replayed(instances: list[Instance]) -> None:
    played = run(Greedy(), instances[0])
    plan = SimpleNamespace(instance=instances[0], actions=played.actions, flows=played.flows, name="best")
    replayed = run(plan, instances[0])
    np.testing.assert_array_equal(replayed.actions, played.actions)
    assert np.isnan(replayed.seconds_per_decision)
    assert policy_name(plan) == replayed.policy == "best"
    assert as_policy(plan).plays_one_episode
    with pytest.raises(ValueError, match="another instance"):
        run(as_policy(plan), instances[1])
    with pytest.raises(ValueError, match="replay a plan with run"):
        run_many(plan, instances)  # type: ignore[arg-type]


def test_a_class_is_not_a_policy(instances: list[Instance]) -> None:
    for play in (lambda x: run(x, instances[0]), lambda x: run_many(x, instances)):
        with pytest.raises(
            ValueError, match=r"policy = LocalOnly: is a class; give an object, LocalOnly\(\)"
        ):
            play(LocalOnly)


@pytest.mark.parametrize("wrong", [None, 5, "greedy", SimpleNamespace(predict=3), lambda observation: 0])
def test_what_cannot_predict_says_what_a_policy_must_have(wrong: Any, instances: list[Instance]) -> None:
    with pytest.raises(ValueError, match=r"must have predict\(observation, state, episode_start") as error:
        run(wrong, instances[0])
    assert "\n" not in str(error.value)
