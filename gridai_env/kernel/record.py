"""Record the tensor operations of a function while it runs.

`torch.fx` traces the same, but imports torch's compiler for it, which takes longer than all the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map


@dataclass(eq=False)
class Operation:
    """An operation of aten, an input ("input") or a constant ("constant", whose argument is the tensor)."""

    name: str
    args: Sequence[Any]  # operations in place of tensors
    shape: tuple[int, ...]
    dtype: torch.dtype
    kwargs: dict[str, Any] = field(default_factory=dict)
    users: int = 0  # how many of those that the results need read this one

    @property
    def inputs(self) -> list[Operation]:
        """The operations whose results are read."""
        flat = [x for arg in self.args for x in (arg if isinstance(arg, list | tuple) else [arg])]
        return [x for x in flat if isinstance(x, Operation)]


@dataclass(frozen=True)
class OperationGraph:
    """What a function of tensors does, without what its results do not need."""

    inputs: list[Operation]
    operations: list[Operation]  # each after those that it reads; without inputs and constants
    outputs: list[Operation]


class _Recorder(TorchDispatchMode):
    """Notes every operation; tensors that come from nowhere are constants."""

    def __init__(self, inputs: Sequence[Tensor]) -> None:
        super().__init__()
        self.operations: list[Operation] = []
        self._kept: list[Tensor] = []  # a tensor that is gone could leave its id to another
        self._of: dict[int, Operation] = {}
        self.inputs = [self._note(x, Operation("input", (), tuple(x.shape), x.dtype)) for x in inputs]

    def _note(self, result: Tensor, operation: Operation) -> Operation:
        self._kept.append(result)
        self._of[id(result)] = operation
        self.operations.append(operation)
        return operation

    def of(self, x: Any) -> Any:
        """Return the operation behind a tensor, anything else as it is."""
        if not isinstance(x, Tensor):
            return x
        if id(x) not in self._of:
            self._note(x, Operation("constant", (x,), tuple(x.shape), x.dtype))
        return self._of[id(x)]

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation and note it."""
        result, kwargs = func(*args, **(kwargs or {})), kwargs or {}
        if not isinstance(result, Tensor) or func._schema.is_mutable:
            raise NotImplementedError(f"{func}: a step must neither depend on a number nor write in place")
        noted = Operation(
            func.overloadpacket.__name__, tree_map(self.of, args), tuple(result.shape), result.dtype, kwargs
        )
        # What follows from constants alone is one: whether it was made before, and kept, must not show.
        if not noted.inputs or any(x.name != "constant" for x in noted.inputs):
            self._note(result, noted)
        return result


def recorded(function: Callable[[list[Tensor]], list[Tensor]], inputs: list[Tensor]) -> OperationGraph:
    """Return what a function does to tensors; raises NotImplementedError where that depends on a number."""
    with torch.no_grad(), _Recorder(inputs) as recorder:
        outputs = [recorder.of(x) for x in function(inputs)]

    needed = set(outputs)
    for operation in reversed(recorder.operations):
        if operation in needed:
            for read in operation.inputs:
                read.users += 1
                needed.add(read)
    kept = [x for x in recorder.operations if x in needed and x.name not in ("constant", "input")]
    return OperationGraph(recorder.inputs, kept, outputs)
