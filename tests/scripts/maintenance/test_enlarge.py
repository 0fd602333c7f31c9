"""Scenarios with more sites: what is written loads, has the sites asked for, and is as tight as the original."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from gridai_env.scenario.capacity import nameplate_gpus
from gridai_env.scenario.geography import rtt_ms
from gridai_env.scenario.load import load_scenario
from gridai_env.scenario.spec import Scenario
from scripts.maintenance.enlarge import main
from scripts.studies.enlarged import JITTER


def larger(path: Path, scenario: str, sites: int, *more: str) -> Scenario:
    out = path / "larger.yaml"
    assert main(["--scenario", scenario, "--sites", str(sites), "--out", str(out), *more]) == 0
    return load_scenario(out)


def tightness(s: Scenario) -> float:
    return float(nameplate_gpus(s).sum()) / sum(region.mean_gpus for region in s.regions)


@pytest.mark.parametrize(
    ("name", "sites", "regions"),
    [
        ("two_sites", 3, 3),
        ("four_markets", 5, 5),
        ("four_markets", 20, 20),
        ("microgrid_prosumer", 6, 6),
        ("global", 23, 23),
    ],
)
def test_copies_are_as_tight_as_their_originals(name: str, sites: int, regions: int, tmp_path: Path) -> None:
    small = load_scenario(name)
    big = larger(tmp_path, name, sites)
    had = len(small.sites)
    assert (len(big.sites), len(big.regions)) == (sites, regions)
    assert big.sites[:had] == small.sites and big.regions[: len(small.regions)] == small.regions
    assert tightness(big) == pytest.approx(tightness(small), rel=0.05)
    assert big.reward_scale_usd == pytest.approx(small.reward_scale_usd * sites / had)
    for i, site in enumerate(big.sites[had:], had):
        of = small.sites[i % had]
        assert (site.zone, site.legal_zone, site.rtt_key) == (of.zone, of.legal_zone, None)
        assert (site.latitude, site.longitude) != (of.latitude, of.longitude)
        home, own = (
            [r.mean_gpus for r in s.regions if r.home == one.name] for s, one in ((small, of), (big, site))
        )
        ratios = [b / a for a, b in zip(home, own, strict=True)]
        assert all(1 - JITTER <= ratio <= 1 + JITTER and ratio != 1.0 for ratio in ratios)
        if of.gpus is not None and ratios:
            assert site.gpus == pytest.approx(of.gpus * ratios[0])
    assert len({rtt_ms(big.latency, big.sites[0], site) for site in big.sites}) > 2


def test_what_names_sites_names_their_copies(tmp_path: Path) -> None:
    data = load_scenario("global").model_dump(mode="json")
    names = [site["name"] for site in data["sites"]]
    data["classes"][0]["supported_at"] = names
    data |= {"carbon_budget_kg": 1e6}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(data))
    small = load_scenario(tmp_path / "mine.yaml")
    big = larger(tmp_path, str(tmp_path / "mine.yaml"), 2 * len(names) + 1)
    assert big.carbon_budget_kg == pytest.approx(1e6 * (2 * len(names) + 1) / len(names))
    assert set(big.classes[0].supported_at or ()) == {site.name for site in big.sites}
    for one, copy in zip(small.jobs, big.jobs[len(small.jobs) :], strict=True):
        assert copy.sites == (one.sites and [f"{name}_2" for name in one.sites])
    striking = next(event for event in big.events if event.name == "grid-emergency")
    assert striking.sites[:4] == ["texas", "california", "california_2", "texas_2"]


def test_the_seed_decides(tmp_path: Path) -> None:
    one, same, other = (larger(tmp_path, "two_sites", 4, "--seed", seed) for seed in "112")
    assert one == same and one != other


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--sites", "4"], "--sites 4: must be above 4, those of four_markets"),
        (["--sites", "1"], "--sites 1: must be a whole number in [2, 1000]"),
        (["--sites", "8", "--out", "none/here.yaml"], "none"),
    ],
)
def test_bad_counts_are_one_line(words: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--scenario", "four_markets", "--out", "unused.yaml", *words]) == 2
    error = capsys.readouterr().err
    assert told in error and error.count("\n") == 1 and not Path("unused.yaml").exists()
