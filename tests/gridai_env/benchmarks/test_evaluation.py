"""`gridai_env.evaluate`: the figures of the command, honest where no bound is known."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gridai_env
from baselines.rules.single_signal import LocalOnly
from gridai_env.analysis.statistics import gap
from gridai_env.benchmarks import evaluation, play
from gridai_env.benchmarks.evaluation import Evaluation, evaluate
from gridai_env.benchmarks.play import BoundError
from gridai_env.benchmarks.published import read_set
from gridai_env.benchmarks.sets import BenchmarkError
from gridai_env.rollout import FlatObservations, run
from gridai_env.rollout.policy import PolicyError
from gridai_env.scenario.load import load_scenario
from scripts import evaluate as evaluate_command
from tests.support.judged_policies import Home, Silent

ROOT = Path(__file__).resolve().parents[3]
COUNT = 3


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three episodes of each set."""
    monkeypatch.setattr(evaluation, "read_set", lambda *names: read_set(*names).first(COUNT))


def home() -> Home:
    return Home(gridai_env.GridAIEnv("two_sites"))


@pytest.mark.parametrize("name", ["test", "shifted"])
def test_the_command_prints_the_same_figures(name: Any, tmp_path: Path) -> None:
    """A shifted world shows more; a policy sees the parts of the plain one in both."""
    found = evaluate(home(), "two_sites", name)
    words = ["--policy", "py:tests.support.judged_policies:Home", "--scenario", "two_sites", "--set", name]
    words += ["--episodes", str(COUNT), "--run-dir", str(tmp_path / "run"), "--save-results", str(tmp_path)]
    assert evaluate_command.main(words) == 0
    (path,) = tmp_path.glob("two_sites-*.json")
    told = Evaluation.load(path)
    same = {"policy": "Home", "command": None}
    assert told.model_copy(update=same) == found
    (summary,) = json.loads((tmp_path / "run" / "results.json").read_text(encoding="utf-8"))
    assert summary["gain_captured"]["value"] == found.gain_captured
    assert (summary["gap"], summary["dropped_share"]) == (found.gap, found.dropped_share)


def test_figures_by_hand() -> None:
    frozen = read_set("two_sites", "test").first(COUNT)
    runs = [run(home(), instance) for instance in frozen.instances()]
    local = [run(LocalOnly(), trajectory.instance) for trajectory in runs]
    earned, at_home = (sum(t.benefit_usd for t in some) for some in (runs, local))
    room = float(frozen.bound_usd.sum()) - at_home
    found = evaluate(home(), "two_sites")
    assert found.gain_captured == pytest.approx((earned - at_home) / room, rel=1e-6)
    assert found.gap == pytest.approx(
        gap([t.benefit_usd for t in runs], frozen.bound_usd, [t.bill_usd for t in local]), rel=1e-6
    )
    assert found.bill_usd == pytest.approx(np.mean([t.bill_usd for t in runs]))
    assert found.emissions_kg == pytest.approx(np.mean([t.emissions_kg for t in runs]))
    dropped, arrived = (sum(t.metrics[f"{name}_gpuh"] for t in runs) for name in ("dropped", "arrived"))
    assert found.dropped_share == pytest.approx(dropped / arrived, abs=1e-12)
    assert found.interval is not None and found.gain_captured is not None
    assert found.interval[0] <= found.gain_captured <= found.interval[1]
    assert (found.episodes, found.runs, found.environment_version) == (
        COUNT,
        1,
        gridai_env.environment_version(),
    )


def test_an_evaluation_is_a_table_and_a_file(tmp_path: Path) -> None:
    found = evaluate(home(), "two_sites", seed=3)
    lines = str(found).splitlines()
    assert len(lines) == 3 + 1 + len(found.published)
    assert {figures.policy for figures in found.published} >= {"local_only", "milp", "mpc:day_ahead"}
    assert "\n" not in repr(found) and len(repr(found)) < 120
    assert Evaluation.load(found.save(tmp_path / "mine.json")) == found

    damaged = tmp_path / "damaged.json"
    damaged.write_text(found.model_dump_json().replace('"gap"', '"gulf"'), encoding="utf-8")
    with pytest.raises(BenchmarkError, match=r"damaged\.json: not a saved evaluation: gap: Field required"):
        Evaluation.load(damaged)


def test_policies_that_draw_are_seeded() -> None:
    class Draws(Home):
        def reseed(self, seed: int) -> None:
            self.rng = np.random.default_rng(seed)

        def predict(self, observation: Any, *_: Any, **__: Any) -> Any:
            return self.rng.uniform(-1.0, 1.0, self.size), None

    bills = [
        evaluate(Draws(gridai_env.GridAIEnv("two_sites")), "two_sites", seed=s).bill_usd for s in (1, 1, 2)
    ]
    assert bills[0] == bills[1] != bills[2]


