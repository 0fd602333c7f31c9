"""Each equation against a case worked out by hand, with round numbers (see `tiny` for the defaults).

Facility power of the tiny site: 1.25 * (1000 * 0.2 + busy * 1.0) / 1000 MW, which is 0.25 MW idle and
0.00125 MW per busy GPU.
"""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from gridai_env.envs.simulator import Simulator
from gridai_env.episodes.instance import Instance, stack
from tests.support.tiny import BATTERY, GENERATOR, action_of, tiny

HOUR = {"arrivals_gpuh": 100.0, "buy_usd_per_mwh": 100.0}
IDLE_MW, MW_PER_GPU = 0.25, 0.00125


def run(instance: Instance, *actions: np.ndarray) -> list[SimpleNamespace]:
    """Flows, outcome, terms and state after each step, without the batch axis."""
    simulator, seen = Simulator(stack([instance])), []
    for action in actions:
        flows, outcome = simulator.step(action[None])
        step = {name: getattr(flows, name)[0] for name in flows.names()}
        step |= {name: float(value[0]) for name, value in outcome.terms_usd.items()}
        for name in ("it_mw", "facility_mw", "emissions_average_kg", "emissions_marginal_kg", "water_l"):
            step[name] = getattr(outcome, name)[0]
        step["after"] = simulator.state.map(lambda a: a[0])
        seen.append(SimpleNamespace(**step))
    return seen


def close(got: object, wanted: object) -> None:
    np.testing.assert_allclose(np.asarray(got, dtype=float), wanted, rtol=1e-12, atol=1e-12)


def test_power_has_pue_once_and_base_load_outside_it() -> None:
    instance = tiny(sites=({"base_load_mw": 0.5},), exogenous=HOUR)
    (step,) = run(instance, action_of(instance))
    close(step.it_mw, [0.2 + 0.1])
    close(step.facility_mw, [1.25 * 0.3 + 0.5])
    close(step.import_mw, [0.875])
    close(getattr(step, "import"), -87.5)
    close(step.revenue, 50.0)


def test_a_fast_site_needs_fewer_accelerators() -> None:
    instance = tiny(sites=({"speed": 2.0},), exogenous=HOUR)
    (step,) = run(instance, action_of(instance))
    close(step.it_mw, [0.2 + 50 * 1.0 / 1000])


def test_accelerators_out_of_service_draw_nothing() -> None:
    instance = tiny(exogenous=HOUR | {"available_gpus": 300.0})
    (step,) = run(instance, action_of(instance))
    close(step.it_mw, [0.06 + 0.1])


def test_a_quarter_hour_has_a_quarter_of_the_energy_and_four_times_the_power_of_its_work() -> None:
    instance = tiny(dt_h=0.25, exogenous=HOUR | {"arrivals_gpuh": 100.0})  # 100 GPU-h in a quarter: 400 GPUs
    (step,) = run(instance, action_of(instance))
    close(step.import_mw, [IDLE_MW + 400 * MW_PER_GPU])
    close(getattr(step, "import"), -0.75 * 0.25 * 100.0)


def test_capacity_limits_service_and_the_rest_of_a_session_is_dropped() -> None:
    instance = tiny(sites=({"utilisation_limit": 0.9},), exogenous=HOUR | {"arrivals_gpuh": 1000.0})
    (step,) = run(instance, action_of(instance))
    close(step.served_gpuh, [[[900.0]]])
    close(step.dropped_gpuh, [[100.0]])
    close(step.drop_penalty, -25.0)


# Battery --------------------------------------------------------------------------------------------------


def test_battery_loses_on_the_way_in_and_on_the_way_out() -> None:
    instance = tiny(sites=({"battery": BATTERY},), exogenous=HOUR)
    charge, discharge = run(instance, action_of(instance, battery=0.5), action_of(instance, battery=-0.1))
    close(charge.charge_mw, [2.0])
    close(charge.after.battery_mwh, [5.0 + 0.8 * 2.0])
    close(charge.import_mw, [IDLE_MW + 0.125 + 2.0])
    close(charge.battery_wear, -4.0)
    close(discharge.discharge_mw, [0.375])  # asked 0.4, but there is no export: cut to the load
    close(discharge.after.battery_mwh, [6.6 - 0.375 / 0.5])
    close(discharge.battery_wear, -0.75)


