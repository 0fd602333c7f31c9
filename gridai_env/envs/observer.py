"""The observation of a simulator's batch, NumPy arrays or tensors.

This step's values are exact; the future is seen through the forecast alone.  Two things come from later steps without
telling anything new: how long a waiting job may still be started (known at its release), and that the queue must be
empty at the end.  After the last step the world's parts are 0.

What belongs to the scenario (open routes) is written once into each of two observations that are handed out in turn;
or, where every call has to return an array of its own, into that.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from gridai_env.arrays.ops import as_float32, batch_first, batch_last, constant, namespace, room
from gridai_env.arrays.types import Array, Float, Index
from gridai_env.envs.ring import RECENT, pick, put
from gridai_env.envs.simulator import Simulator, Wrap, record_of
from gridai_env.envs.step_inputs import constants_of
from gridai_env.observation.decode import JOB_FEATURES
from gridai_env.observation.layout import STATIC
from gridai_env.observation.parts import EXOGENOUS_PARTS, due_gpuh, job_slots, prepared_runs, state_parts
from gridai_env.world.actions import active_jobs
from gridai_env.world.state import Exogenous, State


@dataclass(frozen=True)
class PreparedRun:
    """Prepared parts that lie side by side, in the observation and among the columns."""

    shown: slice
    columns: slice
    offset: Float[Array, "n 1"]
    inverse: Float[Array, "n 1"]  # float32


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
        self.steps: Any = self._shape.steps
        numbers = constants_of(simulator.compiled.params, self.layout)
        there = {name: constant(x, self._like) for name, x in numbers.items()}
        self.inverse = {
            name: there[f"inverse_{name}"] for name in self.layout.parts if f"inverse_{name}" in there
        }
        self.runs = self._prepared_runs(there)
        self._routes = as_float32(constant(self.layout.compiled.params.route_open.reshape(-1, 1), self._like))
        self._pair: list[Array] = []
        self._last: Array | None = None
        self._parts = wrap(self.segments, (0, -1, -1)) if wrap else None

    def _prepared_runs(self, numbers: dict[str, Array]) -> list[PreparedRun]:
        """Return runs of prepared parts, neighbours joined; their offsets and scales are among ``numbers``."""
        columns, parts = self._simulator.ring.columns, self.layout.parts
        # The ring keeps neighbours of the observation side by side (`ring.plan`): a run is one slice
        # of both.
        runs = []
        for i, names in enumerate(prepared_runs(parts)):
            places = [columns[EXOGENOUS_PARTS.get(name, name)].place for name in names]
            assert all(a.stop == b.start for a, b in pairwise(places))
            runs.append(
                PreparedRun(
                    slice(parts[names[0]].start, parts[names[-1]].stop),
                    slice(places[0].start, places[-1].stop),
                    numbers[f"offset_{i}"][:, None],
                    as_float32(numbers[f"scale_{i}"])[:, None],
                )
            )
        return runs

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
        state, _, now = simulator.inputs()
        # Gradients do not survive writing in place: then all parts are joined to a new tensor.
        if self._parts is None:
            found = self._values(state, now, simulator.jobs)
        else:
            segments = self._parts(state, now, simulator.jobs)
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
        state, _, now = self._simulator.inputs()
        some = [batch_first(pick(batch_last(x), rows)) for x in state]
        jobs = self._simulator.jobs
        jobs = pick(jobs, rows) if jobs.ndim > 1 else jobs
        for place, values in self._values(some, pick(now, rows), jobs):
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

    def segments(self, state: list[Array], now: Array, jobs: Array) -> list[Array]:
        """Return the observation in the segments of `ObservationLayout.changing`, [n,B] each."""
        values = sorted(self._values(state, now, jobs), key=lambda item: item[0].start)
        join = namespace(now).concatenate
        return [
            join([part for at, part in values if place.start <= at.start < place.stop])
            for place in self.layout.changing
        ]

    def _values(self, state: list[Array], now: Array, jobs: Array) -> list[tuple[slice, Array]]:
        """Return all parts that are not constant: where they lie, and their scaled values [n,B]."""
        s = record_of(State, state)
        ring, parts, count = self._simulator.ring, self.layout.parts, now.shape[-1]
        found = [(run.shown, as_float32(now[run.columns] - run.offset) * run.inverse) for run in self.runs]

        def due(backlog: Array) -> Array:
            arrivals = batch_first(ring.column(now, "arrivals_gpuh"))[:, :, self._first :]
            return due_gpuh(backlog + arrivals, batch_first(ring.column(now, RECENT)))

        for name, values in state_parts(parts, self._simulator.params, s, self._first, due):
            flat = batch_last(values).reshape(-1, count)
            found.append((parts[name], as_float32(flat * self.inverse[name][:, None])))
        if "jobs" in parts:
            slots = self._job_slots(s, ring.fields(now), now, jobs)
            found.append((parts["jobs"], as_float32(batch_last(slots).reshape(-1, count))))
        return found

    def _job_slots(self, state: State, exo: Exogenous, now: Array, jobs: Array) -> Float[Array, "B V 5+K"]:
        """Return features [B,V,5+K] of the jobs that may be started now."""
        active, _ = active_jobs(state, exo)
        left = batch_first(self._simulator.ring.column(now, "steps_left"))
        elapsed = (self.steps - left) / self.steps
        return job_slots(active, batch_first(jobs), self._shape.slots, elapsed)
