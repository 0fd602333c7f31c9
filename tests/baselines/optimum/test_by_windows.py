"""Plans put together from windows: feasible, never better than the optimum, and near it only with the duals."""

from __future__ import annotations

import numpy as np
import pytest

from baselines.optimum.by_windows import plan_by_windows
from baselines.optimum.highs import Deadline
from baselines.optimum.milp import solve
from baselines.optimum.relax_and_round import ProgramSolver
from baselines.program.episode import build
from baselines.program.linear import Program
from gridai_env import make_instance

NO_LIMIT = Deadline(None)


@pytest.fixture(scope="module")
def days() -> tuple[Program, float, np.ndarray]:
    """Two days of a program without its decisions: its optimum and its duals."""
    program = build(make_instance("four_markets", seed=5, horizon_h=48.0), "benefit", None)
    program.integer[:] = False
    solver = ProgramSolver(program)
    best = solver.solve().objective
    assert best is not None
    return program, best, solver.live.row_dual


def value(program: Program, duals: np.ndarray) -> float:
    """What the windows' plan comes to; it keeps all rows and bounds of the whole program."""
    lp = program.lp
    plan = plan_by_windows(program, lp, duals, NO_LIMIT)
    assert plan is not None
    x = plan.values
    rows = lp.matrix @ x
    slack = 1e-6 * program.unit * (1.0 + np.abs(rows))
    assert (rows >= lp.row_lower - slack).all() and (rows <= lp.row_upper + slack).all()
    assert (x >= lp.lower - 1e-6).all() and (x <= lp.upper + 1e-6).all()
    return float(lp.costs @ x + lp.offset)


def test_windows_come_near_the_optimum_with_the_duals(
    days: tuple[Program, float, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("baselines.optimum.by_windows.KEPT_H", 6.0)
    monkeypatch.setattr("baselines.optimum.by_windows.SEEN", 2.0)
    program, best, duals = days
    priced, blind = value(program, duals), value(program, 0.0 * duals)
    assert best - 1e-9 * abs(best) <= priced <= best + 1e-3 * abs(best)
    # Without a price on what is left to later steps, batteries end empty and work waits too long.
    assert blind > best + 2.0 * (priced - best) and blind > best + 1e-3 * abs(best)


def test_one_window_is_the_optimum(
    days: tuple[Program, float, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("baselines.optimum.by_windows.KEPT_H", 48.0)
    program, best, duals = days
    assert value(program, duals) == pytest.approx(best, rel=1e-9)


def test_rows_of_no_step_have_no_windows() -> None:
    """A cap on an episode's emissions cannot be kept window by window."""
    program = build(make_instance("two_sites", seed=5, horizon_h=6.0), "benefit", None, carbon_cap_kg=1e9)
    with pytest.raises(ValueError, match="whole episode"):
        plan_by_windows(program, program.lp, np.zeros(program.size[0]), NO_LIMIT)


def test_large_programs_use_windows_where_they_are_good_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """The plan is within the gap of the proven bound; where windows are not, the whole program is solved."""
    monkeypatch.setattr("baselines.optimum.relax_and_round.HUGE_ROWS", 0)
    monkeypatch.setattr("baselines.optimum.by_windows.KEPT_H", 6.0)
    monkeypatch.setattr("baselines.optimum.by_windows.SEEN", 2.0)
    asked: list[object] = []

    def solve_fixed(self: ProgramSolver, *args: object) -> object:
        asked.append(args)
        return whole(self, *args)  # type: ignore[arg-type]

    whole = ProgramSolver.solve_fixed
    monkeypatch.setattr(ProgramSolver, "solve_fixed", solve_fixed)
    instance = make_instance("microgrid_prosumer", seed=4, horizon_h=24.0)
    plan = solve(instance, mip_gap=5e-2, threads=1)
    assert plan.status == "optimal" and plan.gap <= 5e-2 and not asked
    nearer = solve(instance, mip_gap=2e-3, threads=1)
    assert nearer.gap <= 2e-3 < plan.gap
    assert asked and nearer.objective_value >= plan.objective_value - 1e-9 * abs(plan.objective_value)
