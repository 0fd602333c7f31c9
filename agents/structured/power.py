"""Power of the sites: what it costs, how much work it lets them do, and when own generation pays."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from agents.structured.action_numbers import DEAD_ZONE
from agents.structured.observed import UNIT_USD, Observed, Reader
from gridai_env.episodes.exogenous import sell_usd_per_mwh


@dataclass(frozen=True)
class Supply:
    """What a site pays for power that it takes beyond its own generation, in the unit of the caller per MWh."""

    buy: Tensor  # [...,K]
    sell: Tensor  # [...,K]
    export_limit_mw: Tensor  # [...,K]

    def cost(self, net_mw: Tensor) -> Tensor:
        """Cost per hour of a net load [...,K]: import is paid, export earns up to its limit, the rest is lost."""
        exported = torch.minimum((-net_mw).clamp_min(0.0), self.export_limit_mw)
        return self.buy * net_mw.clamp_min(0.0) - self.sell * exported

    def at(self, step: int) -> Supply:
        """One step of foreseen supply [B,F,K]."""
        return Supply(self.buy[:, step], self.sell[:, step], self.export_limit_mw[:, step])

    def more(self) -> Supply:
        """The same with one more axis behind the sites."""
        return Supply(self.buy[..., None], self.sell[..., None], self.export_limit_mw[..., None])


FUEL_WIDTH = 0.05  # of the step from "fuel is dearer" to "fuel is cheaper", in 10 USD per MWh
# Power that would be lost is used first where import is dearer: work off the price of import, so that sites do not tie.
TIE = 1e-3


@dataclass(frozen=True)
class Offers:
    """Room for work by the kind of power that it takes: what would be lost, exported, own fuel, import."""

    gpuh: Tensor  # [...,K,kinds]
    price: Tensor  # [...,K,kinds] what such power costs or would earn, in 10 USD per MWh

    @classmethod
    def of(
        cls, reader: Reader, supply: Supply, room_gpuh: Tensor, surplus_mw: Tensor, mw_per_gpuh: Tensor
    ) -> Offers:
        """Split the room of sites, [...,K] each.

        ``surplus_mw``: own power beyond what the site takes without work; ``mw_per_gpuh``: power that a GPU-h of work
        takes in a step.
        """
        p, left = reader.params, room_gpuh
        gpuh, price = [], []

        def offer(mw: Tensor, usd: Tensor) -> None:
            nonlocal left
            gpuh.append(torch.minimum(mw.clamp_min(0.0) / mw_per_gpuh, left))
            price.append(usd)
            left = left - gpuh[-1]

        if reader.has_renewables:
            offer(surplus_mw - supply.export_limit_mw, -TIE * supply.buy)
            offer(torch.minimum(surplus_mw, supply.export_limit_mw), supply.sell)
        if p.has_generator:
            fuel = torch.minimum(torch.maximum(reader.fuel_price.expand_as(left), supply.sell), supply.buy)
            offer(p.generator_max_mw.expand_as(left), fuel)
        gpuh.append(left)
        price.append(supply.buy)
        return cls(torch.stack(gpuh, -1), torch.stack(price, -1))


def supply_of(reader: Reader, seen: Observed) -> Supply:
    """What power costs the sites now and in the steps foreseen, [B,F,K], in 10 USD per MWh."""
    carbon_usd = reader.usd_per_kg * seen.part[reader.carbon]
    buy = seen.usd_per_mwh
    sell = sell_usd_per_mwh(reader.compiled, buy - carbon_usd[:, None]).clamp_min(0.0)
    limit = seen.part["export_limit"][:, None].expand_as(buy)
    return Supply(buy / UNIT_USD, sell / UNIT_USD, limit)


def generator_share(reader: Reader, seen: Observed, now: Supply, net_mw: Tensor, bonus: Tensor) -> Tensor:
    """Output over capacity [B,K]: what the load needs, or export takes, where fuel is cheaper.

    ``now``: supply of this step; ``net_mw`` [B,K] load and battery less renewables; ``bonus`` [B,K] taken off the cost
    of fuel, in 10 USD per MWh.
    """
    p, part = reader.params, seen.part
    if not p.has_generator:
        return torch.zeros_like(net_mw)
    fuel = reader.fuel_price - bonus
    pays = torch.sigmoid((now.buy - fuel) / FUEL_WIDTH)
    sells = torch.sigmoid((part["sell_price"] / UNIT_USD - fuel) / FUEL_WIDTH)
    exportable = (part["export_limit"] - (-net_mw).clamp_min(0.0)).clamp_min(0.0)
    wanted = net_mw.clamp_min(0.0) * pays + exportable * sells
    return (wanted / p.generator_max_mw.clamp_min(1e-6)).clamp(0.0, 1.0) * (p.generator_max_mw > 0.0)


def renewable_share(seen: Observed, needed_mw: Tensor) -> Tensor:
    """The raw_action for renewables [B,K]: all, or where import is paid for only what import cannot give.

    ``needed_mw`` [B,K] load and battery less the renewables worth using.
    """
    missing = (needed_mw - seen.part["import_limit"]).clamp_min(0.0)
    share = (missing / seen.part["renewable"].clamp_min(1e-6)).clamp_max(1.0)
    return torch.where(seen.usd_per_mwh[:, 0] < 0.0, share - 1.0, DEAD_ZONE)
