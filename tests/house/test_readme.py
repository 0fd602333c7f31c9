"""The README: its examples run, its scenario validates, and whatever it names is there."""

import csv
import importlib
import io
import re
import tomllib
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest

import gridai_env
from gridai_env.scenario.load import load_scenario
from gridai_env.traces import TraceError, known_zones, read_table
from gridai_env.traces.files.formats import OPTIONAL, PANEL, REQUIRED
from gridai_env.world import state

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = (
    "train", "solve", "compare", "benchmark", "validate", "frontier", "pareto", "reproduce", "report", "convert",
    "evaluate", "maintenance.freeze", "demonstrate",
)  # fmt: skip


def blocks(language: str) -> list[str]:
    """Code blocks of a language in the order of the text."""
    return re.findall(rf"^```{language}\n(.*?)^```$", TEXT, flags=re.M | re.S)


def section(title: str) -> str:
    """Text under a heading, up to the next one."""
    found = re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", TEXT, flags=re.M | re.S)
    assert found, title
    return found[1]


def cells(text: str) -> list[list[str]]:
    """Rows of the Markdown tables in a text, without rulers."""
    rows = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row] for row in rows if not set("".join(row)) <= set("-")]


def named(pattern: str) -> list[str]:
    """Everything in the README that a pattern finds, each once; nothing found is a fault of the pattern."""
    found = sorted(set(re.findall(pattern, TEXT)))
    assert found, pattern
    return found


