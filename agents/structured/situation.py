"""What all parts of a decision start from: prices by step and site, power that is at hand, work that is foreseen."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from agents.structured.observed import UNIT_USD, Observed, Reader
from agents.structured.power import Supply, supply_of
from gridai_env.world import physics
from gridai_env.world.state import Exogenous, Params

LEAST_GPUH = 1e-3  # of work that figures are divided by: a step may have no arrivals


@dataclass(frozen=True)
class ForeseenDemand:
    """Work that is foreseen to arrive: what arrives now, moving with all arrivals of its region."""

    rise: Tensor  # [B,F] arrivals of all regions over those of now
    sessions_gpuh: Tensor  # [B,F]
    bound_gpuh: Tensor  # [B,F,K] sessions that have a single route, by their site
    free_gpuh: Tensor  # [B,F] sessions that have a choice
    waiting_gpuh: Tensor  # [B,F] work that may wait
    reach_gpuh: Tensor  # [B,F,K] work with a choice that may go to the site

    @classmethod
    def of(cls, reader: Reader, seen: Observed) -> ForeseenDemand:
        """Foresee the demand."""
        p, first = reader.params, reader.first
        every = seen.region_gpuh.sum(-1)
        rises = seen.region_gpuh / seen.region_gpuh[:, :1].clamp_min(1e-6)  # [B,F,C]
        head, tail = seen.part["arrivals"].tensor_split([first], -1)  # [B,C,P], [B,C,Q]
        bound = head * reader.single_route
        choosing = torch.cat([head - bound, tail], -1)[..., None]
        kinds = torch.stack([head.sum(-1), (head - bound).sum(-1), tail.sum(-1)], -1)
        at_home = bound.sum(-1, keepdim=True) * p.home
        found = rises @ torch.cat([at_home, (choosing * p.route_open).sum(2), kinds], -1)  # [B,F,2K+3]
        sites = p.home.shape[-1]
        bound_gpuh, reach, rest = found.split([sites, sites, 3], -1)
        total, free, waiting = rest.unbind(-1)
        rise = every / every[:, :1].clamp_min(1e-6)
        return cls(rise, total, bound_gpuh, free, waiting, reach)


@dataclass(frozen=True)
class Situation:
    """Where the world stands, [B,...]; prices in 10 USD per MWh."""

    reader: Reader
    seen: Observed
    exo: Exogenous  # PUE and accelerators in service, all that power depends on
    price: Tensor  # [B,F,K] of import with its carbon
    mwh_per_gpuh: Tensor  # [B,K]
    relative: Tensor  # [B,K] the same over its mean
    work_price: Tensor  # [B,F,K] of work, per MWh at a mean site
    supply: Supply  # [B,F,K]
    running_gpus: Tensor  # [B,F,K] held by jobs
    room_gpuh: Tensor  # [B,K] work that the sites can do besides
    demand: ForeseenDemand
    total_gpuh: Tensor  # [B] work on hand
    log_room: Tensor  # [B,K] logarithm of room over work on hand

    @classmethod
    def of(cls, reader: Reader, seen: Observed) -> Situation:
        """Work out what several parts need."""
        p, part = reader.params, seen.part
        exo = Exogenous.make(pue=part["pue"], available_gpus=part["available_gpus"])
        mwh = physics.work_power_mw_per_gpuh(p, exo) * p.dt_h
        relative = mwh / mwh.mean(-1, keepdim=True)
        price = seen.usd_per_mwh / UNIT_USD
        supply = supply_of(reader, seen)
        running = _running_gpus(seen)
        room = usable_gpus(p, part["available_gpus"], running[:, 0]) * (p.speed * p.dt_h)
        total = seen.on_hand_gpuh.sum((1, 2))
        return cls(
            reader=reader,
            seen=seen,
            exo=exo,
            price=price,
            mwh_per_gpuh=mwh,
            relative=relative,
            work_price=price * relative[:, None],
            supply=supply,
            running_gpus=running,
            room_gpuh=room,
            demand=ForeseenDemand.of(reader, seen),
            total_gpuh=total,
            log_room=torch.log(room / total[:, None].clamp_min(LEAST_GPUH) + 1e-3),
        )

    @property
    def p(self) -> Params:
        """Constants of the scenario."""
        return self.reader.params

    def load_mw(self, served_gpuh: Tensor) -> Tensor:
        """Facility power [B,K] of work served [B,C,W,K] and of the jobs that run."""
        served, held = served_gpuh.sum(1), self.running_gpus[:, 0]
        load: Tensor = physics.load_of(self.p, self.exo, served, held).facility_mw
        return load

    def power_mw(self, busy_gpus: Tensor) -> Tensor:
        """Facility power [B,F,K] of busy accelerators [B,F,K]; PUE and accelerators in service as now."""
        exo = Exogenous.make(pue=self.exo.pue[:, None], available_gpus=self.exo.available_gpus[:, None])
        power: Tensor = physics.facility_power_mw(self.p, exo, physics.it_power_mw(self.p, exo, busy_gpus))
        return power


def usable_gpus(p: Params, available_gpus: Tensor, held_gpus: Tensor) -> Tensor:
    """Accelerators for work [...,K] besides those that jobs hold."""
    return (p.utilisation_limit * available_gpus - held_gpus).clamp_min(0.0)


def _running_gpus(seen: Observed) -> Tensor:
    """Accelerators [B,F,K] that jobs hold which run already."""
    steps = seen.usd_per_mwh.shape[1]
    if "committed_gpus" not in seen.part:
        return torch.zeros_like(seen.usd_per_mwh)
    held = seen.part["committed_gpus"].transpose(1, 2)[:, :steps]
    return torch.nn.functional.pad(held, (0, 0, 0, steps - held.shape[1]))
