"""Value of stored energy by dynamic programming over the foreseen prices of each site, and battery power.

Prices and load are taken as foreseen (certainty equivalence); power limits, losses, wear and the final target are
those of the battery; `Supply` gives the cost of power at a site that may also export or curtail.  The value of the
energy left after this step is exact on a grid of states of charge; the network adds a correction of its slope.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from agents.structured.observed import UNIT_USD
from agents.structured.power import Supply
from agents.structured.situation import Situation, discharge_mw, episode_mean
from agents.structured.weights import LearnedParameters, symlog
from gridai_env.arrays.types import Bool, Float, Int
from gridai_env.world.state import Params

CHARGES = 17  # grid points between empty and full, G
LEVELS = 21  # powers compared in this step, from full discharge to full charge, L
FORBIDDEN = 1e6  # cost of what the battery cannot do
ROUNDING_MWH = 1e-3


class Storage(torch.nn.Module):
    """Batteries of one scenario; prices in the unit of the caller, per MWh.

    Shape letters: G grid points of the energy stored, O moves between them in one step, L levels of power.
    """

    step_mwh: Float[Tensor, " K"]  # between grid points
    grid_mwh: Float[Tensor, "K G"]
    closed: Float[Tensor, "K O"]  # `FORBIDDEN` for moves beyond the power
    moving: Float[Tensor, " O"]  # 0.0 for staying, else 1.0
    move_mw: Float[Tensor, "K O"]  # power at the meter, charging positive
    level: Float[Tensor, " L"]  # power over its limit
    level_change_mwh: Float[Tensor, "K L"]  # change of the energy stored
    level_mw: Float[Tensor, "K L"]  # power at the meter
    wear: Float[Tensor, " K"]  # per MWh
    short: Float[Tensor, " K"]  # per MWh short of the target
    least_mwh: Float[Tensor, " K"]
    most_mwh: Float[Tensor, " K"]

    def __init__(self, p: Params, unit_usd: float) -> None:
        super().__init__()
        self.dt_h = p.dt_h
        step = ((p.battery_max_mwh - p.battery_min_mwh) / (CHARGES - 1)).clamp_min(1e-6)
        rise = p.charge_limit_mw * p.charge_efficiency * p.dt_h
        fall = p.discharge_limit_mw / p.discharge_efficiency * p.dt_h

        moves, allowed = _moves(rise / step, fall / step)
        self.down, self.up = -int(moves[0]), int(moves[-1])
        change = moves * step[:, None]
        charge_mw = (change.clamp_min(0.0) / p.charge_efficiency[:, None]) / p.dt_h
        discharge_mw = (-change).clamp_min(0.0) * p.discharge_efficiency[:, None] / p.dt_h

        # The step decided on now is not bound to the grid.
        level = torch.linspace(-1.0, 1.0, LEVELS)
        constants = {
            "step_mwh": step,
            "grid_mwh": p.battery_min_mwh[:, None] + step[:, None] * torch.arange(CHARGES),
            "closed": FORBIDDEN * (~allowed).float(),
            "moving": (moves != 0).float(),
            "move_mw": charge_mw - discharge_mw,
            "level": level,
            "level_change_mwh": _signed(level, rise, fall),
            "level_mw": _signed(level, p.charge_limit_mw, p.discharge_limit_mw),
            "wear": p.wear_usd_per_mwh / unit_usd,
            "short": p.battery_short_usd_per_mwh / unit_usd,
            "least_mwh": p.battery_min_mwh,
            "most_mwh": p.battery_max_mwh,
        }
        for name, value in constants.items():
            self.register_buffer(name, value, persistent=False)

    @torch.no_grad()
    def value(
        self,
        supply: Supply,
        net_mw: Float[Tensor, "B F K"],
        within: Float[Tensor, "B F"],
        target_mwh: Float[Tensor, " K"],
        kept: Tensor,
    ) -> Float[Tensor, "B K G"]:
        """Return the value of each energy stored on the grid after this step (backward recursion).

        ``supply`` [B,F,K] and ``net_mw`` foreseen, the present first; ``within``: 1.0 for steps of the episode;
        ``target_mwh`` at its end; ``kept``: value of energy beyond the horizon over the mean price of import.
        """
        # Value at the end: a charge for missing the target, or what energy is worth beyond the horizon.
        mean = episode_mean(supply.buy, within)
        ends = (within[:, -1] < 0.5)[:, None, None]
        at_end = -self.short[:, None] * (target_mwh[:, None] - self.grid_mwh).clamp_min(0.0)
        value = torch.where(ends, at_end, (kept * mean)[..., None] * self.grid_mwh)

        # Past the end of the episode nothing moves.
        stopped = FORBIDDEN * (1.0 - within)[:, :, None, None] * self.moving
        cost = self._paid(supply, net_mw, self.move_mw) + self.closed + stopped

        # ``reached`` and ``value`` are views of ``around``: writing ``value`` updates ``reached`` for the step before.
        around = torch.nn.functional.pad(value, (self.down, self.up), value=-FORBIDDEN)
        reached = around.unfold(-1, self.down + self.up + 1, 1).transpose(2, 3)  # [B,K,O,G]
        value = around[..., self.down : self.down + CHARGES]
        for at in reversed(cost[..., None].unbind(1)[1:]):
            value.copy_((reached - at).amax(2))
        return value

    def _paid(
        self, supply: Supply, net_mw: Float[Tensor, "*batch K"], power_mw: Float[Tensor, "K O"]
    ) -> Float[Tensor, "*batch K O"]:
        """Return what the battery's power adds to the cost of a step, wear included."""
        more, net = supply.more(), net_mw[..., None]
        return self.dt_h * (more.cost(net + power_mw) - more.cost(net) + self.wear[:, None] * power_mw.abs())

    def worth(
        self,
        value: Float[Tensor, "B K G"],
        supply: Supply,
        net_mw: Float[Tensor, "B K"],
        battery_mwh: Float[Tensor, "B K"],
    ) -> tuple[Float[Tensor, "B K L"], Float[Tensor, "B K"]]:
        """Return the worth of each level of power in this step, and the slope of the value of stored energy.

        ``supply`` [B,K] and ``net_mw`` of this step.  Differentiable in the energy stored, so that gradients along an
        episode carry its value.
        """
        # The value between grid points, linear; clamped just below the last, which has no neighbour above.
        after = battery_mwh[..., None] + self.level_change_mwh
        place = ((after - self.least_mwh[:, None]) / self.step_mwh[:, None]).clamp(0.0, CHARGES - 1.001)
        low = place.detach().floor().long()
        left, right = value.gather(-1, low), value.gather(-1, low + 1)
        kept = left + (right - left) * (place - low)

        too_full = after > self.most_mwh[:, None] + ROUNDING_MWH
        over = too_full | (after < self.least_mwh[:, None] - ROUNDING_MWH)
        idle = LEVELS // 2
        slope = (right - left)[..., idle] / self.step_mwh
        paid = self._paid(supply, net_mw, self.level_mw)
        return kept - paid - FORBIDDEN * over.to(kept.dtype), slope.detach()


