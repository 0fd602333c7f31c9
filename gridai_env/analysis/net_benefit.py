"""Net benefit of moving one GPU-h of work from its home to another site, its parts, and where it breaks even.

    NB = energy saved + carbon saved + water saved - egress - transfer energy - friction / dwell - latency value

in USD per GPU-h, for each step, region, row and site (arXiv 2604.27855, relocation net benefit ``NB_{k,i}``; per
request there, per GPU-h here).  *Saved* is the ledger's own figure (`terms.settle`) for one GPU-h at home less
that at the site, its power taken from the grid: import price, billed carbon, water.  Where the next MWh is not
imported (spare renewables, a battery, export), or where a demand charge, a carbon budget or a limit binds, the
true marginal value differs; the shadow prices of an optimal plan give it.

*Friction* is what newly placing a GPU-h costs once (moving sessions, loading weights, with their energy),
spread over the work done there until it moves again: ``dt / dwell`` of it falls on each GPU-h.  It is counted
one way, as in the paper; rows that may wait have no sessions and pay none.

Shapes: T steps, C regions, W rows, K sites.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from gridai_env.arrays.record import Record
from gridai_env.arrays.types import Array, Float, Floats
from gridai_env.episodes.instance import Instance
from gridai_env.world import physics
from gridai_env.world.physics import Load
from gridai_env.world.state import Flows, Outcome
from gridai_env.world.terms import energy_usd_per_mwh, settle


@dataclass(frozen=True)
class Assumptions:
    """Assumptions beside the scenario.  Raises ValueError for values out of range."""

    dwell_h: float = 8.0  # own choice: how long work stays where it was moved, about one block of cheap hours
    latency_usd_per_gpuh_ms: float = 0.0  # worth of 1 ms of path latency; the budget rules, not a price

    def __post_init__(self) -> None:
        if not self.dwell_h > 0.0:
            raise ValueError(f"dwell_h = {self.dwell_h!r}: must be above 0 [h]")
        if not 0.0 <= self.latency_usd_per_gpuh_ms < float("inf"):
            raise ValueError(
                f"latency_usd_per_gpuh_ms = {self.latency_usd_per_gpuh_ms!r}: must be at least 0 [USD per GPU-h and ms]"
            )


@dataclass(frozen=True)
class NetBenefit(Record):
    """Parts of the net benefit of a move from home, [T,C,W,K] or means of it [...,C,K]; 0 at home itself."""

    energy_saved_usd_per_gpuh: Float[Array, "*batch K"]
    carbon_saved_usd_per_gpuh: Float[Array, "*batch K"]
    water_saved_usd_per_gpuh: Float[Array, "*batch K"]
    egress_usd_per_gpuh: Float[Array, "*batch K"]
    transfer_usd_per_gpuh: Float[Array, "*batch K"]  # network energy of the payload, with its carbon
    friction_usd_per_gpuh: Float[Array, "*batch K"]  # spread over the dwell time
    latency_usd_per_gpuh: Float[Array, "*batch K"]  # of the extra path; negative where the site is nearer
    # What break-evens and returns need besides
    carbon_saved_kg_per_gpuh: Float[Array, "*batch K"]
    extra_path_ms: Float[Array, "*batch K"]  # path latency beyond that of home
    placing_usd_per_gpu: Float[Array, "*batch K"]  # friction of moving the work of one accelerator, once
    home_mwh_per_gpuh: Float[Array, "*batch K"]  # facility energy of the work at home
    home_usd_per_mwh: Float[Array, "*batch K"]
    site_usd_per_mwh: Float[Array, "*batch K"]
    payload_usd_per_gb: Float[Array, "*batch K"]  # egress, network energy and its carbon
    gpuh_per_request: Float[Array, "*batch K"]

    @property
    def saved_usd_per_gpuh(self) -> Array:
        """What running at the site saves: energy, carbon, water."""
        return self.energy_saved_usd_per_gpuh + self.carbon_saved_usd_per_gpuh + self.water_saved_usd_per_gpuh

    @property
    def running_usd_per_gpuh(self) -> Array:
        """What each GPU-h there costs more: payload and latency."""
        return self.egress_usd_per_gpuh + self.transfer_usd_per_gpuh + self.latency_usd_per_gpuh

    @property
    def total_usd_per_gpuh(self) -> Array:
        """The net benefit: positive where a move pays."""
        return self.saved_usd_per_gpuh - self.running_usd_per_gpuh - self.friction_usd_per_gpuh


def net_benefit(instance: Instance, assumptions: Assumptions | None = None) -> NetBenefit:
    """Return the net benefit of every route at every step, open or not."""
    given = Assumptions() if assumptions is None else assumptions
    p, exo, compiled = instance.params, instance.exogenous, instance.compiled
    home, geo = compiled.home_site, compiled.geography
    away = 1.0 - p.home[:, None, :]

    # Energy of the network is paid where the payload arrives, with its carbon.
    billed = physics.billed_carbon_kg_per_mwh(p, exo)
    network_usd_per_mwh = energy_usd_per_mwh(exo.network_usd_per_mwh, billed, p.carbon_price_usd_per_kg)
    per_mwh = network_usd_per_mwh[:, None, None, :]
    placing = away * _placing_usd_per_gpuh(instance, per_mwh)
    extra_ms = geo.path_ms - np.take_along_axis(geo.path_ms, home[:, None, None], axis=-1)

    parts = {
        **_savings(instance),
        "egress_usd_per_gpuh": p.egress_usd_per_gpuh,
        "transfer_usd_per_gpuh": p.network_mwh_per_gpuh * per_mwh,
        "friction_usd_per_gpuh": placing * p.dt_h / max(given.dwell_h, p.dt_h),
        "latency_usd_per_gpuh": given.latency_usd_per_gpuh_ms * extra_ms,
        "extra_path_ms": extra_ms,
        "placing_usd_per_gpu": placing * p.dt_h,
        "home_mwh_per_gpuh": work_mwh_per_gpuh(instance)[:, home][:, :, None, None],
        "home_usd_per_mwh": exo.buy_usd_per_mwh[:, home][:, :, None, None],
        "site_usd_per_mwh": exo.buy_usd_per_mwh[:, None, None, :],
        "payload_usd_per_gb": geo.usd_per_gb[:, None, :] + away * compiled.network_mwh_per_gb * per_mwh,
        "gpuh_per_request": instance.compiled.row_gpuh_per_request[:, None],
    }
    shape = (instance.steps, *p.route_open.shape)
    return NetBenefit(**{name: np.broadcast_to(value, shape) for name, value in parts.items()})


def _savings(instance: Instance) -> dict[str, Float[Floats, "T C 1 K"]]:
    """Return what a GPU-h costs at home less what it costs at the site, for energy, carbon and water."""
    at_site, home = unit_work(instance), instance.compiled.home_site
    terms = at_site.terms_usd  # costs are negative in the ledger
    at_each_site = {
        "energy_saved_usd_per_gpuh": -terms["import"],
        "carbon_saved_usd_per_gpuh": -terms["carbon_price"],
        "water_saved_usd_per_gpuh": -terms["water"],
        "carbon_saved_kg_per_gpuh": physics.billed_kg(instance.params, at_site),
    }
    return {
        name: cost[:, home][:, :, None, None] - cost[:, None, None, :] for name, cost in at_each_site.items()
    }


def work_mwh_per_gpuh(instance: Instance) -> Float[Floats, "T K"]:
    """Return facility energy of one GPU-h of work at each site and step, [T,K]."""
    power: Floats = physics.work_power_mw_per_gpuh(instance.params, instance.exogenous)
    return power * instance.params.dt_h


def unit_work(instance: Instance) -> Outcome:
    """Return the ledger's outcome [T,K] of one GPU-h of work alone at each site, powered by import.

    Use only its energy, carbon and water: the flows carry no payload, no session and no weights, and nothing is paid
    for lines, which bind on all of a site's import.
    """
    p, steps, shape = instance.params, instance.steps, instance.compiled.shape
    sites = np.eye(shape.sites)
    power_mw = physics.work_power_mw_per_gpuh(p, instance.exogenous)[:, None, :] * sites
    exo = instance.exogenous.map(lambda x: x[:, None])
    lead = (steps, shape.sites)
    flows = _no_flows(instance, lead).replace(import_mw=power_mw)
    load = Load(np.zeros((*lead, shape.rows, shape.sites)), power_mw / exo.pue, power_mw)
    sums = physics.totals(p, flows, exo, instance.initial, load, instance.initial.committed_gpus)
    return settle(p, instance.initial, flows, exo, sums)


def _no_flows(instance: Instance, lead: tuple[int, ...]) -> Flows:
    """Return flows that are 0 everywhere, with leading axes ``lead``."""
    s = instance.compiled.shape
    routes, by_site = (s.regions, s.rows, s.sites), (s.sites,)
    shapes: dict[str, tuple[int, ...]] = dict.fromkeys(Flows.names(), by_site) | {
        "served_gpuh": routes,
        "relocated_gpuh": routes,
        "dropped_gpuh": (s.regions, s.rows),
        "started": (s.jobs, s.sites),
        "warmed_gpuh": (s.rows, s.sites),
        "carbon_excess_kg": (),
        "saving_mw": (s.sites if s.mode_segments else 0,),
        "line_excess_mw": (s.lines, s.sites),
    }
    return Flows(**{name: np.zeros((*lead, *own)) for name, own in shapes.items()})


def _placing_usd_per_gpuh(instance: Instance, usd_per_mwh: Floats) -> Float[Floats, "T C W K"]:
    """Return what placing a GPU-h at a site costs once, [T,C,W,K]: sessions and weights, with their energy."""
    p = instance.params
    relocation = p.relocation_usd_per_gpuh + p.relocation_mwh_per_gpuh * usd_per_mwh
    warm_up = p.warm_usd_per_gpuh[:, None] + p.warm_mwh_per_gpuh[:, None] * usd_per_mwh
    return p.is_session[:, None] * (relocation + warm_up)


@dataclass(frozen=True, eq=False)
class BreakEvens:
    """Values at which the net benefit is 0, each with all else unchanged; shapes of the `NetBenefit`.

    ``volume_gpuh``, ``volume_requests``, ``dwell_h``: work that must run at the site, and hours for which it must
    stay, before the friction of moving *one accelerator's* work is paid; infinite where running there saves
    nothing, so that no volume pays; 0 where there is no friction.
    ``spread_usd_per_mwh``: by how much the price of electricity at home must lie above that at the site (present
    price of the site); negative where a move would pay even against the price.
    ``payload_gb_per_gpuh``, ``payload_gb_per_request``: the largest payload with which a move pays; infinite where
    data cost nothing, NaN where it pays with none.
    """

    volume_gpuh: Float[Floats, "*batch K"]
    volume_requests: Float[Floats, "*batch K"]
    spread_usd_per_mwh: Float[Floats, "*batch K"]
    payload_gb_per_gpuh: Float[Floats, "*batch K"]
    payload_gb_per_request: Float[Floats, "*batch K"]
    dwell_h: Float[Floats, "*batch K"]


def break_evens(benefit: NetBenefit) -> BreakEvens:
    """Return volume, price spread, payload and dwell time at which a move breaks even."""
    margin = benefit.saved_usd_per_gpuh - benefit.running_usd_per_gpuh
    pays = margin > 0.0
    never = np.where(np.isnan(margin), np.nan, np.inf)
    volume = np.where(pays, benefit.placing_usd_per_gpu / np.where(pays, margin, 1.0), never)

    needed = benefit.total_usd_per_gpuh / benefit.home_mwh_per_gpuh
    spread = benefit.home_usd_per_mwh - benefit.site_usd_per_mwh - needed

    without = benefit.total_usd_per_gpuh + benefit.egress_usd_per_gpuh + benefit.transfer_usd_per_gpuh
    costs = benefit.payload_usd_per_gb > 0.0
    payload = np.where(costs, without / np.where(costs, benefit.payload_usd_per_gb, 1.0), np.inf)
    payload = np.where(without >= 0.0, payload, np.nan)
    return BreakEvens(
        volume_gpuh=volume,
        volume_requests=volume / benefit.gpuh_per_request,
        spread_usd_per_mwh=spread,
        payload_gb_per_gpuh=payload,
        payload_gb_per_request=payload * benefit.gpuh_per_request,
        dwell_h=volume.copy(),  # one accelerator does one GPU-h in an hour
    )


def route_returns(benefit: NetBenefit) -> tuple[Floats, Floats]:
    """Return ERL (USD per GPU-h and ms) and CRL (kg per GPU-h and ms) of each route, in the shape of ``benefit``.

    Energy (carbon) saved over the extra path latency (arXiv 2604.27855, per-task returns); NaN where the site is
    not farther than home.
    """
    farther = benefit.extra_path_ms > 0.0
    extra_ms = np.where(farther, benefit.extra_path_ms, np.nan)
    return benefit.energy_saved_usd_per_gpuh / extra_ms, benefit.carbon_saved_kg_per_gpuh / extra_ms


# By class -------------------------------------------------------------------------------------------------------


def class_means(instance: Instance, values: Floats) -> Floats:
    """Return the mean [n,C,K] of ``values`` [T,C,W,K] over steps and rows of each class, weighted by arrivals.

    NaN where nothing of a class arrived in a region.
    """
    compiled, arrived = instance.compiled, instance.exogenous.arrivals_gpuh
    of_class = (compiled.row_class == np.arange(len(compiled.class_names))[:, None]).astype(float)
    weight = np.einsum("nw,tcw->nc", of_class, arrived)
    total = np.einsum("nw,tcw,tcwk->nck", of_class, arrived, values, optimize=True)
    return (
        np.where(weight > 0.0, 1.0, np.nan)[..., None]
        * total
        / np.where(weight > 0.0, weight, 1.0)[..., None]
    )


def break_even_rows(instance: Instance, assumptions: Assumptions | None = None) -> list[dict[str, Any]]:
    """Return the rows of ``breakeven.csv``: a class, a region and a site other than its home in each.

    Parts are means over the arrived work; break-evens are those of the mean.  ``open_share`` is the share of the
    work for which the route is open, ``positive_share`` that in whose step the net benefit is positive, open or
    not.
    """
    compiled = instance.compiled
    full = net_benefit(instance, assumptions)
    mean = full.map(lambda x: class_means(instance, x))
    erl, crl = route_returns(mean)
    pays = full.total_usd_per_gpuh > 0.0
    is_open = np.broadcast_to(instance.params.route_open, pays.shape)

    columns = {
        "net_benefit_usd_per_gpuh": mean.total_usd_per_gpuh,
        **{name: getattr(mean, name) for name in NetBenefit.names()[:9]},
        "open_share": class_means(instance, is_open),
        "positive_share": class_means(instance, pays.astype(float)),
        "erl_usd_per_gpuh_ms": erl,
        "crl_kg_per_gpuh_ms": crl,
        **{f"break_even_{name}": value for name, value in vars(break_evens(mean)).items()},
    }

    # A move leads away from home: home itself has no row.
    away = np.argwhere(np.broadcast_to(instance.params.home == 0.0, erl.shape))
    return [
        {
            "class": compiled.class_names[n],
            "region": compiled.region_names[c],
            "site": compiled.site_names[k],
            **{name: float(value[n, c, k]) for name, value in columns.items()},
        }
        for n, c, k in away
    ]
