"""What answering calls costs, by hand and against the firm connection of another scenario."""

from __future__ import annotations

import numpy as np
import pytest

from baselines.rules.single_signal import LocalOnly
from gridai_env.analysis.compliance import compliance, uncalled
from gridai_env.episodes.instance import make_batch, make_instance
from gridai_env.rollout.run import run
from gridai_env.rollout.trajectory import Trajectory
from gridai_env.scenario.compile import compile_scenario
from gridai_env.scenario.load import load_scenario, parse_scenario
from tests.support.called_day import called_day
from tests.support.small_scenario import flexible

CALLED = [10, 11, 12]
SOFT = {"kind": "connection", "mw": 70.0, "price_usd_per_mwh": 1000.0}
HARD = {"kind": "connection", "mw": 70.0, "hard": True}


def against_uncalled(line: dict[str, object], wait_h: float = 0.0) -> tuple[Trajectory, dict[str, float]]:
    instance = called_day(line, CALLED, 100.0, wait_h)
    episode = run(LocalOnly(), instance)
    return episode, compliance(episode, run(LocalOnly(), uncalled(instance)))


def test_import_above_a_line_is_what_it_costs() -> None:
    """Check 1: 100 MW against 70 for three hours at 1,000 USD/MWh."""
    episode, found = against_uncalled(SOFT)
    assert episode.metrics["line_excess_mwh/a/line"] == pytest.approx(90.0)
    assert found["compliance_cost_usd"] == pytest.approx(90_000.0)
    assert found["work_lost_gpuh"] == pytest.approx(0.0) and found["rebound_mwh/a/line"] == pytest.approx(0.0)


def test_work_that_a_hard_line_takes_is_lost() -> None:
    """90 MWh less, of 1,000 GPU-h each: 0.50 USD of revenue and 0.25 of a drop, less 40 USD/MWh of energy."""
    episode, found = against_uncalled(HARD)
    assert episode.flows.import_mw[CALLED, 0] == pytest.approx([70.0] * 3)
    assert found["work_lost_gpuh"] == pytest.approx(90_000.0)
    # 30,000 GPU-h of sessions are placed anew afterwards: 0.01 of relocation, 0.02 of warming up.
    assert found["compliance_cost_usd"] == pytest.approx(90_000.0 * 0.75 - 90.0 * 40.0 + 30_000.0 * 0.03)
    assert found["rebound_mwh/a/line"] == pytest.approx(0.0)


def test_work_that_waits_comes_back() -> None:
    """90 MWh wait and are served at once after the calls: up to 200 MW, 100 above the usual."""
    episode, found = against_uncalled(HARD, wait_h=12.0)
    assert episode.flows.import_mw[13, 0] == pytest.approx(190.0, rel=1e-5)  # float32 actions
    assert found["rebound_mwh/a/line"] == pytest.approx(90.0, rel=1e-5)
    assert found["work_lost_gpuh"] == pytest.approx(0.0, abs=1e-6)
    assert found["compliance_cost_usd"] == pytest.approx(0.0, abs=1e-6)


def test_without_a_call_nothing_is_played_anew() -> None:
    instance = called_day(SOFT, [], 100.0)
    assert uncalled(instance) is instance
    episode = run(LocalOnly(), instance)
    assert compliance(episode, episode) == {
        "compliance_cost_usd": 0.0,
        "work_lost_gpuh": 0.0,
        "rebound_mwh/a/line": 0.0,
    }
    assert all(np.isnan(value) for value in compliance(episode, None).values())
    assert compliance(run(LocalOnly(), make_instance("two_sites", seed=0)), None) == {}


def test_an_uncalled_campus_is_one_with_a_firm_connection() -> None:
    """The scenario with a firm level at the maximum: the same limits and lines, although calls still show in it."""
    campus = make_batch(compile_scenario(load_scenario("flexible_campus")), range(3))
    data = campus.compiled.scenario.model_dump()
    next(line for line in data["sites"][0]["lines"] if line["name"] == "non-firm")["mw"] = 100.0
    firm = make_batch(compile_scenario(parse_scenario(data, "firm")), range(3))
    seen = 0
    for one, other in zip(campus.instances, firm.instances, strict=True):
        found = uncalled(one)
        seen += bool((one.exogenous.import_limit_mw < found.exogenous.import_limit_mw).any())
        assert not found.knowledge.call_depth.any()
        for name in other.exogenous.names():
            assert np.array_equal(getattr(found.exogenous, name), getattr(other.exogenous, name)), name
    assert seen


def test_uncalled_keeps_what_is_not_called() -> None:
    """Tiers and contracts stay, events of limits too, and which days count for a baseline."""
    for one in make_batch(flexible(), range(4)).instances:
        plain, exo = uncalled(one), one.exogenous
        rules = {rule.spec.name: rule for rule in one.compiled.lines.rules}
        for name in ("wind", "tier"):
            at = (slice(None), rules[name].slot, rules[name].site)
            for field in ("line_mw", "line_usd_per_mwh"):
                assert np.array_equal(getattr(plain.exogenous, field)[at], getattr(exo, field)[at])
        quiet = ~(one.knowledge.call_depth > 0.0).any(-1)
        assert np.array_equal(plain.exogenous.import_limit_mw[quiet], exo.import_limit_mw[quiet])
        assert np.array_equal(plain.exogenous.baseline_counts, exo.baseline_counts)
        assert not plain.exogenous.committed_mw.any() and not plain.exogenous.response_usd_per_mwh.any()
        episode = run(LocalOnly(), plain)
        assert episode.terms["dr_energy"] == 0.0 and episode.terms["dr_capacity"] > 0.0
