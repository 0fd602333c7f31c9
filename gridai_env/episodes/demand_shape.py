"""Align a demand file with an episode: each region at its own local time, the day drawn from the seed.

The file's midnight is aligned with the local midnight before the first step of any region, then shifted by the whole
days that were drawn, the same for all regions; weekdays are not matched.  Days on which the episode, with its history,
would run over the end or into a hole of the file are not drawn.

A file of less than a day has no time of day: it is used only where ``repeat`` says so, end to end, for episodes no
longer than itself (the past that forecasts look back on is then a repetition).  ``repeat`` lets a longer
file begin again after its last whole day.

Shapes: B episodes, X steps (history first), C regions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np

from gridai_env.arrays.types import Float, Floats, Int, Ints
from gridai_env.episodes.expectation import LEVEL_DAYS, PAST_DAYS, demand_outlook, zone_past
from gridai_env.scenario.compile import Compiled
from gridai_env.scenario.spec import DemandSpec
from gridai_env.traces import TraceError, TraceTable
from gridai_env.traces.files.demand import DemandTrace, read_demand, read_regions
from gridai_env.traces.local_time import (
    MINUTES_PER_DAY,
    MINUTES_PER_HOUR,
    local_minutes,
    offset_minutes,
    step_minutes,
)
from gridai_env.world.state import Shape

LEAST_STEPS = 2  # of a file without a time of day


@dataclass(frozen=True)
class RegionalShape:
    """The shape as the regions of a batch see it, [B,X,C] each, mean over each step."""

    shape: np.ndarray
    expected: np.ndarray
    provenance: tuple[str, ...]  # [B]
    deviation: np.ndarray  # [B,C] usual, from the expected
    blind: np.ndarray  # [B,C] too little is known before the start: persistence


# Options that say nothing of a file by region and date.
NOT_REGIONAL = (
    "model", "timezone", "repeat", "image_tokens", "prefill_tokens_per_gpu_s", "decode_tokens_per_gpu_s"
)  # fmt: skip


def regional_table(spec: DemandSpec) -> TraceTable | None:
    """Return the file of demand where it holds series by region and date, else None.

    Raises TraceError for options that do not fit one, and FileNotFoundError.
    """
    if spec.source == "synthetic":
        return None
    table = read_regions(spec.source, spec.format, spec.fill_gap_h)
    given = [n for n in NOT_REGIONAL if getattr(spec, n) != DemandSpec.model_fields[n].default]
    if table is not None and given:
        raise TraceError(f"{table.source}: holds series by region; leave out {', '.join(given)}")
    return table


def place_regions(
    table: TraceTable, compiled: Compiled, start_utc: np.ndarray, lead_in: int
) -> RegionalShape:
    """Return the series of the regions by date, ``lead_in`` steps of history first, each over its mean in the file.

    Expectations know nothing of the file at or after the start.  Raises TraceError where a region or an interval in
    use is missing or bad.
    """
    regions, step_min = compiled.region_names, round(compiled.shape.dt_h * MINUTES_PER_HOUR)
    steps = lead_in + compiled.shape.steps
    times = step_minutes(start_utc, -lead_in, steps, compiled.shape.dt_h)
    begin, start_h = times[:, 0], times[:, lead_in] // MINUTES_PER_HOUR
    hour = (times // MINUTES_PER_HOUR - start_h[:, None]) % 24
    values, mean, found = [], [], []
    for region in regions:
        axis = table.axis(region)
        axis.refuse_faults(begin, steps * step_min)
        ((name, on_steps),) = axis.on_steps(begin, steps, step_min).items()
        values.append(on_steps)
        mean.append(axis.good(name).mean())
        if mean[-1] <= 0.0:
            raise TraceError(f"{axis.where}: the file holds no work: the mean of its {name} is 0")
        past = zone_past(table, region)
        found.append(demand_outlook(past.before(past.values[name], start_h), hour))

    expected, deviation, blind = (np.stack(part, -1) for part in zip(*found, strict=True))
    text = (
        f"{Path(table.source).name} (sha256 {table.sha256[:12]}, regions, {name}, "
        f"{table.steps_of(regions[0], step_min)}; used for its shape: its mean by region is mean_gpus), by date"
    )
    for what, names in (
        ("regions not in the scenario", sorted({*table.zones} - {*regions})),
        ("columns not used", table.raw.layout.unused),
    ):
        text += f"; {what}: {', '.join(names)}" if names else ""
    texts = tuple(text + _expected_from(none) for none in blind)
    return RegionalShape(np.stack(values, -1) / mean, expected / mean, texts, deviation / mean, blind)


def _expected_from(blind: np.ndarray) -> str:
    """Return in words what the expectations of an episode come from; ``blind`` [C]."""
    past = f"mean by hour of day of the {PAST_DAYS} days before the start, level of {LEVEL_DAYS}"
    return f"; expected: {'persistence, for want of a past in the file' if blind.any() else past}"


def place_shape(
    shape: DemandShape,
    compiled: Compiled,
    start_utc: np.ndarray,
    lead_in: int,
    rngs: Sequence[np.random.Generator],
) -> RegionalShape:
    """Return the shape of episodes that start at ``start_utc`` [B], ``lead_in`` steps of history first.

    One integer of each generator is drawn: the day of the file (the minute of a file without days).  Raises
    TraceError where the file is too short or has holes everywhere.
    """
    step_min = round(compiled.shape.dt_h * MINUTES_PER_HOUR)
    _check_length(shape, compiled.shape, step_min)
    utc = step_minutes(start_utc, -lead_in, lead_in + compiled.shape.steps, compiled.shape.dt_h)
    local = local_minutes(compiled.regions.timezones, utc)  # [B,X,C]

    begin = np.empty_like(local)
    notes = []
    for b, rng in enumerate(rngs):
        first_day = local[b].min() // MINUTES_PER_DAY * MINUTES_PER_DAY
        since = local[b] - first_day - shape.first_minute
        offset, note = _drawn_offset(shape, since, step_min, rng)
        begin[b] = since + offset
        notes.append(f"{shape.text}; {note}")

    # What is expected follows from the hours of the file before the start alone.
    hour = np.arange(-lead_in, compiled.shape.steps) * step_min // MINUTES_PER_HOUR % 24
    hours = np.broadcast_to(hour, begin.shape[:2])
    past = begin[:, lead_in, :, None] + np.arange(-24 * PAST_DAYS, 0) * MINUTES_PER_HOUR  # [B,C,hours]
    seen = shape.mean_of(past, MINUTES_PER_HOUR).reshape(*past.shape[:2], PAST_DAYS, 24)
    found = [demand_outlook(seen[:, c], hours) for c in range(seen.shape[1])]
    expected, deviation, blind = (np.stack(part, -1) for part in zip(*found, strict=True))

    texts = tuple(note + _expected_from(none) for note, none in zip(notes, blind, strict=True))
    return RegionalShape(shape.mean_of(begin, step_min), expected, texts, deviation, blind)


def _check_length(shape: DemandShape, episode: Shape, step_min: int) -> None:
    """Raise TraceError where a file without days is used otherwise than for short episodes of fine steps."""
    length = len(shape.per_min)
    if shape.has_days:
        return
    if length < LEAST_STEPS * step_min:
        raise TraceError(
            f"{shape.source}: holds {length} min, less than {LEAST_STEPS} steps of dt_h = {episode.dt_h:g} h; use a "
            "longer file or a smaller dt_h"
        )

    if not shape.repeat:
        raise TraceError(
            f"{shape.source}: holds {length / 60:.2f} h, less than a day, so it has no time of day and no day of "
            "history for the forecasts; use a longer file, or repeat=true for an episode within its length"
        )
    if episode.steps * step_min > length:
        raise TraceError(
            f"{shape.source}: holds {length / 60:.2f} h, the episode lasts {episode.steps * episode.dt_h:g} h; use a "
            "longer file or a shorter horizon_h (a file of less than a day may not repeat inside an episode)"
        )


def _drawn_offset(
    shape: DemandShape, since: np.ndarray, step_min: int, rng: np.random.Generator
) -> tuple[int, str]:
    """Return the minutes to add to ``since`` [X,C], and what was drawn."""
    if not shape.has_days:
        offset = int(rng.integers(shape.period_min))
        return offset, f"repeated end to end, from its minute {offset}; it has no time of day"

    first, end = since.min(0), since.max(0) + step_min  # [C] minutes in use, of day 0
    days = _good_days(shape, first, end)
    if not days.size:
        _refuse(shape, int(first.min()), int(end.max()))
    day = int(days[rng.integers(len(days))])

    # Provenance says what was drawn.
    how = "not repeated"
    if shape.repeat:
        how = (
            f"repeated every {shape.period_min / MINUTES_PER_DAY:g} days, so what comes again is no surprise"
        )
    return day * MINUTES_PER_DAY, f"local time, day {day + 1} of the file first, {how}"


def _good_days(shape: DemandShape, first: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Return the days of the file on which an episode may start, ascending."""
    length = len(shape.per_min)
    count = shape.period_min // MINUTES_PER_DAY if shape.repeat else -(-length // MINUTES_PER_DAY) + 1
    shift = np.arange(count)[:, None] * MINUTES_PER_DAY
    whole = shape.mean_of(first + shift, end - first)
    return np.flatnonzero(np.isfinite(whole).all(1))


