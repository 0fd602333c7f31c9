"""Model predictive control: what it may see, that it reaches the optimum where it can, and that its plans are kept."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import highspy
import numpy as np
import pytest

import baselines.mpc.loaded_window
from baselines.mpc.policy import MPC
from baselines.mpc.rolling import Options, RollingModel
from baselines.mpc.terminal_value import (
    backlog_usd_per_gpuh,
    battery_usd_per_mwh,
    gpu_step_usd,
    later_job_usd,
)
from baselines.mpc.whole_window import WholeWindow, now_and_later
from baselines.optimum.highs import Deadline, InfeasibleError, PersistentSolver, SolverError
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
from tests.support.small_scenario import SITE, SMALL, small
from tests.support.strategies import pool

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
def test_a_future_that_is_not_foreseen_changes_nothing(
    kind: Any, t: int, with_everything: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the action, nor the plan behind it, nor any number that the planner is given."""
    observation = played_until(MPC(kind, horizon_h=10.0), with_everything, t)
    actions, plans, given = [], [], []
    as_it_is = RollingModel.decide

    def noted(self: RollingModel, p: Any, exo: Any, state: Any, *others: Any) -> Any:
        given.append((p, exo, state))
        return as_it_is(self, p, exo, state, *others)

    monkeypatch.setattr(RollingModel, "decide", noted)
    for instance in (with_everything, with_another_future(with_everything, t)):
        policy = MPC(kind, horizon_h=10.0)
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
    started = played.episode.flows.started  # [T,J,K]
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
    loaded: list[PersistentSolver] = []

    class Counted(PersistentSolver):
        def __init__(self, *arguments: Any, **named: Any) -> None:
            super().__init__(*arguments, **named)
            loaded.append(self)

    def never(*arguments: Any, **named: Any) -> None:
        raise AssertionError("Pyomo was called")

    monkeypatch.setattr(baselines.mpc.loaded_window, "PersistentSolver", Counted)
    monkeypatch.setattr("pyomo.environ.ConcreteModel.__init__", never)
    policy = MPC("persistence", horizon_h=6.0)
    other = make_batch(with_everything.compiled, [1005])[0]
    run(policy, with_everything)
    assert len(loaded) == 1
    after = run(policy, other)
    assert len(loaded) == 2
    np.testing.assert_array_equal(after.actions, run(MPC("persistence", horizon_h=6.0), other).actions)


def test_without_branching_the_relaxed_plan_is_rounded() -> None:
    """Decisions stay feasible and worth having; how each came about is counted, and which limit it was."""
    instance = make_instance("microgrid_prosumer", seed=1000)
    earned = {}
    for limit, options in (
        ("rounded", Options(node_limit=0)),
        ("time_limit", Options(time_limit_s=0.0)),
    ):
        policy = MPC("perfect", options=options)
        assert policy.statuses == {}
        earned[limit] = run(policy, instance).benefit_usd
        assert policy.statuses.keys() == {"optimal", limit}
        assert sum(policy.statuses.values()) == instance.steps
        policy.begin(instance)
        assert policy.statuses == {}
    assert earned["rounded"] == earned["time_limit"] > run(LocalOnly(), instance).benefit_usd


def knapsacks() -> PersistentSolver:
    """A program that takes thousands of nodes: five knapsacks share thirty things."""
    rng = np.random.default_rng(3)
    things, sacks = 30, 5
    weight = rng.integers(30, 100, (things, sacks)).astype(float)
    lp = highspy.HighsLp()
    lp.num_row_, lp.num_col_ = sacks, things
    lp.col_cost_ = -(weight.sum(1) + rng.integers(0, 20, things))
    lp.col_lower_, lp.col_upper_ = np.zeros(things), np.ones(things)
    lp.row_lower_, lp.row_upper_ = np.full(sacks, -highspy.kHighsInf), weight.sum(0) // 2
    lp.a_matrix_.format_ = highspy.MatrixFormat.kColwise
    lp.a_matrix_.start_ = np.arange(0, weight.size + 1, sacks)
    lp.a_matrix_.index_ = np.tile(np.arange(sacks), things)
    lp.a_matrix_.value_ = weight.ravel()
    live = PersistentSolver(lp)
    live.set_integer(np.arange(things), True)
    return live


