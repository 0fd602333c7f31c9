"""Cards beside the sites: name, power, price, carbon and the battery."""

from __future__ import annotations

from typing import Any

import numpy as np

from gridai_env.arrays.types import Float, Floats
from gridai_env.render import style
from gridai_env.render.labels import place_labels
from gridai_env.render.line_bars import call_words
from gridai_env.render.map_crop import Box
from gridai_env.render.moment import Moment
from gridai_env.scenario.compile import Compiled

TEXT_PX = 5.4  # width of a character
HEIGHT, CALL_HEIGHT = 31.0, 12.0  # the latter more where a line may be called
NAME_LENGTH = 22


class Cards:
    """The cards of all sites; their places never change, so nothing jumps between frames."""

    def __init__(
        self,
        compiled: Compiled,
        sites: Float[Floats, "K 2"],
        taken: list[Box],
        paths: Float[Floats, "n 2"],
        width: float,
        height: float,
    ) -> None:
        """Place a card near every site on a map of this size; all places are in pixels.

        Cards keep off the boxes ``taken`` and, as far as they can, off the points ``paths``.
        """
        self.names = [style.clipped(name, NAME_LENGTH) for name in compiled.site_names]
        self.has_battery = np.asarray(compiled.params.battery_max_mwh > 0)
        # A card holds the longest text that it can get.
        widths = [TEXT_PX * max(len(name) + 11, 24) + self._indent(k) for k, name in enumerate(self.names)]
        may_be_called = np.isin(np.arange(len(widths)), compiled.lines.call_site)
        sizes = list(zip(widths, HEIGHT + CALL_HEIGHT * may_be_called, strict=True))
        self.boxes = place_labels(sites, sizes, taken, paths, width, height)
        self.links = [_link(site, box) for site, box in zip(sites, self.boxes, strict=True)]

    def _indent(self, k: int) -> float:
        return 17.0 if self.has_battery[k] else 7.0

    def draw(self, axes: Any, view: Moment) -> None:
        """Draw all cards."""
        from matplotlib.collections import LineCollection
        from matplotlib.patches import FancyBboxPatch

        colours = [style.site_colour(k) for k in range(len(self.boxes))]
        axes.add_collection(LineCollection(self.links, colors=colours, linewidths=0.9, zorder=5.5))
        for (x, y, right, top), colour in zip(self.boxes, colours, strict=True):
            frame = FancyBboxPatch(
                (x, y), right - x, top - y, boxstyle="round,pad=0,rounding_size=4", linewidth=0.9,
                facecolor="white", edgecolor=colour, alpha=0.93, zorder=7,
            )  # fmt: skip
            axes.add_artist(frame)
        for k in range(len(self.boxes)):
            self._write(axes, view, k)
        self._draw_batteries(axes, view)

    def _write(self, axes: Any, view: Moment, k: int) -> None:
        x, y, right, top = self.boxes[k]
        sites, left = view.sites, x + self._indent(k)
        price = f"{style.compact_number(sites.buy_usd_per_mwh[k])} USD/MWh"
        power = f"{style.compact_number(sites.facility_mw[k])} MW"
        carbon = f"{style.compact_number(sites.carbon_kg_per_mwh[k])} kg/MWh"
        text = {"va": "center_baseline", "zorder": 8, "color": style.INK}
        axes.text(left, top - 9.5, self.names[k], fontsize=7.2, fontweight="bold", **text)
        axes.text(right - 6, top - 9.5, power, fontsize=7, ha="right", **text)
        axes.text(left, top - 22, f"{price}   {carbon}", fontsize=5.8, **(text | {"color": style.MUTED}))
        if lines := [line for line in view.lines if line.may_be_called and line.rule.site == k]:
            # Of several: the tightest that is called, or that with the next call.
            line = min(
                lines, key=lambda one: (not one.is_called, one.limit_mw if one.is_called else one.hours)
            )
            words, colour = call_words(line)
            words = f"called: {style.compact_number(line.limit_mw)} MW" if line.is_called else words
            axes.text(left, y + 8, words, fontsize=6.2, **(text | {"color": colour}))

    def _draw_batteries(self, axes: Any, view: Moment) -> None:
        """Draw bars filled to the state of charge, green while charging, red while discharging."""
        from matplotlib.collections import PolyCollection

        fills, colours, frames, poles = [], [], [], []
        for k in np.flatnonzero(self.has_battery):
            x, y = self.boxes[k][0] + 5.0, self.boxes[k][1] + 4.0
            tall = self.boxes[k][3] - self.boxes[k][1] - 9.0
            power_mw = np.nan_to_num(view.sites.battery_mw[k])
            colours.append(style.GOOD if power_mw > 1e-6 else style.BAD if power_mw < -1e-6 else style.MUTED)
            fills.append(_corners(x, y, 7.0, tall * float(np.clip(view.sites.battery_share[k], 0.0, 1.0))))
            frames.append(_corners(x, y, 7.0, tall))
            poles.append(_corners(x + 2.0, y + tall, 3.0, 2.0))
        ink = style.INK
        axes.add_collection(PolyCollection(fills, facecolors=colours, edgecolors="none", zorder=8))
        axes.add_collection(PolyCollection(frames, facecolors="none", edgecolors=ink, lw=0.8, zorder=8.1))
        axes.add_collection(PolyCollection(poles, facecolors=ink, edgecolors="none", zorder=8.1))


def _corners(x: float, y: float, width: float, height: float) -> list[tuple[float, float]]:
    return [(x, y), (x + width, y), (x + width, y + height), (x, y + height)]


def _link(site: Float[Floats, " 2"], box: Box) -> Float[Floats, "2 2"]:
    """Return the shortest line from a site to its card."""
    return np.array([site, [np.clip(site[0], box[0], box[2]), np.clip(site[1], box[1], box[3])]])
