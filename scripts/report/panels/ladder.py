"""The ladder of a comparison: what every policy gets of the gain between Local-Only and the proven bound."""

from __future__ import annotations

from typing import Any

import numpy as np

from gridai_env.analysis.statistics import Interval, gain_captured, gain_interval, gap, mean_interval
from gridai_env.world.terms import BILL, EARNINGS, PENALTIES
from scripts.report.data.look import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    INK,
    LIGHT_GREY,
    OPTIMUM,
    ORANGE,
    PURPLE,
    SKY,
    VERMILLION,
    YELLOW,
    figure,
    policy_colour,
    policy_label,
    rounded,
    safe,
    tidy,
)
from scripts.report.data.numbers import number, percent, plural, small_percent, with_interval
from scripts.report.data.parts import Choice, Panel, PlainTable, Plot, Section
from scripts.report.data.run_folders import RunFolder, Table
from scripts.report.panels.regret import NEEDED as REGRET
from scripts.report.panels.regret import regret_panel

SUMMARY, LADDER = "summary.csv", "ladder.csv"
NEEDED = ("policy", "seed", "benefit_usd", "bill_usd", "score", "bound_score", "local_score", "solver_gap")
TERM_COLOURS = {
    "revenue": LIGHT_GREY,
    "job_value": "#9e9ac8",
    "import": BLUE,
    "export": "#4d9221",
    "fuel": VERMILLION,
    "battery_wear": ORANGE,
    "egress": SKY,
    "relocation": PURPLE,
    "warm_up": YELLOW,
    "demand_charge": "#00525e",
    "carbon_price": GREEN,
    "carbon_excess": "#6a51a3",
    "water": "#8fbcd4",
    "drop_penalty": "#b2182b",
    "gpu_shortfall": "#7f2704",
    "shed_penalty": BLACK,
    "battery_shortfall": GREY,
}
TERM_LABELS = {"drop_penalty": "penalty for refused work"}  # the others: their name
UNITS = {"benefit": "USD of benefit", "cost": "USD of cost", "carbon": "kg of CO₂"}


def ladder_section(run: RunFolder) -> Section:
    """Gain captured, regret split and terms of the bill."""
    summary = run.table(SUMMARY, NEEDED)
    regret = regret_panel(run.table(LADDER, REGRET)) if run.has(LADDER) else None
    panels = [gain_panel(summary), *([] if regret is None else [regret]), terms_panel(summary)]
    return Section(
        "ladder",
        "Ladder: what foresight and decisions are worth",
        panels,
        "All policies are judged by the same simulator on the same episodes. The bound comes from a mixed-integer "
        "program that knows each episode beforehand: no policy passes it, and without foresight none reaches it.",
    )


def order_of(summary: Table) -> list[str]:
    """Policies from the lowest gain to the highest, Local-Only first, the optimum last."""
    names = summary.unique("policy")
    mean = {name: float(np.mean(summary.where(policy=name).numbers("score"))) for name in names}
    rank = {"local_only": -1, OPTIMUM: 1}
    return sorted(names, key=lambda name: (rank.get(name, 0), mean[name]))


def gain_of(rows: Table) -> Interval:
    """Gain captured of one policy with its interval."""
    score, local, bound = (rows.numbers(name) for name in ("score", "local_score", "bound_score"))
    value = gain_captured(score, local, bound)
    if not np.isfinite(value):
        return Interval(value, value, value)
    return gain_interval(score, local, bound)


def gain_panel(summary: Table) -> Panel:
    """Horizontal bars from Local-Only (0 %) to the bound (100 %)."""
    names = order_of(summary)
    gains = {name: gain_of(summary.where(policy=name)) for name in names}
    fig = figure(90 + 46 * len(names), showlegend=False, bargap=0.35)
    low, high = (
        [abs(getattr(gains[name], side) - gains[name].value) * 100.0 for name in names]
        for side in ("low", "high")
    )
    fig.add_bar(
        orientation="h",
        y=[safe(policy_label(name)) for name in names],
        x=rounded(gains[name].value * 100.0 for name in names),
        marker={"color": [policy_colour(name) for name in names]},
        error_x={
            "type": "data",
            "symmetric": False,
            "array": rounded(high),
            "arrayminus": rounded(low),
            "color": "#55606b",
            "thickness": 1.6,
            "width": 5,
        },
        customdata=[_hover(summary.where(policy=name), gains[name]) for name in names],
        hovertemplate="%{customdata}<extra></extra>",
    )
    mark_line(fig, 0.0, "Local-Only")
    mark_line(fig, 100.0, "bound")
    fig.update_xaxes(title_text="gain captured [%]", zeroline=False)
    fig.update_yaxes(showgrid=False)
    fig.update_layout(margin={"t": 34})
    objective = summary.text("objective")[0] if summary.has("objective") else "benefit"
    return Panel(
        "gain",
        "Gain captured",
        "0 % is Local-Only, which serves all work at home; 100 % is the proven bound. Whiskers are 95 % bootstrap "
        f"intervals over episodes, all policies on the same ones; objective: {UNITS[objective]}.",
        [Plot(fig, f"Bars of gain captured for {len(names)} policies, from Local-Only to the bound")],
        notes=[solver_note(summary)],
        table=ladder_table(summary, names, gains),
    )


