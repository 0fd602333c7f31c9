"""What stored energy is worth: dynamic programming over the foreseen prices of each site.

Prices and the load are taken as they are foreseen (certainty equivalence), the battery's power, losses, wear, limits
and target as they are; `Supply` says what power costs a site that may also export or has to curtail.  The value of the
energy left after this step is exact on a grid of charges; what the network adds is a correction of its slope.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from agents.structured.power import Supply
from agents.structured.situation import Situation
from agents.structured.weights import LearnedParameters, symlog
from gridai_env.world.state import Params

CHARGES = 17  # grid points between empty and full
LEVELS = 21  # powers compared in this step, from full discharge to full charge
FORBIDDEN = 1e6
ROUNDING_MWH = 1e-3


class Storage(torch.nn.Module):
    """Batteries of one scenario; prices in the unit of the caller, per MWh."""

    step_mwh: Tensor  # [K] between grid points
    grid_mwh: Tensor  # [K,G]
    closed: Tensor  # [K,O] `FORBIDDEN` for moves beyond the power
    moving: Tensor  # [O] 1.0 but for staying
    move_mw: Tensor  # [K,O] power at the meter, charging positive
    level: Tensor  # [L] power over its limit
    level_change_mwh: Tensor  # [K,L] what it adds to the energy stored
    level_mw: Tensor  # [K,L] the same at the meter
    wear: Tensor  # [K] per MWh
    short: Tensor  # [K] per MWh short of the target
    least_mwh: Tensor  # [K]
    most_mwh: Tensor  # [K]

    def __init__(self, p: Params, unit_usd: float) -> None:
        super().__init__()
        self.dt_h = p.dt_h
        step = ((p.battery_max_mwh - p.battery_min_mwh) / (CHARGES - 1)).clamp_min(1e-6)
        rise = p.charge_limit_mw * p.charge_efficiency * p.dt_h
        fall = p.discharge_limit_mw / p.discharge_efficiency * p.dt_h
        # Whole grid steps that the power allows, one that is nearly reached included.
        up, down = (rise / step + 0.3).floor(), (fall / step + 0.3).floor()
        self.down, self.up = int(down.max()), int(up.max())
        moves = torch.arange(-self.down, self.up + 1)
        allowed = (moves <= up[:, None]) & (moves >= -down[:, None])
        level = torch.linspace(-1.0, 1.0, LEVELS)
        change = moves * step[:, None]
        constants = {
            "step_mwh": step,
            "grid_mwh": p.battery_min_mwh[:, None] + step[:, None] * torch.arange(CHARGES),
            "closed": FORBIDDEN * (~allowed).float(),
            "moving": (moves != 0).float(),
            "move_mw": (change.clamp_min(0.0) / p.charge_efficiency[:, None]) / p.dt_h
            - (-change).clamp_min(0.0) * p.discharge_efficiency[:, None] / p.dt_h,
            "level": level,
            "level_change_mwh": level.clamp_min(0.0) * rise[:, None] + level.clamp_max(0.0) * fall[:, None],
            "level_mw": level.clamp_min(0.0) * p.charge_limit_mw[:, None]
            + level.clamp_max(0.0) * p.discharge_limit_mw[:, None],
            "wear": p.wear_usd_per_mwh / unit_usd,
            "short": p.battery_short_usd_per_mwh / unit_usd,
            "least_mwh": p.battery_min_mwh,
            "most_mwh": p.battery_max_mwh,
        }
        for name, value in constants.items():
            self.register_buffer(name, value, persistent=False)

    @torch.no_grad()
    def value(
        self, supply: Supply, net_mw: Tensor, within: Tensor, target_mwh: Tensor, kept: Tensor
    ) -> Tensor:
        """Value of each charge on the grid after this step, [B,K,G].

        ``supply`` and ``net_mw`` [B,F,K] foreseen, the present first; ``within`` [B,F] steps of the episode;
        ``target_mwh`` [K] at its end; ``kept`` []: what energy is worth beyond the horizon, as a share of the mean
        price of import.
        """
        mean = (supply.buy * within[..., None]).sum(1) / within.sum(1, keepdim=True).clamp_min(1.0)
        ends = (within[:, -1] < 0.5)[:, None, None]
        at_end = -self.short[:, None] * (target_mwh[:, None] - self.grid_mwh).clamp_min(0.0)
        value = torch.where(ends, at_end, (kept * mean)[..., None] * self.grid_mwh)
        # Past the end of the episode nothing moves.
        stopped = FORBIDDEN * (1.0 - within)[:, :, None, None] * self.moving
        cost = self._paid(supply, net_mw, self.move_mw) + self.closed + stopped
        around = torch.nn.functional.pad(value, (self.down, self.up), value=-FORBIDDEN)
        reached = around.unfold(-1, self.down + self.up + 1, 1).transpose(2, 3)  # [B,K,O,G], a view of it
        value = around[..., self.down : self.down + CHARGES]  # another
        for at in reversed(cost[..., None].unbind(1)[1:]):
            value.copy_((reached - at).amax(2))
        return value

    def _paid(self, supply: Supply, net_mw: Tensor, power_mw: Tensor) -> Tensor:
        """What the battery's power [K,O] adds to the cost of a step, wear included, [...,K,O]."""
        more, net = supply.more(), net_mw[..., None]
        return self.dt_h * (more.cost(net + power_mw) - more.cost(net) + self.wear[:, None] * power_mw.abs())

    def worth(
        self, value: Tensor, supply: Supply, net_mw: Tensor, battery_mwh: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Worth of each level of power in this step [B,K,L], and the slope of the value [B,K].

        ``supply`` and ``net_mw`` [B,K] of this step.  Differentiable in the energy stored, so that gradients along an
        episode know what it is worth.
        """
        after = battery_mwh[..., None] + self.level_change_mwh
        place = ((after - self.least_mwh[:, None]) / self.step_mwh[:, None]).clamp(0.0, CHARGES - 1.001)
        low = place.detach().floor().long()
        left, right = value.gather(-1, low), value.gather(-1, low + 1)
        kept = left + (right - left) * (place - low)
        over = (after > self.most_mwh[:, None] + ROUNDING_MWH) | (
            after < self.least_mwh[:, None] - ROUNDING_MWH
        )
        idle = LEVELS // 2
        slope = (right - left)[..., idle] / self.step_mwh
        paid = self._paid(supply, net_mw, self.level_mw)
        return kept - paid - FORBIDDEN * over.to(kept.dtype), slope.detach()


@dataclass(frozen=True)
class Batteries:
    """What is decided at the sites."""

    power: Tensor  # [B,K] charge (+) or discharge (-) over the limit
    taken_mw: Tensor  # [B,K] the same at the meter
    slope: Tensor  # [B,K] what a stored MWh is worth, in 10 USD
    fuel_bonus: Tensor  # [B,K] what speaks for fuel, in 10 USD per MWh

    @classmethod
    def of(
        cls, now: Situation, weights: LearnedParameters, storage: Storage, net_mw: Tensor, scarcity: Tensor
    ) -> Batteries:
        """``net_mw`` [B,F,K] load less renewables; ``scarcity`` [B,K] of room."""
        p, seen = now.p, now.seen
        supply, stored, slope = now.supply.at(0), seen.part["battery"], torch.zeros_like(scarcity)
        worth: Tensor | float = 0.0
        if p.has_battery:
            target = now.reader.battery_target_mwh
            value = storage.value(now.supply, net_mw, seen.within, target, weights.kept)
            worth, slope = storage.worth(value, supply, net_mw[:, 0], stored)
        correction = weights.site(_features(now, net_mw[:, 0], scarcity, slope))
        worth = worth + correction[..., :1] * storage.level_change_mwh
        weight = torch.softmax(worth / weights.log_battery_width.exp(), -1)
        power = (weight * storage.level).sum(-1) * (p.battery_max_mwh > 0.0)
        up, down = power.clamp_min(0.0) * p.charge_limit_mw, power.clamp_max(0.0) * p.discharge_limit_mw
        return cls(power, up + down, slope, correction[..., 1])


def _features(now: Situation, net_mw: Tensor, scarcity: Tensor, slope: Tensor) -> Tensor:
    """What the network of sites sees, [B,K,18]: prices to come, the hour, the battery, room and load."""
    p, seen, price, buy = now.p, now.seen, now.price, now.price[:, 0]
    within = seen.within[..., None]
    mean = (price * within).sum(1) / within.sum(1).clamp_min(1.0)
    shape = symlog(price[:, now.reader.shown] - price[:, :1]).transpose(1, 2)
    size = p.battery_max_mwh.clamp_min(1e-6)
    state = torch.broadcast_tensors(
        *seen.hands.unbind(-1),
        symlog(mean) / 2.0,
        seen.part["battery"] / size,
        torch.tanh((slope - buy) / 2.0),
        (seen.steps_left[:, None] * p.dt_h / 48.0).clamp_max(1.0),
        now.reader.battery_target_mwh / size,
        now.log_room,
        scarcity.clamp_max(5.0),
        torch.tanh(buy / 10.0),
        torch.tanh(net_mw / 20.0),
    )
    return torch.cat([shape, torch.stack(state, -1)], -1)