def _refuse(shape: DemandShape, first: int, end: int) -> None:
    hours, length = (end - first) / 60, len(shape.per_min) / 60
    if not shape.repeat and np.ceil(hours / 24) * 24 > length:
        raise TraceError(
            f"{shape.source}: holds {length:.1f} h, but an episode with its day of history and the regions' time zones "
            f"needs {hours:.1f} h from a midnight; use a longer file, a shorter horizon_h, or repeat=true"
        )
    raise TraceError(
        f"{shape.source}: no {hours:.1f} h in a row without a hole ({np.isnan(shape.per_min).sum()} min of holes); use "
        "fill_gap_h= to interpolate short holes, a shorter horizon_h, or another model"
    )


@dataclass(frozen=True)
class DemandShape:
    """The work of a file relative to its mean, by minute of the file's local time."""

    source: str
    text: str  # where it comes from, for provenance
    per_min: Float[Floats, " M"]  # mean 1 over the good minutes, NaN in holes
    first_minute: int  # local minute of the day at which the file starts, in [0, 1440)
    mean_gpus: float  # of the file itself
    repeat: bool

    @property
    def has_days(self) -> bool:
        """Whether the file holds a time of day: a day or more."""
        return len(self.per_min) >= MINUTES_PER_DAY

    @property
    def period_min(self) -> int:
        """Minutes after which a repeated file begins again: whole days, or the whole of a shorter file."""
        length = len(self.per_min)
        return length // MINUTES_PER_DAY * MINUTES_PER_DAY if self.has_days else length

    @cached_property
    def _cumulative(self) -> Float[Floats, "2 M+1"]:
        """Work, holes as 0, and number of holes before each minute."""
        each = np.stack([np.nan_to_num(self.per_min), np.isnan(self.per_min)])
        return np.concatenate([np.zeros((2, 1)), np.cumsum(each, axis=1)], axis=1)

    def _before(self, minute: Int[Ints, "*shape"]) -> np.ndarray:
        """Return work and number of holes [2,...] before each minute, on through the rounds of a repeated file."""
        rounds, inside = np.divmod(minute, self.period_min) if self.repeat else (0 * minute, minute)
        return self._cumulative[:, inside] + np.multiply.outer(self._cumulative[:, self.period_min], rounds)

    def mean_of(self, begin: Int[Ints, "*shape"], minutes: int) -> Float[Floats, "*shape"]:
        """Return the mean of ``minutes`` from ``begin`` on; NaN where one is a hole or outside the file."""
        end = begin + minutes
        inside = self.repeat | ((begin >= 0) & (end <= len(self.per_min)))
        work, holes = self._before(np.where(inside, end, 0)) - self._before(np.where(inside, begin, 0))
        return np.where(inside & (holes == 0), work / minutes, np.nan)


