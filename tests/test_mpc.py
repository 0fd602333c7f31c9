"""Model predictive control: what it may see, that it reaches the optimum where it can, and that its plans are kept."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from strategies import pool

import baselines.rolling
from baselines.ending import battery_usd_per_mwh, later_job_usd
from baselines.highs import Live
from baselines.milp import solve
from baselines.mpc import MPC
from baselines.rolling import Options
from baselines.rules import LocalOnly
from gridai_env import make_instance
from gridai_env.env import GridAIEnv
from gridai_env.instance import Instance, make_batch
from gridai_env.outlook import exogenous_forecast
from gridai_env.rollout import run
from gridai_env.state import Flows
from tests.small_scenario import small

KINDS = ("perfect", "day_ahead", "persistence")


@pytest.fixture(scope="module")
def day() -> Instance:
    return make_instance("two_sites", seed=1003)


@pytest.fixture(scope="module")
def with_everything() -> Instance:
    """Jobs, generator, battery, budget, demand charge, faults, 48 h."""
    return make_batch(small(), [1004])[0]


class Watched(MPC):
    """Remembers the flows that its plans ask for."""

    def begin(self, instance: Instance) -> None:
        super().begin(instance)
        self.asked: list[Flows] = []
        self.statuses: list[str] = []

    def predict(self, *arguments: Any, **named: Any) -> Any:
        out = super().predict(*arguments, **named)
        assert self.last is not None
        self.asked.append(self.last.first)
        self.statuses.append(self.last.status)
        return out


# The optimum where it can be reached ------------------------------------------------------------------------


def test_perfect_foresight_of_the_whole_episode_is_the_optimum(day: Instance) -> None:
    plan = solve(day, mip_gap=1e-7, threads=1)
    assert plan.objective_value is not None
    played = run(MPC("perfect", horizon_h=24.0), day)
    assert played.benefit_usd == pytest.approx(plan.objective_value, rel=1e-6)
    assert played.benefit_usd <= plan.bound * (1 + 1e-6)


def test_random_worlds_with_perfect_foresight_of_the_whole_episode() -> None:
    """Every decision is part of an optimal plan: what the environment makes of it earns the optimum."""
    for (instance,) in pool(25, first_seed=500):
        plan = solve(instance, mip_gap=1e-9, threads=1)
        played = run(MPC("perfect", options=Options(mip_gap=1e-9, time_limit_s=30.0)), instance)
        scale = sum(abs(term) for term in played.terms.values()) + 1.0
        assert plan.bound - played.benefit_usd == pytest.approx(0.0, abs=2e-5 * scale), instance.scenario_name


@pytest.mark.parametrize("kind", ["perfect", "persistence"])
def test_what_is_planned_is_what_happens(kind: Any) -> None:
    """The environment changes nothing of a decision, so that plans are feasible; nobody beats the bound."""
    for (instance,) in pool(15, first_seed=800):
        policy = Watched(kind, horizon_h=3 * instance.compiled.shape.dt_h)
        played = run(policy, instance)
        bound = solve(instance, mip_gap=1e-6, threads=1).bound
        assert played.benefit_usd <= bound + 1e-6 * max(abs(bound), 1.0)
        for t, asked in enumerate(policy.asked):
            for name in ("served_gpuh", "charge_mw", "generation_mw", "started"):
                done = getattr(played.episode.flows, name)[t]
                size = max(float(np.abs(done).max(initial=0.0)), 1.0)
                np.testing.assert_allclose(done, getattr(asked, name), atol=1e-4 * size, err_msg=name)


# What it may see --------------------------------------------------------------------------------------------


def played_until(policy: MPC, instance: Instance, t: int) -> dict[str, np.ndarray]:
    """The observation of step ``t`` after the policy's own decisions."""
    env = GridAIEnv(instance.scenario)
    observation, _ = env.reset(seed=0, options={"instance": instance})
    policy.begin(instance)
    for _ in range(t):
        action, _ = policy.predict(observation)
        observation, *_ = env.step(action)
    env.close()
    return observation


