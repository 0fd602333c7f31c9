"""Hourly matching by hand: a flat load, sun for ten hours, and load moved into them."""

import numpy as np
import pytest

from gridai_env.analysis.hourly_matching import (
    location_based_kg,
    market_based_kg,
    match_hours,
    unmatched_mwh,
)

SUNNY = np.arange(24) < 10
LOAD, SOLAR = np.full(24, 100.0), np.where(SUNNY, 240.0, 0.0)
MOVED = np.where(SUNNY, 128.0, 80.0)  # 20 MW from 14 dark hours to 10 sunny ones


def test_matching_by_hand() -> None:
    match = match_hours(LOAD, SOLAR, 0.4)
    assert (match.load_mwh, match.contracted_mwh) == (2_400.0, 2_400.0)
    assert (match.matched_mwh, match.surplus_mwh, match.unmatched_mwh) == (1_000.0, 1_400.0, 1_400.0)
    assert match.score_contracted == pytest.approx(0.417, abs=5e-4)
    assert match.score_with_grid == pytest.approx(0.650, abs=5e-4)

    moved = match_hours(MOVED, SOLAR)
    assert (moved.load_mwh, moved.matched_mwh) == (2_400.0, 1_280.0)
    assert moved.score_contracted == moved.score_with_grid == pytest.approx(0.533, abs=5e-4)
    assert 20.0 * match.unmatched_mwh == 28_000.0 and 20.0 * moved.unmatched_mwh == 22_400.0


def test_the_clean_share_counts_in_its_own_hour() -> None:
    # The grid is clean only while the sun shines, when nothing is left to match.
    assert match_hours(LOAD, SOLAR, np.where(SUNNY, 1.0, 0.0)).score_with_grid == 1_000.0 / 2_400.0
    assert match_hours(LOAD, SOLAR, 1.0).score_with_grid == 1.0


def test_emissions_both_ways_by_hand() -> None:
    grid = np.where(SUNNY, 300.0, 500.0)
    assert location_based_kg(LOAD, grid) == 1_000.0 * 300.0 + 1_400.0 * 500.0
    assert market_based_kg(LOAD, SOLAR, 600.0) == 1_400.0 * 600.0
    assert market_based_kg(MOVED, SOLAR, np.where(SUNNY, 1e9, 600.0)) == 1_120.0 * 600.0


def test_without_load_there_is_no_score_and_less_energy_than_none_is_refused() -> None:
    match = match_hours(np.zeros(3), np.ones(3))
    assert np.isnan([match.score_contracted, match.score_with_grid]).all() and match.surplus_mwh == 3.0
    with pytest.raises(ValueError, match=r"load_mwh: must be at least 0 in every hour, found -1 \[MWh\]"):
        unmatched_mwh(np.array([1.0, -1.0]), np.ones(2))
    with pytest.raises(ValueError, match="contracted_mwh: must be at least 0"):
        match_hours(np.ones(2), np.array([1.0, np.nan]))
