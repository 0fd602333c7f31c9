"""Weather at a site: wet-bulb temperature, and proxies for the capacity factors of PV and wind.

The capacity factors are not measurements: PV is horizontal irradiance, measured or of a clear sky reduced by cloud
cover, wind a turbine on the wind extrapolated to 100 m.
"""

from __future__ import annotations

import numpy as np

from gridai_env.arrays.types import Float, Floats, Int, Ints

LEAST_HUMIDITY_PCT, MOST_HUMIDITY_PCT = 5.0, 99.0
HUB_M, MAST_M, SHEAR = 100.0, 10.0, 1.0 / 7.0
CUT_IN_MS, RATED_MS, CUT_OUT_MS = 3.0, 12.0, 25.0


def wet_bulb_c(temperature_c: Float[Floats, " N"], humidity_pct: Float[Floats, " N"]) -> Float[Floats, " N"]:
    """Return the wet-bulb temperature at sea level, after Stull (2011), J. Appl. Meteor. Climatol. 50, eq. 1.

    Within 1 K for 5-99 % relative humidity and -20 to 50 degrees Celsius; humidity is held inside its range.
    """
    rh = np.clip(humidity_pct, LEAST_HUMIDITY_PCT, MOST_HUMIDITY_PCT)
    return np.asarray(
        temperature_c * np.arctan(0.151977 * np.sqrt(rh + 8.313659))
        + np.arctan(temperature_c + rh)
        - np.arctan(rh - 1.676331)
        + 0.00391838 * rh**1.5 * np.arctan(0.023101 * rh)
        - 4.686035
    )


def cos_zenith(latitude: float, longitude: float, utc_minutes: Int[Ints, " N"]) -> Float[Floats, " N"]:
    """Return the cosine of the sun's zenith angle, 0 below the horizon; places are in degrees."""
    return np.asarray(np.maximum(sun_height(latitude, longitude, utc_minutes), 0.0))


def sun_height(
    latitude: float | Floats, longitude: float | Floats, utc_minutes: Int[Ints, "*batch"]
) -> Float[Floats, "*batch"]:
    """Return the sine of the sun's elevation, below 0 at night; places are in degrees.

    Declination after Cooper (1969), equation of time after Woolf (1968).
    """
    days = utc_minutes / 1440.0
    year = (
        utc_minutes.astype("datetime64[m]").astype("datetime64[Y]").astype("datetime64[m]").astype(np.int64)
    )
    day_of_year = days - year / 1440.0 + 1.0

    declination = np.radians(23.45) * np.sin(2 * np.pi * (284.0 + day_of_year) / 365.0)
    b = 2 * np.pi * (day_of_year - 81.0) / 364.0
    equation_min = 9.87 * np.sin(2 * b) - 7.53 * np.cos(b) - 1.5 * np.sin(b)

    hour_angle = np.radians((utc_minutes % 1440 + equation_min) / 4.0 - 180.0 + longitude)
    phi = np.radians(latitude)
    return np.sin(phi) * np.sin(declination) + np.cos(phi) * np.cos(declination) * np.cos(hour_angle)


def pv_proxy_cf(
    latitude: float, longitude: float, utc_minutes: Int[Ints, " N"], cloud_pct: Float[Floats, " N"]
) -> Float[Floats, " N"]:
    """Return horizontal irradiance over 1000 W/m2 in the middle of hours that start at ``utc_minutes``.

    Clear sky after Haurwitz (1945), clouds after Kasten and Czeplak (1980).
    """
    cosine = cos_zenith(latitude, longitude, utc_minutes + 30)
    clear = 1.098 * cosine * np.exp(-0.057 / np.maximum(cosine, 1e-3))
    return np.asarray(np.clip(clear * (1.0 - 0.75 * (cloud_pct / 100.0) ** 3.4), 0.0, 1.0))


def wind_proxy_cf(wind_ms: Float[Floats, " N"], height_m: float = MAST_M) -> Float[Floats, " N"]:
    """Return the capacity factor of a turbine at 100 m from the wind at a height: it rises with height^(1/7), power
    with wind^3.
    """
    hub = wind_ms * (HUB_M / height_m) ** SHEAR
    share = (hub**3 - CUT_IN_MS**3) / (RATED_MS**3 - CUT_IN_MS**3)
    return np.where(hub > CUT_OUT_MS, 0.0, np.clip(share, 0.0, 1.0))
