"""Distance of an action from a demonstrated one, in MWh that are used elsewhere or at another time.

Actions with the same effect have distance 0: shares over open routes do not depend on their scale, every hold below 0
holds nothing, a closed route carries nothing.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from gridai_env.arrays.types import Float
from gridai_env.scenario.compile import Compiled
from gridai_env.world.actions import Layout, decode, most_saving_mw
from gridai_env.world.state import Exogenous

Batch = dict[str, Tensor]  # rows of `agents.imitation.demonstrations.Demonstrations.arrays`

# Scores of jobs lie in [-1, 1]; times this they are logits, so that a clear choice has a probability near 1.
JOB_SHARPNESS = 4.0

# Below these (renewables: above) all values of an entry have the same effect, see `gridai_env.world.actions`.
NO_HOLD, NO_REFUSAL, NO_GENERATION, FULL_RENEWABLES, NO_SAVING = 0.0, 0.5, 0.0, 0.0, 0.0


class Distance:
    """Distances of actions [B,A] from demonstrated ones in a scenario."""

    def __init__(self, compiled: Compiled, device: str | torch.device = "cpu") -> None:
        def moved(value: Any) -> Any:
            return torch.as_tensor(value, dtype=torch.float32, device=device)

        p = compiled.params
        self.layout, self.dt_h = Layout(compiled.shape), float(p.dt_h)
        self.params = p.map(lambda value: moved(value) if isinstance(value, np.ndarray) else value)

        energy_kw = np.asarray(p.busy_kw_per_gpu) / np.asarray(p.speed)
        self.mwh_per_gpuh = float(energy_kw.mean()) / 1000.0
        self.battery_mw = torch.maximum(self.params.charge_limit_mw, self.params.discharge_limit_mw)
        self.generator_mw = self.params.generator_max_mw

    def parts(self, actions: Float[Tensor, "B A"], batch: Batch, squared: bool = False) -> dict[str, Tensor]:
        """Return the mean distance of each part of the action in MWh per step, each a scalar.

        ``squared``: fractions count by their squares, for learning.  Where the observation does not tell which of two
        plans is followed, squares lead to their mean, absolute values to the more frequent one.
        """
        measure = torch.square if squared else torch.abs
        own: dict[str, Any] = self.layout.split(actions)  # type: ignore[arg-type]
        goal: dict[str, Any] = self.layout.split(batch["actions"])  # type: ignore[arg-type]
        sites = self.layout.shape.sites

        # Each fraction with the energy that it decides on.
        work, sent = batch["on_hand_gpuh"] * self.mwh_per_gpuh, batch["routed_gpuh"] * self.mwh_per_gpuh
        hold, refuse = own["routing"][..., sites], own["routing"][..., sites + 1]
        hold_goal, refuse_goal = goal["routing"][..., sites], goal["routing"][..., sites + 1]
        renewable = _above(-own["renewable"], -goal["renewable"], -FULL_RENEWABLES)
        fractions = {
            "hold": (work * self.params.may_wait, _above(hold, hold_goal, NO_HOLD)),
            "refuse": (work, 2.0 * _above(refuse, refuse_goal, NO_REFUSAL)),
            "battery": (self.battery_mw * self.dt_h, own["battery"] - goal["battery"]),
            "generator": (
                self.generator_mw * self.dt_h,
                _above(own["generator"], goal["generator"], NO_GENERATION),
            ),
            "renewable": (batch["renewable_available_mw"] * self.dt_h, renewable),
        }

        shares = self._share(batch["actions"])
        if self.params.has_modes:
            apart = _above(own["mode"], goal["mode"], NO_SAVING)
            fractions["mode"] = (self._most_saving_mw(shares, batch) * self.dt_h, apart)
        moved = self._share(actions) - shares
        return {
            "route": _mean(sent * measure(moved).sum(-1) / 2.0),
            **{name: _mean(mwh * measure(apart)) for name, (mwh, apart) in fractions.items()},
            "jobs": self._jobs(own["jobs"], goal["jobs"], batch),
        }

    def loss(self, actions: Tensor, batch: Batch) -> Tensor:
        """Return the loss, a scalar: the sum of the parts, squared."""
        return torch.stack(list(self.parts(actions, batch, squared=True).values())).sum()

    def _share(self, actions: Tensor) -> Tensor:
        """Return the shares of the routed work [B,C,W,K] as the environment decodes them."""
        return torch.as_tensor(decode(self.params, self.layout, actions).share)  # type: ignore[arg-type]

    def _most_saving_mw(self, shares: Tensor, batch: Batch) -> Tensor:
        """Return the IT power [B,K] that power modes can save for the work sent; no fault, no job."""
        served = (batch["routed_gpuh"][..., None] * shares).sum(1)
        exo = Exogenous.make(available_gpus=self.params.gpus)
        none: Any = torch.zeros_like(served[:, 0])
        return torch.as_tensor(most_saving_mw(self.params, exo, served, none))  # type: ignore[arg-type]

    def _jobs(self, own: Any, goal: Any, batch: Batch) -> Tensor:
        """Return the cross-entropy of the chosen entry among the open ones, weighted by the energy of the job."""
        size = batch["job_gpuh"]
        if size.shape[-1] == 0:
            return size.sum()

        # Empty slots have no weight; their entries count as open to keep them finite.
        is_open = (batch["job_open"] > 0.0) | (size == 0.0)[..., None]
        score = torch.where(is_open, JOB_SHARPNESS * own, -torch.inf)
        chosen = torch.where(is_open, goal, -torch.inf).argmax(-1, keepdim=True)
        surprise = -torch.log_softmax(score, -1).gather(-1, chosen)[..., 0]
        return _mean(size * self.mwh_per_gpuh * surprise)


def _mean(weighed: Tensor) -> Tensor:
    """Sum over all axes but the batch, mean over the batch."""
    return weighed.flatten(1).sum(1).mean()


def _above(own: Tensor, goal: Tensor, edge: float) -> Tensor:
    """Return the difference of effects, where all values up to ``edge`` have the same.

    Where the goal lies above the edge the gradient passes it: an entry is drawn to its goal from anywhere.
    """
    return torch.where(goal > edge, own - goal, torch.clamp_min(own - edge, 0.0))
