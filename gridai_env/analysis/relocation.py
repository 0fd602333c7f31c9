"""How much of the work could run elsewhere, what keeps the rest at home, and where it really ran.

*Relocatable inference demand* (RID, arXiv 2604.27855) is a share of the energy of arrived work; this energy is
that of the work at its home (facility MWh), so that one figure compares all classes and regions.  It is reported in
four ways, which must not be mixed: by latency alone, by all masks, with positive net benefit, and really moved.

*Layers*: local (home or near), regional (same legal zone or <= 100 ms), energy-oriented (the rest).

Shapes: T steps, C regions, W rows, K sites, n classes.  Flows are those of a plan or a trajectory, [T,...].
"""

from __future__ import annotations

from dataclasses import dataclass
from operator import itemgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gridai_env.analysis.net_benefit import Assumptions, net_benefit, work_mwh_per_gpuh
from gridai_env.arrays.types import Bool, Bools, Float, Floats
from gridai_env.episodes.instance import Instance
from gridai_env.rollout.metrics import rows_of_classes
from gridai_env.rollout.played import PlayedEpisode
from gridai_env.scenario.geography import LAYERS
from gridai_env.world import physics
from gridai_env.world.state import Flows, State

ALL = "all"
REASONS = ("latency", "law", "state", "support")
# Accelerators free, over those usable, below which a site counts as full: solvers fill to about 1e-6.
FULL = 1e-5


@dataclass(frozen=True, eq=False)
class RID:
    """Relocatable inference demand, four ways: all classes, then each; NaN where nothing arrived.

    ``latency >= feasible >= net`` and ``feasible >= real``.  ``real`` is not bounded by ``net``: a plan may move
    work at a loss of its own, to make room for other work.
    """

    names: tuple[str, ...]  # "all" and the classes
    latency: Float[Floats, " 1+n"]  # some other site within the budget
    feasible: Float[Floats, " 1+n"]  # some other route open: latency, law, state and support
    net: Float[Floats, " 1+n"]  # some other open route with positive net benefit in the step
    real: Float[Floats, " 1+n"]  # served away from home; NaN without flows

    def rows(self) -> list[dict[str, Any]]:
        """Return one row per class: the columns of ``rid.csv``."""
        kinds = ("latency", "feasible", "net", "real")
        return [
            {"class": name, **{f"rid_{kind}": float(getattr(self, kind)[i]) for kind in kinds}}
            for i, name in enumerate(self.names)
        ]


def relocatable(
    instance: Instance, flows: Flows | None = None, assumptions: Assumptions | None = None
) -> RID:
    """Return the relocatable demand of an episode; ``flows`` say what was really moved.

    Moved work that may wait is weighted by the mean energy of its row's arrivals, since which hour's arrivals were
    moved cannot be told.
    """
    compiled = instance.compiled
    away = ~compiled.geography.home[:, None, :]
    energy_mwh = arrived_mwh(instance)

    in_time = (compiled.geography.by_latency & away).any(-1)
    is_open = (instance.params.route_open > 0.0) & away
    pays = net_benefit(instance, assumptions).total_usd_per_gpuh > 0.0

    moved = np.full(1 + len(compiled.class_names), np.nan)
    if flows is not None:
        moved = _share(instance, _moved_mwh(instance, flows), energy_mwh.sum(0))
    return RID(
        names=(ALL, *compiled.class_names),
        latency=_share(instance, energy_mwh * in_time, energy_mwh),
        feasible=_share(instance, energy_mwh * is_open.any(-1), energy_mwh),
        net=_share(instance, energy_mwh * (pays & is_open).any(-1), energy_mwh),
        real=moved,
    )


def arrived_mwh(instance: Instance) -> Float[Floats, "T C W"]:
    """Return facility energy of the arrived work if done at home in the step of its arrival, [T,C,W]."""
    at_home = work_mwh_per_gpuh(instance)[:, instance.compiled.home_site]
    return instance.exogenous.arrivals_gpuh * at_home[:, :, None]


def _moved_mwh(instance: Instance, flows: Flows) -> Float[Floats, "C W"]:
    """Return the energy, as if at home, of the work served away from it, [C,W]."""
    arrived, energy_mwh = instance.exogenous.arrivals_gpuh, arrived_mwh(instance)
    away_gpuh = (flows.served_gpuh * (1.0 - instance.params.home[:, None, :])).sum(-1)
    at_home = work_mwh_per_gpuh(instance)[:, instance.compiled.home_site][:, :, None]
    total = arrived.sum(0)
    mean = energy_mwh.sum(0) / np.where(total > 0.0, total, 1.0)
    moved: Floats = np.where(instance.params.may_wait > 0.0, mean, at_home) * away_gpuh
    return moved.sum(0)


