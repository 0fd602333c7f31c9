"""Totals of one episode by name: work, latency, waiting, energy, money, emissions and water.

Everything follows from states and flows through `physics` and `terms`: this module holds no formula of the model.
Path latency (the network's share, in ms) and hours waited are kept apart: adding them would hide both.
"""

from __future__ import annotations

import numpy as np

from gridai_env.arrays.types import Bools, Float, Floats
from gridai_env.episodes.instance import Instance
from gridai_env.rollout.hourly_matching import hourly_matching
from gridai_env.rollout.played import PlayedEpisode
from gridai_env.scenario.geography import LAYERS
from gridai_env.world import physics
from gridai_env.world.terms import BILL, EARNINGS, PENALTIES


def episode_metrics(episode: PlayedEpisode) -> dict[str, float]:
    """Return all totals of an episode by name; the unit is the end of the name.

    A mean over nothing (latency where nothing was served) is NaN.
    """
    return {
        **money(episode),
        **emissions_and_water(episode),
        **work(episode),
        **latency(episode),
        **layers(episode),
        **waiting(episode),
        **energy(episode),
        **flexible_load(episode),
        **hourly_matching(episode),
        **jobs(episode),
    }


# Money, emissions, water ------------------------------------------------------------------------------------


def money(episode: PlayedEpisode) -> dict[str, float]:
    """Return benefit, bill (a cost: positive), cost (all terms but earnings) and penalties."""
    terms = episode.terms_usd
    return {
        "benefit_usd": sum(terms.values()),
        "bill_usd": -sum(terms[name] for name in BILL),
        "cost_usd": -sum(value for name, value in terms.items() if name not in EARNINGS),
        "earnings_usd": sum(terms[name] for name in EARNINGS),
        "penalties_usd": -sum(terms[name] for name in PENALTIES),
    }


def emissions_and_water(episode: PlayedEpisode) -> dict[str, float]:
    """Return emissions at both intensities, the billed one, those that exports may have avoided, and water."""
    p, exo, outcome = episode.instance.params, episode.instance.exogenous, episode.outcome
    avoided = p.dt_h * episode.flows.export_mw * physics.billed_carbon_kg_per_mwh(p, exo)
    return {
        "emissions_kg": float(episode.billed_kg.sum()),
        "emissions_average_kg": float(outcome.emissions_average_kg.sum()),
        "emissions_marginal_kg": float(outcome.emissions_marginal_kg.sum()),
        "avoided_by_export_kg": float(avoided.sum()),
        "water_l": float(outcome.water_l.sum()),
    }


# Work -------------------------------------------------------------------------------------------------------


def work(episode: PlayedEpisode) -> dict[str, float]:
    """Return work in reference GPU-h and in requests.  ``dropped_gpuh`` is all work refused or dropped.

    ``deferred_gpuh`` is work not finished in the step in which it arrived.  Service is first in, first out,
    so what is left of a step's arrivals is the smaller of these arrivals and the backlog.  ``moved_share`` (of
    all, and of each class) is the GPU-h served away from home over the GPU-h served.
    """
    exo, flows = episode.instance.exogenous, episode.flows
    arrived, served = exo.arrivals_gpuh.sum((0, 1)), flows.served_gpuh.sum((0, 1, 3))
    dropped = flows.dropped_gpuh

    total = float(arrived.sum())
    per_request = episode.instance.compiled.row_gpuh_per_request
    away = (flows.served_gpuh * (1.0 - episode.instance.params.home[:, None, :])).sum((0, 1, 3))
    backlog = np.maximum(episode.after.backlog_gpuh, 0.0)

    return {
        "arrived_gpuh": total,
        "served_gpuh": float(served.sum()),
        "dropped_gpuh": float(dropped.sum()),
        "served_share": ratio(float(served.sum()), total),
        "deferred_gpuh": float(np.minimum(exo.arrivals_gpuh, backlog).sum()),
        "moved_share": ratio(float(away.sum()), float(served.sum())),
        "arrived_requests": float((arrived / per_request).sum()),
        "served_requests": float((served / per_request).sum()),
        "dropped_requests": float((dropped.sum((0, 1)) / per_request).sum()),
        **{
            f"moved_share/{name}": ratio(float(away[own].sum()), float(served[own].sum()))
            for name, own in rows_of_classes(episode.instance)
        },
    }


