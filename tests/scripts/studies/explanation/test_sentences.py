"""Sentences about an hour: worlds in which each figure is worked out by hand."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from baselines.optimum.milp import solve
from baselines.optimum.shadow_prices import shadow_prices
from baselines.rules.single_signal import LocalOnly
from gridai_env import make_instance
from gridai_env.episodes.instance import Instance
from gridai_env.rollout.run import run
from scripts import explain
from scripts.runs.command import InputError
from scripts.studies.explanation.moment import local_times, step_at, time_zone
from scripts.studies.explanation.sentences import Explainer, compared, regret
from tests.support.tiny import BATTERY, tiny

ELSEWHERE = {"latitude": 40.0, "longitude": -80.0, "legal_zone": "US"}
FREE = {"relocation_usd_per_gpuh": 1e-9, "warm_usd_per_gpuh": 1e-9}


def hours(instance: Instance) -> list[datetime]:
    return [datetime(2023, 1, 2, tzinfo=UTC) + timedelta(hours=t) for t in range(instance.steps + 1)]


def said(instance: Instance, t: int) -> list[str]:
    plan = solve(instance, mip_gap=0.0, threads=1)
    return Explainer(run(plan, instance), hours(instance), shadow_prices(plan)).sentences(t)


def two_sites(prices: tuple[float, float], **classes: Any) -> Instance:
    exogenous = {"buy_usd_per_mwh": np.array(prices), "arrivals_gpuh": 100.0}
    return tiny(sites=({}, ELSEWHERE), classes=({**FREE, **classes},), exogenous=exogenous)


def test_a_dearer_site_is_dearer_by_its_price() -> None:
    """A GPU-h draws 1.25 kWh: 60 USD/MWh more are 0.075 USD."""
    (text,) = said(two_sites((100.0, 40.0)), 0)
    assert text == (
        "r0, class0/anywhere: 100 GPU-h at b; a is dearer by 0.0750 USD per GPU-h (energy +0.0750)"
    )


def test_sites_with_the_same_reason_stand_together() -> None:
    exogenous = {"buy_usd_per_mwh": np.array((100.0, 40.0, 40.0)), "arrivals_gpuh": 100.0}
    sites = ({}, ELSEWHERE, ELSEWHERE)
    (text,) = said(tiny(sites=sites, classes=({**FREE, "state_bound_share": 1.0},), exogenous=exogenous), 0)
    assert text.endswith(" GPU-h at a (home); b, c are closed by state")


def test_what_moving_costs_is_named() -> None:
    """0.01 + 0.02 USD for a session and its weights, spread over 8 h, against a spread of 1 USD/MWh."""
    (text,) = said(two_sites((41.0, 40.0), relocation_usd_per_gpuh=0.01, warm_usd_per_gpuh=0.02), 0)
    cost = 0.03 / 8.0 - 1.25e-3
    assert text.startswith(
        f"r0, class0/anywhere: 100 GPU-h at a (home); b is dearer by {cost:.4f} USD per GPU-h"
    )
    assert "moving +0.0037" in text or "moving +0.0038" in text


@pytest.mark.parametrize(
    ("task", "why"),
    [
        ({"latency_budget_ms": 30.0}, r"b is closed by latency \("),
        ({"state_bound_share": 1.0}, "b is closed by state"),
        ({"law_bound_share": 1.0}, "b is closed by law"),
    ],
)
def test_a_closed_route_names_its_mask(task: dict[str, Any], why: str) -> None:
    (text,) = said(two_sites((100.0, 40.0), **task), 0)
    assert "100 GPU-h at a (home)" in text
    assert re.search(why, text)


def test_a_full_site_is_full_and_its_accelerators_have_a_price() -> None:
    exogenous = {"buy_usd_per_mwh": np.array([100.0, 40.0]), "arrivals_gpuh": 100.0}
    instance = tiny(sites=({}, {**ELSEWHERE, "gpus": 60.0}), classes=(FREE,), exogenous=exogenous)
    work, full = said(instance, 0)
    assert work == "r0, class0/anywhere: 60 GPU-h at b and 40 GPU-h at a (home)"
    assert full == "b: all usable accelerators are busy; one GPU-h more would earn 0.0750 USD"


def test_a_battery_charges_for_the_hour_that_sets_its_worth() -> None:
    """A stored MWh gives half a MWh at 100 USD less 2 of wear: 49 USD."""
    instance = tiny(
        steps=4,
        sites=({"battery": {**BATTERY, "capacity_mwh": 100.0, "initial_share": 0.0}, "base_load_mw": 20.0},),
        exogenous={"buy_usd_per_mwh": np.array([20.0, 20.0, 100.0, 100.0])[:, None]},
    )
    assert (
        "a: the battery charges 4.00 MW: a MWh is worth 20.00 USD at the site and 49.00 in the battery, because it "
        "would be used at Mon 02:00, when a MWh is worth 100.00 at the site" in said(instance, 0)
    )
    discharges = next(text for text in said(instance, 2) if "discharges" in text)
    assert discharges.endswith("MW: a MWh is worth 100.00 USD at the site and 49.00 in the battery")


def test_work_without_room_waits_for_it() -> None:
    """60 of 100 GPU-h fit into the hour; the price has no say."""
    instance = tiny(
        steps=3,
        sites=({"gpus": 60.0},),
        classes=({"wait_h": 2.0},),
        exogenous={
            "buy_usd_per_mwh": np.array([10.0, 30.0, 35.0])[:, None],
            "arrivals_gpuh": np.array([100.0, 0.0, 0.0])[:, None, None],
        },
    )
    assert said(instance, 0)[1] == (
        "r0, class0/anywhere: 40 GPU-h wait, the last until Mon 01:00; energy costs 30.00 USD/MWh where and when they "
        "are served, now no open site has room"
    )


def test_work_that_waits_and_jobs_say_until_when() -> None:
    """Three cheap hours later all is served; the job follows the price too."""
    instance = tiny(
        steps=4,
        classes=({"wait_h": 3.0},),
        jobs=({"gpus": 100.0, "duration_h": 1.0, "release_h": 0.0, "deadline_h": 4.0, "value_usd": 50.0},),
        exogenous={"buy_usd_per_mwh": np.array([90.0, 90.0, 90.0, 10.0])[:, None], "arrivals_gpuh": 50.0},
    )
    waits, job = said(instance, 0)
    assert waits == (
        "r0, class0/anywhere: 50 GPU-h wait, the last until Mon 03:00; energy costs 10.00 USD/MWh where and when they "
        "are served, now 90.00 at best"
    )
    assert job == "job j0 (100 GPUs) waits until Mon 03:00"
    assert "job j0 starts at a: 100 GPUs for 1 h" in said(instance, 3)


def test_import_at_its_limit_has_a_price() -> None:
    """1000 idle accelerators draw 0.25 MW; 0.05 MW feed 40 GPU-h, each worth revenue and drop penalty less energy."""
    instance = tiny(
        sites=({"grid": {"import_limit_mw": 0.3}},),
        exogenous={"buy_usd_per_mwh": 40.0, "arrivals_gpuh": 100.0},
    )
    lines = said(instance, 0)
    assert "r0, class0/anywhere: 60 GPU-h are refused or dropped" in lines
    limit = next(text for text in lines if "import" in text)
    assert (
        limit
        == f"a: import is at its limit of 0.30 MW; one MWh more would earn {0.75 / 1.25e-3 - 40.0:,.4f} USD"
    )


def test_lines_and_power_modes_are_told() -> None:
    """300 busy of 1000: with the knee (0.8, 0.9 kW) they draw 0.2 + 0.3 * 0.7 / 0.8, not 0.2 + 0.3 * 0.95 MW.

    What 1.25 times that is above 0.3 MW lies above the line.
    """
    site = {
        "busy_kw_per_gpu": 1.15,
        "power_modes": [{"points": [{"speed": 0.8, "kw": 0.9}, {"speed": 1.0, "kw": 1.15}]}],
        "lines": [{"name": "tier", "kind": "tier", "mw": 0.3, "price_usd_per_mwh": 20.0}],
    }
    exogenous = {"buy_usd_per_mwh": 40.0, "arrivals_gpuh": 300.0}
    lines = said(tiny(sites=(site,), exogenous=exogenous), 0)
    assert "a: power modes save 0.02 MW of IT power for the same work" in lines
    assert "a: import is 0.28 MW above the line 'tier', at 20.00 USD/MWh" in lines


def test_regret_of_an_hour_is_what_its_decisions_would_earn() -> None:
    """Moving the work of the first hour alone saves 100 GPU-h * 0.075 USD; the levers sum to a replay."""
    instance = two_sites((100.0, 40.0))
    optimum = run(solve(instance, threads=1), instance)
    local = run(LocalOnly(), instance)
    levers = regret(local, optimum, 0)
    assert sum(levers.values()) == pytest.approx(7.5, rel=1e-5)
    assert levers["routing"] == pytest.approx(7.5, rel=1e-5)
    hour, episode = compared(local, optimum, 0)
    assert hour == "this hour it earns -7.50 USD beside the optimum (import -7.50)"
    assert "would earn +7.50 USD (routing +7.50" in episode
    assert Explainer(local, hours(instance)).sentences(0) == [
        "r0, class0/anywhere: 100 GPU-h at a (home); b is open and 0.0750 USD per GPU-h cheaper by the prices of this "
        "hour alone (energy -0.0750)"
    ]


# Times ----------------------------------------------------------------------------------------------------------------


def test_times_of_day_follow_the_clock_and_its_changes() -> None:
    berlin = time_zone("Europe/Berlin")
    autumn = make_instance("two_sites", seed=0, start="2023-10-28T22:00")  # midnight of the longest day
    assert [step_at(autumn, at, berlin, 1) for at in ("00:00", "02:30", "03:00", "22:59")] == [0, 2, 4, 23]
    assert step_at(autumn, "2023-10-29T02:30+01:00", berlin, 1) == 3
    assert step_at(autumn, "2023-10-29T00:30Z", berlin, 1) == 2
    spring = make_instance("two_sites", seed=0, start="2023-03-25T12:00")
    assert step_at(spring, "13:00", berlin, 1) == 0 and step_at(spring, "13:59", berlin, 2) == 23
    for at, day, why in (
        (
            "02:30",
            1,
            "has no such time on day 1 in this episode, which runs from 2023-03-25 13:00 to 2023-03-26 14:00",
        ),
        ("2023-03-26T02:30", 1, "skip this time"),
        ("18:00", 2, "on day 2"),
        ("2023-04-01T18:00", 1, "no such time"),
        ("half past six", 1, "must be HH:MM or an ISO stamp"),
    ):
        with pytest.raises(InputError, match=why):
            step_at(spring, at, berlin, day)
    assert f"{local_times(spring, berlin)[0]:%H:%M %z}" == "13:00 +0100"
    with pytest.raises(InputError, match="'Europe/Berln': must be an IANA name"):
        time_zone("Europe/Berln")


def test_a_plan_at_the_time_limit_is_not_called_the_optimum(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = replace(solve(make_instance("two_sites", seed=0, horizon_h=2.0)), status="time_limit", gap=0.02)
    monkeypatch.setattr("baselines.optimum.milp.solve", lambda *_, **__: found)
    assert (
        explain.main(["--scenario", "two_sites", "--horizon-h", "2", "--at", f"{found.instance.start_utc}"])
        == 0
    )
    assert "The best plan in time (2.00% off the bound)" in capsys.readouterr().out


def test_the_command_prints_both_and_refuses_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    words = [
        "--scenario",
        "two_sites",
        "--horizon-h",
        "6",
        "--start",
        "2023-07-03T12:00",
        "--tz",
        "Europe/Berlin",
    ]
    assert explain.main([*words, "--at", "18:00", "--policy", "greedy"]) == 0
    text = capsys.readouterr().out
    assert "Mon 2023-07-03 18:00 to 19:00 (Europe/Berlin), step 4 of 6" in text
    assert "The optimum, which knows the whole episode:" in text and "\ngreedy:\n" in text
    assert "beside the optimum" in text
    for wrong in (["--at", "08:00"], ["--at", "18:00", "--tz", "Mars/X"]):
        assert explain.main([*words, *wrong]) == 2
        told = capsys.readouterr().err
        assert told.count("\n") == 1 and len(told) < 1500
