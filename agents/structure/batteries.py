"""When batteries charge: dynamic programming over the foreseen prices, its slope corrected by the network of sites."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from agents.structure.situation import Situation
from agents.structure.storage import Storage
from agents.structure.weights import Weights, symlog

Tensor = torch.Tensor


@dataclass(frozen=True)
class Batteries:
    """What is decided at the sites."""

    power: Tensor  # [B,K] charge (+) or discharge (-) over the limit
    taken_mw: Tensor  # [B,K] the same at the meter
    slope: Tensor  # [B,K] what a stored MWh is worth, in 10 USD
    fuel_bonus: Tensor  # [B,K] what speaks for fuel, in 10 USD per MWh

    @classmethod
    def of(
        cls, now: Situation, weights: Weights, storage: Storage, net_mw: Tensor, scarcity: Tensor
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
