"""Local civil time of a zone, vectorised over arrays of UTC stamps.

The tz database is asked once per (time zone, year); afterwards a lookup is a `searchsorted` in the list of
the moments at which the UTC offset changes, so that a reset of an environment does not pay for calendar
arithmetic.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

import numpy as np

MINUTES_PER_HOUR = 60
MINUTES_PER_DAY = 1440
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def local_month_hour(timezone: str, start_utc: np.ndarray, hours: int) -> tuple[np.ndarray, np.ndarray]:
    """Local month 0..11 and local hour 0..23 of the `hours` hours that follow each start.

    `start_utc` is datetime64[m] of shape [B]; both results are int64 [B, hours]. An hour belongs to the
    local hour in which it starts: in a zone at UTC+05:30 the hour from 00:00 UTC counts as local hour 5.
    """
    first = start_utc.astype("datetime64[m]").astype(np.int64)
    utc = first[:, None] + np.arange(hours, dtype=np.int64) * MINUTES_PER_HOUR
    local = utc + offset_minutes(timezone, utc)
    day = local // MINUTES_PER_DAY
    return _month_of_day(day), (local - day * MINUTES_PER_DAY) // MINUTES_PER_HOUR


def offset_minutes(timezone: str, utc_minutes: np.ndarray) -> np.ndarray:
    """UTC offset in minutes (east positive), int64 [B, N]; `utc_minutes` [B, N] since 1970, rising along
    N.
    """
    moments, offsets = _transitions(timezone, *_years(utc_minutes))
    period = np.searchsorted(moments, utc_minutes[:, 0], side="right") - 1
    offset = np.repeat(offsets[period][:, None], utc_minutes.shape[1], axis=1)
    # Only episodes with a clock change inside need a lookup per stamp.
    changing = period != np.searchsorted(moments, utc_minutes[:, -1], side="right") - 1
    if changing.any():
        offset[changing] = offsets[np.searchsorted(moments, utc_minutes[changing], side="right") - 1]
    return offset


def _month_of_day(day: np.ndarray) -> np.ndarray:
    """Month 0..11 of days since 1970: a table over the days in use instead of a calendar rule per element."""
    low, high = int(day.min()), int(day.max())
    table = np.arange(low, high + 1).astype("datetime64[D]").astype("datetime64[M]").astype(np.int64) % 12
    return table[day - low]


def _years(utc_minutes: np.ndarray) -> tuple[int, int]:
    low, high = int(utc_minutes.min()), int(utc_minutes.max())
    return (_EPOCH + timedelta(minutes=low)).year, (_EPOCH + timedelta(minutes=high)).year


@lru_cache(maxsize=1024)
def _transitions(timezone: str, first_year: int, last_year: int) -> tuple[np.ndarray, np.ndarray]:
    """Moments (minutes since 1970) from which an offset holds, and the offsets, for the years asked for."""
    pairs = [
        pair for year in range(first_year, last_year + 1) for pair in _transitions_of_year(timezone, year)
    ]
    return np.array([p[0] for p in pairs], dtype=np.int64), np.array([p[1] for p in pairs], dtype=np.int64)


@lru_cache(maxsize=1024)
def _transitions_of_year(timezone: str, year: int) -> tuple[tuple[int, int], ...]:
    """The offset at the start of the year and each change in it, found by halving the days that contain
    one.
    """
    zone = ZoneInfo(timezone)
    first = int((datetime(year, 1, 1, tzinfo=UTC) - _EPOCH).total_seconds()) // 60
    last = int((datetime(year + 1, 1, 1, tzinfo=UTC) - _EPOCH).total_seconds()) // 60
    found = [(first, _offset_at(zone, first))]
    for begin in range(first, last, MINUTES_PER_DAY):
        low, high = begin, min(begin + MINUTES_PER_DAY, last)
        if _offset_at(zone, low) == _offset_at(zone, high):
            continue
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if _offset_at(zone, middle) == _offset_at(zone, low) else (low, middle)
        found.append((high, _offset_at(zone, high)))
    return tuple(found)


def _offset_at(zone: ZoneInfo, utc_minute: int) -> int:
    moment = (_EPOCH + timedelta(minutes=utc_minute)).astimezone(zone).utcoffset()
    assert moment is not None  # an aware datetime always has an offset
    return round(moment.total_seconds() / 60)
