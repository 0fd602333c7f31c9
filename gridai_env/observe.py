"""Writes the observation of a batch: the world is scaled once per episode, the state at every step.

This step's values are exact; the future is seen through the forecast alone.  Two things come from later
steps without telling anything new: how long a waiting job may still be started (known at its release),
and that the queue must be empty at the end.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache

import numpy as np
from numpy.typing import NDArray

from gridai_env.compile import Compiled
from gridai_env.instance import InstanceBatch
from gridai_env.observation import CLOCK, JOB_FEATURES, ObservationLayout, sessions
from gridai_env.simulator import Simulator
from gridai_env.world import limit_forecast

__all__ = ["ObservationLayout", "Observer"]

Floats = NDArray[np.floating]
# Batch, number of session rows, which episodes -> values [b,T or T+1,...].
Prepared = Callable[[InstanceBatch, int, slice], Floats]
MINUTES_PER_DAY = 1440
MINUTES_PER_WEEK = 7 * MINUTES_PER_DAY
THURSDAY = 3  # 1970-01-01, with Monday = 0
DAYS_PER_YEAR = 365.25
EPISODES = 8  # prepared at a time: what is worked on stays in the processor's cache
ROUNDING = 1e-12  # of sums of arrivals, relative
_SLACK = JOB_FEATURES.index("slack")


class Observer:
    """Observations of the episodes of a batch.  After the last step the world's parts are 0."""

    def __init__(self, batch: InstanceBatch, layout: ObservationLayout | None = None) -> None:
        """Prepare the episodes of ``batch``; ``layout`` saves making it again."""
        self.layout = layout or ObservationLayout(batch.compiled)
        compiled = batch.compiled
        self._first = sessions(compiled)
        self._steps = compiled.shape.steps
        self._slots = compiled.shape.slots
        self._has_jobs = "jobs" in self.layout.parts
        self._has_queue = "due" in self.layout.parts
        self._inverse = self.layout.inverse_scales
        self._routes = compiled.params.route_open.ravel().astype(np.float32)
        self._numbers = np.arange(compiled.shape.jobs)
        self._moves, self._width = self._segments()
        self._world_inverse = self._inverse_of_world()
        self._wait = compiled.row_wait_steps[self._first :]
        self._since = self._due_since()
        self._everyone = _open_grid(len(batch), compiled.shape.regions, len(self._wait))
        self._block, self._arrived, self._jobs, self._window = self._prepared(batch)

    # Once per episode ----------------------------------------------------------------------------

    def _segments(self) -> tuple[list[tuple[slice, slice]], int]:
        """Slices (in the observation, in the block) that hold prepared parts; neighbours are joined."""
        moves: list[tuple[slice, slice]] = []
        width = 0
        for name, where in self.layout.parts.items():
            if name not in _PREPARED:
                continue
            size = where.stop - where.start
            if moves and moves[-1][0].stop == where.start:
                start, source = moves[-1][0].start, moves[-1][1].start
                moves[-1] = (slice(start, where.stop), slice(source, width + size))
            else:
                moves.append((where, slice(width, width + size)))
            width += size
        return moves, width

    def _inverse_of_world(self) -> NDArray[np.float32]:
        """One over the scale of each column of the block, [M]."""
        inverse = [values for name, values in self._inverse.items() if name in _PREPARED]
        return np.concatenate(inverse).astype(np.float32)

    def _due_since(self) -> NDArray[np.intp]:
        """Where in the summed arrivals to look [T+1,Q,D+1]: up to when work is due; last entry: now."""
        longest, last = int(max(self._wait, default=0)), self._steps - 1
        now = np.minimum(np.arange(self._steps + 1), last)[:, None, None] + longest
        ahead = np.arange(longest + 1)
        since = np.minimum(now + ahead - self._wait[:, None], now)
        # At the end of the episode all work is due; the last entry is the present.
        all_due = (now - longest + ahead >= last) | (ahead == longest)
        return np.where(all_due, now, since)

    def _prepared(
        self, batch: InstanceBatch, block: NDArray[np.float32] | None = None
    ) -> tuple[NDArray[np.float32], Floats, Floats, NDArray[np.intp]]:
        """Scaled world [T+1,B,M], summed arrivals [D+T,B,C,Q], jobs [B,J+1,5+K], their windows [2,B,J].

        ``block``: where to write the world, which saves the time that new memory takes.
        """
        if block is None:
            block = np.empty((self._steps + 1, len(batch), self._width), dtype=np.float32)
        world = np.empty((min(EPISODES, len(batch)), *block[:, 0].shape), dtype=np.float32)
        for first in range(0, len(batch), EPISODES):
            part = slice(first, min(first + EPISODES, len(batch)))
            few = world[: part.stop - first]
            self._write_world(batch, part, few)
            block[:, part] = few.swapaxes(0, 1)
        arrived: Floats = np.zeros((0, len(batch)))
        if self._has_queue:
            arrived = summed_arrivals_gpuh(batch, self._first)
        jobs, window = self._job_tables(batch)
        return block, arrived, jobs, window

    def _write_world(self, batch: InstanceBatch, part: slice, world: NDArray[np.float32]) -> None:
        """Write the scaled world of the episodes ``part`` to ``world`` [b,T+1,M]."""
        world[:, -1] = 0.0
        start = 0
        for name in (n for n in self.layout.parts if n in _PREPARED):
            values = _PREPARED[name](batch, self._first, part)
            named, steps = self.layout.by_name[name], values.shape[1]
            if named.offset:
                values = values - named.offset
            world[:, :steps, start : start + named.size].reshape(values.shape)[...] = values
            start += named.size
        world *= self._world_inverse

    def _job_tables(self, batch: InstanceBatch) -> tuple[Floats, NDArray[np.intp]]:
        """Scaled features [B,J+1,5+K] of jobs at step 0, the last row zero, and windows of starts [2,B,J]."""
        job_open = batch.exogenous.job_open
        if not self._has_jobs:
            return np.zeros((len(batch), 1, 0)), np.zeros((2, len(batch), 0), dtype=np.intp)
        # A product with ones is a fast way to ask for any.
        sites_open = job_open.reshape(-1, job_open.shape[-1]) @ np.ones(job_open.shape[-1])
        possible = sites_open.reshape(job_open.shape[:-1]) > 0.0
        step = np.arange(self._steps)[:, None]
        first = np.where(possible, step, self._steps).min(1)
        last = np.where(possible, step, -1).max(1)
        p = batch.params
        duration = p.job_profile.sum(-1)
        columns = [np.ones_like(duration), p.job_gpus, duration, last, p.job_value_usd]
        table = np.concatenate([np.stack(columns, axis=-1), job_open.max(1)], axis=-1)
        table *= self._inverse["jobs"][: table.shape[-1]]
        return np.concatenate([table, np.zeros_like(table[:, :1])], axis=1), np.stack([first, last])

    def replace(self, rows: NDArray[np.intp], batch: InstanceBatch) -> None:
        """Put new episodes at the places ``rows``."""
        if np.array_equal(rows, np.arange(self._block.shape[1])):
            self._block, self._arrived, self._jobs, self._window = self._prepared(batch, self._block)
            return
        block, arrived, jobs, window = self._prepared(batch)
        self._block[:, rows], self._arrived[:, rows] = block, arrived
        self._jobs[rows], self._window[:, rows] = jobs, window

    # At every step -------------------------------------------------------------------------------

    def observe(self, simulator: Simulator) -> NDArray[np.float32]:
        """Return the flat observation [B,N] of where the simulator stands, as a fresh array."""
        t, state, parts = simulator.t, simulator.state, self.layout.parts
        step = _common_step(t)
        block = self._block[t, np.arange(len(t))] if step is None else self._block[step]
        out = np.empty((len(t), self.layout.size), dtype=np.float32)
        for target, source in self._moves:
            out[:, target] = block[:, source]
        out[:, parts["open_routes"]] = self._routes
        self._write(out, "battery", state.battery_mwh)
        self._write(out, "generation", state.generation_mw)
        self._write(out, "peak_import", state.peak_import_mw)
        if self._first:
            self._write(out, "placed", state.placed_gpuh[:, :, : self._first])
        if self._has_queue:
            backlog = state.backlog_gpuh[:, :, self._first :]
            self._write(out, "backlog", backlog)
            self._write(out, "due", self._due_gpuh(simulator, backlog))
        if "carbon_budget_left" in parts:
            left = simulator.params.carbon_budget_kg - state.carbon_kg
            self._write(out, "carbon_budget_left", left)
        if self._has_jobs:
            self._write(out, "committed_gpus", state.committed_gpus)
            out[:, parts["jobs"]] = self._job_slots(state.waiting, t)
        return out

    def _write(self, out: NDArray[np.float32], name: str, values: Floats) -> None:
        """Scale ``values`` [B,...] into the part ``name``."""
        flat = values.reshape(len(out), -1)
        np.multiply(flat, self._inverse[name], out[:, self.layout.parts[name]], casting="same_kind")

    def _due_gpuh(self, simulator: Simulator, backlog: Floats) -> Floats:
        """Work that must leave the queue by the end of this and the next steps, [B,C,Q,D]; 0 at the end.

        That is all but the arrivals so recent that their wait does not end by then.
        """
        t = simulator.t
        arrivals = simulator.exogenous.arrivals_gpuh[:, :, self._first :]
        on_hand = (backlog + arrivals) * (t < self._steps)[:, None, None]
        arrived = self._arrived[(self._since[t][:, None], *self._everyone)]
        # Sums of arrivals differ by rounding; what is not due must not show as due.
        due = (on_hand * (1.0 - ROUNDING))[..., None] + (arrived[..., :-1] - arrived[..., -1:])
        return np.maximum(due, 0.0, out=due)

    def _job_slots(self, waiting: Floats, t: NDArray[np.intp]) -> Floats:
        """Features [B,V*(5+K)] of the jobs that may be started now, most urgent first."""
        now = t[:, None]
        jobs = waiting.shape[-1]
        active = (self._window[0] <= now) & (self._window[1] >= now) & (waiting > 0.5)
        # The numbers of the active jobs in order; empty slots get the row of zeros behind the jobs.
        chosen = np.where(active, self._numbers, jobs)
        chosen.sort(-1)
        chosen = chosen[:, : self._slots]
        slots = self._jobs[np.arange(len(t))[:, None], chosen]
        slots[:, :, _SLACK] -= slots[:, :, 0] * (now / self._steps)
        return slots.reshape(len(t), -1)