def test_battery_stops_at_full_and_at_empty() -> None:
    full = tiny(sites=({"battery": BATTERY | {"initial_share": 0.9}},), exogenous=HOUR)
    (step,) = run(full, action_of(full, battery=1.0))
    close(step.charge_mw, [1.0 / 0.8])
    close(step.after.battery_mwh, [10.0])
    grid = {"export_limit_mw": 50.0}
    empty = tiny(sites=({"battery": BATTERY | {"initial_share": 0.1}, "grid": grid},), exogenous=HOUR)
    (step,) = run(empty, action_of(empty, battery=-1.0))
    close(step.discharge_mw, [0.5])
    close(step.after.battery_mwh, [0.0])
    close(step.export_mw, [0.125])
    close(step.export, 0.125 * 49.0)  # sell = 0.5 * 100 - 1


def test_battery_in_quarter_hours() -> None:
    instance = tiny(dt_h=0.25, sites=({"battery": BATTERY},), exogenous=HOUR | {"arrivals_gpuh": 0.0})
    (step,) = run(instance, action_of(instance, battery=1.0))
    close(step.after.battery_mwh, [5.0 + 0.25 * 0.8 * 4.0])
    close(step.battery_wear, -0.25 * 4.0 * 2.0)


def test_missing_energy_at_the_end_is_priced_once() -> None:
    instance = tiny(sites=({"battery": BATTERY | {"target_share": 0.8}},), exogenous=HOUR)
    first, last = run(instance, action_of(instance), action_of(instance))
    close(first.battery_short_mwh, [0.0])
    close(last.battery_short_mwh, [3.0])
    close(last.battery_shortfall, -120.0)


# Generator, renewables, export ----------------------------------------------------------------------------


def test_generator_rises_by_its_ramp_and_stops_at_once() -> None:
    instance = tiny(steps=3, sites=({"generator": GENERATOR, "base_load_mw": 5.0},), exogenous=HOUR)
    up, higher, off = run(
        instance,
        action_of(instance, generator=1.0),
        action_of(instance, generator=1.0),
        action_of(instance, generator=0.0),
    )
    close([up.generation_mw[0], higher.generation_mw[0], off.generation_mw[0]], [1.0, 2.0, 0.0])
    close(higher.fuel, -160.0)
    close(higher.emissions_average_kg, 1000.0)
    close(higher.import_mw, [5.0 + IDLE_MW + 0.125 - 2.0])


def test_generator_below_its_minimum_load_is_off() -> None:
    unit = GENERATOR | {"min_load_mw": 1.0}
    instance = tiny(steps=2, sites=({"generator": unit, "base_load_mw": 5.0},), exogenous=HOUR)
    below, on = run(instance, action_of(instance, generator=0.45), action_of(instance, generator=0.5))
    close([below.generation_mw[0], on.generation_mw[0]], [0.0, 1.0])


def test_what_export_cannot_take_is_curtailed_first_renewables_then_generator() -> None:
    unit = GENERATOR | {"ramp_mw_per_h": 9.0}
    site = {"generator": unit, "battery": BATTERY, "pv_mw": 1.0, "grid": {"export_limit_mw": 1.0}}
    some = HOUR | {"arrivals_gpuh": 0.0, "renewable_available_mw": 3.0}
    instance = tiny(sites=(site,), exogenous=some)
    (step,) = run(instance, action_of(instance, generator=0.5, renewable=0.0))
    close([step.renewable_mw[0], step.generation_mw[0], step.export_mw[0]], [0.25, 1.0, 1.0])
    (step,) = run(instance, action_of(instance, generator=1.0, battery=-0.5))
    close([step.renewable_mw[0], step.generation_mw[0], step.discharge_mw[0]], [0.0, 0.0, 1.25])


def test_renewables_are_used_unless_curtailed() -> None:
    instance = tiny(sites=({"pv_mw": 1.0},), exogenous=HOUR | {"renewable_available_mw": 0.2})
    used, half = run(instance, action_of(instance, renewable=1.0), action_of(instance, renewable=-0.5))
    close([used.renewable_mw[0], half.renewable_mw[0]], [0.2, 0.1])


# Import limit ---------------------------------------------------------------------------------------------


