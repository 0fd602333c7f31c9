"""The optimum with one ability taken away, or with one price unseen: what each ability is worth.

A *restriction* is the same episode with limits closed, so that every plan of it is a plan of the original with
the same ledger, and its optimum can be no better:

- ``compute_only`` (arXiv 2605.03751): grid purchase only (no own generation, battery or export); routing, queueing
  and job scheduling stay free;
- ``energy_only`` (the same paper): jobs as `LocalOnly` starts them, inference at home and at once, energy free.  What
  its home has no room for is refused, as all variants may refuse work and jobs; nothing overflows to other sites;
- ``no_battery``: batteries keep what is in them; a shortfall against the target is priced as it is;
- ``no_routing``: inference stays at home (the site of a job stays free);
- ``no_deferral``: no work waits for the next step (the start of a job stays free);
- ``no_generator``: generators stay off (wind and sun stay);
- ``no_modes``: accelerators run at full power.

A *lever* is what such a restriction takes away; `with_levers` keeps some and closes the others.

``no_carbon`` is a *relaxation*: the plan sees neither carbon price nor budget, and is replayed under the true ledger.

    plan = plan_variant(instance, "no_battery")     # of the original instance
    run(VariantPolicy("no_battery"), instance)      # the same, as a policy
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from baselines.optimum.milp import Plan, replayed, solve
from baselines.rules.single_signal import LocalOnly
from gridai_env.arrays.record import Record
from gridai_env.arrays.types import Array
from gridai_env.episodes.instance import Instance
from gridai_env.rollout.policy import PlanPolicy
from gridai_env.rollout.run import run
from gridai_env.scenario.errors import closest

# The same episode with other limits ---------------------------------------------------------------------------------


def _changed(instance: Instance, params: dict[str, Array], exogenous: dict[str, Array]) -> Instance:
    """Return the instance with some constants and exogenous arrays replaced; last-resort prices stay."""
    return replace(
        instance, params=instance.params.replace(**params), exogenous=instance.exogenous.replace(**exogenous)
    )


def _nothing(record: Record, *names: str) -> dict[str, Array]:
    """Return zeros for the named fields."""
    return {name: np.zeros_like(getattr(record, name)) for name in names}


def no_battery(instance: Instance) -> Instance:
    """Return the episode in which batteries are neither charged nor discharged."""
    return _changed(instance, _nothing(instance.params, "charge_limit_mw", "discharge_limit_mw"), {})


def no_routing(instance: Instance) -> Instance:
    """Return the episode in which only the routes to the home site are open."""
    p = instance.params
    home = np.broadcast_to(p.home[:, None, :], p.route_open.shape)
    return _changed(instance, {"route_open": home * p.route_open}, {})


def no_deferral(instance: Instance) -> Instance:
    """Return the episode in which no work may be left in a queue at the end of a step."""
    return _changed(instance, {}, _nothing(instance.exogenous, "queue_limit_gpuh"))


def no_generator(instance: Instance) -> Instance:
    """Return the episode in which generators give nothing."""
    return _changed(instance, _nothing(instance.params, "generator_max_mw", "generator_min_mw"), {})


def no_modes(instance: Instance) -> Instance:
    """Return the episode in which power modes save nothing."""
    return _changed(instance, _nothing(instance.params, "saving_kw_per_gpu", "saving_kw_per_busy_gpu"), {})


def compute_only(instance: Instance) -> Instance:
    """Return the episode in which all power is bought from the grid and none is sold."""
    own = ("charge_limit_mw", "discharge_limit_mw", "generator_max_mw", "generator_min_mw")
    sold = ("renewable_available_mw", "export_limit_mw")
    return _changed(instance, _nothing(instance.params, *own), _nothing(instance.exogenous, *sold))


def energy_only(instance: Instance) -> Instance:
    """Return the episode in which work and jobs stay where and when Local-Only has them."""
    started = run(LocalOnly(), instance).flows.started
    placed = no_deferral(no_routing(instance))
    return _changed(placed, {}, {"job_open": placed.exogenous.job_open * started})


def no_carbon(instance: Instance) -> Instance:
    """Return the episode without price and budget of carbon; plans of it are played in the original one."""
    budget = np.full_like(instance.params.carbon_budget_kg, np.inf, dtype=float)
    return _changed(instance, {"carbon_price_usd_per_kg": 0.0, "carbon_budget_kg": budget}, {})


CHANGES = (compute_only, energy_only, no_battery, no_routing, no_deferral, no_generator, no_modes, no_carbon)
VARIANTS: dict[str, Callable[[Instance], Instance]] = {change.__name__: change for change in CHANGES}
# What takes each lever away.
LEVERS: dict[str, Callable[[Instance], Instance]] = {
    "waiting": no_deferral,
    "routing": no_routing,
    "battery": no_battery,
    "generator": no_generator,
    "modes": no_modes,
}
RELAXATIONS = ("no_carbon",)
RESTRICTIONS = tuple(name for name in VARIANTS if name not in RELAXATIONS)


def variant(name: str) -> Callable[[Instance], Instance]:
    """Return the variant called ``name``; raises ValueError, naming the closest, for an unknown name."""
    if name not in VARIANTS:
        raise ValueError(f"variant {name!r} is unknown: {closest(name, VARIANTS)}")
    return VARIANTS[name]


def with_levers(instance: Instance, levers: Collection[str]) -> Instance:
    """Return the episode with these of `LEVERS` alone, the others closed at all sites."""
    for name, close in LEVERS.items():
        if name not in levers:
            instance = close(instance)
    return instance


def levers_of(instance: Instance) -> tuple[str, ...]:
    """Return those of `LEVERS` that the episode has: closing them changes it."""
    return tuple(name for name, close in LEVERS.items() if close(instance).hash != instance.hash)


# Plans --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class VariantPlan(Plan):
    """A plan of the original instance, worth what the true ledger says.

    ``bound`` is infinite: nothing is proven of the original.  What is proven of the variant is `variant_bound`.
    """

    variant: str
    within: Plan  # the solver's plan of the changed instance, objective and bound by the changed ledger

    @property
    def variant_bound(self) -> float:
        """USD that no plan of the variant exceeds, by the ledger that the variant sees."""
        return self.within.bound


def plan_variant(instance: Instance, name: str, **options: Any) -> VariantPlan:
    """Most benefit of ``instance`` as the variant ``name`` sees it, replayed under the true ledger.

    ``options`` are those of `baselines.optimum.milp.solve` (``mip_gap``, ``time_limit_s``, ``threads``,
    ``seed``).  Where the time limit leaves no plan, flows and actions are None.  Raises ValueError for an
    unknown name.
    """
    within = solve(variant(name)(instance), "benefit", **options)
    facts = dict(vars(within)) | {"instance": instance, "bound": np.inf, "gap": np.inf}
    if within.flows is None:
        return VariantPlan(**facts, variant=name, within=within)

    true = replayed(instance, within.flows, "benefit")
    facts |= true.schedule | {"objective_value": true.benefit_usd}
    return VariantPlan(**facts, variant=name, within=within)


class VariantPolicy(PlanPolicy):
    """A variant as a policy: solves when an episode begins (with perfect foresight) and plays that plan.

    It plays one episode at a time.
    """

    plan: VariantPlan | None = None

    def __init__(self, variant_name: str, **options: Any) -> None:
        """Take the variant and the options of `plan_variant`; raises ValueError for an unknown name."""
        variant(variant_name)
        self.name = f"variant:{variant_name}"
        self._variant, self._options = variant_name, options

    def begin(self, instance: Instance) -> None:
        """Solve ``instance``; raises ValueError where the time limit leaves no plan."""
        plan = plan_variant(instance, self._variant, **self._options)
        if plan.actions is None:
            raise ValueError(f"{self.name}: no plan was found within the time limit: raise time_limit_s")
        self.plan = plan