def _common_step(t: NDArray[np.intp]) -> int | None:
    """The step of all episodes, or None where they stand at different ones."""
    first = int(t[0])
    return first if len(t) == 1 or (t == first).all() else None


def _open_grid(*sizes: int) -> tuple[NDArray[np.intp], ...]:
    """Index arrays that together address all of some axes, with one axis more behind them."""
    count = len(sizes)
    return tuple(np.arange(n).reshape(-1, *[1] * (count - i)) for i, n in enumerate(sizes))


def summed_arrivals_gpuh(batch: InstanceBatch, first: int) -> Floats:
    """Arrivals of the rows that may wait, summed up to each step, [D+T,B,C,Q]; D rows of 0 come first."""
    arrivals = np.moveaxis(batch.exogenous.arrivals_gpuh[..., first:], 1, 0)
    longest = int(batch.compiled.row_wait_steps.max())
    summed = np.zeros((longest + len(arrivals), *arrivals.shape[1:]))
    np.cumsum(arrivals, axis=0, out=summed[longest:])
    return summed


def clock(batch: InstanceBatch, _: int = 0, part: slice = slice(None)) -> Floats:
    """Sine and cosine of hour of day, day of week and day of year (UTC) at each step, [B,T+1,6]."""
    shape: Compiled = batch.compiled
    minutes = np.round(np.arange(shape.shape.steps + 1) * shape.shape.dt_h * 60.0).astype(np.int64)
    stamp = batch.start_utc[part].astype("datetime64[m]")[:, None] + minutes
    total = stamp.astype(np.int64)
    of_year = (stamp - stamp.astype("datetime64[Y]")).astype(np.int64)
    out = np.empty((*stamp.shape, len(CLOCK)))
    out[..., :2] = _hand(MINUTES_PER_DAY)[total % MINUTES_PER_DAY]
    out[..., 2:4] = _hand(MINUTES_PER_WEEK)[(total + THURSDAY * MINUTES_PER_DAY) % MINUTES_PER_WEEK]
    angle = of_year * (2.0 * np.pi / (MINUTES_PER_DAY * DAYS_PER_YEAR))
    out[..., 4], out[..., 5] = np.sin(angle), np.cos(angle)
    return out


