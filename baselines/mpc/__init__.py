"""Model predictive control: a planner on the same forecasts as a learned policy."""

from baselines.mpc.policy import MPC, waiting_jobs
from baselines.mpc.rolling import Options

__all__ = ["MPC", "Options", "waiting_jobs"]
