"""Where it is night: shade for the map."""

from __future__ import annotations

from datetime import datetime

import numpy as np

from gridai_env.arrays.types import Float, Floats
from gridai_env.render.map_crop import Crop

COLUMNS, ROWS = 120, 70
DARKEST = 0.17  # opacity of full night
TWILIGHT = 0.21  # sine of 12 degrees below the horizon: from here it is full night


def night(time_utc: datetime, crop: Crop) -> Float[Floats, "rows columns 4"]:
    """Return dark blue with the opacity of night over the crop, RGBA, south first."""
    longitude = np.linspace(crop.west, crop.east, COLUMNS)
    latitude = np.linspace(crop.south, crop.north, ROWS)
    shade = np.zeros((ROWS, COLUMNS, 4))
    shade[..., :3] = np.array([20, 32, 66]) / 255.0
    depth = np.clip(-sun_height(time_utc, longitude, latitude[:, None]) / TWILIGHT, 0.0, 1.0)
    shade[..., 3] = DARKEST * depth
    return shade


def sun_height(
    time_utc: datetime, longitude: Float[Floats, "*#batch"], latitude: Float[Floats, "*#batch"]
) -> Float[Floats, "*batch"]:
    """Return the sine of the sun's elevation (Cooper's declination, no equation of time: to some degrees)."""
    day = time_utc.timetuple().tm_yday
    declination = np.deg2rad(23.45) * np.sin(2.0 * np.pi * (284 + day) / 365.0)
    hour = time_utc.hour + time_utc.minute / 60.0
    angle = np.deg2rad(15.0 * (hour - 12.0) + longitude)
    phi = np.deg2rad(latitude)
    return np.sin(phi) * np.sin(declination) + np.cos(phi) * np.cos(declination) * np.cos(angle)
