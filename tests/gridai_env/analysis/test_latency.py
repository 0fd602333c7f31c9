"""The grid of budgets, relocatable demand, net benefit and returns: against loops, by hand, and by the ledger."""

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from baselines.optimum.milp import service_of, solve
from baselines.rules.greedy import Greedy
from baselines.rules.single_signal import LocalOnly
from gridai_env.analysis.latency_budgets import (
    Sweep,
    default_grid,
    instance_at,
    make_sweep,
    scenario_at,
    widest,
)
from gridai_env.analysis.latency_returns import check_monotone, monotone, returns
from gridai_env.analysis.net_benefit import (
    Assumptions,
    NetBenefit,
    break_even_rows,
    break_evens,
    class_means,
    net_benefit,
    route_returns,
)
from gridai_env.analysis.relocation import closed_routes, episode_of, full_sites, layer_shares, relocatable
from gridai_env.envs.env import GridAIEnv
from gridai_env.envs.simulator import Simulator
from gridai_env.episodes.instance import Instance, make_instance, stack
from gridai_env.episodes.last_resorts import last_resort_prices
from gridai_env.rollout.run import run
from gridai_env.scenario.geography import LAYERS
from gridai_env.scenario.load import load_scenario, scenario_names
from gridai_env.world.actions import Layout
from gridai_env.world.feasible import complete
from gridai_env.world.state import INSTANCE_FIELDS, Flows, Params
from tests.support.strategies import instance_seeds, pool, random_actions, random_instance, steps_of
from tests.support.sweeps import instances_at
from tests.support.tiny import set_exogenous, tiny

FEW = settings(max_examples=20, deadline=None)


def axes(instance: Instance) -> list[str]:
    """All axes of an instance along which something opens."""
    geo = instance.compiled.geography
    allowed = geo.by_law & geo.by_state & geo.by_support & ~geo.home[:, None, :]
    rows = instance.compiled.row_class
    names = instance.compiled.class_names
    free = [f"class:{name}" for n, name in enumerate(names) if allowed[:, rows == n].any()]
    return ["scale", *free] if free else []


def worlds(first: int, count: int) -> list[Instance]:
    """Random worlds in which a budget matters."""
    found = [group[0] for group in pool(4 * count, 1, first) if axes(group[0])]
    return found[:count]


def played(instance: Instance, seed: int = 0) -> Flows:
    """Flows [T,...] of random actions."""
    size = Layout(instance.compiled.shape).size
    actions = random_actions(np.random.default_rng(seed), instance.steps, 1, size)
    simulator, out = Simulator(stack([instance])), []
    for action in actions:
        out.append(simulator.step(action)[0])
    return Flows(**{name: np.concatenate([getattr(f, name) for f in out]) for name in Flows.names()})


# Grid ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("grid", "words"),
    [
        ((), "empty"),
        ((300.0, 200.0), "200.0 stands after 300.0; sort"),
        ((200.0, 200.0), "200.0 stands twice"),
        ((0.0, 200.0), "0.0 is not allowed"),
        ((-5.0, 200.0), "-5.0 is not allowed"),
        ((200.0, float("nan")), "nan is not allowed"),
        ((200.0, float("inf")), "inf is not allowed"),
        (("200",), "'200' is not allowed"),
        ((True, 2.0), "True is not allowed"),
    ],
)
@pytest.mark.parametrize("axis", ["scale", "class:interactive"])
def test_a_bad_grid_is_refused(axis: str, grid: tuple, words: str) -> None:
    with pytest.raises(ValueError, match=words.replace(".", r"\.")):
        Sweep(axis, grid)


@pytest.mark.parametrize("axis", ["", "Scale", "class", "class:", "interactive"])
def test_an_unknown_axis_is_refused(axis: str) -> None:
    with pytest.raises(ValueError, match=r"axis = .* must be 'scale' or 'class:NAME'"):
        Sweep(axis, (1.0,))


def test_an_unknown_class_is_refused_and_the_close_one_named() -> None:
    scenario = load_scenario("energy_geography")
    for call in (
        lambda: make_sweep(scenario, "class:interactiv"),
        lambda: make_sweep(scenario, "class:interactiv", [100.0]),
        lambda: scenario_at(scenario, Sweep("class:interactiv", (100.0,)), 0),
    ):
        with pytest.raises(ValueError, match=r"no such class .*interactive"):
            call()
    with pytest.raises(ValueError, match="points = 1: must be at least 2"):
        default_grid(scenario, "scale", 1)


def test_a_sweep_compares_at_least_two_points_and_a_default_grid_has_an_upper_limit() -> None:
    scenario = load_scenario("two_sites")
    for axis, shown in (("scale", "a factor"), ("class:sessions", "ms")):
        with pytest.raises(ValueError, match=rf"grid: 1 alone; .*needs at least two points.*\[{shown}\]"):
            make_sweep(scenario, axis, [1])
        assert len(Sweep(axis, (1.0,))) == 1  # a point of `instance_at` needs no second one
        with pytest.raises(ValueError, match="points = 100000: must be at most 200"):
            make_sweep(scenario, axis, points=100_000)
        assert len(default_grid(scenario, axis, 200)) == 200


def test_a_grid_of_whole_numbers_serves() -> None:
    sweep = make_sweep(load_scenario("two_sites"), "class:sessions", [200, np.int64(300)])
    assert sweep.grid == (200.0, 300.0) and sweep.budget_ms(1) == 300.0 and np.isnan(sweep.scale(1))
    assert (sweep.unit, sweep.class_name, len(sweep)) == ("ms", "sessions", 2)
    factors = Sweep("scale", (0.5, 1.0))
    assert (factors.unit, factors.class_name) == ("1", None) and np.isnan(factors.budget_ms(0))


