"""Where work is served, what waits and what is refused: costs and rooms handed to `transport`."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from agents.structured.action_numbers import DEAD_ZONE, LOWEST
from agents.structured.dispatch.routes import Routes, waiting_cost
from agents.structured.dispatch.transport import CLOSED, WorkToPlace, transport
from agents.structured.lines import Lines
from agents.structured.power import Offers
from agents.structured.situation import Situation
from agents.structured.weights import LearnedParameters
from gridai_env.arrays.types import Float

LEAST_ROOM_GPUH = 1e-3  # offers with less room are closed
PRICES = 33  # candidates of the waiting price, quantiles of the foreseen prices
WIDTH = 0.1  # of the smooth step (a sigmoid) from "dearer" to "cheaper"


@dataclass(frozen=True)
class Placement:
    """Decision on the work on hand."""

    served_gpuh: Float[Tensor, "B C W K"]
    hold: Float[Tensor, "B C W"]  # fraction of the work on hand that waits
    refuse: Float[Tensor, "B C W"]  # fraction of the work on hand that is refused
    scarcity: Float[Tensor, "B K"]  # what the room of a site adds to its cost

    @classmethod
    def of(cls, now: Situation, weights: LearnedParameters, offers: Offers) -> Placement:
        """Return the decision; ``offers``: the room for work by kind of power."""
        p, seen, first = now.p, now.seen, now.reader.first
        routes = Routes.of(now, weights)
        kinds, (regions, rows) = offers.gpuh.shape[-1], seen.due_gpuh.shape[1:]

        # Each kind of power of a site is a place of its own.
        empty = CLOSED * (offers.gpuh < LEAST_ROOM_GPUH).to(offers.gpuh.dtype)
        spared = (now.price[:, 0, :, None] - offers.price) * now.relative[..., None]
        dearer = (empty - spared)[:, None, None]
        costs = (routes.cost[..., None] + dearer).flatten(-2)  # [B,C,W,P]

        # Work that costs more than it earns is refused.
        refused = (routes.worth + weights.reluctance)[..., None].expand_as(costs[..., :1])
        due = seen.due_gpuh.flatten(1)
        must = WorkToPlace(torch.cat([costs, refused], -1).flatten(1, 2), due, torch.ones_like(due[0]))
        if now.reader.longest:
            must = must.and_also(_waiting(now, weights, routes, costs))

        places, scarcity = transport(must, offers.gpuh.flatten(1), weights.log_width.exp())
        each = places.unflatten(-1, (-1, kinds)).sum(-1)
        served = each[:, : regions * rows].unflatten(1, (regions, rows))
        on_hand = seen.on_hand_gpuh.clamp_min(1e-6)
        refuse = ((seen.due_gpuh - served.sum(-1)) / on_hand).clamp(0.0, 1.0)
        if now.reader.longest:
            more = each[:, regions * rows :].unflatten(1, (regions, -1))
            served = torch.cat([served[:, :, :first], served[:, :, first:] + more], 2)

        hold = 1.0 - refuse - served.sum(-1) / on_hand
        scarce = scarcity.unflatten(-1, (-1, kinds)).amin(-1)
        return cls(served, (hold * p.may_wait).clamp(0.0, 1.0), refuse, scarce)

    def raw_actions(self) -> Float[Tensor, "B C W K+2"]:
        """Return the routing part of the action: logarithms of shares over the largest, hold, refuse."""
        most = self.served_gpuh.amax(-1, keepdim=True).clamp_min(1e-9)
        log_share = torch.log((self.served_gpuh / most).clamp_min(math.exp(LOWEST)))
        refuse = self.refuse - DEAD_ZONE * (1.0 - self.refuse)
        return torch.cat([log_share, self.hold[..., None], refuse[..., None]], -1)


def offers_now(now: Situation, taken_mw: Float[Tensor, "B K"], lines: Lines | None = None) -> Offers:
    """Return the room for work in this step, where batteries take ``taken_mw``; ``lines``: see `Offers.of`."""
    surplus = (now.seen.renewable_mw - now.power_mw(now.running_gpus))[:, 0] - taken_mw
    mw_per_gpuh = now.mwh_per_gpuh / now.p.dt_h
    return Offers.of(now.reader, now.supply.at(0), now.room_gpuh, surplus, mw_per_gpuh, lines)


def _waiting(
    now: Situation, weights: LearnedParameters, routes: Routes, costs: Float[Tensor, "B C W P"]
) -> WorkToPlace:
    """Return the work that may wait longer, with the cost of waiting as its last place."""
    seen, first = now.seen, now.reader.first
    later = waiting_cost(now, routes, _level(now, weights))[..., None]
    gpuh = (seen.on_hand_gpuh - seen.due_gpuh)[:, :, first:].clamp_min(0.0)
    may = gpuh.flatten(1)
    return WorkToPlace(
        torch.cat([costs[:, :, first:], later], -1).flatten(1, 2), may, torch.zeros_like(may[0])
    )


def _level(now: Situation, weights: LearnedParameters) -> Float[Tensor, " B"]:
    """Return the price below which waiting work is served now."""
    seen, demand, work_price, first = now.seen, now.demand, now.work_price, now.reader.first
    room = now.room_gpuh[:, None].expand_as(work_price)
    left, at_cost = free_room(work_price, room, demand.bound_gpuh, demand.free_gpuh)

    # Work that must be done against the room foreseen.
    future = torch.nn.functional.pad((demand.waiting_gpuh * seen.within)[:, 1:], (1, 0))
    waiting = seen.on_hand_gpuh[:, :, first:].sum((1, 2))
    must = to_be_done(waiting, seen.part["due"].sum((1, 2)), future, seen.steps_left)
    level = waiting_price(at_cost, left, seen.within, must)

    arriving = seen.part["arrivals"][:, :, first:].sum((1, 2)) + 1.0
    features = [
        torch.tanh(level - work_price[:, 0].amin(-1))[:, None],
        torch.tanh(work_price.mean(-1)[:, now.reader.shown] - level[:, None]),
        (torch.tanh(torch.log(waiting / arriving + 1e-3) / 2.0))[:, None],
        seen.hand,
        (torch.log(now.room_gpuh.sum(-1) / arriving + 1e-3) / 3.0)[:, None],
    ]
    return level + weights.wait(torch.cat(features, -1))[:, 0] - weights.patience


def free_room(
    cost: Float[Tensor, "B F K"],
    room: Float[Tensor, "B F K"],
    bound: Float[Tensor, "B F K"],
    free: Float[Tensor, "B F"],
) -> tuple[Float[Tensor, "B F K"], Float[Tensor, "B F K"]]:
    """Return the room that sessions leave and its cost, cheapest sites first.

    Sessions ``bound`` to their site are served there; those ``free`` to choose fill the cheapest sites.
    """
    order = cost.argsort(-1)
    left = (room - bound).clamp_min(0.0).gather(-1, order)
    after = (left.cumsum(-1) - free[..., None]).clamp_min(0.0)
    return torch.minimum(after, left), cost.gather(-1, order)


def waiting_price(
    cost: Float[Tensor, "B F K"],
    room: Float[Tensor, "B F K"],
    within: Float[Tensor, "B F"],
    must: Float[Tensor, "B F"],
) -> Float[Tensor, " B"]:
    """Return the lowest price at which the cheaper room up to each step suffices.

    ``within``: 1.0 for steps of the episode; ``must``: work to be done up to the end of each step.  Differentiable in
    ``must``.
    """
    # Room that each candidate price makes available, cumulated over the steps.
    flat = cost.flatten(1)
    levels = torch.linspace(0.0, 1.0, PRICES, device=cost.device, dtype=cost.dtype)
    price = torch.quantile(flat, levels, dim=1).T
    price = torch.cat([price[:, :1] - 0.5, price, price[:, -1:] + 0.5], 1)
    cheaper = torch.sigmoid((price[:, :, None, None] - cost[:, None]) / WIDTH)
    have = ((room[:, None] * cheaper).sum(-1) * within[:, None]).cumsum(-1)

    # The first candidate that suffices, and linear interpolation to the one below.
    short = (have.detach() < must.detach()[:, None]).sum(1).clamp_max(price.shape[1] - 1)
    below = (short - 1).clamp_min(0)
    high, low = (have.gather(1, index[:, None])[:, 0] for index in (short, below))
    upper, lower = price.gather(1, short), price.gather(1, below)
    found = lower + (upper - lower) * ((must - low) / (high - low).clamp_min(1e-6)).clamp(0.0, 1.0)

    needed = (must > 0.0) & (within > 0.5)
    return torch.where(needed, found, price[:, :1]).amax(1)


def to_be_done(
    waiting: Float[Tensor, " B"],
    due: Float[Tensor, "B D"],
    future: Float[Tensor, "B F"],
    steps_left: Float[Tensor, " B"],
) -> Float[Tensor, "B F"]:
    """Return the work that must be done up to the end of each coming step.

    ``waiting`` on hand; ``due`` of it within each of the next steps; ``future`` arrivals, 0 in the first step.
    Arrivals of a step are due D steps later, and all work at the end of the episode.
    """
    steps, longest = future.shape[1], due.shape[1]
    beyond = max(steps - longest, 0)
    total = future.cumsum(1)
    later = torch.cat([torch.zeros_like(total[:, :longest]), total[:, :beyond]], 1)[:, :steps]
    known = torch.cat([due, waiting[:, None].expand(-1, beyond)], 1)[:, :steps]

    last = torch.arange(steps, device=due.device) >= steps_left[:, None] - 1.0
    return torch.where(last, waiting[:, None] + total, known + later)
