"""From what is seen to what is done: prices by rule, corrected by small networks that all sites and routes share.

Before any learning the networks give 0, and the decision is that of the rule: routes by cost within capacity, waiting
until the room foreseen gets tight, batteries by dynamic programming, generators where fuel is cheaper than import, jobs
where and when they are cheapest.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import nn

from agents.structure.numbers import LOWEST
from agents.structure.reading import Reader, Seen
from agents.structure.routing import CLOSED, Work, place
from agents.structure.starting import Starts
from agents.structure.storage import Storage, Supply
from agents.structure.waiting import free_room, to_be_done, waiting_price
from gridai_env import physics
from gridai_env.actions import Layout
from gridai_env.compile import Compiled
from gridai_env.state import Exogenous, Params
from gridai_env.world import grid_array

Tensor = torch.Tensor

FUEL_WIDTH = 0.05
PERSISTENCE_H = 12.0  # how far ahead sessions look before they move
LEAST_ROOM_GPUH = 1e-3
UNIT_USD = 10.0  # prices inside are in 10 USD per MWh
HOURS_SHOWN = (1.0, 2.0, 3.0, 5.0, 8.0, 12.0, 24.0)
ROUTE_FEATURES, SITE_FEATURES, WAIT_FEATURES, JOB_FEATURES = 9, 18, 12, 12


@dataclass(frozen=True)
class Placed:
    """Where work goes."""

    served_gpuh: Tensor  # [B,C,W,K]
    scarcity: Tensor  # [B,K] what the capacity of a site adds to its cost


@dataclass(frozen=True)
class Stack:
    """Room of the sites by kind of power: imported, else exported, else curtailed."""

    room_gpuh: Tensor  # [B,K] in all
    rooms_gpuh: Tensor  # [B,K,kinds]
    spared: Tensor  # [B,K,kinds] by how much this power is cheaper than import


def small_network(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    """Two hidden layers; the output begins at 0."""
    last = nn.Linear(hidden, outputs)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return nn.Sequential(nn.Linear(inputs, hidden), nn.Tanh(), nn.Linear(hidden, hidden), nn.Tanh(), last)


def symlog(x: Tensor) -> Tensor:
    """Linear near 0, logarithmic far out: price spikes stay apart from ordinary hours."""
    return torch.log1p(x.abs()).copysign(x)


class Judgement(nn.Module):
    """The decision of one scenario; its weights do not depend on the scenario's sizes."""

    def __init__(self, compiled: Compiled, hidden: int) -> None:
        super().__init__()
        self.compiled, self.layout = compiled, Layout(compiled.shape)
        self.reader = Reader(compiled)
        self.storage = Storage(self.reader.params, UNIT_USD)
        dt_h = compiled.shape.dt_h
        foreseen = self.reader.memory.steps
        self.shown = [min(max(round(h / dt_h), 1), foreseen) for h in HOURS_SHOWN]
        self.horizon = min(round(PERSISTENCE_H / dt_h), foreseen)
        self.route = small_network(ROUTE_FEATURES, hidden, 1)
        self.site = small_network(SITE_FEATURES, hidden, 2)
        self.wait = small_network(WAIT_FEATURES, hidden, 1)
        self.job = small_network(JOB_FEATURES, hidden, 2)
        self.log_width = nn.Parameter(torch.tensor(math.log(0.1)))
        self.log_battery_width = nn.Parameter(torch.tensor(math.log(0.15)))
        self.stickiness = nn.Parameter(torch.tensor(1.0))  # share of a move's cost that counts at once
        self.foresight = nn.Parameter(torch.tensor(0.5))
        self.patience = nn.Parameter(torch.tensor(0.1))
        self.kept = nn.Parameter(torch.tensor(0.8))
        self.crowding = nn.Parameter(torch.tensor(3.0))
        self.overflow = nn.Parameter(torch.tensor(5.0))
        self.hesitation = nn.Parameter(torch.tensor(6.0))
        wait = compiled.row_wait_steps
        self.longest = int(max(wait, default=0))
        batteries = [site.battery for site in compiled.scenario.sites]
        target = [b.target_share * b.capacity_mwh if b else 0.0 for b in batteries]
        self.battery_target_mwh: Tensor
        self.sell_share: Tensor
        self.sell_spread: Tensor
        constants = {
            "battery_target_mwh": target,
            "sell_share": grid_array(compiled, "sell_share"),
            "sell_spread": grid_array(compiled, "sell_spread_usd_per_mwh"),
        }
        for name, value in constants.items():
            self.register_buffer(name, torch.as_tensor(value, dtype=torch.float32), persistent=False)
        self.has_renewables = any(site.pv_mw + site.wind_mw > 0.0 for site in compiled.scenario.sites)

    def forward(self, observation: Tensor) -> tuple[Tensor, Tensor]:
        """Return wishes [B,A], in the layout of the action (routes as logarithms), and a summary [B,S]."""
        seen = self.reader(observation)
        p, part = self.reader.params, seen.part
        exo = Exogenous.make(pue=part["pue"], available_gpus=part["available_gpus"])
        mwh = physics.work_power_mw_per_gpuh(p, exo) * p.dt_h  # [B,K] per GPU-h
        unit = mwh.mean(-1) * UNIT_USD  # [B] USD per GPU-h
        price = seen.usd_per_mwh / UNIT_USD  # [B,F,K]
        work_price = price * (mwh / mwh.mean(-1, keepdim=True))[:, None]
        supply = self._supply(seen)
        sites = self._site_summary(seen, price)
        stack = self._stack(p, exo, seen, supply)
        cost, egress = self._route_cost(p, seen, work_price, unit, stack)
        placed, hold = self._place(p, seen, cost, egress, work_price, mwh, stack)
        load = self._load_mw(p, exo, seen, placed)
        net_mw = self._net_mw(seen, load)
        battery, slope, fuel_bonus = self._battery(p, seen, supply, net_mw, sites, stack, placed)
        wishes = [
            torch.cat(
                [_log_share(placed.served_gpuh), hold[..., None], torch.zeros_like(hold)[..., None]], -1
            ),
            battery,
            self._generator(p, seen, net_mw[:, 0], fuel_bonus),
            torch.zeros_like(battery),
        ]
        if self.compiled.shape.slots:
            wishes.append(self._jobs(p, exo, seen, supply, load, placed))
        summary = self._summary(seen, price, stack.room_gpuh, placed, slope, hold)
        return torch.cat([wish.flatten(1) for wish in wishes], -1), summary

    # Supply -------------------------------------------------------------------------------------------------

    def _supply(self, seen: Seen) -> Supply:
        """What power costs the sites now and in the steps foreseen, [B,F,K]."""
        part = seen.part
        carbon_usd = self.reader.usd_per_kg * part[f"carbon_{self.compiled.scenario.carbon_signal}"]
        buy = seen.usd_per_mwh
        plain = buy - carbon_usd[:, None]
        sell = torch.minimum(self.sell_share * plain, plain - self.sell_spread).clamp_min(0.0)
        limit = part["export_limit"][:, None].expand_as(buy)
        return Supply(buy / UNIT_USD, sell / UNIT_USD, limit)

    def _net_mw(self, seen: Seen, load_mw: Tensor) -> Tensor:
        """Load less renewables, now and foreseen, [B,F,K]: the present load, moving with all arrivals."""
        total = seen.region_gpuh.sum(-1)
        rise = total / total[:, :1].clamp_min(1e-6)
        return load_mw[:, None] * rise[..., None] - seen.renewable_mw

    def _stack(self, p: Params, exo: Exogenous, seen: Seen, supply: Supply) -> Stack:
        """Room of the sites, cheapest power first: what would be curtailed, what would be exported, import."""
        committed = seen.part["committed_gpus"][..., 0] if "committed_gpus" in seen.part else 0.0
        usable = (p.utilisation_limit * seen.part["available_gpus"] - committed).clamp_min(0.0)
        room = usable * p.speed * p.dt_h
        now = supply.at(0)
        if not self.has_renewables:
            return Stack(room, room[..., None], torch.zeros_like(room)[..., None])
        base = physics.facility_power_mw(p, exo, physics.it_power_mw(p, exo, committed + 0.0 * usable))
        surplus = (seen.part["renewable"] - base).clamp_min(0.0)
        per_gpuh = physics.work_power_mw_per_gpuh(p, exo)
        lost = torch.minimum((surplus - now.export_limit_mw).clamp_min(0.0) / per_gpuh, room)
        sold = torch.minimum(torch.minimum(surplus, now.export_limit_mw) / per_gpuh, room - lost)
        rooms = torch.stack([room - lost - sold, sold, lost], -1)
        spared = torch.stack([torch.zeros_like(room), now.buy - now.sell, now.buy], -1)
        return Stack(room, rooms, spared)

    # Work ---------------------------------------------------------------------------------------------------

    def _route_cost(
        self, p: Params, seen: Seen, work_price: Tensor, unit: Tensor, stack: Stack
    ) -> tuple[Tensor, Tensor]:
        """Generalised cost of each route [B,C,W,K], `CLOSED` and more where it is closed; and the egress in it."""
        now = work_price[:, 0]
        network = seen.usd_per_mwh[:, 0].clamp_min(0.0)[:, None, None]
        per_unit = unit[:, None, None, None]
        egress = (p.egress_usd_per_gpuh + p.network_mwh_per_gpuh * network) / per_unit
        move_mwh = p.relocation_mwh_per_gpuh + p.warm_mwh_per_gpuh[:, None]
        move = (p.relocation_usd_per_gpuh + p.warm_usd_per_gpuh[:, None] + move_mwh * network) / per_unit
        session = p.is_session[:, None]
        stays = seen.resident * session
        cost = now[:, None, None] + egress
        is_open = p.route_open
        mean = (cost * is_open).sum(-1, keepdim=True) / is_open.sum(-1, keepdim=True)
        within = seen.within[..., None]
        ahead = (work_price * within).sum(1) / within.sum(1) - now
        on_hand = seen.on_hand_gpuh
        total = on_hand.sum((1, 2))[:, None]
        features = torch.broadcast_tensors(
            torch.tanh((cost - mean) / 2.0),
            torch.tanh(ahead / 2.0)[:, None, None],
            stays,
            torch.log(stack.room_gpuh / total + 1e-3)[:, None, None],
            torch.log1p(10.0 * on_hand / (on_hand.sum(2, keepdim=True) + 1e-6))[..., None],
            session,
            torch.tanh(move),
            p.home[:, None].expand_as(is_open),
            torch.tanh(egress),
        )
        correction = self.route(torch.stack(features, -1))[..., 0]
        cost = cost + correction + CLOSED * (1.0 - is_open)
        if self.reader.first == 0:
            return cost, egress
        later = self._position(p, seen, work_price, egress, move, stack)
        return cost + session * (self.foresight * later - self.stickiness * move * stays), egress

    def _position(
        self, p: Params, seen: Seen, work_price: Tensor, egress: Tensor, move: Tensor, stack: Stack
    ) -> Tensor:
        """What it will cost sessions to be at a site after this step rather than at the best, [B,C,W,K].

        Sites that are cheaper than the one that the last session gets cost as much as that one.
        """
        with torch.no_grad():
            marginal = self._marginal_price(p, seen, work_price, stack)
            price = torch.maximum(work_price, marginal[..., None])
            route = egress + CLOSED * (1.0 - p.route_open)
            value = torch.zeros_like(route)
            for step in range(min(self.horizon, price.shape[1] - 1), 0, -1):
                value = value + (price[:, step] * seen.within[:, step, None])[:, None, None] + route
                value = torch.minimum(value, value.amin(-1, keepdim=True) + move)
            return value - value.amin(-1, keepdim=True)

    def _marginal_price(self, p: Params, seen: Seen, work_price: Tensor, stack: Stack) -> Tensor:
        """Cost of the dearest site that sessions need, were they free to choose, now and foreseen, [B,F]."""
        now = seen.part["arrivals"]
        rises = seen.region_gpuh / now.sum(-1).clamp_min(1e-6)[:, None]
        sessions = (rises * now[:, :, : self.reader.first].sum(-1)[:, None]).sum(-1)
        cost, order = work_price.sort(-1)
        filled = stack.room_gpuh[:, None].expand_as(cost).gather(-1, order).cumsum(-1)
        needed = (filled < sessions[..., None]).sum(-1, keepdim=True).clamp_max(cost.shape[-1] - 1)
        return cost.gather(-1, needed)[..., 0]

    def _place(
        self,
        p: Params,
        seen: Seen,
        cost: Tensor,
        egress: Tensor,
        work_price: Tensor,
        mwh: Tensor,
        stack: Stack,
    ) -> tuple[Placed, Tensor]:
        """Where work goes, and the fraction [B,C,W] of the work on hand that waits."""
        # Each kind of power of a site is a place of its own.
        relative = (mwh / mwh.mean(-1, keepdim=True))[..., None]
        spared = stack.spared * relative
        empty = CLOSED * (stack.rooms_gpuh < LEAST_ROOM_GPUH).to(cost.dtype)
        rows = (cost[..., None] - (spared - empty)[:, None, None]).flatten(-2)  # [B,C,W,P]
        must, first = seen.due_gpuh, self.reader.first
        kinds = stack.rooms_gpuh.shape[-1]
        never = torch.full_like(rows[..., :1], CLOSED)
        costs, gpuh = [torch.cat([rows, never], -1).flatten(1, 2)], [must.flatten(1)]
        if self.longest:
            level = self._waiting_price(p, seen, work_price, stack.room_gpuh)
            later = self._wait_cost(p, seen, work_price, egress, level)[..., None]
            costs.append(torch.cat([rows[:, :, first:], later], -1).flatten(1, 2))
            gpuh.append((seen.on_hand_gpuh - must)[:, :, first:].clamp_min(0.0).flatten(1))
        work = Work(torch.cat(costs, 1), torch.cat(gpuh, 1), stack.rooms_gpuh.flatten(1))
        served, scarcity = place(work, self.log_width.exp())
        served = served.unflatten(-1, (-1, kinds)).sum(-1)
        count = must.shape[1] * must.shape[2]
        placed = served[:, :count].unflatten(1, must.shape[1:])
        if self.longest:
            waited = served[:, count:].unflatten(1, (must.shape[1], -1))
            placed = torch.cat([placed[:, :, :first], placed[:, :, first:] + waited], 2)
        hold = 1.0 - placed.sum(-1) / seen.on_hand_gpuh.clamp_min(1e-6)
        scarce = scarcity.unflatten(-1, (-1, kinds)).amin(-1)
        return Placed(placed, scarce), (hold * p.may_wait).clamp(0.0, 1.0)

    def _wait_cost(self, p: Params, seen: Seen, work_price: Tensor, egress: Tensor, level: Tensor) -> Tensor:
        """What waiting work will cost when it is served, [B,C,Q]: the price of waiting, or more where its open sites
        will be dearer, and the way there."""
        first = self.reader.first
        ahead = torch.where(seen.within[..., None] > 0.5, work_price, torch.inf)
        best = ahead[:, 1 : self.longest + 1].amin(1)
        best = torch.where(torch.isfinite(best), best, work_price[:, 0])
        later = torch.maximum(level[:, None], best)[:, None, None] + egress[:, :, first:]
        return (later + CLOSED * (1.0 - p.route_open[:, first:])).amin(-1)

    def _waiting_price(self, p: Params, seen: Seen, work_price: Tensor, room: Tensor) -> Tensor:
        """The price [B] below which waiting work is served now."""
        first, within = self.reader.first, seen.within
        now = seen.part["arrivals"]
        rises = seen.region_gpuh / now.sum(-1).clamp_min(1e-6)[:, None]  # [B,F,C]
        head, tail = now[:, :, :first], now[:, :, first:]
        single = (p.route_open[:, :first].sum(-1) < 1.5).to(now.dtype)
        bound = torch.einsum("bfc,bcp,ck->bfk", rises, head * single, p.home)
        free = torch.einsum("bfc,bcp->bf", rises, head * (1.0 - single))
        left, at_cost = free_room(work_price, room[:, None].expand_as(work_price), bound, free)
        future = torch.einsum("bfc,bcq->bf", rises, tail) * within
        future = torch.cat([torch.zeros_like(future[:, :1]), future[:, 1:]], 1)
        waiting = seen.on_hand_gpuh[:, :, first:].sum((1, 2))
        must = to_be_done(waiting, seen.part["due"].sum((1, 2)), future, seen.steps_left)
        level = waiting_price(at_cost, left, within, must)
        mean = work_price.mean(-1)
        hour = seen.local_h.mean(-1) * (2.0 * math.pi / 24.0)
        arriving = tail.sum((1, 2)) + 1.0
        features = torch.stack(
            [
                torch.tanh(level - work_price[:, 0].amin(-1)),
                *torch.tanh(mean[:, self.shown] - level[:, None]).unbind(-1),
                torch.tanh(torch.log(waiting / arriving + 1e-3) / 2.0),
                hour.sin(),
                hour.cos(),
                torch.log(room.sum(-1) / arriving) / 3.0,
            ],
            -1,
        )
        return level + self.wait(features)[:, 0] - self.patience

    # Power --------------------------------------------------------------------------------------------------

    def _load_mw(self, p: Params, exo: Exogenous, seen: Seen, placed: Placed) -> Tensor:
        """Facility power [B,K] for the work placed and the jobs running."""
        running = seen.part["committed_gpus"][..., 0] if "committed_gpus" in seen.part else 0.0
        return physics.load_of(p, exo, placed.served_gpuh.sum(1), running).facility_mw

    def _site_summary(self, seen: Seen, price: Tensor) -> Tensor:
        """Shape of the foreseen prices, and the hour, at each site, [B,K,10]."""
        within = seen.within[..., None]
        mean = (price * within).sum(1) / within.sum(1)
        shape = symlog(price[:, self.shown] - price[:, :1]).transpose(1, 2)
        hour = seen.local_h * (2.0 * math.pi / 24.0)
        return torch.cat([shape, torch.stack([hour.sin(), hour.cos(), symlog(mean) / 2.0], -1)], -1)

    def _battery(
        self,
        p: Params,
        seen: Seen,
        supply: Supply,
        net_mw: Tensor,
        sites: Tensor,
        stack: Stack,
        placed: Placed,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Charge (+) or discharge (-) [B,K], what a stored MWh is worth [B,K], and what speaks for fuel [B,K]."""
        stored, target_mwh = seen.part["battery"], self.battery_target_mwh
        now, idle = supply.at(0), torch.zeros_like(stack.room_gpuh)
        worth, slope = idle[..., None] + 0.0 * self.storage.level, idle
        if p.has_battery:
            with torch.no_grad():
                value = self.storage.value(supply, net_mw, seen.within, target_mwh, self.kept)
            worth, slope = self.storage.worth(value, now, net_mw[:, 0], stored)
        size = p.battery_max_mwh.clamp_min(1e-6)
        total = seen.on_hand_gpuh.sum((1, 2))[:, None]
        state = torch.broadcast_tensors(
            stored / size,
            torch.tanh((slope - now.buy) / 2.0),
            (seen.steps_left[:, None] * p.dt_h / 48.0).clamp_max(1.0),
            target_mwh / size,
            torch.log(stack.room_gpuh / total + 1e-3),
            placed.scarcity.clamp_max(5.0),
            torch.tanh(now.buy / 10.0),
            torch.tanh(net_mw[:, 0] / 20.0),
        )
        correction = self.site(torch.cat([sites, torch.stack(state, -1)], -1))
        worth = worth + correction[..., :1] * self.storage.level_change_mwh
        weight = torch.softmax(worth / self.log_battery_width.exp(), -1)
        return (weight * self.storage.level).sum(-1) * (p.battery_max_mwh > 0.0), slope, correction[..., 1]

    def _generator(self, p: Params, seen: Seen, net_mw: Tensor, bonus: Tensor) -> Tensor:
        """Output over capacity [B,K]: what the load needs, or export takes, where fuel is cheaper."""
        if not p.has_generator:
            return torch.zeros_like(net_mw)
        part = seen.part
        fuel = (
            p.fuel_usd_per_mwh + self.reader.usd_per_kg * p.generator_carbon_kg_per_mwh
        ) / UNIT_USD - bonus
        pays = torch.sigmoid((seen.usd_per_mwh[:, 0] / UNIT_USD - fuel) / FUEL_WIDTH)
        sells = torch.sigmoid((part["sell_price"] / UNIT_USD - fuel) / FUEL_WIDTH)
        exportable = (part["export_limit"] - (-net_mw).clamp_min(0.0)).clamp_min(0.0)
        wanted = net_mw.clamp_min(0.0) * pays + exportable * sells
        return (wanted / p.generator_max_mw.clamp_min(1e-6)).clamp(0.0, 1.0) * (p.generator_max_mw > 0.0)

    def _jobs(
        self, p: Params, exo: Exogenous, seen: Seen, supply: Supply, load_mw: Tensor, placed: Placed
    ) -> Tensor:
        """Scores of the job slots [B,V,K+1]."""
        jobs = self.reader.job_features(seen.part)
        idle_kw = p.busy_kw_per_gpu - p.idle_kw_per_gpu
        job_mw = (exo.pue * idle_kw)[:, None] * jobs["gpus"][..., None] / 1000.0  # [B,V,K]
        net = self._net_mw(seen, load_mw)[:, None]  # [B,1,F,K]
        each = Supply(supply.buy[:, None], supply.sell[:, None], supply.export_limit_mw[:, None])
        paid = each.cost(net + job_mw[:, :, None]) - each.cost(net)  # [B,V,F,K]
        crowded = self._crowded(p, seen, placed, jobs)
        price = paid / job_mw.clamp_min(1e-6)[:, :, None] + self.crowding * crowded
        starts = Starts.of(jobs, price, seen.within)
        scarcity = placed.scarcity.clamp_max(10.0)[:, None]
        each_site = torch.broadcast_tensors(
            torch.tanh((starts.now - starts.best_now[..., None]) / 2.0),
            torch.tanh((starts.now - starts.best_later[..., None]) / 2.0),
            torch.tanh((starts.best_later_here - starts.now) / 2.0),
            torch.tanh((starts.usual - starts.now) / 2.0),
            crowded[:, :, 0],
            crowded.mean(2),
            torch.tanh(scarcity),
            torch.tanh(net[:, :, 0] / 20.0),
            (jobs["gpus"][..., None] / p.gpus),
            *(torch.tanh(jobs[name] / 10.0)[..., None] for name in ("slack", "duration")),
            (seen.steps_left * p.dt_h / 24.0).clamp_max(2.0)[:, None, None],
        )
        features = torch.stack(each_site, -1)
        correction = self.job(features)  # of the cost of a start, and of a share in the cost of waiting
        extra = correction[..., 0] + scarcity
        is_open = starts.is_open[..., None].to(features.dtype)
        waits = (correction[..., 1:] * is_open).sum(2) / is_open.sum(2).clamp_min(1.0)
        return starts.rule(extra, self.hesitation + waits[..., 0])

    def _crowded(self, p: Params, seen: Seen, placed: Placed, jobs: dict[str, Tensor]) -> Tensor:
        """How much of a job's accelerators work at the site would have to yield, foreseen, [B,V,F,K]; that it would have
        to yield everywhere counts more."""
        total = seen.region_gpuh.sum(-1)
        rise = (total / total[:, :1].clamp_min(1e-6))[..., None]
        busy = physics.inference_gpus(p, placed.served_gpuh.sum(1))[:, None] * rise
        running = seen.part["committed_gpus"].transpose(1, 2)[:, : busy.shape[1]]
        running = torch.nn.functional.pad(running, (0, 0, 0, busy.shape[1] - running.shape[1]))
        spare = (p.utilisation_limit * seen.part["available_gpus"])[:, None] - busy - running  # [B,F,K]
        gpus = jobs["gpus"].clamp_min(1.0)[..., None, None]
        here = ((gpus - spare[:, None]) / gpus).clamp(0.0, 1.0)
        everywhere = ((gpus - spare.sum(-1, keepdim=True)[:, None]) / gpus).clamp(0.0, 1.0)
        return here + self.overflow * everywhere

    # For the value ------------------------------------------------------------------------------------------

    def _summary(
        self, seen: Seen, price: Tensor, room: Tensor, placed: Placed, slope: Tensor, hold: Tensor
    ) -> Tensor:
        """Figures of the whole system from which the value is estimated, [B,S]; sites are averaged."""
        p = self.reader.params
        total = seen.on_hand_gpuh.sum((1, 2))
        stored = seen.part["battery"] / p.battery_max_mwh.clamp_min(1e-6)
        hour = seen.local_h.mean(-1) * (2.0 * math.pi / 24.0)
        of_sites = [
            price[:, 0],
            price[:, self.shown].mean(1),
            stored,
            placed.scarcity,
            slope,
            room / total[:, None],
        ]
        waiting = (seen.on_hand_gpuh * p.may_wait).sum((1, 2)) / seen.part["arrivals"].sum((1, 2))
        single = [
            seen.steps_left * p.dt_h / 24.0,
            waiting / 10.0,
            hold.mean((1, 2)),
            hour.sin(),
            hour.cos(),
        ]
        pooled = [f(symlog(x), -1) for x in of_sites for f in (torch.mean, torch.amin, torch.amax)]
        return torch.stack([*pooled, *single], -1).detach()


SUMMARY = 6 * 3 + 5


def _log_share(served_gpuh: Tensor) -> Tensor:
    """Logarithm of each route's share over the largest, [B,C,W,K], not below `LOWEST`."""
    most = served_gpuh.amax(-1, keepdim=True).clamp_min(1e-9)
    return torch.log((served_gpuh / most).clamp_min(math.exp(LOWEST)))
