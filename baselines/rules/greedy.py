"""Greedy: what an operator with spreadsheets would do, step by step, from prices, carbon and forecasts.

- Work goes where energy, carbon, egress and (for moved sessions) relocation and warm-up cost least and there is
  room; work that costs more than its revenue and penalty is refused.
- Work that may wait is held when a forecast hour within its slack is cheaper.
- Batteries charge in cheap hours and discharge in dear ones, judged by quantiles of present and forecast prices,
  and are back at their target at the end.
- Generators run where fuel is cheaper than import, lines that the load reaches included.  Jobs start at once where
  energy is cheapest.
- No work goes where it would pay for import above a line that costs more than any work brings.

No optimisation and no model of what others do: a reference that agents should beat.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np

from baselines.rules.placing import ServiceOptions, allocate, place_urgent, start_at_once, to_action
from baselines.rules.rule import Actions, Rule
from baselines.rules.view import ROUNDING, View
from gridai_env.arrays.types import Bool, Bools, Float, Floats
from gridai_env.scenario.compile import Compiled
from gridai_env.world import physics
from gridai_env.world.terms import energy_usd_per_mwh

PerSite: TypeAlias = Float[Floats, "B K"]


class Greedy(Rule):
    """Price plus carbon, battery arbitrage, deferral; see the module."""

    name = "greedy"

    # A move of sessions must pay within this time: prices of sites stay apart for some hours.
    payback_h = 4.0
    # Forecasts err: a later hour must be cheaper by this share of the present cost of energy.
    deferral_margin = 0.1
    # Present price among present and forecast prices: below the first quantile charge, above the second discharge.
    cheap, dear = 0.35, 0.65
    # Least gain of a stored MWh over losses and wear.
    least_gain_usd_per_mwh = 1.0

    def prepare(self, compiled: Compiled) -> None:
        """Note the batteries' targets."""
        super().prepare(compiled)
        self._target_mwh = compiled.sites.battery_target_mwh

    def decide(self, view: View) -> Actions:
        """Return actions: jobs, deferral and routing, then power for the load that follows."""
        value_now = with_carbon_usd_per_mwh(view, view.exo.buy_usd_per_mwh, billed_kg(view))
        value_ahead = ahead_usd_per_mwh(view)
        job_score = start_at_once(view, value_now * view.exo.pue)
        started = view.starts(job_score)
        value_there = value_now
        if view.p.has_lines:
            # What all work at home would pay at the lines.
            at_home = (view.on_hand_gpuh[..., None] * view.p.home[:, None]).sum(-3)
            value_there = value_now + view.line_usd_per_mwh(load_mw_of(view, at_home, started))
        spare_mw = self._generator_mw(view, value_there) + discharge_limit_mw(view)
        room = view.room_gpuh(started, spare_mw)
        placed, left, refused = self._placed_gpuh(view, value_there, value_ahead, room)

        load_mw = load_mw_of(view, placed.sum(-3), started)
        if view.p.has_lines:
            value_now = value_now + view.line_usd_per_mwh(load_mw)
        generation_mw = self._generation_mw(view, value_now, load_mw)
        battery_mw = self._battery_mw(view, value_now, value_ahead, load_mw - generation_mw)
        return to_action(
            view,
            self.layout,
            placed,
            hold_gpuh=left * view.p.may_wait,
            refuse_gpuh=refused,
            battery_mw=battery_mw,
            generation_mw=generation_mw,
            job_score=job_score,
            # Less power for the same work costs nothing.
            saving_share=np.where(value_now > 0.0, 1.0, 0.0),
        )

    # Work ---------------------------------------------------------------------------------------------------

    def _placed_gpuh(
        self, view: View, value_now: PerSite, value_ahead: Floats, room: PerSite
    ) -> tuple[Floats, Floats, Floats]:
        """Return work placed [B,C,W,K], left and, of that, refused [B,C,W]."""
        options = self._options(view, value_now)
        until = self._patience_gpuh(view, value_now, value_ahead, room)
        paying = np.where(options.cost < worth_usd_per_gpuh(view), options.cost, np.inf)
        placed, left = allocate(view.on_hand_gpuh, ServiceOptions(paying, options.limit_gpuh, until), room)

        # Where only sites are left that cost more than the work brings, it is refused.
        losing = (np.isinf(paying) & np.isfinite(options.cost)).any(-1)
        refused = np.where(losing, left, 0.0) * view.p.is_session
        closed_last = np.where(np.isinf(options.cost), 1e12, options.cost)
        return place_urgent(view, placed, left - refused, closed_last), left, refused

    def _options(self, view: View, value_now: PerSite) -> ServiceOptions:
        """Return cost and limit [B,C,W,2K] of serving in place (first K: sessions already there) and of moving."""
        p, state, exo = view.p, view.state, view.exo
        stay = serving_usd_per_gpuh(view, value_now, np.maximum(view.exo.buy_usd_per_mwh, 0.0))
        move_energy = p.relocation_mwh_per_gpuh + p.warm_mwh_per_gpuh[:, None]
        moving = p.relocation_usd_per_gpuh + p.warm_usd_per_gpuh[:, None]
        moving = moving + move_energy * value_now[:, None, None, :]
        # A move is paid once but serves the sessions for hours: this step bears its share of the payback time.
        moved = stay + p.is_session[:, None] * moving * (p.dt_h / self.payback_h)

        there = exo.growth[..., None] * state.placed_gpuh + exo.rehomed_gpuh[..., None] * p.home[:, None, :]
        there = there * p.is_session[:, None]
        cost = np.concatenate([stay, moved], axis=-1)
        closed = np.concatenate([p.route_open, p.route_open], axis=-1) < 0.5
        limit = np.concatenate([there, np.full_like(there, np.inf)], axis=-1)
        return ServiceOptions(np.where(closed, np.inf, cost), limit)

    def _patience_gpuh(
        self, view: View, value_now: PerSite, value_ahead: Floats, room: Floats
    ) -> Floats | None:
        """Return the work [B,C,W,2K] for which a site is cheap enough now: the rest rather waits for a forecast hour.

        Oldest work first, as the queue serves it.  Work that is due, or may not wait, takes any site.
        """
        p, on_hand, due = view.p, view.on_hand_gpuh, view.due_gpuh
        longest = due.shape[-1]
        if not p.may_wait.any() or not (view.leads <= longest).any():
            return None

        mwh = physics.work_power_mw_per_gpuh(p, view.exo) * p.dt_h
        movable = ((on_hand - due[..., 0]) * p.may_wait).sum((-1, -2))
        now = mwh * value_now
        best = np.full_like(movable, np.inf)
        # What is due before the first lead has nothing to wait for: it takes any site.
        first = int(view.leads[0])
        until = due[..., first - 1, None] + np.zeros_like(now)[:, None, None, :]

        for i, lead in enumerate(view.leads):
            if lead > longest:
                break
            foreseen = view.forecast_arrivals_gpuh[:, i].sum(-1)
            later = tranche_usd_per_gpuh(mwh * value_ahead[:, i], room, foreseen, foreseen + movable)
            best = np.minimum(best, np.where(view.valid[:, i], later, np.inf))
            # Work that can wait for this lead but not for the next one.
            follows = int(view.leads[i + 1]) if i + 1 < len(view.leads) else longest + 1
            due_then = due[..., follows - 1] if follows <= longest else on_hand
            can_wait = np.maximum(due_then - due[..., int(lead) - 1], 0.0)
            cheap = now * (1.0 - self.deferral_margin * np.sign(now)) <= best[:, None]
            until = until + can_wait[..., None] * cheap[:, None, None, :]

        until = np.where((p.may_wait > 0.5)[:, None], until, np.inf)
        return np.concatenate([until, until], axis=-1)

    # Power --------------------------------------------------------------------------------------------------

    def _generator_mw(self, view: View, value_now: PerSite) -> Floats:
        """Return the output [B,K] that generators can have now where fuel is cheaper than import, else 0."""
        p = view.p
        limit_mw = physics.generator_limit_mw(p, view.exo)
        most = np.minimum(view.state.generation_mw + p.generator_ramp_mw_per_h * p.dt_h, limit_mw)
        fuel = with_carbon_usd_per_mwh(view, p.fuel_usd_per_mwh, p.generator_carbon_kg_per_mwh)
        return np.where((fuel < value_now) & (most >= p.generator_min_mw), most, 0.0)

    def _generation_mw(self, view: View, value_now: PerSite, load_mw: Floats) -> Floats:
        """Return generation [B,K]: what the load needs, and export where it pays."""
        p, exo = view.p, view.exo
        fuel = with_carbon_usd_per_mwh(view, p.fuel_usd_per_mwh, p.generator_carbon_kg_per_mwh)
        needed = np.maximum(load_mw, 0.0) + np.where(exo.sell_usd_per_mwh > fuel, exo.export_limit_mw, 0.0)
        wish = np.minimum(self._generator_mw(view, value_now), needed)
        return np.where(wish >= p.generator_min_mw, wish, 0.0)

    def _battery_mw(self, view: View, value_now: PerSite, value_ahead: Floats, load_mw: PerSite) -> PerSite:
        """Return charging (+) or discharging (-) power [B,K] for the load that is left."""
        p, exo, stored_mwh = view.p, view.exo, view.state.battery_mwh
        charge_pays, discharge_pays, dear = self._arbitrage(view, value_now, value_ahead)

        # Steps after this one that could still refill; one in five is kept in hand.
        most_mwh = p.charge_limit_mw * p.charge_efficiency * p.dt_h
        refill_mwh = 0.8 * most_mwh * (view.steps_left - 1.0)[:, None]
        target = np.minimum(self._target_mwh, p.battery_max_mwh)
        floor = np.maximum(p.battery_min_mwh, target - refill_mwh)
        per_mw = p.charge_efficiency * p.dt_h
        must = np.maximum(floor * (1.0 - ROUNDING) - stored_mwh, 0.0) / per_mw
        free = np.maximum(stored_mwh - floor, 0.0) * p.discharge_efficiency / p.dt_h

        # Energy above the target is worth nothing at the end.
        spill = (view.steps_left <= 1.0)[:, None] & (value_now > p.wear_usd_per_mwh)
        sold = np.where(exo.sell_usd_per_mwh >= dear, exo.export_limit_mw, 0.0)
        discharge = np.minimum(np.minimum(p.discharge_limit_mw, free), np.maximum(load_mw, 0.0) + sold)
        discharge = np.where(discharge_pays | spill, discharge, 0.0)

        # A demand charge falls on a new peak of import: charging stays below the one so far.
        room_mw = np.maximum(p.battery_max_mwh - stored_mwh, 0.0) / per_mw
        quiet = np.where(p.demand_charge_usd_per_mw > 0.0, view.state.peak_import_mw - load_mw, np.inf)
        charge = np.where(charge_pays, np.maximum(quiet, 0.0), 0.0)
        charge = np.minimum(np.maximum(charge, must), np.minimum(p.charge_limit_mw, room_mw))
        return np.where(charge > 0.0, charge, -discharge)

    def _arbitrage(
        self, view: View, value_now: PerSite, value_ahead: Floats
    ) -> tuple[Bool[Bools, "B K"], Bool[Bools, "B K"], PerSite]:
        """Return where charging and where discharging pays now, and the price from which it is dear."""
        p, valid = view.p, view.valid[..., None]
        low, high = (np.where(valid, value_ahead, worst) for worst in (np.inf, -np.inf))
        low, high = low.min(1, initial=np.inf), high.max(1, initial=-np.inf)
        seen = np.concatenate([value_now[:, None], np.where(valid, value_ahead, value_now[:, None])], axis=1)
        cheap, dear = np.quantile(seen, [self.cheap, self.dear], axis=1)

        # Against the best later hour, after losses and wear both ways.
        kept = p.charge_efficiency * p.discharge_efficiency
        wear, gain = p.wear_usd_per_mwh, self.least_gain_usd_per_mwh
        charge_pays = kept * (high - wear) - (value_now + wear) > gain
        discharge_pays = kept * (value_now - wear) - (low + wear) > gain
        return charge_pays & (value_now <= cheap), discharge_pays & (value_now >= dear), dear


