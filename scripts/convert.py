"""Turn exports of price, carbon and weather into a trace file that ``--traces`` reads.

    python -m scripts.convert --zone US-TEX-ERCO --price ercot.csv --point HB_NORTH --carbon US-TEX-ERCO_2023.csv
        --weather openmeteo.json --out traces.csv
    python -m scripts.convert --zone DK-DK2 --price prices.csv --rate EUR=1.08 --carbon dk2.csv --weather dk2.json
        --marginal-kg-per-mwh 350 --out traces.csv --add

Reads the forms of the table in docs/data.md, recognised by their headers.  The file holds the time that all of them
span, each hour in the finest of their steps; what one lacks is left empty, and an episode that would need it is
refused.  All that was left out is printed.  Bad input: one line on standard error, exit code 2.
"""

from collections.abc import Sequence
from functools import partial
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from gridai_env.traces import known_zones
from gridai_env.traces.bounds import unusual_mean
from gridai_env.traces.exports.forms import portal_zone
from gridai_env.traces.exports.plain import ZoneTable, join_exports, with_marginal, write_plain
from gridai_env.traces.exports.read import EXPECTED, read_export
from gridai_env.traces.exports.series import Export, step_words
from gridai_env.traces.files.formats import OPTIONAL
from gridai_env.traces.files.zones import STAND_INS
from gridai_env.traces.local_time import stamp
from scripts.runs.arguments import parse_rates
from scripts.runs.command import CommandOptions, File, InputError, Shown, command


class ConvertOptions(CommandOptions):
    """Exports to read and the trace file to write."""

    zone: str = Field(description="name of the zone in the trace file, e.g. US-TEX-ERCO")
    price: File = Field(description="export of prices")
    carbon: File = Field(description="export of average carbon: Electricity Maps")
    marginal: File | None = Field(None, description="export of marginal carbon: WattTime")
    weather: File | None = Field(None, description="Open-Meteo; default: the calibration's means")
    marginal_region: str | None = Field(
        None, description="region or version of the marginal file: where it holds several"
    )
    marginal_in_pounds: bool = Field(False, description="--marginal has no column of units and is in lb/MWh")
    marginal_kg_per_mwh: Annotated[float | None, Shown(metavar="KG")] = Field(
        None,
        description="constant marginal carbon; default: that of the calibration, which only its own zones have",
    )
    out: File = Field(description="trace file to write, .csv or .csv.gz")
    add: bool = Field(False, description="add the zone to the file if it exists")
    price_format: Annotated[str | None, Shown(metavar="FORMAT")] = Field(
        None, description=f"one of {', '.join(sorted(EXPECTED))}; default: by the header"
    )
    point: str | None = Field(
        None, description="price area, settlement point, column, or 'LOCATION MARKET' of the price file"
    )
    carbon_zone: str | None = Field(
        None, description="zone of the carbon file: where it holds several, or not that of --zone"
    )
    carbon_kind: Literal["direct", "life_cycle"] = Field("direct", description="which intensity")
    drop_estimated: bool = Field(False, description="leave out values marked as estimated")
    rate: Annotated[list[str], Shown(metavar="CUR=USD")] = Field(
        [], description="USD for one unit of the prices' currency: EUR=1.08"
    )
    average: bool = Field(False, description="make hours; default: the steps of the files")
    allow_missing: Annotated[float, Shown(metavar="SHARE")] = Field(
        0.0, ge=0, lt=1, description="share of an hour that a mean may lack; else it is a gap"
    )


@command(ConvertOptions)
def main(options: ConvertOptions) -> int:
    """Read the exports, join them and write the trace file."""
    if options.marginal is not None and options.marginal_kg_per_mwh is not None:
        raise InputError("--marginal-kg-per-mwh: --marginal brings marginal carbon; give one of them")
    for name in ("in_pounds", "region"):
        if options.marginal is None and getattr(options, f"marginal_{name}"):
            raise InputError(f"--marginal-{name.replace('_', '-')}: there is no --marginal; leave it out")
    exports = read_all(options)
    table = join_exports(options.zone, exports)
    if options.marginal_kg_per_mwh is not None:
        table = with_marginal(table, options.marginal_kg_per_mwh)
    write_plain(options.out, table, options.add)

    print(*summary(options.out, table, exports), sep="\n")
    averaged = any("averaged to" in note for export in exports for note in export.notes)
    if (options.average or options.allow_missing) and not averaged:
        print("note: there was nothing to average; --average and --allow-missing changed nothing")
    return 0


def read_all(options: ConvertOptions) -> list[Export]:
    """Read price, average carbon, and marginal carbon and weather where they are given; InputError for a wrong zone."""
    rates = parse_rates(options.rate)
    read = partial(read_export, average=options.average, allow_missing=options.allow_missing)
    price = read(options.price, options.price_format, usd_per=rates, point=options.point, zone=options.zone)
    carbon = read(
        options.carbon,
        carbon=options.carbon_kind,
        point=options.carbon_zone,
        drop_estimated=options.drop_estimated,
    )

    # A file's carbon is known to be of another zone, and nothing says that this is meant.
    zone, expected = options.zone, portal_zone(options.zone)
    if options.carbon_zone is None and expected is not None and carbon.zone not in (None, expected, zone):
        raise InputError(
            f"--carbon {carbon.source}: holds zone {carbon.zone}, but --zone {zone} is {expected} at Electricity Maps; "
            f"give the file of {expected}, or say with --carbon-zone {carbon.zone} that this is meant"
        )

    more = [] if options.weather is None else [read(options.weather)]
    if options.marginal is not None:
        in_pounds, region = options.marginal_in_pounds, options.marginal_region
        more.append(read(options.marginal, in_pounds=in_pounds, point=region))
    return [price, carbon, *more]


def summary(path: str, table: ZoneTable, exports: Sequence[Export]) -> list[str]:
    """Return what was read, left out and written, a line each."""
    lines = []
    for export in exports:
        lines += [f"{export.format_name}: {export.text}", *(f"  {note}" for note in export.notes)]
    first, last = (stamp(table.utc_minutes[i]) for i in (0, -1))
    written = f"{len(table.utc_minutes)} rows from {first} to {last} ({step_words(table.step_minutes)})"
    lines += [f"{path}: zone {table.zone}, {written}", *(f"  {note}" for note in table.notes)]

    for name, values in table.columns.items():
        good = np.isfinite(values)
        mean = np.average(values[good], weights=table.step_minutes[good]) if good.any() else np.nan
        lines.append(f"  {name:28s} mean {mean:9.3f}, {(~good).sum()} gaps")
        if text := unusual_mean(name, values[good]):
            lines.append(f"note: {text}")

    # Other zones have a calibration, which stands in for them.
    lacking = [name for name in OPTIONAL if name not in table.columns]
    if lacking and table.zone not in known_zones():
        lines.append(f"note: zone {table.zone} has no calibration to stand in for {', '.join(lacking)}:")
        lines += [f"  {name}: {STAND_INS[name]}" for name in lacking]
        lines.append("  --weather, --marginal, --marginal-kg-per-mwh bring them")
    return lines


if __name__ == "__main__":
    raise SystemExit(main())
