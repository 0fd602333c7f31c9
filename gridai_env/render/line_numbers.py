"""Lines of the sites in the step that is shown: limit, import, excess, baseline, and calls as far as they are known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gridai_env.arrays.types import Bool, Bools, Float, Floats
from gridai_env.episodes.calls import CallTable
from gridai_env.episodes.instance import Instance
from gridai_env.scenario.lines import LineRule
from gridai_env.world import physics
from gridai_env.world.state import Flows, State


@dataclass(frozen=True)
class LineNumbers:
    """One line; NaN before the first step and where there is no such number."""

    rule: LineRule
    limit_mw: float  # in force
    import_mw: float
    excess_mw: float
    baseline_mw: float  # in an event of demand response
    committed_mw: float
    is_called: bool
    hours: float  # called: until the end; else until the next call that is known

    @property
    def may_be_called(self) -> bool:
        """Whether the grid's operator may call it."""
        return self.rule.call >= 0


def known_calls(instance: Instance, shown: int) -> Bool[Bools, "T Q"]:
    """Return which steps are called: past ones, and those ahead that are announced in step ``shown``."""
    calls = CallTable(instance.knowledge.call_depth, instance.knowledge.call_known_from)
    return np.asarray(calls.as_foreseen(shown, "day_ahead") > 0.0)


def line_numbers(
    instance: Instance, t: int, state: State, flows: Flows | None, called: Bool[Bools, "T Q"]
) -> tuple[LineNumbers, ...]:
    """Return the lines of all sites in step t-1 (at t = 0: in the first); ``state`` is that after ``t`` steps."""
    shown = max(t - 1, 0)
    exo = instance.exogenous.map(lambda x: x[shown])
    line_mw = exo.line_mw
    if instance.compiled.lines.baselines:
        # The state after the step keeps last what its baseline was made of.
        counted_mw = state.baseline_sum_mw[:, -1] if t else physics.counted_sum_mw(state, exo)
        line_mw = line_mw + exo.baseline_share * counted_mw

    def numbers(rule: LineRule) -> LineNumbers:
        k, at = rule.site, (rule.slot, rule.site)
        is_hard = rule.slot < 0
        limit_mw = float(exo.import_limit_mw[k] if is_hard else line_mw[at])
        committed_mw = float(exo.committed_mw[at]) if rule.kind == "demand_response" else 0.0
        excess_mw = 0.0 if is_hard or flows is None else float(flows.line_excess_mw[at])
        steps = called[shown:, rule.call] if rule.call >= 0 else np.zeros(1, dtype=bool)
        return LineNumbers(
            rule=rule,
            limit_mw=limit_mw,
            import_mw=np.nan if flows is None else float(flows.import_mw[k]),
            excess_mw=excess_mw,
            baseline_mw=limit_mw + committed_mw if committed_mw > 0.0 else np.nan,
            committed_mw=committed_mw,
            is_called=bool(steps[0]),
            hours=instance.compiled.shape.dt_h * _steps_to_change(steps, done=min(t, 1)),
        )

    rules = sorted(instance.compiled.lines.rules, key=lambda rule: rule.call < 0)
    return tuple(map(numbers, rules))


def saved_mw(instance: Instance, shown: int, flows: Flows) -> Float[Floats, " K"]:
    """Return what power modes save of the power of the sites, cooling included."""
    return np.asarray(instance.exogenous.pue[shown] * flows.saving_mw)


def _steps_to_change(called: Bool[Bools, " n"], done: int) -> float:
    """Return the steps from now until a call ends or begins, as far as is known; ``done``: of the first one."""
    changes = np.flatnonzero(called != called[0])
    if len(changes):
        return float(changes[0]) - done
    return float(len(called)) - done if called[0] else np.nan