def test_a_limit_on_nodes_leaves_an_incumbent_and_a_bound() -> None:
    """Always the same ones, and better ones with more nodes."""
    cut, again, later = (knapsacks().solve(mip_gap=0.0, node_limit=n) for n in (1, 1, 500))
    assert cut.status == later.status == "node_limit"
    assert cut.objective is not None and later.objective is not None
    assert (cut.objective, cut.bound) == (again.objective, again.bound)
    assert cut.bound <= later.bound < later.objective < cut.objective


def generator_alone() -> Instance:
    """One site without battery or export, whose load is below the minimum load of its cheap generator."""
    site = {
        **SITE,
        "name": "island",
        "zone": "DE-LU",
        "generator": {"capacity_mw": 2.0, "min_load_mw": 1.0, "ramp_mw_per_h": 2.0, "fuel_usd_per_mwh": 1.0},
    }
    region = {**SMALL["regions"][0], "home": "island"}
    free = {"jobs": [], "events": [], "carbon_budget_kg": None}
    return make_batch(small(sites=[site], regions=[region], horizon_h=12.0, **free), [1])[0]


def test_a_generator_that_is_too_large_for_its_load_is_off() -> None:
    """Rounded to its minimum load it would make power that nobody takes."""
    instance = generator_alone()
    policy = MPC("perfect", horizon_h=4.0, options=Options(node_limit=0))
    played = run(policy, instance)
    assert policy.statuses.get("rounded", 0) > 0
    load_mw = played.episode.flows.import_mw + played.episode.flows.generation_mw
    assert ((load_mw > 0.5) & (load_mw < 1.0)).any()  # it would be rounded up
    assert played.benefit_usd <= run(MPC("perfect", horizon_h=4.0), instance).benefit_usd


def test_rounding_elsewhere_may_take_the_load_away_from_a_generator_that_runs() -> None:
    """Here it runs at its minimum load in the relaxed plan already."""
    instance = generator_alone()
    p, steps = instance.params, instance.steps
    model = RollingModel(p, instance.compiled.shape, steps)
    window = model.decide(p, instance.exogenous, instance.initial, last=True)
    live = model.loaded.live
    relaxed = np.array(live.solver.getSolution().col_value)
    relaxed[model.columns.flows.generation_mw] = p.generator_min_mw
    rounded = WholeWindow(live, model.columns, p, instance.initial).rounded(relaxed, Deadline(None))
    assert rounded.values is not None and not rounded.values[model.columns.flows.generation_mw].any()
    assert window.status == "optimal"


