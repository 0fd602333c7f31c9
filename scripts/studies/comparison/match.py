"""One episode of a comparison, played by every policy: the work of a worker process and its result.

Every seed is played by policies made anew, so that nothing is remembered from one to the next: results do not
depend on which seeds a process has played before.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from gridai_env.analysis.compliance import compliance, uncalled
from gridai_env.analysis.responses import event_statements, mean_inflation_mw
from gridai_env.episodes.instance import Instance
from gridai_env.rollout.step_table import Table
from gridai_env.rollout.trajectory import Trajectory
from scripts.runs.arguments import InstancesBySeed
from scripts.runs.command import InputError
from scripts.runs.tasks import Task, key_of
from scripts.runs.tensorboard import is_installed
from scripts.studies.comparison.flexible_load import INFLATION
from scripts.studies.contest import NoPlan, Reference, play, refer, row_of
from scripts.studies.names import OPTIMUM
from scripts.studies.policies import PolicySpec, checkpoints, find_contenders
from scripts.studies.schedule_figure import schedule_figure
from scripts.studies.solver import SolverOptions


@dataclass(frozen=True)
class EpisodeJob:
    """What all seeds are played with; it travels to worker processes."""

    episodes: InstancesBySeed
    policies: tuple[str, ...]
    objective: str
    solver: SolverOptions
    checkpoints: dict[str, str]  # SHA-256 of each network's file, by the policy's name

    def works(self, shown: bool) -> int:
        """Return how many pieces of work `compute` reports for each seed."""
        return 1 + len(self.policies) + self.prices(shown) + self.has_calls

    @property
    def has_calls(self) -> bool:
        """Whether lines may be called, so that all play once more without calls."""
        return bool(self.episodes.compiled.lines.calls)

    def prices(self, shown: bool) -> bool:
        """Return whether shadow prices of the optimum are wanted."""
        return shown and OPTIMUM in self.policies

    def contenders(self) -> list[PolicySpec]:
        """Return the policies, new; raises InputError where a network's file is no longer the one at the start."""
        changed = [name for name, now in checkpoints(self.policies).items() if now != self.checkpoints[name]]
        if changed:
            raise InputError(f"{changed[0]}: the file changed during the comparison; compare a copy of it")
        return find_contenders(self.policies, self.episodes.compiled, vars(self.solver))


@dataclass(frozen=True)
class SeedTask(Task):
    """One episode, to be played by every policy."""

    match: EpisodeJob
    seed: int
    shown: bool  # with hourly curves, pictures and shadow prices

    @property
    def name(self) -> str:
        """Name of the file of its rows."""
        return f"seed{self.seed}"

    @cached_property
    def key(self) -> str:
        """What its rows are computed from."""
        match = self.match
        solver = match.solver.mip_gap, match.solver.time_limit_s
        files = sorted(match.checkpoints.items())
        return key_of(match.episodes.make(self.seed).hash, match.policies, files, match.objective, solver)


@dataclass(frozen=True)
class Played:
    """What a policy did on an episode."""

    contender: str
    row: dict[str, Any]  # of summary.csv
    table: Table  # a row per step
    picture: tuple[bytes, tuple[int, int]] | None  # PNG and its size; only of seeds that are shown
    statements: list[dict[str, Any]]  # of settlement.csv, a row per event and method


@dataclass(frozen=True)
class SeedResult:
    """All of one seed."""

    played: list[Played]
    notes: list[str]  # for the user
    shadow_prices: Table | None  # of the optimum's limits, a row per step; only of seeds that are shown


def compute(
    batch: Sequence[SeedTask], on_progress: Callable[[str], None] = lambda text: None
) -> Iterator[SeedResult]:
    """Solve the instance of each seed and play every policy on it; ``on_progress`` gets what is under way."""
    for task in batch:
        yield _play_seed(task.match, task.seed, task.shown, on_progress)


def _play_seed(match: EpisodeJob, seed: int, shown: bool, on_progress: Callable[[str], None]) -> SeedResult:
    on_progress(f"seed {seed}: optimum")
    reference = refer(match.episodes.make(seed), match.objective, **vars(match.solver))

    plain = uncalled(reference.instance)
    without: dict[str, Trajectory] = {}
    if match.has_calls:
        on_progress(f"seed {seed}: without calls")
    if plain is not reference.instance:
        without = _without_calls(match, plain, seed)

    # Policies are made anew: what they remember of one seed must not reach the next.
    played, notes = [], []
    for contender in match.contenders():
        on_progress(f"seed {seed}: {contender.name}")
        trajectory = play(contender, reference, seed)
        if trajectory is None:
            holds = "; its bound still holds" if contender.name == OPTIMUM else ""
            notes.append(f"seed {seed}: {contender.name} found no plan within the time limit{holds}")
            continue
        picture = _picture(contender, trajectory, reference) if shown and is_installed() else None
        other = trajectory if plain is reference.instance else without.get(contender.name)
        statements = list(event_statements(trajectory, other))
        row = row_of(contender, reference, trajectory) | compliance(trajectory, other)
        if reference.instance.compiled.lines.has_response:
            row[INFLATION] = mean_inflation_mw(statements)
        first = {"policy": contender.name, "seed": seed}
        settled = [first | statement.row() for statement in statements]
        played.append(Played(contender.name, row, trajectory.table, picture, settled))

    prices = None
    if match.prices(shown):
        on_progress(f"seed {seed}: shadow prices")
        prices = _shadow_prices(reference, match.solver, notes)
    return SeedResult(played, notes, prices)


def _without_calls(match: EpisodeJob, plain: Instance, seed: int) -> dict[str, Trajectory]:
    """Return what each policy does on the episode without calls; those that find no plan in time are left out."""
    reference = refer(plain, match.objective, **vars(match.solver))
    found = {contender.name: play(contender, reference, seed) for contender in match.contenders()}
    return {name: trajectory for name, trajectory in found.items() if trajectory is not None}


def _shadow_prices(reference: Reference, solver: SolverOptions, notes: list[str]) -> Table | None:
    """Return what one more unit of each limit is worth in the optimum; None for least carbon and without a plan."""
    from baselines.optimum.shadow_prices import shadow_prices

    plan = reference.plan
    if plan.flows is None or plan.objective == "carbon":
        return None
    best = reference.benefit_plan
    floor = None if plan.objective == "benefit" or isinstance(best, NoPlan) else best
    try:
        return shadow_prices(plan, floor, solver.threads, solver.time_limit_s).table()
    except TimeoutError as error:
        notes.append(f"seed {reference.instance.seed}: shadow {error}")
        return None


def _picture(
    contender: PolicySpec, trajectory: Trajectory, reference: Reference
) -> tuple[bytes, tuple[int, int]]:
    """Return the schedule beside the optimum."""
    columns = {contender.name: trajectory}
    if contender.name != OPTIMUM and reference.optimum is not None:
        columns[f"optimum ({reference.plan.objective})"] = reference.optimum
    return schedule_figure(columns)
