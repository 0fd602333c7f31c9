"""Statements of a played episode of made-up days: baselines by each method and what they pay, in plain floats."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from gridai_env.analysis.customer_baselines import HIGHEST_4_OF_5, MEAN, TEN_IN_TEN
from gridai_env.analysis.responses import Event, event_statements
from gridai_env.analysis.settlement import EventStatement
from gridai_env.episodes.instance import Instance, make_instance
from gridai_env.rollout.policy import Policy
from gridai_env.rollout.run import run
from gridai_env.scenario.load import parse_scenario
from tests.support import measured_days as days

EVENTS = (days.SUNDAY, days.MONDAY, days.WEDNESDAY)


class AsGiven(Policy):
    """The actions of the days, one after the other."""

    name = "as given"

    def __init__(self) -> None:
        self.actions: Iterator[list[float]] = map(days.action, range(days.HOURS))

    def act(self, observation: object) -> np.ndarray:
        return np.array(next(self.actions), np.float32)


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Instance:
    folder: Path = tmp_path_factory.mktemp("statements")
    return make_instance(parse_scenario(days.scenario_data(folder), "measured days"), seed=0)


@pytest.fixture(scope="module")
def statements(instance: Instance) -> list[EventStatement]:
    return list(event_statements(run(AsGiven(), instance)))


def past_mw(first: int, hours: range, count: int) -> list[list[float]]:
    """Import at hours of the day on the last days of the same kind without event, the latest first."""
    today, found = first // 24, []
    day = today - 1
    while len(found) < count:
        if days.is_weekend(day) == days.is_weekend(today) and not days.has_event(day):
            found.append([days.import_mw(24 * day + hour) for hour in hours])
        day -= 1
    return found


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


def highest_mw(first: int) -> list[float]:
    """PJM: on weekdays the highest 4 of 5 days, else 2 of 3, plus what the day lay above them from 9:00 to 12:00."""
    highest, last = (2, 3) if days.is_weekend(first // 24) else (4, 5)
    event, morning = past_mw(first, range(13, 15), last), past_mw(first, range(9, 12), last)
    chosen = sorted(range(last), key=lambda i: (-mean(event[i]), i))[:highest]
    usual = mean([mean(morning[i]) for i in chosen])
    today = mean([days.import_mw(24 * (first // 24) + hour) for hour in range(9, 12)])
    return [mean([event[i][hour] for i in chosen]) + today - usual for hour in range(2)]


def ten_mw(first: int) -> list[float]:
    """CAISO: the mean of ten days times what the day was of it from 9:00 to 12:00, within a fifth."""
    event, morning = past_mw(first, range(13, 15), 10), past_mw(first, range(9, 12), 10)
    today = mean([days.import_mw(24 * (first // 24) + hour) for hour in range(9, 12)])
    factor = min(1.2, max(0.8, today / mean([mean(day) for day in morning])))
    return [mean([day[hour] for day in event]) * factor for hour in range(2)]


def paid_mw(first: int) -> list[float]:
    """The baseline that pays."""
    return [days.baseline_mw(first), days.baseline_mw(first + 1)]


def test_each_event_is_stated_by_three_methods(statements: list[EventStatement]) -> None:
    starts = ["2024-06-02T04:00Z", "2024-06-03T04:00Z", "2024-06-05T04:00Z"]
    methods = (MEAN, HIGHEST_4_OF_5, TEN_IN_TEN)
    wanted = [(n, start, m) for n, start in enumerate(starts, 1) for m in methods]
    assert [(s.event, s.start_utc, s.baseline) for s in statements] == wanted
    assert {(s.site, s.line) for s in statements} == {("yard", "response")}


@pytest.mark.parametrize("number", range(3), ids=["Sunday", "Monday", "Wednesday"])
def test_a_statement_is_worked_out(number: int, statements: list[EventStatement]) -> None:
    first = EVENTS[number]
    drawn = [days.import_mw(first), days.import_mw(first + 1)]
    prices = [days.price_usd_per_mwh(first), days.price_usd_per_mwh(first + 1)]
    for statement, of in zip(statements[3 * number :], (paid_mw, highest_mw, ten_mw), strict=False):
        found, baseline = statement.settlement, of(first)
        excess = [max(0.0, mw - (base - 0.2)) for mw, base in zip(drawn, baseline, strict=True)]
        delivered = [max(0.0, 0.2 - mw) for mw in excess]
        paid = sum(usd * mw for usd, mw in zip(prices, delivered, strict=True))
        assert found.baseline_mw == pytest.approx(mean(baseline), rel=1e-6)
        assert found.import_mw == pytest.approx(mean(drawn), rel=1e-6)
        assert (found.duration_h, found.committed_mwh) == (2.0, pytest.approx(0.4))
        assert found.delivered_mwh == pytest.approx(sum(delivered), abs=1e-6)
        assert found.energy_usd == pytest.approx(paid, abs=1e-5)
        assert found.shortfall_usd == pytest.approx(-1000.0 * sum(excess), abs=1e-3)


def test_on_weekends_two_of_three_days_count(instance: Instance) -> None:
    """Half a MW more on the Saturday before: a quarter more in the mean of the highest two days."""
    net_mw = np.array([days.import_mw(t) for t in range(days.HOURS)])
    net_mw[[days.SUNDAY - 24, days.SUNDAY - 23]] += 0.5
    event = Event(instance, instance.compiled.lines.baselines[0], 1, slice(days.SUNDAY, days.SUNDAY + 2))
    found = dict(event.baselines(net_mw, np.zeros(days.HOURS)))[HIGHEST_4_OF_5]
    usual = [days.load_mw(days.demand_gpuh(1, hour)) for hour in (13, 14)]
    assert found == pytest.approx([mw + 0.25 for mw in usual])


def test_the_methods_differ(statements: list[EventStatement]) -> None:
    by_event = np.reshape([s.settlement.baseline_mw for s in statements], (3, 3))
    assert (np.ptp(by_event, axis=1) > 0.01).all()
    # Monday's morning lies more than a fifth below the mean of ten days: the factor stops there.
    assert ten_mw(days.MONDAY)[0] == pytest.approx(0.8 * days.load_mw(days.demand_gpuh(2, 13)))
