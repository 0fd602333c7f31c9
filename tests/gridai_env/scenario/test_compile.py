"""Rows, sizes, capacities, units and job slots of a compiled scenario."""

import dataclasses

import numpy as np
import pytest

from gridai_env.scenario.capacity import daily_profile, full_load_mw, peak_demand_gpus, weekly_factor
from gridai_env.scenario.compile import build_rows, compile_scenario, most_waiting_jobs
from gridai_env.scenario.errors import ScenarioError
from gridai_env.scenario.load import load_scenario, parse_scenario, scenario_names
from gridai_env.scenario.spec import Scenario
from gridai_env.world.state import INSTANCE_FIELDS
from tests.gridai_env.scenario.test_spec import CLASS, JOB, put, small

ROUTE_FIELDS = (
    "route_open",
    "egress_usd_per_gpuh",
    "network_mwh_per_gpuh",
    "relocation_usd_per_gpuh",
    "relocation_mwh_per_gpuh",
)


def build(**changes) -> Scenario:
    return parse_scenario(small() | changes, "my.yaml")


@pytest.mark.parametrize("name", scenario_names())
def test_shapes_of_every_scenario(name):
    c = compile_scenario(load_scenario(name))
    s = c.shape
    assert (s.regions, s.rows, s.sites) == c.params.route_open.shape
    assert len(c.row_names) == s.rows == len(set(c.row_names))
    assert c.row_share.sum() == pytest.approx(1.0, abs=1e-12)
    for name_of_route in ROUTE_FIELDS:
        assert getattr(c.params, name_of_route).shape == (s.regions, s.rows, s.sites)
    assert c.params.job_profile.shape == (s.jobs, s.job_steps)
    assert c.job_allowed.shape == (s.jobs, s.sites)
    assert s.slots <= s.jobs and (s.slots > 0) == (s.jobs > 0)
    for field in INSTANCE_FIELDS:
        assert not getattr(c.params, field).any()
    assert (c.params.gpus > 0).all()
    assert (c.start_battery_mwh <= c.params.battery_max_mwh).all()


@pytest.mark.parametrize("name", scenario_names())
def test_derived_flows_have_positive_weights(name):
    p = compile_scenario(load_scenario(name)).params
    stays = p.may_wait == 0
    assert (p.relocation_usd_per_gpuh[:, stays] > 0).all()
    assert (p.warm_usd_per_gpuh[stays] > 0).all()
    assert (p.relocation_usd_per_gpuh[:, ~stays] == 0).all()
    assert (p.warm_usd_per_gpuh[~stays] == 0).all()
    assert (p.wear_usd_per_mwh > 0).all() and (p.battery_short_usd_per_mwh > 0).all()
    assert p.carbon_excess_usd_per_kg > 0


def test_rows_come_in_order():
    free = CLASS | {"share": 0.25}
    classes = [
        free | {"name": "batch", "wait_h": 6.0, "priority": 9},
        free | {"name": "low", "priority": 1},
        free | {"name": "high", "priority": 5, "state_bound_share": 0.3, "law_bound_share": 0.2},
        free | {"name": "bound", "priority": 5, "law_bound_share": 1.0},
    ]
    c = compile_scenario(build(classes=classes))
    names = ("high/home", "high/zone", "high/anywhere", "bound/zone", "low/anywhere", "batch/anywhere")
    assert c.row_names == names
    np.testing.assert_allclose(c.row_share, [0.075, 0.05, 0.125, 0.25, 0.25, 0.25])
    assert c.row_wait_steps.tolist() == [0, 0, 0, 0, 0, 6]
    assert c.params.may_wait.tolist() == [0, 0, 0, 0, 0, 1]
    assert c.row_class.tolist() == [2, 2, 2, 3, 1, 0]
    assert [row.locality for row in build_rows(c.scenario)] == list(c.row_locality)


def test_capacity_follows_slack_and_peak():
    region = small()["regions"][0] | {"swing": 0.4, "peak_hour": 14.25}
    classes = [CLASS | {"share": 0.5}, CLASS | {"name": "flat", "share": 0.5, "flatness": 1.0}]
    sites = [small()["sites"][0] | {"utilisation_limit": 0.8, "speed": 2.0, "capacity_scale": 1.5}]
    s = build(regions=[region], classes=classes, sites=sites, jobs=[], capacity_slack=1.2)
    # half of the demand swings by 0.4: the peak is 1000 * (1 + 0.5 * 0.4)
    assert peak_demand_gpus(s)[0] == pytest.approx(1200.0)
    assert compile_scenario(s).params.gpus[0] == pytest.approx(1.2 * 1.5 * 1200.0 / (0.8 * 2.0))


def test_peaks_of_two_clocks_do_not_add_up():
    east = small()["regions"][0]
    west = east | {"name": "w", "timezone": "America/New_York"}
    both = build(regions=[east, west])
    apart = 6.0 * 2 * np.pi / 24.0
    # two cosines six hours apart: amplitude 2 * cos(apart / 2) of one; quarter-hours meet the top
    assert peak_demand_gpus(both)[0] == pytest.approx(2000.0 + 450.0 * 2 * np.cos(apart / 2), rel=1e-3)


