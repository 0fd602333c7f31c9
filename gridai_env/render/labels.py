"""Place labels beside their anchors, so that neither they nor the lines to them collide."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gridai_env.arrays.types import Bool, Bools, Float, Floats, Int, Ints
from gridai_env.render.map_crop import Box, box_at, inside, overlap

GAPS_PX = (14.0, 26.0, 42.0, 64.0, 92.0, 130.0, 180.0, 240.0)  # from anchor to label
DIRECTIONS = 16
ORDERS, SWEEPS = 12, 4
LINE_POINTS = 13
OWN_MARKER_PX = 17.0  # the line of a label starts under its own marker
# What a label avoids, in pixels of distance.
OVERLAP_PX = 1000.0  # per square pixel of overlap
CROSSING_PX = 100.0  # per point of a line that lies under a label or a marker
HIDING_PX = 1500.0  # for hiding all arrows


@dataclass(frozen=True)
class _Options:
    """The candidates of one label."""

    boxes: Float[Floats, "m 4"]
    lines: Float[Floats, "m points 2"]  # from the anchor to the box
    alone: Float[Floats, " m"]  # cost without the other labels


def place_labels(
    anchors: Float[Floats, "n 2"],
    sizes: list[tuple[float, float]],
    taken: list[Box],
    paths: Float[Floats, "p 2"],
    width: float,
    height: float,
) -> list[Box]:
    """Return a box for the label of every anchor on a map of this size.

    Labels keep off each other, off the boxes ``taken`` and off each other's lines; then they stay near and
    hide few of the points ``paths``.  Found by descent, label by label, from several orders of placing.
    """
    fixed = np.array(taken).reshape(-1, 4)
    options = [_options(a, s, fixed, paths, width, height) for a, s in zip(anchors, sizes, strict=True)]
    rng = np.random.default_rng(0)
    best, least = [0] * len(options), np.inf
    for _ in range(ORDERS):
        chosen, cost = _descend(options, rng.permutation(len(options)))
        if cost < least - 1e-9:
            best, least = chosen, cost
    boxes = (one.boxes[m].tolist() for one, m in zip(options, best, strict=True))
    return [box_at(x, y, right - x, top - y) for x, y, right, top in boxes]


def _descend(options: list[_Options], order: Int[Ints, " n"]) -> tuple[list[int], float]:
    """Place the labels in this order, then better one after the other; return the choice and its cost."""
    chosen: dict[int, int] = {}
    for i in np.tile(order, SWEEPS).tolist():
        chosen[i] = int(np.argmin(_costs(options, chosen, i)))
    total = sum(float(_costs(options, chosen, i)[chosen[i]]) for i in chosen)
    return [chosen[i] for i in range(len(options))], total


def _costs(options: list[_Options], chosen: dict[int, int], i: int) -> Float[Floats, " m"]:
    """Return what every candidate of label ``i`` costs beside the other labels."""
    mine = options[i]
    others = [j for j in chosen if j != i]
    if not others:
        return mine.alone
    boxes = np.stack([options[j].boxes[chosen[j]] for j in others])
    lines = np.concatenate([options[j].lines[chosen[j]] for j in others])
    crossings = _covered(mine.lines, boxes).sum((1, 2)) + _covered(lines, mine.boxes).sum(0)
    return mine.alone + OVERLAP_PX * overlap(mine.boxes, boxes) + CROSSING_PX * crossings


def _options(
    anchor: Float[Floats, " 2"],
    size: tuple[float, float],
    fixed: Float[Floats, "k 4"],
    paths: Float[Floats, "p 2"],
    width: float,
    height: float,
) -> _Options:
    found = [box for box in _candidates(anchor, size) if inside(box, width, height)]
    boxes = np.array(found or [_pushed_inside(anchor, size, width, height)])
    reach = np.clip(anchor, boxes[:, :2], boxes[:, 2:]) - anchor
    distance = np.hypot(reach[:, 0], reach[:, 1])
    first = np.minimum(OWN_MARKER_PX / np.maximum(distance, 1e-9), 1.0)[:, None]
    share = first + (1.0 - first) * np.linspace(0.0, 1.0, LINE_POINTS)
    lines = anchor + share[..., None] * reach[:, None]
    alone = distance + HIDING_PX * _covered(paths, boxes).sum(0) / max(len(paths), 1)
    alone += OVERLAP_PX * overlap(boxes, fixed) + CROSSING_PX * _covered(lines, fixed).sum((1, 2))
    return _Options(boxes, lines, alone)


def _candidates(anchor: Float[Floats, " 2"], size: tuple[float, float]) -> list[Box]:
    """Return boxes around the anchor, at rising distance and in all directions."""
    wide, tall = size
    boxes = []
    for gap in GAPS_PX:
        for angle in np.linspace(0.0, 2.0 * np.pi, DIRECTIONS, endpoint=False):
            x = anchor[0] + np.cos(angle) * (gap + wide / 2.0) - wide / 2.0
            y = anchor[1] + np.sin(angle) * (gap + tall / 2.0) - tall / 2.0
            boxes.append(box_at(x, y, wide, tall))
    return boxes


def _pushed_inside(
    anchor: Float[Floats, " 2"], size: tuple[float, float], width: float, height: float
) -> Box:
    """Return the box beside the anchor, moved onto the map as far as it fits."""
    x = float(np.clip(anchor[0] + 14.0, 3.0, max(width - size[0] - 3.0, 3.0)))
    y = float(np.clip(anchor[1] - size[1] / 2.0, 3.0, max(height - size[1] - 3.0, 3.0)))
    return box_at(x, y, *size)


def _covered(points: Float[Floats, "... 2"], boxes: Float[Floats, "n 4"]) -> Bool[Bools, "... n"]:
    """Return which points lie in which boxes."""
    place = points[..., None, :]
    return np.all((place > boxes[:, :2]) & (place < boxes[:, 2:]), axis=-1)
