"""Four things followed from entry to end: their routes through the rooms, as data and as drawings.

A stop is a room with the functions that the thing passes there, as ``module:name``.  `tests/house/test_docs.py` checks
that every function exists and that no route passes a room more than twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from itertools import pairwise


@dataclass(frozen=True)
class Stop:
    """One pass through a room."""

    room: str  # package
    functions: tuple[str, ...]  # module within the room:name
    what: str


@dataclass(frozen=True)
class Route:
    """A thing and the rooms that it passes."""

    title: str
    about: str
    stops: tuple[Stop, ...]


ROUTES = {
    "action": Route(
        "An action",
        "Entry: `env.step(action)`. End: reward and next observation.",
        (
            Stop(
                "gridai_env.envs",
                ("env:GridAIEnv.step", "arguments:checked_action", "simulator:Simulator.step"),
                "checks shape and range, hands it to the simulator",
            ),
            Stop(
                "gridai_env.world",
                ("actions:decode", "feasible:project_load", "physics:next_state", "terms:settle"),
                "request, feasible flows, next state, terms in USD",
            ),
            Stop(
                "gridai_env.envs",
                ("step_figures:figures_of", "observer:Observer.observe"),
                "reward and info, numbers of the next state",
            ),
            Stop(
                "gridai_env.observation",
                ("layout:ObservationLayout.as_dict",),
                "named parts of the observation",
            ),
        ),
    ),
    "price": Route(
        "A price",
        "Entry: a row of a trace file. End: the term `import` and the part `buy_price`.",
        (
            Stop(
                "gridai_env.traces",
                ("files.zones:read_table", "files.zones:TraceTable.window", "series:ZoneSeries"),
                "read, checked, cut to the episode in steps",
            ),
            Stop(
                "gridai_env.episodes",
                ("exogenous:site_series", "exogenous:exogenous_arrays", "instance:Instance"),
                "adders and shocks of the site: buy_usd_per_mwh [T,K]",
            ),
            Stop("gridai_env.envs", ("simulator:Simulator", "ring:Ring"), "the price of this step"),
            Stop("gridai_env.world", ("terms:site_terms",), "import = - dt x price x import_mw"),
            Stop(
                "gridai_env.envs",
                ("step_figures:figures_of", "observer:Observer.observe"),
                "terms/import_usd in info; price in the observation",
            ),
            Stop("gridai_env.observation", ("layout:Part",), "buy_price = price / 100"),
        ),
    ),
    "key": Route(
        "A scenario key",
        "Entry: `battery: {capacity_mwh: 8.0}` in a YAML file. End: a limit of the physics.",
        (
            Stop(
                "gridai_env.scenario",
                ("load:load_scenario", "spec:Battery", "checks:check_scenario", "compile:compile_scenario"),
                "read, validated, compiled: Params.battery_max_mwh [K]",
            ),
            Stop(
                "gridai_env.episodes",
                ("instance:make_instance", "build:initial_state"),
                "the battery at the start of an episode",
            ),
            Stop("gridai_env.envs", ("simulator:Simulator",), "parameters of the batch"),
            Stop(
                "gridai_env.world",
                ("feasible:battery_within_energy", "physics:next_battery_mwh", "physics:slacks"),
                "limit of charging; 'battery full' for the optimum",
            ),
            Stop("gridai_env.observation", ("layout:ObservationLayout",), "scale of the part battery"),
        ),
    ),
    "plan": Route(
        "A plan",
        "Entry: values of the solver's variables. End: the benefit that the environment pays for it.",
        (
            Stop(
                "baselines.optimum",
                ("relax_and_round:ProgramSolver.solve", "milp:read_plan", "milp:replayed"),
                "values become flows, derived ones at their least",
            ),
            Stop(
                "gridai_env.envs", ("simulator:Simulator.step_flows",), "replays the flows: objective to 1e-9"
            ),
            Stop(
                "gridai_env.world",
                ("feasible:to_normal_form", "actions:encode", "physics:next_state"),
                "normal form; flows as actions",
            ),
            Stop("baselines.optimum", ("milp:Plan",), "plan, bound, gap"),
            Stop("gridai_env.rollout", ("run:run",), "plays the actions"),
            Stop("gridai_env.envs", ("env:GridAIEnv.step",), "the public step, as for any policy"),
            Stop(
                "gridai_env.world",
                ("actions:decode", "feasible:project_load", "terms:settle"),
                "the same flows again; the ledger",
            ),
            Stop("gridai_env.rollout", ("trajectory:Trajectory",), "benefit = objective, to 1e-6"),
        ),
    ),
}

COLOURS = {
    "gridai_env.traces": "#c98a2b",
    "gridai_env.scenario": "#7a5ea8",
    "gridai_env.episodes": "#3f8f6b",
    "gridai_env.world": "#b8443e",
    "gridai_env.envs": "#2f6f9f",
    "gridai_env.observation": "#4f7f8f",
    "gridai_env.rollout": "#6b7a3a",
    "baselines.optimum": "#8a5a3c",
}
WIDTH, ROW, BOX, TOP = 760, 74, 172, 14


def drawing(route: Route) -> str:
    """Return a route as an SVG: a box for each pass through a room, what happens beside it."""
    rooms = list(dict.fromkeys(stop.room for stop in route.stops))
    column = {room: 12 + 26 * i for i, room in enumerate(rooms)}
    text_x = 12 + 26 * (len(rooms) - 1) + BOX + 22
    height = TOP + ROW * len(route.stops)
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" '
        f'aria-label="{escape(route.title)}" font-family="system-ui, sans-serif" font-size="13">',
        f'<rect width="{WIDTH}" height="{height}" rx="8" fill="#fbfaf7"/>',
    ]
    for i, (a, b) in enumerate(pairwise(route.stops)):
        x0, x1 = column[a.room] + BOX / 2, column[b.room] + BOX / 2
        y0, y1 = TOP + ROW * i + 42, TOP + ROW * (i + 1) - 2
        out.append(f'<line x1="{x0}" y1="{y0}" x2="{x1}" y2="{y1}" stroke="#555" stroke-width="2"/>')
        arrow = f"M{x1 - 5} {y1 - 6} L{x1} {y1 + 2} L{x1 + 5} {y1 - 6}"
        out.append(f'<path d="{arrow}" fill="none" stroke="#555" stroke-width="2"/>')
    for i, stop in enumerate(route.stops):
        x, y = column[stop.room], TOP + ROW * i
        label = f'x="{x + BOX / 2}" y="{y + 26}" fill="#fff" text-anchor="middle"'
        mono = 'font-family="ui-monospace, monospace" font-size="11"'
        names = ", ".join(function.split(":")[1] for function in stop.functions)
        out += [
            f'<rect x="{x}" y="{y}" width="{BOX}" height="42" rx="6" fill="{COLOURS[stop.room]}"/>',
            f"<text {label}>{i + 1}  {stop.room}</text>",
            f'<text x="{text_x}" y="{y + 17}" fill="#222">{escape(stop.what)}</text>',
            f'<text x="{text_x}" y="{y + 35}" fill="#666" {mono}>{escape(names)}</text>',
        ]
    return "\n".join([*out, "</svg>"]) + "\n"


def routes_page() -> str:
    """Return the routes as Markdown, each with its drawing."""
    parts = []
    for route in ROUTES.values():
        parts.append(
            f"### {route.title}\n\n{route.about}\n\n"
            f'```{{raw}} html\n<div class="route">\n{drawing(route)}</div>\n```\n'
        )
    return "\n".join(parts)
