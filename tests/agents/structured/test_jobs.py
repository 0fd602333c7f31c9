"""How the structured policy foresees power and plans jobs: merit order against a linear program, jobs by hand."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("stable_baselines3", reason="needs the extra 'rl'")

import torch
from scipy.optimize import linprog

from agents.structured.dispatch.jobs import JobPlan
from agents.structured.dispatch.merit_order import Stack, net_mw
from agents.structured.dispatch.transport import CLOSED, WorkToPlace, transport
from agents.structured.policy import StructuredPolicy
from agents.structured.power import Offers, Supply
from agents.structured.situation import Situation
from gridai_env.observation.decode import JOB_FEATURES
from gridai_env.scenario.compile import compile_scenario
from gridai_env.scenario.load import load_scenario
from gridai_env.world.actions import Layout
from tests.support.structure_worlds import Scene, numbers_of, policy_of, world

Tensor = torch.Tensor
SITES, KINDS = 3, 3


def random_stack(rng: np.random.Generator, needed: float) -> tuple[Stack, np.ndarray]:
    """A stack of one environment and step, and the owner of each offer; the sites' reach binds at times."""
    cost = np.sort(rng.uniform(0.0, 10.0, SITES * KINDS))
    owner = rng.permutation(np.repeat(np.arange(SITES), KINDS))
    room = rng.uniform(0.0, 20.0, SITES * KINDS)
    of_site = (owner[:, None] == np.arange(SITES)).astype(float)[..., None, None]
    given = [torch.as_tensor(x) for x in (cost, room, of_site, np.asarray(needed))]
    cost_, room_ = (x[:, None, None, None] for x in given[:2])
    undone = torch.tensor(12.0, dtype=torch.float64)
    reach = torch.as_tensor(rng.uniform(10.0, 50.0, (SITES, 1, 1)))
    return Stack(cost_, room_, given[2], given[3].view(1, 1), reach, undone), owner


def cheapest(stack: Stack, owner: np.ndarray, needed: float, job: float = 0.0, site: int = 0) -> float:
    """Least cost of the work and of a job at a site, by linear programming."""
    cost, room = stack.cost.flatten().numpy(), stack.room_gpuh.flatten().numpy()
    offers, undone = len(cost), float(stack.undone)
    mine = (owner == site).astype(float)
    # Work and job in each offer, work undone, job undone.
    objective = np.concatenate([cost, cost, [undone, undone]])
    within = np.hstack([np.eye(offers), np.eye(offers), np.zeros((offers, 2))])
    sites = (owner == np.arange(SITES)[:, None]).astype(float)
    reached = np.hstack([sites, np.zeros((SITES, offers + 2))])
    all_work = np.concatenate([np.ones(offers), np.zeros(offers), [1.0, 0.0]])
    all_job = np.concatenate([np.zeros(offers), mine, [0.0, 1.0]])
    limits = np.concatenate([room, stack.reach_gpuh.flatten().numpy()])
    found = linprog(
        objective,
        np.vstack([within, reached]),
        limits,
        np.stack([all_work, all_job]),
        [needed, job],
        method="highs",
    )
    return float(found.fun)


@pytest.mark.parametrize("seed", range(8))
def test_what_a_load_adds_is_the_difference_of_two_linear_programs(seed: int) -> None:
    rng = np.random.default_rng(seed)
    needed, job = rng.uniform(0.0, 110.0), rng.uniform(1.0, 50.0)
    stack, owner = random_stack(rng, needed)
    load = torch.full((1, 1, SITES), job, dtype=torch.float64)
    found = stack.added(load, stack.taken(load))[0, 0].numpy()
    before = cheapest(stack, owner, needed)
    expected = [cheapest(stack, owner, needed, job, site) - before for site in range(SITES)]
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("seed", range(4))
def test_the_merit_order_fills_the_cheapest_offers_and_has_their_price(seed: int) -> None:
    rng = np.random.default_rng(seed)
    needed = rng.uniform(0.0, 100.0)
    stack, owner = random_stack(rng, needed)
    filled, left = stack.filled_gpuh()[0, 0].numpy(), stack.left_gpuh()[0, 0].numpy()
    room = stack.room_gpuh.flatten().numpy()
    np.testing.assert_allclose(filled + left, [room[owner == k].sum() for k in range(SITES)])
    reached = [min(room[owner == k].sum(), float(stack.reach_gpuh[k])) for k in range(SITES)]
    assert filled.sum() == pytest.approx(min(needed, sum(reached)))
    small = 1e-4
    slope = (cheapest(stack, owner, needed + small) - cheapest(stack, owner, needed)) / small
    assert float(stack.price()[0, 0]) == pytest.approx(slope, rel=1e-6)


