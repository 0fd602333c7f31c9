"""Place work at sites by preference, as long as there is room, and encode the result as an action.

Vectorised over the batch; the only loop is over ranks of preference.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from baselines.rules.view import View
from gridai_env.arrays.types import Float, Floats, Floats32, Index
from gridai_env.world.actions import Layout, ratio
from gridai_env.world.feasible import keep_by_order, kept_share


@dataclass(frozen=True)
class ServiceOptions:
    """Ways to serve work: M = n * K of them, option m at site m % K."""

    cost: Float[Floats, "B C W M"]  # USD per GPU-h or any other measure; infinite where closed
    limit_gpuh: Float[Floats, "B C W M"] | None = None  # most that the option takes
    # The option takes nothing once this much is placed in all.
    until_gpuh: Float[Floats, "B C W M"] | None = None


def allocate(
    work_gpuh: Floats, options: ServiceOptions, room_gpuh: Floats, tie: Floats | None = None
) -> tuple[Floats, Floats]:
    """Give work [B,C,W] to the cheapest options that have room; return placed [B,C,W,K] and left [B,C,W].

    Equal costs: the lower ``tie`` [C,W,M] first.  Work with one open site only goes first; then all
    second-best options wait until all best ones are served; where room is short, earlier rows go first and
    regions share in proportion.
    """
    cost, sites = options.cost, room_gpuh.shape[-1]
    open_site = np.isfinite(cost).reshape((*cost.shape[:-1], -1, sites)).any(-2)
    captive = (open_site.sum(-1) == 1) * work_gpuh
    order = _ranks(cost, tie)
    first, left_first, room = _fill(captive, options, order, room_gpuh)
    second, left_second, _ = _fill(work_gpuh - captive, options, order, room)
    return first + second, left_first + left_second


def _ranks(cost: Floats, tie: Floats | None) -> Index:
    if tie is None:
        return np.argsort(cost, axis=-1, kind="stable")
    return np.lexsort((np.broadcast_to(tie, cost.shape), cost), axis=-1)


def _fill(work: Floats, options: ServiceOptions, order: Index, room: Floats) -> tuple[Floats, Floats, Floats]:
    """Return placed, left and the room that remains."""
    sites = room.shape[-1]
    placed = np.zeros((*work.shape, sites))
    left = work
    for rank in range(order.shape[-1]):
        if not left.any():
            break
        option = order[..., rank : rank + 1]

        def chosen(array: Floats, option: Index = option) -> Floats:
            return np.take_along_axis(array, option, -1)[..., 0]

        # What the option may take of what is left.

        taken = np.where(np.isfinite(chosen(options.cost)), left, 0.0)
        if options.limit_gpuh is not None:
            taken = np.minimum(taken, chosen(options.limit_gpuh))
        if options.until_gpuh is not None:
            taken = np.clip(chosen(options.until_gpuh) - (work - left), 0.0, taken)

        # Where regions and rows ask for more than the room, each gets its share.
        wish = taken[..., None] * (option % sites == np.arange(sites))
        demand = wish.sum(-3)
        done = wish * kept_share(keep_by_order(demand, room), demand)
        placed = placed + done
        left = np.maximum(left - done.sum(-1), 0.0)
        room = np.maximum(room - done.sum((-2, -3)), 0.0)
    return placed, left, room


def place_urgent(view: View, placed_gpuh: Floats, left_gpuh: Floats, cost: Floats) -> Floats:
    """Add work that found no room and may not wait to its cheapest open site: there may be some yet."""
    best = np.argmin(cost, axis=-1)[..., None] % placed_gpuh.shape[-1] == np.arange(placed_gpuh.shape[-1])
    urgent = left_gpuh * view.p.is_session
    return placed_gpuh + urgent[..., None] * best


def to_action(
    view: View,
    layout: Layout,
    placed_gpuh: Floats,
    hold_gpuh: Floats,
    refuse_gpuh: Floats | None = None,
    battery_mw: Floats | None = None,
    generation_mw: Floats | None = None,
    job_score: Floats | None = None,
    saving_share: Floats | None = None,
) -> Float[Floats32, "B A"]:
    """Return the action [B,A] that asks for this: work per site, held and refused work, battery, generator.

    ``battery_mw`` is positive for charging.  All renewables are used.  Jobs wait without ``job_score``.
    ``saving_share`` [B,K]: of what power modes can save, where the scenario has them; None: nothing.
    """
    p, shape, on_hand = view.p, layout.shape, view.on_hand_gpuh
    lead = on_hand.shape[:-2]

    # Routing: weights of sites, then held and refused shares.
    routing = np.zeros((*on_hand.shape, shape.sites + 2))
    routing[..., :-2] = 2.0 * ratio(placed_gpuh, placed_gpuh.max(-1, keepdims=True)) - 1.0
    routing[..., -2] = ratio(hold_gpuh, on_hand) * p.may_wait
    if refuse_gpuh is not None:
        routing[..., -1] = np.where(refuse_gpuh > 0.0, 0.5 + 0.5 * ratio(refuse_gpuh, on_hand), 0.0)

    # Power: without a request, batteries and generators are at 0.
    idle = np.zeros((*lead, shape.sites))
    battery = idle if battery_mw is None else _share(np.maximum(battery_mw, 0.0), p.charge_limit_mw)
    if battery_mw is not None:
        battery = battery - _share(np.maximum(-battery_mw, 0.0), p.discharge_limit_mw)
    generator = idle if generation_mw is None else _share(generation_mw, p.generator_max_mw)

    # Jobs: the last score is "wait".
    wait = np.zeros((*lead, shape.slots, shape.sites + 1))
    wait[..., -1] = 1.0
    mode = np.zeros((*lead, *layout.parts["mode"]))
    if saving_share is not None and mode.size:
        mode = saving_share
    parts = [routing, battery, generator, idle, wait if job_score is None else job_score, mode]
    flat = np.concatenate([part.reshape((*lead, -1)) for part in parts], axis=-1)
    return np.clip(flat, -1.0, 1.0).astype(np.float32)


def start_at_once(view: View, cost: Floats) -> Floats:
    """Return job scores [B,V,K+1]: start now, at the site of least ``cost`` ([B,K] or [B,V,K]) where the job fits."""
    sites = cost.shape[-1]
    each = cost if cost.ndim == 3 else cost[:, None, :]
    rank = np.argsort(np.argsort(each, axis=-1, kind="stable"), axis=-1)
    score = np.full((*view.exo.job_open.shape[:-1], sites + 1), -1.0)
    score[..., :sites] = 1.0 - rank / sites
    return score


def _share(part_mw: Floats, limit_mw: Floats) -> Floats:
    return ratio(part_mw, limit_mw + np.zeros_like(part_mw))
