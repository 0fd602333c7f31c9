"""Make a scenario with more sites: those of another one again and again, under new names and a little different.

    python -m scripts.maintenance.enlarge --scenario four_markets --sites 20 --seed 0 --out four_markets_20.yaml

A copy of a site has its zones of prices, law and time, and the regions at home there are copied with it; all of them
move together, by up to 2 degrees.  Accelerators, demand, battery, generators and grid change by one factor (up to 20 %
either way), so that a copy is as tight as its original; battery and overhead of cooling change once more.  Copies stand
in no RTT table: the formula gives their latencies.

Jobs are repeated for every full round of the sites, carbon budget and scale of the reward grow with the sites.
"""

from pathlib import Path
from typing import Annotated

import yaml
from pydantic import Field

from gridai_env.episodes.instance import make_instance
from gridai_env.files import write_text
from gridai_env.scenario.load import load_scenario, parse_scenario
from gridai_env.scenario.values import MOST_LISTED
from scripts.runs.arguments import SCENARIO_HELP, ScenarioFile
from scripts.runs.command import CommandOptions, InputError, command
from scripts.studies.enlarged import enlarged


class EnlargeOptions(CommandOptions):
    """Which scenario is enlarged, and how far."""

    scenario: ScenarioFile = Field(description=SCENARIO_HELP)
    sites: Annotated[int, Field(ge=2, le=MOST_LISTED)] = Field(description="number of sites wanted")
    seed: Annotated[int, Field(ge=0)] = Field(0, description="of what differs between a site and its copies")
    out: Path = Field(description="the scenario file to write")


@command(EnlargeOptions)
def main(options: EnlargeOptions) -> int:
    """Write the larger scenario, checked."""
    scenario = load_scenario(options.scenario)
    if options.sites <= (had := len(scenario.sites)):
        raise InputError(f"--sites {options.sites}: must be above {had}, those of {scenario.name}")

    made = enlarged(scenario.model_dump(mode="json"), options.sites, options.seed)
    larger = parse_scenario(made, f"{scenario.name} with {options.sites} sites")
    make_instance(larger, seed=0)  # a file of demand by region does not know the copies
    text = yaml.safe_dump(larger.model_dump(mode="json", exclude_defaults=True), sort_keys=False)
    write_text(options.out, f"# Made by scripts.maintenance.enlarge, seed {options.seed}.\n{text}")
    print(f"{options.out}: {len(larger.sites)} sites, {len(larger.regions)} regions")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
