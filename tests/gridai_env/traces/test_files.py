"""Trace files are read without any shift, and what is wrong with them is said where it is used."""

from __future__ import annotations

import csv
import gzip
import os
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from gridai_env.traces import TraceError, known_zones, read_table
from gridai_env.traces.calibration import zone_calibration
from gridai_env.traces.series import VALUES

FIRST = datetime(2024, 2, 28, 0, tzinfo=UTC)
HEADER = ("utc", "zone", *VALUES)
Row = list[str]


def stamps(*texts: str) -> np.ndarray:
    return np.array(texts, dtype="datetime64[m]")


def plain_rows(zones: Sequence[str], hours: int) -> list[Row]:
    """Values that name their own zone and hour: price = 1000 * zone index + hour."""
    return [
        [
            (FIRST + timedelta(hours=h)).isoformat(),
            zone,
            str(1000 * k + h),
            str(300 + h % 24),
            "500.5",
            "11.5",
            "0.25",
            "0.75",
        ]
        for k, zone in enumerate(zones)
        for h in range(hours)
    ]


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    def write_csv(rows: Sequence[Row], header: Sequence[str] = HEADER, name: str = "own.csv") -> Path:
        path = tmp_path / name
        opener = gzip.open if name.endswith(".gz") else open
        with opener(path, "wt", newline="") as file:
            csv.writer(file).writerows([header, *rows])
        return path

    return write_csv


@pytest.mark.parametrize("name", ["own.csv", "own.csv.gz"])
def test_values_are_those_of_the_stamped_hour(write: Callable[..., Path], name: str) -> None:
    table = read_table(write(plain_rows(("A", "B"), 72), name=name))
    assert table.zones == ("A", "B")
    series = table.window(("B", "A"), stamps("2024-02-28T22:00", "2024-02-29T23:00"), 3, 1.0)
    assert series.price_usd_per_mwh.tolist() == [
        [[1022, 22], [1023, 23], [1024, 24]],
        [[1047, 47], [1048, 48], [1049, 49]],
    ]
    assert series.carbon_marginal_kg_per_mwh[0, 0].tolist() == [500.5, 500.5]
    assert series.wind_cf[1, 2].tolist() == [0.75, 0.75]
    assert series.provenance["A"].startswith(f"{name} (sha256 {table.sha256[:12]}")


def test_offsets_are_converted_to_utc(write: Callable[..., Path]) -> None:
    rows = plain_rows(("A",), 48)
    for row in rows:
        row[0] = (datetime.fromisoformat(row[0]) + timedelta(hours=5, minutes=30)).strftime(
            "%Y-%m-%dT%H:%M:%S+05:30"
        )
    assert (
        read_table(write(rows)).window(("A",), stamps("2024-02-28T07:00"), 1, 1.0).price_usd_per_mwh[0, 0, 0]
        == 7
    )


def test_hour_end_stamps_move_one_hour_back(write: Callable[..., Path]) -> None:
    for stamp, first, price in (("hour_end", "2024-02-27T23:00", 7), ("hour_start", "2024-02-28T00:00", 6)):
        rows = [[*row, stamp] for row in plain_rows(("A",), 48)]
        table = read_table(write(rows, (*HEADER, "stamp"), f"{stamp}.csv"))
        assert table.valid_starts(("A",), 1, 1.0)[0] == stamps(first)[0]
        series = table.window(("A",), stamps("2024-02-28T06:00"), 1, 1.0)
        assert series.price_usd_per_mwh[0, 0, 0] == price


