"""Report of a scenario as lines of text: sizes, rows, capacity, routes, jobs, demand, traces, lines."""

from collections.abc import Iterator
from math import prod

import numpy as np

from gridai_env.episodes.calls_of_file import calls_of_file
from gridai_env.episodes.demand_shape import regional_table
from gridai_env.episodes.forecast import day_steps, publication_words
from gridai_env.episodes.instance import make_batch
from gridai_env.episodes.starts import check_renewables, mean_contracts, table_starts
from gridai_env.observation.layout import ObservationLayout
from gridai_env.scenario.capacity import full_load_mw, peak_demand_gpus
from gridai_env.scenario.compile import Compiled
from gridai_env.scenario.geography import LAYERS
from gridai_env.scenario.lines import points_of
from gridai_env.scenario.power_modes import above_hull
from gridai_env.traces import TraceTable, read_table
from gridai_env.world.actions import Layout
from scripts.studies.lines_report import lines

SHOWN_BAD = 3
REASONS = ("latency", "law", "state", "support")


def report(compiled: Compiled) -> Iterator[str]:
    """Yield the lines of the report; raises TraceError where the traces do not cover the scenario."""
    for section in (sizes, rows, capacity, routes, jobs, demand, traces, lines):
        yield from section(compiled)
        yield ""
    yield "valid"


def sizes(c: Compiled) -> Iterator[str]:
    """Yield the sizes of the scenario, the action and the episode."""
    s, shape = c.scenario, c.shape
    yield f"{s.name}: {s.description}"
    yield f"hash {c.hash[:16]}"
    first, last, hour = s.start.first, s.start.last, s.start.hour_utc
    yield f"{shape.steps} steps of {shape.dt_h:g} h; starts {first} to {last}, {hour}:00 UTC"
    if c.forecast.kind == "published":
        yield publication_words(c)
    counts = (shape.regions, shape.rows, shape.sites, shape.jobs, shape.slots)
    yield "{} regions, {} rows, {} sites, {} jobs in {} slots".format(*counts)
    parts = ", ".join(f"{name} {prod(part)}" for name, part in Layout(shape).parts.items())
    yield f"action: {Layout(shape).size} entries ({parts})"
    layout = ObservationLayout(c)
    groups = ", ".join(f"{name} {part.stop - part.start}" for name, part in layout.parts.items())
    yield f"observation: {layout.size} entries ({groups})"


def rows(c: Compiled) -> Iterator[str]:
    """Yield one line for each workload row."""
    yield f"{'row':28s}{'share':>8s}{'budget ms':>12s}{'may wait h':>12s}{'open routes':>13s}"
    for w, name in enumerate(c.row_names):
        wait_h = c.row_wait_steps[w] * c.shape.dt_h
        share, budget, is_open = c.row_share[w], c.geography.budget_ms[w], c.geography.open[:, w].mean()
        yield f"{name:28s}{share:8.1%}{budget:12,.0f}{wait_h:12g}{is_open:13.0%}"


def capacity(c: Compiled) -> Iterator[str]:
    """Yield one line for each site: capacity against the peak of local demand, and power."""
    sites = c.scenario.sites
    peak = peak_demand_gpus(c.scenario)
    usable = c.params.gpus * c.params.utilisation_limit * c.params.speed

    header = f"{'GPUs':>10s}{'usable':>10s}{'local peak':>12s}{'full MW':>9s}{'import MW':>11s}"
    yield f"{'site':20s}{header}{'battery MWh':>13s}"
    for k, site in enumerate(sites):
        full = full_load_mw(site, c.params.gpus[k])
        stored = site.battery.capacity_mwh if site.battery else 0.0
        numbers = f"{c.params.gpus[k]:10,.0f}{usable[k]:10,.0f}{peak[k]:12,.0f}{full:9.1f}"
        yield f"{site.name:20s}{numbers}{c.import_limit_mw[k]:11.1f}{stored:13.1f}"
        local = site.pv_mw + site.wind_mw + (site.generator.capacity_mw if site.generator else 0.0)
        if full > c.import_limit_mw[k] + local:
            yield "  note: full load exceeds import and local generation; work will be cut at the peak"
        for curve in site.power_modes:
            for speed, kw, hull_kw in above_hull(points_of(site, curve)):
                yield (
                    f"  note: power mode of {kw:g} kW at speed {speed:g} is dropped: a mix of idle and other modes has "
                    f"that speed at {hull_kw:.4g} kW"
                )
    yield f"capacity / sum of local peaks: {usable.sum() / peak.sum():.2f}"


