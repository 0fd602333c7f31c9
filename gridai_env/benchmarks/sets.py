"""Benchmarks: which days of a scenario train and which test, and the episodes of its fixed sets.

A benchmark is a file ``configs/benchmarks/<scenario>.yaml``.  Its calendar divides the days of the scenario into
parts that do not overlap: train, validation, test.  An episode of a part lies in the part's days together with a day
before (history) and a day after (time zones), so that nothing of a test day is seen in training.  A set is a number
of episodes spread evenly over the days of a part; those of a shifted set happen in a changed world (prices of
another year, a price shock, a site lost).

An episode is a pure function of scenario, shift, seed and start: `make` makes it again, bit for bit.  The
published results of frozen sets (bounds, rules, planners) are in `gridai_env.benchmarks.published`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import numpy as np
import yaml
from pydantic import Field, ValidationError, model_validator

from gridai_env.episodes.instance import Instance, make_batch
from gridai_env.files import shipped_folder
from gridai_env.scenario.compile import compile_scenario
from gridai_env.scenario.load import load_scenario
from gridai_env.scenario.spec import Event, Period, Scenario
from gridai_env.scenario.tables import synthetic_starts
from gridai_env.scenario.values import Positive, StrictModel

Part = Literal["train", "validation", "test"]
SetName = Literal["train", "validation", "test", "shifted"]
PLAIN = ""  # the shift of episodes that happen in the scenario as it is

# Training draws its seeds below 2**31; each set has a million of its own, in the order of `SetName`.
FIRST_SEED: dict[SetName, int] = {
    name: 2**31 + 1_000_000 * number for number, name in enumerate(get_args(SetName), start=1)
}
MARGIN = np.timedelta64(1, "D")


class BenchmarkError(ValueError):
    """A benchmark that cannot be used; the message says which file, why and what to do."""


class NoBenchmarkError(BenchmarkError):
    """The scenario has no benchmark: none of its days are set aside."""


class PriceRatio(StrictModel):
    """Prices of another year over those of the scenario's, in one zone."""

    level: Positive = Field(description="of medians")
    spread: Positive = Field(description="of deviations from the mean of month and hour")


class Shift(StrictModel):
    """Changes of an episode against the scenario: prices and further events."""

    prices: str | None = Field(None, description="name of a table of ratios by zone, beside this file")
    events: list[Event] = Field([], description="that happen besides the scenario's own")


class SetSpec(StrictModel):
    """A set of episodes."""

    part: Part
    episodes: Annotated[int, Field(ge=1, le=1000)]
    shifts: list[str] = Field([], description="in turn, one per episode; none: the scenario as it is")
    planners: list[str] = Field([], description="whose results are published, e.g. mpc:day_ahead or mpc:own")


class SolverSpec(StrictModel):
    """How exactly the bounds are solved."""

    mip_gap: Positive
    time_limit_s: Positive


class Benchmark(StrictModel):
    """A file of ``configs/benchmarks``."""

    scenario: str
    file: str | None = Field(
        None, description="of an own scenario, beside this file; none: a shipped scenario"
    )
    calendar: dict[Part, list[Period]]
    sets: dict[SetName, SetSpec]
    shifts: dict[str, Shift] = Field({})
    solver: SolverSpec

    @property
    def world(self) -> Scenario:
        """The scenario as it is, without shifts."""
        return load_scenario(self.file or self.scenario)

    @model_validator(mode="after")
    def _whole(self) -> Benchmark:
        """Refuse sets of unknown parts or shifts, and days that belong to two parts."""
        for name, spec in self.sets.items():
            if spec.part not in self.calendar:
                raise ValueError(f"sets.{name}.part = {spec.part!r}: the calendar has no such part")
            if unknown := sorted(set(spec.shifts) - set(self.shifts)):
                raise ValueError(f"sets.{name}.shifts: {', '.join(unknown)}: not among shifts")

        # Sorted by their first day, parts overlap only with the next one.
        every = [(period, part) for part, own in self.calendar.items() for period in own]
        every.sort(key=lambda pair: pair[0].first)
        for period, part in every:
            if period.last < period.first:
                raise ValueError(f"calendar.{part}: {period.first} to {period.last} ends before it begins")
        for (one, part), (other, other_part) in pairwise(every):
            if other.first <= one.last:
                raise ValueError(
                    f"calendar: {other.first} belongs to {part} and to {other_part}; parts must not overlap"
                )
        return self


