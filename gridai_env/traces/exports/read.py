"""Readers of what data portals export, each to an hourly series of one zone in our columns, units and UTC.

electricitymaps (old and new header), energinet, ercot, gridstatus, openmeteo: see the modules of their families.
The format is recognised by the header or given; a file that is not what it is said to be is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from gridai_env.traces.errors import TraceError
from gridai_env.traces.exports import carbon as export_carbon
from gridai_env.traces.exports import prices as export_prices
from gridai_env.traces.exports import weather as export_weather
from gridai_env.traces.exports.series import Export, hourly
from gridai_env.traces.files.cells import shown, text_rows

EXPECTED = {
    export_carbon.NAME: export_carbon.EXPECTED,
    **export_prices.EXPECTED,
    export_weather.NAME: export_weather.EXPECTED,
}


class _Choices(NamedTuple):
    """Arguments of `read_export` for the readers."""

    point: str | None
    usd_per: Mapping[str, float]
    carbon: str
    drop_estimated: bool


class _Form(NamedTuple):
    """A text format: what its header looks like and how it is read."""

    is_ours: Callable[[list[str]], bool]  # of a header in lower case
    read: Callable[[Path, _Choices], Export]


# The first whose header fits reads the file.
_FORMS = {
    export_carbon.NAME: _Form(
        export_carbon.is_ours,
        lambda path, given: export_carbon.read(path, given.carbon, given.point, given.drop_estimated),
    ),
    export_prices.ENERGINET: _Form(
        export_prices.is_energinet,
        lambda path, given: export_prices.read_energinet(path, given.point, given.usd_per),
    ),
    export_prices.ERCOT: _Form(
        export_prices.is_ercot, lambda path, given: export_prices.read_ercot(path, given.point)
    ),
    export_prices.GRIDSTATUS: _Form(
        export_prices.is_gridstatus, lambda path, given: export_prices.read_gridstatus(path, given.point)
    ),
}


def read_export(
    path: str | Path,
    format_name: str | None = None,
    *,
    usd_per: Mapping[str, float] | None = None,
    carbon: str = "direct",
    point: str | None = None,
    average: bool = False,
    drop_estimated: bool = False,
) -> Export:
    """Read an export as an hourly series of one zone, hours ascending in UTC.

    ``format_name``: one of `EXPECTED`; None: by the header.  ``usd_per``: the rate where prices are not in USD,
    {"EUR": 1.08}.  ``carbon``: "direct" or "life_cycle".  ``point``: which price area, settlement point,
    location or zone, where there are several.  ``average``: finer steps become hourly means.
    ``drop_estimated``: hours marked as estimated become gaps.

    Hours that are missing stay missing.  Raises TraceError, with file and line, for all that cannot be used as
    asked, FileNotFoundError where there is no file.
    """
    path = Path(path)
    name = export_format(path, format_name)
    if name == export_weather.NAME:
        export = export_weather.read(path)
    else:
        export = _FORMS[name].read(path, _Choices(point, usd_per or {}, carbon, drop_estimated))
    return hourly(export, average)


def export_format(path: str | Path, expected: str | None = None) -> str:
    """Return the format that a file's header shows.

    Raises TraceError, naming what was found, for an unknown format or another one than ``expected``.
    """
    path = Path(path)
    if expected is not None and expected not in EXPECTED:
        raise TraceError(f"format = {expected!r}: must be one of {', '.join(EXPECTED)}")
    found, looks = _recognised(path)
    if found is None or expected not in (None, found):
        wanted = {expected: EXPECTED[expected]} if expected is not None else EXPECTED
        forms = "; or ".join(f"{name}: {columns}" for name, columns in wanted.items())
        what = looks if found is None else f"{found} ({looks})"
        raise TraceError(f"{path}: found {what}, expected {forms}")
    return found


def _recognised(path: Path) -> tuple[str | None, str]:
    """Return the format (None: unknown) and what the file looks like."""
    if path.suffix.lower() == ".json":
        try:
            data = export_weather.load(path)
        except FileNotFoundError:
            raise FileNotFoundError(f"{path}: no such file") from None
        name = export_weather.NAME if export_weather.is_ours(data) else None
        return name, f"JSON with {sorted(data)[:8]}"

    with text_rows(path) as (header, _):
        lower = [column.lower() for column in header]
    name = next((name for name, form in _FORMS.items() if form.is_ours(lower)), None)
    return name, f"the header {shown(header)}"
