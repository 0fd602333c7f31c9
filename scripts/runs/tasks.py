"""Long runs as tasks: one file per result, computed in parallel, resumed where a run stopped.

A task names its file and what its result is computed from (`Task.key`).  Workers hand results back and this process
alone writes, so the machines of a cluster need no disk in common.  A file that is there and has the right key is not
computed again.

    store = Store(folder / "points", "frontier point")
    run_tasks(store, [[[first, second], [third]]], compute)    # one stage of two batches
    record = store.read(first)
"""

import hashlib
import json
import shutil
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from gridai_env.files import InstanceError, read_archive, write_archive, write_json
from gridai_env.version import environment_version
from scripts.runs.command import InputError
from scripts.runs.folder import RUN_FILE, as_stored, differences, read_run
from scripts.runs.parallel import spread
from scripts.runs.progress import bar as progress_bar

Record = dict[str, Any]
T = TypeVar("T")
R = TypeVar("R")

FORMAT_VERSION = 1
ARRAYS = "arrays"  # entry of a record that holds named NumPy arrays
# A worker hands back what it has of a batch after this time, s: no more than that is lost when a run is killed.
SLICE_S = 60.0


class Task(ABC):
    """One result to compute; subclasses hold all that a worker needs."""

    @property
    @abstractmethod
    def name(self) -> str:
        """Name of the result's file, without ending."""

    @property
    @abstractmethod
    def key(self) -> str:
        """Hash of everything that the result is computed from; a file of another key is refused, see `key_of`."""

    @property
    def stamp(self) -> Record:
        """What is stored beside the result for `is_current`."""
        return {}

    def is_current(self, record: Record) -> bool:
        """Return whether a stored result holds; one that does not is computed again rather than refused."""
        return True


K = TypeVar("K", bound=Task)


def key_of(*facts: Any) -> str:
    """Return SHA-256 (hex) of the facts a result is computed from."""
    return hashlib.sha256(repr(facts).encode()).hexdigest()


def had_time(record: Record, time_limit_s: float) -> bool:
    """Return whether a solve was finished, or stopped at a limit no shorter than the one allowed now."""
    stopped = record["row"] is not None and record["row"].get("status") == "time_limit"
    return not stopped or bool(record["time_limit_s"] >= time_limit_s)


# Files ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Store:
    """The results of a run, one file each: JSON, or .npz where they are ``binary`` (with arrays)."""

    folder: Path
    kind: str
    binary: bool = False

    def path(self, task: Task) -> Path:
        """Return the file of a task's result."""
        return self.folder / f"{task.name}.{'npz' if self.binary else 'json'}"

    def read(self, task: Task) -> Record | None:
        """Return a result; None where it is missing or out of date (see `Task.is_current`).

        Raises InputError for a file that is damaged, of another version, or computed from something else.
        """
        # Compute the key even without a file: it is cached in the task, which threads may pickle from now on.
        path, head = self.path(task), self._head(task)
        try:
            record = self._load(path)
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError, json.JSONDecodeError, InstanceError) as error:
            raise InputError(
                f"{path}: not a whole point file ({error}); delete it and make it again by the same command, the "
                "other points are kept"
            ) from error

        for name, wanted in head.items():
            found = record.get(name) if isinstance(record, dict) else None
            if found != wanted:
                raise InputError(
                    f"{path}: {name} is {str(found)[:12]!r}, this run has {str(wanted)[:12]!r}: the file belongs to "
                    "another scenario, version or setting; give another --run-dir or --overwrite"
                )
        return record if task.is_current(record) else None

    def result(self, task: Task) -> Record:
        """Return a result that must be there; raises InputError where it is not."""
        record = self.read(task)
        if record is None:
            raise InputError(f"{self.path(task)}: no result yet; run the same command again")
        return record

    def write(self, task: Task, record: Record) -> None:
        """Write a result atomically."""
        path = self.path(task)
        path.parent.mkdir(parents=True, exist_ok=True)
        record = self._head(task) | task.stamp | record
        if self.binary:
            arrays = record.pop(ARRAYS)
            write_archive(path, record, arrays)
        else:
            write_json(path, record, indent=None, default=float)

    def count(self, tasks: Iterable[Task]) -> int:
        """Return how many of the tasks have a file."""
        return sum(self.path(task).exists() for task in tasks)

    def _load(self, path: Path) -> Record:
        if self.binary:
            header, arrays = read_archive(path)
            return header | {ARRAYS: arrays}
        record: Record = json.loads(path.read_text(encoding="utf-8"))
        return record

    def _head(self, task: Task) -> Record:
        return {
            "format": f"gridai-env {self.kind}",
            "format_version": FORMAT_VERSION,
            "environment_version": environment_version(),
            "key": task.key,
        }


