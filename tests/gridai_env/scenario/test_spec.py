"""Scenario files: every fault is one clear line; overrides; the shipped files."""

import copy
import pickle
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml

from gridai_env.episodes.instance import make_instance
from gridai_env.scenario.checks import check_scenario
from gridai_env.scenario.errors import ScenarioError, closest, key_path, unit_of
from gridai_env.scenario.load import load_scenario, parse_scenario, scenario_folder, scenario_names
from gridai_env.scenario.spec import Scenario, scenario_hash

SITE = {"name": "a", "zone": "DE-LU", "latitude": 50.0, "longitude": 8.0, "legal_zone": "EU"}
BATTERY = {"capacity_mwh": 40.0, "power_mw": 10.0}
GENERATOR = {"capacity_mw": 8.0, "ramp_mw_per_h": 8.0, "min_load_mw": 2.0}
REGION = {
    "name": "r",
    "home": "a",
    "latitude": 50.0,
    "longitude": 8.0,
    "timezone": "Europe/Berlin",
    "mean_gpus": 1000.0,
}
CLASS = {
    "name": "chat",
    "share": 1.0,
    "latency_budget_ms": 300.0,
    "processing_ms": 150.0,
    "revenue_usd_per_gpuh": 0.2,
    "drop_usd_per_gpuh": 0.3,
}
JOB = {"name": "j", "gpus": 100.0, "duration_h": 4.0, "release_h": 2.0, "deadline_h": 12.0, "value_usd": 90.0}
EVENT = {"name": "e", "kind": "import_limit", "factor": 0.5}


def small() -> dict[str, Any]:
    """A valid scenario with one of everything, as read from a file."""
    return copy.deepcopy(
        {
            "name": "small",
            "horizon_h": 24.0,
            "reward_scale_usd": 100.0,
            "sites": [
                SITE | {"battery": BATTERY, "generator": GENERATOR, "grid": {"export_limit_mw": 1.0}},
                SITE | {"name": "b", "latitude": 52.0, "gpus": 500.0},
            ],
            "regions": [REGION],
            "classes": [CLASS],
            "jobs": [JOB],
            "events": [EVENT],
        }
    )


