"""One time step, written once: how flows change the state and which limits they must keep.

Everything here is affine in state and flows: only ``+ - * /``, indexing and sums.  The same functions therefore run
on NumPy arrays (batch axes lead), on torch tensors and on affine arrays or Pyomo variables.  Whatever needs a
decision (a minimum, a clip, an order of service) is the choice of feasible flows: see `feasible.py`.

Model: arXiv 2604.27855 (routing, masks, frictions) and 2605.03751 (jobs, cooling, microgrid), merged.
"""

from __future__ import annotations

from dataclasses import dataclass

from gridai_env.arrays.ops import all_zero, product, shift_in, shift_left, total, total_each
from gridai_env.arrays.record import Record
from gridai_env.arrays.types import Array, Float
from gridai_env.world.state import Exogenous, Flows, Outcome, Params, State


@dataclass(frozen=True)
class Totals(Record):
    """Sums and powers of one step that several equations need, each computed once (see `totals`)."""

    served_cw_gpuh: Float[Array, "*batch C W"]  # over sites
    served_wk_gpuh: Float[Array, "*batch W K"]  # over regions
    committed_gpus: Float[Array, "*batch K N"]  # held by running jobs, those started now included
    it_mw: Float[Array, "*batch K"]
    facility_mw: Float[Array, "*batch K"]
    egress_mwh: Float[Array, "*batch K"]  # network energy of payloads, by receiving site
    relocation_mwh: Float[Array, "*batch K"]  # network energy of moved sessions
    warm_up_mwh: Float[Array, "*batch K"]  # energy of loading weights
    emissions_average_kg: Float[Array, "*batch"]
    emissions_marginal_kg: Float[Array, "*batch"]


@dataclass(frozen=True)
class Load(Record):
    """The work of a step and the power that it takes."""

    served_wk_gpuh: Float[Array, "*batch W K"]  # over regions
    it_mw: Float[Array, "*batch K"]
    facility_mw: Float[Array, "*batch K"]


def load_of(
    p: Params, exo: Exogenous, served_wk_gpuh: Array, job_gpus: Array, saving_mw: Array | None = None
) -> Load:
    """Return the power of inference and of ``job_gpus`` [K], accelerators of jobs (without those a fault took).

    ``saving_mw``: IT power that power modes save [K]; None: nothing.
    """
    it_mw = it_power_mw(p, exo, inference_gpus(p, served_wk_gpuh) + job_gpus)
    if p.has_modes and saving_mw is not None:
        it_mw = it_mw - saving_mw
    return Load.make(served_wk_gpuh=served_wk_gpuh, it_mw=it_mw, facility_mw=facility_power_mw(p, exo, it_mw))


def totals(
    p: Params,
    flows: Flows,
    exo: Exogenous,
    state: State,
    load: Load | None = None,
    committed_gpus: Array | None = None,
) -> Totals:
    """Return the common sums of a step; ``load`` and ``committed_gpus`` where they are known already."""
    committed = committed_profile_gpus(p, state, flows) if committed_gpus is None else committed_gpus
    if load is None:
        job_gpus = committed[..., 0] - flows.gpu_short
        load = load_of(p, exo, total(flows.served_gpuh, -3), job_gpus, flows.saving_mw)

    egress, relocation, warm_up = friction_mwh(p, flows)
    network_mwh = egress + relocation + warm_up
    # Both signals are reported, whichever of them is billed.
    average_kg, marginal_kg = total_each(
        [
            site_emissions_kg(p, flows, exo.carbon_average_kg_per_mwh, network_mwh),
            site_emissions_kg(p, flows, exo.carbon_marginal_kg_per_mwh, network_mwh),
        ]
    )

    return Totals.make(
        served_cw_gpuh=total(flows.served_gpuh, -1),
        served_wk_gpuh=load.served_wk_gpuh,
        committed_gpus=committed,
        it_mw=load.it_mw,
        facility_mw=load.facility_mw,
        egress_mwh=egress,
        relocation_mwh=relocation,
        warm_up_mwh=warm_up,
        emissions_average_kg=average_kg,
        emissions_marginal_kg=marginal_kg,
    )


# Work ---------------------------------------------------------------------------------------------------------------


def work_on_hand_gpuh(state: State, exo: Exogenous) -> Array:
    """Return work that waits plus work that arrives, [C,W]."""
    return state.backlog_gpuh + exo.arrivals_gpuh


