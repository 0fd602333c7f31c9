"""Each form of export in its real layout with invented numbers, and the traps of each."""

from __future__ import annotations

import gzip
import json
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from gridai_env.traces import TraceError, read_table
from gridai_env.traces.exports.plain import join_exports
from gridai_env.traces.exports.read import read_export
from gridai_env.traces.exports.series import Export, on_steps
from gridai_env.traces.weather import wind_proxy_cf
from scripts.convert import main

PRICE, CARBON, MARGINAL = "price_usd_per_mwh", "carbon_average_kg_per_mwh", "carbon_marginal_kg_per_mwh"
BERLIN = ZoneInfo("Europe/Berlin")
Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write_text(*lines: str, name: str = "own.csv", encoding: str = "utf-8") -> Path:
        path = tmp_path / name
        path.write_text("\n".join(lines) + "\n", encoding=encoding)
        return path

    return write_text


def stamps(export: Export) -> list[str]:
    return [str(minute.astype("datetime64[m]")) for minute in export.utc_minutes]


def local_hours(first: datetime, count: int, minutes: int = 60) -> list[datetime]:
    """Moments on the clock of a zone, as they follow each other."""
    start = first.astimezone(UTC)
    return [(start + timedelta(minutes=minutes * i)).astimezone(first.tzinfo) for i in range(count)]


AUTUMN = local_hours(datetime(2024, 10, 27, tzinfo=BERLIN), 25)
SPRING = local_hours(datetime(2024, 3, 31, tzinfo=BERLIN), 23)
AUTUMN_UTC = ["2024-10-26T22:00", "2024-10-27T22:00"]
SPRING_UTC = ["2024-03-30T23:00", "2024-03-31T21:00"]

# Forms on a clock without offset: header, row, rate, point.
LOCAL = {
    "entsoe": (
        ['"MTU (CET/CEST)","Day-ahead Price [EUR/MWh]","Currency","BZN|DE-LU"'],
        '"{0:%d.%m.%Y %H:%M} - {1:%d.%m.%Y %H:%M}","{2}.5","EUR",""',
    ),
    "entsoe 2025": (
        [
            '"MTU (CET/CEST)","Area","Sequence","Day-ahead Price (EUR/MWh)","Intraday Period (CET/CEST)",'
            '"Intraday Price (EUR/MWh)"'
        ],
        '"{0:%d/%m/%Y %H:%M:%S} - {1:%d/%m/%Y %H:%M:%S}","BZN|DE-LU","Without Sequence","{2}.5","",""',
    ),
    "smard": (
        ["Datum von;Datum bis;Deutschland/Luxemburg [€/MWh] Originalauflösungen"],
        "{0:%d.%m.%Y %H:%M};{1:%d.%m.%Y %H:%M};{2},5",
    ),
    "smard, older": (
        ["Datum;Anfang;Ende;Deutschland/Luxemburg [€/MWh]"],
        "{0:%d.%m.%Y};{0:%H:%M};{1:%H:%M};{2},5",
    ),
    "smard in English": (
        ["Start date;End date;Germany/Luxembourg [€/MWh] Original resolutions"],
        "{0:%b} {0.day}, {0:%Y %I:%M %p};{1:%b} {1.day}, {1:%Y %I:%M %p};{2}.5",
    ),
    "nordpool": (
        ["Delivery Start (CET);Delivery End (CET);SE3 Price (EUR)"],
        "{0:%d.%m.%Y %H:%M:%S};{1:%d.%m.%Y %H:%M:%S};{2},5",
    ),
}


def local_lines(name: str, moments: list[datetime]) -> list[str]:
    header, row = LOCAL[name]
    hour = timedelta(hours=1)
    ends = [(moment.astimezone(UTC) + hour).astimezone(moment.tzinfo) for moment in moments]
    return header + [
        row.format(moment, end, i - 3) for i, (moment, end) in enumerate(zip(moments, ends, strict=True))
    ]


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize("name", sorted(LOCAL))
def test_clock_changes_without_offset_by_the_order_of_rows(write: Write, name: str, order: int) -> None:
    for moments, ends in ((AUTUMN, AUTUMN_UTC), (SPRING, SPRING_UTC)):
        header, *rows = local_lines(name, moments)
        export = read_export(write(header, *rows[::order]), usd_per={"EUR": 2.0})
        assert [stamps(export)[0], stamps(export)[-1]] == ends
        assert (np.diff(export.utc_minutes) == 60).all()
        prices = [2.0 * float(f"{i - 3}.5") for i in range(len(moments))]  # -3.5, -2.5, -1.5, 0.5, ...
        assert export.columns[PRICE].tolist() == prices
        assert "1 EUR = 2 USD" in export.text


@pytest.mark.parametrize("name", sorted(LOCAL))
def test_an_hour_that_comes_twice_but_stands_once_or_does_not_exist_is_refused(
    write: Write, name: str
) -> None:
    lines = local_lines(name, AUTUMN)
    with pytest.raises(TraceError, match=r"line 4, .*comes twice, but stands once"):
        read_export(write(*lines[:4], *lines[5:]), usd_per={"EUR": 1.0})
    naive = [moment.replace(tzinfo=None) for moment in SPRING[:2]]
    skipped = local_lines(name, [*naive, datetime(2024, 3, 31, 2), naive[0] + timedelta(hours=3)])
    with pytest.raises(TraceError, match=r"line 4, .*does not exist: clocks were put forward"):
        read_export(write(*skipped), usd_per={"EUR": 1.0})


def test_entsoe_leaves_an_empty_row_at_the_hour_that_clocks_skip(write: Write) -> None:
    lines = [
        *local_lines("entsoe", SPRING[:2]),
        '"31.03.2024 02:00 - 31.03.2024 03:00","","EUR",""',
        '"31.03.2024 03:00 - 31.03.2024 04:00","n/e","EUR",""',
        '"31.03.2024 04:00 - 31.03.2024 05:00","-7.25","EUR",""',
    ]
    export = read_export(write(*lines), usd_per={"EUR": 1.0})
    assert stamps(export) == [f"2024-03-{d}" for d in ("30T23:00", "31T00:00", "31T01:00", "31T02:00")]
    assert export.columns[PRICE] == pytest.approx([-3.5, -2.5, np.nan, -7.25], nan_ok=True)
    assert "1 rows left out: empty ones of an hour that clocks skip" in " ".join(export.notes)
    assert "1 intervals are gaps" in " ".join(export.notes)
    assert export.text == "ENTSO-E day-ahead BZN|DE-LU, 1 EUR = 1 USD"


