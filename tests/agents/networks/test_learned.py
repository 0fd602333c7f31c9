"""Networks without a rule: smooth everywhere, and a set network that fits scenarios of other sizes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("stable_baselines3", reason="needs the extra 'rl'")

import torch
from gymnasium import spaces

from agents.networks import items as features
from agents.networks import learned
from agents.networks.items import Items
from agents.networks.learned import LearnedPolicy, inward, within_room
from agents.structured.action_numbers import OpenActions
from agents.structured.observed import UNIT_USD
from agents.structured.situation import Situation
from gridai_env.envs.vector_env import GridAIVectorEnv
from gridai_env.observation.forecast_memory import ForecastMemory, ObservationMemory
from gridai_env.observation.layout import ObservationLayout
from gridai_env.scenario.compile import Compiled, compile_scenario
from gridai_env.scenario.load import load_scenario
from gridai_env.world.actions import Layout
from scripts.maintenance.enlarge import enlarged
from tests.support.small_scenario import small


def policy_of(compiled: Compiled, network: str, seed: int = 0, attention: bool = False) -> LearnedPolicy:
    memory, actions = ForecastMemory(compiled), OpenActions.of(compiled)
    torch.manual_seed(seed)
    policy = LearnedPolicy(
        memory.space(ObservationLayout(compiled).flat_space()),
        spaces.Box(actions.low, actions.high, (actions.size,), np.float32),
        lambda _: 0.0,
        scenario=compiled.resolved_scenario(),
        hidden=16,
        network=network,
        widths=[16, 16],
        attention=attention,
    )
    policy.judgement.fit(seen(compiled).numpy())
    return policy


def seen(compiled: Compiled, seed: int = 3, count: int = 6) -> torch.Tensor:
    """First observations with memory of some episodes."""
    env = GridAIVectorEnv(count, scenario=compiled.scenario, flat_observations=True)
    return torch.as_tensor(ObservationMemory(ForecastMemory(compiled)).begin(env.reset(seed=seed)[0]))


@pytest.mark.parametrize("network", ["mlp", "set"])
def test_every_number_follows_the_weights(network: str) -> None:
    """No head is flat at the start: each number can be moved up or down, also those of jobs and renewables."""
    compiled = small()
    policy, observation = policy_of(compiled, network), seen(compiled)
    numbers, summary = policy.mean_numbers(observation)
    low, high = torch.as_tensor(policy.actions.low), torch.as_tensor(policy.actions.high)
    assert bool(((numbers >= low) & (numbers <= high)).all()) and not summary.requires_grad
    for i in range(numbers.shape[1]):
        slopes = [
            torch.autograd.grad(goal, policy.judgement.parameters(), retain_graph=True, allow_unused=True)
            for goal in (numbers[:, i].sum(), -numbers[:, i].sum())
        ]
        assert any(slope is not None and bool((slope != 0.0).any()) for both in slopes for slope in both), i


def test_numbers_beyond_the_edge_are_led_back_and_never_further_out() -> None:
    x = torch.tensor([-0.5, -0.0, 0.5, 1.0, 1.5], requires_grad=True)
    played = inward(x, 0.0, 1.0)
    assert played.tolist() == [0.0, 0.0, 0.5, 1.0, 1.0]
    wants_less, wants_more = (
        torch.autograd.grad(played, x, torch.full((5,), sign), retain_graph=True)[0] for sign in (1.0, -1.0)
    )
    assert wants_less.tolist() == [
        0.0,
        0.0,
        1.0,
        1.0,
        1.0,
    ]  # a positive slope of what is minimised leads down
    assert wants_more.tolist() == [-1.0, -1.0, -1.0, 0.0, 0.0]


@pytest.mark.parametrize("network", ["mlp", "set"])
def test_a_row_of_a_batch_decides_as_it_does_alone(network: str) -> None:
    compiled = small()
    policy, observation = policy_of(compiled, network), seen(compiled)
    together = policy.mean_numbers(observation)[0]
    alone = torch.cat([policy.mean_numbers(row[None])[0] for row in observation])
    torch.testing.assert_close(alone, together, rtol=1e-4, atol=1e-5)


def test_rows_see_what_they_would_pay_now_and_later() -> None:
    compiled = small()
    policy = policy_of(compiled, "set")
    reader = policy.judgement.reader
    now = Situation.of(reader, reader(seen(compiled)))
    margin, later = (part.numpy() for part in features._cheapest(now))
    p, cost = now.p, now.work_price.numpy()
    for b, c, w in np.ndindex(*margin.shape[:3]):
        unit = float(now.mwh_per_gpuh[b].mean() * UNIT_USD)
        fixed = np.asarray(p.egress_usd_per_gpuh) / unit
        open_sites = np.flatnonzero(np.asarray(p.route_open)[c, w])
        curve = np.array(
            [min(cost[b, t, k] + fixed[c, w, k] for k in open_sites) for t in range(cost.shape[1])]
        )
        inside = np.asarray(now.seen.within[b]) > 0.5
        curve = np.where(inside, curve, curve[0])
        worth = float(p.revenue_usd_per_gpuh[w] + p.drop_usd_per_gpuh[w]) / unit
        assert margin[b, c, w, 0] == pytest.approx(worth - curve[0], rel=1e-4, abs=1e-4)
        for i, lead in enumerate(reader.leads(features.LEADS_H)):
            wanted = [curve[lead] - curve[0], curve[: lead + 1].min() - curve[0]]
            assert later[b, c, w, 2 * i : 2 * i + 2] == pytest.approx(wanted, rel=1e-4, abs=1e-4)


def test_rows_see_what_is_due_within_each_hour_and_every_hour_ahead() -> None:
    compiled = compile_scenario(load_scenario("two_sites"))
    reader = policy_of(compiled, "set").judgement.reader
    assert reader.leads(features.LEADS_H)[:12] == list(range(1, 13)) and reader.leads([0.2, 999.0])[0] == 1
    assert reader.leads([999.0]) == [reader.memory.steps]

    now = Situation.of(reader, reader(seen(compiled)))
    due = now.seen.part["due"]
    # 1 is due at once, 2 in an hour, ...
    now.seen.part["due"] = torch.arange(1.0, due.shape[-1] + 1.0).expand_as(due)
    found = features._due(now)
    wanted = torch.tensor([n * (n + 1) / 2 for n in range(1, 13)])
    torch.testing.assert_close(found[:, :, reader.first :], wanted.expand_as(found[:, :, reader.first :]))
    at_once = now.seen.on_hand_gpuh[:, :, : reader.first, None]
    torch.testing.assert_close(
        found[:, :, : reader.first], at_once.expand_as(found[:, :, : reader.first]).clone()
    )


@pytest.mark.parametrize("attention", [False, True])
def test_the_order_of_sites_does_not_matter(attention: bool) -> None:
    policy = policy_of(small(), "set", attention=attention)
    assert (policy.judgement.mixing[0].attends is not None) == attention
    decision, layout = policy.judgement, Layout(policy.compiled.shape)
    items = Items.of(decision.reader, seen(policy.compiled))
    index, p = decision.reader.open_index, decision.reader.params
    turned = replace(items, sites=items.sites.flip(1), jobs=items.jobs.flip(2), room=items.room.flip(1))
    back = (
        index // layout.shape.sites * layout.shape.sites + layout.shape.sites - 1 - index % layout.shape.sites
    )
    one, other = (
        layout.split(decision.decide(*given)[0].detach())
        for given in ((items, p, index), (turned, p.replace(home=p.home.flip(1)), back))
    )
    sites = layout.shape.sites
    for name in ("battery", "generator", "renewable"):
        torch.testing.assert_close(other[name].flip(-1), one[name])
    for name in ("routing", "jobs"):
        torch.testing.assert_close(other[name][..., :sites].flip(-1), one[name][..., :sites])
        torch.testing.assert_close(other[name][..., sites:], one[name][..., sites:])


def test_a_route_is_scored_by_its_own_features() -> None:
    policy = policy_of(compile_scenario(load_scenario("four_markets", horizon_h=24.0)), "set")
    decision, layout = policy.judgement, Layout(policy.compiled.shape)
    items, index = Items.of(decision.reader, seen(policy.compiled)), decision.reader.open_index
    items = replace(items, room=items.room + 1e3)  # no tolls
    assert 0 < len(index) < layout.shape.regions * layout.shape.rows * layout.shape.sites

    def routing(at: torch.Tensor) -> torch.Tensor:
        given = replace(items, routes=items.routes[:, at])
        decided = decision.decide(given, decision.reader.params, index[at])[0].detach()
        return layout.split(decided)["routing"][..., :-2].flatten(1)[:, index]

    # Neither the order in which they are told matters, nor routes of which nothing is told.
    everything = torch.arange(len(index))
    all_of_them = routing(everything)
    torch.testing.assert_close(routing(everything.flip(0)), all_of_them)
    row = index // layout.shape.sites
    first = int(torch.nonzero(row[1:] == row[:-1])[0])
    two = routing(torch.tensor([first, first + 1]))[:, [first, first + 1]].diff()
    torch.testing.assert_close(two, all_of_them[:, [first, first + 1]].diff())
    assert two.std() > 1e-4


def test_work_that_finds_no_room_goes_where_its_row_wants_it_next(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(1)
    logs, work = 4.0 * torch.randn(5, 3, 2, 4), torch.rand(5, 3, 2)
    room = work.sum((1, 2))[:, None] * torch.tensor([0.2, 0.3, 0.4, 0.5])

    def loads(logs: torch.Tensor) -> torch.Tensor:
        return (torch.softmax(logs, -1) * work[..., None]).sum((1, 2))

    assert (loads(logs) / room).amax() > 2.0
    short = [float((loads(one) - room).clamp_min(0.0).sum()) for one in (logs, within_room(logs, work, room))]
    assert short[1] < 0.2 * short[0]

    # With more steps they are the tolls that many small ones find: none where there is room, else as much as is needed.
    toll = torch.zeros_like(room)
    for _ in range(3000):
        toll = (toll + 0.5 * torch.log(loads(logs - toll[:, None, None]) / room)).clamp_min(0.0)
    monkeypatch.setattr(learned, "TOLL_STEPS", 50)
    found = within_room(logs, work, room)
    torch.testing.assert_close(
        found, torch.log_softmax(logs - toll[:, None, None], -1).clamp_min(-12.0), atol=0.01, rtol=0.0
    )
    assert (loads(found) / room).amax() == pytest.approx(1.0, abs=0.001)

    # Where all of it fits nothing changes.
    torch.testing.assert_close(
        within_room(logs, work, room * 10.0), torch.log_softmax(logs, -1).clamp_min(-12.0)
    )


@pytest.mark.parametrize("ratio", [0.5, 0.99, 1.05, 2.0])
def test_tolls_help_whatever_the_room(ratio: float) -> None:
    """Also with too little room, where no more than the rest is turned away; gradients stay finite."""
    torch.manual_seed(2)
    logs, work = (3.0 * torch.randn(200, 3, 2, 4)).requires_grad_(), torch.rand(200, 3, 2).requires_grad_()
    parts = torch.rand(200, 4) + 0.3
    room = (ratio * parts / parts.sum(1, keepdim=True) * work.sum((1, 2))[:, None]).detach()

    def unserved(logs: torch.Tensor) -> torch.Tensor:
        loads = (torch.softmax(logs, -1) * work[..., None]).sum((1, 2))
        return (loads - room).clamp_min(0.0).sum(1) / work.sum((1, 2))

    least = max(0.0, 1.0 - ratio)
    before, after = unserved(logs) - least, unserved(within_room(logs, work, room)) - least
    assert float(after.detach().mean()) < 0.35 * float(before.detach().mean())
    after.sum().backward()
    assert all(torch.isfinite(x.grad).all() and x.grad.abs().max() < 100.0 for x in (logs, work))


def test_no_room_and_no_work_and_closed_routes() -> None:
    closed = learned.CLOSED_LOG
    logs = torch.tensor([[[[0.0, closed]], [[1.0, 0.0]]]])  # the first row may only go to the first site
    for work, room in (([0.3, 0.5], [0.0, 0.9]), ([0.0, 0.0], [0.5, 0.5]), ([0.5, 0.5], [0.0, 0.0])):
        found = within_room(logs, torch.tensor([[[work[0]], [work[1]]]]), torch.tensor([room]))
        assert (
            torch.isfinite(found).all()
            and float(found[0, 0, 0, 0]) == 0.0
            and float(found[0, 0, 0, 1]) == -12.0
        )
        if work[0]:
            (share,) = torch.softmax(found[0, 1], -1)
            assert float(share[0]) < 0.01 if room[1] else abs(float(share[0]) - 0.7311) < 0.01


def test_the_work_that_leaves_is_what_the_environment_lets_go() -> None:
    """What is due cannot be held, and hold and refuse together are no more than all, as in `split_work`."""
    compiled = compile_scenario(load_scenario("two_sites"))
    decision = policy_of(compiled, "set").judgement
    items, p = Items.of(decision.reader, seen(compiled)), decision.reader.params
    work = torch.ones_like(items.work)
    due = torch.zeros_like(work)
    due[:, :, decision.reader.first :] = 0.25
    due[:, :, : decision.reader.first] = 1.0
    items = replace(items, work=work, due=due)

    def going(hold: float, refuse: float) -> list[float]:
        numbers = torch.tensor([hold, refuse]).expand(*work.shape, 2)
        found = learned.leaving(items, numbers, p)
        return [float(found[0, 0, 0]), float(found[0, 0, -1])]

    assert going(0.0, 0.0) == [1.0, 1.0]
    assert going(0.5, 0.0) == [1.0, 0.5]
    assert going(1.0, 0.0) == [1.0, 0.25]  # held but for what is due
    assert going(0.0, 0.75) == [0.5, 0.5]
    assert going(1.0, 1.0)[1] == 0.25 and going(0.0, 1.0) == [0.0, 0.0]


@pytest.mark.parametrize("scenario", ["two_sites", "microgrid_prosumer", "five sites"])
def test_a_set_network_acts_in_scenarios_of_other_sizes(scenario: str) -> None:
    five = load_scenario(enlarged(load_scenario("four_markets").model_dump(mode="json"), 5, seed=0))
    other = compile_scenario(load_scenario(five if scenario == "five sites" else scenario, horizon_h=24.0))
    policy = policy_of(compile_scenario(load_scenario("four_markets", horizon_h=24.0)), "set")
    moved = policy.for_scenario(other)
    weights = [dict(p.named_parameters()) for p in (policy, moved)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    numbers, _ = moved.predict(seen(other).numpy(), deterministic=True)
    assert numbers.shape == (6, OpenActions.of(other).size) and np.isfinite(numbers).all()
