"""One time step, written once: how flows change the state and which limits they must keep.

Everything here is affine in state and flows: only ``+ - * /``, indexing and sums.  The same functions therefore run
on NumPy arrays (batch axes lead), on torch tensors and on NumPy object arrays of Pyomo variables.  Whatever needs a
decision (a minimum, a clip, an order of service) is the choice of feasible flows and lives in `feasible.py`.

Model: arXiv 2604.27855 (routing, masks, frictions) and 2605.03751 (jobs, cooling, microgrid), merged.
"""

from __future__ import annotations

import sys

import numpy as np

from gridai_env.state import Array, Exogenous, Flows, Params, State


def concatenate_last(parts: list[Array]) -> Array:
    """Concatenate along the last axis, in the library of the arrays that came in."""
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(parts[0], torch.Tensor):
        return torch.cat(parts, -1)
    return np.concatenate(parts, axis=-1)


# Work ---------------------------------------------------------------------------------------------------------------


def work_on_hand_gpuh(state: State, exo: Exogenous) -> Array:
    """Work that waits plus work that arrives, [C,W]."""
    return state.backlog_gpuh + exo.arrivals_gpuh


def next_backlog_gpuh(state: State, flows: Flows, exo: Exogenous) -> Array:
    """Work left at the end of the step, [C,W].  Bounded by `queue_limit_gpuh`, this is first-in-first-out service
    with deadlines: the oldest work is always served or dropped first, so what is left is the youngest."""
    return work_on_hand_gpuh(state, exo) - flows.served_gpuh.sum(-1) - flows.dropped_gpuh


def newly_placed_gpuh(p: Params, state: State, flows: Flows, exo: Exogenous) -> Array:
    """Sessions beyond those that grew in place, [C,W,K], negative where a site gave some up.  Rows that may wait
    have no sessions: 0.  Demand that grows where it is served is no move."""
    in_place = exo.growth[..., None] * state.placed_gpuh + exo.rehomed_gpuh[..., None] * p.home[..., None, :]
    return (1.0 - p.may_wait)[..., None] * (flows.served_gpuh - in_place)


def newly_warm_gpuh(p: Params, state: State, flows: Flows) -> Array:
    """Work of a row that a site did not have the step before, [W,K], negative where it lost some."""
    return (1.0 - p.may_wait)[..., None] * (flows.served_gpuh.sum(-3) - state.placed_gpuh.sum(-3))


# Accelerators and jobs ----------------------------------------------------------------------------------------------


def job_starts_gpus(p: Params, flows: Flows) -> Array:
    """Accelerators of the jobs started now, in this and the next steps, [K,N]."""
    profile_gpus = (p.job_gpus[..., None] * p.job_profile)[..., :, None, :]
    return (flows.started[..., None] * profile_gpus).sum(-3)


def committed_profile_gpus(p: Params, state: State, flows: Flows) -> Array:
    """Accelerators held by running jobs in this and the next steps, those started now included, [K,N]."""
    if flows.started.shape[-2] == 0:
        return state.committed_gpus
    return state.committed_gpus + job_starts_gpus(p, flows)


def inference_gpus(p: Params, served_gpuh: Array) -> Array:
    """Accelerators that inference keeps busy, [K]: reference GPU-h over what one accelerator does in a step."""
    return served_gpuh.sum(-2).sum(-2) / (p.speed * p.dt_h)


# Power --------------------------------------------------------------------------------------------------------------


def it_power_mw(p: Params, exo: Exogenous, busy_gpus: Array) -> Array:
    """IT power [K]: all accelerators in service idle, the busy ones draw the difference on top."""
    return (exo.available_gpus * p.idle_kw_per_gpu + busy_gpus * (p.busy_kw_per_gpu - p.idle_kw_per_gpu)) / 1000.0


def facility_power_mw(p: Params, exo: Exogenous, it_mw: Array) -> Array:
    """Facility power [K]: cooling and losses multiply IT power by PUE, once."""
    return exo.pue * it_mw + p.base_load_mw


