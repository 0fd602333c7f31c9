"""Networks without a rule: a plain MLP, and a set network that fits scenarios of other sizes.

Both return raw actions in the layout of the environment's action (routes as logarithms), like the decision of
`agents.structured`, through heads that the gradient of the return (see `agents.pathwise`) reaches from everywhere: a
number that has left its range is played at the edge, and is led back where that pays.  So the network can do nothing
or all of a thing exactly, and still learns from there.

Set networks: Zaheer et al., 2017 (deep sets), Lee et al., 2019 (set transformer).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from agents.networks.items import FEATURES, Items
from agents.networks.resized import resized
from agents.structured.action_numbers import LOWEST
from agents.structured.observed import Reader
from agents.structured.policy import StructuredPolicy
from agents.structured.weights import symlog
from gridai_env.arrays.types import Float, Floats32, Int
from gridai_env.scenario.compile import Compiled
from gridai_env.world.state import Params

# Raw numbers before any learning: a little waits, nothing is refused, renewables are used, jobs may start, power modes
# save.
AT_HOME, HOLD, REFUSE, USED, WAIT, SAVES = 1.0, 0.2, -0.2, 0.2, -0.5, 1.0
LEAST_SPREAD = 1e-3

# Of `within_room`: steps, the smallest effect of a toll that a step counts on, a floor of shares of capacity, the
# highest toll, and what stands for a closed route: none of it leaves any work there.
TOLL_STEPS, LEAST_EFFECT, LEAST_LOAD = 4, 0.1, 1e-6
HIGHEST_TOLL, CLOSED_LOG = -2.0 * LOWEST, -1e4


class Scaled(nn.Module):
    """``symlog((x - centre) / spread)`` along the last axis; centre and spread are taken once, by `fit`."""

    centre: Float[Tensor, " f"]
    scale: Float[Tensor, " f"]

    def __init__(self, size: int) -> None:
        super().__init__()
        self.register_buffer("centre", torch.zeros(size))
        self.register_buffer("scale", torch.ones(size))

    def fit(self, x: Float[Tensor, "... f"]) -> None:
        """Take the median and half the distance of the 16 % and 84 % quantiles; what never changes becomes 0."""
        values = x.reshape(-1, x.shape[-1])[:100_000]
        low, centre, high = (torch.quantile(values, q, dim=0) for q in (0.16, 0.5, 0.84))
        deviation = values.std(0)
        spread = torch.where(high > low, (high - low) / 2.0, deviation).clamp_min(LEAST_SPREAD)
        self.centre.copy_(centre)
        self.scale.copy_(torch.where(deviation > 1e-6, 1.0 / spread, 0.0))

    def forward(self, x: Float[Tensor, "... f"]) -> Float[Tensor, "... f"]:
        """Return the scaled values."""
        return symlog((x - self.centre) * self.scale)


class Inward(torch.autograd.Function):
    """Clamp that passes gradients from outside where they lead back in (the projected gradient of a box)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, low: float, high: float) -> Tensor:
        """Return the values within the box."""
        ctx.save_for_backward(x)
        ctx.box = low, high
        return x.clamp(low, high)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        """Return the gradient of what is minimised, 0 where following it would leave the box further."""
        (x,), (gradient,), (low, high) = ctx.saved_tensors, gradients, ctx.box
        leaves = ((x <= low) & (gradient > 0.0)) | ((x >= high) & (gradient < 0.0))
        return gradient.masked_fill(leaves, 0.0), None, None


def inward(x: Tensor, low: float, high: float) -> Tensor:
    """Return `Inward` of a tensor."""
    found: Tensor = Inward.apply(x, low, high)
    return found