def rows_of_classes(instance: Instance) -> list[tuple[str, Bools]]:
    """Return the name of each class and which rows [W] are its own."""
    compiled = instance.compiled
    return [(name, compiled.row_class == index) for index, name in enumerate(compiled.class_names)]


def jobs(episode: PlayedEpisode) -> dict[str, float]:
    """Return the number of training jobs started, and accelerator-hours that faults took from running ones."""
    flows, dt_h = episode.flows, episode.instance.params.dt_h
    return {
        "jobs_started": float(flows.started.sum()),
        "jobs_lost": float(episode.instance.compiled.shape.jobs - flows.started.sum()),
        "gpu_short_gpuh": float(dt_h * flows.gpu_short.sum()),
    }


# Latency and waiting ----------------------------------------------------------------------------------------


def latency(episode: PlayedEpisode) -> dict[str, float]:
    """Return path latency weighted by served work, without processing: mean and p95, over all and by class.

    Also the work served on routes that miss the class's budget (only home routes can).
    """
    geography, served = episode.instance.compiled.geography, episode.flows.served_gpuh.sum(0)
    late = geography.latency_ms > geography.budget_ms[None, :, None]
    out: dict[str, float] = {}
    groups: list[tuple[str, slice | Bools]] = [("", slice(None)), *rows_of_classes(episode.instance)]
    for name, rows in groups:
        suffix, path_ms, work = name and f"/{name}", geography.path_ms[:, rows], served[:, rows]
        out[f"path_latency_mean_ms{suffix}"] = ratio(float((path_ms * work).sum()), float(work.sum()))
        out[f"path_latency_p95_ms{suffix}"] = weighted_quantile(path_ms.ravel(), work.ravel(), 0.95)
    return out | {"over_budget_gpuh": float(served[late].sum())}


def layers(episode: PlayedEpisode) -> dict[str, float]:
    """Return the share of each execution layer in the GPU-h served, of all and of each class; NaN where none is."""
    layer, served = episode.instance.compiled.geography.layer, episode.flows.served_gpuh.sum(0)
    groups = [("", np.ones(served.shape[1], dtype=np.bool_))]
    groups += [(f"{name}/", rows) for name, rows in rows_of_classes(episode.instance)]
    return {
        f"layer_share/{prefix}{name}": ratio(
            float(served[:, rows][layer[:, rows] == index].sum()), float(served[:, rows].sum())
        )
        for prefix, rows in groups
        for index, name in enumerate(LAYERS)
    }


def weighted_quantile(values: Floats, weights: Floats, share: float) -> float:
    """Return the least value up to which values carry at least ``share`` of the weight; NaN without weight."""
    order = np.argsort(values, kind="stable")
    carried = np.cumsum(weights[order])
    if carried.size == 0 or carried[-1] <= 0.0:
        return float("nan")
    return float(values[order][np.searchsorted(carried, share * carried[-1] * (1.0 - 1e-12))])


def waiting(episode: PlayedEpisode) -> dict[str, float]:
    """Return mean hours that finished work of the rows which may wait has waited, over all and by class.

    By Little's law: the backlog summed over time, over the work that left the queue (served, refused or
    dropped).
    """
    instance = episode.instance
    waited_gpuh_h = np.maximum(episode.after.backlog_gpuh, 0.0).sum((0, 1)) * instance.params.dt_h
    left_gpuh = episode.flows.served_gpuh.sum((0, 1, 3)) + episode.flows.dropped_gpuh.sum((0, 1))
    rows = instance.params.may_wait > 0.0
    out = {"wait_mean_h": ratio(float(waited_gpuh_h[rows].sum()), float(left_gpuh[rows].sum()))}
    for name, of_class in rows_of_classes(instance):
        own = rows & of_class
        if own.any():
            out[f"wait_mean_h/{name}"] = ratio(float(waited_gpuh_h[own].sum()), float(left_gpuh[own].sum()))
    return out


# Energy -----------------------------------------------------------------------------------------------------


