"""Rounding of the yes/no decisions of a relaxed plan."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from baselines.program.linear import LinearProgram, Program
from gridai_env.arrays.types import Float, Floats
from gridai_env.world.state import Params


def rounded_starts(
    p: Params, fractions: Float[Floats, "T J K"], held_gpus: Float[Floats, "K N"] | None = None
) -> Float[Floats, "T J K"]:
    """Return starts of jobs, each 0 or 1, from the fractions of a relaxed plan, negative where a start is closed.

    Jobs, dearest first, take the start with the largest fraction at which they still fit beside each other and what
    running jobs hold (``held_gpus`` in this and the next steps); jobs mostly left out stay out.
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

        # Among equal fractions the latest start, then the last site.
        need = p.job_gpus[j] * p.job_profile[j]
        places = [(fractions[t, j, k], t, k) for t, k in np.argwhere(fractions[:, j] >= 0.0)]
        for _, t, k in sorted(places, reverse=True):
            after = held[k, t : t + len(need)] + need
            if (after <= p.utilisation_limit[k] * p.gpus[k]).all():
                held[k, t : t + len(need)] = after
                out[t, j, k] = 1.0
                break
    return out


def rounded_choices(program: Program, values: Float[Floats, " columns"]) -> Float[Floats, " columns"]:
    """Return a relaxed solution with its yes/no columns rounded so that they stay feasible.

    Jobs: see `rounded_starts`; modes follow the flows.
    """
    out, flows = np.append(values, 0.0), program.flows_of(values)  # index -1: no choice
    out[program.charging] = flows.charge_mw > flows.discharge_mw
    out[program.running] = flows.generation_mw >= 0.5 * program.p.generator_min_mw
    fractions = np.where(program.flows.started >= 0, flows.started, -1.0)
    out[program.flows.started] = rounded_starts(program.p, fractions)
    return out[:-1]


def with_choices(program: Program, lp: LinearProgram, relaxed: Float[Floats, " columns"]) -> LinearProgram:
    """Return ``lp`` with the yes/no decisions of a relaxed solution rounded and fixed."""
    lower, upper = lp.lower.copy(), lp.upper.copy()
    whole = np.round(rounded_choices(program, relaxed)[program.integer])
    lower[program.integer] = upper[program.integer] = whole
    return replace(lp, lower=lower, upper=upper)
