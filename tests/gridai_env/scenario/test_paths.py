"""Paths in a scenario count from its file, those of overrides from the working folder; hashes know names alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from gridai_env.episodes.instance import load_instance, make_instance
from gridai_env.scenario.compile import compile_scenario
from gridai_env.scenario.load import load_scenario, located
from gridai_env.scenario.spec import Scenario, scenario_hash
from tests.support.own_world import WORLD, write_demand, write_jobs, write_prices, write_world

JOBS = {"count": 1, "mean_gpus": 8.0, "source": "files/jobs.csv"}


def world(folder: Path) -> Path:
    """Write a scenario that names three files in a folder beside it."""
    (folder / "files").mkdir(parents=True)
    write_prices(folder / "files" / "prices.csv")
    write_demand(folder / "files" / "requests.csv")
    write_jobs(folder / "files" / "jobs.csv")
    demand = "files/requests.csv,repeat=true"
    return write_world(folder, traces="files/prices.csv", demand=demand, jobs_from=JOBS)


def test_paths_count_from_the_scenarios_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = world(tmp_path / "mine")
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "files").mkdir(parents=True)
    write_prices(elsewhere / "files" / "prices.csv", level_usd_per_mwh=900.0)  # of the same name: not taken
    monkeypatch.chdir(elsewhere)

    for source in (path, Path("..") / "mine" / "own.yaml"):
        scenario = load_scenario(source)
        files = tmp_path / "mine" / "files"
        assert scenario.traces == str(files / "prices.csv")
        assert (scenario.demand.source, scenario.demand.repeat) == (str(files / "requests.csv"), True)
        assert scenario.jobs_from is not None and scenario.jobs_from.source == str(files / "jobs.csv")
        assert len(scenario.jobs) == 1
    assert make_instance(path).exogenous.buy_usd_per_mwh.max() < 100.0


def test_overrides_and_scenarios_without_a_file_count_from_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = world(tmp_path / "mine")
    monkeypatch.chdir(tmp_path)
    changed = load_scenario(path, traces="prices.csv", demand="requests.csv,repeat=true")
    assert (changed.traces, changed.demand.source) == (
        str(tmp_path / "prices.csv"),
        str(tmp_path / "requests.csv"),
    )
    for built in (
        Scenario.model_validate(WORLD | {"traces": "prices.csv"}),
        WORLD | {"traces": "prices.csv"},
    ):
        assert load_scenario(built).traces == str(tmp_path / "prices.csv")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert load_scenario(path, traces="~/prices.csv").traces == str(tmp_path / "home" / "prices.csv")


def test_a_missing_file_is_named_with_the_place_where_it_was_looked_for(tmp_path: Path) -> None:
    path = write_world(tmp_path, traces="prices.csv")
    with pytest.raises(FileNotFoundError, match=rf"{tmp_path}/prices\.csv: no such trace file"):
        make_instance(path)
    with pytest.raises(FileNotFoundError, match=rf"{tmp_path}/jobs\.csv: no such file of jobs"):
        load_scenario(write_world(tmp_path, traces="prices.csv", jobs_from=JOBS | {"source": "jobs.csv"}))
    with pytest.raises(
        ValueError, match=rf"neither a file \({Path.cwd()}/onw\.yaml\) nor a shipped scenario"
    ):
        load_scenario("onw.yaml")


def test_a_saved_instance_knows_its_files_wherever_it_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = make_instance(world(tmp_path / "mine"))
    file = made.save(tmp_path / "episode.npz")
    monkeypatch.chdir("/")
    again = load_instance(file)
    assert again.scenario.traces == str(tmp_path / "mine" / "files" / "prices.csv")
    assert (again.hash, again.compiled.hash) == (made.hash, made.compiled.hash)


def test_the_hash_does_not_depend_on_the_folder(tmp_path: Path) -> None:
    here, there = world(tmp_path / "a"), world(tmp_path / "b")
    assert scenario_hash(load_scenario(here)) == scenario_hash(load_scenario(there))
    renamed = load_scenario(here, traces=str(tmp_path / "b" / "other.csv"))
    assert scenario_hash(renamed) != scenario_hash(load_scenario(here))


def test_files_of_one_name_in_two_folders_are_two(tmp_path: Path) -> None:
    here, there = world(tmp_path / "a"), world(tmp_path / "b")
    write_prices(tmp_path / "b" / "files" / "prices.csv", level_usd_per_mwh=900.0)
    compiled = [compile_scenario(load_scenario(path)) for path in (here, there)]
    assert compiled[0].traces != compiled[1].traces
    cheap, dear = (make_instance(path).exogenous.buy_usd_per_mwh.mean() for path in (here, there))
    assert dear - cheap == pytest.approx(850.0)


def test_a_scenario_file_is_located_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_world(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert located("own.yaml") == str(tmp_path / "own.yaml")
    assert located("two_sites") == "two_sites" and located("none.yaml") == "none.yaml"


def test_traces_count_before_the_checks_that_need_them(tmp_path: Path) -> None:
    path = write_world(tmp_path)  # synthetic traces, zones that they do not know
    with pytest.raises(ValueError, match="a zone of the synthetic traces"):
        load_scenario(path)
    prices = str(write_prices(tmp_path / "prices.csv"))
    assert make_instance(path, traces=prices).scenario.traces == prices
    assert load_scenario(WORLD, traces=prices, horizon_h=3.0).horizon_h == 3.0
    unchecked = Scenario.model_validate(WORLD)
    assert load_scenario(unchecked, traces=prices).traces == prices
    with pytest.raises(ValueError, match="a zone of the synthetic traces"):
        load_scenario(load_scenario(WORLD, traces=prices), traces="synthetic")
