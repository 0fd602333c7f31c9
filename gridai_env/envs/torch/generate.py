"""Episodes made on the device: the functions that make NumPy episodes, fed with the draws of one torch generator.

What the host knows in advance (time zones, calendar, calibration) is moved to the device once, for every possible
start; a draw is then random numbers, look-ups and arithmetic, and nothing waits for the device.  The episodes have the
distribution of `make_batch`'s but not its random numbers: an episode here has no seed of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gridai_env.arrays import torch_ops as tensors
from gridai_env.arrays.draws import Draws
from gridai_env.arrays.torch_ops import batch_innermost
from gridai_env.arrays.types import Float, Int
from gridai_env.envs.episode_arrays import EpisodeArrays
from gridai_env.episodes.build import make_world
from gridai_env.episodes.demand import Week, synthetic_demand, week_gpuh, week_places
from gridai_env.episodes.deviation import month_hours_utc, synthetic_deviation
from gridai_env.episodes.events import draw_events
from gridai_env.episodes.exogenous import ForecastBase, usual_deviations
from gridai_env.episodes.forecast import Publication, day_steps, publication
from gridai_env.episodes.jobs import draw_jobs
from gridai_env.episodes.lines import LineCalendars
from gridai_env.episodes.starts import STREAMS
from gridai_env.scenario.compile import Compiled
from gridai_env.traces.series import StepGrid, ZoneSeries, step_grid
from gridai_env.traces.synthetic import month_hour_cells, series_of_model
from gridai_env.traces.zone_tables import ZoneModel, zone_model

# Episodes made at a time: few enough for the processor's cache, or for the memory of a device.
AT_ONCE = {"cpu": 64}
AT_ONCE_ON_DEVICE = 256

# Episodes with more and higher spikes: the trigger, a standard normal, needs so much less to set a spike off (ten times
# as many where 1 % of hours spike), and what lies above the cap of ordinary prices is so many times as much.
SOONER, HIGHER = 1.0, 8.0

# A zone that runs short of power, as Texas did in February 2021: for so many hours its prices stand at a level, drawn
# evenly in its logarithm.
SHORT_H, SHORT_USD_PER_MWH = (6.0, 96.0), (500.0, 10_000.0)


@dataclass(frozen=True)
class StartCalendar:
    """Table indices by clock and calendar at each of n possible starts; letters as in `episodes.instance`."""

    minutes: Int[Tensor, " n"]  # since 1970 (UTC)
    cells: Int[Tensor, "hours Z n"]  # see `month_hour_cells`
    places: Int[Tensor, "L+T C n"]  # see `week_places`
    month_hour: Int[Tensor, "T n"]  # month * 24 + hour in UTC
    published: tuple[Tensor, Tensor] | None  # [T,K,n] each: `Publication`
    hours: int
    lines: LineCalendars  # [n,...]
    grid: tuple[Tensor, Tensor, Tensor] | None  # [L+T,n] each: held, left and weight of `StepGrid`


class BatchDraws:
    """Draws of a whole batch from one generator, the batch axis innermost in memory."""

    def __init__(self, generator: torch.Generator, count: int, dtype: torch.dtype) -> None:
        """Draw for ``count`` episodes on the device of the generator."""
        self._generator, self._count, self._dtype = generator, count, dtype

    def __len__(self) -> int:
        return self._count

    def parts(self, size: int) -> Iterator[slice]:
        """Yield all episodes at once."""
        yield slice(0, self._count)

    def normals(self, part: slice, *shape: int) -> Float[Tensor, "B ..."]:
        """Return standard normals [B,*shape]."""
        return self._drawn(torch.randn, shape, self._dtype)

    def uniforms(self, part: slice, *shape: int) -> Float[Tensor, "B ..."]:
        """Return numbers evenly from [0, 1), [B,*shape]."""
        return self._drawn(torch.rand, shape, self._dtype)

    def coarse_normals(self, part: slice, *shape: int) -> Float[Tensor, "B ..."]:
        """Return standard normals, float32 [B,*shape]."""
        return self._drawn(torch.randn, shape, torch.float32)

    def indices(self, count: int) -> Int[Tensor, " B"]:
        """Return integers evenly from 0 to count - 1, int64 [B]."""
        return self._drawn(partial(torch.randint, count), (), torch.int64)

    def _drawn(self, function: Any, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        size = (*shape, self._count)
        drawn: Tensor = function(size, generator=self._generator, dtype=dtype, device=self._generator.device)
        return drawn.movedim(-1, 0)


class TorchEpisodeGenerator:
    """Draws episodes of one scenario on one device."""

    def __init__(
        self,
        compiled: Compiled,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        seed: int | None = None,
        at_once: int | None = None,
        spikes: float = 0.0,
        shortages: float = 0.0,
    ) -> None:
        """Move what the scenario knows to the device.

        ``seed``: of the generator, None: another one each time.  ``at_once``: episodes made at a time.
        ``spikes``: share of the episodes with more and higher price spikes than calibrated (see `SOONER`).
        ``shortages``: share of the episodes that have hours of shortage in a zone (see `SHORT_H`).
        Raises ValueError where traces or demand of the scenario come from files: such episodes are made on the host.
        """
        for name, source in (("traces", compiled.traces), ("demand", compiled.demand.source)):
            if source != "synthetic":
                raise ValueError(
                    f"{name} = {str(source)!r}: episodes from files are not made on a device; make them on the host "
                    f"(episodes='host') or use {name}='synthetic'"
                )

        self.compiled, self.dtype = compiled, dtype
        self.generator = torch.Generator(device=device)
        self.device = self.generator.device
        self._at_once = at_once or AT_ONCE.get(self.device.type, AT_ONCE_ON_DEVICE)

        zones = compiled.sites.zones
        self._model: ZoneModel = zone_model(zones).map(self._real)
        higher = self._model.spike_mean_excess_usd_per_mwh * HIGHER
        sooner = self._model.spike_level - SOONER
        self.spikes, self.shortages = spikes, shortages
        self._wild = replace(self._model, spike_level=sooner, spike_mean_excess_usd_per_mwh=higher)
        self._week: Week = week_gpuh(compiled).map(self._real)
        by_month_hour, sun_mw = usual_deviations(compiled, synthetic_deviation(zones))
        self._usual = torch.as_tensor(by_month_hour, device=self.device), sun_mw
        self._starts = possible_starts(compiled, zones, self._real, self._there)
        self.seed(seed)

    def _there(self, x: np.ndarray) -> Tensor:
        return torch.as_tensor(x, device=self.device)

    def _real(self, x: np.ndarray) -> Tensor:
        return torch.as_tensor(x, dtype=self.dtype, device=self.device)

    def seed(self, seed: int | None = None) -> None:
        """Start the generator anew; None: with a seed from the system."""
        if seed is None:
            self.generator.seed()
        else:
            self.generator.manual_seed(seed)

    def draw(self, count: int) -> EpisodeArrays:
        """Return ``count`` new episodes."""
        if count < 1:
            raise ValueError(f"count = {count}: must be at least 1")
        wild = round(self.spikes * count)
        chunks = [
            (model, min(self._at_once, number - done))
            for model, number in ((self._wild, wild), (self._model, count - wild))
            for done in range(0, number, self._at_once)
        ]
        room: EpisodeArrays | None = None
        first = 0
        for model, number in chunks:
            few = self.make(dict.fromkeys(STREAMS, BatchDraws(self.generator, number, self.dtype)), model)
            if number == count:
                return few
            if room is None:
                room = few.map(lambda x: tensors.empty((count, *x.shape[1:]), x))

            for target, values in zip(all_of(room), all_of(few), strict=True):
                target[first : first + number] = values
            first += number
        assert room is not None
        return room

    def make(self, draws: Mapping[str, Draws], model: ZoneModel | None = None) -> EpisodeArrays:
        """Return the episodes that follow from draws, one kind for each of `starts.STREAMS`; ``model``: of prices."""
        compiled, starts = self.compiled, self._starts
        chosen = draws["start"].indices(len(starts.minutes))

        def of_start(table: Tensor) -> Tensor:
            return table[..., chosen].movedim(-1, 0)

        minutes, cells, month_hour = map(of_start, (starts.minutes, starts.cells, starts.month_hour))
        held = map(of_start, starts.grid) if starts.grid else (None,) * 3
        grid = StepGrid(minutes, starts.hours, *held)
        series = series_of_model(
            model or self._model, grid, cells, minutes, compiled.shape.dt_h, draws["traces"]
        )
        if self.shortages:
            series = with_shortages(series, draws["traces"], self.shortages)
        demand = synthetic_demand(compiled, self._week, of_start(starts.places), draws["demand"])
        jobs = draw_jobs(compiled, draws["jobs"])
        events = draw_events(compiled, draws["events"])
        published = Publication(*map(of_start, starts.published)) if starts.published else None
        base = ForecastBase(*self._usual, month_hour, published=published)
        lines = starts.lines.take(chosen)
        world = make_world(
            compiled, series, demand, jobs, events, base, draws["forecast"], lines, draws["calls"]
        )
        return EpisodeArrays(
            compiled=compiled,
            exogenous=world.exogenous.map(batch_innermost),
            params_of_instance={
                name: batch_innermost(values) for name, values in world.params_of_instance.items()
            },
            initial=world.initial.map(batch_innermost),
            forecast=batch_innermost(world.forecast.values).to(self.dtype),
            event_active=batch_innermost(events.active),
            start_minutes=minutes,
            call_depth=batch_innermost(world.calls.depth),
            call_known_from=batch_innermost(world.calls.known_from),
        )


def with_shortages(series: ZoneSeries, draws: Draws, share: float) -> ZoneSeries:
    """Return series of which a share has hours of shortage, each zone by itself, centred on a random step of theirs."""
    price = series.price_usd_per_mwh
    steps, zones = price.shape[1:]
    chance, middle, length, level = draws.uniforms(slice(0, len(draws)), 4, zones).to(price.dtype).unbind(1)
    shortest_h, longest_h = SHORT_H
    low, high = SHORT_USD_PER_MWH
    half = (shortest_h + (longest_h - shortest_h) * length) / series.dt_h / 2.0
    away = (torch.arange(steps, device=price.device)[:, None] - (middle * steps)[:, None]).abs()
    is_short = (chance < 1.0 - (1.0 - share) ** (1.0 / zones))[:, None] & (away <= half[:, None])
    raised = torch.maximum(price, (low * (high / low) ** level)[:, None])
    return replace(series, price_usd_per_mwh=torch.where(is_short, raised, price))


def possible_starts(compiled: Compiled, zones: tuple[str, ...], real: Any, there: Any) -> StartCalendar:
    """Return the calendar at every possible start of a scenario; ``real`` and ``there`` move arrays to the device."""
    dt_h = compiled.shape.dt_h
    lead_in = day_steps(dt_h)
    starts = compiled.synthetic_starts
    # Forecasts by persistence look back a day, so the calendar begins a day earlier.
    first = starts - np.timedelta64(round(lead_in * dt_h * 60), "m")
    grid = step_grid(first, lead_in + compiled.shape.steps, dt_h)

    def last(x: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(np.moveaxis(x, 0, -1))

    lies = None
    if grid.held is not None and grid.left is not None and grid.weight is not None:
        lies = there(last(grid.held)), there(last(grid.left)), real(last(grid.weight))
    published = None
    if compiled.forecast.kind == "published":
        known = publication(compiled, starts, 0, compiled.shape.steps)
        published = there(last(known.day)), there(last(known.last))
    return StartCalendar(
        minutes=there(starts.astype("datetime64[m]").astype(np.int64)),
        cells=there(last(month_hour_cells(zones, grid.first_hour, grid.hours))),
        places=there(last(week_places(compiled, starts, lead_in))),
        month_hour=there(last(month_hours_utc(starts, 0, compiled.shape.steps, dt_h))),
        published=published,
        hours=grid.hours,
        lines=LineCalendars.of(compiled, starts).map(there, real),
        grid=lies,
    )


def all_of(episodes: EpisodeArrays) -> list[Tensor]:
    """Return the tensors of episodes, always in the same order."""
    found: list[Tensor] = []

    def note(x: Tensor) -> Tensor:
        found.append(x)
        return x

    episodes.map(note)
    return found
