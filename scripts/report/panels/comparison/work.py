"""When work arrives, when two policies serve it, and what waits."""

from typing import Any

from scripts.report.data import palette
from scripts.report.data.names import rounded, safe, words
from scripts.report.data.parts import Choice, Panel, Plot
from scripts.report.drawing import DATES, stacked, stroke
from scripts.report.panels.comparison.episodes import DIGITS, EpisodeTables, held, over_time

ARRIVALS = "arrivals_gpuh/"


def work_panel(episodes: EpisodeTables) -> Panel:
    """Return the panel of work over time: arrived, served by two policies, waiting."""
    table = next(iter(episodes.tables.values()))
    rows = [name.removeprefix(ARRIVALS) for name in table.columns if name.startswith(ARRIVALS)]

    # At first a row is shown that waits: there is something to see.
    waiting = [row for row in rows if episodes.moves(f"backlog_gpuh/{row}")]
    return Panel(
        "work",
        [_work_plot(waits=bool(waiting))],
        [
            Choice(
                "row",
                "Workload row",
                [(row, words(row.replace("/", ", "))) for row in rows],
                waiting[0] if waiting else rows[0],
            ),
            *episodes.pair_choices(),
        ],
        _work_store(episodes, rows),
    )


def _work_store(episodes: EpisodeTables, rows: list[str]) -> dict[str, Any]:
    store = episodes.pair_store()

    for seed in episodes.seeds:
        store[f"utc|{seed}"] = safe(episodes.axis_title(seed))
        for row in rows:
            store[f"{seed}|{row}"] = held(episodes.shared(seed, ARRIVALS + row))
            for policy in episodes.policies:
                served = episodes.column(policy, seed, f"served_gpuh/{row}")
                backlog = episodes.column(policy, seed, f"backlog_gpuh/{row}")
                store[f"{policy}|{seed}|served_gpuh|{row}"] = held(served)
                store[f"{policy}|{seed}|backlog_gpuh|{row}"] = rounded(backlog, DIGITS)
    return store


def _work_plot(waits: bool) -> Plot:
    heights = (1, 1) if waits else (1,)
    out = stacked(460 if waits else 320, heights, 0.06, hovermode="x unified")
    hover = "%{y:.4g} GPU-h"

    over_time(
        out, "{seed}|{row}", 1, name="arrivals", fill="tozeroy", fillcolor="#e3e7ea", line=stroke(palette.GREY, 0.8),
        hovertemplate=hover,
    )  # fmt: skip
    for side, dash in (("left", "solid"), ("right", "dash")):
        for row, column in enumerate(("served_gpuh", "backlog_gpuh")[: len(heights)], start=1):
            trace = len(out.figure.data)
            over_time(
                out, f"{{{side}}}|{{seed}}|{column}|{{row}}", row, at_end=row == 2, line={"width": 2, "dash": dash},
                legendgroup=side, showlegend=row == 1, hovertemplate=hover,
            )  # fmt: skip
            out.binds |= {
                f"data.{trace}.name": f"name|{{{side}}}",
                f"data.{trace}.line.color": f"colour|{{{side}}}",
            }

    for row, title in enumerate(("served [GPU-h]", "waiting [GPU-h]")[: len(heights)], start=1):
        out.figure.update_yaxes(title_text=title, rangemode="tozero", row=row, col=1)
    out.figure.update_xaxes(**DATES)
    out.bind(**{f"xaxis{len(heights) if waits else ''}_title_text": "utc|{seed}"})
    return out.plot("Arrived, served and waiting work of a row over time under two policies")
