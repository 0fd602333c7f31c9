"""Price, carbon and weather files: read by suffix (.parquet, .csv, .csv.gz) and columns, cut into episodes.

Both forms are long: one row per zone and interval, UTC inside, USD/MWh, kg/MWh (= g/kWh), deg C, capacity
factors 0..1.

plain form
    `utc` (ISO 8601 with Z or an offset; in Parquet a timestamp with time zone), `zone`, `price_usd_per_mwh`,
    `carbon_average_kg_per_mwh`; optional `carbon_marginal_kg_per_mwh`, `wetbulb_c`, `pv_cf`, `wind_cf`, and
    `sell_usd_per_mwh`, the price of export (a zone whose cells of it are all empty has none of its own);
    optional `stamp` = `interval_start` (default) | `interval_end`, the same in all rows: what the stamps mark
    (`hour_start` and `hour_end` mean the same).
panel form
    `utc`, `zone`, `price_usd`, `ci_direct` (else `ci_lca`), optional `wetbulb_c`, `pv_cf_proxy`,
    `wind_cf_proxy`.

Both may have `call_SITE` and `notice_h_SITE`, when lines of a site are called (`gridai_env.traces.files.calls`).

A row is the mean over its interval, an hour or a whole part of it (60, 30, 15, ... min), which may change inside
the file (`intervals`).  Rows finer than a step are averaged, coarser ones held; weather is linear between the
centres of coarser rows.

What is missing: marginal carbon becomes the zone's annual marginal factor, wet bulb, PV and wind the zone's
month-hour means of the calibration, for the zones of `known_zones()`.  For any other zone marginal carbon is the
average one, the wet bulb is not known (NaN: PUE stays at its base), PV and wind are 0.  Climatology: the calibrated
month-hour means where there are some, else NaN: `gridai_env.episodes.expectation` makes it from the hours before an
episode.

Faults (missing or repeated row, one off the grid, unsorted stamps, empty or impossible value) are refused only for
the zones and intervals in use, so that a file with one broken zone still serves the others.  Nothing is filled in
silently: "FILE,fill_gap_h=2" interpolates what is missing for up to 2 h in a row.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from jaxtyping import Shaped

from gridai_env.arrays.types import Float, Floats, Int, Ints
from gridai_env.traces import series
from gridai_env.traces.calibration import CALIBRATED, calibration_year, known_zones, zone_calibration
from gridai_env.traces.errors import TraceError, TraceWarning
from gridai_env.traces.files.cells import file_sha256, read_once
from gridai_env.traces.files.formats import OPTIONAL, SELL, RawTable, load
from gridai_env.traces.files.zone_axis import ZoneAxis, zone_axis
from gridai_env.traces.local_time import MINUTES_PER_HOUR, stamp
from gridai_env.traces.synthetic import climatology_hourly

MARGINAL = "carbon_marginal_kg_per_mwh"
# Zones without calibration: what stands for a column that the file lacks.
LEFT_OUT = {"wetbulb_c": np.nan, "pv_cf": 0.0, "wind_cf": 0.0}
STAND_INS = {
    MARGINAL: "that of average carbon (not in the file, zone not calibrated)",
    "wetbulb_c": "left out, PUE at its base",
    "pv_cf": "left out, 0",
    "wind_cf": "left out, 0",
}
_OPTION = re.compile(r"(.+),(\w+)=([^,]*)")


def read_table(source: str | Path) -> TraceTable:
    """Read a trace file; the same unchanged file is read once per process.

    ``source``: a path, or "FILE,fill_gap_h=2" to interpolate what is missing for up to that long.  Raises
    TraceError for a file that cannot be read as one of the forms, FileNotFoundError for one that is not there.
    """
    option = _OPTION.fullmatch(str(source))
    if option is None or Path(source).exists():
        return _read(source, 0.0)
    if option[2] != "fill_gap_h":
        raise TraceError(f"{source}: unknown option {option[2]!r}; write FILE or FILE,fill_gap_h=2")

    try:
        fill_gap_h = float(option[3])
    except ValueError:
        fill_gap_h = -1.0
    if not 0 <= fill_gap_h <= 24:
        raise TraceError(f"{source}: fill_gap_h = {option[3]!r}: must be a number from 0 to 24, hours")
    return _read(option[1], fill_gap_h)


@read_once("trace file; give a .csv, .csv.gz or .parquet")
def _read(path: Path, fill_gap_h: float) -> TraceTable:
    return TraceTable(str(path), file_sha256(path), load(path), fill_gap_h)


@dataclass
class TraceTable:
    """The rows of one file, ready to be cut into episodes."""

    source: str
    sha256: str
    raw: RawTable = field(repr=False)
    fill_gap_h: float = 0.0
    of_sites: Mapping[str, tuple[str, ...]] = field(
        default_factory=dict
    )  # columns of sites that are read, by zone
    _dense: dict[str, ZoneAxis] = field(default_factory=dict, repr=False)
    _starts: dict[tuple[tuple[str, ...], int], Shaped[np.ndarray, " n"]] = field(
        default_factory=dict, repr=False
    )

    @property
    def zones(self) -> tuple[str, ...]:
        """Zones that have rows in the file."""
        return self.raw.zones

    def reading(self, of_sites: Mapping[str, tuple[str, ...]]) -> TraceTable:
        """Return the table with columns of sites, which count in the rows of one zone: zone -> names."""
        return replace(self, of_sites=of_sites, _dense={}, _starts={})

    @property
    def unused(self) -> tuple[str, ...]:
        """Columns that are not read."""
        read = {name for names in self.of_sites.values() for name in names}
        return (*self.raw.layout.unused, *(name for name in self.raw.layout.of_sites if name not in read))

    def axis(self, zone: str) -> ZoneAxis:
        """Return the rows of a zone on a dense axis of time; raises TraceError where it has none."""
        if zone not in self._dense:
            axis = zone_axis(self.raw, self.source, zone, self.fill_gap_h, self.of_sites.get(zone, ()))
            if zone not in known_zones() and self.raw.layout.place == "zone":
                axis.values.setdefault(MARGINAL, axis.values["carbon_average_kg_per_mwh"])
            self._dense[zone] = axis
        return self._dense[zone]

    def hours(self, zone: str) -> tuple[int, dict[str, Float[Floats, " n"]]]:
        """Return first hour (since 1970 UTC) and columns of a zone by hour, one after the other, NaN where bad."""
        return self.axis(zone).hourly()

    def valid_starts(self, zones: Sequence[str], steps: int, dt_h: float) -> Shaped[np.ndarray, " n"]:
        """Return all whole hours from which every zone has `steps` good steps: datetime64[m], ascending.

        There may be none.
        """
        series.checked_start(np.array(["2000-01-01T00:00"], dtype="datetime64[m]"), steps, dt_h)
        minutes = steps * round(dt_h * MINUTES_PER_HOUR)
        asked = (tuple(zones), minutes)
        if asked in self._starts:
            return self._starts[asked]

        axes = [self.axis(zone) for zone in zones]
        first = -(-max(axis.start for axis in axes) // MINUTES_PER_HOUR)
        last = (min(axis.end for axis in axes) - minutes) // MINUTES_PER_HOUR
        starts = np.arange(first, last + 1) * MINUTES_PER_HOUR

        # A window is good where as many bad cells lie before its end as before its start.
        for axis in axes:
            begin, end = axis.cells(starts, minutes)
            starts = starts[axis.bad_before[end] == axis.bad_before[begin]]
        return self._starts.setdefault(asked, starts.astype("datetime64[m]"))

    def window(
        self, zones: Sequence[str], start_utc: Shaped[np.ndarray, " B"], steps: int, dt_h: float
    ) -> series.ZoneSeries:
        """Return the series of B episodes, cut out of the file without any shift.

        Each step is the mean of its rows; price and carbon of a row that is longer than a step are constant inside
        it, weather is linear between the centres of such rows of the window.  Warns (TraceWarning) of a column whose
        mean is that of no market.  Raises TraceError naming file, zone and first offending row.
        """
        names = tuple(zones)
        if not names or len(set(names)) != len(names):
            raise TraceError(f"{self.source}: zones = {names}: name at least one zone, each once")
        start = np.asarray(start_utc)
        grid = series.step_grid(start, steps, dt_h)
        step_min = round(dt_h * MINUTES_PER_HOUR)
        begin = start.astype("datetime64[m]").astype(np.int64)
        for zone in names:
            self.axis(zone).refuse_faults(begin, steps * step_min)
            for text in self.axis(zone).unusual:
                warnings.warn(text, TraceWarning, stacklevel=2)
        own = [self.axis(zone).on_steps(begin, steps, step_min) for zone in names]

        # The last hour of the grid may be unused.
        last = np.broadcast_to(grid.hours - 1 if grid.held is None else grid.held[:, -1], len(begin))
        hourly = [
            self._expected(zone, grid, np.minimum(np.arange(grid.hours), last[:, None])) for zone in names
        ]
        expected, values = dict[str, Floats](), dict[str, Floats]()
        for name in series.VALUES:
            together = np.stack([of_zone[name] for of_zone in hourly], axis=2)
            expected[name] = grid.on_steps(name, together)
            parts = [of_zone.get(name, expected[name][:, :, k]) for k, of_zone in enumerate(own)]
            values[name] = np.stack(parts, axis=2)

        nothing = np.full((len(begin), steps), np.nan)
        sell = [of_zone.get(SELL, nothing) for of_zone in own]
        return series.ZoneSeries(
            zones=names,
            start_utc=start.astype("datetime64[m]"),
            dt_h=dt_h,
            **values,
            **{climatology: expected[name] for name, climatology in series.CLIMATOLOGY_OF.items()},
            provenance={zone: self._provenance(zone, step_min) for zone in names},
            sell_usd_per_mwh=np.stack(sell, axis=2) if any(SELL in x for x in own) else None,
        )

    def _expected(
        self, zone: str, grid: series.StepGrid, offset: Int[Ints, "B hours"]
    ) -> dict[str, Float[Floats, "B hours"]]:
        """Return the climatology of one zone by hour, ``offset`` hours after the first of each episode."""
        axis = self.axis(zone)
        known = climatology_hourly(zone, grid.first_hour, grid.hours) if zone in known_zones() else {}
        constant = LEFT_OUT | dict.fromkeys(axis.values, np.nan)
        if MARGINAL not in constant:
            constant[MARGINAL] = zone_calibration(zone).marginal_kg_per_mwh
        expected = {name: np.full(offset.shape, value) for name, value in constant.items()}
        for name, own in CALIBRATED.items():
            # No calibration knows a file's marginal carbon.
            if own in known and name != MARGINAL:
                expected[name] = np.take_along_axis(known[own], offset, axis=1)
        return expected

    def origin(self, zone: str) -> dict[str, str]:
        """Return in words for each column of a zone whether it is from the file, how it is derived, or left out."""
        said = dict.fromkeys(self.raw.columns, "from the file")
        if SELL in said:
            said[SELL] += ", at most the price of import less the site's sell_spread_usd_per_mwh"
        if zone in known_zones():
            table = zone_calibration(zone)
            other = dict.fromkeys(OPTIONAL, f"month-hour mean of the {calibration_year()} calibration")
            other[MARGINAL] = f"constant {table.marginal_kg_per_mwh:g} kg/MWh ({table.marginal_source})"
        else:
            other = STAND_INS
        names = (*series.VALUES, SELL) if SELL in self.axis(zone).values else series.VALUES
        return {name: (other | said)[name] for name in names}

    def left_out(self, zone: str) -> frozenset[str]:
        """Return the columns of a zone that neither the file nor a calibration knows."""
        return frozenset(() if zone in known_zones() else LEFT_OUT.keys() - self.raw.columns.keys())

    def coverage(self, zone: str) -> str:
        """Return in words what a zone's rows span, how many cannot be used, and what is wrong with the first."""
        axis = self.axis(zone)
        text = f"{self.raw.layout.place} {zone!r} spans {stamp(axis.start)} to {stamp(axis.end)}"
        bad = np.flatnonzero(~axis.usable)
        if bad.size:
            what, _ = axis.fault_at(int(bad[0]))
            text += (
                f", {bad.size} of {len(axis.usable)} intervals of {axis.cell_min} min are bad, first {what}"
            )
        return text

    def cures(self, zone: str) -> tuple[str, ...]:
        """Return what to do about the bad intervals of a zone, each advice once."""
        axis = self.axis(zone)
        bad = np.flatnonzero(~axis.usable)
        empty = np.any([np.isnan(values[bad]) for values in axis.values.values()], axis=0)
        _, first = np.unique(2 * axis.fault[bad] + empty, return_index=True)  # one of each kind
        return tuple(axis.fault_at(int(cell))[1].rstrip(",") for cell in bad[np.sort(first)])

    def steps_of(self, zone: str, step_min: int) -> str:
        """Return in words how long the rows of a zone are, what becomes of them in a step, and what was filled."""
        axis = self.axis(zone)
        lengths = axis.lengths_min
        text = f"rows of {' and '.join(map(str, lengths))} min"
        if (lengths < step_min).any():
            text += f", averaged to {step_min} min"
        if (lengths > step_min).any():
            text += f", held over steps of {step_min} min, weather linear"
        if axis.filled:
            filled = f"{axis.filled} intervals of {axis.cell_min} min"
            text += f", {filled} interpolated (fill_gap_h = {self.fill_gap_h:g})"
        return text

    def _provenance(self, zone: str, step_min: int) -> str:
        """Return in words where each series comes from."""
        raw, origin = self.raw, self.origin(zone)
        weather = [f"{name}: {origin[name]}" for name in (*OPTIONAL[1:], SELL) if name in origin]
        unused = f"; not used: {', '.join(self.unused)}" if self.unused else ""
        file = f"{Path(self.source).name} (sha256 {self.sha256[:12]}, {raw.layout.format_name} form"
        return (
            f"{file}, {self.steps_of(zone, step_min)}); "
            f"average carbon: {raw.layout.carbon_kind}; "
            f"marginal carbon: {origin[MARGINAL]}; {'; '.join(weather)}{unused}"
        )
