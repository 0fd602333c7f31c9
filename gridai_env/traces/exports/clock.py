"""Stamps of exports in UTC: with an offset, in UTC, or on the clock of a zone with its changes in spring and autumn."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

from gridai_env.traces.errors import TraceError
from gridai_env.traces.exports.forms import WITH_OFFSET
from gridai_env.traces.local_time import utc_minute

SUMMER, WINTER = ("(CEST)", "(EEST)", "(WEST)"), ("(CET)", "(EET)", "(WET)")

FLAGS = {"N": False, "FALSE": False, "Y": True, "TRUE": True, "": None}


class Stamp(NamedTuple):
    """The stamp of one row, as read."""

    where: str  # file, line and cell, for errors
    moment: datetime
    second: bool | None  # of two equal hours; None: the row does not say
    filled: bool = True  # whether the row has a value


def read_stamp(where: str, text: str, formats: Sequence[str]) -> Stamp:
    """Read a date and time, or the first of ``start - end``; a mark like (CEST) says which of two equal hours it is.

    Raises TraceError naming ``where`` for text of another form.
    """
    text = text.split(" - ")[0].strip()
    second = True if text.endswith(WINTER) else False if text.endswith(SUMMER) else None
    if second is not None:
        text = text.rpartition("(")[0].strip()
    for layout in (None, *formats):  # None: ISO 8601
        try:
            # The clock of the form is set by to_utc.
            moment = datetime.strptime(text, layout) if layout else datetime.fromisoformat(text)  # noqa: DTZ007
        except ValueError:
            continue
        return Stamp(where, moment, second)

    example = datetime(2023, 7, 31, 13, tzinfo=UTC)
    known = " or ".join(["2023-07-31T13:00Z", *(example.strftime(layout) for layout in formats)])
    raise TraceError(f"{where}: is no date and time like {known}; correct or remove the row")


def numbered_hour(where: str, texts: Sequence[str], flag: str) -> Stamp:
    """Return the start of an hour: ``texts`` are a day, the hour's end from 1 to 24, and maybe its quarter 1 to 4."""
    day, hour, interval = (*texts, "")[:3]
    number = hour.removesuffix(":00")
    good = number.isdigit() and 1 <= int(number) <= 24 and interval in ("", "1", "2", "3", "4")
    if not good or flag.upper() not in FLAGS:
        raise TraceError(
            f"{where}: need an hour from 01:00 to 24:00, an interval from 1 to 4 and a flag N or Y"
        )

    try:
        layout = "%m/%d/%Y" if "/" in day else "%Y-%m-%d"
        midnight = datetime.strptime(day, layout)  # noqa: DTZ007  the clock of the form is set by to_utc
    except ValueError:
        raise TraceError(f"{where}: the day must be MM/DD/YYYY") from None
    start = midnight + timedelta(hours=int(number) - 1, minutes=15 * (int(interval or 1) - 1))
    return Stamp(where, start, FLAGS[flag.upper()])


def told_by_order(stamps: Sequence[Stamp], clock: str) -> bool:
    """Return whether the order of rows may tell equal hours apart: on a clock that is put back, without marks."""
    fixed = ZoneInfo(clock or "UTC").utcoffset(None) is not None
    return not fixed and any(one.moment.tzinfo is None and one.second is None for one in stamps)


def to_utc(stamps: Sequence[Stamp], clock: str, strict: bool) -> list[int | None]:
    """Return minutes since 1970 UTC; None for stamps with seconds and for empty rows of an hour that does not exist.

    On a clock with daylight saving the hour that comes twice in autumn is told apart by the rows' marks, else by
    their order, so rows must ascend.  ``strict``: marks stand at such hours alone.  Raises TraceError for a stamp
    without offset that needs one, one that is not of the clock, a filled row of an hour that does not exist, and an
    hour that comes twice but stands once.
    """
    zone = ZoneInfo(clock or "UTC")
    seen: dict[datetime, list[Stamp]] = {}
    out = [None if one.moment.second else _utc(one, clock, zone, seen, strict) for one in stamps]
    if lone := next((rows[0] for rows in seen.values() if len(rows) == 1 and rows[0].second is None), None):
        raise TraceError(
            f"{lone.where}: clocks were put back, so this hour comes twice, but stands once; add the other or "
            "export UTC"
        )
    return out


def _utc(
    stamp: Stamp, clock: str, zone: ZoneInfo, seen: dict[datetime, list[Stamp]], strict: bool
) -> int | None:
    """Return minutes since 1970 UTC; ``seen`` gathers the rows of hours that come twice."""
    moment = stamp.moment
    if moment.tzinfo is not None:
        if clock == "UTC" and moment.utcoffset():
            raise TraceError(f"{stamp.where}: is not UTC, as its column says")
        return utc_minute(moment)
    if clock == WITH_OFFSET:
        raise TraceError(f"{stamp.where}: has no offset; export stamps with their offset")

    first, second = (moment.replace(tzinfo=zone, fold=fold) for fold in (0, 1))
    put_back = (first.utcoffset() or timedelta()) - (second.utcoffset() or timedelta())
    if put_back < timedelta():
        if stamp.filled:
            raise TraceError(f"{stamp.where}: this hour does not exist: clocks were put forward")
        return None
    if not put_back:
        if stamp.second and strict:
            raise TraceError(f"{stamp.where}: this hour is not repeated")
        return utc_minute(first)
    rows = seen.setdefault(moment, [])
    rows.append(stamp)
    is_second = len(rows) > 1 if stamp.second is None else stamp.second
    return utc_minute(second if is_second else first)
