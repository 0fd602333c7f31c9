"""Turn exports of price, carbon and weather into a trace file that ``--traces`` reads.

    python -m scripts.convert --zone US-TEX-ERCO --price ercot.csv --point HB_NORTH --carbon US-TEX-ERCO_2023.csv
        --weather openmeteo.json --out traces.csv
    python -m scripts.convert --zone DK-DK2 --price elspot.csv --rate EUR=1.08 --carbon dk2.csv --weather dk2.json
        --marginal-kg-per-mwh 350 --out traces.csv --add

Reads Electricity Maps (old and new header), Energinet, ERCOT, gridstatus and Open-Meteo, recognised by their
headers.  The file holds the hours that all of them span; what one lacks is left empty, and an episode that would
need it is refused.  Bad input: one line on standard error, exit code 2.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import numpy as np

from gridai_env.traces import known_zones
from gridai_env.traces.exports.carbon import portal_zone
from gridai_env.traces.exports.plain import ZoneTable, join_exports, with_marginal, write_plain
from gridai_env.traces.exports.read import EXPECTED, read_export
from gridai_env.traces.exports.series import Export, stamp
from gridai_env.traces.files.formats import OPTIONAL
from scripts.runs.command import InputError, run_command


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    options = _parser().parse_args(arguments)
    return run_command(lambda: convert(options))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m scripts.convert", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--zone", required=True, help="name of the zone in the trace file, e.g. US-TEX-ERCO")
    parser.add_argument("--price", required=True, metavar="FILE", help="Energinet, ERCOT or gridstatus")
    parser.add_argument("--carbon", required=True, metavar="FILE", help="Electricity Maps")
    parser.add_argument("--weather", metavar="FILE", help="Open-Meteo JSON; default: the calibration's means")
    parser.add_argument(
        "--marginal-kg-per-mwh",
        type=float,
        metavar="KG",
        help="constant marginal carbon; default: that of the calibration, which only its own zones have",
    )
    parser.add_argument("--out", required=True, metavar="FILE", help="trace file to write, .csv or .csv.gz")
    parser.add_argument("--add", action="store_true", help="add the zone to the file if it exists")
    parser.add_argument("--price-format", choices=sorted(EXPECTED), help="default: by the header")
    parser.add_argument(
        "--point", help="price area, settlement point, or 'LOCATION MARKET' of the price file"
    )
    parser.add_argument(
        "--carbon-zone", help="zone of the carbon file: where it holds several, or not that of --zone"
    )
    parser.add_argument(
        "--carbon-kind", choices=("direct", "life_cycle"), default="direct", help="which intensity"
    )
    parser.add_argument("--drop-estimated", action="store_true", help="leave out hours marked as estimated")
    parser.add_argument(
        "--rate", metavar="CUR=USD", help="USD for one unit of the prices' currency: EUR=1.08"
    )
    parser.add_argument("--average", action="store_true", help="average steps shorter than an hour")
    return parser


def convert(options: argparse.Namespace) -> int:
    """Read the exports, join them and write the trace file."""
    exports = [
        read_export(
            options.price,
            options.price_format,
            usd_per=parse_rate(options.rate),
            point=options.point,
            average=options.average,
        ),
        read_export(
            options.carbon,
            "electricitymaps",
            carbon=options.carbon_kind,
            point=options.carbon_zone,
            average=options.average,
            drop_estimated=options.drop_estimated,
        ),
    ]
    if options.carbon_zone is None:
        _check_carbon_zone(options.zone, exports[-1])
    if options.weather is not None:
        exports.append(read_export(options.weather, "openmeteo"))
    table = join_exports(options.zone, exports)
    if options.marginal_kg_per_mwh is not None:
        table = with_marginal(table, options.marginal_kg_per_mwh)
    write_plain(options.out, table, options.add)
    for line in summary(options.out, table, exports):
        print(line)
    return 0


def _check_carbon_zone(zone: str, carbon: Export) -> None:
    """Raise InputError where a file's carbon is known to be of another zone and nothing says that this is meant."""
    expected = portal_zone(zone)
    if expected is not None and carbon.zone not in (None, expected, zone):
        raise InputError(
            f"--carbon {carbon.source}: holds zone {carbon.zone}, but --zone {zone} is {expected} at Electricity Maps; "
            f"give the file of {expected}, or say with --carbon-zone {carbon.zone} that this is meant"
        )


def parse_rate(text: str | None) -> dict[str, float]:
    """Return {currency: rate} of ``EUR=1.08``; raises InputError where it is no such text."""
    if text is None:
        return {}
    currency, sign, value = text.partition("=")
    try:
        return {currency.strip().upper(): float(value)} if sign else _refuse_rate(text)
    except ValueError:
        return _refuse_rate(text)


def _refuse_rate(text: str) -> dict[str, float]:
    raise InputError(f"--rate {text!r}: must be CUR=USD for one unit, e.g. EUR=1.08")


def summary(path: str, table: ZoneTable, exports: Sequence[Export]) -> list[str]:
    """Return what was read and written, a line each."""
    lines = [f"{export.format_name}: {export.text}" for export in exports]
    first, last = (stamp(table.utc_minutes[i]) for i in (0, -1))
    lines.append(f"{path}: zone {table.zone}, {len(table.utc_minutes)} hours from {first} to {last}")
    for name, values in table.columns.items():
        gaps = int(np.isnan(values).sum())
        lines.append(
            f"  {name:28s} mean {np.nanmean(values):9.3f}, {gaps} gaps"
            if gaps < len(values)
            else f"  {name}: empty"
        )
    lacking = [name for name in OPTIONAL if name not in table.columns]
    if lacking and table.zone not in known_zones():
        lines.append(
            f"note: zone {table.zone} has no calibration, so --traces will refuse it without the columns"
        )
        lines.append(f"  {', '.join(lacking)}: add --weather and --marginal-kg-per-mwh")
    return lines


if __name__ == "__main__":
    raise SystemExit(main())