def open_store(
    folder: Path, kind: str, name: str, config: Record, decisive: Sequence[str], holds: str, overwrite: bool
) -> Path:
    """Make the folder ``name`` of results in a run folder, or prove that those in it are of this run; return it.

    ``decisive`` are the settings that decide results, with dots for nesting (``scenario_resolved.A``); one that the
    earlier run does not name is new and fits.  ``holds`` says in an error what the folder holds instead.  Raises
    InputError where a setting differs and where the results are of no run of this ``kind``.
    """
    store = folder / name
    if overwrite:
        shutil.rmtree(store, ignore_errors=True)
    elif (folder / RUN_FILE).exists():
        check_settings(read_run(folder, kind)["config"], config, decisive, f"{folder} holds {holds}")
    elif store.exists() and any(store.iterdir()):
        raise InputError(
            f"{folder} holds results but no {RUN_FILE} ({name}/); give another --run-dir, or --overwrite"
        )
    store.mkdir(exist_ok=True)
    return store


def check_settings(found: Record, config: Record, decisive: Sequence[str], trouble: str) -> None:
    """Raise InputError, beginning with ``trouble``, where a decisive setting is not that of an earlier run."""
    ours = as_stored(config)
    for setting in decisive:
        there, here = found, ours
        for part in setting.split("."):
            there, here = (side.get(part, {}) if isinstance(side, dict) else {} for side in (there, here))
        words = next(differences(there, here, setting), None) if there != {} else None
        if words is not None:
            raise InputError(
                f"{trouble}: {words}; give the same, another --run-dir, or --overwrite to compute it again"
            )


# Running ----------------------------------------------------------------------------------------------------

Compute = Callable[[Sequence[T]], Iterator[R]]
Batches = Sequence[Sequence[T]]


def run_tasks(
    store: Store,
    stages: Iterable[Batches[K]],
    compute: Compute[K, Record],
    *,
    jobs: int = 1,
    ray: str | None = None,
    total: int | None = None,
    unit: str = "point",
    label: str | None = None,
) -> int:
    """Compute the results that are not there yet and write each as it arrives; return how many that were.

    ``compute`` yields the results of a batch in its order: what tasks of a batch share (a compiled program) is made
    once.  ``stages`` are taken one after the other, each when the results of those before are written: a generator
    may read them.  ``total``: number of all tasks, for the bar.  After ctrl-C (KeyboardInterrupt) and errors all that
    had arrived is on disk.
    """
    computed = 0
    with progress_bar(total=total, unit=unit, desc=label, mininterval=0.5) as bar:
        for batches in stages:
            missing = [[task for task in batch if store.read(task) is None] for batch in batches]
            bar.update(sum(map(len, batches)) - sum(map(len, missing)))

            for task, record in results_of(compute, [left for left in missing if left], jobs, ray):
                store.write(task, record)
                computed += 1
                bar.set_postfix_str(task.name, refresh=False)
                bar.update()
    return computed


def results_of(
    compute: Compute[T, R], batches: Batches[T], jobs: int = 1, ray: str | None = None
) -> Iterator[tuple[T, R]]:
    """Yield tasks with their results as they arrive, batches side by side."""
    if ray is None and jobs == 1:
        for batch in batches:
            yield from zip(batch, compute(batch), strict=True)
        return

    left = list(batches)
    while left:
        calls = [(compute, number, batch) for number, batch in enumerate(left)]
        rest = []
        for number, results in spread(_hand_back, calls, jobs, ray):
            yield from zip(left[number], results, strict=False)
            rest.append(left[number][len(results) :])
        left = [batch for batch in rest if batch]


def _hand_back(compute: Compute[T, R], number: int, batch: Sequence[T]) -> tuple[int, list[R]]:
    """Compute a batch until it is done or its time is up; return its number and the results."""
    end_s, results = time.monotonic() + SLICE_S, []
    for result in compute(batch):
        results.append(result)
        if time.monotonic() > end_s:
            break
    return number, results
