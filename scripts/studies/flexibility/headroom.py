"""The headroom of a power system: tables and figure of a year of its hours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gridai_env.analysis.headroom import (
    LEVELS,
    HeadroomRow,
    LocalHours,
    PeakRow,
    headroom_row,
    interpolated,
    odd_hours,
    peak_row,
)
from gridai_env.analysis.tables import aligned, known
from gridai_env.arrays.types import Float, Floats
from gridai_env.files import atomic_write
from gridai_env.traces.files.system_load import SystemLoad, read_system_load
from scripts.runs.command import InputError
from scripts.runs.folder import default_folder, open_folder, write_run
from scripts.runs.tables import write_rows
from scripts.studies.flexibility.headroom_figure import headroom_figure

KIND = "headroom"
OWN_FILES = ("headroom.csv", "peaks.csv", "headroom.png")
MOST_FILLED = 0.05  # of the hours: more than that is no year that was measured
# Standard time of areas of EIA-930 whose clocks are known.
UTC_OFFSET_H = {
    "CISO": -8, "BPAT": -8, "AZPS": -7, "ERCO": -6, "SWPP": -6, "PJM": -5, "NYIS": -5, "ISNE": -5,
}  # fmt: skip


@dataclass(frozen=True)
class SeriesHeadroom:
    """The figures of one series of an area."""

    area: str
    series: str
    utc_offset_h: float
    filled_h: int
    load_mw: Float[Floats, " H"]
    headroom: list[HeadroomRow]
    peaks: list[PeakRow]

    @property
    def name(self) -> str:
        """Area and series."""
        return f"{self.area} {self.series}".strip()

    def rows(self, found: Sequence[HeadroomRow | PeakRow]) -> list[dict[str, Any]]:
        """Return rows of a file: what they are of, and what was found."""
        first = {
            "area": self.area,
            "series": self.series,
            "hours": len(self.load_mw),
            "filled_h": self.filled_h,
            "mean_mw": float(self.load_mw.mean()),
            "limit_mw": float(self.load_mw.max()),
            "utc_offset_h": self.utc_offset_h,
        }
        return [first | row for row in found]


@dataclass(frozen=True)
class HeadroomStudy:
    """All series of the files, in their order."""

    files: list[Path]
    found: list[SeriesHeadroom]
    notes: list[str]

    @classmethod
    def of(
        cls, files: Sequence[str], shares: Sequence[float], utc_offset_h: float | None, **reading: Any
    ) -> HeadroomStudy:
        """Read, fill and measure; ``shares`` are 0 to 1, ``reading`` as `read_system_load` takes it."""
        loads = read_system_load(files, **reading)
        found = [one for load in loads for one in _series_of(load, sorted(shares), utc_offset_h)]
        unknown = [load.area or "the file" for load in loads if load.area not in UTC_OFFSET_H]
        if utc_offset_h is not None or not unknown:
            return cls([Path(file) for file in files], found, [])
        note = f"note: hours and months of {', '.join(unknown)} are UTC; --utc-offset gives local ones"
        return cls([Path(file) for file in files], found, [note])

    def text(self) -> str:
        """Return the tables."""
        heads = [
            f"{one.name}: mean {one.load_mw.mean() / 1e3:,.2f} GW, limit {one.load_mw.max() / 1e3:,.2f} GW "
            f"(highest hour), {one.filled_h} of {len(one.load_mw):,} hours filled"
            for one in self.found
        ]
        far = "filled: missing, or off by more than 25 % from the median of the two hours on each side"
        return "\n".join([*heads, far, *self.notes, "", self._headroom_text(), "", self._peaks_text()])

    def _headroom_text(self) -> str:
        lines = [
            [
                one.name,
                f"{100 * row['curtailed_share']:g} %",
                f"{row['headroom_mw'] / 1e3:,.2f}",
                f"{row['cut_h']:,}",
                f"{row['events']:,}",
                known(row["mean_event_h"], "{:.2f}"),
                known(row["longest_event_h"], "{:.0f}"),
                known(row["at_most_half_share"], "{:.0%}"),
                known(row["may_october_share"], "{:.0%}"),
            ]
            for one in self.found
            for row in one.headroom
        ]
        header = "headroom,energy cut,GW,hours cut,events,mean h,longest h,at most half cut,in May-Oct"
        return aligned(header.split(","), lines) + "\n(last two columns: share of the hours cut)"

    def _peaks_text(self) -> str:
        lines = [
            [
                one.name,
                f"{row['level']:.2f}",
                f"{row['above_h']:,}",
                f"{row['events']:,}",
                f"{row['mean_event_h']:.1f}",
                f"{row['longest_event_h']:.0f}",
                f"{row['local_hour_p10']:.0f} / {row['local_hour_p50']:.0f} / {row['local_hour_p90']:.0f}",
                row["months"],
            ]
            for one in self.found
            for row in one.peaks
        ]
        header = "near the limit,above,hours,events,mean h,longest h,hour p10/p50/p90,hours by month"
        return aligned(header.split(","), lines)

    def write(self, run_dir: str | None, config: dict[str, Any]) -> Path:
        """Write tables, figure and run.json; return the folder."""
        first = self.files[0].name.removesuffix(".gz")
        folder = open_folder(run_dir or default_folder(KIND, first), KIND)

        headroom = [row for one in self.found for row in one.rows(one.headroom)]
        write_rows(headroom, folder / OWN_FILES[0])
        write_rows([row for one in self.found for row in one.rows(one.peaks)], folder / OWN_FILES[1])
        with atomic_write(folder / OWN_FILES[2]) as partial:
            partial.write_bytes(headroom_figure([(one.area, one.series, one.load_mw) for one in self.found]))
        write_run(folder, KIND, config, seeds=[])
        return folder


def _series_of(load: SystemLoad, shares: Sequence[float], utc_offset_h: float | None) -> list[SeriesHeadroom]:
    offset_h = UTC_OFFSET_H.get(load.area, 0.0) if utc_offset_h is None else utc_offset_h
    local = LocalHours.of(load.start_minutes, offset_h)
    out = []

    for series, mw in load.mw.items():
        odd = odd_hours(load.judged_by(series)) | np.isnan(mw)
        if odd.mean() > MOST_FILLED:
            raise InputError(
                f"{load.source} {series}: {odd.mean():.1%} of the hours are missing or off by more than 25 % from "
                f"their neighbours, at most {MOST_FILLED:.0%} can be filled; take another year, area or series"
            )
        full = interpolated(mw, odd)
        headroom = [headroom_row(full, share, local) for share in shares]
        peaks = [peak_row(full, level, local) for level in LEVELS]
        out.append(SeriesHeadroom(load.area, series, float(offset_h), int(odd.sum()), full, headroom, peaks))
    return out