def demand_shape(spec: DemandSpec) -> DemandShape:
    """Return the shape of the file in a scenario's ``demand``; raises TraceError, FileNotFoundError."""
    trace = read_demand(spec.source, spec.format, spec.model)
    return _shape(spec.model_dump_json(), trace)


@lru_cache(maxsize=16)
def _shape(spec_json: str, trace: DemandTrace) -> DemandShape:
    spec = DemandSpec.model_validate_json(spec_json)
    gpus = _gpus(spec, trace)
    filled = _filled(gpus, round(spec.fill_gap_h * MINUTES_PER_HOUR))
    mean = float(np.nanmean(filled)) if np.isfinite(filled).any() else 0.0
    if mean <= 0:
        raise TraceError(f"{trace.source}: the file holds no work: the sum of its tokens is 0")

    # A profile by local hour needs to know at which minute of the day the file starts.
    minutes = trace.minutes
    local = minutes.first_min
    if minutes.stamped:
        local += int(offset_minutes(spec.timezone, np.array([[local]]))[0, 0])

    name = Path(trace.source).name
    of_model = f" model {trace.model}" if trace.model else ""
    text = (
        f"{name}{of_model} (sha256 {trace.sha256[:12]}, {trace.format_name}, {len(gpus) / 60:.1f} h, itself "
        f"{mean:.4g} GPUs on average at {spec.prefill_tokens_per_gpu_s:g} prompt and "
        f"{spec.decode_tokens_per_gpu_s:g} answer tokens per GPU-s; used for its shape)"
    )
    if holes := int(np.isnan(gpus).sum()):
        text += f"; {holes} min of holes, {holes - int(np.isnan(filled).sum())} min of them interpolated"
    return DemandShape(trace.source, text, filled / mean, local % MINUTES_PER_DAY, mean, spec.repeat)


def _gpus(spec: DemandSpec, trace: DemandTrace) -> np.ndarray:
    """Return the busy accelerators of each minute, [M]."""
    minutes, context = trace.minutes, trace.minutes.context_tokens
    if minutes.images is not None:
        if spec.image_tokens is None:
            raise TraceError(
                f"{trace.source}: the file has NumImages; say how many tokens an image adds to ContextTokens with "
                "image_tokens= (0 where they are in it already, about 250 in ServeGen's mm-image)"
            )
        context = context + spec.image_tokens * minutes.images
    gpu_s = context / spec.prefill_tokens_per_gpu_s + minutes.generated_tokens / spec.decode_tokens_per_gpu_s
    return gpu_s / 60.0


def _filled(values: np.ndarray, longest: int) -> np.ndarray:
    """Return the values with inner holes of up to ``longest`` minutes interpolated linearly."""
    hole = np.isnan(values)
    if not longest or not hole.any() or hole.all():
        return values
    edges = np.flatnonzero(np.diff(np.concatenate([[0], hole, [0]])))
    out = values.copy()
    for first, end in edges.reshape(-1, 2):
        if end - first <= longest and first > 0 and end < len(values):
            out[first:end] = np.interp(np.arange(first, end), [first - 1, end], values[[first - 1, end]])
    return out