@cache
def _hand(period: int) -> Floats:
    """Sine and cosine of every minute of a period, [period,2]."""
    angle = 2.0 * np.pi * np.arange(period) / period
    return np.stack([np.sin(angle), np.cos(angle)], axis=-1)


def arrivals_before(batch: InstanceBatch, first: int, part: slice) -> Floats:
    """Arrivals of the step before [B,T,C,P] of the rows that may not wait; in the first step its own."""
    arrivals = batch.exogenous.arrivals_gpuh[part, ..., :first]
    return np.concatenate([arrivals[:, :1], arrivals[:, :-1]], axis=1)


def steps_left(batch: InstanceBatch, _: int, part: slice) -> Floats:
    """Steps still to come, [B,T+1,1]."""
    steps = batch.compiled.shape.steps
    count = len(range(len(batch))[part])
    return np.broadcast_to(np.arange(steps, -1.0, -1.0)[:, None], (count, steps + 1, 1))


def _now(field: str) -> Prepared:
    """Exogenous input of each step."""
    return lambda batch, _, part: getattr(batch.exogenous, field)[part]


def _ahead(field: str) -> Prepared:
    """Forecasts issued at each step."""
    return lambda batch, _, part: getattr(batch.forecast, field)[part]


def _limit_ahead(kind: str) -> Prepared:
    """Forecasts of a limit that events may reduce, issued at each step."""

    def prepared(batch: InstanceBatch, _: int, part: slice) -> Floats:
        forecast = replace(batch.forecast, values=batch.forecast.values[part])
        return limit_forecast(batch.compiled, kind, batch.knowledge.event_active[part], forecast)

    return prepared


