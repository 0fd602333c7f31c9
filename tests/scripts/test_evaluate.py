"""Frozen sets and the evaluation on them: days apart, hashes and bounds checked, statistics by brute force."""

import itertools
import json
import re
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import yaml
from scipy.stats import trim_mean

import gridai_env
from agents.config import compiled_of, days_of, load_config
from agents.networks.checkpoint import load_policy
from agents.training.validation import HeldOut, evaluate
from baselines.mpc.policy import MPC
from baselines.optimum.milp import solve
from baselines.rules.greedy import Greedy
from baselines.rules.single_signal import LocalOnly
from gridai_env import make_instance
from gridai_env.analysis import statistics
from gridai_env.analysis.loss_by_lever import Mixture, coalitions, lever_losses, lever_masks, shapley
from gridai_env.benchmarks import play
from gridai_env.benchmarks.play import BoundError
from gridai_env.benchmarks.published import (
    LOCAL,
    OPTIMUM,
    Entry,
    FrozenSet,
    alike,
    masked_gpuh,
    read_set,
    set_path,
    sketch,
    validation_of,
)
from gridai_env.benchmarks.sets import (
    PLAIN,
    BenchmarkError,
    EpisodeKey,
    Shift,
    benchmark_folder,
    benchmark_names,
    episode_keys,
    make,
    read_benchmark,
    restricted,
    shifted,
    start_times,
)
from gridai_env.benchmarks.summary import PolicyResult, foresight_split, ledger_difference, summarise
from gridai_env.envs.env import GridAIEnv
from gridai_env.episodes.instance import load_instance, make_batch
from gridai_env.episodes.starts import table_starts
from gridai_env.observation.layout import ObservationLayout
from gridai_env.rollout.policy import Policy
from gridai_env.rollout.run import run
from gridai_env.scenario.compile import compile_scenario
from gridai_env.scenario.errors import ScenarioError
from gridai_env.scenario.load import load_scenario, parse_scenario
from gridai_env.world.actions import Layout
from scripts import evaluate as evaluate_command
from scripts.maintenance import freeze as freeze_command
from scripts.runs.command import InputError
from scripts.studies import policies
from scripts.studies.evaluation import freeze
from scripts.studies.evaluation.output import table_lines
from scripts.studies.names import MERIT_ORDER, NETWORK
from scripts.studies.policies import checkpoint_files, find_contenders, find_entrants, resolved

LAST_LINE = re.compile(
    r"gain_captured=(-?\d+\.\d{4}) ci=\[(-?\d+\.\d{4}|nan),(-?\d+\.\d{4}|nan)\] "
    r"of_mpc_own=(-?\d+\.\d{4}|nan) dropped=(-?\d+\.\d{4})"
)

