"""Loops from a recorded graph: each tensor operation becomes an expression, a view, or loops that fill a buffer.

What is used once is computed where it is read; what is used twice, summed or sorted gets a buffer of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any

import torch

from gridai_env.kernel.gathering import ALONG, GATHERED, gathered
from gridai_env.kernel.memory import Memory, cost_of, literal
from gridai_env.kernel.record import Operation, OperationGraph
from gridai_env.kernel.values import Expression, Kind, Place, Strided, Value
from gridai_env.kernel.views import RESHAPES, VIEWS, reshaped

ARITHMETIC = {"add": "({0} + {1})", "sub": "({0} - {1})", "mul": "({0} * {1})", "div": "({0} / {1})"}
ARITHMETIC |= {
    "rsub": "({1} - {0})",
    "neg": "(-{0})",
    "abs": "ABS({0})",
    "remainder": "REMAINDER({0}, {1})",
    **dict.fromkeys(("maximum", "clamp_min"), "LARGER({0}, {1})"),
    **dict.fromkeys(("minimum", "clamp_max"), "SMALLER({0}, {1})"),
}
COMPARISONS = {"eq": "==", "ne": "!=", "gt": ">", "ge": ">=", "lt": "<", "le": "<="}
LOGIC = {"bitwise_and": "({0} & {1})", "bitwise_or": "({0} | {1})", "bitwise_not": "NOT({0})"}
# Of which operands an operation must have zeros (a list of booleans) for its result to have them, too.
KEEPS_ZERO: dict[str, Callable[[list[bool]], bool]] = dict.fromkeys(
    ("add", "sub", "rsub", "neg", "abs", "maximum", "minimum", "clamp_min", "clamp_max"), all
)
KEEPS_ZERO |= {"mul": any, "div": itemgetter(0)}
# Numbers of routes are computed anew, rather than kept, up to this cost and number of uses.
CHEAP, SELDOM = 3, 3
COSTS = {"div": 8}
SAME = ("alias", "clone", "detach", "lift_fresh", "lift_fresh_copy")
FILLED = {"zeros_like": 0.0}


class Emitter(Memory):
    """The loops of one function."""

    def __init__(
        self,
        graph: OperationGraph,
        inputs: Sequence[tuple[str, Place]],
        batch: int,
        prefix: str,
        routes: tuple[int, ...] = (),
        sparse: Sequence[str] = (),
    ) -> None:
        """Translate a graph whose ``inputs`` have these names; the axis of size ``batch`` is the lanes'.

        ``routes`` [C,W,K]: see `Memory`; ``sparse``: inputs of this size that are zero where a route is closed.

        Raise NotImplementedError for an operation that has no translation.
        """
        is_exact = any(x.dtype == torch.float64 for x in graph.inputs)
        super().__init__(torch.float64 if is_exact else torch.float32, batch, prefix, routes)
        self.inputs: list[Strided] = []
        self._values: dict[Operation, Value] = {}

        for operation in graph.operations:
            if operation.shape.count(batch) > 1:
                raise NotImplementedError(
                    f"{operation.name}: two axes of {batch} entries, the number of lanes"
                )
        for operation, (name, place) in zip(graph.inputs, inputs, strict=True):
            if operation.users:
                self._values[operation] = view = self.new(operation, place, name)
                self.inputs.append(view)
                if routes and name in sparse:
                    self.sparse[view.buffer] = view
        self.outputs = [self.new(each, "output", f"{prefix}out{i}") for i, each in enumerate(graph.outputs)]
        # What is put together to be given out is written to where it is given out.
        pairs = zip(graph.outputs, self.outputs, strict=True)
        self._joined = {each: target for each, target in pairs if each.name == "cat" and not each.users}
        for operation in graph.operations:
            self._values[operation] = self._kept(operation, self._translated(operation))
        for each, target in zip(graph.outputs, self.outputs, strict=True):
            if each not in self._joined:
                self.fill(target, self._argument(each))

    @property
    def needs_routes(self) -> bool:
        """Whether some loops run over open routes alone."""
        return any(loop.is_sparse for loop in self.loops)

    def _kept(self, operation: Operation, value: Value) -> Value:
        """Store what is used more than once and costs something; of routes, something more than memory does."""
        is_cheap = value.shape[-3:] == self.routes and cost_of(value) <= CHEAP and operation.users <= SELDOM
        if isinstance(value, Expression) and not value.is_free and operation.users > 1 and not is_cheap:
            return self.stored(value)
        return value

    # Operations ----------------------------------------------------------------------------------

    def _translated(self, operation: Operation) -> Value:
        name, shape, kind = operation.name, operation.shape, self.kind_of(operation.dtype)
        args = [self._argument(x) for x in operation.args]

        if name in ARITHMETIC and kind != "mask":
            if operation.kwargs.get("alpha", 1) != 1 or (name == "remainder" and kind != "integer"):
                raise NotImplementedError(f"{name} of {kind} numbers, {operation.kwargs}")
            return self._pointwise(shape, kind, kind, ARITHMETIC[name], args[:2], name)
        if name in LOGIC or (name == "mul" and kind == "mask"):
            return self._pointwise(shape, "mask", "mask", LOGIC.get(name, "({0} & {1})"), args)
        if name in COMPARISONS:
            among: Kind = "real" if any(_is_real(x) for x in args) else "integer"
            return self._pointwise(shape, "mask", among, f"({{0}} {COMPARISONS[name]} {{1}})", args)
        if name == "where":
            return self._where(shape, kind, *args)
        if name in FILLED or name == "scalar_tensor":
            number = FILLED.get(name, args[-1])
            return Expression(shape, kind, lambda at: literal(number, kind), is_free=True)
        if name == "arange":
            return self.bake(torch.arange(*args))
        if name in SAME:
            return args[0]
        if name == "_to_copy":
            return self.cast(args[0], kind)
        if name in VIEWS or name in RESHAPES:
            return self._viewed(name, shape, args)
        if (name, kind) in GATHERED:
            return gathered(self, shape, kind, *GATHERED[name, kind], *args)
        if name in ALONG:
            into = {"target": self._joined[operation]} if operation in self._joined else {}
            return ALONG[name](self, shape, kind, *args, **into)
        raise NotImplementedError(f"{name} of {kind} numbers")

    def _argument(self, x: Any) -> Any:
        """Return what stands behind an argument; a constant is written down where it is first used."""
        if isinstance(x, list | tuple):
            return [self._argument(each) for each in x]
        if not isinstance(x, Operation):
            return x
        if x.name == "constant" and x not in self._values:
            self._values[x] = self.bake(x.args[0])
        return self._values[x]

    def _pointwise(
        self,
        shape: tuple[int, ...],
        kind: Kind,
        among: Kind,
        form: str,
        operands: Sequence[Any],
        name: str = "",
    ) -> Expression:
        """Return ``form`` of operands of the kind ``among``."""
        zero = [self.is_sparse(x) for x in operands]
        is_sparse = shape[-3:] == self.routes and name in KEEPS_ZERO and KEEPS_ZERO[name](zero)
        cost = sum(map(cost_of, operands)) + COSTS.get(name, 1)
        pairs = [self.operand(x, among, len(shape)) for x in operands]
        reads = tuple(view for _, some in pairs for view in some)
        return Expression(
            shape,
            kind,
            lambda at: form.format(*(load(at) for load, _ in pairs)),
            reads,
            is_sparse=is_sparse,
            cost=cost,
        )

    def _where(self, shape: tuple[int, ...], kind: Kind, mask: Value, one: Any, other: Any) -> Expression:
        if kind == "single":
            raise NotImplementedError("a choice between float32 numbers beside float64")
        kinds: tuple[Kind, ...] = ("mask", kind, kind)
        operands = zip((mask, one, other), kinds, strict=True)
        pairs = [self.operand(x, each, len(shape)) for x, each in operands]
        reads = tuple(view for _, some in pairs for view in some)
        return Expression(
            shape, kind, lambda at: "({} ? {} : {})".format(*(load(at) for load, _ in pairs)), reads
        )

    def _viewed(self, name: str, shape: tuple[int, ...], args: Sequence[Any]) -> Value:
        x, *rest = args
        if isinstance(x, Expression) and x.is_free:
            return Expression(shape, x.kind, lambda at: x.load([]), is_free=True)
        view = self.stored(x)
        if name in VIEWS:
            found: Strided = VIEWS[name](view, shape, *rest)
            return found
        again = reshaped(view, shape, self.batch)
        if again is None:  # a copy lies in order
            again = reshaped(self.fill(self.room(view.shape, view.kind), view), shape, self.batch)
            assert again is not None
        return again


def _is_real(x: Any) -> bool:
    return isinstance(x, float) or (isinstance(x, Strided | Expression) and x.kind in ("real", "single"))
