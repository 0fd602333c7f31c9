"""The choice of feasible flows: any action becomes flows that keep every limit of `physics.slacks`.

Flows that are feasible and in normal form pass unchanged: ``project(decode(encode(f))) == f``.  Normal form: derived
flows and `gpu_short` at their least values; never charge with discharge, import with export, or export with shed;
shed only where import is at its limit and nothing is charged or served at that site.

Rows come sorted by the order in which they are kept (see `state`), so one cumulative sum along W decides.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial

import numpy as np

from gridai_env.arrays.ops import all_zero, batch_innermost, namespace, positions, straight_through, total
from gridai_env.arrays.types import Float, Floats
from gridai_env.world import physics
from gridai_env.world.actions import Request, active_jobs, most_saving_mw, ratio
from gridai_env.world.physics import work_on_hand_gpuh
from gridai_env.world.state import DERIVED, Exogenous, Flows, Params, State


def to_normal_form(p: Params, state: State, exo: Exogenous, flows: Flows) -> Flows:
    """Return solver values [B,...] as flows in normal form: within bounds despite tolerances, grid balance closed."""
    on_hand = work_on_hand_gpuh(state, exo)

    # Solvers overshoot limits by their tolerance: scale each row back to the work on hand.
    served = np.maximum(flows.served_gpuh, 0.0) * p.route_open
    total = served.sum(-1)
    served *= np.where(total > on_hand, on_hand / np.where(total > 0.0, total, 1.0), 1.0)[..., None]

    left = on_hand - served.sum(-1)
    dropped = np.clip(flows.dropped_gpuh, np.maximum(left - exo.queue_limit_gpuh, 0.0), np.maximum(left, 0.0))

    started = np.rint(flows.started)
    saving = flows.saving_mw
    if p.has_modes:
        job_gpus = _committed_now(p, state, started)
        job_gpus = job_gpus - least_gpu_short(p, exo, job_gpus)
        saving = np.clip(saving, 0.0, most_saving_mw(p, exo, served.sum(-3), job_gpus))

    # Charging and discharging in one step nets out to what the battery stores.
    stored = p.charge_efficiency * flows.charge_mw - flows.discharge_mw / p.discharge_efficiency

    return complete(
        p,
        state,
        exo,
        served_gpuh=served,
        dropped_gpuh=dropped,
        started=started,
        charge_mw=np.maximum(stored, 0.0) / p.charge_efficiency,
        discharge_mw=np.maximum(-stored, 0.0) * p.discharge_efficiency,
        generation_mw=minimum_load(p, np.clip(flows.generation_mw, 0.0, physics.generator_limit_mw(p, exo))),
        renewable_mw=np.clip(flows.renewable_mw, 0.0, exo.renewable_available_mw),
        shed_mw=np.maximum(flows.shed_mw, 0.0),
        saving_mw=saving,
    )


# Relative slack of yes/no decisions (a job fits, a generator runs), so that float32 actions do not flip them.
DECISION_SLACK = 1e-6
# Of the softmax of job scores that stands in for the best entry where gradients are asked for; scores are in [-1, 1].
JOB_SHARPNESS = 4.0


@dataclass
class _Work:
    """Where the work on hand goes; changed in place while the limits are applied."""

    served_gpuh: Float[Floats, "B C W K"]
    held_gpuh: Float[Floats, "B C W"]
    dropped_gpuh: Float[Floats, "B C W"]
    served_wk_gpuh: Floats = field(init=False)  # [B,W,K]

    def __post_init__(self) -> None:
        self.served_wk_gpuh = total(self.served_gpuh, -3)

    def serve(self, gpuh: Floats) -> None:
        """Replace what is served."""
        self.served_gpuh = gpuh
        self.served_wk_gpuh = total(gpuh, -3)

    def send_back(self, gpuh: Floats, queue_limit_gpuh: Floats) -> None:
        """Queue work that found no room where it may wait, and drop the rest."""
        xp = namespace(gpuh)
        queued = xp.minimum(gpuh, xp.maximum(queue_limit_gpuh - self.held_gpuh, 0.0))
        self.held_gpuh = self.held_gpuh + queued
        self.dropped_gpuh = self.dropped_gpuh + (gpuh - queued)


@dataclass
class _Supply:
    """Power of a site's own equipment, [B,K]; changed in place while the limits are applied."""

    charge_mw: Floats
    discharge_mw: Floats
    generation_mw: Floats
    renewable_mw: Floats

    def net_mw(self, facility_mw: Floats) -> Floats:
        """Return what the grid has to supply (negative: to take)."""
        return facility_mw + self.charge_mw - self.discharge_mw - self.generation_mw - self.renewable_mw


