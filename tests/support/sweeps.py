"""Episodes along a sweep of latency budgets."""

from __future__ import annotations

from gridai_env.analysis.latency_budgets import Sweep, instance_at
from gridai_env.episodes.instance import Instance


def instances_at(instance: Instance, sweep: Sweep) -> list[Instance]:
    """The episode at every point of the grid."""
    return [instance_at(instance, sweep, i) for i in range(len(sweep))]
