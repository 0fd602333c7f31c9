"""The folder of a comparison: emptied for a new one, or read to go on where an earlier run stopped."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scripts.runs.arguments import InstancesBySeed
from scripts.runs.command import InputError
from scripts.runs.folder import RUN_FILE, as_stored, differences, read_run
from scripts.runs.tables import read_rows

KIND = "compare"
SUMMARY, LADDER, FOLDERS = "summary.csv", "ladder.csv", ("tables", "figures", "tensorboard")
PRICES = "shadow_prices_seed"
WORDS = ("policy", "objective", "solver_status", "start_utc", "instance_hash")
WHOLE = ("seed", "meets_floor")
# What decides a result; threads, workers and folders do not.
DECISIVE = ("scenario_resolved", "policies", "checkpoints", "objective", "start", "mip_gap", "time_limit_s")

Rows = dict[int, list[dict[str, Any]]]  # of summary.csv, by seed


def make_room(folder: Path, overwrite: bool) -> None:
    """Remove an older comparison from a folder, whose rows, files and curves would mix with the new ones.

    Raises InputError where ``overwrite`` does not say so, and where the files belong to no comparison.
    """
    if not (folder / RUN_FILE).exists():
        found = [name for name in (SUMMARY, LADDER, *FOLDERS) if (folder / name).exists()]
        if found:
            raise InputError(
                f"{folder} holds {', '.join(found)} but no {RUN_FILE}: not a comparison's; give another --run-dir"
            )
        return
    if not overwrite:
        raise InputError(
            f"{folder} holds a comparison: go on with it (--continue), replace it (--overwrite) or give another "
            "--run-dir"
        )
    for file in (folder / SUMMARY, folder / LADDER, *folder.glob(f"{PRICES}*.csv")):
        file.unlink(missing_ok=True)
    for name in FOLDERS:
        if (folder / name).exists():
            shutil.rmtree(folder / name)
    (folder / RUN_FILE).unlink()


def finished_seeds(
    folder: Path, config: dict[str, Any], seeds: Sequence[int], episodes: InstancesBySeed
) -> Rows:
    """Rows of the seeds that an earlier run has finished in ``folder``; nothing where there was none.

    Raises InputError, naming the difference, where that run was set up otherwise, played other seeds or saw
    other episodes (a trace file that changed).
    """
    if not (folder / RUN_FILE).exists():
        make_room(folder, overwrite=False)
        return {}
    record = read_run(folder, KIND)
    for key in DECISIVE:
        found = next(differences(record["config"].get(key), as_stored(config[key]), key), None)
        if found:
            raise InputError(
                f"--continue: {folder} was set up otherwise: {found}; give the same, or another --run-dir"
            )
    if list(seeds)[: len(record["seeds"])] != record["seeds"]:
        raise InputError(
            f"--continue: {folder} has the seeds {_listed(record['seeds'])}: --seeds must begin with these; more "
            "may follow"
        )
    rows: Rows = {}
    if (folder / SUMMARY).exists():
        for row in read_rows(folder / SUMMARY, WORDS, WHOLE):
            rows.setdefault(row["seed"], []).append(row)
    for seed, own in rows.items():
        if episodes.make(seed).hash != own[0]["instance_hash"]:
            raise InputError(
                f"--continue: seed {seed} is another episode now than in {folder}: the trace file or the code that "
                "makes episodes changed; start anew (--overwrite)"
            )
    return rows


def earlier_commits(folder: Path) -> list[str]:
    """Commits of the runs that left what is in ``folder``."""
    if not (folder / RUN_FILE).exists():
        return []
    record = read_run(folder, KIND)
    return sorted({*record.get("earlier_commits", []), str(record["commit"])})


def _listed(seeds: Sequence[int]) -> str:
    return " ".join(map(str, seeds))
