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

import numpy as np

from baselines.optimum.highs import Method, PersistentSolver
from baselines.optimum.milp import Plan, service_of
from baselines.optimum.proofs import worst
from baselines.optimum.relax_and_round import HUGE_ROWS
from baselines.program.episode import build
from baselines.program.linear import Program
from baselines.program.service_floor import Floor
from gridai_env.arrays.types import Float, Floats
from gridai_env.episodes.instance import Instance
from gridai_env.rollout.step_table import Table, step_times_utc, table_of
from gridai_env.world.state import Flows, Params

# Limits that have a price; all are lifted by this share (or amount, where nearly zero) before they are priced.
LIMITS = {
    "queue", "gpus", "charge", "discharge", "battery full",
    "generator", "import", "export", "carbon budget", "line", "saving",
}  # fmt: skip
HAIR, HAIR_LEAST = 1e-6, 1e-7  # the least in units of the program


@dataclass(frozen=True)
class ShadowPrices:
    """Prices of limits, in USD per unit, >= 0 but for energy and stored energy, which follow the market below 0.

    NaN: the site has no such equipment.  Work is in GPU-h, except capacity: hours of the site's own accelerators.
    """

    instance: Instance
    objective: str  # of the plan: "benefit" or "cost"
    capacity_usd_per_gpuh: Float[
        Floats, "T K"
    ]  # one more that may be busy for an hour (energy is paid apart)
    energy_usd_per_mwh: Float[Floats, "T K"]  # what a MWh is worth at the site: the dual of the power balance
    import_limit_usd_per_mwh: Float[Floats, "T K"]  # one more MW of import for one hour
    export_limit_usd_per_mwh: Float[Floats, "T K"]  # the same of export
    generator_limit_usd_per_mwh: Float[Floats, "T K"]  # the same of a running generator
    stored_energy_usd_per_mwh: Float[Floats, "T K"]  # a MWh in the battery at the end of the step
    battery_capacity_usd_per_mwh: Float[Floats, "T K"]  # one more MWh of capacity at the end of the step
    charge_limit_usd_per_mwh: Float[Floats, "T K"]  # one more MW of charging for one hour
    discharge_limit_usd_per_mwh: Float[Floats, "T K"]  # the same of discharging
    modes_usd_per_gpuh: Float[
        Floats, "T K"
    ]  # one accelerator more in service, that power modes spread work over
    line_usd_per_mwh: Float[Floats, "T L K"]  # one more MW of a line for one hour
    queue_usd_per_gpuh: Float[Floats, "T C W"]  # deadlines: one more GPU-h may wait at the end of the step
    carbon_usd_per_kg: Float[Floats, " T"]  # one more kg of the budget from this step on; 0 without a budget
    floor_usd_per_gpuh: Float[
        Floats, " W"
    ]  # one GPU-h less demanded by the service floor of `cost`; 0 for `benefit`
    dual_usd: float  # the plan's benefit or cost, put together from all prices and limits (strong duality)

    @property
    def steps(self) -> int:
        """Number of steps T."""
        return len(self.energy_usd_per_mwh)

    def table(self) -> Table:
        """Return a row per step: ``price_unit/site``, ``queue_usd_per_gpuh/region/row``, ``carbon_usd_per_kg``.

        Equipment that a site does not have gets no column.
        """
        instance = self.instance
        columns = {
            "step": np.arange(self.steps),
            "time_utc": step_times_utc(instance.start_utc, self.steps, instance.params.dt_h),
            **self._columns(),
        }
        return table_of(columns)

    def _columns(self) -> dict[str, Float[Floats, " T"]]:
        compiled = self.instance.compiled
        out: dict[str, Floats] = {}
        for name in SITE_PRICES:
            prices = zip(compiled.site_names, getattr(self, name).T, strict=True)
            out |= {f"{name}/{site}": values for site, values in prices if not np.isnan(values).any()}
        for c, region in enumerate(compiled.region_names):
            for w, row in enumerate(compiled.row_names):
                out[f"queue_usd_per_gpuh/{region}/{row}"] = self.queue_usd_per_gpuh[:, c, w]
        for rule in compiled.lines.rules:
            if rule.slot >= 0:
                name = f"line_usd_per_mwh/{compiled.site_names[rule.site]}/{rule.spec.name}"
                out[name] = self.line_usd_per_mwh[:, rule.slot, rule.site]
        return out | {"carbon_usd_per_kg": self.carbon_usd_per_kg}

    def highest(self, per_kind: int = 4) -> list[tuple[str, str, float, int]]:
        """Return where each kind of limit is worth most: name of the price, place, value, step; dearest first.

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
    "energy_usd_per_mwh", "capacity_usd_per_gpuh", "import_limit_usd_per_mwh",
    "export_limit_usd_per_mwh", "generator_limit_usd_per_mwh", "stored_energy_usd_per_mwh",
    "battery_capacity_usd_per_mwh", "charge_limit_usd_per_mwh", "discharge_limit_usd_per_mwh",
    "modes_usd_per_gpuh",
)  # fmt: skip


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
    return _read(plan, _Fixed(plan, program, threads, time_limit_s))


class _Fixed:
    """The linear program that is left where a plan's yes/no decisions stand, solved; and its duals by name."""

    def __init__(self, plan: Plan, program: Program, threads: int, time_limit_s: float | None) -> None:
        self.program, self.fixed = program, decisions(plan, program)
        live = PersistentSolver(program.lp, unit=program.unit, counts=program.counts, threads=threads)
        columns = np.flatnonzero(program.integer)
        live.set_integer(columns, False)
        live.set_column_bounds(columns, self.fixed[columns], self.fixed[columns])
        self._lift(live)

        method: Method = "interior_vertex" if program.size[0] > HUGE_ROWS else "simplex"
        if live.solve(time_limit_s=time_limit_s, method=method).values is None:
            raise TimeoutError(f"prices were not found within {time_limit_s:g} s: raise the time limit")
        self.row_dual, self.column_dual = live.row_dual, live.column_dual

    def _lift(self, live: PersistentSolver) -> None:
        """Raise every limit by a hair: rows read "limit minus use is at least 0"."""
        kinds = [self.program.rows[name].ravel() for name in LIMITS if name in self.program.rows]
        rows = np.concatenate(kinds)
        rows = rows[rows >= 0]
        side = self.program.lp.row_lower[rows]
        hair = np.maximum(HAIR * np.abs(side), HAIR_LEAST * self.program.unit)
        live.set_row_bounds(rows, side - hair, self.program.lp.row_upper[rows])

    def duals(self, kind: str, shape: tuple[int, ...]) -> Floats:
        """Return the dual of each place of a kind of rows, 0 where it is a number that nothing depends on."""
        rows = self.program.rows.get(kind, np.full(shape, -1))
        return np.append(self.row_dual, 0.0)[rows]

    def prices(self, kind: str, shape: tuple[int, ...]) -> Floats:
        """Return the worth of one more unit of a limit at each place."""
        return np.maximum(self.duals(kind, shape), 0.0)

    def dual_objective(self) -> float:
        """Return the objective put together from duals: rows at their sides, fixed columns at their values."""
        lp = self.program.lp
        rows = worst(self.row_dual, lp.row_lower, lp.row_upper)
        return float(lp.offset + rows.sum() + (self.column_dual * self.fixed).sum())


