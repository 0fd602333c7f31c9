"""Options of the cost of a contract."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from scripts.runs.arguments import (
    SCENARIO_HELP,
    MipGap,
    PointOptions,
    Policies,
    ScenarioFile,
    Seeds,
    TimeLimit,
)
from scripts.runs.command import Shown

FirmShare = Annotated[float, Field(gt=0, le=1)]
Hours = Annotated[float, Field(gt=0, le=8760)]
Notice = Annotated[float, Field(ge=0)]


class ContractOptions(PointOptions):
    """A contract on episodes of a scenario."""

    group: ClassVar = "cost of a contract"

    scenario: ScenarioFile | None = Field(None, description=SCENARIO_HELP)  # type: ignore[assignment]
    seeds: Seeds = Field(list(range(8)))
    site: str | None = Field(None, description="whose connection is studied; default: the only one")
    firm_shares: Annotated[list[FirmShare], Shown(metavar="SHARE")] = Field(
        [1.0, 0.85, 0.7, 0.6, 0.5, 0.4, 0.3, 0.25],
        min_length=1,
        description="firm parts of the connection, above 0 up to 1",
    )
    levers: Annotated[list[str], Shown(metavar="SET")] = Field(
        [],
        description="none, waiting, routing, battery, generator, modes, all, or several joined by +; default: all of "
        "these that the scenario has",
    )
    hours: Annotated[list[Hours], Shown(metavar="H", unit="h")] = Field(
        [],
        description="called hours a year that costs are scaled to; default: hours_a_year of the line, or as many as in "
        "the trace file that holds its calls",
    )
    notice: Annotated[list[Notice], Shown(metavar="H", unit="h")] = Field(
        [], description="of calls, for policies (the optimum knows all calls); default: the scenario's"
    )
    shapley: Annotated[FirmShare | None, Shown(metavar="SHARE")] = Field(
        None, description="firm share at which each lever's part of the cost is found"
    )
    policies: Policies = Field([], description="played at the same firm shares, with all levers")
    mip_gap: MipGap = Field(1e-4, description="relative, where there are yes/no decisions")
    time_limit_s: TimeLimit = 300.0
