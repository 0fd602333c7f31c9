"""Writes the observation of a batch: the world is scaled once per episode, the state at every step.

This step's values are exact; the future is seen through the forecast alone.  Two things come from later
steps without telling anything new: how long a waiting job may still be started (known at its release),
and that the queue must be empty at the end.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from gridai_env.arrays.types import AnyFloats, Float, Floats32, Index
from gridai_env.envs.simulator import Simulator
from gridai_env.episodes.instance import InstanceBatch
from gridai_env.observation.decode import JOB_FEATURES
from gridai_env.observation.layout import ObservationLayout
from gridai_env.observation.parts import (
    PART_FUNCTIONS,
    ExogenousView,
    due_gpuh,
    due_since,
    job_slots,
    job_table,
    job_windows,
    prepared_runs,
    some_of,
    state_parts,
    summed_arrivals_gpuh,
)

EPISODES = 8  # prepared at a time: what is worked on stays in the processor's cache


def outside_of(batch: InstanceBatch) -> ExogenousView:
    """Return the exogenous inputs of a batch's episodes, as observations need them."""
    minutes = batch.start_utc.astype("datetime64[m]").astype(np.int64)
    return ExogenousView(
        batch.compiled, batch.exogenous, batch.forecast, batch.knowledge.event_active, minutes
    )


