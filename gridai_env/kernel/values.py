"""What an emitted function is made of: memory, views of it, expressions, loops.

The batch axis is no loop: every number of the source stands for the lanes of a vector, one episode each.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Literal

Kind = Literal["real", "single", "integer", "mask"]  # single: float32 beside reals in float64
Place = Literal["input", "constant", "output", "work"]
At = Sequence[str]  # an index expression for each axis; that of the batch axis is not read

LOADS = {"input": "LOAD({name}, {at})", "work": "{name}[{at}]"}
CONSTANTS: dict[Kind, str] = {
    "real": "SPREAD({name}[{at}])",
    "single": "SPREAD_SINGLE({name}[{at}])",
    "integer": "WHOLE({name}[{at}])",
    "mask": "(WHOLE({name}[{at}]) != WHOLE(0))",
}
STORES = {"output": "STORE({name}, {at}, {value});", "work": "{name}[{at}] = {value};"}


@dataclass(eq=False)
class Buffer:
    """Memory: ``size`` numbers for each episode (for all of them, where it is a constant)."""

    name: str
    kind: Kind
    place: Place
    size: int
    dropped: frozenset[str] = frozenset()  # indices that choose nothing: it holds a part at a time


@dataclass(frozen=True, eq=False)
class Strided:
    """A buffer, or a part of it, with a shape; the batch axis has stride 0."""

    buffer: Buffer
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int = 0

    @property
    def kind(self) -> Kind:
        """Kind of its numbers."""
        return self.buffer.kind

    @property
    def reads(self) -> tuple[Strided, ...]:
        """What is read to have it."""
        return (self,)

    is_pointwise = True

    def address(self, at: At) -> str:
        """Return the C++ expression of a place in the buffer."""
        steps = zip(at, self.strides, self.shape, strict=True)
        gone = {"0", *self.buffer.dropped}
        terms = [i if n == 1 else f"{i}*{n}" for i, n, size in steps if n and size != 1 and i not in gone]
        if self.offset or not terms:
            terms.append(str(self.offset))
        return " + ".join(terms)

    def load(self, at: At) -> str:
        """Return the C++ expression of a number."""
        form = CONSTANTS[self.kind] if self.buffer.place == "constant" else LOADS[self.buffer.place]
        return form.format(name=self.buffer.name, at=self.address(at))

    def store(self, at: At, value: str) -> str:
        """Return the C++ statement that writes a number."""
        return STORES[self.buffer.place].format(name=self.buffer.name, at=self.address(at), value=value)

    def is_at(self, other: Strided) -> bool:
        """Return whether equal indices of both are equal places in memory."""
        mine, its = (self.buffer, self.shape, self.strides), (other.buffer, other.shape, other.strides)
        return mine == its and self.offset == other.offset


@dataclass(frozen=True, eq=False)
class Expression:
    """Numbers that are computed where they are read.

    ``is_free``: reading one costs nothing.  ``is_pointwise``: each needs, of what it reads, the same index alone.
    ``is_sparse``: zero where a route is closed.  ``cost``: of reading one, in additions.
    """

    shape: tuple[int, ...]
    kind: Kind
    load: Callable[[At], str]
    reads: tuple[Strided, ...] = ()
    is_free: bool = False
    is_pointwise: bool = True
    is_sparse: bool = False
    cost: int = 1


Value = Strided | Expression


@dataclass(frozen=True, eq=False)
class Loop:
    """A statement for every index of a domain (axes of size 1 and the batch axis are not looped over)."""

    domain: tuple[int, ...]
    body: Callable[[At], str]
    target: Strided
    reads: tuple[Strided, ...]
    aligned: int = 0  # leading axes on which each index needs, of what is read, the same index alone
    is_sparse: bool = False  # open routes suffice
    # Statements before and after the innermost loop, at the index on the axes around it.
    ends: tuple[Callable[[At], str], Callable[[At], str]] | None = None


def whole(name: str, kind: Kind, place: Place, shape: Sequence[int], batch: int) -> Strided:
    """Return a new buffer as a view of all of it, the last axis innermost."""
    strides, size = [], 1
    for n in reversed(shape):
        strides.append(0 if n == batch else size)
        size *= 1 if n == batch else n
    buffer = Buffer(name, kind, place, prod(n for n in shape if n != batch))
    return Strided(buffer, tuple(shape), tuple(reversed(strides)))
