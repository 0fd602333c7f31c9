"""The command that checks a scenario."""

import json

import pytest
import yaml

from gridai_env.episodes.instance import make_batch, make_instance
from gridai_env.files import InstanceError
from gridai_env.scenario.errors import scenario_schema
from gridai_env.scenario.load import scenario_names
from scripts.validate import main
from tests.gridai_env.scenario.test_spec import put, small
from tests.support import called_world


def write(tmp_path, data) -> str:
    path = tmp_path / "my.yaml"
    path.write_text(yaml.safe_dump(data), encoding="utf-8")
    return str(path)


@pytest.mark.parametrize("name", scenario_names())
def test_shipped_scenarios_pass(name, capsys):
    assert main([name]) == 0
    out, err = capsys.readouterr()
    assert out.rstrip().endswith("valid") and not err
    for words in ("regions", "action:", "may wait h", "local peak", "closed by latency", "traces: synthetic"):
        assert words in out


def test_closed_routes_and_missed_homes_are_counted(tmp_path, capsys):
    data = put(small(), "classes.0.processing_ms", 400.0)
    assert main([write(tmp_path, data)]) == 0
    out = capsys.readouterr().out
    assert "routes away from home: 1, open 0" in out
    assert "closed by latency      1, by it alone     1" in out
    assert "home of r misses the budget of chat/anywhere: 410 > 300 ms" in out


def test_a_connection_that_is_too_small_is_noted(tmp_path, capsys):
    data = put(small(), "sites.1.grid", {"import_limit_mw": 0.1})
    assert main([write(tmp_path, data)]) == 0
    assert "full load exceeds import" in capsys.readouterr().out


def test_bad_input_gives_code_2_and_the_key(tmp_path, capsys):
    path = write(tmp_path, put(small(), "sites.0.battery.charge_efficiency", 1.5))
    assert main([path]) == 2
    out, err = capsys.readouterr()
    assert not out
    assert path in err and "sites[0].battery.charge_efficiency = 1.5: must be a number in (0, 1]" in err


def test_a_zone_without_synthetic_traces_is_named(tmp_path, capsys):
    assert main([write(tmp_path, put(small(), "sites.0.zone", "XX"))]) == 2
    shown = capsys.readouterr().err
    assert "sites[0].zone = 'XX'" in shown
    assert "known: " in shown


def test_bad_rows_of_a_demand_file_are_named_by_region(tmp_path, capsys):
    (region,) = {region["name"] for region in small()["regions"]}
    stamps = [f"2024-03-{day:02d}T{hour:02d}:00Z" for day in range(1, 21) for hour in range(24)]
    values = {stamps[5]: "", stamps[100]: "-5"}
    rows = [f"{stamp},{region},{values.get(stamp, '10')}" for stamp in (*stamps, stamps[7])]
    (tmp_path / "d.csv").write_text("\n".join(["utc,region,gpus", *rows]), encoding="utf-8")
    assert main([write(tmp_path, small()), "--demand", str(tmp_path / "d.csv")]) == 0
    out = capsys.readouterr().out
    assert f"region '{region}' spans 2024-03-01T00:00Z to 2024-03-21T00:00Z, 3 of 480 intervals" in out
    for text in ("T05:00Z: gpus = nan", "T07:00Z: row appears more than once", "T04:00Z: gpus = -5"):
        assert text in out


def test_a_missing_trace_file_is_named(capsys):
    assert main(["two_sites", "nowhere.csv"]) == 2
    assert "nowhere.csv" in capsys.readouterr().err


def test_a_trace_file_that_is_too_short_is_refused(tmp_path, capsys):
    columns = "zone,utc,price_usd_per_mwh,carbon_average_kg_per_mwh,temp_c,wetbulb_c,pv_cf,wind_cf"
    rows = [f"DE-LU,2023-01-01T{hour:02d}:00Z,50,300,5,4,0,0.3" for hour in range(24)]
    path = tmp_path / "short.csv"
    path.write_text("\n".join([columns, *rows]) + "\n", encoding="utf-8")
    assert main([write(tmp_path, small()), str(path)]) == 2
    assert "short.csv" in capsys.readouterr().err