@dataclass(frozen=True)
class EpisodeKey:
    """What an episode of a set is made from."""

    scenario: str
    shift: str  # name of a shift, PLAIN for none
    seed: int
    start_utc: str  # ISO 8601 to the minute


# Reading ----------------------------------------------------------------------------------------------------


def benchmark_folder() -> Path:
    """Return the folder of the benchmarks."""
    return shipped_folder("benchmarks")


def benchmark_names(folder: Path | None = None) -> tuple[str, ...]:
    """Return the scenarios that have a benchmark; raises BenchmarkError where there is no such folder."""
    if folder is not None and not folder.is_dir():
        raise BenchmarkError(f"{folder.absolute()}: no such folder of benchmarks")
    files = (folder or benchmark_folder()).glob("*.yaml")
    return tuple(sorted(path.stem for path in files if not path.stem.startswith("prices_")))


def read_benchmark(scenario: str, folder: Path | None = None) -> Benchmark:
    """Return the benchmark of a scenario; raises NoBenchmarkError without a file, BenchmarkError for an invalid one."""
    path = (folder or benchmark_folder()) / f"{scenario}.yaml"
    try:
        benchmark = Benchmark.model_validate(_yaml(path))
    except FileNotFoundError:
        known = ", ".join(benchmark_names(folder)) or "none"
        raise NoBenchmarkError(
            f"scenario {scenario!r} has no benchmark; there is one of: {known}; scripts.compare judges policies on "
            "episodes of any scenario"
        ) from None
    except ValidationError as error:
        lines = [f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors()]
        raise BenchmarkError("\n  ".join([f"{path}: {len(lines)} problem(s)", *lines])) from error

    if benchmark.scenario != scenario:
        raise BenchmarkError(
            f"{path}: is of scenario {benchmark.scenario!r}; name it {benchmark.scenario}.yaml"
        )
    if benchmark.file is None:
        return benchmark
    own = benchmark.model_copy(update={"file": str(path.parent / benchmark.file)})
    if own.world.name != scenario:
        raise BenchmarkError(f"{own.file}: is of the name {own.world.name!r}, its benchmark of {scenario!r}")
    return own


def _yaml(path: Path) -> Any:
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise BenchmarkError(f"{path}: not valid YAML: {error}") from error


# Days -------------------------------------------------------------------------------------------------------


def start_times(scenario: Scenario, periods: Sequence[Period]) -> np.ndarray:
    """Return the starts, datetime64[m], whose episodes lie in the periods with a day before and after."""
    starts = synthetic_starts(scenario)
    end = starts + np.timedelta64(round(scenario.horizon_h * 60), "m") + MARGIN
    inside = np.zeros(len(starts), dtype=np.bool_)
    for period in periods:
        first = np.datetime64(period.first, "m")
        after = np.datetime64(period.last + timedelta(days=1), "m")
        inside |= (starts - MARGIN >= first) & (end <= after)
    return starts[inside]


def restricted(scenario: Scenario, part: Part = "train", folder: Path | None = None) -> Scenario:
    """Return the scenario whose seeds draw their starts from a part's days alone; what training uses.

    Raises NoBenchmarkError where the scenario has no benchmark, BenchmarkError where no episode fits into the part.
    """
    benchmark = read_benchmark(scenario.name, folder)
    starts = start_times(scenario, benchmark.calendar.get(part, []))
    if not starts.size:
        raise BenchmarkError(
            f"scenario {scenario.name!r}: no episode of {scenario.horizon_h:g} h fits into the {part} days; "
            "shorten horizon_h or train on all days"
        )
    days = starts.astype("datetime64[D]")
    runs = np.split(days, np.flatnonzero(np.diff(days) > MARGIN) + 1)
    periods = [Period(first=run[0].item(), last=run[-1].item()) for run in runs]
    return scenario.model_copy(update={"start": scenario.start.model_copy(update={"periods": periods})})