def with_another_future(instance: Instance, t: int) -> Instance:
    """All that comes after step ``t`` and is not foreseen, jobs not released yet included, is another."""
    rng = np.random.default_rng(5)

    def scaled(x: np.ndarray) -> np.ndarray:
        out = np.array(x, dtype=float)
        out[t + 1 :] *= rng.uniform(0.5, 2.0, size=out[t + 1 :].shape)
        return out

    exo, p = instance.exogenous, instance.params
    unknown = ~exo.job_open[: t + 1].any((0, 2))
    job_open = exo.job_open.copy()
    job_open[t + 1 :, unknown] = np.roll(job_open[t + 1 :, unknown], 3, axis=0)
    changed = exo.map(scaled).replace(job_open=job_open, battery_target_mwh=exo.battery_target_mwh)
    values = instance.forecast.values.copy()
    values[t + 1 :] *= 3
    bigger = np.where(unknown, 1.5, 1.0)
    return replace(
        instance,
        exogenous=changed,
        forecast=replace(instance.forecast, values=values),
        params=p.replace(job_gpus=p.job_gpus * bigger, job_value_usd=p.job_value_usd * bigger),
    )


@pytest.mark.parametrize("kind", ["day_ahead", "persistence"])
@pytest.mark.parametrize("t", [0, 7, 30])
def test_a_future_that_is_not_foreseen_changes_nothing(kind: Any, t: int, with_everything: Instance) -> None:
    """Neither the action nor the plan behind it."""
    observation = played_until(MPC(kind, horizon_h=10.0), with_everything, t)
    actions, plans = [], []
    for instance in (with_everything, with_another_future(with_everything, t)):
        policy = MPC(kind, horizon_h=10.0)
        policy.begin(instance)
        actions.append(policy.predict(observation)[0])
        assert policy.last is not None
        plans.append(policy.last.flows)
    np.testing.assert_array_equal(*actions)
    for name in Flows.names():
        np.testing.assert_array_equal(*(getattr(plan, name) for plan in plans), err_msg=name)


def test_a_future_that_is_foreseen_changes_decisions(with_everything: Instance) -> None:
    """The check of the check above."""
    observation = played_until(MPC("perfect", horizon_h=10.0), with_everything, 7)
    actions = []
    for instance in (with_everything, with_another_future(with_everything, 7)):
        policy = MPC("perfect", horizon_h=10.0)
        policy.begin(instance)
        actions.append(policy.predict(observation)[0])
    assert not np.array_equal(*actions)


# The outlook's kinds ----------------------------------------------------------------------------------------


def test_all_kinds_come_from_one_instance() -> None:
    own = {kind: make_batch(small(forecast={"kind": kind}), [3])[0] for kind in KINDS}
    for kind in ("perfect", "persistence"):
        asked = exogenous_forecast(own["day_ahead"], 9, 20, kind=kind)  # type: ignore[arg-type]
        said = exogenous_forecast(own[kind], 9, 20)
        for name in asked.names():
            np.testing.assert_array_equal(getattr(asked, name), getattr(said, name), err_msg=name)
    with pytest.raises(ValueError, match="made with 'persistence' forecasts and holds none of day ahead"):
        exogenous_forecast(own["persistence"], 9, 20, kind="day_ahead")
    with pytest.raises(ValueError, match="'guess': must be one of perfect, persistence, day_ahead"):
        exogenous_forecast(own["perfect"], 9, 20, kind="guess")  # type: ignore[arg-type]


