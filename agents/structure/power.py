"""Power of the sites: what it costs, how much work it lets them do, and when own generation pays."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from agents.structure.reading import Reader, Seen
from agents.structure.storage import Supply
from gridai_env import physics
from gridai_env.state import Exogenous
from gridai_env.world import sell_usd_per_mwh

Tensor = torch.Tensor

FUEL_WIDTH = 0.05  # of the step from "fuel is dearer" to "fuel is cheaper", in 10 USD per MWh


@dataclass(frozen=True)
class Rooms:
    """Work that sites can do in this step, by the kind of power it takes: imported, else exported, else curtailed."""

    gpuh: Tensor  # [B,K] in all
    kinds_gpuh: Tensor  # [B,K,kinds]
    spared: Tensor  # [B,K,kinds] by how much such power is cheaper than import, in 10 USD per MWh

    @classmethod
    def of(
        cls, reader: Reader, seen: Seen, exo: Exogenous, now: Supply, running_gpus: Tensor | float
    ) -> Rooms:
        """``now``: supply [B,K] of this step; ``running_gpus`` [B,K]: held by jobs."""
        p = reader.params
        usable = (p.utilisation_limit * exo.available_gpus - running_gpus).clamp_min(0.0)
        room = usable * p.speed * p.dt_h
        if not reader.has_renewables:
            return cls(room, room[..., None], torch.zeros_like(room)[..., None])
        base = physics.facility_power_mw(p, exo, physics.it_power_mw(p, exo, running_gpus))
        surplus = (seen.part["renewable"] - base).clamp_min(0.0)
        per_gpuh = physics.work_power_mw_per_gpuh(p, exo)
        lost = torch.minimum((surplus - now.export_limit_mw).clamp_min(0.0) / per_gpuh, room)
        sold = torch.minimum(torch.minimum(surplus, now.export_limit_mw) / per_gpuh, room - lost)
        kinds = torch.stack([room - lost - sold, sold, lost], -1)
        return cls(room, kinds, torch.stack([torch.zeros_like(room), now.buy - now.sell, now.buy], -1))


def supply_of(reader: Reader, seen: Seen, unit_usd: float) -> Supply:
    """What power costs the sites now and in the steps foreseen, [B,F,K], in ``unit_usd`` per MWh."""
    carbon_usd = reader.usd_per_kg * seen.part[reader.carbon]
    buy = seen.usd_per_mwh
    sell = sell_usd_per_mwh(reader.compiled, buy - carbon_usd[:, None]).clamp_min(0.0)
    limit = seen.part["export_limit"][:, None].expand_as(buy)
    return Supply(buy / unit_usd, sell / unit_usd, limit)


def generator_share(reader: Reader, seen: Seen, net_mw: Tensor, bonus: Tensor, unit_usd: float) -> Tensor:
    """Output over capacity [B,K]: what the load needs, or export takes, where fuel is cheaper.

    ``net_mw`` [B,K] load less renewables; ``bonus`` [B,K] taken off the cost of fuel, in ``unit_usd`` per MWh.
    """
    p, part = reader.params, seen.part
    if not p.has_generator:
        return torch.zeros_like(net_mw)
    fuel = (p.fuel_usd_per_mwh + reader.usd_per_kg * p.generator_carbon_kg_per_mwh) / unit_usd - bonus
    pays = torch.sigmoid((seen.usd_per_mwh[:, 0] / unit_usd - fuel) / FUEL_WIDTH)
    sells = torch.sigmoid((part["sell_price"] / unit_usd - fuel) / FUEL_WIDTH)
    exportable = (part["export_limit"] - (-net_mw).clamp_min(0.0)).clamp_min(0.0)
    wanted = net_mw.clamp_min(0.0) * pays + exportable * sells
    return (wanted / p.generator_max_mw.clamp_min(1e-6)).clamp(0.0, 1.0) * (p.generator_max_mw > 0.0)