def test_a_branch_that_fails_leaves_no_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole numbers are demanded no longer, and bounds are those of the window, when a solve raises."""
    instance = generator_alone()
    arguments = (instance.params, instance.exogenous, instance.initial)

    def model(nodes: int) -> RollingModel:
        shape = instance.compiled.shape
        return RollingModel(instance.params, shape, instance.steps, Options(node_limit=nodes))

    as_it_is = PersistentSolver.solve
    for nodes in (20, 0):
        found = model(nodes)
        calls: list[bool] = []

        def fails(self: PersistentSolver, calls: list[bool] = calls, **named: Any) -> Any:
            calls.append(self.is_mip)
            if len(calls) > 1:
                raise SolverError("no")
            return as_it_is(self, **named)

        with monkeypatch.context() as patch:
            patch.setattr(PersistentSolver, "solve", fails)
            with pytest.raises(SolverError, match="no"):
                found.decide(*arguments, last=True)
        assert calls == [False, nodes > 0]
        live = found.loaded.live
        assert not live.is_mip
        upper = np.array(live.solver.getLp().col_upper_)[found.columns.running]
        assert (upper == 1.0).all()


def test_bounds_that_contradict_each_other_are_named() -> None:
    """More than rounding is an error that says where."""
    instance = generator_alone()
    p, exo, shape = instance.params, instance.exogenous, instance.compiled.shape
    for change, allowed in ((-1e-9, True), (-1e-3, False)):
        limit = exo.renewable_available_mw.copy()
        limit[3] = change
        model = RollingModel(p, shape, instance.steps)
        window = exo.replace(renewable_available_mw=limit)
        if allowed:
            model.decide(p, window, instance.initial, last=True)
            continue
        with pytest.raises(
            InfeasibleError, match=r"contradicts itself: renewable at step 3 of the window: at least 0 "
        ):
            model.decide(p, window, instance.initial, last=True)


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


# Large windows ----------------------------------------------------------------------------------------------


def test_a_large_window_is_solved_to_the_same_gap_another_way() -> None:
    """From scratch and by rounding, with all friction billed: never below the optimum less the gap, nor above it."""
    rounded = 0
    for (instance,) in pool(25, first_seed=500):
        shape, arguments = instance.compiled.shape, (instance.params, instance.exogenous, instance.initial)
        exact = RollingModel(
            instance.params, shape, instance.steps, Options(mip_gap=1e-9, node_limit=10_000)
        ).decide(*arguments, last=True)
        options = Options(mip_gap=1e-3, node_limit=10_000, large_rows=0, friction_steps=instance.steps)
        model = RollingModel(instance.params, shape, instance.steps, options)
        found = model.decide(*arguments, last=True)
        assert model.is_large and found.status == "optimal"
        size = max(abs(exact.objective_usd), 1.0)
        # HiGHS measures its gap on the objective without constants, which may be some times larger.
        assert found.objective_usd == pytest.approx(exact.objective_usd, abs=1e-2 * size), (
            instance.scenario_name
        )
        assert found.objective_usd <= exact.objective_usd + 1e-6 * size
        rounded += not found.whole
    assert rounded > 3


@pytest.mark.parametrize(
    "name", ["two_sites", "four_markets", pytest.param("microgrid_prosumer", marks=pytest.mark.slow)]
)
def test_the_way_of_large_windows_earns_as_much(name: str) -> None:
    """In closed loop, with the settings that large windows get: no more than 0.1 % of the gain is lost."""
    instance = make_instance(name, seed=1001, horizon_h=24.0)
    local = run(LocalOnly(), instance).benefit_usd
    gains = {}
    for rows in (0, Options().large_rows):
        gains[rows] = run(MPC("day_ahead", options=Options(large_rows=rows)), instance).benefit_usd - local
    usual = gains[Options().large_rows]
    assert gains[0] >= (1.0 - 1e-3) * usual > 0.0


def test_windows_of_the_smaller_scenarios_are_not_large() -> None:
    """So what is published of them does not depend on how large ones are solved."""
    for name, horizon_h, is_large in (
        ("two_sites", None, False),
        ("four_markets", None, False),
        ("microgrid_prosumer", None, False),
        ("global", None, True),
        ("global", 48, True),
    ):
        instance = make_instance(name, seed=1, horizon_h=horizon_h)
        model = RollingModel(instance.params, instance.compiled.shape, 24)
        model.read(instance.params, instance.exogenous.map(lambda x: x[:24]))
        assert model.is_large == is_large, name


def test_a_decision_of_a_large_window_hangs_on_none_before(
    day: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It starts from no basis, also where coefficients have changed in between; other windows start from one."""
    p, starts = day.params, []
    as_it_is = PersistentSolver.solve

    def noted(self: PersistentSolver, **named: Any) -> Any:
        starts.append(self.solver.getBasis().valid)
        return as_it_is(self, **named)

    monkeypatch.setattr(PersistentSolver, "solve", noted)
    windows = [day.exogenous.map(lambda x, t=t: x[t : t + 10]) for t in (0, 10)]
    for rows in (0, Options().large_rows):
        starts.clear()
        used, fresh = (RollingModel(p, day.compiled.shape, 10, Options(large_rows=rows)) for _ in range(2))
        used.decide(p, windows[0], day.initial, last=False)
        after, alone = (model.decide(p, windows[1], day.initial, last=False) for model in (used, fresh))
        assert starts == [False, rows > 0, False]
        assert after.objective_usd == pytest.approx(alone.objective_usd, rel=1e-9)
        if rows == 0:
            np.testing.assert_array_equal(after.flows.served_gpuh, alone.flows.served_gpuh)


