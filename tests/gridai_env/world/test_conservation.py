"""Nothing is lost or made: energy, work, money and carbon of every step balance to 1e-9 of their size.

The balances are written here from the flows, without the package's equations.
"""

from __future__ import annotations

import numpy as np
import pytest

from gridai_env.episodes.instance import Instance, make_instance
from gridai_env.world.actions import Layout
from tests.support.contest import Run, play, unit_size
from tests.support.strategies import random_actions, random_instance

BLOCKS, BLOCK = 4, 30
TOLERANCE = 1e-9


def random_run(instance: Instance, seed: int, policies: int = 5) -> Run:
    rng = np.random.default_rng([seed, 11])
    return play(instance, random_actions(rng, instance.steps, policies, Layout(instance.compiled.shape).size))


def small(difference: np.ndarray, size: float, what: str) -> None:
    worst = float(np.abs(difference).max(initial=0.0))
    assert worst <= TOLERANCE * size, f"{what}: {worst:.3g} of {size:.3g}"


def after(field: np.ndarray, run: Run) -> np.ndarray:
    """States after steps 0..T-2 are the states before steps 1..T-1."""
    return field[1:]


def check_work(instance: Instance, run: Run) -> None:
    """Arrivals = served + dropped + growth of the backlog; nothing is left at the end."""
    x, f, s = instance.exogenous, run.flows, run.states
    gone = f.served_gpuh.sum(-1) + f.dropped_gpuh
    left = s.backlog_gpuh + x.arrivals_gpuh[:, None] - gone
    size = unit_size(instance, "queue")
    small(left[:-1] - after(s.backlog_gpuh, run), size, "work of a step")
    small(left[-1], size, "work left at the end")
    small(gone.sum(0) - x.arrivals_gpuh.sum(0), size * instance.steps, "work of the episode")


def check_energy(instance: Instance, run: Run) -> None:
    """What comes in = what accelerators, cooling and base load use + what goes out + what batteries take."""
    p, x, f, s = instance.params, instance.exogenous, run.flows, run.states
    busy = f.served_gpuh.sum((2, 3)) / (p.speed * p.dt_h) - f.gpu_short + s.committed_gpus[..., 0]
    busy = busy + (f.started * (p.job_gpus * p.job_profile[:, 0])[:, None]).sum(2)
    idle = x.available_gpus[:, None] - busy
    it_mw = (busy * p.busy_kw_per_gpu + idle * p.idle_kw_per_gpu) / 1000.0
    if f.saving_mw.size:
        it_mw = it_mw - f.saving_mw
        # No mode draws less than idling, and none works for nothing.
        assert (it_mw >= x.available_gpus[:, None] * p.idle_kw_per_gpu / 1000.0 - TOLERANCE).all()
        assert (f.saving_mw >= 0.0).all()
    cooling_mw = (x.pue[:, None] - 1.0) * it_mw
    used_mw = it_mw + cooling_mw + p.base_load_mw - f.shed_mw
    into_battery_mw = f.charge_mw - f.discharge_mw
    made_mw = f.generation_mw + f.renewable_mw
    size = unit_size(instance, "import")
    small(f.import_mw - f.export_mw + made_mw - used_mw - into_battery_mw, size, "power")
    loss_mw = f.charge_mw * (1.0 - p.charge_efficiency) + f.discharge_mw * (
        1.0 / p.discharge_efficiency - 1.0
    )
    assert (loss_mw >= -TOLERANCE * size).all()
    stored_mwh = s.battery_mwh + p.dt_h * (into_battery_mw - loss_mw)
    small((stored_mwh[:-1] - after(s.battery_mwh, run)), size, "energy in batteries")
    assert (s.battery_mwh >= p.battery_min_mwh - TOLERANCE * size).all()
    assert (s.battery_mwh <= p.battery_max_mwh + TOLERANCE * size).all()
    assert (f.renewable_mw <= x.renewable_available_mw[:, None] + TOLERANCE * size).all()


def check_carbon(instance: Instance, run: Run) -> None:
    """Emitted = billed within the budget + excess; no step lowers the account or exceeds the budget."""
    p, s = instance.params, run.states
    if np.isinf(p.carbon_budget_kg):
        assert (s.carbon_kg == 0.0).all() and (run.flows.carbon_excess_kg == 0.0).all()
        return
    kg = run.emissions_kg - run.flows.carbon_excess_kg
    size = max(float(run.emissions_kg.max()), 1.0) * instance.steps
    small((s.carbon_kg + kg)[:-1] - after(s.carbon_kg, run), size, "carbon")
    total = s.carbon_kg[-1] + kg[-1]
    assert (kg >= -TOLERANCE * size).all() and (total <= p.carbon_budget_kg * (1.0 + TOLERANCE)).all()
    small(run.emissions_kg.sum(0) - run.flows.carbon_excess_kg.sum(0) - total, size, "carbon of the episode")
    wanted = np.maximum(run.emissions_kg.sum(0) - p.carbon_budget_kg, 0.0)
    small(run.flows.carbon_excess_kg.sum(0) - wanted, size, "excess")


