"""Calls of a site in a trace file: when its lines are called, and from when on that is known.

`call_SITE` is the share of a row's interval that is called: 0 not, 1 called; between, a call in a part of the interval
or a limit that has come down in part (a ramp).  `notice_h_SITE` is the notice in hours of the call that begins in a
row.  The rows of the site's zone count alone.  Rows with a share above 0 one after the other are one call.

Rows finer than a step are averaged: the mean limit of the step is what the rows give.  A step shows its calls once all
that touch it are announced, at the latest when it begins.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gridai_env.arrays.types import Bool, Bools, Float, Floats, Int, Ints
from gridai_env.traces.files.formats import CALL, NOTICE
from gridai_env.traces.files.zone_axis import ZoneAxis, begins
from gridai_env.traces.local_time import MINUTES_PER_HOUR


@dataclass(frozen=True)
class FileCalls:
    """The calls of one site on the rows of a file."""

    axis: ZoneAxis
    share: Float[Floats, " n"]  # of each cell that is called, NaN where it cannot be used
    begins: Bool[Bools, " n"]  # whether a call begins
    notice_h: Float[Floats, " n"]  # of the call that begins in the cell
    own_notice: bool  # whether that stands in the file
    bad_calls: Int[Ints, " bad"]  # cells that are called but cannot be used

    @classmethod
    def of(cls, axis: ZoneAxis, site: str, notice_h: float) -> FileCalls:
        """Return the calls of a site; ``notice_h`` holds where the axis has no notice of its own."""
        called, own = axis.values[CALL + site.lower()], NOTICE + site.lower()
        share = np.where(axis.usable, called, np.nan)
        return cls(
            axis=axis,
            share=share,
            begins=begins(share > 0.0),
            notice_h=axis.values.get(own, np.full(len(share), notice_h)),
            own_notice=own in axis.values,
            bad_calls=np.flatnonzero((called > 0.0) & ~axis.usable),
        )

    def on_steps(self, step_min: int) -> CalledSteps:
        """Return the calls on steps of ``step_min`` minutes, which begin at whole multiples of it."""
        axis, called = self.axis, self.share > 0.0
        cell = np.arange(len(called))
        began = np.maximum.accumulate(np.where(self.begins, cell, 0))
        notice_min = np.round(MINUTES_PER_HOUR * np.where(self.begins, self.notice_h, 0.0))
        announced_min = (axis.first + began) * axis.cell_min - notice_min[began]

        unit = int(np.gcd(axis.cell_min, step_min))
        first, ahead = divmod(axis.start, step_min)
        behind = -axis.end % step_min

        def by_step(values: Float[Floats, " n"], outside: float) -> Float[Floats, "steps units"]:
            parts = np.repeat(values, axis.cell_min // unit)
            padded = np.pad(parts, (ahead // unit, behind // unit), constant_values=outside)
            return padded.reshape(-1, step_min // unit)

        depth = by_step(self.share, np.nan).mean(1)
        step = first + np.arange(len(depth))
        last_min = by_step(np.where(called, announced_min, -np.inf), -np.inf).max(1)
        known = np.where(depth > 0.0, np.ceil(last_min / step_min), step)
        return CalledSteps(first, depth, np.minimum(known, step).astype(np.int64))


@dataclass(frozen=True)
class CalledSteps:
    """The calls of one site on steps."""

    first: int  # steps since 1970 UTC
    depth: Float[Floats, " n"]  # share that is called, NaN where it is not known
    known_from: Int[Ints, " n"]  # step since 1970 from which that is known

    @property
    def called_share(self) -> float:
        """Share of the known steps that are called, in part or as a whole."""
        known = self.depth[~np.isnan(self.depth)]
        return float((known > 0.0).mean()) if known.size else 0.0

    def window(
        self, first: Int[Ints, " B"], steps: int
    ) -> tuple[Float[Floats, "B steps"], Int[Ints, "B steps"]]:
        """Return depth of the steps from ``first`` (since 1970) on, and the step of each window from which it is known.

        That is ``steps`` where nothing is called.
        """
        at = (first - self.first)[:, None] + np.arange(steps)
        depth = self.depth[at]
        known = np.maximum(self.known_from[at] - first[:, None], 0)
        return depth, np.where(depth > 0.0, known, steps)