def test_import_limit_cuts_charging_then_waiting_rows_then_sessions_then_sheds() -> None:
    classes = ({"name": "live", "share": 0.5}, {"name": "batch", "share": 0.5, "wait_h": 1.0})
    site = {"battery": BATTERY}
    full_mw = IDLE_MW + 200 * MW_PER_GPU

    def limited(limit_mw: float) -> SimpleNamespace:
        world = tiny(sites=(site,), classes=classes, exogenous=HOUR | {"import_limit_mw": limit_mw})
        return run(world, action_of(world, battery=0.25))[0]

    step = limited(full_mw + 0.4)  # asked: charge 1 MW
    close(step.charge_mw, [0.4])
    close(step.served_gpuh.sum(), 200.0)
    step = limited(full_mw - 40 * MW_PER_GPU)
    close(step.charge_mw, [0.0])
    close(step.served_gpuh[0, :, 0], [100.0, 60.0])
    close(step.after.backlog_gpuh, [[0.0, 40.0]])
    step = limited(full_mw - 130 * MW_PER_GPU)
    close(step.served_gpuh[0, :, 0], [70.0, 0.0])
    close(step.dropped_gpuh, [[30.0, 0.0]])
    step = limited(0.05)
    close(step.served_gpuh.sum(), 0.0)
    close(step.shed_mw, [0.2])
    assert step.shed_penalty < -0.2 * 100.0


# Friction -------------------------------------------------------------------------------------------------

TWO = ({}, {"latitude": 50.5, "pue_base": 1.0})


def two_sites(**exogenous: object) -> Instance:
    """Region a with its home at site a; site b may serve too.  Payload 0.01 GB per GPU-h, 50 USD/MWh."""
    task = {"payload_gb_per_gpuh": 0.01, "relocation_gb_per_gpuh": 0.1, "warm_mwh_per_gpuh": 0.0005}
    values = HOUR | {"buy_usd_per_mwh": 50.0, "carbon_average_kg_per_mwh": [100.0, 300.0]} | exogenous
    network = {"same_zone_usd_per_gb": 0.02, "energy_kwh_per_gb": 0.1}
    arrivals = np.array(values["arrivals_gpuh"], dtype=float).reshape(-1, 1, 1)
    return tiny(
        steps=3, sites=TWO, classes=(task,), network=network, exogenous=values | {"arrivals_gpuh": arrivals}
    )


def share(instance: Instance, a: float, b: float) -> np.ndarray:
    """Sites share the work in proportion to a and b."""
    return action_of(instance, routing=np.array([[[2.0 * a - 1.0, 2.0 * b - 1.0, 0.0, 0.0]]]))


def test_moving_sessions_costs_egress_relocation_and_loading() -> None:
    world = two_sites()
    move, stay, back = run(world, share(world, 1, 1), share(world, 1, 1), share(world, 1, 0))
    close(move.served_gpuh[0, 0], [50.0, 50.0])
    close(move.relocated_gpuh[0, 0], [0.0, 50.0])
    close(move.warmed_gpuh[0], [0.0, 50.0])
    network_mwh, moved_mwh, loading_mwh = 50 * 0.01 * 1e-4, 50 * 0.1 * 1e-4, 50 * 0.0005
    close(move.egress, -(50 * 0.01 * 0.02 + 50.0 * network_mwh))
    close(move.relocation, -(50 * (0.01 + 0.1 * 0.02) + 50.0 * moved_mwh))
    close(move.warm_up, -(50 * 0.02 + 50.0 * loading_mwh))
    grid_kg = 100.0 * (IDLE_MW + 50 * MW_PER_GPU) + 300.0 * (0.2 + 0.05)
    close(move.emissions_average_kg, grid_kg + 300.0 * (network_mwh + moved_mwh + loading_mwh))
    close(move.import_mw, [IDLE_MW + 50 * MW_PER_GPU, 0.25])  # friction is outside the balance
    close(stay.relocated_gpuh[0, 0], [0.0, 0.0])
    close(stay.warm_up, 0.0)
    close(stay.egress, move.egress)
    close(back.relocated_gpuh[0, 0], [50.0, 0.0])
    close(back.egress, 0.0)


def test_demand_that_grows_in_place_is_no_move_but_needs_loading() -> None:
    world = two_sites(arrivals_gpuh=[100.0, 200.0, 50.0])
    _, grown, shrunk = run(world, share(world, 1, 1), share(world, 1, 1), share(world, 1, 1))
    close(grown.served_gpuh[0, 0], [100.0, 100.0])
    close(grown.relocated_gpuh[0, 0], [0.0, 0.0])
    close(grown.warmed_gpuh[0], [50.0, 50.0])
    close(shrunk.relocated_gpuh[0, 0], [0.0, 0.0])
    close(shrunk.warmed_gpuh[0], [0.0, 0.0])