def project(p: Params, state: State, exo: Exogenous, request: Request) -> Flows:
    """Turn a request into feasible flows: jobs, work, accelerators, power, derived flows, in this order."""
    return project_load(p, state, exo, request)[0]


def project_load(p: Params, state: State, exo: Exogenous, request: Request) -> tuple[Flows, physics.Load]:
    """Return the flows of `project`, and the load of the sites, which the next equations need again."""
    started = start_jobs(p, state, exo, request.job_score)
    committed_now = _committed_now(p, state, started)
    work = split_work(state, exo, request)
    fit_gpus(p, exo, work, committed_now)
    return fit_power(p, state, exo, request, work, started, committed_now)


# 1 Jobs -------------------------------------------------------------------------------------------------------------


def start_jobs(p: Params, state: State, exo: Exogenous, score: Floats) -> Floats:
    """Start jobs slot by slot at the best entry that is open and where the job fits for its whole duration [B,J,K].

    Room is counted against the nameplate, not against future availability: that would leak the future.
    """
    xp = p.xp
    started = xp.zeros_like(exo.job_open)
    if started.shape[-2] == 0:
        return started

    active, slot = active_jobs(state, exo.job_open)
    profile = state.committed_gpus
    limit = (p.utilisation_limit * p.gpus * (1.0 + DECISION_SLACK))[:, None]
    sites = positions(profile, -2)

    for v in range(score.shape[-2]):
        mine = active & (slot == v)  # one job of each episode at most
        if all_zero(mine):
            break
        chosen = mine[..., None]
        need = (chosen * (p.job_gpus[..., None] * p.job_profile)).sum(-2)[..., None, :]
        fits = (profile + need <= limit).all(-1)
        allowed = (chosen * exo.job_open).sum(-2) > 0.5

        site_wish = xp.where(allowed & fits, score[..., v, :-1], -xp.inf)
        best = site_wish.argmax(-1)[..., None]
        go = xp.take_along_axis(site_wish, best, axis=-1) > score[..., v, -1:]
        here = straight_through(
            go & (sites == best), partial(_start_shares, site_wish, score[..., v, -1:]), score
        )
        started = started + chosen * here[..., None, :]
        profile = profile + need * here[..., None]

    return batch_innermost(started)  # else all that follows would lie as it does


def _start_shares(site_wish: Floats, wait: Floats) -> Floats:
    """Return the softmax of the scores of the sites [B,K] beside that of waiting [B,1]: a start in shares."""
    xp = namespace(site_wish)
    score = JOB_SHARPNESS * xp.concatenate([site_wish, wait], -1)
    share = xp.exp(score - xp.amax(score, -1, keepdims=True))
    return (share / total(share, -1)[..., None])[..., :-1]


def _committed_now(p: Params, state: State, started: Floats) -> Floats:
    """Return accelerators held by running jobs in this step, [B,K]."""
    if started.shape[-2] == 0:
        return state.committed_gpus[..., 0]
    return state.committed_gpus[..., 0] + (started * (p.job_gpus * p.job_profile[..., 0])[..., None]).sum(-2)


# 2 Work -------------------------------------------------------------------------------------------------------------


def split_work(state: State, exo: Exogenous, request: Request) -> _Work:
    """Hold, refuse and share the work on hand; what may not be held any longer is served."""
    on_hand = physics.work_on_hand_gpuh(state, exo)
    xp = namespace(on_hand)
    held = xp.minimum(request.hold * on_hand, exo.queue_limit_gpuh)
    dropped = request.refuse * on_hand
    to_serve = xp.maximum(on_hand - held - dropped, 0.0)
    return _Work(request.share * to_serve[..., None], held, dropped)


# 3 Accelerators -----------------------------------------------------------------------------------------------------


