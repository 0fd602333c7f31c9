"""Weather as Open-Meteo returns it (JSON or CSV): wet bulb, and proxies of PV and wind.

The times are local with ONE offset for the whole file, whatever daylight saving does: utc = time -
utc_offset_seconds.  Units stand beside the variables.  Radiation is the mean of the hour BEFORE its time, all else the
value at its time.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from gridai_env.arrays.types import Float, Floats, Int, Ints
from gridai_env.traces.errors import TraceError
from gridai_env.traces.exports.series import Export
from gridai_env.traces.exports.tables import is_json, load_json
from gridai_env.traces.files.cells import text_rows
from gridai_env.traces.local_time import utc_minute
from gridai_env.traces.weather import pv_proxy_cf, wet_bulb_c, wind_proxy_cf

NAME = "openmeteo"
EXPECTED = (
    "JSON with latitude, longitude, utc_offset_seconds, hourly_units, hourly: {time, temperature_2m, ...}, or CSV "
    "with latitude,longitude,elevation,utc_offset_seconds,... above time,temperature_2m (°C),..."
)
PLACE = {"latitude": 90.0, "longitude": 180.0, "utc_offset_seconds": 16 * 3600.0}  # most, either way
NO_VALUE = ("", "nan")
SEVERAL = "is a list of locations; export one alone"
CSV_HEAD_LINES = 3  # names, values and an empty line stand before the header
FULL_SUN_W_PER_M2 = 1000.0


class _Kind(NamedTuple):
    """Possible values in our unit, and the units read: value = scale * (number + shift)."""

    low: float
    high: float
    units: dict[str, tuple[float, float]]


_TEMPERATURE = _Kind(-80.0, 65.0, {"°C": (1.0, 0.0), "°F": (5 / 9, -32.0)})
_PERCENT = _Kind(0.0, 100.0, {"%": (1.0, 0.0)})
_WIND = _Kind(
    0.0, 150.0, {"km/h": (1 / 3.6, 0.0), "m/s": (1.0, 0.0), "mp/h": (0.44704, 0.0), "kn": (0.514444, 0.0)}
)
_RADIATION = _Kind(0.0, 1500.0, {"W/m²": (1.0, 0.0)})


class Answer(NamedTuple):
    """An hourly answer for one place."""

    path: Path
    place: dict[str, Any]
    units: dict[str, str]
    hourly: dict[str, Any]

    def values(self, pattern: str, kind: _Kind, count: int) -> Float[Floats, " N"] | None:
        """Return the variable whose name fits in our unit, NaN where it has no value; None where there is none.

        Raises TraceError for another unit or length, and for values that cannot be.
        """
        name = next((name for name in self.hourly if re.fullmatch(pattern, name)), None)
        if name is None:
            return None
        unit = self.units.get(name)
        if not isinstance(unit, str) or unit not in kind.units:
            raise TraceError(f"{self.path}: {name} is in {unit!r}; must be in {' or '.join(kind.units)}")
        scale, shift = kind.units[unit]
        try:
            values = scale * (np.array(self.hourly[name], dtype=float) + shift)
        except (TypeError, ValueError) as error:
            raise TraceError(f"{self.path}: hourly.{name}: {error}") from error

        if values.shape != (count,):
            raise TraceError(f"{self.path}: hourly.{name} has {values.size} values for {count} times")
        bad = (values < kind.low) | (values > kind.high)
        if bad.any():
            raise TraceError(
                f"{self.path}: hourly.{name}: {values[bad][0]:g} is outside {kind.low:g} to {kind.high:g}"
            )
        return values


def load(path: Path) -> Answer | None:
    """Return the answer in a file; None where it is no weather of Open-Meteo."""
    if is_json(path):
        data = load_json(path)
        tables = ("hourly_units", "hourly")
        if data and isinstance(data, list) and all(isinstance(x, dict) and "hourly" in x for x in data):
            raise TraceError(f"{path}: {SEVERAL}")
        if not isinstance(data, dict) or not {*PLACE, *tables} <= data.keys():
            return None
        if bad := [name for name in tables if not isinstance(data[name], dict)]:
            raise TraceError(f"{path}: {' and '.join(bad)} must be a table of names")
        return Answer(path, data, data["hourly_units"], data["hourly"])

    with text_rows(path) as (head, rows):
        if not set(PLACE) <= set(head):
            return None
        if "location_id" in head:
            raise TraceError(f"{path}: {SEVERAL}")
        place = dict(zip(head, next(rows, (0, [""] * len(head)))[1], strict=True))
    with text_rows(path, CSV_HEAD_LINES) as (header, rows):
        # Such as "temperature_2m (°C)".
        named = [name.removesuffix(")").partition(" (")[::2] for name in header]
        cells = [[None if cell.strip().lower() in NO_VALUE else cell for cell in row] for _, row in rows]
    columns = map(list, zip(*cells, strict=True))
    hourly = {name: column for (name, _), column in zip(named, columns, strict=False)}
    return Answer(path, place, dict(named) | {"time": "iso8601"}, hourly)


def read(answer: Answer) -> Export:
    """Read an answer: wet bulb (given, or from temperature and humidity), PV from radiation, else from clouds, and
    wind from that nearest to 100 m.
    """
    path = answer.path
    latitude, longitude, offset_s = (_number(path, answer.place, name) for name in PLACE)
    utc = _utc(answer, offset_s)
    count = len(utc)
    columns = {"wetbulb_c": _wet_bulb(answer, count)}
    words = ["wet bulb" + " (Stull 2011)" * ("wet_bulb_temperature_2m" not in answer.hourly)]

    radiation = _radiation(answer, count)
    cloud = answer.values("cloud_?cover", _PERCENT, count)
    if radiation is not None:
        # The mean of the hour before the next time is that of the hour which starts now.
        columns["pv_cf"] = np.clip(np.append(radiation[1:], np.nan) / FULL_SUN_W_PER_M2, 0.0, 1.0)
        words.append("PV from radiation")
    elif cloud is not None:
        columns["pv_cf"] = pv_proxy_cf(latitude, longitude, utc, cloud)
        words.append("PV from clouds")
    if heights := [int(m[1]) for name in answer.hourly if (m := re.fullmatch(r"wind_?speed_(\d+)m", name))]:
        height_m = min(heights, key=lambda height: abs(height - 100))
        wind = answer.values(f"wind_?speed_{height_m}m", _WIND, count)
        assert wind is not None
        columns["wind_cf"] = wind_proxy_cf(wind, height_m)
        words.append(f"wind at {height_m} m")

    # Radiation of the last hour would stand in the next row.
    end = count - 1 if radiation is not None else count
    text = f"Open-Meteo at {latitude:.2f}, {longitude:.2f}: {', '.join(words)}; capacity factors are proxies"
    kept = {name: values[:end] for name, values in columns.items()}
    return Export(str(path), NAME, text, utc[:end], kept, by_order=True)


def _wet_bulb(answer: Answer, count: int) -> Float[Floats, " N"]:
    given = answer.values("wet_bulb_temperature_2m", _TEMPERATURE, count)
    if given is not None:
        return given
    temperature = answer.values("temperature_2m", _TEMPERATURE, count)
    humidity = answer.values("relative_?humidity_2m", _PERCENT, count)
    if temperature is None or humidity is None:
        raise TraceError(
            f"{answer.path}: hourly has {sorted(answer.hourly)}; needs temperature_2m and relative_humidity_2m, or "
            "wet_bulb_temperature_2m"
        )
    return wet_bulb_c(temperature, humidity)


def _radiation(answer: Answer, count: int) -> Float[Floats, " N"] | None:
    """Return radiation on the ground, W/m2: as given, else direct and diffuse together."""
    given = answer.values("shortwave_radiation", _RADIATION, count)
    direct = answer.values("direct_radiation", _RADIATION, count)
    diffuse = answer.values("diffuse_radiation", _RADIATION, count)
    return direct + diffuse if given is None and direct is not None and diffuse is not None else given


def _number(path: Path, place: dict[str, Any], name: str) -> float:
    try:
        value = float(place[name])
    except (TypeError, ValueError):
        value = float("nan")

    limit = PLACE[name]
    whole = name != "utc_offset_seconds" or (
        value % 60 == 0 and isinstance(place[name], int) is is_json(path)
    )
    if not abs(value) <= limit or not whole:
        allowed = f"a number from {-limit:g} to {limit:g}" + ("" if limit < 1000 else " in whole minutes")
        raise TraceError(f"{path}: {name} = {place[name]!r}: must be {allowed}")
    return value


def _utc(answer: Answer, offset_s: float) -> Int[Ints, " N"]:
    """Return the times in minutes since 1970 UTC."""
    times = answer.hourly.get("time")
    if not isinstance(times, list) or not times or answer.units.get("time") != "iso8601":
        raise TraceError(f"{answer.path}: hourly.time must be a list of ISO 8601 times (timeformat=iso8601)")
    try:
        local = [utc_minute(datetime.fromisoformat(text.strip()).replace(tzinfo=UTC)) for text in times]
    except (TypeError, ValueError, AttributeError) as error:
        raise TraceError(f"{answer.path}: hourly.time: {error}") from error
    return np.array(local, dtype=np.int64) - int(offset_s) // 60