def put(data: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """Set ``sites.0.battery.power_mw`` in nested data; a value of ... deletes the key."""
    *parents, last = path.split(".")
    node: Any = data
    for part in parents:
        node = node[int(part)] if part.isdigit() else node.setdefault(part, {})
    if value is ...:
        del node[last]
    else:
        node[int(last) if last.isdigit() else last] = value
    return data


def fault(path: str, value: Any) -> str:
    with pytest.raises(ScenarioError) as caught:
        parse_scenario(put(small(), path, value), "my.yaml")
    assert str(caught.value).startswith("my.yaml: ")
    assert caught.value.problems
    return str(caught.value)


# key, value, what the message must contain beside the file: key path, value, range, unit
BAD = [
    ("sites.0.battery.capacity_mwh", -4.0, "sites[0].battery.capacity_mwh = -4.0", "(0, inf)", "[MWh]"),
    ("sites.0.battery.capacity_mwh", 0.0, "sites[0].battery.capacity_mwh = 0.0", "(0, inf)", "[MWh]"),
    ("sites.0.battery.capacity_mwh", float("nan"), "capacity_mwh = nan", "(0, inf)", "[MWh]"),
    ("sites.0.battery.power_mw", float("inf"), "power_mw = inf", "(0, inf)", "[MW]"),
    ("sites.0.battery.power_mw", "10 MW", "power_mw = '10 MW'", "a number in (0, inf)", "text"),
    ("sites.0.battery.power_mw", True, "power_mw = True", "a number in (0, inf)", "[MW]"),
    ("sites.0.battery.power_mw", None, "power_mw = None", "(0, inf)", "[MW]"),
    ("sites.0.battery.charge_efficiency", 0.0, "charge_efficiency = 0.0", "(0, 1]", "[no unit]"),
    ("sites.0.battery.charge_efficiency", 93.0, "charge_efficiency = 93.0", "(0, 1]", "[no unit]"),
    ("sites.0.battery.discharge_efficiency", 1.01, "discharge_efficiency = 1.01", "(0, 1]", "[no unit]"),
    ("sites.0.battery.initial_share", 0.95, "sites[0].battery.initial_share = 0.95", "0.9]", "[no unit]"),
    ("sites.0.battery.target_share", 0.05, "sites[0].battery.target_share = 0.05", "[min_share", "[no unit]"),
    ("sites.0.battery.min_share", 0.9, "sites[0].battery.max_share = 0.9", "(min_share", "[no unit]"),
    ("sites.0.generator.min_load_mw", 9.0, "generator.min_load_mw = 9.0", "capacity_mw = 8]", "[MW]"),
    ("sites.0.generator.ramp_mw_per_h", 1.0, "generator.ramp_mw_per_h = 1.0", "at least", "[MW/h]"),
    ("sites.0.generator.initial_mw", 1.0, "generator.initial_mw = 1.0", "0 or in [", "[MW]"),
    ("sites.0.generator.carbon_kg_per_mwh", -1.0, "carbon_kg_per_mwh = -1.0", "[0, inf)", "[kg/MWh]"),
    ("sites.0.grid.sell_share", 1.1, "sites[0].grid.sell_share = 1.1", "[0, 1]", "[no unit]"),
    ("sites.0.grid.sell_spread_usd_per_mwh", 0.0, "sell_spread_usd_per_mwh = 0.0", "(0, inf)", "[USD/MWh]"),
    ("sites.0.grid.import_limit_mw", -1.0, "grid.import_limit_mw = -1.0", "(0, inf)", "[MW]"),
    ("sites.0.gpus", -5, "sites[0].gpus = -5", "(0, inf)", "[accelerators]"),
    ("sites.0.utilisation_limit", 1.2, "sites[0].utilisation_limit = 1.2", "(0, 1]", "[no unit]"),
    ("sites.0.busy_kw_per_gpu", 0.1, "sites[0].busy_kw_per_gpu = 0.1", "above idle", "[kW per accelerator]"),
    ("sites.0.pue_base", 0.9, "sites[0].pue_base = 0.9", "[1, 3]", "[no unit]"),
    ("sites.0.latitude", 95.0, "sites[0].latitude = 95.0", "[-90, 90]", "[degrees]"),
    ("sites.0.latitude", ..., "sites[0].latitude: missing", "[-90, 90]", "[degrees]"),
    ("sites.0.zone", ..., "sites[0].zone: missing", "text", "price and carbon zone"),
    ("sites.0.zone", "DE-LUX", "sites[0].zone = 'DE-LUX'", "synthetic traces", "did you mean 'DE-LU'?"),
    ("sites.0.name", "a/b", "sites[0].name = 'a/b'", "a name of letters", "[no unit]"),
    ("sites.1.name", "a", "sites[1].name = 'a'", "unique in sites", "[no unit]"),
    ("sites.1.gpus", None, "sites[1].gpus = None", "a number in (0, inf)", "no region has its home here"),
    ("sites.0.rtt_key", "EastUs", "sites[0].rtt_key = 'EastUs'", "RTT table", "did you mean 'EastUS'?"),
    ("regions.0.home", "A", "regions[0].home = 'A'", "the name of a site", "[no unit]"),
    ("regions.0.timezone", "Mars/Olympus", "regions[0].timezone = 'Mars/Olympus'", "IANA", "[no unit]"),
    ("regions.0.peak_hour", 24.0, "regions[0].peak_hour = 24.0", "[0, 24)", "[hour of the day, local]"),
    ("regions.0.mean_gpus", 0.0, "regions[0].mean_gpus = 0.0", "(0, inf)", "[accelerators]"),
    ("classes.0.share", 0.9, "classes[*].share = [0.9]", "sum to 1", "0.9"),
    ("classes.0.supported_at", ["b"], "classes[0].supported_at = ['b']", "missing: a", "[no unit]"),
    (
        "classes.0.supported_at",
        ["a", "c"],
        "classes[0].supported_at = 'c'",
        "the name of a site",
        "[no unit]",
    ),
    ("classes.0.supported_at", [], "classes[0].supported_at = []", "at least one", "null: all"),
    ("classes.0.relocation_usd_per_gpuh", 0.0, "relocation_usd_per_gpuh = 0.0", "(0, inf)", "[USD/GPU-h]"),
    ("classes.0.warm_usd_per_gpuh", -0.1, "classes[0].warm_usd_per_gpuh = -0.1", "(0, inf)", "[USD/GPU-h]"),
    ("classes.0.drop_usd_per_gpuh", 0.0, "classes[0].drop_usd_per_gpuh = 0.0", "(0, inf)", "[USD/GPU-h]"),
    ("classes.0.wait_h", 1.5, "classes[0].wait_h = 1.5", "whole number of steps", "[h]"),
    ("classes.0.priority", 1.5, "classes[0].priority = 1.5", "a whole number", "[no unit]"),
    ("jobs.0.deadline_h", 25.0, "jobs[0].deadline_h = 25.0", "at most", "[h]"),
    ("jobs.0.deadline_h", 5.0, "jobs[0].deadline_h = 5.0", "at least release_h + duration_h = 6", "[h]"),
    ("jobs.0.duration_h", 1e-9, "jobs[0].duration_h = 1e-09", "whole number of steps", "[h]"),
    ("jobs.0.release_jitter_h", 3.0, "jobs[0].release_jitter_h = 3.0", "[0, release_h = 2]", "[h]"),
    ("jobs.0.release_jitter_h", 0.5, "jobs[0].release_jitter_h = 0.5", "whole number of steps", "[h]"),
    ("jobs.0.sites", ["z"], "jobs[0].sites = 'z'", "the name of a site", "known: a, b"),
    ("jobs.0.gpus", 9e9, "jobs[0].gpus = 9000000000.0", "at most", "[accelerators]"),
    ("events.0.factor", 1.5, "events[0].factor = 1.5", "[0, 1] for kind 'import_limit'", "[no unit]"),
    ("events.0.add_usd_per_mwh", 5.0, "events[0].add_usd_per_mwh = 5.0", "0 for kind", "[USD/MWh]"),
    ("events.0.kind", "flood", "events[0].kind = 'flood'", "one of 'available_gpus'", "[no unit]"),
    ("events.0.latest_h", 30.0, "events[0].latest_h = 30.0", "horizon_h = 24]", "[h]"),
    ("events.0.earliest_h", 24.0, "events[0].earliest_h = 24.0", "[0, horizon_h = 24)", "[h]"),
    ("events.0.sites", ["q"], "events[0].sites = 'q'", "the name of a site", "[no unit]"),
    ("forecast", {"leads_h": [1.0, 3.0, 2.0]}, "forecast.leads_h = [1.0, 3.0, 2.0]", "a rising list", "[h]"),
    ("forecast", {"leads_h": [0.5]}, "forecast.leads_h[0] = 0.5", "whole number of steps", "[h]"),
    ("forecast", {"leads_h": []}, "forecast.leads_h = []", "at least one entry", "[h]"),
    ("forecast", {"skill_last": 0.99}, "forecast.skill_last = 0.99", "skill_first = 0.95]", "[no unit]"),
    ("start", {"last": date(2022, 1, 1)}, "start.last = '2022-01-01'", "no day before", "[no unit]"),
    ("start", {"first": "tomorrow"}, "start.first = 'tomorrow'", "a date YYYY-MM-DD", "[no unit]"),
    ("start", {"hour_utc": 24}, "start.hour_utc = 24", "[0, 23]", "[hour of the day, UTC]"),
    ("dt_h", 0.7, "dt_h = 0.7", "1/n in whole minutes", "[h]"),
    ("dt_h", 2.0, "dt_h = 2.0", "1/n in whole minutes", "[h]"),
    ("dt_h", 0.0, "dt_h = 0.0", "(0, inf)", "[h]"),
    ("horizon_h", 24.5, "horizon_h = 24.5", "whole number of steps", "[h]"),
    ("carbon_excess_usd_per_t", 0.0, "carbon_excess_usd_per_t = 0.0", "(0, inf)", "[USD/t]"),
    ("reward_scale_usd", ..., "reward_scale_usd: missing", "(0, inf)", "[USD]"),
    ("sites", [], "sites = []", "a list with at least one entry", "[no unit]"),
    ("service_nodes", [], "service_nodes = []", "at least one entry", "one at each site"),
    ("latency", "fast", "latency = 'fast'", "a table of keys", "[no unit]"),
    ("sites.0.battery.capacity_kwh", 40000.0, "sites[0].battery.capacity_kwh", "unknown", "'capacity_mwh'"),
    ("horizont_h", 24.0, "horizont_h = 24.0: unknown key", "did you mean", "'horizon_h'"),
    ("sites.0.grid.sell_shares", 0.9, "sites[0].grid.sell_shares = 0.9", "unknown key", "'sell_share'"),
]


@pytest.mark.parametrize(("path", "value", "key", "allowed", "unit"), BAD)
def test_bad_value_is_named_with_range_and_unit(path, value, key, allowed, unit):
    message = fault(path, value)
    for part in (key, allowed, unit):
        assert part in message


def test_the_small_scenario_is_valid():
    scenario = parse_scenario(small(), "my.yaml")
    assert scenario.steps == 24
    assert [node.name for node in scenario.nodes()] == ["a", "b"]


def test_all_faults_come_in_one_error():
    data = put(put(small(), "sites.0.latitude", 99.0), "classes.0.drop_usd_per_gpuh", -1.0)
    with pytest.raises(ScenarioError) as caught:
        parse_scenario(data, "my.yaml")
    assert len(caught.value.problems) == 2
    assert "my.yaml: 2 problems" in str(caught.value)
    copied = pickle.loads(pickle.dumps(caught.value))
    assert str(copied) == str(caught.value) and copied.problems == caught.value.problems


def test_contradictions_are_listed_together():
    data = put(put(small(), "regions.0.home", "x"), "jobs.0.deadline_h", 30.0)
    with pytest.raises(ScenarioError) as caught:
        parse_scenario(data, "my.yaml")
    assert len(caught.value.problems) >= 2


def test_bound_shares_must_leave_room():
    data = put(put(small(), "classes.0.state_bound_share", 0.7), "classes.0.law_bound_share", 0.5)
    with pytest.raises(ScenarioError, match=r"law_bound_share = 0.5: must be at most 0.3"):
        parse_scenario(data, "my.yaml")


@pytest.mark.parametrize("share", ["law_bound_share", "state_bound_share"])
def test_bound_work_needs_a_service_node_in_its_zone(share):
    node = {"name": "n", "latitude": 0.0, "longitude": 0.0, "legal_zone": "US"}
    data = put(put(small(), "service_nodes", [node]), f"classes.0.{share}", 0.5)
    with pytest.raises(ScenarioError, match="legal zone with a service node"):
        parse_scenario(data, "my.yaml")
    parse_scenario(put(data, f"classes.0.{share}", 0.0), "my.yaml")


def test_zones_of_a_trace_file_may_have_any_name():
    data = put(small(), "sites.0.zone", "ours") | {"traces": "ours.csv"}
    assert parse_scenario(data, "my.yaml").sites[0].zone == "ours"


def test_a_named_site_that_is_too_small_for_a_job_is_refused():
    data = put(put(small(), "jobs.0.gpus", 460.0), "jobs.0.sites", ["a", "b"])
    with pytest.raises(ScenarioError, match=r"jobs\[0\].gpus = 460.0: must be at most 450 to fit site 'b'"):
        parse_scenario(data, "my.yaml")
    parse_scenario(put(data, "jobs.0.sites", ["a"]), "my.yaml")
    parse_scenario(put(data, "jobs.0.sites", None), "my.yaml")


def test_size_jitter_counts_for_the_fit():
    data = put(put(small(), "jobs.0.gpus", 420.0), "jobs.0.sites", ["b"])
    parse_scenario(data, "my.yaml")
    with pytest.raises(ScenarioError, match="to fit site 'b'"):
        parse_scenario(put(data, "jobs.0.size_jitter", 0.1), "my.yaml")


def test_price_shocks_may_be_any_size():
    event = {"name": "e", "kind": "price", "factor": 5.0, "add_usd_per_mwh": -30.0}
    parse_scenario(put(small(), "events", [event]), "my.yaml")


def test_quarter_hours_are_allowed():
    data = put(put(small(), "dt_h", 0.25), "classes.0.wait_h", 0.75)
    assert parse_scenario(data, "my.yaml").steps == 96


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "my.yaml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name: a\nname: b\n", "key 'name' twice"),
        ("sites: [{name: a, name: b}]\n", "key 'name' twice"),
        ("name: [a\n", "not valid YAML"),
        ("", "must be a table of keys"),
        ("- 1\n", "must be a table of keys"),
        ("1: 2\n", "unknown key (keys must be text)"),
        ("!!python/object:os.system {}\n", "not valid YAML"),
    ],
)
def test_faults_of_the_file_name_the_file(tmp_path, text, words):
    path = write(tmp_path, text)
    with pytest.raises(ScenarioError) as caught:
        load_scenario(path)
    assert str(path) in str(caught.value) and words in str(caught.value)


