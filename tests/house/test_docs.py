"""The documentation: its code runs, its tables come from the code, and whatever it names is there."""

import csv
import importlib
import importlib.util
import inspect
import json
import re
import tomllib
from itertools import pairwise
from pathlib import Path
from typing import Any

import generated_pages
import pytest
import routes
import yaml
from pydantic import Field

import gridai_env
from gridai_env.observation.layout import ObservationLayout
from gridai_env.scenario.spec import Scenario
from gridai_env.traces import TraceError, known_zones, read_table
from gridai_env.traces.files.formats import OPTIONAL, PANEL, REQUIRED, SELL
from gridai_env.world import state
from gridai_env.world.actions import Layout
from tests.support.pages import DOCS, PAGES, README, ROOT, TEXTS, cells, code_of, named, section

RUN = [name for name, text in PAGES.items() if code_of(text)]


# Code cells -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", RUN)
def test_the_code_of_a_page_runs_from_top_to_bottom(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("pyomo", "highspy", "stable_baselines3"):
        pytest.importorskip(module)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": name}
    for block in code_of(PAGES[name]):
        exec(compile(block, name, "exec"), names)


def test_every_page_with_python_runs_it_in_the_build() -> None:
    for name, text in PAGES.items():
        plain = re.findall(r"^```python\n", text, flags=re.M)
        assert not plain, f"{name}: make it a code-cell, or mark it not-run and say why"
        assert text.startswith("---\nfile_format: mystnb\n") or "{code-cell}" not in text, name


def test_the_scenario_of_the_page_is_valid_and_its_bad_one_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from scripts.validate import main

    monkeypatch.chdir(tmp_path)
    for block in code_of(PAGES["scenarios.md"]):
        exec(compile(block, "scenarios.md", "exec"), {"__name__": "page"} | globals_of(tmp_path))
    printed = capsys.readouterr().out
    assert main(["my.yaml"]) == 0
    assert "power_mw" in printed and "wait" in printed


def globals_of(folder: Path) -> dict[str, Any]:
    """Return the text of the scenario for the blocks that change it."""
    path = folder / "my.yaml"
    return {"text": path.read_text(encoding="utf-8")} if path.is_file() else {}


# Data ---------------------------------------------------------------------------------------------------------


def test_the_trace_columns_are_those_of_the_reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = cells(generated_pages.trace_columns())[1:]
    plain = [row[0].strip("`") for row in table]
    others = (*OPTIONAL, SELL, "call_SITE", "notice_h_SITE", "stamp")
    assert plain == ["utc", "zone", *REQUIRED, *others]
    assert [row[2] for row in table] == ["no" if c in others else "yes" for c in plain]
    panel = {name: re.findall(r"`(\w+)`", row[1]) for name, row in zip(plain, table, strict=True)}
    assert panel["carbon_average_kg_per_mwh"] == ["ci_direct", "ci_lca"]
    assert {own: names[0] for own, names in panel.items() if own in PANEL} == PANEL

    monkeypatch.chdir(tmp_path)
    exec(compile(code_of(PAGES["data.md"])[0], "data.md", "exec"), {})
    assert read_table(tmp_path / "prices.csv").zones == ("US-CAL-CISO", "US-TEX-ERCO")


def test_the_zones_are_those_of_the_calibration() -> None:
    assert re.findall(r"`([\w-]+)`", generated_pages.zones()) == list(known_zones())


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("prices.csv", None, "no such trace file"),
        ("prices.xlsx", b"", "unknown suffix '.xlsx'"),
        ("prices.csv", b"\xff\xfe\x00", "cannot be read"),
        ("prices.csv.gz", b"utc,zone", "cannot be read"),
        ("prices.parquet", b"utc,zone", "not a Parquet file"),
    ],
)
def test_a_file_of_another_kind_is_refused_by_name(
    name: str, content: bytes | None, message: str, tmp_path: Path
) -> None:
    if name.endswith("parquet"):
        pytest.importorskip("pyarrow")
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises((TraceError, FileNotFoundError), match=message) as caught:
        read_table(path)
    assert name in str(caught.value)


