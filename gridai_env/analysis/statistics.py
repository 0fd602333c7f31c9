"""Scores of policies on the same episodes: gain captured, regret and its parts, bootstrap intervals.

Scores are [n, m]: n training seeds (runs) by m episodes; of a policy without training, [m].  Intervals are
percentile bootstraps of two things at once: training seeds are drawn with replacement, whole (a bad seed is bad on
every episode), and episodes are drawn with replacement inside their strata (months, shifts), so that every sample
has the composition of the set.  With a single training seed the interval covers the choice of episodes alone.

The interquartile mean follows Agarwal et al., Deep RL at the Edge of the Statistical Precipice (2021).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypedDict, Unpack

import numpy as np
from numpy.typing import ArrayLike

from gridai_env.arrays.types import Float, Floats, Index, Int

Statistic = Callable[..., Floats]  # of arrays [..., n, m] -> [...]

LEVEL = 0.95
DRAWS = 2_000
TIE = 1e-9  # relative: scores nearer than this are equal
# Below this share of the reference, what perfect foresight could gain is rounding: no share of it is reported.
LEAST_ROOM = 1e-9


@dataclass(frozen=True)
class Interval:
    """A statistic of a sample with a percentile bootstrap interval; its ends are NaN where there is no spread."""

    value: float
    low: float
    high: float


UNKNOWN = Interval(float("nan"), float("nan"), float("nan"))


# Shares of the possible gain --------------------------------------------------------------------------------


def gain_share(
    scores: Float[Floats, "*batch m"], local: Float[Floats, "*batch m"], bounds: Float[Floats, "*batch m"]
) -> Float[Floats, "*batch"]:
    """Return the gain over Local-Only as a share of the bound's gain, both summed over episodes.

    Sums come first, so that days on which little can be gained do not dominate.  NaN where nothing can be gained.
    """
    room = (bounds - local).sum(-1)
    least = LEAST_ROOM * np.maximum(np.abs(bounds.sum(-1)), np.abs(local.sum(-1)))
    return (scores - local).sum(-1) / np.where(room > least, room, np.nan)


def gain_captured(values: ArrayLike, local: ArrayLike, bounds: ArrayLike) -> float:
    """Return the share of perfect foresight's gain over Local-Only that a policy gets; each argument is [m].

    0 is Local-Only, 1 the bound; NaN where nothing can be gained.
    """
    return float(gain_share(*(np.asarray(sample, dtype=np.float64) for sample in (values, local, bounds))))


def captured(
    scores: Float[Floats, "*batch n m"], local: Float[Floats, "*batch m"], bounds: Float[Floats, "*batch m"]
) -> Float[Floats, "*batch n"]:
    """Return the gain captured by each run."""
    return gain_share(scores, local[..., None, :], bounds[..., None, :])


def captured_by_episode(
    scores: Float[Floats, "*batch n m"], local: Float[Floats, "*batch m"], bounds: Float[Floats, "*batch m"]
) -> Float[Floats, "*batch n m"]:
    """Return the share of the possible gain in each episode; NaN where it offers none."""
    return gain_share(scores[..., None], local[..., None, :, None], bounds[..., None, :, None])


def median_captured(scores: Floats, local: Floats, bounds: Floats) -> Floats:
    """Return the median over runs of the gain captured, [...]."""
    return np.median(captured(scores, local, bounds), axis=-1)


def iqm_captured(scores: Floats, local: Floats, bounds: Floats) -> Floats:
    """Return the interquartile mean over runs and episodes of each episode's gain captured, [...]."""
    shares = captured_by_episode(scores, local, bounds)
    return iqm(shares.reshape(*shares.shape[:-2], -1))


def iqm(values: Floats) -> Floats:
    """Return the interquartile mean [...] of values [...,n]: the mean of their middle half.

    A value that lies across a quartile counts with the share of it inside, so no number of values is special.
    """
    ordered = np.sort(values, axis=-1)
    count = ordered.shape[-1]

    # Value i covers [i, i + 1] of the ordered sample; it weighs with what lies between the quartiles.
    edge = np.arange(count + 1)
    inside = np.clip(np.minimum(edge[1:], 0.75 * count) - np.maximum(edge[:-1], 0.25 * count), 0.0, 1.0)
    return (ordered * inside).sum(-1) / inside.sum()


# Distances to the bound and to other policies ---------------------------------------------------------------


def gap(values: ArrayLike, bounds: ArrayLike, reference: ArrayLike) -> float:
    """Return (sum of bounds - sum of values) / sum of reference (the Local-Only bill in USD, or its kg).

    At least 0 for every policy that meets the bound's service; NaN where the reference is not positive.
    """
    whole = float(np.sum(reference))
    return (float(np.sum(bounds)) - float(np.sum(values))) / whole if whole > 0.0 else float("nan")


