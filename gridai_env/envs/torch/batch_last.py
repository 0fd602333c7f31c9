"""A traced graph with its batch axis moved last, everywhere.

The equations speak of trailing axes: batch axes lead.  A processor wants the opposite, neighbours of the batch side
by side in memory, in every intermediate result; compilers lay out intermediates by logical order.  Therefore the
graph is run once more over tensors whose batch axis is last, each operation translated, and traced again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule, Interpreter


@dataclass(frozen=True)
class BatchLastTensor:
    """A tensor whose batch axis, the axis ``at`` of the original, is last."""

    values: Tensor
    at: int

    @property
    def rank(self) -> int:
        """Number of axes."""
        return self.values.ndim

    @property
    def shape(self) -> list[int]:
        """Shape of the original."""
        shape = list(self.values.shape)
        return [*shape[: self.at], shape[-1], *shape[self.at : -1]]

    def axis(self, axis: int) -> int:
        """Return where an axis of the original is now; raises ValueError for the batch axis."""
        axis %= self.rank
        if axis == self.at:
            raise ValueError("an operation along the batch axis")
        return axis if axis < self.at else axis - 1


def back(result: BatchLastTensor | Tensor) -> Tensor:
    """Return the original of a result, as a view."""
    return result.values.movedim(-1, result.at) if isinstance(result, BatchLastTensor) else result


class BatchLast(Interpreter):
    """Runs a graph of aten operations on `BatchLastTensor` tensors."""

    def call_function(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Translate one operation; those without a batch run as they are."""
        flat = [x for arg in args for x in (arg if isinstance(arg, list | tuple) else [arg])]
        if not any(isinstance(x, BatchLastTensor) for x in flat):
            return super().call_function(target, args, kwargs)
        name = target.overloadpacket.__name__ if isinstance(target, torch._ops.OpOverload) else str(target)
        try:
            return _RULES.get(name, _pointwise)(target, args, kwargs)
        except (ValueError, IndexError, AssertionError) as fault:
            raise NotImplementedError(f"{target} cannot be run with the batch axis last: {fault}") from fault


def run_last(
    graph: GraphModule, inputs: Sequence[Tensor], at: Sequence[int]
) -> list[BatchLastTensor | Tensor]:
    """Return the results of a traced function of one list of tensors, given with the batch axis last."""
    return BatchLast(graph).run(*map(BatchLastTensor, inputs, at))


# One operation each -------------------------------------------------------------------------------


def _pointwise(target: Any, args: Any, kwargs: Any) -> BatchLastTensor:
    """Run an operation element by element, with broadcasting."""
    laid = [x for x in args if isinstance(x, BatchLastTensor)]
    behind = laid[0].rank - laid[0].at  # axes from the batch axis on
    assert all(x.rank - x.at == behind for x in laid), "batch axes that do not face each other"
    rank = max(
        x.ndim if isinstance(x, Tensor) else x.rank for x in args if isinstance(x, Tensor | BatchLastTensor)
    )

    def last(x: Any) -> Any:
        if isinstance(x, BatchLastTensor):
            return x.values
        if not isinstance(x, Tensor) or x.ndim == 0:
            return x
        return x.unsqueeze(-1) if x.ndim < behind else x.movedim(x.ndim - behind, -1)

    return BatchLastTensor(target(*map(last, args), **kwargs), rank - behind)


def _reduced(target: Any, args: Any, kwargs: Any) -> BatchLastTensor:
    """Run sums, extremes and tests along one or several axes."""
    x, axes, *rest = args
    many = isinstance(axes, list | tuple)
    gone = [axis % x.rank for axis in (axes if many else [axes])]
    moved = [x.axis(axis) for axis in gone]
    keep = bool(rest and rest[0]) or bool(kwargs.get("keepdim"))
    at = x.at if keep else x.at - sum(axis < x.at for axis in gone)
    return BatchLastTensor(target(x.values, moved if many else moved[0], *rest, **kwargs), at)


def _cumsum(target: Any, args: Any, kwargs: Any) -> BatchLastTensor:
    """Sum from the first entry on, as sums of products with ones and zeros: axes are short."""
    x, axis = args[0], args[0].axis(args[1])
    if x.values.dtype == torch.bool:
        x = BatchLastTensor(x.values.to(torch.int64), x.at)
    size = x.values.shape[axis]
    up_to = torch.tril(torch.ones((size, size), dtype=x.values.dtype, device=x.values.device))
    weights = up_to.reshape(size, size, *[1] * (x.rank - axis - 1))
    return BatchLastTensor((x.values.unsqueeze(axis) * weights).sum(axis + 1), x.at)


