"""The headroom curve as a picture: new load against the share of its energy cut, and against the hours of a cut."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gridai_env.analysis.headroom import headroom_mw
from gridai_env.arrays.types import Float, Floats
from scripts.runs.pictures import COLOURS, new_figure, png_of

LINES = {"gen": "-", "net": "--", "demand": "-.", "load": "-"}
SHARES = np.geomspace(0.0005, 0.05, 41)


def headroom_figure(loads: Sequence[tuple[str, str, Float[Floats, " H"]]]) -> bytes:
    """Return the PNG of the curves of areas, their series and MW; from the seventh area on colours repeat."""
    from matplotlib.ticker import ScalarFormatter

    figure = new_figure(10.0, 5.0, dpi=110)
    axes: Any = figure.subplots(1, 2, sharey=True)

    areas = list(dict.fromkeys(area for area, _, _ in loads))
    for area, series, mw in loads:
        look = {
            "color": COLOURS[areas.index(area) % len(COLOURS)],
            "linestyle": LINES[series],
            "label": f"{area} {series}".strip(),
        }
        levels = np.array([headroom_mw(mw, share) for share in SHARES])
        hours = [(mw + level > mw.max()).sum() for level in levels]
        axes[0].plot(100.0 * SHARES, levels / 1e3, **look)
        axes[1].plot(hours, levels / 1e3, **look)

    for one, title in zip(axes, ("its energy cut [%]", "hours a year with a cut"), strict=True):
        one.set_xscale("log")
        one.xaxis.set_major_formatter(ScalarFormatter())
        one.set_xlabel(title)
        one.grid(alpha=0.3)
        one.set_ylim(bottom=0.0)
    axes[0].set_ylabel("constant new load [GW]")
    figure.suptitle("Headroom: new load below the highest hour of the year", fontsize=11)
    return png_of(figure, axes[0], columns=6)