def test_a_start_inside_a_step_is_named_as_it_was_given() -> None:
    with pytest.raises(gridai_env.InstanceError, match="'2023-07-01T00:30': must be a multiple of dt_h"):
        gridai_env.make_instance("two_sites", start="2023-07-01T00:30")


# Tables made from the code ------------------------------------------------------------------------------------


def test_shape_letters_and_records_are_those_of_the_code() -> None:
    assert set(generated_pages.letters()) == set("BTCSWKJVNDLMU")
    text = generated_pages.records()
    for record in (state.Exogenous, state.State, state.Flows):
        part = text.split(f"### {record.__name__}\n")[1].split("\n### ")[0]
        assert tuple(row[0].strip("`") for row in cells(part)[1:]) == record.names()


def test_units_are_those_of_the_code() -> None:
    units = re.search(r"there are only ([\w, -]+?)[.,]? and every", PAGES["concepts.md"])
    assert units
    assert f"only {units[1]}." in " ".join((state.__doc__ or "").split())


def test_a_new_scenario_key_appears_with_unit_default_and_range() -> None:
    class Wider(Scenario):
        spare_mw: float = Field(3.5, ge=0, le=9, description="made for this test")

    assert "spare_mw" not in generated_pages.scenario_keys()
    row = next(row for row in cells(generated_pages.scenario_keys(Wider)) if row[0] == "`spare_mw`")
    assert row == ["`spare_mw`", "MW", "`3.5`", "number >= 0, <= 9", "made for this test"]


def test_every_scenario_key_is_in_the_table() -> None:
    schema = Scenario.model_json_schema()
    keys = {key for model in (schema, *schema["$defs"].values()) for key in model["properties"]}
    assert keys == {row[0].strip("`") for row in cells(generated_pages.scenario_keys()) if row[0] != "key"}


@pytest.mark.parametrize("scenario", sorted(generated_pages.IDS.values()))
def test_every_index_of_action_and_observation_is_in_the_tables(scenario: str, tmp_path: Path) -> None:
    compiled = generated_pages.compiled_of(scenario)
    layout = ObservationLayout(compiled)
    rows = {row[1].strip("`"): row for row in cells(generated_pages.observation_of(scenario))[1:]}
    assert {name: row[0] for name, row in rows.items()} == {
        name: f"{where.start} to {where.stop - 1}" for name, where in layout.parts.items()
    }
    assert all(row[3] for row in rows.values())
    action = cells(generated_pages.action_of(scenario))[1:]
    assert [row[1].strip("`") for row in action] == list(Layout(compiled.shape).parts)
    generated_pages.write_indices(tmp_path)
    with (tmp_path / f"observation_{scenario}.csv").open(encoding="utf-8") as file:
        assert [row["name"] for row in csv.DictReader(file)] == layout.index_names()
    with (tmp_path / f"action_{scenario}.csv").open(encoding="utf-8") as file:
        assert len(list(csv.DictReader(file))) == Layout(compiled.shape).size


def test_a_part_without_a_sentence_stops_the_build(monkeypatch: pytest.MonkeyPatch) -> None:
    text = inspect.getdoc(gridai_env.GridAIEnv) or ""
    cut = "\n".join(line for line in text.splitlines() if not line.startswith("| battery_target"))
    monkeypatch.setattr(gridai_env.GridAIEnv, "__doc__", cut)
    with pytest.raises(KeyError, match="battery_target"):
        generated_pages.observation_of("two_sites")


def test_the_directions_of_imports_are_those_of_the_contracts() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
    text = generated_pages.imports()
    for contract in contracts["contracts"]:
        for layer in contract["layers"]:
            assert " ".join(f"`{name.strip()}`" for name in layer.split("|")) in text


def test_every_room_has_a_row() -> None:
    rows = {row[0].strip("`") for row in cells(generated_pages.rooms())[1:]}
    for package in ("gridai_env", "baselines", "agents", "scripts"):
        for path in (ROOT / package).glob("*/__init__.py"):
            assert f"{path.parent.relative_to(ROOT)}/" in rows


