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
from torch.utils._pytree import tree_leaves, tree_map


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


class _Numberless(Tensor):
    """A tensor of the processor without numbers, so that a large one takes no memory."""

    bare: Tensor  # on the device "meta"
    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @staticmethod
    def __new__(cls, bare: Tensor) -> _Numberless:
        made: _Numberless = Tensor._make_wrapper_subclass(
            cls,
            bare.shape,
            bare.stride(),
            bare.storage_offset(),
            dtype=bare.dtype,
            device=torch.device("cpu"),
        )
        made.bare = bare
        return made

    @classmethod
    def __torch_dispatch__(cls, func: Any, *_: Any) -> Any:
        raise NotImplementedError(f"{func}: outside of what is recorded")


def _bare(x: Any) -> Any:
    """Return a tensor without its numbers, anything else as it is."""
    if isinstance(x, _Numberless):
        return x.bare
    return x.to("meta") if isinstance(x, Tensor) else x


class _Recorder(TorchDispatchMode):
    """Notes every operation; tensors that come from nowhere are constants."""

    def __init__(self, inputs: Sequence[Tensor]) -> None:
        super().__init__()
        self.operations: list[Operation] = []
        self._kept: list[Tensor] = []  # a tensor that is gone could leave its id to another
        self._of: dict[int, Operation] = {}
        self.given = [_Numberless(x) for x in inputs]
        self.inputs = [self._note(x, Operation("input", (), tuple(x.shape), x.dtype)) for x in self.given]

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
        kwargs, returns = kwargs or {}, [each.type.kind() for each in func._schema.returns]
        if returns != ["TensorType"] or func._schema.is_mutable:
            raise NotImplementedError(f"{func}: a step must neither depend on a number nor write in place")
        if any(isinstance(x, _Numberless) for x in tree_leaves(args)):
            there = kwargs | {"device": "meta"} if "device" in kwargs else kwargs
            result: Tensor = _Numberless(func(*tree_map(_bare, args), **there))
        else:
            result = func(*args, **kwargs)
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
        outputs = [recorder.of(x) for x in function(recorder.given)]

    needed = set(outputs)
    for operation in reversed(recorder.operations):
        if operation in needed:
            for read in operation.inputs:
                read.users += 1
                needed.add(read)
    kept = [x for x in recorder.operations if x in needed and x.name not in ("constant", "input")]
    return OperationGraph(recorder.inputs, kept, outputs)
