"""Model predictive control: a planner on the same forecasts as a learned policy."""

from baselines.mpc.futures import Risk
from baselines.mpc.policy import MPC, waiting_jobs
from baselines.mpc.rolling import Options
from baselines.mpc.scenarios import ScenarioMPC

__all__ = ["MPC", "Options", "Risk", "ScenarioMPC", "waiting_jobs"]
