"""What a flexible connection costs a site, and what it is worth to the system.

    python -m scripts.flexibility --scenario flexible_campus --shapley 0.4
    python -m scripts.flexibility --scenario flexible_campus --levers none routing+battery all --policies greedy \\
        --notice 0 24 --hours 60 178
    python -m scripts.flexibility --headroom EIA930_BALANCE_2025_Jan_Jun.csv EIA930_BALANCE_2025_Jul_Dec.csv \\
        --areas PJM ERCO --series demand

``--scenario``: the optimum of every episode with a firm connection and with a contract under which part of it may be
called off, both with the same levers (waiting, routing, battery, generator, modes): the cost per non-firm MW and year
and its break-even discount, at firm shares from 100 to 25 %.  ``--shapley`` says what each lever takes away.  Writes
flexibility.csv, shapley.csv, flexibility.png and run.json into the run folder, and one file per cell and episode: a
killed run goes on where it stopped.

``--headroom`` takes a year of hourly load or generation (forms: docs/flexible_load.md) and prints, for shares of its
energy that a constant new load would have cut, its size, and in how many hours, events and months; and the hours near
the yearly maximum.  Writes headroom.csv, peaks.csv, headroom.png and run.json into the run folder.
"""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from scripts.runs.arguments import InstancesBySeed
from scripts.runs.command import (
    SOLVER,
    CommandOptions,
    File,
    InputError,
    Shown,
    command,
    need_packages,
    refuse_doubles,
)
from scripts.studies.flexibility.options import ContractOptions

Percent = Annotated[float, Field(gt=0, lt=100)]


class HeadroomOptions(CommandOptions):
    """A year of a system."""

    group: ClassVar = "headroom of a system"

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


class FlexibilityOptions(ContractOptions, HeadroomOptions):
    """Which study, on which data."""


@command(FlexibilityOptions)
def main(options: FlexibilityOptions) -> int:
    """Check, compute, print, write."""
    if bool(options.headroom) == (options.scenario is not None):
        raise InputError(
            "give --scenario NAME for the cost of a contract, or --headroom FILE of a year of hourly load; one of them"
        )
    own, mode = (HeadroomOptions, "--headroom") if options.headroom else (ContractOptions, "--scenario")
    for name, field in FlexibilityOptions.model_fields.items():
        if name not in (*own.model_fields, "run_dir") and getattr(options, name) != field.default:
            raise InputError(f"--{name.replace('_', '-')}: does not go with {mode}; leave it out")
    return _headroom(options) if options.headroom else _contract(options)


def _contract(options: FlexibilityOptions) -> int:
    need_packages(*SOLVER, "tqdm", "matplotlib")
    from scripts.studies.flexibility.run import FlexibilityRun

    for option in ("firm_shares", "hours", "notice"):
        refuse_doubles(f"--{option.replace('_', '-')}", getattr(options, option))
    episodes = InstancesBySeed(options)
    run = FlexibilityRun.of(options, episodes, **FlexibilityRun.grid_of(options, episodes))
    run.compute_all(run.what, lambda: "finished cells are kept")

    print("\n" + run.write())
    run.say_where("figure")
    return 0


def _headroom(options: FlexibilityOptions) -> int:
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
    folder = study.write(
        options.run_dir, options.model_dump(include={*HeadroomOptions.model_fields, "run_dir"})
    )
    print(study.text())
    print(f"\nwritten to {folder}: headroom.csv, peaks.csv, headroom.png")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
