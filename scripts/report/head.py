"""The head of the report: facts about the runs, key figures, warnings, and what is missing."""

import json
from collections.abc import Sequence
from dataclasses import replace
from html import escape
from pathlib import Path

import numpy as np

from gridai_env.analysis.statistics import gain_captured
from scripts.report.data.names import knows_future, policy_label, words
from scripts.report.data.numbers import number, percent, plural
from scripts.report.data.parts import texts
from scripts.report.data.run_folders import SHOWN_KINDS, LeftOut, RunFolder
from scripts.report.page.html import KeyFigure, part_html, warning_html
from scripts.report.panels.comparison.ladder import NEEDED, SUMMARY
from scripts.report.panels.evaluation import set_words, summaries

BEST_SHOWN = 2  # policies among the key figures
SCORES = ("score", "local_score", "bound_score")


def facts_of(runs: Sequence[RunFolder]) -> list[str]:
    """Return the facts about the runs, in a few words each: length, episodes, traces, code, day."""
    shown = [run for run in runs if run.kind in SHOWN_KINDS]
    with_scenario = [run for run in shown if run.scenario]
    days = sorted({str(run.record.get("time_utc", ""))[:10] for run in shown})

    def joined(between: str, texts: Sequence[str]) -> str:
        return between.join(dict.fromkeys(texts))

    return [
        joined(" and ", [_length(run) for run in with_scenario]),
        joined(
            ", ", [f"{run.kind}: {plural(len(run.seeds), 'episode')}" for run in shown if run.kind != "train"]
        ),
        joined(" and ", [f"{run.scenario['traces']} traces" for run in with_scenario]),
        "commit " + joined(", ", [_short_commit(run) for run in shown]),
        joined(" to ", (days[0], days[-1])),
    ]


def _length(run: RunFolder) -> str:
    return f"{number(float(run.scenario['horizon_h']))} h"


def _short_commit(run: RunFolder) -> str:
    commit = str(run.record.get("commit") or "unknown")
    return commit[:10] + (" with changes" if commit.endswith("+changes") else "")


# Key figures ------------------------------------------------------------------------------------------------


def key_figures(drawn: Sequence[tuple[RunFolder, list[KeyFigure]]]) -> list[KeyFigure]:
    """Return the tiles of the first run of each kind; each names its case where the report holds several."""
    several = len({_case(run) for run, _ in drawn if run.kind in SHOWN_KINDS and run.scenario}) > 1
    tiles: list[KeyFigure] = []
    for kind in SHOWN_KINDS:
        first = next(((run, own) for run, own in drawn if run.kind == kind), None)
        if first is not None:
            run, own = first
            tiles += [replace(tile, case=_case(run)) for tile in own] if several else own
    return tiles


def _case(run: RunFolder) -> str:
    """Return scenario and length of the episodes."""
    return f"{words(run.scenario_name)}, {_length(run)}" if run.scenario else "both source models"


def compare_tiles(run: RunFolder) -> list[KeyFigure]:
    """Return what flexibility could gain, and what the best policies without foresight get of it."""
    summary = run.table(SUMMARY, NEEDED)
    rows = {name: summary.where(policy=name) for name in summary.unique("policy")}
    first = next(iter(rows.values()))

    # Any policy's rows tell it: bound and Local-Only are those of the episode.
    room = first.numbers("bound_score") - first.numbers("local_score")
    share = percent(float(room.sum() / first.numbers("reference").sum()))
    unit, scale = ("kg", "emissions") if first.text("objective")[0] == "carbon" else ("USD", "bill")
    note = f"an episode: bound less Local-Only, {share} of the Local-Only {scale}"
    tiles = [KeyFigure("Flexibility could gain", number(float(room.mean())), unit, note)]

    rivals = [name for name in rows if not knows_future(name) and name != "local_only"]
    gains = {name: gain_captured(*(rows[name].numbers(column) for column in SCORES)) for name in rivals}
    ranked = sorted((name for name in gains if np.isfinite(gains[name])), key=lambda name: -gains[name])
    note = "of that, without knowing the future"
    return tiles + [
        KeyFigure(f"{policy_label(name)} gets", percent(gains[name]).removesuffix(" %"), "%", note)
        for name in ranked[:BEST_SHOWN]
    ]


def frontier_tiles(run: RunFolder) -> list[KeyFigure]:
    """Return the largest fall of the least cost in one step of the first class that was swept.

    It is an amount, not one per 100 ms: a step may be a millisecond wide.
    """
    rows = run.table("returns.csv", ("axis", "quantity"))
    axis = next((axis for axis in rows.unique("axis") if axis != "scale"), None)
    if axis is None:
        return []

    own = rows.where(axis=axis, quantity="cost")
    first, last = own.numbers("from_ms"), own.numbers("to_ms")
    falls = own.numbers("arc_per_100ms") * (last - first) / 100.0
    if not np.isfinite(falls).any():
        return []

    # A step without a plan at one of its ends has no return.
    best = int(np.nanargmax(np.where(np.isfinite(falls), falls, np.nan)))
    name = words(axis.removeprefix("class:"))
    note = f"an episode, by a budget of {name} of {number(last[best])} instead of {number(first[best])} ms"
    return [KeyFigure("Least cost can fall by", number(float(falls[best])), "USD", note)]