class Observer:
    """Observations of the episodes of a batch.  After the last step the world's parts are 0."""

    def __init__(self, batch: InstanceBatch, layout: ObservationLayout | None = None) -> None:
        """Prepare the episodes of ``batch``; ``layout`` saves making it again."""
        self.layout = layout or ObservationLayout(batch.compiled)
        compiled = batch.compiled
        self._first = compiled.shape.session_rows
        self._steps = compiled.shape.steps
        self._slots = compiled.shape.slots
        self._has_jobs = "jobs" in self.layout.parts
        self._has_queue = "due" in self.layout.parts

        self._inverse = self.layout.inverse_scales
        self._routes = compiled.params.route_open.ravel().astype(np.float32)
        features = len(JOB_FEATURES) + compiled.shape.sites
        self._job_inverse = self._inverse["jobs"][:features] if self._has_jobs else np.zeros(0)

        # Everything known beforehand is scaled once per episode; a step then only copies slices.
        self._moves, self._width = self._segments()
        of_world = [inverse for name, inverse in self._inverse.items() if name in PART_FUNCTIONS]
        self._world_inverse = np.concatenate(of_world).astype(np.float32)  # of each column of the block, [M]
        self._since = due_since(compiled)
        queued = compiled.shape.rows - self._first
        self._everyone = _open_grid(len(batch), compiled.shape.regions, queued)
        self._block, self._arrived, self._jobs, self._window = self._prepared(batch)

    # Once per episode ----------------------------------------------------------------------------

    def _segments(self) -> tuple[list[tuple[slice, slice]], int]:
        """Return slices (in the observation, in the block) that hold prepared parts; neighbours are joined."""
        moves, width, parts = [], 0, self.layout.parts
        for names in prepared_runs(parts):
            shown = slice(parts[names[0]].start, parts[names[-1]].stop)
            begin, width = width, width + shown.stop - shown.start
            moves.append((shown, slice(begin, width)))
        return moves, width

    def _prepared(
        self, batch: InstanceBatch, block: Floats32 | None = None
    ) -> tuple[Floats32, AnyFloats, AnyFloats, Index]:
        """Return scaled world [T+1,B,M], summed arrivals [D+T,B,C,Q], jobs [B,J+1,5+K] and their windows [2,B,J].

        ``block``: where to write the world, which saves the time that new memory takes.
        """
        if block is None:
            block = np.empty((self._steps + 1, len(batch), self._width), dtype=np.float32)

        # Worked on as [b,T,M], kept as [T,B,M]: a step then reads one contiguous piece.
        world = np.empty((min(EPISODES, len(batch)), *block[:, 0].shape), dtype=np.float32)
        outside = outside_of(batch)
        for first in range(0, len(batch), EPISODES):
            part = slice(first, min(first + EPISODES, len(batch)))
            few = world[: part.stop - first]
            self._write_world(some_of(outside, part), few)
            block[:, part] = few.swapaxes(0, 1)

        arrived: AnyFloats = np.zeros((0, len(batch)))
        if self._has_queue:
            arrived = summed_arrivals_gpuh(batch.compiled, batch.exogenous)
        jobs, window = self._job_tables(batch)
        return block, arrived, jobs, window

    def _write_world(self, outside: ExogenousView, world: Floats32) -> None:
        """Write the scaled world of some episodes to ``world`` [b,T+1,M]."""
        world[:, -1] = 0.0
        start = 0
        for name in (n for n in self.layout.parts if n in PART_FUNCTIONS):
            values = PART_FUNCTIONS[name](outside)
            named, steps = self.layout.by_name[name], values.shape[1]
            if named.offset:
                values = values - named.offset
            world[:, :steps, start : start + named.size].reshape(values.shape)[...] = values
            start += named.size
        world *= self._world_inverse

    def _job_tables(self, batch: InstanceBatch) -> tuple[AnyFloats, Index]:
        """Return scaled features [B,J+1,5+K] of jobs at step 0 (the last row zero) and windows of starts [2,B,J]."""
        if not self._has_jobs:
            return np.zeros((len(batch), 1, 0)), np.zeros((2, len(batch), 0), dtype=np.intp)
        first, last = job_windows(batch.compiled, batch.exogenous)
        table = job_table(batch.params, batch.exogenous, last, self._job_inverse)
        return table, np.stack([first, last])

    def replace(self, rows: Index, batch: InstanceBatch) -> None:
        """Put new episodes at the places ``rows``."""
        if np.array_equal(rows, np.arange(self._block.shape[1])):
            self._block, self._arrived, self._jobs, self._window = self._prepared(batch, self._block)
            return
        block, arrived, jobs, window = self._prepared(batch)
        self._block[:, rows], self._arrived[:, rows] = block, arrived
        self._jobs[rows], self._window[:, rows] = jobs, window

    # At every step -------------------------------------------------------------------------------

    def observe(self, simulator: Simulator) -> Float[Floats32, "B N"]:
        """Return the flat observation [B,N] of where the simulator stands, as a fresh array."""
        t, state, parts = simulator.t, simulator.state, self.layout.parts
        step = _common_step(t)
        block = self._block[t, np.arange(len(t))] if step is None else self._block[step]

        out = np.empty((len(t), self.layout.size), dtype=np.float32)
        for target, source in self._moves:
            out[:, target] = block[:, source]
        out[:, parts["open_routes"]] = self._routes

        due = partial(self._due_gpuh, simulator)
        for name, values in state_parts(parts, simulator.params, state, self._first, due):
            self._write(out, name, values)

        if self._has_jobs:
            out[:, parts["jobs"]] = self._job_slots(state.waiting, t)
        return out

    def _write(self, out: Floats32, name: str, values: AnyFloats) -> None:
        """Scale ``values`` [B,...] into the part ``name``."""
        flat = values.reshape(len(out), -1)
        np.multiply(flat, self._inverse[name], out[:, self.layout.parts[name]], casting="same_kind")

    def _due_gpuh(self, simulator: Simulator, backlog: AnyFloats) -> Float[AnyFloats, "B C Q D"]:
        """Return work that must leave the queue by the end of this and the next steps, [B,C,Q,D]; 0 at the end."""
        t = simulator.t
        arrivals = simulator.exogenous.arrivals_gpuh[:, :, self._first :]
        on_hand = (backlog + arrivals) * (t < self._steps)[:, None, None]
        arrived = self._arrived[(self._since[t][:, None], *self._everyone)]
        return due_gpuh(on_hand, arrived[..., -1:] - arrived[..., :-1])

    def _job_slots(self, waiting: AnyFloats, t: Index) -> Float[AnyFloats, "B V*(5+K)"]:
        """Return features [B,V*(5+K)] of the jobs that may be started now, most urgent first."""
        now = t[:, None]
        active = (self._window[0] <= now) & (self._window[1] >= now) & (waiting > 0.5)
        return job_slots(active, self._jobs, self._slots, now / self._steps).reshape(len(t), -1)


def _common_step(t: Index) -> int | None:
    """Return the step of all episodes, or None where they stand at different ones."""
    first = int(t[0])
    return first if len(t) == 1 or (t == first).all() else None


def _open_grid(*sizes: int) -> tuple[Index, ...]:
    """Return index arrays that together address all of some axes, with one axis more behind them."""
    count = len(sizes)
    return tuple(np.arange(n).reshape(-1, *[1] * (count - i)) for i, n in enumerate(sizes))
