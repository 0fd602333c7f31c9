"""Where it is night: shade for the map."""

from __future__ import annotations

from datetime import datetime

import numpy as np

from gridai_env.arrays.types import Float, Floats
from gridai_env.render.map_crop import Crop
from gridai_env.traces.weather import sun_height

COLUMNS, ROWS = 120, 70
DARKEST = 0.17  # opacity of full night
TWILIGHT = 0.21  # sine of 12 degrees below the horizon: from here it is full night


def night(time_utc: datetime, crop: Crop) -> Float[Floats, "rows columns 4"]:
    """Return dark blue with the opacity of night over the crop, RGBA, south first."""
    longitude = np.linspace(crop.west, crop.east, COLUMNS)
    latitude = np.linspace(crop.south, crop.north, ROWS)
    shade = np.zeros((ROWS, COLUMNS, 4))
    shade[..., :3] = np.array([20, 32, 66]) / 255.0
    minute = np.array(time_utc, dtype="datetime64[m]").astype(np.int64)
    depth = np.clip(-sun_height(latitude[:, None], longitude, minute) / TWILIGHT, 0.0, 1.0)
    shade[..., 3] = DARKEST * depth
    return shade
