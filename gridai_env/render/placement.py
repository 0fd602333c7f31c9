"""Where things go on the map, in pixels: the crop of the world, and labels that do not collide."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

Box = tuple[float, float, float, float]  # left, bottom, right, top

MARGIN_SHARE, MARGIN_DEG = 0.14, 4.0
STRETCH = 1.6  # most that a degree of latitude is drawn larger than true to scale, to fill the frame
OWN_MARKER_PX = 17.0  # the line of a label starts under its own marker
CROSSING_PX = 400.0  # how far away a label may go rather than have its line cross another label or marker
HIDING_PX = 1500.0  # how far away a label may go rather than hide all arrows
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

    def pixels(self, points_deg: np.ndarray) -> np.ndarray:
        """Return pixels from the lower left corner of the map for [..., (longitude, latitude)]."""
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


def crop_to(points_deg: np.ndarray, width_px: float, height_px: float) -> Crop:
    """Return the crop that shows all points [n, (longitude, latitude)] with a margin and fills the map."""
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


def overlap(box: Box, others: np.ndarray) -> float:
    """Return the area that ``box`` shares with the boxes [n,4]."""
    if len(others) == 0:
        return 0.0
    wide = np.minimum(box[2], others[:, 2]) - np.maximum(box[0], others[:, 0])
    tall = np.minimum(box[3], others[:, 3]) - np.maximum(box[1], others[:, 1])
    return float((np.maximum(wide, 0.0) * np.maximum(tall, 0.0)).sum())


def place_labels(
    anchors: np.ndarray,
    sizes: list[tuple[float, float]],
    taken: list[Box],
    paths: np.ndarray,
    width: float,
    height: float,
) -> list[Box]:
    """Return a box for the label of every anchor [n,2], near it, off ``taken`` and each other.

    Greedy: crowded anchors first, each at the candidate that overlaps least; among those, one that lies near
    and hides few of the points ``paths`` [n,2].
    """
    distance = np.linalg.norm(anchors[:, None] - anchors[None], axis=-1)
    order = np.argsort(-(1.0 / (1.0 + distance / 60.0)).sum(1), kind="stable")
    placed: dict[int, Box] = {}
    for i in order:
        others = np.array([*taken, *placed.values()]).reshape(-1, 4)
        options = [box for box in _candidates(anchors[i], sizes[i]) if inside(box, width, height)]
        options = options or [_pushed_inside(anchors[i], sizes[i], width, height)]
        costs = [_cost(box, anchors[i], others, paths) for box in options]
        placed[int(i)] = options[int(np.argmin(costs))]
    return [placed[i] for i in range(len(anchors))]


def _cost(box: Box, anchor: np.ndarray, others: np.ndarray, paths: np.ndarray) -> float:
    """Return how bad a box is, in pixels: overlap first, then what its line crosses, distance, hiding."""
    reach = np.clip(anchor, box[:2], box[2:]) - anchor
    distance = float(np.hypot(*reach))
    line = anchor + np.linspace(0.0, 1.0, 9)[:, None] * reach
    line = line[np.hypot(*(line - anchor).T) > OWN_MARKER_PX]
    crossed = sum(overlap(box_at(x, y, 1.0, 1.0), others) for x, y in line)
    return 1e3 * overlap(box, others) + CROSSING_PX * crossed + distance + HIDING_PX * _hidden(box, paths)


def _hidden(box: Box, paths: np.ndarray) -> float:
    """Return the share of the points [n,2] that lie in a box."""
    low, high = np.array(box[:2]), np.array(box[2:])
    return float(((paths > low) & (paths < high)).all(-1).sum() / max(len(paths), 1))


def _candidates(anchor: np.ndarray, size: tuple[float, float]) -> list[Box]:
    """Boxes around the anchor, at rising distance and 16 directions."""
    wide, tall = size
    boxes = []
    for gap in (14.0, 26.0, 42.0, 64.0, 92.0, 130.0, 180.0, 240.0):
        for angle in np.linspace(0.0, 2.0 * np.pi, 16, endpoint=False):
            x = anchor[0] + np.cos(angle) * (gap + wide / 2.0) - wide / 2.0
            y = anchor[1] + np.sin(angle) * (gap + tall / 2.0) - tall / 2.0
            boxes.append(box_at(x, y, wide, tall))
    return boxes


def inside(box: Box, width: float, height: float) -> bool:
    """Whether a box lies on a map of this size."""
    return box[0] >= 3.0 and box[1] >= 3.0 and box[2] <= width - 3.0 and box[3] <= height - 3.0


def _pushed_inside(anchor: np.ndarray, size: tuple[float, float], width: float, height: float) -> Box:
    x = float(np.clip(anchor[0] + 14.0, 3.0, max(width - size[0] - 3.0, 3.0)))
    y = float(np.clip(anchor[1] - size[1] / 2.0, 3.0, max(height - size[1] - 3.0, 3.0)))
    return box_at(x, y, *size)
