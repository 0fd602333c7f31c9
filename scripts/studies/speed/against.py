"""This checkout against another commit: both run in turn, and the ratio of their CPU times is what counts.

A ratio from one run is true on a noisy machine, where seconds are not.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np

from gridai_env.analysis.statistics import Interval, bootstrap
from scripts.runs.command import InputError
from scripts.studies.speed.probe import PROBES

ROOT = Path(__file__).resolve().parents[3]
PROBE = Path(__file__).with_name("probe.py")
HEADER = "| figure | CPU seconds here | there | there / here | 95 % interval |\n|---|---|---|---|---|"


@dataclass(frozen=True)
class Timed:
    """CPU seconds of one unit of work in a checkout, and of which environment."""

    env_id: str
    seconds: float


@dataclass(frozen=True)
class Ratio:
    """One unit of work in both checkouts, round by round."""

    name: str
    here: tuple[Timed, ...]
    there: tuple[Timed, ...]

    @property
    def speedup(self) -> Interval:
        """How many times as long it takes there: median of the rounds, with a bootstrap interval."""
        pairs = zip(self.here, self.there, strict=True)
        ratios = np.array([there.seconds / here.seconds for here, there in pairs])
        return bootstrap(lambda x: float(np.median(x)), ratios)

    def line(self) -> str:
        """Return one row of the printed table; worlds of another version are named."""
        found, other = self.speedup, self.there[0].env_id
        note = "" if other == self.here[0].env_id else f" (there {other})"
        seconds = [statistics.median(one.seconds for one in side) for side in (self.here, self.there)]
        return (
            f"| {self.name}{note} | {seconds[0]:.4g} | {seconds[1]:.4g} | {found.value:.2f} | "
            f"{found.low:.2f} to {found.high:.2f} |"
        )


def compare(commit: str, rounds: int, names: Sequence[str] = tuple(PROBES)) -> Iterator[Ratio | str]:
    """Yield the ratio of each figure, or one line that says why there is none.

    Raise InputError where the commit is not there.
    """
    with tempfile.TemporaryDirectory() as folder:
        there = unpacked(commit, Path(folder))
        for name in names:
            found: dict[Path, list[Timed]] = {ROOT: [], there: []}
            try:
                for i in range(rounds):
                    # In turn which one is first, so that neither gains by what a machine does over time.
                    for tree in (ROOT, there) if i % 2 == 0 else (there, ROOT):
                        found[tree].append(timed(tree, name))
            except InputError as error:
                yield f"| {name} | {error} |"
            else:
                yield Ratio(name, tuple(found[ROOT]), tuple(found[there]))


def unpacked(commit: str, folder: Path) -> Path:
    """Return a folder with the files of a commit; raise InputError where this checkout does not have it."""
    done = subprocess.run(["git", "-C", str(ROOT), "archive", commit], capture_output=True, check=False)
    if done.returncode:
        reason = done.stderr.decode(errors="replace").strip().splitlines()
        raise InputError(f"--against {commit}: {reason[0] if reason else 'git failed'}")
    with tarfile.open(fileobj=BytesIO(done.stdout)) as archive:
        archive.extractall(folder, filter="data")
    return folder


def timed(tree: Path, name: str) -> Timed:
    """Return the time of one unit of work in a checkout; raise InputError where it cannot run."""
    environment = os.environ | {"PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, str(PROBE), name],
        cwd=tree,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or ["it printed nothing"]
        raise InputError(f"does not run in {tree}: {last[0]}")
    env_id, package, seconds = done.stdout.split()[-3:]
    if not Path(package).is_relative_to(tree):
        raise InputError(
            f"{package} was imported, not the package in {tree}: it would be compared with itself"
        )
    return Timed(env_id, float(seconds))