def keep_by_order(demand: Floats, room: Floats) -> Floats:
    """Return what fits of ``demand`` [B,W,K] into ``room`` [B,K] when earlier rows come first."""
    xp = namespace(demand)
    so_far = xp.cumsum(demand, axis=-2)
    kept = xp.minimum(demand, xp.maximum(room[:, None, :] - (so_far - demand), 0.0))
    return xp.where(so_far[:, -1:, :] <= room[:, None, :], demand, kept)


def kept_share(kept: Floats, demand: Floats) -> Floats:
    """Return ``kept / demand`` over an inserted region axis, 1 where there is no demand."""
    none = demand == 0.0
    return ((kept + none) / (demand + none))[:, None]


def fit_gpus(p: Params, exo: Exogenous, work: _Work, committed_now: Floats) -> None:
    """Fit the work into the accelerators; overflow goes pro rata to room at other open sites, in two passes."""
    xp = p.xp
    room = xp.maximum(p.utilisation_limit * exo.available_gpus - committed_now, 0.0) * (p.speed * p.dt_h)

    demand = work.served_wk_gpuh
    if all_zero(total(demand, -2) > room):
        return

    kept = keep_by_order(demand, room)
    served = work.served_gpuh * kept_share(kept, demand)
    overflow = total(work.served_gpuh - served, -1)

    # Where two regions want the same room, a second pass places what the first turned away.
    for _ in range(2):
        room = xp.maximum(room - total(kept, -2), 0.0)
        if all_zero(room) or all_zero(overflow):
            break
        weight = p.route_open * room[:, None, None, :]
        wish = ratio(overflow, total(weight, -1))[..., None] * weight
        demand = total(wish, -3)
        kept = keep_by_order(demand, room)
        placed = wish * kept_share(kept, demand)
        served = served + placed
        overflow = xp.maximum(overflow - total(placed, -1), 0.0)

    work.serve(served)
    work.send_back(overflow, exo.queue_limit_gpuh)


# 4 Power ------------------------------------------------------------------------------------------------------------


def fit_power(
    p: Params,
    state: State,
    exo: Exogenous,
    request: Request,
    work: _Work,
    started: Floats,
    committed_now: Floats,
) -> tuple[Flows, physics.Load]:
    """Fit battery, generator, export and import; cut charging, then work from the last row on, then shed."""
    xp = p.xp
    supply = supply_within_limits(p, state, exo, request)
    gpu_short = least_gpu_short(p, exo, committed_now)
    job_gpus = committed_now - gpu_short
    load, saving = load_in_mode(p, exo, work, job_gpus, request.saving_share)

    # Too much supply: export takes up to its limit, the rest is cut.
    net = supply.net_mw(load.facility_mw)
    surplus = -net - exo.export_limit_mw
    if not all_zero(surplus > 0.0):
        cut_supply(p, surplus, supply)
        net = supply.net_mw(load.facility_mw)

    # Too much load: charging stops first, then work is cut, then load is shed.
    deficit = xp.maximum(net - exo.import_limit_mw, 0.0)
    shed = xp.zeros_like(net)
    if not all_zero(deficit):
        charge = supply.charge_mw
        supply.charge_mw = charge - xp.minimum(charge, deficit)
        shed = cut_work(p, exo, work, xp.maximum(deficit - charge, 0.0), job_gpus, request.saving_share)
        load, saving = load_in_mode(p, exo, work, job_gpus, request.saving_share)

    chosen = {"served_gpuh": work.served_gpuh, "dropped_gpuh": work.dropped_gpuh, "started": started}
    rest = {"shed_mw": shed, "saving_mw": saving}
    return close_books(p, state, exo, load, gpu_short, **chosen, **vars(supply), **rest), load


def load_in_mode(
    p: Params, exo: Exogenous, work: _Work, job_gpus: Floats, share: Floats
) -> tuple[physics.Load, Floats]:
    """Return the load, and the power [B,K] that a share of what power modes can save takes off it."""
    saving = share
    if p.has_modes:
        saving = share * most_saving_mw(p, exo, work.served_wk_gpuh, job_gpus)
    return physics.load_of(p, exo, work.served_wk_gpuh, job_gpus, saving), saving


def supply_within_limits(p: Params, state: State, exo: Exogenous, request: Request) -> _Supply:
    """Return the requested battery, generator and renewable power, clipped to the limits of each."""
    charge, discharge = battery_within_energy(p, state, request)
    generation = generator_within_rise(p, state, exo, request.generation_mw)
    return _Supply(charge, discharge, generation, request.renewable_share * exo.renewable_available_mw)


