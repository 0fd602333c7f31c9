"""The ladder of a comparison: from the proven bound down to the rules, and what each rung lacks.

Regret is how far a policy stays below the bound, per episode.  It is split by planners that decide as well as
can be on what they know (`baselines.mpc.policy`), with b the bound, s(x) the score of policy x:

    regret = b - s = foresight + decisions
    foresight = b - s(planner)     what knowing the future would give to the best planner that knows what the
                                   policy may know: mpc:<the scenario's forecast>
        horizon        = b - s(mpc:perfect)            looking ahead over a window, not over the whole episode
        forecast error = s(mpc:perfect) - s(planner)   the window seen through a forecast
    decisions = s(planner) - s     what deciding better on the same information would give; below 0 where the
                                   policy beats the planner

A planner is measured against itself: ``mpc:persistence`` lacks foresight only.  ``mpc:scenarios`` knows what the
planner knows and decides otherwise, so it is measured against the planner, as policies are.  What plans the whole
episode with perfect foresight (``milp``, ``variant:...``) lacks none: all its regret is decisions.  A forecast
error below 0 says that the worse forecast planned better by luck: look at the interval.

All rungs are means over the same episodes: those on which every policy has a result.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from gridai_env.analysis.statistics import UNKNOWN, Interval, mean_interval, policy_score
from gridai_env.arrays.types import Floats
from scripts.runs.tables import Row, aligned, interval_columns, spread_text
from scripts.studies.comparison.table import in_common
from scripts.studies.names import FORECASTS, NETWORK, OPTIMUM, PLANNER, SB3, SCENARIOS, VARIANT

BOUND = "bound"
PARTS = ("foresight", "horizon", "forecast_error", "decisions")
HEADERS = (
    "ladder", "benefit USD", "gain captured", "regret",
    "= foresight", "(horizon", "+ forecast)", "+ decisions",
)  # fmt: skip
DRAWS = 2_000  # of each bootstrap


@dataclass(frozen=True)
class Rung:
    """One policy (or the bound): means over episodes with 95 % bootstrap intervals."""

    policy: str
    episodes: int  # that figures are means over
    played: int  # of the comparison: more than those where some policy has no result on some
    objective: str
    benefit_usd: Interval
    gain_captured: Interval
    regret: Interval  # USD, for carbon kg
    parts: dict[str, Interval]  # see PARTS; empty where the planners did not take part


def rungs_of(rows: Sequence[Row], forecast: str) -> list[Rung]:
    """Return the ladder of rows of ``summary.csv``, from the top; ``forecast`` is the kind that the scenario gives.

    Only seeds count on which every policy has a result; where there are none, each rung has its own.
    """
    played = len({row["seed"] for row in rows})
    rows = in_common(rows)
    by_policy: dict[str, dict[int, Row]] = {}
    for row in rows:
        by_policy.setdefault(row["policy"], {})[row["seed"]] = row
    scores = {name: np.mean([row["score"] for row in own.values()]) for name, own in by_policy.items()}
    names = sorted(by_policy, key=lambda name: (*_rank(name), -scores[name]))
    rungs = [_bound(rows), *(_rung(name, by_policy, forecast) for name in names)]
    return [replace(rung, played=played) for rung in rungs]


def _rank(policy: str) -> tuple[int, int]:
    """Return the place on the ladder: the optimum, variants, planners by forecast, networks, rules."""
    planned = [*(PLANNER + kind for kind in FORECASTS), SCENARIOS]
    kinds = [
        policy == OPTIMUM,
        policy.startswith(VARIANT),
        policy in planned,
        policy.startswith((*NETWORK, SB3)),
    ]
    kind = kinds.index(True) if True in kinds else len(kinds)
    return kind, planned.index(policy) if policy in planned else 0


def _bound(rows: Sequence[Row]) -> Rung:
    one = list({row["seed"]: row for row in rows}.values())
    benefit = rows[0]["objective"] == "benefit"
    score = [row["bound_score"] if benefit else np.nan for row in one]
    whole, nothing = Interval(1.0, np.nan, np.nan), Interval(0.0, np.nan, np.nan)
    mean = mean_interval(score, draws=DRAWS)
    return Rung(BOUND, len(one), len(one), rows[0]["objective"], mean, whole, nothing, {})


def _rung(policy: str, by_policy: dict[str, dict[int, Row]], forecast: str) -> Rung:
    own = by_policy[policy]
    score, bound, local = (_column(own, name) for name in ("score", "bound_score", "local_score"))
    objective = next(iter(own.values()))["objective"]

    planned, perfect = _planned(policy, by_policy, forecast) if objective == "benefit" else (None, None)
    found = policy_score(score, local, bound, planned, perfect, draws=DRAWS)
    benefit_usd = mean_interval(_column(own, "benefit_usd"), draws=DRAWS)
    return Rung(
        policy, len(own), len(own), objective, benefit_usd, found.gain_captured, found.regret, found.parts
    )


def planners(forecast: str) -> list[str]:
    """Return the policies without which regret cannot be split."""
    return list(dict.fromkeys(PLANNER + kind for kind in ("perfect", forecast)))


def _planned(
    policy: str, by_policy: dict[str, dict[int, Row]], forecast: str
) -> tuple[Floats, Floats] | tuple[None, None]:
    """Return the scores of the planner that a policy is measured by and of the one with perfect forecasts.

    None where a planner is missing, altogether or on one of the policy's episodes.
    """
    own = by_policy[policy]
    if any(not set(own) <= set(by_policy.get(name, {})) for name in planners(forecast)):
        return None, None

    # What knows the whole episode lacks no foresight; a planner is measured by itself.
    if policy == OPTIMUM or policy.startswith(VARIANT):
        return _column(own, "bound_score"), _column(own, "bound_score")
    perfect = _column(by_policy[PLANNER + "perfect"], "score", own)
    if policy.startswith(PLANNER) and policy != SCENARIOS:
        return _column(own, "score"), perfect
    return _column(by_policy[PLANNER + forecast], "score", own), perfect


def _column(rows: dict[int, Row], name: str, seeds: Iterable[int] | None = None) -> Floats:
    return np.array([rows[seed][name] for seed in (rows if seeds is None else seeds)], dtype=np.float64)


# As a file, and for people ----------------------------------------------------------------------------------


def record_of(place: int, rung: Rung) -> Row:
    """Return a row of ``ladder.csv``; what is not known is NaN."""
    intervals = {
        "benefit_usd": rung.benefit_usd,
        "gain_captured": rung.gain_captured,
        "regret": rung.regret,
        **{name: rung.parts.get(name, UNKNOWN) for name in PARTS},
    }

    unit = "kg" if rung.objective == "carbon" else "USD"
    out: Row = {
        "rung": place,
        "policy": rung.policy,
        "episodes": rung.episodes,
        "objective": rung.objective,
        "unit": unit,
    }

    for name, interval in intervals.items():
        out |= interval_columns(name, interval)
    return out


def ladder_table(rungs: Sequence[Rung]) -> str:
    """Return the ladder as text; with the number of episodes of each rung where that is not the same for all."""
    return aligned(HEADERS, [_line(rung, are_paired(rungs)) for rung in rungs])


def are_paired(rungs: Sequence[Rung]) -> bool:
    """Return whether all rungs are means over the same episodes (else the bound's are more than those of some)."""
    return len({rung.episodes for rung in rungs}) == 1


def _line(rung: Rung, paired: bool) -> tuple[str, ...]:
    # The two halves of foresight stand in brackets, without intervals.
    return (
        rung.policy + ("" if paired else f" (n = {rung.episodes})"),
        spread_text(rung.benefit_usd, "{:,.0f}"),
        spread_text(rung.gain_captured, "{:.1%}"),
        spread_text(rung.regret, "{:,.0f}"),
        *(spread_text(rung.parts.get(name), "{:,.0f}", name in ("foresight", "decisions")) for name in PARTS),
    )


def ladder_notes(rungs: Sequence[Rung], forecast: str) -> list[str]:
    """Return the notes below the ladder, and which policies to add where the split is not complete."""
    first = rungs[0]
    unit = "kg" if first.objective == "carbon" else "USD"
    notes = [
        *_sample_notes(rungs),
        f"regret: how far a policy stays below the bound ({first.objective}), {unit} per episode",
    ]
    if first.objective != "benefit":
        return [*notes, "regret is split for --objective benefit only: the planners plan for it"]

    here = {rung.policy for rung in rungs}
    missing = [name for name in planners(forecast) if name not in here]
    if missing:
        add = " ".join(missing)
        return [*notes, f"regret is not split into foresight and decisions: add {add} to --policies"]
    return [
        *notes,
        f"foresight: bound less mpc:{forecast}, the planner with the forecast that agents see; horizon: bound less "
        "mpc:perfect; forecast: mpc:perfect less the planner",
        "decisions: the planner less the policy, on the same information; below 0 it beats the planner (a planner is "
        "measured against itself, milp and variants know the whole episode)",
    ]


def _sample_notes(rungs: Sequence[Rung]) -> list[str]:
    """Return which episodes the ladder is a mean over, where not of all."""
    first = rungs[0]
    if not are_paired(rungs):
        return [
            "there is no episode on which every policy has a result: rungs are means over n episodes of their own, and "
            "their order says nothing"
        ]
    if first.episodes < first.played:
        return [f"the {first.episodes} of {first.played} episodes on which every policy has a result"]
    return []
