"""The package against the slow second opinion of `scalar_reference`: whole episodes, every figure."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings

from gridai_env.envs.simulator import Simulator
from gridai_env.episodes.instance import Instance, make_instance, stack
from gridai_env.world.actions import Layout
from gridai_env.world.state import Flows, State
from gridai_env.world.terms import TERMS
from tests.support.scalar_reference import World
from tests.support.strategies import instance_seeds, random_actions, random_instance

TOLERANCE = 1e-9


def assert_close(ours: object, theirs: object, scale: float, where: str) -> None:
    """Equal to 1e-9 of the values, or of the largest quantity of the kind where the value is a difference."""
    a, b = np.asarray(ours, dtype=float), np.asarray(theirs, dtype=float)
    b = b.reshape(a.shape)  # nested lists lose empty axes
    np.testing.assert_allclose(a, b, rtol=TOLERANCE, atol=TOLERANCE * scale, err_msg=where)


def sizes(instance: Instance) -> dict[str, float]:
    """Largest quantity of each unit in an instance, as the scale of rounding."""
    p, x = instance.params, instance.exogenous
    work = float(x.arrivals_gpuh.sum(0).max())
    power = float(max(p.gpus.max() * p.busy_kw_per_gpu.max() / 1000.0 * 2.0, x.import_limit_mw.max(), 1.0))
    return {
        "gpuh": work,
        "mw": power,
        "mwh": power * instance.steps,
        "gpus": float(p.gpus.max()),
        "kg": power * 1e3,
    }


def scale_of(name: str, size: dict[str, float]) -> float:
    """Scale of a field by the unit at the end of its name."""
    return next((size[unit] for unit in ("gpuh", "mwh", "mw", "gpus", "kg") if name.endswith(unit)), 1.0)


def compare_episodes(instance: Instance, actions: np.ndarray) -> None:
    """Run an episode under P policies in both worlds, actions [T,P,A]; everything must agree in every step."""
    policies = range(actions.shape[1])
    simulator = Simulator(stack([instance] * len(policies)))
    worlds = [World(instance.params, instance.compiled.shape, instance.initial) for _ in policies]
    size = sizes(instance)
    for t, action in enumerate(actions):
        flows, outcome = simulator.step(action)
        exogenous = instance.exogenous.map(lambda a, t=t: a[t])
        for i, world in enumerate(worlds):
            theirs, account = world.step(exogenous, action[i])
            where = f"{instance.scenario_name}, policy {i}, step {t}: "
            compare_records(Flows, flows, theirs, i, size, where)
            compare_records(State, simulator.state, world.state, i, size, where)
            compare_accounts(outcome, account, i, size, where)


def compare_records(kind: Any, ours: Any, theirs: Any, row: int, size: dict[str, float], where: str) -> None:
    """Every field of a row of a record."""
    for name in kind.names():
        assert_close(getattr(ours, name)[row], getattr(theirs, name), scale_of(name, size), where + name)


def compare_accounts(outcome: Any, account: Any, row: int, size: dict[str, float], where: str) -> None:
    """Every figure of the books of a row."""
    absolute = sum(abs(v) for v in account.terms_usd.values()) + 1e-3
    assert tuple(account.terms_usd) == TERMS
    for name in TERMS:
        assert_close(outcome.terms_usd[name][row], account.terms_usd[name], absolute, where + name)
    assert_close(outcome.benefit_usd[row], account.benefit_usd, absolute, where + "benefit")
    for name in ("it_mw", "facility_mw"):
        assert_close(getattr(outcome, name)[row], getattr(account, name), size["mw"], where + name)
    for name in ("emissions_average_kg", "emissions_marginal_kg", "water_l"):
        assert_close(getattr(outcome, name)[row], getattr(account, name), size["kg"], where + name)


def compare_seed(seed: int) -> None:
    """One random world under three kinds of random actions."""
    compare_random(random_instance(seed, short_days=True), [seed, 3], 3)


def compare_random(instance: Instance, seed: int | list[int], policies: int) -> None:
    """An episode under random actions."""
    width = Layout(instance.compiled.shape).size
    compare_episodes(instance, random_actions(np.random.default_rng(seed), instance.steps, policies, width))


@pytest.mark.parametrize("block", range(6))
def test_random_worlds_agree(block: int) -> None:
    for seed in range(40 * block, 40 * block + 40):
        compare_seed(seed)


@given(seed=instance_seeds())
@settings(max_examples=40)
def test_any_seed_agrees(seed: int) -> None:
    compare_seed(seed)


@pytest.mark.parametrize("name", ["two_sites", "microgrid_prosumer"])
def test_shipped_scenarios_agree(name: str) -> None:
    compare_random(make_instance(name, seed=3), 4, 1)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["energy_geography", "four_markets", "global"])
def test_large_shipped_scenarios_agree(name: str) -> None:
    compare_random(make_instance(name, seed=3), 4, 1)


@pytest.mark.slow
def test_many_random_worlds_agree() -> None:
    for seed in range(10_000, 13_000):
        compare_seed(seed)
