"""Episodes as tensors on one device: the records of `gridai_env.episodes.instance` for a whole batch.

Logical shapes have the batch first, as everywhere; in memory the batch axis lies innermost, so that neighbours in a
batch are neighbours in memory.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gridai_env.arrays.ops import batch_innermost
from gridai_env.arrays.torch_ops import constant, moved
from gridai_env.arrays.types import Bool, Float, Int
from gridai_env.episodes.forecast import ForecastSet
from gridai_env.episodes.instance import InstanceBatch
from gridai_env.observation.parts import ExogenousView
from gridai_env.scenario.compile import Compiled
from gridai_env.world.state import INSTANCE_FIELDS, Exogenous, Params, State


@dataclass(frozen=True, eq=False)
class EpisodeTensors:
    """B episodes of one scenario on one device.  Letters as in `gridai_env.episodes.instance`."""

    compiled: Compiled
    exogenous: Exogenous  # [B,T,...]
    params_of_instance: dict[str, Tensor]  # the fields of INSTANCE_FIELDS, [B,...] each
    initial: State  # [B,...]
    forecast: Float[Tensor, "B T H S"]
    event_active: Bool[Tensor, "B T E"]
    start_minutes: Int[Tensor, " B"]  # since 1970 (UTC)
    constants: Params | None = None  # NumPy; None: those of the scenario

    def __len__(self) -> int:
        return len(self.start_minutes)

    @property
    def device(self) -> torch.device:
        """Where the tensors are."""
        return self.start_minutes.device

    @property
    def dtype(self) -> torch.dtype:
        """Type of the numbers: float32 or float64."""
        return self.forecast.dtype

    @classmethod
    def of(
        cls, batch: InstanceBatch, device: torch.device | str, dtype: torch.dtype = torch.float32
    ) -> EpisodeTensors:
        """Upload the episodes of ``batch``."""

        def there(x: Any, kind: torch.dtype = dtype) -> Tensor:
            return moved(batch_innermost(np.asarray(x)), torch.device(device), kind)

        minutes = batch.start_utc.astype("datetime64[m]").astype(np.int64)
        return cls(
            compiled=batch.compiled,
            exogenous=batch.exogenous.map(there),
            params_of_instance={name: there(getattr(batch.params, name)) for name in INSTANCE_FIELDS},
            initial=batch.initial.map(there),
            forecast=there(batch.forecast.values),
            event_active=there(batch.knowledge.event_active, torch.bool),
            start_minutes=moved(minutes, torch.device(device)),
            constants=batch.params,
        )

    def map(self, function: Callable[[Tensor], Tensor]) -> EpisodeTensors:
        """Return the episodes with ``function`` applied to each tensor, always in the same order."""
        return replace(
            self,
            exogenous=self.exogenous.map(function),
            params_of_instance={name: function(x) for name, x in self.params_of_instance.items()},
            initial=self.initial.map(function),
            forecast=function(self.forecast),
            event_active=function(self.event_active),
            start_minutes=function(self.start_minutes),
        )

    def outside(self) -> ExogenousView:
        """Return the exogenous inputs as observations need them."""
        compiled = self.compiled
        seen = ForecastSet(self.forecast, compiled.shape.sites, compiled.forecast.lead_steps)
        return ExogenousView(compiled, self.exogenous, seen, self.event_active, self.start_minutes)

    def params(self) -> Params:
        """Return the constants as tensors, those of the instances included; nothing is read back from the device."""
        plain = self.compiled.params if self.constants is None else self.constants
        own, like = self.params_of_instance, self.forecast
        fields = {name: getattr(plain, name) for name in plain.names() if name not in own}
        there = {name: constant(x, like) if isinstance(x, np.ndarray) else x for name, x in fields.items()}
        known = {name: getattr(plain, name) for name in dir(Params) if name.startswith("has_")}
        return Params.make(**there | own | known)
