"""From observation to raw actions: prices by rule, corrected by small networks that all sites and routes share.

Before any learning the corrections are 0 and the decision is that of the rule, in this order: jobs are planned on the
merit order of all power foreseen; batteries follow by dynamic programming over the net load that this leaves; work goes
where power (with what batteries discharge or take) is cheapest, within capacity, and waits while room is foreseen;
generators run where fuel is cheaper than import; renewables are curtailed at negative import prices.  Above a line of
import work pays its surcharge; what import cannot give comes from generators that may run and from batteries; power
modes save all they can where energy costs something.
"""

from __future__ import annotations

import torch
from torch import Tensor

from agents.structured.critic_features import SUMMARY, summary_of
from agents.structured.dispatch.batteries import Batteries, Storage
from agents.structured.dispatch.jobs import JobPlan, job_scores
from agents.structured.dispatch.merit_order import Stack, net_mw
from agents.structured.dispatch.placing import Placement, offers_now
from agents.structured.observed import UNIT_USD, Reader
from agents.structured.power import generator_share, renewable_share
from agents.structured.situation import Situation
from agents.structured.weights import LearnedParameters
from gridai_env.arrays.types import Float
from gridai_env.scenario.compile import Compiled


class Decision(LearnedParameters):
    """The decision of one scenario; its weights do not depend on the scenario's sizes."""

    summary_size = SUMMARY

    def __init__(self, compiled: Compiled, hidden: int) -> None:
        super().__init__(hidden)
        self.reader = Reader(compiled)
        self.storage = Storage(self.reader.params, UNIT_USD)
        self.slots = compiled.shape.slots

    def forward(
        self, observation: Float[Tensor, "B N+M"]
    ) -> tuple[Float[Tensor, "B A"], Float[Tensor, "B S"]]:
        """Return raw actions in the layout of the action (routes as logarithms), and inputs of the value estimate."""
        now = Situation.of(self.reader, self.reader(observation))
        stack, planned_gpus = Stack.of(now), torch.zeros_like(now.price)
        plan = JobPlan.of(now, stack) if self.slots else None
        if plan:
            stack, planned_gpus = plan.stack, plan.gpus

        # Work is placed twice: batteries need the load at the sites, and what they do changes where work is cheap.
        placed = Placement.of(now, self, offers_now(now, torch.zeros_like(now.room_gpuh)))
        present = (now.load_mw(placed.served_gpuh) - now.seen.renewable_mw[:, 0])[:, None]
        net = torch.cat([present, net_mw(now, stack, planned_gpus)[:, 1:]], 1)
        batteries = Batteries.of(now, self, self.storage, net, stack.scarcity(now))
        batteries = batteries.sparing(now, net[:, 0])
        if self.reader.has_renewables or now.lines is not None:
            placed = Placement.of(now, self, offers_now(now, batteries.taken_mw, now.lines))

        needed_mw = now.load_mw(placed.served_gpuh) - now.seen.renewable_mw[:, 0] + batteries.taken_mw
        fuel = generator_share(
            self.reader, now.seen, now.supply.at(0), needed_mw, batteries.fuel_bonus, now.lines
        )
        used = renewable_share(now.seen, needed_mw)

        raw_actions = [placed.raw_actions(), batteries.power, fuel, used]
        if plan:
            raw_actions.append(job_scores(now, self, plan, placed.scarcity, net[:, 0]))
        if now.p.has_modes:
            raw_actions.append((now.price[:, 0] > 0.0).to(used.dtype))
        summary = summary_of(now, placed, batteries.slope)
        return torch.cat([part.flatten(1) for part in raw_actions], -1), summary
