"""One episode as a table: a row per step, a named column for everything that a schedule is judged by.

Column names are ``quantity_unit`` for the whole system and ``quantity_unit/place`` for a site, a workload row
or a route; the same names serve as tags in TensorBoard and as headers in CSV files.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gridai_env.arrays.types import Array
from gridai_env.files import atomic_write
from gridai_env.rollout.played import PlayedEpisode
from gridai_env.world import physics
from gridai_env.world.terms import BILL

Table = NDArray[np.void]


def step_table(episode: PlayedEpisode, reward: Array) -> Table:
    """Return the table of an episode; ``reward`` [T] is what the environment paid.

    ``battery_mwh`` and ``backlog_gpuh`` are those at the end of the step, everything else holds during it.
    ``time_utc`` is the start of the step.
    """
    steps = episode.instance.steps
    columns = {
        "step": np.arange(steps),
        "time_utc": times_utc(episode),
        "reward": np.asarray(reward, dtype=np.float64),
        **system_columns(episode),
        **site_columns(episode),
        **line_columns(episode),
        **row_columns(episode),
        **route_columns(episode),
    }
    return table_of(columns)


def table_of(columns: Mapping[str, Array]) -> Table:
    """Return the table of some columns, [T] each."""
    steps = len(next(iter(columns.values())))
    table = np.zeros(steps, dtype=[(name, values.dtype) for name, values in columns.items()])
    for name, values in columns.items():
        table[name] = values
    return table


def times_utc(episode: PlayedEpisode) -> Array:
    """Start of each step, UTC, [T] datetime64[s]."""
    instance = episode.instance
    return step_times_utc(instance.start_utc, instance.steps, instance.params.dt_h)


def step_times_utc(start_utc: np.datetime64, steps: int, dt_h: float) -> Array:
    """Start of each of ``steps`` steps of ``dt_h`` hours, UTC, [T] datetime64[s]."""
    step_s = np.timedelta64(round(dt_h * 3600), "s")
    return start_utc.astype("datetime64[s]") + np.arange(steps) * step_s


def system_columns(episode: PlayedEpisode) -> dict[str, Array]:
    """Return money, emissions and water of the whole system, [T] each."""
    outcome = episode.outcome
    return {
        "benefit_usd": outcome.benefit_usd,
        "bill_usd": -sum(outcome.terms_usd[name] for name in BILL),
        "emissions_kg": episode.billed_kg,
        "emissions_average_kg": outcome.emissions_average_kg,
        "emissions_marginal_kg": outcome.emissions_marginal_kg,
        "water_l": outcome.water_l,
        "jobs_started": episode.flows.started.sum((-1, -2)),
        **{f"terms/{name}_usd": value for name, value in outcome.terms_usd.items()},
    }


def site_columns(episode: PlayedEpisode) -> dict[str, Array]:
    """Return power, accelerators, prices and carbon of each site, [T] each."""
    p, exo, flows = episode.instance.params, episode.instance.exogenous, episode.flows
    held_gpus = episode.totals.committed_gpus[..., 0] - flows.gpu_short

    by_site: dict[str, Array] = {
        "import_mw": flows.import_mw,
        "export_mw": flows.export_mw,
        "charge_mw": flows.charge_mw,
        "discharge_mw": flows.discharge_mw,
        "battery_mwh": episode.after.battery_mwh,
        "generation_mw": flows.generation_mw,
        "renewable_mw": flows.renewable_mw,
        "curtailed_mw": exo.renewable_available_mw - flows.renewable_mw,
        "shed_mw": flows.shed_mw,
        "facility_mw": episode.outcome.facility_mw,
        "it_mw": episode.outcome.it_mw,
        "pue": exo.pue,
        "busy_gpus": physics.inference_gpus(p, episode.totals.served_wk_gpuh) + held_gpus,
        "job_gpus": held_gpus,
        "gpu_short": flows.gpu_short,
        "available_gpus": exo.available_gpus,
        "buy_usd_per_mwh": exo.buy_usd_per_mwh,
        "sell_usd_per_mwh": exo.sell_usd_per_mwh,
        "carbon_kg_per_mwh": physics.billed_carbon_kg_per_mwh(p, exo),
        "carbon_average_kg_per_mwh": exo.carbon_average_kg_per_mwh,
        "carbon_marginal_kg_per_mwh": exo.carbon_marginal_kg_per_mwh,
    }
    return _columns(by_site, episode.instance.compiled.site_names)


def line_columns(episode: PlayedEpisode) -> dict[str, Array]:
    """Return each line, import above it and how far it is called, and what power modes save, [T] each."""
    instance, flows = episode.instance, episode.flows
    compiled, before = instance.compiled, episode.before
    out: dict[str, Array] = {}
    line_mw = physics.line_mw(before, instance.exogenous)
    for rule in compiled.lines.rules:
        name = f"{compiled.site_names[rule.site]}/{rule.spec.name}"
        if rule.call >= 0:
            out[f"called_share/{name}"] = instance.knowledge.call_depth[:, rule.call]
        if rule.slot < 0:
            out[f"line_mw/{name}"] = instance.exogenous.import_limit_mw[:, rule.site]
        else:
            out[f"line_mw/{name}"] = line_mw[:, rule.slot, rule.site]
            out[f"line_excess_mw/{name}"] = flows.line_excess_mw[:, rule.slot, rule.site]
    if instance.params.has_modes:
        out |= _columns({"saving_mw": flows.saving_mw}, compiled.site_names)
    return out


def row_columns(episode: PlayedEpisode) -> dict[str, Array]:
    """Return work of each row, summed over regions, [T] each."""
    exo, flows = episode.instance.exogenous, episode.flows
    by_row: dict[str, Array] = {
        "arrivals_gpuh": exo.arrivals_gpuh.sum(-2),
        "served_gpuh": flows.served_gpuh.sum((-1, -3)),
        "dropped_gpuh": flows.dropped_gpuh.sum(-2),
        "backlog_gpuh": episode.after.backlog_gpuh.sum(-2),
    }
    return _columns(by_row, episode.instance.compiled.row_names)


def route_columns(episode: PlayedEpisode) -> dict[str, Array]:
    """Return the work of a region that each site does, and its share in the region's served work, [T] each.

    The share is 0 where nothing is served.
    """
    compiled = episode.instance.compiled
    served = episode.flows.served_gpuh.sum(-2)
    total = served.sum(-1, keepdims=True)
    share = np.where(total > 0.0, served / np.where(total > 0.0, total, 1.0), 0.0)
    return {
        f"{name}/{region} to {site}": values[:, c, k]
        for name, values in (("route_share", share), ("routed_gpuh", served))
        for c, region in enumerate(compiled.region_names)
        for k, site in enumerate(compiled.site_names)
    }


def _columns(by_place: dict[str, Array], places: tuple[str, ...]) -> dict[str, Array]:
    return {
        f"{name}/{place}": value[:, i] for name, value in by_place.items() for i, place in enumerate(places)
    }


def write_table(table: Table, path: Path) -> None:
    """Write a table as CSV with a header, atomically; numbers in full precision, times as ISO 8601 with Z."""
    with atomic_write(path) as partial, open(partial, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(table.dtype.names or ())
        for row in table:
            writer.writerow([f"{v}Z" if isinstance(v, np.datetime64) else v.item() for v in row])
