"""Model predictive control: what it may see, that it reaches the optimum where it can, and that its plans are kept."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from baselines.mpc.policy import MPC
from baselines.mpc.rolling import Options, RollingModel
from baselines.mpc.scenarios import ScenarioMPC
from baselines.mpc.terminal_value import (
    backlog_usd_per_gpuh,
    battery_usd_per_mwh,
    gpu_step_usd,
    later_job_usd,
)
from baselines.optimum.milp import solve
from baselines.rules.single_signal import LocalOnly
from gridai_env import make_instance
from gridai_env.envs.env import GridAIEnv
from gridai_env.episodes.instance import Instance, make_batch
from gridai_env.episodes.planner_forecast import exogenous_forecast
from gridai_env.observation.layout import ObservationLayout
from gridai_env.rollout.run import run
from gridai_env.world import physics
from gridai_env.world.state import Exogenous, Flows
from gridai_env.world.terms import settle
from tests.support.small_scenario import small
from tests.support.strategies import pool

KINDS = ("perfect", "day_ahead", "persistence")


class Watched(MPC):
    """Remembers the flows that its plans ask for."""

    def begin(self, instance: Instance) -> None:
        super().begin(instance)
        self.asked: list[Flows] = []

    def predict(self, *arguments: Any, **named: Any) -> Any:
        out = super().predict(*arguments, **named)
        assert self.last is not None
        self.asked.append(self.last.first)
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
        played = run(MPC("perfect", options=Options(mip_gap=1e-9, node_limit=10_000)), instance)
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
                done = getattr(played.flows, name)[t]
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
    """All that comes after step ``t`` and is not foreseen is another: series, jobs not released yet, events that are
    neither announced nor there, and the last-resort prices that follow from all of these."""
    rng = np.random.default_rng(5)

    def scaled(x: np.ndarray) -> np.ndarray:
        out = np.array(x, dtype=float)
        out[t + 1 :] *= rng.uniform(0.5, 2.0, size=out[t + 1 :].shape)
        return out

    exo, p = instance.exogenous, instance.params
    unknown = ~exo.job_open[: t + 1].any((0, 2))
    job_open = exo.job_open.copy()
    job_open[t + 1 :, unknown] = np.roll(job_open[t + 1 :, unknown], 3, axis=0)
    changed = exo.map(scaled)
    changed = changed.replace(
        job_open=job_open,
        battery_target_mwh=exo.battery_target_mwh,
        available_gpus=np.minimum(changed.available_gpus, p.gpus),
    )
    values = instance.forecast.values.copy()
    values[t + 1 :] *= 3
    bigger = np.where(unknown, 1.5, 1.0)
    shorter = np.where(unknown[:, None], np.roll(p.job_profile, -1, axis=1), p.job_profile)
    shorter[unknown, -1] = 0.0
    knowledge = instance.knowledge
    active = knowledge.event_active.copy()
    announced = np.array([event.announced for event in instance.scenario.events], dtype=bool)
    hidden = ~announced & ~active[t]
    active[t + 1 :, hidden] = ~active[t + 1 :, hidden]
    return replace(
        instance,
        exogenous=changed,
        forecast=replace(instance.forecast, values=values),
        knowledge=replace(knowledge, event_active=active),
        params=p.replace(
            job_gpus=p.job_gpus * bigger,
            job_value_usd=p.job_value_usd * bigger,
            job_profile=shorter,
            shed_usd_per_mwh=p.shed_usd_per_mwh * 3.0,
            gpu_short_usd_per_gpuh=p.gpu_short_usd_per_gpuh * 0.01,
        ),
    )


@pytest.mark.parametrize("kind", ["day_ahead", "persistence"])
@pytest.mark.parametrize("t", [0, 7, 30])
@pytest.mark.parametrize("make", [MPC, ScenarioMPC])
def test_a_future_that_is_not_foreseen_changes_nothing(
    make: type[MPC], kind: Any, t: int, with_everything: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the action, nor the plan behind it, nor any number that the planner is given."""
    observation = played_until(MPC(kind, horizon_h=10.0), with_everything, t)
    actions, plans, given = [], [], []
    as_it_is = RollingModel.decide

    def noted(self: RollingModel, p: Any, exo: Any, state: Any, *others: Any) -> Any:
        given.append((p, Exogenous.stacked(exo), state))
        return as_it_is(self, p, exo, state, *others)

    monkeypatch.setattr(RollingModel, "decide", noted)
    for instance in (with_everything, with_another_future(with_everything, t)):
        policy = make(kind, horizon_h=10.0)
        policy.begin(instance)
        actions.append(policy.predict(observation)[0])
        assert policy.last is not None
        plans.append(policy.last.flows)
    np.testing.assert_array_equal(*actions)
    for records in (plans, *zip(*given, strict=True)):
        for name in records[0].names():
            np.testing.assert_array_equal(*(getattr(each, name) for each in records), err_msg=name)


def test_a_future_that_is_foreseen_changes_decisions(with_everything: Instance) -> None:
    """The check of the check above, in which much is another."""
    early, other = (with_another_future(with_everything, t) for t in (0, 7))
    for name in ("job_profile", "shed_usd_per_mwh", "gpu_short_usd_per_gpuh"):
        assert not np.array_equal(*(getattr(each.params, name) for each in (with_everything, early)))
    assert (early.knowledge.event_active != with_everything.knowledge.event_active).any()
    observation = played_until(MPC("perfect", horizon_h=10.0), with_everything, 7)
    actions = []
    for instance in (with_everything, other):
        policy = MPC("perfect", horizon_h=10.0)
        policy.begin(instance)
        actions.append(policy.predict(observation)[0])
    assert not np.array_equal(*actions)


