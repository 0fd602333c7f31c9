"""The ladder of a comparison: what every policy gets of the gain between Local-Only and the proven bound."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from gridai_env.analysis.statistics import Interval, gain_captured, gain_interval, gap, mean_interval
from gridai_env.world.terms import BILL, EARNINGS, PENALTIES
from scripts.report.data import names, palette
from scripts.report.data.numbers import number, percent, plural, small_percent, with_interval
from scripts.report.data.parts import Choice, Panel, PlainTable, Plot, Section
from scripts.report.data.run_folders import RunFolder, Table
from scripts.report.drawing import Drawing, drawing, stroke, whiskers
from scripts.report.panels.comparison.regret import NEEDED as REGRET
from scripts.report.panels.comparison.regret import regret_panel
from scripts.runs.tables import proof_of

SUMMARY, LADDER = "summary.csv", "ladder.csv"
NEEDED = ("policy", "seed", "benefit_usd", "bill_usd", "score", "bound_score", "local_score", "solver_gap")
TERM_NAMES = names.named("terms")
UNITS = {"benefit": "USD of benefit", "cost": "USD of cost", "carbon": "kg of CO₂"}
BENEFIT = ("benefit", "benefit_usd", "USD")
LEAST_TERM_USD = 0.5  # of an episode: smaller terms are not drawn
FEW_EPISODES = 10
BAR_PX = 46


def ladder_section(run: RunFolder) -> Section:
    """Return gain captured, regret split and terms of the bill."""
    summary = run.table(SUMMARY, NEEDED)
    regret = regret_panel(run.table(LADDER, REGRET)) if run.has(LADDER) else None
    panels = [gain_panel(summary), regret, terms_panel(summary), emissions_panel(summary)]
    return Section("ladder", [panel for panel in panels if panel is not None])


def rows_by_policy(summary: Table) -> dict[str, Table]:
    """Return the rows of each policy from the lowest score to the highest, Local-Only first, the optimum last."""
    rows = {name: summary.where(policy=name) for name in summary.unique("policy")}
    rank = {"local_only": -1, names.OPTIMUM: 1}
    order = sorted(rows, key=lambda name: (rank.get(name, 0), rows[name].mean("score")))
    return {name: rows[name] for name in order}


# Gain captured ----------------------------------------------------------------------------------------------


def gain_panel(summary: Table) -> Panel:
    """Return the panel of gain captured: bars from Local-Only (0 %) to the bound (100 %)."""
    rows = rows_by_policy(summary)
    gains = {name: gain_percent(own) for name, own in rows.items()}
    objective = summary.text("objective")[0] if summary.has("objective") else "benefit"
    return Panel(
        "gain",
        [gain_plot(gains, [_gain_hover(name, own, gains[name], objective) for name, own in rows.items()])],
        notes=[solver_note(summary)],
        table=ladder_table(rows, gains),
        facts={"unit": UNITS[objective]},
    )


def gain_percent(rows: Table) -> Interval:
    """Return the gain captured by one policy with its interval, in per cent; NaN where nothing can be gained."""
    score, local, bound = (rows.numbers(name) for name in ("score", "local_score", "bound_score"))
    value = gain_captured(score, local, bound)
    if not np.isfinite(value):
        return Interval(value, value, value)
    gain = gain_interval(score, local, bound)
    return Interval(100.0 * gain.value, 100.0 * gain.low, 100.0 * gain.high)


def policy_bars(policies: Sequence[str], title: str, bound: dict[str, str], **look: Any) -> Drawing:
    """Return bars in the policies' colours, one below the other, with error bars; ``bound`` as in `Drawing.add`."""
    out = drawing(90 + BAR_PX * len(policies), showlegend=False, bargap=0.35)
    out.add(
        "policies",
        bound,
        y=names.labels(policies),
        marker_color=list(map(names.policy_colour, policies)),
        **look,
    )
    out.figure.update_xaxes(title_text=title)
    out.figure.update_yaxes(showgrid=False)
    return out


def gain_plot(gains: dict[str, Interval], hover: Sequence[str]) -> Plot:
    """Return bars of gain captured by policy, in per cent, from Local-Only to the bound."""
    value, low, high = np.array([(gain.value, gain.low, gain.high) for gain in gains.values()]).T
    above, below = whiskers(value, low, high)
    ends = {"error_x_array": above, "error_x_arrayminus": below}
    texts = {"customdata": list(hover), "hovertemplate": "%{customdata}<extra></extra>"}
    out = policy_bars(list(gains), "gain captured [%]", {}, x=names.rounded(value), **ends, **texts)

    # A policy may lie left of Local-Only or, by no more than the solver gap, right of the bound: mark both.
    _mark_line(out, 0.0, "Local-Only")
    _mark_line(out, 100.0, "bound")
    out.figure.update_layout(margin_t=34)
    out.figure.update_xaxes(zeroline=False)
    return out.plot(f"Bars of gain captured for {len(gains)} policies, from Local-Only to the bound")


def _mark_line(out: Drawing, x: float, text: str) -> None:
    """Draw a thin vertical line with a word above it."""
    out.figure.add_vline(
        x=x, line=stroke(palette.INK, 1, dash="dot"), layer="below", annotation_text=text,
        annotation={"y": 1.0, "xanchor": "center", "yanchor": "bottom", "font": {"size": 12, "color": palette.INK}},
    )  # fmt: skip


def _gain_hover(name: str, rows: Table, gain: Interval, objective: str) -> str:
    what, column, unit = ("emissions", "emissions_kg", "kg") if objective == "carbon" else BENEFIT
    return (
        f"<b>{names.safe(names.policy_label(name))}</b><br>gain captured {with_interval(gain)} %"
        f"<br>{what} {with_interval(mean_interval(rows.numbers(column)))} {unit}"
        f"<br>{plural(len(rows), 'episode')}"
    )