@FEW
@given(instance_seeds())
def test_a_point_changes_routes_alone_and_they_nest(seed: int) -> None:
    instance = random_instance(seed)
    for axis in axes(instance):
        points = instances_at(instance, make_sweep(instance.scenario, axis, points=5))
        for point in points:
            for name in Params.names():
                same = np.array_equal(getattr(point.params, name), getattr(instance.params, name))
                assert same or name == "route_open", name
            for group in ("exogenous", "initial", "forecast", "knowledge", "seed", "start_utc"):
                assert getattr(point, group) is getattr(instance, group)
            assert np.array_equal(point.params.route_open, point.compiled.geography.open)
        for tight, loose in pairwise(points):
            assert (tight.params.route_open <= loose.params.route_open).all()
            same = np.array_equal(tight.params.route_open, loose.params.route_open)
            assert (tight.hash == loose.hash) == same
        # The default grid goes from nothing but home to all that budget can open.
        geo, own = instance.compiled.geography, swept_rows(instance, axis)
        first, last = points[0].params.route_open[:, own], points[-1].compiled.geography
        assert np.array_equal(first > 0.0, np.broadcast_to(geo.home[:, None, :], first.shape))
        if axis != "scale":
            rules = last.by_law & last.by_state & last.by_support | last.home[:, None, :]
            assert np.array_equal(last.open[:, own], rules[:, own])
            others = ~own
            assert np.array_equal(last.open[:, others], geo.open[:, others])


def swept_rows(instance: Instance, axis: str) -> np.ndarray:
    """Rows [W] whose budget an axis changes."""
    names = np.array(instance.compiled.class_names)[instance.compiled.row_class]
    return np.ones(len(names), dtype=bool) if axis == "scale" else names == axis.removeprefix("class:")


@pytest.mark.parametrize("name", scenario_names())
def test_default_grids_of_shipped_scenarios(name: str) -> None:
    scenario = load_scenario(name, horizon_h=2)
    instance = make_instance(scenario, seed=1)
    for axis in axes(instance):
        for points in (2, 3, 12, 5):
            sweep = make_sweep(scenario, axis, points=points)
            assert len(sweep) == points
        own = swept_rows(instance, axis)
        opened = [int(i.params.route_open[:, own].sum()) for i in instances_at(instance, sweep)]
        assert opened[0] == own.sum() * instance.compiled.shape.regions < opened[-1]
        if axis == "scale":
            assert opened[-1] == instance.params.route_open.sum() and sweep.grid[-1] == 1.0
        else:
            budget = instance.compiled.geography.budget_ms[own][0]
            assert budget in sweep.grid or not sweep.grid[0] < budget < sweep.grid[-1]


@pytest.mark.parametrize("axis", ["scale", "class:interactive", "class:background"])
def test_each_point_of_a_default_grid_opens_something(axis: str) -> None:
    """Where there are more openings than points, none is wasted; the last one is the loose end."""
    instance = make_instance("energy_geography", seed=0, horizon_h=1)
    points = instances_at(instance, make_sweep(instance.scenario, axis))
    opened = np.array([i.params.route_open.sum() for i in points])
    assert (np.diff(opened)[:-1] > 0).all(), opened


def test_a_default_grid_needs_a_route_that_budget_can_open() -> None:
    with pytest.raises(ValueError, match="axis = 'scale': no budget opens a route"):
        default_grid(tiny().scenario, "scale")
    with pytest.raises(ValueError, match="axis = 'class:class0': no budget opens a route"):
        default_grid(tiny().scenario, "class:class0")
    bound = two_zones(state_bound_share=1.0).scenario
    for axis in ("scale", "class:class0"):
        with pytest.raises(ValueError, match=f"axis = '{axis}': no budget opens a route"):
            default_grid(bound, axis)


def test_a_point_is_the_episode_that_its_scenario_gives() -> None:
    """Made from the seed under the point's budgets, all is the same, but for prices of last resorts."""
    prices = ("shed_usd_per_mwh", "gpu_short_usd_per_gpuh")
    base = make_instance("two_sites", seed=3)
    for axis, grid in (("scale", (0.5, 0.8)), ("class:sessions", (200.0, 400.0))):
        sweep = make_sweep(base.scenario, axis, grid)
        for i in range(2):
            point = instance_at(base, sweep, i)
            fresh = make_instance(scenario_at(base.scenario, sweep, i), seed=3)
            same = {name: getattr(base.params, name) for name in prices}
            assert point.hash == replace(fresh, params=fresh.params.replace(**same)).hash
            assert point.compiled.hash == fresh.compiled.hash
    half = scenario_at(base.scenario, Sweep("scale", (0.5,)), 0)
    assert load_scenario("two_sites", latency_scale=0.5) == half


def test_a_class_budget_is_exact_under_a_scale_and_the_others_stay() -> None:
    base = make_instance(load_scenario("energy_geography", latency_scale=0.7), seed=0)
    point = instance_at(base, Sweep("class:standard", (1041.0,)), 0)
    own = swept_rows(base, "class:standard")
    budget = point.compiled.geography.budget_ms
    assert (budget[own] == 1041.0).all()
    assert np.array_equal(budget[~own], base.compiled.geography.budget_ms[~own])