def next_backlog_gpuh(state: State, flows: Flows, exo: Exogenous, served_cw_gpuh: Array) -> Array:
    """Return work left at the end of the step, [C,W].

    Bounded by `queue_limit_gpuh`, this is first-in-first-out service with deadlines: the oldest work is always served
    or dropped first, so what is left is the youngest.
    """
    return work_on_hand_gpuh(state, exo) - served_cw_gpuh - flows.dropped_gpuh


def newly_placed_gpuh(p: Params, state: State, flows: Flows, exo: Exogenous) -> Array:
    """Return sessions beyond those that grew in place, [C,W,K], negative where a site gave some up.

    Demand that grows where it is served is no move.  Rows that may wait have no sessions: 0.
    """
    in_place = exo.growth[..., None] * state.placed_gpuh
    if not all_zero(exo.rehomed_gpuh):  # seldom
        in_place = in_place + exo.rehomed_gpuh[..., None] * (p.home[..., None, :] * p.route_open)
    return p.is_session[..., None] * (flows.served_gpuh - in_place)


def newly_warm_gpuh(p: Params, state: State, served_wk_gpuh: Array) -> Array:
    """Return work of a row that a site did not have the step before, [W,K], negative where it lost some."""
    return p.is_session[..., None] * (served_wk_gpuh - total(state.placed_gpuh, -3))


# Accelerators and jobs ----------------------------------------------------------------------------------------------


def committed_profile_gpus(p: Params, state: State, flows: Flows) -> Array:
    """Return accelerators held by running jobs in this and the next steps, those started now included, [K,N]."""
    if not p.has_jobs:
        return state.committed_gpus
    profile_gpus = p.job_gpus[..., None] * p.job_profile
    return state.committed_gpus + product(flows.started.swapaxes(-1, -2), profile_gpus)


def inference_gpus(p: Params, served_wk_gpuh: Array) -> Array:
    """Return accelerators that inference keeps busy, [K]: reference GPU-h over what one accelerator does in a step."""
    return total(served_wk_gpuh, -2) / (p.speed * p.dt_h)


# Power --------------------------------------------------------------------------------------------------------------


def it_power_mw(p: Params, exo: Exogenous, busy_gpus: Array) -> Array:
    """Return IT power [K]: all accelerators in service idle, the busy ones draw the difference on top."""
    return (
        exo.available_gpus * p.idle_kw_per_gpu + busy_gpus * (p.busy_kw_per_gpu - p.idle_kw_per_gpu)
    ) / 1000.0


def saving_limits_mw(p: Params, exo: Exogenous, served_wk_gpuh: Array, job_gpus: Array) -> Array:
    """Return sums of which power modes save no more than the least, IT power [M,K].

    Serving the same work, a site draws at full speed ``G * idle + b * (busy - idle)``, and at least ``G * f(b / G)``:
    G accelerators in service that run no job, b busy ones in units of full speed, f the convex hull of measured points
    (speed, kW) from (0, idle) on.  With slope m and intercept a of a segment, f is the highest ``a + m * x``, so each
    segment limits the saving to ``G * (idle - a) + b * (busy - idle - m)``.
    """
    free_gpus, busy_gpus = exo.available_gpus - job_gpus, inference_gpus(p, served_wk_gpuh)
    per_gpu = free_gpus[..., None, :] * p.saving_kw_per_gpu
    return (per_gpu + busy_gpus[..., None, :] * p.saving_kw_per_busy_gpu) / 1000.0


def facility_power_mw(p: Params, exo: Exogenous, it_mw: Array) -> Array:
    """Return facility power [K]: cooling and losses multiply IT power by PUE, once."""
    return exo.pue * it_mw + p.base_load_mw


def work_power_mw_per_gpuh(p: Params, exo: Exogenous) -> Array:
    """Return the facility power that one GPU-h of work served in this step adds, [K]."""
    return exo.pue * (p.busy_kw_per_gpu - p.idle_kw_per_gpu) / (1000.0 * p.speed * p.dt_h)


def supply_mw(flows: Flows) -> Array:
    """Return the power that comes in, [K]; shed load counts as supply."""
    return flows.import_mw + flows.generation_mw + flows.renewable_mw + flows.discharge_mw + flows.shed_mw


def balance_mw(flows: Flows, facility_mw: Array) -> Array:
    """Return supply minus use, [K]: zero in every feasible step."""
    return supply_mw(flows) - flows.export_mw - facility_mw - flows.charge_mw


def generator_limit_mw(p: Params, exo: Exogenous) -> Array:
    """Return the most that the generator may give, [K]: nothing where it may run only while a line is called."""
    return p.generator_max_mw * exo.generator_open if exo.generator_open.shape[-1] else p.generator_max_mw