def test_results_are_those_of_the_committed_files() -> None:
    text = generated_pages.test_results()
    for path in sorted((ROOT / "configs" / "benchmarks").glob("*/test.csv")):
        part = text.split(f"### {path.parent.name}\n")[1].split("\n### ")[0]
        with path.open(encoding="utf-8", newline="") as file:
            for given, row in zip(csv.DictReader(file), cells(part)[1:], strict=True):
                assert row[0] == f"`{given['policy']}`"
                assert row[4].startswith(f"{100 * float(given['gain_captured']):.1f}")
    shipped = (ROOT / "configs" / "agents" / "pretrained").glob("*/*")
    stages = cells(generated_pages.training_stages())[1:]
    assert {(row[0].strip("`"), row[1].strip("`").partition(":")[0]) for row in stages} == {
        (path.parent.name, path.name) for path in shipped
    }
    sets = {(row[0].strip("`"), row[1], row[2]) for row in cells(generated_pages.frozen_sets())[1:]}
    for path in (ROOT / "configs" / "benchmarks").glob("*/*.json"):
        data = json.loads(path.read_text(encoding="utf-8"))
        assert (path.parent.name, data["set"], str(len(data["episodes"]))) in sets


def test_measured_figures_have_their_command_and_commit() -> None:
    about = yaml.safe_load((DOCS / "measured" / "measured.yaml").read_text(encoding="utf-8"))
    assert set(about) == set(generated_pages.measured_names())
    for name, facts in about.items():
        assert re.fullmatch(r"[0-9a-f]{7,40}", facts["commit"]), name
        assert "python -m scripts." in facts["command"], name
        assert facts["conditions"], name
        rows = cells(generated_pages.measured(name))
        assert len({len(row) for row in rows}) == 1 and len(rows) > 2, name


def test_every_generated_part_stands_on_exactly_one_page() -> None:
    included = [name for text in PAGES.values() for name in re.findall(r"_generated/(\w+)\.inc\.md", text)]
    made = [*generated_pages.PAGES, *(f"measured_{name}" for name in generated_pages.measured_names())]
    assert sorted(included) == sorted(made)


def test_every_page_is_in_the_contents() -> None:
    listed = re.findall(r"```\{toctree\}\n(.*?)```", PAGES["index.md"], flags=re.S)
    pages = [line for block in listed for line in block.splitlines() if line and not line.startswith(":")]
    # Tutorials are run when the pages are built, their commands included.
    tutorials = [path.relative_to(DOCS).as_posix() for path in DOCS.glob("tutorials/*.md")]
    assert sorted(f"{page}.md" for page in pages) == sorted([*set(PAGES) - {"index.md"}, *tutorials])
    assert all(f"docs/{page}.md" in README for page in pages if page not in ("promises", "api", "changelog"))


# Routes -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(routes.ROUTES))
def test_a_route_names_functions_that_exist_and_passes_a_room_at_most_twice(name: str) -> None:
    stops = routes.ROUTES[name].stops
    rooms = [stop.room for stop in stops]
    assert all(rooms.count(room) <= 2 for room in rooms)
    assert all(a != b for a, b in pairwise(rooms))
    for stop in stops:
        for function in stop.functions:
            module, path = function.split(":")
            found: Any = importlib.import_module(f"{stop.room}.{module}")
            for part in path.split("."):
                found = getattr(found, part)
    assert routes.drawing(routes.ROUTES[name]).count("<rect") == len(stops) + 1


# What is named exists -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(TEXTS))
def test_files_and_folders_exist(name: str) -> None:
    own = r"`((?:configs|tests|gridai_env|agents|baselines|scripts|docs)/[\w./]+|[A-Z]+(?:\.\w+)?|constraints\.txt)[`:]"
    made = ("docs/_build", "docs/_generated")
    for found in re.findall(own, TEXTS[name]):
        if ("/" in found or "." in found or found == "LICENSE") and not found.startswith(made):
            assert (ROOT / found).exists(), found


@pytest.mark.parametrize("name", named(r"tests/([\w/]+\.py::\w+)"))
def test_tests_that_prove_a_promise_exist(name: str) -> None:
    file, function = name.split("::")
    assert f"\ndef {function}(" in (ROOT / "tests" / file).read_text(encoding="utf-8")


