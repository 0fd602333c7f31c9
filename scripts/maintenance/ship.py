"""Bring a study of learners into the repository: its agents, and its tables for the pages.

    python -m scripts.maintenance.ship --from runs/learning

Trainings that have ended go to ``configs/agents/pretrained/<scenario>/<method>/seedN``, without what only going on with
them needs (state of the optimiser, last observations), with the rows of progress.csv that hold evaluations; those that
were there before go.  The rows of the tables go to ``docs/measured/<study>``, where what this folder does not hold
stays.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import zipfile
from pathlib import Path
from typing import Annotated

from pydantic import Field

from gridai_env.files import write_json
from scripts.runs.command import CommandOptions, InputError, Shown, command, need_packages
from scripts.runs.folder import RUN_FILE, read_run
from scripts.runs.tables import read_rows, write_rows
from scripts.studies.learning.run import CURVES, TABLE
from scripts.studies.learning.tasks import within_study
from scripts.studies.policies import MODEL, pretrained_root

MEASURED = Path(__file__).resolve().parents[2] / "docs" / "measured"
COPIED = ("stages.json", "imitation.json")  # as they are
OPTIMIZER = "policy.optimizer.pth"
# Of the training in a file of Stable-Baselines3, not of the agent.
PASSING = ("_last_obs", "_last_original_obs", "_last_episode_starts", "ep_info_buffer", "ep_success_buffer")


class ShipOptions(CommandOptions):
    """What is brought in."""

    study: Annotated[str, Shown(names=("--from",), metavar="RUN_DIR")] = Field(
        description="folder of the study"
    )
    name: str = Field("learning", description="folder of the tables below docs/measured")
    methods: Annotated[list[str], Shown(nargs="*")] = Field(
        ["learned", "ppo"], description="whose agents are shipped; none: the tables alone"
    )


@command(ShipOptions)
def main(options: ShipOptions) -> int:
    """Copy agents and tables."""
    need_packages("stable_baselines3", "torch")
    study = Path(options.study)
    if not (study / TABLE).is_file():
        raise InputError(f"--from {study}: no {TABLE}; give the folder of scripts.reproduce --study learning")
    for method in options.methods:
        models = sorted(study.glob(f"*/{method}/seed*/{MODEL}"))
        for target in {pretrained_root() / model.parents[1].relative_to(study) for model in models}:
            shutil.rmtree(target, ignore_errors=True)
        if not models:
            print(f"{method}: no training of it has ended in {study}; what is shipped stays")
        for model in models:
            target = pretrained_root() / model.parent.relative_to(study)
            ship(model.parent, target)
            print(f"{target}: {sum(file.stat().st_size for file in target.iterdir()) / 1000:,.0f} kB")

    for name in (name for name in (TABLE, CURVES) if (study / name).is_file()):
        target = MEASURED / options.name / name
        target.parent.mkdir(parents=True, exist_ok=True)
        write_rows(merged(read_rows(target) if target.is_file() else [], read_rows(study / name)), target)
        print(target)
    return 0


def merged(old: list[dict[str, str]], new: list[dict[str, str]]) -> list[dict[str, str]]:
    """Return the rows of a table with new ones in it: those of an agent replace all that are there of it."""

    def subject(row: dict[str, str]) -> tuple[str, ...]:
        """Return what a row is of: an agent or a curve on a scenario, else a policy on a set."""
        own = row["scenario"], row.get("policy") or row["method"]
        return own if row.get("planned") != "0" else (*own, row["set"])

    replaced = set(map(subject, new))
    return sorted([row for row in old if subject(row) not in replaced] + new, key=lambda row: row["scenario"])


def ship(run: Path, target: Path) -> None:
    """Copy what an agent and its card need; paths of the machine stay behind."""
    record = read_run(run, "train")
    record["command"] = [Path(word).name if os.path.isabs(word) else word for word in record["command"]]
    record["config"]["start_from"] = within_study(record["config"].get("start_from"))
    target.mkdir(parents=True, exist_ok=True)
    write_json(target / RUN_FILE, record, indent=1)
    slim(run / MODEL, target / MODEL)
    for name in COPIED:
        if (run / name).is_file():
            shutil.copy(run / name, target / name)

    rows = [row for row in read_rows(run / "progress.csv") if row.get("eval/benefit_usd")]
    write_rows(rows, target / "progress.csv")


def slim(source: Path, target: Path) -> None:
    """Write a file of Stable-Baselines3 without what only the training needs."""
    import torch

    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            content = old.read(name)
            if name == "data":
                kept = json.loads(content)
                content = json.dumps(kept | {key: None for key in PASSING if key in kept}).encode()
            if name == OPTIMIZER:
                state, file = torch.load(io.BytesIO(content), weights_only=True), io.BytesIO()
                torch.save(state | {"state": {}}, file)
                content = file.getvalue()
            new.writestr(name, content)


if __name__ == "__main__":
    raise SystemExit(main())
