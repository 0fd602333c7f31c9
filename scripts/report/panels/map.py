"""The map: sites, and the work that regions send to them, on plain longitude and latitude with own coastlines."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import plotly.graph_objects as go

from gridai_env.render.coastline import LAND, WATER, polygons
from scripts.report.data.look import BLUE, INK, MUTED, faint, figure, plain, rounded, tidy
from scripts.report.data.numbers import number, percent, plural
from scripts.report.data.parts import Choice, Panel, Plot
from scripts.report.data.run_folders import Floats
from scripts.report.panels.episodes import EpisodeTables
from scripts.report.panels.flows import capacity_gpus, flow_table, home_of, mean_flows, site_means

LAND_COLOUR, SEA_COLOUR, SHORE = "#e3e6df", "#f3f7fa", "#c2c9c2"
COLOURS = {
    "price": ("buy_usd_per_mwh", "mean price, USD/MWh"),
    "carbon": ("carbon_kg_per_mwh", "mean carbon intensity, kg/MWh"),
    "load": ("facility_mw", "mean facility load, MW"),
}
WIDEST_PX, THINNEST_PX = 11.0, 0.7
# Flows below this share of the largest one of all policies have no arc.
LEAST_SHOWN = 0.004
# Points of an arc, and the one that carries the arrow.
POINTS, ARROW_AT = 26, 17


def map_panel(episodes: EpisodeTables) -> Panel:
    """Sites by capacity and price, flows by policy."""
    regions, sites = episodes.run.scenario["regions"], episodes.run.scenario["sites"]
    flows = {policy: mean_flows(episodes, policy) for policy in episodes.policies}
    away = {policy: np.where(home_of(regions, sites), 0.0, flow) for policy, flow in flows.items()}
    most = max(float(flow.max()) for flow in away.values())
    fig = _base(regions, sites)
    binds: dict[str, str] = {}
    store: dict[str, Any] = {}
    for c, region in enumerate(regions):
        for k, site in enumerate(sites):
            if all(flow[c, k] <= 1e-6 * max(most, 1e-9) for flow in away.values()):
                continue
            trace = len(fig.data)
            fig.add_trace(_arc(region, site))
            for policy, flow in away.items():
                store |= _arc_values(
                    policy, trace, region["name"], site["name"], flow[c], k, most, flows[policy][c]
                )
            binds |= {
                f"data.{trace}.visible": f"{{policy}}|{trace}|visible",
                f"data.{trace}.line.width": f"{{policy}}|{trace}|width",
                f"data.{trace}.line.color": f"{{policy}}|{trace}|colour",
                f"data.{trace}.marker.size": f"{{policy}}|{trace}|arrow",
                f"data.{trace}.text": f"{{policy}}|{trace}|text",
            }
    trace = len(fig.data)
    fig.add_trace(_site_trace(sites, capacity_gpus(episodes)))
    for policy in episodes.policies:
        for key, (column, _) in COLOURS.items():
            store[f"{policy}|{key}"] = rounded(site_means(episodes, policy, column), 4)
        store[f"{policy}|hover"] = _site_hover(episodes, policy, flows[policy])
    store |= {f"title|{key}": title for key, (_, title) in COLOURS.items()}
    binds |= {
        f"data.{trace}.marker.color": "{policy}|{colour}",
        f"data.{trace}.marker.colorbar.title.text": "title|{colour}",
        f"data.{trace}.hovertext": "{policy}|hover",
    }
    return Panel(
        "map",
        "Where the work goes",
        "Circles are sites: the area follows the number of GPUs, the colour price, carbon or load. Arcs lead from the "
        "region where work arises to the site that does it; their width is the moved work per day, on one scale for "
        "all policies. Work done at home has no arc, "
        "nor have flows below 0.4 % of the widest.",
        [Plot(fig, f"Map of {len(sites)} sites and the work moved between them", binds)],
        [
            Choice("policy", "Policy", episodes.options, episodes.pair[1]),
            Choice("colour", "Colour of sites", [("price", "price"), ("carbon", "carbon"), ("load", "load")]),
        ],
        store,
        notes=[
            f"Means over {plural(len(episodes.seeds), 'episode')}. The outlines of land are schematic, drawn by hand."
        ],
        table=flow_table(regions, sites, away, flows),
    )


def _base(regions: list[dict[str, Any]], sites: list[dict[str, Any]]) -> go.Figure:
    places = [*regions, *sites]
    longitude = [place["longitude"] for place in places]
    latitude = [place["latitude"] for place in places]
    west, east = _span(longitude, 14.0, (-180.0, 180.0))
    south, north = _span(latitude, 8.0, (-60.0, 78.0))
    fig = figure(560, showlegend=False, plot_bgcolor=SEA_COLOUR, hovermode="closest")
    fig.add_trace(_ground(LAND, LAND_COLOUR))
    fig.add_trace(_ground(WATER, SEA_COLOUR))
    squeeze = 1.0 / float(np.cos(np.radians((south + north) / 2.0)))
    fig.update_xaxes(
        range=[west, east], title_text="longitude [°]", showgrid=False, zeroline=False, constrain="domain"
    )
    fig.update_yaxes(
        range=[south, north],
        title_text="latitude [°]",
        showgrid=False,
        zeroline=False,
        scaleanchor="x",
        scaleratio=squeeze,
    )
    return fig


def _span(values: Iterable[float], pad: float, limits: tuple[float, float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    return max(limits[0], low - pad), min(limits[1], high + pad)


def _ground(table: str, colour: str) -> go.Scatter:
    x: list[float | None] = []
    y: list[float | None] = []
    for outline in polygons(table):
        closed = np.vstack([outline, outline[:1]])
        x += [*rounded(closed[:, 0]), None]
        y += [*rounded(closed[:, 1]), None]
    return go.Scatter(
        x=x,
        y=y,
        mode="lines",
        fill="toself",
        fillcolor=colour,
        line={"color": SHORE, "width": 0.8},
        hoverinfo="skip",
    )


def _arc(region: dict[str, Any], site: dict[str, Any]) -> go.Scatter:
    """A curve that bows to the left of its direction, so that there and back are two; an arrow near its end."""
    start = np.array([region["longitude"], region["latitude"]], dtype=float)
    end = np.array([site["longitude"], site["latitude"]], dtype=float)
    along = end - start
    middle = (start + end) / 2.0 + 0.2 * np.array([-along[1], along[0]])
    s = np.linspace(0.0, 1.0, POINTS)[:, None]
    curve = (1 - s) ** 2 * start + 2 * s * (1 - s) * middle + s**2 * end
    return go.Scatter(
        x=rounded(curve[:, 0]),
        y=rounded(curve[:, 1]),
        mode="lines+markers",
        line={"color": faint(BLUE, 0.62), "width": 1, "backoff": 0},
        marker={
            "size": 0,
            "symbol": "arrow",
            "angleref": "previous",
            "color": BLUE,
            "opacity": 1,
            "line": {"width": 0},
        },
        hovertemplate="%{text}<extra></extra>",
        text="",
    )


def _arc_values(
    policy: str,
    trace: int,
    region: str,
    site: str,
    away: Floats,
    k: int,
    most: float,
    all_of_region: Floats,
) -> dict[str, Any]:
    value, whole = float(away[k]), float(all_of_region.sum())
    share = percent(value / whole) if whole > 0 else "–"
    size = value / most
    arrow = [0] * POINTS
    arrow[ARROW_AT] = round(6 + 9 * size**0.5)
    return {
        f"{policy}|{trace}|visible": size > LEAST_SHOWN,
        f"{policy}|{trace}|width": tidy(max(THINNEST_PX, WIDEST_PX * size), 3),
        f"{policy}|{trace}|colour": faint(BLUE, round(0.3 + 0.4 * size**0.5, 2)),
        f"{policy}|{trace}|arrow": arrow,
        f"{policy}|{trace}|text": f"<b>{plain(region)} → {plain(site)}</b><br>{number(value)} GPU-h per day<br>"
        f"{share} of the region's served work",
    }


def _site_trace(sites: list[dict[str, Any]], gpus: list[float]) -> go.Scatter:
    area = np.array(gpus) / max(gpus)
    return go.Scatter(
        x=[site["longitude"] for site in sites],
        y=[site["latitude"] for site in sites],
        mode="markers+text",
        text=[f"<b>{plain(site['name'])}</b>" for site in sites],
        textposition=label_places(sites),
        textfont={"size": 12.5, "color": INK},
        marker={
            "size": rounded(9.0 + 21.0 * np.sqrt(area), 3),
            "color": [0.0] * len(sites),
            "colorscale": "YlOrRd",
            "line": {"color": INK, "width": 1.2},
            "showscale": True,
            "opacity": 1.0,
            "colorbar": {
                "orientation": "h",
                "thickness": 11,
                "len": 0.5,
                "x": 0.0,
                "xanchor": "left",
                "y": -0.17,
                "yanchor": "top",
                "outlinewidth": 0,
                "title": {"text": "", "side": "top", "font": {"size": 12.5, "color": MUTED}},
            },
        },
        hovertext=[],
        hovertemplate="%{hovertext}<extra></extra>",
    )


def label_places(sites: list[dict[str, Any]]) -> list[str]:
    """Above each site, but below it where its nearest neighbour lies close above."""
    spots = np.array([(site["longitude"], site["latitude"]) for site in sites], dtype=float)
    wide = max(float(np.ptp(spots[:, 0])), 1.0)
    out = []
    for i, spot in enumerate(spots):
        others = np.delete(spots, i, axis=0) - spot
        near = others[(np.abs(others[:, 0]) < 0.16 * wide) & (np.abs(others[:, 1]) < 0.1 * wide)]
        out.append(
            "bottom center" if len(near) and near[np.abs(near).sum(1).argmin(), 1] >= 0 else "top center"
        )
    return out


def _site_hover(episodes: EpisodeTables, policy: str, flows: Floats) -> list[str]:
    gpus = capacity_gpus(episodes)
    columns = [site_means(episodes, policy, column) for column, _ in COLOURS.values()]
    return [
        f"<b>{plain(site)}</b><br>{number(gpus[k])} GPUs<br>price {number(columns[0][k])} USD/MWh<br>"
        f"carbon {number(columns[1][k])} kg/MWh<br>load {number(columns[2][k])} MW<br>"
        f"does {number(float(flows[:, k].sum()))} GPU-h per day"
        for k, site in enumerate(episodes.sites)
    ]
