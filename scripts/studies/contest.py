"""One instance, many policies: the score of each, and its distance from the proven optimum.

``benefit`` [USD] is raised; ``cost`` [USD] and ``carbon`` [kg] are lowered under the service floor of the
instance's own benefit plan, so that a policy that serves less may lie beyond the bound: `meets_floor` says
so.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from baselines.program.objectives import Objective, resort_weight
from baselines.program.service_floor import REPLAY_TOLERANCE, meets_floor
from baselines.rules.single_signal import LocalOnly
from gridai_env.analysis.statistics import gain_captured, gap
from gridai_env.benchmarks.play import BOUND_TOLERANCE, BoundError
from gridai_env.episodes.instance import Instance
from gridai_env.rollout.run import run
from gridai_env.rollout.trajectory import Trajectory
from scripts.runs.command import InputError
from scripts.studies.policies import PolicySpec
from scripts.studies.solver import has_solver

if TYPE_CHECKING:
    from baselines.optimum.milp import Plan

# Column of ``summary.csv``: a number, NaN in rows from before it was counted.
NOT_OPTIMAL = "decisions_not_optimal"
READ_FIRST = ("bill_usd", "emissions_kg", "dropped_gpuh", "path_latency_mean_ms", "path_latency_p95_ms")


@dataclass(frozen=True)
class NoPlan:
    """Stands where no solver is installed: nothing is proven, gap and gain captured are not known."""

    objective: Objective = "benefit"
    status: str = "not solved"
    bound: float = float("nan")
    gap: float = float("nan")
    is_safe: bool = False
    build_s: float = 0.0
    solve_s: float = 0.0
    flows: None = None
    actions: None = None


@dataclass(frozen=True)
class Reference:
    """What policies on an instance are measured against."""

    instance: Instance
    benefit_plan: Plan | NoPlan
    plan: Plan | NoPlan  # of the objective; the benefit plan itself for "benefit"
    local: Trajectory
    optimum: Trajectory | None  # the plan replayed through the environment; None where none was found in time

    @property
    def bound_score(self) -> float:
        """The dual bound as something to be raised; NaN where none was proven in time."""
        value = self.plan.bound if self.plan.objective == "benefit" else -self.plan.bound
        return value if np.isfinite(value) else float("nan")

    def score(self, trajectory: Trajectory) -> float:
        """Return the objective as something to be raised."""
        return {
            "benefit": trajectory.benefit_usd,
            "cost": -trajectory.metrics["cost_usd"],
            "carbon": -trajectory.emissions_kg,
        }[self.plan.objective]

    @property
    def scale(self) -> float:
        """What a gap is relative to: the Local-Only bill in USD, for carbon its emissions in kg."""
        return self.local.emissions_kg if self.plan.objective == "carbon" else self.local.bill_usd

    def meets_floor(self, trajectory: Trajectory, slack: float = REPLAY_TOLERANCE) -> bool:
        """Return whether a policy serves what the objective asks for: always, for benefit."""
        if self.plan.objective == "benefit" or self.benefit_plan.flows is None:
            return True
        from baselines.optimum.milp import service_of

        return meets_floor(service_of(self.benefit_plan), trajectory, slack)

    def bound_margin(self, trajectory: Trajectory) -> float:
        """Return distance below the bound over the sum of absolute terms: a negative one beyond rounding is a defect.

        NaN where nothing is proven of the policy: no bound in time, or less service than the floor.  Last
        resorts weigh in ``cost`` and ``carbon`` as they do in the solver's objective.
        """
        if not self.meets_floor(trajectory, slack=0.0):
            return float("nan")
        weight = resort_weight(self.instance, self.plan.objective, trajectory.flows)
        terms = trajectory.outcome.terms_usd.values()
        scale = sum(float(np.abs(term).sum()) for term in terms) or 1.0
        if self.plan.objective == "carbon":
            scale = max(scale, trajectory.emissions_kg)
        return (self.bound_score - self.score(trajectory) + weight) / scale


def refer(instance: Instance, objective: str, **options: Any) -> Reference:
    """Solve an instance, where a solver is installed, and play Local-Only on it.

    ``options`` are those of `baselines.optimum.milp.solve`.
    """
    if not has_solver():
        return Reference(instance, NoPlan(), NoPlan(), run(LocalOnly(), instance), None)
    from baselines.optimum.milp import solve

    best = plan = solve(instance, "benefit", **options)
    if objective != "benefit":
        if best.flows is None:
            raise InputError(
                f"seed {instance.seed}: no benefit plan in time, so {objective!r} has no service floor; "
                "raise --time-limit-s"
            )
        plan = solve(instance, objective, floor=best, **options)  # type: ignore[arg-type]
    optimum = None if plan.actions is None else run(plan, instance)
    return Reference(instance, best, plan, run(LocalOnly(), instance), optimum)


def play(contender: PolicySpec, reference: Reference, seed: int) -> Trajectory | None:
    """Judge a policy on the instance; None for a plan that was not found in time."""
    if contender.policy is None:
        return reference.optimum
    return contender.play(reference.instance, seed)[0]


def row_of(contender: PolicySpec, reference: Reference, trajectory: Trajectory) -> dict[str, Any]:
    """Return one row of ``summary.csv``."""
    score, metrics = reference.score(trajectory), trajectory.metrics

    # Columns in the order of the file: what is read first, what it is measured against, then all other metrics.
    first = {
        "policy": contender.name,
        "seed": reference.instance.seed,
        "benefit_usd": metrics["benefit_usd"],
        "bound_usd": reference.benefit_plan.bound,
        **{name: metrics[name] for name in READ_FIRST},
        "gap": gap(score, reference.bound_score, reference.scale),
        "gain_captured": gain_captured(score, reference.score(reference.local), reference.bound_score),
        "seconds_per_decision": trajectory.seconds_per_decision,
        NOT_OPTIMAL: float(decisions_not_optimal(contender.policy)),
        **_yardsticks(reference, trajectory),
    }
    return first | metrics | {f"terms/{name}_usd": value for name, value in trajectory.terms.items()}


def _yardsticks(reference: Reference, trajectory: Trajectory) -> dict[str, Any]:
    """Return what a policy is measured against on an episode, and how that was found."""
    plan, local = reference.plan, reference.local
    return {
        "local_benefit_usd": local.benefit_usd,
        "local_bill_usd": local.bill_usd,
        "objective": plan.objective,
        "score": reference.score(trajectory),
        "bound_score": reference.bound_score,
        "local_score": reference.score(local),
        "reference": reference.scale,
        "meets_floor": int(reference.meets_floor(trajectory)),
        "bound_margin": reference.bound_margin(trajectory),
        "solver_status": plan.status,
        "solver_gap": plan.gap,
        "bound_is_safe": int(plan.is_safe),
        "build_s": plan.build_s,
        "solve_s": plan.solve_s,
        "start_utc": f"{reference.instance.start_utc}Z",
        "instance_hash": reference.instance.hash,
    }


def statuses_of(policy: object) -> dict[str, int]:
    """Return how many decisions of the episode just played ended with each status; empty unless a planner solves."""
    return getattr(policy, "statuses", {})


def decisions_not_optimal(policy: object) -> int:
    """Return how many decisions of the episode just played ended before they were proven optimal."""
    return sum(count for status, count in statuses_of(policy).items() if status != "optimal")


def check_bound(row: dict[str, Any]) -> None:
    """Raise BoundError where a row of ``summary.csv`` lies beyond the proven bound by more than rounding."""
    if not row["bound_margin"] < -BOUND_TOLERANCE:
        return
    unit = "kg" if row["objective"] == "carbon" else "USD"
    sign = 1.0 if row["objective"] == "benefit" else -1.0
    raise BoundError(
        f"seed {row['seed']}: {row['policy']} passes the proven bound: {row['objective']} "
        f"{sign * row['score']:,.6f} {unit}, bound {sign * row['bound_score']:,.6f} {unit}, beyond it by "
        f"{-row['bound_margin']:.2e} of its absolute terms (allowed {BOUND_TOLERANCE:g}); solver and simulator "
        f"disagree, please report it with the instance {row['instance_hash'][:12]}"
    )
