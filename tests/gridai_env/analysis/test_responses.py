"""Statements of demand response from played episodes."""

from __future__ import annotations

import numpy as np
import pytest

from baselines.rules.registry import REGISTRY
from gridai_env.analysis.compliance import uncalled
from gridai_env.analysis.customer_baselines import HIGHEST_4_OF_5, MEAN, TEN_IN_TEN
from gridai_env.analysis.responses import (
    Event,
    event_statements,
    mean_inflation_mw,
    paid_baseline_mw,
    programmes,
)
from gridai_env.arrays.types import Float, Floats
from gridai_env.episodes.instance import make_batch
from gridai_env.rollout.run import run
from gridai_env.rollout.trajectory import Trajectory
from gridai_env.scenario.lines import LineRule
from gridai_env.world import physics
from tests.support.small_scenario import flexible


@pytest.fixture(scope="module")
def played() -> list[tuple[Trajectory, Trajectory]]:
    """Episodes with events and without calls, played by Greedy."""
    found = []
    for instance in make_batch(flexible(), range(8)):
        if (instance.exogenous.committed_mw > 0.0).any():
            greedy = REGISTRY["greedy"]
            found.append((run(greedy(), instance), run(greedy(), uncalled(instance))))
    return found


def test_what_is_stated_is_what_the_ledger_pays(played: list[tuple[Trajectory, Trajectory]]) -> None:
    """By the baseline that pays: energy (but for the floor of a statement) and shortfall of all events."""
    for episode, _ in played:
        own = [s.settlement for s in event_statements(episode) if s.baseline == MEAN]
        (rule,) = programmes(episode.instance)
        terms = episode.terms_usd
        shortfall = sum(event.shortfall_usd for event in own)
        dt_h, line = episode.instance.params.dt_h, episode.instance.exogenous.line_usd_per_mwh
        other = episode.flows.line_excess_mw * line
        other[:, rule.slot, rule.site] = 0.0
        assert shortfall == pytest.approx(terms["line_excess"] + dt_h * other.sum(), abs=1e-6)
        assert sum(event.energy_usd for event in own) >= terms["dr_energy"] - 1e-6
        share = episode.metrics[f"delivered_share/south/{rule.spec.name}"]
        delivered, committed = (sum(getattr(e, n) for e in own) for n in ("delivered_mwh", "committed_mwh"))
        assert delivered / committed == pytest.approx(share)


def test_the_baseline_that_pays_is_that_of_the_physics(played: list[tuple[Trajectory, Trajectory]]) -> None:
    for episode, _ in played:
        exo = episode.instance.exogenous
        (rule,) = programmes(episode.instance)
        found = paid_baseline_mw(episode.instance, rule, episode.before)
        line = physics.line_mw(episode.before, exo)[:, rule.slot, rule.site]
        committed = exo.committed_mw[:, rule.slot, rule.site]
        assert np.array_equal(np.isnan(found), committed == 0.0)
        assert found[committed > 0.0] == pytest.approx((line + committed)[committed > 0.0])
        assert found[committed > 0.0] == pytest.approx(_by_days_mw(episode, rule)[committed > 0.0])


def _by_days_mw(episode: Trajectory, rule: LineRule) -> Float[Floats, " T"]:
    """Return the baseline of each step from the imports of the same step on the days before it, no register used."""
    exo, at = episode.instance.exogenous, (slice(None), rule.slot, rule.site)
    net_mw = (episode.flows.import_mw - episode.flows.export_mw)[:, rule.site]
    counted_mw, day = np.zeros_like(net_mw), episode.instance.compiled.lines.day_steps
    for step in range(day, len(net_mw)):
        # Whether yesterday counts is told by today's step.
        days = range(step, day - 1, -day)
        counted_mw[step] = sum(exo.baseline_counts[now, rule.site] * net_mw[now - day] for now in days)
    return exo.line_mw[at] + exo.committed_mw[at] + exo.baseline_share[at] * counted_mw


def test_other_methods_look_at_days_of_the_same_kind(played: list[tuple[Trajectory, Trajectory]]) -> None:
    for episode, off in played:
        statements = list(event_statements(episode, off))
        by_method = [[s for s in statements if s.baseline == m] for m in (MEAN, HIGHEST_4_OF_5, TEN_IN_TEN)]
        assert len({len(found) for found in by_method}) == 1
        for of_event in zip(*by_method, strict=True):
            assert len({s.start_utc for s in of_event}) == 1
            for statement in of_event:
                assert statement.settlement.import_mw == pytest.approx(of_event[0].settlement.import_mw)
                assert 0.0 < statement.settlement.baseline_mw < 2.0
            assert np.isnan(of_event[1].baseline_inflation_mw) and np.isfinite(
                of_event[0].baseline_inflation_mw
            )


def test_a_site_that_exports_on_the_mean_day_has_no_ratio(
    played: list[tuple[Trajectory, Trajectory]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        Event,
        "_past",
        lambda self, net_mw, _: (np.full(49 * 24 + len(net_mw), -5.0), np.zeros(49 * 24 + len(net_mw), bool)),
    )
    methods = [s.baseline for episode, off in played for s in event_statements(episode, off)]
    assert HIGHEST_4_OF_5 in methods and TEN_IN_TEN not in methods


def test_the_mean_inflation_is_that_of_the_baseline_that_pays(
    played: list[tuple[Trajectory, Trajectory]],
) -> None:
    for episode, off in played:
        (rule,) = programmes(episode.instance)
        with_mw, honest_mw = (paid_baseline_mw(episode.instance, rule, e.before) for e in (episode, off))
        events = np.split(with_mw - honest_mw, np.flatnonzero(np.diff(np.isnan(with_mw))) + 1)
        expected = [piece.mean() for piece in events if np.isfinite(piece).all()]
        assert mean_inflation_mw(event_statements(episode, off)) == pytest.approx(np.mean(expected))
    assert np.isnan(mean_inflation_mw(event_statements(episode)))
