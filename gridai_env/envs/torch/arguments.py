"""Checks of the arguments of environments on a device, with advice in the errors."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gridai_env.arrays.torch_ops import moved
from gridai_env.envs.arguments import checked_action

DTYPES = {"float32": torch.float32, "float64": torch.float64}


def checked_device(device: torch.device | str) -> torch.device:
    """Return the device; raises ValueError where torch does not know it or cannot reach it."""
    try:
        found = torch.device(device)
        torch.empty(1, device=found)
    except (RuntimeError, AssertionError, NotImplementedError, TypeError) as fault:
        reason = str(fault).strip().splitlines()[0]
        raise ValueError(
            f"device = {str(device)!r}: torch {torch.__version__} cannot use it here ({reason}); use 'cpu', 'cuda' "
            "on a machine with a CUDA device and a torch built for it, or leave device out (NumPy)"
        ) from None

    # Tensors name their card, "cuda:0"; devices are compared by it.
    if found.type == "cuda" and found.index is None:
        return torch.device("cuda", torch.cuda.current_device())
    return found


def checked_dtype(dtype: torch.dtype | str) -> torch.dtype:
    """Return the type of the numbers; raises ValueError for one that the physics is not made for."""
    found = DTYPES.get(dtype) if isinstance(dtype, str) else dtype
    if found not in DTYPES.values():
        raise ValueError(f"dtype = {dtype!r}: must be one of {list(DTYPES)}")
    assert isinstance(found, torch.dtype)
    return found


def checked_actions(actions: Any, shape: tuple[int, ...], device: torch.device, dtype: torch.dtype) -> Tensor:
    """Return actions as a tensor on the device; only NumPy ones are looked into, which the host has already."""
    if not isinstance(actions, Tensor):
        return moved(checked_action(actions, shape), device, dtype)
    if tuple(actions.shape) != shape:
        raise ValueError(f"action: shape {tuple(actions.shape)}, must be {shape} with values in [-1, 1]")
    if actions.dtype not in (torch.float32, torch.float64):
        raise ValueError(f"action: type {actions.dtype}, must be float32 or float64 with values in [-1, 1]")
    if actions.device != device:
        raise ValueError(
            f"action: on device {str(actions.device)!r}, must be on {str(device)!r}; use actions.to({str(device)!r})"
        )
    return actions
