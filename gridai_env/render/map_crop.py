"""The crop of the world on the map, and boxes on it, in pixels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gridai_env.arrays.types import Float, Floats

Box = tuple[float, float, float, float]  # left, bottom, right, top

MARGIN_SHARE, MARGIN_DEG = 0.14, 4.0
STRETCH = 1.6  # most that a degree of latitude is drawn larger than true to scale, to fill the frame
MOST_LATITUDE = 86.0


@dataclass(frozen=True)
class Crop:
    """The part of the world on the map and its linear projection to pixels."""

    west: float
    south: float
    x_px_per_deg: float
    y_px_per_deg: float
    width_px: float
    height_px: float

    def pixels(self, points_deg: Float[Floats, "*batch 2"]) -> Float[Floats, "*batch 2"]:
        """Return pixels from the lower left corner of the map for longitudes and latitudes."""
        scale = np.array([self.x_px_per_deg, self.y_px_per_deg])
        return (points_deg - np.array([self.west, self.south])) * scale

    @property
    def east(self) -> float:
        """Longitude of the right edge."""
        return self.west + self.width_px / self.x_px_per_deg

    @property
    def north(self) -> float:
        """Latitude of the upper edge."""
        return self.south + self.height_px / self.y_px_per_deg


def crop_to(points_deg: Float[Floats, "n 2"], width_px: float, height_px: float) -> Crop:
    """Return the crop that shows all points (longitude, latitude) with a margin and fills the map."""
    low, high = points_deg.min(0), points_deg.max(0)
    margin = np.maximum(MARGIN_SHARE * (high - low), MARGIN_DEG)
    middle, (wide, tall) = (low + high) / 2.0, high - low + 2.0 * margin
    true = 1.0 / np.cos(np.deg2rad(np.clip(middle[1], -60.0, 60.0)))
    stretch = np.clip((height_px / tall) / (width_px / wide), true, STRETCH * true)
    x_scale = min(width_px / wide, height_px / (tall * stretch))
    y_scale = max(x_scale * stretch, height_px / (2.0 * MOST_LATITUDE))
    half_tall = height_px / y_scale / 2.0
    centre = float(np.clip(middle[1], half_tall - MOST_LATITUDE, MOST_LATITUDE - half_tall))
    west = float(middle[0] - width_px / x_scale / 2.0)
    return Crop(west, centre - half_tall, float(x_scale), float(y_scale), width_px, height_px)


def box_at(x: float, y: float, width: float, height: float) -> Box:
    """Return the box with its lower left corner at (x, y)."""
    return (x, y, x + width, y + height)


def overlap(boxes: Float[Floats, "m 4"], others: Float[Floats, "n 4"]) -> Float[Floats, " m"]:
    """Return the area that each box shares with the others."""
    low = np.maximum(boxes[:, None, :2], others[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    return np.maximum(high - low, 0.0).prod(-1).sum(1)


def inside(box: Box, width: float, height: float) -> bool:
    """Return whether a box lies on a map of this size."""
    return box[0] >= 3.0 and box[1] >= 3.0 and box[2] <= width - 3.0 and box[3] <= height - 3.0
