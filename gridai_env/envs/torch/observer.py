"""The observation of a batch on its device: that of `gridai_env.envs.observer`, from the same equations.

What belongs to the scenario (open routes) is written once into each of two observations that are handed out in
turn; or, where every call has to return a tensor of its own, into that.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch

from gridai_env.arrays.types import Float, Index
from gridai_env.envs.torch.compiled_step import Traced
from gridai_env.envs.torch.episode_tensors import Tensor
from gridai_env.envs.torch.prepared import Prepared
from gridai_env.envs.torch.ring import RECENT, pick, put
from gridai_env.envs.torch.simulator import TorchSimulator, record_of
from gridai_env.observation.decode import JOB_FEATURES
from gridai_env.observation.layout import ObservationLayout
from gridai_env.observation.parts import EXOGENOUS_PARTS, due_gpuh, job_slots, prepared_runs, state_parts
from gridai_env.world.actions import active_jobs
from gridai_env.world.state import Exogenous, State

STATIC = "open_routes"


@dataclass(frozen=True)
class _Run:
    """Prepared parts that lie side by side, in the observation and among the columns."""

    shown: slice
    columns: slice
    offset: Float[Tensor, "n 1"]
    inverse: Float[Tensor, "n 1"]  # float32


class TorchObserver:
    """Observations [B,N] (float32) of a simulator that keeps the columns of this layout.

    In memory the batch axis lies innermost.  After the last step the world's parts are 0.
    """

    def __init__(
        self,
        simulator: TorchSimulator,
        layout: ObservationLayout,
        copy: bool = True,
        compile: bool = False,
        graphs: bool = False,
    ) -> None:
        """Observe a simulator; ``copy``: each observation is a new tensor, else two are used in turn."""
        self.layout, self._simulator, self._copy = layout, simulator, copy
        self._first, self._shape = layout.compiled.shape.session_rows, layout.compiled.shape
        self.inverse = {name: self._there(x) for name, x in layout.inverse_scales.items()}
        self.runs = self._prepared_runs()
        self._routes = self._there(layout.compiled.params.route_open.ravel(), torch.float32)[:, None]
        self._jobs = simulator.ring.values.new_zeros((0,))
        self._pair: list[Tensor] = []
        self._last: Tensor | None = None
        self._parts = Traced(self.segments, (0, -1, -1), graphs) if compile else None

    def _there(self, x: Any, dtype: torch.dtype | None = None) -> Tensor:
        where = self._simulator
        return torch.as_tensor(np.asarray(x), dtype=dtype or where.dtype, device=where.device)

    def _prepared_runs(self) -> list[_Run]:
        """Return runs of prepared parts, neighbours joined."""
        columns, layout = self._simulator.ring.columns, self.layout
        # The ring keeps neighbours of the observation side by side (`ring.plan`): a run is one slice
        # of both.
        runs = []
        for names in prepared_runs(layout.parts):
            places = [columns[EXOGENOUS_PARTS.get(name, name)].place for name in names]
            assert all(a.stop == b.start for a, b in pairwise(places))
            offset = np.concatenate(
                [np.full(layout.by_name[n].size, layout.by_name[n].offset) for n in names]
            )
            inverse = np.concatenate([layout.inverse_scales[name] for name in names])
            runs.append(
                _Run(
                    slice(layout.parts[names[0]].start, layout.parts[names[-1]].stop),
                    slice(places[0].start, places[-1].stop),
                    self._there(offset)[:, None],
                    self._there(inverse, torch.float32)[:, None],
                )
            )
        return runs

    @property
    def jobs_shape(self) -> tuple[int, ...]:
        """Shape of the features of jobs without the batch axis, see `observation.parts.job_table`."""
        shown = "jobs" in self.layout.parts
        return (self._shape.jobs + 1, len(JOB_FEATURES) + self._shape.sites) if shown else (0,)

    def begin(self, rows: Index, episodes: Prepared) -> None:
        """Take over the jobs of new episodes at the places ``rows``."""
        if "jobs" not in self.layout.parts:
            return
        if not len(self._jobs):
            shape = (*episodes.jobs.shape[:-1], self._simulator.num_envs)
            self._jobs = episodes.jobs.new_zeros(shape)
        put(self._jobs, rows, episodes.jobs)

    # At every step -------------------------------------------------------------------------------

    def observe(self, into: Tensor | None = None) -> Float[Tensor, "B N"]:
        """Return the observation [B,N] of where the simulator stands; ``into``: one to write over."""
        state, _, now = self._simulator.inputs()
        # Gradients do not survive writing in place: then all parts are joined to a new tensor.
        if self._parts is None:
            found = self._values(state, now, self._jobs)
        else:
            segments = self._parts(state, now, self._jobs)
            found = list(zip(self._places(), segments, strict=True))
        if any(values.requires_grad for _, values in found):
            return self._joined(found)

        out = self._room() if into is None else into.T
        for place, values in found:
            out[place] = values
        return out.T

    def renew(self, observation: Tensor, rows: Index) -> None:
        """Rewrite the entries of ``rows`` in the last observation, after new episodes began there."""
        state, _, now = self._simulator.inputs()
        some = [pick(x.movedim(0, -1), rows).movedim(-1, 0) for x in state]
        jobs = pick(self._jobs, rows) if self._jobs.ndim > 1 else self._jobs
        for place, values in self._values(some, pick(now, rows), jobs):
            put(observation.T[place], rows, values)

    def keep_last(self, observation: Float[Tensor, "B N"], rows: Index) -> Float[Tensor, "B N"]:
        """Copy the observations of ``rows`` to the tensor that keeps last observations, and return it."""
        if self._last is None:
            self._last = torch.zeros_like(observation.T)
        put(self._last, rows, pick(observation.T, rows))
        return self._last.T

    def _room(self) -> Float[Tensor, "N B"]:
        """Return a tensor [N,B] whose constant parts are written."""
        if len(self._pair) == 2:
            self._pair.reverse()
            return self._pair[1]
        where = self._simulator
        out = torch.empty((self.layout.size, where.num_envs), dtype=torch.float32, device=where.device)
        out[self.layout.parts[STATIC]] = self._routes
        if not self._copy:
            self._pair.append(out)
        return out

    def _joined(self, values: list[tuple[slice, Tensor]]) -> Tensor:
        """Return the observation as a tensor that carries gradients."""
        routes = self._routes.expand(-1, self._simulator.num_envs)
        found = sorted([*values, (self.layout.parts[STATIC], routes)], key=lambda item: item[0].start)
        return torch.cat([part for _, part in found]).T

    def _places(self) -> list[slice]:
        """Return what lies between the constant parts, in as few slices as there can be."""
        static = self.layout.parts[STATIC]
        return [s for s in (slice(0, static.start), slice(static.stop, self.layout.size)) if s.start < s.stop]

    def segments(self, state: list[Tensor], now: Tensor, jobs: Tensor) -> list[Tensor]:
        """Return the observation in the segments of `_places`, [n,B] each."""
        values = sorted(self._values(state, now, jobs), key=lambda item: item[0].start)
        return [
            torch.cat([part for at, part in values if place.start <= at.start < place.stop])
            for place in self._places()
        ]

    def _values(self, state: list[Tensor], now: Tensor, jobs: Tensor) -> list[tuple[slice, Tensor]]:
        """Return all parts that are not constant: where they lie, and their scaled values [n,B]."""
        s = record_of(State, state)
        exo, parts = self._simulator.ring.fields(now), self.layout.parts
        found = [(run.shown, (now[run.columns] - run.offset).float() * run.inverse) for run in self.runs]

        def due(backlog: Tensor) -> Tensor:
            recent = self._simulator.ring.column(now, RECENT)
            return due_gpuh(backlog + exo.arrivals_gpuh[:, :, self._first :], recent)

        for name, values in state_parts(parts, self._simulator.params, s, self._first, due):
            flat = values.movedim(0, -1).reshape(-1, values.shape[0])
            found.append((parts[name], (flat * self.inverse[name][:, None]).float()))
        if "jobs" in parts:
            slots = self._job_slots(s, exo, now, jobs)
            found.append((parts["jobs"], slots.movedim(0, -1).reshape(-1, slots.shape[0]).float()))
        return found

    def _job_slots(self, state: State, exo: Exogenous, now: Tensor, jobs: Tensor) -> Float[Tensor, "B V 5+K"]:
        """Return features [B,V,5+K] of the jobs that may be started now."""
        active, _ = active_jobs(state, exo)
        left = self._simulator.ring.column(now, "steps_left")
        elapsed = (self._shape.steps - left) / self._shape.steps
        return job_slots(active, jobs.movedim(-1, 0), self._shape.slots, elapsed)
