"""Watches torch for what a GPU would wait for, or round: seen on a CPU, which does neither."""

from __future__ import annotations

import sys
import traceback
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from gridai_env.arrays.torch_ops import moved

READS = ("_local_scalar_dense", "nonzero", "is_nonzero", "equal", "masked_select")
PRODUCTS = ("mm", "bmm", "mv", "dot", "addmm", "baddbmm", "addmv", "addbmm", "linear", "matmul")


class DeviceWatch(TorchDispatchMode):
    """Notes reads, uploads that do not pass `moved`, and products of float32 matrices, with the line of code."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[str] = []
        self.products: list[str] = []
        self.uploads = 0  # through `moved`
        self.count = 0  # of operations

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        self.count += 1
        by_mask = name.startswith("index") and isinstance(args[1], list | tuple)
        if name in READS or (by_mask and any(at is not None and at.dtype == torch.bool for at in args[1])):
            self.waits.append(_place(name))
        if name in PRODUCTS and args[0].dtype == torch.float32:
            self.products.append(_place(name))
        if name == "lift_fresh":  # something of the host becomes a tensor
            if _passes_moved():
                self.uploads += 1
            elif args[0].ndim or "tensor(" in (place := _place(name)):  # else `x[i] = 0.0`, a kernel
                self.waits.append(_place(name) if args[0].ndim else place)
        return func(*args, **(kwargs or {}))


def _passes_moved() -> bool:
    frame: Any = sys._getframe()
    while frame is not None and frame.f_code is not moved.__code__:
        frame = frame.f_back
    return frame is not None


def _place(name: str) -> str:
    ours = [
        at for at in traceback.extract_stack() if "/gridai_env/" in at.filename or "/agents/" in at.filename
    ]
    return f"{name}: {ours[-1].filename}:{ours[-1].lineno} {ours[-1].line}" if ours else name
