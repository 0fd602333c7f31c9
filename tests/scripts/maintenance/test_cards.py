"""Model cards of shipped agents: the figures of their table, in the form of the Hugging Face hub."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

pytest.importorskip("huggingface_hub", reason="needs the extra 'cards'")
pytest.importorskip("jinja2", reason="needs the extra 'cards'")

from gridai_env.benchmarks.published import read_set
from gridai_env.benchmarks.sets import benchmark_folder
from scripts.maintenance import cards
from scripts.runs.command import InputError
from scripts.runs.folder import write_run
from scripts.runs.tables import write_rows
from scripts.studies.names import NETWORK

TABLE = """policy,runs,episodes,gain_captured,gain_captured_low,gain_captured_high,of_mpc_own,dropped_over_optimum
greedy,1,40,0.84,0.80,0.87,0.85,0.0
learned:pretrained,{runs},40,0.912345,0.9,0.92,0.95,0.00042
"""


@pytest.fixture
def agents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A made-up agent of two training seeds, as it is shipped."""
    for seed in (0, 1):
        folder = tmp_path / "agents" / "two_sites" / "learned" / f"seed{seed}"
        folder.mkdir(parents=True)
        settings = {
            "algorithm": "pathwise",
            "policy": "set",
            "total_steps": 12345,
            "environment": {"traces": None},
        }
        settings["start_from"] = f"two_sites/calm/seed{seed}/model.zip"
        facts = {"device": "cpu", "days": "the training days", "agent": {"environment_version": 7}}
        write_run(folder, "train", settings, [seed], **facts)
        rows = [{"time/total_timesteps": 0, "time/seconds": 1.0}]
        rows.append({"time/total_timesteps": 12345, "time/seconds": 90.0 + 60.0 * seed})
        write_rows(rows, folder / "progress.csv")
    monkeypatch.setattr(cards, "pretrained_root", lambda: tmp_path / "agents")
    return tmp_path / "agents"


@pytest.fixture
def benchmarks(tmp_path: Path) -> Path:
    """The benchmark of two_sites with a made-up table."""
    folder = tmp_path / "benchmarks"
    (folder / "two_sites").mkdir(parents=True)
    for name in ("two_sites.yaml", "two_sites/test.json"):
        shutil.copy(benchmark_folder() / name, folder / name)
    (folder / "two_sites" / "test.csv").write_text(TABLE.format(runs=2), encoding="utf-8")
    return folder


def test_a_card_says_what_an_agent_is_and_what_it_reaches(agents: Path, benchmarks: Path) -> None:
    from huggingface_hub import ModelCard

    text = cards.card(agents / "two_sites" / "learned", benchmarks)
    card = ModelCard(text)
    assert (
        "| begins with |" in text
        and "`two_sites/calm/seed0/model.zip`, `two_sites/calm/seed1/model.zip`;" in text
    )
    assert "| data | synthetic traces of the package; the training days |" in text
    assert (card.data.license, card.data.library_name) == ("mit", "stable-baselines3")
    (result,) = card.data.eval_results
    assert (result.metric_value, result.metric_args) == (0.9123, {"low_95": 0.9, "high_95": 0.92})
    assert result.dataset_revision == read_set("two_sites", "test").hash
    assert result.dataset_type == "gridai/TwoSites-v2"
    for said in (
        "91.2% [90.0%, 92.0%]",
        "95.0 % of the gain of MPC",
        "+0.042 % of arrivals",
        "`algorithm: pathwise`, `policy: set`, 12,345 environment-steps, 1.5, 2.5 minutes",
        "No rule about prices, carbon or time is inside",
        "the training days",
        'load_policy("seed0/model.zip")',
        "version 7 of the environments; others",
        "seed0, seed1",
    ):
        assert said in text, said
    assert "{{" not in text and str(agents) not in text


def test_a_score_of_other_seeds_is_refused(agents: Path, benchmarks: Path) -> None:
    (benchmarks / "two_sites" / "test.csv").write_text(TABLE.format(runs=1), encoding="utf-8")
    with pytest.raises(InputError, match=r"no row .learned:pretrained. of 2 training seeds; see scripts"):
        cards.card(agents / "two_sites" / "learned", benchmarks)


def test_the_command_writes_a_card_beside_the_seeds(
    agents: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cards, "card", lambda folder: f"of {folder.name}")
    assert cards.main([]) == 0
    path = agents / "two_sites" / "learned" / "README.md"
    assert path.read_text(encoding="utf-8") == "of learned" and str(path) in capsys.readouterr().out


def test_where_no_agent_is_shipped_the_command_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cards, "pretrained_root", lambda: tmp_path)
    assert cards.main([]) == 2
    assert "no agent is shipped" in capsys.readouterr().err


def test_without_the_extra_the_command_names_it(
    agents: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert cards.main([]) == 2
    assert "[cards]" in capsys.readouterr().err


@pytest.mark.parametrize("kind", [prefix.rstrip(":") for prefix in NETWORK])
def test_every_kind_says_what_is_inside(agents: Path, benchmarks: Path, kind: str) -> None:
    (agents / "two_sites" / "learned").rename(agents / "two_sites" / f"{kind}")
    table = TABLE.format(runs=2).replace("learned", kind)
    (benchmarks / "two_sites" / "test.csv").write_text(table, encoding="utf-8")
    assert "inside" in cards.card(agents / "two_sites" / kind, benchmarks)