def training_days(
    scenario: Scenario, part: Part = "train", folder: Path | None = None
) -> tuple[Scenario, str]:
    """Return the scenario on the days of a part, all of them where it has no benchmark, and a note that says which."""
    try:
        scenario = restricted(scenario, part, folder)
    except NoBenchmarkError:
        return scenario, f"all that the scenario has: {scenario.name!r} has no benchmark that sets some aside"
    periods = ", ".join(f"{period.first} to {period.last}" for period in scenario.start.periods or [])
    name = "training" if part == "train" else part
    return scenario, f"the benchmark's {name} days, episodes start on {periods}"


# Episodes ---------------------------------------------------------------------------------------------------


def episode_keys(benchmark: Benchmark, name: SetName) -> list[EpisodeKey]:
    """Return the episodes of a set: starts spread evenly over the part's days, shifts in turn."""
    spec = benchmark.sets[name]
    starts = start_times(benchmark.world, benchmark.calendar[spec.part])
    if not starts.size:
        raise BenchmarkError(f"{benchmark.scenario}: no episode fits into the days of {spec.part!r}")

    shifts = spec.shifts or [PLAIN]
    return [
        EpisodeKey(
            benchmark.scenario,
            shifts[i % len(shifts)],
            FIRST_SEED[name] + i,
            str(starts[(2 * i + 1) * len(starts) // (2 * spec.episodes)]),
        )
        for i in range(spec.episodes)
    ]


def shifted(scenario: Scenario, shift: Shift, folder: Path | None = None) -> Scenario:
    """Return the scenario in a changed world; what an agent sees and does keeps its meaning and its scale.

    Prices: ``level`` multiplies the market price, ``spread`` its deviation from what month and hour let one expect.
    Raises BenchmarkError where the table of prices lacks a zone.
    """
    changes: dict[str, Any] = {"events": [*scenario.events, *shift.events]}
    if shift.prices is not None:
        table = _price_table(shift.prices, folder)
        if missing := sorted({site.zone for site in scenario.sites} - set(table)):
            raise BenchmarkError(f"{shift.prices}.yaml: has no zone {', '.join(missing)}")
        changes["sites"] = [
            site.model_copy(update={"grid": _repriced(site.grid, table[site.zone])})
            for site in scenario.sites
        ]
    return load_scenario(scenario.model_copy(update=changes))


def _repriced(grid: Any, ratio: PriceRatio) -> Any:
    return grid.model_copy(
        update={
            "price_scale": grid.price_scale * ratio.level,
            "price_spread_scale": grid.price_spread_scale * ratio.spread / ratio.level,
        }
    )


def _price_table(name: str, folder: Path | None) -> dict[str, PriceRatio]:
    path = (folder or benchmark_folder()) / f"{name}.yaml"
    if not path.is_file():
        raise BenchmarkError(f"{path}: no such table of prices")
    try:
        return {zone: PriceRatio.model_validate(values) for zone, values in _yaml(path).items()}
    except (ValidationError, AttributeError) as error:
        raise BenchmarkError(f"{path}: must hold level and spread (both above 0) by zone: {error}") from error


def make(benchmark: Benchmark, key: EpisodeKey, folder: Path | None = None) -> Instance:
    """Return the episode of a key, bit for bit the same each time."""
    scenario = benchmark.world
    if key.shift != PLAIN:
        if key.shift not in benchmark.shifts:
            raise BenchmarkError(f"{benchmark.scenario}: no shift {key.shift!r} in its benchmark")
        scenario = shifted(scenario, benchmark.shifts[key.shift], folder)
    return make_batch(compile_scenario(scenario), [key.seed], None, key.start_utc)[0]
