"""Keep the numbers of the rule that training runs fitted, for ``rule:merit_order``.

    python -m scripts.maintenance.merit_order runs/two_sites/seed0 runs/global/seed0

Copies those in ``calibration.json`` of each run to its scenario in ``configs/agents/merit_order.json``; the numbers of
other scenarios stay.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

from pydantic import Field

from gridai_env.files import write_json
from scripts.runs.command import CommandOptions, InputError, Shown, command, need_packages
from scripts.runs.folder import read_run


class MeritOrderOptions(CommandOptions):
    """Whose numbers are kept."""

    runs: Annotated[list[Path], Shown(names=("runs",), nargs="+")] = Field(
        description="run folders of scripts.train with calibration, one per scenario"
    )


@command(MeritOrderOptions)
def main(options: MeritOrderOptions) -> int:
    """Write the table."""
    need_packages("torch", "stable_baselines3")
    from agents.networks.merit_order import NUMBERS_FILE, fitted_numbers

    numbers = fitted_numbers()
    for run in options.runs:
        scenario, file = read_run(run, "train")["agent"]["scenario"], run / "calibration.json"
        try:
            numbers[scenario] = json.loads(file.read_text(encoding="utf-8"))["numbers"]
        except (OSError, ValueError, KeyError) as error:
            raise InputError(f"{file}: no numbers of a rule ({error}); train with calibration") from error

    write_json(NUMBERS_FILE, numbers)
    print(f"{NUMBERS_FILE}: {', '.join(numbers)}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