def test_points_are_played_by_judge_and_environment() -> None:
    base = make_instance("two_sites", seed=0, horizon_h=6)
    env = GridAIEnv("two_sites", horizon_h=6)
    for point in instances_at(base, make_sweep(base.scenario, "class:sessions", (170.0, 300.0))):
        trajectory = run(Greedy(), point)
        assert trajectory.instance is point
        away = trajectory.flows.served_gpuh * (1.0 - point.params.route_open)
        assert away.max() == 0.0
        env.reset(options={"instance": point})
        total = 0.0
        for action in trajectory.actions:
            _, reward, *_ = env.step(action)
            total += reward
        assert total * base.scenario.reward_scale_usd == pytest.approx(trajectory.benefit_usd, rel=1e-9)


def test_changed_routes_are_not_swept() -> None:
    instance = make_instance("two_sites", seed=0)
    shut = instance.params.replace(
        route_open=np.broadcast_to(instance.params.home[:, None], (2, 3, 2)).copy()
    )
    with pytest.raises(ValueError, match="open routes were changed by hand"):
        instance_at(replace(instance, params=shut), Sweep("scale", (1.0,)), 0)


def test_the_base_of_a_sweep_has_last_resorts_that_hold_at_each_point() -> None:
    """A class whose moves are dear and closed at present: its routes raise the price of the last resort."""
    far = {"longitude": 60.0, "legal_zone": "IN"}
    dear = {"latency_budget_ms": 20.0, "relocation_gb_per_gpuh": 30.0, "payload_gb_per_gpuh": 50.0}
    instance = tiny(sites=({}, far), classes=(dear,), exogenous={"arrivals_gpuh": 5.0})
    sweep = make_sweep(instance.scenario, "class:class0")
    base = widest(instance, sweep)
    assert (base.params.shed_usd_per_mwh > instance.params.shed_usd_per_mwh).all()
    for point in instances_at(base, sweep):
        shed, short = last_resort_prices(point.params, point.exogenous.map(lambda x: x[None]))
        assert (point.params.shed_usd_per_mwh >= shed[0]).all()
        assert (point.params.gpu_short_usd_per_gpuh >= short[0]).all()
    low = Sweep("class:class0", (15.0,))
    for name in INSTANCE_FIELDS:
        assert np.array_equal(getattr(widest(instance, low).params, name), getattr(instance.params, name))


# The frontier itself ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("world", range(4))
def test_no_objective_rises_along_the_grid(world: int) -> None:
    instance = worlds(500, 4)[world]
    sweep = make_sweep(instance.scenario, axes(instance)[-1], points=3)
    points = instances_at(widest(instance, sweep), sweep)
    plans = {"benefit": [solve(point, mip_gap=1e-7, threads=1) for point in points]}
    floor = service_of(plans["benefit"][0])
    for goal in ("cost", "carbon"):
        plans[goal] = [solve(point, goal, mip_gap=1e-7, threads=1, floor=floor) for point in points]
    for goal, found in plans.items():
        sign = -1.0 if goal == "benefit" else 1.0
        values = [sign * plan.objective_value for plan in found]
        bounds = [sign * plan.bound for plan in found]
        check_monotone(values, f"{instance.scenario_name} {goal}", tolerance=1e-5)
        arcs = returns(values, bounds, values, sweep.grid, axis=sweep.axis)
        assert (arcs.arc_low <= arcs.arc).all() and (arcs.arc <= arcs.arc_high).all()


# Net benefit --------------------------------------------------------------------------------------------------


def bare(instance: Instance) -> Instance:
    """The instance in which every MWh more is imported at its price: nothing binds, nothing is spare."""
    exo, p = instance.exogenous, instance.params
    exo = exo.replace(
        renewable_available_mw=0.0 * exo.renewable_available_mw,
        import_limit_mw=1e6 + 0.0 * exo.import_limit_mw,
        battery_target_mwh=0.0 * exo.battery_target_mwh,
        line_usd_per_mwh=0.0 * exo.line_usd_per_mwh,
        response_usd_per_mwh=0.0 * exo.response_usd_per_mwh,
    )
    p = p.replace(
        demand_charge_usd_per_mw=0.0 * p.demand_charge_usd_per_mw,
        carbon_budget_kg=np.array(np.inf),
        carbon_price_usd_per_kg=max(p.carbon_price_usd_per_kg, 0.01),
        water_price_usd_per_l=0.003,
    )
    return replace(instance, exogenous=exo, params=p)


def benefit_of_serving(instance: Instance, served_gpuh: np.ndarray) -> tuple[float, float]:
    """Benefit in USD and billed kg of the first step, played by the simulator with nothing but this work."""
    simulator = Simulator(stack([instance]))
    p, exo = simulator.params, simulator.exogenous
    none = np.zeros((1, p.gpus.shape[0]))
    flows = complete(
        p,
        simulator.state,
        exo,
        served_gpuh=served_gpuh[None],
        dropped_gpuh=np.zeros(served_gpuh.shape[:2])[None],
        started=np.zeros((1, instance.compiled.shape.jobs, none.shape[1])),
        saving_mw=np.zeros((1, len(p.gpus) if p.has_modes else 0)),
        **dict.fromkeys(("charge_mw", "discharge_mw", "generation_mw", "renewable_mw", "shed_mw"), none),
    )
    _, outcome = simulator.step_flows(flows)
    kg = outcome.emissions_marginal_kg if p.bill_marginal else outcome.emissions_average_kg
    return float(outcome.benefit_usd[0]), float(kg[0])


