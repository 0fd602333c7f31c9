"""The same equations on torch tensors (CPU, float64): physics, limits, ledger as on NumPy arrays."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np
import pytest

from gridai_env.arrays.ops import PAIRWISE_FROM, batch_innermost, total
from gridai_env.envs.simulator import Simulator
from gridai_env.episodes.instance import make_instance, stack
from gridai_env.world import physics
from gridai_env.world.state import Flows, Params, State
from gridai_env.world.terms import settle
from tests.support.strategies import random_actions, random_instances

torch = pytest.importorskip("torch", reason="torch is not installed (extra rl)")

TOLERANCE = 1e-10


def to_torch(record: Any) -> Any:
    """The record with tensors in place of arrays; plain numbers stay."""
    return record.map(lambda a: torch.from_numpy(np.array(a)) if isinstance(a, np.ndarray) else a)


def same(theirs: Any, ours: Any, where: str) -> None:
    assert isinstance(theirs, torch.Tensor), where
    assert theirs.dtype == torch.float64, where
    ours = np.asarray(ours)
    scale = float(np.abs(ours).max(initial=1.0))
    if np.isinf(scale):
        assert np.array_equal(np.isinf(theirs.numpy()), np.isinf(ours)), where
        return
    np.testing.assert_allclose(theirs.numpy(), ours, rtol=TOLERANCE, atol=TOLERANCE * scale, err_msg=where)


def compare(simulator: Simulator, actions: np.ndarray) -> None:
    """Every equation of every step, with the flows that NumPy chose; the state runs on in torch."""
    p: Params = to_torch(simulator.params)
    state: State = to_torch(simulator.state)
    for action in actions:
        before, exo = simulator.state, simulator.exogenous
        flows, outcome = simulator.step(action)
        f: Flows = to_torch(flows)
        x = to_torch(exo)
        theirs = settle(p, state, f, x)
        for name, value in outcome.terms_usd.items():
            same(theirs.terms_usd[name], value, name)
        for name in ("benefit_usd", "it_mw", "facility_mw", "emissions_average_kg", "water_l"):
            same(getattr(theirs, name), getattr(outcome, name), name)
        after = physics.next_state(simulator.params, before, flows, exo)
        after_t = physics.next_state(p, state, f, x)
        for field in fields(State):
            same(getattr(after_t, field.name), getattr(after, field.name), field.name)
        sums = physics.totals(simulator.params, flows, exo, before)
        sums_t = physics.totals(p, f, x, state)
        slacks = physics.slacks(simulator.params, before, flows, exo, after, sums)
        for name, slack in physics.slacks(p, state, f, x, after_t, sums_t).items():
            same(slack, slacks[name], name)
        state = after_t


def test_random_worlds_on_tensors() -> None:
    for seed in range(9000, 9040):
        instances = random_instances(seed, 3, short_days=True)
        simulator = Simulator(stack(instances))
        rng = np.random.default_rng(seed)
        compare(simulator, random_actions(rng, instances[0].steps, 3, simulator.layout.size))


@pytest.mark.parametrize("name", ["two_sites", "microgrid_prosumer"])
def test_shipped_scenarios_on_tensors(name: str) -> None:
    simulator = Simulator(stack([make_instance(name, seed=1), make_instance(name, seed=2)]))
    rng = np.random.default_rng(3)
    compare(simulator, random_actions(rng, simulator.steps, 2, simulator.layout.size))


def test_gradients_flow_through_the_ledger() -> None:
    """Affine in the flows: the derivative of the benefit by import is minus price and carbon."""
    instance = make_instance("two_sites", seed=1)
    simulator = Simulator(stack([instance]))
    before, exo = simulator.state, simulator.exogenous
    flows, _ = simulator.step(np.zeros((1, simulator.layout.size)))
    f = to_torch(flows)
    imported = f.import_mw.clone().requires_grad_()
    outcome = settle(
        to_torch(simulator.params), to_torch(before), f.replace(import_mw=imported), to_torch(exo)
    )
    (slope,) = torch.autograd.grad(outcome.benefit_usd.sum(), imported)
    billed = physics.billed_carbon_kg_per_mwh(simulator.params, exo)
    wanted = (
        -(exo.buy_usd_per_mwh + simulator.params.carbon_price_usd_per_kg * billed) * simulator.params.dt_h
    )
    np.testing.assert_allclose(slope.numpy(), wanted, rtol=1e-12)


@pytest.mark.parametrize("shape", [(2000, 6, 4), (3, 6, 4), (1600, 20), (1600, 10), (1600, 1)])
@pytest.mark.parametrize("innermost", [True, False])
def test_sums_over_few_entries_are_those_of_numpy(shape: tuple[int, ...], innermost: bool) -> None:
    """Added up one after the other where there are many, to the same bits as NumPy where it does so."""
    x = np.random.default_rng(0).lognormal(sigma=3.0, size=shape)
    ours = torch.from_numpy(x)
    ours = batch_innermost(ours) if innermost else ours
    for axis in range(-len(shape) + 1, 0):
        wanted = total(batch_innermost(x) if innermost else x, axis)
        np.testing.assert_allclose(total(ours, axis), wanted, rtol=1e-14)
        if shape[axis] < PAIRWISE_FROM and shape[0] > 1000:
            np.testing.assert_array_equal(total(ours, axis), wanted)
    truth = ours > 1.0
    assert torch.equal(total(truth, -1), truth.sum(-1))
    assert total(ours.clone().requires_grad_(), -1).sum().requires_grad
