"""What a connection costs that is firm in part only, and what takes that cost away.

Every episode is played twice, with a firm connection and under the contract; the difference in benefit is its loss.
A contract is called for few hours, and more or fewer of them in the episodes at hand than in a year, so losses are
scaled by called hours:

    cost_usd_per_mw_year = sum of losses / called hours of the episodes * called hours a year / non-firm MW

The *break-even discount* is the same sum per MW of the whole connection: what the connection must be cheaper by, or
worth more because it comes earlier.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from gridai_env.analysis.loss_by_lever import Coalition, shapley
from gridai_env.analysis.statistics import Interval, paired_interval
from gridai_env.arrays.types import Float, Floats


@dataclass(frozen=True)
class Yearly:
    """How losses of episodes become USD per MW and year."""

    called_h: Float[Floats, " m"]  # in each episode
    hours_a_year: float  # called
    mw: float  # that the cost is spread over

    def usd_per_mw(self, losses_usd: Float[Floats, " m"]) -> Interval:
        """Return losses as USD per MW and year, with a bootstrap interval over episodes; NaN where ``mw`` is 0."""
        if self.mw == 0.0:
            return Interval(np.nan, np.nan, np.nan)
        factor = self.hours_a_year / self.mw

        def scaled(losses: Floats, hours: Floats) -> Floats:
            total_h = hours.sum(-1)
            return factor * losses.sum(-1) / np.where(total_h > 0.0, total_h, np.nan)

        return paired_interval(scaled, losses_usd, self.called_h)


def lever_values(
    losses_usd: Mapping[Coalition, Float[Floats, " m"]], levers: Sequence[str]
) -> dict[str, Float[Floats, " m"]]:
    """Return each lever's Shapley value in each episode, USD, positive where it takes loss away.

    ``losses_usd`` of every set of levers.  The values sum to the loss without any lever less that with all of them.
    """
    without = losses_usd[frozenset()]
    return shapley({levers_in: without - losses for levers_in, losses in losses_usd.items()}, levers)
