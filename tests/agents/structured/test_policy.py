"""The policy that knows the structure: what it may depend on, what its rule decides, and the parts it is made of."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("stable_baselines3", reason="needs the extra 'rl'")

import torch
from scipy.optimize import linprog
from stable_baselines3 import PPO

from agents.networks.checkpoint import Identity, NetworkPolicy
from agents.structured.action_numbers import KINDS, LOWEST, OpenActions, kinds_of
from agents.structured.dispatch.batteries import CHARGES, Storage
from agents.structured.dispatch.placing import to_be_done, waiting_price
from agents.structured.dispatch.transport import CLOSED, WorkToPlace, transport
from agents.structured.observed import constants_of
from agents.structured.policy import StructuredPolicy
from agents.structured.power import Supply
from agents.structured.situation import Situation
from agents.vec_env.adapter import GridAIVecEnv
from gridai_env.envs.torch.vector_env import GridAITorchVectorEnv
from gridai_env.observation.forecast_memory import ForecastMemory, ObservationMemory, weekly_climatology
from gridai_env.scenario.compile import Compiled
from gridai_env.world.actions import Layout, decode
from tests.support.structure_worlds import (
    Scene,
    adapter,
    changed,
    issued_forecasts,
    numbers_of,
    observations,
    policy_of,
    remembered,
    speak,
    world,
)

Tensor = torch.Tensor
SIZES = [5, 20]


# What the decision may depend on ------------------------------------------------------------------------------------


def relabelled(compiled: Compiled, sites: list[int], regions: list[int]) -> Compiled:
    """The scenario with its sites and regions in another order."""
    data = compiled.scenario.model_dump(mode="json")
    order = {"sites": sites, "regions": regions}
    return changed(compiled, **{name: [data[name][i] for i in at] for name, at in order.items()})


@pytest.mark.parametrize("name", ["small", "global"])
def test_relabelling_sites_and_regions_relabels_the_decision(name: str) -> None:
    compiled, rng = world(name), np.random.default_rng(4)
    sites = rng.permutation(compiled.shape.sites).tolist()
    regions = rng.permutation(compiled.shape.regions).tolist()
    if name == "small":
        sites, regions = [1, 0], [0, 1]
    policy, seen = policy_of(compiled, seed=1), observations(name)
    other_world = relabelled(compiled, sites, regions)
    other = policy.for_scenario(other_world)
    memory = policy.memory
    place_of = {label: i for i, label in enumerate(memory.layout.index_names())}
    flat = seen[:, [place_of[label] for label in other.memory.layout.index_names()]]
    curves, count = memory.curves(seen[:, memory.layout.size :])[:, 1:], compiled.shape.sites
    columns = [*sites, *(count + i for i in sites), *(2 * count + i for i in regions)]
    again = torch.cat([flat, curves[..., columns].flatten(1), seen[:, -1:]], 1)
    first = split(compiled, policy.actions.expand(numbers_of(policy, seen)))
    second = split(other_world, other.actions.expand(numbers_of(other, again)))
    more = [*sites, count, count + 1]
    expected = {
        "routing": first["routing"][:, regions][..., more],
        "jobs": first["jobs"][..., more[:-1]],
        **{part: first[part][:, sites] for part in ("battery", "generator", "renewable")},
    }
    for part, values in expected.items():
        np.testing.assert_allclose(second[part], values, atol=2e-3, err_msg=part)
    values = policy.predict_values(seen), other.predict_values(again)
    torch.testing.assert_close(*values, atol=1e-3, rtol=1e-3)


def split(compiled: Compiled, actions: Tensor) -> dict[str, np.ndarray]:
    return Layout(compiled.shape).split(actions.numpy().astype(float))


@pytest.mark.parametrize("count", SIZES)
def test_weights_of_ten_sites_act_on_others(count: int) -> None:
    ten = world("global")
    policy = policy_of(ten, seed=2)
    data = ten.scenario.model_dump(mode="json")
    gpus = ten.params.gpus
    sites = [
        site | {"name": f"{site['name']}{i // 10}", "gpus": float(gpus[i % 10])}
        for i, site in enumerate(data["sites"] * 2)
    ][:count]
    names = [site["name"] for site in sites]
    regions = [r | {"home": f"{r['home']}0"} for r in data["regions"] if f"{r['home']}0" in names]
    jobs = [job | {"sites": []} for job in data["jobs"]]
    events = [e | {"sites": [f"{s}0" for s in e["sites"] if f"{s}0" in names]} for e in data["events"]]
    compiled = changed(ten, sites=sites, regions=regions, jobs=jobs, events=events)
    other = policy.for_scenario(compiled)
    for name, value in policy.state_dict().items():
        assert torch.equal(value, other.state_dict()[name]), name
    envs = adapter(other, 2)
    envs.seed(0)
    now = envs.reset()
    for _ in range(2):
        numbers = numbers_of(other, torch.as_tensor(now))
        assert numbers.shape == (2, OpenActions.of(compiled).size)
        assert torch.isfinite(numbers).all()
        now, rewards, *_ = envs.step(numbers.numpy())
        assert np.isfinite(rewards).all()


# Only what is open --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["small", "four_markets", "global"])
def test_closed_routes_are_no_numbers(name: str) -> None:
    compiled = world(name)
    p, scenario, count = compiled.params, compiled.scenario, 0
    for route in p.route_open.reshape(-1, compiled.shape.sites):
        count += int(route.sum()) if route.sum() > 1 else 0
    count += int(p.may_wait.sum()) * compiled.shape.regions
    count += compiled.shape.regions * compiled.shape.rows  # any work may be refused
    count += sum(site.battery is not None for site in scenario.sites)
    count += sum(site.generator is not None for site in scenario.sites)
    count += sum(site.pv_mw + site.wind_mw > 0.0 for site in scenario.sites)
    count += compiled.shape.slots * (int(compiled.job_allowed.any(0).sum()) + 1)
    policy = policy_of(compiled)
    assert policy.actions.size == count
    seen = observations(name)
    mean = numbers_of(policy, seen)
    policy.log_std.data = torch.linspace(-3.0, -1.0, len(kinds_of(compiled)))
    _, log_prob, entropy = policy.evaluate_actions(seen, mean + 0.1)
    deviation = policy.log_std.exp()[policy.kind]
    by_hand = -(0.1**2) / (2.0 * deviation**2) - deviation.log() - 0.5 * np.log(2.0 * np.pi)
    torch.testing.assert_close(log_prob, by_hand.sum().expand(len(seen)), rtol=1e-4, atol=1e-2)
    assert entropy is not None
    torch.testing.assert_close(entropy[0], (deviation.log() + 0.5 * np.log(2.0 * np.pi * np.e)).sum())


def test_closed_routes_carry_nothing_and_say_nothing() -> None:
    compiled = world("four_markets")
    policy, seen = policy_of(compiled), observations("four_markets")
    numbers = numbers_of(policy, seen)
    actions = policy.actions.expand(numbers + 3.0 * torch.randn_like(numbers)).numpy()
    layout, p = Layout(compiled.shape), compiled.params
    request = decode(p, layout, actions)
    np.testing.assert_allclose(request.share.sum(-1), 1.0, atol=1e-6)
    assert (request.share[:, p.route_open == 0.0] == 0.0).all()
    routes = layout.split(actions.astype(float))["routing"][..., : compiled.shape.sites]
    choice = p.route_open.sum(-1) > 1.0
    assert (routes[:, choice][:, p.route_open[choice] == 0.0] == -1.0).all()
    # Inside, too, no work is placed there: it would take room from other work.
    placed = layout.split(policy.judgement(seen)[0].detach().numpy().astype(float))["routing"]
    assert (placed[..., : compiled.shape.sites][:, p.route_open == 0.0] <= LOWEST + 1e-3).all()
    # A closed entry of the judgement may be anything: neither numbers nor log-probability know of it.
    raw_actions, summary = policy.judgement(seen)
    closed = torch.ones(raw_actions.shape[1], dtype=torch.bool)
    closed[policy.entry] = False
    policy.judgement.forward = lambda _: (raw_actions + 100.0 * closed, summary)  # type: ignore[method-assign]
    assert torch.equal(numbers, numbers_of(policy, seen))


def test_shares_are_proportional_to_what_the_numbers_say() -> None:
    actions = policy_of(world("two_sites")).actions
    numbers = torch.as_tensor(actions.start).clone()
    group = next(row for row in actions.route if (row >= 0).all())
    numbers[group[0]], numbers[group[1]] = float(np.log(0.2)), float(np.log(0.6))
    at = actions.places[next(i for i, row in enumerate(actions.route) if (row == group).all())]
    share = (actions.expand(numbers)[at] + 1.0) / 2.0
    np.testing.assert_allclose(share / share.sum(), [0.25, 0.75], atol=1e-6)


# The rule -----------------------------------------------------------------------------------------------------------


def test_the_first_decisions_do_not_depend_on_the_networks() -> None:
    policy, seen = policy_of(world("small")), observations("small")
    first = numbers_of(policy, seen)
    with torch.no_grad():
        for name in ("route", "site", "wait", "job"):
            for parameter in getattr(policy.judgement, name).parameters():
                parameter.zero_()
    assert torch.equal(first, numbers_of(policy, seen))
    speak(policy, 0)
    assert not torch.allclose(first, numbers_of(policy, seen), atol=1e-2)


def shares(scene: Scene) -> dict[str, np.ndarray]:
    policy = scene.policy
    action = policy.actions.expand(numbers_of(policy, scene.observation())).numpy()
    request = decode(policy.compiled.params, Layout(policy.compiled.shape), action)
    return {
        "share": request.share[0],
        "hold": request.hold[0],
        "battery": split(policy.compiled, torch.as_tensor(action))["battery"][0],
    }


def test_work_goes_to_the_cheapest_site_that_has_room() -> None:
    policy = policy_of(world("four_markets"))
    price = np.array([80.0, 20.0, 60.0, 40.0])
    scene = Scene(policy).prices(price, price)
    open_everywhere = policy.compiled.params.route_open.all((0, 2))
    row = int(np.flatnonzero(open_everywhere & (policy.compiled.params.may_wait == 0.0))[0])
    work = np.zeros(policy.compiled.params.route_open.shape[:2])
    work[:, row] = 1000.0
    scene.put("arrivals", work).put("arrivals_before", 0.0).put("placed", 0.0)
    scene.put("backlog", 0.0).put("due", 0.0)
    share = shares(scene)["share"][:, row].mean(0)
    assert share[1] > 0.98
    # Half of the room is taken away: what does not fit goes to the next.
    gpus = policy.compiled.params.gpus.copy()
    gpus[1] = 2000.0 / policy.compiled.params.utilisation_limit[1]
    share = shares(scene.put("available_gpus", gpus))["share"][:, row].mean(0)
    assert 0.47 < share[1] < 0.51
    assert share[3] > 0.45


def test_work_that_costs_more_than_it_brings_is_refused_and_noise_refuses_nothing() -> None:
    policy = policy_of(world("four_markets"))
    scene = Scene(policy).put("backlog", 0.0).put("due", 0.0)
    for price, refused in ((100.0, 0.0), (2000.0, 1.0)):
        action = policy.actions.expand(numbers_of(policy, scene.prices(price, price).observation()))
        request = decode(policy.compiled.params, Layout(policy.compiled.shape), action.numpy())
        held = policy.compiled.params.may_wait > 0.0
        np.testing.assert_allclose(request.refuse[0][:, ~held], refused, atol=0.02)
    numbers = torch.as_tensor(policy.actions.start).clone()
    refuses = torch.as_tensor(policy.actions.kind == KINDS.index("refuse"))
    for number, refused in ((-1.0, 0.0), (0.0, 0.0), (0.25, 0.25), (1.0, 1.0)):
        numbers[refuses] = number
        action = policy.actions.expand(numbers)[None].numpy()
        request = decode(policy.compiled.params, Layout(policy.compiled.shape), action)
        np.testing.assert_allclose(request.refuse, refused, atol=1e-6)


def test_batteries_charge_when_power_is_cheap_and_discharge_when_it_is_dear() -> None:
    policy = policy_of(world("four_markets"))
    scene, half = Scene(policy), policy.compiled.params.battery_max_mwh / 2.0
    scene.put("battery", half)
    assert (shares(scene.prices(10.0, 200.0))["battery"] > 0.9).all()
    assert (shares(scene.prices(200.0, 10.0))["battery"] < -0.9).all()


def test_the_work_foreseen_moves_with_the_arrivals() -> None:
    policy = policy_of(world("four_markets"))
    scene, reader = Scene(policy), policy.judgement.reader
    arrivals = scene.layout.by_name["arrivals"]
    part = scene.flat[0, scene.layout.parts["arrivals"]].reshape(arrivals.shape).numpy() * arrivals.scale
    scene.ahead[:, 2 * scene.sites :] = torch.as_tensor(1.5 * part.sum(-1), dtype=torch.float32)
    now = Situation.of(reader, reader(scene.observation()))
    waiting = policy.compiled.params.may_wait > 0.0
    np.testing.assert_allclose(now.demand.waiting_gpuh[0, 1:], 1.5 * part[:, waiting].sum(), rtol=1e-4)
    sessions = part[:, ~waiting].sum()
    np.testing.assert_allclose(now.demand.sessions_gpuh[0, 1:], 1.5 * sessions, rtol=1e-4)
    np.testing.assert_allclose(now.demand.sessions_gpuh[0, 0], sessions, rtol=1e-4)


def test_waiting_work_waits_for_a_cheap_hour_and_is_served_when_due() -> None:
    policy = policy_of(world("four_markets"))
    scene, later = Scene(policy), np.full((policy.memory.steps, 4), 100.0)
    later[3] = 5.0
    scene.put("backlog", 0.0).put("due", 0.0).prices(100.0, later)
    waits = policy.compiled.params.may_wait > 0.0
    assert (shares(scene)["hold"][:, waits] > 0.95).all()
    arrivals = scene.layout.by_name["arrivals"]
    part = scene.flat[0, scene.layout.parts["arrivals"]].numpy().reshape(arrivals.shape)
    scene.put("due", (part * arrivals.scale)[:, waits, None])
    assert (shares(scene)["hold"][:, waits] < 0.01).all()
    scene.put("due", 0.0).prices(5.0, 100.0)
    assert (shares(scene)["hold"][:, waits] < 0.05).all()


# Parts --------------------------------------------------------------------------------------------------------------


def test_the_worth_of_storage_is_that_of_the_best_of_all_plans() -> None:
    compiled = world("small")
    storage = Storage(constants_of(compiled, 1.0), 1.0)
    rng, steps, sites = np.random.default_rng(0), 4, compiled.shape.sites
    buy = rng.uniform(20.0, 90.0, (steps, sites))
    sell, limit = 0.8 * buy - 5.0, np.full((steps, sites), 0.2)
    net = rng.uniform(-0.6, 0.6, (steps, sites))
    net[1] = -0.5  # more renewables than may be exported, then a load
    net[2] = 0.4
    target, within = np.array([1.2, 0.0]), np.array([1.0, 1.0, 1.0, 0.0])
    given = [torch.as_tensor(x, dtype=torch.float32)[None] for x in (buy, sell, limit, net, within)]
    supply = Supply(*given[:3])
    found = storage.value(
        supply, given[3], given[4], torch.as_tensor(target, dtype=torch.float32), torch.tensor(0.8)
    )
    p, site = compiled.params, 0  # the one with a battery
    step = (p.battery_max_mwh[site] - p.battery_min_mwh[site]) / (CHARGES - 1)
    rise = p.charge_limit_mw[site] * p.charge_efficiency[site]
    fall = p.discharge_limit_mw[site] / p.discharge_efficiency[site]
    moves = range(-int(fall / step + 0.3), int(rise / step + 0.3) + 1)

    def paid(t: int, power: float) -> float:
        def cost(mw: float) -> float:
            return buy[t, site] * max(mw, 0.0) - sell[t, site] * min(max(-mw, 0.0), limit[t, site])

        return cost(net[t, site] + power) - cost(net[t, site]) + p.wear_usd_per_mwh[site] * abs(power)

    def power_of(change: float) -> float:
        up, down = max(change, 0.0), max(-change, 0.0)
        return up / p.charge_efficiency[site] - down * p.discharge_efficiency[site]

    for start in range(CHARGES):
        best = -np.inf
        for plan in product(moves, repeat=2):  # steps 1 and 2 are left of the episode
            at = start + np.cumsum(plan)
            if at.min() < 0 or at.max() > CHARGES - 1:
                continue
            short = max(target[site] - p.battery_min_mwh[site] - at[-1] * step, 0.0)
            spent = sum(paid(t, power_of(move * step)) for t, move in zip((1, 2), plan, strict=True))
            best = max(best, -spent - p.battery_short_usd_per_mwh[site] * short)
        assert float(found[0, site, start]) == pytest.approx(best, abs=2e-2), start


def test_the_price_of_waiting_by_hand() -> None:
    # 10 GPU-h of room a step at prices 3, 1, 2, 4; 15 to be done by the end, 10 of them by the second step.
    cost = torch.tensor([3.0, 1.0, 2.0, 4.0])[None, :, None]
    room, within = torch.full((1, 4, 1), 10.0), torch.ones(1, 4)
    assert float(waiting_price(cost, room, within, torch.tensor([[0.0, 0.0, 0.0, 15.0]]))) == pytest.approx(
        2.0, abs=0.15
    )
    early = torch.tensor([[0.0, 15.0, 15.0, 15.0]])
    assert float(waiting_price(cost, room, within, early)) == pytest.approx(3.0, abs=0.15)
    assert float(waiting_price(cost, room, within, torch.zeros(1, 4))) < 1.0


def test_work_to_be_done_counts_what_comes_due() -> None:
    due, future = torch.tensor([[2.0, 5.0]]), torch.tensor([[0.0, 3.0, 4.0, 6.0]])
    found = to_be_done(torch.tensor([7.0]), due, future, torch.tensor([9.0]))
    # What arrives in step 1 must have left by step 3.
    assert found.tolist() == [[2.0, 5.0, 7.0, 7.0 + 3.0]]
    ended = to_be_done(torch.tensor([7.0]), due, future, torch.tensor([3.0]))
    assert float(ended[0, 2]) == 7.0 + 3.0 + 4.0


def test_the_price_of_waiting_is_that_of_the_dearest_power_in_the_cheapest_plan() -> None:
    rng = np.random.default_rng(1)
    for _ in range(8):
        steps, sites = 6, 3
        cost, room = rng.uniform(0.0, 8.0, (steps, sites)), rng.uniform(1.0, 4.0, (steps, sites))
        must = np.maximum.accumulate(rng.uniform(0.0, 0.8, steps) * room.sum(1).cumsum())
        upto = np.repeat(np.tril(np.ones((steps, steps))), sites, axis=1)
        plan = linprog(cost.ravel(), A_ub=-upto, b_ub=-must, bounds=[(0.0, r) for r in room.ravel()])
        dearest = cost.ravel()[plan.x > 1e-6].max()
        given = [torch.as_tensor(x, dtype=torch.float32)[None] for x in (cost, room, np.ones(steps), must)]
        assert float(waiting_price(*given)) == pytest.approx(dearest, abs=0.45)


def transport_problem(
    seed: int, pieces: int = 12, places: int = 5, tight: float = 0.85
) -> tuple[WorkToPlace, Tensor]:
    """A random problem: a third of the pieces may wait, a quarter of the routes is closed; the work fits."""
    rng = np.random.default_rng(seed)
    cost = rng.uniform(0.0, 6.0, (pieces, places + 1))
    cost[:, :places][rng.random((pieces, places)) < 0.25] = CLOSED
    cost[:, 0] = np.minimum(cost[:, 0], 9.0)  # open to all
    cost[rng.random(pieces) < 0.67, places] = CLOSED
    gpuh = rng.uniform(1.0, 10.0, pieces)
    room = rng.uniform(0.5, 1.5, places)
    room *= gpuh.sum() / tight / room.sum()
    room[0] = max(room[0], 0.6 * gpuh.sum())
    must = torch.as_tensor((cost[:, places] >= CLOSED).astype(float))
    return WorkToPlace(torch.as_tensor(cost)[None], torch.as_tensor(gpuh)[None], must), torch.as_tensor(room)[
        None
    ]


def test_places_are_not_overfilled() -> None:
    for seed in range(40):
        work, room = transport_problem(seed)
        served, scarcity = transport(work, room, torch.tensor(0.1, dtype=torch.float64))
        assert float((served.sum(1) - room).max()) < 0.02 * float(room.mean()), seed
        assert float(scarcity.min()) >= 0.0
        is_closed = work.cost[..., :-1] >= CLOSED
        assert float(served[is_closed].abs().max()) < 1e-9
        waits = work.cost[0, :, -1] < CLOSED
        torch.testing.assert_close(served.sum(2)[0, ~waits], work.gpuh[0, ~waits])


def test_narrow_choices_are_the_cheapest_plan() -> None:
    for seed in range(10):
        work, room = transport_problem(seed)
        cost, gpuh = work.cost[0].numpy(), work.gpuh[0].numpy()
        pieces, places = cost.shape[0], cost.shape[1] - 1
        every = np.kron(np.eye(pieces), np.ones(places + 1))
        each = np.tile(np.eye(places + 1)[:places], pieces)
        best = linprog(cost.ravel(), A_ub=each, b_ub=room[0].numpy(), A_eq=every, b_eq=gpuh).fun
        gaps = []
        for width in (0.4, 0.1, 0.03):
            served, _ = transport(work, room, torch.tensor(width, dtype=torch.float64))
            waiting = gpuh - served[0].sum(1).numpy()
            waiting[cost[:, -1] >= CLOSED] = 0.0
            spent = (served[0].numpy() * cost[:, :-1])[cost[:, :-1] < CLOSED].sum() + waiting @ cost[:, -1]
            gaps.append(spent / best - 1.0)
        assert gaps[-1] == pytest.approx(0.0, abs=0.03), seed
        assert abs(gaps[-1]) <= abs(gaps[0]) + 1e-3


def test_the_gradient_of_the_transport_is_that_of_finite_differences() -> None:
    work, room = transport_problem(3)
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(1, 12, 5, dtype=torch.float64, generator=generator)
    width = torch.tensor(0.4, dtype=torch.float64)
    is_open = work.cost < CLOSED

    def outcome(cost: Tensor) -> Tensor:
        return (transport(WorkToPlace(cost, work.gpuh, work.must), room, width)[0] * weight).sum()

    cost = work.cost.clone().requires_grad_(True)
    (slope,) = torch.autograd.grad(outcome(cost), cost)
    numbers, analytic, step = [], [], 1e-4
    for row, column in torch.nonzero(is_open[0]).tolist()[::3]:
        change = torch.zeros_like(work.cost)
        change[0, row, column] = step
        numbers.append(float(outcome(work.cost + change) - outcome(work.cost - change)) / (2.0 * step))
        analytic.append(float(slope[0, row, column]))
    error = np.linalg.norm(np.subtract(numbers, analytic)) / np.linalg.norm(numbers)
    assert error < 0.1  # damping keeps the last step a little short
    assert np.linalg.norm(numbers) > 1.0


# Memory -------------------------------------------------------------------------------------------------------------


def test_the_memory_is_what_was_issued_last_for_each_step() -> None:
    compiled, seed, steps = world("four_markets"), 11, 20
    policy = policy_of(compiled)
    memory = policy.memory
    issued = issued_forecasts(compiled, seed)
    found = remembered(policy, steps, seed)
    newest: dict[int, np.ndarray] = {}
    checked = 0
    for t in range(steps):
        for i in reversed(range(len(memory.leads))):
            newest[t + memory.leads[i]] = issued[t, i]
        curve = memory.curves(found[t : t + 1])[0].numpy()
        for ahead in range(1, memory.steps + 1):
            if t + ahead in newest and t + ahead < compiled.shape.steps:
                np.testing.assert_allclose(curve[ahead], newest[t + ahead], rtol=1e-4, atol=2e-2)
                checked += 1
        assert float(found[t, -1]) == min(t, memory.steps)
    assert checked > 150


def test_the_memory_begins_anew_where_an_episode_does() -> None:
    policy, seen = policy_of(world("small")), observations("small")
    memory, size = policy.memory, policy.memory.layout.size
    three, next_three = seen[:3, :size], seen[3:6, :size]
    before = memory.update(None, three)
    fresh = torch.tensor([False, True, False])
    after = memory.update(before, next_three, fresh)
    alone = memory.update(None, next_three)
    assert torch.equal(after[1], alone[1])
    assert torch.equal(after[0], memory.update(before, next_three)[0])
    assert not torch.equal(after[0, :-1], alone[0, :-1])
    assert after[:, -1].tolist() == [1.0, 0.0, 1.0]


@pytest.mark.parametrize("at", [0, -1])
def test_between_forecasts_the_memory_begins_with_the_usual_and_what_strays_from_it(at: int) -> None:
    policy, seen = policy_of(world("four_markets")), observations("four_markets")
    memory = policy.memory
    observation = seen[at, : memory.layout.size][None]
    part = memory.parts(observation)
    left = int(torch.round(part["steps_left"][0, 0]))
    assert (left < memory.leads[-1]) == (at == -1)
    curve, usual = memory.curves(memory.update(None, observation))[0], memory.climatology(part["clock"])[0]
    strays = {0: memory.present(part)[0] - usual[0]}
    for i, lead in enumerate(memory.leads):
        last = strays[max(strays)]
        # Beyond the end nothing is issued: half of what strayed before.
        strays[lead] = memory.issued(part)[0, i] - usual[lead] if lead < left else 0.5 * last
    for earlier, later in zip((0, *memory.leads[:-1]), memory.leads, strict=True):
        for step in range(earlier + 1, min(later, left)):
            weight = (step - earlier) / (later - earlier)
            expected = usual[step] + (1.0 - weight) * strays[earlier] + weight * strays[later]
            torch.testing.assert_close(curve[step], expected, rtol=1e-4, atol=2e-2)


@pytest.mark.parametrize(("month", "hour"), [(0, 0), (6, 30), (11, 160)])
def test_the_usual_is_that_of_the_month_and_the_hour_of_the_week(month: int, hour: int) -> None:
    policy = policy_of(world("four_markets"))
    angles = 2.0 * np.pi * np.array([(hour % 24) / 24.0, hour / 168.0, (month + 0.5) / 12.0])
    clock = torch.as_tensor(np.stack([np.sin(angles), np.cos(angles)], -1).ravel()[None], dtype=torch.float32)
    usual = policy.memory.climatology(clock)[0].numpy()
    weeks = weekly_climatology(policy.compiled)
    at = (hour + np.arange(policy.memory.steps + 1)) % 168
    np.testing.assert_allclose(usual, weeks[month, at], rtol=1e-5)


def test_adapters_and_single_decisions_remember_alike() -> None:
    compiled, count, steps = world("small"), 2, 8
    policy = policy_of(compiled, seed=5)
    host = adapter(policy, count)
    torch_env = GridAITorchVectorEnv(
        count, scenario=compiled.scenario, flat_observations=True, episodes="host", dtype="float64"
    )
    device = GridAIVecEnv(torch_env, policy.actions, memory=ForecastMemory(compiled))
    single = NetworkPolicy(policy, Identity.of(compiled))
    for envs in (host, device):
        envs.seed(9)
    now, there = host.reset(), device.reset()
    state: Any = None
    for _ in range(steps):
        np.testing.assert_allclose(now, there, rtol=1e-4, atol=1e-4)
        numbers = numbers_of(policy, torch.as_tensor(now)).numpy()
        action, state = single.predict(now[:, : policy.memory.layout.size], state)
        np.testing.assert_allclose(action, policy.actions.expand(numbers), atol=1e-6)
        now, *_ = host.step(numbers)
        there, *_ = device.step(numbers)


# Files and single decisions -----------------------------------------------------------------------------------------


def test_plain_ppo_saves_and_loads_it(tmp_path: Path) -> None:
    compiled = world("two_sites")
    built = policy_of(compiled)
    arguments = {"scenario": compiled.scenario.model_dump(mode="json"), "hidden": 8, "value_hidden": 16}
    model = PPO(StructuredPolicy, adapter(built, 2), n_steps=4, batch_size=4, policy_kwargs=arguments)
    model.learn(8)
    assert isinstance(model.policy, StructuredPolicy)
    speak(model.policy, 6)
    model.save(tmp_path / "model.zip")
    again = PPO.load(tmp_path / "model.zip", device="cpu")
    seen = observations("two_sites").numpy()
    np.testing.assert_array_equal(
        model.predict(seen, deterministic=True)[0], again.predict(seen, deterministic=True)[0]
    )
    saved = {"judgement.route.0.weight", "judgement.log_width", "value_net.0.weight", "log_std"}
    assert saved <= set(again.policy.state_dict())
    assert again.policy.log_std.shape == (len(KINDS) - 1,)  # no power modes


def test_single_decisions_follow_the_weights() -> None:
    compiled = world("small")
    policy, seen = policy_of(compiled, seed=7), observations("small")
    size = policy.memory.layout.size
    single = NetworkPolicy(policy, Identity.of(compiled))
    flat, memory = seen[4, :size].numpy(), seen[1:2, size:]
    decided = single.predict(flat, memory)
    by_hand = ObservationMemory(policy.memory)
    by_hand.state = memory.numpy()
    numbers = numbers_of(policy, torch.as_tensor(by_hand.go_on(flat[None], None)))
    np.testing.assert_allclose(decided[0], policy.actions.expand(numbers)[0], atol=1e-6)
    speak(policy, 8)
    assert not np.allclose(single.predict(flat, memory)[0], decided[0], atol=1e-2)


@pytest.mark.parametrize("state", [None, "remembered"])
def test_corrupted_observations_raise(state: str | None) -> None:
    compiled = world("small")
    policy, seen = policy_of(compiled), observations("small")
    size = policy.memory.layout.size
    single = NetworkPolicy(policy, Identity.of(compiled))
    flat = seen[0, :size].numpy().copy()
    flat[policy.memory.layout.parts["buy_price"].start] = np.nan
    with pytest.raises(ValueError, match="buy_price"):
        single.predict(flat, None if state is None else seen[:1, size:])
