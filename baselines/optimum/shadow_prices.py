"""Shadow prices: what one more unit of each limit would earn, beside the schedule that it limits.

The yes/no decisions of a plan (jobs started, batteries' direction, generators on) are fixed at the plan's values; the
linear program that is left has a dual value for every limit, site and hour.

    plan = solve(instance)
    prices = shadow_prices(plan)
    prices.capacity_usd_per_gpuh        # [T,K]

Every price says how much the plan's objective would improve (benefit rises, cost falls) per unit of the limit, at the
margin and with yes/no decisions as they are.  It is 0 where the limit does not bind.  Where several limits bind in the
same point the optimum has many prices, all between what one unit more would earn and what one unit less would lose;
those given here are the ones for raising: all limits are lifted by a hair before the solver runs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from baselines.optimum.highs import Method, PersistentSolver
from baselines.optimum.milp import Plan, service_of
from baselines.optimum.program import Program, build
from baselines.optimum.relax_and_round import HUGE_ROWS
from baselines.optimum.service_floor import Floor
from gridai_env.arrays.types import Floats
from gridai_env.episodes.instance import Instance
from gridai_env.rollout.step_table import Table, step_times_utc

# Limits that have a price; all are lifted by this share (or amount, where nearly zero) before they are priced.
LIMITS = {
    "queue",
    "gpus",
    "charge",
    "discharge",
    "battery full",
    "generator",
    "import",
    "export",
    "carbon budget",
}
HAIR, HAIR_LEAST = 1e-6, 1e-7


@dataclass(frozen=True)
class ShadowPrices:
    """Prices of limits, in USD per unit, >= 0 but for energy and stored energy, which follow the market below 0.

    NaN: the site has no such equipment.  Work is in GPU-h, except capacity: hours of the site's own accelerators.
    """

    instance: Instance
    objective: str  # of the plan: "benefit" or "cost"
    capacity_usd_per_gpuh: (
        Floats  # [T,K] one more accelerator-hour that may be busy (its energy is paid apart)
    )
    energy_usd_per_mwh: Floats  # [T,K] what a MWh is worth at the site: the dual of the power balance
    import_limit_usd_per_mwh: Floats  # [T,K] one more MW of import for one hour
    export_limit_usd_per_mwh: Floats  # [T,K] the same of export
    generator_limit_usd_per_mwh: Floats  # [T,K] the same of a running generator
    stored_energy_usd_per_mwh: Floats  # [T,K] a MWh in the battery at the end of the step
    battery_capacity_usd_per_mwh: Floats  # [T,K] one more MWh of capacity at the end of the step
    charge_limit_usd_per_mwh: Floats  # [T,K] one more MW of charging for one hour
    discharge_limit_usd_per_mwh: Floats  # [T,K] the same of discharging
    queue_usd_per_gpuh: Floats  # [T,C,W] deadlines: one more GPU-h may be left waiting at the end of the step
    carbon_usd_per_kg: Floats  # [T] one more kg of the budget from this step on; 0 without a budget
    floor_usd_per_gpuh: Floats  # [W] one GPU-h less demanded by the service floor of `cost`; 0 for `benefit`
    dual_usd: float  # the plan's benefit or cost, put together from all prices and limits (strong duality)

    @property
    def steps(self) -> int:
        """Number of steps T."""
        return len(self.energy_usd_per_mwh)

    def budget_usd_per_kg(self) -> float:
        """What one more kg of the episode's carbon budget would earn."""
        return float(self.carbon_usd_per_kg[0])

    def table(self) -> Table:
        """A row per step: ``price_unit/site``, ``queue_usd_per_gpuh/region/row``, ``carbon_usd_per_kg``.

        Equipment that a site does not have gets no column.
        """
        instance = self.instance
        columns = {
            "step": np.arange(self.steps),
            "time_utc": step_times_utc(instance.start_utc, self.steps, instance.params.dt_h),
            **self._columns(),
        }
        out = np.zeros(self.steps, dtype=[(name, values.dtype) for name, values in columns.items()])
        for name, values in columns.items():
            out[name] = values
        return out

    def _columns(self) -> dict[str, Floats]:
        compiled = self.instance.compiled
        out: dict[str, Floats] = {}
        for name in SITE_PRICES:
            for k, site in enumerate(compiled.site_names):
                values = getattr(self, name)[:, k]
                if not np.isnan(values).any():
                    out[f"{name}/{site}"] = values
        for c, region in enumerate(compiled.region_names):
            for w, row in enumerate(compiled.row_names):
                out[f"queue_usd_per_gpuh/{region}/{row}"] = self.queue_usd_per_gpuh[:, c, w]
        return out | {"carbon_usd_per_kg": self.carbon_usd_per_kg}

    def highest(self, per_kind: int = 4) -> list[tuple[str, str, float, int]]:
        """The places where each kind of limit is worth most: name of the price, place, value, step; dearest first.

        Energy and stored energy are goods rather than limits and are left out.
        """
        found: dict[str, list[tuple[str, str, float, int]]] = {}
        for column, values in self._columns().items():
            name, _, place = column.partition("/")
            step = int(values.argmax())
            if name not in GOODS and values[step] > 0.0:
                found.setdefault(name, []).append((name, place, float(values[step]), step))
        return [entry for kind in found.values() for entry in sorted(kind, key=lambda e: -e[2])[:per_kind]]


