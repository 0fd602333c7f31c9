"""The map: sites, and the work that regions send to them, on plain longitude and latitude."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gridai_env.arrays.types import Float, Floats
from gridai_env.render.coastline import Outline, land, water
from scripts.report.data import palette
from scripts.report.data.names import plain, rounded, tidy
from scripts.report.data.numbers import NOTHING, number, percent, plural
from scripts.report.data.parts import Panel, Plot, choice_of
from scripts.report.drawing import Drawing, drawing
from scripts.report.panels.comparison.episodes import EpisodeTables
from scripts.report.panels.comparison.flows import WorkFlows, flow_table, mean_flows

Place = dict[str, Any]  # the record of a site or region in the scenario
LAND_COLOUR, SEA_COLOUR = "#e3e6df", "#f3f7fa"
# What the colour of a site may show: column, title of the scale.
COLOURS = {
    "price": ("buy_usd_per_mwh", "mean price, USD/MWh"),
    "carbon": ("carbon_kg_per_mwh", "mean carbon intensity, kg/MWh"),
    "load": ("facility_mw", "mean facility load, MW"),
}
WIDEST_PX, THINNEST_PX = 11.0, 0.7
LEAST_SHOWN = 0.004  # of the largest flow of all policies: smaller ones have no arc
POINTS, ARROW_AT = 26, 17  # points of an arc, and the one that carries the arrow
BEND = 0.2  # of an arc, as a share of its length


def map_panel(episodes: EpisodeTables) -> Panel:
    """Return the map: sites by capacity and price, flows by policy."""
    regions, sites = episodes.run.scenario["regions"], episodes.run.scenario["sites"]
    flows = mean_flows(episodes)
    gpus = [
        float(episodes.shared(episodes.seeds[0], f"available_gpus/{site}").max()) for site in episodes.sites
    ]
    # One arc for each pair that some policy uses; its trace comes after the two of the ground.
    used = np.any([flow > 1e-6 * max(flows.most_gpuh, 1e-9) for flow in flows.away.values()], axis=0)
    arcs = [(c, k) for c, k in np.argwhere(used).tolist()]

    store = _arc_store(flows, arcs, regions, sites) | _site_store(episodes, flows, gpus)
    return Panel(
        "map",
        [_map_plot(regions, sites, arcs, gpus)],
        [
            episodes.policy_choice("policy", "Policy", episodes.pair[1]),
            choice_of("colour", "Colour of sites", COLOURS),
        ],
        store,
        notes=[f"Means over {plural(len(episodes.seeds), 'episode')}. Coastlines: Natural Earth."],
        table=flow_table(flows, episodes.sites),
    )


# Data -------------------------------------------------------------------------------------------------------


def _arc_store(
    flows: WorkFlows, arcs: Sequence[tuple[int, int]], regions: list[Place], sites: list[Place]
) -> dict[str, Any]:
    """Return width, colour and text of each arc under each policy."""
    store: dict[str, Any] = {}
    for policy, away in flows.away.items():
        for c, k in arcs:
            gpuh, of_region = float(away[c, k]), float(flows.all[policy][c].sum())
            share = percent(gpuh / of_region) if of_region > 0 else NOTHING

            # One scale for all policies: a thin arc is a small flow, whichever policy is shown.
            size = gpuh / flows.most_gpuh
            arrow_px = [0] * POINTS
            arrow_px[ARROW_AT] = round(6 + 9 * size**0.5)

            key = f"{policy}|{c}>{k}"
            store |= {
                f"{key}|visible": size > LEAST_SHOWN,
                f"{key}|width": tidy(max(THINNEST_PX, WIDEST_PX * size), 3),
                f"{key}|colour": palette.faint(palette.BLUE, round(0.3 + 0.4 * size**0.5, 2)),
                f"{key}|arrow": arrow_px,
                f"{key}|text": f"<b>{plain(regions[c]['name'])} → {plain(sites[k]['name'])}</b><br>"
                f"{number(gpuh)} GPU-h per day<br>{share} of the region's served work",
            }
    return store


def _site_store(episodes: EpisodeTables, flows: WorkFlows, gpus: list[float]) -> dict[str, Any]:
    """Return colours and hover texts of the sites under each policy."""
    store: dict[str, Any] = {f"title|{key}": title for key, (_, title) in COLOURS.items()}
    for policy in episodes.policies:
        means = {
            key: [episodes.mean(policy, f"{column}/{site}") for site in episodes.sites]
            for key, (column, _) in COLOURS.items()
        }

        done = flows.all[policy].sum(axis=0).tolist()
        store |= {f"{policy}|{key}": rounded(values, 4) for key, values in means.items()}
        store[f"{policy}|hover"] = [
            f"<b>{plain(site)}</b><br>{number(gpus[k])} GPUs<br>price {number(means['price'][k])} USD/MWh<br>"
            f"carbon {number(means['carbon'][k])} kg/MWh<br>load {number(means['load'][k])} MW<br>"
            f"does {number(done[k])} GPU-h per day"
            for k, site in enumerate(episodes.sites)
        ]
    return store


# Figure -----------------------------------------------------------------------------------------------------


def _map_plot(
    regions: list[Place], sites: list[Place], arcs: Sequence[tuple[int, int]], gpus: list[float]
) -> Plot:
    out = _base(_spots([*regions, *sites]))
    for c, k in arcs:
        _add_arc(out, f"{{policy}}|{c}>{k}", *_spots([regions[c], sites[k]]))
    _add_sites(out, sites, gpus)
    return out.plot(f"Map of {len(sites)} sites and the work moved between them")


def _spots(places: list[Place]) -> Float[Floats, "n 2"]:
    """Return longitude and latitude in degrees."""
    return np.array([(place["longitude"], place["latitude"]) for place in places], dtype=float)


def _base(spots: Float[Floats, "n 2"]) -> Drawing:
    """Return land and water around the spots; a degree is as long on both axes in the middle of the map."""
    pad = np.array([14.0, 8.0])
    west, south = np.maximum(spots.min(axis=0) - pad, (-180.0, -60.0))
    east, north = np.minimum(spots.max(axis=0) + pad, (180.0, 78.0))
    out = drawing(560, showlegend=False, plot_bgcolor=SEA_COLOUR, hovermode="closest")
    _add_ground(out, land(), LAND_COLOUR)
    _add_ground(out, water(), SEA_COLOUR)

    # True to scale at the middle latitude, else the north would look too wide.
    bare = {"showgrid": False, "zeroline": False}
    stretch = 1.0 / float(np.cos(np.radians((south + north) / 2.0)))
    out.figure.update_xaxes(
        range=[float(west), float(east)], title_text="longitude [°]", constrain="domain", **bare
    )
    out.figure.update_yaxes(
        range=[float(south), float(north)],
        title_text="latitude [°]",
        scaleanchor="x",
        scaleratio=stretch,
        **bare,
    )
    return out


def _add_ground(out: Drawing, outlines: Sequence[Outline], colour: str) -> None:
    """Add outlines as one trace, a gap between two of them."""
    gap = np.full((1, 2), np.nan)
    x, y = np.concatenate([points for outline in outlines for points in (outline, gap)]).T
    out.add("ground", x=rounded(x), y=rounded(y), fillcolor=colour)


def _add_arc(out: Drawing, key: str, start: Float[Floats, " 2"], end: Float[Floats, " 2"]) -> None:
    """Add a curve that bows to the left of its direction, so that there and back are two; an arrow near its end."""
    along = end - start
    middle = (start + end) / 2.0 + BEND * np.array([-along[1], along[0]])
    s = np.linspace(0.0, 1.0, POINTS)[:, None]
    x, y = ((1 - s) ** 2 * start + 2 * s * (1 - s) * middle + s**2 * end).T
    out.add(
        "arc",
        {
            "visible": f"{key}|visible",
            "line.width": f"{key}|width",
            "line.color": f"{key}|colour",
            "marker.size": f"{key}|arrow",
            "text": f"{key}|text",
        },
        x=rounded(x),
        y=rounded(y),
    )


def _add_sites(out: Drawing, sites: list[Place], gpus: list[float]) -> None:
    """Add the sites' circles and names."""
    x, y = _spots(sites).T
    # The area of a circle, not its radius, follows the number of GPUs: that is what the eye compares.
    size = 9.0 + 21.0 * np.sqrt(np.array(gpus) / max(gpus))
    out.add(
        "sites",
        {
            "marker.color": "{policy}|{colour}",
            "marker.colorbar.title.text": "title|{colour}",
            "hovertext": "{policy}|hover",
        },
        x=x.tolist(),
        y=y.tolist(),
        text=[f"<b>{plain(site['name'])}</b>" for site in sites],
        textposition=label_places(_spots(sites)),
        marker_size=rounded(size, 3),
        marker_color=[0.0] * len(sites),
    )


def label_places(spots: Float[Floats, "K 2"]) -> list[str]:
    """Return where the name of each site stands: above it, but below where its nearest neighbour is close above."""
    wide = max(float(np.ptp(spots[:, 0])), 1.0)
    out = []
    for i, spot in enumerate(spots):
        others = np.delete(spots, i, axis=0) - spot
        near = others[(np.abs(others[:, 0]) < 0.16 * wide) & (np.abs(others[:, 1]) < 0.1 * wide)]
        below = len(near) and near[np.abs(near).sum(1).argmin(), 1] >= 0
        out.append("bottom center" if below else "top center")
    return out
