"""The rows of a program, made once: of one step on Pyomo's object arrays, of a whole window on affine arrays.

No formula of the world stands here: states, limits and terms come from `gridai_env.world.physics` and
`gridai_env.world.terms`.  Here stands which limits an optimiser needs, and at which sites and rows of work.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from gridai_env.arrays.types import Array, Bool, Bools, Float, Floats
from gridai_env.world import physics
from gridai_env.world.state import Exogenous, Flows, Outcome, Params, State
from gridai_env.world.terms import settle


@dataclass(frozen=True)
class Rows:
    """Rows ``expression >= 0`` or ``== 0`` of one kind, at the places of their first axis (after the steps')."""

    expression: Float[Array, "*steps places ..."]
    is_equality: bool = False
    where: Bool[Bools, "*steps places"] | None = None  # places that need the row; None: all


@dataclass(frozen=True)
class Modes:
    """Yes/no variables and where they are needed."""

    charging: Float[Array, "*steps K"]  # 1: the battery may charge, 0: it may discharge
    is_charging_open: Bool[Bools, "*steps K"]
    running: Float[Array, "*steps K"]  # 1: the generator runs at its minimum load or more, 0: it is off
    is_running_open: Bool[Bools, " K"]


def has_both_ways(p: Params) -> Bool[Bools, " K"]:
    """Return which batteries could charge and discharge at once, which burns energy."""
    return (p.charge_limit_mw > 0.0) & (p.discharge_limit_mw > 0.0)


def has_minimum_load(p: Params) -> Bool[Bools, " K"]:
    """Return which generators are off or at least at a minimum load."""
    return p.generator_min_mw > 0.0


def charging_choices(p: Params, exo: Exogenous, emissions_count: bool) -> Bool[Bools, "T K"]:
    """Return where a battery needs a yes/no decision in an episode ``exo`` [T,...]: where burning energy could pay.

    That is in a step at whose price consuming pays, and in all steps before it: an emptied battery can be paid for
    being filled.  Where emissions are minimised or capped, anywhere.
    """
    pays = exo.buy_usd_per_mwh + p.wear_usd_per_mwh - baseline_credit_usd_per_mwh(exo) <= 0.0
    ahead = np.logical_or.accumulate(pays[::-1])[::-1]
    # A generator that rises slowly may run for the sake of the next step, with no use for its power now.
    slow = p.generator_ramp_mw_per_h * p.dt_h < p.generator_max_mw
    return np.asarray(has_both_ways(p) & (ahead | has_minimum_load(p) | slow | emissions_count))


def baseline_credit_usd_per_mwh(exo: Exogenous) -> Floats:
    """Return the most that a MWh imported in a step can earn in later events by raising the baseline, [T,K].

    ``exo`` [T,...] is an episode.  In each event of the same time of day, its price of a MWh times the weight of a day.
    """
    credit = np.zeros_like(exo.buy_usd_per_mwh)
    if not exo.baseline_share.size:
        return credit
    worth = ((exo.line_usd_per_mwh + exo.response_usd_per_mwh) * exo.baseline_share).sum(-2)
    return np.cumsum(worth[::-1], axis=0)[::-1] + credit


def make_rows(
    p: Params, state: State, flows: Flows, exo: Exogenous, modes: Modes, link: Callable[[State], State]
) -> tuple[dict[str, Rows], State, Outcome]:
    """Return all rows of a step by name, the state after it and its ledger.

    ``link`` ties the physics' expressions of the next state to fresh variables, which it returns: expressions that
    run through all steps would grow with T squared.
    """
    sums = physics.totals(p, flows, exo, state)
    after = link(physics.next_state(p, state, flows, exo, sums))
    rows = {name: Rows(slack) for name, slack in physics.slacks(p, state, flows, exo, after, sums).items()}

    # Implied: relocation costs, so the optimum takes its least value, which never exceeds what is served.
    del rows["relocated within served"]
    if not p.has_carbon_budget:
        del rows["carbon budget"]
    rows["peak"] = Rows(rows["peak"].expression, where=p.demand_charge_usd_per_mw > 0.0)
    # Rows that may wait have no sessions: nothing to warm.
    rows["warmed"] = Rows(rows["warmed"].expression, where=p.is_session > 0.5)

    if modes.is_charging_open.any():
        slacks = physics.charge_mode_slacks(p, flows, modes.charging)
        rows |= {name: Rows(slack, where=modes.is_charging_open) for name, slack in slacks.items()}
    if modes.is_running_open.any():
        slacks = physics.generator_mode_slacks(p, flows, modes.running)
        rows |= {name: Rows(slack, where=modes.is_running_open) for name, slack in slacks.items()}
    rows |= {name: Rows(gap, is_equality=True) for name, gap in physics.equalities(flows, sums).items()}
    return rows, after, settle(p, state, flows, exo, sums)


# Ceilings of flows ---------------------------------------------------------------------------------------------------


def flow_ceilings(
    p: Params, exo: Exogenous, carried_gpuh: Floats, exported_mw: Floats | float = 0.0
) -> dict[str, Floats]:
    """Return upper bounds on each flow of steps ``exo`` [T,...]: implied by the limits, they tighten the relaxation.

    ``carried_gpuh`` [T,C,W] is the most work that may have waited since the step before; ``exported_mw`` [K] the most
    that was exported before these steps.  Starts of jobs are left out.
    """
    on_hand = exo.arrivals_gpuh + carried_gpuh
    served = p.route_open * on_hand[..., None]
    placed = p.is_session[:, None] * served
    steps = np.ones_like(exo.import_limit_mw)

    return {
        "served_gpuh": served,
        "dropped_gpuh": on_hand,
        "charge_mw": p.charge_limit_mw * steps,
        "discharge_mw": p.discharge_limit_mw * steps,
        "generation_mw": physics.generator_limit_mw(p, exo) * steps,
        "renewable_mw": exo.renewable_available_mw,
        "import_mw": exo.import_limit_mw,
        "export_mw": exo.export_limit_mw,
        "shed_mw": most_shed_mw(p, exo),
        "gpu_short": p.has_jobs * p.utilisation_limit * (p.gpus - exo.available_gpus),
        "relocated_gpuh": placed,
        "warmed_gpuh": placed.sum(-3),
        "peak_rise_mw": np.where(p.demand_charge_usd_per_mw > 0.0, exo.import_limit_mw, 0.0),
        "battery_short_mwh": exo.battery_target_mwh,
        "carbon_excess_kg": most_carbon_kg(p, exo, served) * float(p.has_carbon_budget),
        "saving_mw": most_saving_mw(p, exo),
        "line_excess_mw": most_excess_mw(exo, exported_mw),
    }


def state_ceilings(p: Params, exo: Exogenous) -> dict[str, Floats]:
    """Return upper bounds on each state after the steps of an episode ``exo`` [T,...], a hair above the limit.

    The limits have rows of their own.  States that are flows of the step before are left out.
    """
    most = {
        "backlog_gpuh": exo.queue_limit_gpuh,
        "battery_mwh": p.battery_max_mwh,
        "committed_gpus": (p.utilisation_limit * p.gpus)[:, None],
        "waiting": np.ones(1),
        "peak_import_mw": exo.import_limit_mw.max(0),
        "carbon_kg": np.asarray(p.carbon_budget_kg),
    }
    return {name: np.asarray(value) * (1.0 + 1e-6) for name, value in most.items()}


def most_carbon_kg(p: Params, exo: Exogenous, served_gpuh: Floats) -> Floats:
    """Return an upper bound on the emissions of a step, []."""
    per_gpuh = p.network_mwh_per_gpuh + p.relocation_mwh_per_gpuh + p.warm_mwh_per_gpuh[:, None]
    network_mwh = (per_gpuh * served_gpuh).sum((-3, -2, -1))
    grid_mwh = p.dt_h * exo.import_limit_mw.sum(-1) + network_mwh
    fuel_kg = p.dt_h * (p.generator_max_mw * p.generator_carbon_kg_per_mwh).sum()
    return np.asarray(grid_mwh * physics.billed_carbon_kg_per_mwh(p, exo).max(-1) + fuel_kg)


def most_saving_mw(p: Params, exo: Exogenous) -> Floats:
    """Return an upper bound on what power modes save [K]; no entries without them."""
    if not p.has_modes:
        return exo.pue[..., :0]
    busy = (p.utilisation_limit * exo.available_gpus)[..., None, :] * np.maximum(
        p.saving_kw_per_busy_gpu, 0.0
    )
    limits = (exo.available_gpus[..., None, :] * p.saving_kw_per_gpu + busy) / 1000.0
    return np.asarray(limits.min(-2))


def most_excess_mw(exo: Exogenous, exported_mw: Floats | float) -> Floats:
    """Return an upper bound on import above the lines, [T,L,K]: a baseline may be as low as the most export."""
    exported = np.maximum(exo.export_limit_mw.max(0), exported_mw)
    return np.asarray(exo.import_limit_mw[:, None, :] + np.maximum(-exo.line_mw, 0.0) + exported)


def most_shed_mw(p: Params, exo: Exogenous) -> Floats:
    """Load of a site with all accelerators busy that may be; 0 where import can feed it: nothing is shed there."""
    it_mw = physics.it_power_mw(p, exo, p.utilisation_limit * exo.available_gpus)
    most_mw = physics.facility_power_mw(p, exo, it_mw) * (1.0 + 1e-6)
    return np.where(most_mw > exo.import_limit_mw, most_mw, 0.0)