@FEW
@given(instance_seeds())
def test_net_benefit_is_what_the_ledger_pays_for_a_move(seed: int) -> None:
    """Some work of a row moved in the first step, stays a step: played by the simulator, part by part of it."""
    instance = bare(random_instance(seed))
    p, arrived = instance.params, instance.exogenous.arrivals_gpuh[0]
    benefit = net_benefit(instance, Assumptions(dwell_h=p.dt_h))
    home = arrived[..., None] * p.home[:, None, :]
    stay_usd, stay_kg = benefit_of_serving(instance, home)
    for c, w, k in np.argwhere(arrived[..., None] * (1.0 - p.home[:, None, :]) > 0.0):
        moved = 0.1 * arrived[c, w]
        served = home.copy()
        served[c, w, instance.compiled.home_site[c]] -= moved
        served[c, w, k] += moved
        usd, kg = benefit_of_serving(instance, served)
        scale = max(abs(stay_usd), abs(usd)) / moved
        assert benefit.total_usd_per_gpuh[0, c, w, k] == pytest.approx(
            (usd - stay_usd) / moved, abs=1e-11 * scale
        )
        network_kg = energy_kg(instance, c, w, k)
        saved_kg = (stay_kg - kg) / moved + network_kg
        assert benefit.carbon_saved_kg_per_gpuh[0, c, w, k] == pytest.approx(
            saved_kg, abs=1e-10 * max(stay_kg, 1.0) / moved
        )


def energy_kg(instance: Instance, c: int, w: int, k: int) -> float:
    """kg of the network and loading energy of moving one GPU-h in the first step."""
    p, exo = instance.params, instance.exogenous
    mwh = p.network_mwh_per_gpuh[c, w, k] + p.relocation_mwh_per_gpuh[c, w, k]
    mwh += p.warm_mwh_per_gpuh[w] * (1.0 - p.may_wait[w])
    per_mwh = exo.carbon_marginal_kg_per_mwh if p.bill_marginal else exo.carbon_average_kg_per_mwh
    return float(mwh * per_mwh[0, k])


def two_zones(buy: tuple[float, float] = (100.0, 20.0), **task: Any) -> Instance:
    """Two sites in two legal zones, one region at the first; 1.25 kWh per GPU-h, 50 USD/t, two steps."""
    return tiny(
        sites=({}, {"legal_zone": "US", "longitude": 38.0}),
        classes=({"payload_gb_per_gpuh": 0.2, **task},),
        carbon_price_usd_per_t=50.0,
        exogenous={
            "arrivals_gpuh": 100.0,
            "buy_usd_per_mwh": np.array(buy),
            "carbon_average_kg_per_mwh": np.array([400.0, 100.0]),
        },
    )


def at(benefit: NetBenefit) -> dict[str, float]:
    """The move of the tiny worlds: first step, region 0, row 0, second site."""
    return {name: float(getattr(benefit, name)[0, 0, 0, 1]) for name in benefit.names()}


def test_net_benefit_by_hand() -> None:
    benefit = net_benefit(two_zones(), Assumptions(dwell_h=8.0, latency_usd_per_gpuh_ms=1e-5))
    part = at(benefit)
    # 1.25 kWh at 100 less the same at 20 USD/MWh; 300 kg/MWh less, at 0.05 USD/kg
    assert part["energy_saved_usd_per_gpuh"] == pytest.approx(0.1)
    assert part["carbon_saved_kg_per_gpuh"] == pytest.approx(0.375)
    assert part["carbon_saved_usd_per_gpuh"] == pytest.approx(0.01875)
    # 0.2 GB at 0.05 USD; 0.06 kWh/GB at 20 USD/MWh and 100 kg/MWh
    assert part["egress_usd_per_gpuh"] == pytest.approx(0.01)
    assert part["transfer_usd_per_gpuh"] == pytest.approx(0.2 * 0.06e-3 * 25.0)
    # 0.01 for the session and 0.02 for the weights, over eight steps
    assert part["friction_usd_per_gpuh"] == pytest.approx(0.03 / 8.0)
    # 30 degrees of longitude at 50 north, through the home's own node; home itself is 5 + 5 ms
    assert part["extra_path_ms"] == pytest.approx(2.8 * (2129.73 / 200.0 + 20.0) + 5.0 - 10.0, abs=0.01)
    assert part["latency_usd_per_gpuh"] == pytest.approx(1e-5 * part["extra_path_ms"])
    total = 0.1 + 0.01875 - 0.01 - 0.0003 - 0.00375 - part["latency_usd_per_gpuh"]
    assert benefit.total_usd_per_gpuh[0, 0, 0, 1] == pytest.approx(total)
    assert (benefit.total_usd_per_gpuh[..., 0] == 0.0).all()
    erl, crl = route_returns(benefit)
    assert erl[0, 0, 0, 1] == pytest.approx(0.1 / part["extra_path_ms"])
    assert crl[0, 0, 0, 1] == pytest.approx(0.375 / part["extra_path_ms"])
    assert np.isnan(erl[..., 0]).all() and np.isnan(crl[..., 0]).all()


def test_break_evens_by_hand() -> None:
    even = break_evens(net_benefit(two_zones()))
    margin = 0.11875 - 0.0103
    assert even.volume_gpuh[0, 0, 0, 1] == pytest.approx(0.03 / margin)
    assert even.dwell_h[0, 0, 0, 1] == pytest.approx(0.03 / margin)
    assert even.volume_requests[0, 0, 0, 1] == pytest.approx(0.03 / margin / 2.5e-4)
    # the price gap falls by NB / 1.25 kWh until nothing is left
    assert even.spread_usd_per_mwh[0, 0, 0, 1] == pytest.approx(80.0 - 0.1047 / 1.25e-3)
    # all but the payload's own cost, over 0.05 USD egress and 0.06 kWh at 25 USD/MWh per GB
    assert even.payload_gb_per_gpuh[0, 0, 0, 1] == pytest.approx(0.115 / 0.0515)
    assert even.payload_gb_per_request[0, 0, 0, 1] == pytest.approx(0.115 / 0.0515 * 2.5e-4)


