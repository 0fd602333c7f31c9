"""Statistics of evaluations: scores of several training seeds on the same episodes.

Scores are [n, m]: n training seeds (runs) by m episodes.  Intervals are percentile bootstraps of two things at
once: training seeds are drawn with replacement, whole (a bad seed is bad on every episode), and episodes are drawn
with replacement inside their strata (months, shifts), so that every sample has the composition of the set.  With a
single training seed the interval speaks of episodes alone.

The interquartile mean follows Agarwal et al., Deep RL at the Edge of the Statistical Precipice (2021).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gridai_env.summary import LEAST_ROOM, Interval

Floats = NDArray[np.float64]
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