def test_profile_has_mean_one_and_its_top_at_the_peak():
    hours = np.arange(0, 24, 0.25)
    shape = daily_profile(hours, 15.0, 0.45, 0.0)
    assert shape.mean() == pytest.approx(1.0) and hours[shape.argmax()] == 15.0
    assert shape.max() == pytest.approx(1.45)
    np.testing.assert_allclose(daily_profile(hours, 15.0, 0.45, 1.0), 1.0)
    np.testing.assert_array_equal(weekly_factor(np.array([False, True]), 0.8), [1.0, 0.8])


def test_import_limit_is_headroom_over_hot_full_load_and_battery():
    c = compile_scenario(build())
    site = c.scenario.sites[0]
    gpus = c.params.gpus[0]
    it_mw = gpus * (0.25 + 0.9 * 0.9) / 1000.0
    facility = it_mw * (1.12 + 0.008 * 15.0)
    assert full_load_mw(site, gpus) == pytest.approx(facility)
    assert c.import_limit_mw[0] == pytest.approx(1.5 * (facility + 10.0))
    given = compile_scenario(parse_scenario(put(small(), "sites.0.grid.import_limit_mw", 7.0), "x"))
    assert given.import_limit_mw[0] == 7.0


def test_units_are_converted_once():
    c = compile_scenario(
        build(
            carbon_price_usd_per_t=50.0,
            carbon_excess_usd_per_t=400.0,
            carbon_budget_kg=123.0,
            water_price_usd_per_m3=2.0,
        )
    )
    assert c.params.carbon_price_usd_per_kg == 0.05
    assert c.params.carbon_excess_usd_per_kg == 0.4
    assert c.params.carbon_budget_kg == 123.0
    assert c.params.water_price_usd_per_l == 0.002
    assert c.params.bill_marginal == 1.0
    assert (c.params.battery_min_mwh[0], c.params.battery_max_mwh[0]) == (4.0, 36.0)
    assert c.start_battery_mwh.tolist() == [20.0, 0.0]
    assert compile_scenario(build()).params.carbon_budget_kg == np.inf


def test_demand_charge_is_prorated():
    data = put(small(), "sites.0.grid.demand_charge_usd_per_mw_month", 7300.0)
    c = compile_scenario(parse_scenario(data, "my.yaml"))
    np.testing.assert_allclose(c.params.demand_charge_usd_per_mw, [7300.0 * 24.0 / 730.0, 0.0])


def test_quarter_hours_scale_steps():
    classes = [CLASS | {"wait_h": 3.0}]
    c = compile_scenario(build(dt_h=0.25, classes=classes))
    assert (c.shape.steps, c.row_wait_steps[0], c.job_duration_steps[0], c.shape.job_steps) == (
        96,
        12,
        16,
        16,
    )


def slots_by_trial(s: Scenario) -> int:
    """The most jobs that wait at one step, over every combination of extreme shifts."""
    steps = range(s.steps)
    most = 0
    for t in steps:
        waiting = 0
        for j in s.jobs:
            reach = [
                j.release_h + shift <= t <= j.deadline_h - j.duration_h + shift
                for shift in np.arange(-j.release_jitter_h, j.release_jitter_h + 1)
            ]
            waiting += any(reach)
        most = max(most, waiting)
    return most


def test_slots_by_hand_and_by_trial():
    jobs = [
        JOB | {"name": "a", "release_h": 0.0, "deadline_h": 6.0},  # may start in 0..2
        JOB | {"name": "b", "release_h": 2.0, "deadline_h": 7.0},  # 2..3
        JOB | {"name": "c", "release_h": 4.0, "deadline_h": 8.0},  # 4..4
    ]
    assert most_waiting_jobs(build(jobs=jobs)) == 2
    jobs[2] |= {"release_jitter_h": 2.0}  # 2..6
    assert most_waiting_jobs(build(jobs=jobs)) == 3
    assert most_waiting_jobs(build(jobs=[])) == 0


@pytest.mark.parametrize("seed", range(20))
def test_slots_of_random_windows(seed):
    rng = np.random.default_rng(seed)
    jobs = []
    for i in range(6):
        duration, slack, jitter = rng.integers(1, 6), rng.integers(0, 5), rng.integers(0, 3)
        release = int(rng.integers(jitter, 24 - duration - slack - jitter + 1))
        window = {
            "duration_h": float(duration),
            "release_h": float(release),
            "release_jitter_h": float(jitter),
        }
        jobs.append(JOB | {"name": f"j{i}", "deadline_h": float(release + duration + slack)} | window)
    s = build(jobs=jobs)
    assert most_waiting_jobs(s) == slots_by_trial(s)


def test_jobs_keep_to_sites_that_are_large_enough():
    jobs = [JOB | {"gpus": 600.0}, JOB | {"name": "k", "gpus": 10.0, "sites": ["b", "a"]}]
    c = compile_scenario(build(jobs=jobs))
    assert c.job_allowed.tolist() == [[True, False], [True, True]]
    assert c.job_site_rank.tolist() == [[0, 1], [1, 0]]


def test_compiling_twice_gives_the_same_object():
    assert compile_scenario(build()) is compile_scenario(build())
    assert compile_scenario(build()) is not compile_scenario(build(horizon_h=48.0))


def test_a_scenario_that_contradicts_itself_is_not_compiled():
    with pytest.raises(ScenarioError, match=r"regions\[0\].home"):
        compile_scenario(Scenario.model_validate(put(small(), "regions.0.home", "x")))


def test_the_record_is_frozen():
    c = compile_scenario(build())
    with pytest.raises(dataclasses.FrozenInstanceError):
        c.hash = "x"  # type: ignore[misc]
