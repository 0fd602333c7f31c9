"""Cells of the grid, one task each: an episode at a firm level, under the optimum with some levers or a policy.

A cell of share 1 is the firm connection that all others are compared with.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from baselines.optimum.milp import solve
from baselines.optimum.variants import LEVERS, with_levers
from gridai_env.arrays.types import Float, Floats
from gridai_env.episodes.instance import Instance
from gridai_env.rollout.run import run
from gridai_env.world.physics import facility_power_mw, it_power_mw
from gridai_env.world.size import unit_of
from gridai_env.world.state import Flows
from scripts.runs.command import InputError
from scripts.runs.folder import file_name
from scripts.runs.tasks import Record, Task, had_time, key_of
from scripts.studies.policies import checkpoint_of, find_contender
from scripts.studies.solver import SolverOptions

KIND = "flexibility cell"
ROUNDING = 1e-6  # of a power, in units of the program: less is none


@dataclass(frozen=True)
class Player:
    """Who plays: the optimum with these levers, or a policy, which has all of them and depends on the notice."""

    levers: frozenset[str] = frozenset()
    policy: str | None = None
    notice_h: float | None = None  # None: that of the scenario

    @property
    def label(self) -> str:
        """Name of the column, without the notice."""
        return self.policy or "+".join(name for name in LEVERS if name in self.levers) or "none"


@dataclass(frozen=True)
class CellTask(Task):
    """One episode of a cell."""

    instance: Instance  # at the firm level, with all levers
    firm_share: float
    player: Player
    site: int
    call: int
    solver: SolverOptions

    @property
    def name(self) -> str:
        """Name of the cell's file."""
        notice = "" if self.player.notice_h is None else f"_notice{self.player.notice_h:g}h"
        label = file_name(self.player.label)[-80:]
        return f"seed{self.instance.seed}_firm{100.0 * self.firm_share:g}_{label}{notice}"

    @cached_property
    def key(self) -> str:
        """What the cell is computed from; the time limit is no part, see `is_current`."""
        who = self.player
        gap = self.solver.mip_gap if who.policy is None else None
        return key_of(
            self.instance.hash, sorted(who.levers), who.policy, checkpoint_of(who.policy or ""), gap
        )

    @property
    def stamp(self) -> Record:
        """The time that the solver had."""
        return {"time_limit_s": self.solver.limit_s}

    def is_current(self, record: Record) -> bool:
        """Return whether the cell is solved, or stopped at a limit no shorter than now."""
        return had_time(record, self.solver.limit_s)


def compute(batch: Sequence[CellTask]) -> Iterator[Record]:
    """Yield the records of some cells."""
    for task in batch:
        yield {"row": _solved(task) if task.player.policy is None else _played(task)}


def _solved(task: CellTask) -> Record:
    """Solve for the benefit; raises InputError where there is no plan in time."""
    plan = solve(with_levers(task.instance, task.player.levers), **vars(task.solver))
    if plan.flows is None:
        raise InputError(f"{task.name}: no plan was found in time; raise --time-limit-s")
    held_gpus = np.zeros_like(task.instance.exogenous.available_gpus)
    if plan.instance.params.has_jobs:
        held_gpus = run(plan, plan.instance, replay="flows").totals.committed_gpus[..., 0]
    facts = {"benefit_usd": plan.benefit_usd, "bound_usd": plan.bound, "status": plan.status}
    return _row(task, plan.flows, held_gpus) | facts | {"seconds": plan.build_s + plan.solve_s}


def _played(task: CellTask) -> Record:
    """Play the policy; raises InputError where it plans the episode and has no plan in time."""
    assert task.player.policy is not None
    contender = find_contender(task.player.policy, task.instance.compiled, task.solver)
    played, status = contender.play(task.instance, task.instance.seed)
    if played is None:
        raise InputError(f"{task.name}: no plan was found in time; raise --time-limit-s")
    seconds = played.seconds_per_decision * played.instance.steps
    facts = {"benefit_usd": played.benefit_usd, "bound_usd": np.nan, "status": status, "seconds": seconds}
    return _row(task, played.flows, played.totals.committed_gpus[..., 0]) | facts


def _row(task: CellTask, flows: Flows, held_gpus: Float[Floats, "T K"]) -> Record:
    """Return what is kept of an episode, but for what it earns.

    ``needed_mw``: the power of the site with idle accelerators and the jobs that run, at most in a called step.
    """
    p, exo, dt_h = task.instance.params, task.instance.exogenous, task.instance.compiled.shape.dt_h
    is_called = task.instance.knowledge.call_depth[:, task.call] > 0.0
    needed_mw = facility_power_mw(p, exo, it_power_mw(p, exo, held_gpus))

    tiny = ROUNDING * unit_of(p)
    shed_mw, short = (np.where(x > tiny, x, 0.0) for x in (flows.shed_mw, flows.gpu_short))
    return {
        "seed": task.instance.seed,
        "firm_share": task.firm_share,
        "label": task.player.label,
        "shed_mwh": float(dt_h * shed_mw.sum()),
        "gpu_short_h": float(dt_h * short.sum()),
        "needed_mw": float(needed_mw[is_called, task.site].max()),
    }
