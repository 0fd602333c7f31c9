"""The command that checks a scenario."""

import json

import pytest
import yaml

from gridai_env.scenario.errors import scenario_schema
from gridai_env.scenario.load import scenario_names
from scripts.validate import main
from tests.gridai_env.scenario.test_spec import put, small


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