TINY: dict[str, Any] = {
    "scenario": "two_sites",
    "calendar": {
        "train": [{"first": "2023-01-01", "last": "2023-01-20"}],
        "test": [{"first": "2023-03-01", "last": "2023-03-31"}],
    },
    "sets": {
        "test": {"part": "test", "episodes": 3, "planners": ["mpc:persistence", "mpc:day_ahead"]},
        "shifted": {"part": "test", "episodes": 2, "shifts": ["lost", "dear"]},
    },
    "shifts": {
        "lost": {
            "events": [
                {
                    "name": "loss", "kind": "available_gpus", "sites": ["california"], "factor": 0.0,
                    "earliest_h": 4.0, "latest_h": 8.0, "duration_h": 5.0, "announced": False,
                }
            ]
        },
        "dear": {"prices": "prices_dear"},
    },
    "solver": {"mip_gap": 1e-4, "time_limit_s": 60.0},
}  # fmt: skip


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small benchmark, frozen."""
    folder = tmp_path_factory.mktemp("benchmarks")
    _write(folder, TINY)
    words = ["--scenario", "two_sites", "--benchmarks", str(folder), "--run-dir", str(folder / "run")]
    assert freeze_command.main(words) == 0
    return folder


def _write(folder: Path, data: dict[str, Any]) -> None:
    text = re.sub(r"'(\d{4}-\d\d-\d\d)'", r"\1", yaml.safe_dump(data))  # YAML knows dates
    (folder / "two_sites.yaml").write_text(text, encoding="utf-8")
    table = {zone: {"level": 1.5, "spread": 3.0} for zone in ("US-CAL-CISO", "US-TEX-ERCO")}
    (folder / "prices_dear.yaml").write_text(yaml.safe_dump(table), encoding="utf-8")


@pytest.fixture
def copy_of_tiny(tiny: Path, tmp_path: Path) -> Path:
    """The same, to be damaged."""
    for path in [*tiny.glob("*.yaml"), *tiny.glob("two_sites/*.json")]:
        target = tmp_path / path.relative_to(tiny)
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(path.read_bytes())
    return tmp_path


def _change(folder: Path, change: Any, name: str = "test") -> None:
    path = set_path("two_sites", name, folder)
    data = json.loads(path.read_text(encoding="utf-8"))
    change(data)
    path.write_text(json.dumps(data), encoding="utf-8")


def _evaluated(folder: Path, tmp_path: Path, *words: str) -> int:
    return evaluate_command.main(
        ["--scenario", "two_sites", "--benchmarks", str(folder), "--run-dir", str(tmp_path / "out"), *words]
    )


# Statistics -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 7, 8, 40])
def test_interquartile_mean(count: int) -> None:
    """Each value counted four times, a quarter can be cut off exactly."""
    values = np.random.default_rng(count).normal(size=count)
    assert statistics.iqm(values) == pytest.approx(trim_mean(np.repeat(values, 4), 0.25))
    assert statistics.iqm([1.0, 2.0, 3.0, 1000.0]) == 2.5


def test_gain_captured_sums_before_it_divides() -> None:
    scores = np.array([[2.0, 10.0], [1.0, 30.0]])
    local, bounds = np.array([1.0, 10.0]), np.array([3.0, 110.0])
    assert statistics.captured(scores, local, bounds).tolist() == pytest.approx([1 / 102, 20 / 102])
    assert statistics.median_captured(scores, local, bounds) == pytest.approx(10.5 / 102)
    shares = statistics.captured_by_episode(scores, local, bounds)
    assert shares == pytest.approx(np.array([[0.5, 0.0], [0.0, 0.2]]))
    assert np.isnan(statistics.captured(scores, local, local)).all()


def test_improvement_counts_ties_half() -> None:
    scores, other = np.array([[1.0, 2.0, 3.0], [0.0, 2.0, 9.0]]), np.array([0.5, 2.0, 4.0])
    pairs = [
        (1.0 if s > o else 0.5 if s == o else 0.0) for run in scores for s, o in zip(run, other, strict=True)
    ]
    assert statistics.improvement(scores, other) == pytest.approx(np.mean(pairs))


def test_episodes_are_drawn_inside_their_strata() -> None:
    strata = ["a", "b", "a", "b", "b"]
    runs, episodes = statistics.resamples(3, strata, draws=500)
    assert set(np.unique(runs)) == {0, 1, 2}
    for place, label in enumerate(strata):
        own = {i for i, other in enumerate(strata) if other == label}
        assert set(episodes[:, place].tolist()) == own


def test_interval_equals_a_slow_loop() -> None:
    rng = np.random.default_rng(3)
    scores, local = rng.normal(5.0, 1.0, (3, 6)), rng.normal(0.0, 0.1, 6)
    bounds, strata = local + 8.0 + rng.random(6), [0, 0, 1, 1, 1, 0]
    got = statistics.interval(
        statistics.median_captured, scores, local, bounds, strata=strata, draws=300, seed=5
    )
    slow = []
    for runs, episodes in zip(*statistics.resamples(3, strata, 300, seed=5), strict=True):
        shares = []
        for one in runs:
            gain = sum(scores[one, i] - local[i] for i in episodes)
            shares.append(gain / sum(bounds[i] - local[i] for i in episodes))
        slow.append(sorted(shares)[1])
    assert (got.low, got.high) == pytest.approx(tuple(np.quantile(slow, [0.025, 0.975])))
    assert got.low < got.value < got.high


def test_interval_covers_the_truth() -> None:
    """Of many samples of 40 episodes, about 95 % of the intervals hold the true mean."""
    rng = np.random.default_rng(0)

    def mean(x: Any) -> Any:
        return x.mean((-2, -1))

    hits = [
        (found := statistics.interval(mean, rng.exponential(size=(1, 40)), draws=300, seed=i)).low
        <= 1.0
        <= found.high
        for i in range(300)
    ]
    assert 0.87 <= np.mean(hits) <= 0.98


def test_bad_seeds_widen_the_interval() -> None:
    """A seed that is bad on every episode is one observation, not one per episode."""
    rng = np.random.default_rng(1)
    same = rng.normal(0.0, 0.1, (5, 30))
    apart = same + np.array([-1.0, -0.5, 0.0, 0.5, 1.0])[:, None]
    widths = []
    for scores in (same, apart):
        found = statistics.interval(lambda x: x.mean((-2, -1)), scores)
        widths.append(found.high - found.low)
    assert widths[1] > 5.0 * widths[0]


def test_interval_refuses_shapes() -> None:
    with pytest.raises(ValueError, match=r"scores must be \[n, m\]"):
        statistics.interval(lambda x: x, np.zeros(3))
    with pytest.raises(ValueError, match="strata: need one for each of 3"):
        statistics.interval(lambda x: x, np.zeros((1, 3)), strata=[0])


# Days and shifts --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", benchmark_names())
def test_parts_share_no_hour(name: str) -> None:
    """The hours of all episodes of a part, a day before and after included, lie in its own days."""
    benchmark, scenario = read_benchmark(name), load_scenario(name)
    hours: dict[str, set[Any]] = {}
    for part, periods in benchmark.calendar.items():
        own = hours.setdefault(part, set())
        for start in start_times(scenario, periods):
            length = timedelta(hours=scenario.horizon_h + 48)
            own |= {
                start.item() - timedelta(days=1) + timedelta(hours=h)
                for h in range(int(length / timedelta(hours=1)))
            }
        days = {p.first + timedelta(days=d) for p in periods for d in range((p.last - p.first).days + 1)}
        assert own and {hour.date() for hour in own} <= days
    for one, other in itertools.combinations(hours.values(), 2):
        assert not one & other


@pytest.mark.parametrize("name", benchmark_names())
def test_sets_of_shipped_benchmarks_are_frozen(name: str) -> None:
    assert [one for one in read_benchmark(name).sets if not set_path(name, one).is_file()] == []


@pytest.mark.parametrize("name", ["two_sites", "global"])
def test_training_draws_from_its_own_days(name: str) -> None:
    scenario = load_scenario(name)
    starts = make_batch(compile_scenario(restricted(scenario)), range(60)).start_utc
    assert set(starts.tolist()) <= set(start_times(scenario, read_benchmark(name).calendar["train"]).tolist())
    assert len({start.month for start in starts.tolist()}) >= 4
    test_days = {key.start_utc[:10] for key in episode_keys(read_benchmark(name), "test")}
    assert not test_days & {str(start)[:10] for start in starts}


def test_validation_for_training(tiny: Path, tmp_path: Path) -> None:
    """Frozen episodes are watched where the scenario is the shipped one, whatever its days."""
    scenario = load_scenario("two_sites")
    assert validation_of(scenario, 2, tiny) is None  # the benchmark has no such set
    found = validation_of(restricted(scenario), 2)
    assert found is not None and len(found.entries) == 2 and found.name == "validation"
    assert validation_of(load_scenario("two_sites", horizon_h=12.0), 2) is None
    assert validation_of(load_scenario("two_sites", forecast="perfect"), 2) is None


def test_too_long_episodes_fit_nowhere() -> None:
    with pytest.raises(BenchmarkError, match="no episode of 2000 h fits"):
        restricted(load_scenario("two_sites", horizon_h=2000.0))


@pytest.mark.parametrize(
    ("periods", "message"),
    [
        ([("2023-05-01", "2023-05-02"), ("2023-05-02", "2023-05-04")], "a day after 2023-05-02"),
        ([("2022-05-01", "2023-05-02")], "first to last inside"),
        ([("2023-05-04", "2023-05-02")], "first to last inside"),
    ],
)
def test_wrong_periods_are_refused(periods: list[tuple[str, str]], message: str) -> None:
    data = load_scenario("two_sites").model_dump(mode="json")
    data["start"]["periods"] = [{"first": first, "last": last} for first, last in periods]
    with pytest.raises(ScenarioError, match=message):
        parse_scenario(data, "here")


def test_periods_hold_for_trace_files_too() -> None:
    """Of the starts in a file, those of the periods are drawn; where it has none of them, all its days."""
    scenario = restricted(load_scenario("two_sites"))
    days = np.arange("2023-02-20", "2023-04-10", dtype="datetime64[D]").astype("datetime64[m]")
    table = SimpleNamespace(valid_starts=lambda *_: days - np.timedelta64(16, "h"), source="file.csv")
    compiled = compile_scenario(scenario)
    chosen, how = table_starts(compiled, table, 24)  # type: ignore[arg-type]
    assert chosen.tolist() == [t for t in compiled.synthetic_starts.tolist() if t.month == 4 and t.day < 10]
    assert "in the scenario's dates" in how


def test_seeds_of_sets_are_not_those_of_training() -> None:
    seeds = [
        key.seed
        for name in read_benchmark("two_sites").sets
        for key in episode_keys(read_benchmark("two_sites"), name)
    ]
    assert min(seeds) >= 2**31 and len(set(seeds)) == len(seeds)


def test_overlapping_days_are_refused(tmp_path: Path) -> None:
    calendar = {**TINY["calendar"], "validation": [{"first": "2023-03-20", "last": "2023-04-02"}]}
    _write(tmp_path, TINY | {"calendar": calendar})
    with pytest.raises(BenchmarkError, match="2023-03-20 belongs to test and to validation"):
        read_benchmark("two_sites", tmp_path)


def test_unknown_shifts_and_zones_are_refused(tmp_path: Path) -> None:
    sets = {"test": {"part": "test", "episodes": 1, "shifts": ["flood"]}}
    _write(tmp_path, TINY | {"sets": sets})
    with pytest.raises(BenchmarkError, match="flood: not among shifts"):
        read_benchmark("two_sites", tmp_path)
    with pytest.raises(BenchmarkError, match=r"prices_dear\.yaml: has no zone US-MIDA-PJM"):
        shifted(load_scenario("four_markets"), Shift(prices="prices_dear"), tmp_path)


def test_prices_of_another_year(tiny: Path) -> None:
    """Level times the price that month and hour let one expect, spread times the deviation from it."""
    benchmark = read_benchmark("two_sites", tiny)
    plain, dear = (
        make(benchmark, EpisodeKey("two_sites", s, 7, "2023-03-05T08:00"), tiny) for s in (PLAIN, "dear")
    )
    adder, mean = 8.0, plain.knowledge.climatology[:, :2].astype(float) - 8.0
    price = plain.exogenous.buy_usd_per_mwh - adder
    wanted = 1.5 * mean + 3.0 * (price - mean) + adder
    assert np.allclose(dear.exogenous.buy_usd_per_mwh, wanted, rtol=1e-5, atol=1e-3)
    assert np.array_equal(plain.exogenous.arrivals_gpuh, dear.exogenous.arrivals_gpuh)


def test_a_lost_site(tiny: Path) -> None:
    benchmark = read_benchmark("two_sites", tiny)
    lost = make(
        benchmark, EpisodeKey("two_sites", "lost", 7, "2023-03-05T08:00"), tiny
    ).exogenous.available_gpus
    assert (lost[:, 0] == 0.0).sum() == 5 and (lost[:, 1] == lost[0, 1]).all()
    with pytest.raises(BenchmarkError, match="no shift 'flood'"):
        make(benchmark, EpisodeKey("two_sites", "flood", 7, "2023-03-05T08:00"), tiny)


# Frozen sets ------------------------------------------------------------------------------------------------


def test_frozen_figures_are_those_of_solver_and_judge(tiny: Path) -> None:
    frozen = read_set("two_sites", "test", tiny)
    assert frozen.published == (LOCAL, OPTIMUM, "mpc:persistence", "mpc:day_ahead")
    for entry, instance in zip(frozen.entries, frozen.instances(), strict=True):
        plan = solve(instance, threads=1)
        assert entry.bound_usd == pytest.approx(plan.bound, rel=2e-4)
        assert entry.figure(LOCAL, "benefit_usd") == pytest.approx(run(LocalOnly(), instance).benefit_usd)
        planned = run(MPC("day_ahead"), instance)
        assert entry.figure("mpc:day_ahead", "benefit_usd") == pytest.approx(planned.benefit_usd)
        terms = entry.results["mpc:day_ahead"]["terms_usd"]
        assert sum(terms.values()) == pytest.approx(planned.benefit_usd)


def test_freezing_goes_on_where_it_stopped(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what is missing is computed."""
    lost = tiny / "run" / "test" / "001_mpc_persistence.json"
    lost.unlink()
    before = set_path("two_sites", "test", tiny).read_text(encoding="utf-8")
    done = []
    compute = freeze.compute
    monkeypatch.setattr(
        freeze, "compute", lambda batch: done.extend(t.policy for t in batch) or compute(batch)
    )
    words = [
        "--scenario",
        "two_sites",
        "--benchmarks",
        str(tiny),
        "--run-dir",
        str(tiny / "run"),
        "--sets",
        "test",
    ]
    assert freeze_command.main(words) == 0
    assert done == ["mpc:persistence"] and lost.exists()
    after = json.loads(set_path("two_sites", "test", tiny).read_text(encoding="utf-8"))
    for old, new in zip(json.loads(before)["episodes"], after["episodes"], strict=True):
        assert old["hash"] == new["hash"] and old["bound_usd"] == new["bound_usd"]


