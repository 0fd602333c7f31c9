"""The columns of a window in several futures: the first step is decided before it is known which of them comes.

Every future has the columns and rows of a window (`baselines.program.window`); those of the first step, the state after
it included, are the same in all, and so are the starts of jobs in all steps: they are long commitments, and a start
chosen in each future with all of it known would make waiting look better than it is.  That is all that ties futures
together, but for the conditional value at risk (`Risk`), whose rows are

    excess_i >= loss_i - threshold,    CVaR = threshold + mean of the excesses / (1 - level)

(Rockafellar and Uryasev, Optimization of conditional value-at-risk, Journal of Risk 2, 2000).

Shapes: N futures, h steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from baselines.program.affine import Affine
from baselines.program.window import Columns, Expressions, RowBlock
from gridai_env.arrays.types import Bools, Float, Floats, Index


@dataclass(frozen=True)
class Risk:
    """How much of the objective is the mean loss (minus the benefit) of the worst futures, not that of all."""

    weight: float = 0.0  # of the CVaR in the objective, 0 to 1; the mean has the rest
    level: float = 0.75  # the worst share 1 - level of the futures counts; 1 - 1/N or more: the worst one

    def __post_init__(self) -> None:
        if not 0.0 <= self.weight <= 1.0:
            raise ValueError(f"weight = {self.weight}: must be 0 (mean alone) to 1 (CVaR alone)")
        if not 0.0 <= self.level < 1.0:
            raise ValueError(
                f"level = {self.level}: must be at least 0 and below 1; 1 less the share that counts"
            )


class Futures:
    """The columns of N futures; that of one alone is the window itself."""

    def __init__(self, columns: Columns, count: int, risk: Risk) -> None:
        """Repeat the ``columns`` of a window ``count`` times, but for what all futures share."""
        if count < 1:
            raise ValueError(f"count = {count}: must be at least 1 future")
        later = columns.step > 0
        later[columns.flows.started[columns.flows.started >= 0]] = False
        own = int(later.sum())
        each = [np.arange(columns.count) for _ in range(count)]
        for i in range(1, count):
            each[i][later] = columns.count + (i - 1) * own + np.arange(own)

        flows = columns.count + (count - 1) * own
        extra = 1 + count if risk.weight else 0
        self.risk, self.places = risk, each
        self.threshold, self.excess = flows, flows + 1 + np.arange(max(extra - 1, 0))
        step = [
            columns.step,
            np.tile(columns.step[later], count - 1),
            np.zeros(extra, dtype=columns.step.dtype),
        ]
        self.step: Index = np.concatenate(step)
        self.columns = [_moved(columns, place, self.step) for place in each]

    def __len__(self) -> int:
        return len(self.columns)

    @property
    def count(self) -> int:
        """Number of columns."""
        return len(self.step)

    @property
    def counts(self) -> Bools:
        """Whether each column counts jobs or says yes or no; all others are amounts, [columns]."""
        return np.logical_or.reduce([future.counts for future in self.columns])

    def next_step(self) -> Index:
        """Return for each column the same one a step later; of the first step, that in the first future, [columns]."""
        out = np.arange(self.count)
        for future in reversed(self.columns):
            later = future.next_step()
            moves = later != np.arange(self.count)
            out[moves] = later[moves]
        return out

    def joined(
        self, found: Sequence[Expressions], steps: int, ends: Sequence[Float[Floats, " columns"]] | None
    ) -> Expressions:
        """Return rows and mean cost of all futures; the risk counts ``steps`` steps and costs of their ``ends``."""
        rows = list(found[0].rows)
        for each in found[1:]:
            rows += [RowBlock(b.name, b.expression[1:], b.is_equality, first_step=1) for b in each.rows]
        cost = found[0].cost
        if len(found) > 1:
            cost = sum((each.cost for each in found[1:]), cost) / len(found)
        if self.risk.weight:
            rows.append(self._excess([each.cost for each in found], steps, ends))
        return Expressions(rows, cost)

    def objective(self, mean_costs: Float[Floats, " columns"]) -> Float[Floats, " columns"]:
        """Return the weight of each column in what is minimised: the mean cost, or the CVaR as far as it counts."""
        if not self.risk.weight:
            return mean_costs
        out = (1.0 - self.risk.weight) * mean_costs
        out[self.threshold] += self.risk.weight
        out[self.excess] += self.risk.weight / ((1.0 - self.risk.level) * len(self))
        return out

    def _excess(
        self, costs: Sequence[Affine], steps: int, ends: Sequence[Float[Floats, " columns"]] | None
    ) -> RowBlock:
        """Return the rows of what each future loses above the threshold, [1,N]."""
        losses = []
        for i, cost in enumerate(costs):
            counts = (
                np.arange(cost.shape[0]) < steps
            )  # steps behind the end of a short window have constants, too
            place = self.places[i]
            value = np.zeros(len(place)) if ends is None else ends[i][place]
            end = Affine(np.zeros(()), np.zeros(len(place), dtype=np.intp), place, value)
            losses.append((cost * counts).sum() + end)
        above = Affine.of_columns(self.excess) + Affine.of_columns(np.array([self.threshold]))
        return RowBlock("loss above the threshold", (above - Affine.stack(losses))[None], False)


def _moved(columns: Columns, place: Index, step: Index) -> Columns:
    """Return columns that stand at other places of a larger program."""
    to = np.append(place, -1)
    return replace(
        columns,
        flows=columns.flows.map(lambda index: to[index]),
        state=columns.state.map(lambda index: to[index]),
        charging=to[columns.charging],
        running=to[columns.running],
        count=len(step),
        step=step,
    )
