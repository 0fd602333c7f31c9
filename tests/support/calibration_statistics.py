"""The statistics of the year behind the calibration: what the generator is compared with."""

from __future__ import annotations

import csv

from gridai_env.traces.calibration import TABLE_DIR


def observed_statistics() -> dict[tuple[str, str], dict[str, float]]:
    """Return by (zone, variable) the statistics of the calibration year, as in `statistics.csv`."""
    with open(TABLE_DIR / "statistics.csv", newline="") as file:
        return {
            (row.pop("zone"), row.pop("variable")): {key: float(value) for key, value in row.items()}
            for row in csv.DictReader(file)
        }
