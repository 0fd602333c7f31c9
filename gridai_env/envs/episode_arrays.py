"""Episodes as the simulator takes them, NumPy arrays or tensors: the records of a whole batch.

Logical shapes have the batch first, as everywhere; tensors lie in memory with the batch axis innermost, so that
neighbours in a batch are neighbours in memory.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from gridai_env.arrays.ops import constant
from gridai_env.arrays.types import Array, Bool, Float, Int
from gridai_env.episodes.forecast import ForecastSet
from gridai_env.episodes.instance import InstanceBatch
from gridai_env.observation.parts import ExogenousView
from gridai_env.scenario.compile import Compiled
from gridai_env.world.state import INSTANCE_FIELDS, SWITCHES, Exogenous, Params, State


@dataclass(frozen=True, eq=False)
class EpisodeArrays:
    """B episodes of one scenario, in one place.  Letters as in `gridai_env.episodes.instance`."""

    compiled: Compiled
    exogenous: Exogenous  # [B,T,...]
    params_of_instance: dict[str, Array]  # the fields of INSTANCE_FIELDS, [B,...] each
    initial: State  # [B,...]
    forecast: Float[Array, "B T H S"]
    event_active: Bool[Array, "B T E"]
    start_minutes: Int[Array, " B"]  # since 1970 (UTC)
    call_depth: Float[Array, "B T Q"]
    call_known_from: Int[Array, "B T Q"]
    constants: Params | None = None  # NumPy; None: those of the scenario

    def __len__(self) -> int:
        return len(self.start_minutes)

    @property
    def like(self) -> Array:
        """An array of the type, and in the place, of all numbers."""
        return self.exogenous.pue

    @classmethod
    def of(cls, batch: InstanceBatch) -> EpisodeArrays:
        """Return the episodes of ``batch``, without copies."""
        return cls(
            compiled=batch.compiled,
            exogenous=batch.exogenous,
            params_of_instance={name: getattr(batch.params, name) for name in INSTANCE_FIELDS},
            initial=batch.initial,
            forecast=batch.forecast.values,
            event_active=batch.knowledge.event_active,
            start_minutes=batch.start_utc.astype("datetime64[m]").astype(np.int64),
            call_depth=batch.knowledge.call_depth,
            call_known_from=batch.knowledge.call_known_from,
            constants=batch.params,
        )

    def map(self, function: Callable[[Array], Array]) -> EpisodeArrays:
        """Return the episodes with ``function`` applied to each array, always in the same order."""
        return replace(
            self,
            exogenous=self.exogenous.map(function),
            params_of_instance={name: function(x) for name, x in self.params_of_instance.items()},
            initial=self.initial.map(function),
            forecast=function(self.forecast),
            event_active=function(self.event_active),
            start_minutes=function(self.start_minutes),
            call_depth=function(self.call_depth),
            call_known_from=function(self.call_known_from),
        )

    def outside(self) -> ExogenousView:
        """Return the exogenous inputs as observations need them."""
        compiled = self.compiled
        seen = ForecastSet(
            self.forecast,
            compiled.shape.sites,
            compiled.forecast.lead_steps,
            contracts=len(compiled.lines.matching),
        )
        now = self.event_active, self.start_minutes, self.call_depth, self.call_known_from
        return ExogenousView(compiled, self.exogenous, seen, *now)

    def params(self) -> Params:
        """Return the constants beside the arrays, those of the instances included; nothing is read from a device."""
        plain = self.compiled.params if self.constants is None else self.constants
        own, like = self.params_of_instance, self.like
        fields: dict[str, Any] = {name: getattr(plain, name) for name in plain.names() if name not in own}
        there = {name: constant(x, like) if isinstance(x, np.ndarray) else x for name, x in fields.items()}
        known = {name: getattr(plain, name) for name in SWITCHES}
        return Params.make(**there | own | known)
