"""When and where training jobs start: at the site and in the step foreseen to be cheapest.

A job may be delayed within its window.  Running it costs the power of its accelerators at the price of the site, and
the work that it displaces.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from agents.structured.dispatch.merit_order import Stack
from agents.structured.situation import Situation
from agents.structured.weights import LearnedParameters
from gridai_env.arrays.types import Bool, Float
from gridai_env.observation.decode import job_features

SCORE_OF_ONE = 0.2  # score of a difference of one unit of price per MWh
FAR = 50.0  # larger differences of price count as this


@dataclass(frozen=True)
class StartCosts:
    """Cost of starting a job, in units of price per MWh of the job, over its whole duration."""

    is_open: Bool[Tensor, "B V K"]
    now: Float[Tensor, "B V K"]  # at each site now
    usual: Float[Tensor, "B V K"]  # mean over all starts foreseen
    best_later_here: Float[Tensor, "B V K"]  # best later start at the site; `FAR` above now without one
    best_later: Float[Tensor, "B V"]  # best later start anywhere
    best_now: Float[Tensor, "B V"]
    each: Float[Tensor, "B V F K"]  # every start foreseen, the one now first

    @classmethod
    def of(
        cls, jobs: dict[str, Tensor], price: Float[Tensor, "B V F K"], within: Float[Tensor, "B F"]
    ) -> StartCosts:
        """Compare the starts of jobs.

        ``jobs``: features of the slots, "duration" and "slack" in steps; ``price`` of their power; ``within``: 1.0 for
        steps of the episode.
        """
        mean = _running_means(price, within, jobs["duration"])
        is_open = jobs["open"] > 0.5
        now = mean[:, :, 0]
        best_now = torch.where(is_open, now, torch.inf).amin(-1).clamp_max(1e3)

        step = torch.arange(price.shape[2], device=price.device)
        in_time = (step <= jobs["slack"].round()[..., None])[..., None] & is_open[:, :, None]
        each = torch.where(in_time, mean, torch.inf)
        later = torch.minimum(each[:, :, 1:].amin(2), best_now[..., None] + FAR)
        return cls(is_open, now, mean.mean(2), later, later.amin(-1), best_now, each)

    def planned(self, job: dict[str, Tensor]) -> Float[Tensor, "B F K"]:
        """Return 1.0 where and when a single job (V = 1) runs if it starts where it is cheapest, else 0.0."""
        steps, sites = self.each.shape[2:]
        cheapest = self.each.flatten(1).argmin(-1, keepdim=True)  # [B,1]
        since = torch.arange(steps, device=cheapest.device) - cheapest // sites
        runs = (since >= 0) & (since < job["duration"].round()) & (job["present"] > 0.5)  # [B,F]
        here = torch.arange(sites, device=cheapest.device) == cheapest % sites  # [B,K]
        return (runs[:, :, None] & here[:, None]).to(self.now.dtype)

    def rule(self, extra: Float[Tensor, "B V K"], hesitation: Tensor) -> Float[Tensor, "B V K+1"]:
        """Return the scores of starting at each site and of waiting.

        ``extra``: corrections of the cost of starting now; ``hesitation``: by how much later must be cheaper.
        """
        now = torch.where(self.is_open, self.now + extra, self.best_now[..., None] + FAR)
        best = now.amin(-1, keepdim=True)
        wait = best[..., 0] - self.best_later - hesitation
        return torch.tanh(SCORE_OF_ONE * torch.cat([best - now, wait[..., None]], -1))


def _running_means(
    price: Float[Tensor, "B V F K"], within: Float[Tensor, "B F"], duration: Float[Tensor, "B V"]
) -> Float[Tensor, "B V F K"]:
    """Return the mean price over the job's steps for each start; steps beyond the foreseen ones are left out."""
    steps, sites = price.shape[2:]
    total = torch.nn.functional.pad((price * within[:, None, :, None]).cumsum(2), (0, 0, 1, 0))
    count = torch.nn.functional.pad(within.cumsum(1), (1, 0))

    # Differences of cumulative sums between the end of the job and its start.
    begin = torch.arange(steps, device=price.device)
    end = (begin + duration.round()[..., None]).clamp(1, steps).long()  # [B,V,F]
    upto = total.gather(2, end[..., None].expand(-1, -1, -1, sites))
    number = count.gather(1, end.flatten(1)).unflatten(1, end.shape[1:])
    return (upto - total[:, :, :steps]) / (number - count[:, None, :steps]).clamp_min(1.0)[..., None]


def job_scores(
    now: Situation,
    weights: LearnedParameters,
    plan: JobPlan,
    scarcity: Float[Tensor, "B K"],
    net_mw: Float[Tensor, "B K"],
) -> Float[Tensor, "B V K+1"]:
    """Return the scores of the job slots.

    ``scarcity``: what the room of a site adds to its cost; ``net_mw``: load less renewables.
    """
    jobs = job_features(now.seen.part["jobs"])
    starts = StartCosts.of(jobs, plan.price, now.seen.within)
    features = _features(now, jobs, starts, plan.crowded, scarcity, net_mw)

    # Corrections of the cost of a start at each site, and of waiting: the latter as a mean over the open sites.
    correction = weights.job(features)
    is_open = starts.is_open[..., None].to(features.dtype)
    waits = (correction[..., 1:] * is_open).sum(2) / is_open.sum(2).clamp_min(1.0)
    return starts.rule(correction[..., 0], weights.hesitation + waits[..., 0])


def _features(
    now: Situation,
    jobs: dict[str, Tensor],
    starts: StartCosts,
    crowded: Float[Tensor, "B V F K"],
    scarcity: Float[Tensor, "B K"],
    net_mw: Float[Tensor, "B K"],
) -> Float[Tensor, "B V K 12"]:
    """Return the inputs of the network of jobs for each start, all of order 1."""
    p = now.p
    features = torch.broadcast_tensors(
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
    )
    return torch.stack(features, -1)


@dataclass(frozen=True)
class JobPlan:
    """A plan of the jobs on offer at foreseen prices."""

    price: Float[
        Tensor, "B V F K"
    ]  # of the power of each, the others as planned, 10 USD per MWh at a mean site
    crowded: Float[Tensor, "B V F K"]  # share of its accelerators for which work would have to make room
    gpus: Float[Tensor, "B F K"]  # held by the jobs planned
    stack: Stack  # room that they leave

    @classmethod
    @torch.no_grad()
    def of(cls, now: Situation, stack: Stack) -> JobPlan:
        """Plan the jobs one after the other in the order of their slots, the most urgent first."""
        jobs = job_features(now.seen.part["jobs"])
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

            # The next job finds the room that this one leaves.
            runs = StartCosts.of(job, prices[-1][:, None], now.seen.within).planned(job)  # [B,F,K]
            held = held + runs * job["gpus"][..., None]
            stack = stack.without((taken * runs.movedim(-1, 0)).sum(1, keepdim=True))
        return cls(torch.stack(prices, 1), torch.stack(crowds, 1), held, stack)