def test_after_an_hour_without_arrivals_home_is_the_reference() -> None:
    world = two_sites(arrivals_gpuh=[100.0, 0.0, 80.0])
    *_, step = run(world, share(world, 0, 1), share(world, 0, 1), share(world, 1, 1))
    close(step.relocated_gpuh[0, 0], [0.0, 40.0])


def test_dropped_work_that_returns_is_placed_anew_at_home_too() -> None:
    world = two_sites()
    refuse = action_of(world, routing=np.array([[[1.0, -1.0, 0.0, 0.75]]]))  # refuses half
    half, back = run(world, refuse, share(world, 1, 0))
    close(half.served_gpuh[0, 0], [50.0, 0.0])
    close(half.dropped_gpuh, [[50.0]])
    close(back.relocated_gpuh[0, 0], [50.0, 0.0])


def test_energy_of_friction_is_never_paid_for_at_negative_prices() -> None:
    world = two_sites(buy_usd_per_mwh=-50.0)
    (step,) = run(world, share(world, 1, 1))
    close(step.egress, -50 * 0.01 * 0.02)
    assert getattr(step, "import") > 0.0


# Demand charge, carbon, water -----------------------------------------------------------------------------


def test_demand_charge_is_prorated_and_paid_on_rises_of_the_peak() -> None:
    arrivals = np.array([100.0, 300.0, 200.0, 400.0]).reshape(-1, 1, 1)
    site = {"grid": {"demand_charge_usd_per_mw_month": 7300.0}}
    world = tiny(steps=4, sites=(site,), exogenous=HOUR | {"arrivals_gpuh": arrivals})
    steps = run(world, *[action_of(world)] * 4)
    rate = 7300.0 * 4.0 / 730.0
    rises = [IDLE_MW + 100 * MW_PER_GPU, 200 * MW_PER_GPU, 0.0, 100 * MW_PER_GPU]
    close([s.peak_rise_mw[0] for s in steps], rises)
    close([s.demand_charge for s in steps], [-rate * rise for rise in rises])
    close(steps[-1].after.peak_import_mw, [IDLE_MW + 400 * MW_PER_GPU])


def test_carbon_budget_counts_once_and_excess_is_priced_without_refund() -> None:
    world = tiny(
        steps=3,
        carbon_budget_kg=60.0,
        carbon_excess_usd_per_t=1000.0,
        carbon_price_usd_per_t=50.0,
        exogenous=HOUR | {"carbon_average_kg_per_mwh": 100.0, "carbon_marginal_kg_per_mwh": 700.0},
    )
    steps = run(world, *[action_of(world)] * 3)  # 37.5 kg in each step
    close([s.emissions_average_kg for s in steps], [37.5] * 3)
    close([s.emissions_marginal_kg for s in steps], [262.5] * 3)
    close([s.carbon_excess_kg for s in steps], [0.0, 15.0, 37.5])
    close([s.carbon_excess for s in steps], [0.0, -15.0, -37.5])
    close([s.carbon_price for s in steps], [-1.875] * 3)
    close([float(s.after.carbon_kg) for s in steps], [37.5, 60.0, 60.0])


def test_the_signal_decides_which_carbon_is_billed() -> None:
    intensity = {"carbon_average_kg_per_mwh": 100.0, "carbon_marginal_kg_per_mwh": 700.0}
    world = tiny(carbon_signal="marginal", carbon_price_usd_per_t=50.0, exogenous=HOUR | intensity)
    (step,) = run(world, action_of(world))
    close(step.carbon_price, -0.375 * 700.0 * 0.05)


def test_exports_earn_money_but_no_carbon_credit() -> None:
    exogenous = HOUR | {"renewable_available_mw": 2.0, "carbon_average_kg_per_mwh": 400.0}
    site = {"pv_mw": 1.0, "grid": {"export_limit_mw": 9.0}}
    world = tiny(sites=(site,), carbon_price_usd_per_t=50.0, exogenous=exogenous)
    (step,) = run(world, action_of(world))
    close(step.export_mw, [2.0 - 0.375])
    close(step.export, 1.625 * 49.0)
    close([step.emissions_average_kg, step.carbon_price, getattr(step, "import")], [0.0, 0.0, 0.0])


