"""Totals of an episode against slow counts written here, and figures over many episodes against hand sums."""

from collections import deque

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from baselines.rules.greedy import Greedy
from baselines.rules.single_signal import LocalOnly, Random
from gridai_env.analysis.statistics import bootstrap, gain_captured, gain_interval, gap, mean_interval
from gridai_env.episodes.instance import make_batch
from gridai_env.rollout.metrics import episode_metrics, weighted_quantile
from gridai_env.rollout.played import PlayedEpisode
from gridai_env.rollout.run import run
from gridai_env.rollout.trajectory import Trajectory
from gridai_env.world.terms import BILL, EARNINGS, PENALTIES, TERMS
from tests.support.small_scenario import small


@pytest.fixture(scope="module")
def played() -> list[Trajectory]:
    """Three policies on one episode of the scenario that has everything."""
    instance = make_batch(small(), [3])[0]
    return [run(policy, instance) for policy in (LocalOnly(), Greedy(), Random(seed=1))]


def test_every_term_belongs_to_one_group() -> None:
    assert sorted(BILL + EARNINGS + PENALTIES) == sorted(TERMS)


def test_money_adds_up(played: list[Trajectory]) -> None:
    for t in played:
        m = t.metrics
        assert m["benefit_usd"] == pytest.approx(
            m["earnings_usd"] - m["bill_usd"] - m["penalties_usd"], rel=1e-12
        )
        assert m["cost_usd"] == pytest.approx(m["bill_usd"] + m["penalties_usd"], rel=1e-12)
        assert m["bill_usd"] == pytest.approx(-sum(t.terms[name] for name in BILL))


def test_work_is_conserved(played: list[Trajectory]) -> None:
    for t in played:
        m = t.metrics
        assert m["served_gpuh"] + m["dropped_gpuh"] == pytest.approx(m["arrived_gpuh"], rel=1e-9)
        assert m["served_share"] == pytest.approx(m["served_gpuh"] / m["arrived_gpuh"])
        done = m["served_requests"] + m["dropped_requests"]
        assert done == pytest.approx(m["arrived_requests"], rel=1e-9)


def test_latency_against_a_loop(played: list[Trajectory]) -> None:
    for t in played:
        compiled = t.instance.compiled
        served = t.flows.served_gpuh.sum(0)
        weight, total = 0.0, 0.0
        sample = []
        for (c, w, k), gpuh in np.ndenumerate(served):
            weight += gpuh
            total += gpuh * compiled.geography.path_ms[c, w, k]
            sample.append((compiled.geography.path_ms[c, w, k], gpuh))
        assert t.metrics["path_latency_mean_ms"] == pytest.approx(total / weight)
        p95 = t.metrics["path_latency_p95_ms"]
        assert sum(gpuh for ms, gpuh in sample if ms <= p95) >= 0.95 * weight * (1 - 1e-9)
        assert sum(gpuh for ms, gpuh in sample if ms < p95) < 0.95 * weight
        shares = [t.metrics[f"layer_share/{name}"] for name in ("local", "regional", "energy-oriented")]
        assert sum(shares) == pytest.approx(1.0)


def test_layers_and_moves_by_class_against_a_loop(played: list[Trajectory]) -> None:
    layers = ("local", "regional", "energy-oriented")
    moved = 0.0
    for t in played:
        compiled, served = t.instance.compiled, t.flows.served_gpuh.sum(0)
        for index, name in enumerate(compiled.class_names):
            by_layer, away, total = dict.fromkeys(layers, 0.0), 0.0, 0.0
            for (c, w, k), gpuh in np.ndenumerate(served):
                if compiled.row_class[w] != index:
                    continue
                by_layer[layers[compiled.geography.layer[c, w, k]]] += gpuh
                away += gpuh * (compiled.site_names[k] != t.instance.scenario.regions[c].home)
                total += gpuh
            assert t.metrics[f"moved_share/{name}"] == pytest.approx(away / total)
            for layer, gpuh in by_layer.items():
                assert t.metrics[f"layer_share/{name}/{layer}"] == pytest.approx(gpuh / total)
            moved += away
        share = t.metrics["moved_share"]
        assert share == pytest.approx(moved / t.metrics["served_gpuh"])
        moved = 0.0
    assert share > 0.1  # Random moves work, else nothing was compared


def queue_by_ages(t: Trajectory) -> tuple[float, float]:
    """Hours waited times work, and work left at the end of the step of its arrival, by explicit queues."""
    arrivals, flows = t.instance.exogenous.arrivals_gpuh, t.flows
    waited = deferred = 0.0
    for c, w in np.ndindex(arrivals.shape[1:]):
        queue: deque[list[float]] = deque()
        for step in range(t.instance.steps):
            queue.append([step, arrivals[step, c, w]])
            leaving = flows.served_gpuh[step, c, w].sum() + flows.dropped_gpuh[step, c, w]
            while queue and leaving > 1e-9:
                part = min(queue[0][1], leaving)
                waited += part * (step - queue[0][0]) * t.instance.params.dt_h
                queue[0][1] -= part
                leaving -= part
                if queue[0][1] <= 1e-9:
                    queue.popleft()
            deferred += sum(left for since, left in queue if since == step)
    return waited, deferred


def test_waiting_against_a_queue_with_ages(played: list[Trajectory]) -> None:
    for t in played:
        waited, deferred = queue_by_ages(t)
        rows = t.instance.params.may_wait > 0
        done = t.flows.served_gpuh.sum((0, 1, 3))[rows].sum() + t.flows.dropped_gpuh.sum((0, 1))[rows].sum()
        assert t.metrics["wait_mean_h"] == pytest.approx(waited / done, abs=1e-6)
        assert t.metrics["deferred_gpuh"] == pytest.approx(deferred, abs=1e-4)
    assert played[2].metrics["wait_mean_h"] > 0.1
    assert played[0].metrics["wait_mean_h"] == pytest.approx(0.0, abs=1e-6)