def _along(target: Any, args: Any, kwargs: Any) -> BatchLastTensor:
    """Run an operation along one axis that leaves it there."""
    x, axis, *rest = args
    others = [y.values if isinstance(y, BatchLastTensor) else y for y in rest]
    return BatchLastTensor(target(x.values, x.axis(axis), *others, **kwargs), x.at)


def _slice(target: Any, args: Any, kwargs: Any) -> BatchLastTensor:
    x, axis, start, stop, *step = (*args, *(0, 0, 2**62)[len(args) - 1 :]) if len(args) < 4 else args
    if axis % x.rank == x.at:
        assert not start and stop >= x.values.shape[-1] and not step, "a part of the batch"
        return x
    return BatchLastTensor(target(x.values, x.axis(axis), start, stop, *step, **kwargs), x.at)


def _select(target: Any, args: Any, kwargs: Any) -> BatchLastTensor:
    x, axis, index = args
    return BatchLastTensor(target(x.values, x.axis(axis), index), x.at - (axis % x.rank < x.at))


def _unsqueeze(target: Any, args: Any, kwargs: Any) -> BatchLastTensor:
    x, axis = args[0], args[1] % (args[0].rank + 1)
    before = axis <= x.at
    return BatchLastTensor(x.values.unsqueeze(axis if before else axis - 1), x.at + before)


def _permute(target: Any, args: Any, kwargs: Any) -> BatchLastTensor:
    x, axes = args[0], [axis % args[0].rank for axis in args[1]]
    moved = [x.axis(axis) for axis in axes if axis != x.at]
    return BatchLastTensor(x.values.permute(*moved, x.rank - 1), axes.index(x.at))


def _transpose(target: Any, args: Any, kwargs: Any) -> BatchLastTensor:
    axes = list(range(args[0].rank))
    one, two = (axis % len(axes) for axis in args[1:3])
    axes[one], axes[two] = two, one
    return _permute(target, (args[0], axes), kwargs)


def _view(target: Any, args: Any, kwargs: Any) -> BatchLastTensor:
    """Give another shape; the batch must stay an axis of its own."""
    x, shape = args[0], list(args[1])
    if -1 in shape:
        shape[shape.index(-1)] = x.values.numel() // -prod(shape)
    before, size = prod(x.shape[: x.at]), x.values.shape[-1]
    places = [i for i, n in enumerate(shape) if n == size and prod(shape[:i]) == before]
    assert places, f"shape {shape} of {x.shape} mixes the batch with other axes"
    rest = [n for i, n in enumerate(shape) if i != places[0]]
    return BatchLastTensor(x.values.reshape(*rest, size), places[0])


def _expand(target: Any, args: Any, kwargs: Any) -> BatchLastTensor:
    x, sizes = args[0], list(args[1])
    at = x.at + len(sizes) - x.rank
    size = sizes.pop(at)
    return BatchLastTensor(x.values.expand(*sizes, size), at)


def _cat(target: Any, args: Any, kwargs: Any) -> BatchLastTensor:
    parts, axis = args[0], args[1] if len(args) > 1 else 0
    like = next(x for x in parts if isinstance(x, BatchLastTensor))
    plain = [x.values if isinstance(x, BatchLastTensor) else x.movedim(like.at, -1) for x in parts]
    return BatchLastTensor(torch.cat(plain, like.axis(axis)), like.at)


def _stack(target: Any, args: Any, kwargs: Any) -> BatchLastTensor:
    axis = args[1] if len(args) > 1 else 0
    return _cat(target, ([_unsqueeze(None, (x, axis), {}) for x in args[0]], axis), {})


def _flip(target: Any, args: Any, kwargs: Any) -> BatchLastTensor:
    x, axes = args
    return BatchLastTensor(target(x.values, [x.axis(axis) for axis in axes]), x.at)


def _same(target: Any, args: Any, kwargs: Any) -> BatchLastTensor:
    return args[0]


def _like(target: Any, args: Any, kwargs: Any) -> BatchLastTensor:
    return BatchLastTensor(target(args[0].values, *args[1:], **kwargs), args[0].at)


_RULES: dict[str, Callable[[Any, Any, Any], BatchLastTensor]] = {
    **dict.fromkeys(("all", "amax", "amin", "any", "argmax", "argmin", "mean", "sum"), _reduced),
    **dict.fromkeys(("alias", "clone", "lift_fresh_copy"), _same),
    **dict.fromkeys(("detach", "full_like", "ones_like", "zeros_like"), _like),
    **dict.fromkeys(("view", "_unsafe_view", "reshape"), _view),
    "cat": _cat,
    "cumsum": _cumsum,
    "expand": _expand,
    "flip": _flip,
    "gather": _along,
    "permute": _permute,
    "select": _select,
    "slice": _slice,
    "stack": _stack,
    "transpose": _transpose,
    "unsqueeze": _unsqueeze,
}
