"""Carbon intensity as the Electricity Maps data portal exports it, with the header to 2024 and that since 2025.

``Datetime (UTC)`` (start of the hour), ``Zone id``, ``Carbon intensity gCO2eq/kWh (direct)``, ``... (LCA)`` or
``... (Life cycle)``, ``Data estimated``; upper and lower case differ between the headers and do not matter.
"""

from __future__ import annotations

from datetime import UTC
from pathlib import Path

import numpy as np

from gridai_env.traces.bounds import POSSIBLE
from gridai_env.traces.calibration import known_zones
from gridai_env.traces.errors import TraceError
from gridai_env.traces.exports.series import Export
from gridai_env.traces.files.cells import date_time, number, text_rows
from gridai_env.traces.local_time import utc_minute

NAME = "electricitymaps"
EXPECTED = "Datetime (UTC),...,Zone id,Carbon intensity gCO2eq/kWh (direct),...,Data estimated,..."
KINDS = {"direct": ("(direct)",), "life_cycle": ("(lca)", "(life cycle)")}
# The portal's names of calibrated zones where they are not the same.
OTHER_NAMES = {"DE-LU": "DE", "BR-SP": "BR-CS", "CL-SIC": "CL-SEN"}


def is_ours(header: list[str]) -> bool:
    """Return whether a header (lower case) is one of the portal's."""
    return "datetime (utc)" in header and any(name.startswith("carbon intensity") for name in header)


def read(path: Path, carbon: str, zone: str | None, drop_estimated: bool) -> Export:
    """Read the average intensity ``carbon`` ("direct" or "life_cycle") of one zone.

    Hours that the source marks as estimated are kept, or left as gaps where ``drop_estimated``.
    """
    with text_rows(path) as (original, rows):
        header = [name.lower() for name in original]
        value = _column(path, original, header, carbon)
        when = header.index("datetime (utc)")
        where, guess = (_index(header, name) for name in ("zone id", "data estimated"))

        # Exports of one zone may lack the column with its name; then all rows are of it.
        minutes, values, zones, estimated = [], [], set(), 0
        bounds = POSSIBLE["carbon_average_kg_per_mwh"]
        for line, row in rows:
            if where is not None:
                zones.add(row[where])
                if zone is not None and row[where] != zone:
                    continue
            minutes.append(_utc(path, line, row[when]))
            text = row[value].strip()
            is_guess = guess is not None and row[guess].strip().lower() == "true"
            estimated += is_guess
            keep = bool(text) and not (is_guess and drop_estimated)
            values.append(number(path, line, original[value], text, *bounds) if keep else np.nan)

    if (zone is None and len(zones) > 1) or zone not in {None, *zones}:
        raise TraceError(
            f"{path}: holds the zones {', '.join(sorted(zones))}; choose one with point= (--point)"
        )

    name = zone or "".join(zones) or None
    what = f"Electricity Maps {name or 'of no named zone'}"
    text = f"{what}, {carbon.replace('_', ' ')}, {estimated} of {len(values)} hours estimated"
    columns = {"carbon_average_kg_per_mwh": np.array(values, dtype=float)}
    return Export(str(path), NAME, text, np.array(minutes, dtype=np.int64), columns, name)


def portal_zone(zone: str) -> str | None:
    """Return the portal's name of a zone; None where that is not known."""
    return OTHER_NAMES.get(zone, zone) if zone in known_zones() else None


def _index(header: list[str], name: str) -> int | None:
    return header.index(name) if name in header else None


def _column(path: Path, original: list[str], header: list[str], carbon: str) -> int:
    if carbon not in KINDS:
        raise TraceError(f"carbon = {carbon!r}: must be one of {', '.join(KINDS)}")
    for i, name in enumerate(header):
        if name.startswith("carbon intensity") and name.endswith(KINDS[carbon]):
            return i
    raise TraceError(f"{path}: no column of the {carbon!r} carbon intensity; found {original}")


def _utc(path: Path, line: int, text: str) -> int:
    moment = date_time(path, line, "Datetime (UTC)", text)
    moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    if moment.utcoffset():
        raise TraceError(f"{path}: line {line}, Datetime (UTC) = {text!r} is not UTC, as its header says")
    return utc_minute(moment)
