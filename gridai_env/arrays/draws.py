"""Random numbers of a batch of episodes, apart from the arithmetic that makes episodes of them.

Two kinds: `EpisodeDraws`, NumPy, where each episode has a generator of its own and so does not depend on its
neighbours; and that of `gridai_env.envs.torch.generate`, one generator on the device for the whole batch.  All that is
made of either is the same text.

Shapes: B episodes in the batch, b of them drawn in one call.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from statistics import NormalDist
from typing import Any, Protocol

import numpy as np

from gridai_env.arrays.ops import namespace
from gridai_env.arrays.types import Array


class Draws(Protocol):
    """Random numbers of one feature of B episodes, ``len(draws)``."""

    def __len__(self) -> int:
        """Return B."""

    def parts(self, size: int) -> Iterator[slice]:
        """Yield the episodes in groups of at most ``size`` where small groups are faster, else all at once."""

    def normals(self, part: slice, *shape: int) -> Array:
        """Return standard normals [b,*shape]."""

    def uniforms(self, part: slice, *shape: int) -> Array:
        """Return numbers evenly from [0, 1), [b,*shape]."""

    def coarse_normals(self, part: slice, *shape: int) -> Array:
        """Return float32 [b,*shape], standard normals as far as 65,536 values go."""

    def indices(self, count: int) -> Array:
        """Return integers evenly from 0 to count - 1, [B]."""


class EpisodeDraws:
    """Draws as NumPy arrays, each episode's from its own generator, in the order of the calls."""

    def __init__(self, rngs: Sequence[np.random.Generator]) -> None:
        """Draw from these generators, one for each episode."""
        self._rngs = tuple(rngs)

    def __len__(self) -> int:
        return len(self._rngs)

    def parts(self, size: int) -> Iterator[slice]:
        """Yield slices of at most ``size`` episodes: what is worked on stays in the processor's cache."""
        for first in range(0, len(self), size):
            yield slice(first, min(first + size, len(self)))

    def normals(self, part: slice, *shape: int) -> np.ndarray:
        """Return standard normals, float64 [b,*shape]."""
        out = np.empty((part.stop - part.start, *shape))
        for row, rng in zip(out, self._rngs[part], strict=True):
            rng.standard_normal(out=row)
        return out

    def uniforms(self, part: slice, *shape: int) -> np.ndarray:
        """Return numbers evenly from [0, 1), float64 [b,*shape]."""
        out = np.empty((part.stop - part.start, *shape))
        for row, rng in zip(out, self._rngs[part], strict=True):
            rng.random(out=row)
        return out

    def coarse_normals(self, part: slice, *shape: int) -> np.ndarray:
        """Return normals that take the values of `normal_quantiles`, each equally likely, float32 [b,*shape].

        Several times faster than exact normals, which would be the slowest part of a reset.
        """
        out = np.empty((part.stop - part.start, *shape), dtype=np.float32)
        for row, rng in zip(out, self._rngs[part], strict=True):
            words = rng.bit_generator.random_raw(-(-row.size // 4))
            level = words.astype("<u8", copy=False).view("<u2")[: row.size]
            normal_quantiles().take(level.reshape(row.shape), out=row, mode="clip")
        return out

    def indices(self, count: int) -> np.ndarray:
        """Return integers evenly from 0 to count - 1, int64 [B]."""
        return np.array([int(rng.integers(count)) for rng in self._rngs], dtype=np.int64)


def as_draws(rngs: Sequence[np.random.Generator] | Draws) -> Draws:
    """Return the draws of these generators; draws stay what they are."""
    return EpisodeDraws(rngs) if isinstance(rngs, Sequence) else rngs


def everyone(draws: Draws) -> slice:
    """Return the slice of all episodes."""
    return slice(0, len(draws))


def in_parts(draws: Draws, size: int, make: Callable[[slice], tuple[Any, ...]]) -> tuple[Any, ...]:
    """Return what ``make`` returns, arrays [b,...], for all episodes, made a few at a time where that is faster."""
    made = [make(part) for part in draws.parts(size)]
    if len(made) == 1:
        return made[0]
    return tuple(namespace(few[0]).concatenate(few, axis=0) for few in zip(*made, strict=True))


@lru_cache(maxsize=1)
def normal_quantiles() -> np.ndarray:
    """Return the normal quantiles of 65,536 equally likely levels, float32, mean 0 and variance 1."""
    half = [NormalDist().inv_cdf((i + 0.5) / 2**16) for i in range(2**15)]
    quantiles = np.concatenate([half, np.negative(half[::-1])])
    return (quantiles / quantiles.std()).astype(np.float32)