def test_bounds_come_first(copy_of_tiny: Path, tiny: Path) -> None:
    """Without the planners, which are slow, the set is there at once; they are added later."""
    words = [
        "--scenario",
        "two_sites",
        "--benchmarks",
        str(copy_of_tiny),
        "--run-dir",
        str(tiny / "run"),
        "--sets",
        "test",
    ]
    assert freeze_command.main([*words, "--bounds-only"]) == 0
    assert read_set("two_sites", "test", copy_of_tiny).published == (LOCAL, OPTIMUM)
    assert freeze_command.main(words) == 0
    assert "mpc:day_ahead" in read_set("two_sites", "test", copy_of_tiny).published


def test_another_episode_is_refused(copy_of_tiny: Path) -> None:
    _change(copy_of_tiny, lambda data: data["episodes"][1].update(seed=5))
    with pytest.raises(
        BenchmarkError,
        match=r"seed 5: the episode made here has hash .*python -m scripts\.maintenance\.freeze",
    ):
        read_set("two_sites", "test", copy_of_tiny).instances()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data.update(environment_version=0), "environment_version is 0"),
        (lambda data: data.update(format_version=99), "format_version is 99"),
        (lambda data: data["episodes"][0].pop("hash"), "not a whole frozen set"),
        (lambda data: data.update(episodes=[]), "holds no episode"),
    ],
)
def test_other_files_are_refused(copy_of_tiny: Path, change: Any, message: str) -> None:
    _change(copy_of_tiny, change)
    with pytest.raises(BenchmarkError, match=message):
        read_set("two_sites", "test", copy_of_tiny)