def test_a_step_between_two_leads_is_seen_as_it_was_when_it_was_at_a_lead() -> None:
    instance = make_batch(small(forecast={"kind": "day_ahead"}, events=[]), [3])[0]
    outlook, leads = exogenous_forecast(instance, 20, 24), instance.forecast.leads
    for ahead, lead in ((4, 6), (5, 6), (8, 12), (20, 24)):
        issued = instance.forecast.buy_usd_per_mwh[20 + ahead - lead, leads.index(lead)]
        np.testing.assert_allclose(outlook.buy_usd_per_mwh[ahead], issued, rtol=1e-5)


def test_day_ahead_foresees_prices_and_arrivals_better_than_persistence() -> None:
    errors: dict[str, list[float]] = {kind: [] for kind in ("day_ahead", "persistence")}
    for seed in range(1000, 1004):
        instance = make_instance("four_markets", seed=seed, horizon_h=72)
        for t in range(0, 48, 5):
            truth = instance.exogenous.map(lambda x, t=t: x[t : t + 24])
            for kind in errors:
                seen = exogenous_forecast(instance, t, 24, kind=kind)  # type: ignore[arg-type]
                price = (
                    np.abs(seen.buy_usd_per_mwh - truth.buy_usd_per_mwh).mean() / truth.buy_usd_per_mwh.std()
                )
                work = np.abs(seen.arrivals_gpuh - truth.arrivals_gpuh).mean() / truth.arrivals_gpuh.mean()
                errors[kind].append(price + work)
    assert np.mean(errors["day_ahead"]) < 0.7 * np.mean(errors["persistence"])


# Ends of windows --------------------------------------------------------------------------------------------


def test_end_values_by_hand(with_everything: Instance) -> None:
    p = with_everything.params
    energy = np.array([60.0, -3.0])
    value = battery_usd_per_mwh(p, energy)
    assert value[0] == pytest.approx(p.discharge_efficiency[0] * (60.0 - p.wear_usd_per_mwh[0]))
    assert value[1] == 0.0  # wear costs more than the energy is worth
    per_gpu = np.array([0.05, 0.04])
    steps = p.job_profile.sum(-1)
    expected = np.maximum(p.job_value_usd - steps * p.job_gpus * 0.04, 0.0)
    np.testing.assert_allclose(later_job_usd(p, with_everything.exogenous, per_gpu), expected)


def test_jobs_wait_for_cheap_hours_and_are_started_in_time() -> None:
    """Windows much shorter than the time in which jobs may start: waiting is no loss, and no job is forgotten."""
    late = 0
    for seed in (1004, 1005, 1006):
        instance = make_batch(small(carbon_budget_kg=None, events=[]), [seed])[0]
        played = run(MPC("day_ahead", horizon_h=6.0), instance)
        started = played.episode.flows.started.sum(-1)  # [T,J]
        assert started.sum(0).tolist() == [1.0, 1.0]
        release = instance.exogenous.job_open.any(-1).argmax(0)
        late += int((started.argmax(0) > release).sum())
    assert late > 0


def test_batteries_are_used_and_full_enough_at_the_end(day: Instance) -> None:
    """Windows of a few hours neither empty the battery at once nor forget its target."""
    played = run(MPC("perfect", horizon_h=6.0), day)
    assert played.terms["battery_shortfall"] == pytest.approx(0.0, abs=0.01)
    assert played.terms["battery_wear"] < 0.0
    assert played.benefit_usd > run(LocalOnly(), day).benefit_usd


def test_a_budget_is_spent_over_the_episode() -> None:
    """A window may spend its share of what is left, so that the last hours are not left with nothing."""
    instance = make_batch(small(carbon_budget_kg=12000.0), [1007])[0]
    played = run(MPC("perfect", horizon_h=6.0), instance)
    spent = played.episode.before.carbon_kg
    assert spent[24] < 0.75 * 12000.0


# How it is solved -------------------------------------------------------------------------------------------