def least_gpu_short(p: Params, exo: Exogenous, committed_now: Floats) -> Floats:
    """Return accelerators that a fault takes from running jobs [B,K]: no more than are missing."""
    return p.xp.maximum(committed_now - p.utilisation_limit * exo.available_gpus, 0.0)


def battery_within_energy(p: Params, state: State, request: Request) -> tuple[Floats, Floats]:
    """Return charge and discharge [B,K] that the energy in the battery allows."""
    xp = p.xp
    room_mw = xp.maximum(p.battery_max_mwh - state.battery_mwh, 0.0) / (p.charge_efficiency * p.dt_h)
    energy_mw = xp.maximum(state.battery_mwh - p.battery_min_mwh, 0.0) * p.discharge_efficiency / p.dt_h
    return xp.minimum(request.charge_mw, room_mw), xp.minimum(request.discharge_mw, energy_mw)


def generator_within_rise(p: Params, state: State, exo: Exogenous, wish_mw: Floats) -> Floats:
    """Return generation [B,K] within the ramp limit; below the minimum load the generator is off."""
    if not p.has_generator:
        return wish_mw
    limit_mw = physics.generator_limit_mw(p, exo)
    most = p.xp.minimum(state.generation_mw + p.generator_ramp_mw_per_h * p.dt_h, limit_mw)
    return minimum_load(p, p.xp.minimum(wish_mw, most))


def minimum_load(p: Params, generation_mw: Floats) -> Floats:
    """Return generation raised to the minimum load where it is met up to the decision slack, else 0."""
    runs = generation_mw >= p.generator_min_mw * (1.0 - DECISION_SLACK)
    raised = p.xp.where(runs, p.xp.maximum(generation_mw, p.generator_min_mw), 0.0)
    return straight_through(raised, lambda: generation_mw, generation_mw)


def cut_supply(p: Params, surplus_mw: Floats, supply: _Supply) -> None:
    """Cut what export cannot take: renewables, then the generator (off below its minimum), then discharge."""
    xp, generation = p.xp, supply.generation_mw
    surplus = xp.maximum(surplus_mw, 0.0)
    after_renewable = xp.maximum(surplus - supply.renewable_mw, 0.0)
    lowered = xp.maximum(generation - after_renewable, 0.0)
    supply.generation_mw = xp.where(after_renewable > 0.0, minimum_load(p, lowered), generation)

    # A generator that had to stop leaves room again: cut renewables only by what is still too much.
    surplus = xp.maximum(surplus - (generation - supply.generation_mw), 0.0)
    renewable_cut = xp.minimum(supply.renewable_mw, surplus)
    supply.renewable_mw = supply.renewable_mw - renewable_cut
    supply.discharge_mw = supply.discharge_mw - (surplus - renewable_cut)


def cut_work(
    p: Params, exo: Exogenous, work: _Work, deficit_mw: Floats, job_gpus: Floats, saving_share: Floats
) -> Floats:
    """Cut work that the import limit cannot feed, last rows first, and return the load to shed [B,K]."""
    xp, mw_per_gpuh = p.xp, physics.work_power_mw_per_gpuh(p, exo)
    power = work.served_wk_gpuh * mw_per_gpuh[:, None, :]
    power_mw = total(power, -2)
    room_mw = xp.maximum(power_mw - deficit_mw, 0.0)
    if p.has_modes:
        saved_mw = exo.pue * saving_share * most_saving_mw(p, exo, work.served_wk_gpuh, job_gpus)
        power_mw = power_mw - saved_mw
        room_mw = full_power_mw(p, exo, xp.maximum(power_mw - deficit_mw, 0.0), job_gpus, saving_share)
    # Where nothing is missing everything is kept; the comparison inside keeps it bit for bit.
    kept = keep_by_order(power, xp.where(deficit_mw > 0.0, room_mw, xp.inf))
    served = work.served_gpuh * kept_share(kept, power)
    cut = total(work.served_gpuh - served, -1)
    work.serve(served)
    work.send_back(cut, exo.queue_limit_gpuh)
    return xp.maximum(deficit_mw - power_mw, 0.0)


