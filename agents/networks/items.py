"""What networks without a rule look at: figures of the system, of each site, of each row of work, of each route.

Costs come in 10 USD per MWh of IT load at a mean site, work in shares of the capacity of all sites: the same network
fits scenarios of other sizes.  Nothing here decides anything.

Shapes: B observations, K sites, C regions, W rows, O open routes, F steps foreseen (the present first), V job slots.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from agents.structured.lines import line_mw
from agents.structured.observed import UNIT_USD, Reader
from agents.structured.situation import Situation
from gridai_env.arrays.types import Float
from gridai_env.observation.decode import JOB_FEATURES, job_features

SCALES_H = (2.0, 6.0, 24.0)  # of the time left: exp(-left / scale)
LEADS_H = (*range(1, 13), 15, 18, 21, 24)  # what is foreseen is shown at these hours
DUE_H = tuple(range(12))  # work that is due within these hours and the step to come
LINES_SHOWN = 2  # of a site, the dearest
FEATURES = ("whole", "sites", "rows", "routes", "jobs")


@dataclass(frozen=True)
class Items:
    """Features of the items of a batch of observations, and what work meets what room."""

    whole: Float[Tensor, "B f"]
    sites: Float[Tensor, "B K f"]
    rows: Float[Tensor, "B C W f"]
    routes: Float[Tensor, "B O f"]
    jobs: Float[Tensor, "B V K f"]
    # Shares of capacity, no features: work on hand, how much of it is due now, and the room for it.
    work: Float[Tensor, "B C W"]
    due: Float[Tensor, "B C W"]
    room: Float[Tensor, "B K"]

    @classmethod
    def of(cls, reader: Reader, observation: Float[Tensor, "B N+M"]) -> Items:
        """Return the features of observations with memory."""
        now = Situation.of(reader, reader(observation))
        p = now.p
        capacity = (p.utilisation_limit * p.gpus * p.speed).sum() * p.dt_h  # work of all sites in a step
        return cls(
            _whole(now, capacity),
            _sites(now, capacity),
            _rows(now, capacity),
            _routes(now),
            _jobs(now, capacity),
            now.seen.on_hand_gpuh / capacity,
            now.seen.due_gpuh / capacity,
            now.room_gpuh / capacity,
        )

    def flat(self, *names: str) -> Float[Tensor, "B n"]:
        """Return the features of some kinds of items side by side."""
        return torch.cat([getattr(self, name).flatten(1) for name in names], 1)


def _left(now: Situation) -> Float[Tensor, "B 3"]:
    left_h = now.seen.steps_left * now.p.dt_h
    return torch.stack([torch.exp(-left_h / scale) for scale in SCALES_H], -1)


def _usd_per_gpuh(now: Situation) -> Float[Tensor, "B 1 1 1"]:
    """Return what a GPU-h costs at a mean site where a MWh costs 10 USD."""
    return now.mwh_per_gpuh.mean(-1)[:, None, None, None] * UNIT_USD


def _at(curve: Float[Tensor, "B F ..."], now: Situation) -> Float[Tensor, "B S ..."]:
    """Return a curve now and at the leads shown."""
    return curve[:, [0, *now.reader.leads(LEADS_H)]]


def _whole(now: Situation, capacity: Tensor) -> Float[Tensor, "B f"]:
    p, cost, within = now.p, now.work_price, now.seen.within[..., None]
    load = (now.seen.region_gpuh.sum(-1) / capacity) * now.seen.within
    room = now.room_gpuh.sum(-1) / capacity
    figures = [
        _left(now),
        now.seen.part["clock"],
        _at((cost * within).mean(-1), now),
        _at((cost * within).amin(-1), now),
        _at(load, now),
        torch.stack([room, now.total_gpuh / capacity], -1),
    ]
    # Without a budget all of it is left, always: the sizes are those of any scenario.
    budget = now.seen.part.get("carbon_budget_left")
    figures.append(torch.ones_like(room)[:, None] if budget is None else budget / p.carbon_budget_kg)
    return torch.cat(figures, -1)


def _sites(now: Situation, capacity: Tensor) -> Float[Tensor, "B K f"]:
    p, part, seen = now.p, now.seen.part, now.seen
    within = seen.within[..., None]
    cost = now.work_price
    shown = _at(cost, now) * _at(within, now)  # [B,S,K]
    present = cost[:, :1]
    later_less = torch.where(within > 0.5, cost, torch.inf).amin(1) - present[:, 0]
    later_more = torch.where(within > 0.5, cost, -torch.inf).amax(1) - present[:, 0]

    peak_mw = now.power_mw((p.utilisation_limit * p.gpus)[None, None])[:, 0].clamp_min(1e-9)
    renewable = _at(seen.renewable_mw, now) / peak_mw[:, None]
    constants = torch.stack(
        [
            p.battery_max_mwh / p.dt_h,
            p.charge_limit_mw,
            p.generator_max_mw,
            p.demand_charge_usd_per_mw * 1e-3,
        ],
        -1,
    )
    single = [
        later_less,
        later_more,
        part["battery"] / p.battery_max_mwh.clamp_min(1e-6),
        now.reader.battery_target_mwh.expand_as(present[:, 0]) / p.battery_max_mwh.clamp_min(1e-6),
        now.room_gpuh / capacity,
        now.running_gpus[:, 0] / p.gpus,
        part["generation"] / p.generator_max_mw.clamp_min(1e-6),
        part["peak_import"] / peak_mw,
        part["sell_price"] / UNIT_USD,
        part["pue"] - 1.0,
        (seen.resident * part["arrivals"][..., None]).sum((1, 2)) / capacity,
        (part["arrivals"].sum(-1, keepdim=True) * p.home).sum(1) / capacity,
        now.reader.fuel_price - now.price[:, 0],
    ]
    curves = [shown, shown - shown.mean(-1, keepdim=True), shown - shown.amin(-1, keepdim=True), renewable]
    curves.append((shown - shown[:, :1]) * (shown != 0.0))
    fixed = constants / peak_mw[..., None]
    found = [torch.stack(single, -1), *(curve.transpose(1, 2) for curve in curves), fixed]
    # Only where there are any, and last: weights of scenarios without them then fit the features before.
    return torch.cat([*found, _lines(now, peak_mw)] if now.reader.is_flexible else found, -1)


def _lines(now: Situation, peak_mw: Float[Tensor, "B K"]) -> Float[Tensor, "B K f"]:
    """Return what lines, calls, baselines, contracts and power modes are about; their numbers differ, the sizes not."""
    p, part, seen, reader = now.p, now.seen.part, now.seen, now.reader
    none = torch.zeros_like(peak_mw)

    def summed(name: str) -> Tensor:
        return part[name].sum(1) if name in part else none

    def first(name: str) -> Tensor:
        return part[name][..., 0] / peak_mw if name in part else none

    single = [
        part["import_limit"] / peak_mw,
        part.get("generator_open", torch.ones_like(none)),
        summed("response_price") / UNIT_USD,
        summed("committed") / peak_mw,
        part.get("baseline_counts", none),
        first("day_before"),
        first("baseline_sum"),
        (p.saving_kw_per_busy_gpu.amax(0) / p.busy_kw_per_gpu).expand_as(none) if p.has_modes else none,
    ]
    if p.has_lines:
        # What is no line of a site has no price, and lies at the limit of import.
        usd, dearest = part["line_price"].topk(min(LINES_SHOWN, p.capacity_usd_per_h.shape[0]), dim=1)
        mw = line_mw(part).gather(1, dearest)
        single += [*(mw / peak_mw[:, None]).unbind(1), *(usd / UNIT_USD).unbind(1)]
    single += [none] * (8 + 2 * LINES_SHOWN - len(single))

    within = _at(seen.within[..., None], now)[:, 1:]
    called = reader.foreseen("forecast_call", part, LEADS_H).clamp_max(1.0) * within
    clean = reader.foreseen("forecast_clean", part, LEADS_H) / peak_mw[:, None] * within
    return torch.cat([torch.stack(single, -1), called.transpose(1, 2), clean.transpose(1, 2)], -1)


def _rows(now: Situation, capacity: Tensor) -> Float[Tensor, "B C W f"]:
    p, part = now.p, now.seen.part
    arrivals, waiting = part["arrivals"], now.seen.on_hand_gpuh - part["arrivals"]
    rise = now.seen.region_gpuh / now.seen.region_gpuh[:, :1].clamp_min(1e-6) * now.seen.within[..., None]
    ahead = _at(rise, now).transpose(1, 2)  # [B,C,S]
    constants = torch.stack(
        [p.may_wait, p.revenue_usd_per_gpuh, p.drop_usd_per_gpuh, p.warm_usd_per_gpuh], -1
    )
    lead = arrivals.shape
    return torch.cat(
        [
            torch.stack([arrivals, waiting, now.seen.on_hand_gpuh], -1) / capacity,
            _due(now) / capacity,
            *_cheapest(now),
            ahead[:, :, None].expand(*lead, -1),
            constants.expand(*lead, -1),
        ],
        -1,
    )


def _cheapest(now: Situation) -> list[Float[Tensor, "B C W f"]]:
    """Return what a row would pay on its cheapest route: less than turning it away costs, now, and less than later.

    Later is shown at each lead, and as the least up to it.
    """
    p = now.p
    usd_per_gpuh = _usd_per_gpuh(now)
    fixed = now.reader.closed_cost + p.egress_usd_per_gpuh / usd_per_gpuh
    best = (now.work_price[:, :, None, None] + fixed[:, None]).amin(-1)  # [B,F,C,W]
    best = best + (best[:, :1] - best) * (now.seen.within[..., None, None] < 0.5)
    worth = (p.revenue_usd_per_gpuh + p.drop_usd_per_gpuh) / usd_per_gpuh[..., 0]
    margin = worth - best[:, 0]
    later = (
        torch.stack([best, best.cummin(1).values], -1)[:, now.reader.leads(LEADS_H)] - best[:, :1, ..., None]
    )
    return [margin[..., None], later.permute(0, 2, 3, 1, 4).flatten(3)]


def _due(now: Situation) -> Float[Tensor, "B C W 12"]:
    """Return the work that must be served within some hours; sessions are due at once."""
    first, on_hand = now.reader.first, now.seen.on_hand_gpuh
    if "due" not in now.seen.part:
        return on_hand[..., None].expand(*on_hand.shape, len(DUE_H))
    due = now.seen.part["due"].cumsum(-1)
    last = due.shape[-1] - 1
    waits = due[..., [min(round(h / now.p.dt_h), last) for h in DUE_H]]
    sessions = on_hand[:, :, :first, None].expand(*on_hand[:, :, :first].shape, len(DUE_H))
    return torch.cat([sessions, waits], 2)


def _routes(now: Situation) -> Float[Tensor, "B O f"]:
    """Return the features of open routes; what a route costs is in USD per GPU-h, over the cost of 10 USD per MWh."""
    p, index = now.p, now.reader.open_index
    usd_per_gpuh = _usd_per_gpuh(now)
    fixed = p.egress_usd_per_gpuh / usd_per_gpuh
    cost = now.work_price[:, 0][:, None, None] + fixed  # [B,C,W,K]
    best = (cost + now.reader.closed_cost).amin(-1, keepdim=True)
    home = (cost * p.home[:, None]).sum(-1, keepdim=True)
    of_route = [p.route_open, p.home[:, None], fixed, p.relocation_usd_per_gpuh / usd_per_gpuh]
    figures = [cost - best, cost - home, now.seen.resident, cost, *of_route]
    return torch.stack([figure.expand_as(cost).flatten(1).index_select(1, index) for figure in figures], -1)


def _jobs(now: Situation, capacity: Tensor) -> Float[Tensor, "B V K f"]:
    """Return the features of job slots at sites."""
    part, p, reader = now.seen.part, now.p, now.reader
    slots, sites = reader.compiled.shape.slots, reader.compiled.shape.sites
    if not slots:
        return now.price.new_zeros((len(now.price), 0, sites, len(JOB_FEATURES) + 3))
    jobs = job_features(part["jobs"])
    size = jobs["gpus"] * jobs["duration"]
    of_job = [
        jobs["present"],
        jobs["gpus"] / p.gpus.mean(),
        jobs["duration"] / 24.0,
        jobs["slack"] / 24.0,
        jobs["value"] / (size * p.dt_h).clamp_min(1e-6),
    ]
    spread = torch.stack(of_job, -1)[:, :, None].expand(-1, -1, sites, -1)
    held = part["committed_gpus"].amax(-1) / p.gpus  # [B,K]
    at_site = torch.stack([now.room_gpuh / capacity, held], -1)[:, None].expand(-1, slots, -1, -1)
    return torch.cat([spread, at_site, jobs["open"][..., None]], -1)
