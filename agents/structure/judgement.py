"""From what is seen to what is done: prices by rule, corrected by small networks that all sites and routes share.

Before any learning the networks give 0, and the decision is that of the rule: routes by cost within capacity, waiting
until the room foreseen gets tight, batteries by dynamic programming, generators where fuel is cheaper than import, jobs
where and when they are cheapest.
"""

from __future__ import annotations

import torch

from agents.structure.batteries import Batteries
from agents.structure.jobs import job_scores
from agents.structure.placing import Placed
from agents.structure.power import generator_share
from agents.structure.reading import Reader
from agents.structure.situation import UNIT_USD, Situation
from agents.structure.storage import Storage
from agents.structure.summary import summary_of
from agents.structure.weights import Weights
from gridai_env.compile import Compiled

Tensor = torch.Tensor


class Judgement(Weights):
    """The decision of one scenario; its weights do not depend on the scenario's sizes."""

    def __init__(self, compiled: Compiled, hidden: int) -> None:
        super().__init__(hidden)
        self.reader = Reader(compiled)
        self.storage = Storage(self.reader.params, UNIT_USD)
        self.slots = compiled.shape.slots

    def forward(self, observation: Tensor) -> tuple[Tensor, Tensor]:
        """Return wishes [B,A], in the layout of the action (routes as logarithms), and a summary [B,S]."""
        now = Situation.of(self.reader, self.reader(observation))
        placed = Placed.of(now, self)
        net_mw = now.net_mw(now.load_mw(placed.served_gpuh))
        batteries = Batteries.of(now, self, self.storage, net_mw, placed.scarcity)
        fuel = generator_share(self.reader, now.seen, net_mw[:, 0], batteries.fuel_bonus, UNIT_USD)
        curtailed = torch.zeros_like(fuel)
        wishes = [placed.wishes(), batteries.power, fuel, curtailed]
        if self.slots:
            wishes.append(job_scores(now, self, placed, net_mw))
        return torch.cat([wish.flatten(1) for wish in wishes], -1), summary_of(now, placed, batteries.slope)
