"""What counts as a policy, and what `as_policy` makes of everything else."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.wrappers import FlattenObservation

from baselines.rules.greedy import Greedy
from baselines.rules.single_signal import LocalOnly
from gridai_env import GridAIEnv, RememberForecasts, make_batch
from gridai_env.analysis.loss_by_lever import lever_losses
from gridai_env.envs.action_space import ActiveActions
from gridai_env.episodes.instance import Instance
from gridai_env.rollout import FlatObservations, Policy, PolicyError, as_policy, policy_name, run, run_many
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
    assert (policy.name, policy.plays_one_episode) == ("Model", True)
    assert [t.policy for t in run_many(model, instances)] == ["Model"] * 2
    assert model.deterministic == [True] * 2 * instances[0].steps  # one episode after the other


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


# What a policy returns ----------------------------------------------------------------------------------------


class Answers:
    """Returns what it was made with, or that of a function."""

    name = "answers"

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def predict(
        self, observation: Any, state: Any = None, episode_start: Any = None, deterministic: bool = True
    ) -> Any:
        return self.answer


WRONG: dict[str, Any] = {
    "only an action": lambda n: np.zeros(n),
    "a list": lambda n: [np.zeros(n), None],
    "nothing": lambda n: None,
    "three": lambda n: (np.zeros(n), None, 0.0),
    "one more": lambda n: (np.zeros(n + 1), None),
    "a batch": lambda n: (np.zeros((1, n)), None),
    "a number": lambda n: (0.5, None),
    "no number": lambda n: (np.full(n, np.nan), None),
    "too large": lambda n: (np.full(n, 1.5), None),
    "text": lambda n: (np.full(n, "0"), None),
    "complex": lambda n: (np.zeros(n, dtype=complex), None),
    "ragged": lambda n: ([[0.0], [0.0, 0.0]], None),
    "a table": lambda n: ({"routing": np.zeros(n)}, None),
}


@pytest.mark.parametrize("kind", WRONG)
@pytest.mark.parametrize("own", [False, True], ids=["object", "Policy"])
def test_a_wrong_answer_is_one_line_that_says_what_is_right(
    kind: str, own: bool, instances: list[Instance]
) -> None:
    size = size_of(instances[0])
    made: type = type("Own", (Policy,), dict(vars(Answers))) if own else Answers
    with pytest.raises(PolicyError) as error:
        run(made(WRONG[kind](size)), instances[0])
    assert "\n" not in str(error.value)
    assert str(error.value).startswith("answers: ")
    assert f"predict must return (action, memory): {size} numbers in [-1, 1] as an array" in str(error.value)


def test_right_answers_of_other_types_pass(instances: list[Instance]) -> None:
    size = size_of(instances[0])
    runs = [run(Answers((kind, None)), instances[0]).benefit_usd for kind in (np.zeros(size), [0] * size)]
    assert runs[0] == runs[1]


def test_predict_must_take_its_four_arguments(instances: list[Instance]) -> None:
    wrong = SimpleNamespace(predict=lambda observation: (0, None))
    with pytest.raises(PolicyError, match=r"must take \(observation, state, episode_start, deterministic\)"):
        run(wrong, instances[0])


# Forms --------------------------------------------------------------------------------------------------------


class Spaced:
    """Tells by its spaces what it reads and returns, and keeps what it was shown."""

    def __init__(self, size: int, observation_space: Any = None, action_space: Any = None) -> None:
        self.size, self.seen = size, []  # type: ignore[var-annotated]
        self.observation_space, self.action_space = observation_space, action_space

    def predict(
        self, observation: Any, state: Any = None, episode_start: Any = None, deterministic: bool = True
    ) -> tuple[Any, Any]:
        self.seen.append(observation)
        return np.linspace(-1.0, 1.0, self.size, dtype=np.float32), None


def box(size: int) -> spaces.Box:
    return spaces.Box(-1.0, 1.0, (size,), np.float32)


def test_flat_observations_are_those_of_the_environment(instances: list[Instance]) -> None:
    env = GridAIEnv(instances[0].scenario)
    first, _ = env.reset(options={"instance": instances[0]})
    wanted = spaces.flatten(env.observation_space, first)
    plain = Spaced(size_of(instances[0]))
    told = Spaced(plain.size, box(len(wanted)))
    assert run(FlatObservations(plain), instances[0]).policy == "Spaced"
    run(told, instances[0])
    for policy in (plain, told):
        np.testing.assert_array_equal(policy.seen[0], wanted)
        assert policy.seen[0].dtype == np.float32
    named = Spaced(plain.size, env.observation_space, env.action_space)
    run(named, instances[0])
    assert {name: part.shape for name, part in named.seen[0].items()} == {
        name: part.shape for name, part in first.items()
    }


@pytest.mark.parametrize("is_flat", [False, True])
def test_remembered_forecasts_are_those_of_the_wrapper(is_flat: bool, instances: list[Instance]) -> None:
    """In both of two episodes: nothing is remembered from one to the next."""
    plain: Any = GridAIEnv(instances[0].scenario)
    base: Any = GridAIEnv(instances[0].scenario)
    env = RememberForecasts(FlattenObservation(base) if is_flat else base)
    active = ActiveActions.of(instances[0].compiled, may_refuse=False)
    policy = Spaced(active.size, env.observation_space, box(active.size))
    adapted = as_policy(policy)
    adapted.prepare(instances[0].compiled)
    for instance in instances:
        options = {"options": {"instance": instance}}
        (observation, _), (wanted, _) = plain.reset(**options), env.reset(**options)
        for step in range(instance.steps):
            action, _ = adapted.predict(observation, episode_start=np.array([step == 0]))
            seen = policy.seen[-1]
            for one, other in (
                ((seen, wanted),) if is_flat else ((seen[name], wanted[name]) for name in wanted)
            ):
                np.testing.assert_array_equal(one, other)
            assert len(seen) == len(wanted)
            observation, wanted = plain.step(action)[0], env.step(action)[0]


@pytest.mark.parametrize(("refuse", "shared"), [(False, False), (True, False), (False, True), (True, True)])
def test_active_actions_are_told_by_their_number(
    refuse: bool, shared: bool, instances: list[Instance]
) -> None:
    active = ActiveActions.of(instances[0].compiled, refuse, shared)
    policy = Spaced(active.size, action_space=box(active.size))
    played = run(policy, instances[0])
    numbers = np.linspace(-1.0, 1.0, active.size, dtype=np.float32)
    np.testing.assert_array_equal(played.actions[0], active.expand(numbers))  # type: ignore[index]


@pytest.mark.parametrize(
    ("spaced", "message"),
    [
        (
            {"observation_space": box(7)},
            r"reads 7 numbers, scenario 'small' shows a Dict of \d+ parts with (\d+)",
        ),
        (
            {"observation_space": spaces.Dict({"pue": box(2)})},
            "reads a Dict of 1 parts with 2 numbers, scenario",
        ),
        ({"observation_space": spaces.Discrete(4)}, r"reads Discrete\(4\), scenario"),
        (
            {"action_space": box(3)},
            r"returns 3 numbers, scenario 'small' takes \d+ numbers, or the active ones",
        ),
        ({"action_space": spaces.Discrete(4)}, r"returns Discrete\(4\), scenario 'small' takes"),
    ],
)
def test_spaces_of_another_scenario_are_refused_with_both_shapes(
    spaced: dict[str, Any], message: str, instances: list[Instance]
) -> None:
    with pytest.raises(PolicyError, match=message) as error:
        run(Spaced(3, **spaced), instances[0])
    assert "\n" not in str(error.value)
