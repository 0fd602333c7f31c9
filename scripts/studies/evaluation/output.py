"""What an evaluation prints and writes: a table, the last line, results.csv, results.json, Markdown."""

import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from gridai_env.analysis.statistics import Interval
from gridai_env.benchmarks.published import FIGURES, LOCAL, FrozenSet
from gridai_env.benchmarks.summary import PolicyResult, Summary
from gridai_env.files import write_json, write_text
from gridai_env.world.terms import TERMS
from scripts.runs.tables import aligned, interval_columns, spread_text, write_rows

HEADERS = (
    "policy", "seeds", "benefit USD", "gain captured [95 %]", "IQM [95 %]", "of mpc:own",
    "beats persistence [95 %]", "beats mpc:own [95 %]", "gap", "bill", "emissions",
    "dropped GPU-h", "dropped, share over optimum", "masked", "ms a decision",
)  # fmt: skip


def table_lines(summaries: Sequence[Summary]) -> list[tuple[str, ...]]:
    """Return one line of text for each policy."""
    return [
        (
            one.policy,
            str(one.runs),
            f"{one.benefit_usd:,.0f}",
            _between(one.gain_captured, 3),
            _between(one.gain_iqm, 3),
            _share(one.of_mpc_own),
            _between(one.beats_mpc_persistence, 2),
            _between(one.beats_mpc_own, 2),
            _share(one.gap),
            _share(-one.bill_saving, "+"),
            _share(one.emissions_change, "+"),
            f"{one.dropped_gpuh:,.0f}",
            f"{_rounded(one.dropped_over_optimum, 5):+.3%}",
            f"{one.masked_gpuh:g}",
            "-" if math.isnan(one.decision_ms) or one.source == "published" else f"{one.decision_ms:.2f}",
        )
        for one in summaries
    ]


def _rounded(value: float, digits: int) -> float:
    """Return a number as it is shown, without a minus before a zero."""
    return round(value, digits) + 0.0


def _share(value: float, sign: str = "") -> str:
    return "-" if math.isnan(value) else f"{_rounded(value, 3):{sign}.1%}"


def _between(interval: Interval, digits: int) -> str:
    """Return a share with its interval, in per cent."""
    shown = Interval(*(_rounded(x, digits) for x in (interval.value, interval.low, interval.high)))
    return spread_text(shown, f"{{:.{digits - 2}%}}")


def report_lines(results: Sequence[PolicyResult], summaries: Sequence[Summary]) -> list[str]:
    """Return the table for people, with what its columns mean."""
    return [aligned(HEADERS, table_lines(summaries)), *seed_lines(results, summaries), *NOTES]


def seed_lines(results: Sequence[PolicyResult], summaries: Sequence[Summary]) -> list[str]:
    """Return the gain captured by each training seed, for policies of several."""
    lines = []
    for result, one in zip(results, summaries, strict=True):
        if one.runs > 1:
            by_run = sorted(zip(one.gain_by_run, result.runs, strict=True))
            low, high = by_run[0], by_run[-1]
            lines.append(
                f"{one.policy}, gain captured by training seed: {' '.join(f'{x:.1%}' for x in one.gain_by_run)} (least "
                f"{low[1]}, most {high[1]})"
            )
    return lines


NOTES = (
    "gain captured: sum over episodes of (policy - Local-Only) over that of (bound - Local-Only), median over training "
    "seeds; IQM: interquartile mean over seeds and episodes of each episode's share",
    "intervals: bootstrap over training seeds (whole) and episodes (inside months and shifts); of mpc:own: gain over "
    "that of MPC with the agent's own kind of forecast",
    "beats: probability of a higher benefit on an episode, ties half; bill and emissions: against Local-Only; gap: to "
    "the bound, of the Local-Only bill; ms: median of a single environment, only of what was played here",
)


def write_results(
    folder: Path, results: Sequence[PolicyResult], summaries: Sequence[Summary], frozen: FrozenSet
) -> None:
    """Write results.csv (one row per policy, training run and episode) and results.json (the figures)."""
    rows: list[dict[str, Any]] = []
    for result in results:
        for run, own in zip(result.runs, result.figures, strict=True):
            rows += [
                _row(result.name, run, entry, one) for entry, one in zip(frozen.entries, own, strict=True)
            ]
    write_rows(rows, folder / "results.csv")
    write_json(folder / "results.json", [asdict(summary) for summary in summaries], indent=1)


def _row(policy: str, run: str, entry: Any, figures: dict[str, Any]) -> dict[str, Any]:
    terms = figures["terms_usd"]
    return {
        "policy": policy,
        "run": run,
        "seed": entry.key.seed,
        "start_utc": f"{entry.key.start_utc}Z",
        "shift": entry.key.shift,
        "instance_hash": entry.hash,
        "bound_usd": entry.bound_usd,
        "local_benefit_usd": entry.figure(LOCAL, "benefit_usd"),
        **{name: figures[name] for name in (*FIGURES, "masked_gpuh")},
        **{f"terms/{name}_usd": terms.get(name, 0.0) for name in TERMS},
    }


def write_table(path: Path, summaries: Sequence[Summary], facts: Sequence[str]) -> list[Path]:
    """Write the table as Markdown and, beside it, as CSV; return both paths."""
    lines = table_lines(summaries)
    ruler = ["---"] + ["---:"] * (len(HEADERS) - 1)
    body = "\n".join("| " + " | ".join(cells) + " |" for cells in (HEADERS, ruler, *lines))
    text = "\n\n".join([*facts, body, *(f"{note}." for note in NOTES)])
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, text + "\n")
    beside = path.with_suffix(".csv")
    write_rows([flat(summary) for summary in summaries], beside)
    return [path, beside]


def flat(summary: Summary) -> dict[str, Any]:
    """Return a summary as one row; an interval becomes three columns."""
    out: dict[str, Any] = {}
    for name, value in vars(summary).items():
        if isinstance(value, Interval):
            out |= interval_columns(name, value)
        else:
            out[name] = " ".join(f"{x:.6f}" for x in value) if isinstance(value, list) else value
    return out