def test_break_evens_put_back_give_zero() -> None:
    base = two_zones()
    even = break_evens(net_benefit(base))
    spread = float(even.spread_usd_per_mwh[0, 0, 0, 1])
    payload = float(even.payload_gb_per_gpuh[0, 0, 0, 1])
    cases = (
        net_benefit(two_zones(buy=(20.0 + spread, 20.0))),
        net_benefit(two_zones(payload_gb_per_gpuh=payload)),
        net_benefit(two_zones(buy=(30.0, 20.0)), Assumptions(dwell_h=dwell_at((30.0, 20.0)))),
    )
    for benefit in cases:
        assert benefit.total_usd_per_gpuh[0, 0, 0, 1] == pytest.approx(0.0, abs=1e-12)


def dwell_at(buy: tuple[float, float]) -> float:
    """Break-even dwell time of the tiny world at these prices; above one step, or it could not be put back."""
    dwell = float(break_evens(net_benefit(two_zones(buy=buy))).dwell_h[0, 0, 0, 1])
    assert dwell > 1.0
    return dwell


def test_what_never_pays_and_what_costs_nothing() -> None:
    reverse = break_evens(net_benefit(two_zones(buy=(20.0, 200.0))))
    assert reverse.volume_gpuh[0, 0, 0, 1] == reverse.dwell_h[0, 0, 0, 1] == np.inf
    assert np.isnan(reverse.payload_gb_per_gpuh[0, 0, 0, 1])
    assert np.isfinite(reverse.spread_usd_per_mwh).all()
    network = {"other_zone_usd_per_gb": 0.0, "energy_kwh_per_gb": 0.0}
    data = load_scenario(two_zones().scenario)
    data = data.model_copy(update={"network": data.network.model_copy(update=network)})
    instance = set_exogenous(make_instance(data), {"buy_usd_per_mwh": np.array([100.0, 20.0])})
    assert break_evens(net_benefit(instance)).payload_gb_per_gpuh[0, 0, 0, 1] == np.inf
    waiting = break_evens(net_benefit(two_zones(wait_h=1.0)))  # no session, no friction
    assert waiting.volume_gpuh[0, 0, 0, 1] == waiting.dwell_h[0, 0, 0, 1] == 0.0


@pytest.mark.parametrize(
    "bad", [{"dwell_h": 0.0}, {"dwell_h": float("nan")}, {"latency_usd_per_gpuh_ms": -1.0}]
)
def test_bad_assumptions_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(bad))):
        Assumptions(**bad)


def test_rows_of_break_evens_against_loops() -> None:
    instance = make_instance("energy_geography", seed=2, horizon_h=6)
    compiled, p = instance.compiled, instance.params
    full = net_benefit(instance)
    rows = break_even_rows(instance)
    shape = compiled.shape
    assert len(rows) == len(compiled.class_names) * shape.regions * (shape.sites - 1)
    by_name = {(r["class"], r["region"], r["site"]): r for r in rows}
    for n, c, k in ((0, 0, 3), (2, 5, 1), (3, 7, 9)):
        total = weight = opened = positive = 0.0
        for t in range(shape.steps):
            for w in np.flatnonzero(compiled.row_class == n):
                gpuh = instance.exogenous.arrivals_gpuh[t, c, w]
                weight += gpuh
                total += gpuh * full.total_usd_per_gpuh[t, c, w, k]
                opened += gpuh * p.route_open[c, w, k]
                positive += gpuh * (full.total_usd_per_gpuh[t, c, w, k] > 0.0)
        row = by_name[compiled.class_names[n], compiled.region_names[c], compiled.site_names[k]]
        assert row["net_benefit_usd_per_gpuh"] == pytest.approx(total / weight)
        assert row["open_share"] == pytest.approx(opened / weight)
        assert row["positive_share"] == pytest.approx(positive / weight)
        saved = (
            row["energy_saved_usd_per_gpuh"]
            + row["carbon_saved_usd_per_gpuh"]
            + row["water_saved_usd_per_gpuh"]
        )
        spent = row["egress_usd_per_gpuh"] + row["transfer_usd_per_gpuh"] + row["latency_usd_per_gpuh"]
        assert row["net_benefit_usd_per_gpuh"] == pytest.approx(saved - spent - row["friction_usd_per_gpuh"])
        assert all(isinstance(v, float) for key, v in row.items() if key not in ("class", "region", "site"))


def test_no_arrivals_give_no_mean() -> None:
    empty = set_exogenous(two_zones(), {"arrivals_gpuh": 0.0})
    assert np.isnan(class_means(empty, net_benefit(empty).total_usd_per_gpuh)).all()
    assert np.isnan([row["rid_latency"] for row in relocatable(empty).rows()]).all()
    assert all(np.isnan(row["break_even_dwell_h"]) for row in break_even_rows(empty))


# Relocatable demand -------------------------------------------------------------------------------------------


@FEW
@given(instance_seeds())
def test_relocatable_demand_against_loops(seed: int) -> None:
    instance = random_instance(seed)
    flows = played(instance, seed)
    found = {row["class"]: row for row in relocatable(instance, flows).rows()}
    assert list(found) == ["all", *instance.compiled.class_names]
    slow = slow_rid(instance, flows)
    for name, row in found.items():
        for kind in ("latency", "feasible", "net", "real"):
            value = row[f"rid_{kind}"]
            assert value == pytest.approx(slow[name][kind], abs=1e-9, nan_ok=True), (name, kind)
            assert np.isnan(value) or -1e-12 <= value <= 1.0 + 1e-9
        if not np.isnan(row["rid_net"]):
            assert row["rid_latency"] >= row["rid_feasible"] - 1e-12
            assert row["rid_feasible"] >= row["rid_net"] - 1e-12
            assert row["rid_feasible"] >= row["rid_real"] - 1e-9
    assert np.isnan(relocatable(instance).real).all()


