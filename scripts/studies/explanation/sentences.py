"""What a schedule does in one step and why, in sentences from masks, prices and duals.

Masks say which routes are closed and by what, `gridai_env.analysis.net_benefit` what a GPU-h costs elsewhere,
`baselines.optimum.shadow_prices` what limits and stored energy are worth along the optimum.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

import numpy as np

from baselines.optimum.shadow_prices import ShadowPrices
from baselines.rules.single_signal import LocalOnly
from gridai_env.analysis.loss_by_lever import Mixture, lever_losses
from gridai_env.analysis.net_benefit import net_benefit
from gridai_env.analysis.relocation import FULL, REASONS
from gridai_env.arrays.types import Bools, Floats
from gridai_env.rollout.trajectory import Trajectory
from gridai_env.world import physics
from gridai_env.world.terms import energy_usd_per_mwh

NOTHING = 1e-6  # share of a size below which a flow is rounding


class Explainer:
    """Explains the steps of one schedule; ``prices`` belong to it, None for one that is no optimum."""

    def __init__(self, played: Trajectory, times: list[datetime], prices: ShadowPrices | None = None) -> None:
        """Take a schedule and its times [T+1] on the clocks shown."""
        self.instance, self.flows, self.prices = played.instance, played.flows, prices
        self.episode = episode = played
        self.clock = [f"{time:%a %H:%M}" for time in times]  # with the day, which may be the next one
        p, exo = self.instance.params, self.instance.exogenous

        # What a GPU-h saves away from home [T,C,W,K], and what a MWh of import costs with its carbon [T,K].
        self.benefit = net_benefit(self.instance)
        billed = physics.billed_carbon_kg_per_mwh(p, exo)
        price = energy_usd_per_mwh(exo.buy_usd_per_mwh, billed, p.carbon_price_usd_per_kg)
        self.energy_usd_per_mwh: Floats = np.asarray(price)

        # Whether a site has no accelerator free, and whether it imports as much as it may, [T,K].
        free = physics.slacks(p, episode.before, self.flows, exo, episode.after, episode.totals)["gpus"]
        self.is_busy: Bools = free <= FULL * p.utilisation_limit * exo.available_gpus
        self.is_fed: Bools = self.flows.import_mw >= exo.import_limit_mw * (1.0 - NOTHING)
        self.has_room = ~(self.is_busy | self.is_fed)

    def sentences(self, t: int) -> list[str]:
        """Return what is done in step ``t`` and why, one line each."""
        return [*self.work(t), *self.jobs(t), *self.equipment(t), *self.limits(t)]

    # Work -------------------------------------------------------------------------------------------------------

    def work(self, t: int) -> Iterator[str]:
        """Yield where the work of each region and row goes, why not elsewhere, and what waits until when."""
        compiled, served = self.instance.compiled, self.flows.served_gpuh[t]
        on_hand = served.sum(-1) + self.flows.dropped_gpuh[t] + self.episode.after.backlog_gpuh[t]

        for c, w in np.argwhere(on_hand > NOTHING * on_hand.max()).tolist():
            name = f"{compiled.region_names[c]}, {compiled.row_names[w]}"
            sites = list(compiled.site_names)
            sites[compiled.home_site[c]] += " (home)"
            used = [k for k in np.argsort(-served[c, w]).tolist() if served[c, w, k] > 1e-3 * on_hand[c, w]]
            if used:
                places = " and ".join(f"{served[c, w, k]:,.0f} GPU-h at {sites[k]}" for k in used)
                yield "; ".join([f"{name}: {places}", *self._others(t, c, w, used)])
            yield from self._waiting(t, c, w, name, float(on_hand[c, w]))

    def _others(self, t: int, c: int, w: int, used: list[int]) -> list[str]:
        """Return why nothing of a row goes to the sites that are not ``used``, those with the same reason together."""
        sites: dict[str, list[str]] = {}
        for k, site in enumerate(self.instance.compiled.site_names):
            if k not in used:
                sites.setdefault(self._why_not(t, c, w, k, used[0]), []).append(site)
        return [f"{', '.join(s)} {'are' if s[1:] else 'is'} {reason}" for reason, s in sites.items()]

    def _why_not(self, t: int, c: int, w: int, k: int, best: int) -> str:
        """Return why nothing of a row goes to site ``k``: closed, full, or dearer than ``best``."""
        geo = self.instance.compiled.geography
        if not geo.open[c, w, k]:
            reasons = [name for name in REASONS if not getattr(geo, f"by_{name}")[c, w, k]]
            if reasons[0] == "latency":
                reasons[0] += f" ({geo.latency_ms[c, w, k]:,.0f} ms, allowed {geo.budget_ms[w]:,.0f})"
            return f"closed by {' and '.join(reasons)}"
        if not self.has_room[t, k]:
            return "full"

        b = self.benefit
        parts = {
            "energy": b.energy_saved_usd_per_gpuh,
            "carbon": b.carbon_saved_usd_per_gpuh,
            "water": b.water_saved_usd_per_gpuh,
            "network": -b.egress_usd_per_gpuh - b.transfer_usd_per_gpuh,
            "moving": -b.friction_usd_per_gpuh,
        }
        dearer = {name: float(saved[t, c, w, best] - saved[t, c, w, k]) for name, saved in parts.items()}
        total = sum(dearer.values())
        shown = ", ".join(f"{name} {usd:+.4f}" for name, usd in dearer.items() if abs(usd) >= 5e-5)
        if abs(total) < 5e-5:
            return "as dear"
        if total > 0.0:
            return f"dearer by {total:.4f} USD per GPU-h ({shown})"
        return f"open and {-total:.4f} USD per GPU-h cheaper by the prices of this hour alone ({shown})"

    def _waiting(self, t: int, c: int, w: int, name: str, size: float) -> Iterator[str]:
        """Yield what is dropped, and what waits: first in, first out, it has left once as much has been served."""
        dropped, left = self.flows.dropped_gpuh[t, c, w], self.episode.after.backlog_gpuh[t, c, w]
        if dropped > 1e-3 * size:
            yield f"{name}: {dropped:,.0f} GPU-h are refused or dropped"
        if left <= 1e-3 * size:
            return

        served = self.flows.served_gpuh[t + 1 :, c, w]
        gone = np.cumsum(served.sum(-1) + self.flows.dropped_gpuh[t + 1 :, c, w])
        last = int(np.argmax(gone >= left * (1.0 - 1e-3)))
        then = served[: last + 1]
        text = f"{name}: {left:,.0f} GPU-h wait, the last until {self.clock[t + 1 + last]}"
        if then.sum() > 0.0:
            later = float((then * self.energy_usd_per_mwh[t + 1 : t + 2 + last]).sum() / then.sum())
            has_room = (self.instance.params.route_open[c, w] > 0.5) & self.has_room[t]
            now = float(np.min(self.energy_usd_per_mwh[t][has_room], initial=np.inf))
            here = f"now {_usd(now)} at best" if has_room.any() else "now no open site has room"
            text += f"; energy costs {_usd(later)} USD/MWh where and when they are served, {here}"
        yield text

    # Jobs, batteries, generators, limits ------------------------------------------------------------------------

    def jobs(self, t: int) -> Iterator[str]:
        """Yield the jobs that start now and those that could but do not."""
        instance, started = self.instance, self.flows.started
        open_now = (instance.exogenous.job_open[t].any(-1)) & (self.episode.before.waiting[t] > 0.5)

        for j in np.flatnonzero(open_now):
            name, gpus = instance.job_names[j], instance.params.job_gpus[j]
            steps, sites = np.nonzero(started[t:, j] > 0.5)
            if not len(steps):
                yield f"job {name} ({gpus:,.0f} GPUs) waits and is never started"
            elif steps[0]:
                yield f"job {name} ({gpus:,.0f} GPUs) waits until {self.clock[t + steps[0]]}"
            else:
                site = instance.compiled.site_names[sites[0]]
                hours = float(instance.params.job_profile[j].sum()) * instance.params.dt_h
                yield f"job {name} starts at {site}: {gpus:,.0f} GPUs for {hours:g} h"

    def equipment(self, t: int) -> Iterator[str]:
        """Yield what batteries and generators do, and at which prices."""
        p, f = self.instance.params, self.flows
        for k, site in enumerate(self.instance.compiled.site_names):
            for verb, flow in (("charges", f.charge_mw), ("discharges", f.discharge_mw)):
                if flow[t, k] > 1e-3 * max(p.charge_limit_mw[k], p.discharge_limit_mw[k]):
                    yield f"{site}: the battery {verb} {flow[t, k]:,.2f} MW{self._stored(t, k)}"
            if f.generation_mw[t, k] > NOTHING * p.generator_max_mw[k]:
                carbon = p.carbon_price_usd_per_kg * p.generator_carbon_kg_per_mwh[k]
                yield (
                    f"{site}: the generator runs at {f.generation_mw[t, k]:,.2f} MW for "
                    f"{p.fuel_usd_per_mwh[k] + carbon:,.2f} USD/MWh of fuel and carbon; "
                    f"import costs {_usd(self.energy_usd_per_mwh[t, k])}"
                )
            if p.has_modes and f.saving_mw[t, k] > NOTHING * p.gpus[k] * p.busy_kw_per_gpu[k] / 1000.0:
                yield f"{site}: power modes save {f.saving_mw[t, k]:,.2f} MW of IT power for the same work"

    def _stored(self, t: int, k: int) -> str:
        """Return what a MWh is worth in the battery, here now, and where it is used."""
        if self.prices is None:
            return f"; import costs {_usd(self.energy_usd_per_mwh[t, k])} USD/MWh"
        here, stored = self.prices.energy_usd_per_mwh[:, k], self.prices.stored_energy_usd_per_mwh[t, k]
        text = f": a MWh is worth {_usd(here[t])} USD at the site and {_usd(stored)} in the battery"
        p, later = self.instance.params, self.flows.discharge_mw[t + 1 :, k]
        uses = np.flatnonzero(later > NOTHING * p.discharge_limit_mw[k]) + t + 1
        if self.flows.charge_mw[t, k] <= 0.0 or not len(uses):
            return text

        # The hour in which one MWh more would be used: there discharging is worth just what is stored.
        worth = p.discharge_efficiency[k] * (here[uses] - p.wear_usd_per_mwh[k])
        at_margin = uses[np.abs(worth - stored) <= 1e-4 * max(abs(stored), 1.0)]
        u = int(at_margin[0] if len(at_margin) else uses[0])
        use = "because it would be used at" if len(at_margin) else "used from"
        return f"{text}, {use} {self.clock[u]}, when a MWh is worth {_usd(here[u])} at the site"

    def limits(self, t: int) -> Iterator[str]:
        """Yield sites whose accelerators or import are used up, and what one more unit would earn."""
        limit_mw, shed_mw = self.instance.exogenous.import_limit_mw[t], self.flows.shed_mw[t]
        for k, site in enumerate(self.instance.compiled.site_names):
            if self.is_busy[t, k]:
                yield f"{site}: all usable accelerators are busy{self._worth('capacity_usd_per_gpuh', t, k, 'GPU-h')}"
            if self.is_fed[t, k]:
                worth = self._worth("import_limit_usd_per_mwh", t, k, "MWh")
                yield f"{site}: import is at its limit of {limit_mw[k]:,.2f} MW{worth}"
            if shed_mw[k] > NOTHING * limit_mw[k]:
                yield f"{site}: {shed_mw[k]:,.2f} MW of load are shed, the last resort"
        for rule in self.instance.compiled.lines.rules:
            above_mw = 0.0 if rule.slot < 0 else self.flows.line_excess_mw[t, rule.slot, rule.site]
            if above_mw > NOTHING * limit_mw[rule.site]:
                usd = self.instance.exogenous.line_usd_per_mwh[t, rule.slot, rule.site]
                yield (
                    f"{self.instance.compiled.site_names[rule.site]}: import is {above_mw:,.2f} MW above the line "
                    f"{rule.spec.name!r}, at {_usd(usd)} USD/MWh"
                )

    def _worth(self, name: str, t: int, k: int, unit: str) -> str:
        """Return what one more unit of a limit would earn; nothing where that is not known."""
        if self.prices is None:
            return ""
        return f"; one {unit} more would earn {getattr(self.prices, name)[t, k]:,.4f} USD"


def _usd(amount: float) -> str:
    """Return an amount with cents; rounding leaves no minus before a zero."""
    return f"{round(float(amount), 2) + 0.0:,.2f}"


# A policy beside the optimum ----------------------------------------------------------------------------------------


def regret(policy: Trajectory, optimum: Trajectory, t: int) -> dict[str, float]:
    """Return what the optimum's decisions of step ``t`` alone would earn the policy by the episode's end, USD by lever.

    All other decisions stay the policy's own; the levers' shares (Shapley values) sum to the whole.
    """
    assert policy.actions is not None and optimum.actions is not None
    changed = policy.actions.copy()
    changed[t] = optimum.actions[t]
    recorded = Mixture(LocalOnly(), policy.actions[None], np.ones(policy.actions.shape[-1], dtype=np.bool_))
    losses = lever_losses(recorded, [policy.instance], [changed])
    return {loss.lever: float(loss.shapley_usd[0]) for loss in losses}


def compared(policy: Trajectory, optimum: Trajectory, t: int) -> Iterator[str]:
    """Yield how far the policy is from the optimum in a step: by term of the ledger, and by lever over the episode."""
    ours, best = policy.outcome.terms_usd, optimum.outcome.terms_usd
    terms = {name: float(ours[name][t] - best[name][t]) for name in ours}
    shown = ", ".join(
        f"{n} {v:+,.2f}" for n, v in sorted(terms.items(), key=lambda x: -abs(x[1])) if abs(v) >= 0.005
    )
    yield f"this hour it earns {sum(terms.values()):+,.2f} USD beside the optimum ({shown or 'all terms alike'})"
    levers = regret(policy, optimum, t)
    parts = ", ".join(f"{name} {usd:+,.2f}" for name, usd in levers.items())
    yield (
        f"with the optimum's decisions in this hour and its own in all others the episode would earn "
        f"{sum(levers.values()):+,.2f} USD ({parts})"
    )