def test_missing_sets_say_what_to_do(copy_of_tiny: Path) -> None:
    set_path("two_sites", "test", copy_of_tiny).unlink()
    with pytest.raises(
        BenchmarkError,
        match=r"make it: python -m scripts\.maintenance\.freeze --scenario two_sites --sets test",
    ):
        read_set("two_sites", "test", copy_of_tiny)
    with pytest.raises(BenchmarkError, match="has no set 'train'"):
        read_set("two_sites", "train", copy_of_tiny)
    with pytest.raises(BenchmarkError, match="'nowhere' has no benchmark"):
        read_set("nowhere", "test", copy_of_tiny)


def test_rounding_is_told_from_change(tiny: Path) -> None:
    """Last bits do not matter to the sketch; a price that is a hundredth dearer for one hour does."""
    instance = read_set("two_sites", "test", tiny).instances()[0]
    price, values = instance.exogenous.buy_usd_per_mwh, instance.forecast.values
    rounded = _with(instance, price * (1.0 + 1e-15), np.nextafter(values, np.float32(np.inf)))
    assert rounded.hash != instance.hash and alike(sketch(rounded), sketch(instance))
    dearer = price.copy()
    dearer[3, 1] *= 1.01
    assert not alike(sketch(_with(instance, dearer, values)), sketch(instance))
    assert not alike(sketch(_with(instance, price * 1.001, values)), sketch(instance))


def _with(instance: Any, price: Any, forecast: Any) -> Any:
    from dataclasses import replace

    exogenous = instance.exogenous.replace(buy_usd_per_mwh=price)
    return replace(instance, exogenous=exogenous, forecast=replace(instance.forecast, values=forecast))


def test_rounded_episodes_are_taken_with_a_note(copy_of_tiny: Path) -> None:
    _change(copy_of_tiny, lambda data: data["episodes"][0].update(hash="0" * 64))
    frozen = read_set("two_sites", "test", copy_of_tiny)
    assert len(frozen.instances()) == 3
    assert frozen.notes == [
        "1 of 3 episodes equal the frozen ones to rounding, not to the last bit: another processor or library"
    ]


def test_arrays_as_files(tiny: Path, tmp_path: Path) -> None:
    words = [
        "--scenario",
        "two_sites",
        "--benchmarks",
        str(tiny),
        "--sets",
        "test",
        "--save-arrays",
        str(tmp_path),
    ]
    assert freeze_command.main(words) == 0
    files = sorted((tmp_path / "test").glob("*.npz"))
    hashes = [entry.hash for entry in read_set("two_sites", "test", tiny).entries]
    assert [load_instance(path).hash for path in files] == hashes


def test_training_may_watch_a_frozen_set(tiny: Path) -> None:
    """Nothing is solved for it, and the figures are those of solving."""
    held_out = HeldOut.published(read_set("two_sites", "test", tiny))
    again = HeldOut.of([run(LocalOnly(), i) for i in held_out.instances])
    assert held_out.local_benefit_usd == pytest.approx(again.local_benefit_usd)
    assert held_out.local_bill_usd == pytest.approx(again.local_bill_usd)
    found = evaluate(Greedy(held_out.instances[0].compiled), held_out)
    assert found.gain_captured is not None and 0.5 < found.gain_captured < 1.0