def mark_line(fig: Any, x: float, text: str) -> None:
    """A thin vertical line with a word above it."""
    fig.add_vline(x=x, line={"color": INK, "width": 1, "dash": "dot"}, layer="below")
    fig.add_annotation(
        x=x,
        y=1.0,
        yref="paper",
        yanchor="bottom",
        text=text,
        showarrow=False,
        font={"size": 12, "color": INK},
    )


def _hover(rows: Table, gain: Interval) -> str:
    return (
        f"<b>{safe(policy_label(rows.text('policy')[0]))}</b><br>gain captured {with_interval(gain, 100.0)} %"
        f"<br>benefit {with_interval(mean_interval(rows.numbers('benefit_usd')))} USD"
        f"<br>{plural(len(rows), 'episode')}"
    )


def ladder_table(summary: Table, names: list[str], gains: dict[str, Interval]) -> PlainTable:
    """The figures behind the bars."""
    headers = (
        "policy",
        "benefit, USD",
        "bill, USD",
        "emissions, t",
        "refused work, GPU-h",
        "path p95, ms",
        "gap to the bound",
        "gain captured",
    )
    rows = []
    for name in names:
        own = summary.where(policy=name)

        def mean(column: str, own: Table = own) -> float:
            return float(np.mean(own.numbers(column)))

        floor = " *" if own.has("meets_floor") and not all(own.numbers("meets_floor")) else ""
        rows.append(
            (
                policy_label(name) + floor,
                with_interval(mean_interval(own.numbers("benefit_usd"))),
                number(mean("bill_usd")),
                number(mean("emissions_kg") / 1000.0),
                number(mean("dropped_gpuh")),
                number(mean("path_latency_p95_ms")),
                percent(gap(own.numbers("score"), own.numbers("bound_score"), own.numbers("reference")), 2),
                with_interval(
                    Interval(*(100.0 * v for v in (gains[name].value, gains[name].low, gains[name].high)))
                )
                + " %",
            )
        )
    return PlainTable(headers, rows)


def solver_note(summary: Table) -> str:
    """How well the bound is proven, on how many episodes."""
    seeds = summary.unique("seed")
    gaps = summary.numbers("solver_gap")
    worst = float(np.max(gaps, where=np.isfinite(gaps), initial=0.0))
    late = len(dict.fromkeys(np.array(summary.text("seed"))[~np.isfinite(gaps)]))
    text = f"{plural(len(seeds), 'episode')}; the optimum's plan lies within {small_percent(worst)} "
    text += "of its bound."
    if late:
        text += f" In {plural(late, 'episode')} the solver found no plan in time: the bound still holds."
    if len(seeds) < 10:
        text += " With fewer than ten episodes the intervals are rough."
    if summary.has("meets_floor") and not all(summary.numbers("meets_floor")):
        text += " * serves less than the floor of this objective in at least one episode."
    return text


def term_label(term: str) -> str:
    """How a term of the ledger is called in a plot, escaped."""
    return safe(TERM_LABELS.get(term, term.replace("_", " ")))


def terms_panel(summary: Table) -> Panel:
    """What the benefit is made of, stacked, by policy."""
    names = order_of(summary)
    episodes = {name: summary.where(policy=name) for name in names}
    terms = [
        term
        for term in (*EARNINGS, *BILL, *PENALTIES)
        if any(np.abs(episodes[name].numbers(f"terms/{term}_usd")).max() > 0.5 for name in names)
    ]
    views = (("costs", "costs and penalties"), ("all", "all terms, revenue included"))
    fig = figure(130 + 46 * len(names), barmode="relative", bargap=0.35)
    store: dict[str, Any] = {}
    binds: dict[str, str] = {}
    for i, term in enumerate(terms):
        means = [float(np.mean(episodes[name].numbers(f"terms/{term}_usd"))) / 1000.0 for name in names]
        store[f"all|{term}"] = rounded(means)
        if term not in EARNINGS:
            store[f"costs|{term}"] = rounded(-value for value in means)
        fig.add_bar(
            orientation="h",
            name=term_label(term),
            y=[safe(policy_label(name)) for name in names],
            x=[],
            marker={"color": TERM_COLOURS.get(term, INK), "line": {"width": 0}},
            hovertemplate=term_label(term) + ": %{x:,.4g} kUSD<extra>%{y}</extra>",
        )
        binds[f"data.{i}.x"] = f"{{view}}|{term}"
    fig.update_yaxes(showgrid=False)
    store |= {
        "costs|title": "mean cost of an episode [kUSD]",
        "all|title": "mean earnings (+) and costs (−) [kUSD]",
    }
    binds["layout.xaxis.title.text"] = "{view}|title"
    totals = {name: tidy(float(np.mean(episodes[name].numbers("benefit_usd")))) for name in names}
    best = max(totals, key=lambda name: totals[name] or 0.0)
    return Panel(
        "terms",
        "Terms of the bill",
        "Each bar is the mean of an episode, split into the terms of the ledger. Penalties for refused work stand "
        "beside the savings: a bill that is small because work was refused is no saving.",
        [
            Plot(
                fig,
                f"Stacked bars of the bill's terms by policy; the highest benefit has {policy_label(best)}",
                binds,
            )
        ],
        [Choice("view", "Show", views)],
        store,
    )
