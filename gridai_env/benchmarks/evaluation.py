"""Judge a policy on a frozen set, with the core install alone: figures beside those of the published planners."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, ValidationError

from gridai_env.analysis.statistics import Interval
from gridai_env.analysis.tables import aligned, known, spread_text
from gridai_env.benchmarks.play import check_result, played
from gridai_env.benchmarks.published import FrozenSet, figures_of, read_set
from gridai_env.benchmarks.sets import BenchmarkError, SetName, benchmark_names, restricted
from gridai_env.benchmarks.summary import PolicyResult, Summary, published_result, summarise
from gridai_env.episodes.instance import Instance, make_batch
from gridai_env.files import write_text
from gridai_env.rollout.policy import Policy, Predictor, as_policy
from gridai_env.scenario.compile import Compiled, compile_scenario
from gridai_env.scenario.load import load_scenario
from gridai_env.scenario.spec import Scenario
from gridai_env.scenario.values import StrictModel
from gridai_env.traces import read_table
from gridai_env.version import __version__, environment_version

HEADERS = ("policy", "gain captured [95 %]", "gap", "bill, USD", "emissions, kg", "dropped")


def _known(value: Any) -> Any:
    return None if isinstance(value, float) and math.isnan(value) else value


Known = Annotated[float | None, BeforeValidator(_known)]  # NaN becomes None


class Figures(StrictModel):
    """What one policy reaches on a set; null where nothing is proven."""

    policy: str
    gain_captured: Known = Field(
        description="sum over episodes of (benefit - Local-Only's) over that of (bound - Local-Only's); median over "
        "training runs"
    )
    interval: tuple[float, float] | None = Field(
        strict=False,
        description="95 % bootstrap interval of gain_captured: training runs whole, episodes inside months and shifts",
    )
    gap: Known = Field(
        description="sum over episodes of (bound - benefit) over that of Local-Only's bill, where that is positive"
    )
    bill_usd: float = Field(description="mean over runs and episodes, USD; below 0 where exports pay more")
    emissions_kg: float = Field(
        description="mean over runs and episodes, kg, at the intensity that is billed"
    )
    dropped_share: float = Field(
        description="work refused or dropped over work arrived, both over all episodes"
    )

    @classmethod
    def of(cls, summary: Summary, **more: Any) -> Self:
        """Return the figures of a summary; ``more``: the other fields of a subclass."""
        gain, same = summary.gain_captured, ("policy", "gap", "bill_usd", "emissions_kg", "dropped_share")
        more |= {name: getattr(summary, name) for name in same}
        ends = None if math.isnan(gain.low) else (gain.low, gain.high)
        return cls(gain_captured=gain.value, interval=ends, **more)

    def cells(self) -> tuple[str, ...]:
        """Return the figures as a line of a table."""
        gain, gap = (math.nan if value is None else value for value in (self.gain_captured, self.gap))
        ends = self.interval or (math.nan, math.nan)
        return (
            self.policy,
            spread_text(Interval(*(round(x, 3) + 0.0 for x in (gain, *ends))), "{:.1%}"),
            known(gap, "{:.2%}"),
            f"{self.bill_usd:,.0f}",
            f"{self.emissions_kg:,.0f}",
            f"{self.dropped_share:.3%}",
        )


class Evaluation(Figures):
    """A policy judged on a frozen set; ``print`` shows it beside the planners, `save` writes it as JSON."""

    format: Literal["gridai-env evaluation"] = "gridai-env evaluation"
    scenario: str
    set: str
    episodes: int = Field(ge=1)
    runs: int = Field(1, ge=1, description="training runs of the policy")
    traces: str | None = Field(None, description="file in place of the synthetic traces; without bounds then")
    seed: int = Field(0, ge=0, description="of policies that draw, and of the bootstrap")
    traces_sha256: str | None = Field(None, description="of the bytes of that file")
    set_hash: str = Field(description="SHA-256 of the episodes played and their bounds")
    environment_version: int
    package_version: str
    command: str | None = Field(None, description="what made the file")
    published: list[Figures] = Field([], description="of the planners and the optimum on the same episodes")

    def __repr__(self) -> str:
        return (
            f"Evaluation({self.policy!r} on {self.scenario}/{self.set}: gain captured {self.cells()[1]}, "
            f"{self.episodes} episodes)"
        )

    def __str__(self) -> str:
        head = (
            f"{self.scenario}/{self.set}, {self.episodes} episodes, set {self.set_hash[:12]}, environment version "
            f"{self.environment_version}"
        )
        lines = [self.cells(), *(figures.cells() for figures in self.published)]
        notes = [] if self.traces is None else [f"traces {self.traces}: {NO_BOUNDS}"]
        return "\n".join([head, aligned(HEADERS, lines), *notes])

    def save(self, path: str | Path) -> Path:
        """Write the evaluation as JSON; return the path."""
        write_text(Path(path), self.model_dump_json(indent=1) + "\n")
        return Path(path)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Return what `save` has written; raises BenchmarkError for anything else."""
        try:
            return cls.model_validate_json(Path(path).read_bytes())
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            place = ".".join(map(str, first["loc"])) or "the file"
            raise BenchmarkError(f"{path}: not a saved evaluation: {place}: {first['msg']}") from error


NO_BOUNDS = (
    "the published bounds are those of the set's own traces, so no gain is known; solve these episodes: "
    "python -m scripts.compare --traces FILE"
)


