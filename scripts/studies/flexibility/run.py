"""A run of the grid: its cells, computed where missing, and the tables and the figure made from them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from baselines.optimum.variants import LEVERS
from gridai_env.analysis.loss_by_lever import coalitions
from gridai_env.episodes.instance import Instance
from gridai_env.files import atomic_write
from gridai_env.scenario.errors import ScenarioError, closest
from scripts.runs.arguments import InstancesBySeed
from scripts.runs.command import InputError, refuse_doubles
from scripts.runs.tables import Row, replace_rows, write_rows
from scripts.runs.tasks import Record
from scripts.studies.flexibility import table
from scripts.studies.flexibility.cells import KIND as POINT
from scripts.studies.flexibility.cells import CellTask, Player, compute
from scripts.studies.flexibility.contract import FIRM, Contract
from scripts.studies.flexibility.firm_figure import firm_figure
from scripts.studies.flexibility.options import ContractOptions
from scripts.studies.flexibility.table import Cell, CostTable
from scripts.studies.point_run import PointRun

NONE, ALL = "none", "all"


@dataclass(kw_only=True)
class FlexibilityRun(PointRun[CellTask]):
    """One run of `scripts.flexibility` on a scenario."""

    kind, point = "flexibility", POINT
    optimum = "the optimum with all levers is there anyway"

    contract: Contract
    levers: tuple[str, ...]  # that the scenario has
    lever_sets: tuple[frozenset[str], ...]
    firm_shares: tuple[float, ...]
    hours_a_year: tuple[float, ...]
    notices_h: tuple[float | None, ...]  # of policies
    shapley_share: float | None
    _made: dict[tuple[float, float | None], Sequence[Instance]] = field(default_factory=dict)

    @classmethod
    def grid_of(cls, options: ContractOptions, episodes: InstancesBySeed) -> dict[str, Any]:
        """Return what a run of these options has beside its folder; raises InputError where it makes no sense."""
        contract = Contract.of(episodes, options.seeds, options.site)
        own_h = contract.hours_a_year
        if not options.hours and own_h is None:
            raise InputError(
                f"--hours: line {contract.rule.spec.name!r} has no calls.hours_a_year; give the called hours of a year"
            )
        if options.notice and contract.notice_h is None:
            raise InputError(
                f"--notice: each call of {contract.site!r} has its own in column notice_h_{contract.site} of the trace "
                "file; leave --notice or the column out"
            )
        levers = contract.levers()
        for notice_h in options.notice:
            try:
                contract.at(FIRM, notice_h)  # before anything is computed
            except ScenarioError as error:
                raise InputError(f"--notice {notice_h:g}: {'; '.join(error.problems)}") from error
        if options.notice and not options.policies:
            raise InputError(
                "--notice: matters to policies alone, the optimum knows all calls; give --policies"
            )
        return {
            "contract": contract,
            "levers": levers,
            "lever_sets": find_lever_sets(options.levers, levers),
            "firm_shares": tuple(options.firm_shares),
            "hours_a_year": tuple(options.hours or filter(None, [own_h])),
            "notices_h": tuple(options.notice) or (None,),
            "shapley_share": options.shapley,
        }

    @property
    def what(self) -> str:
        """What is computed, in words."""
        return f"{len(self.firm_shares)} firm shares, {len(self.players)} columns; "

    # Cells ----------------------------------------------------------------------------------------------------------

    @cached_property
    def players(self) -> list[Player]:
        """Columns of the grid: the optimum with each set of levers, then policies."""
        played = [Player(policy=name, notice_h=h) for name in self.policies for h in self.notices_h]
        return [*map(Player, self.lever_sets), *played]

    @cached_property
    def coalitions(self) -> list[Player]:
        """Return the sets of levers that Shapley values rest on; none where they are not asked for."""
        return [] if self.shapley_share is None else [Player(some) for some in coalitions(self.levers)]

    @property
    def _all_shares(self) -> list[float]:
        own = [] if self.shapley_share is None else [self.shapley_share]
        return list(dict.fromkeys([FIRM, *self.firm_shares, *own]))

    def players_at(self, firm_share: float) -> list[Player]:
        """Return all who play at a firm level."""
        grid = self.players if firm_share in (FIRM, *self.firm_shares) else []
        return list(
            dict.fromkeys([*grid, *(self.coalitions if firm_share in (FIRM, self.shapley_share) else [])])
        )

    def stages(self) -> Iterator[list[list[CellTask]]]:
        """Yield the batches of the only stage: an episode at a firm level."""
        batches = []
        for share in self._all_shares:
            for notice_h in dict.fromkeys(player.notice_h for player in self.players_at(share)):
                players = [player for player in self.players_at(share) if player.notice_h == notice_h]
                batches += [
                    [self._task(instance, share, player) for player in players]
                    for instance in self._instances(share, notice_h)
                ]
        yield batches

    def planned(self) -> int:
        """Return the number of cells times called episodes."""
        return len(self.contract.called_seeds) * sum(
            len(self.players_at(share)) for share in self._all_shares
        )

    def compute(self) -> None:
        """Compute all cells that have no file yet; raises InputError for files of something else."""
        self.compute_by(compute)

    def _instances(self, firm_share: float, notice_h: float | None) -> Sequence[Instance]:
        if (firm_share, notice_h) not in self._made:
            self._made[firm_share, notice_h] = self.contract.at(firm_share, notice_h)
        return self._made[firm_share, notice_h]

    def _task(self, instance: Instance, firm_share: float, player: Player) -> CellTask:
        rule = self.contract.rule
        return CellTask(instance, firm_share, player, rule.site, rule.call, self.solver)

    # Output ---------------------------------------------------------------------------------------------------------

    def write(self) -> str:
        """Make tables and figure from the cells; return what to print."""
        results: dict[tuple[float, Player], list[Row]] = {}
        for task in self.tasks():
            results.setdefault((task.firm_share, task.player), []).append(self.store.result(task)["row"])

        def cell(share: float, player: Player) -> Cell:
            return Cell.of(self.contract, share, player, results[FIRM, player], results[share, player])

        shares = sorted(self.firm_shares, reverse=True)
        grid = CostTable(
            self.contract,
            [[cell(share, player) for player in self.players] for share in shares],
            self.hours_a_year,
            {frozenset(self.levers): ALL if self.levers else NONE},
        )
        rows = grid.rows()
        write_rows(rows, self.folder / "flexibility.csv")
        text = [grid.text()]

        values: list[Row] = []
        if self.shapley_share is not None:
            cells = {player.levers: cell(self.shapley_share, player) for player in self.coalitions}
            values, words = table.shapley_rows(self.contract, cells, self.levers, self.hours_a_year)
            text += [words]
        replace_rows(values, self.folder / "shapley.csv")
        with atomic_write(self.folder / "flexibility.png") as partial:
            partial.write_bytes(firm_figure(rows, values, self.hours_a_year[0], grid.title))
        self.record(finished=True)
        return "\n\n".join(text)

    def say_where(self, curves: str) -> None:
        """Print where the results are."""
        print(f"tables, cells, run.json: {self.folder}; {curves}: flexibility.png")

    def facts(self) -> Record:
        """Return the contract and its called hours, for run.json."""
        own = {"site": self.contract.site, "called_h": self.contract.called_h.tolist(), "levers": self.levers}
        return own | super().facts()


def find_lever_sets(names: Sequence[str], levers: Sequence[str]) -> tuple[frozenset[str], ...]:
    """Return the sets of levers by name, by default none, each of the scenario's ``levers`` alone, and all.

    Raises InputError for unknown levers, for those that the scenario lacks, and for doubles.
    """
    if not names:
        return tuple(
            dict.fromkeys([frozenset(), *(frozenset([lever]) for lever in levers), frozenset(levers)])
        )
    found = []
    for name in names:
        parts = {NONE: [], ALL: list(levers)}.get(name, name.split("+"))
        for part in parts:
            if part not in LEVERS:
                raise InputError(
                    f"--levers {name!r}: {closest(part, [NONE, ALL, *LEVERS])}; join several by +"
                )
            if part not in levers:
                raise InputError(
                    f"--levers {name!r}: the scenario has no lever {part!r}; it has: {', '.join(levers) or 'none'}"
                )
        found.append(frozenset(parts))
    refuse_doubles("--levers", ["+".join(sorted(one)) or NONE for one in found])
    return tuple(found)
