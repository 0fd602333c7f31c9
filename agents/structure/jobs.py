"""Which training jobs start, and where: by what their power will cost, corrected by the network of jobs."""

from __future__ import annotations

import torch

from agents.structure.planning import JobPlan
from agents.structure.situation import Situation
from agents.structure.starting import Starts
from agents.structure.weights import Weights

Tensor = torch.Tensor


def job_scores(now: Situation, weights: Weights, plan: JobPlan, scarcity: Tensor, net_mw: Tensor) -> Tensor:
    """Scores of the job slots [B,V,K+1].

    ``scarcity`` [B,K] what the room of a site adds to its cost; ``net_mw`` [B,K] load less renewables.
    """
    jobs = now.reader.job_features(now.seen.part)
    starts = Starts.of(jobs, plan.price, now.seen.within)
    features = _features(now, jobs, starts, plan.crowded, scarcity, net_mw)
    correction = weights.job(features)  # of the cost of a start, and of a share in the cost of waiting
    is_open = starts.is_open[..., None].to(features.dtype)
    waits = (correction[..., 1:] * is_open).sum(2) / is_open.sum(2).clamp_min(1.0)
    return starts.rule(correction[..., 0], weights.hesitation + waits[..., 0])


def _features(
    now: Situation, jobs: dict[str, Tensor], starts: Starts, crowded: Tensor, scarcity: Tensor, net_mw: Tensor
) -> Tensor:
    """What the network of jobs sees of each start, [B,V,K,12]."""
    p = now.p
    return torch.stack(
        torch.broadcast_tensors(
            torch.tanh((starts.now - starts.best_now[..., None]) / 2.0),
            torch.tanh((starts.now - starts.best_later[..., None]) / 2.0),
            torch.tanh((starts.best_later_here - starts.now) / 2.0),
            torch.tanh((starts.usual - starts.now) / 2.0),
            crowded[:, :, 0],
            crowded.mean(2),
            torch.tanh(scarcity)[:, None],
            torch.tanh(net_mw / 20.0)[:, None],
            (jobs["gpus"][..., None] / p.gpus),
            *(torch.tanh(jobs[name] / 10.0)[..., None] for name in ("slack", "duration")),
            (now.seen.steps_left * p.dt_h / 24.0).clamp_max(2.0)[:, None, None],
        ),
        -1,
    )
