"""Former address of `baselines.optimum.milp`."""

from __future__ import annotations

import warnings

from baselines.optimum.highs import InfeasibleError, SolverError
from baselines.optimum.milp import Plan, read_plan, replayed, service_of, solve
from baselines.optimum.service_floor import REPLAY_TOLERANCE

__all__ = [
    "REPLAY_TOLERANCE",
    "InfeasibleError",
    "Plan",
    "SolverError",
    "read_plan",
    "replayed",
    "service_of",
    "solve",
]

warnings.warn(
    "baselines.milp is baselines.optimum.milp now; this address goes in the next release",
    DeprecationWarning,
    stacklevel=2,
)
