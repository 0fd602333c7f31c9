"""Demand by region and date: read by hand, placed by the calendar, expected from the past alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from gridai_env.episodes.instance import Instance, make_batch, make_instance
from gridai_env.episodes.planner_forecast import exogenous_forecast
from gridai_env.files import InstanceError
from gridai_env.scenario.compile import compile_scenario
from gridai_env.scenario.load import parse_scenario
from gridai_env.traces import TraceError
from tests.support.small_scenario import SMALL

FIRST = np.datetime64("2024-03-01T00:00")
START = "2024-03-11T00:00"
DAYS, AT = 14, 10 * 24  # days of the file, hours of it before START
CALM = {**SMALL, "jobs": [], "events": [], "horizon_h": 48.0}


def series(scale: float) -> np.ndarray:
    """Requests a second by hour, no two alike."""
    hour = np.arange(DAYS * 24)
    return scale * (10 + 5 * np.sin(2 * np.pi * hour / 24) + 0.01 * hour)


RHINE, BAY = series(1.0), series(3.0)[::-1]


def write(
    path: Path, rhine: np.ndarray, bay: np.ndarray, column: str = "requests_per_s", mark: str = ","
) -> Path:
    stamps = [f"{FIRST + np.timedelta64(hour, 'h')}Z" for hour in range(len(rhine))]
    rows = [
        mark.join((stamp, name, f"{value:.9f}"))
        for name, values in (("rhine", rhine), ("bay", bay), ("moon", bay))
        for stamp, value in zip(stamps, values, strict=True)
    ]
    path.write_text("\n".join([mark.join(("utc", "region", column)), *rows]) + "\n")
    return path


@pytest.fixture
def episode(tmp_path: Path) -> Callable[..., Instance]:
    def make(
        rhine: np.ndarray = RHINE, bay: np.ndarray = BAY, options: str = "", **changes: object
    ) -> Instance:
        path = write(tmp_path / "own.csv", rhine, bay)
        return make_instance(
            parse_scenario({**CALM, **changes}, "s"), 0, start=START, demand=f"{path}{options}"
        )

    return make


@pytest.mark.parametrize("dt_h", [1.0, 0.5])
def test_arrivals_are_the_hours_of_the_calendar_at_the_level_of_the_regions(
    episode: Callable[..., Instance], dt_h: float
) -> None:
    instance = episode(dt_h=dt_h)
    found = instance.exogenous.arrivals_gpuh.sum(-1)
    for c, (values, mean_gpus) in enumerate(((RHINE, 400.0), (BAY, 600.0))):
        wanted = mean_gpus * dt_h * np.repeat(values[AT : AT + 48], round(1 / dt_h)) / values.mean()
        assert found[:, c] == pytest.approx(wanted, rel=1e-7)
    text = instance.provenance["demand"]
    assert "regions not in the scenario: moon" in text and "by date" in text and "28 days before" in text


def test_expectation_by_hand_and_nothing_of_the_future(episode: Callable[..., Instance]) -> None:
    before, of_demand = episode(), 3 * 2
    past = RHINE[:AT].reshape(10, 24)
    usual = past.mean(0)
    expected = np.tile(usual + (past - usual)[-7:].mean(), 2) / RHINE.mean() * 400.0
    assert before.knowledge.climatology[:, of_demand] == pytest.approx(expected, rel=1e-6)

    # The level is a mean of the whole file, which stays: only the order of what follows step 6 changes.
    cut = AT + 30
    rhine, bay = (np.concatenate([x[:cut], x[cut:][::-1]]) for x in (RHINE, BAY))
    after = episode(rhine, bay)
    assert not np.allclose(after.exogenous.arrivals_gpuh[30:], before.exogenous.arrivals_gpuh[30:])
    assert after.knowledge.climatology == pytest.approx(before.knowledge.climatology, rel=1e-6)
    assert after.forecast.values[:6] == pytest.approx(before.forecast.values[:6], rel=1e-5)
    plans = [exogenous_forecast(each, 5, 10).arrivals_gpuh for each in (before, after)]
    assert plans[0] == pytest.approx(plans[1], rel=1e-5)


def test_without_a_past_forecasts_are_those_of_yesterday(tmp_path: Path) -> None:
    path = write(tmp_path / "own.csv", RHINE, BAY)
    instance = make_instance(parse_scenario(CALM, "s"), 0, start="2024-03-02T00:00", demand=str(path))
    assert "persistence" in instance.provenance["demand"]
    day = instance.forecast.leads.index(24)
    arrivals = instance.exogenous.arrivals_gpuh.sum(-1)
    assert instance.forecast.values[:24, day, 6:] == pytest.approx(arrivals[:24], rel=1e-5)


def test_starts_lie_inside_with_a_day_before(tmp_path: Path) -> None:
    path = write(tmp_path / "own.csv", RHINE, BAY)
    batch = make_batch(compile_scenario(parse_scenario({**CALM, "demand": str(path)}, "s")), range(40))
    assert batch.start_utc.min() >= FIRST + np.timedelta64(1, "D")
    assert batch.start_utc.max() <= FIRST + np.timedelta64(DAYS - 2, "D")
    assert len(set(batch.start_utc.tolist())) > 5


def test_dialects_and_the_other_column(tmp_path: Path) -> None:
    plain = write(tmp_path / "own.csv", RHINE, BAY)
    other = write(tmp_path / "other.csv", RHINE, BAY, " GPUs", ";")
    other.write_text(other.read_text().replace(".", ","), encoding="utf-16")
    found = [
        make_instance(parse_scenario(CALM, "s"), 0, start=START, demand=str(path)).exogenous.arrivals_gpuh
        for path in (plain, other)
    ]
    assert np.array_equal(*found)


def test_faults_are_one_line(episode: Callable[..., Instance], tmp_path: Path) -> None:
    holed, negative = RHINE.copy(), RHINE.copy()
    negative[AT + 3], holed[AT + 3] = -1.0, np.nan
    for values, options, message in (
        (negative, "", r"own.csv: region 'rhine', 2024-03-11T03:00Z: requests_per_s = -1 \(allowed: 0 to 1e"),
        (holed, "", "requests_per_s = nan .*fill the empty cell"),
        (RHINE * 0, "", "holds no work"),
        (RHINE, ",repeat=true", "leave out repeat"),
        (RHINE[:5], "", "region 'rhine', .* is outside the file"),
    ):
        with pytest.raises(TraceError, match=message) as error:
            episode(values, options=options) if len(values) > 5 else episode(values, BAY[:5])
        assert "\n" not in str(error.value)
    assert np.isfinite(episode(holed, options=",fill_gap_h=1").exogenous.arrivals_gpuh).all()

    path = write(tmp_path / "own.csv", RHINE, BAY)
    path.write_text(path.read_text().replace("bay", "bai"))
    with pytest.raises(TraceError, match="region 'bay' is not in the file; it has rhine, bai, moon"):
        make_instance(parse_scenario(CALM, "s"), 0, start=START, demand=str(path))
    path = write(tmp_path / "short.csv", RHINE[:40], BAY[:40])
    with pytest.raises(InstanceError, match=r"short\.csv: no 72 h in a row without a gap in rhine, bay"):
        make_instance(parse_scenario(CALM, "s"), 0, demand=str(path))
    path.write_text("utc,region\n")
    with pytest.raises(TraceError, match="one of requests_per_s, gpus"):
        make_instance(parse_scenario(CALM, "s"), 0, demand=str(path))