def test_real_traces_are_covered(data_dir, capsys):
    path = data_dir / "panel" / "hourly_2021_2023.parquet"
    pytest.importorskip("pyarrow", reason="extra `data` is not installed")
    assert main(["four_markets", str(path)]) == 0
    assert "4 in use" in capsys.readouterr().out


def test_the_schema_is_printed(capsys):
    assert main(["--schema"]) == 0
    assert json.loads(capsys.readouterr().out) == scenario_schema()


def test_no_argument_is_an_error(capsys):
    assert main([]) == 2
    assert capsys.readouterr().err.startswith("error: a scenario is needed")


def trace_rows(zone: str, hours: int, price: float = 50.0, carbon: float = 300.0) -> list[str]:
    return [
        f"2025-05-{1 + h // 24:02d}T{h % 24:02d}:00Z,{zone},{price + h % 24},{carbon}" for h in range(hours)
    ]


@pytest.fixture
def own_world(tmp_path):
    """A scenario whose zones nobody calibrated, and a function that writes its trace file."""
    columns = "utc,zone,price_usd_per_mwh,carbon_average_kg_per_mwh"

    def make(rows, header=columns, **changes):
        path = tmp_path / "own.csv"
        path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
        data = put(small(), "traces", str(path))
        for key, value in {"sites.0.zone": "IE", "sites.1.zone": "SE-SE3", **changes}.items():
            data = put(data, key, value)
        return write(tmp_path, data)

    return make


def both(hours: int, **values: float) -> list[str]:
    return [*trace_rows("IE", hours, **values), *trace_rows("SE-SE3", hours, **values)]


