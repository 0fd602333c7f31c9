"""Figures of an episode whose units a whole hour or one carbon signal would hide."""

from __future__ import annotations

import numpy as np
import pytest

from baselines.rules.single_signal import LocalOnly
from gridai_env.episodes.instance import make_batch
from gridai_env.rollout.policy import Policy
from gridai_env.rollout.run import run
from tests.support.small_scenario import SMALL, small
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
