"""A site against its line hour by hour, under two policies: load, import, excess, calls, baseline."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

from gridai_env.arrays.types import Float, Floats
from scripts.report.data import palette
from scripts.report.data.names import plain, policy_label, safe, tidy
from scripts.report.data.parts import Choice, Panel, Plot
from scripts.report.drawing import DATES, Drawing, stacked, stroke
from scripts.report.panels.comparison.episodes import DIGITS, EpisodeTables, held, over_time

LINE, CALLED, EXCESS = "line_mw/", "called_share/", "line_excess_mw/"
WHOLE = "all"
LEAST_MW = 5e-4  # less is what solvers and float32 actions leave
MOST_CALLS = 12  # in the selector
BEFORE_H, AFTER_H = 12.0, 24.0  # around a call


def lines_panel(episodes: EpisodeTables) -> Panel | None:
    """Return the panel of a line under two policies; None without lines."""
    columns = next(iter(episodes.tables.values())).columns
    lines = [name.removeprefix(LINE) for name in columns if name.startswith(LINE)]
    if not lines:
        return None
    may_be_called = [line for line in lines if CALLED + line in columns]
    calls = {
        (seed, line): _calls(episodes.shared(seed, CALLED + line))
        for seed in episodes.seeds
        for line in may_be_called
    }
    most = min(max(map(len, calls.values()), default=0), MOST_CALLS)
    hours = [(WHOLE, "whole episode"), *((str(i), f"around call {i}") for i in range(1, most + 1))]

    store = episodes.pair_store()
    for policy in episodes.policies:
        store[f"title|{policy}"] = f"<b>{safe(policy_label(policy))}</b><br>MW"
    for seed in episodes.seeds:
        for line in lines:
            store |= _shared(episodes, seed, line, calls.get((seed, line), []), most)
            for policy in episodes.policies:
                curves = _curves(episodes, policy, seed, line)
                store |= {f"{policy}|{seed}|{name}|{line}": values for name, values in curves.items()}

    named = [(line, plain(line.replace("/", ", "))) for line in lines]
    first = next((line for (_, line), found in calls.items() if found), lines[0])
    chosen = hours[1][0] if calls.get((episodes.seeds[0], first)) else WHOLE
    choices = [
        Choice("line", "Line", named, first),
        *episodes.pair_choices(),
        Choice("hours", "Hours", hours, chosen),
    ]
    return Panel("lines", [_plot()], choices, store)


# Data -----------------------------------------------------------------------------------------------------------


def _calls(called_share: Float[Floats, " T"]) -> list[tuple[int, int]]:
    """Return first step and end of every call."""
    ends = np.flatnonzero(np.diff(called_share > 0.0, prepend=False, append=False)).tolist()
    return list(zip(ends[::2], ends[1::2], strict=True))


def _shared(
    episodes: EpisodeTables, seed: int, line: str, calls: list[tuple[int, int]], most: int
) -> dict[str, Any]:
    """Return what no policy changes: price, calls, the ranges of the axes."""
    site, steps = line.partition("/")[0], len(episodes.tables[episodes.policies[0], seed])
    store: dict[str, Any] = {
        f"utc|{seed}|{line}": safe(episodes.axis_title(seed, site)),
        f"{seed}|price|{line}": held(episodes.shared(seed, f"buy_usd_per_mwh/{site}")),
    }
    columns = (f"import_mw/{site}", f"facility_mw/{site}", LINE + line)
    top = 1.06 * max(float(episodes.column(p, seed, c).max()) for p in episodes.policies for c in columns)
    store[f"power|{seed}|{line}"] = [0, tidy(top, DIGITS)]
    if calls:
        is_called = np.zeros(steps)
        for first, end in calls:
            is_called[first:end] = top
        store[f"{seed}|called|{line}"] = held(is_called)

    start_ms, step_ms = episodes.clock[f"start|{seed}"], episodes.clock["dx"]
    spans = [(first - BEFORE_H / episodes.dt_h, end + AFTER_H / episodes.dt_h) for first, end in calls]
    for i in range(most + 1):
        # A call that the episode does not have: the whole of it.
        begin, stop = spans[i - 1] if 0 < i <= len(spans) else (0.0, float(steps))
        own = [start_ms + step_ms * max(begin, 0.0), start_ms + step_ms * min(stop, float(steps))]
        store[f"{str(i) if i else WHOLE}|{seed}|{line}"] = own
    return store


def _curves(episodes: EpisodeTables, policy: str, seed: int, line: str) -> dict[str, list[float | None]]:
    """Return the curves of a line under one policy; those that say nothing are left out."""
    site = line.partition("/")[0]

    def of(column: str) -> Float[Floats, " T"]:
        return episodes.column(policy, seed, column)

    import_mw, load_mw, limit_mw = of(f"import_mw/{site}"), of(f"facility_mw/{site}"), of(LINE + line)
    found = {"within": held(import_mw), "limit": held(limit_mw), "load": held(load_mw)}

    # Where one policy has a curve, all have it: the legend names it once.
    def moves(column: str) -> bool:
        tables = [episodes.tables[one, seed] for one in episodes.policies]
        return tables[0].has(column) and max(float(one.numbers(column).max()) for one in tables) > LEAST_MW

    if moves(EXCESS + line):
        found |= {"within": held(import_mw - of(EXCESS + line)), "excess": held(of(EXCESS + line))}
    if moves(saving := f"saving_mw/{site}"):
        found["full"] = held(load_mw + of(f"pue/{site}") * of(saving))

    promised_mw = _spec(episodes, line).get("commitment_mw")
    if promised_mw:
        baseline = np.where(of(CALLED + line) > 0.0, limit_mw + float(promised_mw), np.nan)
        # A step line ends at the end of its last step: there its value stands once more.
        ends = [now if np.isfinite(now) else before for before, now in pairwise([np.nan, *baseline, np.nan])]
        found["baseline"] = [None if np.isnan(value) else tidy(value, DIGITS) for value in ends]
    return found


def _spec(episodes: EpisodeTables, line: str) -> dict[str, Any]:
    """Return a line as the scenario has it."""
    site, _, name = line.partition("/")
    lines = next(one["lines"] for one in episodes.run.scenario["sites"] if one["name"] == site)
    return next(one for one in lines if one["name"] == name)


# Figure ---------------------------------------------------------------------------------------------------------


def _plot() -> Plot:
    out = stacked(760, (0.4, 0.4, 0.2), 0.035, hovermode="x unified", legend={"traceorder": "normal"})
    for row, side in enumerate(("left", "right"), start=1):
        _add_policy(out, row, side)
    over_time(
        out, "{seed}|price|{line}", 3, name="price", line=stroke(palette.PURPLE, 1.6), showlegend=False,
        hovertemplate="%{y:.4g} USD/MWh",
    )  # fmt: skip
    out.figure.update_yaxes(title_text="price<br>USD/MWh", row=3, col=1)
    out.figure.update_yaxes(title_font_size=12)
    out.figure.update_xaxes(**DATES)
    for i, side in enumerate(("left", "right")):
        axis = f"yaxis{i + 1 if i else ''}"
        out.bind(**{f"{axis}_title_text": f"title|{{{side}}}", f"{axis}_range": "power|{seed}|{line}"})
    out.bind(
        xaxis3_title_text="utc|{seed}|{line}",
        **{f"xaxis{i}_range": "{hours}|{seed}|{line}" for i in ("", 2, 3)},
    )
    return out.plot(
        "Load and import of a site under two policies, the limit in force, what lies above it, calls, the baseline of "
        "demand response, and the price, hour by hour"
    )


def _add_policy(out: Drawing, row: int, side: str) -> None:
    """Add the curves of one of the two policies."""
    own, first = f"{{{side}}}|{{seed}}|", row == 1
    thin = stroke(palette.BLACK, 0)

    def add(key: str, name: str, line: dict[str, Any], **look: Any) -> None:
        look = {"hovertemplate": "%{y:.4g} MW"} | look
        over_time(out, key, row, name=name, legendgroup=name, showlegend=first, line=line, **look)

    add(
        "{seed}|called|{line}", "called", thin, fill="tozeroy", fillcolor=palette.faint(palette.YELLOW, 0.28),
        zorder=-1, hoverinfo="skip", hovertemplate=None,
    )  # fmt: skip
    for name, words, colour in (
        ("within", "import within the limit", palette.faint(palette.BLUE, 0.55)),
        ("excess", "import above the limit", palette.faint(palette.VERMILLION, 0.85)),
    ):
        add(f"{own}{name}|{{line}}", words, thin, stackgroup="import", fillcolor=colour)
    add(f"{own}full|{{line}}", "load without power modes", stroke(palette.GREY, 1.3, dash="dot"))
    add(f"{own}load|{{line}}", "load of the site", stroke(palette.GREEN, 1.6))
    add(f"{own}baseline|{{line}}", "baseline", stroke(palette.BLACK, 1.8, dash="dash"))
    add(f"{own}limit|{{line}}", "limit in force", stroke(palette.BLACK, 2.2))
