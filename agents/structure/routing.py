"""Work on sites by cost, within their capacity: optimal transport with entropy.

Each piece of work chooses among its open routes (and waiting, where it may) with weights ``exp(-cost / width)``; a site
that would get more than it can do becomes dearer until the work fits.  At width 0 this is the cheapest plan.

Shapes: R pieces of work, P places (a site, or one kind of power of a site).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

Tensor = torch.Tensor

ITERATIONS = 8
CLOSED = 1e4
# Newton's method begins with wide choices, which are nearly linear, and narrows them.
FIRST_WIDTH, NARROWING = 0.8, 0.7
LONGEST_STEP = 2.0  # in widths
DAMPING = 0.02
FARTHEST = 50.0  # of the first guess


@dataclass(frozen=True)
class Work:
    """What is to be placed."""

    cost: Tensor  # [B,R,P+1] of each place, the last of waiting; `CLOSED` and more where that is not possible
    gpuh: Tensor  # [B,R]
    room_gpuh: Tensor  # [B,P]


def place(work: Work, width: Tensor) -> tuple[Tensor, Tensor]:
    """Return how the work is served [B,R,P], and what scarcity adds to the cost of the places [B,P].

    ``width`` [] is in the unit of the cost.  The scarcity is found by Newton's method on the dual.  Its last step is
    differentiable, which at the solution is the gradient of the solution.
    """
    with torch.no_grad():
        fixed = Work(work.cost.detach(), work.gpuh.detach(), work.room_gpuh.detach())
        scarcity, floor = _pooled_scarcity(fixed), float(width)
        for i in range(ITERATIONS):
            scarcity = _step(fixed, scarcity, max(floor, FIRST_WIDTH * NARROWING**i))
    scarcity = _step(work, scarcity, width)
    return _served(work, scarcity, width)[1], scarcity


def _pooled_scarcity(work: Work) -> Tensor:
    """A first guess [B,P]: places fill up from the cheapest on as if all work could go anywhere.

    A place that is cheaper than the last one needed is scarce by the difference.
    """
    cost, bound = work.cost[..., :-1], work.cost[..., -1:] >= CLOSED
    is_open = (cost < CLOSED / 2.0).to(cost.dtype)
    weight = is_open * (work.gpuh[..., None] + 1e-6)
    mean = (cost * weight).sum(1) / weight.sum(1).clamp_min(1e-9)
    used = is_open.amax(1) > 0.5
    ordered, order = torch.where(used, mean, CLOSED).sort(-1)
    filled = work.room_gpuh.gather(-1, order).cumsum(-1)
    needed = (work.gpuh * bound[..., 0]).sum(-1, keepdim=True)
    last = (filled < needed).sum(-1, keepdim=True).clamp_max(cost.shape[-1] - 1)
    return torch.where(used, (ordered.gather(-1, last) - mean).clamp(0.0, FARTHEST), 0.0)


def _served(work: Work, scarcity: Tensor, width: Tensor | float) -> tuple[Tensor, Tensor]:
    """Share of the places [B,R,P] in each piece of work, and the work served there."""
    dearer = torch.nn.functional.pad(scarcity, (0, 1))[:, None]
    share = torch.softmax((work.cost + dearer) / -width, -1)[..., :-1]
    return share, share * work.gpuh[..., None]


def _step(work: Work, scarcity: Tensor, width: Tensor | float) -> Tensor:
    """One step of Newton's method on the places whose room binds."""
    share, served = _served(work, scarcity, width)
    load = served.sum(1)
    over = load - work.room_gpuh
    with torch.no_grad():
        binds = ((scarcity > 0.0) | (over > 0.0)).to(load.dtype)
        slope = served.transpose(1, 2) @ share
        slope = -slope * binds[:, :, None] * binds[:, None, :]
        own = load * binds + 1.0 - binds + DAMPING * work.room_gpuh.clamp_min(1.0)
        factor = torch.linalg.cholesky_ex(slope + torch.diag_embed(own))[0]
    change = width * _solved(factor, over * binds)
    most = LONGEST_STEP * width
    return (scarcity + torch.clamp(change, -most, most)).clamp_min(0.0)


def _solved(factor: Tensor, right: Tensor) -> Tensor:
    """Solve with the Cholesky factor [B,P,P] for the right-hand sides [B,P]."""
    return torch.cholesky_solve(right[..., None], factor)[..., 0]
