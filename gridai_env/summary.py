"""Many episodes side by side: gap to the bound, gain captured, and means with bootstrap intervals.

Sign: ``values`` and ``bounds`` are to be raised (benefit).  For something to be lowered (cost, carbon) hand
in the negatives.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

# Below this share of the reference, what perfect foresight could gain is rounding: no share of it is
# reported.
LEAST_ROOM = 1e-9


@dataclass(frozen=True)
class Interval:
    """A statistic of a sample with a percentile bootstrap interval."""

    value: float
    low: float
    high: float


def gap(values: ArrayLike, bounds: ArrayLike, reference: ArrayLike) -> float:
    """Return (sum of bounds - sum of values) / sum of reference (the Local-Only bill in USD, or its kg).

    At least 0 for every policy that meets the bound's service; NaN where the reference is not positive.
    """
    whole = float(np.sum(reference))
    return (float(np.sum(bounds)) - float(np.sum(values))) / whole if whole > 0.0 else float("nan")


def gain_captured(values: ArrayLike, local: ArrayLike, bounds: ArrayLike) -> float:
    """Share of what perfect foresight gains over Local-Only that a policy gets: 0 is Local-Only, 1 the bound.

    Sums over instances come first, so that days on which little can be gained do not dominate.
    NaN where nothing can be gained.
    """
    room = float(np.sum(bounds)) - float(np.sum(local))
    if room <= LEAST_ROOM * max(abs(float(np.sum(bounds))), 1.0):
        return float("nan")
    return (float(np.sum(values)) - float(np.sum(local))) / room


def mean_interval(values: ArrayLike, level: float = 0.95, draws: int = 10_000, seed: int = 0) -> Interval:
    """Mean with its bootstrap interval."""
    return bootstrap(
        lambda x: np.mean(x, axis=-1), values, level=level, draws=draws, seed=seed, all_at_once=True
    )


def gain_interval(
    values: ArrayLike,
    local: ArrayLike,
    bounds: ArrayLike,
    level: float = 0.95,
    draws: int = 2_000,
    seed: int = 0,
) -> Interval:
    """Gain captured with its bootstrap interval; instances are drawn, all three figures of one together."""
    return bootstrap(gain_captured, values, local, bounds, level=level, draws=draws, seed=seed)


def bootstrap(
    statistic: Callable[..., Any],
    *samples: ArrayLike,
    level: float = 0.95,
    draws: int = 2_000,
    seed: int = 0,
    all_at_once: bool = False,
) -> Interval:
    """Percentile bootstrap of ``statistic(*samples)``; the samples [n] are paired.  Equal seeds agree.

    ``all_at_once``: the statistic also takes samples [draws, n] and returns [draws], which is much faster.

    With fewer than two instances there is no spread to see: low and high are NaN.
    """
    arrays = [np.asarray(sample, dtype=np.float64) for sample in samples]
    count = len(arrays[0])
    if count == 0:
        raise ValueError("bootstrap needs at least one instance, got none")
    if any(array.shape != (count,) for array in arrays):
        raise ValueError(f"samples must be 1-D and of one length, got {[array.shape for array in arrays]}")
    value = float(statistic(*arrays))
    if count < 2:
        return Interval(value, float("nan"), float("nan"))
    rows = np.random.default_rng(seed).integers(0, count, size=(draws, count))
    if all_at_once:
        drawn = statistic(*(array[rows] for array in arrays))
    else:
        drawn = np.array([statistic(*(array[row] for array in arrays)) for row in rows])
    if np.isnan(drawn).all():
        return Interval(value, float("nan"), float("nan"))
    low, high = np.nanquantile(drawn, [(1.0 - level) / 2.0, (1.0 + level) / 2.0])
    return Interval(value, float(low), float(high))
