"""Lines in a played episode of made-up days: what is measured, paid and counted, worked out in plain floats."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from gridai_env import GridAIEnv
from gridai_env.envs.vector_env import GridAIVectorEnv
from gridai_env.episodes.instance import make_batch, make_instance
from gridai_env.scenario.load import parse_scenario
from tests.support import measured_days as days
from tests.support.small_scenario import CALLS, FLEXIBLE, SMALL, flexible, small


def play(env: GridAIEnv) -> list[dict[str, float]]:
    """What is shown of each step."""
    env.reset(seed=0)
    return [env.step(np.array(days.action(t), np.float32))[4] for t in range(days.HOURS)]


@pytest.fixture(scope="module")
def env(tmp_path_factory: pytest.TempPathFactory) -> GridAIEnv:
    return GridAIEnv(scenario=days.scenario_data(tmp_path_factory.mktemp("measured")))


@pytest.fixture(scope="module")
def infos(env: GridAIEnv) -> list[dict[str, float]]:
    return play(env)


def series(infos: list[dict[str, float]], key: str) -> np.ndarray:
    return np.array([info[key] for info in infos])


def test_import_is_that_of_the_days(infos: list[dict[str, float]]) -> None:
    wanted = [days.import_mw(t) for t in range(days.HOURS)]
    assert series(infos, "import_mwh") == pytest.approx(wanted, rel=1e-6)


@pytest.mark.parametrize("weekdays_only", [True, False])
def test_a_baseline_is_the_mean_of_days_that_count(weekdays_only: bool, tmp_path: Path) -> None:
    """Monday: five weekdays before the episode, or its weekend and three of them; Wednesday: without Monday's event."""
    env = GridAIEnv(scenario=days.scenario_data(tmp_path, weekdays_only=weekdays_only))
    above = series(play(env), "line_excess_mwh")
    by_hand = [days.above_lines_mwh(t, weekdays_only) for t in range(days.HOURS)]
    assert above == pytest.approx(by_hand, abs=1e-6)

    # Work refused is a part of what was promised, so that each MW of the baseline counts.
    for t in (days.MONDAY, days.MONDAY + 1, days.WEDNESDAY, days.WEDNESDAY + 1):
        assert days.excess_mw(t, weekdays_only)[0] > 0.0
    expected = days.load_mw(days.demand_gpuh(-1, 13))
    if weekdays_only:
        assert days.baseline_mw(days.MONDAY) == pytest.approx(expected)
        tuesday = days.import_mw(3 * 24 + 13)
        assert days.baseline_mw(days.WEDNESDAY) == pytest.approx((4.0 * expected + tuesday) / 5.0)


def test_the_shortfall_of_each_line_has_its_price(infos: list[dict[str, float]]) -> None:
    prices = (days.RESPONSE_USD, days.CONTRACT_USD, days.CONNECTION_USD)
    paid = series(infos, "terms/line_excess_usd")
    for t, usd in enumerate(paid):
        wanted = sum(above * price for above, price in zip(days.excess_mw(t), prices, strict=True))
        assert usd == pytest.approx(-wanted, abs=1e-4), t
    assert min(days.excess_mw(days.MONDAY)) > 0.0


def test_what_is_delivered_earns_the_price_of_the_market(infos: list[dict[str, float]]) -> None:
    paid = series(infos, "terms/dr_energy_usd")
    for t, usd in enumerate(paid):
        delivered_mw = days.COMMITTED_MW - days.excess_mw(t)[0] if t in days.CALLED else 0.0
        assert usd == pytest.approx(days.price_usd_per_mwh(t) * delivered_mw, abs=1e-5), t
    assert (paid != 0.0).sum() == len(days.CALLED)


def test_a_promise_is_paid_by_the_day(infos: list[dict[str, float]]) -> None:
    """0.2 MW at 240 USD per MW and day: 48 USD a day, 2 USD an hour, called or not."""
    paid = series(infos, "terms/dr_capacity_usd")
    assert paid == pytest.approx(np.full(days.HOURS, 2.0))
    assert paid.reshape(-1, 24).sum(1) == pytest.approx(np.full(5, 48.0))


def test_wind_and_sun_of_a_contract_add(env: GridAIEnv) -> None:
    env.reset(seed=0)
    found = env.instance.exogenous.line_mw[:, 1, 0]
    wanted = [days.lines_mw(t)[1] for t in range(days.HOURS)]
    assert found == pytest.approx(wanted)
    wind, sun = (np.array([of(t) for t in range(days.HOURS)]) for of in (days.wind_share, days.sun_share))
    assert abs(np.corrcoef(wind, sun)[0, 1]) < 0.2


@pytest.mark.parametrize("quantity", ["line_excess_mwh", "carbon_excess_kg", "dropped_gpuh"])
def test_the_cost_is_the_quantity_of_the_constraint(quantity: str, tmp_path: Path) -> None:
    """Alone and in a batch: in each step, and the total of the episode."""
    data, wanted = days.scenario_data(tmp_path, quantity), np.array(days.costs(quantity))
    infos = play(GridAIEnv(scenario=data))
    assert series(infos, "cost") == pytest.approx(wanted, rel=1e-5, abs=1e-6)
    assert infos[-1]["episode/cost"] == pytest.approx(wanted.sum(), rel=1e-5)
    assert wanted.any() and not wanted.all()

    shown = days.costs_of_batch(GridAIVectorEnv(2, scenario=data))
    assert shown == pytest.approx(np.stack([wanted] * 2, 1), rel=1e-5, abs=1e-6)