def test_a_file_that_is_no_text_is_refused(tmp_path):
    path = tmp_path / "my.yaml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ScenarioError, match=r"my\.yaml: cannot be read"):
        load_scenario(path)


def test_unknown_names_say_which_are_close():
    with pytest.raises(ScenarioError, match="did you mean 'two_sites'"):
        load_scenario("two_site")


@pytest.mark.parametrize("call", [load_scenario, make_instance])
def test_misspelt_overrides_say_which_are_close(call: Any) -> None:
    with pytest.raises(TypeError, match=f"{call.__name__}: got .* 'horizn_h'; did you mean 'horizon_h'"):
        call("two_sites", horizn_h=3.0)


def test_long_lists_of_known_names_are_cut() -> None:
    names = [f"name{i}" for i in range(600)]
    assert closest("?", names[:3]) == "known: name0, name1, name2"
    assert closest("?", names).endswith(", name39, ... (600 in all)")


def test_a_written_scenario_reads_back_equal(tmp_path):
    scenario = parse_scenario(small(), "my.yaml")
    path = write(tmp_path, yaml.safe_dump(scenario.model_dump(mode="json")))
    assert load_scenario(path) == scenario
    assert scenario_hash(load_scenario(path)) == scenario_hash(scenario)


def test_the_hash_changes_with_any_value():
    scenario = parse_scenario(small(), "my.yaml")
    other = parse_scenario(put(small(), "sites.0.battery.power_mw", 10.5), "my.yaml")
    assert scenario_hash(scenario) != scenario_hash(other)


