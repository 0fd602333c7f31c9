"""Where environments get their episodes from: a scenario with overrides and traces, or one fixed instance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium.utils import seeding

from gridai_env.arrays.types import Index
from gridai_env.episodes.instance import Instance, InstanceBatch, load_instance, make_batch, stack
from gridai_env.episodes.starts import Start, Starts, given_starts
from gridai_env.observation.layout import ObservationLayout
from gridai_env.scenario.compile import Compiled, compile_scenario
from gridai_env.scenario.load import load_scenario
from gridai_env.scenario.spec import Scenario
from gridai_env.traces import TraceTable, read_table

ScenarioSource = str | Path | Scenario | Mapping[str, Any]
# Seeds that environments draw for their own episodes lie in [0, this).
DRAWN_SEEDS = 2**31


@dataclass(frozen=True)
class EpisodeSource:
    """Makes the instances of an environment's episodes."""

    compiled: Compiled
    fixed: Instance | None = None
    start: Start | Sequence[Start] | None = None  # of all episodes, or of those of each environment

    @cached_property
    def table(self) -> TraceTable | None:
        """The trace file, read when the first episode needs it; None: synthetic."""
        traces = self.compiled.traces
        return None if traces == "synthetic" else read_table(traces)

    def starts(self, rows: Index, given: Start | Sequence[Start] | None = None) -> Starts | None:
        """Return the starts of the next episodes of the environments ``rows``; None: each seed draws its own.

        Raises ValueError for a start that is impossible, and where an instance has its own.
        """
        start = given
        if start is None and self.start is not None:
            start = (
                self.start if isinstance(self.start, Start) else [self.start[row] for row in rows.tolist()]
            )
        if start is not None and self.fixed is not None:
            raise ValueError(
                f"start = {start!r}: instance= is one frozen episode with a start of its own; leave one of both out"
            )
        return None if start is None else given_starts(start, len(rows), self.compiled.shape.dt_h)

    def batch(self, seeds: Sequence[int], starts: Starts | None = None) -> InstanceBatch:
        """Return one episode for each seed; a fixed instance is the same for all."""
        if self.fixed is not None:
            return stack([self.fixed] * len(seeds))
        return make_batch(self.compiled, seeds, self.table, starts)

    def of_instances(self, instances: Sequence[str | Path | Instance]) -> InstanceBatch:
        """Return given instances (or their files) as a batch.

        Raises ValueError where they do not fit the spaces, FileNotFoundError for a file that is not there.
        """
        opened = [open_instance(instance) for instance in instances]
        for instance in opened:
            check_fits(instance, self.compiled)
        return stack(opened)


class EpisodeSeeds:
    """Seeds of the next episodes: each environment (or group) draws them from a generator of its own."""

    def __init__(self, num_envs: int) -> None:
        """Make the generators when they are first needed."""
        self._generators: list[np.random.Generator | None] = [None] * num_envs

    def seed(self, rows: Index, seeds: Sequence[int | None]) -> None:
        """Start the generators of the environments ``rows`` anew; None lets one go on."""
        for row in rows.tolist():
            if seeds[row] is not None or self._generators[row] is None:
                self._generators[row] = seeding.np_random(seeds[row])[0]

    def draw(self, rows: Index, seeds: Sequence[int | None] | None = None) -> list[int]:
        """Return the seeds of the next episodes of ``rows``: the given one, else one from the generator."""
        return [self._next(row, seeds[row] if seeds else None) for row in rows.tolist()]

    def _next(self, row: int, given: int | None) -> int:
        if given is not None:
            return given
        generator = self._generators[row] or seeding.np_random()[0]
        self._generators[row] = generator
        return int(generator.integers(DRAWN_SEEDS))


def open_source(
    scenario: ScenarioSource | None, instance: str | Path | Instance | None = None, **overrides: Any
) -> EpisodeSource:
    """Return the source for the arguments of an environment; overrides that are None do not count.

    Raises ValueError (ScenarioError, TraceError, InstanceError) that names what is wrong.
    """
    given = {key: value for key, value in overrides.items() if value is not None}
    if "traces" in given:
        given["traces"] = str(given["traces"])

    if instance is not None:
        return _fixed_source(scenario, instance, given)
    if scenario is None:
        raise ValueError(
            "scenario: missing; give the path of a scenario file, e.g. scenario='my.yaml', or instance="
        )

    return EpisodeSource(compile_scenario(load_scenario(scenario, **given)))


def _fixed_source(
    scenario: ScenarioSource | None, instance: str | Path | Instance, given: dict[str, Any]
) -> EpisodeSource:
    """Return the source of an environment whose episodes are all ``instance``."""
    if given:
        raise ValueError(
            f"{', '.join(given)}: cannot be changed together with instance=, which is one frozen episode; "
            "leave it out, or make another instance"
        )

    fixed = open_instance(instance)
    # Registered ids pass their scenario; gridai/Custom-v2 passes none.
    if scenario is not None:
        wanted = open_source(scenario).compiled.name
        if wanted != fixed.scenario_name:
            raise ValueError(
                f"instance: belongs to scenario {fixed.scenario_name!r}, but this environment is {wanted!r}; "
                "use the id of its scenario, or gridai/Custom-v2"
            )
    return EpisodeSource(fixed.compiled, fixed)


def open_instance(instance: Any) -> Instance:
    """Return an instance that is given as such or as its file; raises ValueError for anything else."""
    if isinstance(instance, str | Path):
        return load_instance(instance)
    if not isinstance(instance, Instance):
        raise ValueError(
            f"instance = {instance!r}: must be an Instance or the path of its file (see make_instance and "
            "Instance.save); leave it out for an episode of the environment's own"
        )
    return instance


def check_fits(instance: Instance, compiled: Compiled) -> None:
    """Raise ValueError where an instance does not have the spaces of a scenario, or shows them on other
    scales.

    Another price or efficiency is allowed: what is seen means the same.  Another size is not: half a battery
    would look like a full one to an agent that knows the environment.
    """
    if instance.compiled.hash == compiled.hash:
        return

    if space_key(instance.compiled) != space_key(compiled):
        raise ValueError(
            f"instance: belongs to scenario {instance.scenario_name!r} {instance.compiled.shape}, which has "
            f"other sites, regions, rows, jobs, steps or leads than this environment's "
            f"{compiled.name!r} {compiled.shape}; make the environment with instance=..."
        )

    # The spaces agree; do their numbers mean the same quantities, too?
    mine, theirs = scales(compiled), scales(instance.compiled)
    if other := sorted(name for name in {**mine, **theirs} if mine.get(name) != theirs.get(name)):
        raise ValueError(
            f"instance: belongs to a scenario {instance.scenario_name!r} whose observations have other scales "
            f"than those of this environment's {compiled.name!r} ({', '.join(other)}): the same "
            "number would mean another quantity; make the environment with instance=..."
        )


def space_key(compiled: Compiled) -> tuple[Any, ...]:
    """Return what decides the spaces and the meaning of their indices."""
    return (
        compiled.shape,
        compiled.site_names,
        compiled.region_names,
        compiled.row_names,
        tuple(compiled.row_wait_steps.tolist()),
        compiled.forecast.leads_h,
        compiled.params.has_carbon_budget,
    )


def scales(compiled: Compiled) -> dict[str, tuple[Any, ...]]:
    """Return what turns each part of the observation into units: scale, offset and the names of the axes."""
    parts = ObservationLayout(compiled).by_name
    return {name: (part.scale.tobytes(), part.offset, part.axes) for name, part in parts.items()}
