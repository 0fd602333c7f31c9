"""What is learned: small networks that all sites, routes and jobs of a kind share, and a few numbers.

None of it depends on how many sites, regions or rows there are.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

# Numbers of the rule, with the step by which a search moves them first.
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
    """Networks that correct the rule, all of which begin at 0, and the numbers of the rule itself."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.route = small_network(ROUTE_FEATURES, hidden, 1)
        self.site = small_network(SITE_FEATURES, hidden, 2)
        self.wait = small_network(WAIT_FEATURES, hidden, 1)
        self.job = small_network(JOB_FEATURES, hidden, 2)
        # How wide choices between costs are.
        self.log_width = nn.Parameter(torch.tensor(math.log(0.1)))
        self.log_battery_width = nn.Parameter(torch.tensor(math.log(0.15)))
        # Sessions: the share of a move's cost that counts at once, and that of what a place will cost later.
        self.stickiness = nn.Parameter(torch.tensor(1.0))
        self.foresight = nn.Parameter(torch.tensor(0.5))
        # By how much power must be cheaper for work that could wait longer.
        self.patience = nn.Parameter(torch.tensor(0.1))
        # By how much work must cost more than it brings to be refused: other sites may find room yet.
        self.reluctance = nn.Parameter(torch.tensor(10.0))
        # What energy stored is worth beyond what is foreseen, over the mean price.
        self.kept = nn.Parameter(torch.tensor(1.0))
        # Jobs: by how much a later start must be cheaper, jobs that are yet to come being unknown.
        self.hesitation = nn.Parameter(torch.tensor(4.0))


def small_network(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    """Two hidden layers; the output begins at 0."""
    last = nn.Linear(hidden, outputs)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return nn.Sequential(nn.Linear(inputs, hidden), nn.Tanh(), nn.Linear(hidden, hidden), nn.Tanh(), last)


def symlog(x: Tensor) -> Tensor:
    """Linear near 0, logarithmic far out: price spikes stay apart from ordinary hours."""
    return torch.log1p(x.abs()).copysign(x)