def test_sets_differ_in_their_hash() -> None:
    whole = read_set("two_sites", "test")
    assert len({whole.hash, whole.first(3).hash, read_set("two_sites", "shifted").hash}) == 3
    assert whole.hash == read_set("two_sites", "test").hash


def test_flat_policies_are_wrapped() -> None:
    class Flat(Home):
        def predict(self, observation: Any, *_: Any, **__: Any) -> Any:
            assert isinstance(observation, np.ndarray) and observation.ndim == 1
            return np.zeros(self.size, dtype=np.float32), None

    policy = Flat(gridai_env.GridAIEnv("two_sites"))
    for name in ("test", "shifted"):
        assert evaluate(FlatObservations(policy), "two_sites", name).bill_usd == (  # type: ignore[arg-type]
            evaluate(home(), "two_sites", name).bill_usd  # type: ignore[arg-type]
        )


def test_other_worlds_have_no_bound(tmp_path: Path) -> None:
    other = load_scenario("two_sites", horizon_h=12.0)
    with pytest.raises(
        BenchmarkError, match=r"scenario 'two_sites' differs from the one .* in the package"
    ) as error:
        evaluate(home(), other)
    assert "\n" not in str(error.value)
    assert evaluate(home(), load_scenario("two_sites")) == evaluate(home(), "two_sites")


def test_other_traces_have_no_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "traces.csv"
    hours = np.arange("2023-02-10", "2023-03-12", dtype="datetime64[h]")
    rows = [
        f"{hour}:00Z,{zone},{30 + 20 * (i % 24 > 15)},400"
        for zone in ("US-CAL-CISO", "US-TEX-ERCO")
        for i, hour in enumerate(hours)
    ]
    file.write_text(
        "\n".join(["utc,zone,price_usd_per_mwh,carbon_average_kg_per_mwh", *rows]), encoding="utf-8"
    )
    starts: list[Any] = []

    def watched(actor: Any, frozen: Any, instances: Any, *more: Any, **named: Any) -> Any:
        starts.extend(instance.start_utc for instance in instances)
        return play.played(actor, frozen, instances, *more, **named)

    monkeypatch.setattr(evaluation, "played", watched)
    found = evaluate(home(), "two_sites", traces=file)
    assert len(starts) == COUNT and all("2023-03-02" <= str(start) < "2023-03-12" for start in starts)
    assert (found.gain_captured, found.interval, found.gap, found.published) == (None, None, None, [])
    assert found.set_hash != read_set("two_sites", "test").hash
    assert found.traces_sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    assert found.bill_usd > 0.0 and found.traces == str(file) and "no gain is known" in str(found)
    with pytest.raises(BenchmarkError, match="give traces with set = 'test'"):
        evaluate(home(), "two_sites", "shifted", traces=file)


def test_what_cannot_be_judged_is_one_line() -> None:
    env = gridai_env.GridAIEnv("two_sites")
    for policy, kind in (
        (Silent(env), PolicyError),
        (Home(gridai_env.GridAIEnv("four_markets")), PolicyError),
    ):
        with pytest.raises(kind, match=r"predict must return \(action, memory\): 30 numbers") as error:
            evaluate(policy, "two_sites")
        assert "\n" not in str(error.value)
    with pytest.raises(BenchmarkError, match="has no set 'exam'"):
        evaluate(home(), "two_sites", "exam")  # type: ignore[arg-type]


def test_nobody_passes_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    def lowered(*names: Any) -> Any:
        frozen = read_set(*names).first(COUNT)
        for entry in frozen.entries:
            object.__setattr__(entry, "bound_usd", -1e6)
        return frozen

    monkeypatch.setattr(evaluation, "read_set", lowered)
    with pytest.raises(BoundError, match="Home passes the proven bound"):
        evaluate(home(), "two_sites")


@pytest.mark.parametrize("path", sorted((ROOT / "docs" / "results").glob("*.json")), ids=lambda p: p.stem)
def test_results_of_the_leaderboard_are_valid(path: Path) -> None:
    found = Evaluation.load(path)
    assert path.name.startswith(f"{found.scenario}-{found.set}-")
    assert found.gain_captured is not None and found.interval is not None


def test_a_folder_of_benchmarks_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match=r"nowhere: no such folder of benchmarks$"):
        evaluate(home(), "two_sites", benchmarks=tmp_path / "nowhere")