def test_entsoe_marks_the_hours_of_a_clock_change(write: Write) -> None:
    header = '"MTU (CET/CEST)","Area","Sequence","Day-ahead Price (EUR/MWh)"'
    row = '"27/10/2024 {}:00:00{} - 27/10/2024 {}:00:00{}","BZN|DE-LU","Sequence 1","{}"'
    rows = [
        row.format("02", " (CEST)", "02", " (CET)", 1),
        row.format("02", " (CET)", "03", " (CET)", 2),
        row.format("03", " (CET)", "04", " (CET)", 3),
    ]
    export = read_export(write(header, *rows), usd_per={"EUR": 1.0})
    assert stamps(export) == ["2024-10-27T00:00", "2024-10-27T01:00", "2024-10-27T02:00"]
    # The marks count even where one of the two hours stands alone.
    assert stamps(read_export(write(header, *rows[1:]), usd_per={"EUR": 1.0}))[0] == "2024-10-27T01:00"


def test_entsoe_in_utc_with_areas_sequences_and_each_line_in_quotes(write: Write) -> None:
    header = '"MTU (UTC)","Area","Sequence","Day-ahead Price (GBP/MWh)"'
    rows = [
        f'"01/01/2025 00:{15 * i:02d}:00 - 01/01/2025 00:{15 * i + 15}:00","BZN|{area}","Sequence {n}","{i}{n}.0"'
        for i in range(3)
        for area in ("AT", "FR")
        for n in (1, 2)
    ]
    path = write(header, *rows)
    with pytest.raises(TraceError, match=r"holds BZN\|AT Sequence 1, BZN\|AT Sequence 2, BZN\|FR Sequence 1"):
        read_export(path, usd_per={"GBP": 1.0})
    with pytest.raises(TraceError, match=r"'BZN\|AT' is several series.*choose one with point="):
        read_export(path, point="BZN|AT", usd_per={"GBP": 1.0})
    with pytest.raises(TraceError, match=r"prices are in GBP; give the rate to USD.*--rate GBP="):
        read_export(path, point="BZN|AT Sequence 1")
    export = read_export(path, point="BZN|AT Sequence 2", usd_per={"GBP": 1.25})
    assert export.columns[PRICE].tolist() == [2.5, 15.0, 27.5]
    assert set(export.step_minutes) == {15}
    assert (
        "other series left out (9 rows): BZN|AT Sequence 1, BZN|FR Sequence 1, BZN|FR Sequence 2"
        in export.notes
    )

    quoted = ['"' + line.replace('"', "", 2).replace('"', '""') + '"' for line in (header, *rows)]
    again = read_export(write(*quoted), point="BZN|AT Sequence 2", usd_per={"GBP": 1.25})
    assert again.columns[PRICE].tolist() == export.columns[PRICE].tolist()


def test_a_sequence_that_changes_inside_a_file_is_one_series(write: Write) -> None:
    header = '"MTU (UTC)","Area","Sequence","Day-ahead Price (EUR/MWh)"'
    rows = [
        f'"01/01/2025 0{h}:00:00 - 01/01/2025 0{h + 1}:00:00","BZN|FR","{name}","{h}"'
        for h, name in enumerate(["Without Sequence"] * 2 + ["Sequence 1"] * 2)
    ]
    export = read_export(write(header, *rows), point="BZN|FR", usd_per={"EUR": 1.0})
    assert export.columns[PRICE].tolist() == [0, 1, 2, 3]


def test_entsoe_py_series_and_frame(write: Write) -> None:
    moments = local_hours(datetime(2024, 10, 27, 1, tzinfo=BERLIN), 4)
    path = write(",0", *(f"{moment},{i}.5" for i, moment in enumerate(moments)))
    with pytest.raises(TraceError, match=r"does not name the currency.*--rate CAD="):
        read_export(path)
    export = read_export(path, usd_per={"EUR": 2.0})
    assert export.format_name == "entsoe-py"
    assert stamps(export)[0] == "2024-10-26T23:00" and len(stamps(export)) == 4
    assert export.columns[PRICE].tolist() == [1.0, 3.0, 5.0, 7.0]

    frame = write(",DE_LU,FR", *(f"{moment},{i},{-i}" for i, moment in enumerate(moments)))
    with pytest.raises(TraceError, match="holds DE_LU, FR; choose one"):
        read_export(frame, usd_per={"EUR": 1.0})
    assert read_export(frame, point="FR", usd_per={"EUR": 1.0}).columns[PRICE].tolist() == [0, -1, -2, -3]
    naive = write(",0", "2024-10-27 01:00:00,1")
    with pytest.raises(TraceError, match="has no offset; export stamps with their offset"):
        read_export(naive, usd_per={"EUR": 1.0})


def test_smard_areas_thousands_and_dashes(write: Write) -> None:
    german = [
        "Datum von;Datum bis;Deutschland/Luxemburg [€/MWh] Originalauflösungen;Belgien [€/MWh] Berechnete Auflösungen",
        "01.10.2025 00:00;01.10.2025 00:15;1.234,50;-",
        "01.10.2025 00:15;01.10.2025 00:30;-;3,25",
    ]
    for encoding in ("utf-8", "utf-8-sig", "utf-16"):
        path = write(*german, encoding=encoding)
        export = read_export(path, point="Deutschland/Luxemburg", usd_per={"EUR": 1.0})
        assert export.columns[PRICE] == pytest.approx([1234.5, np.nan], nan_ok=True)
        assert stamps(export) == ["2025-09-30T22:00", "2025-09-30T22:15"]
    english = [
        "Start date;End date;Germany/Luxembourg [€/MWh] Calculated resolutions;DE/AT/LU [€/MWh] Calculated resolutions",
        "Jan 1, 2023 12:00 AM;Jan 1, 2023 1:00 AM;1,234.50;-",
        "Jan 1, 2023 1:00 AM;Jan 1, 2023 2:00 AM;-5.20;-",
    ]
    export = read_export(write(*english), point="Germany/Luxembourg", usd_per={"EUR": 1.0})
    assert export.columns[PRICE].tolist() == [1234.5, -5.2]


def test_nordpool_areas_each_in_its_currency(write: Write) -> None:
    lines = ["Delivery Start (CET);Delivery End (CET);SE3 Price (EUR);UK Price (GBP);"]
    lines += [f"01.07.2024 0{h}:00:00;01.07.2024 0{h + 1}:00:00;{h},5;{h};" for h in range(3)]
    path = write(*lines)
    assert read_export(path, point="UK", usd_per={"GBP": 1.25}).columns[PRICE].tolist() == [0, 1.25, 2.5]
    export = read_export(path, point="SE3", usd_per={"EUR": 2.0})
    assert export.columns[PRICE].tolist() == [1, 3, 5] and stamps(export)[0] == "2024-06-30T22:00"
    with pytest.raises(TraceError, match=r"the rate of GBP .*is not used, since this file is read in EUR"):
        read_export(path, point="SE3", usd_per={"EUR": 2.0, "GBP": 1.25})