def work_power_mw_per_gpuh(p: Params, exo: Exogenous) -> Array:
    """Facility power that one GPU-h of work served in this step adds, [K]."""
    return exo.pue * (p.busy_kw_per_gpu - p.idle_kw_per_gpu) / (1000.0 * p.speed * p.dt_h)


def supply_mw(flows: Flows) -> Array:
    """Power that comes in, [K]; shed load counts as supply."""
    return flows.import_mw + flows.generation_mw + flows.renewable_mw + flows.discharge_mw + flows.shed_mw


def balance_mw(flows: Flows, facility_mw: Array) -> Array:
    """Supply minus use, [K]: zero in every feasible step."""
    return supply_mw(flows) - flows.export_mw - facility_mw - flows.charge_mw


def next_battery_mwh(p: Params, state: State, flows: Flows) -> Array:
    """Energy in the battery after the step, [K].  Losses fall on charging and on discharging."""
    stored_mw = p.charge_efficiency * flows.charge_mw - flows.discharge_mw / p.discharge_efficiency
    return state.battery_mwh + p.dt_h * stored_mw


# Emissions and water ------------------------------------------------------------------------------------------------


def egress_mwh(p: Params, flows: Flows) -> Array:
    """Network energy of payloads, by receiving site [K]."""
    return (p.network_mwh_per_gpuh * flows.served_gpuh).sum(-2).sum(-2)


def relocation_mwh(p: Params, flows: Flows) -> Array:
    """Network energy of moved sessions, by receiving site [K]."""
    return (p.relocation_mwh_per_gpuh * flows.relocated_gpuh).sum(-2).sum(-2)


def warm_up_mwh(p: Params, flows: Flows) -> Array:
    """Energy of loading weights, by receiving site [K]."""
    return (p.warm_mwh_per_gpuh[..., None] * flows.warmed_gpuh).sum(-2)


def friction_mwh(p: Params, flows: Flows) -> Array:
    """Network and loading energy [K]: billed, but outside the site's power balance."""
    return egress_mwh(p, flows) + relocation_mwh(p, flows) + warm_up_mwh(p, flows)


def emissions_kg(p: Params, flows: Flows, carbon_kg_per_mwh: Array, network_mwh: Array) -> Array:
    """Emissions of import, fuel and network energy, summed over sites.  Exports earn no credit."""
    grid = (p.dt_h * flows.import_mw + network_mwh) * carbon_kg_per_mwh
    fuel = p.dt_h * flows.generation_mw * p.generator_carbon_kg_per_mwh
    return (grid + fuel).sum(-1)


def billed_carbon_kg_per_mwh(p: Params, exo: Exogenous) -> Array:
    """The grid intensity that is billed, [K]: marginal or average, as the scenario says."""
    return exo.carbon_marginal_kg_per_mwh if p.bill_marginal else exo.carbon_average_kg_per_mwh


def water_l(p: Params, flows: Flows, it_mw: Array) -> Array:
    """Water of cooling and of power generation, summed over sites."""
    stations = flows.import_mw * p.grid_water_l_per_mwh + flows.generation_mw * p.generator_water_l_per_mwh
    return (p.dt_h * (it_mw * p.site_water_l_per_mwh + stations)).sum(-1)


# The step -----------------------------------------------------------------------------------------------------------


def busy_gpus(p: Params, flows: Flows, committed_now_gpus: Array) -> Array:
    """Accelerators at work, [K]: inference and running jobs, less those a fault took."""
    return inference_gpus(p, flows.served_gpuh) + committed_now_gpus - flows.gpu_short