def next_battery_mwh(p: Params, state: State, flows: Flows) -> Array:
    """Return the energy in the battery after the step, [K].  Losses fall on charging and on discharging."""
    stored_mw = p.charge_efficiency * flows.charge_mw - flows.discharge_mw / p.discharge_efficiency
    return state.battery_mwh + p.dt_h * stored_mw


# Lines --------------------------------------------------------------------------------------------------------------


def counted_sum_mw(state: State, exo: Exogenous) -> Array:
    """Return the net import of the days of the baseline inside the episode, yesterday's included, at this time [K]."""
    return state.baseline_sum_mw[..., 0] + exo.baseline_counts * state.day_before_mw[..., 0]


def line_mw(state: State, exo: Exogenous) -> Array:
    """Return the limit of import above which it is priced, [L,K].

    In an event of demand response it is the baseline less what was promised: the days before the episode and the
    promise stand in ``exo.line_mw``, the days inside it are in the state.
    """
    if not state.baseline_sum_mw.shape[-1]:
        return exo.line_mw
    return exo.line_mw + exo.baseline_share * counted_sum_mw(state, exo)[..., None, :]


def next_baseline(state: State, flows: Flows, exo: Exogenous) -> tuple[Array, Array]:
    """Return `baseline_sum_mw` and `day_before_mw` after the step, [K,U] each.

    A day counts once it is over: whether an event strikes it is not known before.
    """
    if not state.baseline_sum_mw.shape[-1]:
        return state.baseline_sum_mw, state.day_before_mw
    net_mw = flows.import_mw - flows.export_mw
    return (
        shift_in(state.baseline_sum_mw, counted_sum_mw(state, exo)),
        shift_in(state.day_before_mw, net_mw),
    )


# Emissions and water ------------------------------------------------------------------------------------------------


def friction_mwh(p: Params, flows: Flows) -> tuple[Array, Array, Array]:
    """Return network energy of payloads and of moved sessions, and energy of loading weights, by receiving site [K].

    Billed, but outside the site's power balance: no circle between what fits and what it costs.
    """
    none = 0.0 * flows.import_mw
    egress = _over_routes(p.network_mwh_per_gpuh * flows.served_gpuh) if p.has_network_energy else none
    relocation = (
        _over_routes(p.relocation_mwh_per_gpuh * flows.relocated_gpuh) if p.has_relocation_energy else none
    )
    warm_up = total(p.warm_mwh_per_gpuh[..., None] * flows.warmed_gpuh, -2) if p.has_warm_energy else none
    return egress, relocation, warm_up


def _over_routes(per_route: Array) -> Array:
    """Return the sum over regions and rows, [K]."""
    return total(total(per_route, -3), -2)


def site_emissions_kg(p: Params, flows: Flows, carbon_kg_per_mwh: Array, network_mwh: Array) -> Array:
    """Return emissions of import, fuel and network energy, by site [K].  Exports earn no credit."""
    emitted = (p.dt_h * flows.import_mw + network_mwh) * carbon_kg_per_mwh
    if p.has_generator:
        emitted = emitted + p.dt_h * flows.generation_mw * p.generator_carbon_kg_per_mwh
    return emitted


def billed_carbon_kg_per_mwh(p: Params, exo: Exogenous) -> Array:
    """Return the grid intensity that is billed, [K]: marginal or average, as the scenario says."""
    return exo.carbon_marginal_kg_per_mwh if p.bill_marginal else exo.carbon_average_kg_per_mwh


def water_l(p: Params, flows: Flows, it_mw: Array) -> Array:
    """Return the water of cooling and of power generation, summed over sites."""
    stations = flows.import_mw * p.grid_water_l_per_mwh + flows.generation_mw * p.generator_water_l_per_mwh
    return total(p.dt_h * (it_mw * p.site_water_l_per_mwh + stations), -1)


# The step -----------------------------------------------------------------------------------------------------------


def billed_kg(p: Params, sums: Totals | Outcome) -> Array:
    """Return the emissions that are billed: at marginal or at average intensity, as the scenario says."""
    return sums.emissions_marginal_kg if p.bill_marginal else sums.emissions_average_kg