def energy(episode: PlayedEpisode) -> dict[str, float]:
    """Return energy in MWh over all sites, peak import, and full battery cycles (mean over sites with a battery)."""
    p, flows, exo = episode.instance.params, episode.flows, episode.instance.exogenous
    names = (
        "import_mw", "export_mw", "charge_mw", "discharge_mw", "generation_mw", "renewable_mw", "shed_mw",
    )  # fmt: skip
    out = {name.replace("_mw", "_mwh"): float(p.dt_h * getattr(flows, name).sum()) for name in names}

    curtailed = exo.renewable_available_mw - flows.renewable_mw
    cycles, has_battery = battery_cycles(episode), p.battery_max_mwh > p.battery_min_mwh

    return out | {
        "curtailed_mwh": float(p.dt_h * curtailed.sum()),
        "facility_mwh": float(p.dt_h * episode.outcome.facility_mw.sum()),
        "it_mwh": float(p.dt_h * episode.outcome.it_mw.sum()),
        "peak_import_mw": float(flows.import_mw.sum(-1).max()),
        "battery_cycles": float(cycles[has_battery].mean()) if has_battery.any() else 0.0,
        "battery_short_mwh": float(flows.battery_short_mwh.sum()),
    }


def flexible_load(episode: PlayedEpisode) -> dict[str, float]:
    """Return what lines and power modes come to, of each line (``/site/line``) and in all; {} without any.

    ``called_h`` and ``called_mwh``: hours in which a line is called, and the import in them.  ``line_excess_mwh``:
    import above it, of a contract ``unmatched_mwh``; without a name the sum over lines, that of contracts apart.
    ``delivered_share``: load reduced in events over what was promised (0 where import is at the baseline or above).
    ``saving_mwh``: IT energy that power modes save.
    """
    instance, flows = episode.instance, episode.flows
    p, exo, compiled = instance.params, instance.exogenous, instance.compiled
    out: dict[str, float] = {}
    if p.has_modes:
        out["saving_mwh"] = float(p.dt_h * flows.saving_mw.sum())
    for rule in compiled.lines.rules:
        name, import_mw = f"{compiled.site_names[rule.site]}/{rule.spec.name}", flows.import_mw[:, rule.site]
        if rule.call >= 0:
            is_called = instance.knowledge.call_depth[:, rule.call] > 0.0
            out[f"called_h/{name}"] = float(p.dt_h * is_called.sum())
            out[f"called_mwh/{name}"] = float(p.dt_h * import_mw[is_called].sum())
        if rule.slot < 0:
            continue
        excess_mw = flows.line_excess_mw[:, rule.slot, rule.site]
        above = "unmatched_mwh" if rule.kind == "matching" else "line_excess_mwh"
        out[f"{above}/{name}"] = float(p.dt_h * excess_mw.sum())
        if rule.kind == "demand_response":
            committed_mw = exo.committed_mw[:, rule.slot, rule.site]
            delivered_mw = np.maximum(committed_mw - excess_mw, 0.0)
            out[f"delivered_share/{name}"] = ratio(float(delivered_mw.sum()), float(committed_mw.sum()))
    if p.has_lines:
        out["line_excess_mwh"] = float(p.dt_h * (p.limits_import * flows.line_excess_mw).sum())
    if compiled.lines.matching:
        out["unmatched_mwh"] = float(p.dt_h * ((1.0 - p.limits_import) * flows.line_excess_mw).sum())
    return out


def battery_cycles(episode: PlayedEpisode) -> Float[Floats, " K"]:
    """Return full cycles of each battery, [K]: energy through the cells over twice the usable energy."""
    p, flows = episode.instance.params, episode.flows
    through_mw = p.charge_efficiency * flows.charge_mw + flows.discharge_mw / p.discharge_efficiency
    usable_mwh = p.battery_max_mwh - p.battery_min_mwh
    has = usable_mwh > 0.0
    return np.where(has, p.dt_h * through_mw.sum(0) / (2.0 * np.where(has, usable_mwh, 1.0)), 0.0)


def ratio(part: float, whole: float) -> float:
    """Return ``part / whole``, NaN where the whole is 0."""
    return part / whole if whole else float("nan")
