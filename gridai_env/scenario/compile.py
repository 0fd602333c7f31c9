"""From a scenario to arrays: sizes, constants, routes and job tables.  Nothing here depends on a seed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from gridai_env.arrays.kept import KeptBy, kept_by
from gridai_env.arrays.types import Bool, Bools, Float, Floats, Int, Ints
from gridai_env.scenario.capacity import import_limit_mw, nameplate_gpus
from gridai_env.scenario.checks import check_scenario
from gridai_env.scenario.geography import Geography, Row, build_geography
from gridai_env.scenario.lines import LineRules, saving_tables
from gridai_env.scenario.spec import DemandSpec, Scenario, TaskClass, scenario_hash
from gridai_env.scenario.tables import EventRules, ForecastRules, RegionTable, SiteTable, synthetic_starts
from gridai_env.world.state import CONSTRAINTS, Params, Shape

R = TypeVar("R")

HOURS_PER_MONTH = 730.0
LOCALITIES = ("home", "zone", "anywhere")


@dataclass(frozen=True)
class Compiled:
    """A scenario as arrays.  Do not change them: the record is shared by all instances of the scenario."""

    scenario: Scenario  # for what needs the whole file; everything else has arrays below
    hash: str  # of the scenario
    name: str
    shape: Shape
    params: Params  # the fields of INSTANCE_FIELDS are zeros of the right shape
    geography: Geography
    sites: SiteTable
    regions: RegionTable
    events: EventRules
    forecast: ForecastRules
    traces: str  # "synthetic" or the path of a trace file
    demand: DemandSpec  # where the shape of demand comes from
    synthetic_starts: NDArray[np.datetime64]  # [n] possible starts without a trace file, minutes UTC
    carbon_signal: str  # billed: "average" or "marginal"
    network_mwh_per_gb: float
    reward_scale_usd: float  # a reward of 1
    start_battery_mwh: Float[Floats, " K"]  # when an episode starts
    start_generation_mw: Float[Floats, " K"]  # likewise
    site_names: tuple[str, ...]
    region_names: tuple[str, ...]
    class_names: tuple[str, ...]
    row_names: tuple[str, ...]  # e.g. "interactive/anywhere"
    job_names: tuple[str, ...]
    home_site: Int[Ints, " C"]
    row_class: Int[Ints, " W"]
    row_locality: tuple[str, ...]  # [W]
    row_share: Float[Floats, " W"]  # of a region's demand, sums to 1
    row_wait_steps: Int[Ints, " W"]  # 0: may not wait
    row_flatness: Float[Floats, " W"]  # 1: no daily swing
    row_gpuh_per_request: Float[Floats, " W"]
    import_limit_mw: Float[Floats, " K"]  # before events
    export_limit_mw: Float[Floats, " K"]  # before events and negative prices
    job_gpus: Float[Floats, " J"]  # before size jitter
    job_duration_steps: Int[Ints, " J"]
    job_release_steps: Int[Ints, " J"]  # before jitter
    job_deadline_steps: Int[Ints, " J"]  # before jitter
    job_jitter_steps: Int[Ints, " J"]
    job_size_jitter: Float[Floats, " J"]
    job_value_usd: Float[Floats, " J"]
    job_allowed: Bool[Bools, "J K"]
    job_site_rank: Int[Ints, "J K"]  # place of a site in the job's own list, 0: preferred; unlisted ones last
    lines: LineRules
    jobs_provenance: str | None  # which jobs of a file were drawn; None: all stand in the scenario

    def __repr__(self) -> str:
        shape = self.shape
        return (
            f"{self.name}: {shape.sites} sites, {shape.regions} regions, {shape.rows} workload rows, "
            f"{shape.jobs} jobs, {shape.steps} steps of {shape.dt_h:g} h, traces {self.traces}, hash {self.hash[:12]}"
        )

    def resolved_scenario(self) -> dict[str, Any]:
        """Return all keys of the scenario, defaults included, as they stand in run.json and in archives."""
        return self.scenario.model_dump(mode="json")


KEPT_SCENARIOS = 32


# Files of one name in two folders are two: the hash alone does not tell them apart.
@kept_by(lambda scenario: scenario.model_dump_json(), KEPT_SCENARIOS)
def compile_scenario(scenario: Scenario) -> Compiled:
    """Return the arrays of a scenario, from a cache where it was compiled before.

    Raises ScenarioError where the scenario contradicts itself.
    """
    check_scenario(scenario)
    rows = build_rows(scenario)
    tasks = [scenario.classes[row.class_index] for row in rows]
    gpus, batteries = nameplate_gpus(scenario), [s.battery for s in scenario.sites]
    geography = build_geography(scenario, rows)
    of_rows, of_jobs = _row_tables(scenario, rows, tasks), _job_tables(scenario, gpus)
    lines, savings = LineRules.of(scenario), saving_tables(scenario)
    shape = _shape(scenario, of_rows["row_wait_steps"], of_jobs["job_duration_steps"])
    shape = replace(
        shape,
        lines=lines.slots,
        has_response=lines.has_response,
        day_steps=lines.day_steps,
        mode_segments=len(savings["saving_kw_per_gpu"]),
        has_gates=bool(lines.gated),
    )

    return Compiled(
        scenario=scenario,
        hash=scenario_hash(scenario),
        shape=shape,
        params=_params(scenario, shape, tasks, geography, gpus, lines, savings),
        lines=lines,
        geography=geography,
        sites=SiteTable.of(scenario),
        regions=RegionTable.of(scenario),
        events=EventRules.of(scenario),
        forecast=ForecastRules.of(scenario),
        start_battery_mwh=np.array([b.initial_share * b.capacity_mwh if b else 0.0 for b in batteries]),
        start_generation_mw=np.array(
            [s.generator.initial_mw if s.generator else 0.0 for s in scenario.sites]
        ),
        home_site=geography.home.argmax(axis=1),
        import_limit_mw=np.array([import_limit_mw(s, g) for s, g in zip(scenario.sites, gpus, strict=True)]),
        export_limit_mw=np.array([s.grid.export_limit_mw for s in scenario.sites]),
        **_settings(scenario),
        **of_rows,
        **of_jobs,
    )


def once_per_scenario(function: Callable[[Compiled], R]) -> KeptBy[[Compiled], R]:
    """Cache what ``function`` returns for the scenarios used last; callers must not change it."""
    return KeptBy(function, lambda c: (c.hash, c.traces, c.demand.source), KEPT_SCENARIOS)


def build_rows(scenario: Scenario) -> list[Row]:
    """Return the workload rows in their fixed order; rows without a share are left out.

    Rows that may not wait come first; then higher priority, order of the classes, home, zone, anywhere.
    """
    rows = []
    for index, task in enumerate(scenario.classes):
        free = 1.0 - task.state_bound_share - task.law_bound_share
        parts = dict(zip(LOCALITIES, (task.state_bound_share, task.law_bound_share, free), strict=True))
        rows += [Row(index, name, task.share * part) for name, part in parts.items() if part > 1e-9]
    classes = scenario.classes
    return sorted(rows, key=lambda r: (classes[r.class_index].wait_h > 0, -classes[r.class_index].priority))


def _shape(scenario: Scenario, wait_steps: Ints, duration_steps: Ints) -> Shape:
    return Shape(
        regions=len(scenario.regions),
        rows=len(wait_steps),
        session_rows=int((wait_steps == 0).sum()),
        sites=len(scenario.sites),
        jobs=len(scenario.jobs),
        slots=most_waiting_jobs(scenario),
        job_steps=int(max(duration_steps, default=1)),
        wait_steps=int(wait_steps.max()),
        steps=scenario.steps,
        dt_h=scenario.dt_h,
    )


def _settings(scenario: Scenario) -> dict[str, Any]:
    """Return the fields of Compiled that are names and settings."""
    return {
        "name": scenario.name,
        "traces": scenario.traces,
        "demand": scenario.demand,
        "synthetic_starts": synthetic_starts(scenario),
        "carbon_signal": scenario.carbon_signal,
        "network_mwh_per_gb": scenario.network.energy_kwh_per_gb / 1000.0,
        "reward_scale_usd": scenario.reward_scale_usd,
        "site_names": tuple(s.name for s in scenario.sites),
        "region_names": tuple(r.name for r in scenario.regions),
        "class_names": tuple(c.name for c in scenario.classes),
        "job_names": tuple(j.name for j in scenario.jobs),
        "jobs_provenance": scenario.jobs_from.drawn if scenario.jobs_from is not None else None,
    }


def _row_tables(scenario: Scenario, rows: list[Row], tasks: list[TaskClass]) -> dict[str, Any]:
    """Return the row_* fields of Compiled; ``tasks``: the class of each row."""
    return {
        "row_names": tuple(f"{t.name}/{r.locality}" for t, r in zip(tasks, rows, strict=True)),
        "row_class": np.array([r.class_index for r in rows]),
        "row_locality": tuple(r.locality for r in rows),
        "row_share": np.array([r.share for r in rows]) / sum(r.share for r in rows),
        "row_wait_steps": np.array([to_steps(scenario, t.wait_h) for t in tasks]),
        "row_flatness": np.array([t.flatness for t in tasks]),
        "row_gpuh_per_request": np.array([t.gpuh_per_request for t in tasks]),
    }


def to_steps(scenario: Scenario, hours: float) -> int:
    """Return hours as a whole number of steps (the checks made sure that they are whole)."""
    return round(hours / scenario.dt_h)


def most_waiting_jobs(scenario: Scenario) -> int:
    """Return the most jobs that can wait at one step, whatever the jitter (0 without jobs).

    A job can wait from its earliest release to its latest start, both included.
    """
    first = [to_steps(scenario, j.release_h - j.release_jitter_h) for j in scenario.jobs]
    last = [to_steps(scenario, j.deadline_h - j.duration_h + j.release_jitter_h) for j in scenario.jobs]
    return max((sum(a <= t <= b for a, b in zip(first, last, strict=True)) for t in first), default=0)


def _job_tables(scenario: Scenario, gpus: np.ndarray) -> dict[str, Any]:
    """Return the job_* fields of Compiled.  Sites too small for a job are closed to it."""
    jobs = scenario.jobs
    room = np.array([s.utilisation_limit for s in scenario.sites]) * gpus
    allowed = np.zeros((len(jobs), len(scenario.sites)), dtype=bool)
    rank = np.zeros((len(jobs), len(scenario.sites)), dtype=np.int64)
    for j, job in enumerate(jobs):
        every = [s.name for s in scenario.sites]
        order = [scenario.index_of_site(name) for name in (every if job.sites is None else job.sites)]
        # With the largest jitter, so that every drawn job fits.
        fits = [k for k in order if job.gpus * (1.0 + job.size_jitter) <= room[k]]
        allowed[j, fits] = True
        others = [k for k in range(len(every)) if k not in order]
        rank[j, order + others] = np.arange(len(every))

    hours = {
        "duration": "duration_h",
        "release": "release_h",
        "deadline": "deadline_h",
        "jitter": "release_jitter_h",
    }
    steps = {name: [to_steps(scenario, getattr(j, key)) for j in jobs] for name, key in hours.items()}
    as_given = {name: [getattr(j, name) for j in jobs] for name in ("gpus", "size_jitter", "value_usd")}
    return {
        **{f"job_{name}": np.array(values, dtype=float) for name, values in as_given.items()},
        **{f"job_{name}_steps": np.array(values, dtype=np.int64) for name, values in steps.items()},
        "job_allowed": allowed,
        "job_site_rank": rank,
    }


def _params(
    scenario: Scenario,
    shape: Shape,
    tasks: list[TaskClass],
    geo: Geography,
    gpus: np.ndarray,
    lines: LineRules,
    savings: dict[str, Floats],
) -> Params:
    """Return the constants; those that belong to an instance are zeros of the right shape.

    ``tasks``: the class of each row.
    """
    is_session = (np.arange(shape.rows) < shape.session_rows).astype(float)
    # No budget is an infinite one, so that equations need no case for it.
    budget = scenario.carbon_budget_kg

    return Params(
        dt_h=scenario.dt_h,
        gpus=gpus,
        **_site_params(scenario),
        **_battery_params(scenario),
        **_generator_params(scenario),
        **savings,
        capacity_usd_per_h=lines.capacity_usd_per_h(shape.sites),
        limits_import=lines.limits_import(shape.sites),
        may_wait=1.0 - is_session,
        **_row_params(tasks, is_session),
        **_route_params(scenario, tasks, is_session, geo),
        carbon_price_usd_per_kg=scenario.carbon_price_usd_per_t / 1000.0,
        bill_marginal=1.0 if scenario.carbon_signal == "marginal" else 0.0,
        carbon_excess_usd_per_kg=np.array(scenario.carbon_excess_usd_per_t / 1000.0),
        carbon_budget_kg=np.array(np.inf if budget is None else budget),
        water_price_usd_per_l=scenario.water_price_usd_per_m3 / 1000.0,
        constraint=_constraint(scenario),
        job_gpus=np.zeros(shape.jobs),
        job_profile=np.zeros((shape.jobs, shape.job_steps)),
        job_value_usd=np.zeros(shape.jobs),
        shed_usd_per_mwh=np.zeros(shape.sites),
        gpu_short_usd_per_gpuh=np.zeros(shape.sites),
    )


def _constraint(scenario: Scenario) -> Floats:
    """Return the weight of each of `CONSTRAINTS`; no entries without a constraint."""
    if scenario.constraint is None:
        return np.zeros(0)
    return np.array([float(name == scenario.constraint.quantity) for name in CONSTRAINTS])


def _site_params(scenario: Scenario) -> dict[str, np.ndarray]:
    sites = scenario.sites
    names = ("utilisation_limit", "speed", "idle_kw_per_gpu", "busy_kw_per_gpu", "base_load_mw")
    water = ("site_water_l_per_mwh", "grid_water_l_per_mwh")
    monthly = np.array([s.grid.demand_charge_usd_per_mw_month or 0.0 for s in sites])
    out = {name: np.array([getattr(s, name) for s in sites], dtype=float) for name in names + water}
    return out | {"demand_charge_usd_per_mw": monthly * scenario.horizon_h / HOURS_PER_MONTH}


def _battery_params(scenario: Scenario) -> dict[str, np.ndarray]:
    """Return the battery arrays; a site without one has size 0, efficiency 1 and positive prices."""
    batteries = [s.battery for s in scenario.sites]
    return {
        "battery_min_mwh": np.array([b.min_share * b.capacity_mwh if b else 0.0 for b in batteries]),
        "battery_max_mwh": np.array([b.max_share * b.capacity_mwh if b else 0.0 for b in batteries]),
        "charge_limit_mw": np.array([b.power_mw if b else 0.0 for b in batteries]),
        "discharge_limit_mw": np.array([b.power_mw if b else 0.0 for b in batteries]),
        "charge_efficiency": np.array([b.charge_efficiency if b else 1.0 for b in batteries]),
        "discharge_efficiency": np.array([b.discharge_efficiency if b else 1.0 for b in batteries]),
        "wear_usd_per_mwh": np.array([b.wear_usd_per_mwh if b else 1.0 for b in batteries]),
        "battery_short_usd_per_mwh": np.array([b.shortfall_usd_per_mwh if b else 1.0 for b in batteries]),
    }


def _generator_params(scenario: Scenario) -> dict[str, np.ndarray]:
    """Return the generator arrays; a site without one has size 0 and a positive fuel price."""
    units = [s.generator for s in scenario.sites]
    return {
        "generator_max_mw": np.array([g.capacity_mw if g else 0.0 for g in units]),
        "generator_min_mw": np.array([g.min_load_mw if g else 0.0 for g in units]),
        "generator_ramp_mw_per_h": np.array([g.ramp_mw_per_h if g else 0.0 for g in units]),
        "fuel_usd_per_mwh": np.array([g.fuel_usd_per_mwh if g else 1.0 for g in units]),
        "generator_carbon_kg_per_mwh": np.array([g.carbon_kg_per_mwh if g else 0.0 for g in units]),
        "generator_water_l_per_mwh": np.array([g.water_l_per_mwh if g else 0.0 for g in units]),
    }


def _row_params(tasks: list[TaskClass], is_session: np.ndarray) -> dict[str, np.ndarray]:
    return {
        "revenue_usd_per_gpuh": np.array([t.revenue_usd_per_gpuh for t in tasks]),
        "drop_usd_per_gpuh": np.array([t.drop_usd_per_gpuh for t in tasks]),
        "warm_usd_per_gpuh": is_session * np.array([t.warm_usd_per_gpuh for t in tasks]),
        "warm_mwh_per_gpuh": is_session * np.array([t.warm_mwh_per_gpuh for t in tasks]),
    }


def _route_params(
    scenario: Scenario, tasks: list[TaskClass], is_session: np.ndarray, geo: Geography
) -> dict[str, np.ndarray]:
    """Return masks and the price and energy of moving payload and sessions, [C,W,K] each."""
    stays = is_session[None, :, None]
    usd_per_gb = geo.usd_per_gb[:, None, :]
    mwh_per_gb = np.where(geo.home, 0.0, scenario.network.energy_kwh_per_gb / 1000.0)[:, None, :]
    payload = np.array([t.payload_gb_per_gpuh for t in tasks])[None, :, None]
    moved = np.array([t.relocation_gb_per_gpuh for t in tasks])[None, :, None]
    fixed = np.array([t.relocation_usd_per_gpuh for t in tasks])[None, :, None]

    return {
        "route_open": geo.open.astype(float),
        "home": geo.home.astype(float),
        "egress_usd_per_gpuh": payload * usd_per_gb,
        "network_mwh_per_gpuh": payload * mwh_per_gb,
        "relocation_usd_per_gpuh": stays * (fixed + moved * usd_per_gb),
        "relocation_mwh_per_gpuh": stays * moved * mwh_per_gb,
    }