def test_columns_of_a_file_are_counted_and_what_is_derived_or_left_out_is_said(own_world, capsys):
    assert main([own_world([*both(96)])]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "zone 'IE' spans 2025-05-01T00:00Z to 2025-05-05T00:00Z; rows of 60 min" in out
    assert "price_usd_per_mwh 96 0 50 61.5 73 from the file" in out
    assert "carbon_marginal_kg_per_mwh that of average carbon (not in the file, zone not calibrated)" in out
    assert "wetbulb_c left out, PUE at its base pv_cf left out, 0 wind_cf left out, 0" in out
    assert "drawn from all valid days of the file: it has none of the scenario's dates" in out


def test_gaps_are_counted_by_column_and_the_first_bad_hours_named(own_world, capsys):
    rows = both(96)
    for at, cell in ((30, "inf"), (31, ""), (40, "-30000"), (50, "1e9")):
        rows[at] = rows[at].rsplit(",", 2)[0] + f",{cell},300"
    del rows[60]
    assert main([own_world(rows)]) == 2  # no 48 h in a row are left
    out, err = capsys.readouterr()
    assert (
        "5 of 96 intervals of 60 min are bad, first 2025-05-02T06:00Z: price_usd_per_mwh = inf (allowed:"
        in out
    )
    assert "bad: 2025-05-02T07:00Z: price_usd_per_mwh = nan" in out and "... 2 more" in out
    words = " ".join(out.split())
    assert "price_usd_per_mwh 91 5 50" in words and "carbon_average_kg_per_mwh 95 1 300 300 300" in words
    assert "no 48 h in a row without a gap in IE, SE-SE3" in err and "first 2025-05-02T06:00Z" in err


def test_units_of_no_market_are_noted_and_columns_not_used_named(own_world, capsys):
    assert main([own_world([f"{row},7" for row in both(96, price=0.03, carbon=0.3)], "utc,zone,price_usd_per_mwh,"
                           "carbon_average_kg_per_mwh,temp_c")]) == 0  # fmt: skip
    out = capsys.readouterr().out
    assert (
        "note: " in out
        and "carbon_average_kg_per_mwh is 0.3 on average, usual are 5 to 1500: check its unit" in out
    )
    assert "columns not used: temp_c" in out


def test_wind_without_a_series_is_refused(own_world, capsys):
    assert main([own_world(both(96), **{"sites.1.wind_mw": 2.0})]) == 2
    err = capsys.readouterr().err
    assert "zone 'SE-SE3' has no column wind_cf and is not calibrated, but site" in err
    assert "has wind_mw = 2; add wind_cf (0 to 1), or set wind_mw: 0" in err


def test_a_contract_without_a_profile_is_refused_and_a_mean_profile_is_said(own_world, capsys):
    line = {"name": "clean", "kind": "matching", "wind_mw": 5.0, "price_usd_per_mwh": 5.0}
    path = own_world(both(96), **{"sites.1.lines": [line]})
    assert main([path]) == 2
    said = "zone 'SE-SE3' has no column wind_cf and is not calibrated, but line 'clean' of 'b' has wind_mw = 5; add"
    assert said in capsys.readouterr().err
    with pytest.raises(InstanceError, match="but line 'clean' of 'b' has wind_mw = 5"):
        make_instance(path)

    # A calibrated zone has its mean.
    rows = [*trace_rows("IE", 96), *trace_rows("DE-LU", 96)]
    path = own_world(rows, **{"sites.1.zone": "DE-LU", "sites.1.lines": [line]})
    words = "contract b/clean: wind_cf is not in the file, it is a month-hour mean of the"
    assert main([path]) == 0
    assert f"note: {words}" in capsys.readouterr().out
    assert make_instance(path).provenance["contracts"].startswith(words)
    rows = [f"{row},0.3" for row in rows]
    header = "utc,zone,price_usd_per_mwh,carbon_average_kg_per_mwh,wind_cf"
    path = own_world(rows, header, **{"sites.1.zone": "DE-LU", "sites.1.lines": [line]})
    assert main([path]) == 0 and words not in capsys.readouterr().out
    assert "contracts" not in make_instance(path).provenance


def test_lines_are_listed_with_their_calls_and_what_is_agreed(tmp_path, capsys):
    calls = {
        "per_week": 7,
        "probability": 0.5,
        "start_h": [12.0, 12.0],
        "duration_h": [3.0, 3.0],
        "hours_a_year": 9.0,
    }
    hard = {"name": "non-firm", "kind": "connection", "mw": 0.1, "hard": True, "calls": calls}
    response = {
        "name": "response", "kind": "demand_response", "price_usd_per_mwh": 1150.0, "commitment_mw": 0.2,
        "energy_price_usd_per_mwh": "market", "capacity_usd_per_mw_day": 300.0, "baseline": {"days": 7}, "calls": calls,
    }  # fmt: skip
    contract = {"name": "clean", "kind": "matching", "wind_mw": 2.0, "price_usd_per_mwh": 5.0}
    tier = {"name": "tier", "kind": "tier", "mw": 0.3, "price_usd_per_mwh": 20.0}
    data = put(put(small(), "sites.0.lines", [hard, contract, tier]), "sites.1.lines", [response])
    data = put(
        data, "sites.1.power_modes", [{"points": [{"speed": 0.8, "kw": 0.9}, {"speed": 1.0, "kw": 1.15}]}]
    )
    data = put(data, "horizon_h", 168.0) | {"constraint": {"quantity": "line_excess_mwh", "budget": 3.0}}
    path = write(tmp_path, data)
    assert main([path]) == 0
    told = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]

    # Half of seven calls of three hours, less those beyond the nine hours of an episode.
    compiled = make_instance(path, seed=0).compiled
    called_h = (make_batch(compiled, range(16)).knowledge.call_depth > 0).sum(1).mean(0)
    assert (called_h > 4.0).all() and (called_h <= 9.0).all()
    hours = [f"{h:.3g} {h * 8760 / 168:.0f}" for h in called_h]
    agreed = "notice 0 h, at most 9 h in an episode"
    assert f"a/non-firm connection 0.1 hard 3.5 {hours[0]} {agreed}" in told
    assert "a/clean matching 2 5 wind 2 MW, sun 0 MW in DE-LU" in told
    assert "a/tier tier 0.3 20" in told
    (row,) = (
        line for line in told if line.startswith(f"b/response demand_response baseline 1150 3.5 {hours[1]}")
    )
    for words in (agreed, "commitment 0.2 MW", "the market's price (never below", "300 USD per MW and day",
                  "mean of 7 weekdays"):  # fmt: skip
        assert words in row
    assert any(
        line.startswith("note: idle accelerators alone draw") and "this hard line" in line for line in told
    )
    assert "power modes of b (speed: kW, mixes between): 0: 0.25, 0.8: 0.9, 1: 1.15" in told
    assert "constraint: line_excess_mwh at most 3 MWh an episode, shown as info['cost']" in told

    # A call with the probability 0 never comes, a line high above what idles needs no warning.
    hard["calls"], hard["mw"] = calls | {"probability": 0.0}, 1.0
    assert main([write(tmp_path, put(data, "sites.0.lines", [hard, tier]))]) == 0
    out = capsys.readouterr().out
    assert "note: none of these episodes is called" in out and "idle accelerators" not in out


