"""Published figures beside ours, and which assumption moves them."""

from __future__ import annotations

from typing import Any

import numpy as np

from gridai_env.arrays.types import Float, Floats
from scripts.report.data import palette
from scripts.report.data.names import policy_label, rounded, safe, words
from scripts.report.data.numbers import number, with_intervals
from scripts.report.data.parts import Choice, Panel, PlainTable, Plot, Section
from scripts.report.data.run_folders import RunFolder, Table
from scripts.report.drawing import Drawing, drawing, stacked, whiskers

MODELS = {"A": "A: energy geography (arXiv 2604.27855)", "B": "B: prosumer microgrids (arXiv 2605.03751)"}
NEEDED = ("model", "headline", "unit", "published_low", "published_high", "ours", "inside")


def reproduce_sections(run: RunFolder) -> list[Section]:
    """Return headlines, policies and sensitivities; raises InputError where a file is missing or damaged."""
    headlines = run.table("headlines.csv", NEEDED)
    panels = [headlines_panel(headlines)]
    if run.has("policies.csv"):
        panels.append(policies_panel(run.table("policies.csv", ("model", "policy"))))
    if run.has("sensitivity.csv"):
        table = run.table("sensitivity.csv", ("model", "parameter", "value", "quantity", "ours"))
        panels.append(sensitivity_panel(table, headlines))

    return [Section("reproduction", panels)]


# Headlines --------------------------------------------------------------------------------------------------


def headlines_panel(headlines: Table) -> Panel:
    """Return the panel of published ranges against our values, headline by headline."""
    inside = headlines.numbers("inside") == 1
    columns = [headlines.text("model"), headlines.text("headline"), _published(headlines)]
    ours = with_intervals(headlines.numbers("ours"), *_spread(headlines))
    columns += [ours, headlines.text("unit"), ["yes" if ok else "no" for ok in inside]]

    return Panel(
        "headlines",
        [_headlines_plot(headlines)],
        notes=["; ".join(text for name, text in MODELS.items() if name in headlines.text("model")) + "."],
        table=PlainTable(
            ("model", "headline", "published", "ours", "unit", "inside"),
            list(zip(*columns, strict=True)),
            names=2,
        ),
        open_table=True,
        facts={"inside": int(inside.sum()), "all": len(headlines)},
    )


def _headlines_plot(headlines: Table) -> Plot:
    """Return one row of bars per unit: they share no axis."""
    groups = {unit: headlines.where(unit=unit) for unit in headlines.unique("unit")}
    height = 70 + 36 * len(headlines) + 66 * len(groups)
    heights = [len(group) + 0.4 for group in groups.values()]
    gap = min(0.2, 74 / height)
    out = stacked(
        height, heights, gap, shared=False, showlegend=False, barmode="overlay", hovermode="closest"
    )
    for row, (unit, group) in enumerate(groups.items(), start=1):
        _ranges(out, group, row, safe(unit))
    return out.plot("Published ranges and our values by headline")


def _ranges(out: Drawing, group: Table, row: int, unit: str) -> None:
    """Draw the headlines of one unit."""
    pairs = zip(group.text("model"), group.text("headline"), strict=True)
    names = [safe(f"{model}: {text}") for model, text in pairs]
    low, high, ours = (group.numbers(name) for name in ("published_low", "published_high", "ours"))

    # A range that is open at one side, or a single value, is a bar just thick enough to be seen.
    low, high = np.where(np.isfinite(low), low, high), np.where(np.isfinite(high), high, low)
    least = 0.006 * float(np.nanmax(np.abs([low, high, ours])) or 1.0)
    lengths, texts = np.maximum(high - low, least), [f"published {text} {unit}" for text in _published(group)]
    out.add("published", row=row, y=names, x=rounded(lengths), base=rounded(low), text=texts)

    colours = [palette.GREEN if x == 1 else palette.VERMILLION for x in group.numbers("inside")]
    above, below = whiskers(ours, *_spread(group))
    ends: dict[str, Any] = {"error_x_array": above, "error_x_arrayminus": below}
    hover = f"ours %{{x:.4g}} {unit}<extra></extra>"
    out.add("values", row=row, y=names, x=rounded(ours), marker_color=colours, hovertemplate=hover, **ends)
    out.figure.update_xaxes(title_text=f"[{unit}]", title_standoff=2, row=row, col=1)
    out.figure.update_yaxes(autorange="reversed", showgrid=False, row=row, col=1)


def _published(table: Table) -> list[str]:
    """Return published ranges in words, row by row."""

    def text(low: float, high: float) -> str:
        if not np.isfinite(low) and not np.isfinite(high):
            return "no figure"
        if not np.isfinite(high):
            return f"at least {number(low)}"
        if not np.isfinite(low):
            return f"at most {number(high)}"
        return number(low) if low == high else f"{number(low)} to {number(high)}"

    return list(map(text, table.numbers("published_low"), table.numbers("published_high")))


def _spread(table: Table) -> list[Float[Floats, " n"]]:
    """Return the ends of the intervals of our values; NaN where the file has none."""
    unknown = np.full(len(table), np.nan)
    return [table.numbers(name) if table.has(name) else unknown for name in ("low", "high")]


