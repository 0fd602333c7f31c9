"""One picture of one moment, drawn without a screen and without pyplot."""

from typing import Any

import numpy as np
from gymnasium.error import DependencyNotInstalled
from numpy.typing import NDArray

from gridai_env.episodes.instance import Instance
from gridai_env.render import style
from gridai_env.render.map import Chart
from gridai_env.render.moment import Moment, look
from gridai_env.render.panel import SidePanel, draw_header
from gridai_env.render.strips import draw_strip, shade_calls
from gridai_env.scenario.compile import Compiled
from gridai_env.version import pip_install
from gridai_env.world.state import Flows, Outcome, State


class Renderer:
    """Draws frames of episodes of one scenario on one figure, which it keeps and clears.

    ``figure`` has the axes ``header_axes``, ``map_axes``, ``legend_axes`` and ``side_axes``, and two more for the
    strips of every frame; ``chart`` knows where things lie on the map.
    """

    def __init__(self, compiled: Compiled) -> None:
        """Prepare the figure; raises DependencyNotInstalled where Matplotlib is missing."""
        self.figure, self.canvas = _blank()
        self.compiled = compiled
        self.chart, self._panel = Chart(compiled), SidePanel(compiled)
        with _settings():
            self._draw_static()

    def _draw_static(self) -> None:
        """Draw what all frames share and keep it as pixels: most of the time goes into text."""
        self.figure.set_facecolor(style.PAPER)
        self.header_axes = self._axes(style.HEADER_BOX, bare=True)
        self.map_axes, self.side_axes = self._axes(style.MAP_BOX), self._axes(style.PANEL_BOX, bare=True)
        self.chart.draw_static(self.map_axes)
        self.legend_axes = self._axes(style.LEGEND_BOX, bare=True)
        self.chart.draw_legend(self.legend_axes)
        self._panel.draw_static(self.side_axes)

        # Every frame starts from these pixels; only artists that are not in _kept are drawn and removed again.
        self.canvas.draw()
        self._background = self.canvas.copy_from_bbox(self.figure.bbox)
        self._kept = {axes: set(axes.get_children()) for axes in self.figure.axes}

    def frame(
        self,
        instance: Instance,
        t: int,
        state: State,
        flows: Flows | None,
        outcome: Outcome | None,
        totals: dict[str, float],
    ) -> NDArray[np.uint8]:
        """Return a new picture [720, 1280, 3] of the moment after ``t`` steps.

        ``state`` is the one after step t-1; ``flows`` and ``outcome`` are those of step t-1, None at t = 0
        and where they are not known.  ``totals`` are the sums so far under the names of the info of the
        environment (``benefit_usd``, ``bill_usd``, ``emissions_kg``, ``arrived_gpuh``, ``served_gpuh``,
        ``dropped_gpuh``, ``terms/<name>_usd``); at t = 0 they are not read.  No record has a batch axis.
        Prices and carbon are those of step t-1 (at t = 0: of the first step); later steps are not drawn.
        Raises ValueError for an instance of another scenario or a ``t`` that does not go with the flows.
        """
        if instance.compiled.hash != self.compiled.hash:
            raise ValueError(
                f"instance of scenario {instance.scenario_name!r} ({instance.compiled.hash[:12]}): "
                f"this renderer draws {self.compiled.name!r} ({self.compiled.hash[:12]})"
            )
        view = look(instance, t, state, flows, outcome, totals)
        with _settings():
            self._forget()
            self._draw(view)
            self._paint()
        return np.asarray(self.canvas.buffer_rgba())[..., :3].copy()

    def _forget(self) -> None:
        """Remove what the frame before added."""
        for axes in self.figure.axes:
            if axes not in self._kept:
                axes.remove()
                continue
            for artist in set(axes.get_children()) - self._kept[axes]:
                artist.remove()

    def _draw(self, view: Moment) -> None:
        """Add the artists of one moment."""
        draw_header(self.header_axes, view)
        self.chart.draw(self.map_axes, self.legend_axes, view)
        self._panel.draw(self.side_axes, view)
        prices, shaded = self._axes(style.PRICE_BOX), " (shaded: called, as far as known)"
        may_be_called = bool(self.compiled.lines.calls)
        title = f"price of import, USD/MWh{shaded if may_be_called else ''}"
        draw_strip(prices, view, view.past_buy_usd_per_mwh, title)
        shade_calls(prices, view)
        title = f"{view.compiled.carbon_signal} carbon intensity of the grid, kg CO₂/MWh"
        draw_strip(self._axes(style.CARBON_BOX), view, view.past_carbon_kg_per_mwh, title)

    def _paint(self) -> None:
        """Put the new artists on the kept pixels."""
        self.canvas.restore_region(self._background)
        for axes in self.figure.axes:
            if axes not in self._kept:
                axes.draw(self.canvas.get_renderer())
                continue
            new = [artist for artist in axes.get_children() if artist not in self._kept[axes]]
            for artist in sorted(new, key=lambda a: a.get_zorder()):
                axes.draw_artist(artist)

    def _axes(self, box: tuple[float, ...], bare: bool = False) -> Any:
        """Return axes at a box in pixels; bare ones have no frame."""
        left, bottom, width, height = box
        wide, tall = style.WIDTH_PX, style.HEIGHT_PX
        axes = self.figure.add_axes((left / wide, bottom / tall, width / wide, height / tall))
        if bare:
            axes.set_axis_off()
        return axes


# Whatever the user's own settings are, frames look the same.
_SETTINGS: Any = {
    "font.family": "DejaVu Sans",
    "text.usetex": False,
    "axes.facecolor": "white",
    "axes.linewidth": 0.8,
    "axes.unicode_minus": True,
    "path.simplify": True,
}


def _settings() -> Any:
    """Return a context in which Matplotlib has the settings of the frames."""
    from matplotlib import rc_context

    return rc_context(_SETTINGS)


def _blank() -> tuple[Any, Any]:
    """Return an empty figure and its canvas."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise DependencyNotInstalled(f"drawing frames needs Matplotlib: {pip_install('render')}") from error
    figure = Figure(figsize=(style.WIDTH_PX / style.DPI, style.HEIGHT_PX / style.DPI), dpi=style.DPI)
    return figure, FigureCanvasAgg(figure)
