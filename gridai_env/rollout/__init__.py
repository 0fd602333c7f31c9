"""Play a policy or a plan through the public step, record it, and say what it came to."""

from __future__ import annotations

from gridai_env.rollout.run import policy_name, run, run_many
from gridai_env.rollout.trajectory import Policy, Schedule, Trajectory

__all__ = ["Policy", "Schedule", "Trajectory", "policy_name", "run", "run_many"]
