"""What all parts of a decision start from: prices by step and site, power that is at hand, work that is foreseen."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from agents.structure.power import Rooms, supply_of
from agents.structure.reading import Reader, Seen
from agents.structure.storage import Supply
from gridai_env import physics
from gridai_env.state import Exogenous, Params

Tensor = torch.Tensor

UNIT_USD = 10.0  # prices inside are in 10 USD per MWh


@dataclass(frozen=True)
class Demand:
    """Work that is foreseen to arrive: what arrives now, moving with all arrivals of its region."""

    rise: Tensor  # [B,F] arrivals of all regions over those of now
    sessions_gpuh: Tensor  # [B,F]
    bound_gpuh: Tensor  # [B,F,K] sessions that have a single route, by their site
    free_gpuh: Tensor  # [B,F] sessions that have a choice
    waiting_gpuh: Tensor  # [B,F] work that may wait

    @classmethod
    def of(cls, reader: Reader, seen: Seen) -> Demand:
        """Foresee the demand."""
        p, first = reader.params, reader.first
        every = seen.region_gpuh.sum(-1)
        rises = seen.region_gpuh / seen.region_gpuh[:, :1].clamp_min(1e-6)  # [B,F,C]
        head, tail = seen.part["arrivals"].tensor_split([first], -1)  # [B,C,P], [B,C,Q]
        sessions, bound = head.sum(-1), (head * reader.single_route).sum(-1)
        kinds = torch.stack([sessions, sessions - bound, tail.sum(-1)], -1)
        found = rises @ torch.cat([bound[..., None] * p.home, kinds], -1)  # [B,F,K+3]
        total, free, waiting = found[..., -3:].unbind(-1)
        rise = every / every[:, :1].clamp_min(1e-6)
        return cls(rise, total, found[..., :-3], free, waiting)


@dataclass(frozen=True)
class Situation:
    """Where the world stands, [B,...]; prices in 10 USD per MWh."""

    reader: Reader
    seen: Seen
    exo: Exogenous  # PUE and accelerators in service, all that power depends on
    price: Tensor  # [B,F,K] of import with its carbon
    mwh_per_gpuh: Tensor  # [B,K]
    relative: Tensor  # [B,K] the same over its mean
    work_price: Tensor  # [B,F,K] of work, per MWh at a mean site
    supply: Supply  # [B,F,K]
    running_gpus: Tensor | float  # [B,K] held by jobs now
    rooms: Rooms
    demand: Demand
    total_gpuh: Tensor  # [B] work on hand
    log_room: Tensor  # [B,K] logarithm of room over work on hand

    @classmethod
    def of(cls, reader: Reader, seen: Seen) -> Situation:
        """Work out what several parts need."""
        p, part = reader.params, seen.part
        exo = Exogenous.make(pue=part["pue"], available_gpus=part["available_gpus"])
        mwh = physics.work_power_mw_per_gpuh(p, exo) * p.dt_h
        relative = mwh / mwh.mean(-1, keepdim=True)
        price = seen.usd_per_mwh / UNIT_USD
        supply = supply_of(reader, seen, UNIT_USD)
        running = part["committed_gpus"][..., 0] if "committed_gpus" in part else 0.0
        rooms = Rooms.of(reader, seen, exo, supply.at(0), running)
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
            rooms=rooms,
            demand=Demand.of(reader, seen),
            total_gpuh=total,
            log_room=torch.log(rooms.gpuh / total[:, None] + 1e-3),
        )

    @property
    def p(self) -> Params:
        """Constants of the scenario."""
        return self.reader.params

    def load_mw(self, served_gpuh: Tensor) -> Tensor:
        """Facility power [B,K] of work served [B,C,W,K] and of the jobs that run."""
        load: Tensor = physics.load_of(self.p, self.exo, served_gpuh.sum(1), self.running_gpus).facility_mw
        return load

    def net_mw(self, load_mw: Tensor) -> Tensor:
        """Load less renewables, now and foreseen, [B,F,K]: the present load, moving with all arrivals."""
        return load_mw[:, None] * self.demand.rise[..., None] - self.seen.renewable_mw
