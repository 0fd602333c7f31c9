"""The judge: what it reports is what the environment paid, alone or in a batch, by policy or by plan."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from baselines.optimum.milp import Plan, solve
from baselines.rules.greedy import Greedy
from baselines.rules.registry import REGISTRY
from baselines.rules.single_signal import LocalOnly, Random
from gridai_env.envs.env import GridAIEnv
from gridai_env.envs.simulator import Simulator
from gridai_env.episodes.instance import Instance, make_batch, stack
from gridai_env.rollout.run import run, run_many
from gridai_env.rollout.step_table import write_table
from gridai_env.world.actions import Layout
from gridai_env.world.terms import TERMS
from gridai_env.world.violations import UNITS, relative_violations
from tests.support.small_scenario import SMALL, small


@pytest.fixture(scope="module")
def instances() -> list[Instance]:
    return make_batch(small(), [0, 1, 2]).instances


@pytest.fixture(scope="module")
def plan(instances: list[Instance]) -> Plan:
    return solve(instances[0], mip_gap=1e-3)


@pytest.mark.parametrize("make", REGISTRY.values(), ids=REGISTRY)
def test_totals_are_the_sum_of_rewards(make: Callable[[], Any], instances: list[Instance]) -> None:
    for instance in instances:
        t = run(make(), instance)
        scale = sum(abs(value) for value in t.terms.values())
        paid = t.rewards.sum() * instance.scenario.reward_scale_usd
        assert abs(paid - t.benefit_usd) <= 1e-9 * scale
        assert abs(sum(t.terms.values()) - t.benefit_usd) <= 1e-9 * scale
        assert set(t.terms) == set(TERMS)


def test_the_environment_says_the_same(instances: list[Instance]) -> None:
    """Step by hand through the public interface: its info adds up to the trajectory."""
    t = run(Greedy(), instances[0])
    env = GridAIEnv(instances[0].scenario)
    env.reset(seed=5, options={"instance": instances[0]})
    assert t.actions is not None
    totals: dict[str, float] = {}
    for action, paid in zip(t.actions, t.rewards, strict=True):
        _, reward, terminated, truncated, info = env.step(action)
        assert reward == paid
        assert not truncated
        totals = {key: totals.get(key, 0.0) + value for key, value in info.items() if "episode/" not in key}
    assert terminated
    for key in (
        "benefit_usd",
        "bill_usd",
        "emissions_kg",
        "emissions_average_kg",
        "emissions_marginal_kg",
        "water_l",
    ):
        assert totals[key] == pytest.approx(t.metrics[key], rel=1e-9)
    for key in ("served_gpuh", "dropped_gpuh", "import_mwh", "export_mwh", "curtailed_mwh", "shed_mwh"):
        assert totals[key] == pytest.approx(t.metrics[key], rel=1e-9, abs=1e-9)
    for name in TERMS:
        assert totals[f"terms/{name}_usd"] == pytest.approx(t.terms[name], rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("make", REGISTRY.values(), ids=REGISTRY)
def test_a_batch_is_its_episodes_alone(make: Callable[[], Any], instances: list[Instance]) -> None:
    alone = [run(make(), instance, seed=7) for instance in instances]
    for batch in (1, 2, 64):
        together = run_many(make(), instances, seed=7, batch=batch)
        for one, t in zip(alone, together, strict=True):
            np.testing.assert_array_equal(one.actions, t.actions)
            np.testing.assert_array_equal(one.rewards, t.rewards)
            assert one.metrics == pytest.approx(t.metrics, rel=1e-12, nan_ok=True)


def test_the_table_holds_the_episode(instances: list[Instance]) -> None:
    t = run(Greedy(), instances[1])
    table, compiled = t.table, t.instance.compiled
    assert len(table) == t.instance.steps
    assert table["benefit_usd"].sum() == pytest.approx(t.benefit_usd)
    assert table["time_utc"][0] == t.instance.start_utc
    assert (np.diff(table["time_utc"]) == np.timedelta64(3600, "s")).all()
    imports = [table[f"import_mw/{site}"].sum() for site in compiled.site_names]
    assert sum(imports) * t.instance.params.dt_h == pytest.approx(t.metrics["import_mwh"])
    for row in compiled.row_names:
        after = table[f"backlog_gpuh/{row}"]
        before = np.concatenate([[0.0], after[:-1]])
        gone = table[f"served_gpuh/{row}"] + table[f"dropped_gpuh/{row}"]
        np.testing.assert_allclose(before + table[f"arrivals_gpuh/{row}"], gone + after, atol=1e-9)
    for region in compiled.region_names:
        shares = sum(table[f"route_share/{region} to {site}"] for site in compiled.site_names)
        np.testing.assert_allclose(shares, 1.0)
    for name in TERMS:
        assert table[f"terms/{name}_usd"].sum() == pytest.approx(t.terms[name])


def test_the_table_as_a_file(instances: list[Instance], tmp_path: Path) -> None:
    t = run(LocalOnly(), instances[0])
    write_table(t.table, tmp_path / "t.csv")
    lines = (tmp_path / "t.csv").read_text().splitlines()
    assert len(lines) == t.instance.steps + 1
    header, first = lines[0].split(","), lines[1].split(",")
    assert tuple(header) == t.table.dtype.names
    assert float(first[header.index("benefit_usd")]) == t.table["benefit_usd"][0]
    assert first[header.index("time_utc")].endswith("Z")


def test_a_plan_is_replayed_both_ways(plan: Plan, instances: list[Instance]) -> None:
    by_actions = run(plan, instances[0])
    by_flows = run(plan, instances[0], replay="flows")
    assert plan.benefit_usd is not None
    scale = sum(abs(value) for value in by_flows.terms.values())
    assert abs(by_flows.benefit_usd - plan.benefit_usd) <= 1e-9 * scale
    assert abs(by_actions.benefit_usd - plan.benefit_usd) <= 1e-6 * scale
    assert by_flows.actions is None
    assert np.isnan(by_actions.seconds_per_decision)
    assert by_actions.emissions_kg == pytest.approx(plan.emissions_kg, rel=1e-5)


def test_a_plan_must_fit(plan: Plan, instances: list[Instance]) -> None:
    with pytest.raises(ValueError, match="another instance"):
        run(plan, instances[1])
    empty = SimpleNamespace(instance=instances[0], actions=None, flows=None)
    with pytest.raises(ValueError, match="time_limit_s"):
        run(empty, instances[0])
    with pytest.raises(ValueError, match="for plans"):
        run(LocalOnly(), instances[0], replay="flows")
    with pytest.raises(ValueError, match="'actions' or 'flows'"):
        run(plan, instances[0], replay="states")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="plays policies"):
        run_many(plan, instances)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="at least 1"):
        run_many(LocalOnly(), instances, batch=0)


def test_a_plan_of_the_same_episode_under_other_constants_is_another_instance(
    plan: Plan, instances: list[Instance]
) -> None:
    battery = {"capacity_mwh": 2.0, "power_mw": 0.5, "charge_efficiency": 0.5}
    sites = [{**SMALL["sites"][0], "battery": battery}, SMALL["sites"][1]]
    other = make_batch(small(sites=sites), [0])[0]
    for replay in ("actions", "flows"):
        with pytest.raises(ValueError, match="another instance"):
            run(plan, other, replay=replay)  # type: ignore[arg-type]


def test_a_plan_must_be_as_long_as_the_episode(plan: Plan, instances: list[Instance]) -> None:
    assert plan.actions is not None
    assert plan.flows is not None
    for part in (
        {"actions": plan.actions[:-1]},
        {"flows": plan.flows.map(lambda x: np.concatenate([x, x[-1:]]))},
    ):
        parts = {"instance": instances[0], "actions": plan.actions, "flows": plan.flows} | part
        with pytest.raises(ValueError, match=r"steps, the instance has 48"):
            run(SimpleNamespace(**parts), instances[0])


@pytest.mark.parametrize(
    ("name", "change", "limit"),
    [
        ("served_gpuh", lambda x: x * 1.01, "power balance"),
        ("import_mw", lambda x: x - 1e-4, "power balance"),
        ("discharge_mw", lambda x: x + 5.0, "battery empty"),
        ("started", lambda x: x + 1.0, "job once"),
        ("started", lambda x: x * 0.5, "whole jobs"),
        ("carbon_excess_kg", lambda x: x - 5.0, "carbon_excess_kg >= 0"),
        ("generation_mw", lambda x: x * np.nan, "generation_mw >= 0"),
        ("charge_mw", lambda x: x + 0.01, "charge or discharge"),
    ],
)
def test_impossible_flows_are_not_paid(
    name: str, change: Callable[[Any], Any], limit: str, plan: Plan, instances: list[Instance]
) -> None:
    """Without this a forged plan would be scored above every bound."""
    assert plan.flows is not None
    forged = plan.flows.replace(**{name: change(getattr(plan.flows, name))})
    fake = SimpleNamespace(instance=instances[0], actions=plan.actions, flows=forged)
    with pytest.raises(ValueError, match=rf"step \d+: the plan's flows break .*'{limit}'"):
        run(fake, instances[0], replay="flows")


@pytest.mark.parametrize("make", [LocalOnly, Greedy, Random])
def test_flows_of_every_policy_keep_the_limits(make: Callable[[], Any], instances: list[Instance]) -> None:
    t = run(make(), instances[1])
    again = SimpleNamespace(instance=instances[1], actions=t.actions, flows=t.flows)
    np.testing.assert_allclose(run(again, instances[1], replay="flows").rewards, t.rewards, rtol=1e-9)


def test_each_limit_has_a_size(instances: list[Instance]) -> None:
    """A limit that is added must say what it is measured in, unless it is power at a site."""
    simulator = Simulator(stack(instances))
    action = np.zeros((len(instances), simulator.layout.size))
    p, state, exo = simulator.params, simulator.state, simulator.exogenous
    flows, _ = simulator.step(action)
    broken = relative_violations(p, state, exo, flows)
    assert max(broken.values()) <= 1e-12
    power = ("power balance", "import", "export", "peak", "renewable", "charge", "discharge", "generator")
    for name in broken.keys() - set(UNITS):
        assert name.startswith(power) or name.endswith("_mw >= 0"), name
    assert set(UNITS) <= set(broken)


class Constant:
    """Always the same value; of another shape where asked for."""

    def __init__(self, value: Any, cut: int = 0) -> None:
        self.value, self.cut = value, cut

    def predict(
        self, observation: Any, state: Any = None, episode_start: Any = None, deterministic: bool = True
    ) -> tuple[Any, Any]:
        lead = observation["pue"].shape[:-1]
        return np.full((*lead, self.size - self.cut), self.value), None

    def prepare(self, compiled: Any) -> None:
        self.size = Layout(compiled.shape).size


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        (Constant(5.0), r"action\[.*\] = 5: must be a number in \[-1, 1\]"),
        (Constant(float("nan")), r"action\[.*\] = nan"),
        (Constant("0.5"), "action: type"),
        (Constant(0.5, cut=1), r"action: shape \(.*\), must be \("),
    ],
    ids=["above", "nan", "text", "short"],
)
def test_wrong_actions_are_refused_alone_and_in_batches(
    policy: Constant, message: str, instances: list[Instance]
) -> None:
    with pytest.raises(ValueError, match=message):
        run(policy, instances[0])
    with pytest.raises(ValueError, match=message):
        run_many(policy, instances)


def test_memory_and_starts_are_handed_on(instances: list[Instance]) -> None:
    """A policy with a memory gets back what it returned, and the start of the episode once."""

    class Counting:
        name = "counting"

        def __init__(self) -> None:
            self.starts: list[bool] = []
            self.memory: list[Any] = []

        def predict(
            self, observation: Any, state: Any = None, episode_start: Any = None, deterministic: bool = True
        ) -> tuple[Any, Any]:
            self.starts.append(bool(episode_start[0]))
            self.memory.append(state)
            return np.zeros(env.action_space.shape, np.float32), (state or 0) + 1

    env = GridAIEnv(instances[0].scenario)
    policy = Counting()
    t = run(policy, instances[0])
    assert t.policy == "counting"
    assert policy.starts == [True] + [False] * (instances[0].steps - 1)
    assert policy.memory == [None, *range(1, instances[0].steps)]


class Planner(LocalOnly):
    """A policy that is shown the episode; it notes what it is told, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[Any] = []

    def prepare(self, compiled: Any) -> None:
        super().prepare(compiled)
        self.told.append(compiled)

    def reseed(self, seed: int) -> None:
        self.told.append(seed)

    def begin(self, instance: Instance) -> None:
        self.told.append(instance)

    def predict(self, observation: Any, *rest: Any, **more: Any) -> tuple[Any, Any]:
        self.told.append("step")
        assert observation["pue"].ndim == 1
        return super().predict(observation, *rest, **more)


