"""Options of the solves of a run."""

import math
from dataclasses import dataclass
from importlib.util import find_spec

from scripts.runs.command import SOLVER


def has_solver() -> bool:
    """Return whether the optimum can be solved here."""
    return all(find_spec(name) is not None for name in SOLVER)


@dataclass(frozen=True)
class SolverOptions:
    """Options of `baselines.optimum.milp.solve`, as ``vars`` gives them."""

    mip_gap: float  # relative
    time_limit_s: float | None  # of one solve
    threads: int

    @property
    def limit_s(self) -> float:
        """The time limit as a number, s."""
        return math.inf if self.time_limit_s is None else self.time_limit_s
