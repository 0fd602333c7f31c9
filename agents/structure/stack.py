"""Power of all sites by cost, foreseen: what load costs when work may go to where power is cheap.

In each step foreseen the sites offer room for work by the kind of power it would take.  Work that may go anywhere fills
the cheapest offers first (the merit order); masks are left out, but work with a single route is placed before.  What a
training job adds is paid at the price at which work makes room for it.

Shapes: F steps foreseen, the present first; P offers, those of all sites sorted by cost.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from agents.structure.power import Offers
from agents.structure.reading import UNIT_USD
from agents.structure.situation import Situation, usable_gpus

Tensor = torch.Tensor


@dataclass(frozen=True)
class Stack:
    """Offers of room for work, cheapest first; costs in 10 USD per GPU-h, work in GPU-h per step."""

    cost: Tensor  # [B,F,P]
    room_gpuh: Tensor  # [B,F,P]
    owner: Tensor  # [B,F,K,P] 1.0 where an offer is the site's
    needed_gpuh: Tensor  # [B,F] work that may go anywhere
    undone: Tensor  # [] cost of leaving work undone

    @classmethod
    @torch.no_grad()
    def of(cls, now: Situation) -> Stack:
        """The offers that are foreseen."""
        p, demand, per_mwh = now.p, now.demand, now.mwh_per_gpuh[:, None]
        room = usable_gpus(p, now.seen.part["available_gpus"][:, None], now.running_gpus) * (p.speed * p.dt_h)
        surplus = now.seen.renewable_mw - now.power_mw(now.running_gpus)
        offers = Offers.of(now.reader, now.supply, room, surplus, per_mwh / p.dt_h)
        sites, kinds = offers.gpuh.shape[2:]
        cost, order = (offers.price * per_mwh[..., None]).flatten(2).sort(-1)
        owner = torch.eye(sites, device=cost.device).repeat_interleave(kinds, 1)
        every = demand.sessions_gpuh + demand.waiting_gpuh
        stack = cls(
            cost=cost,
            room_gpuh=offers.gpuh.flatten(2).gather(-1, order),
            owner=owner[:, order].permute(1, 2, 0, 3),
            needed_gpuh=every,
            undone=(p.revenue_usd_per_gpuh + p.drop_usd_per_gpuh).mean() / UNIT_USD,
        )
        bound = stack.taken(demand.bound_gpuh).sum(2)
        return replace(stack.without(bound), needed_gpuh=(every - bound.sum(-1)).clamp_min(0.0))

    def without(self, taken_gpuh: Tensor) -> Stack:
        """The same with less room; ``taken_gpuh`` [B,F,P]."""
        return replace(self, room_gpuh=(self.room_gpuh - taken_gpuh).clamp_min(0.0))

    def taken(self, gpuh: Tensor) -> Tensor:
        """Room [B,F,K,P] that load [B,F|1,K] takes at its site, cheapest first."""
        return _filled(self.room_gpuh[:, :, None] * self.owner, gpuh)

    def added(self, gpuh: Tensor) -> Tensor:
        """What load [B,K] at a site costs in each step, in 10 USD, [B,F,K]: work makes room for it."""
        taken = self.taken(gpuh[:, None])
        beyond = gpuh[:, None] - taken.sum(-1)
        own = (taken * self.cost[:, :, None]).sum(-1) + beyond * self.undone
        with_it = self._paid(
            self.room_gpuh[:, :, None] - taken, self.cost[:, :, None], self.needed_gpuh[..., None]
        )
        return own + with_it - self._paid(self.room_gpuh, self.cost, self.needed_gpuh)[..., None]

    def _paid(self, room_gpuh: Tensor, cost: Tensor, needed_gpuh: Tensor) -> Tensor:
        """Cost [...] of work [...] in offers [...,P]."""
        filled = _filled(room_gpuh, needed_gpuh)
        return (filled * cost).sum(-1) + (needed_gpuh - filled.sum(-1)) * self.undone

    def filled_gpuh(self) -> Tensor:
        """Work that may go anywhere, at the sites, [B,F,K]."""
        return self._by_site(_filled(self.room_gpuh, self.needed_gpuh))

    def left_gpuh(self) -> Tensor:
        """Room left at the sites [B,F,K]."""
        return self._by_site(self.room_gpuh) - self.filled_gpuh()

    def price(self) -> Tensor:
        """Cost of work [B,F] in 10 USD per GPU-h: that of the dearest offer needed."""
        dearest = (self.room_gpuh.cumsum(-1) < self.needed_gpuh[..., None]).sum(-1, keepdim=True)
        cost = torch.nn.functional.pad(self.cost, (0, 1), value=float("inf"))
        return torch.minimum(cost.gather(-1, dearest)[..., 0], self.undone)

    def scarcity(self, now: Situation) -> Tensor:
        """By how much work is dearer now than import at the sites, [B,K], in 10 USD per MWh."""
        return (self.price()[:, :1] / now.mwh_per_gpuh - now.supply.buy[:, 0]).clamp_min(0.0)

    def _by_site(self, gpuh: Tensor) -> Tensor:
        return (gpuh[:, :, None] * self.owner).sum(-1)


def _filled(room: Tensor, needed: Tensor) -> Tensor:
    """Work [...] filled into offers [...,P], the first ones first."""
    before = room.cumsum(-1) - room
    return torch.minimum((needed[..., None] - before).clamp_min(0.0), room)


@torch.no_grad()
def net_mw(now: Situation, stack: Stack, planned_gpus: Tensor) -> Tensor:
    """Load less renewables [B,F,K], now and foreseen.

    ``stack``: what the jobs planned leave; ``planned_gpus`` [B,F,K]: what they hold besides those that run.
    """
    work_gpus = (stack.filled_gpuh() + now.demand.bound_gpuh) / (now.p.speed * now.p.dt_h)
    return now.power_mw(work_gpus + now.running_gpus + planned_gpus) - now.seen.renewable_mw
