"""Every lever of the teaching scenarios works: foresight pays, and no lever may be taken away for nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from baselines import rules
from baselines.milp import solve
from gridai_env import make_instance
from gridai_env.instance import Instance
from gridai_env.rollout import run


def without_routing(instance: Instance) -> Instance:
    """All work stays at home."""
    p = instance.params
    home = np.broadcast_to(p.home[:, None, :], p.route_open.shape)
    return replace(instance, params=p.replace(route_open=np.array(home)))


def without_battery(instance: Instance) -> Instance:
    """Batteries have no size."""
    p = instance.params
    none = np.zeros_like(p.battery_max_mwh)
    sizes = ("battery_min_mwh", "battery_max_mwh", "charge_limit_mw", "discharge_limit_mw")
    target = np.zeros_like(instance.exogenous.battery_target_mwh)
    return replace(
        instance,
        params=p.replace(**dict.fromkeys(sizes, none)),
        exogenous=instance.exogenous.replace(battery_target_mwh=target),
        initial=instance.initial.replace(battery_mwh=none),
    )


def without_deferral(instance: Instance) -> Instance:
    """Nothing may wait to the next step."""
    limit = np.zeros_like(instance.exogenous.queue_limit_gpuh)
    return replace(instance, exogenous=instance.exogenous.replace(queue_limit_gpuh=limit))


LEVERS: dict[str, Callable[[Instance], Instance]] = {
    "routing": without_routing,
    "battery": without_battery,
    "deferral": without_deferral,
}


def check_levers(scenario: str, seeds: range, horizon_h: float | None) -> dict[str, float]:
    """Share of the gain that each lever carries, over several episodes together."""
    instances = [make_instance(scenario, seed=seed, horizon_h=horizon_h) for seed in seeds]
    local = [run(rules.LocalOnly(), instance) for instance in instances]
    base = sum(t.benefit_usd for t in local)
    gain = sum(solve(instance, threads=1).benefit_usd or 0.0 for instance in instances) - base
    assert gain >= 0.10 * sum(t.bill_usd for t in local), (
        "perfect foresight must be worth a tenth of the bill"
    )
    shares = {}
    for name, restrict in LEVERS.items():
        rest = sum(solve(restrict(instance), threads=1).benefit_usd or 0.0 for instance in instances) - base
        shares[name] = 1.0 - rest / gain
        assert shares[name] >= 0.05, f"{scenario}: {name} carries only {shares[name]:.3f} of the gain"
    return shares


def test_levers_of_two_sites() -> None:
    check_levers("two_sites", range(200, 212), None)


def test_levers_of_four_markets() -> None:
    check_levers("four_markets", range(200, 203), 48.0)


@pytest.mark.slow
def test_levers_of_four_markets_over_whole_weeks() -> None:
    check_levers("four_markets", range(300, 304), None)
