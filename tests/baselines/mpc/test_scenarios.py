"""The stochastic planner: hedges worked out by hand, ties between futures, determinism, and what it may know."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from baselines.mpc.futures import Risk
from baselines.mpc.policy import MPC
from baselines.mpc.rolling import Options, RollingModel
from baselines.mpc.scenarios import ScenarioMPC
from gridai_env import make_instance
from gridai_env.episodes.forecast_error import ErrorModel
from gridai_env.episodes.instance import Instance, make_batch
from gridai_env.episodes.planner_forecast import exogenous_forecast
from gridai_env.rollout.run import run
from gridai_env.world.state import Flows
from tests.support.small_scenario import flexible, small
from tests.support.tiny import BATTERY, set_exogenous, tiny

# By hand ----------------------------------------------------------------------------------------------------

WEAR = 2.0
STORE = BATTERY | {"charge_efficiency": 1.0, "discharge_efficiency": 1.0, "initial_share": 0.0}
LOAD_MW, DEAR = 3.0, 100.0


def two_hours(now_usd: float, next_usd: float, renewable_mw: float) -> Instance:
    """A load of 3 MW, a battery of 4 MW that is empty, no export: energy is bought now, or in the next hour."""
    instance = tiny(sites=({"base_load_mw": LOAD_MW - 0.25, "battery": STORE},))
    return set_exogenous(
        instance,
        {
            "arrivals_gpuh": 0.0,
            "buy_usd_per_mwh": np.array([now_usd, next_usd])[:, None],
            "renewable_available_mw": np.array([0.0, renewable_mw])[:, None],
        },
    )


def charged_mw(futures: list[Instance], risk: Risk | None = None) -> float:
    one = futures[0]
    model = RollingModel(one.params, one.compiled.shape, 2, futures=len(futures), risk=risk)
    found = model.decide(one.params, [each.exogenous for each in futures], one.initial, last=True)
    return float(found.first.charge_mw[0])


def loss_usd(future: Instance, charged: float) -> float:
    """What the second hour and the battery cost, written down once more; the battery gives what it can."""
    now, then = future.exogenous.buy_usd_per_mwh[:, 0]
    need = LOAD_MW - future.exogenous.renewable_available_mw[1, 0]
    given = min(charged, need) if then > WEAR else 0.0
    return float((now + WEAR) * charged + WEAR * given + then * (need - given) + now * LOAD_MW)


def best_mw(futures: list[Instance], weight: float) -> float:
    """The best charge of a fine grid: mean loss, or the worst one."""
    grid = np.linspace(0.0, 4.0, 401)
    losses = np.array([[loss_usd(future, x) for future in futures] for x in grid])
    score = (1.0 - weight) * losses.mean(1) + weight * losses.max(1)
    return float(grid[score.argmin()])


@pytest.mark.parametrize(
    ("now_usd", "mean", "worst"),
    # A newsvendor: sun of 0 or 2 MW leaves 3 or 1 MW to buy.  Too little costs 100 - 2 - (now + 2), too much now + 2.
    [(40.0, 3.0, 3.0), (60.0, 1.0, 3.0)],
)
def test_a_newsvendor(now_usd: float, mean: float, worst: float) -> None:
    futures = [two_hours(now_usd, DEAR, sun) for sun in (0.0, 2.0)]
    assert charged_mw(futures) == pytest.approx(mean) == best_mw(futures, 0.0)
    assert charged_mw(futures, Risk(1.0, 0.5)) == pytest.approx(worst) == best_mw(futures, 1.0)
    assert charged_mw([two_hours(now_usd, DEAR, 1.0)]) == pytest.approx(2.0)  # the mean of the futures alone


@pytest.mark.parametrize(
    ("now_usd", "mean", "worst"),
    # A price of 0 or 100 is worth 98 or, left in the battery, nothing: 49 on average; its mean, 50, is worth 48.
    [(46.5, 3.0, 3.0), (47.5, 0.0, 3.0), (97.0, 0.0, 0.0)],
)
def test_a_price_of_nothing_or_a_hundred(now_usd: float, mean: float, worst: float) -> None:
    futures = [two_hours(now_usd, price, 0.0) for price in (0.0, DEAR)]
    assert charged_mw(futures) == pytest.approx(mean, abs=1e-9) == best_mw(futures, 0.0)
    assert charged_mw(futures, Risk(1.0, 0.5)) == pytest.approx(worst, abs=1e-9) == best_mw(futures, 1.0)
    assert charged_mw([two_hours(now_usd, DEAR / 2, 0.0)]) == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_the_objective_is_mean_and_worst_of_the_losses(weight: float) -> None:
    futures = [two_hours(60.0, DEAR, sun) for sun in (0.0, 1.0, 1.5, 2.0)]
    one, level = futures[0], 0.5
    model = RollingModel(one.params, one.compiled.shape, 3, futures=4, risk=Risk(weight, level))
    found = model.decide(one.params, [each.exogenous for each in futures], one.initial, last=True)
    losses = np.sort([loss_usd(future, float(found.first.charge_mw[0])) for future in futures])
    expected = (1.0 - weight) * losses.mean() + weight * losses[2:].mean()
    assert -found.objective_usd == pytest.approx(expected, rel=1e-9)


def test_bad_numbers_are_refused() -> None:
    for wrong in ({"weight": 1.5}, {"level": 1.0}):
        with pytest.raises(ValueError, match="must be"):
            Risk(**wrong)
    for count in (0, 3):
        with pytest.raises(ValueError, match="even number"):
            ScenarioMPC(futures=count)


# Ties -------------------------------------------------------------------------------------------------------


def no_errors(planner: ScenarioMPC) -> ScenarioMPC:
    """The planner for whom forecasts are always right."""
    begin = planner.begin

    def and_forget(instance: Instance) -> None:
        begin(instance)
        planner._errors = replace(planner._errors, usual=0.0 * planner._errors.usual)

    planner.begin = and_forget  # type: ignore[method-assign]
    return planner


def test_one_future_is_the_planner_itself(with_everything: Instance, day: Instance) -> None:
    expected = run(MPC("persistence", horizon_h=6.0), with_everything)
    found = run(ScenarioMPC("persistence", horizon_h=6.0, futures=1, filtered=False), with_everything)
    assert np.array_equal(found.actions, expected.actions)
    assert np.array_equal(run(ScenarioMPC(futures=1, filtered=False), day).actions, run(MPC(), day).actions)


@pytest.mark.parametrize("weight", [0.0, 0.4])
def test_equal_futures_are_one(day: Instance, weight: float) -> None:
    """Without errors, each of the futures earns what the planner's window earns, in all decisions of a day."""
    several = no_errors(ScenarioMPC("persistence", futures=4, risk=Risk(weight, 0.5)))
    earned = run(several, day).benefit_usd
    assert earned == pytest.approx(run(MPC("persistence"), day).benefit_usd, rel=1e-6)


