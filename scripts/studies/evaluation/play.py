"""Policies on a frozen set: played, and checked against what is published."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from baselines.optimum.milp import Plan, solve
from baselines.rules.single_signal import LocalOnly
from gridai_env.benchmarks.published import LOCAL, FrozenSet, figures_of
from gridai_env.benchmarks.sets import Benchmark
from gridai_env.episodes.instance import Instance
from gridai_env.observation.layout import ObservationLayout
from gridai_env.rollout.policy import Policy
from gridai_env.rollout.run import run, run_many
from gridai_env.rollout.trajectory import Trajectory
from scripts.runs.command import InputError
from scripts.studies.contest import BOUND_TOLERANCE, BoundError
from scripts.studies.decision_times import decision_times_s
from scripts.studies.evaluation.summary import PolicyResult
from scripts.studies.policies import find_contender

TIMED_DECISIONS = 100
SAME = 1e-6  # published and replayed benefits, over the sum of absolute terms


class ShiftedScenarioPolicy(Policy):
    """A network in a shifted scenario: prepared for its own, whose parts it reads from observations by name."""

    def __init__(self, policy: Policy, known: Mapping[str, int], instance: Instance) -> None:
        """Raise InputError where the changed world does not show what the network reads."""
        parts = ObservationLayout(instance.compiled).parts
        for name, size in known.items():
            shown = parts[name].stop - parts[name].start if name in parts else 0
            if shown != size:
                raise InputError(
                    f"shifted episodes show {shown} entries of {name!r}, the network reads {size}: the shift changes "
                    "the observation, so this network cannot be judged on it"
                )
        self.policy, self.name, self.known = policy, policy.name, tuple(known)

    def predict(
        self, observation: Any, state: Any = None, episode_start: Any = None, deterministic: bool = True
    ) -> tuple[Any, Any]:
        """Return what the network decides."""
        known = {name: observation[name] for name in self.known}
        return self.policy.predict(known, state, episode_start, deterministic)


def player_for(policy: Policy, instance: Instance, shift: str) -> Policy:
    """Return the policy as it plays an episode; a network acts as in the scenario without the shift."""
    known = policy.observed_parts
    return ShiftedScenarioPolicy(policy, known, instance) if shift and known is not None else policy


def by_world(instances: Sequence[Instance]) -> list[list[int]]:
    """Return the indices of the episodes grouped by scenario, shift included."""
    groups: dict[str, list[int]] = {}
    for i, instance in enumerate(instances):
        groups.setdefault(instance.compiled.hash, []).append(i)
    return list(groups.values())


def played(policy: Policy, frozen: FrozenSet, instances: Sequence[Instance]) -> list[Trajectory]:
    """Return one trajectory for each episode."""
    out: dict[int, Trajectory] = {}
    for places in by_world(instances):
        first = places[0]
        player = player_for(policy, instances[first], frozen.entries[first].key.shift)
        done = run_many(player, [instances[i] for i in places])
        out |= dict(zip(places, done, strict=True))
    return [out[i] for i in range(len(instances))]


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


def scale_usd(figures: dict[str, Any]) -> float:
    """Return the sum of absolute terms of an episode, in USD."""
    return max(sum(abs(value) for value in figures["terms_usd"].values()), 1.0)


def check_result(name: str, frozen: FrozenSet, figures: Sequence[dict[str, Any]]) -> None:
    """Raise BoundError where a policy passes the proven bound, or uses a masked route."""
    for entry, own in zip(frozen.entries, figures, strict=True):
        over_usd = own["benefit_usd"] - entry.bound_usd
        if not over_usd <= BOUND_TOLERANCE * scale_usd(own):
            raise BoundError(
                f"seed {entry.key.seed}: {name} passes the proven bound by {over_usd:,.6f} USD; solver and simulator "
                f"disagree, please report it with the instance {entry.hash[:12]}"
            )

        # Written so that NaN fails too.
        if not own["masked_gpuh"] <= 0.0:
            raise BoundError(
                f"seed {entry.key.seed}: {name} serves {own['masked_gpuh']:g} GPU-h over masked routes, please report "
                f"it with the instance {entry.hash[:12]}"
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
    options = benchmark.solver
    plan = solve(instance, mip_gap=options.mip_gap, time_limit_s=options.time_limit_s, threads=threads)
    if plan.actions is None:
        raise InputError(
            f"{instance.scenario_name}, seed {instance.seed}: no plan within {options.time_limit_s:g} s; raise "
            "solver.time_limit_s of the benchmark"
        )
    return plan


def planner_actions(name: str, instance: Instance) -> NDArray[np.float32]:
    """Return the actions [T,A] that a planner took on an episode."""
    actions = run(find_contender(name, instance.compiled).decider, instance).actions
    assert actions is not None
    return actions