def test_a_scenario_without_lines_says_so(tmp_path, capsys):
    assert main([write(tmp_path, small())]) == 0
    out = capsys.readouterr().out
    assert "\nno lines\n" in out and "called hours" not in out and "constraint" not in out


def test_calls_of_a_trace_file_are_told(tmp_path, capsys):
    calls = dict.fromkeys(called_world.hours("2024-03-30T17:00", "2024-03-30T20:00"), 1)
    path = called_world.write_file(tmp_path / "f.csv", calls, {"2024-03-30T17:00": 2})
    assert main([str(called_world.scenario(tmp_path, path))]) == 0
    out = capsys.readouterr().out
    words = "column call_south, zone SOUTH, rows of 60 min: 1 calls, 156 called hours a year; notice: column notice"
    assert f"calls of south/non-firm: {words}" in out
    assert "call_south                       168      0         0   0.01786         1  from the file" in out
    assert "columns not used" not in out
    tier = {"name": "tier", "kind": "tier", "mw": 0.5, "price_usd_per_mwh": 5.0}
    assert main([str(called_world.scenario(tmp_path, path, tier))]) == 0
    assert "columns not used: call_south, notice_h_south" in capsys.readouterr().out
    called_world.write_file(path, None)
    assert main([str(called_world.scenario(tmp_path, path))]) == 2
    assert "f.csv: no column call_south, but calls.source is traces" in capsys.readouterr().err


def test_power_modes_off_the_hull_are_named(tmp_path, capsys):
    points = [{"speed": 0.5, "kw": 0.8}, {"speed": 0.8, "kw": 0.9}, {"speed": 1.0, "kw": 1.15}]
    assert main([write(tmp_path, put(small(), "sites.0.power_modes", [{"points": points}]))]) == 0
    # From 0.25 kW when idle to 0.9 at 0.8: half of the speed takes 0.65625 kW.
    note = "note: power mode of 0.8 kW at speed 0.5 is dropped: a mix of idle and other modes has that speed at 0.6562"
    out = capsys.readouterr().out
    assert note in out and out.count("is dropped") == 1
    below = [{"speed": 0.5, "kw": 0.65}, *points[1:]]
    assert main([write(tmp_path, put(small(), "sites.0.power_modes", [{"points": below}]))]) == 0
    assert "is dropped" not in capsys.readouterr().out