def test_nordpool_names_areas_without_the_word_price(write: Write) -> None:
    rows = (
        "01.07.2024 00:00:00;01.07.2024 01:00:00;31,5;30",
        "01.07.2024 01:00:00;01.07.2024 02:00:00;32,5;30",
    )
    path = write("Delivery Start (CET);Delivery End (CET);SE3 (EUR);FI (EUR)", *rows)
    assert read_export(path, point="SE3", usd_per={"EUR": 2.0}).columns[PRICE].tolist() == [63.0, 65.0]
    volumes = write("Delivery Start (CET);Delivery End (CET);SE3 (MWh)", rows[0].rpartition(";")[0])
    with pytest.raises(TraceError, match="found the header"):
        read_export(volumes, usd_per={"EUR": 2.0})


def test_entsoe_file_library_by_area_and_currency(write: Write) -> None:
    header = (
        "DateTime(UTC) ResolutionCode AreaCode MapCode ContractType Sequence Price[Currency/MWh] Currency"
    )
    rows = [
        f"2025-09-30 {hour:02d}:00:00.000,PT60M,10Y,{area},{market},,{price},{currency}"
        for hour in range(3)
        for area, market, price, currency in (
            ("SE3", "Day-ahead", 31.5, "EUR"),
            ("SE3", "Intraday", 90, "EUR"),
            ("PL", "Day-ahead", 300, "PLN"),
        )
    ]
    path = write(header.replace(" ", "\t"), *(row.replace(",", "\t") for row in rows))
    read = read_export(path, point="SE3", usd_per={"EUR": 2.0})
    assert read.columns[PRICE].tolist() == [63.0] * 3
    assert any("3 rows with ContractType = Intraday left out" in note for note in read.notes)
    with pytest.raises(TraceError, match="PLN"):
        read_export(path, point="PL", usd_per={"EUR": 2.0})


def test_energinets_new_dataset_as_text_and_json(write: Write) -> None:
    first = datetime(2025, 9, 30, 22, tzinfo=UTC)
    moments = [first + timedelta(minutes=15 * i) for i in range(8)]
    names = ["TimeUTC", "TimeDK", "PriceArea", "DayAheadPriceEUR", "DayAheadPriceDKK"]
    rows = [
        [
            f"{t:%Y-%m-%dT%H:%M:%S}",
            f"{t.astimezone(ZoneInfo('Europe/Copenhagen')):%Y-%m-%dT%H:%M:%S}",
            area,
            i - 1.5,
            i,
        ]
        for i, t in enumerate(moments)
        for area in ("DK1", "DK2")
    ][::-1]
    text = write(";".join(names), *(";".join(map(str, row)).replace(".", ",") for row in rows))
    records = [dict(zip(names, row, strict=True)) for row in rows]
    answer = write(json.dumps({"total": 16, "dataset": "DayAheadPrices", "records": records}), name="a.JSON")
    for path in (text, answer):
        export = read_export(path, point="DK1", usd_per={"EUR": 2.0})
        assert stamps(export)[0] == "2025-09-30T22:00" and set(export.step_minutes) == {15}
        assert export.columns[PRICE].tolist() == [2.0 * (i - 1.5) for i in range(8)]
    crowns = read_export(text, point="DK2", usd_per={"DKK": 1.0})
    assert crowns.columns[PRICE].tolist() == [0, 1, 2, 3, 4, 5, 6, 7]
    with pytest.raises(TraceError, match=r"the rate of DKK \(usd_per, --rate\) is not used"):
        read_export(text, point="DK1", usd_per={"EUR": 1.0, "DKK": 1.0})


def caiso(value: str, kinds: tuple[str, ...], minutes: int = 60) -> list[str]:
    head = (
        "INTERVALSTARTTIME_GMT,INTERVALENDTIME_GMT,OPR_DT,OPR_HR,OPR_INTERVAL,NODE_ID_XML,NODE_ID,NODE,MARKET_RUN_ID,"
        f"LMP_TYPE,XML_DATA_ITEM,PNODE_RESMRID,GRP_TYPE,POS,{value},GROUP"
    )
    node = "TH_NP15_GEN-APND"
    lines = [head]
    for kind in kinds:
        for i in range(4):
            start = datetime(2024, 11, 3, 7, tzinfo=UTC) + timedelta(minutes=minutes * i)
            end = start + timedelta(minutes=minutes)
            lines.append(
                f"{start:%Y-%m-%dT%H:%M:%S}-00:00,{end:%Y-%m-%dT%H:%M:%S}-00:00,2024-11-03,{i + 1},0,{node},{node},"
                f"{node},DAM,{kind},{kind}_PRC,{node},ALL,0,{i - 1}.25,1"
            )
    return lines


def test_caiso_takes_the_price_and_not_its_parts(write: Write) -> None:
    export = read_export(write(*caiso("MW", ("MCC", "LMP", "MCE"))))
    assert export.columns[PRICE].tolist() == [-1.25, 0.25, 1.25, 2.25]
    assert stamps(export)[0] == "2024-11-03T07:00" and export.text == "CAISO OASIS TH_NP15_GEN-APND DAM, USD"
    assert "8 rows with LMP_TYPE = MCC, MCE left out" in export.notes
    with pytest.raises(TraceError, match="all rows have LMP_TYPE = MCC; need lmp"):
        read_export(write(*caiso("MW", ("MCC",))))
    quarter = read_export(write(*caiso("VALUE", ("LMP",), 15)))
    assert quarter.columns[PRICE].tolist() == [-1.25, 0.25, 1.25, 2.25] and set(quarter.step_minutes) == {15}
    with pytest.raises(TraceError, match=r"rate of EUR .*is not used, since this file is read in USD"):
        read_export(write(*caiso("MW", ("LMP",))), usd_per={"EUR": 1.1})