def test_a_planner_is_shown_each_episode_before_its_first_step(instances: list[Instance]) -> None:
    expected: list[Any] = []
    for instance in instances:
        expected += [instance.compiled, 9, instance, *["step"] * instance.steps]
    planner = Planner()
    together = run_many(planner, instances, seed=9)
    assert len(planner.told) == len(expected)
    assert all(told is wanted or told == wanted for told, wanted in zip(planner.told, expected, strict=True))
    planner = Planner()
    alone = run(planner, instances[0], seed=9)
    assert planner.told == expected[: 3 + instances[0].steps]
    for t, one in zip(together, [alone, *run_many(LocalOnly(), instances[1:])], strict=True):
        np.testing.assert_array_equal(t.rewards, one.rewards)


def test_a_reward_that_is_not_the_ledger_is_caught(instances: list[Instance], monkeypatch: Any) -> None:
    honest = GridAIEnv.step

    def generous(self: GridAIEnv, action: Any) -> Any:
        observation, reward, *rest = honest(self, action)
        return observation, reward + 1e-4, *rest

    monkeypatch.setattr(GridAIEnv, "step", generous)
    with pytest.raises(RuntimeError, match="ledger"):
        run(LocalOnly(), instances[0])


def test_seeds_matter_to_policies_that_draw(instances: list[Instance]) -> None:
    first, again, other = (run(Random(), instances[0], seed=seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first.actions, again.actions)
    assert first.actions is not None
    assert other.actions is not None
    assert (first.actions != other.actions).any()
