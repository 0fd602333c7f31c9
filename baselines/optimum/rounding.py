"""Rounding."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from baselines.optimum.highs import CompiledProgram
from baselines.optimum.program import Program
from gridai_env.arrays.types import Floats
from gridai_env.episodes.instance import Instance
from gridai_env.world.state import Params


def rounded_starts(p: Params, fractions: Floats, held_gpus: Floats | None = None) -> Floats:
    """Starts of jobs [T,J,K], each 0 or 1, from the fractions of a relaxed plan, negative where a start is closed.

    Jobs, dearest first, take the start with the largest fraction at which they still fit beside each other and what
    running jobs hold (``held_gpus`` [K,N] in this and the next steps); jobs mostly left out stay out.
    """
    steps, _, sites = fractions.shape
    held = np.zeros((sites, steps + p.job_profile.shape[-1]))
    if held_gpus is not None:
        span = min(held.shape[1], held_gpus.shape[1])
        held[:, :span] = held_gpus[:, :span]
    out = np.zeros_like(fractions)
    for j in np.argsort(-p.job_value_usd, kind="stable"):
        if np.maximum(fractions[:, j], 0.0).sum() < 0.5:
            continue
        need = p.job_gpus[j] * p.job_profile[j]
        places = [(fractions[t, j, k], t, k) for t, k in np.argwhere(fractions[:, j] >= 0.0)]
        for _, t, k in sorted(places, reverse=True):
            after = held[k, t : t + len(need)] + need
            if (after <= p.utilisation_limit[k] * p.gpus[k]).all():
                held[k, t : t + len(need)] = after
                out[t, j, k] = 1.0
                break
    return out


def rounding(program: Program, instance: Instance) -> Callable[[CompiledProgram, Floats], Floats]:
    """How to round the yes/no columns of a relaxed solution so that they stay feasible.

    Jobs, dearest first, take the start with the largest fraction at which they still fit; modes follow the flows.
    """
    p = instance.params

    def apply(matrix: CompiledProgram, values: Floats) -> Floats:
        out = values.copy()
        for name, column in program.choices(matrix):
            if name[0] == "charging":
                out[column] = float(_net_charge(program, matrix, values, *name[1:]) > 0.0)
            elif name[0] == "running":
                generation = _value(matrix, values, program.flows[name[1]].generation_mw[name[2]])
                out[column] = float(generation >= 0.5 * p.generator_min_mw[name[2]])
        _round_jobs(program, matrix, values, out, p)
        return out

    return apply


def _value(matrix: CompiledProgram, values: Floats, variable: Any) -> float:
    column = matrix.index.get(id(variable), -1)
    return float(values[column]) if column >= 0 else 0.0


def _net_charge(program: Program, matrix: CompiledProgram, values: Floats, t: int, k: int) -> float:
    flows = program.flows[t]
    return _value(matrix, values, flows.charge_mw[k]) - _value(matrix, values, flows.discharge_mw[k])


def _round_jobs(program: Program, matrix: CompiledProgram, values: Floats, out: Floats, p: Params) -> None:
    """Give every job the start with the largest fraction at which it fits; see `rounded_starts`."""
    starts = [(name[1:], column) for name, column in program.choices(matrix) if name[0] == "started"]
    fractions = np.full((len(program.flows), len(p.job_gpus), len(p.gpus)), -1.0)  # -1: closed
    for place, column in starts:
        fractions[place] = values[column]
    rounded = rounded_starts(p, fractions)
    for place, column in starts:
        out[column] = rounded[place]
