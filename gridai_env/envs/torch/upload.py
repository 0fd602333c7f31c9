"""Episodes of the host on a device."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from gridai_env.arrays.ops import batch_innermost
from gridai_env.arrays.torch_ops import moved
from gridai_env.envs.episode_arrays import EpisodeArrays
from gridai_env.episodes.instance import InstanceBatch

EMPTY = {"b": torch.bool}  # types of what has no entries; the rest counts


def uploaded(
    batch: InstanceBatch, device: torch.device | str, dtype: torch.dtype = torch.float32
) -> EpisodeArrays:
    """Return the episodes of ``batch`` as tensors; ``dtype`` is that of all real numbers."""

    def there(x: Any) -> torch.Tensor:
        array = np.asarray(x)
        kind = dtype if array.dtype.kind == "f" else None
        if not array.size:  # what a scenario lacks
            return torch.empty(
                array.shape, dtype=kind or EMPTY.get(array.dtype.kind, torch.int64), device=device
            )
        return moved(batch_innermost(array), torch.device(device), kind)

    return EpisodeArrays.of(batch).map(there)
