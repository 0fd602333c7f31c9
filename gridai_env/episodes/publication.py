"""Which prices of a day-ahead market are published: those of the local day, and from some hour on of the next.

Shapes: B episodes, T steps, K sites.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gridai_env.arrays.types import Array, Bool, Int
from gridai_env.scenario.compile import Compiled
from gridai_env.traces.local_time import MINUTES_PER_DAY, MINUTES_PER_HOUR, offset_minutes


@dataclass(frozen=True)
class Publication:
    """Local days, counted from 1970, of the market of each site."""

    day: Int[Array, "B T K"]  # in which the step starts
    last: Int[Array, "B T K"]  # up to which prices are known in the step

    def at_lead(self, lead: int) -> Bool[Array, "B T-lead K"]:
        """Return whether the price ``lead`` steps ahead is known, for each step that has such a target."""
        return self.day[:, lead:] <= self.last[:, : self.last.shape[1] - lead]


def publication(compiled: Compiled, start_utc: np.ndarray, first_step: int, steps: int) -> Publication:
    """Return what is published in ``steps`` steps from ``first_step`` of episodes that start at ``start_utc``.

    A day has the hours that its clocks give it, 23 or 25 where these change.
    """
    minutes = np.round((first_step + np.arange(steps)) * compiled.shape.dt_h * MINUTES_PER_HOUR)
    utc = start_utc.astype("datetime64[m]").astype(np.int64)[:, None] + minutes.astype(np.int64)
    zones = compiled.sites.timezones
    of_zone = {zone: np.divmod(utc + offset_minutes(zone, utc), MINUTES_PER_DAY) for zone in set(zones)}
    day, minute = (np.stack([of_zone[zone][part] for zone in zones], axis=-1) for part in (0, 1))
    return Publication(day, day + (minute >= compiled.forecast.published_from_h * MINUTES_PER_HOUR))
