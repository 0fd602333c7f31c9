"""Relocatable demand: how much of the work could run elsewhere, and how much does."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gridai_env.arrays.types import Float, Floats
from scripts.report.data import palette
from scripts.report.data.names import named
from scripts.report.data.parts import Panel, Plot
from scripts.report.data.run_folders import Table
from scripts.report.panels.latency import axes as sweep

RID = named("relocatable")


def rid_panel(rid: Table, axes: Sequence[sweep.Axis], policies: Table) -> Panel:
    """Return the panel of four shares of work that could run elsewhere, or does."""
    classes, names = rid.unique("class"), policies.unique("policy")
    store = sweep.axis_store(axes)
    for axis in axes:
        for class_name in classes:
            rows = rid.where(axis=axis.name, **{"class": class_name})
            for column in RID:
                store[f"{axis.name}|{class_name}|{column}"] = sweep.percents(
                    _complete(sweep.along(rows, axis, column))
                )
        for name in names:
            moved = sweep.along(policies.where(axis=axis.name, policy=name), axis, "rid_real")
            store[f"{axis.name}|all|{name}"] = sweep.percents(_complete(moved))

    return Panel("rid", [_rid_plot(names)], [sweep.axis_choice(axes), sweep.class_choice(classes)], store)


def _rid_plot(policies: Sequence[str]) -> Plot:
    out = sweep.axis_drawing(420)
    for column, (label, colour) in RID.items():
        sweep.add_curve(out, f"{{axis}}|{{class}}|{column}", label, colour, hovertemplate=sweep.SHARE)
    sweep.add_policies(
        out, {name: f"{{axis}}|{{class}}|{name}" for name in policies}, sweep.SHARE, "moved by "
    )
    title = "share of the energy of arrived work [%]"
    out.figure.update_yaxes(title_text=title, range=[-2, 103], title_font_color=palette.MUTED)
    return out.plot("Lines of relocatable demand against the latency budget, four ways")


def _complete(values: Float[Floats, "S P"]) -> Float[Floats, "s P"]:
    """Return the episodes without a missing point."""
    return values[np.isfinite(values).all(axis=1)]