def test_one_model_for_all_decisions(with_everything: Instance, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is built again, at the end of the episode neither; each episode loads once."""
    loaded: list[Live] = []

    class Counted(Live):
        def __init__(self, *arguments: Any, **named: Any) -> None:
            super().__init__(*arguments, **named)
            loaded.append(self)

    def never(*arguments: Any, **named: Any) -> None:
        raise AssertionError("Pyomo was called")

    monkeypatch.setattr(baselines.rolling, "Live", Counted)
    monkeypatch.setattr("pyomo.environ.ConcreteModel.__init__", never)
    policy = MPC("persistence", horizon_h=6.0)
    other = make_batch(with_everything.compiled, [1005])[0]
    run(policy, with_everything)
    assert len(loaded) == 1
    after = run(policy, other)
    assert len(loaded) == 2
    np.testing.assert_array_equal(after.actions, run(MPC("persistence", horizon_h=6.0), other).actions)


def test_without_time_for_yes_or_no_the_relaxed_plan_is_rounded() -> None:
    """Decisions stay feasible and worth having."""
    instance = make_instance("microgrid_prosumer", seed=1000)
    policy = Watched("perfect", options=Options(time_limit_s=0.0))
    played = run(policy, instance)
    assert "rounded" in policy.statuses
    assert played.benefit_usd > run(LocalOnly(), instance).benefit_usd


def test_observations_of_any_form(day: Instance) -> None:
    policy = MPC("day_ahead")
    observation = played_until(policy, day, 5)
    flat = policy._observation.flatten(observation)

    def forms() -> Iterator[Any]:
        yield observation
        yield flat
        yield {name: part[None] for name, part in observation.items()}

    actions = []
    for form in forms():
        fresh = MPC("day_ahead")
        fresh.begin(day)
        actions.append(fresh.predict(form)[0])
    assert [a.shape for a in actions] == [actions[0].shape, actions[0].shape, (1, *actions[0].shape)]
    np.testing.assert_array_equal(actions[0], actions[1])
    np.testing.assert_array_equal(actions[0], actions[2][0])


# Errors -----------------------------------------------------------------------------------------------------


def test_errors_say_what_to_do(day: Instance) -> None:
    policy = MPC("persistence")
    policy.prepare(day.compiled)
    with pytest.raises(RuntimeError, match=r"call begin\(instance\) before the first predict"):
        policy.predict({})
    observation = played_until(policy, day, 0)
    with pytest.raises(ValueError, match="plays one episode at a time"):
        policy.predict({name: np.stack([part, part]) for name, part in observation.items()})
    with pytest.raises(ValueError, match="'oracle': must be one of perfect, persistence, day_ahead"):
        MPC("oracle")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="horizon_h = 0: must be above 0 hours"):
        MPC("perfect", horizon_h=0)
    other = make_instance("two_sites", seed=1, forecast="persistence")
    with pytest.raises(ValueError, match="holds none of day ahead"):
        MPC("day_ahead").begin(other)


def test_an_observation_of_another_episode_is_noticed(with_everything: Instance) -> None:
    policy = MPC("persistence")
    release = int(with_everything.exogenous.job_open.any(-1).argmax(0).max())
    observation = played_until(policy, with_everything, release)
    policy.begin(make_batch(with_everything.compiled, [7])[0])
    with pytest.raises(ValueError, match="with the episode that is played"):
        policy.predict(observation)


# The ladder -------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_ladder_of_foresight() -> None:
    """More foresight earns more in the mean; nothing earns more than the bound."""
    gains: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for seed in range(1000, 1004):
        instance = make_instance("four_markets", seed=seed, horizon_h=72)
        local = run(LocalOnly(), instance).benefit_usd
        bound = solve(instance, threads=1).bound
        for kind in KINDS:
            earned = run(MPC(kind), instance).benefit_usd  # type: ignore[arg-type]
            assert earned <= bound + 1e-6 * abs(bound)
            gains[kind].append(earned - local)
    perfect, day_ahead, persistence = (np.mean(gains[kind]) for kind in KINDS)
    assert perfect > day_ahead > persistence > 0.0