# Prices of goods rather than limits.
GOODS = ("energy_usd_per_mwh", "stored_energy_usd_per_mwh")

# Fields with an entry per step and site, in the order of the table.
SITE_PRICES = (
    "energy_usd_per_mwh",
    "capacity_usd_per_gpuh",
    "import_limit_usd_per_mwh",
    "export_limit_usd_per_mwh",
    "generator_limit_usd_per_mwh",
    "stored_energy_usd_per_mwh",
    "battery_capacity_usd_per_mwh",
    "charge_limit_usd_per_mwh",
    "discharge_limit_usd_per_mwh",
)


def shadow_prices(
    plan: Plan, floor: Plan | Floor | None = None, threads: int = 1, time_limit_s: float | None = None
) -> ShadowPrices:
    """Price the limits that a plan meets.

    ``floor`` is the service that a cost plan had to keep, by default the service that the plan gives.
    Raises ValueError for a plan without a schedule and for one of least carbon, whose limits are worth kg, and
    TimeoutError where the solver does not finish in ``time_limit_s``.
    """
    if plan.objective == "carbon":
        raise ValueError("shadow prices are in USD: give a plan of the objective benefit or cost, not carbon")
    if plan.flows is None:
        raise ValueError("the plan has no flows (time limit without an incumbent): it has no prices")
    service = None
    if plan.objective == "cost":
        service = floor if isinstance(floor, Floor) else service_of(plan if floor is None else floor)
    program = build(plan.instance, plan.objective, service, priced=True)
    solved = _Fixed(plan, program, threads, time_limit_s)
    return _read(plan, solved)


class _Fixed:
    """The linear program that is left where a plan's yes/no decisions stand, solved; and its duals by name."""

    def __init__(self, plan: Plan, program: Program, threads: int, time_limit_s: float | None) -> None:
        self.program = program
        self.fixed = decisions(plan, program)
        columns = np.flatnonzero(self.program.integer)
        live = PersistentSolver(self.program.lp, threads=threads)
        if len(columns):
            live.set_integer(columns, False)
            live.set_column_bounds(columns, self.fixed[columns], self.fixed[columns])
        self.rows = {_name(row): i for i, (row, _) in enumerate(self.program.rows)}
        at_least = np.array([kind < 0 for _, kind in self.program.rows])
        self._lift(live, at_least)
        is_huge = self.program.size[0] > HUGE_ROWS
        method: Method = "interior_vertex" if is_huge else "simplex"
        if live.solve(time_limit_s=time_limit_s, method=method).values is None:
            raise TimeoutError(f"prices were not found within {time_limit_s:g} s: raise the time limit")
        self.row_dual, self.column_dual = live.row_dual, live.column_dual
        # Rows read "expression >= 0": a unit more of the limit moves them by -1, one kept as "<=" by +1.
        self.worth = np.where(at_least, self.row_dual, -self.row_dual)

    def _lift(self, live: PersistentSolver, at_least: NDArray[np.bool_]) -> None:
        """Raise every limit by a hair."""
        rows = np.array([i for name, i in self.rows.items() if name[0] in LIMITS])
        lower, upper = np.array(self.program.lp.row_lower_)[rows], np.array(self.program.lp.row_upper_)[rows]
        side = np.where(at_least[rows], lower, upper)
        hair = np.maximum(HAIR * np.abs(side), HAIR_LEAST)
        live.set_row_bounds(rows, lower - hair, upper + hair)

    def price(self, name: str, t: int, *place: int) -> float:
        """Worth of one more unit of a limit; 0 where the limit is a number that nothing depends on."""
        row = self.rows.get((name, t, *place))
        return 0.0 if row is None else max(0.0, float(self.worth[row]))

    def dual_objective(self) -> float:
        """The objective put together from duals: rows at their sides, fixed columns at their values."""
        lp = self.program.lp
        side = np.where(self.row_dual > 0.0, np.asarray(lp.row_lower_), np.asarray(lp.row_upper_))
        rows = np.where(self.row_dual == 0.0, 0.0, self.row_dual * np.where(self.row_dual == 0.0, 0.0, side))
        return float(lp.offset_ + rows.sum() + (self.column_dual * self.fixed).sum())