@pytest.mark.parametrize(
    "name", ["two_sites", "four_markets", "microgrid_prosumer", "energy_geography", "global"]
)
def test_shipped_scenarios_load(name):
    assert name in scenario_names()
    assert load_scenario(name).name == name


def test_every_yaml_loads():
    for path in scenario_folder().glob("*.yaml"):
        check_scenario(load_scenario(path), str(path))


def test_overrides_replace_values():
    base = load_scenario("two_sites")
    changed = load_scenario(
        base,
        horizon_h=12.0,
        latency_scale=0.5,
        carbon_price_usd_per_t=0.0,
        forecast="perfect",
        traces="prices.csv",
    )
    assert changed.horizon_h == 12.0
    assert changed.latency.budget_scale == 0.5 * base.latency.budget_scale
    assert changed.carbon_price_usd_per_t == 0.0
    assert changed.forecast.kind == "perfect"
    assert changed.traces == str(Path.cwd() / "prices.csv")
    assert load_scenario(base) is base


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ({"horizon_h": -1.0}, "horizon_h = -1.0: must be a number in (0, 87600] [h]"),
        ({"horizon_h": 3.5}, "horizon_h = 3.5: must be a whole number of steps"),
        ({"latency_scale": 0.0}, "latency_scale = 0.0: must be a number in (0, inf)"),
        ({"latency_scale": True}, "latency_scale = True"),
        ({"latency_scale": float("nan")}, "latency_scale = nan"),
        ({"forecast": "oracle"}, "forecast.kind = 'oracle': must be one of 'perfect'"),
        ({"carbon_price_usd_per_t": "50"}, "carbon_price_usd_per_t = '50'"),
    ],
)
def test_bad_overrides_are_named(override, words):
    with pytest.raises(ScenarioError) as caught:
        load_scenario("two_sites", **override)
    assert words in str(caught.value) and "two_sites" in str(caught.value)


