"""Make a batch of episodes: starts, traces, demand, jobs, events, last-resort prices, forecasts, in this order.

Everything is elementwise over the batch, and each feature of each episode draws from a generator of its own,
so that an episode does not depend on its neighbours.  Shapes as in `gridai_env.episodes.instance`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gridai_env.arrays.draws import Draws, EpisodeDraws
from gridai_env.arrays.ops import as_float64, constant, namespace
from gridai_env.arrays.record import Record
from gridai_env.arrays.types import Array, Bool, Bools, Float, Floats, Floats32, Int, Ints
from gridai_env.episodes import starts
from gridai_env.episodes.calls import CallTable, draw_calls
from gridai_env.episodes.calls_of_file import calls_of_file
from gridai_env.episodes.demand import Demand, draw_demand, first_placement_gpuh
from gridai_env.episodes.demand_shape import regional_table
from gridai_env.episodes.deviation import month_hours_utc, synthetic_deviation
from gridai_env.episodes.events import EventTable, draw_events
from gridai_env.episodes.exogenous import (
    ForecastBase,
    SiteSeries,
    billed_and_other,
    exogenous_arrays,
    forecast_background,
    site_series,
    usual_deviations,
)
from gridai_env.episodes.expectation import outlook
from gridai_env.episodes.forecast import (
    Background,
    ForecastSet,
    ahead,
    day_ahead,
    day_steps,
    persistence,
    publication,
    publication_words,
    with_published,
)
from gridai_env.episodes.jobs import JobTable, draw_jobs
from gridai_env.episodes.last_resorts import last_resort_prices
from gridai_env.episodes.lines import LineCalendars, check_response
from gridai_env.scenario.compile import Compiled
from gridai_env.traces import TraceTable, ZoneSeries, synthetic_series
from gridai_env.world.state import INSTANCE_FIELDS, Exogenous, State


@dataclass(frozen=True)
class Knowledge(Record):
    """Climatology, the day of history before the start, and what reports need of the truth."""

    climatology: Float[Floats32, "*batch T S"]  # by month and hour; series as in the forecast
    history: Float[Floats32, "*batch L S"]  # the day before the start
    history_pue: Float[Floats, "*batch L K"]
    history_other_carbon_kg_per_mwh: Float[Floats, "*batch L K"]  # the signal that is not billed
    event_active: Bool[Bools, "*batch T E"]  # the truth; agents must not see the future of unannounced events
    job_order: Int[Ints, "*batch J"]  # index of each job in the scenario
    call_depth: Float[Floats, "*batch T Q"]  # the truth, see `calls.CallTable`
    call_known_from: Int[Ints, "*batch T Q"]


@dataclass(frozen=True)
class World(Record):
    """Everything drawn for a batch of episodes, as NumPy arrays or as tensors on one device."""

    sites: SiteSeries
    exogenous: Exogenous
    background: Background
    forecast: ForecastSet
    params_of_instance: dict[str, Array]  # the INSTANCE_FIELDS, [B,...] each
    calls: CallTable
    initial: State


def batch_parts(
    compiled: Compiled,
    seeds: Sequence[int],
    traces: TraceTable | None,
    start: starts.Start | Sequence[starts.Start] | starts.Starts | None,
) -> dict[str, Any]:
    """Return the fields of the `InstanceBatch` of these seeds; ``traces`` None means synthetic."""
    seeds = starts.checked_seeds(seeds)
    shape = compiled.shape
    lead_in = day_steps(shape.dt_h)
    series, base, how, expected = find_series(compiled, seeds, lead_in, traces, start)
    start_utc = series.start_utc + np.timedelta64(round(lead_in * shape.dt_h * 60), "m")
    demand = draw_demand(compiled, start_utc, lead_in, starts.streams(seeds, "demand"))
    jobs = draw_jobs(compiled, starts.streams(seeds, "jobs"))
    events = draw_events(compiled, starts.streams(seeds, "events"))

    draws = EpisodeDraws(starts.streams(seeds, "forecast"))
    calendars = LineCalendars.of(compiled, start_utc)
    calling = EpisodeDraws(starts.streams(seeds, "calls"))
    of_file = None if traces is None else calls_of_file(compiled, traces)
    given = None if of_file is None else of_file.at(start_utc, shape.steps)
    world = make_world(compiled, series, demand, jobs, events, base, draws, calendars, calling, given)
    check_response(compiled, vars(world.exogenous))
    common = {"start": how, **series.provenance}
    if of_file is not None:
        common["calls"] = "; ".join(of_file.words)
    if traces is not None and (means := starts.mean_contracts(compiled, traces)):
        common["contracts"] = "; ".join(means)

    return {
        "compiled": compiled,
        "seeds": seeds,
        "start_utc": start_utc,
        "params": compiled.params.replace(**world.params_of_instance),
        "exogenous": world.exogenous,
        "initial": world.initial,
        "forecast": world.forecast,
        "knowledge": _knowledge(compiled, world, events, jobs, lead_in),
        "provenance": _provenance(compiled, common, expected, demand, len(seeds)),
    }


def _knowledge(
    compiled: Compiled, world: World, events: EventTable, jobs: JobTable, lead_in: int
) -> Knowledge:
    """Return what may be known beside the present and the forecasts; ``lead_in`` steps of history come first."""
    sites = world.sites
    _, other_carbon = billed_and_other(
        compiled, sites.carbon_average_kg_per_mwh, sites.carbon_marginal_kg_per_mwh
    )

    return Knowledge(
        climatology=world.background.climatology[:, lead_in:],
        history=world.background.truth[:, :lead_in],
        history_pue=sites.pue[:, :lead_in],
        history_other_carbon_kg_per_mwh=other_carbon[:, :lead_in],
        event_active=events.active,
        job_order=jobs.order,
        call_depth=world.calls.depth,
        call_known_from=world.calls.known_from,
    )


def make_world(
    compiled: Compiled,
    series: ZoneSeries,
    demand: Demand,
    jobs: JobTable,
    events: EventTable,
    base: ForecastBase,
    draws: Draws,
    calendars: LineCalendars,
    calling: Draws,
    given: CallTable | None = None,
) -> World:
    """Return what follows from the drawn series, demand, jobs and events; ``draws`` are those of the forecasts,
    ``calling`` those of calls; ``given``: the calls of lines for which none are drawn."""
    sites = site_series(compiled, series)
    usual_usd = sites.buy_usd_per_mwh[:, -compiled.shape.steps :]
    calls = draw_calls(compiled, calendars.calls, usual_usd, calling)
    if given is not None:
        calls = calls.beside(given)
    exogenous = exogenous_arrays(compiled, sites, demand, jobs, events, calls, calendars.baselines)
    background = forecast_background(compiled, sites, demand, series, base)
    return World(
        sites=sites,
        exogenous=exogenous,
        background=background,
        forecast=make_forecast(compiled, background, exogenous.buy_usd_per_mwh, events, draws),
        params_of_instance=instance_params(compiled, jobs, exogenous),
        calls=calls,
        initial=initial_state(compiled, demand),
    )


def _provenance(
    compiled: Compiled, common: dict[str, str], expected: list[dict[str, str]], demand: Demand, count: int
) -> tuple[dict[str, str], ...]:
    """Return for each episode where its start, zones and, where they are not synthetic, demand and jobs came
    from."""
    if compiled.forecast.kind == "published":
        common["publication"] = publication_words(compiled)
    if compiled.jobs_provenance is not None:
        common["jobs"] = compiled.jobs_provenance
    of_demand: tuple[dict[str, str], ...] = tuple({"demand": text} for text in demand.provenance)
    of_zone = [{zone: f"{common[zone]}; {text}" for zone, text in own.items()} for own in expected]
    parts = zip(of_zone or ({},) * count, of_demand or ({},) * count, strict=True)
    return tuple({**common, **of_zones, **own} for of_zones, own in parts)


def find_series(
    compiled: Compiled,
    seeds: Sequence[int],
    lead_in: int,
    table: TraceTable | None,
    start: starts.Start | Sequence[starts.Start] | starts.Starts | None,
) -> tuple[ZoneSeries, ForecastBase, str, list[dict[str, str]]]:
    """Return the series of the zones from ``lead_in`` steps before each start to the end, [B,L+T,Z].

    Also what forecasts are made from, how starts were chosen, and by episode where the expectation of each zone of a
    file comes from.
    """
    zones, dt_h = compiled.sites.zones, compiled.shape.dt_h
    steps = lead_in + compiled.shape.steps
    of_file = None if table is None else calls_of_file(compiled, table)
    rows = table if of_file is None else of_file.table
    if table is not None:
        starts.check_renewables(compiled, table)
    if start is not None:
        start_utc, how = starts.given_starts(start, len(seeds), dt_h), "fixed"
    else:
        choices, how = compiled.synthetic_starts, "drawn from the scenario's dates"
        regional = regional_table(compiled.demand)
        if table is not None or regional is not None:
            choices, how = starts.table_starts(compiled, rows, lead_in, regional)
        start_utc = starts.draw_starts(choices, seeds)

    published = None
    if compiled.forecast.kind == "published":
        published = publication(compiled, start_utc, 0, compiled.shape.steps)

    # The history before the start is read, too: forecasts and reports need it.
    first = start_utc - np.timedelta64(round(lead_in * dt_h * 60), "m")
    if table is None or rows is None:
        series = synthetic_series(zones, first, steps, dt_h, starts.streams(seeds, "traces"))
        usual = usual_deviations(compiled, synthetic_deviation(zones))
        row = month_hours_utc(start_utc, 0, compiled.shape.steps, dt_h)
        return series, ForecastBase(*usual, row, None, published), how, []

    seen = outlook(table, rows.window(zones, first, steps, dt_h), start_utc)
    row = np.repeat(np.arange(len(seeds))[:, None], compiled.shape.steps, axis=1)
    blind = seen.blind if seen.blind.any() else None
    base = ForecastBase(*usual_deviations(compiled, seen.deviation), row, blind, published)
    return seen.series, base, how, seen.provenance


def make_forecast(
    compiled: Compiled, background: Background, buy_usd_per_mwh: Array, events: EventTable, draws: Draws
) -> ForecastSet:
    """Return the forecasts of all series.  ``buy_usd_per_mwh`` [B,T,K] is the true price with its events."""
    rules, shape = compiled.forecast, compiled.shape
    leads, contracts = rules.lead_steps, len(compiled.lines.matching)
    if rules.kind in ("day_ahead", "published"):
        # Noise is drawn before the shocks, so that a foreseen shock is foreseen in full.
        values = day_ahead(rules, shape.dt_h, background, draws)
        if background.blind is not None:
            last_day = persistence(background.truth, shape.steps, leads, day_steps(shape.dt_h))
            values = np.where(background.blind[:, None, None], last_day, values)
        values = with_published(values, background, leads)
        for i, lead in enumerate(leads if events.of_kind("price") else ()):
            price = values[:, :, i : i + 1, : shape.sites]
            price[...] = events.at_leads([lead], rules.kind).shocked_usd_per_mwh(as_float64(price))
        return ForecastSet(values, shape.sites, leads, contracts=contracts)

    seen = namespace(background.truth).copy(background.truth)
    seen[:, -shape.steps :, : shape.sites] = buy_usd_per_mwh
    if rules.kind == "perfect":
        values = ahead(seen[:, -shape.steps :], leads)
    else:
        values = persistence(seen, shape.steps, leads, day_steps(shape.dt_h))
    return ForecastSet(values, shape.sites, leads, contracts=contracts)


def instance_params(compiled: Compiled, jobs: JobTable, exogenous: Exogenous) -> dict[str, Array]:
    """Return the jobs and the last-resort prices of each episode: the INSTANCE_FIELDS."""
    shed, gpu_short = last_resort_prices(compiled.params, exogenous)
    sites = constant(np.ones(compiled.shape.sites), shed)
    values = (jobs.gpus, jobs.profile, jobs.value_usd, shed[:, None] * sites, gpu_short[:, None] * sites)
    return dict(zip(INSTANCE_FIELDS, values, strict=True))


def initial_state(compiled: Compiled, demand: Demand) -> State:
    """Return the state before the first step: no backlog, no running job, the first arrivals placed at
    home."""
    shape = compiled.shape
    first_gpuh = demand.arrivals_gpuh[:, 0]
    xp, episodes = namespace(first_gpuh), first_gpuh.shape[0]

    def each(values: np.ndarray) -> Array:
        """Return every episode with the same values, as memory of its own."""
        return xp.copy(xp.broadcast_to(constant(values, first_gpuh), (episodes, *values.shape)))

    return State(
        backlog_gpuh=xp.zeros_like(first_gpuh),
        battery_mwh=each(compiled.start_battery_mwh),
        placed_gpuh=first_placement_gpuh(first_gpuh, compiled.params.home, compiled.row_wait_steps),
        generation_mw=each(compiled.start_generation_mw),
        committed_gpus=each(np.zeros((shape.sites, shape.job_steps))),
        waiting=each(np.ones(shape.jobs)),
        peak_import_mw=each(np.zeros(shape.sites)),
        carbon_kg=each(np.zeros(())),
        baseline_sum_mw=each(np.zeros((shape.sites, shape.day_steps))),
        day_before_mw=each(np.zeros((shape.sites, shape.day_steps))),
    )
