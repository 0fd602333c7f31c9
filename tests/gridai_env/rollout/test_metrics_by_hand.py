"""Figures of an episode whose units a whole hour or one carbon signal would hide."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from baselines.rules.registry import REGISTRY
from baselines.rules.single_signal import LocalOnly
from gridai_env.episodes.instance import make_batch
from gridai_env.rollout.policy import Policy
from gridai_env.rollout.run import run
from tests.support.small_scenario import SMALL, flexible, small
from tests.support.tiny import action_of, tiny


def test_hours_waited_at_quarters_of_an_hour() -> None:
    """All is held as long as it may be: two steps, one and none at the end; of four equal arrivals 5/4 steps each."""
    instance = tiny(steps=4, dt_h=0.25, classes=[{"wait_h": 0.5}], exogenous={"arrivals_gpuh": 10.0})

    class Holds(Policy):
        name = "holds"

        def act(self, observation: object) -> np.ndarray:
            routing = np.array([1.0, 1.0, -1.0])  # the site, hold, refuse
            return action_of(instance, routing=routing).astype(np.float32)

    found = run(Holds(), instance).metrics
    assert found["wait_mean_h"] == found["wait_mean_h/class0"] == pytest.approx(0.25 * 5.0 / 4.0)


@pytest.mark.parametrize("signal", ["marginal", "average"])
def test_exports_may_avoid_carbon_at_the_billed_intensity(signal: str) -> None:
    sunny = {**SMALL["sites"][0], "pv_mw": 8.0}
    instance = make_batch(small(sites=[sunny, SMALL["sites"][1]], carbon_signal=signal), [3])[0]
    t = run(LocalOnly(), instance)
    kg = {
        name: sum(
            float(t.table[f"export_mw/{site}"] @ t.table[f"carbon_{name}_kg_per_mwh/{site}"])
            for site in ("north", "south")
        )
        for name in ("marginal", "average")
    }
    assert t.metrics["avoided_by_export_kg"] == pytest.approx(kg[signal])
    assert kg["marginal"] > 1.05 * kg["average"] > 0.0


def test_what_lines_and_modes_come_to_in_half_hours() -> None:
    """Step by step, in numbers: a response counts as nothing, not below, where import is above the baseline."""
    one = make_batch(flexible(dt_h=0.5, horizon_h=48.0), [8])[0]
    lower_mw = 0.25 * (one.exogenous.committed_mw > 0.0)  # than the days before the episode
    one = replace(one, exogenous=one.exogenous.replace(line_mw=one.exogenous.line_mw - lower_mw))
    (rule,) = one.compiled.lines.baselines
    down = (one.knowledge.call_depth[:, rule.call] > 0.0).tolist()
    home, greedy = (run(REGISTRY[name](one.compiled), one) for name in ("local_only", "greedy"))
    for t in (home, greedy):
        found, excess = t.metrics, t.flows.line_excess_mw
        called = [mw for mw, is_down in zip(t.flows.import_mw[:, 1].tolist(), down, strict=True) if is_down]
        assert found["called_h/south/response"] == 0.5 * sum(down)
        assert found["called_mwh/south/response"] == pytest.approx(0.5 * sum(called))
        assert found["unmatched_mwh/north/wind"] == pytest.approx(0.5 * sum(excess[:, 1, 0].tolist()))
        assert found["line_excess_mwh/south/tier"] == pytest.approx(0.5 * sum(excess[:, 0, 1].tolist()))
        unmatched = sum(excess[:, 1, 0].tolist())
        assert found["unmatched_mwh"] == pytest.approx(0.5 * unmatched)
        assert found["line_excess_mwh"] == pytest.approx(0.5 * (float(excess.sum()) - unmatched))
        saved = [mw for step in t.flows.saving_mw.tolist() for mw in step]
        assert found["saving_mwh"] == pytest.approx(0.5 * sum(saved))
        above = [mw for mw, is_down in zip(excess[:, rule.slot, 1].tolist(), down, strict=True) if is_down]
        delivered = sum(max(0.0, 0.3 - mw) for mw in above) / (0.3 * len(above))
        assert found["delivered_share/south/response"] == pytest.approx(delivered)
    assert home.flows.line_excess_mw[:, rule.slot, 1].max() > 0.3 and sum(saved) > 0.0
