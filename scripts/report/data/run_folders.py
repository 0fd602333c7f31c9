"""Run folders as the report reads them: found by their run.json, checked, their CSV files as columns."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ValidationError

from gridai_env.arrays.types import Floats
from gridai_env.scenario.spec import Scenario
from scripts.runs.command import InputError
from scripts.runs.folder import RUN_FILE, read_run

# Kinds of runs, and whether the report shows them; the others are only named in its appendix.
SHOWN_KINDS = ("compare", "evaluate", "train", "frontier", "front", "flexibility", "reproduce")
OTHER_KINDS = ("solve", "demonstrate", "headroom")


@dataclass(frozen=True)
class Table:
    """A CSV file: columns of text, all of one length."""

    file: Path
    columns: dict[str, list[str]] = field(repr=False)
    lines: list[int] = field(repr=False)  # of the file, by row
    _parsed: dict[str, Floats] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()), []))

    def has(self, name: str) -> bool:
        """Return whether there is such a column."""
        return name in self.columns

    def text(self, name: str) -> list[str]:
        """Return a column as it stands in the file; raises InputError where it is missing."""
        if name not in self.columns:
            raise InputError(f"{self.file}: column {name!r} is missing; {self._again()}")
        return self.columns[name]

    def numbers(self, name: str) -> Floats:
        """Return a column as numbers, empty cells as NaN; raises InputError where a cell is not a number."""
        if name not in self._parsed:
            cells = self.text(name)
            self._parsed[name] = np.array([self._number(name, i, cell) for i, cell in enumerate(cells)])
        return self._parsed[name]

    def _number(self, name: str, position: int, cell: str) -> float:
        try:
            return float(cell) if cell else float("nan")
        except ValueError:
            raise InputError(
                f"{self.file}, line {self.lines[position]}: {name} is {cell!r}, must be a number; {self._again()}"
            ) from None

    def mean(self, name: str) -> float:
        """Return the mean of a column of numbers."""
        return float(np.mean(self.numbers(name)))

    def is_numeric(self, name: str) -> bool:
        """Return whether a column holds numbers and empty cells, and not the latter alone."""
        try:
            return bool(np.isfinite(self.numbers(name)).any())
        except InputError:
            return False

    def unique(self, name: str) -> list[str]:
        """Return the values of a column in the order in which they first appear."""
        return list(dict.fromkeys(self.text(name)))

    def where(self, **wanted: str) -> Table:
        """Return the rows in which every named column has the wanted text."""
        keep = [
            i for i in range(len(self)) if all(self.text(name)[i] == value for name, value in wanted.items())
        ]
        return self.rows(keep)

    def rows(self, positions: Iterable[int]) -> Table:
        """Return some rows, in the given order."""
        kept = list(positions)
        columns = {name: [cells[i] for i in kept] for name, cells in self.columns.items()}
        return Table(self.file, columns, [self.lines[i] for i in kept])

    @staticmethod
    def _again() -> str:
        return "an old or damaged file: run the command that wrote it again"


def read_table(file: Path, needed: Sequence[str] = ()) -> Table:
    """Read a CSV file with a header.

    Raises InputError where it is missing, empty, cut off in the middle of a row, or lacks a needed column.
    """
    try:
        with open(file, newline="", encoding="utf-8") as stream:
            rows = list(csv.reader(stream))
    except FileNotFoundError:
        raise InputError(f"{file}: missing; the run is not finished: run its command again") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{file}: cannot be read: {error}; run its command again") from error

    # A run writes its tables at the end, a killed one may leave them empty or cut off.
    if len(rows) < 2:
        raise InputError(f"{file}: has no rows; the run is not finished: run its command again")
    header = rows[0]
    for position, row in enumerate(rows[1:], start=2):
        if len(row) != len(header):
            raise InputError(
                f"{file}, line {position}: {len(row)} cells, the header has {len(header)}: half-written; "
                "run its command again"
            )

    columns = {name: [row[i] for row in rows[1:]] for i, name in enumerate(header)}
    table = Table(file, columns, list(range(2, len(rows) + 1)))
    for name in needed:
        table.text(name)
    return table


class _Record(BaseModel):
    """What the report reads of a run.json, where it is there."""

    time_utc: str = ""
    commit: str | None = None
    config: dict[str, Any] = {}
    seeds: list[int] = []
    command: list[Any] | None = None
    versions: dict[str, Any] | None = None
    machine: dict[str, Any] | None = None
    policies: dict[str, str] = {}
    instances: list[dict[str, Any]] = []


@dataclass(frozen=True)
class RunFolder:
    """A run folder."""

    folder: Path
    record: dict[str, Any] = field(repr=False)

    @property
    def kind(self) -> str:
        """The kind of command that wrote it."""
        return str(self.record.get("kind"))

    @cached_property
    def scenario(self) -> dict[str, Any]:
        """The resolved scenario; {} where the run has none (it spans several)."""
        config = self.record.get("config")
        found = config.get("scenario_resolved") if isinstance(config, dict) else None
        return found if isinstance(found, dict) and "sites" in found else {}

    @property
    def scenario_name(self) -> str:
        """Name of the scenario, or of the run's kind where it spans several."""
        config = self.record.get("config", {})
        trained = Path(str(config.get("environment", {}).get("scenario"))).stem  # a name or a file
        named = {"evaluate": config.get("scenario"), "train": trained}
        return str(self.scenario.get("name") or named.get(self.kind) or self.kind)

    @property
    def seeds(self) -> list[int]:
        """Seeds of its episodes."""
        return [int(seed) for seed in self.record.get("seeds", [])]

    def has(self, name: str) -> bool:
        """Return whether the folder holds a file."""
        return (self.folder / name).is_file()

    def table(self, name: str, needed: Sequence[str] = ()) -> Table:
        """Return one of its CSV files; raises InputError as `read_table`."""
        return read_table(self.folder / name, needed)


