"""Loops from a traced graph: each tensor operation becomes an expression, a view, or loops that fill a buffer.

What is used once is computed where it is read; what is used twice, summed or sorted gets a buffer of its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch

from gridai_env.kernel.record import Graph, Operation
from gridai_env.kernel.values import At, Expression, Kind, Loop, Place, Value, View, whole
from gridai_env.kernel.views import RESHAPES, VIEWS, reshaped

TYPES: dict[Kind, str] = {"real": "V", "single": "S", "integer": "I", "mask": "M"}
# C++ that turns one kind into another.
CASTS: dict[tuple[Kind, Kind], str] = {
    ("mask", "real"): "REAL_OF_MASK({})",
    ("mask", "integer"): "INTEGER_OF_MASK({})",
    ("integer", "real"): "REAL_OF_INTEGER({})",
    ("real", "single"): "SINGLE({})",
    ("real", "mask"): "({} != SPREAD(T(0)))",
    ("integer", "mask"): "({} != WHOLE(0))",
}
ARITHMETIC = {"add": "({0} + {1})", "sub": "({0} - {1})", "mul": "({0} * {1})", "div": "({0} / {1})"}
ARITHMETIC |= {
    "rsub": "({1} - {0})",
    "neg": "(-{0})",
    "abs": "ABS({0})",
    "exp": "EXP({0})",
    "remainder": "REMAINDER({0}, {1})",
    **dict.fromkeys(("maximum", "clamp_min"), "LARGER({0}, {1})"),
    **dict.fromkeys(("minimum", "clamp_max"), "SMALLER({0}, {1})"),
}
COMPARISONS = {"eq": "==", "ne": "!=", "gt": ">", "ge": ">=", "lt": "<", "le": "<="}
LOGIC = {
    **dict.fromkeys(("bitwise_and", "logical_and"), "({0} & {1})"),
    **dict.fromkeys(("bitwise_or", "logical_or"), "({0} | {1})"),
    **dict.fromkeys(("bitwise_not", "logical_not"), "NOT({0})"),
}
SAME = ("alias", "clone", "contiguous", "detach", "lift_fresh", "lift_fresh_copy")
FILLED = {"zeros_like": 0.0, "ones_like": 1.0, "zeros": 0.0, "new_zeros": 0.0}
# Start and next value of what is gathered along axes, by kind.
SUMS: dict[Kind, tuple[str, str]] = {
    "real": ("SPREAD(T(0))", "(total + {})"),
    "integer": ("WHOLE(0)", "(total + {})"),
}
EXTREMES: dict[tuple[str, Kind], tuple[str, str]] = {
    ("amax", "real"): ("SPREAD(-INFINITE)", "LARGER(total, {})"),
    ("amin", "real"): ("SPREAD(INFINITE)", "SMALLER(total, {})"),
    ("amax", "integer"): ("WHOLE(-2147483647)", "LARGER(total, {})"),
    ("amin", "integer"): ("WHOLE(2147483647)", "SMALLER(total, {})"),
    ("all", "mask"): ("ALWAYS", "(total & {})"),
    ("any", "mask"): ("NEVER", "(total | {})"),
}


class Emitter:
    """The loops of one function; buffers of several functions have different names where ``prefix`` differs."""

    def __init__(self, graph: Graph, inputs: Sequence[tuple[str, Place]], batch: int, prefix: str) -> None:
        """Translate a graph whose ``inputs`` have these names; the axis of size ``batch`` is the lanes'.

        Raise NotImplementedError for an operation that has no translation.
        """
        self.batch, self.prefix = batch, prefix
        self.loops: list[Loop] = []
        self.baked: list[
            tuple[View, list[float]]
        ] = []  # constants that follow from shapes, with their numbers
        self.inputs: list[View] = []
        self._real = torch.float64 if any(x.dtype == torch.float64 for x in graph.inputs) else torch.float32
        self._made = 0
        self._values: dict[Operation, Value] = {}

        for operation, (name, place) in zip(graph.inputs, inputs, strict=True):
            if operation.users:
                self._values[operation] = view = self._new(operation, place, name)
                self.inputs.append(view)
        for operation in graph.operations:
            self._values[operation] = self._kept(operation, self._translated(operation))
        self.outputs = [
            self._fill(self._new(each, "output", f"{prefix}out{i}"), self._values[each])
            for i, each in enumerate(graph.outputs)
        ]

    # Memory --------------------------------------------------------------------------------------

    def kind_of(self, dtype: torch.dtype) -> Kind:
        """Return the kind of numbers of a torch type."""
        if dtype == torch.bool:
            return "mask"
        if not dtype.is_floating_point:
            return "integer"
        if dtype not in (self._real, torch.float32):
            raise NotImplementedError(f"{dtype} beside {self._real}")
        return "real" if dtype == self._real else "single"

    def _new(self, like: Operation, place: Place, name: str) -> View:
        """Return a new buffer for the result of an operation."""
        return self._room(like.shape, self.kind_of(like.dtype), place, name)

    def _room(self, shape: Sequence[int], kind: Kind, place: Place = "work", name: str = "") -> View:
        self._made += not name
        return whole(name or f"{self.prefix}t{self._made}", kind, place, shape, self.batch)

    def _bake(self, x: torch.Tensor) -> View:
        """Return a constant whose numbers stand in the source."""
        view = self._room(x.shape, self.kind_of(x.dtype), "constant")
        self.baked.append((view, x.flatten().tolist()))
        return view

    def _fill(self, target: View, value: Value) -> View:
        """Write a value to a buffer of its shape."""
        value = self._cast(value, target.kind)

        def body(at: At) -> str:
            return target.store(at, value.load(at))

        self.loops.append(Loop(target.shape, body, target, value.reads, value.is_pointwise))
        return target

    def _stored(self, value: Value) -> View:
        """Return a value that lies in memory."""
        return value if isinstance(value, View) else self._fill(self._room(value.shape, value.kind), value)

    def _kept(self, operation: Operation, value: Value) -> Value:
        """Store what is used more than once and costs something."""
        if isinstance(value, Expression) and not value.is_free and operation.users > 1:
            return self._stored(value)
        return value

    # Operations ----------------------------------------------------------------------------------

    def _translated(self, operation: Operation) -> Value:
        name, shape, kind = operation.name, operation.shape, self.kind_of(operation.dtype)
        if name == "constant":
            return self._bake(operation.args[0])
        args = [self._argument(x) for x in operation.args]

        if name in ARITHMETIC and kind != "mask":
            if operation.kwargs.get("alpha", 1) != 1 or (name == "remainder" and kind != "integer"):
                raise NotImplementedError(f"{name} of {kind} numbers, {operation.kwargs}")
            return self._pointwise(shape, kind, kind, ARITHMETIC[name], args[:2])
        if name in LOGIC or (name == "mul" and kind == "mask"):
            return self._pointwise(shape, "mask", "mask", LOGIC.get(name, "({0} & {1})"), args)
        if name in COMPARISONS:
            among: Kind = "real" if any(_is_real(x) for x in args) else "integer"
            return self._pointwise(shape, "mask", among, f"({{0}} {COMPARISONS[name]} {{1}})", args)
        if name == "where":
            return self._where(shape, kind, *args)
        if name in FILLED or name in ("full", "full_like", "scalar_tensor"):
            number = FILLED.get(name, args[-1])
            return Expression(shape, kind, lambda at: _literal(number, kind), is_free=True)
        if name == "arange":
            return self._bake(torch.arange(*args))
        if name in SAME:
            return args[0]
        if name == "_to_copy":
            return self._cast(args[0], kind)
        if name in VIEWS or name in RESHAPES:
            return self._viewed(name, shape, args)
        if name == "sum":
            return self._gathered(shape, kind, *SUMS[kind], *args)
        if name in ("amax", "amin", "all", "any"):
            return self._gathered(shape, kind, *EXTREMES[name, kind], *args)
        if name in ("argmax", "cumsum", "gather", "cat", "stack", "bmm"):
            return getattr(self, f"_{name}")(shape, kind, *args)
        raise NotImplementedError(f"{name}: has no translation to C++")

    def _argument(self, x: Any) -> Any:
        if isinstance(x, list | tuple):
            return [self._argument(each) for each in x]
        return self._values[x] if isinstance(x, Operation) else x

    def _cast(self, x: Value, kind: Kind) -> Value:
        """Return numbers of another kind."""
        if x.kind == kind:
            return x
        if (x.kind, kind) not in CASTS:
            raise NotImplementedError(f"{x.kind} as {kind}")
        form = CASTS[x.kind, kind]
        return Expression(x.shape, kind, lambda at: form.format(x.load(at)), x.reads)

    def _operand(self, x: Any, kind: Kind, rank: int) -> tuple[Callable[[At], str], tuple[View, ...]]:
        """Return how to read an operand with broadcasting to so many axes, and what is read."""
        if not isinstance(x, View | Expression):
            return lambda at: _literal(x, kind), ()
        value = self._cast(x, kind)

        def load(at: At) -> str:
            own = at[rank - len(value.shape) :]
            return value.load(["0" if n == 1 else i for i, n in zip(own, value.shape, strict=True)])

        return load, value.reads

    def _pointwise(
        self, shape: tuple[int, ...], kind: Kind, among: Kind, form: str, operands: Sequence[Any]
    ) -> Expression:
        """Return ``form`` of operands of the kind ``among``."""
        pairs = [self._operand(x, among, len(shape)) for x in operands]
        reads = tuple(view for _, some in pairs for view in some)
        return Expression(shape, kind, lambda at: form.format(*(load(at) for load, _ in pairs)), reads)

    def _where(self, shape: tuple[int, ...], kind: Kind, mask: Value, one: Any, other: Any) -> Expression:
        if kind == "single":
            raise NotImplementedError("a choice between float32 numbers beside float64")
        kinds: tuple[Kind, ...] = ("mask", kind, kind)
        operands = zip((mask, one, other), kinds, strict=True)
        pairs = [self._operand(x, each, len(shape)) for x, each in operands]
        reads = tuple(view for _, some in pairs for view in some)
        return Expression(
            shape, kind, lambda at: "({} ? {} : {})".format(*(load(at) for load, _ in pairs)), reads
        )

    def _viewed(self, name: str, shape: tuple[int, ...], args: Sequence[Any]) -> Value:
        x, *rest = args
        if isinstance(x, Expression) and x.is_free:
            return Expression(shape, x.kind, lambda at: x.load([]), is_free=True)
        view = self._stored(x)
        if name in VIEWS:
            found: View = VIEWS[name](view, shape, *rest)
            return found
        again = reshaped(view, shape, self.batch)
        if again is None:  # a copy lies in order
            again = reshaped(self._fill(self._room(view.shape, view.kind), view), shape, self.batch)
            assert again is not None
        return again

    def _gathered(
        self,
        shape: tuple[int, ...],
        kind: Kind,
        start: str,
        after: str,
        x: Value,
        axes: int | Sequence[int],
        keep: bool = False,
        **_: Any,
    ) -> View:
        """Return what is gathered along axes, one number after the other."""
        value, target = self._cast(x, kind), self._room(shape, kind)
        gone = [axis % len(value.shape) for axis in ([axes] if isinstance(axes, int) else axes)]

        def body(at: At) -> str:
            rest = iter([i for k, i in enumerate(at) if k not in gone] if keep else at)
            own = [f"r{k}" if k in gone else next(rest) for k in range(len(value.shape))]
            loops = " ".join(f"for (int r{k} = 0; r{k} < {value.shape[k]}; r{k}++)" for k in gone)
            return (
                f"{{ {TYPES[kind]} total = {start}; {loops} total = {after.format(value.load(own))}; "
                f"{target.store(at, 'total')} }}"
            )

        self.loops.append(Loop(shape, body, target, value.reads))
        return target

    def _argmax(self, shape: tuple[int, ...], kind: Kind, x: Value, axis: int) -> View:
        """Return where the first of the largest entries stands."""
        value, target = self._stored(x), self._room(shape, kind)
        along = axis % len(value.shape)

        def body(at: At) -> str:
            first, other = ([*at[:along], i, *at[along:]] for i in ("0", "r"))
            return (
                f"{{ V best = {value.load(first)}; I place = WHOLE(0); "
                f"for (int r = 1; r < {value.shape[along]}; r++) {{ V each = {value.load(other)}; "
                "M better = each > best; best = better ? each : best; place = better ? WHOLE(r) : place; } "
                f"{target.store(at, 'place')} }}"
            )

        self.loops.append(Loop(shape, body, target, value.reads))
        return target

    def _cumsum(self, shape: tuple[int, ...], kind: Kind, x: Value, axis: int) -> View:
        value, target = self._cast(x, kind), self._room(shape, kind)
        along = axis % len(shape)
        start, after = SUMS[kind]

        def body(at: At) -> str:
            own = ["r" if k == along else i for k, i in enumerate(at)]
            return (
                f"{{ {TYPES[kind]} total = {start}; for (int r = 0; r < {shape[along]}; r++) "
                f"{{ total = {after.format(value.load(own))}; {target.store(own, 'total')} }} }}"
            )

        domain = tuple(1 if k == along else n for k, n in enumerate(shape))
        self.loops.append(Loop(domain, body, target, value.reads))
        return target

    def _gather(self, shape: tuple[int, ...], kind: Kind, x: Value, axis: int, index: Value) -> View:
        """Return entries along an axis at places that differ between the lanes: one comparison for each place."""
        value, place = self._stored(x), self._stored(index)
        along = axis % len(value.shape)

        def load(at: At) -> str:
            found = _literal(0, kind)
            for r in range(value.shape[along]):
                own = [str(r) if k == along else i for k, i in enumerate(at)]
                found = f"(({place.load(at)} == WHOLE({r})) ? {value.load(own)} : {found})"
            return found

        return self._stored(Expression(shape, kind, load, (value, place), is_pointwise=False))

    def _bmm(self, shape: tuple[int, ...], kind: Kind, x: Value, y: Value) -> View:
        one, two, target = self._stored(x), self._stored(y), self._room(shape, kind)

        def body(at: At) -> str:
            return (
                f"{{ V total = SPREAD(T(0)); for (int r = 0; r < {one.shape[2]}; r++) "
                f"total = total + {one.load([at[0], at[1], 'r'])} * {two.load([at[0], 'r', at[2]])}; "
                f"{target.store(at, 'total')} }}"
            )

        self.loops.append(Loop(shape, body, target, (*one.reads, *two.reads)))
        return target

    def _cat(self, shape: tuple[int, ...], kind: Kind, parts: Sequence[Value], axis: int = 0) -> View:
        """Return parts one after the other, each written to its place."""
        target, along, start = self._room(shape, kind), axis % len(shape), 0
        for part in parts:
            place = View(
                target.buffer, part.shape, target.strides, target.offset + start * target.strides[along]
            )
            self._fill(place, part)
            start += part.shape[along]
        return target

    def _stack(self, shape: tuple[int, ...], kind: Kind, parts: Sequence[Value], axis: int = 0) -> View:
        along = axis % len(shape)
        one = (*shape[:along], 1, *shape[along + 1 :])
        widened: list[Value] = [self._viewed("unsqueeze", one, (part, along)) for part in parts]
        return self._cat(shape, kind, widened, along)


def _is_real(x: Any) -> bool:
    return isinstance(x, float) or (isinstance(x, View | Expression) and x.kind in ("real", "single"))


def _literal(x: float, kind: Kind) -> str:
    """Return a number, the same in all lanes."""
    if kind == "mask":
        return "ALWAYS" if x else "NEVER"
    if kind == "integer":
        return f"WHOLE({int(x)})"
    if math.isinf(x):
        return "SPREAD(INFINITE)" if x > 0 else "SPREAD(-INFINITE)"
    return f"{'SPREAD(T' if kind == 'real' else 'SPREAD_SINGLE(float'}({float(x)!r}))"