# What things cost -------------------------------------------------------------------------------------------


def carbon_usd_per_kg(view: View) -> Floats:
    """Return the price of a kg to act on, [B]: with the excess price while the budget is spent faster than evenly.

    Waiting until it is spent would leave all savings to the last hours.
    """
    p = view.p
    if not p.has_carbon_budget:
        return np.full(view.steps_left.shape, p.carbon_price_usd_per_kg)
    even_kg = p.carbon_budget_kg * view.steps_left / view.steps
    ahead = view.carbon_left_kg < even_kg * (1.0 - ROUNDING)
    return p.carbon_price_usd_per_kg + np.where(ahead, float(p.carbon_excess_usd_per_kg), 0.0)


def spared_usd_per_kg(view: View) -> Floats:
    """Return `carbon_usd_per_kg` less the carbon price that is paid now, [B]."""
    spent = view.carbon_left_kg <= 0.0
    paid = view.p.carbon_price_usd_per_kg + np.where(spent, float(view.p.carbon_excess_usd_per_kg), 0.0)
    return carbon_usd_per_kg(view) - paid


def billed_kg(view: View) -> Floats:
    """Return the billed intensity now, kg/MWh [B,K]."""
    return physics.billed_carbon_kg_per_mwh(view.p, view.exo)


def with_carbon_usd_per_mwh(view: View, usd_per_mwh: Floats, kg_per_mwh: Floats) -> Floats:
    """Return the price now of a MWh with its carbon, [B,K]."""
    return energy_usd_per_mwh(usd_per_mwh, kg_per_mwh, carbon_usd_per_kg(view)[:, None])