@pytest.mark.parametrize(
    "path", sorted(benchmark_folder().glob("*/*.json")), ids=lambda p: f"{p.parent.name}-{p.stem}"
)
def test_shipped_sets_are_whole(path: Path) -> None:
    """Every episode is bounded from above by its bound; the first one is made again."""
    frozen = read_set(path.parent.name, path.stem)
    assert len(frozen.entries) == frozen.benchmark.sets[frozen.name].episodes
    assert [entry.key for entry in frozen.entries] == episode_keys(frozen.benchmark, frozen.name)
    for policy in frozen.published:
        scale = sum(abs(x) for x in frozen.entries[0].results[policy]["terms_usd"].values())
        assert (frozen.column(policy, "benefit_usd") <= frozen.bound_usd + 1e-6 * scale).all()
        assert (frozen.column(policy, "masked_gpuh") == 0.0).all()
    assert (frozen.column(LOCAL, "benefit_usd") < frozen.bound_usd).all()
    assert frozen.first(1).instances()


def _hand_made() -> tuple[FrozenSet, PolicyResult]:
    """Two episodes and a policy of two training runs, in round numbers."""

    def figures(benefit: float, dropped: float, bill: float = 80.0, kg: float = 9.0) -> dict[str, Any]:
        names = {"benefit_usd": benefit, "bill_usd": bill, "emissions_kg": kg, "arrived_gpuh": 1000.0}
        return names | {
            "served_gpuh": 1000.0 - dropped,
            "dropped_gpuh": dropped,
            "masked_gpuh": 0.0,
            "terms_usd": {},
        }

    planned = {"mpc:day_ahead": (25.0, 15.0), "mpc:persistence": (15.0, 15.0)}
    entries = []
    for i, (bound, dropped) in enumerate([(30.0, 4.0), (20.0, 6.0)]):
        results = {LOCAL: figures(10.0, 0.0, bill=100.0, kg=10.0), OPTIMUM: figures(bound, dropped)}
        results |= {name: figures(own[i], 0.0) for name, own in planned.items()}
        key = EpisodeKey("two_sites", PLAIN, i, "2023-03-05T08:00")
        entries.append(Entry(key, "0", (), bound, {"gap": 0.0}, results))
    frozen = FrozenSet(read_benchmark("two_sites"), "test", tuple(entries), {}, Path())
    runs = [[figures(25.0, 10.0), figures(15.0, 12.0)], [figures(20.0, 10.0), figures(12.0, 8.0)]]
    return frozen, PolicyResult("ppo:x", ("a", "b"), runs, 0.5, "played")


def test_summary_by_hand() -> None:
    frozen, result = _hand_made()
    found = summarise(result, frozen)
    assert found.gain_by_run == pytest.approx([20 / 30, 12 / 30])
    assert found.gain_captured.value == pytest.approx(16 / 30)
    assert found.of_mpc_own == pytest.approx((20 / 20 + 12 / 20) / 2)
    assert found.of_mpc_persistence == pytest.approx((20 / 10 + 12 / 10) / 2)
    assert found.beats_mpc_own.value == pytest.approx((0.5 + 0.5 + 0 + 0) / 4)
    assert found.beats_mpc_persistence.value == pytest.approx((1 + 0.5 + 1 + 0) / 4)
    assert found.gain_iqm.value == pytest.approx(0.5)  # of 0.75, 0.5, 0.5, 0.2
    assert found.gap == pytest.approx((50.0 - 36.0) / 200.0)
    assert found.bill_saving == pytest.approx(0.2) and found.emissions_change == pytest.approx(-0.1)
    assert found.dropped_gpuh == 10.0 and found.dropped_share == pytest.approx(0.01)
    assert found.dropped_over_optimum == pytest.approx((20.0 - 10.0) / 2000.0)
    assert found.line().startswith("gain_captured=0.5333 ci=[") and found.line().endswith(" dropped=0.0050")


def test_sites_that_live_on_exports_have_no_relative_bill() -> None:
    frozen, result = _hand_made()
    for entry in frozen.entries:
        entry.results[LOCAL]["bill_usd"] = -5.0
    found = summarise(result, frozen)
    assert np.isnan(found.bill_saving) and np.isnan(found.gap)
    assert "nan" not in " ".join(table_lines([found])[0])


def test_loss_is_foresight_and_decisions() -> None:
    frozen, result = _hand_made()
    found = foresight_split(result, frozen)
    assert {name: x.tolist() for name, x in found.items()} == {
        "loss": [30.0 - 22.5, 20.0 - 13.5],
        "foresight": [5.0, 5.0],
        "decisions": [2.5, 1.5],
    }
    short = ledger_difference(result, frozen)
    assert short == {}  # the hand-made episodes have no terms
    result.figures[0][0]["terms_usd"] = {"import": -8.0}
    frozen.entries[1].results[OPTIMUM]["terms_usd"] = {"fuel": -2.0}
    assert ledger_difference(result, frozen) == {"fuel": -1.0, "import": 2.0}


def test_masked_routes_are_a_defect() -> None:
    frozen, result = _hand_made()
    play.check_result("ppo:x", frozen, result.figures[0])
    used = [result.figures[0][0], result.figures[0][1] | {"masked_gpuh": 1e-9}]
    with pytest.raises(BoundError, match="seed 1: ppo:x serves 1e-09 GPU-h over masked routes"):
        play.check_result("ppo:x", frozen, used)


def test_masked_work_is_counted() -> None:
    """A fabricated schedule that serves over a closed route is found out."""
    instance = make_instance("two_sites", seed=0, horizon_h=3.0)
    played = run(LocalOnly(), instance)
    assert masked_gpuh(played) == 0.0
    closed = np.argwhere(instance.params.route_open <= 0.0)[0]
    served = played.flows.served_gpuh.copy()
    served[1, *closed] = 7.0
    fake = SimpleNamespace(instance=instance, flows=SimpleNamespace(served_gpuh=served))
    assert masked_gpuh(fake) == 7.0  # type: ignore[arg-type]


