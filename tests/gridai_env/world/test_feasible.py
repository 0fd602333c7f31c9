"""`project`, `decode`, `encode` over any action: limits, normal form, idempotence, masks, batch = alone."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings

from gridai_env.envs.simulator import Simulator
from gridai_env.episodes.instance import Instance, make_instance, stack
from gridai_env.world.actions import Layout, decode, encode
from gridai_env.world.feasible import project
from gridai_env.world.state import Flows, State
from gridai_env.world.terms import TERMS
from tests.support.contest import blind_actions, normal_form_faults, play, unit_size
from tests.support.strategies import instance_seeds, random_actions, random_instance, random_instances
from tests.support.tiny import tiny

TOLERANCE = 1e-6


def check_any_action(instance: Instance, seed: int) -> None:
    """Whatever the action, flows are feasible and in normal form."""
    rng = np.random.default_rng([seed, 7])
    size = Layout(instance.compiled.shape).size
    run = play(instance, blind_actions(rng, instance, size))
    worst = {name: amount for name, amount in run.broken.items() if amount > TOLERANCE}
    assert not worst, f"{seed}: {worst}"
    assert normal_form_faults(instance, run) == [], seed


def check_idempotent(instance: Instance, seed: int) -> None:
    """The flows of any action, written as an action again, come back: project(decode(encode(f))) == f."""
    rng = np.random.default_rng([seed, 8])
    simulator = Simulator(stack([instance] * 6))
    layout = simulator.layout
    for action in random_actions(rng, instance.steps, 6, layout.size):
        p, state, exo = simulator.params, simulator.state, simulator.exogenous
        flows, _ = simulator.step(action)
        again = encode(p, layout, state, exo, flows)
        assert again.dtype == np.float32 and np.abs(again).max() <= 1.0
        back = project(p, state, exo, decode(p, layout, again))
        for name in Flows.names():
            size = max(unit_size(instance, name), 1e3 if name == "carbon_excess_kg" else 0.0)
            wanted, got = getattr(flows, name), getattr(back, name)
            np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-6 * size, err_msg=f"{seed} {name}")


@pytest.mark.parametrize("block", range(4))
def test_any_action_gives_feasible_flows_in_normal_form(block: int) -> None:
    for seed in range(5000 + 60 * block, 5060 + 60 * block):
        check_any_action(random_instance(seed), seed)


@given(seed=instance_seeds())
@settings(max_examples=60)
def test_projection_comes_back_through_encode(seed: int) -> None:
    check_idempotent(random_instance(seed), seed)


@pytest.mark.parametrize("name", ["two_sites", "microgrid_prosumer", "four_markets", "energy_geography"])
def test_shipped_scenarios_keep_all_limits(name: str) -> None:
    horizon = 24.0
    instance = make_instance(name, seed=11, horizon_h=horizon)
    check_idempotent(instance, 11)
    rng = np.random.default_rng(12)
    run = play(instance, random_actions(rng, instance.steps, 6, Layout(instance.compiled.shape).size))
    assert not {name: amount for name, amount in run.broken.items() if amount > TOLERANCE}
    assert normal_form_faults(instance, run) == []


def test_rows_of_a_batch_are_the_episodes_alone_bit_for_bit() -> None:
    for seed in range(6000, 6030):
        instances = random_instances(seed, 4)
        together = Simulator(stack(instances))
        alone = [Simulator(stack([instance])) for instance in instances]
        rng = np.random.default_rng([seed, 9])
        for action in random_actions(rng, instances[0].steps, 4, together.layout.size):
            flows, outcome = together.step(action)
            for b, single in enumerate(alone):
                flows_b, outcome_b = single.step(action[b : b + 1])
                for name in Flows.names():
                    assert np.array_equal(getattr(flows, name)[b], getattr(flows_b, name)[0]), (seed, name)
                for name in State.names():
                    ours, theirs = getattr(together.state, name)[b], getattr(single.state, name)[0]
                    assert np.array_equal(ours, theirs), (seed, name)
                for name in TERMS:
                    assert outcome.terms_usd[name][b] == outcome_b.terms_usd[name][0], (seed, name)


def test_a_snapshot_put_back_gives_the_same_episode_again() -> None:
    instance = random_instance(77)
    simulator = Simulator(stack([instance] * 3))
    rng = np.random.default_rng(1)
    actions = random_actions(rng, instance.steps, 3, simulator.layout.size)
    simulator.step(actions[0])
    snapshot = simulator.get_state()
    first = [simulator.step(action)[1].benefit_usd for action in actions[1:]]
    simulator.set_state(snapshot)
    second = [simulator.step(action)[1].benefit_usd for action in actions[1:]]
    np.testing.assert_array_equal(first, second)


def test_closed_routes_carry_nothing_and_home_is_open() -> None:
    closed = 0
    for seed in range(6100, 6160):
        instance = random_instance(seed)
        p = instance.params
        assert (p.route_open.max(-1) == 1.0).all()
        assert (p.route_open * p.home[:, None, :]).sum(-1).min() == 1.0
        rng = np.random.default_rng(seed)
        run = play(instance, random_actions(rng, instance.steps, 8, Layout(instance.compiled.shape).size))
        assert (run.flows.served_gpuh * (1.0 - p.route_open) == 0.0).all()
        closed += int((p.route_open == 0.0).sum())
    assert closed > 50


def masks_by_hand(instance: Instance) -> np.ndarray:
    """Open routes [C,W,K] from the scenario alone: every legal service node tried, one by one."""
    s, compiled = instance.scenario, instance.compiled
    out = np.zeros((len(s.regions), compiled.shape.rows, len(s.sites)))
    for c, region in enumerate(s.regions):
        home = s.index_of_site(region.home)
        law = s.sites[home].legal_zone
        for w in range(compiled.shape.rows):
            task, bound = s.classes[compiled.row_class[w]], compiled.row_locality[w]
            for k, site in enumerate(s.sites):
                nodes = [n for n in s.nodes() if bound != "zone" or n.legal_zone == law]
                path = min(rtt_ms(s, region, n) + rtt_ms(s, n, site) for n in nodes) + task.processing_ms
                allowed = path <= task.latency_budget_ms * s.latency.budget_scale
                allowed &= bound != "zone" or site.legal_zone == law
                allowed &= bound != "home" or k == home
                allowed &= task.supported_at is None or site.name in task.supported_at
                out[c, w, k] = float(allowed or k == home)
    return out


def rtt_ms(scenario, a, b) -> float:  # type: ignore[no-untyped-def]
    """The formula of arXiv 2604.27855: 5 ms where the places are one, else 2 * 1.4 * (km / 200 + 20)."""
    lat1, lat2 = np.radians(a.latitude), np.radians(b.latitude)
    half = np.sin((lat2 - lat1) / 2) ** 2
    half += np.cos(lat1) * np.cos(lat2) * np.sin(np.radians(b.longitude - a.longitude) / 2) ** 2
    km = 2 * 6371.0 * np.arcsin(np.sqrt(half))
    if km < 1.0:
        return scenario.latency.inside_ms
    return (
        2
        * scenario.latency.inflation
        * (km / scenario.latency.fibre_km_per_ms + scenario.latency.overhead_ms)
    )


def test_masks_are_those_of_brute_force() -> None:
    for seed in range(6200, 6300):
        instance = random_instance(seed)
        np.testing.assert_array_equal(instance.params.route_open, masks_by_hand(instance), err_msg=str(seed))


def fit_by_hand(
    free: dict[int, list[float]], order: list[tuple[int, list[int]]], need: dict[int, float]
) -> list:
    """First site in each preference list with room; a site has one number of free accelerators per step."""
    chosen = []
    for job, sites in order:
        hit = next((k for k in sites if min(free[k]) >= need[job] * (1 - 1e-9)), None)
        if hit is not None:
            free[hit] = [f - need[job] for f in free[hit]]
        chosen.append(hit)
    return chosen


def test_jobs_start_in_slot_order_at_the_best_site_that_has_room() -> None:
    instance = tiny(
        steps=3,
        sites=({"utilisation_limit": 0.9}, {"utilisation_limit": 0.9, "gpus": 600.0, "longitude": 9.0}),
        jobs=(
            {"gpus": 500.0, "duration_h": 2.0, "release_h": 0.0, "deadline_h": 3.0, "value_usd": 1.0},
            {"gpus": 500.0, "duration_h": 2.0, "release_h": 0.0, "deadline_h": 2.0, "value_usd": 1.0},
        ),
    )
    assert instance.compiled.shape.slots == 2
    assert instance.job_names == ("j1", "j0")  # the more urgent one first
    layout = Layout(instance.compiled.shape)
    levels = (-1.0, 0.0, 1.0)
    for scores in itertools.product(levels, repeat=6):
        action = np.zeros((1, layout.size))
        action[0, -6:] = scores
        flows, _ = Simulator(stack([instance])).step(action)
        order = []
        for slot in range(2):
            *sites, wait = scores[3 * slot : 3 * slot + 3]
            wished = [k for k in (0, 1) if sites[k] > wait]
            order.append((slot, sorted(wished, key=lambda k, s=sites: -s[k])))
        free = {0: [900.0] * 2, 1: [540.0] * 2}
        wanted = fit_by_hand(free, order, {0: 500.0, 1: 500.0})
        got = [int(np.argmax(row)) if row.any() else None for row in flows.started[0]]
        assert got == wanted, (scores, got, wanted)