def next_state(p: Params, state: State, flows: Flows, exo: Exogenous) -> State:
    """State after the step."""
    profile = committed_profile_gpus(p, state, flows)
    emitted_kg = emissions_kg(p, flows, billed_carbon_kg_per_mwh(p, exo), friction_mwh(p, flows))
    return State(
        backlog_gpuh=next_backlog_gpuh(state, flows, exo),
        battery_mwh=next_battery_mwh(p, state, flows),
        placed_gpuh=flows.served_gpuh,
        generation_mw=flows.generation_mw,
        committed_gpus=concatenate_last([profile[..., 1:], profile[..., :1] * 0.0]),
        waiting=state.waiting - flows.started.sum(-1),
        peak_import_mw=state.peak_import_mw + flows.peak_rise_mw,
        carbon_kg=state.carbon_kg + emitted_kg - flows.carbon_excess_kg,
    )


def equalities(p: Params, state: State, flows: Flows, exo: Exogenous) -> dict[str, Array]:
    """Expressions that are zero in every feasible step (besides the state's own updates)."""
    committed_now = committed_profile_gpus(p, state, flows)[..., 0]
    it_mw = it_power_mw(p, exo, busy_gpus(p, flows, committed_now))
    return {"power balance": balance_mw(flows, facility_power_mw(p, exo, it_mw))}


def slacks(p: Params, state: State, flows: Flows, exo: Exogenous, after: State) -> dict[str, Array]:
    """Expressions that are not negative in any feasible step, by the name of the limit.

    Together with `equalities`, with flows >= 0 and with closed routes at 0 they are the whole feasible set.
    """
    committed_now = committed_profile_gpus(p, state, flows)[..., 0]
    usable_gpus = p.utilisation_limit * exo.available_gpus
    return {
        "queue": exo.queue_limit_gpuh - after.backlog_gpuh,
        "backlog": after.backlog_gpuh,
        "gpus": usable_gpus - inference_gpus(p, flows.served_gpuh) - committed_now + flows.gpu_short,
        "gpu shortfall within jobs": committed_now - flows.gpu_short,
        "gpu shortfall within fault": p.utilisation_limit * (p.gpus - exo.available_gpus) - flows.gpu_short,
        "jobs fit": p.utilisation_limit * p.gpus - committed_now,
        "job once": after.waiting,
        "job window": exo.job_open - flows.started,
        "charge": p.charge_limit_mw - flows.charge_mw,
        "discharge": p.discharge_limit_mw - flows.discharge_mw,
        "battery full": p.battery_max_mwh - after.battery_mwh,
        "battery empty": after.battery_mwh - p.battery_min_mwh,
        "generator": p.generator_max_mw - flows.generation_mw,
        "generator rise": state.generation_mw + p.generator_ramp_mw_per_h * p.dt_h - flows.generation_mw,
        "renewable": exo.renewable_available_mw - flows.renewable_mw,
        "import": exo.import_limit_mw - flows.import_mw,
        "export": exo.export_limit_mw - flows.export_mw,
        "relocated": flows.relocated_gpuh - newly_placed_gpuh(p, state, flows, exo),
        "relocated within served": flows.served_gpuh - flows.relocated_gpuh,
        "warmed": flows.warmed_gpuh - newly_warm_gpuh(p, state, flows),
        "peak": after.peak_import_mw - flows.import_mw,
        "battery target": flows.battery_short_mwh - exo.battery_target_mwh + after.battery_mwh,
        "carbon budget": p.carbon_budget_kg - after.carbon_kg,
    }


def charge_mode_slacks(p: Params, flows: Flows, charging: Array) -> dict[str, Array]:
    """Either charge or discharge, [K]; ``charging`` is 1 or 0.  Needed where burning energy could pay."""
    return {
        "charge mode": p.charge_limit_mw * charging - flows.charge_mw,
        "discharge mode": p.discharge_limit_mw * (1.0 - charging) - flows.discharge_mw,
    }


def generator_mode_slacks(p: Params, flows: Flows, running: Array) -> dict[str, Array]:
    """Off, or between minimum load and capacity, [K]; ``running`` is 1 or 0."""
    return {
        "generator on": p.generator_max_mw * running - flows.generation_mw,
        "generator minimum load": flows.generation_mw - p.generator_min_mw * running,
    }
