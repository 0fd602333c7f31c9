"""What all decisions start from: prices by step and site, power available, demand foreseen."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from agents.structured.lines import Lines, fed_gpuh, saving_mw
from agents.structured.observed import UNIT_USD, Observed, Reader
from agents.structured.power import Supply, supply_of
from gridai_env.arrays.types import Float
from gridai_env.world import physics
from gridai_env.world.state import Exogenous, Params

LEAST_GPUH = 1e-3  # floor of work in denominators: a step may have no arrivals


@dataclass(frozen=True)
class ForeseenDemand:
    """Work foreseen to arrive: each kind as it arrives now, scaled with the forecast of its region."""

    sessions_gpuh: Float[Tensor, "B F"]
    bound_gpuh: Float[Tensor, "B F K"]  # sessions that have a single route, by their site
    free_gpuh: Float[Tensor, "B F"]  # sessions that have a choice
    waiting_gpuh: Float[Tensor, "B F"]  # work that may wait
    reach_gpuh: Float[Tensor, "B F K"]  # work with a choice that may go to the site

    @classmethod
    def of(cls, reader: Reader, seen: Observed) -> ForeseenDemand:
        """Return the demand foreseen."""
        p, first = reader.params, reader.first
        rises = seen.region_gpuh / seen.region_gpuh[:, :1].clamp_min(1e-6)  # [B,F,C]
        head, tail = seen.part["arrivals"].tensor_split([first], -1)  # [B,C,P], [B,C,Q]
        bound = head * reader.single_route

        # All figures scale with the regions in the same way: one product instead of five.
        choosing = torch.cat([head - bound, tail], -1)[..., None]
        kinds = torch.stack([head.sum(-1), (head - bound).sum(-1), tail.sum(-1)], -1)
        at_home = bound.sum(-1, keepdim=True) * p.home
        found = rises @ torch.cat([at_home, (choosing * p.route_open).sum(2), kinds], -1)  # [B,F,2K+3]
        sites = p.home.shape[-1]
        bound_gpuh, reach, rest = found.split([sites, sites, 3], -1)
        total, free, waiting = rest.unbind(-1)
        return cls(total, bound_gpuh, free, waiting, reach)


@dataclass(frozen=True)
class Situation:
    """The state of the system as observed and foreseen; prices in 10 USD per MWh."""

    reader: Reader
    seen: Observed
    exo: Exogenous  # PUE and accelerators in service, all that power depends on
    price: Float[Tensor, "B F K"]  # of import with its carbon
    mwh_per_gpuh: Float[Tensor, "B K"]
    relative: Float[Tensor, "B K"]  # the same over its mean
    work_price: Float[Tensor, "B F K"]  # of work, per MWh at a mean site
    supply: Supply  # [B,F,K]
    running_gpus: Float[Tensor, "B F K"]  # held by jobs
    room_gpuh: Float[Tensor, "B K"]  # work that the sites can do besides
    demand: ForeseenDemand
    total_gpuh: Float[Tensor, " B"]  # work on hand
    log_room: Float[Tensor, "B K"]  # logarithm of room over work on hand
    lines: Lines | None  # of the present, in scenarios with lines or power modes

    @classmethod
    def of(cls, reader: Reader, seen: Observed) -> Situation:
        """Return what several decisions need."""
        p, part = reader.params, seen.part
        exo = Exogenous.make(pue=part["pue"].detach(), available_gpus=part["available_gpus"].detach())
        mwh = physics.work_power_mw_per_gpuh(p, exo) * p.dt_h
        relative = mwh / mwh.mean(-1, keepdim=True)

        price = seen.usd_per_mwh / UNIT_USD
        supply = supply_of(reader, seen)
        running = _running_gpus(seen)
        room = usable_gpus(p, part["available_gpus"], running[:, 0]) * (p.speed * p.dt_h)
        lines = Lines.of(reader, seen) if reader.is_flexible else None
        if lines is not None:
            spare_mw = _supply_mw(p, seen, lines) - _idle_mw(p, exo, running[:, 0])
            room = torch.minimum(room, fed_gpuh(p, exo, spare_mw, running[:, 0]))
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
            lines=lines,
        )

    @property
    def p(self) -> Params:
        """Return the constants of the scenario."""
        return self.reader.params

    def load_mw(self, served_gpuh: Float[Tensor, "B C W K"]) -> Float[Tensor, "B K"]:
        """Return the facility power of work served and of the jobs that run."""
        served, held = served_gpuh.sum(1), self.running_gpus[:, 0]
        saved = saving_mw(self.p, self.exo, self.price[:, 0], served, held) if self.p.has_modes else None
        return physics.load_of(self.p, self.exo, served, held, saved).facility_mw

    def power_mw(self, busy_gpus: Float[Tensor, "B F K"]) -> Float[Tensor, "B F K"]:
        """Return the facility power of busy accelerators; PUE and accelerators in service as now."""
        exo = Exogenous.make(pue=self.exo.pue[:, None], available_gpus=self.exo.available_gpus[:, None])
        return physics.facility_power_mw(self.p, exo, physics.it_power_mw(self.p, exo, busy_gpus))


def episode_mean(values: Float[Tensor, "B F K"], within: Float[Tensor, "B F"]) -> Float[Tensor, "B K"]:
    """Return the mean over the steps foreseen that lie within the episode."""
    return (values * within[..., None]).sum(1) / within.sum(1, keepdim=True).clamp_min(1.0)


def usable_gpus(
    p: Params, available_gpus: Float[Tensor, "*#batch K"], held_gpus: Float[Tensor, "*#batch K"]
) -> Float[Tensor, "*batch K"]:
    """Return the accelerators left for work besides those that jobs hold; the arguments broadcast."""
    return (p.utilisation_limit * available_gpus - held_gpus).clamp_min(0.0)


def discharge_mw(p: Params, seen: Observed) -> Float[Tensor, "B K"]:
    """Return the discharge that power limit and energy allow."""
    stored = (seen.part["battery"] - p.battery_min_mwh).clamp_min(0.0)
    return torch.minimum(p.discharge_limit_mw, stored * p.discharge_efficiency / p.dt_h)


def _supply_mw(p: Params, seen: Observed, lines: Lines) -> Float[Tensor, "B K"]:
    """Return the most that a site can be supplied with now."""
    own = seen.part["renewable"] + lines.generator_mw + discharge_mw(p, seen)
    return own + lines.import_limit_mw


def _idle_mw(p: Params, exo: Exogenous, held_gpus: Float[Tensor, "B K"]) -> Float[Tensor, "B K"]:
    """Return the facility power of a site that only runs jobs."""
    return physics.facility_power_mw(p, exo, physics.it_power_mw(p, exo, held_gpus))


def _running_gpus(seen: Observed) -> Float[Tensor, "B F K"]:
    """Return the accelerators held by jobs that run already."""
    steps = seen.usd_per_mwh.shape[1]
    if "committed_gpus" not in seen.part:
        return torch.zeros_like(seen.usd_per_mwh)
    held = seen.part["committed_gpus"].transpose(1, 2)[:, :steps]
    return torch.nn.functional.pad(held, (0, 0, 0, steps - held.shape[1]))
