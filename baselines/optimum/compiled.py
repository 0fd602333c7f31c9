"""A Pyomo model as matrices: the program that HiGHS gets, and where each variable and row stands in it."""

from __future__ import annotations

from typing import Any

import highspy
import numpy as np
import pyomo.environ as pyo
from pyomo.repn.plugins.standard_form import LinearStandardFormCompiler
from scipy import sparse

from gridai_env.arrays.types import Bools, Float, Floats, Index, Int, Ints, Objects


class CompiledProgram:
    """One compiled model."""

    def __init__(self, model: pyo.ConcreteModel) -> None:
        """Compile ``model`` (one linear objective, to be minimised)."""
        form = LinearStandardFormCompiler().write(model, mixed_form=True, set_sense=pyo.minimize)
        self.rows = form.rows
        self.index = {id(variable): i for i, variable in enumerate(form.columns)}
        self.integer: Bools = np.array([v.is_integer() for v in form.columns], dtype=bool)
        self.matrix = form.A.tocsc()
        self.lp = _highs_lp(form, self.matrix, self.integer)
        self.size = (len(form.rows), len(form.columns))

    def is_integral(self, values: Float[Floats, " columns"]) -> bool:
        """Return whether the integer columns hold whole numbers exactly, so that fixing them changes nothing."""
        choices = values[self.integer]
        return bool(np.array_equal(choices, np.round(choices)))

    def columns_of(self, variables: Objects) -> Index:
        """Return the column of each entry of an object array, -1 where it is a number or not in the model."""
        flat = [self.index.get(id(v), -1) for v in variables.ravel()]
        return np.array(flat, dtype=np.intp).reshape(variables.shape)


def _highs_lp(form: Any, matrix: sparse.csc_matrix, integer: Bools) -> highspy.HighsLp:
    """Return the standard form as HiGHS wants it."""
    infinity = highspy.kHighsInf
    kind: Int[Ints, " rows"] = np.array([kind for _, kind in form.rows])

    lp = highspy.HighsLp()
    lp.col_cost_ = np.asarray(form.c.todense(), dtype=float).ravel()
    lp.offset_ = float(form.c_offset[0])
    lp.col_lower_ = np.array([-infinity if v.lb is None else v.lb for v in form.columns])
    lp.col_upper_ = np.array([infinity if v.ub is None else v.ub for v in form.columns])
    lp.row_lower_ = np.where(kind <= 0, form.rhs, -infinity)
    lp.row_upper_ = np.where(kind >= 0, form.rhs, infinity)
    set_matrix(lp, matrix)
    if integer.any():
        kinds = {True: highspy.HighsVarType.kInteger, False: highspy.HighsVarType.kContinuous}
        lp.integrality_ = [kinds[bool(i)] for i in integer]
    return lp


def set_matrix(lp: highspy.HighsLp, matrix: sparse.csc_matrix) -> None:
    """Give a program its coefficients and its size."""
    lp.num_row_, lp.num_col_ = matrix.shape
    lp.a_matrix_.format_ = highspy.MatrixFormat.kColwise
    lp.a_matrix_.start_ = matrix.indptr
    lp.a_matrix_.index_ = matrix.indices
    lp.a_matrix_.value_ = matrix.data