def decisions(plan: Plan, program: Program) -> Float[Floats, " columns"]:
    """Return the yes/no columns of a program as the plan's flows have them, 0 elsewhere.

    A battery that rests counts as discharging.
    """
    assert plan.flows is not None
    out, flows = np.zeros(program.size[1] + 1), plan.flows  # index -1: no choice
    out[program.flows.started] = np.round(flows.started)
    out[program.charging] = flows.charge_mw > 0.0
    out[program.running] = flows.generation_mw > 0.0
    return out[:-1]


def _per_unit(flows: Flows, solved: _Fixed, dt_h: float) -> dict[str, Float[Floats, "T K"]]:
    """Return prices per MWh (or GPU-h) of limits whose rows are per MW (or accelerator) and step."""
    at_sites = flows.charge_mw.shape
    prices = {name: solved.prices(name, shape=at_sites) for name in ("gpus", "import", "export")}
    # With its direction fixed, a battery's (or generator's) limit may stand in two rows: the price is their sum.
    charging, running = flows.charge_mw > 0.0, flows.generation_mw > 0.0
    for name, mode, is_fixed in (
        ("charge", "charge mode", charging),
        ("discharge", "discharge mode", ~charging),
        ("generator", "generator on", running),
    ):
        prices[name] = solved.prices(name, shape=at_sites) + is_fixed * solved.prices(mode, shape=at_sites)
    return {name: price / dt_h for name, price in prices.items()}