def scenario_file(folder: Path) -> Path:
    """Write the README's scenario."""
    (text,) = blocks("yaml")
    path = folder / "my.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def trace_file(folder: Path) -> Path:
    """Write a trace file that begins as the README's does and goes on for some days."""
    (text,) = blocks("csv")
    rows = list(csv.DictReader(io.StringIO(text)))
    first = datetime.fromisoformat(rows[0]["utc"]).astimezone(UTC)
    path = folder / "prices.csv"
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
        for hour in range(len(rows) // 2, 96):
            stamp = (first + timedelta(hours=hour)).strftime("%Y-%m-%dT%H:%MZ")
            writer.writerows(row | {"utc": stamp} for row in rows[:2])
    return path


# Examples ---------------------------------------------------------------------------------------------------


def test_the_python_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("pyomo", "highspy", "stable_baselines3"):
        pytest.importorskip(module)
    scenario_file(tmp_path)
    trace_file(tmp_path)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    for block in blocks("python"):
        exec(compile(block, "README.md", "exec"), names)
    assert names["plan"].objective_value <= names["plan"].bound + 1e-6 * abs(names["plan"].bound)
    assert names["trajectory"].benefit_usd == pytest.approx(names["plan"].objective_value, rel=1e-6)
    assert (tmp_path / "monday.npz").is_file()


def test_the_first_example_prints_what_the_text_says(tmp_path: Path, capsys: Any) -> None:
    for module in ("pyomo", "highspy"):
        pytest.importorskip(module)
    exec(compile(blocks("python")[0], "README.md", "exec"), {})
    local, optimum, bound = map(float, capsys.readouterr().out.split())
    assert local < optimum <= bound + 1e-6 * abs(bound)


def test_the_scenario_is_valid_and_shows_no_misspelt_key(tmp_path: Path) -> None:
    from scripts.validate import main

    path = scenario_file(tmp_path)
    assert load_scenario(path).name == "my_company"
    assert main([str(path)]) == 0
    assert main([str(path), str(trace_file(tmp_path))]) == 0


def test_the_trace_columns_are_those_of_the_reader(tmp_path: Path) -> None:
    table = cells(section("Your own data"))
    plain = [re.findall(r"`(\w+)`", row[0])[0] for row in table[1:]]
    assert plain == ["utc", "zone", *REQUIRED, *OPTIONAL, "stamp"]
    assert [row[0].endswith("(optional)") for row in table[1:]] == [c in (*OPTIONAL, "stamp") for c in plain]
    panel = {name: re.findall(r"`(\w+)`", row[1]) for name, row in zip(plain, table[1:], strict=True)}
    assert panel["carbon_average_kg_per_mwh"] == ["ci_direct", "ci_lca"]
    assert {own: names[0] for own, names in panel.items() if own in PANEL} == PANEL
    assert read_table(trace_file(tmp_path)).zones == ("US-NY-NYIS", "US-TEX-ERCO")
    assert set(known_zones()) == set(
        re.findall(r"[A-Z]{2,3}(?:-[A-Z]+)*", section("Your own data").split("16 zones:")[1].split(".")[0])
    )


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


# Nomenclature -----------------------------------------------------------------------------------------------


def letters_of_the_code() -> dict[str, str]:
    """The two-column table of letters in the docstring of `gridai_env.world.state`."""
    lines = (state.__doc__ or "").splitlines()
    first, last = (i for i, line in enumerate(lines) if line.startswith("==  ="))
    starts = [m.start() for m in re.finditer(r"=+", lines[first])]
    found = {}
    for line in lines[first + 1 : last]:
        for letter, words, end in ((starts[0], starts[1], starts[2]), (starts[2], starts[3], None)):
            found[line[letter : letter + 2].strip()] = line[words:end].strip()
    return found


def test_shape_letters_and_records_are_those_of_the_code() -> None:
    rows = cells(TEXT.split("\n## ")[0])
    found = {}
    for row in rows:
        if len(row) == 4 and row[0] != "letter":
            found |= {row[0]: row[1].replace("`", ""), row[2]: row[3].replace("`", "")}
    assert found == {letter: words.replace("`", "") for letter, words in letters_of_the_code().items()}
    records = {row[0]: tuple(re.findall(r"`(\w+)`", row[1])) for row in rows if len(row) == 2}
    for record in (state.Exogenous, state.State, state.Flows):
        assert records[record.__name__] == record.names()


def test_units_are_those_of_the_code() -> None:
    units = re.search(r"there are only ([\w, -]+?)[.,]? and every", TEXT)
    assert units
    assert f"only {units[1]}." in " ".join((state.__doc__ or "").split())


# What is named exists ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", named(r"gridai/\w+-v\d+"))
def test_environment_ids_are_registered(name: str) -> None:
    assert name in gym.registry


def test_all_environment_ids_are_named() -> None:
    assert set(named(r"gridai/\w+-v\d+")) == set(gridai_env.IDS)
    table = {row[0].strip("`"): row[2] for row in cells(section("Environments"))[1:]}
    for name, scenario in gridai_env.IDS.items():
        if scenario is not None:
            assert table[name] == f"{load_scenario(scenario).horizon_h:g} h"


def test_files_and_folders_exist() -> None:
    own = r"`((?:configs|tests|gridai_env|agents|baselines|scripts)/[\w./]+|[A-Z]+(?:\.\w+)?|constraints\.txt)[`:]"
    for name in named(own):
        if "/" in name or "." in name or name == "LICENSE":
            assert (ROOT / name).exists(), name


@pytest.mark.parametrize("name", named(r"tests/([\w/]+\.py::\w+)"))
def test_tests_that_prove_a_promise_exist(name: str) -> None:
    file, function = name.split("::")
    assert f"\ndef {function}(" in (ROOT / "tests" / file).read_text(encoding="utf-8")


def test_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in named(r"(?m)(?:^|`|\.\.\. )make (\w+)(?=[ `])"):
        assert re.search(rf"^{target}:", makefile, flags=re.M), target


def test_extras_versions_and_core_packages_are_those_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    text = section("Installation and disk space")
    extras = set(project["optional-dependencies"])
    assert extras <= set(re.findall(r"`(\w+)`", text))
    core = {re.split(r"[^\w-]", requirement)[0].lower() for requirement in project["dependencies"]}
    assert all(name in text.lower() for name in core)
    for pin in re.findall(r"`(\w+==[\d.]+)`", text):
        assert pin in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    assert f"Python {project['requires-python'].removeprefix('>=')} or newer" in TEXT


def test_imported_names_exist() -> None:
    for module, names in re.findall(r"^from ([\w.]+) import ([\w, ]+)$", "\n".join(blocks("python")), re.M):
        for name in names.split(","):
            if not hasattr(importlib.import_module(module), name.strip()):
                importlib.import_module(f"{module}.{name.strip()}")


def test_rules_are_those_of_the_code() -> None:
    from baselines.rules import single_signal as rules

    named_here = re.findall(r"`(\w+)`", section("Rules").split("They see")[0])
    assert set(named_here) == {rule.__name__ for rule in rules.REGISTRY.values()}


@pytest.mark.parametrize("line", [line for line in named(r"python -m scripts\.[^`#\n]+") if line.strip()])
def test_commands_know_their_options(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    command, *words = line.split()[2:]
    assert command.removeprefix("scripts.") in COMMANDS
    with pytest.raises(SystemExit) as left:
        module = f"{command}.__main__" if (ROOT / command.replace(".", "/")).is_dir() else command
        importlib.import_module(module).main(["--help"])
    assert left.value.code == 0
    usage = capsys.readouterr().out
    for word in words:
        if word.startswith("--"):
            assert re.search(rf"{word}\b", usage), word
        if word.startswith("configs/"):
            assert (ROOT / word).is_file()


def test_markers_for_measured_figures_stand_once() -> None:
    for name in ("demo", "benchmark", "frontier", "ladder", "learned", "reproduction"):
        assert re.search(rf"<!-- {name} -->\n.+?\n<!-- /{name} -->", TEXT, flags=re.S)
        assert TEXT.count(f"<!-- {name} -->") == TEXT.count(f"<!-- /{name} -->") == 1


def test_links_inside_the_text_have_a_target() -> None:
    for anchor in named(r"\]\(#([\w-]+)\)"):
        assert f'id="{anchor}"' in TEXT


@pytest.mark.parametrize("name", ["README.md", "CHANGELOG.md"])
def test_lines_are_readable_and_the_version_is_listed(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    assert gridai_env.__version__ in text or name != "CHANGELOG.md"
    assert all(len(line) <= 120 or line.startswith("|") for line in text.splitlines())
