"""Power of all sites by cost, foreseen: what load costs when work may go to where power is cheap.

In each step foreseen the sites offer room for work by the kind of power it would take.  Work that may go anywhere fills
the cheapest offers first (the merit order).  Of the masks it keeps that a site serves no more than may reach it, and
that work with a single route is placed before.  What a training job adds is paid at the price at which work makes room
for it.

Shapes: F steps foreseen, the present first; P offers, those of all sites sorted by cost.  Offers and sites lead and the
batch follows: sums over offers are then sums of whole arrays.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from agents.structured.observed import UNIT_USD
from agents.structured.power import Offers
from agents.structured.situation import Situation, usable_gpus


@dataclass(frozen=True)
class Stack:
    """Offers of room for work, cheapest first; costs in 10 USD per GPU-h, work in GPU-h per step."""

    cost: Tensor  # [P,1,B,F]
    room_gpuh: Tensor  # [P,1,B,F]
    owner: Tensor  # [P,K,B,F] 1.0 where an offer is the site's
    needed_gpuh: Tensor  # [B,F] work with a choice
    reach_gpuh: Tensor  # [K,B,F] the most of it that may go to a site
    undone: Tensor  # [] cost of leaving work undone

    @classmethod
    @torch.no_grad()
    def of(cls, now: Situation) -> Stack:
        """The offers that are foreseen."""
        p, demand, per_mwh = now.p, now.demand, now.mwh_per_gpuh[:, None]
        room = usable_gpus(p, now.seen.part["available_gpus"][:, None], now.running_gpus) * (p.speed * p.dt_h)
        surplus = now.seen.renewable_mw - now.power_mw(now.running_gpus)
        offers = Offers.of(now.reader, now.supply, room, surplus, per_mwh / p.dt_h)
        kinds = offers.gpuh.shape[-1]
        cost, order = (offers.price * per_mwh[..., None]).flatten(2).sort(-1)
        sites = torch.arange(room.shape[-1], device=cost.device)
        owner = (order // kinds).movedim(-1, 0)[:, None] == sites[:, None, None]
        stack = cls(
            cost=_offers_first(cost),
            room_gpuh=_offers_first(offers.gpuh.flatten(2).gather(-1, order)),
            owner=owner.to(cost.dtype),
            needed_gpuh=demand.sessions_gpuh + demand.waiting_gpuh,
            reach_gpuh=demand.reach_gpuh.movedim(-1, 0),
            undone=(p.revenue_usd_per_gpuh + p.drop_usd_per_gpuh).mean() / UNIT_USD,
        )
        bound = stack.taken(demand.bound_gpuh)
        left = (stack.needed_gpuh - bound.sum((0, 1))).clamp_min(0.0)
        return replace(stack.without(bound.sum(1, keepdim=True)), needed_gpuh=left)

    def without(self, taken_gpuh: Tensor) -> Stack:
        """The same with less room; ``taken_gpuh`` [P,1,B,F]."""
        return replace(self, room_gpuh=(self.room_gpuh - taken_gpuh).clamp_min(0.0))

    def taken(self, gpuh: Tensor) -> Tensor:
        """Room [P,K,B,F] that load [B,F|1,K] takes at its site, cheapest first."""
        return _filled(self._own, gpuh.movedim(-1, 0))

    def added(self, gpuh: Tensor, taken: Tensor) -> Tensor:
        """What load [B,F|1,K] at a site costs in each step, in 10 USD, [B,F,K]: work makes room for it.

        ``taken``: what it takes.
        """
        beyond = gpuh.movedim(-1, 0) - taken.sum(0)
        own = (taken * self.cost).sum(0) + beyond * self.undone
        before = self._reached
        after = _filled(self._own - taken, self.reach_gpuh)
        whole = before.sum(1, keepdim=True)
        added = own + self._paid(whole - before + after) - self._paid(whole)
        return added.movedim(0, -1)

    def _paid(self, room_gpuh: Tensor) -> Tensor:
        """Cost [K|1,B,F] of the work in offers [P,K|1,B,F]."""
        filled = _filled(room_gpuh, self.needed_gpuh)
        return (filled * self.cost).sum(0) + (self.needed_gpuh - filled.sum(0)) * self.undone

    def filled_gpuh(self) -> Tensor:
        """Work with a choice, at the sites, [B,F,K]."""
        return self._by_site(self._filled())

    def left_gpuh(self) -> Tensor:
        """Room left at the sites [B,F,K]."""
        return self._by_site(self.room_gpuh - self._filled())

    def price(self) -> Tensor:
        """Cost of work [B,F] in 10 USD per GPU-h: that of the dearest offer needed."""
        upto = self._reached.sum(1).cumsum(0)
        dearest = (upto < self.needed_gpuh).sum(0, keepdim=True)
        cost = torch.nn.functional.pad(self.cost[:, 0].flatten(1), (0, 0, 0, 1), value=float("inf"))
        return torch.minimum(cost.view(-1, *dearest.shape[1:]).gather(0, dearest)[0], self.undone)

    def scarcity(self, now: Situation) -> Tensor:
        """By how much work is dearer now than import at the sites, [B,K], in 10 USD per MWh."""
        return (self.price()[:, :1] / now.mwh_per_gpuh - now.supply.buy[:, 0]).clamp_min(0.0)

    @cached_property
    def _reached(self) -> Tensor:
        """Room [P,K,B,F] of the sites for as much work as may reach them."""
        return _filled(self._own, self.reach_gpuh)

    @cached_property
    def _own(self) -> Tensor:
        """Room [P,K,B,F] of each site in its own offers."""
        return self.room_gpuh * self.owner

    def _filled(self) -> Tensor:
        """Work with a choice in the offers [P,1,B,F]."""
        return _filled(self._reached.sum(1, keepdim=True), self.needed_gpuh)

    def _by_site(self, gpuh: Tensor) -> Tensor:
        return (gpuh * self.owner).sum(0).movedim(0, -1)


def _offers_first(values: Tensor) -> Tensor:
    """Values [B,F,P] as [P,1,B,F]."""
    return values.movedim(-1, 0)[:, None].contiguous()


def _filled(room: Tensor, needed: Tensor) -> Tensor:
    """Work [...] filled into offers [P,...], the first ones first."""
    count = room.shape[0]
    earlier = torch.ones(count, count, dtype=room.dtype, device=room.device).tril(-1)
    before = (earlier @ room.flatten(1)).view_as(room)
    return torch.minimum((needed - before).clamp_min(0.0), room)


@torch.no_grad()
def net_mw(now: Situation, stack: Stack, planned_gpus: Tensor) -> Tensor:
    """Load less renewables [B,F,K], now and foreseen.

    ``stack``: what the jobs planned leave; ``planned_gpus`` [B,F,K]: what they hold besides those that run.
    """
    work_gpus = (stack.filled_gpuh() + now.demand.bound_gpuh) / (now.p.speed * now.p.dt_h)
    return now.power_mw(work_gpus + now.running_gpus + planned_gpus) - now.seen.renewable_mw
