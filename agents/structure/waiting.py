"""When waiting work is served: the price at which the room foreseen just suffices for what must be done.

Work that may wait is pooled over regions and rows.  By each coming step some of it must have been served; the room
that sites will have below a price, less what sessions take of it, is known from the forecasts.  The least price at
which the room suffices for every such deadline is the price of waiting: sites that cost less serve now.
"""

from __future__ import annotations

import torch

Tensor = torch.Tensor

PRICES = 33  # candidates, quantiles of the foreseen prices
WIDTH = 0.1  # of the step from "dearer" to "cheaper"


def free_room(cost: Tensor, room: Tensor, bound: Tensor, free: Tensor) -> tuple[Tensor, Tensor]:
    """Room that sessions leave [B,F,K] and its cost, cheapest sites first.

    ``cost`` and ``room`` [B,F,K]; sessions ``bound`` to their site [B,F,K], and ``free`` to choose [B,F] fill the
    cheapest sites.
    """
    order = cost.argsort(-1)
    left = (room - bound).clamp_min(0.0).gather(-1, order)
    after = (left.cumsum(-1) - free[..., None]).clamp_min(0.0)
    return torch.minimum(after, left), cost.gather(-1, order)


def waiting_price(cost: Tensor, room: Tensor, within: Tensor, must: Tensor) -> Tensor:
    """The price [B] at which the room up to each step suffices.

    ``cost``, ``room`` [B,F,K]; ``within`` [B,F] steps of the episode; ``must`` [B,F] work to be done up to the end of
    each step.  Differentiable in ``must``.
    """
    flat = cost.flatten(1)
    levels = torch.linspace(0.0, 1.0, PRICES, device=cost.device, dtype=cost.dtype)
    price = torch.quantile(flat, levels, dim=1).T
    price = torch.cat([price[:, :1] - 0.5, price, price[:, -1:] + 0.5], 1)
    cheaper = torch.sigmoid((price[:, :, None, None] - cost[:, None]) / WIDTH)
    have = ((room[:, None] * cheaper).sum(-1) * within[:, None]).cumsum(-1)
    short = (have.detach() < must.detach()[:, None]).sum(1).clamp_max(price.shape[1] - 1)
    below = (short - 1).clamp_min(0)
    high, low = (have.gather(1, index[:, None])[:, 0] for index in (short, below))
    upper, lower = price.gather(1, short), price.gather(1, below)
    found = lower + (upper - lower) * ((must - low) / (high - low).clamp_min(1e-6)).clamp(0.0, 1.0)
    needed = (must > 0.0) & (within > 0.5)
    return torch.where(needed, found, price[:, :1]).amax(1)


def to_be_done(waiting: Tensor, due: Tensor, future: Tensor, steps_left: Tensor) -> Tensor:
    """Work that must be done up to the end of each coming step, [B,F].

    ``waiting`` [B] on hand; ``due`` [B,D] of it within each of the next steps; ``future`` [B,F] arrivals, 0 in the
    first step.  A step's arrivals are due D steps later, all at the end of the episode.
    """
    steps, longest = future.shape[1], due.shape[1]
    total = future.cumsum(1)
    later = torch.cat([torch.zeros_like(total[:, :longest]), total[:, : max(steps - longest, 0)]], 1)[
        :, :steps
    ]
    known = torch.cat([due, waiting[:, None].expand(-1, max(steps - longest, 0))], 1)[:, :steps]
    last = torch.arange(steps, device=due.device) >= steps_left[:, None] - 1.0
    return torch.where(last, waiting[:, None] + total, known + later)
