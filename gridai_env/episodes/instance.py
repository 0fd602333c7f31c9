"""Instances: episodes made concrete, frozen, hashed, saved.  Environment, optimiser and metrics share them.

An instance is a pure function of (scenario, traces, seed, start): alone or in a batch of any size, bit for
bit.

Shapes: B episodes, T steps, L steps of history (one day), K sites, C regions, J jobs, E events, S = 3K + C
series.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np

from gridai_env.episodes.build import Knowledge, batch_parts
from gridai_env.episodes.forecast import ForecastSet
from gridai_env.episodes.starts import Start, Starts
from gridai_env.files import InstanceError, digest, read_archive, write_archive
from gridai_env.scenario.compile import Compiled, compile_scenario
from gridai_env.scenario.errors import refuse_unknown
from gridai_env.scenario.load import OVERRIDES, load_scenario, parse_scenario
from gridai_env.scenario.spec import Scenario
from gridai_env.traces import TraceTable, read_table
from gridai_env.version import __version__
from gridai_env.world.state import (
    INSTANCE_FIELDS,
    OPTIONAL,
    REPORTED,
    Exogenous,
    Params,
    Shape,
    State,
    exogenous_shapes,
)

FORMAT = "gridai-env instance"
FORMAT_VERSION = 2
SHOWN = 4  # episodes of a batch that are printed
# Records of an instance whose arrays belong to the episode, as in its archive.
RECORDS: dict[str, Any] = {"exogenous": Exogenous, "initial": State, "knowledge": Knowledge}


@dataclass(frozen=True, eq=False)
class Instance:
    """One episode."""

    compiled: Compiled
    seed: int
    start_utc: np.datetime64  # minutes
    params: Params
    exogenous: Exogenous  # [T,...]
    initial: State
    forecast: ForecastSet  # values [T,H,S]
    knowledge: Knowledge
    provenance: dict[str, str]

    @property
    def title(self) -> str:
        """What is played, in one line."""
        return (
            f"{self.scenario_name}, seed {self.seed}, {self.steps} steps of {self.compiled.shape.dt_h:g} h from "
            f"{self.start_utc} UTC, traces {self.compiled.traces}"
        )

    def __repr__(self) -> str:
        exo = self.exogenous
        figures = (
            f"{exo.arrivals_gpuh.sum():,.0f} GPU-h arrive at {self.compiled.shape.sites} sites; mean price "
            f"{exo.buy_usd_per_mwh.mean():.1f} USD/MWh ({exo.buy_usd_per_mwh.min():.1f} to "
            f"{exo.buy_usd_per_mwh.max():.1f}), average carbon {exo.carbon_average_kg_per_mwh.mean():.0f} kg/MWh"
        )
        return f"{self.title}\n  {figures}\n  hash {self.hash}"

    @property
    def scenario(self) -> Scenario:
        """The scenario, overrides included."""
        return self.compiled.scenario

    @property
    def scenario_name(self) -> str:
        """Name of the scenario."""
        return self.compiled.name

    @property
    def steps(self) -> int:
        """Number of steps T."""
        return self.compiled.shape.steps

    @property
    def job_names(self) -> tuple[str, ...]:
        """Names of the jobs in the order of the instance."""
        return tuple(self.compiled.job_names[j] for j in self.knowledge.job_order)

    @cached_property
    def hash(self) -> str:
        """SHA-256 (hex) over the arrays and the constants of the scenario that act on them.

        Equal episodes have equal hashes on every machine of one kind; where a price, an efficiency or the
        scale of the reward differs, the hash does.
        """
        return digest(self.arrays() | self.constants())

    def constants(self) -> dict[str, np.ndarray]:
        """Return all constants of the scenario that a step depends on, by name."""
        left_out = (*INSTANCE_FIELDS, *REPORTED)
        named = {name: getattr(self.params, name) for name in Params.names() if name not in left_out}
        named = {name: value for name, value in named.items() if name not in OPTIONAL or np.size(value)}
        named["reward_scale_usd"] = self.compiled.reward_scale_usd
        return {f"constants/{name}": np.asarray(value) for name, value in named.items()}

    def arrays(self) -> dict[str, np.ndarray]:
        """Return all arrays that belong to the episode, by name."""
        named = {f"params/{name}": getattr(self.params, name) for name in INSTANCE_FIELDS}
        for group in RECORDS:
            record = getattr(self, group)
            fields = {name: getattr(record, name) for name in record.names()}
            # What a scenario lacks counts for nothing: its episodes are those of versions that did not know it.
            named |= {
                f"{group}/{name}": x for name, x in fields.items() if name not in OPTIONAL or np.size(x)
            }
        named["forecast/values"] = self.forecast.values
        return {name: np.asarray(array) for name, array in named.items()}

    def save(self, path: str | Path) -> Path:
        """Write the instance to one file (.npz, nothing pickled) and return its path."""
        path = Path(path)
        if path.suffix != ".npz":
            raise InstanceError(f"path = {str(path)!r}: the name of an instance file must end in .npz")

        header = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "package_version": __version__,
            "scenario": self.compiled.resolved_scenario(),
            "seed": self.seed,
            "start_utc": str(self.start_utc),
            "provenance": self.provenance,
            "constants": digest(self.constants()),
            "hash": self.hash,
        }
        write_archive(path, header, self.arrays())
        return path


@dataclass(frozen=True, eq=False)
class InstanceBatch:
    """B episodes of one scenario; every array has a leading B."""

    compiled: Compiled
    seeds: tuple[int, ...]
    start_utc: np.ndarray  # datetime64[m] [B]
    params: Params  # only INSTANCE_FIELDS have the leading B
    exogenous: Exogenous
    initial: State
    forecast: ForecastSet
    knowledge: Knowledge
    provenance: tuple[dict[str, str], ...]

    def __len__(self) -> int:
        return len(self.seeds)

    def __repr__(self) -> str:
        shown = [self[b].title for b in range(min(len(self), SHOWN))]
        more = [f"... and {len(self) - SHOWN} more"] if len(self) > SHOWN else []
        return "\n  ".join([f"{len(self)} episodes:", *shown, *more])

    def __getitem__(self, b: int) -> Instance:
        """Return episode ``b``; its arrays are views."""
        b = range(len(self))[b]
        return Instance(
            compiled=self.compiled,
            seed=self.seeds[b],
            start_utc=self.start_utc[b],
            params=self.params.replace(**{name: getattr(self.params, name)[b] for name in INSTANCE_FIELDS}),
            forecast=replace(self.forecast, values=self.forecast.values[b]),
            provenance=self.provenance[b],
            **{name: getattr(self, name).map(lambda x: x[b]) for name in RECORDS},
        )

    def __iter__(self) -> Iterator[Instance]:
        return (self[b] for b in range(len(self)))

    def some(self, rows: slice) -> InstanceBatch:
        """Return some of the episodes, as views."""
        own = {name: getattr(self.params, name)[rows] for name in INSTANCE_FIELDS}
        return InstanceBatch(
            compiled=self.compiled,
            seeds=self.seeds[rows],
            start_utc=self.start_utc[rows],
            params=self.params.replace(**own),
            forecast=replace(self.forecast, values=self.forecast.values[rows]),
            provenance=self.provenance[rows],
            **{name: getattr(self, name).map(itemgetter(rows)) for name in RECORDS},
        )

    @cached_property
    def instances(self) -> list[Instance]:
        """The episodes one by one, as views."""
        return list(self)


def make_instance(
    scenario: str | Path | Scenario,
    seed: int = 0,
    traces: str | Path | TraceTable | None = None,
    start: Start | None = None,
    **overrides: Any,
) -> Instance:
    """Return one episode of a scenario (name, YAML file or Scenario).

    ``traces``: "synthetic", a trace file or table; None: as the scenario says.  ``start`` (UTC) fixes the
    start, else the seed draws it.  ``overrides`` are those of `load_scenario`. Raises ScenarioError,
    TraceError or InstanceError, each saying what is wrong and what to do; TypeError for unknown keywords.
    """
    refuse_unknown("make_instance", overrides, ("seed", "start", *OVERRIDES))
    table = traces if isinstance(traces, TraceTable) else None
    if traces is not None:
        overrides["traces"] = str(traces if table is None else table.source)
    compiled = compile_scenario(load_scenario(scenario, **overrides))
    return make_batch(compiled, [seed], table, start)[0]


def make_batch(
    compiled: Compiled,
    seeds: Sequence[int],
    traces: TraceTable | None = None,
    start: Start | Sequence[Start] | Starts | None = None,
) -> InstanceBatch:
    """Return one episode for each seed; a seed gives the same episode in every batch.

    ``traces`` None: as the scenario says.  ``start`` (UTC) fixes the start of all, a list that of each; else each
    seed draws its own.
    """
    if traces is None and compiled.traces != "synthetic":
        traces = read_table(compiled.traces)
    return InstanceBatch(**batch_parts(compiled, seeds, traces, start))


def stack(instances: Sequence[Instance]) -> InstanceBatch:
    """Return instances of one scenario as a batch; raises InstanceError where the scenarios differ."""
    if not instances:
        raise InstanceError("instances: need at least one, got none")
    first = instances[0]
    for other in instances:
        if other.compiled.hash != first.compiled.hash:
            raise InstanceError(
                f"instances of different scenarios cannot be stacked: {first.scenario_name!r} "
                f"({first.compiled.hash[:12]}) and {other.scenario_name!r} ({other.compiled.hash[:12]})"
            )
        if not same_constants(first.params, other.params):
            raise InstanceError("instances whose constants were changed differently cannot be stacked")

    # The constants are shared; what differs between instances gets the leading B.
    fields = {name: np.stack([getattr(i.params, name) for i in instances]) for name in INSTANCE_FIELDS}
    values = np.stack([i.forecast.values for i in instances])
    return InstanceBatch(
        compiled=first.compiled,
        seeds=tuple(i.seed for i in instances),
        start_utc=np.array([i.start_utc for i in instances]),
        params=first.params.replace(**fields),
        forecast=replace(first.forecast, values=values),
        provenance=tuple(i.provenance for i in instances),
        **{name: kind.stacked([getattr(i, name) for i in instances]) for name, kind in RECORDS.items()},
    )


def same_constants(a: Params, b: Params) -> bool:
    """Return whether all constants that are not of the instance are equal."""
    names = (name for name in Params.names() if name not in INSTANCE_FIELDS)
    pairs = ((getattr(a, name), getattr(b, name)) for name in names)
    return all(x is y or np.array_equal(x, y) for x, y in pairs)


def load_instance(path: str | Path) -> Instance:
    """Return an instance from a file that `Instance.save` wrote.

    Raises FileNotFoundError, and InstanceError for a damaged file, another format version, or one whose
    scenario compiles to other constants in this version.
    """
    path = Path(path)
    header, arrays = read_archive(path)
    kind, number = header.get("format"), header.get("format_version")
    if (kind, number) != (FORMAT, FORMAT_VERSION):
        raise InstanceError(
            f"{path}: format {kind!r} version {number!r}, but this package reads {FORMAT!r} version "
            f"{FORMAT_VERSION}; make the instance again from scenario and seed"
        )

    compiled = compile_scenario(parse_scenario(header["scenario"], str(path)))
    groups = _grouped(path, arrays, optional_shapes(compiled.shape, len(compiled.lines.calls)))
    instance = Instance(
        compiled=compiled,
        seed=header["seed"],
        start_utc=np.datetime64(header["start_utc"], "m"),
        params=compiled.params.replace(**groups["params"]),
        forecast=ForecastSet(
            groups["forecast"]["values"],
            compiled.shape.sites,
            compiled.forecast.lead_steps,
            contracts=len(compiled.lines.matching),
        ),
        provenance=header["provenance"],
        **{name: kind(**groups[name]) for name, kind in RECORDS.items()},
    )

    _check_constants(path, header, instance)
    return instance


def _check_constants(path: Path, header: dict[str, Any], instance: Instance) -> None:
    """Raise InstanceError where the scenario, compiled anew, gives other constants than those saved."""
    if (found := digest(instance.constants())) != header["constants"]:
        raise InstanceError(
            f"{path}: made by gridai-env {header['package_version']} with constants "
            f"{header['constants'][:12]}, but gridai-env {__version__} derives {found[:12]} from the same "
            "scenario: the episode would be another; make it again from scenario and seed, or load it with "
            "the version that made it"
        )


def optional_shapes(s: Shape, calls: int) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the fields of an episode that are left out where they have no entries, by group and name."""
    exogenous = {f"exogenous/{name}": (s.steps, *shape) for name, shape in exogenous_shapes(s).items()}
    baselines = {f"initial/{name}": (s.sites, s.day_steps) for name in ("baseline_sum_mw", "day_before_mw")}
    of_calls = {f"knowledge/{name}": (s.steps, calls) for name in ("call_depth", "call_known_from")}
    shapes = exogenous | baselines | of_calls
    return {name: shape for name, shape in shapes.items() if name.partition("/")[2] in OPTIONAL}


def _grouped(
    path: Path, arrays: dict[str, np.ndarray], optional: dict[str, tuple[int, ...]]
) -> dict[str, dict[str, np.ndarray]]:
    """Return the arrays by group and field; raises InstanceError where the fields are not those of the
    format."""
    arrays = {name: np.zeros(shape) for name, shape in optional.items() if 0 in shape} | arrays
    wanted = {f"params/{name}" for name in INSTANCE_FIELDS} | {"forecast/values"}
    for group, record in RECORDS.items():
        wanted |= {f"{group}/{name}" for name in record.names()}
    if odd := wanted ^ arrays.keys():
        raise InstanceError(f"{path}: missing or unknown arrays: {', '.join(sorted(odd))}; save it again")
    groups: dict[str, dict[str, np.ndarray]] = {}
    for name, array in arrays.items():
        group, _, field = name.partition("/")
        groups.setdefault(group, {})[field] = array
    return groups
