"""Merit order of the power of all sites in the steps foreseen, and the marginal cost of load on it.

In each step the sites offer room for work by the kind of power it would take.  Work that may go anywhere fills the
cheapest offers first.  Two limits of the routes are kept: a site serves no more than may reach it, and work with a
single route is placed first.  The cost of a training job is that of the work it displaces to dearer offers.

Shapes: F steps foreseen, the present first; P offers, those of all sites sorted by cost.  Offers and sites come before
the batch: sums over offers are then sums of contiguous arrays.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from agents.structured.observed import UNIT_USD
from agents.structured.power import Offers
from agents.structured.situation import Situation, usable_gpus
from gridai_env.arrays.types import Float


@dataclass(frozen=True)
class Stack:
    """Offers of room for work, cheapest first; costs in 10 USD per GPU-h, work in GPU-h per step."""

    cost: Float[Tensor, "P 1 B F"]
    room_gpuh: Float[Tensor, "P 1 B F"]
    owner: Float[Tensor, "P K B F"]  # 1.0 where an offer is the site's
    needed_gpuh: Float[Tensor, "B F"]  # work with a choice
    reach_gpuh: Float[Tensor, "K B F"]  # the most of it that may go to a site
    undone: Tensor  # [] cost of leaving work undone

    @classmethod
    @torch.no_grad()
    def of(cls, now: Situation) -> Stack:
        """Return the offers foreseen, less the work with a single route."""
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

    def without(self, taken_gpuh: Float[Tensor, "P 1 B F"]) -> Stack:
        """Return the same offers with less room."""
        return replace(self, room_gpuh=(self.room_gpuh - taken_gpuh).clamp_min(0.0))

    def taken(self, gpuh: Float[Tensor, "B F|1 K"]) -> Float[Tensor, "P K B F"]:
        """Return the room that load takes at its site, cheapest first."""
        return _filled(self._own, gpuh.movedim(-1, 0))

    def added(
        self, gpuh: Float[Tensor, "B F|1 K"], taken: Float[Tensor, "P K B F"]
    ) -> Float[Tensor, "B F K"]:
        """Return the marginal cost of load at each site and step, in 10 USD, after displacing other work.

        ``taken``: the room that the load takes.
        """
        beyond = gpuh.movedim(-1, 0) - taken.sum(0)
        own = (taken * self.cost).sum(0) + beyond * self.undone

        # One site at a time loses the room: that of the others stays as it is.
        before = self._reached
        after = _filled(self._own - taken, self.reach_gpuh)
        whole = before.sum(1, keepdim=True)
        added = own + self._paid(whole - before + after) - self._paid(whole)
        return added.movedim(0, -1)

    def _paid(self, room_gpuh: Float[Tensor, "P K|1 B F"]) -> Float[Tensor, "K|1 B F"]:
        """Return the cost of serving the work with a choice in the room of the offers."""
        filled = _filled(room_gpuh, self.needed_gpuh)
        return (filled * self.cost).sum(0) + (self.needed_gpuh - filled.sum(0)) * self.undone

    def filled_gpuh(self) -> Float[Tensor, "B F K"]:
        """Return the work with a choice, by the site that serves it."""
        return self._by_site(self._filled())

    def left_gpuh(self) -> Float[Tensor, "B F K"]:
        """Return the room left at the sites."""
        return self._by_site(self.room_gpuh - self._filled())

    def price(self) -> Float[Tensor, "B F"]:
        """Return the cost of the dearest offer needed (the marginal one), in 10 USD per GPU-h."""
        upto = self._reached.sum(1).cumsum(0)
        dearest = (upto < self.needed_gpuh).sum(0, keepdim=True)
        cost = torch.nn.functional.pad(self.cost[:, 0].flatten(1), (0, 0, 0, 1), value=float("inf"))
        return torch.minimum(cost.view(-1, *dearest.shape[1:]).gather(0, dearest)[0], self.undone)

    def scarcity(self, now: Situation) -> Float[Tensor, "B K"]:
        """Return by how much the marginal offer is dearer now than import at each site, in 10 USD per MWh."""
        return (self.price()[:, :1] / now.mwh_per_gpuh - now.supply.buy[:, 0]).clamp_min(0.0)

    @cached_property
    def _reached(self) -> Float[Tensor, "P K B F"]:
        """Return the room of the sites for as much work as may reach them."""
        return _filled(self._own, self.reach_gpuh)

    @cached_property
    def _own(self) -> Float[Tensor, "P K B F"]:
        """Return the room of each site in its own offers."""
        return self.room_gpuh * self.owner

    def _filled(self) -> Float[Tensor, "P 1 B F"]:
        """Return the work with a choice in each offer."""
        return _filled(self._reached.sum(1, keepdim=True), self.needed_gpuh)

    def _by_site(self, gpuh: Float[Tensor, "P 1 B F"]) -> Float[Tensor, "B F K"]:
        return (gpuh * self.owner).sum(0).movedim(0, -1)


def _offers_first(values: Float[Tensor, "B F P"]) -> Float[Tensor, "P 1 B F"]:
    return values.movedim(-1, 0)[:, None].contiguous()


def _filled(room: Float[Tensor, "P ..."], needed: Tensor) -> Float[Tensor, "P ..."]:
    """Fill work [...] into offers, the first ones first."""
    # Sum over the earlier offers: in batches a product with a triangular matrix is faster than `cumsum`.
    count = room.shape[0]
    earlier = torch.ones(count, count, dtype=room.dtype, device=room.device).tril(-1)
    before = (earlier @ room.flatten(1)).view_as(room)
    return torch.minimum((needed - before).clamp_min(0.0), room)


@torch.no_grad()
def net_mw(now: Situation, stack: Stack, planned_gpus: Float[Tensor, "B F K"]) -> Float[Tensor, "B F K"]:
    """Return the load less renewables, now and foreseen.

    ``stack``: room that the planned jobs leave; ``planned_gpus``: accelerators that they hold.
    """
    work_gpus = (stack.filled_gpuh() + now.demand.bound_gpuh) / (now.p.speed * now.p.dt_h)
    return now.power_mw(work_gpus + now.running_gpus + planned_gpus) - now.seen.renewable_mw