def test_energy_closes_and_cycles_count(played: list[Trajectory]) -> None:
    for t in played:
        m, battery = t.metrics, t.instance.scenario.sites[0].battery
        assert battery is not None
        supply = (
            m["import_mwh"] + m["generation_mwh"] + m["renewable_mwh"] + m["discharge_mwh"] + m["shed_mwh"]
        )
        assert supply == pytest.approx(m["facility_mwh"] + m["charge_mwh"] + m["export_mwh"], rel=1e-9)
        usable = (battery.max_share - battery.min_share) * battery.capacity_mwh
        through = (
            battery.charge_efficiency * m["charge_mwh"] + m["discharge_mwh"] / battery.discharge_efficiency
        )
        assert m["battery_cycles"] == pytest.approx(through / (2 * usable))
    assert played[0].metrics["battery_cycles"] == 0.0


def test_emissions_against_the_table(played: list[Trajectory]) -> None:
    """Import and fuel; what network and loading energy add is small, and never negative."""
    for t in played:
        for signal in ("average", "marginal"):
            own = 0.0
            for site, units in zip(t.instance.scenario.sites, ("north", "south"), strict=True):
                fuel = site.generator.carbon_kg_per_mwh if site.generator else 0.0
                own += (t.table[f"import_mw/{units}"] * t.table[f"carbon_{signal}_kg_per_mwh/{units}"]).sum()
                own += (t.table[f"generation_mw/{units}"] * fuel).sum()
            assert own <= t.metrics[f"emissions_{signal}_kg"] <= 1.05 * own
        assert t.emissions_kg == t.emissions_marginal_kg != t.emissions_average_kg


def test_an_episode_in_which_nothing_is_served_has_no_latency(played: list[Trajectory]) -> None:
    t = played[0]
    nothing = t.flows.replace(served_gpuh=t.flows.served_gpuh * 0.0)
    m = episode_metrics(PlayedEpisode(t.instance, t.before, nothing))
    assert np.isnan(m["path_latency_mean_ms"])
    assert np.isnan(m["path_latency_p95_ms"])
    assert m["served_share"] == 0.0


@pytest.mark.parametrize(
    ("values", "weights", "share", "expected"),
    [
        ([10.0, 20.0, 30.0], [1.0, 1.0, 1.0], 0.95, 30.0),
        ([10.0, 20.0, 30.0], [1.0, 1.0, 1.0], 1 / 3, 10.0),
        ([30.0, 10.0], [5.0, 95.0], 0.95, 10.0),
        ([30.0, 10.0], [5.1, 94.9], 0.95, 30.0),
        ([10.0, 20.0], [1.0, 0.0], 1.0, 10.0),
    ],
)
def test_weighted_quantile_by_hand(
    values: list[float], weights: list[float], share: float, expected: float
) -> None:
    assert weighted_quantile(np.array(values), np.array(weights), share) == expected


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(1, 5)), min_size=1, max_size=12))
def test_whole_weights_are_repetitions(pairs: list[tuple[int, int]]) -> None:
    values, weights = (np.array(column, dtype=float) for column in zip(*pairs, strict=True))
    repeated = np.sort(np.repeat(values, weights.astype(int)))
    expected = np.quantile(repeated, 0.95, method="inverted_cdf")
    assert weighted_quantile(values, weights, 0.95) == expected


# Many episodes


def test_gap_and_gain_by_hand() -> None:
    policy, local, bound, bill = [80.0, 10.0], [50.0, 0.0], [100.0, 20.0], [200.0, 100.0]
    assert gap(policy, bound, bill) == pytest.approx((120.0 - 90.0) / 300.0)
    assert gain_captured(policy, local, bound) == pytest.approx((90.0 - 50.0) / (120.0 - 50.0))
    assert gain_captured(local, local, bound) == 0.0
    assert gain_captured(bound, local, bound) == 1.0


def test_nothing_to_gain_is_no_share() -> None:
    assert np.isnan(gain_captured([1.0], [1.0], [1.0]))
    assert np.isnan(gap([1.0], [2.0], [0.0]))


def test_bootstrap_is_seeded_and_covers() -> None:
    sample = np.random.default_rng(0).normal(5.0, 2.0, 60)
    first, again = mean_interval(sample), mean_interval(sample)
    assert first == again
    assert first.low < sample.mean() < first.high
    # The interval of a mean: about 2 * 1.96 * s / sqrt(n).
    assert first.high - first.low == pytest.approx(3.92 * sample.std() / np.sqrt(60), rel=0.1)
    covered = 0
    for seed in range(200):
        drawn = np.random.default_rng(seed).normal(5.0, 2.0, 40)
        interval = mean_interval(drawn, draws=400)
        covered += interval.low <= 5.0 <= interval.high
    assert covered >= 180


def test_bootstrap_keeps_instances_together() -> None:
    local = np.arange(20.0)
    bound, policy = local + 10.0, local + 5.0
    interval = gain_interval(policy, local, bound)
    assert (interval.value, interval.low, interval.high) == (0.5, 0.5, 0.5)


def test_one_instance_has_no_interval() -> None:
    interval = mean_interval([3.0])
    assert interval.value == 3.0
    assert np.isnan([interval.low, interval.high]).all()
    with pytest.raises(ValueError, match="at least one"):
        mean_interval([])
    with pytest.raises(ValueError, match="one length"):
        bootstrap(gain_captured, [1.0, 2.0], [1.0], [1.0, 2.0])