def ladder_table(rows: dict[str, Table], gains: dict[str, Interval]) -> PlainTable:
    """Return the figures behind the bars."""
    body = []
    for name, own in rows.items():
        floor = " *" if own.has("meets_floor") and not all(own.numbers("meets_floor")) else ""
        to_bound = gap(own.numbers("score"), own.numbers("bound_score"), own.numbers("reference"))
        body.append(
            (
                names.policy_label(name) + floor,
                with_interval(mean_interval(own.numbers("benefit_usd"))),
                number(own.mean("bill_usd")),
                number(own.mean("emissions_kg") / 1000.0),
                number(own.mean("dropped_gpuh")),
                number(own.mean("path_latency_p95_ms")),
                percent(to_bound, 2),
                f"{with_interval(gains[name])} %",
            )
        )

    headers = ("policy", "benefit, USD", "bill, USD", "emissions, t", "refused work, GPU-h", "path p95, ms")
    return PlainTable((*headers, "gap to the bound", "gain captured"), body)


def solver_note(summary: Table) -> str:
    """Return how well the bound is proven, on how many episodes."""
    seeds, gaps = np.array(summary.text("seed")), summary.numbers("solver_gap")
    worst = float(np.max(gaps, where=np.isfinite(gaps), initial=0.0))
    count, late = len(set(seeds)), len(set(seeds[~np.isfinite(gaps)]))

    proof = proof_of(summary.numbers("bound_is_safe")) if summary.has("bound_is_safe") else ""
    text = f"{plural(count, 'episode')}; the optimum's plan lies within {small_percent(worst)} of its bound{proof}."
    if late:
        text += f" In {plural(late, 'episode')} the solver found no plan in time: the bound still holds."
    if count < FEW_EPISODES:
        text += " With fewer than ten episodes the intervals are rough."
    if summary.has("meets_floor") and not all(summary.numbers("meets_floor")):
        text += " * serves less than the floor of this objective in at least one episode."
    return text


# Emissions --------------------------------------------------------------------------------------------------

INTENSITIES = {"emissions_average_kg": "average", "emissions_marginal_kg": "marginal"}


def emissions_panel(summary: Table) -> Panel | None:
    """Return the panel of emissions by policy, at average and at marginal intensity; None without them."""
    kinds = {column: label for column, label in INTENSITIES.items() if summary.has(column)}
    if not kinds:
        return None
    rows = rows_by_policy(summary)
    store = {
        f"{column}|{part}": values
        for column in kinds
        for part, values in _emissions([mean_interval(own.numbers(column)) for own in rows.values()]).items()
    }
    ends = {"error_x.array": "{column}|above", "error_x.arrayminus": "{column}|below"}
    hover = "%{x:,.4g} t<extra>%{y}</extra>"
    out = policy_bars(
        list(rows), "emissions of an episode [t]", {"x": "{column}|x", **ends}, hovertemplate=hover
    )
    out.figure.update_xaxes(rangemode="tozero")
    plot = out.plot("Bars of mean emissions by policy")
    return Panel("emissions", [plot], [Choice("column", "Intensity", list(kinds.items()))], store)


def _emissions(intervals: list[Interval]) -> dict[str, list[float | None]]:
    value, low, high = np.array([(i.value, i.low, i.high) for i in intervals]).T / 1000.0
    above, below = whiskers(value, low, high)
    return {"x": names.rounded(value), "above": above, "below": below}


# Terms ------------------------------------------------------------------------------------------------------


def term_label(term: str) -> str:
    """Return what a term of the ledger is called in a plot, escaped."""
    return names.safe(TERM_NAMES[term][0] if term in TERM_NAMES else names.words(term))


def terms_panel(summary: Table) -> Panel:
    """Return the panel of the ledger's terms, stacked, by policy."""
    rows = rows_by_policy(summary)
    terms = [
        term
        for term in (*EARNINGS, *BILL, *PENALTIES)
        if np.abs(summary.numbers(f"terms/{term}_usd")).max() > LEAST_TERM_USD
    ]

    # Costs are drawn to the right where revenue is left out, to the left where it is there.
    store: dict[str, Any] = {
        "costs|title": "mean cost of an episode [kUSD]",
        "all|title": "mean earnings (+) and costs (−) [kUSD]",
    }
    for term in terms:
        means = np.array([own.mean(f"terms/{term}_usd") / 1000.0 for own in rows.values()])
        store[f"all|{term}"] = names.rounded(means)
        if term not in EARNINGS:
            store[f"costs|{term}"] = names.rounded(-means)

    return Panel(
        "terms",
        [_terms_plot(rows, terms)],
        [Choice("view", "Show", [("costs", "costs and penalties"), ("all", "all terms, revenue included")])],
        store,
    )


def _terms_plot(rows: dict[str, Table], terms: list[str]) -> Plot:
    out = drawing(130 + BAR_PX * len(rows), barmode="relative", bargap=0.35)
    for term in terms:
        label, colour = term_label(term), TERM_NAMES.get(term, ("", palette.INK))[1]
        hover = label + ": %{x:,.4g} kUSD<extra>%{y}</extra>"
        own: dict[str, Any] = {"name": label, "marker_color": colour, "hovertemplate": hover}
        out.add("terms", {"x": f"{{view}}|{term}"}, y=names.labels(rows), **own)
    out.bind(xaxis_title_text="{view}|title")
    out.figure.update_yaxes(showgrid=False)

    # Said in words for those who do not see the bars.
    best = max(rows, key=lambda name: rows[name].mean("benefit_usd"))
    return out.plot(
        f"Stacked bars of the bill's terms by policy; the highest benefit has {names.policy_label(best)}"
    )