def test_offers_by_hand() -> None:
    """A site with 10 MW too much, of which 4 may be exported, and a generator of 8 MW; 2 MW per GPU-h."""
    policy = policy_of(world("microgrid_prosumer"))
    reader = policy.judgement.reader
    fuel = float(reader.fuel_price[0])
    two = torch.tensor([2.0, 2.0, 2.0])
    supply = Supply(two + fuel, 0.1 * two, torch.tensor([4.0, 4.0, 4.0]))
    room, surplus = torch.tensor([20.0, 4.0, 20.0]), torch.tensor([10.0, 10.0, -5.0])
    offers = Offers.of(reader, supply, room, surplus, two)
    fired = float(policy.judgement.reader.params.generator_max_mw[0]) / 2.0
    np.testing.assert_allclose(offers.gpuh[0], [3.0, 2.0, fired, 15.0 - fired])
    np.testing.assert_allclose(offers.gpuh[1], [3.0, 1.0, 0.0, 0.0])
    np.testing.assert_allclose(offers.gpuh[2, :2], 0.0)
    np.testing.assert_allclose(offers.price[0], [0.0, 0.2, fuel, fuel + 2.0], atol=0.02)


def scene_of(policy: StructuredPolicy) -> Scene:
    """Equal prices, no renewables, one job of 5,000 accelerators for 4 hours that may wait for 6."""
    scene = Scene(policy).prices(60.0, 60.0).put("renewable", 0.0).put("committed_gpus", 0.0)
    scene.ahead[:, scene.sites : 2 * scene.sites] = 0.0
    return put_jobs(scene, [{"present": 1.0, "gpus": 5000.0, "duration": 4.0, "slack": 6.0, "value": 5000.0}])


def put_jobs(scene: Scene, jobs: list[dict[str, float]]) -> Scene:
    """Set the job slots; all sites are open."""
    slots = np.zeros(scene.layout.by_name["jobs"].shape)
    for slot, job in enumerate(jobs):
        slots[slot] = [*(job[name] for name in JOB_FEATURES), *(1.0,) * scene.sites]
    return scene.put("jobs", slots)


def scores(scene: Scene) -> np.ndarray:
    """Scores [V,K+1] of the slots."""
    policy = scene.policy
    action = policy.actions.expand(numbers_of(policy, scene.observation()))
    return Layout(policy.compiled.shape).split(action.numpy())["jobs"][0]


def plan_of(scene: Scene) -> tuple[JobPlan, Situation]:
    """The plan of the jobs."""
    reader = scene.policy.judgement.reader
    now = Situation.of(reader, reader(scene.observation()))
    return JobPlan.of(now, Stack.of(now)), now


def test_a_job_starts_where_power_would_be_lost() -> None:
    scene = scene_of(policy_of(world("microgrid_prosumer")))
    scene.put("renewable", [0.0, 0.0, 90.0])
    scene.ahead[:, 2 * scene.sites - 1] = 90.0
    assert scores(scene)[0].argmax() == 2


def test_a_job_waits_for_cheap_hours_and_not_past_its_window() -> None:
    scene, ahead = scene_of(policy_of(world("microgrid_prosumer"))), np.full((24, 3), 160.0)
    ahead[4:] = 10.0
    steps = scene.ahead.shape[0]
    assert scores(scene.prices(160.0, ahead[:steps]))[0].argmax() == 3
    ahead[:10], ahead[10:] = 160.0, 10.0  # too late for it
    assert scores(scene.prices(160.0, ahead[:steps]))[0].argmax() < 3


