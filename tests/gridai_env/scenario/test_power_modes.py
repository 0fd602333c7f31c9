"""Curves of power modes by hand: what lies above the hull, mixes, what each segment lets modes save."""

from __future__ import annotations

import numpy as np
import pytest

from gridai_env.scenario.power_modes import above_hull, lower_hull, mean_hull, saving_limits_kw

CURVE = np.array([(0.0, 0.2), (0.5, 0.9), (0.8, 0.92), (1.0, 1.2)])


def test_a_mode_above_the_hull_counts_for_nothing() -> None:
    """From idle to 0.8 a kW of 0.9 per speed: half speed takes 0.65 kW, not the 0.9 that were measured."""
    kept = CURVE[[0, 2, 3]]
    np.testing.assert_allclose(lower_hull(CURVE), kept)
    np.testing.assert_allclose(lower_hull(CURVE[::-1]), kept)
    np.testing.assert_allclose(above_hull(CURVE), [[0.5, 0.9, 0.65]])
    assert not above_hull(kept).size


def test_half_of_two_curves_has_their_segments_in_the_order_of_slopes() -> None:
    other = np.array([(0.0, 0.4), (0.6, 0.7), (1.0, 1.4)])  # slopes 0.5 and 1.75, beside 0.9 and 1.4
    mixed = [(0.0, 0.3), (0.3, 0.45), (0.7, 0.81), (0.8, 0.95), (1.0, 1.3)]
    np.testing.assert_allclose(mean_hull([lower_hull(CURVE), other], [0.5, 0.5]), mixed)


def test_segments_limit_what_modes_save() -> None:
    """Of 10 accelerators 4 busy ones draw 6 x 0.2 + 4 x 1.2 kW at full speed, in modes 10 x (0.2 + 0.9 x 0.4)."""
    per_gpu, per_busy = saving_limits_kw(lower_hull(CURVE))
    saved = (10.0 * per_gpu + 4.0 * per_busy).min()
    assert saved == pytest.approx(6 * 0.2 + 4 * 1.2 - 10 * 0.56)
    # Of 9 busy ones on the second segment, from 0.92 at 0.8 with 1.4 per speed.
    saved = (10.0 * per_gpu + 9.0 * per_busy).min()
    assert saved == pytest.approx(1 * 0.2 + 9 * 1.2 - 10 * (0.92 + 1.4 * 0.1))
