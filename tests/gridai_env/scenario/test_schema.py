"""The JSON schema of scenario files and the program accept and refuse the same files; all faults in one go."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from gridai_env.scenario.errors import ScenarioError, scenario_schema, unit_of
from gridai_env.scenario.load import load_scenario, parse_scenario, scenario_folder
from tests.gridai_env.scenario.test_spec import put, small

jsonschema = pytest.importorskip("jsonschema", reason="extra `dev` is not installed")
NODE = {"name": "n", "latitude": 0.0, "longitude": 0.0, "legal_zone": "EU"}
FILE_JOBS = {"source": "x.csv", "count": 3, "mean_gpus": 5.0}

# Places of every kind of value, and values that fit some of them: each pair is a file.
PLACES = ("horizon_h", "capacity_slack", "sites.0.latitude", "sites.0.zone", "sites.0.rtt_key", "sites.1.name",
          "sites.0.battery", "sites.0.gpus", "sites.0.pue_base", "regions.0.peak_hour", "classes.0.priority",
          "classes.0.supported_at", "jobs.0.size_jitter", "events.0.announced", "events.0.kind", "service_nodes",
          "start.first", "start.hour_utc", "start.periods", "carbon_signal", "description", "forecast.leads_h",
          "demand", "demand.repeat", "demand.source")  # fmt: skip
VALUES = ("NO", "on", "1", "1.0", "1e1", "'1'", "-1", "0", "2023-02-30", "2023-03-01", "20230301", "text", "''",
          "null", "[]", "[a]", "[a, b]", "[a, a]", "{}", "{capacity_mwh: 1, power_mw: 1}", "1.0e+400",
          "2023-03-01T00:00", "'x.csv,repeat=true'",
          "'x.csv,model=1'", "'x.csv,modle=m'", "'x.csv,repeat'")  # fmt: skip


def accepted_by_program(path: Path) -> str | None:
    try:
        load_scenario(path)
    except ScenarioError as error:
        return str(error)
    return None


@pytest.fixture(scope="module")
def validator() -> Any:
    schema = scenario_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    checker = jsonschema.Draft202012Validator.FORMAT_CHECKER
    return jsonschema.Draft202012Validator(schema, format_checker=checker)


def as_editors_read(text: str) -> Any:
    """Return a file as JSON has it: dates are text, 1e1 is a number."""

    class Loader(yaml.SafeLoader):
        yaml_implicit_resolvers = {  # noqa: RUF012
            first: [pair for pair in pairs if not pair[0].endswith("timestamp")]
            for first, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()
        }

    return yaml.load(text.replace("1e1", "10.0").replace("1.0e+400", "-.inf"), Loader)


@pytest.mark.parametrize("place", PLACES)
def test_schema_and_program_agree(place: str, validator: Any, tmp_path: Path) -> None:
    path = tmp_path / "my.yaml"
    for value in VALUES[PLACES.index(place) % 3 :: 3]:  # two hundred files
        data = small() | {"service_nodes": [NODE], "start": {}, "forecast": {}, "demand": {}}
        if place == "demand":
            data.pop("demand")
        text = yaml.safe_dump(put(data, place, "PLACE")).replace("PLACE", value)
        path.write_text(text, encoding="utf-8")
        refused = accepted_by_program(path)
        # Contradictions between keys and names of tables in other files are beyond a schema.
        beyond = refused is not None and any(words in refused for words in (
            "the name of", "RTT table", "synthetic traces", "unique", "with all homes", "horizon", "a rising list",
            "whole number of steps", "in a legal zone", "legal zone with", "[0, 1] for kind", "no day before",
        ))  # fmt: skip
        by_schema = validator.is_valid(as_editors_read(text))
        assert by_schema == (refused is None) or (by_schema and beyond), (place, value, refused)


def test_shipped_files_fit_the_schema(validator: Any) -> None:
    for path in scenario_folder().glob("*.yaml"):
        validator.validate(as_editors_read(path.read_text(encoding="utf-8")))


def test_every_number_of_the_schema_says_its_unit() -> None:
    schema = scenario_schema()
    assert schema["$schema"].startswith("https://json-schema.org/")
    assert [sorted(option) for option in schema["properties"]["demand"]["anyOf"]] == [
        ["pattern", "type"],
        ["$ref"],
    ]
    for table in (schema, *schema["$defs"].values()):
        for key, node in table["properties"].items():
            if unit_of(key) != "no unit":
                assert node["description"].endswith(f"[{unit_of(key)}]"), key


def faults(tmp_path: Path, text: str) -> list[str]:
    path = tmp_path / "my.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ScenarioError) as caught:
        load_scenario(path)
    return [problem.split(" ", 1)[0].rstrip(":") for problem in caught.value.problems]


def test_all_faults_of_a_file_come_in_one_go(tmp_path: Path) -> None:
    data = small()
    for place, value in {
        "sites.0.latitude": 99.0,  # a range
        "sites.0.zone": False,  # NO, read as false
        "regions.0.timezone": "Europe/Berlyn",  # a table elsewhere
        "classes.0.drop_usd_per_gpuh": ...,  # missing
        "jobs.0.deadline_h": 3.0,  # two keys
        "horizont_h": 3.0,  # unknown
        "start": {"first": "2023-02-30"},
    }.items():
        put(data, place, value)
    assert sorted(faults(tmp_path, yaml.safe_dump(data))) == sorted(
        ["sites[0].latitude", "sites[0].zone", "regions[0].timezone", "classes[0].drop_usd_per_gpuh",
         "jobs[0].deadline_h", "horizont_h", "start.first"]
    )  # fmt: skip


def test_capacity_is_checked_beside_other_faults(tmp_path: Path) -> None:
    data = put(put(small(), "jobs.0.gpus", 9e9), "sites.0.longitude", 999.0)
    assert faults(tmp_path, yaml.safe_dump(data)) == ["sites[0].longitude", "jobs[0].gpus"]


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("sites.0.name", 7),
        ("sites.1.name", "a"),
        ("sites.0.legal_zone", None),
        ("sites", []),
        ("sites", "none"),
        ("regions.0.home", "c"),
        ("classes", []),
        ("classes.0.share", "1"),
        ("horizon_h", "day"),
        ("horizon_h", 24.5),
        ("dt_h", 0.7),
        ("dt_h", None),
        ("sites.0.battery.min_share", "low"),
        ("sites.0.generator.min_load_mw", True),
        ("sites.0.generator.capacity_mw", -1.0),
        ("jobs.0.release_h", "late"),
        ("events.0.kind", "flood"),
        ("start", {"first": "2023-13-01"}),
        ("traces", 3),
        ("forecast", {"skill_first": 2.0}),
    ],
)
def test_one_fault_brings_no_complaint_about_right_keys(tmp_path: Path, place: str, value: Any) -> None:
    data = small() | {"regions": [*small()["regions"], small()["regions"][0] | {"name": "s", "home": "b"}]}
    found = faults(tmp_path, yaml.safe_dump(put(data, place, value)))
    dotted = found[0].replace("[", ".").replace("]", "")
    assert len(found) == 1 and dotted.startswith(place), found


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("zone: NO", "sites[0].zone = False: must be text, not empty [no unit] (YAML reads NO"),
        ("zone: 12", "quote it"),
        ("zone: !!int x", "no valid int"),
        ("zone: " + "1" * 5000, "not valid YAML"),
        ("zone: " + "[" * 1200, "nested too deeply"),
        ("zone: &a [*a]", "sites[0].zone = [[[[...]]]]"),
    ],
)
def test_what_yaml_reads_otherwise_is_told(tmp_path: Path, line: str, words: str) -> None:
    text = yaml.safe_dump(put(small(), "sites.0.zone", "PLACE"), sort_keys=False)
    path = tmp_path / "my.yaml"
    path.write_text(text.replace("zone: PLACE", line, 1), encoding="utf-8")
    with pytest.raises(ScenarioError) as caught:
        load_scenario(path)
    assert words in str(caught.value) and len(str(caught.value)) < 1000


def test_anchors_that_expand_to_billions_are_shown_in_part(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i + 1}: &a{i + 1} [{', '.join([f'*a{i}'] * 10)}]" for i in range(12)]
    assert len(faults(tmp_path, yaml.safe_dump(small()) + "\n".join(lines))) == 13


@pytest.mark.parametrize(
    ("place", "value"), [("horizon_h", 1e9), ("dt_h", 1e-9), ("horizon_h", 80_000.0), ("sites", "many")]
)
def test_worlds_too_large_for_memory_are_refused(place: str, value: Any) -> None:
    data = small() | {"jobs": [], "events": []}
    if value == "many":
        value = [data["sites"][0] | {"name": f"s{i}"} for i in range(1001)]
    elif value == 80_000.0:
        data["dt_h"] = 1 / 60
    data = put(data, place, value)
    with pytest.raises(ScenarioError, match=place):
        parse_scenario(data, "my.yaml")