def test_a_shorter_horizon_leaves_out_late_jobs_and_clips_events():
    data = small() | {"carbon_budget_kg": 1000.0}
    data["jobs"].append(JOB | {"name": "late", "release_h": 12.0, "deadline_h": 20.0})
    data["events"] = [
        EVENT | {"latest_h": 20.0, "duration_h": 20.0},
        EVENT | {"name": "late", "earliest_h": 12.0},
    ]
    short = load_scenario(parse_scenario(data, "my.yaml"), horizon_h=12.0)
    assert [job.name for job in short.jobs] == ["j"]
    assert [event.name for event in short.events] == ["e"]
    assert (short.events[0].latest_h, short.events[0].duration_h) == (12.0, 12.0)
    assert short.carbon_budget_kg == 500.0


def test_a_job_that_jitter_may_push_past_a_shorter_horizon_is_left_out():
    data = put(small(), "jobs.0.release_jitter_h", 2.0)
    assert load_scenario(parse_scenario(data, "my.yaml"), horizon_h=13.0).jobs == []
    assert len(load_scenario(parse_scenario(data, "my.yaml"), horizon_h=14.0).jobs) == 1


def test_scenarios_built_in_python_are_checked_when_loaded():
    scenario = Scenario.model_validate(put(small(), "regions.0.home", "nowhere"))
    with pytest.raises(ScenarioError, match=r"regions\[0\].home = 'nowhere'"):
        load_scenario(scenario)


def test_every_number_of_the_schema_has_a_unit_or_is_a_ratio():
    ratios = ("share", "efficiency", "limit", "factor", "scale", "slack", "headroom", "noise", "swing")
    ratios += ("flatness", "jitter", "probability", "priority", "speed", "inflation", "pue_base")
    ratios += ("skill_first", "skill_last", "seed")
    for name, model in Scenario.model_json_schema()["$defs"].items():
        for key, value in model["properties"].items():
            kinds = {value.get("type"), *(option.get("type") for option in value.get("anyOf", []))}
            if kinds & {"number", "integer"}:
                assert unit_of(key) != "no unit" or key.endswith(ratios), (name, key)


def test_key_paths():
    assert key_path(("sites", 2, "battery", "capacity_mwh")) == "sites[2].battery.capacity_mwh"
    assert key_path(()) == "the file"
