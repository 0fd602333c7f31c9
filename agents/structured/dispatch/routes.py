"""Cost of serving work of a region and row at a site: power, network, moves, and the hours that follow.

Costs are per MWh of IT load at a mean site, in 10 USD; at least `CLOSED` where a route is closed.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from agents.structured.observed import UNIT_USD
from agents.structured.situation import Situation, episode_mean
from agents.structured.weights import LearnedParameters
from gridai_env.arrays.types import Float


@dataclass(frozen=True)
class Routes:
    """Costs of the routes."""

    cost: Float[Tensor, "B C W K"]
    egress: Float[Tensor, "B C W K"]  # of the network alone, part of the cost
    move: Float[Tensor, "B C W K"]  # of moving a session to a site where it is not
    worth: Float[Tensor, "B C W"]  # of serving the work at all: revenue, and no penalty for dropping it

    @classmethod
    def of(cls, now: Situation, weights: LearnedParameters) -> Routes:
        """Return the generalised costs, corrected by the network."""
        p, seen = now.p, now.seen
        per_unit = (now.mwh_per_gpuh.mean(-1) * UNIT_USD)[:, None, None, None]  # USD per GPU-h
        network = seen.usd_per_mwh[:, 0].clamp_min(0.0)[:, None, None]
        egress = (p.egress_usd_per_gpuh + p.network_mwh_per_gpuh * network) / per_unit
        move_mwh = p.relocation_mwh_per_gpuh + p.warm_mwh_per_gpuh[:, None]
        move = (p.relocation_usd_per_gpuh + p.warm_usd_per_gpuh[:, None] + move_mwh * network) / per_unit

        stays = seen.resident * p.is_session[:, None]
        plain = now.work_price[:, 0, None, None] + egress
        cost = plain + _corrections(now, weights, plain, egress, move, stays) + now.reader.closed_cost
        if now.reader.first:
            cost = cost + _sessions(now, weights, egress, move, stays)

        value = (p.revenue_usd_per_gpuh + p.drop_usd_per_gpuh) / per_unit[..., 0]
        return cls(cost, egress, move, value.expand(cost.shape[:-1]))


def _corrections(
    now: Situation,
    weights: LearnedParameters,
    cost: Float[Tensor, "B C W K"],
    egress: Float[Tensor, "B C W K"],
    move: Float[Tensor, "B C W K"],
    stays: Float[Tensor, "B C W K"],
) -> Float[Tensor, "B C W K"]:
    """Return what the network adds to the cost of the open routes."""
    p, seen, at = now.p, now.seen, now.reader.open_index
    is_open = p.route_open
    mean = (cost * is_open).sum(-1, keepdim=True) / is_open.sum(-1, keepdim=True)
    ahead = episode_mean(now.work_price, seen.within) - now.work_price[:, 0]
    on_hand = seen.on_hand_gpuh
    features = torch.broadcast_tensors(
        torch.tanh((cost - mean) / 2.0),
        torch.tanh(ahead / 2.0)[:, None, None],
        stays,
        now.log_room[:, None, None],
        torch.log1p(10.0 * on_hand / (on_hand.sum(2, keepdim=True) + 1e-6))[..., None],
        p.is_session[:, None],
        torch.tanh(move),
        p.home[:, None].expand_as(is_open),
        torch.tanh(egress),
    )

    # Only open routes pass through the network: most routes of a large scenario are closed.
    chosen = torch.stack(features, -1).flatten(1, 3).index_select(1, at)  # [B,open,9]
    found = weights.route(chosen)[..., 0]
    return torch.zeros_like(cost).flatten(1).index_copy(1, at, found).view(cost.shape)


def _sessions(
    now: Situation,
    weights: LearnedParameters,
    egress: Float[Tensor, "B C W K"],
    move: Float[Tensor, "B C W K"],
    stays: Float[Tensor, "B C W K"],
) -> Float[Tensor, "B C W K"]:
    """Return the cost of later steps at a site less the saved cost of a move; 0 for rows that may wait."""
    first = now.reader.first
    here, fee = stays[:, :, :first], move[:, :, :first]
    later = _position(now, egress[:, :, :first], fee)
    added = weights.foresight * later - weights.stickiness * fee * here
    return torch.nn.functional.pad(added, (0, 0, 0, stays.shape[2] - first))


@torch.no_grad()
def _position(
    now: Situation, egress: Float[Tensor, "B C P K"], move: Float[Tensor, "B C P K"]
) -> Float[Tensor, "B C P K"]:
    """Return the cost to come of being at a site after this step rather than at the best (backward recursion).

    Sites cheaper than the marginal one count as that: their room is taken.
    """
    ahead = now.reader.horizon
    within = now.seen.within[:, : ahead + 1, None]
    price = torch.maximum(now.work_price[:, : ahead + 1], _marginal_price(now, ahead + 1)[..., None])
    prices = (price * within)[..., None].unbind(1)

    # Sites before work, [B,K,C*P]: a minimum over the innermost axis would be slower.
    closed = now.reader.closed_cost[:, : egress.shape[2]]
    route, fee = ((x.movedim(-1, 1).flatten(2).contiguous()) for x in (egress + closed, move))

    value = torch.zeros_like(route)
    for at in reversed(prices[1:]):
        value = value + at + route
        value = torch.minimum(value, value.amin(1, keepdim=True) + fee)
    value = value - value.amin(1, keepdim=True)
    return value.unflatten(2, egress.shape[1:3]).movedim(1, -1)


def _marginal_price(now: Situation, steps: int) -> Float[Tensor, "B steps"]:
    """Return the cost of the dearest site that sessions need, were they free to choose, in the first steps foreseen."""
    cost, order = now.work_price[:, :steps].sort(-1)
    filled = now.room_gpuh[:, None].expand_as(cost).gather(-1, order).cumsum(-1)
    needed = (filled < now.demand.sessions_gpuh[:, :steps, None]).sum(-1, keepdim=True)
    return cost.gather(-1, needed.clamp_max(cost.shape[-1] - 1))[..., 0]


def waiting_cost(now: Situation, routes: Routes, level: Float[Tensor, " B"]) -> Float[Tensor, "B C Q"]:
    """Return what waiting work will cost when it is served, network included.

    That is the price of waiting ``level``, or more where all open sites will be dearer.
    """
    first, longest = now.reader.first, now.reader.longest
    ahead = torch.where(now.seen.within[..., None] > 0.5, now.work_price, torch.inf)
    best = ahead[:, 1 : longest + 1].amin(1)
    best = torch.where(torch.isfinite(best), best, now.work_price[:, 0])
    later = torch.maximum(level[:, None], best)[:, None, None] + routes.egress[:, :, first:]
    return (later + now.reader.closed_cost[:, first:]).amin(-1)
