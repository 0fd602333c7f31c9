"""Inputs of the value estimate: figures of the sites, pooled, and of the whole system."""

from __future__ import annotations

import torch
from torch import Tensor

from agents.structured.dispatch.placing import Placement
from agents.structured.situation import LEAST_GPUH, Situation
from agents.structured.weights import symlog
from gridai_env.arrays.types import Float
from gridai_env.observation.decode import job_features

OF_SITES, SINGLE = 6, 9
SUMMARY = 3 * OF_SITES + SINGLE


@torch.no_grad()
def summary_of(now: Situation, placed: Placement, slope: Float[Tensor, "B K"]) -> Float[Tensor, "B S"]:
    """Return mean, least and greatest of each figure over the sites, and the figures of the whole system.

    ``slope``: what a stored MWh is worth.
    """
    p, seen, price = now.p, now.seen, now.price
    of_sites = [
        price[:, 0],
        price[:, now.reader.shown].mean(1),
        seen.part["battery"] / p.battery_max_mwh.clamp_min(1e-6),
        placed.scarcity,
        slope,
        now.room_gpuh / now.total_gpuh[:, None].clamp_min(LEAST_GPUH),
    ]
    # Pooled over the sites: the value does not depend on their order or number.
    figures = symlog(torch.stack(of_sites, 1))  # [B,6,K]
    pooled = torch.stack([figures.mean(-1), figures.amin(-1), figures.amax(-1)], -1).flatten(1)

    arriving = seen.part["arrivals"].sum((1, 2)).clamp_min(LEAST_GPUH)
    waiting = (seen.on_hand_gpuh * p.may_wait).sum((1, 2)) / arriving
    single = [seen.steps_left * p.dt_h / 24.0, waiting / 10.0, placed.hold.mean((1, 2))]
    return torch.cat([pooled, torch.stack([*single, *_jobs(now)], -1), seen.hand], -1)


def _jobs(now: Situation) -> list[Float[Tensor, " B"]]:
    """Return what waiting jobs may still earn (in rewards), their number, and accelerators held now and on average.

    Without the value of the jobs that wait, starting one would look like an unexpected gain.
    """
    p, part, reader = now.p, now.seen.part, now.reader
    if not reader.compiled.shape.slots:
        return [torch.zeros_like(now.total_gpuh)] * 4
    jobs = job_features(part["jobs"])
    held = part["committed_gpus"] / p.gpus[:, None]
    value = (jobs["present"] * jobs["value"]).sum(-1) / (reader.compiled.reward_scale_usd / reader.unit)
    return [value, jobs["present"].sum(-1), held[..., 0].mean(-1), held.mean((1, 2))]
