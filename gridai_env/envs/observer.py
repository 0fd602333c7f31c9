"""The observation of a simulator's batch, NumPy arrays or tensors.

This step's values are exact; the future is seen through the forecast alone.  Two things come from later steps without
telling anything new: how long a waiting job may still be started (known at its release), and that the queue must be
empty at the end.  After the last step the world's parts are 0.

What belongs to the scenario (open routes) is written once into each of two observations that are handed out in turn;
or, where every call has to return an array of its own, into that.
"""

from __future__ import annotations

from itertools import chain, pairwise
from typing import Any

from gridai_env.arrays.ops import as_float32, batch_first, batch_last, constant, namespace, room
from gridai_env.arrays.types import Array, Float, Index
from gridai_env.envs.ring import pick, put
from gridai_env.envs.simulator import Simulator, Wrap, arrays_of, record_of
from gridai_env.envs.step_inputs import constants_of
from gridai_env.observation.decode import JOB_FEATURES
from gridai_env.observation.layout import STATIC
from gridai_env.observation.parts import (
    EXOGENOUS_PARTS,
    arrivals_before_gpuh,
    due_gpuh,
    job_slots,
    prepared_runs,
    recent_gpuh,
    state_parts,
)
from gridai_env.world.actions import active_jobs
from gridai_env.world.state import State


