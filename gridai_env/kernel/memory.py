"""Memory of an emitted function, and loops that fill it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch

from gridai_env.kernel.record import Operation
from gridai_env.kernel.values import (
    At,
    Buffer,
    Expression,
    Kind,
    Loop,
    Place,
    Strided,
    Value,
    whole,
)

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

    def __init__(self, real: torch.dtype, batch: int, prefix: str, routes: tuple[int, ...]) -> None:
        """Begin without loops; ``real`` is the type of numbers, the axis of size ``batch`` that of the lanes.

        ``routes`` [C,W,K]: sizes of arrays of which open routes suffice, () where nothing is left out.
        """
        self.batch, self.prefix, self.routes = batch, prefix, routes
        self.sparse: dict[Buffer, Strided] = {}  # what is zero where a route is closed
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

        aligned = len(target.shape) if value.is_pointwise else 0
        is_sparse = self.is_sparse(value) and self.is_route(value)
        self.loops.append(Loop(target.shape, body, target, value.reads, aligned, is_sparse))
        if is_sparse:
            self.sparse[target.buffer] = target
        return target

    def is_nested(self, value: Value) -> bool:
        """Return whether a value [B,C,W,...] has four axes, those of regions and rows among them."""
        return (
            bool(self.routes) and value.shape[:3] == (self.batch, *self.routes[:2]) and len(value.shape) == 4
        )

    def is_route(self, value: Value) -> bool:
        """Return whether a value has a number for each route, [B,C,W,K]."""
        return bool(self.routes) and value.shape == (self.batch, *self.routes)

    def is_sparse(self, x: Any) -> bool:
        """Return whether an operand is zero where a route is closed."""
        if isinstance(x, Strided):
            return x.buffer in self.sparse and x.is_at(self.sparse[x.buffer])
        return x.is_sparse if isinstance(x, Expression) else not isinstance(x, bool) and x == 0.0

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
        cost = cost_of(x) + 1
        return Expression(
            x.shape, kind, lambda at: form.format(x.load(at)), x.reads, is_sparse=self.is_sparse(x), cost=cost
        )

    def operand(self, x: Any, kind: Kind, rank: int) -> tuple[Callable[[At], str], tuple[Strided, ...]]:
        """Return how to read an operand with broadcasting to so many axes, and what is read."""
        if not isinstance(x, Strided | Expression):
            return lambda at: literal(x, kind), ()
        value = self.cast(x, kind)

        def load(at: At) -> str:
            own = at[rank - len(value.shape) :]
            return value.load(["0" if n == 1 else i for i, n in zip(own, value.shape, strict=True)])

        return load, value.reads


def cost_of(x: Any) -> int:
    """Return what it costs to read an operand."""
    return x.cost if isinstance(x, Expression) else 0


def literal(x: float, kind: Kind) -> str:
    """Return a number, the same in all lanes."""
    if kind == "mask":
        return "ALWAYS" if x else "NEVER"
    if kind == "integer":
        return f"WHOLE({int(x)})"
    if math.isinf(x):
        return "SPREAD(INFINITE)" if x > 0 else "SPREAD(-INFINITE)"
    return f"{'SPREAD(T' if kind == 'real' else 'SPREAD_SINGLE(float'}({float(x)!r}))"
