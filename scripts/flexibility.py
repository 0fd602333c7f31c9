"""What a flexible connection is worth: how much new load a system carries if that load is cut for a few hours.

    python -m scripts.flexibility --headroom EIA930_BALANCE_2025_Jan_Jun.csv EIA930_BALANCE_2025_Jul_Dec.csv \\
        --areas PJM ERCO --series demand
    python -m scripts.flexibility --headroom load.csv --utc-offset -6 --shares 0.5 1

``--headroom`` takes a year of hourly load or generation (forms: docs/flexible_load.md) and prints, for shares of its
energy that a constant new load would have cut, its size, and in how many hours, events and months; and the hours near
the yearly maximum.  Writes headroom.csv, peaks.csv, headroom.png and run.json into the run folder.
"""

from typing import Annotated, Literal

from pydantic import Field

from scripts.runs.command import (
    CommandOptions,
    File,
    InputError,
    Shown,
    command,
    need_packages,
    refuse_doubles,
)

Percent = Annotated[float, Field(gt=0, lt=100)]


class FlexibilityOptions(CommandOptions):
    """Which study, on which data."""

    headroom: Annotated[list[File], Shown(metavar="FILE")] = Field(
        [], description="a year of hourly load of a system: a file, or its parts"
    )
    areas: Annotated[list[str], Shown(metavar="AREA")] = Field(
        [], description="areas of the file; default: all"
    )
    series: list[Literal["gen", "net", "demand", "load"]] = Field(
        [], description="generation, without wind and sun, demand; default: all that the file has"
    )
    shares: Annotated[list[Percent], Shown(metavar="PERCENT", unit="%")] = Field(
        [0.25, 0.5, 1.0, 2.0, 5.0], min_length=1, description="of the new load's energy that may be cut"
    )
    year: int | None = Field(None, description="UTC, of a file that holds several years")
    unit: Literal["kW", "MW", "GW"] | None = Field(
        None, description="of the file; default: MW, and values that are none are refused"
    )
    utc_offset: Annotated[float | None, Field(ge=-14, le=14), Shown(metavar="H", unit="h")] = Field(
        None, description="of local hours and months, standard time; default: that of known areas, else UTC"
    )
    run_dir: str | None = Field(
        None,
        description="output folder, whose older tables are replaced; default: runs/headroom-<file>-<time>",
    )


@command(FlexibilityOptions)
def main(options: FlexibilityOptions) -> int:
    """Check, compute, print, write."""
    if not options.headroom:
        raise InputError("--headroom: give the file of a year of hourly load, e.g. --headroom load.csv")
    for option in ("areas", "series", "shares"):
        refuse_doubles(f"--{option}", getattr(options, option))
    need_packages("matplotlib")
    from scripts.studies.flexibility.headroom import HeadroomStudy

    study = HeadroomStudy.of(
        options.headroom,
        [percent / 100 for percent in options.shares],
        options.utc_offset,
        areas=options.areas,
        series=options.series,
        year=options.year,
        unit=options.unit,
    )
    folder = study.write(options.run_dir, options.model_dump())
    print(study.text())
    print(f"\nwritten to {folder}: headroom.csv, peaks.csv, headroom.png")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
