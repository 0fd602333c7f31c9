"""Power of the sites: its cost, the work that it makes room for, and when own generation pays."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from agents.structured.action_numbers import DEAD_ZONE
from agents.structured.lines import Lines
from agents.structured.observed import UNIT_USD, Observed, Reader
from gridai_env.arrays.types import Float
from gridai_env.episodes.exogenous import seen_sell_usd_per_mwh, sell_usd_per_mwh


@dataclass(frozen=True)
class Supply:
    """Prices of power exchanged with the grid, in the unit of the caller per MWh."""

    buy: Float[Tensor, "*batch K"]
    sell: Float[Tensor, "*batch K"]
    export_limit_mw: Float[Tensor, "*batch K"]

    def cost(self, net_mw: Float[Tensor, "*batch K"]) -> Float[Tensor, "*batch K"]:
        """Return the cost per hour of a net load: import is paid, export earns up to its limit, the rest is lost."""
        exported = torch.minimum((-net_mw).clamp_min(0.0), self.export_limit_mw)
        return self.buy * net_mw.clamp_min(0.0) - self.sell * exported

    def at(self, step: int) -> Supply:
        """Return one step of foreseen supply [B,F,K]."""
        return Supply(self.buy[:, step], self.sell[:, step], self.export_limit_mw[:, step])

    def more(self) -> Supply:
        """Return the same with one more axis behind the sites."""
        return Supply(self.buy[..., None], self.sell[..., None], self.export_limit_mw[..., None])


# Width of the smooth step (a sigmoid) from "fuel is dearer" to "fuel is cheaper", in 10 USD per MWh.
FUEL_WIDTH = 0.05
# Breaks ties between sites with power to spare: it is used first where import is dearer.
TIE = 1e-3


@dataclass(frozen=True)
class Offers:
    """Room for work by the kind of power that it would take: curtailed, exported, from own fuel, imported."""

    gpuh: Float[Tensor, "*batch K kinds"]
    price: Float[Tensor, "*batch K kinds"]  # what such power costs or would earn, in 10 USD per MWh

    @classmethod
    def of(
        cls,
        reader: Reader,
        supply: Supply,
        room_gpuh: Tensor,
        surplus_mw: Tensor,
        mw_per_gpuh: Tensor,
        lines: Lines | None = None,
    ) -> Offers:
        """Split the room of sites by kind of power, cheapest kind first; all arguments [...,K].

        ``surplus_mw``: own power beyond the site's load without work; ``mw_per_gpuh``: power of one GPU-h of work
        per step; ``lines``: the limits of import where they are known, as they are for the present.
        """
        p, left = reader.params, room_gpuh
        gpuh, price = [], []

        def offer(mw: Tensor, usd: Tensor) -> None:
            nonlocal left
            gpuh.append(torch.minimum(mw.clamp_min(0.0) / mw_per_gpuh, left))
            price.append(usd)
            left = left - gpuh[-1]

        if reader.has_renewables or lines is not None:
            offer(surplus_mw - supply.export_limit_mw, -TIE * supply.buy)
            offer(torch.minimum(surplus_mw, supply.export_limit_mw), supply.sell)
        if p.has_generator:
            fuel = torch.minimum(torch.maximum(reader.fuel_price.expand_as(left), supply.sell), supply.buy)
            lasting = p.generator_max_mw * reader.ungated  # nobody knows long before when a gated one may run
            offer((lasting if lines is None else lines.generator_mw).expand_as(left), fuel)

        # The rest is imported: above each line at its surcharge, and no more than the limit.
        taken_mw = (-surplus_mw).clamp_min(0.0)
        for end_mw, added in lines.steps() if lines is not None else ():
            offer(end_mw - taken_mw, supply.buy + added)
            taken_mw = torch.maximum(taken_mw, end_mw)
        if lines is None:
            gpuh.append(left)
            price.append(supply.buy)
        return cls(torch.stack(gpuh, -1), torch.stack(price, -1))


def supply_of(reader: Reader, seen: Observed) -> Supply:
    """Return the prices of power now and in the steps foreseen, [B,F,K], in 10 USD per MWh."""
    carbon_usd = reader.usd_per_kg * seen.part[reader.carbon]
    buy = seen.usd_per_mwh
    price = buy - carbon_usd[:, None]
    own = seen_sell_usd_per_mwh(reader.compiled, price[:, 0], seen.part["sell_price"])[:, None]
    sell = sell_usd_per_mwh(reader.compiled, price, own).clamp_min(0.0)
    limit = seen.part["export_limit"][:, None].expand_as(buy)
    return Supply(buy / UNIT_USD, sell / UNIT_USD, limit)


def generator_share(
    reader: Reader,
    seen: Observed,
    now: Supply,
    net_mw: Float[Tensor, "B K"],
    bonus: Float[Tensor, "B K"],
    lines: Lines | None = None,
) -> Float[Tensor, "B K"]:
    """Return the output over capacity: what the load needs, or export takes, where fuel is cheaper.

    ``now``: supply of this step; ``net_mw``: load and battery less renewables; ``bonus``: taken off the cost of fuel,
    in 10 USD per MWh; ``lines``: above those that cost more than fuel, and above the limit, nothing is imported.
    """
    p, part = reader.params, seen.part
    if not p.has_generator:
        return torch.zeros_like(net_mw)

    fuel = reader.fuel_price - bonus
    pays = torch.sigmoid((now.buy - fuel) / FUEL_WIDTH)
    sells = torch.sigmoid((part["sell_price"] / UNIT_USD - fuel) / FUEL_WIDTH)
    exportable = (part["export_limit"] - (-net_mw).clamp_min(0.0)).clamp_min(0.0)
    wanted = net_mw.clamp_min(0.0) * pays + exportable * sells
    if lines is not None:
        wanted = torch.maximum(wanted, net_mw - lines.affordable_mw(fuel - now.buy))
    return (wanted / p.generator_max_mw.clamp_min(1e-6)).clamp(0.0, 1.0) * (p.generator_max_mw > 0.0)


def renewable_share(seen: Observed, needed_mw: Float[Tensor, "B K"]) -> Float[Tensor, "B K"]:
    """Return the raw action for renewables: use all, or at negative import prices only what import cannot give.

    ``needed_mw``: load and battery less the renewables worth using.
    """
    missing = (needed_mw - seen.part["import_limit"]).clamp_min(0.0)
    share = (missing / seen.part["renewable"].clamp_min(1e-6)).clamp_max(1.0)
    return torch.where(seen.usd_per_mwh[:, 0] < 0.0, share - 1.0, DEAD_ZONE)