# What of the observation does not depend on what the agent does: name -> values in units.
_PREPARED: dict[str, Prepared] = {
    "arrivals": _now("arrivals_gpuh"),
    "arrivals_before": arrivals_before,
    "available_gpus": _now("available_gpus"),
    "battery_target": _now("battery_target_mwh"),
    "buy_price": _now("buy_usd_per_mwh"),
    "carbon_average": _now("carbon_average_kg_per_mwh"),
    "carbon_marginal": _now("carbon_marginal_kg_per_mwh"),
    "clock": clock,
    "export_limit": _now("export_limit_mw"),
    "forecast_arrivals": _ahead("arrivals_gpuh"),
    "forecast_available_gpus": _limit_ahead("available_gpus"),
    "forecast_buy_price": _ahead("buy_usd_per_mwh"),
    "forecast_carbon": _ahead("carbon_kg_per_mwh"),
    "forecast_export_limit": _limit_ahead("export_limit"),
    "forecast_import_limit": _limit_ahead("import_limit"),
    "forecast_renewable": _ahead("renewable_mw"),
    "import_limit": _now("import_limit_mw"),
    "pue": _now("pue"),
    "renewable": _now("renewable_available_mw"),
    "sell_price": _now("sell_usd_per_mwh"),
    "steps_left": steps_left,
}
