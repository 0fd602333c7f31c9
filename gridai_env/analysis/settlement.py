"""Settlement of demand response: energy, shortfall, performance, and the rebound after a call.

In an event a site promises to import ``commitment`` MW less than its baseline.  What it does not deliver is its
excess over the line ``baseline - commitment``, and is charged; the rest is paid.  In the ledger of an episode the
energy payment turns negative where import exceeds the baseline; a settlement statement has a floor at 0.

Shapes: E steps of an event, T steps of an episode.  MW are net import (import - export).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from gridai_env.analysis.customer_baselines import BaselineMethod
from gridai_env.arrays.runs import runs_of_true
from gridai_env.arrays.types import Bool, Bools, Float, Floats


@dataclass(frozen=True)
class Prices:
    """What an event pays and costs, in each step [E] or in all alike."""

    energy_usd_per_mwh: float | Float[Floats, " E"]
    shortfall_usd_per_mwh: float | Float[Floats, " E"] = 0.0


@dataclass(frozen=True)
class EventSettlement:
    """Energy and money of one event; means are over its steps."""

    duration_h: float
    commitment_mw: float
    baseline_mw: float
    import_mw: float
    committed_mwh: float
    delivered_mwh: float  # at most what was committed
    line_excess_mwh: float  # above the line, also what exceeds the baseline
    energy_usd: float
    shortfall_usd: float  # a charge: 0 or negative

    @property
    def delivered_share(self) -> float:
        """Performance: delivered over committed energy; NaN without commitment."""
        return self.delivered_mwh / self.committed_mwh if self.committed_mwh > 0.0 else float("nan")


def settle_event(
    import_mw: Float[Floats, " E"],
    baseline_mw: Float[Floats, " E"],
    commitment_mw: float,
    prices: Prices,
    dt_h: float,
    floor: bool = True,
) -> EventSettlement:
    """Return what an event comes to; ``floor``: delivered energy is at least 0 in each step (a statement).

    Without it (the ledger of an episode) import above the baseline is paid for.  Raises ValueError for a commitment
    below 0.
    """
    if not commitment_mw >= 0.0:
        raise ValueError(f"commitment_mw = {commitment_mw!r}: must be at least 0 [MW]")
    excess_mw = np.maximum(0.0, import_mw - (baseline_mw - commitment_mw))
    delivered_mw = commitment_mw - excess_mw
    if floor:
        delivered_mw = np.maximum(0.0, delivered_mw)

    return EventSettlement(
        duration_h=len(import_mw) * dt_h,
        commitment_mw=commitment_mw,
        baseline_mw=float(baseline_mw.mean()),
        import_mw=float(import_mw.mean()),
        committed_mwh=commitment_mw * len(import_mw) * dt_h,
        delivered_mwh=float(delivered_mw.sum() * dt_h),
        line_excess_mwh=float(excess_mw.sum() * dt_h),
        energy_usd=float((prices.energy_usd_per_mwh * delivered_mw).sum() * dt_h),
        shortfall_usd=-float((prices.shortfall_usd_per_mwh * excess_mw).sum() * dt_h),
    )


# After a call -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Rebound:
    """What comes back in the hours after a call: import above the reference."""

    energy_mwh: float
    peak_mw: float
    share: float  # of the energy that the call took away; NaN where it took none


def rebounds(
    import_mw: Float[Floats, " T"],
    reference_mw: Float[Floats, " T"],
    called: Bool[Bools, " T"],
    hours: float,
    dt_h: float,
) -> Iterator[Rebound]:
    """Yield the rebound after each call, in order: in the next ``hours``, up to the next call or the episode's end.

    ``reference_mw``: the same policy without calls, or the baseline.
    """
    above_mw = np.maximum(0.0, import_mw - reference_mw)
    below_mw = np.maximum(0.0, reference_mw - import_mw)
    found = runs_of_true(called)
    ends = [*found[1:, 0].tolist(), len(import_mw)]

    # Where nothing is called there is an end without a call.
    for (first, stop), end in zip(found.tolist(), ends, strict=False):
        after = above_mw[stop : min(end, stop + round(hours / dt_h))]
        energy, taken = float(after.sum() * dt_h), float(below_mw[first:stop].sum() * dt_h)
        yield Rebound(energy, float(after.max(initial=0.0)), energy / taken if taken > 0.0 else float("nan"))


# Statement ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class EventStatement:
    """One event of a line in the settlement statement."""

    site: str
    line: str
    event: int  # from 1
    start_utc: str
    baseline: BaselineMethod
    settlement: EventSettlement
    baseline_inflation_mw: float = float("nan")  # NaN where it is not known, as below
    rebound: Rebound = Rebound(float("nan"), float("nan"), float("nan"))

    def row(self) -> dict[str, Any]:
        """Return the row of ``settlement.csv``; ``baseline_optimised`` says whether the optimum counts with it."""
        settled = self.settlement
        return {
            "site": self.site,
            "line": self.line,
            "event": self.event,
            "start_utc": self.start_utc,
            "baseline_method": self.baseline.name,
            "baseline_optimised": "yes" if self.baseline.is_optimised else "no",
            **{field.name: getattr(settled, field.name) for field in fields(settled)},
            "delivered_share": settled.delivered_share,
            "baseline_inflation_mw": self.baseline_inflation_mw,
            "rebound_mwh": self.rebound.energy_mwh,
            "rebound_peak_mw": self.rebound.peak_mw,
            "rebound_share": self.rebound.share,
        }
