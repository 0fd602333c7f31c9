"""The folder of a comparison: emptied for a new one, or gone on with where an earlier run stopped."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from scripts.runs.command import InputError
from scripts.runs.folder import RUN_FILE, read_run
from scripts.runs.tasks import Record, check_settings

KIND = "compare"
SUMMARY, LADDER = "summary.csv", "ladder.csv"
SEEDS = "seeds"  # the results, a file per seed, from which all tables are made
FOLDERS = (SEEDS, "tables", "tensorboard")
EARLIER = "figures"  # pictures that versions before this one wrote
PRICES = "shadow_prices_seed"
# What decides a result; threads, workers and folders do not.
DECISIVE = ("scenario_resolved", "policies", "checkpoints", "objective", "start", "mip_gap", "time_limit_s")


def make_room(folder: Path, overwrite: bool) -> None:
    """Remove an older comparison from a folder, whose rows, files and curves would mix with the new ones.

    Raises InputError where ``overwrite`` does not say so, and where the files belong to no comparison.
    """
    if not (folder / RUN_FILE).exists():
        found = [name for name in (SUMMARY, LADDER, *FOLDERS, EARLIER) if (folder / name).exists()]
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

    # Other files of the folder are not ours: only what a comparison writes goes.
    for file in (folder / SUMMARY, folder / LADDER, *folder.glob(f"{PRICES}*.csv")):
        file.unlink(missing_ok=True)
    for name in (*FOLDERS, EARLIER):
        if (folder / name).exists():
            shutil.rmtree(folder / name)
    (folder / RUN_FILE).unlink()


def check_resumable(folder: Path, config: Record, seeds: Sequence[int]) -> None:
    """Raise InputError, naming the difference, where the run in ``folder`` cannot go on with these settings."""
    if not (folder / RUN_FILE).exists():
        make_room(folder, overwrite=False)
        return
    record = read_run(folder, KIND)
    check_settings(record["config"], config, DECISIVE, f"--continue: {folder} was set up otherwise")

    # Tables and ladder follow the order of the seeds, so they may only grow at the end.
    if list(seeds)[: len(record["seeds"])] != record["seeds"]:
        raise InputError(
            f"--continue: {folder} has the seeds {' '.join(map(str, record['seeds']))}: --seeds must begin with these; "
            "more may follow"
        )
    if (folder / SUMMARY).exists() and not (folder / SEEDS).exists():
        raise InputError(
            f"--continue: {folder} was written by an earlier version of this program ({SUMMARY} without {SEEDS}/); "
            "start anew (--overwrite), or give another --run-dir"
        )


def earlier_commits(folder: Path) -> list[str]:
    """Return commits of the runs that left what is in ``folder``."""
    if not (folder / RUN_FILE).exists():
        return []
    record = read_run(folder, KIND)
    return sorted({*record.get("earlier_commits", []), str(record["commit"])})