def regret_parts(
    scores: Float[Floats, " m"],
    bounds: Float[Floats, " m"],
    planned: Float[Floats, " m"],
    perfect: Float[Floats, " m"] | None = None,
) -> dict[str, Float[Floats, " m"]]:
    """Split the regret ``bounds - scores`` of each episode into ``foresight`` + ``decisions``.

    ``planned`` are the scores of the best planner that knows what the policy may know.  ``foresight`` = bounds -
    planned is what no better decision can get; ``decisions`` = planned - scores, below 0 where the policy beats the
    planner.  With the scores of the planner with ``perfect`` forecasts, foresight is ``horizon`` (a window instead of
    the whole episode) + ``forecast_error`` (the window seen through a forecast).
    """
    parts = {"foresight": bounds - planned}
    if perfect is not None:
        parts |= {"horizon": bounds - perfect, "forecast_error": perfect - planned}
    return parts | {"decisions": planned - scores}


def improvement(
    scores: Float[Floats, "*batch n m"], other: Float[Floats, "*batch m"] | Float[Floats, "*batch 1 m"]
) -> Float[Floats, "*batch"]:
    """Return the probability that a run beats the other policy on an episode, ties counting half."""
    other = other if other.ndim == scores.ndim else other[..., None, :]
    margin = TIE * np.maximum(np.abs(scores), np.abs(other))
    better = (scores > other + margin) + 0.5 * (np.abs(scores - other) <= margin)
    return better.mean((-2, -1))


# Bootstrap --------------------------------------------------------------------------------------------------


def resamples(
    runs: int, strata: Sequence[object], draws: int = DRAWS, seed: int = 0
) -> tuple[Int[Index, "draws n"], Int[Index, "draws m"]]:
    """Return drawn training seeds and episodes; episodes are drawn inside their strata."""
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

    # The same draw of episodes for all arrays: scores, Local-Only and bounds stay paired.
    runs, episodes = resamples(len(values), strata, draws, seed)
    drawn = statistic(values[runs[:, :, None], episodes[:, None, :]], *(x[episodes] for x in others))
    if np.isnan(drawn).all():
        return Interval(value, float("nan"), float("nan"))
    low, high = np.nanquantile(drawn, [(1.0 - level) / 2.0, (1.0 + level) / 2.0])
    return Interval(value, float(low), float(high))


class Sampling(TypedDict, total=False):
    """Options of a bootstrap: how many draws, the level of its interval, the seed."""

    draws: int
    level: float
    seed: int


def paired_interval(statistic: Statistic, *samples: ArrayLike, **options: Unpack[Sampling]) -> Interval:
    """Return ``statistic(*samples)`` with its bootstrap interval; samples [m] are paired, episode by episode.

    The statistic takes samples [..., m] and returns [...].  Raises ValueError for no episode and for samples that
    are not one-dimensional and of one length.
    """
    first, *others = (np.asarray(sample, dtype=np.float64) for sample in samples)
    if first.size == 0:
        raise ValueError("bootstrap needs at least one instance, got none")
    if any(sample.shape != (len(first),) for sample in (first, *others)):
        raise ValueError(
            f"samples must be 1-D and of one length, got {[sample.shape for sample in (first, *others)]}"
        )
    return interval(
        lambda scores, *rest: statistic(scores[..., 0, :], *rest), first[None], *others, **options
    )


def bootstrap(statistic: Callable[..., float], *samples: ArrayLike, **options: Unpack[Sampling]) -> Interval:
    """Return `paired_interval` of a statistic that takes one sample [m] at a time: slower, for any function."""

    def of_each(*drawn: Floats) -> Floats:
        return np.array([statistic(*sample) for sample in zip(*drawn, strict=True)], dtype=np.float64)

    return paired_interval(of_each, *samples, **options)


def mean_interval(values: ArrayLike, level: float = LEVEL, draws: int = 10_000, seed: int = 0) -> Interval:
    """Return the mean with its bootstrap interval."""
    return paired_interval(lambda x: x.mean(-1), values, draws=draws, level=level, seed=seed)


def gain_interval(
    values: ArrayLike, local: ArrayLike, bounds: ArrayLike, **options: Unpack[Sampling]
) -> Interval:
    """Return the gain captured with its bootstrap interval; all three figures of an episode are drawn together."""
    return paired_interval(gain_share, values, local, bounds, **options)


# Score of a policy ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class PolicyScore:
    """Scores of a policy on the same episodes as its bound: means with 95 % bootstrap intervals."""

    gain_captured: Interval
    regret: Interval  # bound - score, in the unit of the scores
    parts: dict[str, Interval]  # see `regret_parts`; empty where no planner's scores are known


def policy_score(
    scores: Float[Floats, " m"],
    local: Float[Floats, " m"],
    bounds: Float[Floats, " m"],
    planned: Float[Floats, " m"] | None = None,
    perfect: Float[Floats, " m"] | None = None,
    draws: int = DRAWS,
) -> PolicyScore:
    """Return the score of one policy: gain captured, regret and, where ``planned`` is given, its parts."""
    parts = {} if planned is None else regret_parts(scores, bounds, planned, perfect)
    return PolicyScore(
        gain_captured=gain_interval(scores, local, bounds, draws=draws),
        regret=mean_interval(bounds - scores, draws=draws),
        parts={name: mean_interval(values, draws=draws) for name, values in parts.items()},
    )