def front_tiles(run: RunFolder) -> list[KeyFigure]:
    """Return how far emissions can fall from those of the cheapest plan, mean over episodes."""
    rows = run.table("front.csv", ("seed", "method", "cost_usd", "emissions_kg")).where(method="epsilon")
    shares, extra = [], []
    for seed in rows.unique("seed"):
        own = rows.where(seed=seed)
        kg, usd = own.numbers("emissions_kg"), own.numbers("cost_usd")
        if np.isfinite(kg).any():
            cheapest, cleanest = np.nanargmin(usd), np.nanargmin(kg)
            shares.append(1.0 - kg[cleanest] / kg[cheapest])
            extra.append(usd[cleanest] - usd[cheapest])
    if not shares:
        return []
    note = f"least carbon against least cost (not Local-Only), same service; costs {number(float(np.mean(extra)))} USD"
    return [KeyFigure("Emissions can fall by", f"{100.0 * float(np.mean(shares)):.1f}", "%", note)]


def evaluate_tiles(run: RunFolder) -> list[KeyFigure]:
    """Return what the first policy gets of the gain on a frozen set."""
    rows = summaries(run)
    if not rows:
        return []
    note = f"of the gain from Local-Only to the published bound, {plural(rows[0].episodes, 'episode')}"
    title = f"{policy_label(rows[0].policy)} gets, {set_words(run)}"
    return [KeyFigure(title, number(rows[0].gain.value), "%", note)]


def reproduce_tiles(run: RunFolder) -> list[KeyFigure]:
    """Return how many published headlines are met."""
    inside = run.table("headlines.csv", ("inside",)).numbers("inside")
    count = str(int((inside == 1).sum()))
    return [KeyFigure("Published headlines met", count, f"of {len(inside)}", "inside the published range")]


# Warnings ---------------------------------------------------------------------------------------------------


def missing_html(runs: Sequence[RunFolder]) -> str:
    """Return a line for each kind of run that is not there, with its command."""
    kinds = {run.kind for run in runs}
    scenario = next((run.scenario_name for run in runs if run.scenario), "energy_geography")
    sites = [site for run in runs if run.scenario_name == scenario for site in run.scenario.get("sites", [])]
    if not any(line["kind"] == "connection" for site in sites for line in site.get("lines", [])):
        kinds.add("flexibility")  # nothing to ask
    lines = []
    for kind, text in texts()["missing"].items():
        if kind not in kinds:
            command = text["command"].format(scenario=scenario, folder="RUN_DIR")
            lines.append(f"<li>{escape(text['adds'])}: <code>{escape(command)}</code></li>")

    if not lines:
        return ""
    advice = "<p>Write these runs into the same folder, then the report again.</p>"
    listed = f"{advice}<ul>{''.join(lines)}</ul>"
    return part_html("missing", "Not in this report yet", listed, "part missing")


def left_out_html(root: Path, left_out: Sequence[LeftOut]) -> str:
    """Return a line for each run that the report does not show, with the reason; paths are relative to ``root``."""
    return "".join(
        warning_html(
            f"Run {run.folder.relative_to(root)} is left out, because {run.reason.replace(f'{root}/', '')}"
        )
        for run in left_out
    )


def warnings_html(runs: Sequence[RunFolder]) -> str:
    """Return a warning where runs of one scenario were made with different settings, or were interrupted."""
    shown = [run for run in runs if run.kind in SHOWN_KINDS]
    texts = []
    for run in shown:
        name = f"Run {run.folder.name} ({run.kind})"
        if run.record.get("finished") is False:
            texts.append(f"{name} was interrupted: only what it had finished is shown.")
        if run.record.get("config", {}).get("quick"):
            texts.append(f"{name} was made with --quick: a test of the machinery, not a result.")

    # Runs are shown side by side as if of one case: say so where they are not.
    for name in dict.fromkeys(run.scenario_name for run in shown if run.scenario):
        same = [run.scenario for run in shown if run.scenario and run.scenario_name == name]
        keys = sorted({key for scenario in same for key in scenario})
        differing = [key for key in keys if len({json.dumps(s.get(key), sort_keys=True) for s in same}) > 1]
        if differing:
            texts.append(
                f"Runs of {name} were made with different settings ({', '.join(differing)}): their figures are not "
                "those of one case. See the origin of the figures."
            )
    return "".join(map(warning_html, texts))
