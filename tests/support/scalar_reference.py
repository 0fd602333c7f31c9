"""A slow second opinion on one step of the world, in plain Python floats and loops.

Written from the equations in words, not from the package's code: it shares field names and units with
:mod:`gridai_env.world.state` and nothing else, so that it can disagree.  Every array becomes a nested list,
every sum a loop.  One environment at a time; no batch axis.

The step is ``decode -> project -> flows -> advance -> terms``, as in the package, but each part is spelled
out for one region, row, site or job at a time.

Three choices that the equations leave open follow the package's documentation: a job takes its best entry
among the sites that are open *and* where it fits, and waits on a tie; overflow looks for room only after all
rows are placed as asked; a generator that must stop for the export limit gives renewables their room back.
"""

from __future__ import annotations

from dataclasses import fields
from math import isinf
from types import SimpleNamespace
from typing import Any

import numpy as np

SLACK = 1e-6  # relative slack of yes/no decisions (job fits, minimum load)

TERM_NAMES = (
    *("revenue", "job_value", "import", "export", "fuel", "battery_wear", "egress", "relocation", "warm_up"),
    *("demand_charge", "carbon_price", "carbon_excess", "water", "line_excess", "dr_energy", "dr_capacity"),
    *("drop_penalty", "gpu_shortfall", "shed_penalty", "battery_shortfall"),
)


def plain(record: Any) -> SimpleNamespace:
    """Turn a record of arrays into nested lists and floats under the same names."""
    return SimpleNamespace(**{f.name: _plain(getattr(record, f.name)) for f in fields(record)})


def _plain(value: Any) -> Any:
    if isinstance(value, (int, float)):
        return float(value)
    return np.asarray(value, dtype=np.float64).tolist()


