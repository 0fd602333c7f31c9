"""Calls of lines: when they strike, how long, and what is known of them before; lines that follow from them."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gridai_env.arrays.runs import runs_of_true
from gridai_env.episodes.calls import CallTable, site_days
from gridai_env.episodes.instance import Instance, InstanceBatch, make_batch
from gridai_env.episodes.lines import BaselineCalendar, line_fields
from gridai_env.episodes.planner_forecast import exogenous_forecast
from gridai_env.files import InstanceError
from gridai_env.scenario.compile import Compiled, compile_scenario
from gridai_env.scenario.errors import ScenarioError
from gridai_env.scenario.load import parse_scenario
from tests.support import called_world
from tests.support.small_scenario import CALLS, FLEXIBLE, SMALL, flexible, small

LINE: dict[str, Any] = {"name": "line", "kind": "connection", "mw": 0.5, "price_usd_per_mwh": 100.0}
WEEK: dict[str, Any] = {"per_week": 2, "probability": 0.55, "start_h": [12.0, 16.0], "duration_h": [3.0, 8.0]}


def world(calls: dict[str, Any], line: dict[str, Any] | None = None, **changes: Any) -> Compiled:
    """The small world with one line in the south, for a week of summer."""
    north, south = SMALL["sites"]
    lines = [{**LINE, **(line or {}), "calls": calls}]
    keys = {
        "horizon_h": 168.0,
        "start": {"first": "2023-07-01", "last": "2023-08-20", "hour_utc": 7},
        "jobs": [],
    }
    return small(**keys | {"sites": [north, {**south, "lines": lines}]} | changes)


def calls_of(batch: InstanceBatch) -> list[np.ndarray]:
    """First and last step (not included) of the calls of each episode."""
    return [runs_of_true(one.knowledge.call_depth[:, 0] > 0.0) for one in batch]


def test_calls_are_as_many_as_long_and_at_the_hours_of_the_rule() -> None:
    compiled = world(WEEK)
    batch = make_batch(compiled, range(400))
    found = calls_of(batch)
    number = np.array([len(runs) for runs in found])
    # Two possible calls, each with 0.55: 0, 1 or 2 of them.
    share = [(number == n).mean() for n in range(3)]
    assert share == pytest.approx([0.45**2, 2 * 0.55 * 0.45, 0.55**2], abs=0.07)
    length = np.concatenate([np.diff(runs, axis=1).ravel() for runs in found])
    assert set(length.tolist()) == {3, 4, 5, 6, 7, 8}
    _, minute = site_days(compiled, batch.start_utc, 0, compiled.shape.steps)
    hours = {int(minute[b, first, 1]) // 60 for b, runs in enumerate(found) for first, _ in runs}
    assert hours == {12, 13, 14, 15, 16}


def test_dear_days_are_called_more_often() -> None:
    """The weight rises evenly with the rank of a day's price: 1, 3, ... 13 of 49 for the days of a week."""
    compiled = world(
        {"per_week": 1, "probability": 1.0, "start_h": [13.0, 13.0], "duration_h": [1.0, 1.0]}, events=[]
    )
    batch = make_batch(compiled, range(600))
    day, _ = site_days(compiled, batch.start_utc, 0, compiled.shape.steps)
    hit = np.zeros(7)
    for b, one in enumerate(batch):
        local = day[b, :, 1] - day[b, 0, 1]
        price = one.exogenous.buy_usd_per_mwh[:, 1]
        mean = np.array([price[local == d].mean() for d in range(7)])
        ((first, _),) = runs_of_true(one.knowledge.call_depth[:, 0] > 0.0)
        hit[np.argsort(np.argsort(mean))[local[first]]] += 1
    assert hit / hit.sum() == pytest.approx((2.0 * np.arange(7) + 1.0) / 49.0, abs=0.05)


def test_gaps_ramps_and_hours_of_a_year_are_kept() -> None:
    rule = WEEK | {
        "per_week": 7,
        "probability": 1.0,
        "start_h": [0.0, 23.0],
        "ramp_h": 2.0,
        "least_gap_h": 20.0,
    }
    compiled = world(rule | {"hours_a_year": 11.0})
    for one in make_batch(compiled, range(40)):
        depth = one.knowledge.call_depth[:, 0]
        runs = runs_of_true(depth > 0.0)
        assert (depth > 0.0).sum() <= 11
        assert all(begin - end >= 20 for (_, end), (begin, _) in pairwise(runs))
        for first, last in runs:
            wanted = np.minimum(np.arange(1, last - first + 1) / 3.0, 1.0)
            assert depth[first:last] == pytest.approx(wanted)
        line, most = one.exogenous.line_mw[:, 0, 1], compiled.import_limit_mw[1]
        assert line == pytest.approx(most - depth * (most - 0.5))


