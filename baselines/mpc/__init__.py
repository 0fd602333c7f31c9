"""Model predictive control: the rival of a learned policy that sees the same forecasts."""

from __future__ import annotations

from baselines.mpc.policy import MPC, waiting_jobs
from baselines.mpc.rolling import Options

__all__ = ["MPC", "Options", "waiting_jobs"]
