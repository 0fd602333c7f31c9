"""Memory of an emitted function, and loops that fill it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch

from gridai_env.kernel.record import Operation
from gridai_env.kernel.values import At, Expression, Kind, Loop, Place, Strided, Value, whole

# C++ that turns one kind into another.
CASTS: dict[tuple[Kind, Kind], str] = {
    ("mask", "real"): "REAL_OF_MASK({})",
    ("mask", "integer"): "INTEGER_OF_MASK({})",
    ("integer", "real"): "REAL_OF_INTEGER({})",
    ("real", "single"): "SINGLE({})",
    ("real", "mask"): "({} != SPREAD(T(0)))",
    ("integer", "mask"): "({} != WHOLE(0))",
}


class Memory:
    """Buffers and loops of one function; buffers of several have different names where ``prefix`` differs."""

    def __init__(self, real: torch.dtype, batch: int, prefix: str) -> None:
        """Begin without loops; ``real`` is the type of numbers, the axis of size ``batch`` that of the lanes."""
        self.batch, self.prefix = batch, prefix
        self.loops: list[Loop] = []
        # Constants that follow from shapes, with their numbers.
        self.baked: list[tuple[Strided, list[float]]] = []
        self._real = real
        self._made = 0

    def kind_of(self, dtype: torch.dtype) -> Kind:
        """Return the kind of numbers of a torch type."""
        if dtype == torch.bool:
            return "mask"
        if not dtype.is_floating_point:
            return "integer"
        if dtype not in (self._real, torch.float32):
            raise NotImplementedError(f"{dtype} beside {self._real}")
        return "real" if dtype == self._real else "single"

    def new(self, like: Operation, place: Place, name: str) -> Strided:
        """Return a new buffer for the result of an operation."""
        return self.room(like.shape, self.kind_of(like.dtype), place, name)

    def room(self, shape: Sequence[int], kind: Kind, place: Place = "work", name: str = "") -> Strided:
        self._made += not name
        return whole(name or f"{self.prefix}t{self._made}", kind, place, shape, self.batch)

    def bake(self, x: torch.Tensor) -> Strided:
        """Return a constant whose numbers stand in the source."""
        view = self.room(x.shape, self.kind_of(x.dtype), "constant")
        self.baked.append((view, x.flatten().tolist()))
        return view

    def fill(self, target: Strided, value: Value) -> Strided:
        """Write a value to a buffer of its shape."""
        value = self.cast(value, target.kind)

        def body(at: At) -> str:
            return target.store(at, value.load(at))

        self.loops.append(Loop(target.shape, body, target, value.reads, value.is_pointwise))
        return target

    def stored(self, value: Value) -> Strided:
        """Return a value that lies in memory."""
        return value if isinstance(value, Strided) else self.fill(self.room(value.shape, value.kind), value)

    def cast(self, x: Value, kind: Kind) -> Value:
        """Return numbers of another kind."""
        if x.kind == kind:
            return x
        if (x.kind, kind) not in CASTS:
            raise NotImplementedError(f"{x.kind} as {kind}")
        form = CASTS[x.kind, kind]
        return Expression(x.shape, kind, lambda at: form.format(x.load(at)), x.reads)

    def operand(self, x: Any, kind: Kind, rank: int) -> tuple[Callable[[At], str], tuple[Strided, ...]]:
        """Return how to read an operand with broadcasting to so many axes, and what is read."""
        if not isinstance(x, Strided | Expression):
            return lambda at: literal(x, kind), ()
        value = self.cast(x, kind)

        def load(at: At) -> str:
            own = at[rank - len(value.shape) :]
            return value.load(["0" if n == 1 else i for i, n in zip(own, value.shape, strict=True)])

        return load, value.reads


def literal(x: float, kind: Kind) -> str:
    """Return a number, the same in all lanes."""
    if kind == "mask":
        return "ALWAYS" if x else "NEVER"
    if kind == "integer":
        return f"WHOLE({int(x)})"
    if math.isinf(x):
        return "SPREAD(INFINITE)" if x > 0 else "SPREAD(-INFINITE)"
    return f"{'SPREAD(T' if kind == 'real' else 'SPREAD_SINGLE(float'}({float(x)!r}))"
