"""What the hours before an episode let one expect of a trace file: climatology, level and size of deviations.

Nothing of the file at or after the start of the episode enters.  Climatology of price and carbon: the mean by hour of
day over the last PAST_DAYS; with fewer than PROFILE_DAYS of history the calibrated month-hour mean, where there is one
(another year has another shape of the day and other months).  The level is added: the mean of truth less climatology
over the last LEVEL_DAYS.  Wind: the calibrated mean, scaled by the ratio of truth and climatology over the last
PAST_DAYS, PV likewise: the size of a park is a factor.  The typical deviation is the median of |truth - expectation|
over the last PAST_DAYS.  Hours that are missing or bad are left out.

Where fewer than LEAST_H hours lie before the start, the calibration stands alone; without one, forecasts are those of
persistence.

Shapes: B episodes, L steps, Z zones.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from gridai_env.arrays.kept import kept_by
from gridai_env.arrays.types import Bool, Bools, Float, Floats, Int, Ints
from gridai_env.episodes.deviation import Deviation, synthetic_deviation
from gridai_env.episodes.forecast import MEDIAN_OF_NORMAL
from gridai_env.traces import TraceTable, ZoneSeries, known_zones
from gridai_env.traces.calibration import CALIBRATED, calibration_year
from gridai_env.traces.files.zones import MARGINAL
from gridai_env.traces.local_time import MINUTES_PER_HOUR
from gridai_env.traces.series import CLIMATOLOGY_OF
from gridai_env.traces.synthetic import climatology_hourly

PAST_DAYS = 28
LEVEL_DAYS = 7
PROFILE_DAYS = 14
LEAST_H = 48  # the day of history that every episode has tells nothing about deviations
RELATIVE = ("pv_cf", "wind_cf")
KEPT_ZONES = 64
Hours = Float[Floats, " n"]


@dataclass(frozen=True)
class Outlook:
    """Series with what is expected of them, and how far they usually stray from it."""

    series: ZoneSeries
    deviation: Deviation  # one row for each episode, [B,Z]; ``pv_relative`` [B,1,Z]
    blind: Bool[Bools, "B Z"]  # nothing is known before the start but a day: persistence
    provenance: list[dict[str, str]]  # by episode: zone -> words


@dataclass(frozen=True)
class Past:
    """A zone's good hours in a file, NaN elsewhere, and their calibrated expectation (None: there is none)."""

    first: int  # hour since 1970 UTC
    values: dict[str, Hours]
    calibrated: dict[str, Hours | None]

    def before(self, hours: Hours, start: np.ndarray) -> Float[Floats, "B days 24"]:
        """Return the last PAST_DAYS before each start (hour since 1970), NaN before the file."""
        at = start[:, None] - self.first + np.arange(-24 * PAST_DAYS, 0)
        inside = (at >= 0) & (at < len(hours))
        found = np.where(inside, hours[np.clip(at, 0, len(hours) - 1)], np.nan)
        return found.reshape(len(start), PAST_DAYS, 24)


@kept_by(lambda table, zone: (table.sha256, table.fill_gap_h, zone), KEPT_ZONES)
def zone_past(table: TraceTable, zone: str) -> Past:
    """Return the hours of a zone with what the calibration expects of them."""
    first, values = table.hours(zone)
    known: dict[str, np.ndarray] = {}
    if zone in known_zones():
        start = np.array([first * MINUTES_PER_HOUR]).astype("datetime64[m]")
        known = climatology_hourly(zone, start, len(next(iter(values.values()))))
    # No calibration knows a file's marginal carbon.
    own = {name: known.get(CALIBRATED[name]) for name in values if name in CLIMATOLOGY_OF}
    return Past(
        first, values, {name: None if x is None or name == MARGINAL else x[0] for name, x in own.items()}
    )


def outlook(table: TraceTable, series: ZoneSeries, start_utc: np.ndarray) -> Outlook:
    """Return the series of episodes that start at ``start_utc`` (datetime64 [B]) with what is expected of them."""
    start = start_utc.astype("datetime64[h]").astype(np.int64)
    from_start = series.times_utc().astype("datetime64[h]").astype(np.int64) - start[:, None]
    climatology = {field: getattr(series, field).copy() for field in CLIMATOLOGY_OF.values()}
    typical = {name: np.zeros((len(start), len(series.zones))) for name in CLIMATOLOGY_OF}
    enough, has_profile = (np.zeros((len(start), len(series.zones)), dtype=bool) for _ in range(2))

    for z, zone in enumerate(series.zones):
        past = zone_past(table, zone)
        is_known = np.isfinite(past.before(past.values["price_usd_per_mwh"], start))
        enough[:, z] = is_known.sum((1, 2)) >= LEAST_H
        has_profile[:, z] = is_known.any(2).sum(1) >= PROFILE_DAYS
        for name, calibrated in past.calibrated.items():
            of_zone = climatology[CLIMATOLOGY_OF[name]][..., z]
            seen = past.before(past.values[name], start)
            own = _by_hour_of_day(seen)
            is_own = np.full(len(start), calibrated is None)
            expected = own
            if calibrated is not None:
                expected = past.before(calibrated, start)
                if name not in RELATIVE:
                    is_own = np.isfinite(seen).any(2).sum(1) >= PROFILE_DAYS
                # Less than LEAST_H tells no level: the calibration stands alone.
                seen = np.where(enough[:, z, None, None], seen, expected)

            by_hour = np.take_along_axis(own[:, 0], from_start % 24, axis=1)
            of_zone[:] = np.where(is_own[:, None], by_hour, of_zone)
            expected = np.where(is_own[:, None, None], own, expected)
            move = _level(seen, expected, relative=name in RELATIVE)
            of_zone[:] = move(of_zone.T).T
            typical[name][:, z] = _typical(seen, move(expected.T).T, relative=name == "pv_cf")
        if zone in known_zones() and not enough[:, z].all():
            _of_calibration(typical, zone, z, start_utc, ~enough[:, z])

    return Outlook(
        series=replace(series, **climatology),
        deviation=Deviation(pv_relative=typical.pop("pv_cf")[:, None], **typical),
        blind=~enough & np.array([zone not in known_zones() for zone in series.zones]),
        provenance=[
            {
                zone: _provenance(table, zone, *known)
                for zone, *known in zip(series.zones, enough[b], has_profile[b], strict=True)
            }
            for b in range(len(start))
        ],
    )


