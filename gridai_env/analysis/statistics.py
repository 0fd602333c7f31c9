"""Statistics of evaluations: scores of several training seeds on the same episodes.

Scores are [n, m]: n training seeds (runs) by m episodes.  Intervals are percentile bootstraps of two things at
once: training seeds are drawn with replacement, whole (a bad seed is bad on every episode), and episodes are drawn
with replacement inside their strata (months, shifts), so that every sample has the composition of the set.  With a
single training seed the interval speaks of episodes alone.

The interquartile mean follows Agarwal et al., Deep RL at the Edge of the Statistical Precipice (2021).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gridai_env.arrays.types import Floats

Statistic = Callable[..., Floats]  # of arrays [..., n, m] -> [...]

LEVEL = 0.95
DRAWS = 2_000
TIE = 1e-9  # relative: scores nearer than this are equal


def iqm(values: ArrayLike) -> float:
    """Return the interquartile mean: the mean of the middle half of all values.

    A value that lies across a quartile counts with the share of it inside, so no number of values is special.
    """
    return float(_iqm(np.asarray(values, dtype=np.float64).reshape(1, -1))[0])


def _iqm(values: Floats) -> Floats:
    """Interquartile mean over the last axis."""
    ordered = np.sort(values, axis=-1)
    count = ordered.shape[-1]
    edge = np.arange(count + 1)
    inside = np.clip(np.minimum(edge[1:], 0.75 * count) - np.maximum(edge[:-1], 0.25 * count), 0.0, 1.0)
    out: Floats = (ordered * inside).sum(-1) / inside.sum()
    return out


def captured(scores: Floats, local: Floats, bounds: Floats) -> Floats:
    """Return the share of the possible gain that each run gets: sums over episodes first, [..., n].

    ``scores`` [..., n, m]; ``local`` (of Local-Only) and ``bounds`` [..., m].  NaN where nothing can be gained.
    """
    room = (bounds - local).sum(-1)
    least = LEAST_ROOM * np.maximum(np.abs(bounds.sum(-1)), 1.0)
    gained = (scores - local[..., None, :]).sum(-1)
    return gained / np.where(room > least, room, np.nan)[..., None]


def captured_by_episode(scores: Floats, local: Floats, bounds: Floats) -> Floats:
    """Return the share of the possible gain in each episode, [n, m]; NaN where it offers none."""
    room = bounds - local
    out: Floats = (scores - local) / np.where(
        room > LEAST_ROOM * np.maximum(np.abs(bounds), 1.0), room, np.nan
    )
    return out


def improvement(scores: Floats, other: Floats) -> Floats:
    """Return the probability that a run beats the other policy on an episode, ties counting half, [...].

    ``scores`` [..., n, m], ``other`` [..., m] or [..., 1, m].
    """
    other = other if other.ndim == scores.ndim else other[..., None, :]
    margin = TIE * np.maximum(np.abs(scores), np.abs(other))
    better = (scores > other + margin) + 0.5 * (np.abs(scores - other) <= margin)
    return better.mean((-2, -1))


# Bootstrap --------------------------------------------------------------------------------------------------


def resamples(
    runs: int, strata: Sequence[object], draws: int = DRAWS, seed: int = 0
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return drawn training seeds [draws, n] and episodes [draws, m]; episodes are drawn inside their strata."""
    rng = np.random.default_rng(seed)
    drawn_runs = rng.integers(0, runs, size=(draws, runs))
    episodes = np.empty((draws, len(strata)), dtype=np.intp)
    labels = np.array([str(label) for label in strata])
    for label in dict.fromkeys(labels.tolist()):
        own = np.flatnonzero(labels == label)
        episodes[:, own] = own[rng.integers(0, len(own), size=(draws, len(own)))]
    return drawn_runs, episodes


def interval(
    statistic: Statistic,
    scores: ArrayLike,
    *by_episode: ArrayLike,
    strata: Sequence[object] | None = None,
    draws: int = DRAWS,
    level: float = LEVEL,
    seed: int = 0,
) -> Interval:
    """Return ``statistic(scores, *by_episode)`` with its bootstrap interval.

    ``scores`` [n, m]; ``by_episode`` [m] each, drawn together with the episodes; the statistic takes both with a
    leading axis of draws.  Low and high are NaN where there are fewer than two episodes.  Raises ValueError where
    shapes do not match.
    """
    values = np.asarray(scores, dtype=np.float64)
    others = [np.asarray(other, dtype=np.float64) for other in by_episode]
    if values.ndim != 2 or 0 in values.shape or any(x.shape != values.shape[1:] for x in others):
        raise ValueError(
            f"scores must be [n, m] and the others [m]; got {[x.shape for x in (values, *others)]}"
        )
    strata = [0] * values.shape[1] if strata is None else list(strata)
    if len(strata) != values.shape[1]:
        raise ValueError(f"strata: need one for each of {values.shape[1]} episodes, got {len(strata)}")
    value = float(statistic(values[None], *(x[None] for x in others))[0])
    if values.shape[1] < 2:
        return Interval(value, float("nan"), float("nan"))
    runs, episodes = resamples(len(values), strata, draws, seed)
    drawn = statistic(values[runs[:, :, None], episodes[:, None, :]], *(x[episodes] for x in others))
    if np.isnan(drawn).all():
        return Interval(value, float("nan"), float("nan"))
    low, high = np.nanquantile(drawn, [(1.0 - level) / 2.0, (1.0 + level) / 2.0])
    return Interval(value, float(low), float(high))


# What is reported -------------------------------------------------------------------------------------------


def median_captured(scores: Floats, local: Floats, bounds: Floats) -> Floats:
    """Return the median over runs of the gain captured, [...]."""
    out: Floats = np.median(captured(scores, local, bounds), axis=-1)
    return out


def iqm_captured(scores: Floats, local: Floats, bounds: Floats) -> Floats:
    """Return the interquartile mean over runs and episodes of each episode's gain captured, [...]."""
    shares = captured_by_episode(scores, local[..., None, :], bounds[..., None, :])
    return _iqm(shares.reshape(*shares.shape[:-2], -1))


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