def _name(row: Any) -> tuple[Any, ...]:
    """Name of a row: (limit, t, place), ("update", state, t, place), ("floor", ...)."""
    index = row.index() if isinstance(row.index(), tuple) else (row.index(),)
    where = row.parent_component().local_name
    return tuple(index) if where == "limit" else (where, *index)


def decisions(plan: Plan, program: Program) -> Floats:
    """The yes/no columns of a program [columns] as the plan's flows have them, 0 elsewhere.

    A battery that rests counts as discharging.
    """
    assert plan.flows is not None
    out, flows = np.zeros(program.size[1]), plan.flows
    for (name, *place), column in program.choices():
        where = tuple(place)
        if name == "started":
            out[column] = round(float(flows.started[where]))
        elif name == "charging":
            out[column] = float(flows.charge_mw[where] > 0.0)
        else:
            out[column] = float(flows.generation_mw[where] > 0.0)
    return out


# Reading ------------------------------------------------------------------------------------------------------------


def _read(plan: Plan, solved: _Fixed) -> ShadowPrices:
    instance, flows = plan.instance, plan.flows
    p, exo = instance.params, instance.exogenous
    assert flows is not None
    steps, sites = exo.buy_usd_per_mwh.shape
    regions, rows = exo.arrivals_gpuh.shape[1:]

    def at_sites(name: str, has: Any, per: float = 1.0) -> Floats:
        """Prices [T,K] of a limit per MWh (or GPU-h) instead of per MW and step."""
        values = [[solved.price(name, t, k) / per for k in range(sites)] for t in range(steps)]
        return np.where(has, np.array(values), np.nan)

    battery, generator = p.battery_max_mwh > 0.0, p.generator_max_mw > 0.0
    charging = flows.charge_mw > 0.0
    # With its direction fixed, a battery's (or generator's) limit may stand in two rows: the price is their sum.
    charge = at_sites("charge", battery, p.dt_h) + charging * at_sites("charge mode", battery, p.dt_h)
    discharge = at_sites("discharge", battery, p.dt_h) + ~charging * at_sites(
        "discharge mode", battery, p.dt_h
    )
    running = flows.generation_mw > 0.0
    limit = at_sites("generator", generator, p.dt_h) + running * at_sites("generator on", generator, p.dt_h)
    queue = [
        [[solved.price("queue", t, c, w) for w in range(rows)] for c in range(regions)] for t in range(steps)
    ]
    budget = np.array([solved.price("carbon budget", t) for t in range(steps)])
    sign = -1.0 if plan.objective == "benefit" else 1.0
    return ShadowPrices(
        instance=instance,
        objective=plan.objective,
        capacity_usd_per_gpuh=at_sites("gpus", True, p.dt_h),
        energy_usd_per_mwh=_energy(solved, steps, sites) / p.dt_h,
        import_limit_usd_per_mwh=at_sites("import", True, p.dt_h),
        export_limit_usd_per_mwh=at_sites("export", True, p.dt_h),
        generator_limit_usd_per_mwh=limit,
        stored_energy_usd_per_mwh=_stored(solved, steps, battery),
        battery_capacity_usd_per_mwh=at_sites("battery full", battery),
        charge_limit_usd_per_mwh=charge,
        discharge_limit_usd_per_mwh=discharge,
        queue_usd_per_gpuh=np.array(queue).reshape(steps, regions, rows),
        carbon_usd_per_kg=np.cumsum(budget[::-1])[::-1],
        floor_usd_per_gpuh=np.array([_floor(solved, w) for w in range(rows)]),
        dual_usd=sign * solved.dual_objective(),
    )


def _energy(solved: _Fixed, steps: int, sites: int) -> Floats:
    """Duals of the power balances [T,K] per MW: supply minus use is 0; a unit more of use moves the row by +1."""
    rows = [[solved.rows["power balance", t, k] for k in range(sites)] for t in range(steps)]
    return solved.row_dual[np.array(rows)]


def _stored(solved: _Fixed, steps: int, battery: NDArray[np.bool_]) -> Floats:
    """Worth of a MWh in each battery at the end of each step [T,K]: the dual of "energy after = before + charged".

    One more MWh is a right side of +1 and lowers the objective by minus the dual.
    """
    out = np.full((steps, len(battery)), np.nan)
    for t in range(steps):
        for k in np.flatnonzero(battery):
            out[t, k] = -solved.row_dual[solved.rows["update", "battery_mwh", t, int(k)]]
    return out


def _floor(solved: _Fixed, w: int) -> float:
    row = solved.rows.get(("floor", "served", w))
    return 0.0 if row is None else max(0.0, float(solved.row_dual[row]))