# Policies ---------------------------------------------------------------------------------------------------


def policies_panel(policies: Table) -> Panel:
    """Return the table of results of each policy and variant."""
    columns = [
        name for name in policies.columns if name not in ("model", "policy") and policies.is_numeric(name)
    ]

    cells = [[_cell(name, value) for value in policies.numbers(name)] for name in columns]
    labels = [policy_label(name) for name in policies.text("policy")]

    return Panel(
        "policies",
        table=PlainTable(
            ("model", "policy", *map(_heading, columns)),
            list(zip(policies.text("model"), labels, *cells, strict=True)),
            names=2,
        ),
        open_table=True,
    )


def _heading(column: str) -> str:
    """Return the heading of a column: joint_benefit_over_it, cost_change, ..."""
    if column.startswith("joint_"):
        return f"{column.removeprefix('joint_').removesuffix('_over_it')}: Joint over it"
    for ending, unit in (("_usd", ", USD"), ("_kg", ", kg"), ("_change", " change, %"), ("_share", ", %")):
        if column.endswith(ending):
            return _quantity(column.removesuffix(ending)) + unit
    return _quantity(column)


def _quantity(name: str) -> str:
    return words(name.replace("dropped", "refused_work"))


def _cell(column: str, value: float) -> str:
    return number(100.0 * value if column.endswith("_share") else value)


# Sensitivities ----------------------------------------------------------------------------------------------


def sensitivity_panel(table: Table, headlines: Table) -> Panel:
    """Return the panel of our figures against one assumption at a time."""
    keys = [table.text(name) for name in ("model", "parameter", "quantity")]
    store: dict[str, Any] = {}
    options = []
    for i, (model, parameter, quantity) in enumerate(dict.fromkeys(zip(*keys, strict=True))):
        rows = table.where(model=model, parameter=parameter, quantity=quantity)
        store |= _sensitivity(rows, headlines, str(i))
        options.append((str(i), f"{model}: {_quantity(quantity)} against {_quantity(parameter)}"))

    return Panel("sensitivity", [_sensitivity_plot()], [Choice("pair", "Show", options)], store)


def _sensitivity(rows: Table, headlines: Table, key: str) -> dict[str, Any]:
    """Return one figure against one parameter, and the published range of the figure."""
    # A line needs rising values; the file lists them in the order in which they were tried.
    rows = rows.rows(np.argsort(rows.numbers("value"), kind="stable").tolist())
    model, parameter, quantity = (rows.text(name)[0] for name in ("model", "parameter", "quantity"))
    unit = rows.text("unit")[0] if rows.has("unit") else ""
    x, ours = rows.numbers("value"), rows.numbers("ours")
    above, below = whiskers(ours, *_spread(rows))
    band = published_band(headlines, model, quantity, x, ours)

    store = {
        f"{key}|x": rounded(x),
        f"{key}|y": rounded(ours),
        f"{key}|plus": above,
        f"{key}|minus": below,
        f"{key}|xt": safe(_quantity(parameter)),
        f"{key}|yt": safe(f"{_quantity(quantity)} [{unit}]"),
        f"{key}|colour": palette.CYCLE[list(MODELS).index(model) if model in MODELS else 0],
    }
    if band is not None:
        store |= {f"{key}|band|x": rounded(band[0]), f"{key}|band|y": rounded(band[1])}
    return store


def _sensitivity_plot() -> Plot:
    out = drawing(380, showlegend=False)
    values = {"x": "{pair}|x", "y": "{pair}|y", "line.color": "{pair}|colour"}
    ends = {"error_y.array": "{pair}|plus", "error_y.arrayminus": "{pair}|minus"}
    out.add("ours", values | ends)
    out.add("band", {"x": "{pair}|band|x", "y": "{pair}|band|y"})
    out.bind(xaxis_title_text="{pair}|xt", yaxis_title_text="{pair}|yt")
    return out.plot("Our figure against the value of one parameter")


def published_band(
    headlines: Table, model: str, quantity: str, x: Float[Floats, " n"], y: Float[Floats, " n"]
) -> tuple[Float[Floats, " 4"], Float[Floats, " 4"]] | None:
    """Return the corners of a published range, across all values of a parameter, as x and y; None without one.

    A range that is open at one side ends where our figures do.
    """
    if not headlines.has("quantity"):
        return None
    own = headlines.where(model=model, quantity=quantity)
    ends = np.array([own.numbers(name) for name in ("published_low", "published_high")])
    known = np.flatnonzero(np.isfinite(ends).any(axis=0))
    if not len(known) or not np.isfinite(x).any():
        return None

    low, high = ends[:, known[0]]
    seen = np.array([*y, low, high])
    low = low if np.isfinite(low) else np.nanmin(seen)
    high = high if np.isfinite(high) else np.nanmax(seen)

    first, last = float(np.nanmin(x)), float(np.nanmax(x))
    margin = 0.03 * (last - first) or 0.5
    left, right = first - margin, last + margin
    return np.array([left, right, right, left]), np.array([low, low, high, high])