def check_money(instance: Instance, run: Run) -> None:
    """Every price paid for a quantity that was moved, and terms of the right sign."""
    p, x, f = instance.params, instance.exogenous, run.flows
    size = float(run.scale_usd.max()) + 1.0
    terms = run.terms_usd
    hours = p.dt_h
    grid = -(f.import_mw * x.buy_usd_per_mwh[:, None]).sum(-1) * hours
    small(terms["import"] - grid, size, "import")
    small(terms["export"] - (f.export_mw * x.sell_usd_per_mwh[:, None]).sum(-1) * hours, size, "export")
    peak = (p.demand_charge_usd_per_mw * f.import_mw.max(0)).sum(-1)
    small(terms["demand_charge"].sum(0) + peak, size, "demand charge of the episode")
    above = f.line_excess_mw * x.line_usd_per_mwh[:, None]
    small(terms["line_excess"] + above.sum((-2, -1)) * hours, size, "import above lines")
    jobs = (f.started.sum((0, 3)) * p.job_value_usd).sum(-1)
    small(terms["job_value"].sum(0) - jobs, size, "jobs")
    assert (f.started.sum((0, 3)) <= 1.0).all()
    charged = ("fuel", "battery_wear", "egress", "relocation", "warm_up", "demand_charge", "carbon_price")
    for name in (*charged, "carbon_excess", "water", "drop_penalty", "gpu_shortfall", "shed_penalty"):
        assert (terms[name] <= 1e-12).all(), name
    for name in ("revenue", "job_value", "export"):
        assert (terms[name] >= -1e-12).all(), name


CHECKS = (check_work, check_energy, check_carbon, check_money)


@pytest.mark.parametrize("block", range(BLOCKS))
def test_random_worlds_balance(block: int) -> None:
    for seed in range(8000 + BLOCK * block, 8000 + BLOCK * (block + 1)):
        instance = random_instance(seed, short_days=True)
        run = random_run(instance, seed)
        for check in CHECKS:
            check(instance, run)


@pytest.mark.parametrize("name", ["two_sites", "microgrid_prosumer", "energy_geography"])
def test_shipped_scenarios_balance(name: str) -> None:
    instance = make_instance(name, seed=5)
    run = random_run(instance, 5, policies=3)
    for check in CHECKS:
        check(instance, run)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["four_markets", "global"])
def test_large_shipped_scenarios_balance(name: str) -> None:
    instance = make_instance(name, seed=5)
    run = random_run(instance, 5, policies=3)
    for check in CHECKS:
        check(instance, run)


def check_exogenous(instance: Instance) -> None:
    """What the promises take for granted of prices, limits and guards."""
    p, x = instance.params, instance.exogenous
    assert (x.sell_usd_per_mwh < x.buy_usd_per_mwh).all()
    assert (x.export_limit_mw[x.sell_usd_per_mwh < 0.0] == 0.0).all()
    assert (x.network_usd_per_mwh == np.maximum(x.buy_usd_per_mwh, 0.0)).all()
    assert (x.available_gpus <= p.gpus * (1.0 + 1e-12)).all() and (x.available_gpus >= 0.0).all()
    assert (x.queue_limit_gpuh[-1] == 0.0).all()
    assert (x.queue_limit_gpuh[..., p.may_wait == 0.0] == 0.0).all()
    assert (x.battery_target_mwh[:-1] == 0.0).all()
    assert (x.carbon_average_kg_per_mwh >= 0.0).all() and (x.carbon_marginal_kg_per_mwh >= 0.0).all()
    assert (x.pue >= 1.0).all()
    assert (p.shed_usd_per_mwh > x.buy_usd_per_mwh.max()).all()
    assert (p.busy_kw_per_gpu > p.idle_kw_per_gpu).all()


@pytest.mark.parametrize(
    "name", ["two_sites", "microgrid_prosumer", "energy_geography", "four_markets", "global"]
)
def test_shipped_scenarios_have_valid_prices_and_limits(name: str) -> None:
    for seed in range(3):
        check_exogenous(make_instance(name, seed=seed))


def test_random_worlds_have_valid_prices_and_limits() -> None:
    for seed in range(8500, 8600):
        check_exogenous(random_instance(seed))