def next_state(p: Params, state: State, flows: Flows, exo: Exogenous, sums: Totals | None = None) -> State:
    """Return the state after the step.  Emissions count against the budget only where there is one."""
    sums = totals(p, flows, exo, state) if sums is None else sums
    carbon_kg = state.carbon_kg
    if p.has_carbon_budget:
        carbon_kg = carbon_kg + billed_kg(p, sums) - flows.carbon_excess_kg

    baseline_sum_mw, day_before_mw = next_baseline(state, flows, exo)
    return State.make(
        backlog_gpuh=next_backlog_gpuh(state, flows, exo, sums.served_cw_gpuh),
        battery_mwh=next_battery_mwh(p, state, flows),
        placed_gpuh=flows.served_gpuh,
        generation_mw=flows.generation_mw,
        committed_gpus=shift_left(sums.committed_gpus) if p.has_jobs else state.committed_gpus,
        waiting=state.waiting - flows.started.sum(-1),
        peak_import_mw=state.peak_import_mw + flows.peak_rise_mw,
        carbon_kg=carbon_kg,
        baseline_sum_mw=baseline_sum_mw,
        day_before_mw=day_before_mw,
    )


def equalities(flows: Flows, sums: Totals) -> dict[str, Array]:
    """Return expressions that are zero in every feasible step (besides the state's own updates)."""
    return {"power balance": balance_mw(flows, sums.facility_mw)}


def slacks(
    p: Params, state: State, flows: Flows, exo: Exogenous, after: State, sums: Totals
) -> dict[str, Array]:
    """Return expressions that are not negative in any feasible step, by the name of the limit.

    Together with `equalities`, with flows >= 0 and with closed routes at 0 they are the whole feasible set.
    """
    committed_now = sums.committed_gpus[..., 0]
    usable_gpus = p.utilisation_limit * exo.available_gpus

    limits = {
        "queue": exo.queue_limit_gpuh - after.backlog_gpuh,
        "backlog": after.backlog_gpuh,
        "gpus": usable_gpus - inference_gpus(p, sums.served_wk_gpuh) - committed_now + flows.gpu_short,
        "gpu shortfall within jobs": committed_now - flows.gpu_short,
        "gpu shortfall within fault": p.utilisation_limit * (p.gpus - exo.available_gpus) - flows.gpu_short,
        "jobs fit": p.utilisation_limit * p.gpus - committed_now,
        "job once": after.waiting,
        "job window": exo.job_open - flows.started,
        "charge": p.charge_limit_mw - flows.charge_mw,
        "discharge": p.discharge_limit_mw - flows.discharge_mw,
        "battery full": p.battery_max_mwh - after.battery_mwh,
        "battery empty": after.battery_mwh - p.battery_min_mwh,
        "generator": generator_limit_mw(p, exo) - flows.generation_mw,
        "generator rise": state.generation_mw + p.generator_ramp_mw_per_h * p.dt_h - flows.generation_mw,
        "renewable": exo.renewable_available_mw - flows.renewable_mw,
        "import": exo.import_limit_mw - flows.import_mw,
        "export": exo.export_limit_mw - flows.export_mw,
        "relocated": flows.relocated_gpuh - newly_placed_gpuh(p, state, flows, exo),
        "relocated within served": flows.served_gpuh - flows.relocated_gpuh,
        "warmed": flows.warmed_gpuh - newly_warm_gpuh(p, state, sums.served_wk_gpuh),
        "peak": after.peak_import_mw - flows.import_mw,
        "battery target": flows.battery_short_mwh - exo.battery_target_mwh + after.battery_mwh,
        "carbon budget": p.carbon_budget_kg - after.carbon_kg,
    }
    if p.has_lines:
        limits["line"] = flows.line_excess_mw - flows.import_mw[..., None, :] + line_mw(state, exo)
    if p.has_modes:
        saving_limits = saving_limits_mw(p, exo, sums.served_wk_gpuh, committed_now - flows.gpu_short)
        limits["saving"] = saving_limits - flows.saving_mw[..., None, :]
    return limits


def charge_mode_slacks(p: Params, flows: Flows, charging: Array) -> dict[str, Array]:
    """Return slacks of charging or discharging, not both, [K]; needed where burning energy could pay.

    ``charging`` is 1 or 0.
    """
    return {
        "charge mode": p.charge_limit_mw * charging - flows.charge_mw,
        "discharge mode": p.discharge_limit_mw * (1.0 - charging) - flows.discharge_mw,
    }


def generator_mode_slacks(p: Params, flows: Flows, running: Array) -> dict[str, Array]:
    """Return slacks of being off, or between minimum load and capacity, [K]; ``running`` is 1 or 0."""
    return {
        "generator on": p.generator_max_mw * running - flows.generation_mw,
        "generator minimum load": flows.generation_mw - p.generator_min_mw * running,
    }