def _share(instance: Instance, part: Floats, whole: Floats) -> Floats:
    """Return ``part`` over ``whole`` ([...,W] each), of all rows and of each class, [1+n]; NaN over nothing."""
    parts, wholes = _sums(instance, part), _sums(instance, whole)
    return np.where(wholes > 0.0, parts / np.where(wholes > 0.0, wholes, 1.0), np.nan)


def _sums(instance: Instance, values: NDArray[Any]) -> NDArray[Any]:
    """Return the sums of ``values`` [...,W] over all rows and over those of each class, [1+n]."""
    of_class = [own for _, own in rows_of_classes(instance)]
    return np.array([values[..., own].sum() for own in (np.full(values.shape[-1], True), *of_class)])


# Layers ---------------------------------------------------------------------------------------------------------


def layer_shares(instance: Instance, flows: Flows) -> list[dict[str, Any]]:
    """Return the share of each layer in the energy of served work, of all and by class: rows of ``layers.csv``.

    The energy is that at the site which served it.  NaN where nothing of a class was served.
    """
    layer = instance.compiled.geography.layer
    served_mwh = (flows.served_gpuh * work_mwh_per_gpuh(instance)[:, None, None, :]).sum(0)
    whole = served_mwh.sum(-1)

    names = (ALL, *instance.compiled.class_names)
    shares = {
        name: _share(instance, (served_mwh * (layer == index)).sum(-1), whole)
        for index, name in enumerate(LAYERS)
    }
    return [
        {"class": of, "layer": name, "share": float(shares[name][i])}
        for i, of in enumerate(names)
        for name in LAYERS
    ]


# Closed routes --------------------------------------------------------------------------------------------------


def closed_routes(instance: Instance, flows: Flows | None = None) -> list[dict[str, Any]]:
    """Return why work stays at home, of all and by class: rows of ``closed.csv``.

    A route leads from a region's row to a site other than its home.  ``routes`` counts those that a reason closes;
    ``share`` is the share of the energy of arrived work, averaged over the other sites (0 with a single site).
    Several reasons may close one route, so that they do not add up; "latency alone" is what a larger budget
    would open.  "capacity" (with ``flows``): open routes to sites whose accelerators were all busy, counted where
    that happened in a step with arrivals, with the share of the energy that arrived in such steps.  "home misses
    budget": routes to the home itself that are open although too slow.
    """
    geo, compiled = instance.compiled.geography, instance.compiled
    energy_mwh = arrived_mwh(instance)
    others = max(compiled.shape.sites - 1, 1)
    away = ~geo.home[:, None, :]

    masks = {name: getattr(geo, f"by_{name}") for name in REASONS}
    closed = {name: away & ~mask for name, mask in masks.items()}
    closed["latency alone"] = closed["latency"] & masks["law"] & masks["state"] & masks["support"]
    found = {name: (shut.sum(-1), energy_mwh * shut.sum(-1) / others) for name, shut in closed.items()}

    if flows is not None:
        no_room = full_sites(instance, flows)[:, None, None, :] & (instance.params.route_open > 0.0) & away
        met = no_room & (instance.exogenous.arrivals_gpuh > 0.0)[..., None]
        found["capacity"] = (met.any(0).sum(-1), energy_mwh * no_room.sum(-1) / others)

    found["home misses budget"] = (geo.home_misses_budget.astype(int), energy_mwh * geo.home_misses_budget)
    return [
        row for reason, (routes, mwh) in found.items() for row in _reason_rows(instance, reason, routes, mwh)
    ]


def _reason_rows(
    instance: Instance, reason: str, routes: NDArray[np.integer], mwh: Floats
) -> list[dict[str, Any]]:
    """Return rows of one reason from ``routes`` [C,W] and the energy that it concerns [T,C,W]."""
    shares, counts = _share(instance, mwh, arrived_mwh(instance)), _sums(instance, routes)
    return [
        {"class": name, "reason": reason, "routes": int(counts[i]), "share": float(shares[i])}
        for i, name in enumerate((ALL, *instance.compiled.class_names))
    ]


def full_sites(instance: Instance, flows: Flows) -> Bool[Bools, "T K"]:
    """Return whether no accelerator of a site was free for more work, [T,K]."""
    episode = episode_of(instance, flows)
    p, exo = instance.params, instance.exogenous
    free = physics.slacks(p, episode.before, flows, exo, episode.after, episode.totals)["gpus"]
    return free <= FULL * p.utilisation_limit * p.gpus


def episode_of(instance: Instance, flows: Flows) -> PlayedEpisode:
    """Return the episode that flows [T,...] make: the states before each step follow by the physics."""
    p, exo = instance.params, instance.exogenous
    state, before = instance.initial, []
    for t in range(instance.steps):
        before.append(state)
        state = physics.next_state(p, state, flows.map(itemgetter(t)), exo.map(itemgetter(t)))
    return PlayedEpisode(instance, State.stacked(before), flows)
