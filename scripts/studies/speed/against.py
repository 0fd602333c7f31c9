"""This checkout against another commit: both run in turn, and the ratio of their CPU times is what counts.

A ratio from one run is true on a noisy machine, where seconds are not.
"""

from __future__ import annotations

import os
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
class Ratio:
    """CPU seconds of one unit of work in both checkouts, round by round."""

    name: str
    here_s: tuple[float, ...]
    there_s: tuple[float, ...]

    @property
    def speedup(self) -> Interval:
        """How many times as long it takes there: median of the rounds, with a bootstrap interval."""
        ratios = np.array(self.there_s) / np.array(self.here_s)
        return bootstrap(lambda x: float(np.median(x)), ratios)

    def line(self) -> str:
        """Return one row of the printed table."""
        found = self.speedup
        return (
            f"| {self.name} | {np.median(self.here_s):.4g} | {np.median(self.there_s):.4g} | {found.value:.2f} | "
            f"{found.low:.2f} to {found.high:.2f} |"
        )


def compare(commit: str, rounds: int, names: Sequence[str] = tuple(PROBES)) -> Iterator[Ratio]:
    """Yield the ratio of each figure; raise InputError where the commit is not there or cannot run it."""
    with tempfile.TemporaryDirectory() as folder:
        there = unpacked(commit, Path(folder))
        for name in names:
            pairs = [(seconds(ROOT, name), seconds(there, name)) for _ in range(rounds)]
            here_s, there_s = zip(*pairs, strict=True)
            yield Ratio(name, here_s, there_s)


def unpacked(commit: str, folder: Path) -> Path:
    """Return a folder with the files of a commit; raise InputError where this checkout does not have it."""
    done = subprocess.run(["git", "-C", str(ROOT), "archive", commit], capture_output=True, check=False)
    if done.returncode:
        reason = done.stderr.decode(errors="replace").strip().splitlines()
        raise InputError(f"--against {commit}: {reason[0] if reason else 'git failed'}")
    with tarfile.open(fileobj=BytesIO(done.stdout)) as archive:
        archive.extractall(folder, filter="data")
    return folder


def seconds(tree: Path, name: str) -> float:
    """Return CPU seconds of one unit of work in a checkout."""
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
        raise InputError(f"{name!r} does not run in {tree}: {last[0]}")
    package, found = done.stdout.split()[-2:]
    # An installed copy would be compared with itself.
    assert Path(package).is_relative_to(tree), f"{package} was imported, not that of {tree}"
    return float(found)
