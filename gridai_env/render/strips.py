"""The strips below the map: price and carbon of every site from the start until now, never beyond."""

from __future__ import annotations

from typing import Any

import numpy as np

from gridai_env.arrays.types import Float, Floats
from gridai_env.render import style
from gridai_env.render.moment import Moment


def draw_strip(axes: Any, view: Moment, past: Float[Floats, "t K"], title: str) -> None:
    """Draw a series as steps, with a line at now.

    The vertical scale, too, knows the past only.
    """
    dt_h, steps = view.compiled.shape.dt_h, view.compiled.shape.steps
    now_h = view.t * dt_h

    edges = np.arange(len(past) + 1) * dt_h
    for k in range(past.shape[1]):
        colour = style.site_colour(k)
        if view.started:
            axes.stairs(past[:, k], edges, baseline=None, color=colour, linewidth=1.3)
        else:
            axes.plot([0.0], past[:, k], marker="o", markersize=3.5, color=colour, clip_on=False)

    low, high = float(past.min()), float(past.max())
    margin = 0.08 * max(high - low, 1.0)
    axes.set(xlim=(0.0, steps * dt_h), ylim=(low - margin, high + margin))

    axes.axvline(now_h, color=style.INK, linewidth=1.0)
    axes.axvspan(now_h, steps * dt_h, color="#f3f5f7", zorder=0)
    _draw_frame(axes, steps * dt_h, title)
    _name_now(axes, now_h, past_end=now_h > 0.9 * steps * dt_h)


def shade_calls(axes: Any, view: Moment) -> None:
    """Shade the steps that are called at each site, past ones and those that are announced."""
    dt_h = view.compiled.shape.dt_h
    for q, k in enumerate(view.compiled.lines.call_site):
        ends = np.flatnonzero(np.diff(view.called[:, q], prepend=False, append=False)) * dt_h
        for first, last in zip(ends[::2], ends[1::2], strict=True):
            axes.axvspan(first, last, facecolor=style.site_colour(k), alpha=0.22, linewidth=0, zorder=0.5)


def _name_now(axes: Any, now_h: float, past_end: bool) -> None:
    """Write "now" right of its line, or above it where there is no room left."""
    offset, side = ((0, 3), "center") if past_end else ((3, -8), "left")
    place: dict[str, Any] = {"xycoords": ("data", "axes fraction"), "textcoords": "offset points"}
    axes.annotate("now", (now_h, 1.0), xytext=offset, ha=side, fontsize=6.5, color=style.INK, **place)


def _draw_frame(axes: Any, hours: float, title: str) -> None:
    axes.set_title(title, fontsize=7.5, color=style.INK, loc="left", pad=3)
    axes.tick_params(labelsize=6.5, length=2.5, color=style.MUTED, labelcolor=style.MUTED)
    axes.locator_params(axis="y", nbins=5)
    step = next(s for s in (1, 2, 3, 6, 12, 24, 48, 168, 336, 720, 2190, 8760) if hours / s <= 9 or s == 8760)
    axes.set_xticks(np.arange(0.0, hours + 1e-9, step))
    axes.set_xlabel("hours since the start", fontsize=6.5, color=style.MUTED, labelpad=1)
    axes.grid(color=style.FAINT, linewidth=0.5)
    axes.set_axisbelow(True)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(style.MUTED)
