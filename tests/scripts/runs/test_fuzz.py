"""No input of a user ends in a traceback: seeded faults in scenarios, archives, frozen sets, runs and words."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path

import pytest
import yaml

from gridai_env.benchmarks.published import benchmark_folder, read_set
from gridai_env.benchmarks.summary import published_result, summarise
from gridai_env.episodes.instance import load_instance, make_instance
from gridai_env.scenario.compile import compile_scenario
from gridai_env.scenario.load import load_scenario
from scripts.runs.command import parse_options
from scripts.validate import ValidateOptions
from tests.gridai_env.scenario.test_spec import small
from tests.support import fuzz
from tests.support.report_samples import sample_evaluate, sample_reproduce

pytestmark = pytest.mark.filterwarnings("default")
DUMPER = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


def test_scenario_files(tmp_path: Path) -> None:
    path, tree = tmp_path / "my.yaml", small()
    text = yaml.dump(tree, Dumper=DUMPER).encode()

    def call(rng: random.Random) -> None:
        if rng.random() < 0.6:
            path.write_text(yaml.dump(fuzz.changed_tree(rng, tree), Dumper=DUMPER), encoding="utf-8")
        else:
            path.write_bytes(fuzz.changed_bytes(rng, text))
        compile_scenario(load_scenario(path))

    assert fuzz.faults_of(call, range(100)) == {}


def test_instance_files(tmp_path: Path) -> None:
    path = tmp_path / "i.npz"
    make_instance(load_scenario("two_sites", horizon_h=3.0), 0).save(path)
    archive = path.read_bytes()

    def call(rng: random.Random) -> None:
        path.write_bytes(fuzz.repacked(rng, archive))
        load_instance(path)

    assert fuzz.faults_of(call, range(100)) == {}


def test_frozen_sets(tmp_path: Path) -> None:
    folder = tmp_path / "benchmarks"
    (folder / "two_sites").mkdir(parents=True)
    shutil.copy(benchmark_folder() / "two_sites.yaml", folder)
    file = folder / "two_sites" / "test.json"
    tree = json.loads((benchmark_folder() / "two_sites" / "test.json").read_text(encoding="utf-8"))
    tree["episodes"] = tree["episodes"][:2]

    def call(rng: random.Random) -> None:
        if rng.random() < 0.7:
            file.write_text(json.dumps(fuzz.changed_tree(rng, tree)), encoding="utf-8")
        else:
            file.write_bytes(fuzz.changed_bytes(rng, json.dumps(tree).encode()))
        frozen = read_set("two_sites", "test", folder)
        for name in frozen.published:
            summarise(published_result(name, frozen), frozen)

    assert fuzz.faults_of(call, range(40)) == {}


def test_run_folders(tmp_path: Path) -> None:
    pytest.importorskip("plotly", reason="extra `report` is not installed")
    from scripts.report.contents import draw_runs
    from scripts.report.data.run_folders import find_runs

    sample_reproduce(tmp_path / "reproduce")
    sample_evaluate(tmp_path / "evaluate")
    files = sorted(path for path in tmp_path.rglob("*") if path.suffix in (".csv", ".json"))

    def call(rng: random.Random) -> None:
        file = rng.choice(files)
        old = file.read_bytes()
        if file.suffix == ".json" and rng.random() < 0.7:
            file.write_text(json.dumps(fuzz.changed_tree(rng, json.loads(old))), encoding="utf-8")
        else:
            file.write_bytes(fuzz.changed_bytes(rng, old))
        try:
            runs, left = find_runs(file.parent)
            draw_runs(file.parent, runs, left)
        finally:
            file.write_bytes(old)

    assert fuzz.faults_of(call, range(60)) == {}


def test_words_of_a_command_line() -> None:
    def call(rng: random.Random) -> None:
        words = ["my.yaml", "traces.csv", "--demand", "x.csv,repeat=true"]
        parse_options(ValidateOptions, fuzz.changed_words(rng, words), "validate", "")

    assert fuzz.faults_of(call, range(50)) == {}


def test_a_fault_of_the_program_is_seen() -> None:
    def call(rng: random.Random) -> None:
        raise KeyError("x") if rng.random() < 2 else ValueError

    assert len(fuzz.faults_of(call, range(2))) == 2
