"""Small run folders written by hand: a reproduction with a name that a page must escape, an evaluation."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scripts.runs.folder import write_run

HOSTILE = '<img src=x onerror="document.title=1"> & "quoted"'


def write_csv(path: Path, header: str, rows: Sequence[Sequence[Any]]) -> None:
    """Write a CSV file; the header is words with spaces between them."""
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([header.split(), *rows])


def sample_reproduce(folder: Path) -> None:
    """Three headlines, one of them outside, a sensitivity and two policies."""
    folder.mkdir(parents=True)
    write_run(folder, "reproduce", {"scenario_resolved": {"A": {}, "B": {}}}, [0, 1], finished=True)
    header = "model headline quantity unit published_low published_high ours low high inside"
    rows = [
        ["A", "cost of Joint against Local-Only", "cost_change", "%", -10.0, -8.0, -9.1, -9.6, -8.4, 1],
        ["A", HOSTILE, "moved", "%", 30.0, 50.0, 55.0, 52.0, 58.0, 0],
        ["B", "benefit of Joint over compute-only", "benefit_ratio", "x", 3.0, 4.0, 3.4, "", "", 1],
    ]
    write_csv(folder / "headlines.csv", header, rows)
    header = "model parameter value quantity unit ours low high"
    sensitivity = [
        ["A", "capacity_slack", 1.1 + 0.1 * i, name, "%", -5.0 - i, "", ""]
        for name in ("cost_change", "dropped_share")
        for i in range(4)
    ]
    write_csv(folder / "sensitivity.csv", header, sensitivity)
    header = (
        "model policy cost_usd emissions_kg benefit_usd moved_share dropped_share cost_change carbon_change"
    )
    policies = [
        ["A", "local_only", 100.0, 50.0, 10.0, 0.0, 0.01, 0.0, 0.0],
        ["A", "joint", 91.0, 46.0, 19.0, 0.376, 0.0, -9.0, -8.0],
    ]
    write_csv(folder / "policies.csv", header, policies)


def sample_evaluate(folder: Path) -> None:
    """Two policies on the set ``test`` of two_sites."""
    folder.mkdir(parents=True)
    write_run(folder, "evaluate", {"scenario": "two_sites", "set": "test"}, [0, 1], finished=True)
    figures = {"benefit_usd": 42424.7, "bill_saving": 0.2021, "emissions_change": -0.0121, "gap": 0.0389}
    figures |= {"dropped_share": 2.4e-35, "decision_ms": 9.35, "episodes": 40}
    gains = {"greedy": (0.837, 0.792, 0.867), "local_only": (0.0, 0.0, 0.0)}
    rows = [
        {"policy": name, "gain_captured": dict(zip(("value", "low", "high"), ends, strict=True)), **figures}
        for name, ends in gains.items()
    ]
    (folder / "results.json").write_text(json.dumps(rows), encoding="utf-8")


def sample_train(folder: Path, watched: bool = True) -> None:
    """A training with an imitation of a minute, and, where it was watched, gains at 0, 600 and 1,200 steps."""
    folder.mkdir(parents=True)
    config = {"policy": "set", "algorithm": "pathwise", "environment": {"scenario": "two_sites"}}
    write_run(folder, "train", config, [0])
    stages = [("start", 0, 0.0, -0.05), ("imitation", 300, 60.0, 0.5), ("pathwise", 1200, 120.0, 0.9)]
    names = ("name", "steps", "seconds", "gain_captured")
    rows = [dict(zip(names, stage, strict=True), dropped_over_local_gpuh=1.0) for stage in stages]
    (folder / "stages.json").write_text(json.dumps({"stages": rows}), encoding="utf-8")
    header = "time/total_timesteps time/seconds" + " eval/gain_captured" * watched
    progress = [[0, 60.0, 0.5], [300, 90.0, ""], [600, 120.0, 0.8], [1200, 180.0, 0.9]]
    write_csv(folder / "progress.csv", header, [row[: 2 + watched] for row in progress])
