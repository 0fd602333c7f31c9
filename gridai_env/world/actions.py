"""The flat action in [-1, 1]: its layout, its meaning (`decode`) and its inverse (`encode`).

========== ========= =========================================================================================
routing    [C,W,K+2] sites share the work on hand in proportion to ``(a+1)/2`` over the open routes (all zero:
                     home); then hold ``max(0, a)`` and refuse ``max(0, 2a-1)``, fractions of the work on hand
battery    [K]       charge (+) or discharge (-) as a fraction of the power limit
generator  [K]       ``max(0, a)`` of the capacity
renewable  [K]       used share of what is available, ``clip(1+a, 0, 1)``: everything unless the agent curtails
jobs       [V,K+1]   one slot per job that can be waiting, most urgent first; the best entry that is open and
                     fits wins; the last entry is "wait"
mode       [K]       ``max(0, a)`` of what power modes can save; only in scenarios that have them
========== ========= =========================================================================================
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from math import prod

import numpy as np
from numpy.typing import NDArray

from gridai_env.arrays.ops import all_zero, as_real, namespace, total
from gridai_env.arrays.types import Array, Float, Floats
from gridai_env.world import physics
from gridai_env.world.state import Exogenous, Flows, Params, Shape, State


@dataclass(frozen=True)
class Layout:
    """Position and shape of each part of the flat action."""

    shape: Shape

    @cached_property
    def parts(self) -> dict[str, tuple[int, ...]]:
        """Shape of each part, in order."""
        s = self.shape
        return {
            "routing": (s.regions, s.rows, s.sites + 2),
            "battery": (s.sites,),
            "generator": (s.sites,),
            "renewable": (s.sites,),
            "jobs": (s.slots, s.sites + 1),
            "mode": (s.sites if s.mode_segments else 0,),
        }

    @cached_property
    def slices(self) -> dict[str, slice]:
        """Place of each part in the flat action."""
        ends = list(accumulate(prod(shape) for shape in self.parts.values()))
        return {name: slice(a, b) for name, a, b in zip(self.parts, [0, *ends], ends, strict=False)}

    @cached_property
    def size(self) -> int:
        """Length of the action."""
        return sum(prod(shape) for shape in self.parts.values())

    def split(self, action: Floats) -> dict[str, Floats]:
        """Return views of the parts of ``action`` [B,A], in their own shapes."""
        lead = action.shape[:-1]
        return {
            name: action[..., self.slices[name]].reshape(lead + shape) for name, shape in self.parts.items()
        }


@dataclass(frozen=True)
class Request:
    """The meaning of an action in shares and fractions, before any limit is applied."""

    share: Float[Floats, "B C W K"]  # of the work to be served, sums to 1
    hold: Float[Floats, "B C W"]  # fraction of the work on hand
    refuse: Float[Floats, "B C W"]  # fraction of the work on hand
    charge_mw: Float[Floats, "B K"]
    discharge_mw: Float[Floats, "B K"]
    generation_mw: Float[Floats, "B K"]
    renewable_share: Float[Floats, "B K"]  # of what is available
    job_score: Float[Floats, "B V K+1"]
    saving_share: Float[Floats, "B K"]  # of what power modes can save; no entries without them


def decode(p: Params, layout: Layout, action: NDArray[np.floating]) -> Request:
    """Read an action [B,A] as a request.  Masked routes get no share, whatever the action says."""
    xp, part = p.xp, layout.split(as_real(action, p.gpus))
    routing, sites = part["routing"], layout.shape.sites

    share = (routing[..., :sites] + 1.0) * p.route_open
    wished = total(share, -1)[..., None]

    # All shares at their minimum mean "at home".
    none = wished == 0.0
    if not all_zero(none):
        share, wished = share + none * (p.home[:, None, :] * p.route_open), wished + none
    share = share / wished

    # Together hold and refuse never take more than the work on hand.
    hold = xp.maximum(routing[..., sites], 0.0) * p.may_wait
    refuse = xp.maximum(2.0 * routing[..., sites + 1] - 1.0, 0.0)
    scale = xp.maximum(hold + refuse, 1.0)

    battery = part["battery"]
    return Request(
        share=share,
        hold=hold / scale,
        refuse=refuse / scale,
        charge_mw=xp.maximum(battery, 0.0) * p.charge_limit_mw,
        discharge_mw=xp.maximum(-battery, 0.0) * p.discharge_limit_mw,
        generation_mw=xp.maximum(part["generator"], 0.0) * p.generator_max_mw,
        renewable_share=xp.minimum(xp.maximum(1.0 + part["renewable"], 0.0), 1.0),
        job_score=part["jobs"],
        saving_share=xp.maximum(part["mode"], 0.0),
    )


def ratio(part: Floats, whole: Floats) -> Floats:
    """Return ``part / whole``, 0 where the whole is 0."""
    zero = whole == 0.0
    return namespace(whole).where(zero, 0.0, part / (whole + zero))


def most_saving_mw(p: Params, exo: Exogenous, served_wk_gpuh: Floats, job_gpus: Floats) -> Floats:
    """Return the IT power that power modes can save at most [B,K]; none can where nothing is served."""
    limits = physics.saving_limits_mw(p, exo, served_wk_gpuh, job_gpus)
    xp = namespace(limits)
    return xp.maximum(xp.amin(limits, -2), 0.0)


def active_jobs(state: State, job_open: Array) -> tuple[NDArray[np.bool_], NDArray[np.intp]]:
    """Return which jobs [B,J] may be started now somewhere and the slot of each (most urgent first).

    ``job_open`` [B,J,K]: that of `Exogenous`.
    """
    active = (state.waiting > 0.5) & (job_open > 0.5).any(-1)
    return active, namespace(state.waiting).cumsum(active, axis=-1) - 1


def encode(p: Params, layout: Layout, state: State, exo: Exogenous, flows: Flows) -> NDArray[np.float32]:
    """Return the action [B,A] (float32) that asks for ``flows``: the inverse of `decode` for flows in normal form."""
    on_hand = physics.work_on_hand_gpuh(state, exo)
    served = flows.served_gpuh

    routing = np.zeros((*served.shape[:-1], layout.shape.sites + 2))
    routing[..., :-2] = 2.0 * ratio(served, served.max(-1, keepdims=True)) - 1.0

    hold = ratio(np.maximum(physics.next_backlog_gpuh(state, flows, exo, total(served, -1)), 0.0), on_hand)
    refuse = ratio(flows.dropped_gpuh, on_hand)
    routing[..., -2] = hold * p.may_wait
    routing[..., -1] = np.where(refuse > 0.0, 0.5 + 0.5 * refuse, 0.0)

    battery = ratio(flows.charge_mw, p.charge_limit_mw) - ratio(flows.discharge_mw, p.discharge_limit_mw)
    # Without any renewables the entry says "use everything", as for no curtailment.
    available = exo.renewable_available_mw
    used = np.where(available > 0.0, ratio(flows.renewable_mw, available), 1.0)

    parts = [
        routing,
        battery,
        ratio(flows.generation_mw, p.generator_max_mw + 0.0 * battery),
        used - 1.0,
        _encode_jobs(layout, state, exo, flows),
        _encode_mode(p, state, exo, flows),
    ]
    lead = on_hand.shape[:-2]
    flat = np.concatenate([np.reshape(part, (*lead, -1)) for part in parts], axis=-1)
    return np.clip(flat, -1.0, 1.0).astype(np.float32)


def _encode_mode(p: Params, state: State, exo: Exogenous, flows: Flows) -> Floats:
    """Return the share [B,K] of what power modes can save; no entries without them."""
    if not p.has_modes:
        return flows.saving_mw
    job_gpus = physics.committed_profile_gpus(p, state, flows)[..., 0] - flows.gpu_short
    return ratio(flows.saving_mw, most_saving_mw(p, exo, total(flows.served_gpuh, -3), job_gpus))


def _encode_jobs(layout: Layout, state: State, exo: Exogenous, flows: Flows) -> Floats:
    """Return the job slots [B,V,K+1]: 1 at the chosen site (or at "wait"), -1 elsewhere."""
    shape = layout.shape
    lead = state.waiting.shape[:-1]
    score = np.full((*lead, shape.slots, shape.sites + 1), -1.0)
    score[..., -1] = 1.0
    if shape.jobs == 0:
        return score

    active, slot = active_jobs(state, exo.job_open)
    for index in np.argwhere(active & (flows.started.sum(-1) > 0.5)):
        row, job = tuple(index[:-1]), index[-1]
        place = (*row, slot[tuple(index)])
        score[place] = -1.0
        score[(*place, int(np.argmax(flows.started[row][job])))] = 1.0
    return score


def action_names(layout: Layout, regions: list[str], rows: list[str], sites: list[str]) -> list[str]:
    """Return a name for every index of the flat action."""
    targets = [*sites, "hold", "refuse"]
    names = [f"routing/{c}/{w}/{k}" for c in regions for w in rows for k in targets]
    for part in ("battery", "generator", "renewable"):
        names += [f"{part}/{k}" for k in sites]
    names += [f"jobs/slot{v}/{k}" for v in range(layout.shape.slots) for k in [*sites, "wait"]]
    return names + [f"mode/{k}" for k in sites if layout.shape.mode_segments]
