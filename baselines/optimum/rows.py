"""The rows of a program, made once: of one step on Pyomo's object arrays, of a whole window on affine arrays.

No formula of the world stands here: states, limits and terms come from `gridai_env.world.physics` and
`gridai_env.world.terms`.  Here stands which limits an optimiser needs, and at which sites and rows of work.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gridai_env.arrays.types import Array, Bool, Bools, Float
from gridai_env.world import physics
from gridai_env.world.state import Exogenous, Flows, Outcome, Params, State
from gridai_env.world.terms import settle


@dataclass(frozen=True)
class Rows:
    """Rows ``expression >= 0`` or ``== 0`` of one kind, at the places of their first axis (after the steps')."""

    expression: Float[Array, "*steps places ..."]
    is_equality: bool = False
    where: Bool[Bools, " places"] | None = None  # places that need the row; None: all


@dataclass(frozen=True)
class Modes:
    """Yes/no variables and where they are needed."""

    charging: Float[Array, "*steps K"]  # 1: the battery may charge, 0: it may discharge
    is_charging_open: Bool[Bools, " K"]
    running: Float[Array, "*steps K"]  # 1: the generator runs at its minimum load or more, 0: it is off
    is_running_open: Bool[Bools, " K"]


def has_both_ways(p: Params) -> Bool[Bools, " K"]:
    """Return which batteries could charge and discharge at once, which burns energy."""
    return (p.charge_limit_mw > 0.0) & (p.discharge_limit_mw > 0.0)


def has_minimum_load(p: Params) -> Bool[Bools, " K"]:
    """Return which generators are off or at least at a minimum load."""
    return p.generator_min_mw > 0.0


def make_rows(
    p: Params,
    state: State,
    flows: Flows,
    exo: Exogenous,
    modes: Modes,
    link: Callable[[State], State],
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
