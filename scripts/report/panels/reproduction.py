"""Published figures beside ours, and which assumption moves them."""

from __future__ import annotations

from typing import Any

import numpy as np
from plotly.subplots import make_subplots

from scripts.report.data.look import BLUE, CYCLE, GREEN, LOOK, VERMILLION, figure, policy_label, rounded, safe
from scripts.report.data.numbers import number
from scripts.report.data.parts import Choice, Panel, PlainTable, Plot, Section
from scripts.report.data.run_folders import Floats, RunFolder, Table

MODELS = {"A": "A: energy geography (arXiv 2604.27855)", "B": "B: prosumer microgrids (arXiv 2605.03751)"}
NEEDED = ("model", "headline", "unit", "published_low", "published_high", "ours", "inside")


def reproduce_sections(run: RunFolder) -> list[Section]:
    """Headlines, policies and sensitivities; raises InputError where a file is missing or damaged."""
    headlines = run.table("headlines.csv", NEEDED)
    panels = [headlines_panel(headlines)]
    if run.has("policies.csv"):
        panels.append(policies_panel(run.table("policies.csv", ("model", "policy"))))
    if run.has("sensitivity.csv"):
        table = run.table("sensitivity.csv", ("model", "parameter", "value", "quantity", "ours"))
        panels.append(sensitivity_panel(table, headlines))
    return [
        Section(
            "reproduction",
            "Reproduction: published and ours",
            panels,
            "Two published models are rebuilt from their scenario files. Nothing was tuned outside of the ranges that "
            "their papers state to hit a number.",
        )
    ]


def headlines_panel(headlines: Table) -> Panel:
    """Published range against our value, headline by headline, one row of the plot per unit."""
    units = headlines.unique("unit")
    groups = [headlines.where(unit=unit) for unit in units]
    counts = [len(group) for group in groups]
    height = 70 + 36 * sum(counts) + 66 * len(units)
    fig = make_subplots(
        len(units), 1, row_heights=[count + 0.4 for count in counts], vertical_spacing=min(0.2, 74 / height)
    )
    for row, group in enumerate(groups, start=1):
        _ranges(fig, group, row, units[row - 1])
    fig.update_layout(template=LOOK, height=height, showlegend=False, barmode="overlay", hovermode="closest")
    inside = headlines.numbers("inside")
    rows = [
        (
            headlines.text("model")[i],
            headlines.text("headline")[i],
            _range_text(headlines, i),
            _ours_text(headlines, i),
            headlines.text("unit")[i],
            "yes" if inside[i] == 1 else "no",
        )
        for i in range(len(headlines))
    ]
    return Panel(
        "headlines",
        "Headline figures",
        "Grey bars are the published ranges, dots our values with their 95 % intervals: green inside, red outside. "
        f"{int((inside == 1).sum())} of {len(headlines)} lie inside.",
        [Plot(fig, "Published ranges and our values by headline", {})],
        notes=["; ".join(text for name, text in MODELS.items() if name in headlines.text("model")) + "."],
        table=PlainTable(("model", "headline", "published", "ours", "unit", "inside"), rows, names=2),
        open_table=True,
    )


def _ranges(fig: Any, group: Table, row: int, unit: str) -> None:
    names = [
        safe(f"{model}: {text}")
        for model, text in zip(group.text("model"), group.text("headline"), strict=True)
    ]
    low, high, ours = (group.numbers(name) for name in ("published_low", "published_high", "ours"))
    low, high = np.where(np.isfinite(low), low, high), np.where(np.isfinite(high), high, low)
    texts = [f"published {_range_text(group, i)} {safe(unit)}" for i in range(len(group))]
    least = 0.006 * float(np.nanmax(np.abs([low, high, ours])) or 1.0)
    fig.add_bar(
        orientation="h", y=names, x=rounded(np.maximum(high - low, least)), base=rounded(low), width=0.5,
        marker={"color": "#c9d1d8"}, text=texts, textposition="none", hovertemplate="%{y}<br>%{text}<extra></extra>",
        row=row, col=1,
    )  # fmt: skip
    spread = [group.numbers(name) if group.has(name) else ours for name in ("low", "high")]
    fig.add_scatter(
        y=names,
        x=rounded(ours),
        mode="markers",
        marker={"size": 12, "color": [GREEN if x == 1 else VERMILLION for x in group.numbers("inside")]},
        error_x={
            "type": "data",
            "symmetric": False,
            "array": rounded(np.nan_to_num(np.maximum(spread[1] - ours, 0.0))),
            "arrayminus": rounded(np.nan_to_num(np.maximum(ours - spread[0], 0.0))),
            "color": "#3d4752",
            "thickness": 1.6,
            "width": 5,
        },
        hovertemplate=f"ours %{{x:.4g}} {safe(unit)}<extra></extra>",
        row=row,
        col=1,
    )
    fig.update_xaxes(title_text=f"[{safe(unit)}]", title_standoff=2, row=row, col=1)
    fig.update_yaxes(autorange="reversed", showgrid=False, row=row, col=1)


def _range_text(table: Table, i: int) -> str:
    low, high = float(table.numbers("published_low")[i]), float(table.numbers("published_high")[i])
    if not np.isfinite(low) and not np.isfinite(high):
        return "no figure"
    if not np.isfinite(high):
        return f"at least {number(low)}"
    if not np.isfinite(low):
        return f"at most {number(high)}"
    return number(low) if low == high else f"{number(low)} to {number(high)}"


def _ours_text(table: Table, i: int) -> str:
    value = number(float(table.numbers("ours")[i]))
    if not (table.has("low") and table.has("high")):
        return value
    low, high = float(table.numbers("low")[i]), float(table.numbers("high")[i])
    return f"{value} [{number(low)}, {number(high)}]" if np.isfinite(low + high) else value


