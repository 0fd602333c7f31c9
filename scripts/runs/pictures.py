"""Pictures of studies: a figure without a window, its one legend below all panels, and its PNG."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Told apart also by people with colour blindness (Okabe and Ito).
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")


def new_figure(width_in: float, height_in: float, dpi: int) -> Figure:
    """Return an empty figure that needs no window."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width_in, height_in), layout="constrained", dpi=dpi)
    FigureCanvasAgg(figure)
    return figure


def png_of(figure: Figure, axes: Any, columns: int, font_size: float = 8) -> bytes:
    """Return the PNG with the legend of ``axes``, in at most so many columns, below all panels."""
    handles, labels = axes.get_legend_handles_labels()
    look = {"ncols": min(len(labels), columns), "fontsize": font_size, "frameon": False}
    figure.legend(handles, labels, loc="outside lower center", **look)
    buffer = BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()
