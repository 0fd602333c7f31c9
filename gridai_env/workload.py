"""Demand from a trace file: its shape and variability at the level of the scenario.

Tokens become accelerator time by a fixed rate for reading (prefill) and one for writing (decode),

    GPU-h = (context / prefill_tokens_per_gpu_s + generated / decode_tokens_per_gpu_s) / 3600,

and the result divided by its mean is the shape: mean 1 over the good minutes of the file.  A region's arrivals
are ``mean_gpus * dt * share of the row * shape``, so the two rates decide the weight of long prompts against
long answers, not the level: the trace gives the shape, the scenario the level.  Where in the file an episode lies is
said in `gridai_env.placement`.

The defaults of the two rates: 1800 answer tokens per second is a 70B model in FP8 on one H100 at batch 16; published
serving studies find an answer token 5 to 25 times as dear as a prompt token, and 9000 prompt tokens per second is
the low end of that.

Shapes: M minutes of the file.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np

from gridai_env.spec import DemandSpec
from gridai_env.traces import TraceError
from gridai_env.traces.clock import MINUTES_PER_DAY, MINUTES_PER_HOUR, offset_minutes
from gridai_env.traces.demand_files import DemandTrace, read_demand

MIN_DAYS_FOR_PROFILE = 7


@dataclass(frozen=True)
class DemandShape:
    """The work of a file relative to its mean, by minute of the file's local time."""

    source: str
    text: str  # where it comes from, for provenance
    per_min: np.ndarray  # [M], mean 1 over the good minutes, NaN in holes
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
    def cumulative(self) -> np.ndarray:
        """Sum over the minutes before each, two rounds of it where repeated, holes as 0."""
        return np.concatenate([[0.0], np.cumsum(np.nan_to_num(self._rounds))])

    @cached_property
    def holes(self) -> np.ndarray:
        """Number of minutes without data before each, laid out like `cumulative`."""
        return np.concatenate([[0], np.cumsum(np.isnan(self._rounds))])

    @property
    def _rounds(self) -> np.ndarray:
        return np.tile(self.per_min[: self.period_min], 2) if self.repeat else self.per_min

    @cached_property
    def expected_by_hour(self) -> np.ndarray:
        """Mean by local hour of the day over the file [24]; 1 where the file has too few days for it."""
        good = np.isfinite(self.per_min)
        hour = (self.first_minute + np.arange(len(good))) % MINUTES_PER_DAY // MINUTES_PER_HOUR
        count = np.bincount(hour[good], minlength=24)
        if good.sum() < MIN_DAYS_FOR_PROFILE * MINUTES_PER_DAY or not count.all():
            return np.ones(24)
        return np.bincount(hour[good], self.per_min[good], 24) / count

    @cached_property
    def expected_cumulative(self) -> np.ndarray:
        """Sum of the expected shape over the minutes of two days before each."""
        return np.concatenate([[0.0], np.cumsum(np.tile(np.repeat(self.expected_by_hour, 60), 2))])

    def relative_deviation(self, step_min: int) -> float:
        """Return the standard deviation of steps from their expectation, relative to it."""
        steps = len(self.per_min) // step_min
        value = self.per_min[: steps * step_min].reshape(steps, step_min).mean(1)
        at = (self.first_minute + np.arange(steps) * step_min) % MINUTES_PER_DAY
        expected = (self.expected_cumulative[at + step_min] - self.expected_cumulative[at]) / step_min
        good = np.isfinite(value) & (expected > 0)
        return float(np.std(value[good] / expected[good] - 1.0)) if good.any() else 0.0


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