@pytest.mark.parametrize("market", ["da", "rt"])
def test_pjm_rows_in_force_of_one_node(write: Write, market: str) -> None:
    head = (
        "datetime_beginning_utc,datetime_beginning_ept,pnode_id,pnode_name,voltage,equipment,type,zone,"
        f"system_energy_price_{market},total_lmp_{market},congestion_price_{market},marginal_loss_price_{market},"
        "row_is_current,version_nbr"
    )
    rows = [
        f"11/3/2024 {h}:00:00 {half},11/3/2024 {e}:00:00 AM,{node},{name},,,HUB,,1,{price},0,0,{now},{version}"
        for h, half, e in ((4, "AM", 12), (5, "AM", 1), (6, "AM", 1), (12, "PM", 7))
        for node, name in ((51288, "WESTERN HUB"), (4669664, "AEP"))
        for price, now, version in ((90, "False", 1), (h + 0.5, "True", 2))
    ]
    export = read_export(write(head, *rows), point="WESTERN HUB")
    assert stamps(export) == ["2024-11-03T04:00", "2024-11-03T05:00", "2024-11-03T06:00", "2024-11-03T12:00"]
    assert export.columns[PRICE].tolist() == [4.5, 5.5, 6.5, 12.5]
    assert "8 rows with row_is_current = False left out" in export.notes
    assert read_export(write(head, *rows), point="51288").columns[PRICE].tolist() == [4.5, 5.5, 6.5, 12.5]


NYISO = '"Time Stamp","Name","PTID","LBMP ($/MWHr)","Marginal Cost Losses ($/MWHr)","Marginal Cost Congestion ($/MWHr)"'
NEW_YORK = ZoneInfo("America/New_York")


