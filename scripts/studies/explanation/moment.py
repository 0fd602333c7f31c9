"""The step of an episode that a time of day or a stamp names, in a time zone with its clock changes."""

import re
from datetime import UTC, datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from gridai_env.episodes.instance import Instance
from gridai_env.rollout.step_table import step_times_utc
from gridai_env.scenario.errors import closest
from scripts.runs.command import InputError

CLOCK = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)")


def time_zone(name: str) -> ZoneInfo:
    """Return the time zone of an IANA name; raise InputError for another."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        advice = closest(name, sorted(available_timezones()))
        raise InputError(f"--tz {name!r}: must be an IANA name such as Europe/Berlin; {advice}") from error


def local_times(instance: Instance, zone: ZoneInfo) -> list[datetime]:
    """Return the start of each step and the end of the last one on the clocks of ``zone``."""
    times = step_times_utc(instance.start_utc, instance.steps + 1, instance.params.dt_h)
    return [time.astype(datetime).replace(tzinfo=UTC).astimezone(zone) for time in times]


def step_at(instance: Instance, at: str, zone: ZoneInfo, day: int) -> int:
    """Return the step that ``at`` lies in.

    ``at``: HH:MM on the ``day``-th (1: first) local day of the episode that has it, the first of a doubled hour, or
    an ISO stamp, local where it has no offset.  Raises InputError where the episode or the clock has no such time.
    """
    times = local_times(instance, zone)
    clock = CLOCK.fullmatch(at)
    if clock is None:
        moment = _moment(at, zone)
        found = [t for t in range(instance.steps) if times[t] <= moment < times[t + 1]]
    else:
        minute = 60 * int(clock[1]) + int(clock[2])
        length = 60.0 * instance.params.dt_h
        steps = [t for t in range(instance.steps) if _since(times[t], minute) < length]
        days = list(dict.fromkeys(times[t].date() for t in steps))
        found = [t for t in steps if 0 < day <= len(days) and times[t].date() == days[day - 1]]

    if not found:
        on = f" on day {day}" if clock is not None else ""
        raise InputError(
            f"--at {at}: {zone.key} has no such time{on} in this episode, which runs from {times[0]:%Y-%m-%d %H:%M} to "
            f"{times[-1]:%Y-%m-%d %H:%M} there; choose another time, --day or --start"
        )
    return found[0]


def _since(time: datetime, minute: int) -> int:
    """Return minutes from the beginning of a step to a minute of the day, around midnight too."""
    return (minute - 60 * time.hour - time.minute) % 1440


def _moment(at: str, zone: ZoneInfo) -> datetime:
    """Return an ISO stamp as a moment; raise InputError for other text and for times that a clock change skips."""
    try:
        given = datetime.fromisoformat(at)
    except ValueError as error:
        raise InputError(f"--at {at!r}: must be HH:MM or an ISO stamp such as 2023-07-03T18:00") from error
    moment = (given if given.tzinfo else given.replace(tzinfo=zone)).astimezone(UTC)
    if given.tzinfo is None and moment.astimezone(zone).replace(tzinfo=None) != given:
        raise InputError(f"--at {at}: clocks of {zone.key} skip this time; choose another hour")
    return moment