def twins(*sites: str) -> Instance:
    """Jobs that differ in nothing but the one site where each may run, and whose cheap hours differ."""
    job = {"gpus": 200.0, "duration_h": 4.0, "release_h": 2.0, "deadline_h": 40.0, "value_usd": 300.0}
    jobs = [{**job, "name": f"at {site}", "sites": [site]} for site in sites]
    return make_batch(small(jobs=jobs, carbon_budget_kg=None, events=[]), [1005])[0]


@pytest.mark.parametrize("kind", ["perfect", "day_ahead"])
@pytest.mark.parametrize("sites", [("north", "south"), ("south", "north")])
def test_jobs_that_look_alike_but_for_their_sites_are_told_apart(kind: Any, sites: tuple[str, str]) -> None:
    """Once one has started, the slot that is left is known as the other one's."""
    played = run(MPC(kind, horizon_h=12.0), twins(*sites))
    started = played.flows.started  # [T,J,K]
    assert started.sum((0, 2)).tolist() == [1.0, 1.0]
    assert len(set(started.any(2).argmax(0))) == 2  # in different steps


# The outlook's kinds ----------------------------------------------------------------------------------------


def test_all_kinds_come_from_one_instance() -> None:
    own = {kind: make_batch(small(forecast={"kind": kind}), [3])[0] for kind in KINDS}
    for kind in ("perfect", "persistence"):
        asked = exogenous_forecast(own["day_ahead"], 9, 20, kind=kind)  # type: ignore[arg-type]
        said = exogenous_forecast(own[kind], 9, 20)
        for name in asked.names():
            np.testing.assert_array_equal(getattr(asked, name), getattr(said, name), err_msg=name)
    with pytest.raises(ValueError, match="made with 'persistence' forecasts and holds none of this kind"):
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


def one_step(instance: Instance, t: int) -> Exogenous:
    return instance.exogenous.map(lambda x: x[t : t + 1])


def ledger_usd(instance: Instance, t: int, **changes: np.ndarray) -> float:
    """What the books say of a step in which nothing is done but this, fed by import: revenue, energy and carbon."""
    p, exo = instance.params, one_step(instance, t).map(lambda x: x[0])
    state = instance.initial
    # Without accelerators that idle, what is left is what is done.
    p, exo = (
        p.replace(base_load_mw=0.0 * p.base_load_mw),
        exo.replace(available_gpus=0.0 * exo.available_gpus),
    )
    nothing = Flows(**{name: 0.0 * getattr(instance_flows(instance), name) for name in Flows.names()})
    flows = nothing.replace(**changes)
    fed = flows.replace(import_mw=physics.totals(p, flows, exo, state).facility_mw)
    terms = settle(p, state, fed, exo).terms_usd
    return float(sum(terms[name] for name in ("revenue", "import", "carbon_price", "egress")))


def instance_flows(instance: Instance) -> Flows:
    """Flows of the first step, for their shapes."""
    window = RollingModel(instance.params, instance.compiled.shape, 1)
    return window.decide(instance.params, one_step(instance, 0), instance.initial, last=False).first


def test_end_values_are_those_of_the_books(with_everything: Instance) -> None:
    """What a GPU-h of waiting work earns at home, and what a job's accelerator costs in a step."""
    p, shape, t = with_everything.params, with_everything.compiled.shape, 20
    exo = one_step(with_everything, t)
    value, per_gpu = backlog_usd_per_gpuh(p, exo), gpu_step_usd(p, exo)
    for c in range(shape.regions):
        for w in range(shape.rows):
            served = np.zeros((shape.regions, shape.rows, shape.sites))
            served[c, w] = p.home[c]
            assert value[c, w] == pytest.approx(ledger_usd(with_everything, t, served_gpuh=served))
    for k in range(shape.sites):
        # Less than no accelerator taken from jobs: one that runs one.
        running = -np.eye(shape.sites)[k]
        assert -per_gpu[k] == pytest.approx(ledger_usd(with_everything, t, gpu_short=running))


def test_jobs_wait_for_cheap_hours_and_are_started_in_time() -> None:
    """Windows much shorter than the time in which jobs may start: waiting is no loss, and no job is forgotten."""
    late = 0
    for seed in (1004, 1005, 1006):
        instance = make_batch(small(carbon_budget_kg=None, events=[]), [seed])[0]
        played = run(MPC("day_ahead", horizon_h=6.0), instance)
        started = played.flows.started.sum(-1)  # [T,J]
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
    spent = played.before.carbon_kg
    assert spent[24] < 0.75 * 12000.0


# Observations -----------------------------------------------------------------------------------------------


def test_observations_of_any_form(day: Instance) -> None:
    policy = MPC("day_ahead")
    observation = played_until(policy, day, 5)
    flat = ObservationLayout(day.compiled).flatten(observation)

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
    with pytest.raises(ValueError, match="holds none of this kind"):
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


def test_a_planner_reads_the_forecasts_of_the_scenario_unless_told_otherwise() -> None:
    for kind in ("persistence", "published"):
        instance = make_batch(small(forecast={"kind": kind}, horizon_h=24.0, events=[], jobs=[]), [3])[0]
        own, named = MPC(), MPC(kind)  # type: ignore[arg-type]
        assert (own.name, named.name) == ("mpc:own", f"mpc:{kind}")
        assert np.array_equal(run(own, instance).actions, run(named, instance).actions)
