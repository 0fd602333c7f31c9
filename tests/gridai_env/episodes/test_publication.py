"""Published prices: the local day, and from 13:00 the next; beyond, and for all else, day-ahead forecasts."""

from typing import Any

import numpy as np
import pytest

from gridai_env.episodes.forecast import publication
from gridai_env.episodes.instance import Instance, InstanceBatch, make_batch
from gridai_env.episodes.planner_forecast import exogenous_forecast
from gridai_env.scenario.errors import ScenarioError
from gridai_env.scenario.tables import site_timezone
from scripts.studies.scenario_report import report
from tests.support.small_scenario import SMALL, small

SHOCK: dict[str, Any] = {
    "name": "e",
    "kind": "price",
    "duration_h": 6.0,
    "factor": 2.0,
    "add_usd_per_mwh": 500.0,
    "announced": False,
}


def batch_of(kind: str, seeds: Any = range(3), **changes: Any) -> InstanceBatch:
    forecast = {"kind": kind, **changes.pop("forecast", {})}
    return make_batch(small(**{"events": [], "jobs": []} | changes, forecast=forecast), seeds)


def known_until(start: str, zone: str = "Europe/Berlin", **changes: Any) -> list[int]:
    """How many steps ahead the last published price lies, for each of the first 30 steps."""
    sites = [{**site, "timezone": zone} for site in SMALL["sites"]]
    compiled = small(forecast={"kind": "published", **changes.pop("forecast", {})}, sites=sites, **changes)
    found = publication(compiled, np.array([start], dtype="datetime64[m]"), 0, 120)
    return [int((found.day[0, t:, 0] <= found.last[0, t, 0]).sum()) - 1 for t in range(30)]


def test_the_day_and_from_13_the_next_by_hand() -> None:
    # 22:00 UTC in July is midnight in Berlin; 13:00 there is step 13.
    assert known_until("2023-07-01T22:00")[:15] == [23 - t for t in range(13)] + [34, 33]
    assert known_until("2023-07-01T22:00", forecast={"published_from_h": 12.5})[12:14] == [11, 34]
    # The clocks go back on 29 October: that day has 25 hours; forward on 26 March: 23.
    assert known_until("2023-10-28T22:00")[0] == 24
    assert known_until("2023-03-25T23:00")[0] == 22
    assert known_until("2023-03-25T11:00")[:3] == [
        11,
        33,
        32,
    ]  # 12:00 in Berlin, then 13:00: the short day, too
    # Half past in India: the step from 18:00 UTC starts at 23:30 there.
    assert known_until("2023-07-01T18:00", zone="Asia/Kolkata")[:2] == [24, 23]


def test_when_prices_are_published_is_told() -> None:
    sites = [
        {**site, "timezone": zone}
        for site, zone in zip(SMALL["sites"], ("Europe/Berlin", "Asia/Kolkata"), strict=True)
    ]
    batch = batch_of("published", [1], sites=sites, forecast={"published_from_h": 12.5})
    told = batch.provenance[0]["publication"]
    names = [site["name"] for site in sites]
    assert told == (
        "prices of the next day are known from 12:30 on the clock of the site "
        f"({names[0]} Europe/Berlin, {names[1]} Asia/Kolkata)"
    )
    assert told in list(report(batch.compiled))
    assert "publication" not in batch_of("day_ahead", [1]).provenance[0]


@pytest.mark.parametrize("dt_h", [1.0, 0.25])
def test_published_prices_are_the_truth_and_all_else_is_day_ahead(dt_h: float) -> None:
    plain, told = (batch_of(kind, dt_h=dt_h) for kind in ("day_ahead", "published"))
    known = publication(told.compiled, told.start_utc, 0, told.compiled.shape.steps)
    for i, lead in enumerate(told.forecast.leads):
        there = known.at_lead(lead)
        seen = told.forecast.buy_usd_per_mwh[:, :-lead, i]
        assert there.any() and there.all() == (lead * dt_h < 12)
        assert seen[there] == pytest.approx(told.exogenous.buy_usd_per_mwh[:, lead:][there], rel=1e-6)
        assert np.array_equal(seen[~there], plain.forecast.buy_usd_per_mwh[:, :-lead, i][~there])
        assert (seen[there] != plain.forecast.buy_usd_per_mwh[:, :-lead, i][there]).mean() > 0.9
    assert np.array_equal(told.forecast.values[..., 2:], plain.forecast.values[..., 2:])


