"""Frozen sets: the episodes of a benchmark with hashes, proven bounds and the results of rules and planners.

One file ``configs/benchmarks/<scenario>/<set>.json`` each, written by ``scripts.maintenance.freeze``.  The
arrays are not in it: episodes are made again from their keys and checked against the hash, and refused where
they differ.  Where only the last bits differ (another processor or library: elementary functions round
differently), a sketch of all arrays says so, and the published figures still hold.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from gridai_env.benchmarks.sets import (
    Benchmark,
    BenchmarkError,
    EpisodeKey,
    SetName,
    benchmark_folder,
    make,
    read_benchmark,
)
from gridai_env.episodes.instance import Instance
from gridai_env.rollout.trajectory import Trajectory
from gridai_env.scenario.spec import Scenario
from gridai_env.version import __version__, environment_version

FORMAT, FORMAT_VERSION = "gridai-env frozen set", 1
LOCAL, OPTIMUM = "local_only", "milp"

SKETCHES = 4
SKETCH_TOLERANCE = 2e-6  # rounding of float32 forecasts stays below a tenth of it


@dataclass(frozen=True)
class Entry:
    """One episode of a frozen set."""

    key: EpisodeKey
    hash: str
    sketch: tuple[float, ...]
    bound_usd: float
    solver: dict[str, Any]  # status, gap, seconds of the bound
    results: dict[str, dict[str, Any]]  # by policy, as `gridai_env.benchmarks.published.figures_of` has them

    def figure(self, policy: str, name: str) -> float:
        """Return a published figure of a policy."""
        return float(self.results[policy][name])


@dataclass(frozen=True)
class FrozenSet:
    """A set with its published results."""

    benchmark: Benchmark
    name: SetName
    entries: tuple[Entry, ...]
    facts: dict[str, Any]  # package version, commit, time, machine, settings of the solver
    folder: Path
    notes: list[str] = field(default_factory=list)  # what `instances` has to say

    @property
    def scenario(self) -> str:
        """Name of the scenario."""
        return self.benchmark.scenario

    @property
    def own_planner(self) -> str:
        """Name of the planner that reads the forecasts of the episodes: "mpc:own" by its kind."""
        return f"mpc:{self.benchmark.world.forecast.kind}"

    @property
    def published(self) -> tuple[str, ...]:
        """Policies whose results stand in every entry."""
        first = self.entries[0].results
        return tuple(name for name in first if all(name in entry.results for entry in self.entries))

    def column(self, policy: str, name: str) -> np.ndarray:
        """Return a published figure of a policy, one number for each episode [m]."""
        if policy not in self.published:
            raise BenchmarkError(f"{self.scenario}/{self.name}: no results of {policy!r} are published")
        return np.array([entry.figure(policy, name) for entry in self.entries])

    @property
    def bound_usd(self) -> np.ndarray:
        """Proven bounds on the benefit [m]."""
        return np.array([entry.bound_usd for entry in self.entries])

    @property
    def hash(self) -> str:
        """SHA-256 (hex) of the episodes and their bounds: figures of one hash may be compared."""
        return self.hash_of([(entry.hash, entry.bound_usd) for entry in self.entries])

    def hash_of(self, episodes: Sequence[tuple[str, float | None]]) -> str:
        """Return the SHA-256 (hex) of episodes played as this set: of each its hash, and its bound or None."""
        return hashlib.sha256(json.dumps([(self.scenario, self.name), *episodes]).encode()).hexdigest()

    def first(self, count: int) -> FrozenSet:
        """Return the set with ``count`` of its episodes, evenly spread."""
        total = len(self.entries)
        if not 1 <= count <= total:
            raise BenchmarkError(f"{self.scenario}/{self.name}: has {total} episodes; {count} were asked for")
        picked = tuple(self.entries[(2 * i + 1) * total // (2 * count)] for i in range(count))
        return FrozenSet(self.benchmark, self.name, picked, self.facts, self.folder, self.notes)

    def instances(self) -> list[Instance]:
        """Return the episodes, made again and checked; raises BenchmarkError where one is not the one frozen."""
        made = [self._checked(entry) for entry in self.entries]
        rounded = sum(i.hash != entry.hash for i, entry in zip(made, self.entries, strict=True))
        if rounded:
            self.notes.append(
                f"{rounded} of {len(made)} episodes equal the frozen ones to rounding, not to the last bit: another "
                "processor or library"
            )
        return made

    def _checked(self, entry: Entry) -> Instance:
        instance = make(self.benchmark, entry.key, self.folder)
        if instance.hash != entry.hash and not alike(sketch(instance), entry.sketch):
            raise BenchmarkError(
                f"{self.scenario}/{self.name}, seed {entry.key.seed}: the episode made here has hash "
                f"{instance.hash[:12]}, the frozen one {entry.hash[:12]}: scenario, calibration or code changed "
                f"since gridai-env {self.facts.get('package_version')} froze it (this is {__version__}), so its "
                f"bounds do not hold; use that version, or run: "
                f"python -m scripts.maintenance.freeze --scenario {self.scenario}"
            )
        return instance


def sketch(instance: Instance) -> list[float]:
    """Return SKETCHES numbers that depend on every array of an episode, and hardly on rounding."""
    out = np.zeros(SKETCHES)
    for name, array in sorted((instance.arrays() | instance.constants()).items()):
        values = np.asarray(array, dtype=np.float64).ravel()
        finite = np.isfinite(values)
        scale = np.abs(values[finite]).max(initial=0.0) or 1.0
        shown = np.where(finite, np.where(finite, values, 0.0) / scale, 2.0)
        weights = np.random.default_rng(zlib.crc32(name.encode())).random((SKETCHES, len(shown)))
        level = np.log1p(scale)  # else a factor on a whole array would not be seen
        out += (weights - 0.5) @ shown / np.sqrt(max(len(shown), 1)) + level * (weights[:, :1].sum(1) + 0.5)
    return [float(value) for value in out]


def alike(one: Sequence[float], other: Sequence[float]) -> bool:
    """Return whether two sketches differ by rounding alone."""
    a, b = np.asarray(one), np.asarray(other)
    return a.shape == b.shape and bool((np.abs(a - b) <= SKETCH_TOLERANCE).all())


def validation_of(scenario: Scenario, count: int, folder: Path | None = None) -> FrozenSet | None:
    """Return ``count`` frozen validation episodes (at most all) of a scenario, for training to watch.

    None where there is no such set, or where the scenario differs from the benchmark's in more than its days:
    the published bounds would not be its own.
    """
    if not set_path(scenario.name, "validation", folder).is_file():
        return None
    judged = read_benchmark(scenario.name, folder).world
    if scenario.model_copy(update={"start": judged.start}) != judged:
        return None
    frozen = read_set(scenario.name, "validation", folder)
    return frozen.first(min(count, len(frozen.entries)))


# Files ------------------------------------------------------------------------------------------------------


def set_path(scenario: str, name: str, folder: Path | None = None) -> Path:
    """Return the path of a frozen set."""
    return (folder or benchmark_folder()) / scenario / f"{name}.json"


def head() -> dict[str, Any]:
    """Return the header of a file of this version."""
    return {"format": FORMAT, "format_version": FORMAT_VERSION, "environment_version": environment_version()}


def read_set(scenario: str, name: str, folder: Path | None = None) -> FrozenSet:
    """Return a frozen set; raises BenchmarkError where it is missing, damaged or of another version."""
    folder = folder or benchmark_folder()
    benchmark = read_benchmark(scenario, folder)
    path = set_path(scenario, name, folder)
    advice = f"make it: python -m scripts.maintenance.freeze --scenario {scenario} --sets {name}"
    if name not in benchmark.sets:
        raise BenchmarkError(f"{scenario}: has no set {name!r}; there is one of: {', '.join(benchmark.sets)}")

    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        for what, value in head().items():
            if data[what] != value:
                raise BenchmarkError(
                    f"{path}: {what} is {data[what]!r}, this program has {value!r}: the published bounds belong to "
                    f"another world; use gridai-env {data.get('package_version')}, or {advice}"
                )
        entries = tuple(_entry(scenario, item) for item in data.pop("episodes"))
    except FileNotFoundError:
        raise BenchmarkError(f"{path}: no such frozen set; {advice}") from None
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError, AttributeError) as error:
        raise BenchmarkError(f"{path}: not a whole frozen set ({error!r}); {advice}") from error

    if not entries:
        raise BenchmarkError(f"{path}: holds no episode; {advice}")
    return FrozenSet(benchmark, name, entries, data, folder)


# What a file says of an episode's key besides the scenario, which is that of the whole file.
OF_KEY = ("seed", "start_utc", "shift")


def _entry(scenario: str, item: dict[str, Any]) -> Entry:
    key = EpisodeKey(scenario, **{name: item.pop(name) for name in OF_KEY})
    entry = Entry(key, **item | {"sketch": tuple(item["sketch"])})
    _ = 0.0 + entry.bound_usd  # numbers, else KeyError or TypeError: the file is not whole
    for figures in entry.results.values():
        _ = [0.0 + figures[name] for name in (*FIGURES, "masked_gpuh")]
        _ = 0.0 + figures.get("seconds_per_decision", 0.0)
    return entry


def entry_record(entry: Entry) -> dict[str, Any]:
    """Return what `read_set` reads of an entry."""
    record = asdict(entry)
    key = record.pop("key")
    return {name: key[name] for name in OF_KEY} | record


FIGURES = (
    "benefit_usd", "bill_usd", "emissions_kg", "arrived_gpuh",
    "served_gpuh", "dropped_gpuh", "jobs_started",
)  # fmt: skip


def figures_of(trajectory: Trajectory) -> dict[str, Any]:
    """Return the FIGURES, the work on masked routes (``masked_gpuh``, 0 by construction) and the ledger's terms."""
    metrics = trajectory.metrics
    out: dict[str, Any] = {name: float(metrics[name]) for name in FIGURES}
    out["masked_gpuh"] = masked_gpuh(trajectory)
    out["terms_usd"] = {name: float(value) for name, value in trajectory.terms.items()}
    return out


def masked_gpuh(trajectory: Trajectory) -> float:
    """Return the work in GPU-h that was served over routes that law, latency or state keep closed."""
    closed = trajectory.instance.params.route_open <= 0.0
    return float(trajectory.flows.served_gpuh[:, closed].sum())