class World:
    """One environment: sizes, constants and the current state; `step` moves it on by one step."""

    def __init__(self, params: Any, shape: Any, state: Any) -> None:
        self.p = plain(params)
        self.C, self.W, self.K = range(shape.regions), range(shape.rows), range(shape.sites)
        self.J, self.V, self.N = range(shape.jobs), range(shape.slots), range(shape.job_steps)
        self.dt, self.L, self.U = shape.dt_h, range(shape.lines), shape.day_steps
        self.M = range(shape.mode_segments)
        self.state = plain(state)

    def step(self, exogenous: Any, action: Any) -> tuple[SimpleNamespace, SimpleNamespace]:
        """Take one action (flat list in [-1, 1]); return flows and outcome and move the state."""
        x = plain(exogenous)
        flows = self.project(x, self.decode(x, [float(a) for a in action]))
        return flows, self.apply(x, flows)

    def apply(self, x: SimpleNamespace, flows: SimpleNamespace) -> SimpleNamespace:
        """Account for the flows of one step and move the state."""
        outcome = self.account(x, flows)
        self.state = self.advance(x, flows)
        return outcome

    # ------------------------------------------------------------------------------------------- decode

    def decode(self, x: SimpleNamespace, action: list[float]) -> SimpleNamespace:
        """Read the flat action: routing [C,W,K+2], battery, generator, renewable [K], jobs [V,K+1], mode [K]."""
        take = iter(action)
        n = len(self.K)
        routing = [[[next(take) for _ in range(n + 2)] for _ in self.W] for _ in self.C]
        battery = [next(take) for _ in self.K]
        generator = [next(take) for _ in self.K]
        renewable = [next(take) for _ in self.K]
        entries = [[next(take) for _ in range(n + 1)] for _ in self.V]
        mode = [next(take) for _ in self.K] if self.M else []
        if next(take, None) is not None:
            raise AssertionError("the action is longer than its layout")
        r = SimpleNamespace()
        r.hold = [[0.0 for _ in self.W] for _ in self.C]
        r.refuse = [[0.0 for _ in self.W] for _ in self.C]
        r.share = [[[0.0 for _ in self.K] for _ in self.W] for _ in self.C]
        for c in self.C:
            for w in self.W:
                r.hold[c][w], r.refuse[c][w], r.share[c][w] = self._fractions(c, w, routing[c][w])
        r.charge, r.discharge, r.generation, r.renewable = [], [], [], []
        for k in self.K:
            r.charge.append(max(0.0, battery[k]) * self.p.charge_limit_mw[k])
            r.discharge.append(max(0.0, -battery[k]) * self.p.discharge_limit_mw[k])
            r.generation.append(max(0.0, generator[k]) * self.p.generator_max_mw[k])
            r.renewable.append(min(1.0, max(0.0, 1.0 + renewable[k])) * x.renewable_available_mw[k])
        r.start = self._wanted_starts(x, entries)
        r.mode = [max(0.0, a) for a in mode]
        return r

    def _fractions(self, c: int, w: int, a: list[float]) -> tuple[float, float, list[float]]:
        """Hold, refuse and site shares of the work on hand of one region and row."""
        n = len(self.K)
        hold = max(0.0, a[n]) if self.p.may_wait[w] else 0.0
        refuse = max(0.0, 2.0 * a[n + 1] - 1.0)
        if hold + refuse > 1.0:
            hold, refuse = hold / (hold + refuse), refuse / (hold + refuse)
        weights = [(a[k] + 1.0) / 2.0 * self.p.route_open[c][w][k] for k in self.K]
        total = 0.0
        for weight in weights:
            total += weight
        if total > 0.0:
            return hold, refuse, [weight / total for weight in weights]
        return hold, refuse, [float(self.p.home[c][k]) for k in self.K]

    def _wanted_starts(self, x: SimpleNamespace, entries: list[list[float]]) -> list[tuple[int, list[int]]]:
        """(job, sites in falling order of preference) in slot order: waiting jobs open now, in job order."""
        slots = [j for j in self.J if self.state.waiting[j] and any(x.job_open[j])]
        wanted = []
        for v, j in zip(self.V, slots, strict=False):
            better = [k for k in self.K if x.job_open[j][k] and entries[v][k] > entries[v][len(self.K)]]
            better.sort(key=lambda k, v=v: -entries[v][k])  # of equal entries the first wins
            wanted.append((j, better))
        return wanted

    # ------------------------------------------------------------------------------------------ project

    def project(self, x: SimpleNamespace, r: SimpleNamespace) -> SimpleNamespace:
        """The feasible flows nearest to the request, in the agreed order of precedence."""
        f = SimpleNamespace()
        f.started, committed_now = self._start_jobs(r.start)
        left, routed = self._split_work(x, r)
        f.gpu_short, room = self._room(x, committed_now)
        f.served_gpuh = [[[0.0 for _ in self.K] for _ in self.W] for _ in self.C]
        f.dropped_gpuh = [[0.0 for _ in self.W] for _ in self.C]
        self._fit_work(routed, room, f.served_gpuh, left)
        self._fit_power(x, r, f, committed_now, left)
        for c in self.C:
            for w in self.W:
                # `left` is all work not served and not refused; what exceeds the queue is dropped.
                on_hand = self.state.backlog_gpuh[c][w] + x.arrivals_gpuh[c][w]
                served = sum(f.served_gpuh[c][w])
                stays = min(max(0.0, left[c][w]), x.queue_limit_gpuh[c][w])
                f.dropped_gpuh[c][w] = max(0.0, on_hand - served - stays)
        self._derive(x, f)
        return f

    def _start_jobs(self, wanted: list[tuple[int, list[int]]]) -> tuple[list[list[float]], list[float]]:
        """Start jobs in slot order at the best site where all of the profile fits the nameplate."""
        p = self.p
        committed = [list(row) for row in self.state.committed_gpus]
        started = [[0.0 for _ in self.K] for _ in self.J]
        for j, sites in wanted:
            for k in sites:
                limit = p.utilisation_limit[k] * p.gpus[k] * (1.0 + SLACK)
                needed = [committed[k][n] + p.job_gpus[j] * p.job_profile[j][n] for n in self.N]
                if all(need <= limit for need in needed):
                    committed[k] = needed
                    started[j][k] = 1.0
                    break
        return started, [committed[k][0] for k in self.K]

    def _split_work(
        self, x: SimpleNamespace, r: SimpleNamespace
    ) -> tuple[list[list[float]], list[list[list[float]]]]:
        """Work kept (within the queue limit) and work sent to each site."""
        left = [[0.0 for _ in self.W] for _ in self.C]
        routed = [[[0.0 for _ in self.K] for _ in self.W] for _ in self.C]
        for c in self.C:
            for w in self.W:
                on_hand = self.state.backlog_gpuh[c][w] + x.arrivals_gpuh[c][w]
                left[c][w] = min(r.hold[c][w] * on_hand, x.queue_limit_gpuh[c][w])
                sent = max(0.0, on_hand - left[c][w] - r.refuse[c][w] * on_hand)
                for k in self.K:
                    routed[c][w][k] = sent * r.share[c][w][k]
        return left, routed

    def _room(self, x: SimpleNamespace, committed_now: list[float]) -> tuple[list[float], list[float]]:
        """Accelerators taken from running jobs, and room for other work in GPU-h."""
        short, room = [], []
        for k in self.K:
            limit = self.p.utilisation_limit[k] * x.available_gpus[k]
            short.append(max(0.0, committed_now[k] - limit))
            room.append(max(0.0, limit - committed_now[k] + short[k]) * self.p.speed[k] * self.dt)
        return short, room

    def _fit_work(
        self,
        wish: list[list[list[float]]],
        room: list[float],
        served: list[list[list[float]]],
        left: list[list[float]],
    ) -> None:
        """Serve as routed, rows in order; then the overflow, in two passes pro rata to room at open sites."""
        overflow = self._serve(wish, room, served)
        for _ in range(2):
            wish = [[[0.0 for _ in self.K] for _ in self.W] for _ in self.C]
            for c in self.C:
                for w in self.W:
                    open_room = [room[k] * self.p.route_open[c][w][k] for k in self.K]
                    total_room = sum(open_room)
                    if total_room > 0.0:
                        wish[c][w] = [overflow[c][w] * part / total_room for part in open_room]
                        overflow[c][w] = 0.0
            again = self._serve(wish, room, served)
            for c in self.C:
                for w in self.W:
                    overflow[c][w] += again[c][w]
        for c in self.C:
            for w in self.W:
                left[c][w] += overflow[c][w]

    def _serve(
        self, wish: list[list[list[float]]], room: list[float], served: list[list[list[float]]]
    ) -> list[list[float]]:
        """Serve what fits, rows in order, regions of one row alike; return the rest [C,W]."""
        overflow = [[0.0 for _ in self.W] for _ in self.C]
        for w in self.W:
            for k in self.K:
                total = sum(wish[c][w][k] for c in self.C)
                fraction = 1.0 if total <= room[k] else room[k] / total
                for c in self.C:
                    served[c][w][k] += fraction * wish[c][w][k]
                    overflow[c][w] += (1.0 - fraction) * wish[c][w][k]
                room[k] = max(0.0, room[k] - fraction * total)
        return overflow

    def _it_mw(self, x: SimpleNamespace, f: SimpleNamespace, committed_now: list[float], k: int) -> float:
        """IT power of one site: idle power of all in service, the step to busy power of those in use, less savings."""
        busy = committed_now[k] - f.gpu_short[k] + self._inference_gpus(f, k)
        step_kw = self.p.busy_kw_per_gpu[k] - self.p.idle_kw_per_gpu[k]
        full = (x.available_gpus[k] * self.p.idle_kw_per_gpu[k] + busy * step_kw) / 1000.0
        return full - (f.saving_mw[k] if self.M else 0.0)

    def _inference_gpus(self, f: SimpleNamespace, k: int) -> float:
        """Accelerators that inference keeps busy at full speed."""
        gpuh = sum(f.served_gpuh[c][w][k] for c in self.C for w in self.W)
        return gpuh / (self.p.speed[k] * self.dt)

    def _most_saving_mw(
        self, x: SimpleNamespace, f: SimpleNamespace, committed: list[float], k: int, busy: float
    ) -> float:
        """The most that power modes save at a site: the least over the segments of its curve."""
        free = x.available_gpus[k] - (committed[k] - f.gpu_short[k])
        limits = [
            (self.p.saving_kw_per_gpu[m][k] * free + self.p.saving_kw_per_busy_gpu[m][k] * busy) / 1000.0
            for m in self.M
        ]
        return max(0.0, min(limits, default=0.0))

    def _save(
        self, x: SimpleNamespace, r: SimpleNamespace, f: SimpleNamespace, committed: list[float], k: int
    ) -> None:
        """Set what power modes save at a site, as asked for, at the work that it serves."""
        if self.M:
            f.saving_mw[k] = r.mode[k] * self._most_saving_mw(x, f, committed, k, self._inference_gpus(f, k))

    def _fit_power(
        self,
        x: SimpleNamespace,
        r: SimpleNamespace,
        f: SimpleNamespace,
        committed_now: list[float],
        left: list[list[float]],
    ) -> None:
        """Battery, generator, export limit, import limit, in this order; the grid takes the balance."""
        p, dt = self.p, self.dt
        for name in ("charge_mw", "discharge_mw", "generation_mw", "renewable_mw"):
            setattr(f, name, [0.0 for _ in self.K])
        for name in ("import_mw", "export_mw", "shed_mw", "saving_mw"):
            setattr(f, name, [0.0 for _ in self.K])
        if not self.M:
            f.saving_mw = []
        for k in self.K:
            space = (p.battery_max_mwh[k] - self.state.battery_mwh[k]) / (p.charge_efficiency[k] * dt)
            stock = (self.state.battery_mwh[k] - p.battery_min_mwh[k]) * p.discharge_efficiency[k] / dt
            charge = max(0.0, min(r.charge[k], space))
            discharge = max(0.0, min(r.discharge[k], stock))
            generation = min(r.generation[k], self._generator_top(x, k))
            generation = self._snap_minimum(k, generation)
            renewable = r.renewable[k]
            self._save(x, r, f, committed_now, k)
            facility = x.pue[k] * self._it_mw(x, f, committed_now, k) + p.base_load_mw[k]

            surplus = generation + renewable + discharge - facility - charge - x.export_limit_mw[k]
            if surplus > renewable:
                before = generation
                generation = self._snap_minimum(k, max(0.0, generation - (surplus - renewable)))
                surplus -= before - generation
            if surplus > 0.0:
                cut = min(surplus, renewable)
                renewable, surplus = renewable - cut, surplus - cut
            if surplus > 0.0:
                discharge -= min(surplus, discharge)

            lack = facility + charge - generation - renewable - discharge - x.import_limit_mw[k]
            if lack > 0.0:
                cut = min(lack, charge)
                charge, lack = charge - cut, lack - cut
            if lack > 0.0:
                lack = self._cut_work(x, r, f, committed_now, left, k, lack)
                self._save(x, r, f, committed_now, k)
            f.shed_mw[k] = max(0.0, lack)

            facility = x.pue[k] * self._it_mw(x, f, committed_now, k) + p.base_load_mw[k]
            balance = facility + charge - generation - renewable - discharge - f.shed_mw[k]
            f.import_mw[k], f.export_mw[k] = max(0.0, balance), max(0.0, -balance)
            f.charge_mw[k], f.discharge_mw[k] = charge, discharge
            f.generation_mw[k], f.renewable_mw[k] = generation, renewable

    def _generator_top(self, x: SimpleNamespace, k: int) -> float:
        rise = self.state.generation_mw[k] + self.p.generator_ramp_mw_per_h[k] * self.dt
        may_run = not x.generator_open or x.generator_open[k] > 0.5
        return min(self.p.generator_max_mw[k], rise) if may_run else 0.0

    def _snap_minimum(self, k: int, generation: float) -> float:
        """Below its minimum load a generator stands still."""
        least = self.p.generator_min_mw[k]
        if least <= 0.0:
            return generation
        if generation < least * (1.0 - SLACK):
            return 0.0
        return max(generation, least)

    def _cut_work(
        self,
        x: SimpleNamespace,
        r: SimpleNamespace,
        f: SimpleNamespace,
        committed_now: list[float],
        left: list[list[float]],
        k: int,
        lack: float,
    ) -> float:
        """Cut served work at one site from the last row up; return the power still lacking in MW."""
        p = self.p
        if self.M and r.mode[k] > 0.0:
            return self._cut_work_in_modes(x, r, f, committed_now, left, k, lack)
        mw_per_gpuh = (
            x.pue[k] * (p.busy_kw_per_gpu[k] - p.idle_kw_per_gpu[k]) / 1000.0 / (p.speed[k] * self.dt)
        )
        for w in reversed(self.W):
            row = sum(f.served_gpuh[c][w][k] for c in self.C)
            if row <= 0.0 or lack <= 0.0:
                continue
            fraction = min(1.0, lack / (row * mw_per_gpuh))
            for c in self.C:
                cut = fraction * f.served_gpuh[c][w][k]
                f.served_gpuh[c][w][k] -= cut
                left[c][w] += cut
            lack = lack - row * mw_per_gpuh if fraction == 1.0 else 0.0
        return lack

    def _cut_work_in_modes(
        self,
        x: SimpleNamespace,
        r: SimpleNamespace,
        f: SimpleNamespace,
        committed_now: list[float],
        left: list[list[float]],
        k: int,
        lack: float,
    ) -> float:
        """Cut work where power is no line in it: bisect how many busy accelerators the power left can feed."""
        step_kw = self.p.busy_kw_per_gpu[k] - self.p.idle_kw_per_gpu[k]

        def power(busy: float) -> float:
            saving = r.mode[k] * self._most_saving_mw(x, f, committed_now, k, busy)
            return x.pue[k] * (busy * step_kw / 1000.0 - saving)

        now = self._inference_gpus(f, k)
        target = power(now) - lack
        low, high = 0.0, now
        for _ in range(200):
            middle = (low + high) / 2.0
            low, high = (middle, high) if power(middle) <= target else (low, middle)
        kept = low * self.p.speed[k] * self.dt
        for w in self.W:
            row = sum(f.served_gpuh[c][w][k] for c in self.C)
            fraction = 1.0 if row <= kept or row <= 0.0 else kept / row
            kept = max(0.0, kept - row)
            for c in self.C:
                cut = (1.0 - fraction) * f.served_gpuh[c][w][k]
                f.served_gpuh[c][w][k] -= cut
                left[c][w] += cut
        return max(0.0, power(0.0) - target)

    def _line_mw(self, x: SimpleNamespace, n: int, k: int) -> float:
        """The limit of import above which it has a price: in an event of demand response, measured by past days."""
        if not self.U:
            return x.line_mw[n][k]
        past = self.state.baseline_sum_mw[k][0]
        if x.baseline_counts[k] > 0.5:
            past += self.state.day_before_mw[k][0]
        return x.line_mw[n][k] + x.baseline_share[n][k] * past

    def _derive(self, x: SimpleNamespace, f: SimpleNamespace) -> None:
        """Derived flows at their least values."""
        p, s = self.p, self.state
        f.line_excess_mw = [
            [max(0.0, f.import_mw[k] - self._line_mw(x, n, k)) for k in self.K] for n in self.L
        ]
        f.relocated_gpuh = [[[0.0 for _ in self.K] for _ in self.W] for _ in self.C]
        f.warmed_gpuh = [[0.0 for _ in self.K] for _ in self.W]
        for w in self.W:
            if p.may_wait[w]:
                continue
            for k in self.K:
                now = before = 0.0
                for c in self.C:
                    served = f.served_gpuh[c][w][k]
                    reference = x.growth[c][w] * s.placed_gpuh[c][w][k] + x.rehomed_gpuh[c][w] * p.home[c][k]
                    f.relocated_gpuh[c][w][k] = max(0.0, served - reference)
                    now += served
                    before += s.placed_gpuh[c][w][k]
                f.warmed_gpuh[w][k] = max(0.0, now - before)
        f.peak_rise_mw = [max(0.0, f.import_mw[k] - s.peak_import_mw[k]) for k in self.K]
        f.battery_short_mwh = [max(0.0, x.battery_target_mwh[k] - self._battery_next(f, k)) for k in self.K]
        billed = self._emissions_kg(x, f, self._billed_intensity(x))
        f.carbon_excess_kg = max(0.0, s.carbon_kg + billed - p.carbon_budget_kg)

    # ------------------------------------------------------------------------------------------ advance

    def _battery_next(self, f: SimpleNamespace, k: int) -> float:
        gained = self.p.charge_efficiency[k] * f.charge_mw[k]
        lost = f.discharge_mw[k] / self.p.discharge_efficiency[k]
        return self.state.battery_mwh[k] + self.dt * (gained - lost)

    def advance(self, x: SimpleNamespace, f: SimpleNamespace) -> SimpleNamespace:
        """The state of the next step."""
        s, p = self.state, self.p
        nxt = SimpleNamespace()
        nxt.backlog_gpuh = [[0.0 for _ in self.W] for _ in self.C]
        for c in self.C:
            for w in self.W:
                rest = s.backlog_gpuh[c][w] + x.arrivals_gpuh[c][w] - f.dropped_gpuh[c][w]
                for k in self.K:
                    rest -= f.served_gpuh[c][w][k]
                nxt.backlog_gpuh[c][w] = max(0.0, rest)
        nxt.battery_mwh = [self._battery_next(f, k) for k in self.K]
        nxt.placed_gpuh = [[list(f.served_gpuh[c][w]) for w in self.W] for c in self.C]
        nxt.generation_mw = list(f.generation_mw)
        nxt.committed_gpus = [[0.0 for _ in self.N] for _ in self.K]
        for k in self.K:
            for n in self.N:
                if n + 1 < len(self.N):
                    held = s.committed_gpus[k][n + 1]
                    for j in self.J:
                        held += f.started[j][k] * p.job_gpus[j] * p.job_profile[j][n + 1]
                    nxt.committed_gpus[k][n] = held
        nxt.waiting = [s.waiting[j] - sum(f.started[j]) for j in self.J]
        nxt.peak_import_mw = [max(s.peak_import_mw[k], f.import_mw[k]) for k in self.K]
        billed = self._emissions_kg(x, f, self._billed_intensity(x))
        # Only where there is a budget are emissions counted against it.
        nxt.carbon_kg = (
            s.carbon_kg if isinf(p.carbon_budget_kg) else s.carbon_kg + billed - f.carbon_excess_kg
        )
        # Of each time of day: what was imported a day ago, and the sum of the days that count before.
        nxt.baseline_sum_mw = [list(row) for row in s.baseline_sum_mw]
        nxt.day_before_mw = [list(row) for row in s.day_before_mw]
        for k in self.K if self.U else ():
            first = nxt.baseline_sum_mw[k].pop(0)
            yesterday = nxt.day_before_mw[k].pop(0)
            nxt.baseline_sum_mw[k].append(first + (yesterday if x.baseline_counts[k] > 0.5 else 0.0))
            nxt.day_before_mw[k].append(f.import_mw[k] - f.export_mw[k])
        return nxt

    # ------------------------------------------------------------------------------------------ account

    def _billed_intensity(self, x: SimpleNamespace) -> list[float]:
        return x.carbon_marginal_kg_per_mwh if self.p.bill_marginal else x.carbon_average_kg_per_mwh

    def _network_mwh(self, f: SimpleNamespace, k: int) -> tuple[float, float, float]:
        """Energy outside the site's balance: network, relocation, loading of weights."""
        p = self.p
        network = relocation = loading = 0.0
        for w in self.W:
            loading += f.warmed_gpuh[w][k] * p.warm_mwh_per_gpuh[w]
            for c in self.C:
                network += f.served_gpuh[c][w][k] * p.network_mwh_per_gpuh[c][w][k]
                relocation += f.relocated_gpuh[c][w][k] * p.relocation_mwh_per_gpuh[c][w][k]
        return network, relocation, loading

    def _emissions_kg(self, x: SimpleNamespace, f: SimpleNamespace, intensity: list[float]) -> float:
        kg = 0.0
        for k in self.K:
            grid_mwh = f.import_mw[k] * self.dt + sum(self._network_mwh(f, k))
            kg += grid_mwh * intensity[k]
            kg += f.generation_mw[k] * self.dt * self.p.generator_carbon_kg_per_mwh[k]
        return kg

    def _water_l(self, x: SimpleNamespace, f: SimpleNamespace, it_mw: list[float]) -> float:
        litres = 0.0
        for k in self.K:
            litres += it_mw[k] * self.dt * self.p.site_water_l_per_mwh[k]
            litres += f.import_mw[k] * self.dt * self.p.grid_water_l_per_mwh[k]
            litres += f.generation_mw[k] * self.dt * self.p.generator_water_l_per_mwh[k]
        return litres

    def account(self, x: SimpleNamespace, f: SimpleNamespace) -> SimpleNamespace:
        """All terms in signed USD, power, emissions and water of one step."""
        p, dt = self.p, self.dt
        committed = [self.state.committed_gpus[k][0] for k in self.K]
        for k in self.K:
            for j in self.J:
                committed[k] += f.started[j][k] * p.job_gpus[j] * p.job_profile[j][0]
        it_mw = [self._it_mw(x, f, committed, k) for k in self.K]
        terms = dict.fromkeys(TERM_NAMES, 0.0)
        for c in self.C:
            for w in self.W:
                terms["drop_penalty"] -= f.dropped_gpuh[c][w] * p.drop_usd_per_gpuh[w]
                for k in self.K:
                    served = f.served_gpuh[c][w][k]
                    terms["revenue"] += served * p.revenue_usd_per_gpuh[w]
                    terms["egress"] -= served * p.egress_usd_per_gpuh[c][w][k]
                    terms["relocation"] -= f.relocated_gpuh[c][w][k] * p.relocation_usd_per_gpuh[c][w][k]
        for j in self.J:
            terms["job_value"] += sum(f.started[j]) * p.job_value_usd[j]
        for k in self.K:
            network, relocation, loading = self._network_mwh(f, k)
            terms["egress"] -= network * x.network_usd_per_mwh[k]
            terms["relocation"] -= relocation * x.network_usd_per_mwh[k]
            terms["warm_up"] -= loading * x.network_usd_per_mwh[k]
            for w in self.W:
                terms["warm_up"] -= f.warmed_gpuh[w][k] * p.warm_usd_per_gpuh[w]
            terms["import"] -= f.import_mw[k] * dt * x.buy_usd_per_mwh[k]
            terms["export"] += f.export_mw[k] * dt * x.sell_usd_per_mwh[k]
            terms["fuel"] -= f.generation_mw[k] * dt * p.fuel_usd_per_mwh[k]
            terms["battery_wear"] -= (f.charge_mw[k] + f.discharge_mw[k]) * dt * p.wear_usd_per_mwh[k]
            terms["demand_charge"] -= f.peak_rise_mw[k] * p.demand_charge_usd_per_mw[k]
            terms["gpu_shortfall"] -= f.gpu_short[k] * dt * p.gpu_short_usd_per_gpuh[k]
            terms["shed_penalty"] -= f.shed_mw[k] * dt * p.shed_usd_per_mwh[k]
            terms["battery_shortfall"] -= f.battery_short_mwh[k] * p.battery_short_usd_per_mwh[k]
        for n in self.L:
            for k in self.K:
                above = f.line_excess_mw[n][k] * dt
                terms["line_excess"] -= above * x.line_usd_per_mwh[n][k]
                if x.committed_mw:
                    delivered = x.committed_mw[n][k] * dt - above
                    terms["dr_energy"] += delivered * x.response_usd_per_mwh[n][k]
                terms["dr_capacity"] += p.capacity_usd_per_h[n][k] * dt
        billed = self._emissions_kg(x, f, self._billed_intensity(x))
        terms["carbon_price"] = -billed * p.carbon_price_usd_per_kg
        terms["carbon_excess"] = -f.carbon_excess_kg * p.carbon_excess_usd_per_kg
        water_l = self._water_l(x, f, it_mw)
        terms["water"] = -water_l * p.water_price_usd_per_l
        return SimpleNamespace(
            terms_usd=terms,
            benefit_usd=sum(terms.values()),
            it_mw=it_mw,
            facility_mw=[x.pue[k] * it_mw[k] + p.base_load_mw[k] for k in self.K],
            emissions_average_kg=self._emissions_kg(x, f, x.carbon_average_kg_per_mwh),
            emissions_marginal_kg=self._emissions_kg(x, f, x.carbon_marginal_kg_per_mwh),
            water_l=water_l,
        )