def ahead_usd_per_mwh(view: View) -> Floats:
    """Return the forecast price of a MWh with its carbon, [B,H,K]; meaningless where a lead is not valid."""
    per_kg = carbon_usd_per_kg(view)[:, None, None]
    return energy_usd_per_mwh(view.forecast_buy_usd_per_mwh, view.forecast_carbon_kg_per_mwh, per_kg)


def serving_usd_per_gpuh(view: View, energy_usd_per_mwh: Floats, network_usd_per_mwh: Floats) -> Floats:
    """Return energy, its carbon and egress of a GPU-h on each route, [B,C,W,K]."""
    p = view.p
    mwh = physics.work_power_mw_per_gpuh(p, view.exo) * p.dt_h
    network = with_carbon_usd_per_mwh(view, network_usd_per_mwh, billed_kg(view))
    egress = p.egress_usd_per_gpuh + p.network_mwh_per_gpuh * network[:, None, None, :]
    return (mwh * energy_usd_per_mwh)[:, None, None, :] + egress


def tranche_usd_per_gpuh(cost: Floats, room_gpuh: Floats, low_gpuh: Floats, high_gpuh: Floats) -> Floats:
    """Return the mean cost [B] of the work between ``low`` and ``high`` [B] when sites fill up from the cheapest on.

    ``cost`` and ``room_gpuh`` are [B,K].  Infinite where the work does not fit, 0 where there is none.
    """
    order = np.argsort(cost, axis=-1, kind="stable")
    cost, room = np.take_along_axis(cost, order, -1), np.take_along_axis(room_gpuh, order, -1)
    filled = np.cumsum(room, axis=-1)
    part = np.maximum(
        np.minimum(filled, high_gpuh[:, None]) - np.maximum(filled - room, low_gpuh[:, None]), 0.0
    )
    size = high_gpuh - low_gpuh
    mean: Floats = (part * cost).sum(-1) / np.where(size > 0.0, size, 1.0)
    return np.where(high_gpuh > filled[:, -1], np.inf, mean)


