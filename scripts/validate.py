"""Check a scenario and say what it amounts to.

    python -m scripts.validate my.yaml [traces.csv]
    python -m scripts.validate two_sites
    python -m scripts.validate --schema > scenario.schema.json

Prints sizes, rows, capacity against demand, closed routes by reason, homes that miss their latency budget,
job slots, demand, what the traces cover, and lines with their calls.  Bad input: all faults on standard error, exit
code 2.
"""

import json
from typing import Annotated

from pydantic import Field

from gridai_env.scenario.compile import compile_scenario
from gridai_env.scenario.errors import scenario_schema
from gridai_env.scenario.load import load_scenario, scenario_names
from scripts.runs.command import CommandOptions, InputError, Shown, command
from scripts.studies.scenario_report import report


class ValidateOptions(CommandOptions):
    """What to check."""

    scenario: Annotated[str | None, Shown(names=("scenario",), nargs="?")] = Field(
        None, description=f"a YAML file or one of {', '.join(scenario_names())}"
    )
    traces: Annotated[str | None, Shown(names=("traces",), nargs="?")] = Field(
        None, description="a trace file (CSV or Parquet); default: the scenario's own"
    )
    demand: Annotated[str | None, Shown(metavar="FILE[,KEY=VALUE...]")] = Field(
        None, description="a file of demand; default: the scenario's own"
    )
    print_schema: Annotated[bool, Shown(names=("--schema",))] = Field(
        False, description="print the JSON schema of scenario files"
    )


@command(ValidateOptions)
def main(options: ValidateOptions) -> int:
    """Print the report of a scenario, or the schema."""
    if options.print_schema:
        print(json.dumps(scenario_schema(), indent=2))
        return 0
    if options.scenario is None:
        raise InputError("a scenario is needed (or --schema); see --help")

    scenario = load_scenario(options.scenario, traces=options.traces, demand=options.demand)
    for line in report(compile_scenario(scenario)):
        print(line)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
