"""The bound by splitting time: below the optimum at any prices, near it at good ones; and the bundle method alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from baselines.optimum import InfeasibleError, milp, time_split
from baselines.optimum.bundle import Bundle
from baselines.optimum.highs import Deadline
from baselines.optimum.milp import solve
from baselines.optimum.relax_and_round import ProgramSolver
from baselines.optimum.time_split import TimeSplit, pieces_of
from baselines.program.episode import build
from baselines.program.linear import Program
from gridai_env import make_instance
from gridai_env.rollout.run import run

NO_LIMIT = Deadline(None)


@pytest.fixture
def quarter_days(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small pieces, so that two days have many."""
    monkeypatch.setattr("baselines.optimum.by_windows.KEPT_H", 6.0)
    monkeypatch.setattr("baselines.optimum.by_windows.SEEN", 1.5)


def relaxed(scenario: str, seed: int = 5) -> tuple[Program, float, np.ndarray]:
    """A program of two days without its decisions, its optimum, and its duals."""
    program = build(make_instance(scenario, seed=seed, horizon_h=48.0), "benefit", None)
    program.integer[:] = False
    solver = ProgramSolver(program)
    best = solver.solve().objective
    assert best is not None
    return program, best, solver.live.row_dual


@pytest.mark.usefixtures("quarter_days")
def test_pieces_hold_each_row_and_column_once() -> None:
    program, _, _ = relaxed("four_markets")
    pieces = pieces_of(program)
    assert len(pieces) == 8
    for name, size in zip(("rows", "own"), program.size, strict=True):
        np.testing.assert_array_equal(
            np.sort(np.concatenate([getattr(piece, name) for piece in pieces])), np.arange(size)
        )
    # Copies are of the step before: nothing else stands in the rows of a piece.
    assert not len(pieces[0].copies)
    for i, piece in enumerate(pieces[1:], 1):
        assert set(program.column_step[piece.copies]) == {6 * i - 1}


@pytest.mark.usefixtures("quarter_days")
@pytest.mark.parametrize("scenario", ["four_markets", "microgrid_prosumer"])
def test_the_optimum_s_own_duals_give_the_optimum_as_bound(scenario: str) -> None:
    program, best, duals = relaxed(scenario)
    bound = TimeSplit(program, duals).improve(NO_LIMIT, 0, best, 0.0)
    assert best - 1e-6 * abs(best) <= bound <= best + 1e-9 * abs(best)


@pytest.mark.usefixtures("quarter_days")
def test_any_prices_give_a_bound_and_rounds_raise_it() -> None:
    program, best, duals = relaxed("two_sites")
    rng = np.random.default_rng(0)
    split = TimeSplit(program, duals * rng.uniform(0.5, 1.5, len(duals)), 1e-5)
    first = split.improve(NO_LIMIT, 0, best, 0.0)
    later = split.improve(NO_LIMIT, 15, best, 0.0)
    assert first < later <= best + 1e-9 * abs(best)
    assert best - later < 0.1 * (best - first)


