"""Policies on a frozen set: played, and checked against what is published."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from baselines.rules.single_signal import LocalOnly
from gridai_env.benchmarks.play import check_result, played, player_for, scale_usd
from gridai_env.benchmarks.published import LOCAL, FrozenSet, figures_of
from gridai_env.benchmarks.sets import Benchmark
from gridai_env.benchmarks.summary import PolicyResult
from gridai_env.episodes.instance import Instance
from gridai_env.rollout.policy import Policy
from scripts.runs.command import InputError
from scripts.studies.decision_times import decision_times_s

if TYPE_CHECKING:
    from baselines.optimum.milp import Plan

TIMED_DECISIONS = 100
SAME = 1e-6  # published and replayed benefits, over the sum of absolute terms


def decision_ms(policy: Policy, instance: Instance, shift: str) -> float:
    """Return the median time of a decision in a single environment, in ms."""
    times_s = decision_times_s(player_for(policy, instance, shift), instance)
    return 1000.0 * float(np.median(list(islice(times_s, TIMED_DECISIONS))))


# Trust ------------------------------------------------------------------------------------------------------


def check_local(frozen: FrozenSet, instances: Sequence[Instance]) -> None:
    """Play Local-Only, whose results are published: raise InputError where the simulator now gives other results."""
    for entry, trajectory in zip(frozen.entries, played(LocalOnly(), frozen, instances), strict=True):
        here, there = trajectory.benefit_usd, entry.figure(LOCAL, "benefit_usd")
        if abs(here - there) > SAME * scale_usd(figures_of(trajectory)):
            raise InputError(
                f"{frozen.scenario}/{frozen.name}, seed {entry.key.seed}: Local-Only earns {here:,.4f} USD here and "
                f"{there:,.4f} in the frozen set: the simulator changed since, so the published bounds do not hold; "
                f"run: python -m scripts.maintenance.freeze --scenario {frozen.scenario} --overwrite"
            )


def play_network(
    name: str, runs: Sequence[str], policies: Sequence[Policy], frozen: FrozenSet, instances: Sequence[Instance],
    on_progress: Callable[[], object],
) -> PolicyResult:  # fmt: skip
    """Play all training runs of a policy (or the one run of a rule)."""
    figures, times_ms = [], []
    for policy in policies:
        trajectories = played(policy, frozen, instances)
        own = [figures_of(trajectory) for trajectory in trajectories]
        check_result(name, frozen, own)
        figures.append(own)
        if policy.plays_one_episode:
            times_ms.append(1000.0 * float(np.median([t.seconds_per_decision for t in trajectories])))
        else:
            times_ms.append(decision_ms(policy, instances[0], frozen.entries[0].key.shift))
        on_progress()

    return PolicyResult(name, tuple(runs), figures, float(np.median(times_ms)), "played")


def solved(benchmark: Benchmark, instance: Instance, threads: int) -> Plan:
    """Return the optimum of an episode as the benchmark asks for it; raises InputError without a plan in time."""
    from baselines.optimum.milp import solve

    options = benchmark.solver
    plan = solve(instance, mip_gap=options.mip_gap, time_limit_s=options.time_limit_s, threads=threads)
    if plan.actions is None:
        raise InputError(
            f"{instance.scenario_name}, seed {instance.seed}: no plan within {options.time_limit_s:g} s; raise "
            "solver.time_limit_s of the benchmark"
        )
    return plan
