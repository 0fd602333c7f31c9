"""Rules against hand-computed expectations, what they may know, and the limits that they keep."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from baselines.rules.greedy import Greedy, tranche_usd_per_gpuh
from baselines.rules.placing import ServiceOptions, allocate
from baselines.rules.registry import REGISTRY
from baselines.rules.single_signal import CarbonOnly, LocalOnly, NearestRegion, PriceOnly
from gridai_env.envs.env import GridAIEnv
from gridai_env.episodes.forecast import ForecastSet
from gridai_env.episodes.instance import Instance, make_batch, make_instance
from gridai_env.rollout.run import run, run_many
from gridai_env.rollout.trajectory import Trajectory
from gridai_env.scenario.compile import Compiled, compile_scenario
from gridai_env.scenario.load import load_scenario, parse_scenario
from gridai_env.world.physics import inference_gpus, work_power_mw_per_gpuh
from gridai_env.world.terms import BILL
from tests.support.small_scenario import small

SITES = ("near", "middle", "far")


def line(**changes: Any) -> Compiled:
    """One region at ``near``; ``middle`` is 500 km away and ``far`` 3,000 km; 100 GPUs busy all day."""
    site = {"zone": "DE-LU", "legal_zone": "EU", "latitude": 50.0, "gpus": 100.0, "utilisation_limit": 0.8}
    places = {"near": 8.0, "middle": 15.0, "far": 50.0}
    data = {
        "name": "line",
        "horizon_h": 6.0,
        "reward_scale_usd": 10.0,
        "latency": {"rtt": "formula"},
        "sites": [{**site, "name": name, "longitude": longitude} for name, longitude in places.items()],
        "regions": [
            {
                "name": "home",
                "home": "near",
                "latitude": 50.0,
                "longitude": 8.0,
                "timezone": "UTC",
                "mean_gpus": 100.0,
                "swing": 0.0,
                "weekend_factor": 1.0,
                "noise": 0.0,
            }
        ],
        "classes": [
            {
                "name": "chat",
                "share": 1.0,
                "latency_budget_ms": 1000.0,
                "processing_ms": 10.0,
                "revenue_usd_per_gpuh": 5.0,
                "drop_usd_per_gpuh": 5.0,
            }
        ],
        **changes,
    }
    return compile_scenario(parse_scenario(data, "line"))


def episode(compiled: Compiled, seed: int = 0) -> Instance:
    return make_batch(compiled, [seed])[0]


def with_series(instance: Instance, **series: Any) -> Instance:
    """The instance with exogenous arrays replaced, each broadcast to its shape."""
    shapes = {name: getattr(instance.exogenous, name).shape for name in series}
    changed = {
        name: np.broadcast_to(np.asarray(x, dtype=float), shapes[name]).copy() for name, x in series.items()
    }
    return replace(instance, exogenous=instance.exogenous.replace(**changed))


def served_by_site(t: Trajectory) -> np.ndarray:
    return t.flows.served_gpuh.sum((1, 2))


# Routing


def test_local_only_stays_at_home_while_there_is_room() -> None:
    t = run(LocalOnly(), make_instance("two_sites", seed=4))
    home = t.instance.params.home[:, None, :]
    np.testing.assert_allclose(
        (t.flows.served_gpuh * home).sum(-1), t.instance.exogenous.arrivals_gpuh, rtol=1e-5
    )
    assert t.metrics["dropped_gpuh"] == 0.0
    assert t.metrics["moved_share"] < 1e-6
    assert t.metrics["wait_mean_h"] < 1e-6
    assert not (t.flows.charge_mw.any() or t.flows.discharge_mw.any() or t.flows.generation_mw.any())


@pytest.mark.parametrize("rule", [LocalOnly, NearestRegion])
def test_overflow_goes_to_the_nearest_site(rule: Callable[[], Any]) -> None:
    """100 GPU-h an hour, 80 fit at home (100 GPUs at 0.8), 20 go next door, nothing far away."""
    t = run(rule(), episode(line()))
    arrivals = t.instance.exogenous.arrivals_gpuh.sum((1, 2))
    expected = np.stack([np.full(6, 80.0), arrivals - 80.0, np.zeros(6)], axis=-1)
    np.testing.assert_allclose(served_by_site(t), expected, atol=1e-3)
    assert t.metrics["dropped_gpuh"] == 0.0


def test_nearest_region_does_not_prefer_home() -> None:
    """A home that is slower than another site gets the overflow only."""
    compiled = line()
    places = {s.name: s for s in compiled.scenario.sites}
    region = compiled.scenario.regions[0].model_copy(update={"home": "far"})
    moved = compile_scenario(compiled.scenario.model_copy(update={"regions": [region]}))
    assert places.keys() == set(SITES)
    nearest, local = (served_by_site(run(rule(), episode(moved))) for rule in (NearestRegion, LocalOnly))
    np.testing.assert_allclose(nearest[:, 0], 80.0, atol=1e-3)
    np.testing.assert_allclose(local[:, 2], 80.0, atol=1e-3)
    np.testing.assert_allclose(local[:, 0], local.sum(1) - 80.0, atol=1e-3)


def test_price_only_weighs_the_price_with_pue() -> None:
    """USD/MWh 40, 30, 35 with PUE 1, 1.5, 1.1 make 40, 45, 38.5: far first, then near."""
    instance = with_series(episode(line()), buy_usd_per_mwh=[40.0, 30.0, 35.0], pue=[1.0, 1.5, 1.1])
    served = served_by_site(run(PriceOnly(), instance))
    np.testing.assert_allclose(served[:, 2], 80.0, atol=1e-3)
    np.testing.assert_allclose(served[:, 0], served.sum(1) - 80.0, atol=1e-3)
    np.testing.assert_allclose(served[:, 1], 0.0, atol=1e-3)


def test_carbon_only_looks_at_the_billed_signal() -> None:
    carbon = {
        "carbon_average_kg_per_mwh": [100.0, 300.0, 200.0],
        "carbon_marginal_kg_per_mwh": [300.0, 100.0, 200.0],
    }
    for signal, best, second in (("average", 0, 2), ("marginal", 1, 2)):
        instance = with_series(episode(line(carbon_signal=signal)), pue=1.1, **carbon)
        served = served_by_site(run(CarbonOnly(), instance))
        np.testing.assert_allclose(served[:, best], 80.0, atol=1e-3)
        np.testing.assert_allclose(served[:, second], served.sum(1) - 80.0, atol=1e-3)


def test_equal_prices_go_to_the_nearer_site() -> None:
    instance = with_series(episode(line()), buy_usd_per_mwh=50.0, pue=1.2)
    served = served_by_site(run(PriceOnly(), instance))
    np.testing.assert_allclose(served[:, 0], 80.0, atol=1e-3)
    np.testing.assert_allclose(served[:, 2], 0.0, atol=1e-3)


def test_work_without_a_choice_is_placed_first() -> None:
    """Half of the work may not leave home: a rule that sends the rest there must leave it room."""
    chat = line().scenario.classes[0].model_copy(update={"state_bound_share": 0.5})
    compiled = compile_scenario(line().scenario.model_copy(update={"classes": [chat]}))
    instance = with_series(episode(compiled), buy_usd_per_mwh=[10.0, 50.0, 60.0], pue=1.1)
    t = run(PriceOnly(), instance)
    assert t.metrics["dropped_gpuh"] == 0.0
    np.testing.assert_allclose(served_by_site(t)[:, 0], 80.0, atol=1e-3)


def test_room_counts_running_jobs_and_the_import_limit() -> None:
    job = {
        "name": "j",
        "gpus": 50.0,
        "duration_h": 6.0,
        "release_h": 0.0,
        "deadline_h": 6.0,
        "value_usd": 1e4,
    }
    t = run(LocalOnly(), episode(line(jobs=[job])))
    assert t.flows.started[0, 0, 0] == 1.0
    np.testing.assert_allclose(served_by_site(t)[:, 0], 30.0, atol=1e-3)
    assert t.metrics["dropped_gpuh"] == 0.0
    limited = with_series(episode(line()), import_limit_mw=[0.06, 1.0, 1.0], pue=1.2)
    t = run(LocalOnly(), limited)
    # 0.06 MW less 1.2 * 100 * 0.25 kW of idle accelerators feed 1.2 * 0.9 kW per GPU-h.
    np.testing.assert_allclose(served_by_site(t)[:, 0], (0.06 - 0.03) / 1.08e-3, rtol=1e-4)
    assert t.metrics["dropped_gpuh"] == 0.0


def test_a_lost_payment_holds_work_below_a_line_as_a_shortfall_does() -> None:
    response = {
        "name": "response", "kind": "demand_response", "mw": 0.06, "commitment_mw": 0.01,
        "calls": {"per_week": 7, "probability": 1.0, "start_h": [2, 2], "duration_h": [6, 6]},  # from midnight UTC
    }  # fmt: skip
    data = line().scenario.model_dump(mode="json", exclude_defaults=True)
    found = []
    for shortfall, energy in ((1e5, 0.0), (0.0, 1e5), (0.0, 1.0)):
        prices = {"price_usd_per_mwh": shortfall, "energy_price_usd_per_mwh": energy}
        data["sites"][0]["lines"] = [response | prices]
        t = run(LocalOnly(), episode(compile_scenario(parse_scenario(data, "test"))))
        found.append(t.flows.line_excess_mw[:, 0, 0])
    np.testing.assert_allclose(found[0], 0.0, atol=1e-6)
    np.testing.assert_allclose(found[1], 0.0, atol=1e-6)
    assert found[2].min() > 0.0


def test_jobs_start_at_the_first_allowed_site_or_where_energy_is_best() -> None:
    job = {
        "name": "j",
        "gpus": 10.0,
        "duration_h": 2.0,
        "release_h": 1.0,
        "deadline_h": 6.0,
        "value_usd": 100.0,
    }
    for sites, first in ((None, 0), (["far", "middle"], 2), (["middle", "far"], 1)):
        instance = episode(line(jobs=[{**job, "sites": sites}]))
        started = run(LocalOnly(), instance).flows.started
        assert started.sum() == 1.0
        assert started[1, 0, first] == 1.0
    instance = with_series(episode(line(jobs=[job])), buy_usd_per_mwh=[40.0, 50.0, 20.0], pue=1.1)
    for rule in (PriceOnly, Greedy):
        assert run(rule(), instance).flows.started[1, 0, 2] == 1.0


def test_each_job_starts_at_the_first_site_of_its_own_list() -> None:
    """The observation does not name jobs: they are known by their features, whatever the jitter."""
    compiled = compile_scenario(load_scenario("global"))
    preferred = compiled.job_site_rank.argmin(-1)
    worth = compiled.job_value_usd / compiled.job_gpus
    assert len(set(preferred)) > 3 and len(set(np.round(worth, 9))) == len(worth)
    for t in run_many(LocalOnly(), make_batch(compiled, range(4)).instances):
        _, job, site = np.nonzero(t.flows.started)
        p = t.instance.params
        named = np.abs((p.job_value_usd / p.job_gpus)[job, None] - worth).argmin(-1)
        assert len(named) == compiled.shape.jobs
        np.testing.assert_array_equal(site, preferred[named])


def test_jobs_alike_but_for_one_feature_are_told_apart() -> None:
    """Size, duration, value, window or allowed sites: each alone is enough."""
    job = {"gpus": 10.0, "duration_h": 2.0, "release_h": 0.0, "deadline_h": 4.0, "value_usd": 100.0}
    change = [
        {"gpus": 12.0, "value_usd": 120.0},
        {"duration_h": 3.0, "deadline_h": 5.0},
        {"value_usd": 110.0},
        {"deadline_h": 5.0},
        {"sites": ["middle", "near"]},
    ]
    for other in change:
        jobs = [
            {"name": "a", "sites": ["far", "middle"], **job},
            {"name": "b", "sites": ["middle", "far"], **job, **other},
        ]
        started = run(LocalOnly(), episode(line(jobs=jobs))).flows.started
        assert {tuple(where) for where in np.argwhere(started > 0.5)} == {(0, 0, 2), (0, 1, 1)}, other


# Greedy


def test_greedy_pays_back_moves_or_stays() -> None:
    """Sessions move for a price gap worth their relocation and egress, not for less."""
    chat = (
        line()
        .scenario.classes[0]
        .model_copy(
            update={"relocation_usd_per_gpuh": 0.04, "payload_gb_per_gpuh": 0.0, "warm_usd_per_gpuh": 1e-6}
        )
    )
    scenario = line().scenario.model_copy(update={"classes": [chat], "carbon_price_usd_per_t": 0.0})
    quiet = episode(compile_scenario(scenario))
    mwh = 1.1 * 0.9e-3
    # 0.04 USD per GPU-h within four hours: a gap of 0.01 USD per GPU-h.
    for gap_usd, moves in ((0.012, True), (0.008, False)):
        prices = [50.0, 50.0 - gap_usd / mwh, 80.0]
        served = served_by_site(run(Greedy(), with_series(quiet, buy_usd_per_mwh=prices, pue=1.1)))
        expected = 80.0 if moves else served[0].sum() - 80.0
        assert served[0, 1] == pytest.approx(expected, abs=1e-3)


def test_greedy_refuses_what_costs_more_than_it_brings() -> None:
    instance = with_series(episode(line()), buy_usd_per_mwh=[50.0, 1e5, 1e5], pue=1.0)
    t = run(Greedy(), instance)
    # Revenue and penalty together are 10 USD per GPU-h; abroad energy alone costs 90.
    np.testing.assert_allclose(served_by_site(t)[:, 1:], 0.0, atol=1e-3)
    np.testing.assert_allclose(t.flows.dropped_gpuh.sum((1, 2)), served_by_site(t).sum(1) / 4.0, rtol=0.1)


def perfect_two_sites(prices: np.ndarray) -> Instance:
    """Two sites with the same prices over the day, known exactly."""
    instance = make_instance("two_sites", seed=0, forecast="perfect", carbon_price_usd_per_t=0.0)
    buy = np.repeat(prices[:, None], 2, axis=1)
    changed = with_series(instance, buy_usd_per_mwh=buy, sell_usd_per_mwh=buy - 5.0, network_usd_per_mwh=buy)
    values = instance.forecast.values.copy()
    for i, lead in enumerate(instance.forecast.leads):
        values[: 24 - lead, i, :2] = buy[lead:]
    return replace(changed, forecast=ForecastSet(values, 2, instance.forecast.leads))


def test_greedy_charges_cheap_and_discharges_dear() -> None:
    prices = np.full(24, 50.0)
    prices[6:10], prices[16:20] = 10.0, 200.0
    t = run(Greedy(), perfect_two_sites(prices))
    assert t.flows.charge_mw[6:10].sum() > 20.0
    assert t.flows.discharge_mw[16:20].sum() > 20.0
    assert t.flows.discharge_mw[6:10].sum() == 0.0
    assert t.flows.charge_mw[16:20].sum() == 0.0
    assert t.metrics["battery_short_mwh"] < 1e-4


def test_greedy_leaves_the_battery_alone_at_flat_prices() -> None:
    t = run(Greedy(), perfect_two_sites(np.full(24, 50.0)))
    assert t.metrics["charge_mwh"] < 1e-4
    assert t.metrics["discharge_mwh"] < 1e-4
    assert t.metrics["deferred_gpuh"] < 1e-3


def test_greedy_defers_to_a_cheap_hour() -> None:
    prices = np.full(24, 100.0)
    prices[6] = 20.0
    t = run(Greedy(), perfect_two_sites(prices))
    batch = t.table["served_gpuh/batch/anywhere"]
    arrivals = t.table["arrivals_gpuh/batch/anywhere"]
    assert batch[3:6].sum() < 0.05 * arrivals[3:6].sum()
    assert batch[6] > 3.0 * arrivals[6]
    assert t.metrics["dropped_gpuh"] == 0.0
    flat = run(LocalOnly(), t.instance)
    assert t.terms["import"] > flat.terms["import"]


def test_greedy_runs_the_generator_where_fuel_is_cheaper() -> None:
    instance = episode(small(), 5)
    t = run(Greedy(), instance)
    p, exo = instance.params, instance.exogenous
    fuel = p.fuel_usd_per_mwh[1] + p.carbon_price_usd_per_kg * p.generator_carbon_kg_per_mwh[1]
    grid = exo.buy_usd_per_mwh[:, 1] + p.carbon_price_usd_per_kg * exo.carbon_marginal_kg_per_mwh[:, 1]
    # While there is budget left, a kg costs its price.
    within = np.cumsum(t.table["emissions_kg"]) < 0.9 * float(p.carbon_budget_kg)
    running = t.flows.generation_mw[:, 1] > 1e-9
    assert not running[within & (grid < fuel)].any()


def test_tranche_by_hand() -> None:
    """Sites of 10 and 20 GPU-h at 1 and 3 USD: units 5 to 15 cost 5 * 1 + 5 * 3 over 10."""
    cost, room = np.array([[3.0, 1.0]]), np.array([[20.0, 10.0]])
    cases = [
        ((5.0, 15.0), 2.0),
        ((0.0, 10.0), 1.0),
        ((10.0, 30.0), 3.0),
        ((5.0, 5.0), 0.0),
        ((0.0, 31.0), np.inf),
    ]
    for (low, high), expected in cases:
        assert tranche_usd_per_gpuh(cost, room, np.array([low]), np.array([high]))[0] == pytest.approx(
            expected
        )


@pytest.mark.parametrize("name", ["two_sites", "four_markets"])
def test_greedy_beats_local_only(name: str) -> None:
    seeds = range(6 if name == "two_sites" else 2)
    instances = [make_instance(name, seed=seed) for seed in seeds]
    greedy, local = run_many(Greedy(), instances), run_many(LocalOnly(), instances)
    gain = [g.benefit_usd - other.benefit_usd for g, other in zip(greedy, local, strict=True)]
    assert sum(gain) > 0.1 * sum(t.bill_usd for t in local)
    assert set(BILL) <= set(local[0].terms)


# What all rules share


@pytest.mark.parametrize("make", REGISTRY.values(), ids=REGISTRY)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_plans_keep_the_limits(make: Callable[[], Any], seed: int) -> None:
    t = run(make(), episode(small(), seed))
    p, exo = t.instance.params, t.instance.exogenous
    busy = inference_gpus(p, t.flows.served_gpuh.sum(-3))
    assert (busy <= p.utilisation_limit * exo.available_gpus * (1 + 1e-9)).all()
    assert not (t.flows.served_gpuh * (1.0 - p.route_open)).any()
    assert (np.abs(t.actions) <= 1.0).all() if t.actions is not None else False
    assert t.metrics["shed_mwh"] == 0.0
    assert (work_power_mw_per_gpuh(p, exo) > 0.0).all()


@pytest.mark.parametrize("make", REGISTRY.values(), ids=REGISTRY)
def test_only_the_observation_counts(make: Callable[[], Any]) -> None:
    """Two worlds that look the same up to step 20 and differ afterwards: the same actions up to there."""
    first = episode(small(), 1)
    later = np.arange(first.steps)[:, None] >= 20
    exo = first.exogenous
    other = with_series(
        first,
        buy_usd_per_mwh=np.where(later, exo.buy_usd_per_mwh * 3.0 + 50.0, exo.buy_usd_per_mwh),
        carbon_marginal_kg_per_mwh=np.where(later, 10.0, exo.carbon_marginal_kg_per_mwh),
        available_gpus=np.where(later, 0.7 * exo.available_gpus, exo.available_gpus),
    )
    actions = [run(make(), instance).actions for instance in (first, other)]
    np.testing.assert_array_equal(actions[0][:20], actions[1][:20])
    if make in (PriceOnly, CarbonOnly, Greedy):
        assert (actions[0][20:] != actions[1][20:]).any()


@pytest.mark.parametrize("make", REGISTRY.values(), ids=REGISTRY)
def test_flat_dict_single_and_batch_agree(make: Callable[[], Any]) -> None:
    instance = episode(small(), 2)
    env = GridAIEnv(instance.scenario)
    observation, _ = env.reset(options={"instance": instance})
    rule = make()
    rule.prepare(instance.compiled)
    action, state = rule.predict(observation, state="memory")
    assert state == "memory"
    assert env.action_space.contains(action)
    flat, _ = rule.predict(env.layout.flatten(observation))
    batch, _ = rule.predict({name: np.stack([part, part]) for name, part in observation.items()})
    np.testing.assert_array_equal(flat, action)
    np.testing.assert_array_equal(batch, [action, action])


@pytest.mark.parametrize("make", REGISTRY.values(), ids=REGISTRY)
def test_a_rule_without_a_scenario_says_so(make: Callable[[], Any]) -> None:
    with pytest.raises(RuntimeError, match="prepare"):
        make().predict({"pue": np.zeros(2, np.float32)})


def test_names() -> None:
    names = ["local_only", "nearest_region", "price_only", "carbon_only", "greedy", "random"]
    assert list(REGISTRY) == names
    assert [make().name for make in REGISTRY.values()] == names


# Placing


def test_place_by_hand() -> None:
    """Rows in order; the second-best option when the best is full; options with limits of their own."""
    work = np.array([[[6.0, 6.0]]])
    cost = np.array([[[[1.0, 2.0], [1.0, 2.0]]]])
    room = np.array([[10.0, 5.0]])
    placed, left = allocate(work, ServiceOptions(cost), room)
    np.testing.assert_allclose(placed[0, 0], [[6.0, 0.0], [4.0, 2.0]])
    assert not left.any()
    limit = np.array([[[[np.inf, np.inf], [1.0, np.inf]]]])
    placed, left = allocate(work, ServiceOptions(cost, limit), room)
    np.testing.assert_allclose(placed[0, 0], [[6.0, 0.0], [1.0, 5.0]])
    until = np.array([[[[np.inf, np.inf], [3.0, 4.0]]]])
    placed, left = allocate(work, ServiceOptions(cost, until_gpuh=until), room)
    np.testing.assert_allclose(placed[0, 0], [[6.0, 0.0], [3.0, 1.0]])
    np.testing.assert_allclose(left[0, 0], [0.0, 2.0])


POSITIVE = st.floats(0.0, 100.0, allow_subnormal=False)


@given(arrays(float, (2, 3, 2), elements=POSITIVE), arrays(float, (2, 3, 2, 4), elements=POSITIVE), st.data())
def test_place_never_overfills(work: np.ndarray, cost: np.ndarray, data: st.DataObject) -> None:
    room = data.draw(arrays(float, (2, 4), elements=POSITIVE))
    closed = data.draw(arrays(bool, (2, 3, 2, 4)))
    cost = np.where(closed, np.inf, cost)
    placed, left = allocate(work, ServiceOptions(cost), room)
    assert (placed >= 0.0).all()
    assert (placed.sum((1, 2)) <= room * (1 + 1e-9) + 1e-9).all()
    np.testing.assert_allclose(placed.sum(-1) + left, work, atol=1e-9)
    assert not placed[closed].any()
    # What is left found every open site full.
    free = (room - placed.sum((1, 2)) > 1e-6)[:, None, None, :] & ~closed
    assert not ((left > 1e-6)[..., None] & free).any()
