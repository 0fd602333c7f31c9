"""The parts of the report that a frontier fills: what a millisecond buys, and where work is done."""

from scripts.report.data.parts import Section
from scripts.report.data.run_folders import RunFolder, Table
from scripts.report.panels.latency.axes import axes_of
from scripts.report.panels.latency.curves import curves_panel
from scripts.report.panels.latency.relocatable import rid_panel
from scripts.report.panels.latency.returns import returns_panel
from scripts.report.panels.latency.routes import closed_panel, layers_panel
from scripts.report.panels.latency.worth import worth_panel

PLACE = ("seed", "point", "axis")


def frontier_sections(run: RunFolder) -> list[Section]:
    """Return frontier, layers and closed routes; raises InputError where a file is missing or damaged."""
    frontier = run.table("frontier.csv", (*PLACE, "budget_ms", "scale", "objective", "value", "bound"))
    # Policies are played only where the command was asked to.
    none = Table(run.folder, {"policy": []}, [])
    policies = run.table("policies.csv", (*PLACE, "policy")) if run.has("policies.csv") else none
    axes = axes_of(frontier)

    panels = [
        curves_panel(frontier, axes, policies),
        returns_panel(run.table("returns.csv", ("quantity", "axis")), axes),
        rid_panel(run.table("rid.csv", (*PLACE, "class")), axes, policies),
    ]
    routes = [
        layers_panel(run.table("layers.csv", (*PLACE, "class", "layer", "share")), axes),
        closed_panel(run.table("closed.csv", ("point", "axis", "class", "reason", "routes", "share")), axes),
    ]
    if run.has("breakeven.csv"):
        worth = run.table("breakeven.csv", ("class", "region", "site"))
        first = worth.where(seed=worth.unique("seed")[0]) if worth.has("seed") else worth
        routes.append(worth_panel(first, run))

    return [Section("frontier", panels), Section("routes", routes)]