def slow_rid(instance: Instance, flows: Flows) -> dict[str, dict[str, float]]:
    """The four shares by plain loops, written from their definitions."""
    compiled, p, exo = instance.compiled, instance.params, instance.exogenous
    names = ("all", *compiled.class_names)
    kinds = ("whole", "latency", "feasible", "net", "real")
    sums = {name: dict.fromkeys(kinds, 0.0) for name in names}
    pays = net_benefit(instance).total_usd_per_gpuh > 0.0
    for c in range(compiled.shape.regions):
        home = compiled.home_site[c]
        kw = p.busy_kw_per_gpu[home] - p.idle_kw_per_gpu[home]
        mwh = [exo.pue[t, home] * kw / 1000.0 / p.speed[home] for t in range(instance.steps)]
        for w in range(compiled.shape.rows):
            arrived = exo.arrivals_gpuh[:, c, w]
            mean = sum(m * a for m, a in zip(mwh, arrived, strict=True)) / max(arrived.sum(), 1e-300)
            others = [k for k in range(compiled.shape.sites) if k != home]
            for t in range(instance.steps):
                energy = mwh[t] * arrived[t]
                away = sum(flows.served_gpuh[t, c, w, k] for k in others)
                part = {
                    "whole": energy,
                    "latency": energy * any(compiled.geography.by_latency[c, w, k] for k in others),
                    "feasible": energy * any(p.route_open[c, w, k] for k in others),
                    "net": energy * any(p.route_open[c, w, k] and pays[t, c, w, k] for k in others),
                    "real": away * (mean if p.may_wait[w] else mwh[t]),
                }
                for name in ("all", compiled.class_names[compiled.row_class[w]]):
                    for kind in kinds:
                        sums[name][kind] += part[kind]
    return {
        name: {kind: v[kind] / v["whole"] if v["whole"] > 0.0 else np.nan for kind in kinds[1:]}
        for name, v in sums.items()
    }


def test_relocatable_demand_by_hand() -> None:
    """A third of the work free, a third bound by law, a third by state; the free part pays in one of two steps."""
    third = 1.0 / 3.0
    instance = two_zones(state_bound_share=third, law_bound_share=third)
    instance = set_exogenous(instance, {"buy_usd_per_mwh": np.array([[100.0, 20.0], [20.0, 100.0]])})
    flows = played(instance)
    half = np.zeros_like(flows.served_gpuh)
    half[0, 0, :, 0] = instance.exogenous.arrivals_gpuh[0, 0]
    half[1, 0, :, 0] = instance.exogenous.arrivals_gpuh[1, 0]
    free = instance.compiled.row_locality.index("anywhere")
    half[:, 0, free, 0] *= 0.5
    half[:, 0, free, 1] = half[:, 0, free, 0]
    rid = relocatable(instance, flows.replace(served_gpuh=half))
    share = instance.exogenous.arrivals_gpuh[0, 0, free] / instance.exogenous.arrivals_gpuh[0, 0].sum()
    assert rid.latency[0] == pytest.approx(1.0)
    assert rid.feasible[0] == pytest.approx(share)
    assert rid.net[0] == pytest.approx(share / 2.0)
    assert rid.real[0] == pytest.approx(share / 2.0)
    assert rid.names == ("all", "class0")


@FEW
@given(instance_seeds())
def test_layers_against_a_loop(seed: int) -> None:
    instance = random_instance(seed)
    flows = played(instance, seed)
    rows = layer_shares(instance, flows)
    p, exo, geo = instance.params, instance.exogenous, instance.compiled.geography
    energy: dict[tuple[str, str], float] = {}
    for (t, c, w, k), gpuh in np.ndenumerate(flows.served_gpuh):
        kw = exo.pue[t, k] * (p.busy_kw_per_gpu[k] - p.idle_kw_per_gpu[k]) / p.speed[k]
        for name in ("all", instance.compiled.class_names[instance.compiled.row_class[w]]):
            key = (name, LAYERS[geo.layer[c, w, k]])
            energy[key] = energy.get(key, 0.0) + gpuh * kw
    assert [(r["class"], r["layer"]) for r in rows] == [
        (name, layer) for name in ("all", *instance.compiled.class_names) for layer in LAYERS
    ]
    for row in rows:
        whole = sum(energy.get((row["class"], layer), 0.0) for layer in LAYERS)
        expected = energy.get((row["class"], row["layer"]), 0.0) / whole if whole else np.nan
        assert row["share"] == pytest.approx(expected, nan_ok=True)


@FEW
@given(instance_seeds())
def test_states_follow_from_flows(seed: int) -> None:
    instance = random_instance(seed)
    simulator, flows = Simulator(stack([instance])), played(instance, seed)
    episode = episode_of(instance, flows)
    for t in range(instance.steps):
        for name in episode.before.names():
            expected = getattr(simulator.state, name)[0]
            assert getattr(episode.before, name)[t] == pytest.approx(expected, rel=1e-9, abs=1e-9), name
        simulator.step_flows(steps_of(flows, t))


# Closed routes ------------------------------------------------------------------------------------------------


def reasons(instance: Instance, flows: Flows | None = None) -> dict[tuple[str, str], tuple[int, float]]:
    """(class, reason) -> (routes, share)."""
    rows = closed_routes(instance, flows)
    return {(r["class"], r["reason"]): (r["routes"], r["share"]) for r in rows}


