"""The exogenous series of grid zones over a batch of episodes, as one value.

Shape letters: B episodes, L steps, Z zones. Step i covers `[start + i*dt, start + (i+1)*dt)` in UTC.
1 kg/MWh = 1 g/kWh, so carbon figures published in g/kWh are used as they are.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Shaped

from gridai_env.arrays.ops import namespace
from gridai_env.arrays.types import Array, Float, Int, Ints
from gridai_env.traces.errors import TraceError
from gridai_env.traces.local_time import MINUTES_PER_HOUR, local_month_hour

HELD = ("price_usd_per_mwh", "carbon_average_kg_per_mwh", "carbon_marginal_kg_per_mwh")
INTERPOLATED = ("wetbulb_c", "pv_cf", "wind_cf")
VALUES = HELD + INTERPOLATED
# What is expected of a value; nobody forecasts the wet bulb.
CLIMATOLOGY_OF = {
    "price_usd_per_mwh": "price_climatology_usd_per_mwh",
    "carbon_average_kg_per_mwh": "carbon_average_climatology_kg_per_mwh",
    "carbon_marginal_kg_per_mwh": "carbon_marginal_climatology_kg_per_mwh",
    "pv_cf": "pv_cf_climatology",
    "wind_cf": "wind_cf_climatology",
}


@dataclass(frozen=True)
class ZoneSeries:
    """Prices, carbon intensities and weather of each zone, and their means by calendar alone.

    All arrays but `start_utc` are float64 (on a device also float32); on a device `start_utc` counts minutes since
    1970. The average carbon intensity is the direct (operational) one where the source has it, else the life-cycle
    one; `provenance` says which. The capacity factors are in [0, 1]; a wet bulb that no source knows is NaN.
    `*_climatology` is the calibrated mean for the month and local hour; for files `gridai_env.episodes.expectation`
    moves it to the level before the episode, and makes it from the hours before where there is no calibration (until
    then NaN). It knows nothing of the episode.
    """

    zones: tuple[str, ...]
    start_utc: Shaped[Array, " B"]
    dt_h: float
    price_usd_per_mwh: Float[Array, "B L Z"]
    carbon_average_kg_per_mwh: Float[Array, "B L Z"]
    carbon_marginal_kg_per_mwh: Float[Array, "B L Z"]
    wetbulb_c: Float[Array, "B L Z"]
    pv_cf: Float[Array, "B L Z"]
    wind_cf: Float[Array, "B L Z"]
    price_climatology_usd_per_mwh: Float[Array, "B L Z"]
    carbon_average_climatology_kg_per_mwh: Float[Array, "B L Z"]
    carbon_marginal_climatology_kg_per_mwh: Float[Array, "B L Z"]
    pv_cf_climatology: Float[Array, "B L Z"]
    wind_cf_climatology: Float[Array, "B L Z"]
    provenance: dict[str, str]
    sell_usd_per_mwh: Float[Array, "B L Z"] | None = None  # of export; NaN or None: by the rule of the site

    @property
    def steps(self) -> int:
        """Number of steps L."""
        return int(self.price_usd_per_mwh.shape[1])

    def times_utc(self) -> Shaped[np.ndarray, "B L"]:
        """Return the start of every step, datetime64[m]."""
        step = np.timedelta64(round(self.dt_h * MINUTES_PER_HOUR), "m")
        return self.start_utc[:, None] + np.arange(self.steps) * step

    def local_hour(self, timezone: str) -> Int[Ints, "B L"]:
        """Return the local hour of day 0..23 at the start of every step in an IANA time zone."""
        times = self.times_utc()
        _, hour = local_month_hour(timezone, times.reshape(-1), 1)
        return hour.reshape(times.shape)


@dataclass(frozen=True)
class StepGrid:
    """Position of the steps of an episode in the hours of its data.

    Before the first and after the last hour centre the value is held.  Where a step is an hour, there is nothing
    to lay out: the last three are None.
    """

    first_hour: Shaped[Array, " B"]  # datetime64[m]; on a device minutes since 1970
    hours: int  # number of hours covered
    held: Int[Array, "B L"] | None  # hour of each step
    left: Int[Array, "B L"] | None  # hour whose centre lies before that of the step
    weight: Float[Array, "B L"] | None  # of the hour after `left`, in linear interpolation

    def hold(self, hourly: Float[Array, "B hours Z"]) -> Float[Array, "B L Z"]:
        """Return the values of the steps, constant inside the hour (prices, carbon)."""
        if self.held is None:
            return hourly
        return namespace(hourly).take_along_axis(hourly, self.held[:, :, None], axis=1)

    def on_steps(self, name: str, hourly: Float[Array, "B hours Z"]) -> Float[Array, "B L Z"]:
        """Return the values of the steps as a series of this name has them."""
        return self.hold(hourly) if name in HELD else self.interpolate(hourly)

    def interpolate(self, hourly: Float[Array, "B hours Z"]) -> Float[Array, "B L Z"]:
        """Return the values of the steps, linear between the centres of the hours (weather)."""
        if self.left is None or self.weight is None:
            return hourly
        xp = namespace(hourly)
        right = xp.minimum(self.left + 1, self.hours - 1)
        low = xp.take_along_axis(hourly, self.left[:, :, None], axis=1)
        high = xp.take_along_axis(hourly, right[:, :, None], axis=1)
        return low + self.weight[:, :, None] * (high - low)


def step_grid(start_utc: Shaped[np.ndarray, " B"], steps: int, dt_h: float) -> StepGrid:
    """Check starts and step length of a batch and return the grid of its steps.

    Raises TraceError where `dt_h` is not 1/n h with whole minutes, `steps` < 1, or a start is no multiple of
    dt.
    """
    start = checked_start(start_utc, steps, dt_h)
    step_min = round(dt_h * MINUTES_PER_HOUR)
    minutes = start.astype(np.int64)
    into_hour = minutes % MINUTES_PER_HOUR
    first_hour = start - into_hour.astype("timedelta64[m]")
    if step_min == MINUTES_PER_HOUR:
        return StepGrid(first_hour, steps, None, None, None)

    # One hour more than the steps fill, whatever the start: the draws must not depend on the other episodes.
    hours = -(-steps * step_min // MINUTES_PER_HOUR) + 1
    begin = into_hour[:, None] + np.arange(steps, dtype=np.int64) * step_min
    place = (begin + step_min / 2) / MINUTES_PER_HOUR - 0.5
    place = np.clip(place, 0.0, hours - 1.0)
    left = np.floor(place).astype(np.int64)
    return StepGrid(first_hour, hours, begin // MINUTES_PER_HOUR, left, place - left)


def checked_start(start_utc: Shaped[np.ndarray, " B"], steps: int, dt_h: float) -> Shaped[np.ndarray, " B"]:
    """Return the starts as datetime64[m]; raises TraceError as `step_grid` says."""
    step_min = dt_h * MINUTES_PER_HOUR
    if not 0 < dt_h <= 1 or abs(step_min - round(step_min)) > 1e-9 or MINUTES_PER_HOUR % round(step_min):
        raise TraceError(f"dt_h = {dt_h}: a step must be 1/n h in whole minutes (1, 0.5, 0.25, ...)")
    if steps < 1:
        raise TraceError(f"steps = {steps}: an episode needs at least 1 step")

    start = np.asarray(start_utc)
    if start.ndim != 1 or start.size == 0 or not np.issubdtype(start.dtype, np.datetime64):
        raise TraceError(
            f"start_utc: need datetime64 of shape [B] with B >= 1, got {start.dtype} {start.shape}"
        )
    if np.isnat(start).any():
        raise TraceError("start_utc: contains NaT")

    start_min = start.astype("datetime64[m]")
    off = (start != start_min) | (start_min.astype(np.int64) % round(step_min) != 0)
    if off.any():
        raise TraceError(
            f"start_utc = {start[off][0]}Z: a start must be a multiple of dt_h = {dt_h} h after midnight"
        )
    return start_min
