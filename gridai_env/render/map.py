"""The map: sites, their cards, the flows between them, day and night."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from gridai_env.arrays.types import Float, Floats
from gridai_env.render import style
from gridai_env.render.arrows import MOST_PX, Arrow, build_arrows, outline, possible_paths
from gridai_env.render.cards import Cards
from gridai_env.render.coastline import Outline, land, water
from gridai_env.render.map_crop import Box, box_at, crop_to, inside, overlap
from gridai_env.render.moment import Moment
from gridai_env.render.night import night
from gridai_env.scenario.compile import Compiled

MOST_ARROWS = 30  # more would hide each other
ARROW_LABELS = 8  # most numbers on arrows
LABEL_SHARE = 0.06  # of the full width: smaller flows get no number
SCALE_PX = (704.0, 764.0)  # the colour scale on the legend, from left to right
FLOW_COLOURS = (style.SESSIONS, style.WAITING)
_PILL = {"boxstyle": "round,pad=0.15", "facecolor": "white", "edgecolor": "none", "alpha": 0.8}
ARROW_TEXT: dict[str, Any] = {"fontsize": 6.5, "zorder": 4, "bbox": _PILL}
NOTE_BOX = box_at(6.0, 4.0, 150.0, 14.0)  # where the map says that small flows are left out


class Chart:
    """Draws the map of one scenario: what never changes once, the rest for every frame."""

    def __init__(self, compiled: Compiled) -> None:
        """Crop the map and place the sites' cards."""
        p = compiled.params
        self.compiled = compiled
        self.width, self.height = style.MAP_BOX[2:]

        sites = np.stack([compiled.sites.longitude, compiled.sites.latitude], axis=-1)
        regions = np.stack([compiled.regions.longitude, compiled.regions.latitude], axis=-1)
        self.crop = crop_to(np.concatenate([sites, regions]), self.width, self.height)
        self.sites, self.regions = self.crop.pixels(sites), self.crop.pixels(regions)

        # Marker areas and arrow widths are relative to the largest site, so that frames can be compared.
        self.full_mw = float((p.gpus * p.busy_kw_per_gpu).max()) / 1000.0 + float(p.base_load_mw.max())
        self.full_gpuh = 0.5 * float((p.gpus * p.utilisation_limit * p.speed).max()) * p.dt_h

        markers = [box_at(x - 12.0, y - 12.0, 24.0, 24.0) for x, y in self.sites]
        paths = possible_paths(self.regions, self.sites, np.any(p.route_open, axis=1))

        # Regions away from any site get a mark and a name of their own.
        self.apart = [c for c, at in enumerate(self.regions) if np.hypot(*(self.sites - at).T).min() >= 12.0]
        names = [self._name_box(c) for c in self.apart]

        # Two kinds of rows may flow on each route; only with many is room needed to say what is left out.
        many = 2 * int(np.any(p.route_open, axis=1).sum()) > MOST_ARROWS
        kept = [*markers, *names, *([NOTE_BOX] if many else [])]

        self.cards = Cards(compiled, self.sites, kept, paths, self.width, self.height)
        self.fixed = [*kept, *self.cards.boxes]

    def _region(self, c: int) -> str:
        return style.clipped(self.compiled.region_names[c], 22)

    def _name_box(self, c: int) -> Box:
        """Return the room that the mark and the name of a region take."""
        x, y = self.regions[c] - 6.0
        return box_at(x, y, 16.0 + 5.2 * len(self._region(c)), 12.0)

    def draw_static(self, axes: Any) -> None:
        """Draw land, water, graticule and the names of regions away from any site."""
        from matplotlib.collections import PolyCollection

        axes.set(xlim=(0, self.width), ylim=(0, self.height), xticks=[], yticks=[], facecolor=style.SEA)
        for spine in axes.spines.values():
            spine.set_color(style.FAINT)
        for outlines, colour in ((land(), style.LAND), (water(), style.SEA)):
            shapes = list(self._on_map(outlines))
            axes.add_collection(PolyCollection(shapes, facecolors=colour, edgecolors="none", zorder=1))

        self._draw_graticule(axes)

        for c in self.apart:
            x, y = self.regions[c]
            axes.plot(x, y, marker="D", markersize=4, color=style.INK, zorder=5)
            axes.text(
                x + 6, y, self._region(c), fontsize=6.5, color=style.INK, va="center_baseline", zorder=5
            )

    def _on_map(self, outlines: Sequence[Outline]) -> Iterator[Outline]:
        """Yield the outlines in pixels, as far as they reach into the map.

        They end at the antimeridian: beyond it the map goes on with what lies a turn further west or east.
        """
        for turn_deg in (-360.0, 0.0, 360.0):
            for shape in outlines:
                moved = shape + np.array([turn_deg, 0.0])
                if moved[:, 0].max() >= self.crop.west and moved[:, 0].min() <= self.crop.east:
                    yield self.crop.pixels(moved)

    def draw(self, axes: Any, legend: Any, view: Moment) -> None:
        """Draw one moment on the map, and the ends of the colour scale on the legend."""
        dark = night(view.time_utc, self.crop)
        extent = (0, self.width, 0, self.height)
        axes.imshow(dark, extent=extent, origin="lower", aspect="auto", interpolation="bilinear", zorder=1.5)

        radius = self._radius_px(view)
        arrows = build_arrows(view.sent_gpuh, self.regions, self.sites, radius, self.full_gpuh)
        self._draw_arrows(axes, arrows[-MOST_ARROWS:])
        if len(arrows) > MOST_ARROWS:
            note = f"the {MOST_ARROWS} largest of {len(arrows)} flows"
            axes.text(NOTE_BOX[0], NOTE_BOX[1] + 3.0, note, color=style.INK, **ARROW_TEXT)

        # The scale of the colour, too, knows the past only.
        low, high = np.percentile(view.past_buy_usd_per_mwh, [2, 98])
        scale = (float(low), max(float(high), float(low) + 1.0))

        self._draw_sites(axes, view, radius, scale)
        self.cards.draw(axes, view)

        text = {"fontsize": 6.3, "va": "center_baseline", "color": style.INK}
        left, right, middle = SCALE_PX[0] - 4.0, SCALE_PX[1] + 4.0, style.LEGEND_BOX[3] / 2.0
        legend.text(left, middle, style.compact_number(scale[0]), ha="right", **text)
        legend.text(right, middle, style.compact_number(scale[1]), **text)

    def draw_legend(self, axes: Any) -> None:
        """Draw the line below the map that explains it; the colour bar stands at its right end."""
        width, height = style.LEGEND_BOX[2:]
        axes.set(xlim=(0, width), ylim=(0, height))
        y = height / 2.0
        text = {"fontsize": 6.3, "va": "center_baseline", "color": style.INK}
        line = {"linewidth": 4.0 * 72 / style.DPI, "solid_capstyle": "butt"}

        for x, colour, label in zip((0, 96), FLOW_COLOURS, ("may not wait", "may wait"), strict=True):
            axes.plot([x, x + 18], [y, y], color=colour, **line)
            axes.text(x + 23, y, label, **text)
        wide = style.compact_number(self.full_gpuh * 4.0 / MOST_PX)
        axes.text(178, y, f"this wide: {wide} GPU-h per step", **text)

        axes.text(360, y, "battery:", **text)
        axes.text(402, y, "charging", **(text | {"color": style.GOOD}))
        axes.text(450, y, "discharging", **(text | {"color": style.BAD}))
        axes.text(528, y, "circle: MW, colour: USD/MWh", **text)

        extent = (*SCALE_PX, y - 4.0, y + 4.0)
        axes.imshow(np.linspace(0, 1, 128)[None], extent=extent, aspect="auto", cmap=style.PRICE_COLOURS)
        # imshow has changed the limits.
        axes.set(xlim=(0, width), ylim=(0, height))

    def _draw_graticule(self, axes: Any) -> None:
        crop = self.crop
        step = next(s for s in (1, 2, 5, 10, 15, 30, 60) if (crop.east - crop.west) / s <= 9 or s == 60)

        line = {"color": "#9fb0bd", "linewidth": 0.5, "alpha": 0.45, "zorder": 2}
        text = {"color": style.MUTED, "fontsize": 6, "zorder": 2.1}

        for degree in range(int(np.ceil(crop.west / step)) * step, int(crop.east) + 1, step):
            x = float(crop.pixels(np.array([degree, 0.0]))[0])
            axes.plot([x, x], [0, self.height], **line)
            name = _degrees((degree + 180) % 360 - 180, "E", "W")
            axes.text(x + 3, self.height - 4, name, va="top", clip_on=True, **text)

        for degree in range(int(np.ceil(crop.south / step)) * step, int(crop.north) + 1, step):
            y = float(crop.pixels(np.array([0.0, degree]))[1])
            axes.plot([0, self.width], [y, y], **line)
            axes.text(self.width - 4, y + 2, _degrees(degree, "N", "S"), ha="right", clip_on=True, **text)

    def _draw_arrows(self, axes: Any, arrows: list[Arrow]) -> None:
        from matplotlib.collections import PolyCollection

        axes.add_collection(
            PolyCollection(
                [outline(arrow) for arrow in arrows],
                facecolors=[FLOW_COLOURS[arrow.kind] for arrow in arrows],
                edgecolors="white",
                linewidths=[0.6 if arrow.width_px > 3.0 else 0.0 for arrow in arrows],
                alpha=0.7,
                zorder=3,
            )
        )

        # Numbers on the largest arrows first, where they hide nothing.
        taken, written = list(self.fixed), 0
        for arrow in reversed(arrows):
            if written == ARROW_LABELS or arrow.gpuh < LABEL_SHARE * self.full_gpuh:
                break
            written += self._draw_arrow_label(axes, arrow, taken)

    def _draw_arrow_label(self, axes: Any, arrow: Arrow, taken: list[Box]) -> bool:
        """Write the GPU-h beside the arrow where there is room; return whether there was."""
        text = style.compact_number(arrow.gpuh)
        wide, tall = 5.6 * len(text) + 4.0, 11.0
        for share in (0.5, 0.4, 0.6, 0.3, 0.7):
            x, y = arrow.line[int(share * (len(arrow.line) - 1))]
            box = box_at(x - wide / 2.0, y - tall / 2.0, wide, tall)
            if inside(box, self.width, self.height) and not overlap(np.array([box]), np.array(taken)).any():
                colour = FLOW_COLOURS[arrow.kind]
                axes.text(x, y, text, color=colour, ha="center", va="center_baseline", **ARROW_TEXT)
                taken.append(box)
                return True
        return False

    def _radius_px(self, view: Moment) -> Float[Floats, " K"]:
        """Return the radius of the markers: their area is the facility's power."""
        share = np.nan_to_num(view.sites.facility_mw / self.full_mw)
        return 5.0 + 10.0 * np.sqrt(np.clip(share, 0.0, 1.2))

    def _draw_sites(
        self, axes: Any, view: Moment, radius: Float[Floats, " K"], scale: tuple[float, float]
    ) -> None:
        """Draw the markers, large ones below small ones."""
        order = np.argsort(-radius, kind="stable")
        axes.scatter(
            self.sites[order, 0],
            self.sites[order, 1],
            s=(2.0 * radius[order] * 72.0 / style.DPI) ** 2,
            c=view.sites.buy_usd_per_mwh[order],
            cmap=style.PRICE_COLOURS,
            vmin=scale[0],
            vmax=scale[1],
            edgecolors=[style.site_colour(int(k)) for k in order],
            linewidths=2.0,
            zorder=6,
        )


def _degrees(degree: int, positive: str, negative: str) -> str:
    return f"{abs(degree)}°{positive if degree > 0 else negative if degree < 0 else ''}"
