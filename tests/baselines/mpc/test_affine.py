"""Affine arrays against NumPy on numbers, and windows made of them against the program that Pyomo writes."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest

from baselines.mpc.rolling import Options, RollingModel
from baselines.optimum.relax_and_round import ProgramSolver
from baselines.program.affine import Affine
from baselines.program.episode import build
from gridai_env import make_instance
from gridai_env.arrays.ops import shift_left, total
from gridai_env.episodes.instance import Instance
from tests.support.strategies import pool

COLUMNS = 40


def drawn(rng: np.random.Generator, *shape: int) -> Affine:
    """An array with constants and up to a few terms per entry, some pairs twice."""
    size, terms = int(np.prod(shape)), 3 * int(np.prod(shape))
    row, column = rng.integers(0, size, terms), rng.integers(0, COLUMNS, terms)
    return Affine(rng.normal(size=shape), row, column, rng.normal(size=terms))


NUMBERS = np.random.default_rng(1).normal(size=(4, 3, 5))
CASES: dict[str, Any] = {
    "negative": lambda a, b: -a,
    "sum": lambda a, b: a + b,
    "sum with numbers": lambda a, b: NUMBERS + a,
    "sum of another shape": lambda a, b: a[:, :1] + b,
    "numbers of a larger shape": lambda a, b: a[:, :, :1] - NUMBERS,
    "difference": lambda a, b: a - b,
    "from numbers": lambda a, b: NUMBERS - a,
    "from a number": lambda a, b: 1.0 - a,
    "product": lambda a, b: a * 3.0,
    "product with numbers": lambda a, b: NUMBERS * a[:, 1:2],
    "product with a vector": lambda a, b: np.arange(5.0) * a,
    "product with a scalar of NumPy": lambda a, b: np.float64(2.5) * a,
    "quotient": lambda a, b: a / np.arange(1.0, 6.0),
    "one entry": lambda a, b: a[2, 1, 3],
    "last axis": lambda a, b: a[..., 0],
    "slices": lambda a, b: a[1:, ::-1, :-2],
    "some places": lambda a, b: a[:, np.array([2, 0])],
    "no places": lambda a, b: a[:, np.array([], dtype=int)],
    "new axes": lambda a, b: a[..., None, :] + b[:, None],
    "swapped axes": lambda a, b: a.swapaxes(-1, -2),
    "sum over an axis": lambda a, b: a.sum(-2),
    "sum over axes": lambda a, b: a.sum((0, 2)),
    "sum over all": lambda a, b: a.sum(),
    "matrix product": lambda a, b: a @ NUMBERS.swapaxes(-1, -2)[0],
    "shifted": lambda a, b: shift_left(a),
    "total": lambda a, b: total(a, -1),
    "in a row": lambda a, b: ((NUMBERS * (a - b)).sum(-1) * 2.0 + 1.0 - b[..., 0])[1:],
}


@pytest.mark.parametrize("name", CASES)
def test_affine_arrays_do_what_numpy_does(name: str) -> None:
    """The values of an expression are the expression of the values, whatever the columns are."""
    rng = np.random.default_rng(7)
    a, b, values = drawn(rng, 4, 3, 5), drawn(rng, 4, 3, 5), rng.normal(size=COLUMNS)
    found, expected = CASES[name](a, b), CASES[name](a.at(values), b.at(values))
    assert found.shape == np.shape(expected)
    np.testing.assert_allclose(found.at(values), expected, rtol=1e-12, atol=1e-12)


def test_zero_coefficients_stay() -> None:
    """Which columns a row has does not depend on the numbers."""
    a = Affine.of_columns(np.array([0, 1, -1]))
    found = (0.0 * a + (a - a)).sum()
    assert sorted(found.column) == [0, 0, 0, 1, 1, 1] and not np.bincount(found.column, found.value).any()


def test_products_of_expressions_are_refused() -> None:
    a = Affine.of_columns(np.arange(3))
    for product in (lambda: a * a, lambda: a / a):
        with pytest.raises(TypeError, match="not affine"):
            product()


# Windows against Pyomo --------------------------------------------------------------------------------------


def check_same_optimum(instance: Instance) -> None:
    """A window as long as the episode has the optimum of the perfect-foresight program."""
    model = RollingModel(
        instance.params, instance.compiled.shape, instance.steps, Options(mip_gap=1e-9, node_limit=10_000)
    )
    window = model.decide(instance.params, instance.exogenous, instance.initial, last=True)
    program = build(instance, "benefit", None, builder="pyomo")
    whole = ProgramSolver(program).solve(mip_gap=1e-9)
    assert whole.objective is not None and window.status == "optimal"
    assert window.objective_usd == pytest.approx(-whole.objective, rel=1e-7, abs=1e-6)


@pytest.mark.parametrize("scenario", ["two_sites", "four_markets"])
def test_a_window_of_a_shipped_scenario_has_the_same_optimum(scenario: str) -> None:
    check_same_optimum(make_instance(scenario, seed=1003, horizon_h=24))


def test_windows_of_random_worlds_have_the_same_optimum() -> None:
    """Worlds with every feature: jobs, faults, minimum loads, negative prices, budgets, demand charges, shed."""
    for (instance,) in pool(40):
        check_same_optimum(instance)


def test_a_short_window_in_a_long_model_is_a_model_of_its_own() -> None:
    """Steps behind the end of the window are closed."""
    for (instance,) in pool(12, first_seed=300):
        p, shape = instance.params, instance.compiled.shape
        objectives = [
            RollingModel(p, shape, steps, Options(mip_gap=1e-9, node_limit=10_000))
            .decide(p, instance.exogenous, instance.initial, last=True)
            .objective_usd
            for steps in (instance.steps, instance.steps + 3)
        ]
        assert objectives[0] == pytest.approx(objectives[1], rel=1e-7, abs=1e-6)


def test_a_window_has_the_rows_of_the_program_but_trivial_ones() -> None:
    """A program leaves out what the numbers of an episode make trivial; a window keeps its rows, whatever they say."""
    instance = make_instance("two_sites", seed=1003)
    model = RollingModel(instance.params, instance.compiled.shape, instance.steps)
    model.decide(instance.params, instance.exogenous, instance.initial, last=True)
    found = Counter(model.structure.name_of(row).split(" at step")[0] for row in model.structure.kept)
    for builder in ("affine", "pyomo"):
        program = build(instance, "benefit", None, builder=builder)
        terms = np.append(np.diff(program.lp.matrix.tocsr().indptr), 0)
        wanted = {kind: int((terms[index] > 1).sum()) for kind, index in program.rows.items()}
        always = {"battery target": 48, "charge mode": 48, "discharge mode": 48}
        assert {name: found[name] for name in always} == always
        for name in always:  # a target at the end only, modes where burning energy could pay
            assert wanted.pop(name, 0) < always[name]
        assert {name: n for name, n in found.items() if name not in always} == {
            k: n for k, n in wanted.items() if n
        }
