"""The tasks of a reproduction: one episode of one scenario under all its policies."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from baselines.optimum.latency_chain import LatencySweepSolver
from baselines.optimum.milp import Plan, solve
from baselines.optimum.variants import VARIANTS, plan_variant
from baselines.rules.registry import REGISTRY
from gridai_env.analysis.latency_budgets import instance_at, make_sweep, widest
from gridai_env.analysis.relocation import relocatable
from gridai_env.episodes.instance import Instance, make_instance
from gridai_env.rollout.run import run
from gridai_env.rollout.trajectory import Trajectory
from gridai_env.scenario.load import load_scenario
from gridai_env.scenario.spec import Scenario, scenario_hash
from scripts.runs.command import InputError
from scripts.runs.tasks import Record, Task, key_of
from scripts.studies.reproduction.experiment import JOINT, Experiment
from scripts.studies.reproduction.sensitivities import BUDGET, changed

KIND = "reproduction task"
OWN = "own"  # the parameter of tasks that change nothing
LATENCY = "latency"  # the parameter of tasks that sweep a latency budget


@dataclass(frozen=True)
class EpisodeTask(Task):
    """One episode: its scenario, and who plays it."""

    experiment: Experiment
    parameter: str
    value: float
    seed: int

    @property
    def policies(self) -> tuple[str, ...]:
        """The policies to play: all, or in a sensitivity those that the headlines compare."""
        if self.parameter == OWN:
            return tuple(self.experiment.policies)
        if self.parameter == LATENCY:
            return ()
        return ("no_carbon" if self.parameter == BUDGET else self.experiment.reference, JOINT)

    @property
    def name(self) -> str:
        """Name of the file of its result."""
        return f"{self.experiment.model}_{self.parameter}_{self.value:g}_seed{self.seed}"

    def scenario(self) -> Scenario:
        """Return the scenario with its one change."""
        own = load_scenario(self.experiment.scenario, horizon_h=self.experiment.horizon_h)
        unchanged = self.parameter in (OWN, LATENCY)
        return own if unchanged else changed(own, self.parameter, self.value)

    @cached_property
    def key(self) -> str:
        """What the result is computed from."""
        one = self.experiment
        axis = None
        if self.parameter == LATENCY and one.latency is not None:
            axis = one.latency.model_dump()

        facts = [
            scenario_hash(self.scenario()),
            self.parameter,
            self.value if self.parameter == BUDGET else None,
            self.seed,
            self.policies,
            axis,
            one.mip_gap,
            one.time_limit_s,
        ]
        return key_of(*facts)


def tasks_of(experiment: Experiment) -> list[EpisodeTask]:
    """Return all tasks of a model, the main ones first; points that equal the scenario are no tasks of their own."""
    own = load_scenario(experiment.scenario, horizon_h=experiment.horizon_h)
    tasks = [EpisodeTask(experiment, OWN, 0.0, seed) for seed in experiment.seeds]
    if experiment.latency is not None:
        tasks += [EpisodeTask(experiment, LATENCY, 0.0, seed) for seed in experiment.latency.seeds]
    for parameter, grid in experiment.sensitivities.items():
        for value in grid:
            tasks += [point_task(experiment, own, parameter, value, s) for s in experiment.sensitivity_seeds]
    return list({task.name: task for task in tasks}.values())


def point_task(experiment: Experiment, own: Scenario, parameter: str, value: float, seed: int) -> EpisodeTask:
    """Return the task of one value of a parameter: the main one where the scenario has that value already."""
    if changed(own, parameter, value) is own:
        return EpisodeTask(experiment, OWN, 0.0, seed)
    return EpisodeTask(experiment, parameter, value, seed)


# Work ---------------------------------------------------------------------------------------------------------------


def compute(batch: Sequence[EpisodeTask], threads: int) -> Iterator[Record]:
    """Yield the records of tasks; ``threads`` of each solver."""
    for task in batch:
        found = (
            {"latency": _latency(task, threads)} if task.parameter == LATENCY else _policies(task, threads)
        )
        yield {
            "model": task.experiment.model,
            "parameter": task.parameter,
            "value": task.value,
            "seed": task.seed,
            **found,
        }


def _policies(task: EpisodeTask, threads: int) -> Record:
    instance = make_instance(task.scenario(), seed=task.seed)
    extra: Record = {}
    if task.parameter == BUDGET:
        free = _solved(task, JOINT, instance, threads)
        extra = {"free": facts(run(free, instance, replay="flows"))}
        # A budget is a share of what the optimum emits without one.
        budget = task.scenario().model_copy(
            update={"carbon_budget_kg": task.value * extra["free"]["emissions_kg"]}
        )
        instance = make_instance(budget, seed=task.seed)

    found: dict[str, Record] = {}
    for name in task.policies:
        found[name], plan = _play(task, name, instance, threads)
        if name == JOINT and plan is not None:
            rid = relocatable(instance, plan.flows)
            extra["rid"] = {
                kind: float(getattr(rid, kind)[0]) for kind in ("latency", "feasible", "net", "real")
            }
    return {"instance": instance.hash, "start_utc": str(instance.start_utc), "policies": found, **extra}


def _play(task: EpisodeTask, name: str, instance: Instance, threads: int) -> tuple[Record, Plan | None]:
    """Return what a policy comes to, and its plan where it has one."""
    if name in REGISTRY:
        return facts(run(REGISTRY[name](), instance)), None
    plan = _solved(task, name, instance, threads)
    proven = {
        "bound_usd": plan.bound,
        "gap": plan.gap,
        "status": plan.status,
        "seconds": plan.build_s + plan.solve_s,
    }
    return facts(run(plan, instance)) | proven, plan


def _solved(task: EpisodeTask, name: str, instance: Instance, threads: int) -> Plan:
    options = task.experiment.limits | {"threads": threads}
    plan = plan_variant(instance, name, **options) if name in VARIANTS else solve(instance, **options)
    if plan.flows is None:
        raise InputError(
            f"{task.name}: no plan of {name} within {task.experiment.time_limit_s:g} s; raise time_limit_s in "
            "configs/experiments"
        )
    return plan


def facts(played: Trajectory) -> Record:
    """Return the totals of an episode that the tables need."""
    m, terms = played.metrics, played.terms
    own = ("benefit_usd", "bill_usd", "emissions_kg", "moved_share", "jobs_started")
    return {name: m[name] for name in own} | {
        "electricity_usd": -(terms["import"] + terms["export"] + terms["fuel"]),
        "dropped_share": m["dropped_gpuh"] / m["arrived_gpuh"],
    }


def _latency(task: EpisodeTask, threads: int) -> Record:
    """Return V = -most benefit along the class's budget, with what is proven of it."""
    axis = task.experiment.latency
    assert axis is not None
    base = make_instance(task.scenario(), seed=task.seed)
    try:
        sweep = make_sweep(base.scenario, f"class:{axis.task_class}", axis.budget_ms)
    except ValueError as error:
        raise InputError(f"latency axis of model {task.experiment.model}: {error}") from error
    base = widest(base, sweep)

    chain = LatencySweepSolver(instance_at(base, sweep, len(sweep) - 1), "benefit", threads=threads)
    begin = time.perf_counter()
    values, bounds = [], []
    for i in range(len(sweep)):
        point = instance_at(base, sweep, i)
        plan = chain.solve(point, **task.experiment.limits)
        if plan.benefit_usd is None:  # a warm start may end at a solution that just misses the tolerances
            plan = _solved(task, JOINT, point, threads)
        assert plan.benefit_usd is not None
        values.append(-plan.benefit_usd)
        bounds.append(-plan.bound)
    return {
        "budget_ms": list(axis.budget_ms),
        "value_usd": values,
        "bound_usd": bounds,
        "seconds": time.perf_counter() - begin,
    }