@pytest.mark.usefixtures("quarter_days")
def test_a_split_program_has_a_plan_within_its_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also with jobs and minimum loads: plan and bound lie on either side of the optimum."""
    instance = make_instance("microgrid_prosumer", seed=4, horizon_h=30.0)
    whole = solve(instance, mip_gap=5e-3, threads=1)
    monkeypatch.setattr("baselines.optimum.milp.SPLIT_ROWS", 0)
    plan = solve(instance, mip_gap=2e-2, threads=1)
    assert plan.status == "optimal" and plan.is_safe and plan.gap <= 2e-2
    assert plan.bound >= whole.objective_value and plan.objective_value <= whole.bound
    assert run(plan, instance).benefit_usd == pytest.approx(plan.objective_value, rel=1e-6)

    # No gap is too small to be asked for: the bound is that of relaxed decisions, so at some point it stalls.
    stalled = solve(instance, mip_gap=1e-9, threads=1)
    assert stalled.status == "stalled" and stalled.gap < plan.gap + 1e-12

    again = solve(instance, mip_gap=2e-2, threads=1)
    np.testing.assert_array_equal(plan.actions, again.actions)


@pytest.mark.usefixtures("quarter_days")
def test_two_processes_find_what_one_finds() -> None:
    program, best, duals = relaxed("two_sites")
    one, two = (TimeSplit(program, 0.9 * duals, jobs=jobs).improve(NO_LIMIT, 4, best, 0.0) for jobs in (1, 2))
    assert one == two


@pytest.mark.usefixtures("quarter_days")
def test_what_was_found_in_time_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time is over after the first guess: its plan stands, and its duals give a bound."""
    instance = make_instance("four_markets", seed=5, horizon_h=48.0)
    best = solve(instance, threads=1).objective_value
    monkeypatch.setattr("baselines.optimum.milp.SPLIT_ROWS", 0)
    guess = time_split.plan_by_windows
    left = [1]

    def once(*arguments: Any, **named: Any) -> Any:
        left[0] -= 1
        return guess(*arguments, **named) if left[0] >= 0 else None

    monkeypatch.setattr(time_split, "plan_by_windows", once)
    monkeypatch.setattr(time_split, "solve_piece", lambda *arguments: None)
    monkeypatch.setattr("baselines.optimum.highs.Deadline.is_over", lambda clock: True)
    plan = solve(instance, threads=1)
    assert plan.status == "time_limit" and plan.objective_value is not None
    assert plan.objective_value <= best <= plan.bound <= 1.2 * best

    # Not even that: the bound with free relocation, then the one that needs no solver.
    left[0] = 0
    free = solve(instance, threads=1)
    assert free.status == "time_limit" and free.objective_value is None
    monkeypatch.setattr(time_split, "without_friction", lambda program, *_, **__: np.zeros(program.size[0]))
    nothing = solve(instance, threads=1)
    assert nothing.status == "time_limit" and nothing.objective_value is None
    assert plan.bound <= free.bound < nothing.bound < np.inf


def test_what_cannot_be_kept_is_named_in_very_large_programs_too(monkeypatch: pytest.MonkeyPatch) -> None:
    program = build(make_instance("two_sites", seed=5), "benefit", None)
    row = program.rows["gpus"][3, 0]
    program.lp.row_lower[row] = 1e9
    monkeypatch.setattr("baselines.optimum.milp.SPLIT_ROWS", 0)
    with pytest.raises(InfeasibleError, match=r"rows that conflict: gpus\[3,0\]"):
        milp.solved_program(program, 1e-3, NO_LIMIT, 1, 0)


def test_a_cap_on_the_episode_is_not_split() -> None:
    program = build(make_instance("two_sites", seed=5, horizon_h=6.0), "benefit", None, carbon_cap_kg=1e9)
    with pytest.raises(ValueError, match="whole episode"):
        pieces_of(program)


def test_the_bundle_finds_the_top_of_tents() -> None:
    """Three functions, each minus a weighed distance to a point of its own: the top is the weighed median."""
    tops, weights = np.array([[0.0, 3.0], [1.0, 5.0], [7.0, 4.0]]), np.array([1.0, 1.5, 1.0])

    def at(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        away = x - tops
        return -weights * np.abs(away).sum(1), -weights[:, None] * np.sign(away)

    start, low = np.array([20.0, -9.0]), -1e6  # far below 0, as benefits are
    values, slopes = at(start)
    bundle = Bundle(start, values + low, slopes, reach=1.0)
    for _ in range(60):
        point = bundle.next_point()
        values, slopes = at(point)
        before = bundle.value
        bundle.add(point, values + low, slopes)
        assert bundle.value >= before
    np.testing.assert_allclose(bundle.centre, [1.0, 4.0], atol=0.02)
    best = at(np.array([1.0, 4.0]))[0].sum() + 3 * low
    assert best - 0.05 <= bundle.value <= best + 1e-6
    # What is foreseen is never below what is possible.
    assert bundle.foreseen >= bundle.value - 1e-6
