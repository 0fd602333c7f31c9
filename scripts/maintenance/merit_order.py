"""Keep the numbers of the rule that a training run fitted, for ``rule:merit_order``.

    python -m scripts.maintenance.merit_order --run runs/two_sites/seed0

Copies those in its ``calibration.json`` to the scenario of the run in ``configs/agents/merit_order.json``; the numbers
of other scenarios stay.
"""

import json
from pathlib import Path

from pydantic import Field

from gridai_env.files import write_json
from scripts.runs.command import CommandOptions, command
from scripts.runs.folder import read_run


class MeritOrderOptions(CommandOptions):
    """Whose numbers are kept."""

    run: Path = Field(description="run folder of scripts.train with calibration")


@command(MeritOrderOptions)
def main(options: MeritOrderOptions) -> int:
    """Write the table."""
    from agents.networks.merit_order import NUMBERS_FILE, fitted_numbers

    scenario = read_run(options.run, "train")["agent"]["scenario"]
    found = json.loads((options.run / "calibration.json").read_text(encoding="utf-8"))["numbers"]
    write_json(NUMBERS_FILE, fitted_numbers() | {scenario: found})
    print(f"{NUMBERS_FILE}: {scenario}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