def demand_outlook(
    seen: Float[Floats, "B days 24"], hour: Int[Ints, "B X"]
) -> tuple[Float[Floats, "B X"], Float[Floats, " B"], Bool[Bools, " B"]]:
    """Return what the work ``seen`` in the PAST_DAYS before each start lets one expect, and its usual deviation.

    ``hour`` counts from the start, modulo a day.  Also whether too few hours were seen: then persistence must do.
    """
    usual = _by_hour_of_day(seen)
    move = _level(seen, usual, relative=False)
    expected = move(np.take_along_axis(usual[:, 0], hour, axis=1).T).T
    typical = _typical(seen, move(usual.T).T, relative=False) / MEDIAN_OF_NORMAL
    return np.maximum(expected, 0.0), typical, np.isfinite(seen).sum((1, 2)) < LEAST_H


def _by_hour_of_day(seen: Float[Floats, "B days 24"]) -> Float[Floats, "B days 24"]:
    """Return the mean by hour of day for each day; the overall mean for hours that are never known."""
    overall = _mean(seen.reshape(len(seen), -1), axis=1)
    by_hour = _mean(seen, axis=1)
    by_hour = np.where(np.isfinite(by_hour), by_hour, overall[:, None])
    return np.broadcast_to(by_hour[:, None], seen.shape)


def _level(
    seen: Float[Floats, "B days 24"], expected: Float[Floats, "B days 24"], relative: bool
) -> Callable[[np.ndarray], np.ndarray]:
    """Return the function that brings expectations [...,B] to the level before the start."""
    if relative:
        known = np.isfinite(seen)
        usual = np.where(known, expected, 0.0).sum((1, 2))
        factor = np.where(known, seen, 0.0).sum((1, 2)) / np.where(usual > 0, usual, np.inf)
        factor = np.where(usual > 0, factor, 1.0)
        return lambda x: np.minimum(x * factor, 1.0)
    shift = _mean((seen - expected)[:, -LEVEL_DAYS:].reshape(len(seen), -1), axis=1)
    shift = np.where(np.isfinite(shift), shift, 0.0)
    return lambda x: x + shift


def _typical(
    seen: Float[Floats, "B days 24"], expected: Float[Floats, "B days 24"], relative: bool
) -> Float[Floats, " B"]:
    """Return the median of |seen - expected| of each episode; ``relative``: over expected, in its bright hours."""
    strays, bright = np.abs(seen - expected).reshape(len(seen), -1), expected.reshape(len(seen), -1)
    if relative:
        on = bright > _mean(bright, axis=1)[:, None]
        strays = np.where(on, strays / np.where(on, bright, 1.0), np.nan)
    # Sorting puts the unknown hours last.
    count = np.isfinite(strays).sum(1)
    middle = np.sort(strays, axis=1)[np.arange(len(strays)), np.maximum(count - 1, 0) // 2]
    return np.where(count > 0, middle, 0.0)


def _of_calibration(
    typical: dict[str, np.ndarray], zone: str, z: int, start_utc: np.ndarray, where: Bool[Bools, " B"]
) -> None:
    """Write the generator's deviation of the month to the episodes that know too little of their past."""
    usual = synthetic_deviation((zone,))
    month = start_utc.astype("datetime64[M]").astype(np.int64)[where] % 12
    for name in typical:
        if name == "pv_cf":
            typical[name][where, z] = usual.pv_relative[0]
        else:
            by_month = getattr(usual, name).reshape(12, 24).mean(1)
            typical[name][where, z] = by_month[month]


def _provenance(table: TraceTable, zone: str, enough: bool, has_profile: bool) -> str:
    """Return in words what forecasts expect of a zone."""
    own = "marginal carbon" if MARGINAL in table.hours(zone)[1] else ""
    past = f"mean by UTC hour of day of the {PAST_DAYS} days before the start"
    level = (
        f"level of price and carbon of the {LEVEL_DAYS} days, noise of the {PAST_DAYS} days before the start"
    )
    if zone not in known_zones():
        return (
            f"expected: {past}; {level}"
            if enough
            else "expected: persistence, for want of a past in the file"
        )

    calibrated = f"month-hour mean of the {calibration_year()} calibration"
    if not enough:
        of_own = f" ({own}: {past})" if own else ""
        return f"expected: {calibrated}{of_own} alone, for want of a past"
    of_price = past if has_profile else f"{calibrated} (fewer than {PROFILE_DAYS} days known)"
    return f"expected: {of_price} for price and carbon, {calibrated} for PV and wind; {level}"


def _mean(values: np.ndarray, axis: int) -> np.ndarray:
    """Return the mean of the known values along an axis, NaN where there are none."""
    known = np.isfinite(values)
    count = known.sum(axis)
    return np.where(count > 0, np.where(known, values, 0.0).sum(axis) / np.maximum(count, 1), np.nan)