def test_calls_do_not_depend_on_the_firm_level_nor_on_neighbours() -> None:
    low, high = (make_batch(world(WEEK, {"mw": mw}), range(20)) for mw in (0.1, 0.9))
    assert np.array_equal(low.knowledge.call_depth, high.knowledge.call_depth)
    alone = make_batch(world(WEEK), [7])
    assert np.array_equal(alone.knowledge.call_depth[0], low.knowledge.call_depth[7])


def test_a_call_is_known_from_its_notice_on() -> None:
    compiled = world(WEEK | {"probability": 1.0, "notice_h": 3.0})
    for one in make_batch(compiled, range(10)):
        depth = one.knowledge.call_depth[:, 0]
        table = CallTable(one.knowledge.call_depth, one.knowledge.call_known_from)
        for first, last in runs_of_true(depth > 0.0):
            before = table.as_foreseen(first - 4, "day_ahead")[:, 0]
            assert not before[first:last].any()
            known = table.as_foreseen(first - 3, "day_ahead")[:, 0]
            assert np.array_equal(known[first:last], depth[first:last])
            assert np.array_equal(table.as_foreseen(first - 4, "perfect")[:, 0], depth)
        # The observation shows the same at its leads.
        shown = table.__class__(table.depth[None], table.known_from[None]).at_leads([1, 3, 6], "day_ahead")[0]
        for i, lead in enumerate((1, 3, 6)):
            for t in range(len(depth) - lead):
                assert shown[t, i, 0] == table.as_foreseen(t, "day_ahead")[t + lead, 0]


def test_planners_see_calls_that_are_known_alone() -> None:
    compiled = world(WEEK | {"probability": 1.0, "notice_h": 2.0})
    one = next(i for i in make_batch(compiled, range(10)) if i.knowledge.call_depth.any())
    ((first, last), *_) = runs_of_true(one.knowledge.call_depth[:, 0] > 0.0)
    most = compiled.import_limit_mw[1]

    def line_at(t: int) -> np.ndarray:
        return exogenous_forecast(one, t, first + 4 - t).line_mw[:, 0, 1]

    assert line_at(first - 3) == pytest.approx(most)
    seen = line_at(first - 2)
    assert seen[:2] == pytest.approx(most) and seen[2 : 2 + min(4, last - first)] == pytest.approx(0.5)


def test_nothing_shown_depends_on_later_hours() -> None:
    """Two episodes with equal hours up to t show the same up to t, but for forecasts of prices and the like."""
    compiled = flexible()
    names = (
        "line_mw",
        "line_usd_per_mwh",
        "committed_mw",
        "baseline_share",
        "baseline_counts",
        "generator_open",
    )
    for one in make_batch(compiled, range(6)):
        depth, known = one.knowledge.call_depth.copy(), one.knowledge.call_known_from.copy()
        for t in (30, 54, 70):
            later = _without_calls_after(one, t)
            for name in names:
                wanted, found = (getattr(x.exogenous, name)[: t + 1] for x in (one, later))
                assert np.array_equal(wanted, found), (name, t)
        assert np.array_equal(depth, one.knowledge.call_depth) and np.array_equal(
            known, one.knowledge.call_known_from
        )


def _without_calls_after(one: Instance, t: int) -> Instance:
    """The episode in which no call begins after step t, its lines made anew."""
    depth = one.knowledge.call_depth.copy()
    for q in range(depth.shape[1]):
        for first, last in runs_of_true(depth[:, q] > 0.0):
            if first > t:
                depth[first:last, q] = 0.0
    exo, compiled = one.exogenous, one.compiled
    grid = {name: getattr(exo, name)[None] for name in ("buy_usd_per_mwh", "import_limit_mw")}
    clean = np.stack([exo.line_mw[:, r.slot, r.site] for r in compiled.lines.matching], -1)[None]
    past = BaselineCalendar.of(compiled, np.array([one.start_utc]))
    fields = line_fields(compiled, depth[None], clean, grid, past)
    return replace(one, exogenous=exo.replace(**{name: x[0] for name, x in fields.items()}))


def test_history_is_what_home_is_expected_to_import() -> None:
    """In the first day no day of the episode counts: the line is the mean of expected days, less what was promised."""
    compiled = flexible()
    rule = compiled.lines.baselines[0]
    found = 0
    for one in make_batch(compiled, range(30)):
        exo = one.exogenous
        for t in np.flatnonzero(exo.committed_mw[:24, rule.slot, rule.site] > 0.0):
            found += 1
            assert not exo.baseline_counts[t, rule.site]
            expected = exo.line_mw[t, rule.slot, rule.site] + 0.3
            idle_mw = 1.12 * 1000.0 * 0.25 / 1000.0
            assert idle_mw < expected < compiled.import_limit_mw[1]
    assert found


