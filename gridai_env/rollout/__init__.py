"""Play a policy or a plan through the public step, and record what it did and earned."""

from gridai_env.rollout.policy import FlatObservations, Policy, PolicyError, Schedule, as_policy
from gridai_env.rollout.run import policy_name, run, run_many
from gridai_env.rollout.trajectory import Trajectory

__all__ = [
    "FlatObservations",
    "Policy",
    "PolicyError",
    "Schedule",
    "Trajectory",
    "as_policy",
    "policy_name",
    "run",
    "run_many",
]