def test_all_promises_have_tests() -> None:
    promises = cells(PAGES["promises.md"])[1:]
    assert len(promises) == 5
    assert all(len(re.findall(r"`tests/[\w/]+\.py::\w+`", row[1])) >= 2 for row in promises)


def test_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in named(r"(?m)(?:^|`|\.\.\. )make (?:PYTHON=\S+ )?([\w-]+)(?=[ `])"):
        assert re.search(rf"^{target}:", makefile, flags=re.M), target


def test_extras_versions_and_core_packages_are_those_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    rows = {row[0].strip("`") for row in cells(generated_pages.extras())[1:]}
    assert rows == set(project["optional-dependencies"])
    assert all(f"`{package}`" in generated_pages.core_packages() for package in project["dependencies"])
    for text in (README, PAGES["installation.md"], PAGES["index.md"]):
        assert f"Python {project['requires-python'].removeprefix('>=')} or newer" in text


def test_commands_have_a_row_and_a_sentence() -> None:
    rows = {row[0].strip("`"): row[1] for row in cells(generated_pages.commands())[1:]}
    for name in ("train", "solve", "compare", "evaluate", "frontier", "report", "maintenance.picture"):
        assert rows[f"python -m scripts.{name}"].endswith(".")


def test_rules_are_those_of_the_code() -> None:
    from baselines import rules

    table = cells(section(PAGES["planners.md"], "Rules"))[1:]
    assert {row[0].strip("`") for row in table} == {rule.__name__ for rule in rules.REGISTRY.values()}
    given = next(row[0] for row in cells(PAGES["evaluation.md"]) if "`local_only`" in row[0])
    assert set(re.findall(r"`(\w+)`", given)) == set(rules.REGISTRY)


MEASURED = {"measured": (DOCS / "measured" / "measured.yaml").read_text(encoding="utf-8")}
COMMANDS = named(r"python -m scripts\.(?:[^`#\n\\]|\\\n)+", TEXTS | MEASURED)


@pytest.mark.parametrize("line", [" ".join(line.replace("\\\n", " ").split()) for line in COMMANDS])
def test_commands_know_their_options(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    command, *words = line.split()[2:]
    module = f"{command}.__main__" if (ROOT / command.replace(".", "/")).is_dir() else command
    with pytest.raises(SystemExit) as left:
        importlib.import_module(module).main(["--help"])
    assert left.value.code == 0
    usage = capsys.readouterr().out
    for word in words:
        # Settings of a training run have dots or stand in the configuration; `--keys` lists them.
        if word.startswith("--") and not is_setting(word):
            assert re.search(rf"{word}\b", usage), word
        if word.startswith("configs/"):
            assert (ROOT / word).is_file()


def is_setting(word: str) -> bool:
    """Whether an option is a setting of a training run; raises AssertionError where it looks like one and is none."""
    from agents.config import PPOConfig
    from scripts.train import describe

    known = f"--{word[2:].replace('-', '_')} " in describe(PPOConfig())
    assert known or "." not in word, word
    return known


# Old addresses ------------------------------------------------------------------------------------------------

MOVES = [
    row for row in cells((ROOT / "CHANGELOG.md").read_text(encoding="utf-8")) if row[-1] in ("works", "gone")
]


def modules_of(cell: str) -> list[str]:
    """Return the dotted modules that a cell names in full."""
    return re.findall(r"`(?:python -m )?((?:gridai_env|baselines|agents|scripts)\.[\w.]+)`", cell)


@pytest.mark.parametrize("row", MOVES, ids=[modules_of(row[0])[0] for row in MOVES])
def test_the_changelog_says_where_things_are_now(row: list[str]) -> None:
    for module in modules_of(row[1]):
        assert importlib.util.find_spec(module), module
    for module in modules_of(row[0]):
        # A room may have the name of a module that went into it.
        is_room = (ROOT / module.replace(".", "/")).is_dir()
        assert bool(importlib.util.find_spec(module)) == (row[2] == "works" or is_room), module
