"""Exports of data portals: each sample against its raw text and an independent series, each trap by hand."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from gridai_env.traces import TraceError, known_zones, read_table
from gridai_env.traces.exports.forms import portal_zone
from gridai_env.traces.exports.plain import join_exports, write_plain
from gridai_env.traces.exports.read import EXPECTED, read_export
from gridai_env.traces.exports.series import Export, on_steps
from gridai_env.traces.weather import cos_zenith, pv_proxy_cf, wet_bulb_c, wind_proxy_cf
from scripts.convert import main

SAMPLES = {
    "electricitymaps": "electricitymaps_portal_DE_2023_hourly_head200.csv",
    "energinet": "energinet_elspotprices_DK2_2024.csv",
    "ercot": "ercot_mis_DAMLZHBSPP_2022_head.csv",
    "own": "gridstatus_derived_ERCOT_DAM_2023_head200.csv",
    "openmeteo": "openmeteo_archive_DE_2023_first240h.json",
}
EM_OLD = (
    "Datetime (UTC),Country,Zone Name,Zone Id,Carbon Intensity gCO₂eq/kWh (direct),"
    "Carbon Intensity gCO₂eq/kWh (LCA),Low Carbon Percentage,Renewable Percentage,"
    "Data Source,Data Estimated,Data Estimation Method"
)
EM_NEW = (
    "Datetime (UTC),Country,Zone name,Zone id,Carbon intensity gCO₂eq/kWh (direct),"
    "Carbon intensity gCO₂eq/kWh (Life cycle),Carbon-free energy percentage (CFE%),"
    "Renewable energy percentage (RE%),Data source,Data estimated,Data estimation method"
)
ERCOT = "Delivery Date,Hour Ending,Repeated Hour Flag,Settlement Point,Settlement Point Price"
ENERGINET = "HourUTC;HourDK;PriceArea;SpotPriceDKK;SpotPriceEUR"
PRICE = "price_usd_per_mwh"
CARBON = "carbon_average_kg_per_mwh"


@pytest.fixture
def samples(data_dir: Path) -> Path:
    return data_dir / "format-samples"


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    def write_text(*lines: str, name: str = "own.csv") -> Path:
        path = tmp_path / name
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return path

    return write_text


def stamps(export: Export) -> list[str]:
    return [str(minute.astype("datetime64[m]")) for minute in export.utc_minutes]


def panel(data_dir: Path, zone: str, columns: list[str]) -> dict[int, dict[str, float]]:
    pq = pytest.importorskip("pyarrow.parquet")
    table = pq.read_table(data_dir / "panel/hourly_2021_2023.parquet", filters=[("zone", "=", zone)])
    rows = table.select(["utc", *columns]).to_pylist()
    return {round(row["utc"].timestamp()) // 60: row for row in rows}


# Samples ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(SAMPLES))
def test_samples_are_recognised_and_are_nothing_else(samples: Path, name: str) -> None:
    for other in set(EXPECTED) - {name}:
        with pytest.raises(TraceError) as error:
            read_export(samples / SAMPLES[name], other)
        text = str(error.value)
        assert f"found {name} (" in text and f"expected {other}: " in text and "\n" not in text


def test_electricity_maps_sample_equals_the_panel(samples: Path, data_dir: Path) -> None:
    known = panel(data_dir, "DE-LU", ["ci_direct", "ci_lca"])
    for kind, column in (("direct", "ci_direct"), ("life_cycle", "ci_lca")):
        export = read_export(samples / SAMPLES["electricitymaps"], carbon=kind)
        assert (len(export.utc_minutes), stamps(export)[0]) == (200, "2023-01-01T00:00")
        expected = [known[int(m)][column] for m in export.utc_minutes]
        assert export.columns[CARBON] == pytest.approx(expected, abs=0.01)


def test_gridstatus_sample_equals_the_panel(samples: Path, data_dir: Path) -> None:
    known = panel(data_dir, "US-TEX-ERCO", ["price_usd"])
    export = read_export(samples / SAMPLES["own"])
    assert (len(export.utc_minutes), stamps(export)[0]) == (200, "2023-01-01T06:00")
    assert export.columns[PRICE] == pytest.approx(
        [known[int(m)]["price_usd"] for m in export.utc_minutes], abs=0.01
    )


def test_ercot_sample_read_by_hand(samples: Path) -> None:
    export = read_export(samples / SAMPLES["ercot"], point="HB_NORTH")
    with (samples / SAMPLES["ercot"]).open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["Settlement Point"] == "HB_NORTH"]
    # January: Central standard time, UTC-6; hour ending 01:00 starts at local midnight.
    for row, minute, price in zip(rows, export.utc_minutes, export.columns[PRICE], strict=True):
        day = datetime.strptime(row["Delivery Date"], "%m/%d/%Y").replace(tzinfo=UTC)
        start = day + timedelta(hours=int(row["Hour Ending"][:2]) - 1 + 6)
        assert (round(start.timestamp()) // 60, float(row["Settlement Point Price"])) == (minute, price)


def test_energinet_sample_read_by_hand_and_both_currencies_agree(samples: Path) -> None:
    path = samples / SAMPLES["energinet"]
    euro = read_export(path, usd_per={"EUR": 1.08})
    krone = read_export(path, usd_per={"DKK": 1.08 / 7.46})
    lines = path.read_text().splitlines()[1:]
    assert len(euro.utc_minutes) == len(lines) == 1681
    first = lines[-1].split(";")  # the file begins with the newest hour
    assert stamps(euro)[0] == first[0].replace(" ", "T")
    assert euro.columns[PRICE][0] == pytest.approx(float(first[4].replace(",", ".")) * 1.08)
    assert euro.columns[PRICE] == pytest.approx(krone.columns[PRICE], rel=2e-3, abs=0.05)


def test_open_meteo_sample_gives_the_panel_of_the_same_place(samples: Path, data_dir: Path) -> None:
    known = panel(data_dir, "DE-LU", ["wetbulb_c", "pv_cf_proxy", "wind10m_ms"])
    export = read_export(samples / SAMPLES["openmeteo"])
    assert (len(export.utc_minutes), stamps(export)[0]) == (240, "2022-12-31T23:00")  # offset 3600 s
    both = [i for i, minute in enumerate(export.utc_minutes) if int(minute) in known]
    rows = [known[int(export.utc_minutes[i])] for i in both]
    assert len(rows) == 239
    assert export.columns["wetbulb_c"][both] == pytest.approx([r["wetbulb_c"] for r in rows], abs=0.01)
    assert export.columns["pv_cf"][both] == pytest.approx([r["pv_cf_proxy"] for r in rows], abs=0.03)
    assert export.columns["wind_cf"][both] == pytest.approx(
        wind_proxy_cf(np.array([r["wind10m_ms"] for r in rows])), abs=0.01
    )


def test_wet_bulb_equals_the_panel_in_dry_and_in_humid_air(data_dir: Path) -> None:
    rows = list(panel(data_dir, "ZA", ["temp_c", "rh_pct", "wetbulb_c"]).values())
    temperature, humidity, known = (np.array([r[k] for r in rows]) for k in ("temp_c", "rh_pct", "wetbulb_c"))
    assert humidity.min() < 8 and humidity.max() > 98
    inside = (humidity >= 5) & (humidity <= 99)
    assert wet_bulb_c(temperature, humidity)[inside] == pytest.approx(known[inside], abs=0.02)


# Traps --------------------------------------------------------------------------------------------


def test_an_empty_price_is_a_gap(write: Callable[..., Path]) -> None:
    lines = ["01/01/2022,01:00,N,HB,1", "01/01/2022,02:00,N,HB,", "01/01/2022,03:00,N,HB,3"]
    assert read_export(write(ERCOT, *lines)).columns[PRICE] == pytest.approx([1, np.nan, 3], nan_ok=True)


def test_new_header_of_electricity_maps_and_estimated_hours(write: Callable[..., Path]) -> None:
    tail = "90,80,src"
    lines = [
        f"2025-01-01 00:00:00,X,X,XX,100.5,120.5,{tail},false,",
        f"2025-01-01 01:00:00,X,X,XX,101.5,121.5,{tail},true,M",
        f"2025-01-01 02:00:00,X,X,XX,,,{tail},false,",
        f"2025-01-01 03:00:00,X,X,XX,103.5,123.5,{tail},False,",
    ]
    for header in (EM_OLD, EM_NEW):
        path = write(header, *lines)
        assert read_export(path).columns[CARBON].tolist()[:2] == [100.5, 101.5]
        life = read_export(path, carbon="life_cycle", drop_estimated=True)
        assert life.columns[CARBON] == pytest.approx([120.5, np.nan, np.nan, 123.5], nan_ok=True)
        assert "1 of 4 values estimated, left out" in life.notes and "life cycle" in life.text


def ercot_day(day: str, hours: list[tuple[int, str]]) -> list[str]:
    return [f"{day},{hour:02d}:00,{flag},HB,{10 * i}" for i, (hour, flag) in enumerate(hours)]


def test_ercot_autumn_day_has_25_hours(write: Callable[..., Path]) -> None:
    hours = [(1, "N"), (2, "N"), (2, "Y"), *((h, "N") for h in range(3, 25))]
    export = read_export(write(ERCOT, *ercot_day("11/06/2022", hours)))
    assert stamps(export)[0] == "2022-11-06T05:00"  # midnight, UTC-5
    assert stamps(export)[-1] == "2022-11-07T05:00"  # 23:00, UTC-6
    assert (np.diff(export.utc_minutes) == 60).all()
    assert export.columns[PRICE].tolist() == [10.0 * i for i in range(25)]


def test_ercot_spring_day_has_23_hours(write: Callable[..., Path]) -> None:
    hours = [(h, "N") for h in range(1, 25) if h != 3]
    export = read_export(write(ERCOT, *ercot_day("03/13/2022", hours)))
    assert (len(export.utc_minutes), stamps(export)[0]) == (23, "2022-03-13T06:00")
    assert (np.diff(export.utc_minutes) == 60).all()
    with pytest.raises(TraceError, match="does not exist"):
        read_export(write(ERCOT, *ercot_day("03/13/2022", [(2, "N"), (3, "N")])))
    with pytest.raises(TraceError, match="is not repeated"):
        read_export(write(ERCOT, *ercot_day("03/14/2022", [(2, "N"), (2, "Y")])))


def test_gridstatus_offsets_change_inside_the_file(write: Callable[..., Path]) -> None:
    zone = ZoneInfo("America/New_York")
    first = datetime(2023, 11, 5, 3, tzinfo=UTC)
    rows = []
    for h in range(8):
        start = (first + timedelta(hours=h)).astimezone(zone)
        end = (first + timedelta(hours=h + 1)).astimezone(zone)
        rows.append(f"{start},{start},{end},DAY_AHEAD_HOURLY,HUB,Trading Hub,{h}.5,0,0,0")
        rows.append(f"{start},{start},{end},DAY_AHEAD_HOURLY,OTHER,Trading Hub,99,0,0,0")
    header = "Time,Interval Start,Interval End,Market,Location,Location Type,LMP,Energy,Congestion,Loss"
    path = write(header, *rows)
    export = read_export(path, point="HUB DAY_AHEAD_HOURLY", zone="US-NY-NYIS")
    assert (stamps(export)[0], len(export.utc_minutes)) == ("2023-11-05T03:00", 8)
    assert export.columns[PRICE].tolist() == [h + 0.5 for h in range(8)]
    with pytest.raises(TraceError, match="choose one with point="):
        read_export(path)


def meteo(**changes: object) -> str:
    data = {
        "latitude": 50.0,
        "longitude": 8.0,
        "utc_offset_seconds": -18000,
        "hourly_units": {
            "time": "iso8601",
            "temperature_2m": "°C",
            "relative_humidity_2m": "%",
            "windspeed_10m": "km/h",
        },
        "hourly": {
            "time": ["2023-03-12T01:00", "2023-03-12T02:00"],
            "temperature_2m": [20.0, None],
            "relative_humidity_2m": [50.0, 60.0],
            "windspeed_10m": [36.0, 0.0],
        },
    }
    return json.dumps({**data, **changes})


def test_open_meteo_has_one_offset_and_wind_in_km_per_h(write: Callable[..., Path]) -> None:
    export = read_export(write(meteo(), name="w.json"))
    # 02:00 on this day does not exist on clocks in New York; the file counts on with its one offset.
    assert stamps(export) == ["2023-03-12T06:00", "2023-03-12T07:00"]
    assert export.columns["wetbulb_c"] == pytest.approx(
        [13.7, np.nan], abs=0.01, nan_ok=True
    )  # Stull's example
    assert export.columns["wind_cf"] == pytest.approx(wind_proxy_cf(np.array([10.0, 0.0])))
    assert "pv_cf" not in export.columns
    half = read_export(write(meteo(utc_offset_seconds=19800), name="w.json"))
    assert stamps(half)[0] == "2023-03-11T19:30"


def test_finer_steps_are_kept_and_averaged_when_asked(write: Callable[..., Path]) -> None:
    times = [datetime(2025, 1, 1, tzinfo=UTC) + timedelta(minutes=15 * i) for i in range(11)]
    lines = [f"{t:%Y-%m-%d %H:%M:%S},X,X,XX,{100 + i},1,,,s,false," for i, t in enumerate(times)]
    path = write(EM_NEW, *lines)
    kept = read_export(path)
    assert kept.columns[CARBON].tolist() == [100.0 + i for i in range(11)]
    assert set(kept.step_minutes) == {15}
    export = read_export(path, average=True)
    assert stamps(export) == ["2025-01-01T00:00", "2025-01-01T01:00", "2025-01-01T02:00"]
    # The third hour is not whole: a gap, unless a share of it may lack.
    assert export.columns[CARBON] == pytest.approx([101.5, 105.5, np.nan], nan_ok=True)
    assert read_export(path, average=True, allow_missing=0.25).columns[CARBON][2] == 109.0
    assert np.isnan(read_export(path, average=True, allow_missing=0.2).columns[CARBON][2])


def test_weather_formulas_by_hand() -> None:
    assert wet_bulb_c(np.array([20.0]), np.array([50.0]))[0] == pytest.approx(13.7, abs=0.01)  # Stull (2011)
    # Equator at an equinox, noon: the sun stands in the zenith (equation of time about 7.5 min).
    noon = np.array(["2023-03-21T12:07"], dtype="datetime64[m]").astype(np.int64)
    assert cos_zenith(0.0, 0.0, noon)[0] == pytest.approx(1.0, abs=1e-4)
    assert cos_zenith(0.0, 180.0, noon)[0] == 0.0
    assert pv_proxy_cf(0.0, 0.0, noon - 30, np.array([0.0]))[0] == pytest.approx(1.0, abs=0.05)
    assert pv_proxy_cf(0.0, 0.0, noon - 30, np.array([100.0]))[0] == pytest.approx(0.26, abs=0.02)
    assert wind_proxy_cf(np.array([0.0, 2.0, 9.0, 20.0])).tolist() == [0.0, 0.0, 1.0, 0.0]


BAD = {
    "empty": ("", {}, "the file is empty"),
    "no rows": (ERCOT, {}, "no rows"),
    "unknown header": ("a,b\n1,2", {}, "found the header 'a,b', expected one of electricitymaps, "),
    "short row": (f"{ERCOT}\n01/01/2022,01:00,N,HB", {}, "line 2 has 4 cells, the header has 5"),
    "price is text": (f"{ERCOT}\n01/01/2022,01:00,N,HB,none", {}, "line 2, Settlement Point Price = 'none'"),
    "price out of range": (f"{ERCOT}\n01/01/2022,01:00,N,HB,1e9", {}, "from -20000 to 100000"),
    "hour 25": (f"{ERCOT}\n01/01/2022,25:00,N,HB,1", {}, "need an hour from 01:00 to 24:00"),
    "bad day": (f"{ERCOT}\n01.01.2022,01:00,N,HB,1", {}, "the day must be MM/DD/YYYY"),
    "doubled": (
        f"{ERCOT}\n01/01/2022,01:00,N,HB,1\n01/01/2022,01:00,N,HB,2",
        {},
        "the interval 2022-01-01T06:00Z stands twice",
    ),
    "unknown point": (f"{ERCOT}\n01/01/2022,01:00,N,HB,1", {"point": "LZ"}, "'LZ' is not there"),
    "no rate": (f"{ENERGINET}\n2024-01-01 00:00;2024-01-01 01:00;DK1;1,0;1,0", {}, "give the rate to USD"),
    "bad rate": (
        f"{ENERGINET}\n2024-01-01 00:00;2024-01-01 01:00;DK1;1,0;1,0",
        {"usd_per": {"EUR": -1.0}},
        "must be a number above 0",
    ),
    "shifted clock": (
        f"{ENERGINET}\n2024-07-01 00:00;2024-07-01 01:00;DK1;1,0;1,0",
        {"usd_per": {"EUR": 1.0}},
        "is not the local time of HourUTC",
    ),
    "no offset": ("Datetime,Price (USD/MWh)\n2023-01-01 00:00:00,1.0", {}, "has no offset"),
    "no UTC": (f"{EM_OLD}\n2023-01-01 00:00:00+01:00,X,X,XX,1,1,,,s,false,", {}, "is not UTC"),
    "negative carbon": (f"{EM_OLD}\n2023-01-01 00:00:00,X,X,XX,-1,1,,,s,false,", {}, "from 0 to 5000"),
    "unknown carbon": (
        f"{EM_OLD}\n2023-01-01 00:00:00,X,X,XX,1,1,,,s,false,",
        {"carbon": "x"},
        "carbon = 'x'",
    ),
    "daily": (
        f"{EM_OLD}\n2023-01-01 00:00:00,X,X,XX,1,1,,,s,false,\n2023-01-02 00:00:00,X,X,XX,1,1,,,s,false,",
        {},
        "at least 24 h apart",
    ),
    "two zones": (
        f"{EM_OLD}\n2023-01-01 00:00:00,X,X,XX,1,1,,,s,false,\n2023-01-01 00:00:00,X,X,YY,1,1,,,s,false,",
        {},
        "it holds XX, YY; choose one with point=",
    ),
}


@pytest.mark.parametrize("case", sorted(BAD))
def test_bad_files_are_one_line(write: Callable[..., Path], case: str) -> None:
    text, options, message = BAD[case]
    with pytest.raises(TraceError) as error:
        read_export(write(text), **options)
    assert message in str(error.value) and "\n" not in str(error.value)
    assert "own.csv" in str(error.value) or case in ("unknown carbon", "bad rate")


BAD_JSON = {
    "no json": ("{", "not valid JSON"),
    "other json": ('{"a": 1}', "found JSON with ['a'], expected"),
    "unit": (meteo(hourly_units={"time": "iso8601", "temperature_2m": "K"}), "temperature_2m is in 'K'"),
    "offset": (meteo(utc_offset_seconds="3600"), "utc_offset_seconds = '3600'"),
    "nothing": (meteo(hourly={"time": ["2023-01-01T00:00"]}), "needs temperature_2m"),
    "times": (meteo(hourly={"time": ["yesterday"]}), "hourly.time"),
}


@pytest.mark.parametrize("case", sorted(BAD_JSON))
def test_bad_weather_is_one_line(write: Callable[..., Path], case: str) -> None:
    text, message = BAD_JSON[case]
    with pytest.raises(TraceError) as error:
        read_export(write(text, name="own.json"))
    assert message in str(error.value) and "\n" not in str(error.value) and "own.json" in str(error.value)


def test_length_and_range_of_weather(write: Callable[..., Path]) -> None:
    data = json.loads(meteo())
    for values, message in (([20.0], "1 values for 2 times"), ([20.0, 200.0], "200 is outside -80 to 65")):
        data["hourly"]["temperature_2m"] = values
        with pytest.raises(TraceError, match=message):
            read_export(write(json.dumps(data), name="own.json"))


def test_what_is_no_gzip_and_what_is_not_there(write: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(TraceError, match="cannot be read as text"):
        read_export(write(ERCOT, name="own.csv.gz"))
    (tmp_path / "packed.csv").write_bytes(gzip.compress(ERCOT.encode()))
    for read in (read_export, read_table):
        with pytest.raises(TraceError, match=r"it looks like gzip; name it packed\.csv\.gz$"):
            read(tmp_path / "packed.csv")
    (tmp_path / "latin.csv").write_bytes("Preis in €".encode("cp1252"))
    with pytest.raises(TraceError, match="neither UTF-8 nor UTF-16"):
        read_export(tmp_path / "latin.csv")
    for name in ("none.csv", "none.json"):
        with pytest.raises(FileNotFoundError, match=name):
            read_export(tmp_path / name)


# Joining and writing ------------------------------------------------------------------------------


def hours(first: str, count: int) -> np.ndarray:
    start = np.datetime64(first, "m").astype(np.int64)
    return start + 60 * np.arange(count, dtype=np.int64)


def hourly(source: str, utc: np.ndarray, columns: dict[str, np.ndarray]) -> Export:
    return on_steps(Export(source, "x", "", utc, columns))


def test_join_takes_common_hours_and_keeps_gaps(tmp_path: Path) -> None:
    utc = hours("2023-01-01T00:00", 6)
    price = hourly("p", utc[[0, 1, 2, 4, 5]], {PRICE: np.array([0.0, 1, 2, 4, 5])})
    carbon = hourly("c", utc[1:5], {CARBON: np.array([10.0, np.nan, 30, 40])})
    table = join_exports("US-TEX-ERCO", [carbon, price])
    assert list(table.columns) == [PRICE, CARBON]
    assert table.utc_minutes.tolist() == utc[1:5].tolist()
    assert table.columns[PRICE] == pytest.approx([1, 2, np.nan, 4], nan_ok=True)
    assert table.columns[CARBON] == pytest.approx([10, np.nan, 30, 40], nan_ok=True)
    write_plain(tmp_path / "t.csv.gz", table)
    back = read_table(tmp_path / "t.csv.gz")
    series = back.window(("US-TEX-ERCO",), np.array(["2023-01-01T01:00"], "datetime64[m]"), 1, 1.0)
    assert series.price_usd_per_mwh[0, 0, 0] == 1.0
    with pytest.raises(TraceError, match=r"2023-01-01T03:00Z: price_usd_per_mwh = nan"):
        back.window(("US-TEX-ERCO",), np.array(["2023-01-01T03:00"], "datetime64[m]"), 1, 1.0)


def test_a_zone_without_calibration_is_told_what_stands_in(
    write: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = datetime(2024, 7, 1, tzinfo=UTC)
    times = [first + timedelta(hours=h) for h in range(60)]
    carbon = [f"{t:%Y-%m-%d %H:%M:%S},X,X,XX,{100 + h},1,,,s,false," for h, t in enumerate(times)]
    price = [
        f"{t:%Y-%m-%d %H:%M};{t + timedelta(hours=2):%Y-%m-%d %H:%M};DK2;0,0;{h},50"
        for h, t in enumerate(times)
    ]
    hourly = {
        "time": [f"{t:%Y-%m-%dT%H:%M}" for t in times],
        "temperature_2m": [20.0] * 60,
        "relative_humidity_2m": [50.0] * 60,
        "cloud_cover": [0.0] * 60,
        "wind_speed_10m": [5.0] * 60,
    }
    units = dict(zip(hourly, ("iso8601", "°C", "%", "%", "m/s"), strict=True))
    weather = write(meteo(utc_offset_seconds=0, hourly=hourly, hourly_units=units), name="w.json")
    out = str(tmp_path / "t.csv")
    base = [
        "--zone",
        "DK-DK2",
        "--price",
        str(write(ENERGINET, *reversed(price), name="p.csv")),
        "--rate",
        "EUR=2",
    ]
    base += ["--carbon", str(write(EM_NEW, *carbon, name="c.csv")), "--out"]
    assert main([*base, str(tmp_path / "less.csv")]) == 0
    said = capsys.readouterr().out
    assert (
        "that of average carbon" in said and "pv_cf: left out, 0" in said and "--weather, --marginal" in said
    )
    full = [*base, out, "--weather", str(weather), "--marginal-kg-per-mwh"]
    assert main([*full, "-1"]) == 2
    assert "must be from 0 to 5000 kg/MWh" in capsys.readouterr().err
    assert main([*full, "350"]) == 0
    assert "stand in" not in capsys.readouterr().out  # nothing is lacking
    start = np.array(["2024-07-01T05:00"], dtype="datetime64[m]")
    series = read_table(out).window(("DK-DK2",), start, 2, 1.0)
    assert series.price_usd_per_mwh[0, :, 0].tolist() == [11.0, 13.0]
    assert series.carbon_average_kg_per_mwh[0, :, 0].tolist() == [105.0, 106.0]
    assert series.carbon_marginal_kg_per_mwh[0, :, 0].tolist() == [350.0, 350.0]


def test_joins_that_cannot_be(tmp_path: Path) -> None:
    utc = hours("2023-01-01T00:00", 3)
    price = hourly("p.csv", utc, {PRICE: np.zeros(3)})
    late = hourly("c.csv", utc + 6000, {CARBON: np.zeros(3)})
    with pytest.raises(TraceError, match=r"no hour in common \(p.csv: 2023-01-01T00:00Z"):
        join_exports("Z", [price, late])
    with pytest.raises(TraceError, match="no export brings carbon"):
        join_exports("Z", [price])
    with pytest.raises(TraceError, match=r"p.csv: brings price_usd_per_mwh, as does p.csv"):
        join_exports("Z", [price, price])
    table = join_exports("Z", [price, hourly("c.csv", utc, {CARBON: np.zeros(3)})])
    with pytest.raises(TraceError, match=r"unknown suffix .*use \.csv or \.csv\.gz"):
        write_plain(tmp_path / "t.parquet", table)


def test_convert_joins_samples_into_a_file_that_traces_read(
    samples: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "traces.csv"
    carbon, weather = (str(samples / SAMPLES[name]) for name in ("electricitymaps", "openmeteo"))
    common = ["--carbon", carbon, "--carbon-zone", "DE", "--weather", weather, "--out", str(out)]
    texas = ["--zone", "US-TEX-ERCO", "--price", str(samples / SAMPLES["own"]), *common]
    assert main(texas) == 0
    assert "194 rows from 2023-01-01T06:00Z" in capsys.readouterr().out
    assert main(texas) == 2  # the file is there
    assert main([*texas, "--add"]) == 2  # so is the zone
    assert "--add" in capsys.readouterr().err
    assert main([*texas[:1], "US-CAL-CISO", *texas[2:], "--add"]) == 0
    table = read_table(out)
    assert table.zones == ("US-TEX-ERCO", "US-CAL-CISO")
    series = table.window(table.zones, np.array(["2023-01-02T00:00"], "datetime64[m]"), 24, 1.0)
    raw = read_export(samples / SAMPLES["own"])
    assert series.price_usd_per_mwh[0, :, 1].tolist() == raw.columns[PRICE][18:42].tolist()
    assert not list(tmp_path.glob(".*"))  # nothing partial is left


def test_convert_says_in_one_line_what_is_wrong(
    samples: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    carbon, price = str(samples / SAMPLES["electricitymaps"]), str(samples / SAMPLES["energinet"])
    base = ["--zone", "Z", "--carbon", carbon, "--out", str(tmp_path / "t.csv"), "--price"]
    for extra, message in (
        ([price], "--rate EUR=..."),
        ([price, "--rate", "EUR"], "must be CUR=USD"),
        ([price, "--rate", "EUR=1.08"], "no hour in common"),
        ([carbon], "brings carbon_average_kg_per_mwh, as does"),
        ([price, "--price-format", "ercot"], "found energinet"),
        ([str(tmp_path / "none.csv")], "no such file"),
    ):
        assert main(base + extra) == 2
        out, err = capsys.readouterr()
        assert message in err and err.count("\n") == 1 and not out
    assert not list(tmp_path.iterdir())


def priced(write: Callable[..., Path], zone: str) -> list[str]:
    """Arguments for a price without places and carbon of a zone, three hours each."""
    price = [f"2023-01-01 0{h}:00:00+00:00,{h}" for h in range(3)]
    carbon = [f"2023-01-01 0{h}:00:00,X,X,{zone},{100 + h},1,,,s,false," for h in range(3)]
    price_file = write("Datetime,Price (USD/MWh)", *price, name="p.csv")
    return ["--price", str(price_file), "--carbon", str(write(EM_NEW, *carbon, name="c.csv"))]


@pytest.mark.parametrize(
    ("zone", "portal"), [("DE-LU", "DE"), ("BR-SP", "BR-CS"), ("US-TEX-ERCO", "US-TEX-ERCO"), ("MINE", "DE")]
)
def test_carbon_of_the_zone_itself_or_of_one_we_do_not_know_serves(
    write: Callable[..., Path], tmp_path: Path, zone: str, portal: str
) -> None:
    assert main([*priced(write, portal), "--zone", zone, "--out", str(tmp_path / "t.csv")]) == 0


def test_the_portals_names_are_those_of_the_panel(data_dir: Path) -> None:
    with (data_dir / "panel/zones.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [portal_zone(row["zone"]) for row in rows] == [row["em_zone"] for row in rows]
    assert {row["zone"] for row in rows} == set(known_zones())
    assert portal_zone("DK-DK2") is None


def test_carbon_of_another_zone_must_be_meant(
    write: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*priced(write, "DE"), "--zone", "US-TEX-ERCO", "--out", str(tmp_path / "t.csv")]
    assert main(words) == 2
    err = capsys.readouterr().err
    assert "holds zone DE, but --zone US-TEX-ERCO is US-TEX-ERCO at Electricity Maps" in err
    assert "--carbon-zone DE" in err and err.count("\n") == 1 and not (tmp_path / "t.csv").exists()
    assert main([*words, "--carbon-zone", "DE"]) == 0


def test_a_price_file_without_places_takes_no_point(
    write: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*priced(write, "DE"), "--zone", "DE-LU", "--out", str(tmp_path / "t.csv")]
    assert main([*words, "--point", "HB_NORTH"]) == 2
    err = capsys.readouterr().err
    assert "this form names no location; leave point='HB_NORTH' (--point, " in err
    assert err.count("\n") == 1
