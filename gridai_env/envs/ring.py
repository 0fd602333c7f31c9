"""Exogenous inputs step by step: one tensor [T+1,M,B] whose row of this step is the same for all episodes.

The time axis is a ring.  An episode that begins while row r is the present is written from row r on, so that every
episode, whenever it began, finds its present step in one row: a slice, whether or not all stand at the same step.
The row after the last step belongs to the observation after the end: the world's parts of it are zero there.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from gridai_env.arrays.ops import (
    batch_first,
    batch_last,
    beside,
    constant,
    namespace,
    zeros,
)
from gridai_env.arrays.types import Array, Float, Index
from gridai_env.envs.episode_arrays import EpisodeArrays
from gridai_env.episodes.demand import growth_between
from gridai_env.observation.layout import ObservationLayout
from gridai_env.observation.parts import EXOGENOUS_PARTS, PART_FUNCTIONS
from gridai_env.scenario.compile import Compiled
from gridai_env.world.state import Exogenous, Shape, exogenous_shapes

# Fields of `Exogenous` that follow from arrivals now and in the step before.
GROWTH = ("growth", "rehomed_gpuh")
STORED = tuple(name for name in Exogenous.names() if name not in GROWTH)
QUEUE = "queue_limit_gpuh"  # stored of rows that may wait; nothing else is left in a queue
BEFORE = ("arrivals_gpuh", "steps_left")  # what these need of the step before


@dataclass(frozen=True)
class RingColumn:
    """Position of one field among the M columns."""

    place: slice
    shape: tuple[int, ...]
    after_end: float  # what stands in the row after the last step


def plan(compiled: Compiled, layout: ObservationLayout | None) -> dict[str, RingColumn]:
    """Return the columns: fields of `Exogenous` by their names, then what only observations show.

    With a ``layout``, parts of the observation that lie side by side there do so here.
    """
    shown = [name for name in layout.parts if name in PART_FUNCTIONS] if layout else []
    parts = layout.by_name if layout else {}
    fields = {EXOGENOUS_PARTS[name]: parts[name].offset for name in shown if name in EXOGENOUS_PARTS}
    shape = compiled.shape
    shapes = exogenous_shapes(shape) | {QUEUE: (shape.regions, shape.rows - shape.session_rows)}
    wanted: list[tuple[str, tuple[int, ...], float]] = [
        (name, shapes[name], 0.0) for name in STORED if name not in fields
    ]
    if "steps_left" not in parts:
        wanted.append(("steps_left", (1,), 0.0))
    for name in shown:
        field = EXOGENOUS_PARTS.get(name, name)
        wanted.append((field, parts[name].shape, fields.get(field, 0.0)))

    columns, start = {}, 0
    for name, own, rest in wanted:
        columns[name] = RingColumn(slice(start, start + prod(own)), own, rest)
        start += prod(own)
    return columns


def lay_out(episodes: EpisodeArrays, columns: dict[str, RingColumn], block: Float[Array, "T+1 M b"]) -> None:
    """Write the columns of whole episodes to a block."""
    steps, outside = episodes.compiled.shape.steps, episodes.outside()
    for name, column in columns.items():
        target = block[:, column.place].reshape(steps + 1, *column.shape, len(episodes))
        is_input = name in Exogenous.names()
        values = getattr(episodes.exogenous, name) if is_input else PART_FUNCTIONS[name](outside)
        known = values.shape[1]
        if name == QUEUE:  # rows that may wait come last
            values = values[..., values.shape[-1] - column.shape[-1] :]
        target[:known] = batch_last(values)
        # Forecasts and prices end with the episode: what is unknown shows as 0 in the observation.
        target[known:] = column.after_end


class Ring:
    """The columns of B episodes; `row` is the present."""

    def __init__(self, columns: dict[str, RingColumn], shape: Shape, num_envs: int, like: Array) -> None:
        """Make room for episodes of a scenario's ``shape``, on the device and with the type of ``like``."""
        width = max(c.place.stop for c in columns.values())
        self.columns = columns
        self.values = zeros((shape.steps + 1, width, num_envs), like)
        one = np.eye(shape.rows)  # of each row
        self._is_session = constant(one[: shape.session_rows].sum(0), like)
        self._is_waiting = [constant(mine, like) for mine in one[shape.session_rows :]]
        self.row = 0
        self._look()

    def _look(self) -> None:
        """Make views [T+1,B,...] of the exogenous inputs."""
        move = namespace(self.values).moveaxis
        self._series = {name: move(self.column(self.values, name), -1, 1) for name in (*STORED, "steps_left")}

    def __getstate__(self) -> dict[str, Any]:
        """Leave the views out of copies, which would not follow what is written."""
        return {name: x for name, x in vars(self).items() if name != "_series"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._look()

    def now(self) -> Float[Array, "M B"]:
        """Return all columns in this step, [M,B], as a view."""
        return self.values[self.row]

    def seen(self, steps: int, first: int) -> list[Array]:
        """Return what observations look at: the columns in this step and in the one before, [M,B], and last arrivals.

        These are [steps,C,Q,B], this step's last, of the rows of work from ``first`` on.  What is older than an
        episode belongs to others.
        """
        arrivals = self.column(self.values, "arrivals_gpuh")[:, :, first:]
        begin, end = self.row + 1 - steps, self.row + 1
        at = slice(begin, end) if begin >= 0 else beside(np.arange(begin, end) % len(arrivals), arrivals)
        return [self.now(), self.values[self.row - 1], arrivals[at]]

    def forward(self) -> None:
        """Go on by one step."""
        self.row = (self.row + 1) % len(self.values)

    def begin_anew(self) -> Float[Array, "T+1 M B"]:
        """Return the columns of all episodes, to be written over from their first step on, which is the present."""
        self.row = 0
        return self.values

    def write(self, rows: Index, block: Float[Array, "T+1 M b"], t: Index) -> None:
        """Put episodes (see `lay_out`) at the places ``rows``; now they are at steps ``t`` [b]."""
        size = len(self.values)
        for first in np.unique(t):
            mine = np.flatnonzero(t == first)
            begin = int(self.row - first) % size
            part = block if len(mine) == len(t) else pick(block, mine)
            put(self.values[begin:], rows[mine], part[: size - begin])
            put(self.values[:begin], rows[mine], part[size - begin :])

    def present(self) -> Exogenous:
        """Return the exogenous inputs of the present row, [B,...]; views where they are stored."""
        now, before = (
            {name: self._series[name][row] for name in names}
            for names, row in ((STORED, self.row), (BEFORE, self.row - 1))
        )
        return self.exogenous(now, before)

    def fields(self, now: Float[Array, "M B"], before: Float[Array, "M B"]) -> Exogenous:
        """Return the exogenous inputs in a row, as `present` does, from this one and the row before it."""
        some = (
            {name: batch_first(self.column(row, name)) for name in names}
            for names, row in ((STORED, now), (BEFORE, before))
        )
        return self.exogenous(*some)

    def exogenous(self, now: dict[str, Array], before: dict[str, Array]) -> Exogenous:
        """Return the exogenous inputs of steps, [B,...], from fields `STORED` there and `BEFORE` in those before."""
        arrivals = now["arrivals_gpuh"]
        # Before its first step stands the row after an episode's end, where no step is left.
        is_first = before["steps_left"][..., None] == 0.0
        last = namespace(arrivals).where(is_first, arrivals, before["arrivals_gpuh"])
        growth, rehomed = growth_between(last, arrivals * self._is_session)
        limits = [now[QUEUE][..., q : q + 1] * mine for q, mine in enumerate(self._is_waiting)]
        fields = now | {QUEUE: sum(limits[1:], limits[0]) if limits else namespace(growth).zeros_like(growth)}
        return Exogenous.make(**fields, growth=growth, rehomed_gpuh=rehomed)

    def column(self, rows: Array, name: str) -> Array:
        """Return one field of rows [...,M,B], as a view [...,*shape,B]."""
        column = self.columns[name]
        return rows[..., column.place, :].reshape(*rows.shape[:-2], *column.shape, rows.shape[-1])


def run_of(rows: Index) -> slice | None:
    """Return the places ``rows`` as a slice, where they follow one another."""
    first = int(rows[0])
    return slice(first, first + len(rows)) if (np.diff(rows) == 1).all() else None


def pick(x: Array, rows: Index) -> Array:
    """Return the entries ``rows`` along the last axis; a view where they follow one another."""
    run = run_of(rows)
    return x[..., run] if run else x[..., beside(rows, x)]


def put(target: Array, rows: Index, values: Array) -> None:
    """Write ``values`` to the entries ``rows`` along the last axis of ``target``."""
    run = run_of(rows)
    if run:
        target[..., run] = values
    else:
        target[..., beside(rows, target)] = values