def evaluate(
    policy: Policy | Predictor,
    scenario: str | Path | Scenario,
    set: SetName = "test",
    *,
    traces: str | Path | None = None,
    seed: int = 0,
    benchmarks: str | Path | None = None,
) -> Evaluation:
    """Play a policy on the frozen set of a scenario, and judge it by the published bounds.

    ``policy``: an object with ``predict(observation, state, episode_start, deterministic) -> (action, memory)``, asked
    for one episode at a time with a Dict of 1-D float32 arrays (see `gridai_env.rollout.policy.AdaptedPolicy` for flat
    observations and active entries).  In a shifted set it sees the parts that the scenario shows without the shift.

    ``traces``: a file in place of the synthetic traces.  The set's seeds then draw starts from the file, on days of
    the set where it has any; no bound is known, so that gain, interval and gap are None.
    ``seed``: of a policy that draws, and of the bootstrap.
    ``benchmarks``: folder of own benchmarks and their sets, as `scripts.maintenance.freeze` makes them; else those of
    the package.

    Raises BenchmarkError where there is no such set, or where the episodes or the version are not those that were
    frozen, PolicyError for a policy that does not fit or answers wrongly, BoundError where it passes the bound.
    """
    frozen = _frozen(scenario, set, None if benchmarks is None else Path(benchmarks))
    world = frozen.benchmark.world
    if traces is not None:
        part = frozen.benchmark.sets[frozen.name].part
        world = load_scenario(restricted(world, part, frozen.folder), traces=str(traces))
    own = compile_scenario(world)
    actor = as_policy(policy)
    actor.prepare(own)

    instances = frozen.instances() if own.traces == "synthetic" else _on_traces(frozen, own)
    trajectories = played(actor, frozen, instances, seed, together=False)
    figures = [figures_of(trajectory) for trajectory in trajectories]
    seconds = sum(trajectory.seconds_per_decision for trajectory in trajectories) / len(trajectories)
    result = PolicyResult(actor.name, (actor.name,), [figures], 1000.0 * seconds, "played")
    if own.traces != "synthetic":
        return _without_bounds(result, frozen, instances, own.traces, seed)
    check_result(actor.name, frozen, figures)
    return judged(summarise(result, frozen, seed), frozen, seed=seed)


def judged(summary: Summary, frozen: FrozenSet, seed: int = 0, command: str | None = None) -> Evaluation:
    """Return the summary of a policy on a frozen set as an evaluation, beside what is published."""
    others = [
        Figures.of(summarise(published_result(name, frozen), frozen, seed)) for name in frozen.published
    ]
    others.sort(key=lambda figures: -(figures.gain_captured or 0.0))
    return Evaluation.of(
        summary, runs=summary.runs, published=others, command=command, **_facts(frozen), seed=seed
    )


def _facts(frozen: FrozenSet) -> dict[str, Any]:
    return {
        "scenario": frozen.scenario,
        "set": frozen.name,
        "episodes": len(frozen.entries),
        "set_hash": frozen.hash,
        "environment_version": environment_version(),
        "package_version": __version__,
    }


def _frozen(scenario: str | Path | Scenario, name: SetName, folder: Path | None) -> FrozenSet:
    """Return the frozen set of a scenario; raises BenchmarkError where it has none or is another of that name."""
    names = benchmark_names(folder)
    if isinstance(scenario, str) and scenario in names:
        return read_set(scenario, name, folder)
    found = load_scenario(scenario)
    if found.name in names and found == (frozen := read_set(found.name, name, folder)).benchmark.world:
        return frozen
    why = f"is none with frozen sets ({', '.join(names)})"
    if found.name in names:
        why = f"differs from the one of that name {'in the package' if folder is None else f'in {folder}'}"
    raise BenchmarkError(
        f"scenario {found.name!r} {why}, so no bound is known; make sets of it "
        "(python -m scripts.maintenance.freeze --benchmarks FOLDER) and give benchmarks=FOLDER, or solve episodes: "
        "python -m scripts.compare --scenario FILE --policies py:MODULE:FACTORY local_only milp"
    )


def _on_traces(frozen: FrozenSet, own: Compiled) -> Sequence[Instance]:
    if any(entry.key.shift for entry in frozen.entries):
        raise BenchmarkError(
            f"{frozen.scenario}/{frozen.name}: shifts change synthetic prices; give traces with set = 'test'"
        )
    seeds = [entry.key.seed for entry in frozen.entries]
    return make_batch(own, seeds, read_table(own.traces)).instances


def _without_bounds(
    result: PolicyResult, frozen: FrozenSet, instances: Sequence[Instance], traces: str, seed: int
) -> Evaluation:
    """Return what a policy did on other episodes than the frozen ones."""
    shown = ("bill_usd", "emissions_kg", "dropped_gpuh", "arrived_gpuh")
    bill, kg, dropped, arrived = (float(result.array(name).mean()) for name in shown)
    return Evaluation(
        policy=result.name,
        gain_captured=None,
        interval=None,
        gap=None,
        bill_usd=bill,
        emissions_kg=kg,
        dropped_share=dropped / arrived,
        traces=traces,
        traces_sha256=read_table(traces).sha256,
        seed=seed,
        **_facts(frozen) | {"set_hash": frozen.hash_of([(one.hash, None) for one in instances])},
    )