# The command ------------------------------------------------------------------------------------------------


def test_last_line(tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The figures follow from benefits of the judge and bounds of the solver, summed by hand."""
    assert _evaluated(tiny, tmp_path, "--policies", "greedy", "mpc:day_ahead", "milp") == 0
    line = capsys.readouterr().out.splitlines()[-1]
    found = LAST_LINE.fullmatch(line)
    assert found is not None, line
    frozen = read_set("two_sites", "test", tiny)
    gains = dict.fromkeys(("greedy", "planner", "bound"), 0.0)
    dropped = arrived = 0.0
    for instance in frozen.instances():
        local, plan = run(LocalOnly(), instance), solve(instance, threads=1)
        greedy = run(Greedy(instance.compiled), instance)
        gains["greedy"] += greedy.benefit_usd - local.benefit_usd
        gains["planner"] += run(MPC("day_ahead"), instance).benefit_usd - local.benefit_usd
        gains["bound"] += plan.bound - local.benefit_usd
        dropped += greedy.metrics["dropped_gpuh"] - run(plan, instance).metrics["dropped_gpuh"]
        arrived += greedy.metrics["arrived_gpuh"]
    assert float(found[1]) == pytest.approx(gains["greedy"] / gains["bound"], abs=2e-4)
    assert float(found[4]) == pytest.approx(gains["greedy"] / gains["planner"], abs=1e-4)
    assert float(found[5]) == pytest.approx(dropped / arrived, abs=1e-4)
    assert float(found[2]) <= float(found[1]) <= float(found[3])
    out = tmp_path / "out"
    assert json.loads((out / "run.json").read_text(encoding="utf-8"))["kind"] == "evaluate"
    by_policy = {one["policy"]: one for one in json.loads((out / "results.json").read_text(encoding="utf-8"))}
    assert by_policy["mpc:day_ahead"]["of_mpc_own"] == pytest.approx(1.0)
    assert by_policy["milp"]["gain_captured"]["value"] == pytest.approx(1.0, abs=1e-3)
    assert by_policy["milp"]["beats_mpc_own"]["value"] >= 0.5
    assert len((out / "results.csv").read_text(encoding="utf-8").splitlines()) == 1 + 3 * 3


def test_table(tiny: Path, tmp_path: Path) -> None:
    target = tmp_path / "table.md"
    assert _evaluated(tiny, tmp_path, "--policy", "price_only", "--table", str(target)) == 0
    text = target.read_text(encoding="utf-8")
    assert "Commit " in text and "device cpu" in text and "| price_only | 1 |" in text
    assert (
        target.with_suffix(".csv")
        .read_text(encoding="utf-8")
        .splitlines()[1]
        .startswith("price_only,1,3,played")
    )


def test_shifted_sets_are_played(tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _evaluated(tiny, tmp_path, "--policy", "greedy", "--set", "shifted") == 0
    found = LAST_LINE.fullmatch(capsys.readouterr().out.splitlines()[-1])
    assert found is not None and found[4] == "nan"  # no planner is published there


def test_published_figures_come_out_again(
    copy_of_tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--policy", "local_only", "--episodes", "1", "--recompute")
    assert _evaluated(copy_of_tiny, tmp_path, *words) == 0
    assert "published figures come out again" in capsys.readouterr().out
    _change(
        copy_of_tiny, lambda data: data["episodes"][1]["results"]["mpc:day_ahead"].update(benefit_usd=1.0)
    )
    assert _evaluated(copy_of_tiny, tmp_path, *words) == 1
    assert "mpc:day_ahead: benefit is" in capsys.readouterr().err


def test_a_policy_beyond_the_bound_is_a_defect(
    copy_of_tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _change(copy_of_tiny, lambda data: data["episodes"][2].update(bound_usd=0.0))
    assert _evaluated(copy_of_tiny, tmp_path, "--policy", "greedy") == 1
    assert "greedy passes the proven bound" in capsys.readouterr().err


def test_another_simulator_is_refused(
    copy_of_tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Equal episodes, but Local-Only earns something else: bounds of another physics do not hold."""

    def change(data: Any) -> None:
        data["episodes"][0]["results"][LOCAL]["benefit_usd"] += 1.0

    _change(copy_of_tiny, change)
    assert _evaluated(copy_of_tiny, tmp_path, "--policy", "greedy") == 2
    assert "the simulator changed since" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--policy", "ppo:nowhere"], "no model.zip there"),
        (["--policy", "greedi"], "did you mean 'greedy'"),
        (["--policy", "greedy", "greedy"], "given twice: greedy"),
        (["--policy", "greedy", "--episodes", "9"], "has 3 episodes; 9 were asked for"),
        (["--policy", "greedy", "--set", "exam"], "has no set 'exam'"),
        (["--policy", "greedy", "--table", "x.html"], "must end in .md"),
        (["--policy", "local_only", "--where"], "--where is for what decides step by step"),
        (["--policy", "greedy", "--where", "luck"], "must be one of milp"),
    ],
)
def test_bad_input_is_refused(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    assert _evaluated(tiny, tmp_path, *words) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("kind", [prefix.rstrip(":") for prefix in NETWORK])
def test_pretrained_agents_are_found_by_scenario_and_kind(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kind: str
) -> None:
    monkeypatch.setattr(policies, "pretrained_root", lambda: tmp_path)
    compiled, name = make_instance("two_sites", horizon_h=3.0).compiled, f"{kind}:pretrained"
    with pytest.raises(
        InputError, match=rf"no agent of kind .{kind}. is shipped for .two_sites.(.|\n)*train one"
    ):
        find_entrants([name], "two_sites")
    with pytest.raises(InputError, match="no agent of kind"):
        find_contenders([name], compiled)
    for other in ("learned", "residual", "ppo"):
        for seed in (0, 1):
            (tmp_path / "two_sites" / other / f"seed{seed}").mkdir(parents=True)
            (tmp_path / "two_sites" / other / f"seed{seed}" / "model.zip").touch()
    # All training seeds where the agent is judged, the first one where it plays.
    paths = tuple(f"{kind}:{tmp_path}/two_sites/{kind}/seed{seed}/model.zip" for seed in (0, 1))
    assert find_entrants([name], "two_sites")[0].runs == paths
    assert resolved(name, compiled) == paths[0]
    with pytest.raises(InputError, match="there are: two_sites"):
        resolved(name, make_instance("global", horizon_h=3.0).compiled)


def test_the_agents_that_are_shipped_load_and_are_small() -> None:
    found = sorted(policies.pretrained_root().glob("*/*/seed*/model.zip"))
    if not found:
        pytest.skip("no agent is shipped yet")
    for path in found:
        scenario, kind, seed = path.parts[-4:-1]
        assert f"{kind}:" in NETWORK
        assert path.stat().st_size <= 5e6
        record = (path.parent / "run.json").read_text()
        assert f'"scenario": "{scenario}"' in record
        assert '"/' not in record  # no path of the machine that trained it
        if seed == "seed0":
            load_policy(path).prepare(compile_scenario(load_scenario(scenario)))


def test_merit_order_is_a_rule(tiny: Path, tmp_path: Path) -> None:
    """It needs no checkpoint, sees the shifted scenario as it is, and has no training seeds."""
    (entrant,) = find_entrants([MERIT_ORDER], "two_sites")
    assert entrant.runs == (MERIT_ORDER,) and not entrant.is_network
    frozen = read_set("two_sites", "shifted", tiny)
    policy = find_contenders([MERIT_ORDER], compile_scenario(load_scenario("two_sites")))[0].decider
    assert play.player_for(policy, frozen.instances()[0], "lost") is policy
    assert len(play.played(policy, frozen, frozen.instances())) == len(frozen.entries)
    assert _evaluated(tiny, tmp_path, "--policy", MERIT_ORDER) == 0


def test_training_seeds_behind_a_name(tmp_path: Path) -> None:
    for seed in (0, 2, 10):
        (tmp_path / f"seed{seed}").mkdir()
        (tmp_path / f"seed{seed}" / "model.zip").touch()
    wanted = [tmp_path / f"seed{seed}" / "model.zip" for seed in (0, 2, 10)]
    assert checkpoint_files(str(tmp_path)) == wanted
    assert checkpoint_files(str(tmp_path / "seed*" / "model.zip")) == wanted
    assert checkpoint_files(str(tmp_path / "seed*")) == wanted
    assert checkpoint_files(str(wanted[1])) == checkpoint_files(str(wanted[1].parent)) == [wanted[1]]


def test_networks_know_nothing_of_a_shift(tiny: Path) -> None:
    """A lost site adds parts to the observation; a network reads the parts that it was trained with."""
    frozen = read_set("two_sites", "shifted", tiny)
    instance = frozen.instances()[0]
    plain = compile_scenario(load_scenario("two_sites"))
    known = {name: part.stop - part.start for name, part in ObservationLayout(plain).parts.items()}
    assert set(ObservationLayout(instance.compiled).parts) > set(known)
    seen: list[list[str]] = []

    class Network(Policy):
        name = "ppo"
        observed_parts = known

        def predict(self, observation: Any, *_: Any, **__: Any) -> Any:
            seen.append(list(observation))
            lead = next(iter(observation.values())).shape[:-1]
            return np.zeros((*lead, Layout(plain.shape).size), dtype=np.float32), None

    network = Network()
    trajectories = play.played(network, frozen, frozen.instances())
    assert len(trajectories) == 2 and all(names == list(known) for names in seen)
    network.observed_parts = known | {"moon": 1}  # type: ignore[misc]
    with pytest.raises(BenchmarkError, match="show 0 entries of 'moon', the network reads 1"):
        play.player_for(network, instance, "lost")


# Levers -----------------------------------------------------------------------------------------------------


def test_shapley_values_are_means_over_orders() -> None:
    rng = np.random.default_rng(0)
    levers = ("a", "b", "c")
    values = {some: rng.normal(size=2) for some in coalitions(levers)}
    slow = {lever: np.zeros(2) for lever in levers}
    orders = list(itertools.permutations(levers))
    for order in orders:
        for i, lever in enumerate(order):
            gain = values[frozenset(order[: i + 1])] - values[frozenset(order[:i])]
            slow[lever] += gain / len(orders)
    for lever, value in shapley(values, levers).items():
        assert value == pytest.approx(slow[lever])


def test_levers_sum_to_the_loss() -> None:
    instances = [make_instance("two_sites", seed=seed, horizon_h=12.0) for seed in (1, 2)]
    policy = Greedy(instances[0].compiled)
    plans = [solve(instance, threads=1) for instance in instances]
    losses = lever_losses(policy, instances, [plan.actions for plan in plans])  # type: ignore[misc]
    alone = SimpleNamespace(predict=lambda seen, state, episode_start, deterministic: policy.predict(seen))
    for one, other in zip(
        losses, lever_losses(alone, instances, [plan.actions for plan in plans]), strict=True
    ):
        np.testing.assert_allclose(other.shapley_usd, one.shapley_usd, rtol=1e-6, atol=1e-3)
    assert [loss.lever for loss in losses] == ["routing", "deferral", "battery"]
    wanted = [
        run(plan, i).benefit_usd - run(policy, i).benefit_usd
        for plan, i in zip(plans, instances, strict=True)
    ]
    assert np.sum([loss.shapley_usd for loss in losses], axis=0) == pytest.approx(np.array(wanted))
    battery = next(loss for loss in losses if loss.lever == "battery")
    assert battery.alone_usd[0] == pytest.approx(
        _with_battery_of(plans[0], policy) - run(policy, instances[0]).benefit_usd
    )


def _with_battery_of(plan: Any, policy: Any) -> float:
    """Benefit of a policy whose batteries follow a plan, through the public step."""
    env, layout = GridAIEnv(plan.instance.scenario), Layout(plan.instance.compiled.shape)
    observation, _ = env.reset(options={"instance": plan.instance})
    total = 0.0
    for t in range(plan.instance.steps):
        action, _ = policy.predict(observation)
        action = np.array(action)
        layout.split(action)["battery"][...] = layout.split(plan.actions[t])["battery"]
        observation, reward, *_ = env.step(action)
        total += float(reward) * plan.instance.scenario.reward_scale_usd
    return total


def test_levers_of_scenarios() -> None:
    own = {name: list(lever_masks(compile_scenario(load_scenario(name)))) for name in benchmark_names()}
    assert own["four_markets"] == ["routing", "deferral", "battery"]
    assert own["microgrid_prosumer"] == ["routing", "deferral", "battery", "generation", "jobs"]
    masks = lever_masks(compile_scenario(load_scenario("global")))
    assert (np.sum([mask.astype(int) for mask in masks.values()], axis=0) == 1).all()


def test_planners_follow_no_mixture() -> None:
    instance = make_instance("two_sites", horizon_h=3.0)
    with pytest.raises(ValueError, match="a planner plays one episode at a time"):
        lever_losses(MPC("day_ahead"), [instance], [np.zeros((3, 1), dtype=np.float32)])
    mixture = Mixture(LocalOnly(), np.zeros((1, 3, 4), dtype=np.float32), np.ones(4, dtype=np.bool_))
    assert mixture.name == "mixture"


def test_where_prints_levers_and_terms(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--policy", "price_only", "--where", "mpc:day_ahead", "--where-episodes", "1")
    assert _evaluated(tiny, tmp_path, *words) == 0
    text = capsys.readouterr().out
    assert (
        "short of mpc:day_ahead, by lever, on 1 episodes" in text and "deferral" in text and "import" in text
    )
    assert (tmp_path / "out" / "where_levers.csv").is_file()


def test_first_episodes_of_a_set(tiny: Path) -> None:
    frozen: FrozenSet = read_set("two_sites", "test", tiny)
    assert [entry.key.seed for entry in frozen.first(1).entries] == [frozen.entries[1].key.seed]
    assert frozen.first(3).entries == frozen.entries


def test_an_own_scenario_is_judged_by_its_own_sets(tmp_path: Path) -> None:
    own = tmp_path / "mine.yaml"
    made = load_scenario("two_sites", horizon_h=3.0).model_dump(mode="json") | {"name": "mine"}
    own.write_text(yaml.safe_dump(made), encoding="utf-8")
    folder = tmp_path / "sets"
    folder.mkdir()
    sets = {"test": {"part": "test", "episodes": 2}, "validation": {"part": "validation", "episodes": 1}}
    days = TINY["calendar"] | {"validation": [{"first": "2023-02-01", "last": "2023-02-10"}]}
    benchmark = TINY | {
        "scenario": "mine",
        "file": "../mine.yaml",
        "sets": sets,
        "shifts": {},
        "calendar": days,
    }
    (folder / "mine.yaml").write_text(yaml.safe_dump(benchmark), encoding="utf-8")
    words = ["--scenario", "mine", "--benchmarks", str(folder), "--run-dir"]
    assert freeze_command.main([*words, str(tmp_path / "freeze")]) == 0

    found = gridai_env.evaluate(Greedy(), own, benchmarks=folder)
    assert found == gridai_env.evaluate(Greedy(), "mine", benchmarks=str(folder))
    frozen = read_set("mine", "test", folder)
    bounds = [solve(instance).bound for instance in frozen.instances()]
    np.testing.assert_allclose(frozen.bound_usd, bounds, rtol=1e-3)
    earned, home = (
        sum(run(p, instance).benefit_usd for instance in frozen.instances()) for p in (Greedy(), LocalOnly())
    )
    assert found.gain_captured == pytest.approx((earned - home) / (frozen.bound_usd.sum() - home), rel=1e-6)
    assert (found.scenario, found.set_hash, frozen.instances()[0].steps) == ("mine", frozen.hash, 3)

    # Training keeps to its days and watches its validation episodes.
    keys = {"scenario": str(own), "days": "train", "benchmarks": str(folder)}
    config = load_config(None, {f"environment.{key}": value for key, value in keys.items()})
    world = compiled_of(config).scenario
    assert "episodes start on 2023-01-02 to 2023-01-19" in days_of(config)
    watched = validation_of(world, 5, config.environment.benchmark_folder)
    assert watched is not None and watched.folder == folder and len(watched.entries) == 1
    assert validation_of(load_scenario(world, horizon_h=2.0), 5, folder) is None
    assert validation_of(world, 5) is None

    told = [*words, str(tmp_path / "run"), "--policy", "greedy", "--save-results", str(tmp_path / "out")]
    assert evaluate_command.main(told) == 0
    (path,) = (tmp_path / "out").glob("*.json")
    assert json.loads(path.read_text(encoding="utf-8"))["gain_captured"] == found.gain_captured

    with pytest.raises(BenchmarkError, match=r"'mine' is none with frozen sets .* give benchmarks=FOLDER"):
        gridai_env.evaluate(Greedy(), own)
    own.write_text(yaml.safe_dump(made | {"name": "yours"}), encoding="utf-8")
    with pytest.raises(BenchmarkError, match="is of the name 'yours', its benchmark of 'mine'"):
        read_benchmark("mine", folder)
