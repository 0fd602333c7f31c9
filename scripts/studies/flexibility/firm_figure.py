"""The cost of a connection that is firm in part as a picture: a line for each set of levers and each policy.

Beside them, where they are known, bars of the Shapley values of the levers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from scripts.runs.pictures import COLOURS, new_figure, png_of
from scripts.runs.tables import Row


def firm_figure(rows: Sequence[Row], values: Sequence[Row], hours_a_year: float, title: str) -> bytes:
    """Return the PNG of cost and break-even discount against the firm share, for one number of called hours.

    ``rows`` of flexibility.csv, ``values`` of shapley.csv.
    """
    figure = new_figure(14.0 if values else 10.0, 5.0, dpi=110)
    axes: Any = figure.subplots(1, 3 if values else 2)
    mine = [row for row in rows if row["hours_a_year"] == hours_a_year]
    looks = _looks(list(dict.fromkeys((row["label"], row["kind"]) for row in mine)))

    panels = (
        ("cost_usd_per_mw_year", "cost, kUSD per non-firm MW and year"),
        ("break_even_usd_per_mw_year", "break-even discount, kUSD per MW and year"),
    )
    for one, (column, words) in zip(axes, panels, strict=False):
        for label, look in looks.items():
            curve = [row for row in mine if row["label"] == label]
            percent = [100.0 * row["firm_share"] for row in curve]
            one.plot(
                percent, [row[column] / 1e3 for row in curve], label=label, marker="o", markersize=3.5, **look
            )
        one.set_xlabel("firm share of the connection [%]")
        one.set_ylabel(words)
        one.set_ylim(bottom=min(0.0, one.get_ylim()[0]))
        one.grid(alpha=0.3)
    axes[0].set_xlim(axes[1].get_xlim())  # at 100 % no MW is left to spread a cost over

    own = [row for row in values if row["hours_a_year"] == hours_a_year]
    if own:
        names = [row["lever"] for row in own]
        colours = [looks[name]["color"] if name in looks else "#999999" for name in names]
        axes[2].barh(names, [row["usd_per_mw_year"] / 1e3 for row in own], color=colours)
        axes[2].invert_yaxis()
        axes[2].set_xlabel("cost taken away, kUSD per non-firm MW and year")
        axes[2].set_title(f"Shapley values at {100.0 * own[0]['firm_share']:g} % firm", fontsize=10)
        axes[2].grid(axis="x", alpha=0.3)

    figure.suptitle(f"{title}; {hours_a_year:g} called hours a year", fontsize=11)
    return png_of(figure, axes[0], columns=7, font_size=9)


def _looks(columns: Sequence[tuple[str, str]]) -> dict[str, dict[str, Any]]:
    """Return colour and stroke of each label: none grey, all black, policies dashed."""
    own = {"none": "#777777", "all": "#000000"}
    colours = iter(COLOURS * (1 + len(columns) // len(COLOURS)))
    return {
        label: {
            "color": own.get(label) or next(colours),
            "linestyle": "-" if kind == "optimum" else "--",
            "linewidth": 2.4 if label in own else 1.5,
        }
        for label, kind in columns
    }