@dataclass(frozen=True)
class LeftOut:
    """A run folder that the report does not show, and why."""

    folder: Path
    reason: str


def find_runs(root: Path) -> tuple[list[RunFolder], list[LeftOut]]:
    """Return all run folders at or below ``root`` in order of their paths, and those that cannot be read.

    A run is left out where its run.json is damaged, of another version or of an unknown kind.  Raises InputError
    where ``root`` itself is such a run, where it holds no run, and where none is left of which something is drawn.
    """
    if not root.is_dir():
        raise InputError(f"RUN_DIR {str(root)!r}: no such folder; give a run folder or one that holds some")

    files = sorted(path for path in root.rglob(RUN_FILE) if path.is_file())
    if not files:
        raise InputError(
            f"RUN_DIR {str(root)!r}: holds no {RUN_FILE}; write a run first, e.g. "
            f"python -m scripts.compare --scenario two_sites --policies local_only greedy milp --run-dir {root}"
        )

    runs: list[RunFolder] = []
    left_out: list[LeftOut] = []
    for file in files:
        try:
            runs.append(_read(file))
        except InputError as error:
            leave_out(root, file.parent, error, left_out)

    if not any(run.kind in SHOWN_KINDS for run in runs):
        if left_out:
            raise nothing_left(root, left_out)
        raise InputError(
            f"RUN_DIR {str(root)!r}: holds only runs of kind {', '.join(sorted({run.kind for run in runs}))}, of "
            f"which nothing is drawn; needed: one of {', '.join(SHOWN_KINDS)} (training: tensorboard --logdir)"
        )
    return runs, left_out


def _read(file: Path) -> RunFolder:
    run = RunFolder(file.parent, read_run(file))
    known = (*SHOWN_KINDS, *OTHER_KINDS)
    if run.kind not in known:
        raise InputError(f"{file}: kind {run.kind!r} is unknown; known: {', '.join(known)}")
    try:
        _Record.model_validate(run.record)
        if run.scenario:
            Scenario.model_validate(run.scenario)
    except ValidationError as error:
        raise InputError(
            f"{file}: damaged: {error.errors()[0]['msg']} at {error.errors()[0]['loc']}"
        ) from error
    return run


def leave_out(root: Path, folder: Path, error: InputError, left_out: list[LeftOut]) -> None:
    """Note that a run is left out; raises the error itself where ``root`` is this run."""
    if folder == root:
        raise error
    left_out.append(LeftOut(folder, str(error)))


def nothing_left(root: Path, left_out: Sequence[LeftOut]) -> InputError:
    """Return the error where no run is left that could be shown."""
    more = f" (and {len(left_out) - 1} more)" if len(left_out) > 1 else ""
    return InputError(f"RUN_DIR {str(root)!r}: no run can be shown: {left_out[0].reason}{more}")