def _modes_usd_per_gpuh(p: Params, solved: _Fixed, at_sites: tuple[int, ...]) -> Float[Floats, "T K"]:
    """Return what one accelerator more is worth to power modes; NaN at sites without any."""
    if not p.has_modes:
        return np.full(at_sites, np.nan)
    steps, sites = at_sites
    duals = solved.prices("saving", (steps, len(p.saving_kw_per_gpu), sites))
    worth = (duals * p.saving_kw_per_gpu).sum(1) / 1000.0 / p.dt_h
    return np.where((p.saving_kw_per_busy_gpu > 0.0).any(0), worth, np.nan)


def _read(plan: Plan, solved: _Fixed) -> ShadowPrices:
    """Return the prices of all limits, per MWh or GPU-h where a row is per MW and step.

    Power balances read "supply minus use is 0": a unit more of use moves the row by +1.  Batteries read "before plus
    charged minus after is 0": a MWh more before is a right side of -1 and lowers the objective by the dual.
    """
    assert plan.flows is not None
    p, flows = plan.instance.params, plan.flows
    at_sites = flows.charge_mw.shape  # [T,K]

    per_unit = _per_unit(plan.flows, solved, p.dt_h)
    energy_usd_per_mw = solved.duals("power balance", at_sites)
    stored = solved.duals("next battery_mwh", at_sites)
    # Sites without the equipment have no price.
    has_battery, has_generator = p.battery_max_mwh > 0.0, p.generator_max_mw > 0.0
    battery = {
        "stored_energy_usd_per_mwh": stored,
        "battery_capacity_usd_per_mwh": solved.prices("battery full", shape=at_sites),
        "charge_limit_usd_per_mwh": per_unit["charge"],
        "discharge_limit_usd_per_mwh": per_unit["discharge"],
    }
    budget = solved.prices("carbon budget", shape=at_sites[:1])
    return ShadowPrices(
        instance=plan.instance,
        objective=plan.objective,
        capacity_usd_per_gpuh=per_unit["gpus"],
        energy_usd_per_mwh=energy_usd_per_mw / p.dt_h,
        import_limit_usd_per_mwh=per_unit["import"],
        export_limit_usd_per_mwh=per_unit["export"],
        generator_limit_usd_per_mwh=np.where(has_generator, per_unit["generator"], np.nan),
        **{name: np.where(has_battery, price, np.nan) for name, price in battery.items()},
        modes_usd_per_gpuh=_modes_usd_per_gpuh(p, solved, at_sites),
        line_usd_per_mwh=solved.prices("line", flows.line_excess_mw.shape) / p.dt_h,
        queue_usd_per_gpuh=solved.prices("queue", shape=flows.dropped_gpuh.shape),
        carbon_usd_per_kg=np.cumsum(budget[::-1])[::-1],
        floor_usd_per_gpuh=solved.prices("floor served", shape=flows.dropped_gpuh.shape[2:]),
        dual_usd=solved.dual_objective() * (-1.0 if plan.objective == "benefit" else 1.0),
    )
