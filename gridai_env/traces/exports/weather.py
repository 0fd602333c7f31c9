"""Weather as Open-Meteo's archive returns it (JSON): wet bulb, and proxies of PV and wind.

The times are local with ONE offset for the whole file, whatever daylight saving does: utc = time -
utc_offset_seconds.  Wind comes in the unit that ``hourly_units`` names, km/h by default.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from gridai_env.arrays.types import Float, Floats, Int, Ints
from gridai_env.traces.errors import TraceError
from gridai_env.traces.exports.series import Export
from gridai_env.traces.local_time import utc_minute
from gridai_env.traces.weather import pv_proxy_cf, wet_bulb_c, wind_proxy_cf

NAME = "openmeteo"
EXPECTED = (
    "JSON with latitude, longitude, utc_offset_seconds, hourly_units, hourly: {time, temperature_2m, ...}"
)
TEMPERATURE, HUMIDITY = ("temperature_2m",), ("relative_humidity_2m", "relativehumidity_2m")
CLOUD, WIND = ("cloudcover", "cloud_cover"), ("windspeed_10m", "wind_speed_10m")
MS_PER = {"km/h": 1.0 / 3.6, "m/s": 1.0, "mp/h": 0.44704, "kn": 0.514444}
RANGES = {"temperature": (-80.0, 65.0), "humidity": (0.0, 100.0), "cloud": (0.0, 100.0), "wind": (0.0, 150.0)}


def load(path: Path) -> dict[str, Any]:
    """Return the JSON of a file; raises TraceError where the file is not JSON."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise TraceError(f"{path}: not valid JSON: {error}") from error
    return data if isinstance(data, dict) else {}


def is_ours(data: dict[str, Any]) -> bool:
    """Return whether a JSON table is an hourly answer of Open-Meteo."""
    return {"latitude", "longitude", "utc_offset_seconds", "hourly_units", "hourly"} <= data.keys()


def read(path: Path) -> Export:
    """Read an answer: wet bulb from temperature and humidity, PV from clouds, wind from the 10 m wind."""
    data = load(path)
    hourly, units = data["hourly"], data["hourly_units"]
    utc = _utc(path, hourly, units, data["utc_offset_seconds"])
    temperature = _values(path, hourly, units, TEMPERATURE, "temperature", {"°C": 1.0}, len(utc))
    humidity = _values(path, hourly, units, HUMIDITY, "humidity", {"%": 1.0}, len(utc))
    if temperature is None or humidity is None:
        raise TraceError(
            f"{path}: hourly has {sorted(hourly)}; needs temperature_2m and relative_humidity_2m"
        )

    columns = {"wetbulb_c": wet_bulb_c(temperature, humidity)}
    cloud = _values(path, hourly, units, CLOUD, "cloud", {"%": 1.0}, len(utc))
    wind = _values(path, hourly, units, WIND, "wind", MS_PER, len(utc))
    if cloud is not None:
        columns["pv_cf"] = pv_proxy_cf(float(data["latitude"]), float(data["longitude"]), utc, cloud)
    if wind is not None:
        columns["wind_cf"] = wind_proxy_cf(wind)

    text = f"Open-Meteo at {data['latitude']:.2f}, {data['longitude']:.2f}: wet bulb (Stull 2011)"
    text += ", PV and wind are proxies" if len(columns) > 1 else ""
    return Export(str(path), NAME, text, utc, columns)


def _utc(path: Path, hourly: dict[str, Any], units: dict[str, str], offset_s: Any) -> Int[Ints, " N"]:
    """Return the times in minutes since 1970 UTC."""
    if not isinstance(offset_s, int) or abs(offset_s) > 16 * 3600 or offset_s % 60:
        raise TraceError(f"{path}: utc_offset_seconds = {offset_s!r}: must be whole minutes within 16 h")
    times = hourly.get("time")
    if not isinstance(times, list) or not times or units.get("time") != "iso8601":
        raise TraceError(f"{path}: hourly.time must be a list of ISO 8601 times (timeformat=iso8601)")
    try:
        local = [utc_minute(datetime.fromisoformat(text).replace(tzinfo=UTC)) for text in times]
    except (TypeError, ValueError) as error:
        raise TraceError(f"{path}: hourly.time: {error}") from error
    return np.array(local, dtype=np.int64) - offset_s // 60


def _values(
    path: Path,
    hourly: dict[str, Any],
    units: dict[str, str],
    names: tuple[str, ...],
    kind: str,
    scale: dict[str, float],
    count: int,
) -> Float[Floats, " N"] | None:
    """Return a variable in our unit, NaN where null; None where the file does not have it."""
    name = next((name for name in names if name in hourly), None)
    if name is None:
        return None
    unit = units.get(name)
    if unit not in scale:
        raise TraceError(f"{path}: {name} is in {unit!r}; must be in {' or '.join(scale)}")

    try:
        values = np.array(hourly[name], dtype=float) * scale[unit]
    except (TypeError, ValueError) as error:
        raise TraceError(f"{path}: hourly.{name}: {error}") from error
    if values.shape != (count,):
        raise TraceError(f"{path}: hourly.{name} has {values.size} values for {count} times")

    low, high = RANGES[kind]
    bad = (values < low) | (values > high)
    if bad.any():
        raise TraceError(f"{path}: hourly.{name}: {values[bad][0]:g} is outside {low:g} to {high:g}")
    return values
