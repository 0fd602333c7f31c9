"""Outlines of land and lakes for the map: Natural Earth, scale 1:110m.

The file names its source and licence (public domain); ``scripts.maintenance.coastlines`` wrote it.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import numpy as np

from gridai_env.arrays.types import Float, Floats

FILE = Path(__file__).with_name("coastlines.geojson")

Outline = Float[Floats, "points 2"]  # longitude and latitude in degrees, closed


@cache
def _polygons() -> dict[str, list[list[Outline]]]:
    """Return polygons by feature: an outline and its holes each."""
    features = json.loads(FILE.read_text(encoding="utf-8"))["features"]
    return {
        feature["properties"]["name"]: [
            [np.array(ring) for ring in polygon] for polygon in feature["geometry"]["coordinates"]
        ]
        for feature in features
    }


def land() -> list[Outline]:
    """Return the outlines of continents and islands; `water` lies on top of them."""
    return [outline for outline, *_ in _polygons()["land"]]


def water() -> list[Outline]:
    """Return the outlines of large lakes, and of the Caspian Sea: a hole of the land."""
    holes = [hole for _, *holes in _polygons()["land"] for hole in holes]
    return holes + [outline for outline, *_ in _polygons()["lakes"]]