def worth_usd_per_gpuh(view: View) -> Floats:
    """Return the worth of serving a GPU-h, [B,1,W,2K]: revenue, avoided penalty, carbon not paid now."""
    p = view.p
    mwh = physics.work_power_mw_per_gpuh(p, view.exo) * p.dt_h
    spared = mwh * spared_usd_per_kg(view)[:, None] * billed_kg(view)
    worth = (p.revenue_usd_per_gpuh + p.drop_usd_per_gpuh)[:, None] + spared[:, None, None, :]
    return np.concatenate([worth, worth], axis=-1)


# Power --------------------------------------------------------------------------------------------------------


def load_mw_of(view: View, placed_wk: Floats, started: Floats) -> Floats:
    """Return facility power [B,K] less renewables, for the work placed [B,W,K] and the jobs running."""
    p, exo = view.p, view.exo
    busy = view.state.committed_gpus[..., 0] + physics.inference_gpus(p, placed_wk)
    if started.shape[-2]:
        busy = busy + (started * p.job_gpus[..., None]).sum(-2)
    busy = np.minimum(busy, p.utilisation_limit * exo.available_gpus)
    facility: Floats = physics.facility_power_mw(p, exo, physics.it_power_mw(p, exo, busy))
    return facility - exo.renewable_available_mw


def discharge_limit_mw(view: View) -> Floats:
    """Return the discharge [B,K] that power limit and energy allow."""
    p = view.p
    energy = np.maximum(view.state.battery_mwh - p.battery_min_mwh, 0.0) * p.discharge_efficiency / p.dt_h
    return np.minimum(p.discharge_limit_mw, energy)
