"""Hourly matching by hand: a flat load, sun for ten hours, and load moved into them; on arrays and in episodes."""

from __future__ import annotations

import numpy as np
import pytest

from baselines.rules.single_signal import LocalOnly
from gridai_env.rollout.hourly_matching import (
    cfe_score,
    location_based_kg,
    market_based_kg,
    unmatched_mwh,
)
from gridai_env.rollout.policy import Policy
from gridai_env.rollout.run import run
from tests.support.matching_world import DARK_H, SUNNY, WIND_MW, sunny_world
from tests.support.tiny import action_of

LOAD, SOLAR = np.full(24, 100.0), np.where(SUNNY, 240.0, 0.0)
MOVED = np.where(SUNNY, 128.0, 80.0)  # 20 MW from 14 dark hours to 10 sunny ones


class ForTheSun(Policy):
    """Holds what may wait while it is dark."""

    name = "for the sun"

    def __init__(self) -> None:
        self.step = 0

    def act(self, observation: object) -> np.ndarray:
        hold = 1.0 if self.step < DARK_H else 0.0
        self.step += 1
        return action_of(sunny_world(), routing=np.array([1.0, hold, -1.0])).astype(np.float32)


# On arrays ----------------------------------------------------------------------------------------------------


def test_matching_by_hand() -> None:
    assert cfe_score(LOAD, SOLAR) == pytest.approx(1_000.0 / 2_400.0)
    assert cfe_score(LOAD, SOLAR, 0.4) == pytest.approx(0.65)
    assert cfe_score(MOVED, SOLAR) == pytest.approx(1_280.0 / 2_400.0)
    assert 20.0 * unmatched_mwh(LOAD, SOLAR).sum() == 28_000.0
    assert 20.0 * unmatched_mwh(MOVED, SOLAR).sum() == 22_400.0


def test_the_clean_share_counts_in_its_own_hour() -> None:
    # The grid is clean only while the sun shines, when nothing is left to match.
    assert cfe_score(LOAD, SOLAR, np.where(SUNNY, 1.0, 0.0)) == pytest.approx(1_000.0 / 2_400.0)
    assert cfe_score(LOAD, SOLAR, 1.0) == 1.0


def test_emissions_both_ways_by_hand() -> None:
    grid = np.where(SUNNY, 300.0, 500.0)
    assert location_based_kg(LOAD, grid) == 1_000.0 * 300.0 + 1_400.0 * 500.0
    assert market_based_kg(LOAD, SOLAR, 600.0) == 1_400.0 * 600.0
    assert market_based_kg(MOVED, SOLAR, np.where(SUNNY, 1e9, 600.0)) == 1_120.0 * 600.0


def test_without_load_there_is_no_score_and_less_energy_than_none_is_refused() -> None:
    assert np.isnan([cfe_score(np.zeros(3), np.ones(3)), cfe_score(np.zeros(3), np.ones(3), 0.4)]).all()
    with pytest.raises(ValueError, match=r"load_mwh: must be at least 0 in every hour, found -1 \[MWh\]"):
        unmatched_mwh(np.array([1.0, -1.0]), np.ones(2))
    with pytest.raises(ValueError, match="contracted_mwh: must be at least 0"):
        cfe_score(np.ones(2), np.array([1.0, np.nan]))


# In episodes --------------------------------------------------------------------------------------------------


def test_a_played_episode_has_the_scores_and_emissions_by_hand() -> None:
    local, moved = run(LocalOnly(), sunny_world()), run(ForTheSun(), sunny_world())
    assert local.flows.import_mw == pytest.approx(np.full((24, 1), 100.0))
    assert moved.flows.import_mw == pytest.approx(MOVED[:, None])
    for place in ("", "/a"):
        assert local.metrics[f"cfe_score{place}"] == pytest.approx(0.417, abs=5e-4)
        assert local.metrics[f"cfe_score_with_grid{place}"] == pytest.approx(0.650, abs=5e-4)
        assert moved.metrics[f"cfe_score{place}"] == pytest.approx(0.533, abs=5e-4)
        # 300 kg/MWh in sunny hours and 500 in dark ones, at the margin twice as much.
        assert local.metrics[f"location_based_kg{place}"] == pytest.approx(1_000 * 300.0 + 1_400 * 500.0)
        assert moved.metrics[f"location_based_kg{place}"] == pytest.approx(1_280 * 300.0 + 1_120 * 500.0)
        assert local.metrics[f"market_based_kg{place}"] == pytest.approx(1_400 * 1_000.0)
    assert local.metrics["unmatched_mwh/a/sun"] == pytest.approx(1_400.0)
    assert "line_excess_mwh/a/sun" not in local.metrics
    assert local.terms["line_excess"] == pytest.approx(-28_000.0)
    assert moved.terms["line_excess"] == pytest.approx(-22_400.0)


def test_a_residual_factor_takes_the_place_of_the_marginal_one() -> None:
    episode = run(LocalOnly(), sunny_world(grid={"clean_share": 0.4, "residual_kg_per_mwh": 600.0}))
    assert episode.metrics["market_based_kg"] == pytest.approx(1_400 * 600.0)


def test_what_is_not_known_is_left_out() -> None:
    metrics = run(LocalOnly(), sunny_world(grid={})).metrics
    assert metrics["cfe_score"] == pytest.approx(1_000.0 / 2_400.0)
    assert not any(name.startswith("cfe_score_with_grid") for name in metrics)


def test_contracts_of_a_site_add_and_count_there_alone() -> None:
    """Site a has 2,400 MWh of sun and 30 MW of wind, b 50 MW of load and no contract, c the same and 80 MW of wind."""
    metrics = run(LocalOnly(), sunny_world(neighbours=True)).metrics
    matched = {"a": 1_000.0 + 14 * WIND_MW, "c": 24 * 50.0}  # the rest of c's wind helps nobody
    assert metrics["cfe_score/a"] == pytest.approx(matched["a"] / 2_400.0)
    assert metrics["cfe_score/c"] == pytest.approx(1.0)
    assert "cfe_score/b" not in metrics
    assert metrics["cfe_score"] == pytest.approx(sum(matched.values()) / 4_800.0)
    # The clean share is not known at b: nothing is said of all, but of a and c.
    assert {n for n in metrics if n.startswith("cfe_score_with_grid")} == {
        "cfe_score_with_grid/a", "cfe_score_with_grid/c"
    }  # fmt: skip
    of_b_kg = {"location_based_kg": 50.0 * (10 * 300.0 + 14 * 500.0)}
    of_b_kg["market_based_kg"] = 2.0 * of_b_kg["location_based_kg"]
    for metric, expected in of_b_kg.items():
        assert metrics[metric] - metrics[f"{metric}/a"] - metrics[f"{metric}/c"] == pytest.approx(expected)
