"""Rounding."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from baselines.optimum.program import Program
from gridai_env.arrays.types import Floats
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


def rounding(program: Program, p: Params) -> Callable[[Floats], Floats]:
    """Return how to round the yes/no columns of a relaxed solution so that they stay feasible.

    Jobs: see `rounded_starts`; modes follow the flows.
    """
    choices = program.choices()
    starts = [(name[1:], column) for name, column in choices if name[0] == "started"]

    def apply(values: Floats) -> Floats:
        out, flows = values.copy(), program.flows_of(values)
        for (name, t, k, *_), column in choices:
            if name == "charging":
                out[column] = flows.charge_mw[t, k] > flows.discharge_mw[t, k]
            elif name == "running":
                out[column] = flows.generation_mw[t, k] >= 0.5 * p.generator_min_mw[k]

        fractions = np.full(flows.started.shape, -1.0)  # -1: closed
        for where, column in starts:
            fractions[where] = values[column]
        whole = rounded_starts(p, fractions)
        for where, column in starts:
            out[column] = whole[where]
        return out

    return apply