def test_planned_jobs_see_each_other() -> None:
    """Two jobs that fill a site each, and one site with power to spare: the second goes elsewhere."""
    scene = scene_of(policy_of(world("microgrid_prosumer")))
    gpus = scene.policy.compiled.params.gpus
    size = float(gpus[2])
    job = {"present": 1.0, "gpus": size, "duration": 4.0, "slack": 0.0, "value": 5000.0}
    scene = put_jobs(scene, [job, job]).put("renewable", [0.0, 0.0, 60.0])
    scene.ahead[:, 2 * scene.sites - 1] = 60.0
    scene.put("arrivals", 100.0)
    plan, _ = plan_of(scene)
    assert float(plan.gpus[0, 0, 2]) == size
    np.testing.assert_allclose(plan.gpus[0, :4].sum(-1), 2.0 * size)
    assert float(plan.gpus[0, 4:].sum()) == 0.0
    assert plan.price[0, 1, 0, 2] > plan.price[0, 0, 0, 2]


def test_the_load_foreseen_is_that_of_all_work() -> None:
    scene = scene_of(policy_of(world("microgrid_prosumer")))
    _, now = plan_of(scene)
    p, nothing = now.p, torch.zeros_like(now.price)
    stack = Stack.of(now)
    work_gpuh = ((stack.filled_gpuh() + now.demand.bound_gpuh).sum(-1))[0]
    np.testing.assert_allclose(work_gpuh, now.demand.sessions_gpuh[0], rtol=1e-4)
    busy = net_mw(now, stack, nothing) - now.power_mw(nothing)
    gpus = busy / (now.mwh_per_gpuh * p.speed)[:, None]
    np.testing.assert_allclose(gpus.sum(-1)[0], work_gpuh / p.dt_h, rtol=1e-3)


# What happens at the edges -------------------------------------------------------------------------------------------


def test_a_price_spike_at_one_site_does_not_refuse_work_that_others_have_room_for() -> None:
    """A quarter of the work can only go to a site at 118 and is better refused at 30 to 50; the rest costs 3 to 5."""
    rng = np.random.default_rng(3)
    bound, free, places = 10, 30, 4
    here = np.tile([3.0, 4.0, 5.0, 118.0], (free, 1))
    there = np.tile([CLOSED, CLOSED, CLOSED, 118.0], (bound, 1))
    refused = rng.uniform(30.0, 50.0, (free + bound, 1))
    cost = np.concatenate([np.concatenate([here, there]), refused], 1)
    gpuh = rng.uniform(1.0, 3.0, free + bound)
    room = np.full(places, gpuh[:free].sum() / 3.0 / 0.9)
    given = [torch.as_tensor(x[None], dtype=torch.float32) for x in (cost, gpuh, room)]
    served, _ = transport(
        WorkToPlace(given[0], given[1], torch.ones(free + bound)), given[2], torch.tensor(0.1)
    )
    np.testing.assert_allclose(served[0, :free].sum(-1), gpuh[:free], rtol=1e-3)
    assert float(served[0, free:].sum()) < 1e-3
    assert (served[0].sum(0) <= 1.01 * given[2][0]).all()


@pytest.mark.parametrize("name", ["two_sites", "microgrid_prosumer"])
def test_no_arrivals_no_accelerators_and_no_steps_left_give_numbers(name: str) -> None:
    for part in ("arrivals", "available_gpus", "steps_left"):
        policy = policy_of(world(name), seed=2)
        scene = Scene(policy).put(part, 0.0)
        seen = scene.observation()
        values, log_prob, _ = policy.evaluate_actions(seen, numbers_of(policy, seen))
        (values.sum() + log_prob.sum()).backward()
        assert torch.isfinite(values).all() and torch.isfinite(numbers_of(policy, seen)).all()
        for weight, found in policy.named_parameters():
            assert found.grad is None or torch.isfinite(found.grad).all(), (part, weight)


def test_a_world_where_no_work_has_a_choice() -> None:
    compiled = world("two_sites")
    alone = compile_scenario(load_scenario("two_sites", horizon_h=6.0, latency_scale=0.001))
    assert alone.params.route_open.sum() < compiled.params.route_open.sum()
    policy = policy_of(alone)
    action = policy.actions.expand(numbers_of(policy, Scene(policy).observation()))
    assert torch.isfinite(action).all()
