"""Options that several commands share, and the instances that they choose."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from copy import copy
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from gridai_env.episodes.instance import Instance, InstanceBatch, make_batch
from gridai_env.scenario.compile import Compiled, compile_scenario
from gridai_env.scenario.load import OVERRIDES, load_scenario, located, scenario_names
from gridai_env.scenario.paths import SourcePath, absolute_demand
from gridai_env.scenario.spec import Scenario
from gridai_env.traces import TraceTable, read_table
from scripts.runs.command import CommandOptions, InputError, Shown, refuse_doubles
from scripts.runs.parallel import check_ray, cores


def parse_seeds(words: Iterable[str | int]) -> list[int]:
    """Return the seeds in ``0 1 2``, ``0-19`` or a mixture; raises InputError for others and for doubles."""
    seeds: list[int] = []
    for word in words:
        match = re.fullmatch(r"(\d+)(?:-(\d+))?", str(word))
        if match is None:
            raise InputError(
                f"--seeds {word!r}: must be whole numbers >= 0 or ranges such as 0-19, space-separated"
            )
        first, last = int(match[1]), int(match[2] or match[1])
        if last < first:
            raise InputError(f"--seeds {word!r}: the range ends before it begins; write {last}-{first}")
        seeds += range(first, last + 1)

    refuse_doubles("--seeds", seeds)
    return seeds


# Single options -----------------------------------------------------------------------------------------------

SCENARIO_HELP = f"a YAML file or one of {', '.join(scenario_names())}"

# Paths of a command line count from the working folder; run.json keeps them absolute.
ScenarioFile = Annotated[str, AfterValidator(located)]
DemandFile = Annotated[str, AfterValidator(absolute_demand)]
Seeds = Annotated[
    list[int],
    BeforeValidator(parse_seeds),
    Field(description="whole numbers or ranges such as 0-3"),
    Shown(metavar="SEED"),
]
Count = Annotated[int, Field(ge=1)]
Objective = Annotated[Literal["benefit", "cost", "carbon"], Field(description="of the optimum")]
MipGap = Annotated[
    float, Field(ge=0, lt=1, description="relative gap at which the solver may stop"), Shown(unit="relative")
]
TimeLimit = Annotated[
    float,
    Field(ge=0.1, allow_inf_nan=False, description="of one solve; the bound holds also when it runs out"),
    Shown(unit="s"),
]

Policies = Annotated[list[str], Shown(names=("--policies", "--policy"), metavar="NAME")]


# Groups of options --------------------------------------------------------------------------------------------


class EpisodeOptions(CommandOptions):
    """What changes a scenario."""

    group: ClassVar = "episodes"

    traces: SourcePath | None = Field(
        None, description="a trace file (CSV or Parquet) or 'synthetic'; default: the scenario's own"
    )
    demand: Annotated[DemandFile | None, Shown(metavar="FILE[,KEY=VALUE...]")] = Field(
        None,
        description="a file of requests or rates whose shape demand follows, with keys of the scenario's demand "
        "table (model=m-large,repeat=true), or 'synthetic'; default: the scenario's own",
    )
    start: str | None = Field(
        None, description="start of the episodes, UTC, e.g. 2023-07-01T00:00; default: the seed draws it"
    )
    horizon_h: float | None = Field(None, description="length of an episode in hours")
    forecast: str | None = Field(None, description="perfect, persistence, day_ahead or published")
    latency_scale: float | None = Field(None, description="factor on all latency budgets")
    carbon_price_usd_per_t: float | None = Field(None, description="price of emissions")


class ScenarioOptions(EpisodeOptions):
    """A scenario, and what changes it."""

    scenario: ScenarioFile = Field(description=SCENARIO_HELP)


class ParallelOptions(CommandOptions):
    """Work side by side."""

    group: ClassVar = "parallel work"

    jobs: Count | None = Field(
        None, description="worker processes side by side; default: the cores of this machine"
    )
    threads: Count | None = Field(None, description="of each solver; default: cores // jobs, at least 1")
    ray: Annotated[str | None, Shown(metavar="ADDRESS")] = Field(
        None, description="workers on a Ray cluster: its address, or 'local' to start one here"
    )

    def workers(self, tasks: int | None = None) -> tuple[int, int]:
        """Return the number of workers, at most that of tasks, and the solver threads of each.

        Raises InputError where no cluster answers, and for one whose number of workers is not given.
        """
        check_ray(self.ray)
        if self.jobs is None and self.ray not in (None, "local"):
            raise InputError(f"--ray {self.ray!r}: give --jobs too, how many workers of the cluster to use")

        jobs = self.jobs or cores()
        if tasks is not None:
            jobs = max(1, min(jobs, tasks))
        # Workers share the cores of this machine, they do not fight for them.
        return jobs, self.threads or max(1, cores() // jobs)


class ResumableOptions(CommandOptions):
    """The folder of a job that goes on where it stopped."""

    group: ClassVar = "results"

    run_dir: str | None = Field(
        None, description="output folder, also to go on with; default: runs/<command>-<scenario>-<time>"
    )
    overwrite: bool = Field(False, description="compute everything again")


class PointOptions(ScenarioOptions, ResumableOptions, ParallelOptions):
    """What is solved and played at the points of a sweep."""

    seeds: Seeds
    policies: Policies
    mip_gap: MipGap
    time_limit_s: TimeLimit


# Instances ----------------------------------------------------------------------------------------------------


class InstancesBySeed:
    """Instances of the chosen scenario, by seed; a trace file is read once."""

    def __init__(self, options: ScenarioOptions) -> None:
        """Load the scenario; raises ScenarioError or TraceError."""
        overrides: dict[str, Any] = {name: getattr(options, name) for name in OVERRIDES}
        self.compiled: Compiled = compile_scenario(load_scenario(options.scenario, **overrides))
        self._start: str | None = options.start

        traces = self.compiled.traces
        self._table: TraceTable | None = None if traces == "synthetic" else read_table(traces)

    def make(self, seed: int) -> Instance:
        """Return the instance of a seed."""
        return self.batch([seed])[0]

    def with_carbon_budget(self, budget_kg: float | None) -> InstancesBySeed:
        """Return the same episodes under another carbon budget (of the whole episode, kg); None: without one."""
        return self.of_scenario(self.compiled.scenario.model_copy(update={"carbon_budget_kg": budget_kg}))

    def of_scenario(self, scenario: Scenario) -> InstancesBySeed:
        """Return the same episodes of a changed scenario, which keeps its traces."""
        out = copy(self)
        out.compiled = compile_scenario(scenario)
        return out

    def batch(self, seeds: Sequence[int]) -> InstanceBatch:
        """Return the instances of some seeds."""
        return make_batch(self.compiled, seeds, self._table, self._start)


def sources(instance: Instance) -> list[str]:
    """Return lines that say where prices, carbon and weather of an instance came from."""
    zones = ", ".join(f"{site.name} = {site.zone}" for site in instance.scenario.sites)
    lines = [f"zones: {zones}", f"traces: {instance.scenario.traces}"]
    return lines + [f"  {name}: {text}" for name, text in instance.provenance.items()]


def parse_rates(texts: Sequence[str]) -> dict[str, float]:
    """Return {currency: rate} of ``EUR=1.08``; raises InputError for text of another form."""
    pairs = [(text.partition("=")[0].strip().upper(), text.partition("=")[2]) for text in texts]
    refuse_doubles("--rate", [currency for currency, _ in pairs])
    try:
        return {currency: float(value) for currency, value in pairs}
    except ValueError:
        raise InputError(f"--rate {' '.join(texts)}: must be CUR=USD for one unit, e.g. EUR=1.08") from None
