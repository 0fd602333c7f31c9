"""Views of views: what reshaping, transposing and slicing do to strides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from gridai_env.kernel.values import Strided


def reshaped(x: Strided, shape: Sequence[int], batch: int) -> Strided | None:
    """Return the view in another shape; None where strides cannot say it, so that it has to be copied."""
    if 0 in shape:
        return replace(x, shape=tuple(shape), strides=(0,) * len(shape))

    # Join axes that lie in one run, then cut the runs into the new axes.
    runs: list[tuple[int, int]] = []
    for size, stride in zip(x.shape, x.strides, strict=True):
        if size in (1, batch):
            continue
        if runs and runs[-1][1] == size * stride:
            runs[-1] = (runs[-1][0] * size, stride)
        else:
            runs.append((size, stride))

    strides, left = [], iter(runs)
    rest, stride = 1, 0
    for size in shape:
        if size in (1, batch):
            strides.append(0)
            continue
        if rest == 1:
            rest, stride = next(left)
        if rest % size:
            return None
        rest //= size
        strides.append(stride * rest)
    return replace(x, shape=tuple(shape), strides=tuple(strides))


def unsqueeze(x: Strided, shape: tuple[int, ...], axis: int) -> Strided:
    """Insert an axis of size 1."""
    strides = list(x.strides)
    strides.insert(axis % len(shape), 0)
    return replace(x, shape=shape, strides=tuple(strides))


def permute(x: Strided, shape: tuple[int, ...], axes: Sequence[int]) -> Strided:
    """Put the axes in another order."""
    return replace(x, shape=shape, strides=tuple(x.strides[axis] for axis in axes))


def transpose(x: Strided, shape: tuple[int, ...], one: int, two: int) -> Strided:
    """Exchange two axes."""
    strides = list(x.strides)
    strides[one], strides[two] = strides[two], strides[one]
    return replace(x, shape=shape, strides=tuple(strides))


def select(x: Strided, shape: tuple[int, ...], axis: int, index: int) -> Strided:
    """Take one entry along an axis."""
    strides = list(x.strides)
    step = strides.pop(axis % len(strides))
    return replace(x, shape=shape, strides=tuple(strides), offset=x.offset + index % x.shape[axis] * step)


def slice_(
    x: Strided, shape: tuple[int, ...], axis: int = 0, start: int | None = 0, stop: Any = None, step: int = 1
) -> Strided:
    """Take entries along an axis, from ``start`` on."""
    strides, begin, size = list(x.strides), start or 0, x.shape[axis]
    begin = min(begin + size if begin < 0 else begin, size)
    offset = x.offset + begin * strides[axis]
    strides[axis] *= step
    return replace(x, shape=shape, strides=tuple(strides), offset=offset)


def expand(x: Strided, shape: tuple[int, ...], sizes: Sequence[int]) -> Strided:
    """Repeat axes of size 1."""
    new = len(shape) - len(x.shape)
    kept = zip(x.strides, x.shape, shape[new:], strict=True)
    return replace(x, shape=shape, strides=(*(0,) * new, *(n if old == size else 0 for n, old, size in kept)))


def flip(x: Strided, shape: tuple[int, ...], axes: Sequence[int]) -> Strided:
    """Go along axes from their last entries to their first."""
    gone = {axis % len(shape) for axis in axes}
    strides = tuple(-n if k in gone else n for k, n in enumerate(x.strides))
    ends = sum((x.shape[k] - 1) * x.strides[k] for k in gone)
    return replace(x, strides=strides, offset=x.offset + ends)


VIEWS: dict[str, Any] = {
    "expand": expand,
    "flip": flip,
    "permute": permute,
    "select": select,
    "slice": slice_,
    "transpose": transpose,
    "unsqueeze": unsqueeze,
}
RESHAPES = ("view", "_unsafe_view")
