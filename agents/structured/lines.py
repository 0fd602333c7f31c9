"""Limits of import, lines with a price and power modes: what they leave of a site's supply now.

Shape letters as in `gridai_env.world.state`; prices in 10 USD per MWh.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from agents.structured.observed import UNIT_USD, Observed, Reader
from gridai_env.arrays.types import Float
from gridai_env.world import physics
from gridai_env.world.actions import most_saving_mw
from gridai_env.world.feasible import full_power_mw
from gridai_env.world.state import Exogenous, Params, State


@dataclass(frozen=True)
class Lines:
    """What a site may import now, and at which surcharge, the lowest line first."""

    mw: Float[Tensor, "B L K"]
    usd: Float[Tensor, "B L K"]  # of a MWh above the line, payments lost included
    import_limit_mw: Float[Tensor, "B K"]
    generator_mw: Float[Tensor, "B K"]  # that may run

    @classmethod
    def of(cls, reader: Reader, seen: Observed) -> Lines:
        """Return the lines of an observation."""
        p, part = reader.params, seen.part
        limit = part["import_limit"]
        mw = usd = limit[:, None][:, :0]
        if p.has_lines:
            mw, order = line_mw(part).sort(1)
            usd = (part["line_price"] + part.get("response_price", 0.0)).gather(1, order) / UNIT_USD
        generator = p.generator_max_mw * part.get("generator_open", torch.ones_like(limit))
        return cls(mw, usd, limit, generator)

    def steps(self) -> list[tuple[Tensor, Tensor]]:
        """Return import in steps of rising price: where each ends, and the surcharge up to there, [B,K] each."""
        ends = [*self.mw.clamp_min(0.0).unbind(1), self.import_limit_mw]
        added = torch.nn.functional.pad(self.usd.cumsum(1), (0, 0, 1, 0))
        return [(torch.minimum(end, ends[-1]), usd) for end, usd in zip(ends, added.unbind(1), strict=True)]

    def affordable_mw(self, spare_usd: Float[Tensor, "B K"]) -> Float[Tensor, "B K"]:
        """Return the import [B,K] up to which no surcharge exceeds ``spare_usd``."""
        found = torch.zeros_like(self.import_limit_mw)
        for end, usd in self.steps():
            found = torch.where(usd <= spare_usd.clamp_min(0.0), end, found)
        return found


def line_mw(part: dict[str, Tensor]) -> Float[Tensor, "B L K"]:
    """Return the lines now, those with a baseline from past imports included."""
    none = part["line"][:, 0, :, None][..., :0]
    past = {f"{name}_mw": part.get(name, none) for name in ("baseline_sum", "day_before")}
    now = {name: part.get(name) for name in ("baseline_share", "baseline_counts")}
    return torch.as_tensor(physics.line_mw(State.make(**past), Exogenous.make(line_mw=part["line"], **now)))


def saving_mw(
    p: Params, exo: Exogenous, price: Tensor, served_wk_gpuh: Tensor, held_gpus: Tensor
) -> Float[Tensor, "B K"]:
    """Return the IT power that modes save where energy costs something."""
    most = torch.as_tensor(most_saving_mw(p, exo, served_wk_gpuh, held_gpus))  # type: ignore[arg-type]
    return most * (price > 0.0)


def fed_gpuh(p: Params, exo: Exogenous, spare_mw: Tensor, held_gpus: Tensor) -> Float[Tensor, "B K"]:
    """Return the work that so much power feeds, beside idle accelerators and jobs."""
    mw = spare_mw.clamp_min(0.0)
    if p.has_modes:
        everywhere = torch.ones_like(mw)
        mw = torch.as_tensor(full_power_mw(p, exo, mw, held_gpus, everywhere))  # type: ignore[arg-type]
    return mw / physics.work_power_mw_per_gpuh(p, exo)