def test_a_negative_price_of_the_market_in_an_event_is_refused() -> None:
    south = FLEXIBLE["south"] | {"lines": [FLEXIBLE["south"]["lines"][1] | {"price_usd_per_mwh": 10.0}]}
    sites = [SMALL["sites"][0], {**SMALL["sites"][1], **south}]
    shock = {"name": "glut", "kind": "price", "factor": 0.0, "add_usd_per_mwh": -50.0, "duration_h": 96.0}
    shocked = {**SMALL, "horizon_h": 96.0, "sites": sites, "jobs": []}
    shocked["events"] = [shock | {"probability": 1.0, "latest_h": 0.0}]
    words = (
        r"sites\[1\].lines\[0\].price_usd_per_mwh = 10.0: must be above 50 .*price of import can fall so low"
    )
    with pytest.raises(ScenarioError, match=words):
        parse_scenario(shocked, "mine.yaml")
    sites[1]["lines"][0]["price_usd_per_mwh"] = 30.0
    with pytest.raises(ScenarioError, match="must be above 50"):
        parse_scenario(shocked, "mine.yaml")
    parse_scenario(shocked | {"events": [shocked["events"][0] | {"probability": 0.0}]}, "mine.yaml")


def test_a_negative_price_of_a_trace_file_in_an_event_is_refused(tmp_path: Path) -> None:
    file = called_world.write_file(
        tmp_path / "f.csv", dict.fromkeys(called_world.hours("2024-03-30T17:00", "2024-03-30T20:00"), 1)
    )
    file.write_text(file.read_text().replace("SOUTH,5", "SOUTH,-5"))
    line = called_world.RESPONSE | {"price_usd_per_mwh": 10.0, "energy_price_usd_per_mwh": "market"}
    compiled = called_world.called(tmp_path, file, line)
    with pytest.raises(
        InstanceError, match=r"sites\[1\].lines: 'response' at step \d+: energy and shortfall price"
    ):
        make_batch(compiled, range(20))


STEADY = CALLS | {"ramp_h": 0.0}  # a baseline knows no ramp
RESPONSE: dict[str, Any] = {
    "kind": "demand_response", "mw": None, "commitment_mw": 0.2, "baseline": {"days": 7}, "calls": STEADY
}  # fmt: skip
PRICE = r"energy_price_usd_per_mwh = {}: must be 'market' or a number in \[0, inf\) \[USD/MWh\]"
BAD: list[tuple[dict[str, Any], str]] = [
    ({"mw": 50.0}, r"lines\[0\].mw = 50.0: must be at most the import limit of the site, 1.97"),
    (
        {"calls": CALLS | {"duration_h": [3.0, 200.0]}},
        r"duration_h = \[3.0, 200.0\]: must be at most horizon_h = 168",
    ),
    (
        {"calls": CALLS | {"notice_h": 30.0}},
        r"notice_h = 30.0: must be at most 24, the last of forecast.leads_h",
    ),
    ({"calls": CALLS | {"notice_h": 0.5}}, r"notice_h = 0.5: must be a whole number of steps of dt_h = 1 h"),
    ({"calls": CALLS | {"start_h": [12.0, 24.0]}}, r"start_h = \[12.0, 24.0\]: must be below 24"),
    ({"calls": CALLS | {"start_h": [16.0, 12.0]}}, r"start_h.*must be \[first, last\]"),
    ({"calls": None}, r"lines\[0\].calls = None: must be given"),
    ({"hard": True}, r"price_usd_per_mwh = 100.0: must be left out where hard is true"),
    ({"price_usd_per_mwh": None}, r"price_usd_per_mwh = None: must be a number"),
    ({"commitment_mw": 0.2}, r"commitment_mw = 0.2: must be left out for kind connection"),
    ({"kind": "demand_response"}, r"commitment_mw = None: must be a number"),
    (
        RESPONSE | {"commitment_mw": 9.0},
        r"commitment_mw = 9.0: must be at most the import limit of the site",
    ),
    (
        RESPONSE | {"mw": 0.5},
        r"mw = 0.5: must be given, or baseline is",
    ),
    (
        RESPONSE | {"baseline": {"days": 2}},
        r"baseline.days = 2: must be at least \d+ for episodes of 168 h",
    ),
    (
        {"kind": "demand_response", "commitment_mw": 0.2, "price_usd_per_mwh": 0.0},
        r"energy_price_usd_per_mwh = 0.0: must be above 0 together with price_usd_per_mwh",
    ),
    ({"kind": "matching", "mw": None, "calls": None}, r"wind_mw = 0.0: must be above 0, or pv_mw is"),
    (RESPONSE | {"energy_price_usd_per_mwh": "mrket"}, PRICE.format("'mrket'")),
    (RESPONSE | {"energy_price_usd_per_mwh": -10.0, "price_usd_per_mwh": 5.0}, PRICE.format("-10.0")),
    (RESPONSE | {"energy_price_usd_per_mwh": None}, PRICE.format("None")),
    (RESPONSE | {"energy_price_usd_per_mwh": [1]}, PRICE.format(r"\[1\]")),
    (RESPONSE | {"calls": CALLS}, r"calls.ramp_h = 1.0: must be 0 with a baseline \[h\]"),
    (
        RESPONSE | {"commitment_mw": 1.5},
        r"commitment_mw = 1.5: must be at most 1.3144, full load of the site",
    ),
]


