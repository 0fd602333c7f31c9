"""Where work goes and what waits: costs and rooms handed to the transport of `routing`."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from agents.structure.numbers import LOWEST, SHY
from agents.structure.power import Offers
from agents.structure.routes import Routes, waiting_cost
from agents.structure.routing import CLOSED, Work, place
from agents.structure.situation import Situation
from agents.structure.waiting import free_room, to_be_done, waiting_price
from agents.structure.weights import Weights

Tensor = torch.Tensor

LEAST_ROOM_GPUH = 1e-3


@dataclass(frozen=True)
class Placed:
    """Where work goes."""

    served_gpuh: Tensor  # [B,C,W,K]
    hold: Tensor  # [B,C,W] fraction of the work on hand that waits
    refuse: Tensor  # [B,C,W] fraction of the work on hand that is refused
    scarcity: Tensor  # [B,K] what the room of a site adds to its cost

    @classmethod
    def of(cls, now: Situation, weights: Weights, offers: Offers) -> Placed:
        """Decide on the work on hand; ``offers``: the room for it."""
        p, seen, first = now.p, now.seen, now.reader.first
        routes = Routes.of(now, weights)
        kinds, (regions, rows) = offers.gpuh.shape[-1], seen.due_gpuh.shape[1:]
        # Each kind of power of a site is a place of its own.
        empty = CLOSED * (offers.gpuh < LEAST_ROOM_GPUH).to(offers.gpuh.dtype)
        spared = (now.price[:, 0, :, None] - offers.price) * now.relative[..., None]
        dearer = (empty - spared)[:, None, None]
        costs = (routes.cost[..., None] + dearer).flatten(-2)  # [B,C,W,P]
        # Work that costs more than it brings is refused.
        refused = (routes.worth + weights.reluctance)[..., None].expand_as(costs[..., :1])
        due = seen.due_gpuh.flatten(1)
        must = Work(torch.cat([costs, refused], -1).flatten(1, 2), due, torch.ones_like(due[0]))
        if now.reader.longest:
            must = must.and_also(_waiting(now, weights, routes, costs))
        places, scarcity = place(must, offers.gpuh.flatten(1), weights.log_width.exp())
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

    def wishes(self) -> Tensor:
        """The routing part of the action [B,C,W,K+2]: logarithms of shares over the largest, hold, refuse."""
        most = self.served_gpuh.amax(-1, keepdim=True).clamp_min(1e-9)
        log_share = torch.log((self.served_gpuh / most).clamp_min(math.exp(LOWEST)))
        refuse = self.refuse - SHY * (1.0 - self.refuse)
        return torch.cat([log_share, self.hold[..., None], refuse[..., None]], -1)


def offers_now(now: Situation, taken_mw: Tensor) -> Offers:
    """Room for work in this step, where batteries take ``taken_mw`` [B,K]."""
    surplus = (now.seen.renewable_mw - now.power_mw(now.running_gpus))[:, 0] - taken_mw
    mw_per_gpuh = now.mwh_per_gpuh / now.p.dt_h
    return Offers.of(now.reader, now.supply.at(0), now.room_gpuh, surplus, mw_per_gpuh)


def _waiting(now: Situation, weights: Weights, routes: Routes, costs: Tensor) -> Work:
    """The work that may wait longer, with the cost of waiting as its last place."""
    seen, first = now.seen, now.reader.first
    later = waiting_cost(now, routes, _level(now, weights))[..., None]
    gpuh = (seen.on_hand_gpuh - seen.due_gpuh)[:, :, first:].clamp_min(0.0)
    may = gpuh.flatten(1)
    return Work(torch.cat([costs[:, :, first:], later], -1).flatten(1, 2), may, torch.zeros_like(may[0]))


def _level(now: Situation, weights: Weights) -> Tensor:
    """The price [B] below which waiting work is served now."""
    seen, demand, work_price, first = now.seen, now.demand, now.work_price, now.reader.first
    room = now.room_gpuh[:, None].expand_as(work_price)
    left, at_cost = free_room(work_price, room, demand.bound_gpuh, demand.free_gpuh)
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
