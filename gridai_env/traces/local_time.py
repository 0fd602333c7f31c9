"""Local civil time of a zone, vectorised over arrays of UTC stamps.

The tz database is read once per (time zone, year); afterwards a lookup is a `searchsorted` in the list of
the moments at which the UTC offset changes, so that a reset of an environment does not pay for calendar
arithmetic.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

import numpy as np
from jaxtyping import Shaped

from gridai_env.arrays.types import Int, Ints

MINUTES_PER_HOUR = 60
MINUTES_PER_DAY = 1440
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def utc_minute(moment: datetime) -> int:
    """Return an aware moment in minutes since 1970 UTC; seconds are cut."""
    return (moment - EPOCH) // timedelta(minutes=1)


def stamp(utc_minutes: int) -> str:
    """Return minutes since 1970 UTC as text: 2023-07-03T00:00Z."""
    return f"{np.datetime64(int(utc_minutes), 'm')}Z"


def local_month_hour(
    timezone: str, start_utc: Shaped[np.ndarray, " B"], hours: int
) -> tuple[Int[Ints, "B hours"], Int[Ints, "B hours"]]:
    """Return local month 0..11 and local hour 0..23 of the hours that follow each start (datetime64[m]).

    An hour belongs to the local hour in which it starts: in a zone at UTC+05:30 the hour from 00:00 UTC counts
    as local hour 5.
    """
    utc = step_minutes(start_utc, 0, hours, 1.0)
    return month_hour(utc + offset_minutes(timezone, utc))


def step_minutes(
    start_utc: Shaped[np.ndarray, " B"], first_step: float, steps: int, dt_h: float
) -> Int[Ints, "B steps"]:
    """Return minutes since 1970 UTC at the start of each step, from ``first_step`` after the start (datetime64) on."""
    minutes = np.round((first_step + np.arange(steps)) * (dt_h * MINUTES_PER_HOUR)).astype(np.int64)
    return start_utc.astype("datetime64[m]").astype(np.int64)[:, None] + minutes


def local_minutes(timezones: Sequence[str], utc_minutes: Int[Ints, "B N"]) -> Int[Ints, "B N zones"]:
    """Return minutes since 1970 on the clocks of several time zones; ``utc_minutes`` rise along N."""
    of_zone = {zone: utc_minutes + offset_minutes(zone, utc_minutes) for zone in set(timezones)}
    return np.stack([of_zone[zone] for zone in timezones], axis=-1)


def month_hour(local: Int[Ints, "*batch"]) -> tuple[Int[Ints, "*batch"], Int[Ints, "*batch"]]:
    """Return month 0..11 and hour 0..23 of minutes since 1970 on one clock."""
    day = local // MINUTES_PER_DAY
    return _month_of_day(day), (local - day * MINUTES_PER_DAY) // MINUTES_PER_HOUR


def offset_minutes(timezone: str, utc_minutes: Int[Ints, "B N"]) -> Int[Ints, "B N"]:
    """Return the UTC offset in minutes, east positive; ``utc_minutes`` count from 1970 and rise along N."""
    moments, offsets = _transitions(timezone, *_years(utc_minutes))
    period = np.searchsorted(moments, utc_minutes[:, 0], side="right") - 1

    offset = np.repeat(offsets[period][:, None], utc_minutes.shape[1], axis=1)
    # Only episodes with a clock change inside need a lookup per stamp.
    changing = period != np.searchsorted(moments, utc_minutes[:, -1], side="right") - 1
    if changing.any():
        offset[changing] = offsets[np.searchsorted(moments, utc_minutes[changing], side="right") - 1]
    return offset


def _month_of_day(day: Int[Ints, "*batch"]) -> Int[Ints, "*batch"]:
    """Return the month 0..11 of days since 1970, from a table over the days in use: no calendar rule per element."""
    low, high = int(day.min()), int(day.max())
    table = np.arange(low, high + 1).astype("datetime64[D]").astype("datetime64[M]").astype(np.int64) % 12
    return table[day - low]


def _years(utc_minutes: Int[Ints, "*batch"]) -> tuple[int, int]:
    """Return the first and last year of the stamps."""
    low, high = int(utc_minutes.min()), int(utc_minutes.max())
    return (EPOCH + timedelta(minutes=low)).year, (EPOCH + timedelta(minutes=high)).year


@lru_cache(maxsize=1024)
def _transitions(timezone: str, first_year: int, last_year: int) -> tuple[Int[Ints, " n"], Int[Ints, " n"]]:
    """Return moments (minutes since 1970) from which an offset holds, and the offsets, for the given years."""
    years = range(first_year, last_year + 1)
    pairs = [pair for year in years for pair in _transitions_of_year(timezone, year)]
    moments, offsets = np.array(pairs, dtype=np.int64).T
    return moments, offsets


@lru_cache(maxsize=1024)
def _transitions_of_year(timezone: str, year: int) -> tuple[tuple[int, int], ...]:
    """Return the offset at the start of the year and each change in it: minutes since 1970, and the new offset."""
    zone = ZoneInfo(timezone)
    first, last = (utc_minute(datetime(y, 1, 1, tzinfo=UTC)) for y in (year, year + 1))
    found = [(first, _offset_at(zone, first))]
    for begin in range(first, last, MINUTES_PER_DAY):
        low, high = begin, min(begin + MINUTES_PER_DAY, last)
        if _offset_at(zone, low) == _offset_at(zone, high):
            continue

        # zoneinfo does not expose its transitions: bisect the day that contains one.
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if _offset_at(zone, middle) == _offset_at(zone, low) else (low, middle)
        found.append((high, _offset_at(zone, high)))
    return tuple(found)


def _offset_at(zone: ZoneInfo, utc_minute: int) -> int:
    moment = (EPOCH + timedelta(minutes=utc_minute)).astimezone(zone).utcoffset()
    assert moment is not None  # an aware datetime always has an offset
    return round(moment.total_seconds() / 60)