def test_parquet_holds_the_same_as_csv(write: Callable[..., Path], tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    rows = plain_rows(("A", "B"), 30)
    columns = dict(zip(HEADER, zip(*rows, strict=True), strict=True))
    arrays: dict[str, object] = {name: [float(v) for v in columns[name]] for name in VALUES}
    utc = pa.array([datetime.fromisoformat(t) for t in columns["utc"]], pa.timestamp("us", tz="UTC"))
    pq.write_table(pa.table({"utc": utc, "zone": list(columns["zone"]), **arrays}), tmp_path / "own.parquet")
    start = stamps("2024-02-28T03:00", "2024-02-28T05:00")
    from_parquet = read_table(tmp_path / "own.parquet").window(("B",), start, 20, 0.5)
    from_csv = read_table(write(rows)).window(("B",), start, 20, 0.5)
    for name in VALUES:
        np.testing.assert_array_equal(getattr(from_parquet, name), getattr(from_csv, name))


def test_naive_parquet_stamps_are_refused(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    naive = pa.array([datetime(2024, 1, 1)], pa.timestamp("us"))
    content = {"utc": naive, "zone": ["GB"], "price_usd_per_mwh": [1.0], "carbon_average_kg_per_mwh": [1.0]}
    pq.write_table(pa.table(content), tmp_path / "naive.parquet")
    with pytest.raises(TraceError, match="timestamp with time zone"):
        read_table(tmp_path / "naive.parquet")


def test_steps_shorter_than_an_hour(write: Callable[..., Path]) -> None:
    rows = plain_rows(("A",), 24)
    for h, row in enumerate(rows):
        row[5] = str(h)
    series = read_table(write(rows)).window(("A",), stamps("2024-02-28T21:00"), 12, 0.25)
    assert series.price_usd_per_mwh[0, :, 0].tolist() == [21] * 4 + [22] * 4 + [23] * 4
    expected = [21, 21, 21.125, 21.375, 21.625, 21.875, 22.125, 22.375, 22.625, 22.875, 23, 23]
    np.testing.assert_allclose(series.wetbulb_c[0, :, 0], expected)


def test_the_last_hour_of_the_file_can_be_used(write: Callable[..., Path]) -> None:
    table = read_table(write(plain_rows(("A",), 24)))
    for steps, dt_h in ((24, 1.0), (96, 0.25), (48, 0.5)):
        starts = table.valid_starts(("A",), steps, dt_h)
        assert starts.tolist() == stamps("2024-02-28T00:00").tolist()
        assert np.isfinite(table.window(("A",), starts, steps, dt_h).price_usd_per_mwh).all()
    assert table.valid_starts(("A",), 25, 1.0).size == 0


def test_a_known_zone_is_completed_from_its_calibration(write: Callable[..., Path]) -> None:
    rows = [row[:4] for row in plain_rows(("US-NY-NYIS",), 48)]
    series = read_table(write(rows, HEADER[:4])).window(("US-NY-NYIS",), stamps("2024-02-28T17:00"), 2, 1.0)
    assert (series.carbon_marginal_kg_per_mwh == 420.0).all()
    table = zone_calibration("US-NY-NYIS")
    np.testing.assert_array_equal(series.wetbulb_c[0, :, 0], table.climatology["wetbulb"][1, 12:14])
    np.testing.assert_array_equal(series.pv_cf[0, :, 0], table.climatology["pv"][1, 12:14])
    np.testing.assert_array_equal(
        series.price_climatology_usd_per_mwh[0, :, 0], table.climatology["price"][1, 12:14]
    )
    line = series.provenance["US-NY-NYIS"]
    assert (
        "constant 420 kg/MWh (own choice" in line
        and "wetbulb_c: month-hour mean of the 2023 calibration" in line
    )


def test_the_climatology_of_an_unknown_zone_is_left_to_the_episode(write: Callable[..., Path]) -> None:
    for zone, known in (("A", False), ("DE-LU", True)):
        series = read_table(write(plain_rows((zone,), 48))).window(
            (zone,), stamps("2024-02-28T05:00"), 2, 1.0
        )
        assert np.isfinite(series.price_climatology_usd_per_mwh).all() == known
        assert np.isnan(
            series.carbon_marginal_climatology_kg_per_mwh
        ).all()  # a column: no calibration knows it


def test_a_file_is_read_once_until_it_changes(write: Callable[..., Path]) -> None:
    path = write(plain_rows(("A",), 24))
    first = read_table(path)
    assert read_table(str(path)) is first
    write(plain_rows(("A",), 25))
    assert read_table(path).sha256 != first.sha256


def without(rows: list[Row], at: int) -> list[Row]:
    return rows[:at] + rows[at + 1 :]


def with_cell(rows: list[Row], at: int, column: str, text: str) -> list[Row]:
    rows[at][HEADER.index(column)] = text
    return rows


FAULTS: dict[str, tuple[Callable[[list[Row]], list[Row]], str]] = {
    "gap": (lambda rows: without(rows, 5), "05:00Z: row is missing; add it"),
    "repeated": (lambda rows: [*rows[:6], rows[5], *rows[6:]], "05:00Z: row appears more than once"),
    "unsorted": (
        lambda rows: [*rows[:4], rows[5], rows[4], *rows[6:]],
        "04:00Z: stamp is earlier than the row before",
    ),
    "empty": (lambda rows: with_cell(rows, 5, "wetbulb_c", ""), "05:00Z: wetbulb_c = nan"),
    "nan": (lambda rows: with_cell(rows, 5, "price_usd_per_mwh", "NaN"), "05:00Z: price_usd_per_mwh = nan"),
    "infinite": (
        lambda rows: with_cell(rows, 5, "price_usd_per_mwh", "inf"),
        "05:00Z: price_usd_per_mwh = inf",
    ),
    "negative carbon": (
        lambda rows: with_cell(rows, 5, "carbon_average_kg_per_mwh", "-1"),
        r"carbon_average_kg_per_mwh = -1 \(allowed: 0 to 5000",
    ),
    "too much sun": (lambda rows: with_cell(rows, 5, "pv_cf", "25"), r"pv_cf = 25 \(allowed: 0 to 1,"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_faults_are_refused_only_where_they_are_used(write: Callable[..., Path], name: str) -> None:
    spoil, message = FAULTS[name]
    path = write(spoil(plain_rows(("A",), 24)) + plain_rows(("B",), 24))
    table = read_table(path)
    with pytest.raises(TraceError, match=message) as refused:
        table.window(("B", "A"), stamps("2024-02-28T03:00"), 4, 1.0)
    assert str(path) in str(refused.value) and "'A'" in str(refused.value)
    assert table.window(("B",), stamps("2024-02-28T03:00"), 4, 1.0).steps == 4
    assert table.window(("A",), stamps("2024-02-28T06:00"), 18, 1.0).steps == 18
    starts = table.valid_starts(("A", "B"), 4, 1.0)
    spoilt = stamps("2024-02-28T04:00" if name == "unsorted" else "2024-02-28T05:00")[0]
    assert spoilt not in starts and stamps("2024-02-28T06:00")[0] in starts
    for start in starts:
        table.window(("A", "B"), np.array([start]), 4, 1.0)


def test_hours_of_a_zone_are_dense_and_nan_where_bad(write: Callable[..., Path]) -> None:
    rows = plain_rows(["A"], 6)
    table = read_table(write(with_cell(without(rows, 4), 2, "pv_cf", "7")))
    first, columns = table.hours("A")
    assert first * 3600 == int(FIRST.timestamp())
    for column in columns.values():
        assert np.flatnonzero(np.isnan(column)).tolist() == [2, 4]
    assert columns["price_usd_per_mwh"][5] == 5.0


def test_faults_of_cells_name_their_line_whatever_lines_are_empty(write: Callable[..., Path]) -> None:
    rows = [[], *plain_rows(("A",), 4)]
    with pytest.raises(TraceError, match=r"own.csv: line 5, pv_cf = 'sunny': write numbers with"):
        read_table(write([*rows[:3], [*rows[3][:6], "sunny", rows[3][7]], rows[4]]))
    with pytest.raises(TraceError, match="line 5, utc = 'noon'"):
        read_table(write([*rows[:3], ["noon", *rows[3][1:]], rows[4]]))


def test_windows_beyond_the_file_and_unknown_zones_are_refused(write: Callable[..., Path]) -> None:
    table = read_table(write(plain_rows(("A",), 24)))
    with pytest.raises(
        TraceError,
        match=r"'A', 2024-02-29T00:00Z is outside the file \(2024-02-28T00:00Z to 2024-02-29T00:00Z\)",
    ):
        table.window(("A",), stamps("2024-02-28T23:00"), 2, 1.0)
    with pytest.raises(
        TraceError, match=r"2024-02-27T23:00Z is outside .*a day before the start is read, too"
    ):
        table.window(("A",), stamps("2024-02-27T23:00"), 2, 1.0)
    with pytest.raises(TraceError, match="zone 'C' is not in the file; it has A"):
        table.window(("C",), stamps("2024-02-28T00:00"), 2, 1.0)
    with pytest.raises(TraceError, match="each once"):
        table.window(("A", "A"), stamps("2024-02-28T00:00"), 2, 1.0)
    with pytest.raises(TraceError, match="multiple of dt_h"):
        table.window(("A",), stamps("2024-02-28T00:30"), 2, 1.0)


def test_price_and_average_carbon_are_enough_for_an_unknown_zone(write: Callable[..., Path]) -> None:
    table = read_table(write([row[:4] for row in plain_rows(("A",), 24)], HEADER[:4]))
    series = table.window(("A",), stamps("2024-02-28T00:00"), 3, 1.0)
    assert series.carbon_average_kg_per_mwh[0, :, 0].tolist() == [300, 301, 302]
    assert series.carbon_marginal_kg_per_mwh[0, :, 0].tolist() == [300, 301, 302]
    assert (series.pv_cf == 0).all() and (series.wind_cf == 0).all() and np.isnan(series.wetbulb_c).all()
    line = series.provenance["A"]
    assert "marginal carbon: that of average carbon (not in the file, zone not calibrated)" in line
    assert "wetbulb_c: left out, PUE at its base; pv_cf: left out, 0; wind_cf: left out, 0" in line


def test_columns_that_are_not_read_are_named(write: Callable[..., Path]) -> None:
    rows = [[*row, "7", "1"] for row in plain_rows(("A",), 24)]
    table = read_table(write(rows, (*HEADER, "temp_c", "price_eur_per_mwh")))
    series = table.window(("A",), stamps("2024-02-28T00:00"), 2, 1.0)
    assert series.provenance["A"].endswith("; not used: temp_c, price_eur_per_mwh")


def test_a_stray_row_is_refused_where_it_lies(write: Callable[..., Path]) -> None:
    """A row that lies on a whole part of the hour makes it an hour of such parts, of which others are missing."""
    stray = "03:17Z: row is off the grid of the rows around it; remove"
    for minute, message in (("20", "03:40Z: row is missing"), ("17", stray)):
        rows = plain_rows(("A",), 24)
        rows.insert(4, [f"2024-02-28T03:{minute}Z", *rows[3][1:]])
        table = read_table(write(rows, name=f"{minute}.csv"))
        with pytest.raises(TraceError, match=message):
            table.window(("A",), stamps("2024-02-28T02:00"), 3, 1.0)
        assert table.window(("A",), stamps("2024-02-28T04:00"), 20, 1.0).price_usd_per_mwh[0, 0, 0] == 4
        assert table.valid_starts(("A",), 4, 1.0)[0] == stamps("2024-02-28T04:00")[0]


@pytest.mark.parametrize(
    ("rows", "header", "message"),
    [
        ([], HEADER, "no rows"),
        (plain_rows(("A",), 2), ("time", *HEADER[1:]), r"columns \['utc'\] are missing"),
        (
            with_cell(plain_rows(("A",), 2), 1, "utc", "2024-02-28T01:00"),
            HEADER,
            "line 3, utc = '2024-02-28T01:00' has no offset",
        ),
        (with_cell(plain_rows(("A",), 2), 1, "utc", "28.02.2024"), HEADER, "line 3.*no ISO 8601"),
        (with_cell(plain_rows(("A",), 2), 1, "utc", "2024-02-28T01:00:30Z"), HEADER, "not on a whole minute"),
        (
            with_cell(plain_rows(("A",), 2), 1, "price_usd_per_mwh", "1,5"),
            HEADER,
            "line 3, price_usd_per_mwh.*decimal point",
        ),
        ([["x"]], HEADER, "line 2 has 1 cells, the header has 8"),
        ([[*row, "noon"] for row in plain_rows(("A",), 2)], (*HEADER, "stamp"), r"stamp holds \['noon'\]"),
    ],
)
def test_unreadable_files_are_refused(
    write: Callable[..., Path], rows: list[Row], header: Sequence[str], message: str
) -> None:
    with pytest.raises(TraceError, match=message):
        read_table(write(rows, header))


def test_repeated_columns_are_refused(write: Callable[..., Path]) -> None:
    """The last one would win silently; columns without a name, as spreadsheets leave them, say nothing."""
    rows = [[*row, "1.0", "2.0"] for row in plain_rows(("A",), 2)]
    with pytest.raises(TraceError, match=r"\['price_usd_per_mwh'\] appear more than once"):
        read_table(write(rows, (*HEADER, "price_usd_per_mwh", "x")))
    assert read_table(write(rows, (*HEADER, "", ""), "blank.csv")).zones == ("A",)


def test_wrong_suffix_and_stamp_are_refused(write: Callable[..., Path]) -> None:
    with pytest.raises(TraceError, match=r"unknown suffix '\.txt'"):
        read_table(write(plain_rows(("A",), 2), name="own.txt"))
    rows = [[*row, "middle"] for row in plain_rows(("A",), 2)]
    with pytest.raises(TraceError, match=r"column stamp holds \['middle'\]; use one of hour_start, hour_end"):
        read_table(write(rows, (*HEADER, "stamp"), "middle.csv"))
    with pytest.raises(FileNotFoundError):
        read_table("nowhere.csv")
    with pytest.raises(TraceError, match="is a folder, no trace file; give a"):
        read_table(write(rows).parent)
    with pytest.raises(TraceError, match="unknown option 'fill'; write FILE or FILE,fill_gap_h=2"):
        read_table("nowhere.csv,fill=2")


# --- the real panel, where it is at hand ---


@pytest.fixture(scope="module")
def panel() -> Path:
    folder = os.environ.get("GRIDAI_DATA_DIR")
    if not folder:
        pytest.skip("GRIDAI_DATA_DIR is not set: no real data to read")
    path = Path(folder) / "panel"
    if not (path / "hourly_2021_2023.parquet").exists():
        pytest.skip("no panel/hourly_2021_2023.parquet below GRIDAI_DATA_DIR")
    pytest.importorskip("pyarrow")
    return path


def test_panel_hours_equal_the_raw_rows(panel: Path) -> None:
    """Filtered by pyarrow alone, hour by hour: no shift, no smoothing, no unit change."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    raw = pq.read_table(panel / "hourly_2021_2023.parquet")
    columns = ("price_usd", "ci_direct", "wetbulb_c", "pv_cf_proxy", "wind_cf_proxy")
    fields = ("price_usd_per_mwh", "carbon_average_kg_per_mwh", "wetbulb_c", "pv_cf", "wind_cf")
    table = read_table(panel / "hourly_2021_2023.parquet")
    zones = ("US-CAL-CISO", "DE-LU", "AU-VIC", "IN-WE")
    series = table.window(zones, stamps("2023-03-26T00:00", "2021-11-07T04:00"), 48, 1.0)
    for k, zone in enumerate(zones):
        rows = raw.filter(pc.equal(pc.cast(raw["zone"], "string"), zone))
        for b, hour in ((0, 0), (0, 1), (0, 47), (1, 0), (1, 13)):
            moment = datetime.fromisoformat(str(series.times_utc()[b, hour])).replace(tzinfo=UTC)
            row = rows.filter(pc.equal(rows["utc"], moment)).to_pylist()
            assert len(row) == 1
            for column, name in zip(columns, fields, strict=True):
                assert getattr(series, name)[b, hour, k] == row[0][column], (zone, moment, column)


def test_panel_shows_known_facts_of_2023(panel: Path) -> None:
    table = read_table(panel / "hourly_2021_2023.parquet")
    assert set(table.zones) == set(known_zones())
    first = stamps("2023-01-01T00:00")
    year = table.window(("US-TEX-ERCO", "AU-VIC", "US-CAL-CISO", "DE-LU"), first, 8760, 1.0)
    texas, victoria, california, germany = np.moveaxis(year.price_usd_per_mwh[0], 1, 0)
    assert (texas > 1000).sum() > 50
    assert (victoria < 0).mean() == pytest.approx(0.2325, abs=0.001)
    assert germany.mean() == pytest.approx(102.9, abs=0.2)
    hour = year.local_hour("America/Los_Angeles")[0]
    by_hour = [california[hour == h].mean() for h in range(24)]
    assert 9 <= int(np.argmin(by_hour)) <= 14 and 17 <= int(np.argmax(by_hour)) <= 20
    assert year.pv_cf[0, hour == 12, 2].mean() > 0.5 > 0 == year.pv_cf[0, hour == 1, 2].max()


def test_panel_zone_with_missing_prices_spoils_only_itself(panel: Path) -> None:
    table = read_table(panel / "hourly_2021_2023.parquet")
    with pytest.raises(TraceError, match="zone 'GB', 2021-06-01T00:00Z: price_usd_per_mwh = nan"):
        table.window(("DE-LU", "GB"), stamps("2021-06-01T00:00"), 24, 1.0)
    assert table.window(("DE-LU",), stamps("2021-06-01T00:00"), 24, 1.0).steps == 24
    assert table.valid_starts(("GB",), 168, 1.0)[0] == stamps("2023-01-01T00:00")[0]
    both_years = table.valid_starts(("DE-LU",), 168, 1.0)
    assert len(both_years) == 2 * (8760 - 167)
    with pytest.raises(TraceError, match="2022-01-01T00:00Z: row is missing"):
        table.window(("DE-LU",), stamps("2021-12-31T12:00"), 24, 1.0)


def test_panel_sample_agrees_with_the_parquet(panel: Path) -> None:
    """The CSV sample is rounded to four digits."""
    sample = read_table(panel / "sample_8zones_2023-07_4weeks.csv.gz")
    start = sample.valid_starts(sample.zones, 672, 1.0)
    assert start.tolist() == stamps("2023-07-03T00:00").tolist()
    small = sample.window(sample.zones, start, 672, 1.0)
    full = read_table(panel / "hourly_2021_2023.parquet").window(sample.zones, start, 672, 1.0)
    for name in VALUES:
        np.testing.assert_allclose(
            getattr(small, name), getattr(full, name), rtol=1e-3, atol=6e-3, err_msg=name
        )


@pytest.mark.slow
def test_calibration_tables_are_those_of_the_script(panel: Path, tmp_path: Path) -> None:
    """The committed tables come out of the generator script again, number for number."""
    from gridai_env.traces.calibration import TABLE_DIR, calibration_year
    from scripts.maintenance.calibrate import read_year, write_tables

    years, metadata = read_year(panel.parent, calibration_year())
    write_tables(tmp_path, calibration_year(), years, metadata)
    for made in sorted(tmp_path.iterdir()):
        assert made.read_text() == (TABLE_DIR / made.name).read_text(), made.name
