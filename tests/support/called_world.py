"""The world of `own_world` with lines in the south whose calls stand in a small trace file of made-up prices."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from gridai_env.scenario.compile import Compiled, compile_scenario
from gridai_env.scenario.load import load_scenario
from tests.support.own_world import WORLD

FIRST = np.datetime64("2024-03-28T00:00", "m")  # clocks in Berlin go forward on 31 March
DAYS = 7
CONNECTION: dict[str, Any] = {
    "name": "non-firm", "kind": "connection", "mw": 0.5, "price_usd_per_mwh": 500.0, "calls": {"source": "traces"}
}  # fmt: skip
RESPONSE: dict[str, Any] = {
    "name": "response", "kind": "demand_response", "price_usd_per_mwh": 1150.0, "commitment_mw": 0.3,
    "baseline": {"days": 5, "weekdays_only": False}, "calls": {"source": "traces"},
}  # fmt: skip
Cells = Mapping[str, Any]  # by stamp, as 2024-03-29T14:00


def write_file(
    path: Path, calls: Cells | None, notice: Cells | None = None, step_min: int = 60, default: str = "0"
) -> Path:
    """Write a week of prices with the calls of south; ``default`` stands in all other cells of its calls."""
    stamps = FIRST + np.arange(DAYS * 1440 // step_min) * np.timedelta64(step_min, "m")
    missing = {*(calls or {}), *(notice or {})} - set(map(str, stamps))
    assert not missing, missing
    rows = []
    for zone in ("NORTH", "SOUTH"):
        for i, at in enumerate(map(str, stamps)):
            cells = [] if calls is None else [str(calls.get(at, default))]
            cells += [] if notice is None else [str(notice.get(at, ""))]
            # In the rows of other zones nothing is read, whatever stands there.
            if zone == "NORTH":
                cells = ["0.3" if i % 2 else ""] * len(cells)
            rows.append(",".join([f"{at}Z", zone, str(40 + i % 24), "300", *cells]))
    header = ["utc", "zone", "price_usd_per_mwh", "carbon_average_kg_per_mwh"]
    header += ["call_south"] * (calls is not None) + ["notice_h_South"] * (notice is not None)
    path.write_text("\n".join([",".join(header), *rows]) + "\n", encoding="utf-8")
    return path


def scenario(folder: Path, file: str | Path, *lines: Mapping[str, Any], **changes: Any) -> Path:
    """Write the scenario with lines in the south (default: a connection) and return its path."""
    north, south = WORLD["sites"]
    south = {**south, "timezone": "Europe/Berlin", "lines": list(lines) or [CONNECTION]}
    keys = {
        "horizon_h": 48.0,
        "traces": str(file),
        "sites": [north, south],
        "start": {"hour_utc": 0},
    } | changes
    path = folder / "called.yaml"
    path.write_text(yaml.safe_dump(WORLD | keys), encoding="utf-8")
    return path


def called(folder: Path, file: str | Path, *lines: Mapping[str, Any], **changes: Any) -> Compiled:
    """Return the compiled scenario."""
    return compile_scenario(load_scenario(scenario(folder, file, *lines, **changes)))


def hours(first: str, last: str, step_min: int = 60) -> list[str]:
    """Return stamps from ``first`` to ``last`` (not included)."""
    found = np.arange(np.datetime64(first, "m"), np.datetime64(last, "m"), np.timedelta64(step_min, "m"))
    return [str(stamp) for stamp in found]