@pytest.mark.parametrize(("line", "message"), BAD)
def test_what_is_wrong_with_a_line_is_said_in_one_line(line: dict[str, Any], message: str) -> None:
    north, south = SMALL["sites"]
    sites = [north, {**south, "lines": [LINE | {"calls": CALLS} | line]}]
    with pytest.raises(ScenarioError, match=message) as caught:
        compile_scenario(parse_scenario({**SMALL, "horizon_h": 168.0, "sites": sites}, "mine.yaml"))
    assert len(caught.value.problems) == 1


@pytest.mark.parametrize(
    ("modes", "message"),
    [
        ([{"name": "H100 decode"}], r"busy_kw_per_gpu = 1.15: must be 0.9, as the power modes say"),
        (
            [{"points": [{"speed": 0.9, "kw": 1.2}, {"speed": 1.0, "kw": 1.15}]}],
            r"must be rising in speed and in kW",
        ),
        ([{"points": [{"speed": 0.9, "kw": 1.15}]}], r"points = 0.9: must be up to speed 1"),
        (
            [{"name": "H100 training", "share": 0.5}],
            r"share = 0.5: must be 1 in sum over the curves of a site",
        ),
        (
            [{"name": "H100 training", "points": [{"speed": 1.0, "kw": 1.15}]}],
            r"points = .*: must be given, or name",
        ),
        ([{"name": "H300 training"}], r"power_modes\[0\].name"),
    ],
)
def test_what_is_wrong_with_power_modes_is_said(modes: list[dict[str, Any]], message: str) -> None:
    north, south = SMALL["sites"]
    with pytest.raises(ScenarioError, match=message):
        compile_scenario(
            parse_scenario({**SMALL, "sites": [north, {**south, "power_modes": modes}]}, "mine.yaml")
        )


def test_gates_need_calls_and_names_are_unique() -> None:
    north, south = SMALL["sites"]
    gated = {**south, "generator": south["generator"] | {"only_while_called": True}}
    with pytest.raises(ScenarioError, match="no line of the site has calls"):
        compile_scenario(parse_scenario({**SMALL, "sites": [north, gated]}, "mine.yaml"))
    tier = {"name": "t", "kind": "tier", "mw": 0.5, "price_usd_per_mwh": 1.0}
    with pytest.raises(ScenarioError, match="unique among the lines of site 'south'"):
        compile_scenario(
            parse_scenario({**SMALL, "sites": [north, {**south, "lines": [tier, tier]}]}, "mine.yaml")
        )


def test_contracted_generation_is_foreseen_as_well_as_that_of_the_site() -> None:
    """A contract on the wind of a zone and a turbine in it: the same truth, expectation and skill."""
    north, south = SMALL["sites"]
    line = {"name": "wind", "kind": "matching", "wind_mw": 0.4, "price_usd_per_mwh": 5.0}
    sites = [{**north, "pv_mw": 0.0, "lines": [line]}, south]
    batch = make_batch(small(horizon_h=168.0, sites=sites, jobs=[], events=[]), range(60))
    own, clean = batch.exogenous.renewable_available_mw[..., 0], batch.exogenous.line_mw[:, :, 0, 0]
    assert np.allclose(own, clean)
    for i, lead in enumerate(batch.forecast.leads):
        now, then = np.s_[:, :-lead], np.s_[:, lead:]
        errors = [
            np.abs(values[now][:, :, i] - own[then]).mean()
            for values in (batch.forecast.renewable_mw[..., 0], batch.forecast.clean_mw[..., 0])
        ]
        assert errors[1] == pytest.approx(errors[0], rel=0.1)
