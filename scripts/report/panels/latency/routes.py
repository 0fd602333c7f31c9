"""Where work is done and why not elsewhere: layers by class, closed routes by reason."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from scripts.report.data import palette
from scripts.report.data.names import named, rounded, safe
from scripts.report.data.parts import Choice, Panel, Plot
from scripts.report.data.run_folders import Table
from scripts.report.drawing import drawing, stroke
from scripts.report.panels.latency import axes as sweep

LAYERS, REASONS = named("layers"), named("reasons")
# What the bars of closed routes may show: title of the axis, factor on the file's column.
MEASURES = {"share": ("share of the energy of arrived work [%]", 100.0), "routes": ("number of routes", 1.0)}


def layers_panel(layers: Table, axes: Sequence[sweep.Axis]) -> Panel:
    """Return the panel of local, regional and energy-oriented execution along the budget."""
    classes, names = layers.unique("class"), layers.unique("layer")
    store = sweep.axis_store(axes)
    for axis in axes:
        for class_name in classes:
            for layer in names:
                rows = layers.where(axis=axis.name, layer=layer, **{"class": class_name})
                store[f"{axis.name}|{class_name}|{layer}"] = sweep.percents(sweep.along(rows, axis, "share"))

    out = sweep.axis_drawing(400)
    for layer in names:
        label, colour = LAYERS.get(layer, (layer, palette.GREY))
        sweep.add_curve(
            out, f"{{axis}}|{{class}}|{layer}", safe(label), stackgroup="all",
            line=stroke(colour, 1), fillcolor=palette.faint(colour, 0.75), hovertemplate=sweep.SHARE,
        )  # fmt: skip
    out.figure.update_yaxes(title_text="share of served energy [%]", range=[0, 100])

    return Panel(
        "layers",
        [out.plot("Stacked areas of execution layers against the latency budget")],
        [sweep.axis_choice(axes), sweep.class_choice(classes)],
        store,
    )


def closed_panel(closed: Table, axes: Sequence[sweep.Axis]) -> Panel:
    """Return the panel of why routes are closed, by class, at one point of a sweep."""
    classes, reasons = closed.unique("class"), closed.unique("reason")
    shown = [reason for reason in reasons if closed.where(reason=reason).numbers("routes").max() > 0]
    unseen = ", ".join(reason for reason in reasons if reason not in shown)

    # Reasons that close nothing here would only fill the legend.
    store: dict[str, Any] = {f"{measure}|title": title for measure, (title, _) in MEASURES.items()}
    points: list[tuple[str, str]] = []
    for axis in axes:
        for i, point in enumerate(axis.points):
            key = f"{axis.name}:{point}"
            points.append((key, f"{axis.label}: {axis.at(i)}"))
            rows = closed.where(axis=axis.name, point=str(point))
            for reason in shown:
                store |= _closed_means(rows.where(reason=reason), classes, key, reason)

    return Panel(
        "closed",
        [_closed_plot(classes, shown)],
        [
            Choice("at", "Budgets", points, _widest_scale(axes)),
            Choice("measure", "Show", [("share", "share of work"), ("routes", "number of routes")]),
        ],
        store,
        notes=[f"Not in the plot, because they close no route here: {unseen}" if unseen else ""],
    )


def _closed_means(rows: Table, classes: Sequence[str], key: str, reason: str) -> dict[str, Any]:
    """Return means over seeds by class; NaN for a class without rows."""
    own = [rows.where(**{"class": name}) for name in classes]
    return {
        f"{key}|{measure}|{reason}": rounded(
            (factor * one.mean(measure) if len(one) else float("nan") for one in own), 4
        )
        for measure, (_, factor) in MEASURES.items()
    }


def _closed_plot(classes: Sequence[str], reasons: Sequence[str]) -> Plot:
    out = drawing(420, barmode="group", bargap=0.25)
    shown = [safe(sweep.class_label(name)) for name in classes]
    for reason in reasons:
        label, colour = REASONS.get(reason, (reason, palette.GREY))
        bound = {"y": f"{{at}}|{{measure}}|{reason}"}
        out.add("closed", bound, x=shown, name=safe(label), marker_color=colour)

    out.bind(yaxis_title_text="{measure}|title")
    out.figure.update_yaxes(rangemode="tozero")
    return out.plot("Bars of closed routes by reason and class")


def _widest_scale(axes: Sequence[sweep.Axis]) -> str:
    """Return the budgets of the scenario itself where the scale is swept, else the widest point of the first axis."""
    for axis in axes:
        if axis.is_scale:
            return f"{axis.name}:{axis.points[int(np.argmin(np.abs(axis.grid - 1.0)))]}"
    return f"{axes[0].name}:{axes[0].points[-1]}"
