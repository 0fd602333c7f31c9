"""The headroom curve as a picture: new load against the share of its energy cut, and against the hours of a cut."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from typing import Any

import numpy as np

from gridai_env.analysis.headroom import headroom_mw
from gridai_env.arrays.types import Float, Floats

# Of areas: colours that people with colour blindness can tell apart (Okabe and Ito).
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
LINES = {"gen": "-", "net": "--", "demand": "-.", "load": "-"}
SHARES = np.geomspace(0.0005, 0.05, 41)


def headroom_figure(loads: Sequence[tuple[str, str, Float[Floats, " H"]]]) -> bytes:
    """Return the PNG of the curves of areas, their series and MW; from the seventh area on colours repeat."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import ScalarFormatter

    figure = Figure(figsize=(10.0, 5.0), layout="constrained", dpi=110)
    FigureCanvasAgg(figure)
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
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside lower center", ncols=min(len(labels), 6), fontsize=8, frameon=False
    )

    buffer = BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()
