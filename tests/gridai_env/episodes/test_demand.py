"""Arrivals, queue bounds and session growth: by hand and by their own definitions."""

import numpy as np
import pytest

from gridai_env.episodes.demand import (
    autoregress,
    calendar,
    draw_demand,
    expected_rows_gpuh,
    first_placement_gpuh,
    queue_limits_gpuh,
    session_growth,
)
from gridai_env.episodes.starts import streams
from tests.support.small_scenario import SMALL, small

MONDAY = np.array(["2023-07-03T00:00"], dtype="datetime64[m]")


def rows(*columns: list[float]) -> np.ndarray:
    """Arrivals [T,1,W] from one list per row."""
    return np.stack([np.array(c, dtype=float) for c in columns], axis=-1)[:, None, :]


def test_calendar_counts_local_hours_and_weekends_at_the_middle_of_the_step() -> None:
    days = calendar(small(), np.array(["2023-07-07T21:00"], dtype="datetime64[m]"), 0, 3)
    # Friday 21:30 UTC is 23:30 in Berlin (UTC+2) and 14:30 in California (UTC-7).
    assert days.local_hour[0].tolist() == [[23.5, 14.5], [0.5, 15.5], [1.5, 16.5]]
    assert days.weekend[0].tolist() == [[False, False], [True, False], [True, False]]


def test_calendar_follows_daylight_saving() -> None:
    days = calendar(small(), np.array(["2023-03-26T00:00"], dtype="datetime64[m]"), 0, 2)
    assert days.local_hour[0, :, 0].tolist() == [1.5, 3.5]


def test_expected_arrivals_by_hand() -> None:
    compiled = small()
    assert compiled.row_names == ("chat/home", "chat/anywhere", "batch/anywhere")
    expected = expected_rows_gpuh(compiled, calendar(compiled, MONDAY, 0, 24))[0]
    # Berlin, step 12 is 14:30 local; peak hour 15, swing 0.45; batch has flatness 0.5.
    wave = np.cos(2 * np.pi * (14.5 - 15.0) / 24)
    assert expected[12, 0, 0] == pytest.approx(400 * 0.28 * (1 + 0.45 * wave))
    assert expected[12, 0, 2] == pytest.approx(400 * 0.3 * (1 + 0.5 * 0.45 * wave))
    # The daily mean is the mean demand.
    assert expected[:, 0].sum() == pytest.approx(400 * 24)


def test_quarter_hours_carry_a_quarter_of_the_work() -> None:
    hourly, fine = small(), small(dt_h=0.25)
    full = expected_rows_gpuh(hourly, calendar(hourly, MONDAY, 0, 24))
    quarter = expected_rows_gpuh(fine, calendar(fine, MONDAY, 0, 96))
    assert quarter.sum() == pytest.approx(full.sum(), rel=1e-4)
    assert quarter.reshape(1, 24, 4, 2, 3).sum(2) == pytest.approx(full, rel=0.01)


def test_weekends_are_scaled() -> None:
    compiled = small()
    saturday = expected_rows_gpuh(compiled, calendar(compiled, MONDAY, 5 * 24 + 12, 1))
    monday = expected_rows_gpuh(compiled, calendar(compiled, MONDAY, 12, 1))
    assert saturday[0, 0, 0] == pytest.approx(0.8 * monday[0, 0, 0])


def test_autoregress_is_the_recursion() -> None:
    shocks = np.random.default_rng(1).standard_normal((2, 37, 3))
    x = autoregress(shocks, 0.9)
    slow = np.zeros_like(shocks)
    for t in range(37):
        slow[:, t] = shocks[:, t] + (0.9 * slow[:, t - 1] if t else 0.0)
    assert x == pytest.approx(slow, abs=1e-12)


def test_demand_noise_has_the_standard_deviation_asked_for_and_rows_share_it() -> None:
    compiled = small()
    demand = draw_demand(compiled, np.repeat(MONDAY, 400), 24, streams(range(400), "demand"))
    noise = demand.region_gpuh / demand.expected_gpuh - 1
    assert noise.std((0, 1)) == pytest.approx([0.06, 0.1], rel=0.05)
    assert noise[:, 0].std(0) == pytest.approx([0.06, 0.1], rel=0.15)
    assert demand.arrivals_gpuh.sum(-1) == pytest.approx(demand.region_gpuh[:, 24:])
    lag = np.mean(noise[:, 1:] * noise[:, :-1], (0, 1)) / np.mean(noise**2, (0, 1))
    assert lag == pytest.approx(0.9, abs=0.02)


def test_demand_is_never_negative() -> None:
    regions = [{**r, "noise": 1.0, "swing": 1.0} for r in SMALL["regions"]]
    compiled = small(regions=regions)
    demand = draw_demand(compiled, np.repeat(MONDAY, 20), 24, streams(range(20), "demand"))
    assert (demand.arrivals_gpuh >= 0).all()
    assert (demand.arrivals_gpuh == 0).any()


def test_queue_limits_by_hand() -> None:
    arrivals = rows([1, 2, 3, 4, 5], [1, 2, 3, 4, 5], [1, 2, 3, 4, 5])
    limit = queue_limits_gpuh(arrivals, np.array([0, 1, 3]))[:, 0]
    assert limit[:, 0].tolist() == [0, 0, 0, 0, 0]
    assert limit[:, 1].tolist() == [1, 2, 3, 4, 0]
    assert limit[:, 2].tolist() == [1, 3, 6, 9, 0]


def test_queue_limit_longer_than_the_episode() -> None:
    assert queue_limits_gpuh(rows([1, 2, 3]), np.array([50]))[:, 0, 0].tolist() == [1, 3, 0]


def test_growth_by_hand() -> None:
    arrivals = rows([100, 150, 1, 0, 0, 50, 0.4, 100], [1, 1, 1, 1, 1, 1, 1, 1])
    growth, rehomed = session_growth(arrivals, np.array([0, 4]))
    assert growth[:, 0, 0] == pytest.approx([1, 1.5, 1 / 150, 0, 0, 0, 0.008, 0])
    assert rehomed[:, 0, 0].tolist() == [0, 0, 0, 0, 0, 50, 0, 100]
    assert not growth[:, 0, 1].any()
    assert not rehomed[:, 0, 1].any()


def test_reference_is_lost_below_one_per_cent() -> None:
    growth, rehomed = session_growth(rows([1, 100, 0.99, 100]), np.array([0]))
    assert growth[:, 0, 0] == pytest.approx([1, 100, 0.0099, 0])
    assert rehomed[:, 0, 0].tolist() == [0, 0, 0, 100]


def test_first_placement_is_at_home_for_sessions_only() -> None:
    placed = first_placement_gpuh(np.array([[3.0, 4.0], [5.0, 6.0]]), np.eye(2)[::-1], np.array([0, 2]))
    assert placed.tolist() == [[[0, 3], [0, 0]], [[5, 0], [0, 0]]]
