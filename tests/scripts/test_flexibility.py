"""The headroom command: forms of files, tables, real data and bad input."""

import csv
import json
import os
from pathlib import Path

import numpy as np
import pytest

from scripts import flexibility
from scripts.studies.flexibility.headroom import HeadroomStudy

HOURS = np.datetime64("2022-01-01T00", "h") + np.arange(8760)


def made_up_year() -> np.ndarray:
    """800 MW; on 10 July 900, 1000, 940 MW, on 5 December 960, 920."""
    mw = np.full(8760, 800.0)
    july, december = 24 * (181 + 9) + 18, 24 * (334 + 4) + 7
    mw[july : july + 3] = 900.0, 1000.0, 940.0
    mw[december : december + 2] = 960.0, 920.0
    return mw


def plain(
    folder: Path, mw: np.ndarray | list[str], head: str = "utc,load_mw", name: str = "load.csv"
) -> Path:
    path = folder / name
    cells = [f"{value}" for value in mw]
    path.write_text("\n".join([head, *(f"{h}:00Z,{v}" for h, v in zip(HOURS, cells, strict=False))]))
    return path


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_made_up_year(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    out = tmp_path / "run"
    words = ["--headroom", str(plain(tmp_path, made_up_year())), "--shares", "0.02", "0.5", "--run-dir"]
    assert flexibility.main([*words, str(out)]) == 0
    printed = capsys.readouterr().out
    assert "mean 0.80 GW, limit 1.00 GW (highest hour), 0 of 8,760 hours filled" in printed
    assert "note: hours and months of the file are UTC" in printed

    first, second = rows_of(out / "headroom.csv")
    assert float(first["headroom_mw"]) == pytest.approx(180.0 / 2.248, rel=1e-12)
    assert (first["cut_h"], first["events"], first["at_most_half_share"]) == ("4", "2", "0.5")
    # 43.8 hours' worth: all 8,760 are cut, (8760 - 43.8) L = 280 + 8755 x 200.
    assert float(second["headroom_mw"]) == pytest.approx((280.0 + 8755 * 200.0) / (8760 - 43.8), rel=1e-12)
    assert [row["above_h"] for row in rows_of(out / "peaks.csv")] == ["5", "5", "4", "2"]
    assert (out / "headroom.png").read_bytes().startswith(b"\x89PNG")
    assert json.loads((out / "run.json").read_text())["kind"] == "headroom"
    assert flexibility.main([*words, str(out), "--utc-offset", "-6"]) == 0  # replaces its own tables
    assert "note" not in capsys.readouterr().out


def balance(folder: Path, name: str, hours: slice, wind: bool = True) -> Path:
    """A part of a year as EIA writes it; demand is the made-up year, generation 100 MW more, wind 50, sun none."""
    head = "Balancing Authority,Data Date,UTC Time at End of Hour"
    head += ",Demand (MW),Demand (MW) (Imputed),Demand (MW) (Adjusted)"
    head += ",Net Generation (MW),Net Generation (MW) from Solar,Net Generation (MW) from Wind"
    head += ",Net Generation (MW) from Wind (Imputed),Net Generation (MW) from Wind (Adjusted)"
    lines = [head]
    for hour, mw in zip(HOURS[hours], made_up_year()[hours], strict=True):
        end = (hour + 1).item().strftime("%m/%d/%Y %I:%M:%S %p")
        for area in ("ERCO", "OTHER"):
            blown = "50,,50" if wind else ",,"
            lines.append(f'{area},x,{end},0,,"{mw:,.0f}","{mw + 100:,.0f}",,{blown}')
    path = folder / name
    path.write_text("\n".join(lines))
    return path


def test_halves_of_a_year_as_downloaded(tmp_path: Path) -> None:
    files = [
        str(balance(tmp_path, "b.csv", slice(4000, None))),
        str(balance(tmp_path, "a.csv", slice(0, 4000))),
    ]
    study = HeadroomStudy.of(files, [0.0002], None, areas=["ERCO"])
    demand, gen, net = study.found
    assert [one.name for one in study.found] == ["ERCO demand", "ERCO gen", "ERCO net"]
    assert not study.notes and demand.utc_offset_h == -6.0
    assert (demand.load_mw == made_up_year()).all()
    assert (gen.load_mw == made_up_year() + 100.0).all() and (net.load_mw == made_up_year() + 50.0).all()
    assert demand.headroom[0]["headroom_mw"] == pytest.approx(180.0 / 2.248, rel=1e-12)
    assert demand.peaks[3]["local_hour_p10"] == 1.0  # 7 h UTC


def test_an_area_without_wind_and_sun_has_all_its_generation_net(tmp_path: Path) -> None:
    study = HeadroomStudy.of([str(balance(tmp_path, "b.csv", slice(None), wind=False))], [0.01], None)
    assert len(study.found) == 6 and (study.found[2].load_mw == made_up_year() + 100.0).all()


def test_generation_by_fuel_with_gaps(tmp_path: Path) -> None:
    lines = ["timestamp,WND,SUN,NG,avg_CI"]
    for i, (hour, mw) in enumerate(zip(HOURS + 1, made_up_year(), strict=True)):
        if i != 500:  # a row that is not there
            wind = {600: "", 800: "1000"}.get(i, "100")
            lines.append(f"{hour}:00,{wind},50,{3 * mw if i == 700 else mw},300")
    path = tmp_path / "fuels.csv"
    path.write_text("\n".join(lines))
    gen, net = HeadroomStudy.of([str(path)], [0.0002], 0.0).found
    assert (gen.filled_h, net.filled_h) == (4, 4)
    assert (gen.load_mw == made_up_year() + 150.0).all() and (net.load_mw == made_up_year()).all()
    # What generation shows to be wrong counts for net alone, too.
    (alone,) = HeadroomStudy.of([str(path)], [0.0002], 0.0, series=["net"]).found
    assert alone.name == "net" and alone.filled_h == 4


# Bad input ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "or --headroom FILE of a year of hourly load"),
        (["--headroom", "FILE", "--shares", "0"], "--shares 0"),
        (["--headroom", "FILE", "--shares", "1", "1"], "--shares: given twice: 1"),
        (["--headroom", "FILE", "--series", "net"], "series net: not in the file, which has load"),
        (
            ["--headroom", "FILE", "--areas", "PJM"],
            "areas PJM: not in the file, which has none that is named",
        ),
        (["--headroom", "FILE", "--year", "2021"], "has no hours of 2021; it holds 2022 to 2022"),
        (["--headroom", "FILE", "--unit", "GWh"], "--unit 'GWh'"),
        (["--headroom", "FILE", "--utc-offset", "30"], "--utc-offset 30"),
        (["--headroom", "FILE", "FILE"], "2022-01-01T00:00Z stands more than once"),
        (["--headroom", "nowhere.csv"], "nowhere.csv: no such file"),
    ],
)
def test_bad_options(
    words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(plain(tmp_path, made_up_year()))
    assert flexibility.main([path if word == "FILE" else word for word in words]) == 2
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1


HALF_HOURS = "\n".join(
    ["utc,load_mw", *(f"2022-01-01T{h:02d}:{m}Z,800" for h in range(24) for m in ("00", "30"))]
)
FUELS = "\n".join(["timestamp,WND,NG", "2022-01-01T00:00,1,2"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("utc,price\n2022-01-01T00:00Z,1", "found the columns 'utc,price', need EIA-930 as downloaded"),
        (FUELS, "column SUN is missing"),
        (HALF_HOURS, "line 3, utc = '2022-01-01T00:30Z' is no full hour; average the file to hours first"),
        ("utc,load_mw\n2022-01-01T00:00Z,1", "1 hours from 2022-01-01T00:00Z on are no year"),
        ("utc,load_mw\n2022-01-01T00:00Z,many", "line 2, load_mw = 'many': must be a number"),
        ("utc,load_mw\n1 Jan,1", "line 2, utc = '1 Jan' is no ISO 8601 date and time"),
        ("utc,load_mw\n", "no rows"),
        ("utc,load_mw,load_mw\n2022-01-01T00:00Z,1,1", "columns load_mw appear more than once"),
        (
            "Balancing Authority,UTC Time at End of Hour,Demand (MW)\nPJM,2022-01-01,1",
            "must be a time such as 01/31/2022 6:00:00 AM",
        ),
        ("Balancing Authority,UTC Time at End of Hour\nPJM,1", "has neither Demand (MW) nor Net Generation"),
    ],
)
def test_bad_files(text: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "load.csv"
    path.write_text(text)
    assert flexibility.main(["--headroom", str(path)]) == 2
    said = capsys.readouterr().err
    assert str(path) in said and message in said and said.count("\n") == 1


def error_of_two_years(folder: Path) -> str:
    path = plain(folder, made_up_year())
    more = "\n".join(f"{hour + 8760}:00Z,800" for hour in HOURS)
    path.write_text(f"{path.read_text()}\n{more}")
    assert HeadroomStudy.of([str(path)], [0.0002], 0.0, year=2022).found[0].load_mw.max() == 1000.0
    with pytest.raises(ValueError) as caught:
        HeadroomStudy.of([str(path)], [0.01], 0.0)
    return str(caught.value)


def test_parts_of_a_year_hold_the_same_series(tmp_path: Path) -> None:
    first = plain(tmp_path, made_up_year()[:4000])
    second = plain(tmp_path, made_up_year(), "utc,demand_mw", "demand.csv")
    with pytest.raises(ValueError, match=f"{first}, {second}: the files hold other series"):
        HeadroomStudy.of([str(first), str(second)], [0.01], 0.0)


def test_values_that_are_no_year_of_megawatts(tmp_path: Path) -> None:
    def error_of(mw: np.ndarray | list[str], **reading: object) -> str:
        with pytest.raises(ValueError) as caught:
            HeadroomStudy.of([str(plain(tmp_path, mw))], [0.01], 0.0, **reading)
        return str(caught.value)

    year = made_up_year()
    assert "is 0.8001 MW on average, usual are 200 to 3,000,000; say the unit" in error_of(year / 1e3)
    assert (
        HeadroomStudy.of([str(plain(tmp_path, year / 1e3))], [0.01], 0.0, unit="GW").found[0].load_mw.max()
        == 1000
    )
    assert "8,000 hours from 2022-01-01T00:00Z on are no year" in error_of(year[:8000])
    holes = [f"{mw:g}" if i % 10 else "" for i, mw in enumerate(year)]
    assert "load: 10.0% of the hours are missing or off by more than 25 %" in error_of(holes)
    assert "choose one with --year" in error_of_two_years(tmp_path)
    assert "load: is empty; choose other areas or series" in error_of([""] * 8760)
    assert "no hour is above 0 MW" in error_of(-year, unit="MW")


# Real data ----------------------------------------------------------------------------------------------------

# Year 2022: mean and limit in GW, then at 0.25, 0.5, 1, 2, 5 % of energy cut GW, hours, events; at 0.5 % the share of
# hours in which at most half is cut, and of hours from May to October.
TABLE = """
CISO gen|19.63 43.77|6.73 8.97 11.44 14.70 20.34|66 169 324 654 1787|18 42 60 92 188|83|100
CISO net|13.55 36.23|6.07 8.73 11.60 14.89 19.60|59 144 321 702 2099|17 40 77 134 290|77|100
ERCO gen|48.98 79.41|3.04 4.40 6.39 9.53 16.55|66 131 246 474 1153|20 32 51 77 133|74|100
ERCO net|34.02 64.87|2.38 4.54 7.39 10.88 17.28|46 102 226 523 1277|9 21 42 84 145|56|92
PJM gen|96.00 152.19|12.26 17.14 22.76 30.11 42.87|65 147 310 608 1734|14 30 52 85 205|78|97
PJM net|91.51 144.19|7.87 12.32 17.94 24.82 37.31|54 114 272 550 1518|14 24 49 80 179|65|100
NYIS gen|14.19 27.05|2.61 3.91 5.87 8.44 11.35|63 122 245 589 2163|12 19 31 84 274|68|100
NYIS net|13.65 26.47|2.51 3.78 5.72 8.23 11.21|63 110 240 562 2096|12 17 30 75 251|65|100
"""
# Hours of net above 0.80, 0.85, 0.90, 0.95 of the limit; events above 0.90 and 0.95 with mean and longest; months.
PEAKS = {
    "CISO": ([88, 48, 25, 8], (8, 3.1, 6), (3, 2.7, 3), "Sep 8"),
    "ERCO": ([737, 404, 178, 57], (35, 5.1, 10), (11, 5.2, 8), "Jul 45, Aug 7, Dec 5"),
    "PJM": ([764, 411, 161, 48], (33, 4.9, 10), (10, 4.8, 7), "Jul 24, Aug 24"),
    "NYIS": ([211, 124, 69, 17], (12, 5.8, 10), (7, 2.4, 6), "Jul 11, Aug 6"),
}
FILLED = {"CISO": 3, "ERCO": 0, "PJM": 28, "NYIS": 0}


def test_the_headroom_of_four_areas_in_2022() -> None:
    pytest.importorskip("pyarrow")
    folder = os.environ.get("GRIDAI_DATA_DIR")
    if not folder:
        pytest.skip("GRIDAI_DATA_DIR is not set: no real data to read")
    path = Path(folder) / "eia930-2022" / "eia930_generation_2022.parquet"
    if not path.is_file():
        pytest.skip("no eia930-2022/eia930_generation_2022.parquet below GRIDAI_DATA_DIR")

    study = HeadroomStudy.of([str(path)], [0.0025, 0.005, 0.01, 0.02, 0.05], None, areas=list(FILLED))
    lines = [line.split("|") for line in TABLE.split("\n") if line]
    for one, (name, level, gw, hours, events, half, season) in zip(study.found, lines, strict=True):
        assert (one.name, one.filled_h) == (name, FILLED[one.area])
        found = [one.load_mw.mean() / 1e3, one.load_mw.max() / 1e3]
        assert found == pytest.approx([float(x) for x in level.split()], abs=0.006), name
        for row, g, h, e in zip(one.headroom, gw.split(), hours.split(), events.split(), strict=True):
            assert row["headroom_mw"] / 1e3 == pytest.approx(float(g), rel=0.01), name
            assert abs(row["cut_h"] - int(h)) <= 2 and abs(row["events"] - int(e)) <= 2, name
        assert 100 * one.headroom[1]["at_most_half_share"] == pytest.approx(float(half), abs=1.0), name
        assert 100 * one.headroom[1]["may_october_share"] == pytest.approx(float(season), abs=0.6), name
        if one.series == "net":
            above, over90, over95, months = PEAKS[one.area]
            assert [row["above_h"] for row in one.peaks] == above
            for row, (count, mean, longest) in zip(one.peaks[2:], (over90, over95), strict=True):
                assert (row["events"], row["longest_event_h"]) == (count, longest)
                assert row["mean_event_h"] == pytest.approx(mean, abs=0.05)
            assert one.peaks[3]["months"] == months
