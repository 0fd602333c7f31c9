"""The README: its examples run, its scenario validates, and whatever it names is there."""

import importlib
import re
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest
import yaml

import gridai_env
from gridai_env.scenario.load import load_scenario
from tests.support.pages import README, ROOT, TEXTS, blocks, cells, code_of, named, section

MOST_LINES = 200


def scenario_file(folder: Path) -> Path:
    """Write the README's scenario."""
    (text,) = blocks(README, "yaml")
    path = folder / "my.yaml"
    path.write_text(text, encoding="utf-8")
    return path


# Examples ---------------------------------------------------------------------------------------------------


def test_the_python_examples_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for module in ("pyomo", "highspy"):
        pytest.importorskip(module)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    for block in code_of(README):
        exec(compile(block, "README.md", "exec"), names)
    assert names["plan"].objective_value <= names["plan"].bound + 1e-6 * abs(names["plan"].bound)
    own = float(capsys.readouterr().out.split()[-1])  # the policy of the README
    assert own <= names["plan"].bound


def test_the_first_example_prints_what_the_text_says(capsys: Any) -> None:
    for module in ("pyomo", "highspy"):
        pytest.importorskip(module)
    exec(compile(code_of(README)[0], "README.md", "exec"), {})
    local, optimum, bound = map(float, capsys.readouterr().out.split())
    assert local < optimum <= bound + 1e-6 * abs(bound)


def test_the_scenario_is_valid_and_plays(tmp_path: Path) -> None:
    from scripts.validate import main

    path = scenario_file(tmp_path)
    assert load_scenario(path).name == "my_company"
    assert main([str(path)]) == 0
    assert gym.make("gridai/Custom-v2", scenario=path).reset(seed=0)


def test_examples_keep_to_the_lines_that_they_promise() -> None:
    assert len(README.splitlines()) <= MOST_LINES
    example, policy = code_of(README)
    (scenario,) = blocks(README, "yaml")
    assert len([line for line in example.splitlines() if line]) <= 13
    assert len([line for line in policy.splitlines() if line]) <= 15
    assert len(scenario.splitlines()) <= 20


# What is named exists ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", named(r"gridai/\w+-v\d+"))
def test_environment_ids_are_registered(name: str) -> None:
    assert name in gym.registry


def test_all_environment_ids_are_named() -> None:
    assert set(named(r"gridai/\w+-v\d+", {"README.md": README})) == set(gridai_env.IDS)
    table = {row[0].strip("`"): row[2] for row in cells(section(README, "Environments"))[1:]}
    for name, scenario in gridai_env.IDS.items():
        if scenario is not None:
            assert table[name] == f"{load_scenario(scenario).horizon_h:g} h"


def test_the_picture_is_there_and_small() -> None:
    for name in re.findall(r"!\[[^\]]+\]\(([^)]+)\)", README):
        assert (ROOT / name).read_bytes().startswith(b"\x89PNG")
        assert (ROOT / name).stat().st_size < 300_000


def test_imported_names_exist() -> None:
    code = "\n".join(block for text in TEXTS.values() for block in code_of(text))
    found = re.findall(r"^from ((?:gridai_env|baselines|agents|scripts)[\w.]*) import ([\w, ]+)$", code, re.M)
    assert len(found) > 10
    for module, names in found:
        for name in names.split(","):
            name = name.split(" as ")[0].strip()
            if not hasattr(importlib.import_module(module), name):
                importlib.import_module(f"{module}.{name}")


def test_the_citation_is_that_of_the_citation_file() -> None:
    facts = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    (entry,) = blocks(README, "bibtex")
    given = dict(re.findall(r"(\w+)\s+= \{+(.+?)\}+,?$", entry, flags=re.M))
    assert given["title"] == facts["title"]
    assert given["version"] == facts["version"]
    assert given["license"] == facts["license"]
    assert given["author"] == facts["authors"][0]["name"]


# Form -------------------------------------------------------------------------------------------------------


def anchors(text: str) -> set[str]:
    """Return the anchors of the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", text, flags=re.M)
    plain = [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings]
    return set(plain) | set(re.findall(r"^\(([\w-]+)\)=$", text, flags=re.M))


@pytest.mark.parametrize("name", sorted(TEXTS))
def test_links_inside_the_text_have_a_target(name: str) -> None:
    folder = ROOT / "docs" if (ROOT / "docs" / name).is_file() else ROOT
    for target in re.findall(r"\]\((?!https?://)([^)\s]+)\)", TEXTS[name]):
        file, _, anchor = target.partition("#")
        path = folder / file if file else folder / name
        assert path.is_file(), target
        if anchor:
            assert anchor in anchors(path.read_text(encoding="utf-8")), target


@pytest.mark.parametrize("name", [*TEXTS, "CHANGELOG.md"])
def test_lines_are_readable_and_the_version_is_listed(name: str) -> None:
    text = TEXTS[name] if name in TEXTS else (ROOT / name).read_text(encoding="utf-8")
    assert gridai_env.__version__ in text or name != "CHANGELOG.md"
    long = [line for line in text.splitlines() if len(line) > 120 and not line.startswith(("|", "!"))]
    assert all("python -m " in line for line in long), long
