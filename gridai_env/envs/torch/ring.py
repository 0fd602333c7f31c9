"""Exogenous inputs step by step: one tensor [T+1,M,B] whose row of this step is the same for all episodes.

The time axis is a ring.  An episode that begins while row r is the present is written from row r on, so that every
episode, whenever it began, finds its present step in one row: a slice, whether or not all stand at the same step.
The row after the last step belongs to the observation after the end: the world's parts of it are zero there.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np
import torch

from gridai_env.arrays.torch_ops import constant, moved
from gridai_env.arrays.types import Float, Index
from gridai_env.envs.torch.episode_tensors import EpisodeTensors, Tensor
from gridai_env.observation.layout import ObservationLayout
from gridai_env.observation.parts import EXOGENOUS_PARTS, PART_FUNCTIONS, due_since, summed_arrivals_gpuh
from gridai_env.scenario.compile import Compiled
from gridai_env.world.state import Exogenous

RECENT = "recent_arrivals"


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
    wanted: list[tuple[str, tuple[int, ...], float]] = [
        (name, _field_shape(compiled, name), 0.0) for name in Exogenous.names() if name not in fields
    ]
    if "due" in parts:
        wanted.append((RECENT, parts["due"].shape, 0.0))
    for name in shown:
        field = EXOGENOUS_PARTS.get(name, name)
        wanted.append((field, parts[name].shape, fields.get(field, 0.0)))

    columns, start = {}, 0
    for name, shape, rest in wanted:
        columns[name] = RingColumn(slice(start, start + prod(shape)), shape, rest)
        start += prod(shape)
    return columns


def _field_shape(compiled: Compiled, name: str) -> tuple[int, ...]:
    """Return the shape of a field of `Exogenous` in one step."""
    s = compiled.shape
    if name in ("arrivals_gpuh", "queue_limit_gpuh", "growth", "rehomed_gpuh"):
        return (s.regions, s.rows)
    return (s.jobs, s.sites) if name == "job_open" else (s.sites,)


def block_of(episodes: EpisodeTensors, columns: dict[str, RingColumn]) -> Float[Tensor, "T+1 M b"]:
    """Return the columns of whole episodes, [T+1,M,b]."""
    steps, width = episodes.compiled.shape.steps, max(c.place.stop for c in columns.values())
    block = torch.empty((steps + 1, width, len(episodes)), dtype=episodes.dtype, device=episodes.device)
    outside = episodes.outside()

    for name, column in columns.items():
        if name in Exogenous.names():
            values = getattr(episodes.exogenous, name)
        else:
            values = recent_gpuh(episodes) if name == RECENT else PART_FUNCTIONS[name](outside)
        known = values.shape[1]
        block[:known, column.place] = values.movedim(0, -1).reshape(known, -1, len(episodes))
        # Forecasts and prices end with the episode: what is unknown shows as 0 in the observation.
        block[known:, column.place] = column.after_end
    return block


def recent_gpuh(episodes: EpisodeTensors) -> Float[Tensor, "B T C Q D"]:
    """Return arrivals whose wait does not end by the end of this and the next steps, [B,T,C,Q,D]."""
    compiled = episodes.compiled
    exact = episodes.exogenous.replace(arrivals_gpuh=episodes.exogenous.arrivals_gpuh.double())
    summed = summed_arrivals_gpuh(compiled, exact)  # sums of many steps, of which differences count
    since = constant(due_since(compiled)[: compiled.shape.steps], episodes.forecast)
    rows = compiled.shape.rows - compiled.shape.session_rows
    arrived = torch.stack([summed[..., q][since[:, q]] for q in range(rows)], -1)  # [T,D+1,B,C,Q]
    return (arrived[:, -1:] - arrived[:, :-1]).permute(2, 0, 3, 4, 1).to(episodes.dtype)


class Ring:
    """The columns of B episodes; `row` is the present."""

    def __init__(self, columns: dict[str, RingColumn], steps: int, num_envs: int, like: Tensor) -> None:
        """Make room for episodes of ``steps`` steps, on the device and with the type of ``like``."""
        width = max(c.place.stop for c in columns.values())
        self.columns = columns
        self.values = torch.zeros((steps + 1, width, num_envs), dtype=like.dtype, device=like.device)
        self.row = 0

    def now(self) -> Float[Tensor, "M B"]:
        """Return all columns in this step, [M,B], as a view."""
        return self.values[self.row]

    def forward(self) -> None:
        """Go on by one step."""
        self.row = (self.row + 1) % len(self.values)

    def write(self, rows: Index, block: Tensor, t: Index) -> None:
        """Put episodes ([T+1,M,b], see `block_of`) at the places ``rows``; now they are at steps ``t`` [b]."""
        size = len(self.values)
        for first in np.unique(t):
            mine = np.flatnonzero(t == first)
            begin = int(self.row - first) % size
            part = block if len(mine) == len(t) else pick(block, mine)
            put(self.values[begin:], rows[mine], part[: size - begin])
            put(self.values[:begin], rows[mine], part[size - begin :])

    def fields(self, now: Tensor) -> Exogenous:
        """Return the exogenous inputs in a row [M,B], as views [B,...]."""
        return Exogenous.make(**{name: self.column(now, name) for name in Exogenous.names()})

    def column(self, now: Tensor, name: str) -> Tensor:
        """Return one field of a row [M,B], as a view [B,...]."""
        column = self.columns[name]
        return now[column.place].reshape(*column.shape, now.shape[-1]).movedim(-1, 0)


def run_of(rows: Index) -> slice | None:
    """Return the places ``rows`` as a slice, where they follow one another."""
    first = int(rows[0])
    return slice(first, first + len(rows)) if (np.diff(rows) == 1).all() else None


def pick(x: Tensor, rows: Index) -> Tensor:
    """Return the entries ``rows`` along the last axis; a view where they follow one another."""
    run = run_of(rows)
    return x[..., run] if run else x[..., moved(rows, x.device)]


def put(target: Tensor, rows: Index, values: Tensor) -> None:
    """Write ``values`` to the entries ``rows`` along the last axis of ``target``."""
    run = run_of(rows)
    if run:
        target[..., run] = values
    else:
        target[..., moved(rows, target.device)] = values
