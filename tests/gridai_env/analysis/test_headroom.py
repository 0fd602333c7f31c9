"""The headroom of a system: by hand, against bisection, and the hours that are filled."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gridai_env.analysis.headroom import (
    LocalHours,
    headroom_mw,
    headroom_row,
    interpolated,
    odd_hours,
    peak_row,
)
from gridai_env.arrays.runs import runs_of_true

FIRST = np.datetime64("2022-01-01T00", "m").astype(np.int64)


def made_up_year() -> np.ndarray:
    """800 MW; on 10 July 900, 1000, 940 MW from 18 to 21 h, on 5 December 960, 920 from 7 to 9 h (UTC)."""
    mw = np.full(8760, 800.0)
    july, december = 24 * (181 + 9) + 18, 24 * (334 + 4) + 7
    mw[july : july + 3] = 900.0, 1000.0, 940.0
    mw[december : december + 2] = 960.0, 920.0
    return mw


def local(offset_h: float = 0.0) -> LocalHours:
    return LocalHours.of(FIRST + 60 * np.arange(8760), offset_h)


@pytest.mark.parametrize(
    ("share", "expected"),
    [(0.2, 0.0), (0.25, 2.0), (0.375, 4.0), (0.4375, 4.8), (0.5, 6.0), (0.75, 12.0)],
)
def test_headroom_of_four_hours_by_hand(share: float, expected: float) -> None:
    # Rooms 0, 2, 4, 6: of share 0.4375 three hours are cut, 3 L - 6 = 1.75 L.
    assert headroom_mw(np.array([4.0, 10.0, 6.0, 8.0]), share) == pytest.approx(expected, abs=1e-12)


@given(
    st.lists(st.floats(0.0, 100.0), min_size=2, max_size=40),
    st.floats(0.001, 0.999),
)
def test_the_cut_energy_is_the_share(values: list[float], share: float) -> None:
    mw = np.array(values)
    level = headroom_mw(mw, share)
    room = mw.max() - mw

    def cut_less_share(new_mw: float) -> float:
        return float(np.maximum(0.0, new_mw - room).sum() - share * new_mw * len(mw))

    scale = 1.0 + level * len(mw)
    assert abs(cut_less_share(level)) <= 1e-9 * scale
    assert cut_less_share(1.01 * level + 1e-3) > 0.0  # the largest root: beyond it more is cut


def test_headroom_rises_with_the_share_and_vanishes_with_it() -> None:
    mw = made_up_year() + np.random.default_rng(0).normal(0.0, 20.0, 8760)
    levels = [headroom_mw(mw, share) for share in np.geomspace(1e-6, 0.5, 60)]
    assert np.diff(levels).min() >= 0.0 and levels[0] == 0.0 and levels[-1] > 300.0
    assert headroom_mw(mw, 1.01 / 8760) < levels[-1] / 5.0


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1, float("nan")])
def test_a_share_out_of_range_is_refused(share: float) -> None:
    with pytest.raises(ValueError, match="must lie between 0 and 1"):
        headroom_mw(np.ones(4), share)


def test_hours_events_and_months_by_hand() -> None:
    # r H = 1.752 h.  Four hours of room 0, 40, 60, 80 are cut: 4 L - 180 = 1.752 L.
    row = headroom_row(made_up_year(), 0.0002, local())
    level = 180.0 / 2.248
    assert row["headroom_mw"] == pytest.approx(level, rel=1e-12)
    assert (row["cut_h"], row["events"], row["mean_event_h"], row["longest_event_h"]) == (4, 2, 2.0, 2.0)
    assert row["at_most_half_share"] == 0.5  # cuts of 80.1, 40.1, 20.1 and 0.1 MW
    assert row["may_october_share"] == 0.5

    none = headroom_row(made_up_year(), 0.0001, local())  # the highest hour alone is more than that
    assert (none["headroom_mw"], none["cut_h"], none["events"]) == (0.0, 0, 0)
    assert np.isnan([none["mean_event_h"], none["longest_event_h"], none["may_october_share"]]).all()


def test_hours_near_the_limit_by_hand() -> None:
    row = peak_row(made_up_year(), 0.90, local(-6.0))
    assert (row["above_h"], row["events"], row["mean_event_h"], row["longest_event_h"]) == (4, 2, 2.0, 2.0)
    assert row["months"] == "Jul 2, Dec 2"
    assert (row["local_hour_p10"], row["local_hour_p90"]) == (
        1.0,
        14.0,
    )  # 7 and 20 h UTC, in Chicago's winter


def test_local_months_begin_at_local_midnight() -> None:
    assert local(-6.0).month[:8].tolist() == [12] * 6 + [1, 1]
    assert local(5.5).hour[:2].tolist() == [5, 6]


def test_missing_and_odd_hours_lie_on_a_line() -> None:
    mw = np.array([100.0, 104.0, 108.0, np.nan, 116.0, 120.0, 300.0, 128.0, 132.0, 136.0])
    odd = odd_hours(mw)
    assert odd.tolist() == [False, False, False, True, False, False, True, False, False, False]
    assert interpolated(mw, odd) == pytest.approx(np.arange(100.0, 140.0, 4.0))

    mw[4:7] = np.nan  # three more: an hour between missing ones is missing, and not odd
    assert interpolated(mw, odd_hours(mw)) == pytest.approx(np.arange(100.0, 140.0, 4.0))


def test_a_quarter_off_is_not_odd_and_a_little_more_is() -> None:
    assert not odd_hours(np.array([100.0, 100.0, 125.0, 100.0, 100.0])).any()
    assert odd_hours(np.array([100.0, 100.0, 125.01, 100.0, 100.0]))[2]
    assert odd_hours(np.array([100.0, 100.0, 74.99, 100.0, 100.0]))[2]


def test_runs_reach_to_both_ends() -> None:
    found = runs_of_true(np.array([1, 1, 0, 1, 0, 0, 1], dtype=bool))
    assert found.tolist() == [[0, 2], [3, 4], [6, 7]]
    assert runs_of_true(np.zeros(3, dtype=bool)).tolist() == []
