"""Who keeps the service floor: as much work of every row as a benefit plan, and the same jobs."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gridai_env.rollout.trajectory import Trajectory


@dataclass(frozen=True)
class Floor:
    """Service that `cost` and `carbon` must keep: taken from a benefit plan."""

    started: NDArray[np.float64]  # [J] 1.0 where the job is started at all
    served_gpuh: NDArray[np.float64]  # [W] summed over clients, sites and steps


# Work below the floor that is not noticed, relative.
FLOOR_SLACK = 1e-9

# Actions are float32: work replayed from them differs by this share at most.
REPLAY_TOLERANCE = 1e-6


def meets_floor(floor: Floor, trajectory: Trajectory, slack: float = REPLAY_TOLERANCE) -> bool:
    """Return whether a policy keeps the service ``floor``, less ``slack`` (relative) of every row's work."""
    served_gpuh = trajectory.flows.served_gpuh.sum((0, 1, 3))
    started = np.round(trajectory.flows.started.sum((0, 2)))
    share = 1.0 - max(FLOOR_SLACK, slack)
    return bool(
        (served_gpuh >= floor.served_gpuh * share).all() and (started == np.round(floor.started)).all()
    )