def test_nyiso_day_ahead_marks_the_beginning_real_time_the_end(write: Write) -> None:
    moments = local_hours(datetime(2024, 11, 3, tzinfo=NEW_YORK), 25)
    places = (("N.Y.C.", 61761), ("WEST", 61752))
    row = '"{:%m/%d/%Y %H:%M}","{}",{},{}.5,0,0'
    rows = [row.format(t, *place, i - 1) for i, t in enumerate(moments) for place in places]
    export = read_export(write(NYISO, *rows), point="WEST")
    assert (stamps(export)[0], stamps(export)[-1]) == ("2024-11-03T04:00", "2024-11-04T04:00")
    assert (np.diff(export.utc_minutes) == 60).all() and export.columns[PRICE][:2].tolist() == [-1.5, 0.5]

    # Five minutes: the stamps end their interval, also through the hour that comes twice.
    ends = local_hours(datetime(2024, 11, 3, 0, 5, tzinfo=NEW_YORK), 36, minutes=5)
    rows = [f'"{t:%m/%d/%Y %H:%M:%S}","WEST",61752,{i // 12},0,0' for i, t in enumerate(ends)]
    fine = read_export(write(NYISO, *rows))
    assert (stamps(fine)[0], stamps(fine)[-1]) == ("2024-11-03T04:00", "2024-11-03T06:55")
    assert fine.columns[PRICE].tolist() == [i // 12 for i in range(36)] and set(fine.step_minutes) == {5}

    extra = [*rows[:4], '"11/03/2024 00:22:30","WEST",61752,99,0,0', *rows[4:]]
    assert read_export(write(NYISO, *extra)).columns[PRICE].tolist() == fine.columns[PRICE].tolist()


def test_aemo_ends_of_intervals_on_market_time_in_australian_dollars(write: Write) -> None:
    head = "REGION,SETTLEMENTDATE,TOTALDEMAND,RRP,PERIODTYPE"
    half = [datetime(2021, 9, 30, 21, 30) + timedelta(minutes=30 * i) for i in range(6)]
    fine = [half[-1] + timedelta(minutes=5 * i) for i in range(1, 37)]
    rows = [f"NSW1,{t:%Y/%m/%d %H:%M:%S},7000,{i - 3},TRADE" for i, t in enumerate([*half, *fine])]
    path = write(head, *rows)
    with pytest.raises(TraceError, match=r"prices are in AUD; give the rate to USD"):
        read_export(path)
    export = read_export(path, usd_per={"AUD": 0.5})
    # 21:30 and 22:00 at UTC+10 end the half-hours from 11:00 and 11:30 UTC.
    assert stamps(export)[:2] == ["2021-09-30T11:00", "2021-09-30T11:30"]
    assert stamps(export)[5:8] == ["2021-09-30T13:30", "2021-09-30T14:00", "2021-09-30T14:05"]
    assert export.step_minutes.tolist() == [30] * 6 + [5] * 36
    assert export.columns[PRICE].tolist() == [0.5 * (i - 3) for i in range(42)]
    # Market time has no summer: also in January 10:30 ends the half-hour from 00:00 UTC.
    summer = [f"NSW1,2020/01/15 {10 + i // 2}:{30 * (i % 2):02d}:00,7000,{i},TRADE" for i in range(1, 7)]
    assert stamps(read_export(write(head, *summer), usd_per={"AUD": 0.5}))[0] == "2020-01-15T00:00"


POINT = "Settlement Point Name,Settlement Point Type,Settlement Point Price"
REAL_TIME = "Delivery Date,Delivery Hour,Delivery Interval,{}" + POINT + "{}"


@pytest.mark.parametrize("flagged", ["Repeated Hour Flag", "DSTFlag", "no flag"])
def test_ercot_real_time_through_the_hour_that_comes_twice(write: Write, flagged: str) -> None:
    passes = [(1, "N"), (2, "N"), (2, "Y"), (3, "N")]
    before, after = {"Repeated Hour Flag": ("Repeated Hour Flag,", ""), "DSTFlag": ("", ",DSTFlag")}.get(
        flagged, ("", "")
    )
    row = "11/03/2024,{},{},{}LZ_AEN,{},{}{}"
    rows = [
        row.format(hour, quarter, f"{flag}," if before else "", kind, n + extra, f",{flag}" if after else "")
        for n, (hour, flag) in enumerate(passes)
        for quarter in (1, 2, 3, 4)
        for kind, extra in (("LZ", 0), ("LZEW", 50))
    ]
    path = write(REAL_TIME.format(before, after).replace(" ", "" if after else " "), *rows)
    with pytest.raises(TraceError, match="LZ_AEN LZ, LZ_AEN LZEW"):
        read_export(path, point="LZ_AEN")
    export = read_export(path, point="LZ_AEN LZ")
    assert stamps(export)[0] == "2024-11-03T05:00" and set(export.step_minutes) == {15}
    assert export.columns[PRICE].tolist() == [n for n in range(4) for _ in range(4)]
    assert (np.diff(export.utc_minutes) == 15).all()


def test_ercots_interface_answers_with_fields_and_lists(write: Write) -> None:
    names = ["deliveryDate", "hourEnding", "settlementPoint", "settlementPointPrice", "DSTFlag"]
    passes = ((1, False), (2, False), (2, True))
    data = [["2024-11-03", f"{h:02d}:00", "HB_HUBAVG", h - 1.5, flag] for h, flag in passes]
    answer = {"_meta": {"totalPages": 1}, "fields": [{"name": name} for name in names], "data": data}
    path = write(json.dumps(answer), name="a.json")
    packed = path.with_name("b.json.GZ")
    packed.write_bytes(gzip.compress(path.read_bytes()))
    for one in (path, packed):
        export = read_export(one)
        assert stamps(export) == ["2024-11-03T05:00", "2024-11-03T06:00", "2024-11-03T07:00"]
        assert export.columns[PRICE].tolist() == [-0.5, 0.5, 0.5]


def test_gridstatus_io_and_its_currency(write: Write) -> None:
    header = "interval_start_utc,interval_end_utc,market,location,location_type,lmp,energy,congestion,loss"
    rows = [
        f"2025-06-01T0{h}:00:00+00:00,2025-06-01T0{h + 1}:00:00+00:00,DAY_AHEAD_HOURLY,{place},Zone,{h - 1},0,0,0"
        for h in range(3)
        for place in ("ONTARIO", "WEST")
    ]
    path = write(header, *rows)
    assert read_export(path, point="WEST", zone="US-NY-NYIS").columns[PRICE].tolist() == [-1, 0, 1]
    with pytest.raises(TraceError, match=r"the rate of CAD .* is not used, since this file is read in USD"):
        read_export(path, point="WEST", zone="US-NY-NYIS", usd_per={"CAD": 0.5})
    export = read_export(path, point="ONTARIO", zone="CA-ON", usd_per={"CAD": 0.5})
    assert export.columns[PRICE].tolist() == [-0.5, 0, 0.5] and "1 CAD = 0.5 USD" in export.text
    for zone in ("CA-ON", "MX", None):
        with pytest.raises(TraceError, match=r"does not name the currency of its prices; .*--rate CAD="):
            read_export(path, point="ONTARIO", zone=zone)


def test_an_own_file_names_its_currency(write: Write) -> None:
    rows = [f"2025-06-01T0{h}:00Z,{h}" for h in range(3)]
    export = read_export(write("utc,price_eur_per_mwh", *rows), usd_per={"EUR": 2.0})
    assert export.columns[PRICE].tolist() == [0, 2, 4]
    ember = [f"Germany,DEU,2025-06-01 0{h}:00:00,2025-06-01 0{h + 2}:00:00,{h}" for h in range(3)]
    header = "Country,ISO3 Code,Datetime (UTC),Datetime (Local),Price (EUR/MWhe)"
    assert read_export(write(header, *ember), usd_per={"EUR": 2.0}).columns[PRICE].tolist() == [0, 2, 4]


def test_files_that_are_no_table_or_have_names_twice(write: Write) -> None:
    with zipfile.ZipFile(write("", name="own.csv"), "w") as archive:
        archive.writestr("a.csv", "utc,price_eur_per_mwh")
    with pytest.raises(TraceError, match="zip archive or a workbook; unpack it, or save it as CSV"):
        read_export(write("", name="x.csv").with_name("own.csv"))
    with pytest.raises(TraceError, match="columns price_eur_per_mwh appear more than once"):
        read_export(write("utc,price_eur_per_mwh,price_eur_per_mwh", "2025-06-01T00:00Z,1,2"))
    with pytest.raises(TraceError, match="line 3 has 1 cells, the header has 2; mend or remove the line"):
        read_export(write("utc,price_eur_per_mwh", "2025-06-01T00:00Z,1", "Source: the exchange"))
    with pytest.raises(TraceError, match=r"line 3, utc = 'Total': is no date and time like .*remove the row"):
        read_export(write("utc,price_eur_per_mwh", "2025-06-01T00:00Z,1", "Total,1"), usd_per={"EUR": 1.0})


@pytest.mark.parametrize("rates", [{"EUR": 0.0}, {"EUR": float("nan")}, {"EUR": 1e6}, {"USD": 2.0}])
def test_rates_that_cannot_be(write: Write, rates: dict[str, float]) -> None:
    with pytest.raises(TraceError, match=r"usd_per\['...'\] = .*must be"):
        read_export(write("utc,price_eur_per_mwh", "2025-06-01T00:00Z,1"), usd_per=rates)


# Carbon -------------------------------------------------------------------------------------------------------------


def test_watttime_in_pounds_as_text_and_json(write: Write) -> None:
    points = [
        (datetime(2024, 3, 10, 8, tzinfo=UTC) + timedelta(minutes=5 * i), 1000.0 + i) for i in range(12)
    ]
    text = write("point_time,value,version", *(f"{t.isoformat()},{v},2023-03-01" for t, v in points))
    data = [{"point_time": t.isoformat(), "value": v, "last_updated": "x"} for t, v in points]
    meta = {
        "region": "CAISO_NORTH",
        "signal_type": "co2_moer",
        "units": "lbs_co2_per_mwh",
        "model": {"date": "x"},
    }
    answer = write(json.dumps({"data": data, "meta": meta}), name="a.json")
    for path in (text, answer):
        named = path == text  # the text does not name its unit
        export = read_export(path, in_pounds=named)
        assert export.columns[MARGINAL] == pytest.approx([v * 0.45359237 for _, v in points])
    with pytest.raises(TraceError, match=r"no column 'units' says .*--marginal-in-pounds"):
        read_export(text)
    for key, value in (("units", "percentile"), ("signal_type", "health_damage")):
        other = write(json.dumps({"data": data, "meta": meta | {key: value}}), name="b.json")
        with pytest.raises(TraceError, match=f"all rows have {key} = {value}; need"):
            read_export(other)


def test_watttimes_older_files_by_version_and_interface_by_region(write: Write) -> None:
    times = [f"2019-02-28 {i // 12:02d}:{5 * (i % 12):02d}:00+00:00" for i in range(24)]
    one = write("timestamp,MOER", *(f"{t},1000" for t in times))
    two = write(
        "timestamp,MOER version 2.0,MOER version 1.0", *(f"{t},1000,900" for t in times), name="two.csv"
    )
    records = [
        {"point_time": t.replace(" ", "T"), "value": 1000, "ba": ba, "datatype": "MOER", "frequency": 300}
        for ba in ("PJM_DC", "PJM_SW")
        for t in times
    ]
    interface = write(json.dumps(records), name="v2.json")
    for path, point in ((one, None), (two, "2.0"), (interface, "PJM_DC")):
        read = read_export(path, point=point, in_pounds=True)
        assert read.columns[MARGINAL] == pytest.approx([453.59237] * 24)
        with pytest.raises(TraceError, match=r"no column 'units' says"):
            read_export(path, point=point)
    for path in (two, interface):
        with pytest.raises(TraceError, match=r"choose one with .*--marginal-region"):
            read_export(path, in_pounds=True)


def test_a_unit_that_the_file_names_is_not_named_again(write: Write) -> None:
    path = write("point_time,value,units", "2024-03-10T08:00:00+00:00,1000,lbs_co2_per_mwh")
    with pytest.raises(TraceError, match=r"names its unit itself; leave in_pounds"):
        read_export(path, in_pounds=True)


def test_an_export_without_any_value_is_refused(write: Write) -> None:
    header = "Datetime (UTC),Zone id,Carbon intensity gCO2eq/kWh (direct),Data estimated"
    path = write(header, *(f"2024-01-01 {hour:02d}:00:00,XX,300,true" for hour in range(24)))
    assert len(read_export(path).utc_minutes) == 24
    with pytest.raises(TraceError, match="no row has a value of carbon_average_kg_per_mwh"):
        read_export(path, drop_estimated=True)


def test_electricity_maps_interface(write: Write) -> None:
    history = [
        {
            "zone": "DE",
            "carbonIntensity": 300 + h if h else None,
            "datetime": f"2024-05-01T0{h}:00:00.000Z",
            "updatedAt": "2024-05-02T00:00:00.000Z",
            "emissionFactorType": "lifecycle",
            "isEstimated": h == 2,
            "estimationMethod": None,
        }
        for h in range(3)
    ]
    path = write(
        json.dumps({"zone": "DE", "history": history, "temporalGranularity": "hourly"}), name="a.json"
    )
    with pytest.raises(TraceError, match=r"emissionFactorType = lifecycle; need direct; .*--carbon-kind"):
        read_export(path)
    export = read_export(path, carbon="life_cycle", drop_estimated=True)
    assert export.zone == "DE" and "life cycle" in export.text
    assert export.columns[CARBON] == pytest.approx([np.nan, 301, np.nan], nan_ok=True)


def test_estimates_cannot_be_dropped_where_none_are_marked(write: Write) -> None:
    path = write("point_time,value", "2024-01-01T00:00:00+00:00,900")
    with pytest.raises(TraceError, match="no column marks estimates; leave drop_estimated"):
        read_export(path, drop_estimated=True, in_pounds=True)


# Steps --------------------------------------------------------------------------------------------------------------


def steps_of(*gaps: tuple[int, int], lost: tuple[int, ...] = ()) -> Export:
    """Rows of a step, then of another; the value counts them, without those that are lost."""
    utc = np.cumsum([0, *(step for step, count in gaps for _ in range(count))])[:-1]
    keep = np.array([i for i in range(len(utc)) if i not in lost])
    return Export("f", "x", "", utc[keep], {PRICE: keep.astype(float)})


def test_each_stretch_keeps_its_step() -> None:
    mixed = steps_of((60, 3), (15, 12), (60, 3), (30, 6))
    hours = on_steps(mixed, average=True)
    assert hours.columns[PRICE].tolist() == [0, 1, 2, 4.5, 8.5, 12.5, 15, 16, 17, 18.5, 20.5, 22.5]
    assert "averaged to hours: 6 of 60 min, 6 of 30 min, 12 of 15 min" in hours.notes
    assert on_steps(steps_of((60, 5)), average=True).columns[PRICE].tolist() == [0, 1, 2, 3, 4]
    kept = on_steps(mixed)
    assert kept.step_minutes.tolist() == [60] * 3 + [15] * 12 + [60] * 3 + [30] * 6
    assert kept.columns[PRICE].tolist() == list(range(24))


@pytest.mark.parametrize("lost", [(5,), (5, 6, 7), (5, 7), (4,), (9, 10, 11)])
def test_rows_that_are_missing_are_not_a_coarser_step(lost: tuple[int, ...]) -> None:
    export = on_steps(steps_of((15, 12), lost=lost))
    assert set(export.step_minutes) == {15}
    carbon = on_steps(Export("c", "x", "", np.arange(0, 180, 60), {CARBON: np.ones(3)}))
    table = join_exports("Z", [export, carbon])
    gaps = np.isnan(table.columns[PRICE])
    inside = [i for i in lost if i <= max(export.utc_minutes) // 15]
    assert gaps.nonzero()[0].tolist() == inside and not np.isnan(table.columns[CARBON]).any()


def test_rows_off_the_grid_are_left_out_and_said() -> None:
    utc = np.array([0, 60, 67, 120, 180])
    export = on_steps(Export("f", "x", "", utc, {PRICE: np.arange(5.0)}))
    assert export.columns[PRICE].tolist() == [0, 1, 3, 4]
    assert export.notes == ("1 rows off the grid left out, the first 1970-01-01T01:07Z",)
    with pytest.raises(TraceError, match="most rows are off any grid of an hour or a whole part of it"):
        on_steps(Export("f", "x", "", np.arange(0, 70, 7), {PRICE: np.zeros(10)}))


def test_hours_that_begin_between_the_hours_are_held_on_a_finer_grid() -> None:
    weather = on_steps(Export("w", "x", "", np.arange(30, 300, 60), {"wetbulb_c": np.arange(5.0)}))
    assert weather.utc_minutes.tolist() == [30, 90, 150, 210, 270] and set(weather.step_minutes) == {60}
    others = [
        on_steps(Export(name, "x", "", np.arange(0, 240, 60), {name: np.arange(4.0)}))
        for name in (PRICE, CARBON)
    ]
    table = join_exports("IN", [*others, weather])
    assert table.utc_minutes.tolist() == [30, 60, 90, 120, 150, 180, 210] and set(table.step_minutes) == {30}
    assert table.columns["wetbulb_c"].tolist() == [0, 0, 1, 1, 2, 2, 3]
    assert table.columns[PRICE].tolist() == [0, 1, 1, 2, 2, 3, 3]


def test_the_finer_grid_holds_coarser_values() -> None:
    price = on_steps(steps_of((60, 3), (15, 12)))
    carbon = on_steps(Export("c", "x", "", np.arange(0, 420, 60), {CARBON: np.arange(7.0) * 10}))
    table = join_exports("Z", [price, carbon])
    assert table.step_minutes.tolist() == [60] * 3 + [15] * 12
    assert table.columns[CARBON].tolist() == [0, 10, 20, *([30] * 4), *([40] * 4), *([50] * 4)]
    assert "values of c are held within their longer intervals" in table.notes
    assert any(note.startswith("cut to the time that all span") for note in table.notes)


# Weather ------------------------------------------------------------------------------------------------------------


def open_meteo(header: str, *rows: str, offset_s: int = 3600) -> list[str]:
    place = f"50.1,8.7,110.0,{offset_s},Europe/Berlin,GMT+1"
    return [
        "latitude,longitude,elevation,utc_offset_seconds,timezone,timezone_abbreviation",
        place,
        "",
        header,
        *rows,
    ]


def test_open_meteo_as_csv_with_radiation_wind_at_100_m_and_wet_bulb(write: Write) -> None:
    header = (
        "time,wet_bulb_temperature_2m (°F),wind_speed_10m (km/h),wind_speed_100m (m/s),shortwave_radiation (W/m²),"
        "cloud_cover (%)"
    )
    rows = [
        f"2024-07-01T{10 + h}:00,{50 + 9 * h},99,{6 + h},{100 * h if h != 2 else 'NaN'},50" for h in range(4)
    ]
    export = read_export(write(*open_meteo(header, *rows)))
    assert export.format_name == "openmeteo" and "PV from radiation, wind at 100 m" in export.text
    assert stamps(export) == ["2024-07-01T09:00", "2024-07-01T10:00", "2024-07-01T11:00"]
    assert export.columns["wetbulb_c"] == pytest.approx([10, 15, 20])
    # Radiation is the mean of the hour before: that of 11:00 belongs to the hour from 10:00.
    assert export.columns["pv_cf"] == pytest.approx([0.1, np.nan, 0.3], nan_ok=True)
    cube = (np.array([6.0, 7.0, 8.0]) ** 3 - 27) / (12.0**3 - 27)
    assert export.columns["wind_cf"] == pytest.approx(cube)
    assert wind_proxy_cf(np.array([6.0]), 100.0) == pytest.approx(cube[0])


def test_open_meteo_of_several_places_and_answers_of_an_error_are_refused_as_such(write: Write) -> None:
    head = "location_id,latitude,longitude,elevation,utc_offset_seconds,timezone,timezone_abbreviation"
    places = ("0,53.3,-6.2,10.0,0,GMT,GMT", "1,50.1,8.7,10.0,0,GMT,GMT")
    hours = ("location_id,time,temperature_2m (°C)", "0,2024-07-01T10:00,20", "1,2024-07-01T10:00,20")
    one = {"latitude": 53.3, "longitude": -6.2, "utc_offset_seconds": 0, "hourly_units": {}, "hourly": {}}
    for path in (write(head, *places, "", *hours), write(json.dumps([one, one]), name="two.json")):
        with pytest.raises(TraceError, match="is a list of locations; export one alone"):
            read_export(path)
    error = write(json.dumps({"error": True, "reason": "Daily limit exceeded"}), name="error.json")
    with pytest.raises(TraceError, match="an error of the portal: Daily limit exceeded"):
        read_export(error)


def test_open_meteo_adds_direct_and_diffuse_radiation(write: Write) -> None:
    header = (
        "time,temperature_2m (°C),relative_humidity_2m (%),direct_radiation (W/m²),diffuse_radiation (W/m²)"
    )
    rows = [f"2024-07-01T{10 + h}:00,20,50,{100 * h},{10 * h}" for h in range(3)]
    export = read_export(write(*open_meteo(header, *rows)))
    assert export.columns["pv_cf"] == pytest.approx([0.11, 0.22])
    assert export.columns["wetbulb_c"] == pytest.approx([13.7, 13.7], abs=0.01)


@pytest.mark.parametrize(
    ("header", "row", "message"),
    [
        (
            "time,temperature_2m (K),relative_humidity_2m (%)",
            "2024-07-01T10:00,290,50",
            "temperature_2m is in 'K'",
        ),
        ("time,wet_bulb_temperature_2m (°C)", "1719828000,20", "hourly.time"),
        ("time,wet_bulb_temperature_2m (°C)", "2024-07-01T10:00,warm", "could not convert"),
        ("time,temperature_2m (°C)", "2024-07-01T10:00,20", "needs temperature_2m and relative_humidity_2m"),
    ],
)
def test_weather_that_cannot_be_read_is_one_line(write: Write, header: str, row: str, message: str) -> None:
    with pytest.raises(TraceError, match=message) as error:
        read_export(write(*open_meteo(header, row)))
    assert "\n" not in str(error.value)


# The command --------------------------------------------------------------------------------------------------------


def test_convert_joins_average_and_marginal_carbon_and_says_what_it_left_out(
    write: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = datetime(2025, 10, 1, tzinfo=UTC)
    carbon = [
        f"{first + timedelta(hours=h):%Y-%m-%d %H:%M:%S},X,X,MINE,{100 + h},1,,,s,false," for h in range(3)
    ]
    header = "Datetime (UTC),Country,Zone name,Zone id,Carbon intensity gCO₂eq/kWh (direct),X,A,B,C,Data estimated,D"
    moer = [f"{(first + timedelta(minutes=5 * i)).isoformat()},1000" for i in range(36)]
    price = [f"{first + timedelta(minutes=15 * i):%Y-%m-%dT%H:%MZ};{i},5;" for i in range(12)]
    words = ["--zone", "MINE", "--price", str(write("utc;price_eur_per_mwh", *price, name="p.CSV"))]
    words += ["--carbon", str(write(header, *carbon, name="c.csv"))]
    words += [
        "--marginal",
        str(write("point_time,value", *moer, name="m.csv")),
        "--marginal-in-pounds",
        "--out",
        str(tmp_path / "t.csv"),
    ]
    assert main([*words, "--rate", "EUR=2"]) == 0
    out = capsys.readouterr().out
    for text in (
        "own: Own file, 1 EUR = 2 USD",
        "columns not used: Country, Zone name, X, A, B, C, D",
        "36 rows from 2025-10-01T00:00Z to 2025-10-01T02:55Z (36 of 5 min)",
        "c.csv are held within their longer intervals",
    ):
        assert text in out
    lines = (tmp_path / "t.csv").read_text().splitlines()
    assert lines[0] == f"utc,zone,{PRICE},{CARBON},{MARGINAL}"
    assert lines[4] == "2025-10-01T00:15Z,MINE,3.0,100.0,453.59237"

    again = [*words[:-1], str(tmp_path / "again.csv"), "--rate", "EUR=2"]
    assert main([*again, "--average", "--allow-missing", "0.1"]) == 0
    out = capsys.readouterr().out
    assert "3 rows from 2025-10-01T00:00Z" in out and "nothing to average" not in out

    for extra, message in (
        (["--rate", "EUR=2", "CAD=1"], "the rate of CAD (usd_per, --rate) is not used"),
        (["--rate", "EUR=2", "--rate", "CAD=1"], "give all values after one name: given twice: --rate"),
        (["--rate", "EUR=2", "EUR=3"], "--rate: given twice: EUR"),
        (
            ["--rate", "EUR=2", "--marginal-kg-per-mwh", "3"],
            "--marginal brings marginal carbon; give one of them",
        ),
        (["--rate", "EUR=2", "--allow-missing", "1"], "--allow-missing 1: must be"),
    ):
        assert main([*words, *extra]) == 2
        err = capsys.readouterr().err
        assert message in err and err.count("\n") == 1


def test_a_converted_file_of_quarter_hours_is_played_at_its_steps(write: Write, tmp_path: Path) -> None:
    first = datetime(2025, 10, 1, tzinfo=UTC)
    price = [f"{first + timedelta(minutes=15 * i):%Y-%m-%dT%H:%MZ},{i}" for i in range(96)]
    carbon = [f"{first + timedelta(hours=h):%Y-%m-%d %H:%M:%S},Z,{100 + h}" for h in range(24)]
    header = "Datetime (UTC),Zone id,Carbon intensity gCO₂eq/kWh (direct)"
    words = ["--price", str(write("utc,price_usd_per_mwh", *price, name="p.csv"))]
    words += ["--carbon", str(write(header, *carbon, name="c.csv"))]
    assert main([*words, "--zone", "Z", "--out", str(tmp_path / "t.csv.GZ")]) == 0
    start = np.array(["2025-10-01T02:00"], dtype="datetime64[m]")
    series = read_table(tmp_path / "t.csv.GZ").window(("Z",), start, 8, 0.25)
    assert series.price_usd_per_mwh[0, :, 0].tolist() == [8, 9, 10, 11, 12, 13, 14, 15]
    assert series.carbon_average_kg_per_mwh[0, :, 0].tolist() == [102] * 4 + [103] * 4


BITS = [
    "",
    "-",
    "n/e",
    "1e999",
    "nan",
    '"',
    ",",
    ";",
    "\n",
    "\0",
    "é",
    "2024-13-45",
    "-1",
    "9999-12-31 23:59",
    "1.2,5",
]


def test_spoilt_files_end_in_one_line(write: Write) -> None:
    rng = np.random.default_rng(0)
    head = "time,temperature_2m (°C),relative_humidity_2m (%),shortwave_radiation (W/m²)"
    weather = open_meteo(head, *(f"2024-07-01T{10 + h}:00,20,50,{h}" for h in range(5)))
    whole = [*(local_lines(name, AUTUMN[:8]) for name in LOCAL), caiso("MW", ("LMP", "MCC")), weather]
    read = 0
    for _ in range(300):
        text = "\n".join(whole[rng.integers(len(whole))])
        for _ in range(rng.integers(1, 4)):
            at, length = rng.integers(len(text)), rng.integers(6)
            text = text[:at] + BITS[rng.integers(len(BITS))] + text[at + length :]
        try:
            read_export(write(text), usd_per={"EUR": 1.0} if "EUR" in text or "€" in text else None)
            read += 1
        except TraceError as error:
            assert "own.csv" in str(error) and "\n" not in str(error)
    assert 20 < read < 280


# Commas, units and order --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("separator", "prices", "expected"),
    [
        (",", ['"45,250"', '"47,5"'], [45.25, 47.5]),  # decimals: one has not three digits
        (",", ['"1,045"', "47.5"], [1045.0, 47.5]),  # thousands: one has a point
        (",", ['"1,045"', '"-1,045.5"'], [1045.0, -1045.5]),
        (",", ['"1.045,25"', '"0,125"'], [1045.25, 0.125]),
        (",", ['"1,045"', "47"], "line 2: the comma of '1,045' may stand before .*; write 1.045 or 1045"),
        (",", ['"47,5"', "47.5"], "line 2 has a decimal comma, line 3 a decimal point"),
        (";", ["1,045", "47,5"], [1.045, 47.5]),
        (";", ["0,125", "1,045"], [0.125, 1.045]),
        (";", ["47", "1,045"], "line 3: the comma of '1,045' may stand before .*; write 1.045 or 1045"),
        (";", ["1,045", "1,045.5"], "line 2 has a decimal comma, line 3 a decimal point"),
    ],
)
def test_a_comma_before_three_digits_is_read_as_the_other_numbers_have_it(
    write: Write, separator: str, prices: list[str], expected: list[float] | str
) -> None:
    rows = [f"2025-06-01T0{h}:00Z{separator}{price}" for h, price in enumerate(prices)]
    path = write(f"utc{separator}price_usd_per_mwh", *rows)
    if isinstance(expected, list):
        assert read_export(path).columns[PRICE] == pytest.approx(expected)
    else:
        with pytest.raises(TraceError, match=expected):
            read_export(path)


def test_convert_says_that_a_price_looks_like_one_per_kwh(
    write: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hours = [f"2025-06-01T0{h}:00Z" for h in range(3)]
    price = write("utc,price_usd_per_mwh", *(f"{hour},0.045" for hour in hours))
    carbon = write(
        "Datetime (UTC),Zone id,Carbon intensity gCO₂eq/kWh (direct)",
        *(f"{hour},MINE,300" for hour in hours),
        name="c.csv",
    )
    words = [
        "--zone",
        "MINE",
        "--price",
        str(price),
        "--carbon",
        str(carbon),
        "--out",
        str(tmp_path / "t.csv"),
    ]
    assert main(words) == 0
    notes = [line for line in capsys.readouterr().out.splitlines() if "on average" in line]
    assert notes == [
        f"note: {PRICE} is 0.045 on average, usual are 2 to 3000: check its unit (per MWh, not per kWh)"
    ]


@pytest.mark.parametrize(
    ("header", "rows"),
    [
        ("utc,price_usd_per_mwh", ["2025-06-01T02:00Z,3", "2025-06-01T00:00Z,1", "2025-06-01T01:00Z,2"]),
        (
            "datetime,price_usd_per_mwh",
            ["2025-06-01T03:00+01:00,3", "2025-06-01T00:00Z,1", "2025-06-01T02:00+01:00,2"],
        ),
    ],
)
def test_rows_out_of_order_are_sorted_where_stamps_are_moments(
    write: Write, header: str, rows: list[str]
) -> None:
    export = read_export(write(header, *rows))
    assert stamps(export) == [f"2025-06-01T0{h}:00" for h in range(3)]
    assert export.columns[PRICE].tolist() == [1.0, 2.0, 3.0]
    assert "rows out of order, sorted by time" in export.notes
    with pytest.raises(TraceError, match="stands twice"):
        read_export(write(header, *rows, rows[0]))


def test_rows_out_of_order_on_a_local_clock_are_refused(write: Write) -> None:
    lines, row = LOCAL["smard"]
    hours = local_hours(datetime(2024, 6, 1, tzinfo=BERLIN), 4)
    rows = [row.format(hours[h], hours[h + 1], 40 + h) for h in (0, 2, 1)]
    with pytest.raises(TraceError, match="is earlier than the row before; sort the rows, or export UTC"):
        read_export(write(*lines, *rows), usd_per={"EUR": 1.0})
