"""Series at the step of their file: means and holds against hand calculation and brute force, changes of step, gaps."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from gridai_env.traces import TraceError, TraceTable, read_table
from gridai_env.traces.errors import TraceWarning
from gridai_env.traces.exports.series import Export, on_steps
from gridai_env.traces.files.intervals import interval_minutes

FIRST = datetime(2024, 2, 28, tzinfo=UTC)
HEADER = ("utc", "zone", "price_usd_per_mwh", "carbon_average_kg_per_mwh", "wetbulb_c")
Row = tuple[int, int]  # start and length in minutes after FIRST


def at(minute: int) -> np.ndarray:
    return np.array([FIRST.replace(tzinfo=None)], dtype="datetime64[m]") + np.timedelta64(minute, "m")


def stretch(first: int, step_min: int, count: int) -> list[Row]:
    return [(first + i * step_min, step_min) for i in range(count)]


def price(row: Row) -> float:
    """A number that only this row has."""
    return round(20 + row[0] * 0.37 % 50, 3)


def wet_bulb(row: Row) -> float:
    """A straight line over the centres of the rows: linear interpolation between them gives it exactly."""
    return (row[0] + row[1] / 2) / 600


def table(
    folder: Path,
    rows: Sequence[Row],
    name: str = "own.csv",
    zone: str = "IE",
    end: bool = False,
    offset_h: float = 0,
    options: str = "",
) -> TraceTable:
    header, mark = (f"{','.join(HEADER)},stamp", ",interval_end") if end else (",".join(HEADER), "")
    lines = [header]
    for row in rows:
        moment = FIRST + timedelta(minutes=row[0] + (row[1] if end else 0))
        text = moment.astimezone(timezone(timedelta(hours=offset_h))).isoformat()
        lines.append(f"{text},{zone},{price(row)},{300 + price(row)},{wet_bulb(row)}{mark}")
    path = folder / name
    path.write_text("\n".join(lines) + "\n")
    return read_table(f"{path}{options}")


def brute_force(rows: Sequence[Row], begin: int, steps: int, step_min: int) -> list[float]:
    """The mean price of each step, minute by minute."""
    by_minute = {minute: price(row) for row in rows for minute in range(row[0], row[0] + row[1])}
    first = [begin + i * step_min for i in range(steps)]
    return [float(np.mean([by_minute[m] for m in range(f, f + step_min)])) for f in first]


@pytest.mark.parametrize("row_min", [60, 30, 20, 15, 10, 5])
@pytest.mark.parametrize("step_min", [60, 30, 20, 15])
@pytest.mark.parametrize("end", [False, True])
def test_each_step_is_the_mean_of_its_rows(tmp_path: Path, row_min: int, step_min: int, end: bool) -> None:
    rows = stretch(0, row_min, 6 * 60 // row_min)
    steps = 4 * 60 // step_min
    series = table(tmp_path, rows, end=end).window(("IE",), at(60), steps, step_min / 60)
    expected = brute_force(rows, 60, steps, step_min)
    np.testing.assert_allclose(series.price_usd_per_mwh[0, :, 0], expected, rtol=1e-12)
    if row_min % step_min == 0 or step_min % row_min == 0:
        centre = 60 + (np.arange(steps) + 0.5) * step_min
        inside = np.clip(centre, 60 + row_min / 2, 300 - row_min / 2) if row_min > step_min else centre
        np.testing.assert_allclose(series.wetbulb_c[0, :, 0], inside / 600, rtol=1e-12)
    said = series.provenance["IE"]
    assert f"rows of {row_min} min" in said
    assert (f"averaged to {step_min} min" in said) == (row_min < step_min)
    assert (f"held over steps of {step_min} min" in said) == (row_min > step_min)


def test_a_quarter_hour_file_by_hand(tmp_path: Path) -> None:
    path = tmp_path / "q.csv"
    prices = [[10, 20, 30, 40], [50, 50, 50, 90], [-40, 0, 0, 0], [1, 2, 3, 4]]
    lines = [f"2025-10-01T{h:02d}:{15 * q:02d}Z,SE-3,{prices[h][q]},20" for h in range(4) for q in range(4)]
    path.write_text("\n".join(["utc,zone,price_usd_per_mwh,carbon_average_kg_per_mwh", *lines]))
    first = np.array(["2025-10-01T00:00"], dtype="datetime64[m]")
    quarters = read_table(path).window(("SE-3",), first, 16, 0.25).price_usd_per_mwh[0, :, 0]
    assert quarters.tolist() == [p for hour in prices for p in hour]
    assert read_table(path).window(("SE-3",), first, 4, 1.0).price_usd_per_mwh[0, :, 0].tolist() == [
        25,
        60,
        -10,
        2.5,
    ]
    halves = read_table(path).window(("SE-3",), first, 8, 0.5).price_usd_per_mwh[0, :, 0]
    assert halves.tolist() == [15, 35, 50, 70, -20, 0, 1.5, 3.5]


def test_at_steps_of_an_hour_a_quarter_hour_file_is_its_hourly_means(tmp_path: Path) -> None:
    fine = table(tmp_path, stretch(0, 15, 96))
    hourly = table(tmp_path, stretch(0, 60, 24), "hourly.csv")
    a, b = (t.window(("IE",), at(60), 20, 1.0) for t in (fine, hourly))
    means = brute_force(stretch(0, 15, 96), 60, 20, 60)
    np.testing.assert_allclose(a.price_usd_per_mwh[0, :, 0], means, rtol=1e-12)
    np.testing.assert_allclose(a.wetbulb_c, b.wetbulb_c, rtol=1e-12)
    first, columns = fine.hours("IE")
    assert first * 60 == at(0).astype(np.int64)[0] and len(columns["price_usd_per_mwh"]) == 24
    np.testing.assert_allclose(columns["price_usd_per_mwh"][1:21], means, rtol=1e-12)


STRETCHES = st.lists(st.tuples(st.sampled_from([60, 30, 15, 5]), st.integers(2, 8)), min_size=1, max_size=4)


@settings(max_examples=20, deadline=None)
@given(STRETCHES, st.sampled_from([60, 30, 15]), st.booleans(), st.integers(0, 3), st.data())
def test_changes_of_step_are_read_as_they_are_and_a_cut_is_the_short_file(
    tmp_path_factory: pytest.TempPathFactory,
    stretches: list[tuple[int, int]],
    step_min: int,
    end: bool,
    begin_h: int,
    data: st.DataObject,
) -> None:
    rows: list[Row] = []
    for row_min, hours in stretches:
        rows += stretch(rows[-1][0] + rows[-1][1] if rows else 0, row_min, hours * 60 // row_min)
    total_h = sum(hours for _, hours in stretches)
    begin_h = min(begin_h, total_h - 1)
    hours = data.draw(st.integers(1, total_h - begin_h))
    # One hour alone beside finer ones is refused, where the cut leaves one.
    kept = [row for row in rows if begin_h * 60 <= row[0] < (begin_h + hours) * 60]
    ends = [0, *np.cumsum([h for _, h in stretches])]
    left = [min(b, begin_h + hours) - max(a, begin_h) for a, b in pairwise(ends)]
    assume(len({m for (m, _), h in zip(stretches, left, strict=True) if h > 0}) == 1 or 1 not in left)

    folder = tmp_path_factory.mktemp("steps")
    steps = hours * 60 // step_min
    whole = table(folder, rows, end=end)
    series = whole.window(("IE",), at(begin_h * 60), steps, step_min / 60)
    expected = brute_force(rows, begin_h * 60, steps, step_min)
    np.testing.assert_allclose(series.price_usd_per_mwh[0, :, 0], expected, rtol=1e-12)
    assert whole.valid_starts(("IE",), steps, step_min / 60).size == total_h - hours + 1

    short = table(folder, kept, "short.csv", end=end).window(("IE",), at(begin_h * 60), steps, step_min / 60)
    # Up to the last digit: of a file with a finer step elsewhere, means are made of more and shorter cells.
    for name in ("price_usd_per_mwh", "carbon_average_kg_per_mwh", "carbon_marginal_kg_per_mwh", "wetbulb_c"):
        np.testing.assert_allclose(getattr(series, name), getattr(short, name), rtol=1e-12, atol=1e-15)


def test_hours_may_begin_at_half_past(tmp_path: Path) -> None:
    """Local hours of India in UTC: each UTC hour is the mean of two halves."""
    rows = stretch(30, 60, 12)
    own = table(tmp_path, rows, offset_h=5.5)
    series = own.window(("IE",), at(60), 4, 1.0)
    expected = [(price(a) + price(b)) / 2 for a, b in pairwise(rows[:5])]
    np.testing.assert_allclose(series.price_usd_per_mwh[0, :, 0], expected, rtol=1e-12)
    assert own.valid_starts(("IE",), 11, 1.0).tolist() == at(60).tolist()


def test_offsets_may_change_inside_a_file(tmp_path: Path) -> None:
    """Local stamps with daylight saving: 03:00+02:00 follows 01:00+01:00."""
    path = tmp_path / "berlin.csv"
    local = [
        "2025-03-30T00:00+01:00",
        "2025-03-30T01:00+01:00",
        "2025-03-30T03:00+02:00",
        "2025-03-30T04:00+02:00",
    ]
    lines = [f"{text},DE,{10 * i},300" for i, text in enumerate(local)]
    path.write_text("\n".join(["utc,zone,price_usd_per_mwh,carbon_average_kg_per_mwh", *lines]))
    first = np.array(["2025-03-29T23:00"], dtype="datetime64[m]")
    assert read_table(path).window(("DE",), first, 4, 1.0).price_usd_per_mwh[0, :, 0].tolist() == [
        0,
        10,
        20,
        30,
    ]


@pytest.mark.parametrize("missing", [[5], [5, 6], [20, 22], [3, 7, 11]])
def test_missing_quarters_are_gaps_and_not_longer_rows(tmp_path: Path, missing: list[int]) -> None:
    rows = [row for i, row in enumerate(stretch(0, 15, 48)) if i not in missing]
    own = table(tmp_path, rows)
    stamp = at(15 * missing[0])[0]
    with pytest.raises(TraceError, match=f"'IE', {stamp}Z: row is missing"):
        own.window(("IE",), at(0), 12, 1.0)
    bad = {i // 4 for i in missing}
    assert own.valid_starts(("IE",), 1, 1.0).size == 12 - len(bad)
    hourly = own.hours("IE")[1]["price_usd_per_mwh"]
    assert set(np.flatnonzero(np.isnan(hourly))) == bad


def test_gaps_are_interpolated_only_where_asked_and_only_short_ones(tmp_path: Path) -> None:
    rows = [row for i, row in enumerate(stretch(0, 60, 24)) if i not in (5, 6, 12)]
    own = table(tmp_path, rows, options=",fill_gap_h=1")
    series = own.window(("IE",), at(9 * 60), 6, 1.0)
    around = [price((11 * 60, 60)), price((13 * 60, 60))]
    assert series.price_usd_per_mwh[0, 3, 0] == pytest.approx(np.mean(around))
    assert "1 intervals of 60 min interpolated (fill_gap_h = 1)" in series.provenance["IE"]
    with pytest.raises(TraceError, match="05:00Z: row is missing"):
        own.window(("IE",), at(4 * 60), 4, 1.0)
    long = table(tmp_path, rows, options=",fill_gap_h=2").window(("IE",), at(0), 24, 1.0)
    assert "3 intervals of 60 min" in long.provenance["IE"]
    ends = price((240, 60)), price((420, 60))
    assert long.price_usd_per_mwh[0, 5, 0] == pytest.approx(ends[0] + (ends[1] - ends[0]) / 3)
    with pytest.raises(TraceError, match="12:00Z: row is missing"):
        table(tmp_path, rows).window(("IE",), at(9 * 60), 6, 1.0)


@pytest.mark.parametrize("option", ["fill_gap_h=x", "fill_gap_h=-1", "fill_gap_h=30"])
def test_a_wrong_option_is_refused(tmp_path: Path, option: str) -> None:
    with pytest.raises(TraceError, match=r"fill_gap_h = .*must be a number from 0 to 24, hours"):
        table(tmp_path, stretch(0, 60, 24), options=f",{option}")


def test_rows_more_than_an_hour_apart_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match="its rows are 3 h apart or more; a row stands for an hour at most"):
        table(tmp_path, stretch(0, 180, 8)).valid_starts(("IE",), 1, 1.0)


def test_a_stamp_in_another_century_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "typo.csv"
    lines = [
        f"{year}-01-01T{h:02d}:00Z,IE,50,250" for h in range(24) for year in (2024, 9024)[: 1 + (h == 23)]
    ]
    path.write_text("\n".join(["utc,zone,price_usd_per_mwh,carbon_average_kg_per_mwh", *lines]))
    with pytest.raises(
        TraceError, match="span 2024-01-01T00:00Z to 9024-01-01T23:00Z, above 100 years: correct"
    ):
        read_table(path).valid_starts(("IE",), 4, 1.0)


def test_lengths_of_rows_that_contradict_each_other() -> None:
    """An hour whose parts are all there is read by its parts: its first part never stands for the hour."""
    two = np.array([0, 60, 120, 180, 210, 240, 300, 360])
    assert interval_minutes(two).tolist() == [60, 60, 60, 30, 30, 60, 60, 60]
    third_lost = np.array([0, 60, 120, 140, 180, 240])
    assert interval_minutes(third_lost).tolist() == [60, 60, 20, 20, 60, 60]
    stray_in_quarters = np.array([0, 15, 30, 45, 60, 75, 80, 90, 105, 120, 135, 150, 165])
    assert interval_minutes(stray_in_quarters).tolist() == [15] * 6 + [0] + [15] * 6
    assert interval_minutes(np.array([0, 60, 77, 120, 180])).tolist() == [60, 60, 0, 60, 60]
    assert interval_minutes(np.array([45, 60])).tolist() == [15, 15]
    assert interval_minutes(np.array([0])).tolist() == [60]
    assert interval_minutes(np.array([0, 15, 30, 45])).tolist() == [15] * 4
    assert interval_minutes(np.array([17, 77, 137])).tolist() == [0, 0, 0]


H, Q = 60, 15
SHORT = {
    "quarters in the last two hours": ([(H, 5), (Q, 2)], [10, 11, 12, 13, 14, 16.5, 20.5]),
    "quarters in the last hour": ([(H, 5), (Q, 1)], [10, 11, 12, 13, 14, 16.5]),
    "two hours of halves inside": ([(H, 3), (30, 2), (H, 3)], [10, 11, 12, 13.5, 15.5, 17, 18, 19]),
    "hours in the last two": ([(Q, 3), (H, 2)], [11.5, 15.5, 19.5, 22, 23]),
    "hours in the first two": ([(H, 2), (Q, 2)], [10, 11, 13.5, 17.5]),
    # It may as well be the first quarter of an hour that lost the others.
    "one row at the end": ([(Q, 3), (H, 1)], [11.5, 15.5, 19.5, np.nan]),
    "one row between": ([(Q, 2), (H, 1), (Q, 2)], [11.5, 15.5, np.nan, 20.5, 24.5]),
}


@pytest.mark.parametrize(("stretches", "means"), SHORT.values(), ids=SHORT)
@pytest.mark.parametrize("end", [False, True])
def test_short_stretches_are_read_as_they_are(
    tmp_path: Path, stretches: list[Row], means: list[float], end: bool
) -> None:
    """Rows that count from 10, in an export and in a trace file; the means of hours are by hand."""
    length = np.array([row_min for row_min, hours in stretches for _ in range(hours * 60 // row_min)])
    if np.isnan(means).any():
        length = np.where(length == H, Q, length)
    start = np.cumsum([0, *(m for m, hours in stretches for _ in range(hours * 60 // m))])[:-1]
    value = 10.0 + np.arange(len(start))
    if end:
        # Of an hour that lost quarters the last one is left: it ends on the hour.
        lost = [60 * i for i, mean in enumerate(means) if np.isnan(mean)]
        start = np.where(np.isin(start, lost), start + 45, start)
    stamps = start + length * end

    export = Export("f", "x", "", stamps, {"price_usd_per_mwh": value}, ends_below_min=61 if end else 0)
    kept = on_steps(export)
    assert kept.utc_minutes.tolist() == start.tolist() and kept.step_minutes.tolist() == length.tolist()
    assert kept.columns["price_usd_per_mwh"].tolist() == value.tolist() and kept.notes == ()

    path = tmp_path / "short.csv"
    lines = [
        f"{at(int(m))[0]}Z,IE,{v},300{',interval_end' * end}" for m, v in zip(stamps, value, strict=True)
    ]
    header = "utc,zone,price_usd_per_mwh,carbon_average_kg_per_mwh"
    path.write_text("\n".join([header + ",stamp" * end, *lines]))
    own = read_table(path)
    good = np.flatnonzero(~np.isnan(means))
    assert own.valid_starts(("IE",), 1, 1.0).tolist() == [at(60 * int(i))[0].item() for i in good]
    for i in good.tolist():
        assert own.window(("IE",), at(60 * i), 1, 1.0).price_usd_per_mwh[0, 0, 0] == means[i]


def test_a_mean_of_no_market_warns_where_a_window_is_cut(tmp_path: Path) -> None:
    """Prices per kWh; a zone of cheap hours does not warn, nor does one whose prices are negative on average."""
    for level, warns in ((0.05, True), (8.0, False), (-30.0, False)):
        path = tmp_path / f"{level}.csv"
        lines = [f"2025-06-01T{h:02d}:00Z,IE,{level},250" for h in range(24)]
        path.write_text("\n".join(["utc,zone,price_usd_per_mwh,carbon_average_kg_per_mwh", *lines]))
        start = np.array(["2025-06-01T00:00"], dtype="datetime64[m]")
        if warns:
            with pytest.warns(
                TraceWarning, match="price_usd_per_mwh is 0.05 on average, usual are 2 to 3000: check its"
            ):
                read_table(path).window(("IE",), start, 4, 1.0)
        else:
            read_table(path).window(("IE",), start, 4, 1.0)