def window(compiled: Any, futures: int, t: int = 12) -> tuple[RollingModel, list[Any], Instance]:
    instance = make_batch(compiled, [1004])[0]
    model = RollingModel(instance.params, compiled.shape, 8, Options(), futures)
    strays = ErrorModel.of(instance).draw(t, t + 8, futures)
    seen = [exogenous_forecast(instance, t, 8, None, stray) for stray in strays]
    return model, seen, instance


@pytest.mark.parametrize("make", [small, flexible])
def test_futures_share_the_first_step_and_the_jobs_and_each_is_a_plan(make: Any) -> None:
    """What every future does is feasible in it, and as good as the window in which its shared part is fixed."""
    model, seen, instance = window(make(), 4)
    found = model.decide(instance.params, seen, instance.initial, last=False)
    values = model.loaded.live.solver.getSolution().col_value
    values = np.array(values) * model.loaded.live.column_unit
    plans = [columns.flows_of(values) for columns in model.futures.columns]
    for plan in plans[1:]:
        for name in Flows.names():
            assert np.array_equal(getattr(plan, name)[0], getattr(plans[0], name)[0]), name
        assert np.array_equal(plan.started, plans[0].started)
        assert not np.array_equal(plan.import_mw[1:], plans[0].import_mw[1:])

    alone = []
    for future in seen:
        one = RollingModel(
            instance.params, instance.compiled.shape, 8, Options(mip_gap=1e-9, node_limit=1000)
        )
        alone.append(one.decide(instance.params, future, instance.initial, last=False).objective_usd)
    assert found.objective_usd <= np.mean(alone) + 1e-6  # knowing which future comes is worth something
    assert found.objective_usd >= np.mean(alone) - 0.2 * abs(np.mean(alone))


# What it knows ----------------------------------------------------------------------------------------------


def test_decisions_are_the_same_again() -> None:
    instance = make_instance("two_sites", seed=1003, horizon_h=12)
    first, again = (run(ScenarioMPC(futures=2), instance) for _ in range(2))
    assert np.array_equal(first.actions, again.actions)
    assert not np.array_equal(first.actions, run(MPC(), instance).actions)
    strays = [ErrorModel.of(instance).draw(t, 12, 2)[0].series for t in (3, 4)]
    assert not np.allclose(strays[0][1:], strays[1])