class Observer:
    """Observations [B,N] (float32) of a simulator that keeps the columns of this layout."""

    def __init__(self, simulator: Simulator, copy: bool = True, wrap: Wrap | None = None) -> None:
        """Observe a simulator; ``copy``: each observation is a new array, else two are used in turn.

        ``wrap``: see `Simulator.room_for`.
        """
        assert simulator.observed is not None, "a simulator that keeps what observations need"
        self.layout, self._simulator, self._copy = simulator.observed, simulator, copy
        self._like, self._shape = simulator.ring.values, simulator.compiled.shape
        self._first = self._shape.session_rows
        self._wait = simulator.compiled.row_wait_steps[self._first :].tolist()
        self.steps: Any = self._shape.steps
        numbers = constants_of(simulator.compiled.params, self.layout)
        there = {name: constant(x, self._like) for name, x in numbers.items()}
        self.inverse = {
            name: there[f"inverse_{name}"] for name in self.layout.parts if f"inverse_{name}" in there
        }
        self._prepared, self._runs = self._prepared_runs()
        self.offset, self.scale = there["offset"], as_float32(there["scale"])
        self._routes = as_float32(constant(self.layout.compiled.params.route_open.reshape(-1, 1), self._like))
        self._pair: list[Array] = []
        self._last: Array | None = None
        self._parts = wrap(self.segments, (0, -1, -1)) if wrap else None

    def _prepared_runs(self) -> tuple[slice, list[tuple[slice, slice]]]:
        """Return where prepared parts lie among the columns, then runs of them: in the observation, and among them."""
        columns, runs = self._simulator.ring.columns, prepared_runs(self.layout.parts)
        places = [columns[EXOGENOUS_PARTS.get(name, name)].place for name in chain(*runs)]
        # The ring keeps them side by side, in the order of the observation (`ring.plan`).
        assert all(a.stop == b.start for a, b in pairwise(places))

        found, start = [], 0
        for names in runs:
            shown = slice(self.layout.parts[names[0]].start, self.layout.parts[names[-1]].stop)
            found.append((shown, slice(start, start := start + shown.stop - shown.start)))
        return slice(places[0].start, places[-1].stop), found

    @property
    def jobs_shape(self) -> tuple[int, ...]:
        """Shape of the features of jobs without the batch axis, see `observation.parts.job_table`."""
        shown = "jobs" in self.layout.parts
        return (self._shape.jobs + 1, len(JOB_FEATURES) + self._shape.sites) if shown else (0,)

    def observe(self, into: Array | None = None) -> Float[Array, "B N"]:
        """Return the observation [B,N] of where the simulator stands; ``into``: one to write over."""
        simulator = self._simulator
        if (seen := simulator.look()) is not None:
            return seen.T
        state, rows = arrays_of(simulator.state), self._seen()
        # Gradients do not survive writing in place: then all parts are joined to a new tensor.
        if self._parts is None:
            found = self._values(state, rows, simulator.jobs)
        else:
            segments = self._parts(state, rows, simulator.jobs)
            found = list(zip(self.layout.changing, segments, strict=True))
        if any(getattr(values, "requires_grad", False) for _, values in found):
            return self._joined(found)

        out = self._room() if into is None else into.T
        for place, values in found:
            out[place] = values
        return out.T

    def renew(self, observation: Array, rows: Index) -> None:
        """Rewrite the entries of ``rows`` in the last observation, after new episodes began there."""
        if (seen := self._simulator.look()) is not None:
            put(observation.T, rows, pick(seen, rows))
            return
        some = [batch_first(pick(batch_last(x), rows)) for x in arrays_of(self._simulator.state)]
        seen = [pick(x, rows) for x in self._seen()]
        jobs = self._simulator.jobs
        jobs = pick(jobs, rows) if jobs.ndim > 1 else jobs
        for place, values in self._values(some, seen, jobs):
            put(observation.T[place], rows, values)

    def keep_last(self, observation: Float[Array, "B N"], rows: Index) -> Float[Array, "B N"]:
        """Copy the observations of ``rows`` to the array that keeps last observations, and return it."""
        if self._last is None:
            self._last = namespace(observation).zeros_like(observation.T)
        put(self._last, rows, pick(observation.T, rows))
        return self._last.T

    def _room(self) -> Float[Array, "N B"]:
        """Return an array [N,B] whose constant parts are written."""
        if len(self._pair) == 2:
            self._pair.reverse()
            return self._pair[1]
        out = room((self.layout.size, self._simulator.num_envs), self._routes)
        out[self.layout.parts[STATIC]] = self._routes
        if not self._copy:
            self._pair.append(out)
        return out

    def _joined(self, values: list[tuple[slice, Array]]) -> Array:
        """Return the observation as a tensor that carries gradients."""
        routes = self._routes.expand(-1, self._simulator.num_envs)
        found = sorted([*values, (self.layout.parts[STATIC], routes)], key=lambda item: item[0].start)
        return namespace(routes).concatenate([part for _, part in found]).T

    def _seen(self) -> list[Array]:
        return self._simulator.ring.seen(self._shape.wait_steps, self._first)

    def seen(self, rows: list[Array]) -> list[Array]:
        """Return what `Ring.seen` does, of the columns [M,B] in a step and in as many as it takes before."""
        arrivals = [
            self._simulator.ring.column(row, "arrivals_gpuh") for row in rows[: self._shape.wait_steps]
        ]
        recent = [x[None, :, self._first :] for x in reversed(arrivals)]
        return [*rows[:2], namespace(rows[0]).concatenate(recent) if recent else rows[0][:0]]

    def segments(self, state: list[Array], rows: list[Array], jobs: Array) -> list[Array]:
        """Return the observation in the segments of `ObservationLayout.changing`, [n,B] each; ``rows``: `Ring.seen`."""
        values = sorted(self._values(state, rows, jobs, at_once=False), key=lambda item: item[0].start)
        join = namespace(rows[0]).concatenate
        return [
            join([part for at, part in values if place.start <= at.start < place.stop])
            for place in self.layout.changing
        ]

    def _scaled(self, now: Float[Array, "M B"], at: slice) -> Array:
        """Return some of the prepared parts as they show, [n,B]."""
        return as_float32(now[self._prepared][at] - self.offset[at, None]) * self.scale[at, None]

    def _values(
        self, state: list[Array], rows: list[Array], jobs: Array, at_once: bool = True
    ) -> list[tuple[slice, Array]]:
        """Return all parts that are not constant: where they lie, and their scaled values [n,B]."""
        s, (now, before, recent) = record_of(State, state), rows
        ring, parts, count = self._simulator.ring, self.layout.parts, now.shape[-1]
        # Calls are fewest where all is scaled at once; a kernel keeps nothing where each run is scaled alone.
        if at_once:
            prepared = self._scaled(now, slice(None))
            found = [(shown, prepared[at]) for shown, at in self._runs]
        else:
            found = [(shown, self._scaled(now, at)) for shown, at in self._runs]

        arrivals, left = ring.column(now, "arrivals_gpuh"), ring.column(now, "steps_left")[0]
        elapsed, first = self.steps - left, self._first

        def due(backlog: Array) -> Array:
            on_hand = backlog + batch_first(arrivals[:, first:])
            return due_gpuh(on_hand, recent_gpuh(recent, self._wait, left))

        shown = [
            (name, batch_last(values))
            for name, values in state_parts(parts, self._simulator.params, s, first, due)
        ]
        if "arrivals_before" in parts:
            last = ring.column(before, "arrivals_gpuh")[:, :first]
            shown.append(("arrivals_before", arrivals_before_gpuh(arrivals[:, :first], last, elapsed, left)))
        for name, values in shown:
            flat = values.reshape(-1, count)
            found.append((parts[name], as_float32(flat * self.inverse[name][:, None])))
        if "jobs" in parts:
            active, _ = active_jobs(s, batch_first(ring.column(now, "job_open")))
            share = (elapsed / self.steps)[:, None]
            slots = job_slots(active, batch_first(jobs), self._shape.slots, share)
            found.append((parts["jobs"], as_float32(batch_last(slots).reshape(-1, count))))
        return found
