"""The records of the model: constants of a scenario, exogenous inputs, state, decisions and results of a step.

Every record is a frozen value.  Arrays are NumPy (or torch, or affine arrays, or NumPy object arrays of Pyomo
variables: the equations in :mod:`gridai_env.world.physics` run on all of them).  Inside there are only MW, MWh, h,
GPU-h, kg, L, USD.

Shape letters, used everywhere:

==  =============================================  ==  ==========================================
B   environments (leading batch axes)              K   sites (compute locations)
T   steps of ``dt_h`` hours                        J   training jobs
C   client regions                                 V   job slots in the action
S   service nodes                                  N   steps of the longest job
W   workload rows                                  D   steps of the longest wait
L   lines of a site (limits with a price)          M   segments of the power modes of a site
U   steps of a day, 0 without a baseline
==  =============================================  ==  ==========================================

Where a scenario has no lines, baselines or power modes, their fields have no entries: L, U, M are 0, and what would
be [K] is [0].

A *workload row* is a task class with one locality level (anywhere, legal zone, home).  Rows are ordered so that
those which may not wait come first and, within both groups, the higher priority first.
Work is GPU-h of a reference accelerator (``_gpuh``); a site's accelerators do ``speed`` of them per hour.
Import, consumption and charging are positive; the two directions of a flow are separate non-negative fields.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from types import ModuleType

from gridai_env.arrays.ops import namespace
from gridai_env.arrays.record import Record
from gridai_env.arrays.types import Array, Float


def _is_anywhere(*names: str) -> cached_property[bool]:
    """Return a property: whether any entry of these (non-negative) fields is above 0."""
    return cached_property(lambda p: any(bool((getattr(p, name) > 0.0).any()) for name in names))


@dataclass(frozen=True)
class Params(Record):
    """Constants of a scenario, compiled to arrays.  No batch axis, except in the fields of `INSTANCE_FIELDS`."""

    dt_h: float
    # Sites
    gpus: Float[Array, " K"]  # nameplate accelerators
    utilisation_limit: Float[Array, " K"]  # share of the accelerators that may be busy, (0, 1]
    speed: Float[Array, " K"]  # reference GPU-h done per accelerator and hour
    idle_kw_per_gpu: Float[Array, " K"]  # IT power of an accelerator in service but not busy
    busy_kw_per_gpu: Float[Array, " K"]  # IT power of a busy one, > idle
    base_load_mw: Float[Array, " K"]  # facility load that does not depend on IT
    # Power modes: the most that can be saved of IT power, kW, the least of M sums (see `physics.most_saving_mw`)
    saving_kw_per_gpu: Float[Array, "M K"]  # for each accelerator in service that runs no job
    saving_kw_per_busy_gpu: Float[Array, "M K"]  # for each that inference keeps busy
    # Batteries (all 0 where a site has none)
    battery_min_mwh: Float[Array, " K"]
    battery_max_mwh: Float[Array, " K"]
    charge_limit_mw: Float[Array, " K"]
    discharge_limit_mw: Float[Array, " K"]
    charge_efficiency: Float[Array, " K"]  # (0, 1]
    discharge_efficiency: Float[Array, " K"]  # (0, 1]
    wear_usd_per_mwh: Float[Array, " K"]  # on charge and on discharge
    battery_short_usd_per_mwh: Float[Array, " K"]  # shortfall against the target
    # Generators (all 0 where a site has none)
    generator_max_mw: Float[Array, " K"]
    generator_min_mw: Float[Array, " K"]  # minimum load when running, 0 = none
    generator_ramp_mw_per_h: Float[Array, " K"]  # limits rises only
    fuel_usd_per_mwh: Float[Array, " K"]
    generator_carbon_kg_per_mwh: Float[Array, " K"]
    # Grid and water
    demand_charge_usd_per_mw: Float[Array, " K"]  # per MW of peak import in the episode (already prorated)
    capacity_usd_per_h: Float[Array, "L K"]  # paid for the MW committed to a demand-response programme
    limits_import: Float[Array, "L K"]  # 1.0 for a line, 0.0 for a contract, whose excess is unmatched energy
    site_water_l_per_mwh: Float[Array, " K"]  # evaporated on site, per MWh of IT energy
    grid_water_l_per_mwh: Float[Array, " K"]  # in power stations, per MWh imported
    generator_water_l_per_mwh: Float[Array, " K"]
    # Rows
    may_wait: Float[Array, " W"]  # 1.0 where the row may be queued, else 0.0
    revenue_usd_per_gpuh: Float[Array, " W"]
    drop_usd_per_gpuh: Float[Array, " W"]  # penalty on refused work
    warm_usd_per_gpuh: Float[Array, " W"]  # per GPU-h that a row newly brings to a site
    warm_mwh_per_gpuh: Float[Array, " W"]  # loading energy of the same
    # Routes
    route_open: Float[Array, "C W K"]  # 1.0 open, 0.0 closed; home is always open
    home: Float[Array, "C K"]  # 1.0 at the region's home site
    egress_usd_per_gpuh: Float[Array, "C W K"]  # payload over the network, 0 at home
    network_mwh_per_gpuh: Float[Array, "C W K"]  # energy of the same
    relocation_usd_per_gpuh: Float[Array, "C W K"]  # moving a session, rows that may not wait only
    relocation_mwh_per_gpuh: Float[Array, "C W K"]
    # Prices and budget of the whole system (scalars)
    carbon_price_usd_per_kg: float
    bill_marginal: float  # 1.0: marginal intensity is billed, 0.0: average
    carbon_excess_usd_per_kg: Float[Array, ""]  # price of kg above the budget
    carbon_budget_kg: Float[Array, ""]  # infinite where there is none
    water_price_usd_per_l: float
    constraint: Float[
        Array, " q"
    ]  # weight of each of `CONSTRAINTS` in the cost of a step; no entries without one
    # Of the instance (see INSTANCE_FIELDS)
    job_gpus: Float[Array, "*batch J"]  # accelerators that a job occupies
    job_profile: Float[Array, "*batch J N"]  # 1.0 in the steps after the start in which the job runs
    job_value_usd: Float[Array, "*batch J"]  # earned on start
    shed_usd_per_mwh: Float[Array, "*batch K"]  # price of load shed: above everything that it could save
    gpu_short_usd_per_gpuh: Float[Array, "*batch K"]  # per accelerator-hour taken from a running job

    def replace(self, **changes: Array) -> Params:
        """Return a copy with some fields changed; what was derived from the old ones is not carried over."""
        fresh = self.map(lambda value: value)
        return Record.replace(fresh, **changes)

    @property
    def xp(self) -> ModuleType:
        """The functions for its arrays: NumPy, or the same names for torch."""
        return namespace(self.gpus)

    @cached_property
    def is_session(self) -> Array:
        """1.0 for rows that may not wait (they hold sessions), [W]."""
        return 1.0 - self.may_wait

    # What the scenario has at all: equations skip what it lacks.  Derived from the fields, never stored.

    @cached_property
    def has_jobs(self) -> bool:
        """Whether the scenario has training jobs."""
        return bool(self.job_profile.shape[-2] > 0)

    @cached_property
    def has_carbon_budget(self) -> bool:
        """Whether emissions are limited."""
        return bool(self.carbon_budget_kg < float("inf"))

    @cached_property
    def has_constraint(self) -> bool:
        """Whether a quantity has a budget apart from the reward."""
        return bool(self.constraint.shape[0] > 0)

    @cached_property
    def has_lines(self) -> bool:
        """Whether import has limits with a price."""
        return bool(self.capacity_usd_per_h.shape[0] > 0)

    @cached_property
    def has_modes(self) -> bool:
        """Whether accelerators can draw less power at a lower speed."""
        return bool(self.saving_kw_per_gpu.shape[0] > 0)

    has_demand_charge = _is_anywhere("demand_charge_usd_per_mw")
    has_battery = _is_anywhere("battery_max_mwh")
    has_generator = _is_anywhere("generator_max_mw")
    has_water = _is_anywhere("site_water_l_per_mwh", "grid_water_l_per_mwh", "generator_water_l_per_mwh")
    has_network_energy = _is_anywhere("network_mwh_per_gpuh")  # payloads cost energy
    has_relocation_energy = _is_anywhere("relocation_mwh_per_gpuh")  # moving sessions does
    has_warm_energy = _is_anywhere("warm_mwh_per_gpuh")  # loading weights does


# Fields of Params that differ between instances of one scenario; a batch stacks them on a leading axis.
INSTANCE_FIELDS = ("job_gpus", "job_profile", "job_value_usd", "shed_usd_per_mwh", "gpu_short_usd_per_gpuh")

# Fields of lines and power modes (and of calls, see `gridai_env.episodes.build.Knowledge`), without entries where a
# scenario lacks them: then they are in no hash and no archive.
OPTIONAL = (
    "constraint",
    "saving_kw_per_gpu", "saving_kw_per_busy_gpu", "capacity_usd_per_h", "generator_open", "line_mw",
    "line_usd_per_mwh", "response_usd_per_mwh", "committed_mw", "baseline_share", "baseline_counts",
    "baseline_sum_mw", "day_before_mw", "call_depth", "call_known_from",
)  # fmt: skip

# Fields of Params that only figures depend on, no equation: they are in no hash.
REPORTED = ("limits_import",)

# Quantities that may have a budget apart from the reward.
CONSTRAINTS = ("line_excess_mwh", "carbon_excess_kg", "dropped_gpuh")

# What equations ask in Python: whether the scenario has a thing at all, and which intensity is billed.
SWITCHES = ("bill_marginal", *(name for name in dir(Params) if name.startswith("has_")))


@dataclass(frozen=True)
class Exogenous(Record):
    """Exogenous inputs of one step (or, with a leading T, in every step of an episode)."""

    arrivals_gpuh: Float[Array, "*batch C W"]  # work that arrives in this step
    queue_limit_gpuh: Float[Array, "*batch C W"]  # most work that may be left at the end of this step
    growth: Float[Array, "*batch C W"]  # arrivals(t)/arrivals(t-1); 0 where the step before is no reference
    rehomed_gpuh: Float[Array, "*batch C W"]  # reference placement at home where growth is 0, else 0
    available_gpus: Float[Array, "*batch K"]  # accelerators in service, <= nameplate
    pue: Float[Array, "*batch K"]
    renewable_available_mw: Float[Array, "*batch K"]
    buy_usd_per_mwh: Float[Array, "*batch K"]
    sell_usd_per_mwh: Float[Array, "*batch K"]  # below buy
    network_usd_per_mwh: Float[Array, "*batch K"]  # price of network and loading energy: max(0, buy)
    carbon_average_kg_per_mwh: Float[Array, "*batch K"]
    carbon_marginal_kg_per_mwh: Float[Array, "*batch K"]
    import_limit_mw: Float[Array, "*batch K"]
    export_limit_mw: Float[Array, "*batch K"]  # 0 where sell is negative
    battery_target_mwh: Float[Array, "*batch K"]  # 0 except in the last step
    job_open: Float[Array, "*batch J K"]  # 1.0 where the job may be started in this step at this site
    generator_open: Float[Array, "*batch K"]  # 1.0 where the generator may run; no entries: everywhere
    line_mw: Float[Array, "*batch L K"]  # limit of import, but for what the baseline of past imports adds
    line_usd_per_mwh: Float[Array, "*batch L K"]  # price of import above the limit
    # Of demand response; no entries without it, or without a baseline.
    response_usd_per_mwh: Float[Array, "*batch L K"]  # paid for load reduced in an event
    committed_mw: Float[Array, "*batch L K"]  # reduction promised, 0 outside events
    baseline_share: Float[Array, "*batch L K"]  # one over the days of the baseline in an event, else 0
    baseline_counts: Float[Array, "*batch K"]  # 1.0 where the step of the day before belongs to the baseline


@dataclass(frozen=True)
class State(Record):
    """State of the system between two steps: all that a step needs of those before it."""

    backlog_gpuh: Float[Array, "*batch C W"]  # work that waits
    battery_mwh: Float[Array, "*batch K"]
    placed_gpuh: Float[Array, "*batch C W K"]  # served in the step before
    generation_mw: Float[Array, "*batch K"]  # generator output of the step before
    committed_gpus: Float[Array, "*batch K N"]  # accelerators held by running jobs in this and the next steps
    waiting: Float[Array, "*batch J"]  # 1.0 until the job is started
    peak_import_mw: Float[Array, "*batch K"]  # highest import so far
    carbon_kg: Float[Array, "*batch"]  # billed against the budget so far
    # Of this step of the day and the next ones, in this order:
    baseline_sum_mw: Float[
        Array, "*batch K U"
    ]  # net import of the days that count, up to the one before yesterday
    day_before_mw: Float[Array, "*batch K U"]  # net import of the day before


@dataclass(frozen=True)
class Flows(Record):
    """Decisions of one step.  The last six fields are derived: the least values that the others allow."""

    served_gpuh: Float[Array, "*batch C W K"]
    dropped_gpuh: Float[Array, "*batch C W"]
    started: Float[Array, "*batch J K"]  # 1.0 where a job is started
    charge_mw: Float[Array, "*batch K"]
    discharge_mw: Float[Array, "*batch K"]
    generation_mw: Float[Array, "*batch K"]
    renewable_mw: Float[Array, "*batch K"]
    import_mw: Float[Array, "*batch K"]
    export_mw: Float[Array, "*batch K"]
    shed_mw: Float[Array, "*batch K"]  # facility load cut off, the last resort
    gpu_short: Float[Array, "*batch K"]  # accelerators taken from running jobs by a fault
    saving_mw: Float[Array, "*batch K"]  # IT power saved by power modes; no entries without them
    relocated_gpuh: Float[Array, "*batch C W K"]  # sessions newly placed at a site
    warmed_gpuh: Float[Array, "*batch W K"]  # work for which weights are newly loaded
    peak_rise_mw: Float[Array, "*batch K"]
    battery_short_mwh: Float[Array, "*batch K"]  # below the target
    carbon_excess_kg: Float[Array, "*batch"]  # emitted above the budget
    line_excess_mw: Float[Array, "*batch L K"]  # import above the line


DERIVED = (
    "relocated_gpuh", "warmed_gpuh", "peak_rise_mw", "battery_short_mwh", "carbon_excess_kg", "line_excess_mw"
)  # fmt: skip


@dataclass(frozen=True)
class Outcome(Record):
    """Result of one step.  Terms are signed USD per environment: earnings positive, costs negative."""

    terms_usd: dict[str, Array]  # name -> [B], see gridai_env.world.terms.TERMS
    benefit_usd: Float[Array, "*batch"]  # sum of the terms
    it_mw: Float[Array, "*batch K"]
    facility_mw: Float[Array, "*batch K"]  # PUE * IT + base load
    emissions_average_kg: Float[Array, "*batch"]  # import at average intensity, fuel, network
    emissions_marginal_kg: Float[Array, "*batch"]  # the same at marginal intensity
    water_l: Float[Array, "*batch"]


@dataclass(frozen=True)
class Shape:
    """Sizes of a scenario (see the shape letters above)."""

    regions: int
    rows: int
    session_rows: int  # P: rows that may not wait; they come first
    sites: int
    jobs: int
    slots: int  # V: jobs that can wait at the same time
    job_steps: int  # N, at least 1
    wait_steps: int  # D, 0 where no row may wait
    steps: int  # T
    dt_h: float
    lines: int = 0  # L, the most of a site
    has_response: bool = False  # a line is of demand response
    day_steps: int = 0  # U, 0 where no line has a baseline
    mode_segments: int = 0  # M, the most of a site
    has_gates: bool = False  # a generator may run only while a line is called


def exogenous_shapes(s: Shape) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the fields of `Exogenous` in one step, without the batch axis."""
    work, sites, lines = (s.regions, s.rows), (s.sites,), (s.lines, s.sites)
    shapes: dict[str, tuple[int, ...]] = dict.fromkeys(Exogenous.names(), sites)
    shapes |= dict.fromkeys(("arrivals_gpuh", "queue_limit_gpuh", "growth", "rehomed_gpuh"), work)
    response = (s.lines if s.has_response else 0, s.sites)
    return shapes | {
        "job_open": (s.jobs, s.sites),
        "generator_open": (s.sites if s.has_gates else 0,),
        "line_mw": lines,
        "line_usd_per_mwh": lines,
        "response_usd_per_mwh": response,
        "committed_mw": response,
        "baseline_share": (s.lines if s.day_steps else 0, s.sites),
        "baseline_counts": (s.sites if s.day_steps else 0,),
    }