@FEW
@given(instance_seeds())
def test_closed_routes_against_loops(seed: int) -> None:
    instance = random_instance(seed)
    compiled, geo, p, exo = (
        instance.compiled,
        instance.compiled.geography,
        instance.params,
        instance.exogenous,
    )
    found = reasons(instance)
    masks = {"latency": geo.by_latency, "law": geo.by_law, "state": geo.by_state, "support": geo.by_support}
    for reason in (*masks, "latency alone", "home misses budget"):
        for name in ("all", *compiled.class_names):
            routes, part, whole = 0, 0.0, 0.0
            for c, w in np.ndindex(compiled.shape.regions, compiled.shape.rows):
                if name not in ("all", compiled.class_names[compiled.row_class[w]]):
                    continue
                home = compiled.home_site[c]
                kw = p.busy_kw_per_gpu[home] - p.idle_kw_per_gpu[home]
                energy = (exo.arrivals_gpuh[:, c, w] * exo.pue[:, home]).sum() * kw / p.speed[home]
                whole += energy
                if reason == "home misses budget":
                    late = geo.latency_ms[c, w, home] > geo.budget_ms[w]
                    routes, part = routes + late, part + late * energy
                    continue
                for k in set(range(compiled.shape.sites)) - {int(home)}:
                    shut = {r for r, mask in masks.items() if not mask[c, w, k]}
                    hit = shut == {"latency"} if reason == "latency alone" else reason in shut
                    routes, part = routes + hit, part + hit * energy / (compiled.shape.sites - 1)
            assert found[name, reason][0] == routes, (name, reason)
            expected = part / whole if whole else np.nan
            assert found[name, reason][1] == pytest.approx(expected, nan_ok=True), (name, reason)


@FEW
@given(instance_seeds())
def test_latency_alone_is_what_a_larger_budget_opens(seed: int) -> None:
    instance = random_instance(seed)
    wide = instance_at(instance, Sweep("scale", (1e6,)), 0)
    opened = wide.params.route_open - instance.params.route_open
    found = reasons(instance)
    assert found["all", "latency alone"][0] == opened.sum()
    for n, name in enumerate(instance.compiled.class_names):
        assert found[name, "latency alone"][0] == opened[:, instance.compiled.row_class == n].sum()
    assert reasons(wide)["all", "latency"][0] == 0


def test_a_full_site_closes_its_routes_for_lack_of_room() -> None:
    """1000 accelerators at the second site, all busy with 1000 GPU-h in the first of two steps."""
    instance = set_exogenous(two_zones(), {"arrivals_gpuh": np.array([1200.0, 300.0])[:, None, None]})
    flows = played(instance)
    served = np.zeros_like(flows.served_gpuh)
    served[0, 0, 0], served[1, 0, 0] = (200.0, 1000.0), (200.0, 100.0)
    flows = flows.replace(served_gpuh=served)
    assert full_sites(instance, flows).tolist() == [[False, True], [False, False]]
    assert reasons(instance, flows)["all", "capacity"] == (1, pytest.approx(1200.0 / 1500.0))
    served[0, 0, 0] = (201.0, 999.0)
    assert reasons(instance, flows.replace(served_gpuh=served))["class0", "capacity"] == (0, 0.0)
    assert ("all", "capacity") not in reasons(instance)


def test_jobs_and_faults_fill_a_site_too() -> None:
    job = {"gpus": 600.0, "duration_h": 1.0, "release_h": 0.0, "deadline_h": 2.0, "value_usd": 10.0}
    instance = tiny(jobs=(job,), exogenous={"arrivals_gpuh": 400.0})
    flows = played(instance)
    served, started = np.full_like(flows.served_gpuh, 400.0), np.zeros_like(flows.started)
    started[0] = 1.0
    flows = flows.replace(served_gpuh=served, started=started, gpu_short=0.0 * flows.gpu_short)
    assert full_sites(instance, flows).tolist() == [[True], [False]]
    fault = set_exogenous(instance, {"available_gpus": np.array([[1000.0], [400.0]])})
    assert full_sites(fault, flows).tolist() == [[True], [True]]


# Returns ------------------------------------------------------------------------------------------------------


def test_returns_by_hand() -> None:
    found = returns(
        [100.0, 90.0, 84.0, 84.0],
        [99.0, 90.0, 83.0, 84.0],
        [100.0, 90.0, 84.0, 84.0],
        [100, 150, 250, 300],
        axis="class:a",
    )
    assert found.arc == pytest.approx([0.2, 0.06, 0.0])
    assert found.arc_low == pytest.approx([9.0 / 50.0, 0.06, -1.0 / 50.0])
    assert found.arc_high == pytest.approx([0.2, 0.07, 0.0])
    assert found.marginal == pytest.approx([0.2, 16.0 / 150.0, 6.0 / 150.0, 0.0])
    assert found.relative_percent == pytest.approx([20.0, 6.0, 0.0])
    row = found.rows("cost", "a")[1]
    assert row["arc_per_100ms"] == pytest.approx(6.0) and row["marginal_per_ms"] == pytest.approx(
        16.0 / 150.0
    )
    assert (row["from_point"], row["to_point"], row["from_ms"], row["to_ms"]) == (1, 2, 150.0, 250.0)
    assert (row["quantity"], row["class"], row["unit"]) == ("cost", "a", "USD/ms")
    assert np.isnan(row["from_scale"]) and np.isnan(row["arc_per_percent"])