def test_friction_of_a_large_window_is_billed_in_its_first_steps_only() -> None:
    """As if it cost nothing later; where all steps are billed the plan is that of other windows."""
    instance = make_instance("two_sites", seed=1003)
    p, arguments = instance.params, (instance.exogenous, instance.initial)

    def found(**named: int) -> Any:
        model = RollingModel(p, instance.compiled.shape, instance.steps, Options(**named))
        return model.decide(p, *arguments, last=True)

    usual, full, some, none = (
        found(),
        *(found(large_rows=0, friction_steps=n) for n in (instance.steps, 6, 0)),
    )
    assert full.objective_usd == pytest.approx(usual.objective_usd, rel=1e-9)
    assert none.objective_usd > some.objective_usd > full.objective_usd
    moved, warm = some.flows.relocated_gpuh, some.flows.warmed_gpuh
    assert moved[:6].sum() > 0.0 and warm[:6].sum() > 0.0
    assert not moved[6:].any() and not warm[6:].any()


def test_starts_in_part_are_rounded_now_and_later() -> None:
    """Job 0 is split between now and later, job 1 is later, job 2 is now; two sites, the second closed for job 0."""
    started = np.zeros((3, 3, 2))
    started[:, 0, 0], started[:, 0, 1] = (0.25, 0.5, 0.25), -1.0
    started[2, 1, 1] = 1.0
    started[0, 2, 0] = 1.0
    now, later = now_and_later(np.maximum(started, 0.0))
    assert now[0, 0].tolist() == [1.25, 0.0] and later[0, 0].tolist() == [-1.0, -1.0]
    assert later[1:, 0, 0] == pytest.approx([2 / 3, 1 / 3])
    for each in (now, later):
        np.testing.assert_array_equal(each[:, 1:], started[:, 1:])
    assert len(now_and_later(np.round(np.maximum(started, 0.0)))) == 1
    only_now = np.zeros((3, 1, 1))
    only_now[0] = 0.5  # the rest of the job is never started
    now, later = now_and_later(only_now)
    assert now[0, 0, 0] == 1.5 and not later[1:].any()


def test_of_both_the_better_one_is_taken(with_everything: Instance, monkeypatch: pytest.MonkeyPatch) -> None:
    """A window whose relaxed plan starts a job in part now."""
    both: list[tuple[float, ...]] = []
    as_it_is, rounded = WholeWindow.rounded_first, WholeWindow.rounded_flows

    def noted(self: WholeWindow, *arguments: Any) -> Any:
        tried: list[float] = []

        def seen(search: WholeWindow, *inner: Any) -> Any:
            out = rounded(search, *inner)
            if not len(search.open_columns(out.values)):
                tried.append(out.objective)
            return out

        with monkeypatch.context() as patch:
            patch.setattr(WholeWindow, "rounded_flows", seen)
            best = as_it_is(self, *arguments)
        if len(tried) > 1:
            both.append((best.objective, *tried))
        return best

    monkeypatch.setattr(WholeWindow, "rounded_first", noted)
    instance = make_instance("microgrid_prosumer", seed=1000)
    run(MPC("day_ahead", options=Options(large_rows=0, node_limit=0)), instance)
    assert both and all(best == min(tried) for best, *tried in both)
    assert any(tried[0] != tried[-1] for _, *tried in both)


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
