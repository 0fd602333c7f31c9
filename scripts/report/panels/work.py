"""When work arrives, when two policies serve it, and what waits."""

from __future__ import annotations

from typing import Any

from plotly.subplots import make_subplots

from scripts.report.data.look import DATES, GREY, LOOK, policy_colour, policy_label, rounded, safe
from scripts.report.data.parts import Choice, Panel, Plot
from scripts.report.panels.episodes import EpisodeTables, held, seed_options

DIGITS = 4


def work_panel(episodes: EpisodeTables) -> Panel:
    """When work arrives, when two policies serve it, and what waits."""
    prefix = "arrivals_gpuh/"
    table = next(iter(episodes.tables.values()))
    rows = [name.removeprefix(prefix) for name in table.columns if name.startswith(prefix)]
    waits = any(episodes.moves(f"backlog_gpuh/{row}") for row in rows)
    store: dict[str, Any] = {"dx": 3_600_000 * episodes.dt_h}
    for seed in episodes.seeds:
        store[f"start|{seed}"] = episodes.start_ms[seed]
        store[f"end|{seed}"] = (
            episodes.start_ms[seed] + store["dx"]
        )  # what holds at the end of the first step
        for row in rows:
            store[f"{seed}|{row}"] = held(episodes.column(episodes.policies[0], seed, f"{prefix}{row}"))
            for policy in episodes.policies:
                for column in ("served_gpuh", "backlog_gpuh"):
                    values = episodes.column(policy, seed, f"{column}/{row}")
                    store[f"{policy}|{seed}|{column}|{row}"] = (
                        held(values) if column == "served_gpuh" else rounded(values, DIGITS)
                    )
    store |= {f"name|{policy}": safe(policy_label(policy)) for policy in episodes.policies}
    store |= {f"colour|{policy}": policy_colour(policy) for policy in episodes.policies}
    first = next((row for row in rows if episodes.moves(f"backlog_gpuh/{row}")), rows[0])
    left, right = episodes.pair
    return Panel(
        "work",
        "When work is served",
        "The grey area is the work that arrives, the lines what two policies serve. Where a line leaves the area, work "
        "was kept for a better hour or made up for; below is what waits. Rows of classes that may not wait have none.",
        [_work_plot(waits)],
        [
            Choice(
                "row",
                "Workload row",
                [(row, row.replace("/", ", ").replace("_", " ")) for row in rows],
                first,
            ),
            Choice("seed", "Episode (seed)", seed_options(episodes.seeds)),
            Choice("left", "First policy", episodes.options, left),
            Choice("right", "Second policy", episodes.options, right),
        ],
        store,
    )


def _work_plot(waits: bool) -> Plot:
    fig = make_subplots(2 if waits else 1, 1, shared_xaxes=True, vertical_spacing=0.06)
    binds: dict[str, str] = {}

    def add(row: int, key: str, **look: Any) -> None:
        i = len(fig.data)
        begin = "start|{seed}" if row == 1 else "end|{seed}"
        binds.update({f"data.{i}.y": key, f"data.{i}.x0": begin, f"data.{i}.dx": "dx"})
        fig.add_scatter(
            x0=0, dx=1, y=[], mode="lines", row=row, col=1, hovertemplate="%{y:.4g} GPU-h", **look
        )

    add(
        1,
        "{seed}|{row}",
        name="arrivals",
        fill="tozeroy",
        fillcolor="#e3e7ea",
        line={"width": 0.8, "color": GREY, "shape": "hv"},
    )
    for side, dash in (("left", "solid"), ("right", "dash")):
        for row, column, shape in ((1, "served_gpuh", "hv"), (2, "backlog_gpuh", "linear"))[: 1 + waits]:
            trace = len(fig.data)
            look = {"width": 2, "shape": shape, "dash": dash}
            add(
                row, f"{{{side}}}|{{seed}}|{column}|{{row}}", line=look, legendgroup=side, showlegend=row == 1
            )
            binds[f"data.{trace}.name"] = f"name|{{{side}}}"
            binds[f"data.{trace}.line.color"] = f"colour|{{{side}}}"
    fig.update_yaxes(title_text="served [GPU-h]", rangemode="tozero", row=1, col=1)
    if waits:
        fig.update_yaxes(title_text="waiting [GPU-h]", rangemode="tozero", row=2, col=1)
    fig.update_layout(template=LOOK, height=460 if waits else 320, hovermode="x unified", legend={"y": -0.17})
    fig.update_xaxes(**DATES)
    return Plot(fig, "Arrived, served and waiting work of a row over time under two policies", binds)
