"""NumPy's names for torch: what the shared equations call on tensors (see `arrays.namespace`).

Only what is needed, with NumPy's meaning: a plain number may stand for an array, axes are called ``axis``.  Nothing
here waits for the device or reads from it.  Imported only where a tensor came in.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

Tensor = torch.Tensor

inf = float("inf")
abs = torch.abs
argmax = torch.argmax
clip = torch.clamp
exp = torch.exp
floor = torch.floor
full_like = torch.full_like
log = torch.log
ones_like = torch.ones_like
sqrt = torch.sqrt
zeros_like = torch.zeros_like


def minimum(x: Tensor, y: Tensor | float) -> Tensor:
    """The smaller of two, element by element."""
    return torch.minimum(x, y) if isinstance(y, Tensor) else torch.clamp_max(x, y)


def maximum(x: Tensor, y: Tensor | float) -> Tensor:
    """The larger of two, element by element."""
    return torch.maximum(x, y) if isinstance(y, Tensor) else torch.clamp_min(x, y)


def where(condition: Tensor, x: Tensor | float, y: Tensor | float) -> Tensor:
    """``x`` where the condition holds, else ``y``."""
    return torch.where(condition, x, y)


def cumsum(x: Tensor, axis: int) -> Tensor:
    """Sums from the first entry on along an axis."""
    return torch.cumsum(x, axis)


def concatenate(parts: Sequence[Tensor], axis: int = 0) -> Tensor:
    """Tensors one after the other along an axis."""
    return torch.cat(list(parts), axis)


def stack(parts: Sequence[Tensor], axis: int = 0) -> Tensor:
    """Tensors side by side along a new axis."""
    return torch.stack(list(parts), axis)


def broadcast_to(x: Tensor, shape: Sequence[int]) -> Tensor:
    """A view of ``x`` in a larger shape."""
    return torch.broadcast_to(x, tuple(shape))


def take_along_axis(x: Tensor, index: Tensor, axis: int) -> Tensor:
    """Entries of ``x`` at ``index`` along an axis; other axes broadcast."""
    return torch.take_along_dim(x, index, axis)


def sort(x: Tensor, axis: int = -1) -> Tensor:
    """Sorted along an axis."""
    return torch.sort(x, axis).values


def positions(x: Tensor, axis: int) -> Tensor:
    """0, 1, 2, ... along an axis of ``x``, on its device."""
    return torch.arange(x.shape[axis], device=x.device)


def as_real(x: Any, like: Tensor) -> Tensor:
    """``x`` with the type of ``like`` on its device, batch axis innermost in memory."""
    moved = torch.as_tensor(x, device=like.device).to(like.dtype)
    return moved.T.contiguous().T if moved.ndim == 2 else moved


def batch_innermost(x: Tensor) -> Tensor:
    """The same tensor [B,...] laid out in memory with the batch axis innermost."""
    return x.movedim(0, -1).contiguous().movedim(-1, 0)