def routes(c: Compiled) -> Iterator[str]:
    """Yield how many routes away from home are closed and why, layers, and homes that miss the budget."""
    geo = c.geography
    away = ~geo.home[:, None, :] & np.ones_like(geo.open)
    yield f"routes away from home: {away.sum()}, open {(geo.open & away).sum()}"
    for reason in REASONS:
        mask = getattr(geo, f"by_{reason}")
        others = np.all([getattr(geo, f"by_{r}") for r in REASONS if r != reason], axis=0)
        alone = (~mask & others & away).sum()
        yield f"  closed by {reason:8s} {(~mask & away).sum():5d}, by it alone {alone:5d}"

    counts = [f"{name} {(geo.open & (geo.layer == i)).sum()}" for i, name in enumerate(LAYERS)]
    yield "open routes by layer, home included: " + ", ".join(counts)
    for r, w in np.argwhere(geo.home_misses_budget):
        took = geo.latency_ms[r, w, c.home_site[r]]
        budget = geo.budget_ms[w]
        where = f"home of {c.region_names[r]} misses the budget of {c.row_names[w]}"
        yield f"  {where}: {took:.0f} > {budget:.0f} ms"


def jobs(c: Compiled) -> Iterator[str]:
    """Yield one line for each training job."""
    yield "no jobs" if not c.job_names else f"{'job':20s}{'GPUs':>9s}{'hours':>7s}{'window h':>14s}  sites"
    dt = c.shape.dt_h
    for j, name in enumerate(c.job_names):
        window = f"{c.job_release_steps[j] * dt:g}-{c.job_deadline_steps[j] * dt:g}"
        sites = ", ".join(n for n, ok in zip(c.site_names, c.job_allowed[j], strict=True) if ok)
        yield f"{name:20s}{c.job_gpus[j]:9,.0f}{c.job_duration_steps[j] * dt:7g}{window:>14s}  {sites}"
    if c.jobs_provenance is not None:
        yield f"  drawn: {c.jobs_provenance}"


def demand(c: Compiled) -> Iterator[str]:
    """Yield where demand comes from; a file is read and an episode of seed 0 made of it, which raises TraceError."""
    if c.demand.source == "synthetic":
        yield "demand: synthetic"
        return
    batch = make_batch(c, [0])
    hourly = batch.exogenous.arrivals_gpuh[0].sum(-1) / c.shape.dt_h
    yield f"demand: {batch.provenance[0]['demand']}"
    table = regional_table(c.demand)
    for region, gpus in zip(c.region_names, hourly.T, strict=True):
        yield from () if table is None else covered(table, region, round(c.shape.dt_h * 60))
        yield f"  {region} on seed 0: mean {gpus.mean():,.0f}, peak {gpus.max():,.0f} GPUs"
    usable = float((c.params.gpus * c.params.utilisation_limit * c.params.speed).sum())
    if over := int((hourly.sum(1) > usable).sum()):
        yield f"  note: in {over} of {len(hourly)} steps more than all {usable:,.0f} usable GPUs (capacity_slack)"


def traces(c: Compiled) -> Iterator[str]:
    """Yield what the traces cover; raises TraceError where a zone is missing or no episode fits."""
    zones = c.sites.zones
    if c.traces == "synthetic":
        yield f"traces: synthetic, zones {', '.join(zones)}"
        return
    table = read_table(c.traces)
    yield f"traces: {c.traces}, {len(table.zones)} zones, {len(zones)} in use"
    calls = calls_of_file(c, table)
    table = table if calls is None else calls.table
    if table.unused:
        yield f"  columns not used: {', '.join(table.unused)}"

    for zone in zones:
        yield from zone_of_file(table, zone, round(c.shape.dt_h * 60))
    yield from (f"  calls of {text}" for text in (() if calls is None else calls.words))
    check_renewables(c, table)
    yield from (f"  note: {text}" for text in mean_contracts(c, table))
    starts, how = table_starts(c, table, day_steps(c.shape.dt_h), regional_table(c.demand))
    yield f"  starts {how}: {starts.min()} to {starts.max()} UTC, a day of history before each"


def covered(table: TraceTable, place: str, step_min: int) -> Iterator[str]:
    """Yield what the rows of a zone or region cover, and what is wrong with the bad ones."""
    axis = table.axis(place)
    bad = np.flatnonzero(~axis.usable)
    yield f"  {table.coverage(place)}; {table.steps_of(place, step_min)}"
    yield from (f"    bad: {axis.fault_at(int(cell))[0]}" for cell in bad[1:SHOWN_BAD])
    if bad.size > SHOWN_BAD:
        yield f"    ... {bad.size - SHOWN_BAD} more"


def zone_of_file(table: TraceTable, zone: str, step_min: int) -> Iterator[str]:
    """Yield what a zone of a trace file has: step, gaps, statistics by column, what stands for missing columns."""
    axis = table.axis(zone)
    yield from covered(table, zone, step_min)
    yield f"    {'column':28s}{'count':>8s}{'gaps':>7s}{'minimum':>10s}{'mean':>10s}{'maximum':>10s}  source"

    of_sites = dict.fromkeys(table.of_sites.get(zone, ()), "from the file")
    for name, source in (table.origin(zone) | of_sites).items():
        numbers = " " * 45
        if name in table.raw.columns:
            good = axis.good(name)
            numbers = f"{good.size:8d}{len(axis.fault) - good.size:7d}"
            figures = (good.min(), good.mean(), good.max()) if good.size else (np.nan,) * 3
            numbers += "".join(f"{value:10.4g}" for value in figures)
        yield f"    {name:28s}{numbers}  {source}"
    yield from (f"    note: {text}" for text in axis.unusual)
