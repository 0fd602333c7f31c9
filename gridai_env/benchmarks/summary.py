"""Figures of policies on a frozen set: gain captured, intervals, planners beaten, work dropped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gridai_env.analysis import statistics
from gridai_env.analysis.statistics import UNKNOWN, Interval, gap
from gridai_env.arrays.types import Floats
from gridai_env.benchmarks.published import LOCAL, OPTIMUM, FrozenSet

PERFECT, PERSISTENCE = "mpc:perfect", "mpc:persistence"


@dataclass(frozen=True)
class PolicyResult:
    """Results of one policy on every episode, by training run."""

    name: str
    runs: tuple[str, ...]
    figures: list[list[dict[str, Any]]]  # [n][m]
    decision_ms: float
    source: str  # "played" or "published"

    def array(self, name: str) -> Floats:
        """Return a figure as [n, m]."""
        return np.array([[float(own[name]) for own in run] for run in self.figures])


def published_result(name: str, frozen: FrozenSet) -> PolicyResult:
    """Return the published result of a policy in the frozen set."""
    own = [entry.results[name] for entry in frozen.entries]
    seconds = [result.get("seconds_per_decision", np.nan) for result in own]
    return PolicyResult(name, (name,), [own], 1000.0 * float(np.median(seconds)), "published")


@dataclass(frozen=True)
class Summary:
    """The figures of one policy on a set; shares are fractions."""

    policy: str
    runs: int
    episodes: int
    source: str
    benefit_usd: float  # mean over runs and episodes, as all means here
    bill_usd: float
    emissions_kg: float
    bill_saving: float  # of the Local-Only bill; NaN, like the gap, where that is not positive
    emissions_change: float  # against Local-Only
    gain_captured: Interval  # median over runs of the ratio of sums
    gain_by_run: list[float]
    gain_iqm: Interval  # interquartile mean over runs and episodes
    gap: float  # to the bound, of the Local-Only bill
    # Gain over that of mpc:own, the planner with the set's own kind of forecast: median over runs of the ratio of sums.
    of_mpc_own: float
    of_mpc_persistence: float
    beats_mpc_persistence: Interval  # probability on an episode
    beats_mpc_own: Interval
    dropped_gpuh: float
    dropped_share: float  # of arrivals
    dropped_over_optimum: float  # share of arrivals, less that of the optimum
    masked_gpuh: float
    decision_ms: float

    def line(self) -> str:
        """Return the last line of an evaluation."""
        gain = self.gain_captured
        dropped = round(self.dropped_over_optimum, 4) + 0.0  # no minus before a zero
        return (
            f"gain_captured={gain.value:.4f} ci=[{gain.low:.4f},{gain.high:.4f}] "
            f"of_mpc_own={self.of_mpc_own:.4f} dropped={dropped:.4f}"
        )


def strata_of(frozen: FrozenSet) -> list[str]:
    """Return month and shift of each episode; one stratum for all where an episode would be alone in its own."""
    strata = [f"{entry.key.shift}/{entry.key.start_utc[:7]}" for entry in frozen.entries]
    for labels in (strata, [entry.key.shift for entry in frozen.entries]):
        if min(labels.count(label) for label in labels) > 1:
            return labels
    return [""] * len(strata)


def summarise(result: PolicyResult, frozen: FrozenSet, seed: int = 0) -> Summary:
    """Return the figures of a policy; ``seed``: of the bootstrap of the gain captured."""
    local, bounds = frozen.column(LOCAL, "benefit_usd"), frozen.bound_usd
    local_bill, arrived = frozen.column(LOCAL, "bill_usd"), frozen.column(LOCAL, "arrived_gpuh").sum()
    local_kg, best_dropped = frozen.column(LOCAL, "emissions_kg"), frozen.column(OPTIMUM, "dropped_gpuh")
    benefit, dropped = result.array("benefit_usd"), result.array("dropped_gpuh")
    runs, strata = len(benefit), strata_of(frozen)

    return Summary(
        policy=result.name,
        runs=runs,
        episodes=len(local),
        source=result.source,
        benefit_usd=float(benefit.mean()),
        bill_usd=float(result.array("bill_usd").mean()),
        emissions_kg=float(result.array("emissions_kg").mean()),
        bill_saving=-_change(result.array("bill_usd"), local_bill),
        emissions_change=_change(result.array("emissions_kg"), local_kg),
        gain_captured=statistics.interval(
            statistics.median_captured, benefit, local, bounds, strata=strata, seed=seed
        ),
        gain_by_run=[float(x) for x in statistics.captured(benefit, local, bounds)],
        gain_iqm=_iqm(benefit, local, bounds, strata),
        gap=gap(benefit.mean(0), bounds, local_bill),
        of_mpc_own=_against(benefit, local, frozen, frozen.own_planner),
        of_mpc_persistence=_against(benefit, local, frozen, PERSISTENCE),
        beats_mpc_persistence=_beats(benefit, frozen, PERSISTENCE, strata),
        beats_mpc_own=_beats(benefit, frozen, frozen.own_planner, strata),
        dropped_gpuh=float(dropped.mean()),
        dropped_share=float(dropped.sum()) / (runs * float(arrived)),
        dropped_over_optimum=(float(dropped.sum()) / runs - float(best_dropped.sum())) / float(arrived),
        masked_gpuh=float(result.array("masked_gpuh").max()),
        decision_ms=result.decision_ms,
    )


def _change(values: Floats, reference: Floats) -> float:
    """Return relative change of the sum; NaN where the reference is not positive (a site that lives on its exports)."""
    whole = float(reference.sum())
    return float(values.mean(0).sum()) / whole - 1.0 if whole > 0.0 else float("nan")


def _iqm(benefit: Floats, local: Floats, bounds: Floats, strata: Sequence[str]) -> Interval:
    """Return the interquartile mean over the episodes on which anything can be gained; others have no share."""
    room = bounds - local > statistics.LEAST_ROOM * np.maximum(np.abs(bounds), 1.0)
    if not room.any():
        return UNKNOWN
    kept = [label for label, has_room in zip(strata, room, strict=True) if has_room]
    return statistics.interval(
        statistics.iqm_captured, benefit[:, room], local[room], bounds[room], strata=kept
    )


def _against(benefit: Floats, local: Floats, frozen: FrozenSet, planner: str) -> float:
    """Return gain over Local-Only relative to that of a planner; NaN where its results are not published."""
    if planner not in frozen.published:
        return float("nan")
    planned = frozen.column(planner, "benefit_usd")
    return float(statistics.median_captured(benefit[None], local[None], planned[None])[0])


def _beats(benefit: Floats, frozen: FrozenSet, planner: str, strata: Sequence[str]) -> Interval:
    if planner not in frozen.published:
        return UNKNOWN
    planned = frozen.column(planner, "benefit_usd")
    return statistics.interval(statistics.improvement, benefit, planned, strata=strata)


def foresight_split(result: PolicyResult, frozen: FrozenSet) -> dict[str, Floats]:
    """Return the USD on each episode [m] by which a policy stays below the bound (``loss``), and its parts.

    The planner is that with the agent's own forecasts; see `gridai_env.analysis.statistics.regret_parts`.
    """
    benefit, bounds = result.array("benefit_usd").mean(0), frozen.bound_usd
    loss = {"loss": bounds - benefit}
    if frozen.own_planner not in frozen.published:
        return loss
    planned = frozen.column(frozen.own_planner, "benefit_usd")
    perfect = frozen.column(PERFECT, "benefit_usd") if PERFECT in frozen.published else None
    return loss | statistics.regret_parts(benefit, bounds, planned, perfect)


def ledger_difference(result: PolicyResult, frozen: FrozenSet) -> dict[str, float]:
    """Return the mean USD per episode by which each term of the ledger falls short of the optimum's."""
    best = [entry.results[OPTIMUM]["terms_usd"] for entry in frozen.entries]
    names = dict.fromkeys(
        name for own in [*best, *(x["terms_usd"] for run in result.figures for x in run)] for name in own
    )
    out = {}
    for name in names:
        mine = np.mean([[own["terms_usd"].get(name, 0.0) for own in run] for run in result.figures])
        out[name] = float(np.mean([own.get(name, 0.0) for own in best]) - mine)
    return {name: value for name, value in out.items() if abs(value) > 0.0}