@pytest.mark.parametrize("dt_h", [1.0, 0.25])
def test_a_planner_knows_all_published_hours(dt_h: float) -> None:
    instance = batch_of("published", [4], dt_h=dt_h)[0]
    for t in (0, 9, 20):
        steps = min(round(40 / dt_h), instance.steps - t)
        outlook = exogenous_forecast(instance, t, steps)
        known = publication(instance.compiled, np.array([instance.start_utc]), t, steps)
        there = known.day[0] <= known.last[0, 0]
        true = instance.exogenous.buy_usd_per_mwh[t : t + steps]
        assert outlook.buy_usd_per_mwh[there] == pytest.approx(true[there])
        assert there.sum(0).min() > 1 and (outlook.buy_usd_per_mwh[~there] != true[~there]).all()


def _shocked(announced: bool) -> list[Instance]:
    events = [SHOCK | {"announced": announced}]
    return [i for i in batch_of("published", range(8), events=events) if i.knowledge.event_active.any()]


def test_published_prices_do_not_know_unannounced_shocks() -> None:
    plain = batch_of("published", range(8)).instances
    for instance in _shocked(announced=False):
        active, leads = instance.knowledge.event_active[:, 0], instance.forecast.leads
        before = plain[instance.seed]
        strike = int(active.argmax())
        for i, lead in enumerate(leads):
            sees = active[: 48 - lead] & active[lead:]
            now, then = (x.forecast.buy_usd_per_mwh[: 48 - lead, i] for x in (instance, before))
            assert np.array_equal(now[~sees], then[~sees])
            assert now[sees] == pytest.approx(2 * then[sees] + 500, rel=1e-5)
        if strike:
            quiet = [exogenous_forecast(x, strike - 1, 12).buy_usd_per_mwh for x in (instance, before)]
            assert quiet[0][1:] == pytest.approx(quiet[1][1:], rel=1e-5)
        struck = exogenous_forecast(instance, strike, 3).buy_usd_per_mwh
        assert struck == pytest.approx(instance.exogenous.buy_usd_per_mwh[strike : strike + 3])


def test_announced_shocks_are_in_published_prices() -> None:
    for instance in _shocked(announced=True):
        outlook = exogenous_forecast(instance, 0, 12)
        known = publication(instance.compiled, np.array([instance.start_utc]), 0, 12)
        there = known.day[0] <= known.last[0, 0]
        assert outlook.buy_usd_per_mwh[there] == pytest.approx(instance.exogenous.buy_usd_per_mwh[:12][there])


def test_the_time_zone_of_a_site() -> None:
    compiled = small()
    north, south = compiled.scenario.sites
    assert compiled.sites.timezones == ("Europe/Berlin", "America/Los_Angeles")
    assert site_timezone(compiled.scenario, north) == ("Europe/Berlin", "of zone DE-LU")
    other = compiled.scenario.model_copy(update={"regions": []})
    elsewhere = south.model_copy(update={"zone": "ELSEWHERE"})
    assert site_timezone(compiled.scenario, elsewhere)[1].startswith("of region 'bay'")
    assert site_timezone(other, elsewhere) == ("UTC", "for want of another; say sites[].timezone")
    with pytest.raises(ScenarioError, match=r"sites\[0\].timezone = 'Europe/Berlim'.*IANA"):
        known_until("2023-07-01T22:00", zone="Europe/Berlim")


def test_kinds_that_an_instance_does_not_hold_are_refused() -> None:
    with pytest.raises(ValueError, match="made with 'published' forecasts and holds none of this kind"):
        exogenous_forecast(batch_of("published")[0], 0, 3, kind="day_ahead")
    with pytest.raises(ValueError, match=r"forecast\.kind: published"):
        exogenous_forecast(batch_of("day_ahead")[0], 0, 3, kind="published")
