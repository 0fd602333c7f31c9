"""Show how good the price forecasts are that episodes of a trace file have.

    python -m scripts.forecasts --traces panel.parquet --zones DE-LU US-TEX-ERCO --years 2021 2023
    python -m scripts.forecasts --traces prices.csv --years 2024 --csv forecasts.csv

One line for each zone, year, quarter (and the whole year), kind and lead: bias, root-mean-square and mean absolute
error in USD/MWh, and the squared correlation with the truth beside the declared one.
"""

from pathlib import Path

from pydantic import Field

from gridai_env.traces import read_table
from scripts.runs.command import CommandOptions, InputError, command
from scripts.runs.tables import write_rows


class ForecastOptions(CommandOptions):
    """What to measure."""

    traces: str = Field(description="a trace file (CSV or Parquet)")
    zones: list[str] = Field([], description="zones of the file; default: all")
    years: list[int] = Field(min_length=1, description="years of the file")
    episodes: int = Field(90, ge=1, description="episodes of two days for each quarter, drawn from its days")
    csv: Path | None = Field(None, description="write all figures to this file, too")


@command(ForecastOptions)
def main(options: ForecastOptions) -> int:
    """Print the table."""
    from scripts.studies.forecast_table import forecast_rows

    table = read_table(options.traces)
    if unknown := [zone for zone in options.zones if zone not in table.zones]:
        raise InputError(
            f"--zones {' '.join(unknown)}: not in {options.traces}, which has {', '.join(table.zones)}"
        )
    rows = list(forecast_rows(table, options.zones or table.zones, options.years, options.episodes))
    if not rows:
        raise InputError(
            f"--years {' '.join(map(str, options.years))}: no two days of these in {options.traces}"
        )

    print(f"{'zone':<14} year  q  {'kind':<12} lead    mean    bias    rmse     mae skill declared")
    for row in rows:
        numbers = [row[f"{name}_usd_per_mwh"] for name in ("mean", "bias", "rmse", "mae")]
        print(
            f"{row['zone']:<14} {row['year']} {row['quarter']:>3} {row['kind']:<12} {row['lead_h']:>3g}h "
            + " ".join(f"{number:>7.2f}" for number in numbers)
            + f" {row['skill']:>5.2f} {row['declared_skill']:>5.2f}"
        )
    if options.csv is not None:
        write_rows(rows, options.csv)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
