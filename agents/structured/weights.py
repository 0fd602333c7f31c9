"""What is learned: small networks that all sites, routes and jobs of a kind share, and the numbers of the rule.

No size depends on the number of sites, regions or rows.
"""

import math

import torch
from torch import Tensor, nn

# Numbers of the rule, each with the first step of a search for it (see `agents.training.rule_tuning`).
RULE_STEPS = {
    "log_width": 0.6,
    "patience": 0.25,
    "foresight": 0.25,
    "stickiness": 0.3,
    "log_battery_width": 0.6,
    "kept": 0.1,
    "hesitation": 2.0,
    "reluctance": 5.0,
}
ROUTE_FEATURES, SITE_FEATURES, WAIT_FEATURES, JOB_FEATURES = 9, 18, 12, 12


class LearnedParameters(nn.Module):
    """Networks that correct the rule, with outputs that begin at 0, and the numbers of the rule itself."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.route = small_network(ROUTE_FEATURES, hidden, 1)
        self.site = small_network(SITE_FEATURES, hidden, 2)
        self.wait = small_network(WAIT_FEATURES, hidden, 1)
        self.job = small_network(JOB_FEATURES, hidden, 2)

        # Widths (temperatures) of the choices between costs.
        self.log_width = nn.Parameter(torch.tensor(math.log(0.1)))
        self.log_battery_width = nn.Parameter(torch.tensor(math.log(0.15)))
        # Sessions: weight of the cost of a move, and of what a site will cost later.
        self.stickiness = nn.Parameter(torch.tensor(1.0))
        self.foresight = nn.Parameter(torch.tensor(0.5))
        # By how much power must be cheaper to serve work that could wait longer.
        self.patience = nn.Parameter(torch.tensor(0.1))
        # By how much work must cost more than it earns to be refused: other sites may find room yet.
        self.reluctance = nn.Parameter(torch.tensor(10.0))
        # Value of stored energy beyond the steps foreseen, over the mean price.
        self.kept = nn.Parameter(torch.tensor(1.0))
        # Jobs: by how much a later start must be cheaper, since jobs yet to come are unknown.
        self.hesitation = nn.Parameter(torch.tensor(4.0))


def small_network(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    """Return a network of two hidden layers whose output begins at 0."""
    last = nn.Linear(hidden, outputs)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return nn.Sequential(nn.Linear(inputs, hidden), nn.Tanh(), nn.Linear(hidden, hidden), nn.Tanh(), last)


def symlog(x: Tensor) -> Tensor:
    """Return sign(x) * log(1 + |x|): linear near 0, logarithmic far out, so that price spikes stay distinct."""
    return torch.log1p(x.abs()).copysign(x)


def overlaid(known: Tensor, own: Tensor) -> Tensor:
    """Return ``own`` with the values of ``known`` wherever both have an entry along the first axis."""
    found, count = own.detach().clone(), min(len(known), len(own))
    found[:count] = known[:count].detach()
    return found
