"""Readers of what data portals export, each to a series of one zone in our columns, units and UTC.

The forms of tables are data (`gridai_env.traces.exports.forms`); Open-Meteo's weather has a reader of its own.  The
form is recognised by the header or given; a file that is not what it is said to be is refused.
"""

from collections.abc import Mapping
from pathlib import Path

from gridai_env.traces.errors import TraceError
from gridai_env.traces.exports import weather
from gridai_env.traces.exports.choice import Choices
from gridai_env.traces.exports.forms import FORMS
from gridai_env.traces.exports.series import Export, on_steps
from gridai_env.traces.exports.table_reader import read_table
from gridai_env.traces.exports.tables import TextTable, form_of, is_json, load_table
from gridai_env.traces.files.cells import shown

EXPECTED = {name: form.header for name, form in FORMS.items()} | {weather.NAME: weather.EXPECTED}


def read_export(
    path: str | Path,
    format_name: str | None = None,
    *,
    usd_per: Mapping[str, float] | None = None,
    carbon: str = "direct",
    point: str | None = None,
    zone: str | None = None,
    drop_estimated: bool = False,
    in_pounds: bool = False,
    average: bool = False,
    allow_missing: float = 0.0,
) -> Export:
    """Read an export as a series of one zone, intervals ascending in UTC, on its own steps of an hour or less.

    ``format_name``: one of `EXPECTED`; None: by the header.  ``usd_per``: the rate where prices are not in USD,
    {"EUR": 1.08}.  ``carbon``: "direct" or "life_cycle".  ``point``: which price area, settlement point, location or
    zone, where there are several.  ``zone``: that of the trace file; prices of gridstatus are in USD for US-... alone.
    ``drop_estimated``: values marked as estimated become gaps.  ``in_pounds``: WattTime's rates without a column of
    units are in lb/MWh.  ``average``: finer rows become hours, whose means may lack the share ``allow_missing``.

    Intervals that are missing stay missing; what else was left out is in ``notes``.  Raises TraceError, with file
    and line, for all that cannot be used as asked, FileNotFoundError where there is no file.
    """
    name, source = _recognised(Path(path), format_name)
    if isinstance(source, weather.Answer):
        return on_steps(weather.read(source), average, allow_missing)
    choices = Choices(point, usd_per or {}, carbon, drop_estimated, zone, in_pounds)
    return on_steps(read_table(source, name, choices), average, allow_missing)


def _recognised(path: Path, expected: str | None) -> tuple[str, TextTable | weather.Answer]:
    """Return the form of a file and what it holds."""
    if expected is not None and expected not in EXPECTED:
        raise TraceError(f"format = {expected!r}: must be one of {', '.join(EXPECTED)}")
    answer = weather.load(path)
    table = load_table(path) if answer is None else TextTable(path, sorted(answer.hourly), [])
    found = form_of(table) if answer is None else weather.NAME
    if found is None or expected not in (None, found):
        looks = f"JSON with {table.header[:8]}" if is_json(path) else f"the header {shown(table.header)}"
        every = f"one of {', '.join(EXPECTED)}, as in docs/data.md"
        wanted = f"{expected}: {EXPECTED[expected]}" if expected else every
        raise table.error(f"found {f'{found} ({looks})' if found else looks}, expected {wanted}")
    return found, table if answer is None else answer
