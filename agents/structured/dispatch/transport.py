"""Assign work to sites by cost, within capacity: entropy-regularised optimal transport.

Each piece of work chooses among its open routes (and waiting, where it may) with weights ``exp(-cost / width)``; a site
that would get more than it can do becomes dearer until the work fits.  At width 0 this is the cheapest assignment.

Shapes: R pieces of work, P places (a site, or one kind of power of a site).  The last of P+1 places stands for not
being served now (waiting or refused); its room is unlimited.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from agents.structured.observed import CLOSED
from gridai_env.arrays.torch_ops import constant
from gridai_env.arrays.types import Float

# Newton's method begins with a large width, where the problem is nearly linear, and narrows it (continuation).
FIRST_WIDTH, NARROWING, ITERATIONS = 4.0, 0.7, 18
WIDTHS = FIRST_WIDTH * NARROWING ** np.arange(ITERATIONS)
LONGEST_STEP = 2.0  # in widths
DAMPING = 0.02
FARTHEST = 50.0  # largest scarcity of the first guess
WITHOUT_LIMIT_GPUH = 1e12
STIFF = 1e30  # replaces the slope of a place whose room does not bind, so that it stays where it is


@dataclass(frozen=True)
class WorkToPlace:
    """Pieces of work and their costs."""

    cost: Float[Tensor, "B R P+1"]  # of each place; at least `CLOSED` where that is not possible
    gpuh: Float[Tensor, "B R"]
    must: Float[Tensor, " R"]  # 1.0 for work that may not wait

    def and_also(self, other: WorkToPlace) -> WorkToPlace:
        """Return these pieces of work, then others."""
        return WorkToPlace(
            torch.cat([self.cost, other.cost], 1),
            torch.cat([self.gpuh, other.gpuh], 1),
            torch.cat([self.must, other.must]),
        )


def transport(
    work: WorkToPlace, room_gpuh: Float[Tensor, "B P"], width: Tensor
) -> tuple[Float[Tensor, "B R P"], Float[Tensor, "B P"]]:
    """Return the work served at each place, and the scarcity of each place (its dual price).

    ``width``, a scalar, is in the unit of the cost.  The scarcity is found by Newton's method on the dual.  Its last
    step is differentiable; at the solution that is the gradient of the solution (implicit function theorem).
    """
    # Places before work: a softmax over the innermost axis takes ten times as long.
    problem = _Problem(work.cost.transpose(1, 2).contiguous(), work.gpuh[:, None], work.must, room_gpuh)
    with torch.no_grad():
        fixed = problem.detached()
        scarcity = torch.nn.functional.pad(fixed.first_guess(), (0, 1))
        for each in torch.maximum(width.detach(), constant(WIDTHS, width)).unbind():
            scarcity = fixed.step(scarcity, each)

    scarcity = problem.step(scarcity, width)
    return problem.served(scarcity, width)[1][:, :-1].transpose(1, 2), scarcity[:, :-1]


class _Problem:
    """One transport problem; scarcities [B,P+1] belong to its places and are 0 for the last."""

    def __init__(self, cost: Tensor, gpuh: Tensor, must: Tensor, room_gpuh: Tensor) -> None:
        self.cost = cost  # [B,P+1,R]
        self.gpuh = gpuh  # [B,1,R]
        self.must = must  # [R]
        self.room = torch.nn.functional.pad(room_gpuh, (0, 1), value=WITHOUT_LIMIT_GPUH)  # [B,P+1]
        self.damping = DAMPING * self.room.detach().clamp_min(1.0)

    def detached(self) -> _Problem:
        """Return the same without gradients."""
        return _Problem(self.cost.detach(), self.gpuh.detach(), self.must, self.room[:, :-1].detach())

    def first_guess(self) -> Float[Tensor, "B P"]:
        """Return scarcities as if all work could go anywhere, filling places from the cheapest on.

        A place cheaper than the last one needed is scarce by the difference, but not by more than where work would
        rather take the unlimited place: the steps that follow are too short to come back from there.
        """
        cost = self.cost[:, :-1]
        is_open = (cost < CLOSED / 2.0).to(cost.dtype)
        weight = is_open * (self.gpuh + 1e-6)
        mean = (cost * weight).sum(-1) / weight.sum(-1).clamp_min(1e-9)
        used = is_open.amax(-1) > 0.5

        ordered, order = torch.where(used, mean, CLOSED).sort(-1)
        filled = self.room[:, :-1].gather(-1, order).cumsum(-1)
        needed = (self.gpuh * self.must).sum(-1)
        last = (filled < needed).sum(-1, keepdim=True).clamp_max(cost.shape[1] - 1)

        # Mean cost of the unlimited place over the work that may not wait.
        urgent = self.gpuh[:, 0] * self.must + 1e-6
        leaving = (self.cost[:, -1] * urgent).sum(-1, keepdim=True) / urgent.sum(-1, keepdim=True)
        dearest = torch.minimum(ordered.gather(-1, last), leaving)
        return torch.where(used, (dearest - mean).clamp(0.0, FARTHEST), 0.0)

    def served(
        self, scarcity: Float[Tensor, "B P+1"], width: Tensor
    ) -> tuple[Float[Tensor, "B P+1 R"], Float[Tensor, "B P+1 R"]]:
        """Return the share of each place in each piece of work, and the work served there (or waiting)."""
        share = torch.softmax((self.cost + scarcity[..., None]) / -width, 1)
        return share, share * self.gpuh

    def step(self, scarcity: Float[Tensor, "B P+1"], width: Tensor) -> Float[Tensor, "B P+1"]:
        """Take one step of Newton's method on the places whose room binds."""
        share, served = self.served(scarcity, width)
        load = served.sum(-1)
        over = load - self.room

        # Minus width times the derivative of load by scarcity; gradients pass through ``over`` alone.
        with torch.no_grad():
            binds = torch.maximum(scarcity, over) > 0.0
            own = torch.where(binds, load + self.damping, STIFF)
            slope = torch.baddbmm(torch.diag_embed(own), served, share.transpose(1, 2), alpha=-1.0)
            factor = torch.linalg.cholesky_ex(slope)[0]

        change = torch.cholesky_solve(over[..., None], factor)[..., 0]
        moved = (scarcity + width * change.clamp(-LONGEST_STEP, LONGEST_STEP)).clamp_min(0.0)
        # Exactly 0, or rounding would decide what binds next.
        return torch.where(binds, moved, 0.0)