def _moves(
    up: Float[Tensor, " K"], down: Float[Tensor, " K"]
) -> tuple[Int[Tensor, " O"], Bool[Tensor, "K O"]]:
    """Return the moves between grid points, and which of them the power allows; limits in grid steps per step."""
    # Round to whole grid steps, upwards from a fraction of 0.7 on.
    up, down = (up + 0.3).floor(), (down + 0.3).floor()
    moves = torch.arange(-int(down.max()), int(up.max()) + 1)
    return moves, (moves <= up[:, None]) & (moves >= -down[:, None])


def _signed(
    level: Float[Tensor, " L"], up: Float[Tensor, " K"], down: Float[Tensor, " K"]
) -> Float[Tensor, "K L"]:
    """Scale levels of power in [-1, 1]: charging by ``up``, discharging by ``down``."""
    return level.clamp_min(0.0) * up[:, None] + level.clamp_max(0.0) * down[:, None]


@dataclass(frozen=True)
class Batteries:
    """Decisions on batteries, and on the cost of own fuel."""

    power: Float[Tensor, "B K"]  # charge (+) or discharge (-) over the limit
    taken_mw: Float[Tensor, "B K"]  # the same at the meter
    slope: Float[Tensor, "B K"]  # value of a stored MWh, in 10 USD
    fuel_bonus: Float[Tensor, "B K"]  # taken off the cost of fuel, in 10 USD per MWh

    @classmethod
    def of(
        cls,
        now: Situation,
        weights: LearnedParameters,
        storage: Storage,
        net_mw: Float[Tensor, "B F K"],
        scarcity: Float[Tensor, "B K"],
    ) -> Batteries:
        """Return the decisions; ``net_mw``: load less renewables; ``scarcity``: what a site's room adds to its cost."""
        p, seen = now.p, now.seen
        supply, stored, slope = now.supply.at(0), seen.part["battery"], torch.zeros_like(scarcity)
        worth: Tensor | float = 0.0
        if p.has_battery:
            target = now.reader.battery_target_mwh
            value = storage.value(now.supply, net_mw, seen.within, target, weights.kept)
            worth, slope = storage.worth(value, supply, net_mw[:, 0], stored)

        # A smooth maximum over the levels, so that gradients pass.
        correction = weights.site(_features(now, net_mw[:, 0], scarcity, slope))
        worth = worth + correction[..., :1] * storage.level_change_mwh
        weight = torch.softmax(worth / weights.log_battery_width.exp(), -1)
        power = (weight * storage.level).sum(-1) * (p.battery_max_mwh > 0.0)

        up, down = power.clamp_min(0.0) * p.charge_limit_mw, power.clamp_max(0.0) * p.discharge_limit_mw
        return cls(power, up + down, slope, correction[..., 1])

    def sparing(self, now: Situation, net_mw: Float[Tensor, "B K"]) -> Batteries:
        """Return the same where no import is above a limit, or a line whose surcharge stored energy can save."""
        p, lines = now.p, now.lines
        if lines is None or not p.has_battery:
            return self
        stored_usd = self.slope + p.wear_usd_per_mwh / UNIT_USD
        import_mw = lines.affordable_mw(stored_usd - now.supply.buy[:, 0])
        fuel_mw = lines.generator_mw * (now.reader.fuel_price < stored_usd)
        taken = torch.minimum(self.taken_mw, import_mw + fuel_mw - net_mw)
        taken = torch.maximum(taken, -discharge_mw(p, now.seen))
        limit_mw = torch.where(taken > 0.0, p.charge_limit_mw, p.discharge_limit_mw)
        return replace(self, taken_mw=taken, power=taken / limit_mw.clamp_min(1e-9) * (limit_mw > 0.0))


def _features(
    now: Situation, net_mw: Float[Tensor, "B K"], scarcity: Float[Tensor, "B K"], slope: Float[Tensor, "B K"]
) -> Float[Tensor, "B K 18"]:
    """Return the inputs of the network of sites: prices to come, the hour, the battery, room and load."""
    p, seen, price, buy = now.p, now.seen, now.price, now.price[:, 0]
    mean = episode_mean(price, seen.within)
    shape = symlog(price[:, now.reader.shown] - price[:, :1]).transpose(1, 2)

    # The divisors bring every input to order 1.
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
