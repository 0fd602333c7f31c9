"""Which training jobs start, and where: prices of their power and of the work that they crowd out."""

from __future__ import annotations

import torch

from agents.structure.placing import Placed
from agents.structure.situation import Situation
from agents.structure.starting import Starts
from agents.structure.storage import Supply
from agents.structure.weights import Weights
from gridai_env import physics

Tensor = torch.Tensor


def job_scores(now: Situation, weights: Weights, placed: Placed, net_mw: Tensor) -> Tensor:
    """Scores of the job slots [B,V,K+1]; ``net_mw`` [B,F,K] load less renewables."""
    jobs = now.reader.job_features(now.seen.part)
    crowded = _crowded(now, weights, placed, jobs["gpus"])
    price = _power_price(now, jobs["gpus"], net_mw) + weights.crowding * crowded
    starts = Starts.of(jobs, price, now.seen.within)
    scarcity = placed.scarcity.clamp_max(10.0)[:, None]
    features = _features(now, jobs, starts, crowded, scarcity, net_mw)
    correction = weights.job(features)  # of the cost of a start, and of a share in the cost of waiting
    is_open = starts.is_open[..., None].to(features.dtype)
    waits = (correction[..., 1:] * is_open).sum(2) / is_open.sum(2).clamp_min(1.0)
    return starts.rule(correction[..., 0] + scarcity, weights.hesitation + waits[..., 0])


def _power_price(now: Situation, gpus: Tensor, net_mw: Tensor) -> Tensor:
    """What each MWh of a job's power costs, foreseen, [B,V,F,K]; ``gpus`` [B,V]."""
    supply, net = now.supply, net_mw[:, None]
    per_gpu_mw = now.mwh_per_gpuh * now.p.speed
    job_mw = (per_gpu_mw[:, None] * gpus[..., None])[:, :, None]  # [B,V,1,K]
    each = Supply(supply.buy[:, None], supply.sell[:, None], supply.export_limit_mw[:, None])
    return (each.cost(net + job_mw) - each.cost(net)) / job_mw.clamp_min(1e-6)


def _crowded(now: Situation, weights: Weights, placed: Placed, gpus: Tensor) -> Tensor:
    """How much of a job's accelerators work at the site would have to yield, foreseen, [B,V,F,K].

    That it would have to yield everywhere counts more.  ``gpus`` [B,V].
    """
    p, part, rise = now.p, now.seen.part, now.demand.rise
    busy = physics.inference_gpus(p, placed.served_gpuh.sum(1))[:, None] * rise[..., None]
    running = part["committed_gpus"].transpose(1, 2)[:, : busy.shape[1]]
    running = torch.nn.functional.pad(running, (0, 0, 0, busy.shape[1] - running.shape[1]))
    spare = (p.utilisation_limit * part["available_gpus"])[:, None] - busy - running  # [B,F,K]
    wanted = gpus.clamp_min(1.0)[..., None, None]
    here = ((wanted - spare[:, None]) / wanted).clamp(0.0, 1.0)
    everywhere = ((wanted - spare.sum(-1, keepdim=True)[:, None]) / wanted).clamp(0.0, 1.0)
    return here + weights.overflow * everywhere


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
            torch.tanh(scarcity),
            torch.tanh(net_mw[:, None, 0] / 20.0),
            (jobs["gpus"][..., None] / p.gpus),
            *(torch.tanh(jobs[name] / 10.0)[..., None] for name in ("slack", "duration")),
            (now.seen.steps_left * p.dt_h / 24.0).clamp_max(2.0)[:, None, None],
        ),
        -1,
    )