def test_returns_on_the_scale_axis_are_per_cent() -> None:
    values = np.array([[10.0, 8.0, 7.5]])
    found = returns(values, values, values, [0.5, 0.6, 1.0], unit="kg")
    assert found.arc == pytest.approx([0.2, 0.0125])
    assert found.relative_percent == pytest.approx([2.0, 0.125])
    row = found.rows("carbon", "all")[0]
    assert row["arc_per_percent"] == pytest.approx(0.2) and row["unit"] == "kg/%"
    assert np.isnan(row["arc_per_ms"]) and (row["from_scale"], row["to_scale"]) == (0.5, 0.6)


def test_returns_of_a_smooth_curve_are_its_slope() -> None:
    at_ms = np.linspace(100.0, 400.0, 61)
    value = 500.0 * np.exp(-at_ms / 150.0)
    found = returns(value, value, value, at_ms, axis="class:a")
    assert found.marginal[1:-1] == pytest.approx(value[1:-1] / 150.0, rel=1e-3)
    assert (np.diff(found.arc) < 0.0).all()  # diminishing


def test_intervals_hold_seeds_and_gaps() -> None:
    rng = np.random.default_rng(0)
    value = np.array([[100.0, 90.0, 85.0]]) + rng.normal(0.0, 4.0, (6, 3))
    exact = returns(value, value, value, [0.0, 1.0, 2.0], axis="class:a")
    loose = returns(value, value - 2.0, value, [0.0, 1.0, 2.0], axis="class:a")
    assert exact.arc == pytest.approx((value[:, :-1] - value[:, 1:]).mean(0))
    assert (exact.arc_low < exact.arc).all() and (exact.arc < exact.arc_high).all()
    assert loose.arc_low == pytest.approx(exact.arc_low - 2.0)
    assert loose.arc_high == pytest.approx(exact.arc_high + 2.0)
    one = returns(value[0], value[0], value[0], [0.0, 1.0, 2.0], axis="class:a")
    assert one.arc_low == pytest.approx(one.arc) and one.arc_high == pytest.approx(one.arc)


def test_points_without_a_plan_or_a_bound_are_no_error() -> None:
    value = np.array([[9.0, 8.0, 7.0], [9.0, np.nan, 7.0]])
    low = np.array([[9.0, 8.0, -np.inf], [9.0, 8.0, 7.0]])
    found = returns(value, low, value, [1.0, 2.0, 3.0], axis="class:a")
    assert np.isnan(found.arc).all() and np.isnan(found.marginal).all()
    whole = np.array([[9.0, 8.0, 7.0], [9.0, 8.0, 7.0]])
    found = returns(whole, low, whole, [1.0, 2.0, 3.0], axis="class:a")
    assert found.arc == pytest.approx([1.0, 1.0]) and found.arc_high[1] == np.inf
    assert found.arc_low == pytest.approx([1.0, 1.0])
    nothing = np.full((1, 2), -np.inf)
    assert np.isnan(returns(nothing, nothing, nothing, [1.0, 2.0]).arc).all()


def test_returns_need_matching_shapes() -> None:
    with pytest.raises(ValueError, match="points: need at least two, rising"):
        returns([1.0], [1.0], [1.0], [5.0])
    with pytest.raises(ValueError, match="points: need at least two, rising"):
        returns([1.0, 2.0], [1.0, 2.0], [1.0, 2.0], [5.0, 5.0])
    with pytest.raises(ValueError, match=r"need \[seeds, 2 points\]"):
        returns([1.0, 2.0], [1.0, 2.0], [[1.0, 2.0], [3.0, 4.0]], [5.0, 6.0])


def test_a_rise_is_found_at_its_first_point() -> None:
    assert monotone([3.0, 2.0, 2.0, 1.0]) is None
    rise = monotone([3.0, 2.0, 2.5, 1.0])
    assert rise is not None and (rise.point, rise.earlier, rise.before, rise.after) == (2, 1, 2.0, 2.5)
    assert "point 2: 2.5 is above 2 of point 1" in str(rise)
    assert monotone([100.0, 100.00005], tolerance=1e-6) is None
    assert monotone([100.0, 100.0002], tolerance=1e-6) is not None
    # creeping up in small steps is a rise as well
    assert monotone([100.0, 100.00008, 100.00016], tolerance=1e-6) is not None
    # a plan above that of a tighter point proves nothing while its bound lies below
    assert monotone([3.0, 3.2], lows=[2.9, 2.8]) is None
    assert monotone([3.0, 3.2], lows=[2.9, 3.1]) is not None
    assert monotone([float("nan"), 3.0, float("nan"), 2.0]) is None
    with pytest.raises(ValueError, match="cost of seed 1: point 1"):
        check_monotone([1.0, 2.0], "cost of seed 1")
    with pytest.raises(ValueError, match="one number per point"):
        monotone([[1.0, 2.0]])


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=12))
def test_monotone_agrees_with_sorting(values: list[float]) -> None:
    never = all(b <= a for i, b in enumerate(values) for a in values[:i])
    assert (monotone(values, tolerance=0.0) is None) == never


def test_local_only_of_a_tight_point_moves_nothing() -> None:
    base = make_instance("energy_geography", seed=0, horizon_h=6)
    sweep = make_sweep(base.scenario, "scale", points=3)
    tight = instance_at(base, sweep, 0)
    flows = run(LocalOnly(), tight).flows
    rid = relocatable(tight, flows)
    assert rid.feasible[0] == rid.net[0] == rid.real[0] == 0.0
    layers = {row["layer"]: row["share"] for row in layer_shares(tight, flows) if row["class"] == "all"}
    assert layers == {"local": pytest.approx(1.0), "regional": 0.0, "energy-oriented": 0.0}