def limited(routes: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
    """Return logits of routes within the range of actions."""
    return -LOWEST * torch.tanh(routes / -LOWEST)


def within_room(
    logs: Float[Tensor, "B C W K"], work: Float[Tensor, "B C W"], room: Float[Tensor, "B K"]
) -> Float[Tensor, "B C W K"]:
    """Return logarithms of shares that send about as much work to a site as it has room for, or less.

    Where rows together want more, all routes to the site pay the same toll: each row's work then goes where that row
    wants it next.  Tolls are found in a few steps of Newton's method, site by site (the toll's effect on the logarithm
    of what is sent is minus 1 and the mean share, weighed by work).  Capacity is all that this knows: no price.
    """
    # Where there is more work than room in all, each site takes as much too much as the others.
    total = work.sum((1, 2)) / room.sum(1).clamp_min(LEAST_LOAD)
    room = room * total.clamp_min(1.0)[:, None] + LEAST_LOAD
    toll, before = torch.zeros_like(room), torch.zeros_like(room)
    for _ in range(TOLL_STEPS):
        share = torch.softmax(logs - toll[:, None, None], -1)
        sent = share * work[..., None]
        load = sent.sum((1, 2)) + LEAST_LOAD
        effect = (1.0 - (sent * share).sum((1, 2)) / load).clamp_min(LEAST_EFFECT)
        excess = torch.log(load / room)
        # Where a step went too far the next is half as long.
        damped = torch.where(excess * before < 0.0, 0.5, 1.0)
        toll, before = (toll + damped * excess / effect).clamp(0.0, HIGHEST_TOLL), excess
    return inward(torch.log_softmax(logs - toll[:, None, None], -1), LOWEST, 0.0)


def leaving(items: Items, numbers: Float[Tensor, "B C W 2"], p: Params) -> Float[Tensor, "B C W"]:
    """Return the work that leaves its region: neither held, which work that is due cannot be, nor refused."""
    held, refused = numbers[..., 0] * p.may_wait, (2.0 * numbers[..., 1] - 1.0).clamp_min(0.0)
    scale = (held + refused).clamp_min(1.0)
    served = (items.work * (1.0 - refused / scale)).clamp_min(0.0)
    return torch.maximum(served - items.work * held / scale, torch.minimum(items.due, served))


def bounded_actions(
    logs: Float[Tensor, "B C W K"],
    rows: Float[Tensor, "B C W 2"],
    sites: Float[Tensor, "B K n"],
    jobs: Float[Tensor, "B V K+1"],
) -> Float[Tensor, "B A"]:
    """Return raw actions for logarithms of routes, numbers of rows within [0, 1], and raw numbers of sites and jobs.

    Sites have a fourth number where there are power modes.
    """
    routing = torch.cat([logs, rows], -1)
    battery, generator, renewable, *modes = sites.unbind(-1)
    parts = [
        routing,
        inward(battery, -1.0, 1.0),
        inward(generator, 0.0, 1.0),
        inward(renewable, -1.0, 0.0),
        torch.tanh(jobs),
        *(inward(mode, 0.0, 1.0) for mode in modes),
    ]
    return torch.cat([part.flatten(1) for part in parts], -1)


def mlp(*widths: int) -> nn.Sequential:
    """Return linear layers with SiLU between them."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(widths):
        layers += [nn.Linear(inputs, outputs), nn.SiLU()]
    return nn.Sequential(*layers[:-1])


def _last(layers: nn.Sequential) -> nn.Linear:
    """Return the last layer, which is linear."""
    last = layers[-1]
    assert isinstance(last, nn.Linear)
    return last


def first_numbers(compiled: Compiled) -> Float[Tensor, " n"]:
    """Return the raw numbers of a site before any learning: battery, generator, renewables, and power modes if any."""
    return torch.tensor([0.0, HOLD, USED, SAVES][: 4 if compiled.params.has_modes else 3])


class LearnedDecision(nn.Module):
    """Base: reads observations with memory, and holds what the first decision is; ``summary_size`` inputs of values."""

    summary_size: int

    def __init__(self, compiled: Compiled) -> None:
        super().__init__()
        self.reader = Reader(compiled)
        self.shape = compiled.shape

    def blank(self) -> Items:
        """Return items of an empty observation, to see their sizes."""
        size = self.reader.size + self.reader.memory.size
        with torch.no_grad():
            return Items.of(self.reader, torch.zeros(1, size))

    def fit(self, observations: Float[Floats32, "n N+M"]) -> None:
        """Take the scales of the features from observations of some episodes."""
        with torch.no_grad():
            self.fit_items(Items.of(self.reader, torch.as_tensor(observations)))

    def fit_items(self, items: Items) -> None:
        """Take the scales of the features."""
        raise NotImplementedError


class FlatDecision(LearnedDecision):
    """All features side by side through an MLP: the weights belong to one scenario."""

    def __init__(self, compiled: Compiled, hidden: Sequence[int]) -> None:
        super().__init__(compiled)
        shape = self.shape
        size = self._flat(self.blank()).shape[1]
        self.scaled = Scaled(size)
        self.body = nn.Sequential(mlp(size, *hidden), nn.SiLU())
        self.sizes = [
            (shape.regions, shape.rows, shape.sites),
            (shape.regions, shape.rows, 2),
            (shape.sites, len(first_numbers(compiled))),
            (shape.slots, shape.sites + 1),
        ]
        self.out = nn.Linear(hidden[-1], sum(math.prod(size) for size in self.sizes))
        self.summary_size = hidden[-1]

        # The first action serves most at home.
        home = AT_HOME * self.reader.params.home[:, None].expand(self.sizes[0])
        rows, sites, jobs = (torch.zeros(size) for size in self.sizes[1:])
        rows[:], sites[:] = torch.tensor([HOLD, REFUSE]), first_numbers(compiled)
        jobs[..., -1] = WAIT
        with torch.no_grad():
            self.out.weight.mul_(0.1)
            self.out.bias.copy_(torch.cat([part.flatten() for part in (home, rows, sites, jobs)]))

    @staticmethod
    def _flat(items: Items) -> Float[Tensor, "B n"]:
        return items.flat(*FEATURES)

    def fit_items(self, items: Items) -> None:
        """Take the scale of each entry."""
        self.scaled.fit(self._flat(items))

    def forward(
        self, observation: Float[Tensor, "B N+M"]
    ) -> tuple[Float[Tensor, "B A"], Float[Tensor, "B S"]]:
        """Return raw actions, and the last hidden layer."""
        seen = self.body(self.scaled(self._flat(Items.of(self.reader, observation))))
        split = self.out(seen).split([math.prod(size) for size in self.sizes], 1)
        parts = [part.unflatten(1, size) for part, size in zip(split, self.sizes, strict=True)]
        routes, rows, sites, jobs = parts
        return bounded_actions(limited(routes), inward(rows, 0.0, 1.0), sites, jobs), seen.detach()


class Mixing(nn.Module):
    """Let sites see each other: each adds what follows from itself and the mean, or from what it attends to."""

    def __init__(self, width: int, attention: bool) -> None:
        super().__init__()
        self.attends = nn.MultiheadAttention(width, 4, batch_first=True) if attention else None
        self.change = mlp(2 * width, width, width)

    def forward(self, sites: Float[Tensor, "B K d"]) -> Float[Tensor, "B K d"]:
        """Return the sites after one exchange."""
        if self.attends is None:
            others = sites.mean(1, keepdim=True).expand_as(sites)
        else:
            others, _ = self.attends(sites, sites, sites, need_weights=False)
        return sites + self.change(torch.cat([sites, others], -1))


class SetDecision(LearnedDecision):
    """Sites, rows, routes and jobs through networks that all of a kind share: the weights fit any numbers of them."""

    def __init__(self, compiled: Compiled, width: int, attention: bool = False, blocks: int = 2) -> None:
        super().__init__(compiled)
        items, d = self.blank(), width
        sizes = {name: getattr(items, name).shape[-1] for name in FEATURES}
        whole, sites, rows, routes, jobs = sizes.values()
        self.scales = nn.ModuleDict({name: Scaled(size) for name, size in sizes.items()})
        self.whole = nn.Sequential(nn.Linear(whole, d), nn.SiLU())
        self.site = nn.Sequential(mlp(sites + d, 2 * d, d), nn.SiLU())
        self.mixing = nn.ModuleList([Mixing(d, attention) for _ in range(blocks)])
        self.of_item, self.of_home, self.of_all = nn.Linear(rows, d), nn.Linear(d, d), nn.Linear(2 * d, d)
        self.row = nn.Sequential(nn.SiLU(), nn.Linear(d, d), nn.SiLU())
        r = max(d // 2, 1)  # there are many routes, and little to say of each
        self.of_site, self.of_row, self.of_route = nn.Linear(d, r), nn.Linear(d, r), nn.Linear(routes, r)
        self.route = mlp(r, r, 1)
        self.row_out, self.site_out = nn.Linear(d, 2), mlp(d, d, len(first_numbers(compiled)))
        self.job, self.wait = mlp(jobs + d, d, 1), mlp(jobs + d, d, 1)
        self.at_home = nn.Parameter(torch.tensor(AT_HOME))
        self.summary_size = 2 * d
        self._begin(first_numbers(compiled))

    def _begin(self, site_numbers: Float[Tensor, " n"]) -> None:
        """Make the first action serve most at home."""
        with torch.no_grad():
            for last, factor in ((_last(self.route), 0.3), (self.row_out, 0.1), (_last(self.site_out), 0.3)):
                last.weight.mul_(factor)
            self.row_out.bias.copy_(torch.tensor([HOLD, REFUSE]))
            _last(self.site_out).bias.copy_(site_numbers)
            _last(self.wait).bias.fill_(WAIT)

    def weights_for(self, other: SetDecision) -> dict[str, Tensor]:
        """Return these weights in the sizes of ``other``, whose sites have more features or numbers, or fewer.

        What is new there weighs nothing at first; its scales and the bias of its numbers are those of ``other``.
        """
        return resized(self.state_dict(), other.state_dict())

    def fit_items(self, items: Items) -> None:
        """Take the scales of the features of each kind of item."""
        for name, scaled in self.scales.items():
            values = getattr(items, name)
            if values.numel() and isinstance(scaled, Scaled):
                scaled.fit(values)

    def forward(
        self, observation: Float[Tensor, "B N+M"]
    ) -> tuple[Float[Tensor, "B A"], Float[Tensor, "B S"]]:
        """Return raw actions, and means over sites and rows as inputs of the value estimate."""
        reader = self.reader
        return self.decide(Items.of(reader, observation), reader.params, reader.open_index)

    def decide(
        self, items: Items, p: Params, open_index: Int[Tensor, " O"]
    ) -> tuple[Float[Tensor, "B A"], Float[Tensor, "B S"]]:
        """Return the decision for items; ``open_index``: where open routes lie among all, [C,W,K] flat."""
        seen = {name: scaled(getattr(items, name)) for name, scaled in self.scales.items()}

        whole = self.whole(seen["whole"])
        sites = self.site(torch.cat([seen["sites"], whole[:, None].expand(-1, items.sites.shape[1], -1)], -1))
        for mixing in self.mixing:
            sites = mixing(sites)

        # Rows know their home, the mean of all sites, and the whole.
        homes = self.of_home(torch.einsum("bkd,ck->bcd", sites, p.home))[:, :, None]
        around = self.of_all(torch.cat([sites.mean(1), whole], -1))[:, None, None]
        rows = self.row(self.of_item(seen["rows"]) + homes + around)

        # Closed routes, often more than half, are never played.
        to_site, of_row = open_index % p.home.shape[1], open_index // p.home.shape[1]
        pairs = (
            self.of_site(sites).index_select(1, to_site)
            + self.of_row(rows).flatten(1, 2).index_select(1, of_row)
            + self.of_route(seen["routes"])
        )
        scores = self.route(functional.silu(pairs))[..., 0]
        at_home = (self.at_home * p.home)[of_row // rows.shape[2], to_site]
        logits = scores.new_full((len(scores), rows.shape[1] * rows.shape[2] * p.home.shape[1]), CLOSED_LOG)
        logs = logits.index_copy(1, open_index, limited(scores + at_home)).unflatten(
            1, (*rows.shape[1:3], -1)
        )

        numbers = inward(self.row_out(rows), 0.0, 1.0)
        logs = within_room(logs, leaving(items, numbers, p), items.room)
        summary = torch.cat([sites.mean(1), rows.mean((1, 2))], -1).detach()
        return bounded_actions(logs, numbers, self.site_out(sites), self._jobs(seen["jobs"], sites)), summary

    def _jobs(
        self, jobs: Float[Tensor, "B V K f"], sites: Float[Tensor, "B K d"]
    ) -> Float[Tensor, "B V K+1"]:
        """Return the scores of job slots at sites, and of waiting."""
        both = torch.cat([jobs, sites[:, None].expand(-1, jobs.shape[1], -1, -1)], -1)
        return torch.cat([self.job(both)[..., 0], self.wait(both.mean(2))], -1)


class LearnedPolicy(StructuredPolicy):
    """A policy without a rule: an MLP or a set network decides; numbers, value and noise as in `StructuredPolicy`."""

    def __init__(
        self, *args: Any, network: str, widths: list[int], attention: bool = False, **kwargs: Any
    ) -> None:
        self._network: dict[str, Any] = {"network": network, "widths": widths, "attention": attention}
        super().__init__(*args, **kwargs)
        self._own |= self._network  # where another scenario gets the same network

    def _decision(self) -> LearnedDecision:
        own = self._network
        if own["network"] == "mlp":
            return FlatDecision(self.compiled, own["widths"])
        return SetDecision(self.compiled, own["widths"][0], own["attention"])

    def rule_numbers(self) -> dict[str, tuple[nn.Parameter, float]]:
        """Return none: there is no rule."""
        return {}

    def weights_for(self, other: StructuredPolicy) -> dict[str, Tensor]:
        """Return these weights for another scenario; those of an MLP are not fitted to it."""
        weights, (here, there) = super().weights_for(other), (self.judgement, other.judgement)
        if isinstance(here, SetDecision) and isinstance(there, SetDecision):
            weights |= {f"judgement.{name}": value for name, value in here.weights_for(there).items()}
        return weights

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return super()._get_constructor_parameters() | self._network