def test_without_a_constraint_nothing_costs(infos: list[dict[str, float]]) -> None:
    assert not series(infos, "cost").any() and series(infos, "line_excess_mwh").any()


@pytest.mark.parametrize(("limit_mw", "most_mw"), [(2.0, 1.25), (1.1, 1.1)])
def test_history_is_at_most_what_the_site_can_take(limit_mw: float, most_mw: float, tmp_path: Path) -> None:
    """Of 2000 busy accelerators 800 can be: 1.25 x (200 + 800) kW, or what the connection carries."""
    data = days.scenario_data(tmp_path)
    data["sites"][0] |= {"utilisation_limit": 0.8, "grid": {"import_limit_mw": limit_mw}}
    data["regions"][0]["mean_gpus"] = 2000.0
    exo = make_instance(parse_scenario(data, "full"), seed=0).exogenous
    monday = [days.MONDAY, days.MONDAY + 1]
    assert exo.line_mw[monday, 0, 0] == pytest.approx(np.full(2, most_mw - days.COMMITTED_MW))
    assert exo.baseline_share[monday, 0, 0] == pytest.approx(np.full(2, 0.2))


def test_energy_above_a_line_in_half_hours(tmp_path: Path) -> None:
    """A tier of 0.3 MW is 0.15 MWh in half an hour."""
    data = days.scenario_data(tmp_path, "line_excess_mwh") | {"dt_h": 0.5, "horizon_h": 12.0}
    data["sites"][0]["lines"] = [{"name": "tier", "kind": "tier", "mw": 0.3, "price_usd_per_mwh": 10.0}]
    env = GridAIEnv(scenario=data)
    env.reset(seed=0)
    seen = 0
    for _ in range(24):
        info = env.step(np.array(days.action(0), np.float32))[4]
        above_mwh = max(0.0, info["import_mwh"] - 0.15)
        assert info["line_excess_mwh"] == info["cost"] == pytest.approx(above_mwh, abs=1e-7)
        assert info["terms/line_excess_usd"] == pytest.approx(-10.0 * above_mwh, abs=1e-6)
        seen += above_mwh > 0.0
    assert seen > 0


# Lines of the small world --------------------------------------------------------------------------------------------


def test_an_event_is_whole_from_its_first_step_on() -> None:
    """A firm level in a ramp: the limit falls evenly; what was promised and its prices do not."""
    north, south = SMALL["sites"]
    tier, response = FLEXIBLE["south"]["lines"]
    response = {name: value for name, value in response.items() if name != "baseline"}
    response |= {"mw": 0.4, "calls": CALLS}
    compiled = flexible(sites=[north, {**south, "lines": [tier, response]}])
    ramps, most = 0, float(compiled.import_limit_mw[1])
    for one in make_batch(compiled, range(8)):
        exo, at, depth = one.exogenous, (slice(None), 1, 1), one.knowledge.call_depth[:, 0]
        called = depth > 0.0
        ramps += int((called & (depth < 1.0)).sum())
        assert exo.line_mw[at] == pytest.approx(most - depth * (most - 0.4))
        assert exo.committed_mw[at] == pytest.approx(np.where(called, 0.3, 0.0))
        assert exo.line_usd_per_mwh[at] == pytest.approx(np.where(called, 1150.0, 0.0))
        assert exo.response_usd_per_mwh[at] == pytest.approx(np.where(called, exo.buy_usd_per_mwh[:, 1], 0.0))
    assert ramps > 5


def test_a_hard_line_is_the_limit_of_import_and_a_gate_is_of_its_own_site() -> None:
    apart = 0
    for one in make_batch(flexible(events=[]), range(8)):
        names, depth = one.compiled.lines.call_names, one.knowledge.call_depth
        most = float(one.compiled.import_limit_mw[0])
        hard = depth[:, names.index("north/hard")]
        assert one.exogenous.import_limit_mw[:, 0] == pytest.approx(most - hard * (most - 0.4))
        own = depth[:, names.index("south/response")] > 0.0
        assert np.array_equal(one.exogenous.generator_open[:, 1], own * 1.0)
        assert one.exogenous.generator_open[:, 0].all()
        apart += int((own != (depth > 0.0).any(-1)).sum())
    assert apart > 0


def test_a_contract_is_of_the_zone_of_its_site() -> None:
    """In the south: what wind and sun of the same size would give at the site."""
    power = {"wind_mw": 0.4, "pv_mw": 0.3}
    line = {"name": "clean", "kind": "matching", "price_usd_per_mwh": 5.0, **power}
    north, south = SMALL["sites"]
    compiled = small(sites=[{**north, **power}, {**south, **power, "lines": [line]}])
    exo = make_batch(compiled, [0])[0].exogenous
    assert exo.line_mw[:, 0, 1] == pytest.approx(exo.renewable_available_mw[:, 1])
    assert abs(exo.renewable_available_mw[:, 0] - exo.renewable_available_mw[:, 1]).max() > 0.1
