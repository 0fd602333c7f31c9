"""Cells of the grid as rows of tables and as text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from gridai_env.analysis.connection_cost import Yearly, lever_values
from gridai_env.analysis.loss_by_lever import Coalition
from gridai_env.analysis.statistics import Interval
from gridai_env.arrays.types import Float, Floats
from scripts.runs.tables import Row, aligned, interval_columns, known, spread_text
from scripts.studies.flexibility.cells import Player
from scripts.studies.flexibility.contract import Contract

USD = "{:z,.0f}"  # whole dollars, without a sign where they are 0
COST, DISCOUNT = "cost_usd_per_mw_year", "break_even_usd_per_mw_year"
NAN = float("nan")


@dataclass(frozen=True)
class Cell:
    """One player at one firm level, over all episodes."""

    firm_share: float
    player: Player
    losses_usd: Float[Floats, " m"]  # benefit with a firm connection less that with the contract
    gap_usd: float  # of which the solver's gaps leave open, at most
    shed_mwh: float
    gpu_short_h: float
    needed_mw: float
    sheds_when_firm: bool

    @classmethod
    def of(
        cls, contract: Contract, firm_share: float, player: Player, firm: Sequence[Row], here: Sequence[Row]
    ) -> Cell:
        """Compare the called episodes with a firm connection and ``here``; in the others nothing is lost."""
        losses = np.zeros(len(contract.seeds))
        places = [contract.seeds.index(row["seed"]) for row in here]
        losses[places] = [a["benefit_usd"] - b["benefit_usd"] for a, b in zip(firm, here, strict=True)]
        gaps = [abs(row["bound_usd"] - row["benefit_usd"]) for row in (*firm, *here) if player.policy is None]
        return cls(
            firm_share=firm_share,
            player=player,
            losses_usd=losses,
            gap_usd=float(np.sum(gaps)),
            shed_mwh=float(sum(row["shed_mwh"] for row in here)),
            gpu_short_h=float(sum(row["gpu_short_h"] for row in here)),
            needed_mw=float(max(row["needed_mw"] for row in here)),
            sheds_when_firm=any(row["shed_mwh"] + row["gpu_short_h"] > 0.0 for row in firm),
        )

    @property
    def is_feasible(self) -> bool:
        """Whether no load is shed and no job loses accelerators, in any episode."""
        return self.shed_mwh + self.gpu_short_h == 0.0

    @property
    def trouble(self) -> str:
        """What stands in the table instead of the cost."""
        return "sheds if firm" if self.sheds_when_firm else f"from {self.needed_mw:,.1f} MW"

    def cost(self, contract: Contract, hours_a_year: float) -> Interval:
        """Return the cost per MW that is not firm."""
        mw = contract.max_mw * (1.0 - self.firm_share)
        return Yearly(contract.called_h, hours_a_year, mw).usd_per_mw(self.losses_usd)

    def discount(self, contract: Contract, hours_a_year: float) -> Interval:
        """Return the cost per MW of the whole connection."""
        return Yearly(contract.called_h, hours_a_year, contract.max_mw).usd_per_mw(self.losses_usd)


@dataclass(frozen=True)
class CostTable:
    """The grid: a line of cells per firm level."""

    contract: Contract
    lines: Sequence[Sequence[Cell]]
    hours_a_year: Sequence[float]
    names: Mapping[Coalition, str]  # of sets of levers with a name of their own

    @property
    def title(self) -> str:
        """What is studied."""
        c = self.contract
        return f"{c.episodes.compiled.name}, {c.site}: {c.max_mw:g} MW, line {c.rule.spec.name!r}"

    def label(self, player: Player) -> str:
        """Name of a column."""
        name = self.names.get(player.levers, player.label) if player.policy is None else player.label
        return name if player.notice_h is None else f"{name}, notice {player.notice_h:g} h"

    def rows(self) -> list[Row]:
        """Return the rows of ``flexibility.csv``."""
        return [self._row(cell, hours) for hours in self.hours_a_year for line in self.lines for cell in line]

    def _row(self, cell: Cell, hours: float) -> Row:
        c, player, works = self.contract, cell.player, cell.is_feasible
        unknown = Interval(NAN, NAN, NAN)
        mw = (1.0 - cell.firm_share) * c.max_mw
        per_mw = hours / (c.called_h.sum() * mw) if mw else NAN
        return {
            "firm_share": cell.firm_share,
            "firm_mw": c.max_mw - mw,
            "non_firm_mw": mw,
            "kind": "optimum" if player.policy is None else "policy",
            "label": self.label(player),
            "notice_h": c.notice_h if player.notice_h is None else player.notice_h,
            "hours_a_year": hours,
            "episodes": len(c.seeds),
            "called_h": float(c.called_h.sum()),
            "loss_usd": float(cell.losses_usd.sum()) if works else NAN,
            **interval_columns(COST, cell.cost(c, hours) if works else unknown),
            **interval_columns(DISCOUNT, cell.discount(c, hours) if works else unknown),
            "gap_usd_per_mw_year": cell.gap_usd * per_mw,
            "shed_mwh": cell.shed_mwh,
            "gpu_short_h": cell.gpu_short_h,
            "feasible_from_mw": NAN if works or cell.sheds_when_firm else cell.needed_mw,
        }

    def text(self) -> str:
        """Return the tables, one for each number of called hours a year."""
        c = self.contract
        idle = len(c.seeds) - len(c.called_seeds)
        head = [f"{self.title}; called {c.called_h.sum():g} h in {len(c.seeds)} episode(s)"]
        if idle:
            head.append(
                f"{idle} episode(s) without a call are not played: the contract changes nothing in them"
            )
        tables = [self._table(hours) for hours in self.hours_a_year]
        gap = max((row["gap_usd_per_mw_year"] for row in self.rows() if row["non_firm_mw"]), default=0.0)
        feet = [f"the gaps of the solver move no cell by more than {gap:,.1f} USD"]
        if c.rule.site in c.episodes.compiled.lines.gated:
            feet.append(
                f"generators of {c.site} run only while called: in these hours also with the firm connection, so that "
                "the cost is that of the MW, not of the right to run them"
            )
        troubles = [cell for line in self.lines for cell in line if not cell.is_feasible]
        if troubles:
            feet.append(
                "from X MW: load would be shed; from this firm level on it is not, with or without levers "
                "(accelerators idle, jobs running, in the worst called hour)"
            )
        return "\n\n".join(["\n".join(head), *tables, "\n".join(feet)])

    def _table(self, hours: float) -> str:
        c, players = self.contract, [cell.player for cell in self.lines[0]]
        last = max((i for i, player in enumerate(players) if player.policy is None), default=len(players) - 1)
        name = self.label(players[last])

        def shown(cell: Cell, ends: bool) -> str:
            if not cell.is_feasible:
                return cell.trouble
            return spread_text(cell.cost(c, hours), USD, ends=ends)

        cells = [
            [
                f"{100.0 * line[0].firm_share:g} %",
                f"{line[0].firm_share * c.max_mw:,.1f}",
                *(shown(cell, ends=i == last) for i, cell in enumerate(line)),
                known(line[last].discount(c, hours).value if line[last].is_feasible else NAN, USD),
            ]
            for line in self.lines
        ]
        labels = [f"{self.label(player)}{' [95 %]' * (i == last)}" for i, player in enumerate(players)]
        head = f"cost in USD per non-firm MW and year with {hours:g} called hours"
        foot = f"(discount: break-even of {name}, USD per MW of the connection and year)"
        return "\n".join([head, aligned(["firm", "MW", *labels, "discount"], cells), foot])


def shapley_rows(
    contract: Contract, cells: Mapping[Coalition, Cell], levers: Sequence[str], hours_a_year: Sequence[float]
) -> tuple[list[Row], str]:
    """Return the rows of ``shapley.csv`` and the same as text; no rows where load is shed without some levers."""
    none, every = cells[frozenset()], cells[frozenset(levers)]
    head = f"Shapley values of the levers at {100.0 * none.firm_share:g} % firm"
    troubles = [cell for cell in cells.values() if not cell.is_feasible]
    if troubles:
        needed = max(cell.needed_mw for cell in troubles)
        return (
            [],
            f"{head}: not defined, since without some levers load is shed; they are from {needed:,.1f} MW on",
        )

    values = lever_values({some: cell.losses_usd for some, cell in cells.items()}, levers)
    mw = contract.max_mw * (1.0 - none.firm_share)
    rows: list[Row] = []
    lines = []
    for hours in hours_a_year:
        yearly = Yearly(contract.called_h, hours, mw)
        whole = none.cost(contract, hours).value - every.cost(contract, hours).value
        for lever in levers:
            value = yearly.usd_per_mw(values[lever])
            share = value.value / whole if whole else NAN
            rows.append(
                {
                    "firm_share": none.firm_share,
                    "hours_a_year": hours,
                    "lever": lever,
                    **interval_columns("usd_per_mw_year", value),
                    "share": share,
                }
            )
            lines.append([lever, f"{hours:g}", spread_text(value, USD), known(share, "{:.0%}")])
        lines.append(["together", f"{hours:g}", USD.format(whole), known(1.0 if whole else NAN, "{:.0%}")])
    header = ["lever", "hours a year", "cost taken away [95 %]", "of all"]
    return rows, "\n".join([f"{head}, USD per non-firm MW and year", aligned(header, lines)])
