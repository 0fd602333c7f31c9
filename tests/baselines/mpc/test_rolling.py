"""Windows: one model for all decisions, how it is solved, and the other way of large ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import baselines.mpc.loaded_window
from baselines.mpc.policy import MPC
from baselines.mpc.rolling import Options, RollingModel
from baselines.mpc.whole_window import WholeWindow, now_and_later
from baselines.optimum import InfeasibleError, SolverError
from baselines.optimum.highs import Deadline, PersistentSolver
from baselines.rules.single_signal import LocalOnly
from gridai_env import make_instance
from gridai_env.episodes.instance import Instance, make_batch
from gridai_env.rollout.run import run
from tests.support.small_scenario import SITE, SMALL, small
from tests.support.strategies import pool

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
    load_mw = played.flows.import_mw + played.flows.generation_mw
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
    rounded = WholeWindow(live, [model.columns], p, instance.initial).rounded(relaxed, Deadline(None))
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