def full_power_mw(
    p: Params, exo: Exogenous, power_mw: Floats, job_gpus: Floats, saving_share: Floats
) -> Floats:
    """Return what the work that takes ``power_mw`` [B,K] in power modes would take at full speed, idle power aside.

    Power in modes is the highest of lines in the work, one for each segment: the least of their inverses is wanted.
    """
    xp, extra_kw = p.xp, p.busy_kw_per_gpu - p.idle_kw_per_gpu
    free_kw = (exo.available_gpus - job_gpus)[..., None, :] * p.saving_kw_per_gpu
    share, scale = saving_share[..., None, :], (exo.pue / 1000.0)[..., None, :]
    busy_gpus = (power_mw[..., None, :] / scale + share * free_kw) / (
        extra_kw - share * p.saving_kw_per_busy_gpu
    )
    return exo.pue * extra_kw * xp.amin(busy_gpus, -2) / 1000.0


# 5 Derived flows ----------------------------------------------------------------------------------------------------


def complete(p: Params, state: State, exo: Exogenous, **chosen: Floats) -> Flows:
    """Return complete flows from those that are chosen freely (the keyword arguments of `close_books`)."""
    committed_now = _committed_now(p, state, chosen["started"])
    gpu_short = least_gpu_short(p, exo, committed_now)
    served_wk_gpuh = total(chosen["served_gpuh"], -3)
    load = physics.load_of(p, exo, served_wk_gpuh, committed_now - gpu_short, chosen["saving_mw"])
    return close_books(p, state, exo, load, gpu_short, **chosen)


def close_books(
    p: Params,
    state: State,
    exo: Exogenous,
    load: physics.Load,
    gpu_short: Floats,
    *,
    served_gpuh: Floats,
    dropped_gpuh: Floats,
    started: Floats,
    charge_mw: Floats,
    discharge_mw: Floats,
    generation_mw: Floats,
    renewable_mw: Floats,
    shed_mw: Floats,
    saving_mw: Floats,
) -> Flows:
    """Complete the chosen flows: import or export closes the balance, derived flows take their least values."""
    xp = p.xp
    nothing = xp.zeros_like(charge_mw)
    flows = Flows.make(
        served_gpuh=served_gpuh,
        dropped_gpuh=dropped_gpuh,
        started=started,
        charge_mw=charge_mw,
        discharge_mw=discharge_mw,
        generation_mw=generation_mw,
        renewable_mw=renewable_mw,
        import_mw=nothing,
        export_mw=nothing,
        shed_mw=shed_mw,
        gpu_short=gpu_short,
        saving_mw=saving_mw,
        **dict.fromkeys(DERIVED, nothing),
    )

    # Whatever the chosen flows leave open, the grid connection supplies or takes.
    missing = -physics.balance_mw(flows, load.facility_mw)
    flows = flows.replace(import_mw=xp.maximum(missing, 0.0), export_mw=xp.maximum(-missing, 0.0))
    return tighten(p, state, exo, flows, load.served_wk_gpuh)


def tighten(p: Params, state: State, exo: Exogenous, flows: Flows, served_wk_gpuh: Floats) -> Flows:
    """Set the derived flows to their least values."""
    xp = p.xp
    flows = flows.replace(
        relocated_gpuh=xp.maximum(physics.newly_placed_gpuh(p, state, flows, exo), 0.0),
        warmed_gpuh=xp.maximum(physics.newly_warm_gpuh(p, state, served_wk_gpuh), 0.0),
        peak_rise_mw=xp.maximum(flows.import_mw - state.peak_import_mw, 0.0),
        battery_short_mwh=xp.maximum(exo.battery_target_mwh - physics.next_battery_mwh(p, state, flows), 0.0),
        carbon_excess_kg=xp.zeros_like(state.carbon_kg),
        line_excess_mw=exo.line_mw,
    )
    if p.has_lines:
        above_mw = flows.import_mw[..., None, :] - physics.line_mw(state, exo)
        flows = flows.replace(line_excess_mw=xp.maximum(above_mw, 0.0))

    if not p.has_carbon_budget:
        return flows
    network_mwh = sum(physics.friction_mwh(p, flows))
    billed = physics.billed_carbon_kg_per_mwh(p, exo)
    emitted_kg = total(physics.site_emissions_kg(p, flows, billed, network_mwh), -1)
    return flows.replace(carbon_excess_kg=xp.maximum(state.carbon_kg + emitted_kg - p.carbon_budget_kg, 0.0))