def policies_panel(policies: Table) -> Panel:
    """What each policy and variant comes to, as a table."""
    columns = [
        name for name in policies.columns if name not in ("model", "policy") and _is_number(policies, name)
    ]
    rows = [
        (
            policies.text("model")[i],
            policy_label(policies.text("policy")[i]),
            *(_cell(name, float(policies.numbers(name)[i])) for name in columns),
        )
        for i in range(len(policies))
    ]
    return Panel(
        "policies",
        "Policies and variants",
        "Means of an episode. Changes are against Local-Only; the last columns set Joint, which may use everything, "
        "against the policy of the row.",
        table=PlainTable(("model", "policy", *map(_heading, columns)), rows, names=2),
        open_table=True,
    )


def _heading(column: str) -> str:
    if column.startswith("joint_"):  # joint_benefit_over_it
        return f"{column.removeprefix('joint_').removesuffix('_over_it')}: Joint over it"
    for ending, unit in (("_usd", ", USD"), ("_kg", ", kg"), ("_change", " change, %"), ("_share", ", %")):
        if column.endswith(ending):
            return _words(column.removesuffix(ending)) + unit
    return _words(column)


def _words(name: str) -> str:
    return name.replace("dropped", "refused_work").replace("_", " ")


def _cell(column: str, value: float) -> str:
    return number(100.0 * value if column.endswith("_share") else value)


def _is_number(table: Table, name: str) -> bool:
    try:
        values = [float(cell) for cell in table.text(name) if cell]
    except ValueError:
        return False
    return bool(values)


def published_band(headlines: Table, model: str, quantity: str, x: Floats, y: Floats) -> list[Floats] | None:
    """Corners of the published range of a quantity, across all values of a parameter, as x and y; None without one.

    A range that is open at one side ends where our figures do.
    """
    if not headlines.has("quantity"):
        return None
    own = headlines.where(model=model, quantity=quantity)
    ends = [own.numbers(name) for name in ("published_low", "published_high")]
    known = np.flatnonzero(np.isfinite(ends[0]) | np.isfinite(ends[1]))
    if not len(known) or not np.isfinite(x).any():
        return None
    low, high = (float(end[known[0]]) for end in ends)
    seen = [*y[np.isfinite(y)], *(end for end in (low, high) if np.isfinite(end))]
    low, high = (low if np.isfinite(low) else min(seen)), (high if np.isfinite(high) else max(seen))
    first, last = float(np.nanmin(x)), float(np.nanmax(x))
    wider = 0.03 * (last - first) or 0.5
    first, last = first - wider, last + wider
    return [np.array([first, last, last, first]), np.array([low, low, high, high])]


def sensitivity_panel(table: Table, headlines: Table) -> Panel:
    """One assumption at a time: our figure against the value of a parameter."""
    pairs = list(
        dict.fromkeys(zip(table.text("model"), table.text("parameter"), table.text("quantity"), strict=True))
    )
    store: dict[str, Any] = {}
    options = []
    for i, (model, parameter, quantity) in enumerate(pairs):
        own = table.where(model=model, parameter=parameter, quantity=quantity)
        unit = own.text("unit")[0] if own.has("unit") else ""
        order = np.argsort(own.numbers("value"), kind="stable")
        own = own.rows(order.tolist())
        ours = own.numbers("ours")
        low, high = (own.numbers(name) if own.has(name) else ours for name in ("low", "high"))
        store |= {
            f"{i}|x": rounded(own.numbers("value")),
            f"{i}|y": rounded(ours),
            f"{i}|plus": rounded(np.nan_to_num(np.maximum(high - ours, 0.0))),
            f"{i}|minus": rounded(np.nan_to_num(np.maximum(ours - low, 0.0))),
            f"{i}|xt": safe(_words(parameter)),
            f"{i}|yt": safe(f"{_words(quantity)} [{unit}]"),
            f"{i}|colour": CYCLE[list(MODELS).index(model) if model in MODELS else 0],
        }
        band = published_band(headlines, model, quantity, own.numbers("value"), ours)
        if band is not None:
            store |= {f"{i}|band|x": rounded(band[0]), f"{i}|band|y": rounded(band[1])}
        options.append((str(i), f"{model}: {_words(quantity)} against {_words(parameter)}"))
    fig = figure(380, showlegend=False)
    fig.add_scatter(
        x=[], y=[], mode="lines+markers", marker={"size": 8}, line={"color": BLUE, "width": 2},
        error_y={"type": "data", "symmetric": False, "thickness": 1.4, "width": 4},
        hovertemplate="%{x}: %{y:.4g}<extra></extra>",
    )  # fmt: skip
    fig.add_scatter(
        x=[], y=[], mode="lines", fill="toself", fillcolor="#c9d1d8", opacity=0.6, line={"width": 0}, hoverinfo="skip",
        zorder=-1,
    )  # fmt: skip
    binds = {
        "data.1.x": "{pair}|band|x",
        "data.1.y": "{pair}|band|y",
        "data.0.x": "{pair}|x",
        "data.0.y": "{pair}|y",
        "data.0.error_y.array": "{pair}|plus",
        "data.0.error_y.arrayminus": "{pair}|minus",
        "data.0.line.color": "{pair}|colour",
        "layout.xaxis.title.text": "{pair}|xt",
        "layout.yaxis.title.text": "{pair}|yt",
    }
    return Panel(
        "sensitivity",
        "Sensitivities",
        "One assumption is changed at a time. A headline that a small change moves in or out of the published range "
        "hangs on that assumption. Grey: the published range of the figure, where there is one.",
        [Plot(fig, "Our figure against the value of one parameter", binds)],
        [Choice("pair", "Show", options)],
        store,
    )