def test_water_of_cooling_grid_and_generator() -> None:
    unit = GENERATOR | {"water_l_per_mwh": 300.0}
    site = {"site_water_l_per_mwh": 1000.0, "grid_water_l_per_mwh": 2000.0, "generator": unit}
    world = tiny(
        sites=(site,), dt_h=0.5, water_price_usd_per_m3=4.0, exogenous=HOUR | {"arrivals_gpuh": 50.0}
    )
    (step,) = run(world, action_of(world, generator=0.05))
    litres = 0.5 * (0.3 * 1000.0 + (0.375 - 0.1) * 2000.0 + 0.1 * 300.0)
    close(step.water_l, litres)
    close(step.water, -litres * 0.004)


# Jobs and faults ------------------------------------------------------------------------------------------

JOB = {"gpus": 400.0, "duration_h": 2.0, "release_h": 0.0, "deadline_h": 3.0, "value_usd": 70.0}
START, WAIT = np.array([[1.0, -1.0]]), np.array([[-1.0, 1.0]])


def test_a_job_runs_for_its_duration_and_is_paid_on_start() -> None:
    world = tiny(steps=4, jobs=(JOB | {"deadline_h": 4.0},), exogenous=HOUR | {"arrivals_gpuh": 0.0})
    steps = run(world, *[action_of(world, jobs=j) for j in (WAIT, START, START, START)])
    close([s.job_value for s in steps], [0.0, 70.0, 0.0, 0.0])
    close([s.it_mw[0] for s in steps], [0.2, 0.6, 0.6, 0.2])
    close([float(s.after.waiting[0]) for s in steps], [1.0, 0.0, 0.0, 0.0])


def test_a_job_never_starts_after_its_latest_start() -> None:
    world = tiny(steps=4, jobs=(JOB,), exogenous=HOUR)
    steps = run(world, *[action_of(world, jobs=j) for j in (WAIT, WAIT, START, START)])
    assert [s.started.sum() for s in steps] == [0.0] * 4
    steps = run(world, *[action_of(world, jobs=j) for j in (WAIT, START)])
    assert [s.started.sum() for s in steps] == [0.0, 1.0]


def test_a_running_job_leaves_less_room_for_inference() -> None:
    world = tiny(steps=3, jobs=(JOB,), exogenous=HOUR | {"arrivals_gpuh": 700.0})
    steps = run(world, *[action_of(world, jobs=j) for j in (START, WAIT, WAIT)])
    close([s.served_gpuh.sum() for s in steps], [600.0, 600.0, 700.0])


def test_a_fault_takes_from_jobs_only_what_is_missing() -> None:
    available = np.array([1000.0, 250.0, 1000.0]).reshape(-1, 1)
    world = tiny(steps=3, jobs=(JOB,), exogenous=HOUR | {"available_gpus": available})
    start, fault, _ = run(world, *[action_of(world, jobs=j) for j in (START, WAIT, WAIT)])
    close(start.gpu_short, [0.0])
    close(fault.gpu_short, [150.0])
    close(fault.served_gpuh.sum(), 0.0)
    close(fault.it_mw, [(250 * 0.2 + 250 * 1.0) / 1000.0])
    close(fault.gpu_shortfall, -150.0 * world.params.gpu_short_usd_per_gpuh[0])


def test_overflow_goes_to_the_other_open_site() -> None:
    world = tiny(
        sites=({"gpus": 100.0}, {"gpus": 40.0, "latitude": 50.1}),
        classes=({"wait_h": 1.0},),
        exogenous=HOUR | {"arrivals_gpuh": 200.0},
    )
    (step,) = run(world, share(world, 1, 0))
    close(step.served_gpuh[0, 0], [100.0, 40.0])
    close(step.after.backlog_gpuh, [[60.0]])


@pytest.mark.parametrize(("hold", "refuse", "kept", "dropped"), [
    (0.0, 0.0, 0.0, 0.0),
    (0.5, 0.5, 50.0, 0.0),
    (0.5, 0.75, 50.0, 50.0),
    (1.0, 1.0, 50.0, 50.0),
    (-1.0, -1.0, 0.0, 0.0),
])  # fmt: skip
def test_hold_and_refuse_are_fractions_of_the_work_on_hand(
    hold: float, refuse: float, kept: float, dropped: float
) -> None:
    world = tiny(classes=({"wait_h": 1.0},), exogenous=HOUR)
    (step,) = run(world, action_of(world, routing=np.array([[[1.0, hold, refuse]]])))
    close(step.after.backlog_gpuh, [[kept]])
    close(step.dropped_gpuh, [[dropped]])
    close(step.served_gpuh.sum(), 100.0 - kept - dropped)
