"""Where and when the training jobs on offer would run, one after the other: each sees the plans of those before it."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from agents.structure.situation import Situation
from agents.structure.stack import Stack
from agents.structure.starting import Starts

Tensor = torch.Tensor


@dataclass(frozen=True)
class JobPlan:
    """The jobs on offer as they would run by what is foreseen."""

    price: Tensor  # [B,V,F,K] of the power of each, in 10 USD per MWh at a mean site; the others as planned
    crowded: Tensor  # [B,V,F,K] share of its accelerators for which work would have to make room
    gpus: Tensor  # [B,F,K] that they hold
    stack: Stack  # what they leave

    @classmethod
    @torch.no_grad()
    def of(cls, now: Situation, stack: Stack) -> JobPlan:
        """Plan the jobs in the order of their slots: the most urgent first."""
        jobs = now.reader.job_features(now.seen.part)
        each_gpuh = now.p.speed * now.p.dt_h
        mean_mwh = now.mwh_per_gpuh.mean(-1)[:, None, None]
        held = torch.zeros_like(now.price)
        prices, crowds = [], []
        for slot in range(jobs["gpus"].shape[1]):
            job = {name: value[:, slot : slot + 1] for name, value in jobs.items()}
            gpuh = (job["gpus"] * each_gpuh)[:, None]  # [B,1,K]
            wanted = gpuh.clamp_min(1e-6)
            taken = stack.taken(gpuh)
            prices.append(stack.added(gpuh, taken) / (wanted * mean_mwh))
            crowds.append(((gpuh - stack.left_gpuh()) / wanted).clamp(0.0, 1.0))
            runs = Starts.of(job, prices[-1][:, None], now.seen.within).planned(job)  # [B,F,K]
            held = held + runs * job["gpus"][..., None]
            stack = stack.without((taken * runs.movedim(-1, 0)).sum(1, keepdim=True))
        return cls(torch.stack(prices, 1), torch.stack(crowds, 1), held, stack)
