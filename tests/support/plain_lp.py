"""The optimum of a tiny world by brute force: every choice of yes/no decisions, a linear program for each.

The program is written here from the equations in words, with one named column per quantity, and solved by
SciPy; nothing of the package's equations is used.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
from scipy.optimize import linprog
from scipy.sparse import csr_matrix

from gridai_env.episodes.instance import Instance

Starts = dict[int, tuple[int, int]]  # job -> (step, site)


class Lp:
    """Columns and rows by name; all columns >= 0."""

    def __init__(self) -> None:
        self.columns: dict[tuple[Any, ...], int] = {}
        self.upper: dict[int, float] = {}
        self.gain: dict[int, float] = {}
        self.rows: dict[str, list[tuple[dict[int, float], float]]] = {"le": [], "eq": []}

    def __call__(self, *name: Any) -> int:
        return self.columns.setdefault(name, len(self.columns))

    def at_most(self, column: int, limit: float) -> None:
        self.upper[column] = min(limit, self.upper.get(column, np.inf))

    def earn(self, column: int, usd: float) -> None:
        self.gain[column] = self.gain.get(column, 0.0) + usd

    def row(self, kind: str, terms: list[tuple[int, float]], right: float) -> None:
        """``sum of terms <= right`` (kind "le") or ``== right`` ("eq")."""
        merged: dict[int, float] = {}
        for column, factor in terms:
            merged[column] = merged.get(column, 0.0) + factor
        self.rows[kind].append((merged, right))

    def best(self) -> float:
        """The most gain, or -inf where no point is feasible."""
        n = len(self.columns)
        cost = np.zeros(n)
        for column, usd in self.gain.items():
            cost[column] = -usd
        bounds = [(0.0, self.upper.get(i, np.inf)) for i in range(n)]
        (a_le, b_le), (a_eq, b_eq) = (self._matrix(self.rows[kind], n) for kind in ("le", "eq"))
        found = linprog(cost, A_ub=a_le, b_ub=b_le, A_eq=a_eq, b_eq=b_eq, bounds=bounds, method="highs")
        assert found.status in (0, 2), found.message
        return -float(found.fun) if found.status == 0 else -np.inf

    @staticmethod
    def _matrix(rows: list[tuple[dict[int, float], float]], n: int) -> tuple[csr_matrix, np.ndarray]:
        entries = [(r, c, v) for r, (terms, _) in enumerate(rows) for c, v in terms.items()]
        r, c, v = zip(*entries, strict=True)
        return csr_matrix((v, (r, c)), shape=(len(rows), n)), np.array([right for _, right in rows])


def choices(instance: Instance) -> Iterator[tuple[Starts, dict[Any, bool], dict[Any, bool]]]:
    """All yes/no decisions: start of each job, charging or discharging, generator running or not."""
    p, x = instance.params, instance.exogenous
    steps, sites = range(instance.steps), range(instance.compiled.shape.sites)
    options = []
    for j in range(instance.compiled.shape.jobs):
        options.append([None, *((t, k) for t in steps for k in sites if x.job_open[t, j, k] > 0.5)])
    batteries = [(t, k) for t in steps for k in sites if p.battery_max_mwh[k] > 0]
    generators = [(t, k) for t in steps for k in sites if p.generator_min_mw[k] > 0]
    for starts in itertools.product(*options):
        chosen = {j: start for j, start in enumerate(starts) if start is not None}
        for charging in itertools.product((True, False), repeat=len(batteries)):
            for running in itertools.product((True, False), repeat=len(generators)):
                yield (
                    chosen,
                    dict(zip(batteries, charging, strict=True)),
                    dict(zip(generators, running, strict=True)),
                )


def count(instance: Instance) -> int:
    """How many linear programs `optimum` solves."""
    p, x = instance.params, instance.exogenous
    jobs = np.prod(1 + x.job_open.sum((0, 2))) if instance.compiled.shape.jobs else 1
    modes = instance.steps * ((p.battery_max_mwh > 0).sum() + (p.generator_min_mw > 0).sum())
    return int(jobs * 2**modes)


def optimum(instance: Instance) -> float:
    """Most benefit [USD] over all choices."""
    return max(_program(instance, *choice) for choice in choices(instance))


def _committed(instance: Instance, starts: Starts) -> np.ndarray | None:
    """Accelerators that the jobs hold [T,K]; None where they exceed the nameplate somewhere."""
    p = instance.params
    held = np.zeros((instance.steps, instance.compiled.shape.sites))
    for j, (t, k) in starts.items():
        for n, runs in enumerate(p.job_profile[j]):
            if runs and t + n < instance.steps:
                held[t + n, k] += p.job_gpus[j]
    return held if (held <= p.utilisation_limit * p.gpus * (1 + 1e-9)).all() else None


def _program(
    instance: Instance, starts: Starts, charging: dict[Any, bool], running: dict[Any, bool]
) -> float:
    held = _committed(instance, starts)
    if held is None:
        return -np.inf
    lp = Lp()
    for t in range(instance.steps):
        _work(lp, instance, t)
        for k in range(instance.compiled.shape.sites):
            _site(lp, instance, t, k, held, charging, running)
        _carbon(lp, instance, t)
    jobs = sum(instance.params.job_value_usd[j] for j in starts)
    return lp.best() + jobs + _promised_usd(instance) - _fixed_water_usd(instance, held)


def _work(lp: Lp, instance: Instance, t: int) -> None:
    """Queue, friction between steps, and what work earns and costs."""
    p, x, shape = instance.params, instance.exogenous, instance.compiled.shape
    for c, w in itertools.product(range(shape.regions), range(shape.rows)):
        left, before = lp("left", t, c, w), [(lp("left", t - 1, c, w), -1.0)] if t else []
        served = [(lp("served", t, c, w, k), 1.0) for k in range(shape.sites)]
        dropped = lp("dropped", t, c, w)
        lp.row("eq", [(left, 1.0), *before, *served, (dropped, 1.0)], x.arrivals_gpuh[t, c, w])
        lp.at_most(left, x.queue_limit_gpuh[t, c, w])
        lp.earn(dropped, -p.drop_usd_per_gpuh[w])
        for k in range(shape.sites):
            column = served[k][0]
            if not p.route_open[c, w, k]:
                lp.at_most(column, 0.0)
            energy = _network_usd_per_mwh(instance, t, k) * p.network_mwh_per_gpuh[c, w, k]
            lp.earn(column, p.revenue_usd_per_gpuh[w] - p.egress_usd_per_gpuh[c, w, k] - energy)
            if not p.may_wait[w]:
                _session(lp, instance, t, c, w, k)
    for w, k in itertools.product(range(shape.rows), range(shape.sites)):
        if not p.may_wait[w]:
            warmed = lp("warmed", t, w, k)
            terms, right = [(warmed, -1.0)], 0.0
            for c in range(shape.regions):
                terms.append((lp("served", t, c, w, k), 1.0))
                if t:
                    terms.append((lp("served", t - 1, c, w, k), -1.0))
                else:
                    right += instance.initial.placed_gpuh[c, w, k]
            lp.row("le", terms, right)
            usd = p.warm_usd_per_gpuh[w] + p.warm_mwh_per_gpuh[w] * _network_usd_per_mwh(instance, t, k)
            lp.earn(warmed, -usd)


def _session(lp: Lp, instance: Instance, t: int, c: int, w: int, k: int) -> None:
    p, x = instance.params, instance.exogenous
    moved = lp("moved", t, c, w, k)
    terms = [(lp("served", t, c, w, k), 1.0), (moved, -1.0)]
    right = x.rehomed_gpuh[t, c, w] * p.home[c, k]
    if t:
        terms.append((lp("served", t - 1, c, w, k), -x.growth[t, c, w]))
    else:
        right += x.growth[t, c, w] * instance.initial.placed_gpuh[c, w, k]
    lp.row("le", terms, right)
    usd = p.relocation_mwh_per_gpuh[c, w, k] * _network_usd_per_mwh(instance, t, k)
    lp.earn(moved, -p.relocation_usd_per_gpuh[c, w, k] - usd)


def _network_usd_per_mwh(instance: Instance, t: int, k: int) -> float:
    """Price of energy outside the balance: never negative, plus the price of its carbon."""
    x = instance.exogenous
    carbon = _intensity(instance, t, k) * instance.params.carbon_price_usd_per_kg
    return max(0.0, x.buy_usd_per_mwh[t, k]) + carbon


def _intensity(instance: Instance, t: int, k: int) -> float:
    x = instance.exogenous
    marginal = instance.scenario.carbon_signal == "marginal"
    return float((x.carbon_marginal_kg_per_mwh if marginal else x.carbon_average_kg_per_mwh)[t, k])


def _site(
    lp: Lp,
    instance: Instance,
    t: int,
    k: int,
    held: np.ndarray,
    charging: dict[Any, bool],
    running: dict[Any, bool],
) -> None:
    """Accelerators, power balance, battery, generator, grid and their prices at one site in one step."""
    p, x, shape, dt = instance.params, instance.exogenous, instance.compiled.shape, instance.params.dt_h
    water = p.water_price_usd_per_l
    limit = p.utilisation_limit[k] * x.available_gpus[t, k]
    short = max(0.0, held[t, k] - limit)  # the least: its price is above all it could free
    served = [(lp("served", t, c, w, k), 1.0) for c in range(shape.regions) for w in range(shape.rows)]
    speed_h = p.speed[k] * dt
    lp.row("le", [(c, 1 / speed_h) for c, _ in served], limit - held[t, k] + short)
    extra_mw = (p.busy_kw_per_gpu[k] - p.idle_kw_per_gpu[k]) / 1000.0
    idle_mw = x.available_gpus[t, k] * p.idle_kw_per_gpu[k] / 1000.0 + (held[t, k] - short) * extra_mw
    names = ("import", "generation", "renewable", "discharge", "shed", "export", "charge")
    col = {name: lp(name, t, k) for name in names}
    supply = [(col[n], 1.0) for n in names[:5]] + [(col["export"], -1.0), (col["charge"], -1.0)]
    power = [(c, extra_mw / speed_h) for c, _ in served]
    if instance.scenario.sites[k].power_modes:
        power = _modes(lp, instance, t, k, served, x.available_gpus[t, k] - held[t, k] + short)
    use = [(c, -x.pue[t, k] * mw) for c, mw in power]
    lp.row("eq", supply + use, x.pue[t, k] * idle_mw + p.base_load_mw[k])
    for c, mw in power:
        lp.earn(c, -mw * dt * p.site_water_l_per_mwh[k] * water)
    _lines(lp, instance, t, k)
    _limits(lp, instance, t, k, col, charging, running)
    carbon = _intensity(instance, t, k) * p.carbon_price_usd_per_kg
    lp.earn(col["import"], -dt * (x.buy_usd_per_mwh[t, k] + carbon + p.grid_water_l_per_mwh[k] * water))
    lp.earn(col["export"], dt * x.sell_usd_per_mwh[t, k])
    fuel = p.fuel_usd_per_mwh[k] + p.generator_carbon_kg_per_mwh[k] * p.carbon_price_usd_per_kg
    lp.earn(col["generation"], -dt * (fuel + p.generator_water_l_per_mwh[k] * water))
    for name in ("charge", "discharge"):
        lp.earn(col[name], -dt * p.wear_usd_per_mwh[k])
    lp.earn(col["shed"], -dt * p.shed_usd_per_mwh[k])
    if short:
        lp.at_most(one := lp("one"), 1.0)
        lp.row("eq", [(one, 1.0)], 1.0)
        lp.earn(one, -dt * short * p.gpu_short_usd_per_gpuh[k])


def _modes(
    lp: Lp, instance: Instance, t: int, k: int, served: list[tuple[int, float]], free_gpus: float
) -> list[tuple[int, float]]:
    """Accelerators in each measured mode do the work; return what each draws above idling, MW."""
    site, p = instance.scenario.sites[k], instance.params
    points = [point for curve in site.power_modes for point in curve.points or []]
    modes = [(lp("mode", t, k, i), point) for i, point in enumerate(points)]
    lp.row("le", [(c, 1.0) for c, _ in modes], free_gpus)
    work = [(c, 1.0 / (p.speed[k] * p.dt_h)) for c, _ in served]
    lp.row("eq", [*work, *((c, -point.speed) for c, point in modes)], 0.0)
    power = [(c, (point.kw - site.idle_kw_per_gpu) / 1000.0) for c, point in modes]
    # No mode serves to burn energy.
    full_mw = (site.busy_kw_per_gpu - site.idle_kw_per_gpu) / 1000.0
    lp.row("le", [*power, *((c, -full_mw * gpus) for c, gpus in work)], 0.0)
    return power


def _lines(lp: Lp, instance: Instance, t: int, k: int) -> None:
    """Import above each line costs; a baseline adds what past days at this time imported less what they exported."""
    x, shape, dt = instance.exogenous, instance.compiled.shape, instance.params.dt_h
    for n in range(shape.lines):
        excess = lp("above", t, n, k)
        terms = [(lp("import", t, k), 1.0), (excess, -1.0)]
        if shape.day_steps:
            share = x.baseline_share[t, n, k]
            for then in range(t, shape.day_steps - 1, -shape.day_steps):
                if x.baseline_counts[then, k] > 0.5:
                    day_before = then - shape.day_steps
                    terms.append((lp("import", day_before, k), -share))
                    terms.append((lp("export", day_before, k), share))
        lp.row("le", terms, x.line_mw[t, n, k])
        usd = x.line_usd_per_mwh[t, n, k] + (x.response_usd_per_mwh[t, n, k] if shape.has_response else 0.0)
        lp.earn(excess, -dt * usd)


def _promised_usd(instance: Instance) -> float:
    """Pay for promises of demand response, and for keeping them in full."""
    p, x = instance.params, instance.exogenous
    return float(
        p.dt_h
        * ((x.response_usd_per_mwh * x.committed_mw).sum() + instance.steps * p.capacity_usd_per_h.sum())
    )


def _limits(
    lp: Lp,
    instance: Instance,
    t: int,
    k: int,
    col: dict[str, int],
    charging: dict[Any, bool],
    running: dict[Any, bool],
) -> None:
    p, x, dt, start = instance.params, instance.exogenous, instance.params.dt_h, instance.initial
    shape = instance.compiled.shape
    lp.at_most(col["import"], x.import_limit_mw[t, k])
    lp.at_most(col["export"], x.export_limit_mw[t, k])
    lp.at_most(col["renewable"], x.renewable_available_mw[t, k])
    on = running.get((t, k), True)
    if shape.has_gates and x.generator_open[t, k] < 0.5:
        lp.at_most(col["generation"], 0.0)
    lp.at_most(col["generation"], p.generator_max_mw[k] if on else 0.0)
    if on and p.generator_min_mw[k] > 0:
        lp.row("le", [(col["generation"], -1.0)], -p.generator_min_mw[k])
    rise = p.generator_ramp_mw_per_h[k] * dt
    if t:
        lp.row("le", [(col["generation"], 1.0), (lp("generation", t - 1, k), -1.0)], rise)
    else:
        lp.at_most(col["generation"], start.generation_mw[k] + rise)
    mode = charging.get((t, k))
    lp.at_most(col["charge"], p.charge_limit_mw[k] if mode else 0.0)
    lp.at_most(col["discharge"], p.discharge_limit_mw[k] if mode is False else 0.0)
    energy = lp("energy", t, k)
    flow = [(col["charge"], -dt * p.charge_efficiency[k]), (col["discharge"], dt / p.discharge_efficiency[k])]
    before = [(lp("energy", t - 1, k), -1.0)] if t else []
    lp.row("eq", [(energy, 1.0), *before, *flow], 0.0 if t else start.battery_mwh[k])
    lp.at_most(energy, p.battery_max_mwh[k])
    lp.row("le", [(energy, -1.0)], -p.battery_min_mwh[k])
    if x.battery_target_mwh[t, k] > 0:
        missing = lp("missing", t, k)
        lp.row("le", [(energy, -1.0), (missing, -1.0)], -x.battery_target_mwh[t, k])
        lp.earn(missing, -p.battery_short_usd_per_mwh[k])
    if p.demand_charge_usd_per_mw[k] > 0:
        peak = lp("peak", k)
        lp.row("le", [(col["import"], 1.0), (peak, -1.0)], 0.0)
        if t == 0:
            lp.earn(peak, -p.demand_charge_usd_per_mw[k])


def _carbon(lp: Lp, instance: Instance, t: int) -> None:
    """All emissions up to now, less all excess up to now, stay within the budget."""
    p, shape, dt = instance.params, instance.compiled.shape, instance.params.dt_h
    if np.isinf(p.carbon_budget_kg):
        return
    excess = lp("excess", t)
    lp.earn(excess, -float(p.carbon_excess_usd_per_kg))
    terms: list[tuple[int, float]] = []
    for s in range(t + 1):
        terms.append((lp("excess", s), -1.0))
        for k in range(shape.sites):
            grid = _intensity(instance, s, k)
            terms.append((lp("import", s, k), dt * grid))
            terms.append((lp("generation", s, k), dt * p.generator_carbon_kg_per_mwh[k]))
            for w in range(shape.rows):
                if not p.may_wait[w]:
                    terms.append((lp("warmed", s, w, k), p.warm_mwh_per_gpuh[w] * grid))
                for c in range(shape.regions):
                    terms.append((lp("served", s, c, w, k), p.network_mwh_per_gpuh[c, w, k] * grid))
                    if not p.may_wait[w]:
                        terms.append((lp("moved", s, c, w, k), p.relocation_mwh_per_gpuh[c, w, k] * grid))
    lp.row("le", terms, float(p.carbon_budget_kg))


def _fixed_water_usd(instance: Instance, held: np.ndarray) -> float:
    """Cooling water of idle accelerators and of jobs, which no column decides."""
    p, x = instance.params, instance.exogenous
    short = np.maximum(held - p.utilisation_limit * x.available_gpus, 0.0)
    extra_kw = p.busy_kw_per_gpu - p.idle_kw_per_gpu
    it_mw = (x.available_gpus * p.idle_kw_per_gpu + (held - short) * extra_kw) / 1000.0
    return float((it_mw * p.dt_h * p.site_water_l_per_mwh).sum() * p.water_price_usd_per_l)
