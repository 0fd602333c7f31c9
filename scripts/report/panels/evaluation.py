"""Policies on a frozen set: gain captured of the published bounds, gap, bill, emissions."""

import json
from dataclasses import dataclass
from typing import Any

from gridai_env.analysis.statistics import Interval
from scripts.report.data.names import policy_label, safe
from scripts.report.data.numbers import number, percent, plural, small_percent, with_interval
from scripts.report.data.parts import Panel, PlainTable, Section
from scripts.report.data.run_folders import RunFolder
from scripts.report.panels.comparison.ladder import gain_plot
from scripts.runs.command import InputError

RESULTS = "results.json"
FIGURES = ("benefit_usd", "gap", "bill_saving", "emissions_change", "dropped_share", "decision_ms")


@dataclass(frozen=True)
class PolicySummary:
    """What an evaluation says of one policy."""

    policy: str
    gain: Interval  # captured, per cent
    figures: dict[str, float]
    episodes: int


def summaries(run: RunFolder) -> list[PolicySummary]:
    """Return the policies of an evaluation; raises InputError where its results are missing or damaged."""
    file = run.folder / RESULTS
    try:
        return [_summary(item) for item in json.loads(file.read_text(encoding="utf-8"))]
    except OSError as error:
        raise InputError(f"{file}: cannot be read: {error.strerror or error}; evaluate again") from error
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{file}: not the results of an evaluation ({error!r}); evaluate again") from error


def _summary(item: dict[str, Any]) -> PolicySummary:
    gain = Interval(*(100.0 * float(item["gain_captured"][end]) for end in ("value", "low", "high")))
    figures = {name: float(item[name]) for name in FIGURES}
    return PolicySummary(str(item["policy"]), gain, figures, int(item["episodes"]))


def set_words(run: RunFolder) -> str:
    """Return which frozen set was played."""
    config = run.record.get("config")
    name = config.get("set") if isinstance(config, dict) else None
    return f"frozen set {name}" if name else "a frozen set"


def evaluate_sections(run: RunFolder) -> list[Section]:
    """Return the results of an evaluation; raises InputError where its files are damaged."""
    rows = sorted(summaries(run), key=lambda one: one.gain.value)
    if not rows:
        raise InputError(f"{run.folder / RESULTS}: holds no policy; evaluate again")
    what = f"{set_words(run).capitalize()}, {plural(rows[0].episodes, 'episode')}."
    hover = [f"<b>{safe(policy_label(one.policy))}</b><br>{with_interval(one.gain)} %" for one in rows]
    plot = gain_plot({one.policy: one.gain for one in rows}, hover)
    panel = Panel("captured", [plot], table=_table(rows), open_table=True, facts={"what": what})
    return [Section("frozen", [panel])]


def _table(rows: list[PolicySummary]) -> PlainTable:
    headers = (
        "policy", "gain captured", "benefit, USD", "gap to the bound",
        "bill", "emissions", "refused work", "ms",
    )  # fmt: skip
    body = [
        (
            policy_label(one.policy),
            f"{with_interval(one.gain)} %",
            number(one.figures["benefit_usd"]),
            percent(one.figures["gap"], 2),
            percent(-one.figures["bill_saving"] + 0.0),
            percent(one.figures["emissions_change"]),
            small_percent(one.figures["dropped_share"]),
            number(one.figures["decision_ms"]),
        )
        for one in reversed(rows)
    ]
    return PlainTable(headers, body)
