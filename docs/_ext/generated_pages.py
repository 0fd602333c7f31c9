"""Tables of the documentation that are made from the code and from committed results, never typed.

Every function whose name stands in `PAGES` returns Markdown; the build writes it to ``docs/_generated/NAME.inc.md``,
and pages take it in with ``{include}``.  Files that pages offer for download are written by `write_indices`.
"""

from __future__ import annotations

import ast
import csv
import inspect
import io
import json
import re
import tomllib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import yaml
from routes import routes_page

import gridai_env
from gridai_env.benchmarks.evaluation import HEADERS, Evaluation, Figures
from gridai_env.benchmarks.published import read_set
from gridai_env.benchmarks.sets import BenchmarkError
from gridai_env.envs import step_figures
from gridai_env.envs.action_space import names_of_actions
from gridai_env.envs.env import GridAIEnv
from gridai_env.observation.layout import ObservationLayout
from gridai_env.scenario.compile import Compiled, compile_scenario
from gridai_env.scenario.load import load_scenario
from gridai_env.scenario.spec import Scenario
from gridai_env.traces import known_zones
from gridai_env.traces.files.formats import OPTIONAL, REQUIRED
from gridai_env.version import environment_version
from gridai_env.world import state, terms
from gridai_env.world.actions import Layout
from scripts.studies.learning.run import CURVES, TABLE, missing
from scripts.studies.learning.study import load_study

DOCS = Path(__file__).resolve().parents[1]
ROOT = DOCS.parent
GENERATED = DOCS / "_generated"
NO_BREAK = "\N{NO-BREAK SPACE}"  # a number and its sign stay on one line
IDS: dict[str, str] = {id_: name for id_, name in gridai_env.IDS.items() if name is not None}


def table(header: Iterable[str], rows: Iterable[Iterable[Any]], left: int | None = None) -> str:
    """Return a Markdown table; columns from index ``left`` on are right-aligned (numbers)."""
    lines = [list(header), *([str(cell) for cell in row] for row in rows)]
    width = len(lines[0])
    if any(len(line) != width for line in lines):
        raise ValueError(f"a table with the columns {lines[0]} has rows of another width")
    lines.insert(1, ["---" if left is None or i < left else "---:" for i in range(width)])
    return (
        "\n".join("| " + " | ".join(cell.replace("\n", " ") for cell in line) + " |" for line in lines) + "\n"
    )


def code(text: object) -> str:
    """Return text as Markdown code; a bar would end the cell of a table."""
    return f"`{text}`".replace("|", "\\|")


# Environments -------------------------------------------------------------------------------------------------------


def compiled_of(scenario: str) -> Compiled:
    """Return a shipped scenario as arrays."""
    return compile_scenario(load_scenario(scenario))


def ids() -> str:
    """Registered environments with their world and sizes."""
    rows = []
    for id_, name in IDS.items():
        compiled = compiled_of(name)
        shape, scenario = compiled.shape, compiled.scenario
        rows.append(
            (
                code(id_),
                scenario.description,
                f"{scenario.horizon_h:g} h in {shape.steps} steps",
                shape.sites,
                shape.regions,
                shape.rows,
                shape.jobs,
                f"{Layout(shape).size:,}",
                f"{ObservationLayout(compiled).size:,}",
            )
        )
    header = ("id", "world", "episode", "sites", "regions", "rows", "jobs", "action", "observation")
    return table(header, rows, left=3)


def docstring_table(title: str) -> dict[str, tuple[str, ...]]:
    """Return the rows of the table under a heading of the docstring of `GridAIEnv`, by their first cell."""
    text = inspect.getdoc(GridAIEnv) or ""
    part = text.split(f"## {title}\n")[1].split("\n## ")[0]
    rows = [
        [cell.strip() for cell in line.strip("| ").split("|")]
        for line in part.splitlines()
        if line[:1] == "|"
    ]
    return {row[0]: tuple(row[1:]) for row in rows[2:]}


def docstring_section(title: str) -> str:
    """Return a section of the docstring of `GridAIEnv` without its table."""
    text = inspect.getdoc(GridAIEnv) or ""
    part = text.split(f"## {title}\n")[1].split("\n## ")[0]
    lines = [line for line in part.splitlines() if line[:1] != "|"]
    return re.sub(r"``([^`]+)``", r"`\1`", "\n".join(lines)).strip() + "\n"


def axis_text(axis: tuple[str, ...]) -> str:
    """Return the labels of an axis, shortened where there are many."""
    return ", ".join(axis) if len(axis) <= 4 else f"{axis[0]}, {axis[1]}, ... {axis[-1]} ({len(axis)})"


def scale_text(scale: Any) -> str:
    """Return a scale, or the range of an array of scales."""
    low, high = float(scale.min()), float(scale.max())
    return f"{low:.4g}" if low == high else f"{low:.4g} to {high:.4g}"


def observation_of(scenario: str) -> str:
    """Parts of the flat observation of one scenario: first and last index, axes, unit, scale."""
    layout = ObservationLayout(compiled_of(scenario))
    meaning = docstring_table("Observation Space")
    rows = [
        (
            f"{where.start} to {where.stop - 1}",
            code(name),
            " x ".join(str(n) for n in layout.by_name[name].shape),
            meaning[name][1],
            "; ".join(axis_text(axis) for axis in layout.by_name[name].axes),
            scale_text(layout.by_name[name].scale),
        )
        for name, where in layout.parts.items()
    ]
    return table(("index", "part", "shape", "value", "axes", "scale"), rows)


def action_of(scenario: str) -> str:
    """Parts of the flat action of one scenario: first and last index, axes, meaning."""
    compiled = compiled_of(scenario)
    layout, meaning = Layout(compiled.shape), docstring_table("Action Space")
    axes = {
        "routing": (compiled.region_names, compiled.row_names, (*compiled.site_names, "hold", "refuse")),
        "jobs": (
            tuple(f"slot{v}" for v in range(compiled.shape.slots)),
            (*compiled.site_names, "wait"),
        ),
    }
    rows = []
    for name, where in layout.slices.items():
        size = where.stop - where.start
        rows.append(
            (
                f"{where.start} to {where.stop - 1}" if size else "none",
                code(name),
                " x ".join(str(n) for n in layout.parts[name]),
                meaning[name][1],
                "; ".join(axis_text(axis) for axis in axes.get(name, (compiled.site_names,))),
            )
        )
    return table(("index", "part", "shape", "meaning of `a`", "axes"), rows)


def spaces() -> str:
    """Action and observation of every registered environment, one tab each."""
    tabs = []
    for id_, name in IDS.items():
        file = f"{name}.csv"
        tabs.append(
            f":::{{tab-item}} {id_.split('/')[1].split('-')[0]}\n"
            f"**Action**\n\n{action_of(name)}\n**Observation**\n\n{observation_of(name)}\n"
            f"Every single index: {{download}}`action_{file} <_generated/action_{file}>`, "
            f"{{download}}`observation_{file} <_generated/observation_{file}>`.\n:::\n"
        )
    return "::::{tab-set}\n" + "\n".join(tabs) + "::::\n"


def write_indices(folder: Path) -> None:
    """Write a CSV with a name for every index of action and observation of every registered environment."""
    for scenario in IDS.values():
        compiled = compiled_of(scenario)
        layout = ObservationLayout(compiled)
        observation = [(name, part.unit) for part in layout.by_name.values() for name in part.index_names()]
        for kind, rows in (
            ("observation", [("index", "name", "unit"), *((i, *row) for i, row in enumerate(observation))]),
            ("action", [("index", "name"), *enumerate(names_of_actions(compiled))]),
        ):
            text = io.StringIO()
            csv.writer(text, lineterminator="\n").writerows(rows)
            write(folder / f"{kind}_{scenario}.csv", text.getvalue())


def action_text() -> str:
    """What the parts of the action mean."""
    return docstring_section("Action Space")


def observation_text() -> str:
    """What the parts of the observation mean."""
    return docstring_section("Observation Space")


def episode_text() -> str:
    """Start, end and arguments of an environment."""
    titles = ("Starting State", "Episode End", "Arguments")
    return "\n".join(f"### {title}\n\n{docstring_section(title)}" for title in titles)


def info_keys() -> str:
    """Keys of `info` after every step."""
    return ", ".join(code(key) for key in step_figures.KEYS) + "\n"


def ledger_terms() -> str:
    """Terms of the ledger and what counts them."""
    groups = {"earning": terms.EARNINGS, "bill": terms.BILL, "penalty": terms.PENALTIES}
    rows = [
        (code(f"terms/{name}_usd"), next(group for group, names in groups.items() if name in names))
        for name in terms.TERMS
    ]
    return table(("key of `info`", "counted as"), rows)


# Nomenclature -------------------------------------------------------------------------------------------------------


def letters() -> dict[str, str]:
    """Return shape letters and what they count, from the docstring of `gridai_env.world.state`."""
    lines = (state.__doc__ or "").splitlines()
    first, last = (i for i, line in enumerate(lines) if line.startswith("==  ="))
    starts = [m.start() for m in re.finditer(r"=+", lines[first])]
    found = {}
    for line in lines[first + 1 : last]:
        for letter, words, end in ((starts[0], starts[1], starts[2]), (starts[2], starts[3], None)):
            if name := line[letter : letter + 2].strip():
                found[name] = line[words:end].strip().replace("``", "`")
    return found


def shape_letters() -> str:
    """Shape letters of all annotations."""
    return table(("letter", "counts"), sorted(letters().items()))


def fields(record: type) -> list[tuple[str, str, str]]:
    """Return name, shape and comment of the fields of a record, read from its source."""
    lines = inspect.getsource(record).splitlines()
    found = []
    for line in lines:
        match = re.match(r"    (\w+): (.+?)(?:\s+# (.*))?$", line)
        if match and match[1] in record.names():  # type: ignore[attr-defined]
            shaped = re.search(r'"([^"]*)"', match[2])
            axes = [axis for axis in (shaped[1] if shaped else "").split() if not axis.startswith("*")]
            found.append((match[1], f"[{','.join(axes)}]", match[3] or ""))
    return found


def records() -> str:
    """Fields of the records of a step."""
    text = []
    for record in (state.Exogenous, state.State, state.Flows):
        about = (inspect.getdoc(record) or "").split("\n")[0]
        rows = [(code(name), code(shape), unit_of(name), comment) for name, shape, comment in fields(record)]
        text.append(f"### {record.__name__}\n\n{about}\n\n{table(('field', 'shape', 'unit', 'note'), rows)}")
    return "\n".join(text)


# Scenario -----------------------------------------------------------------------------------------------------------


UNITS = {
    "_usd_per_mwh": "USD/MWh", "_usd_per_mw_month": "USD/MW a month", "_usd_per_gpuh": "USD/GPU-h",
    "_usd_per_gb": "USD/GB", "_usd_per_t": "USD/t", "_usd_per_m3": "USD/m3", "_kg_per_mwh": "kg/MWh",
    "_l_per_mwh": "L/MWh", "_mw_per_h": "MW/h", "_kwh_per_gb": "kWh/GB", "_gb_per_gpuh": "GB/GPU-h",
    "_mwh_per_gpuh": "MWh/GPU-h", "_kw_per_gpu": "kW per GPU", "_km_per_ms": "km/ms",
    "_tokens_per_gpu_s": "tokens/s per GPU", "gpuh_per_request": "GPU-h", "_mwh": "MWh", "_mw": "MW",
    "_kg": "kg", "_usd": "USD",
    "_gpuh": "GPU-h", "_ms": "ms", "_h": "h", "_gpus": "GPUs", "gpus": "GPUs", "_c": "degrees C",
    "latitude": "degrees", "longitude": "degrees", "pue_per_c": "per degree C", "peak_hour": "h",
    "hour_utc": "h", "_share": "share", "share": "share", "efficiency": "share", "_tokens": "tokens",
}  # fmt: skip


def unit_of(key: str) -> str:
    """Return the unit that the name of a key carries, "" where it has none."""
    return next(
        (unit for end, unit in sorted(UNITS.items(), key=lambda x: -len(x[0])) if key.endswith(end)), ""
    )


def range_of(schema: dict[str, Any], definitions: dict[str, Any]) -> str:
    """Return type and range of a value in words."""
    if "anyOf" in schema:
        return " or ".join(range_of(option, definitions) for option in schema["anyOf"])
    if "$ref" in schema:
        name = schema["$ref"].rsplit("/", 1)[1]
        return f"[{name}](#{name.lower()})"
    if "enum" in schema:
        return ", ".join(code(value) for value in schema["enum"])
    if "const" in schema:
        return code(schema["const"])
    kind = schema.get("type", "")
    if kind == "array":
        least = "at least one " if schema.get("minItems") else ""
        return f"list: {least}{range_of(schema.get('items') or schema['prefixItems'][0], definitions)}"
    if kind in ("number", "integer"):
        signs = {"exclusiveMinimum": ">", "minimum": ">=", "exclusiveMaximum": "<", "maximum": "<="}
        limits = [f"{sign} {schema[key]:g}" for key, sign in signs.items() if key in schema]
        return " ".join(["integer" if kind == "integer" else "number", ", ".join(limits)]).strip()
    if kind == "string":
        longest = f", at most {schema['maxLength']} signs" if "maxLength" in schema else ""
        return {"date": "date"}.get(schema.get("format", ""), "text") + longest
    return {"boolean": "true or false", "null": "null", "object": "table"}.get(kind, kind)


def default_of(key: str, model: dict[str, Any]) -> str:
    """Return the default of a key, or that it is required."""
    if key in model.get("required", ()):
        return "**required**"
    default = model["properties"][key].get("default")
    if isinstance(default, dict):
        return "its own defaults"
    return code(json.dumps(default))


def model_table(model: dict[str, Any], definitions: dict[str, Any]) -> str:
    """Every key of one model of the scenario file."""
    rows = [
        (
            code(key),
            unit_of(key),
            default_of(key, model),
            range_of(value, definitions),
            value.get("description", "").replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*"),
        )
        for key, value in model["properties"].items()
    ]
    return table(("key", "unit", "default", "range", "meaning"), rows)


def scenario_keys(scenario: type[Scenario] = Scenario) -> str:
    """Every key of a scenario file with unit, default and range, from the schema that checks files."""
    schema = scenario.model_json_schema()
    definitions = schema.get("$defs", {})
    parts = [f"### The file\n\n{model_table(schema, definitions)}"]
    for name, model in definitions.items():
        about = model.get("description", "").split("\n")[0]
        parts.append(f"({name.lower()})=\n### {name}\n\n{about}\n\n{model_table(model, definitions)}")
    return "\n".join(parts)


# Data ---------------------------------------------------------------------------------------------------------------


def trace_columns() -> str:
    """Columns of a trace file in its two forms."""
    from gridai_env.traces.files import formats

    panel = {
        "carbon_average_kg_per_mwh": "`ci_direct`, else `ci_lca`",
        "utc": "`utc`",
        "zone": "`zone`",
        "stamp": "`stamp`",
    }
    panel |= {own: code(name) for own, name in formats.PANEL.items()}
    notes = {
        "utc": "ISO 8601 with `Z` or an offset; Parquet: time stamp with a time zone",
        "zone": "name of the price and carbon zone",
        "price_usd_per_mwh": "USD/MWh",
        "carbon_average_kg_per_mwh": "kg/MWh (the same number as g/kWh)",
        "carbon_marginal_kg_per_mwh": "kg/MWh",
        "wetbulb_c": "degrees Celsius",
        "pv_cf": "share of capacity, 0 to 1",
        "wind_cf": "share of capacity, 0 to 1",
        formats.SELL: "USD/MWh: price of export; else it follows from that of import",
        f"{formats.CALL}SITE": "share of the row's interval in which the site is called, 0 to 1",
        f"{formats.NOTICE}SITE": "hours of notice of the call that begins in the row",
        "stamp": ", ".join(code(name) for name in formats.STAMPS)
        + ": one for the whole file, the first by default",
    }
    of_sites = tuple(f"{begin}SITE" for begin in (formats.CALL, formats.NOTICE))
    panel |= {name: code(name) for name in of_sites}
    rows = [
        (code(name), panel.get(name, ""), "yes" if name in ("utc", "zone", *REQUIRED) else "no", notes[name])
        for name in ("utc", "zone", *REQUIRED, *OPTIONAL, formats.SELL, *of_sites, "stamp")
    ]
    return table(("plain form", "panel form", "required", "unit"), rows)


def zones() -> str:
    """Zones with a calibration."""
    return ", ".join(code(zone) for zone in known_zones()) + "\n"


# Commands and rooms -------------------------------------------------------------------------------------------------


def command_files() -> dict[str, Path]:
    """Return the modules that people start with ``python -m``, by their dotted name."""
    found = {}
    for path in sorted((ROOT / "scripts").rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        if '__name__ == "__main__"' in text and "examples" not in path.relative_to(ROOT).parts:
            module = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__main__")
            found[module] = path
    return found


def first_sentence(path: Path) -> str:
    """Return the first paragraph of a module's docstring on one line."""
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return " ".join(text.split("\n\n")[0].split())


def commands() -> str:
    """Command lines and what they do."""
    rows = [(code(f"python -m {name}"), first_sentence(path)) for name, path in command_files().items()]
    return table(("command", "does"), rows)


def rooms() -> str:
    """Packages of the project and what each is for."""
    rows = [
        (code(str(path.parent.relative_to(ROOT)) + "/"), first_sentence(path))
        for package in ("gridai_env", "baselines", "agents", "scripts")
        for path in sorted((ROOT / package).glob("*/__init__.py"))
    ]
    return table(("room", "what it is for"), rows)


def contracts() -> list[dict[str, Any]]:
    """Return the contracts that import-linter holds."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    found: list[dict[str, Any]] = project["tool"]["importlinter"]["contracts"]
    return found


def imports() -> str:
    """Which room may use which, from the contracts of import-linter."""
    parts = []
    for contract in contracts():
        rows = [
            (i, " ".join(code(name.strip()) for name in layer.split("|")))
            for i, layer in enumerate(contract["layers"], 1)
        ]
        name = contract["name"][0].upper() + contract["name"][1:]
        parts.append(f"**{name}**\n\n{table(('level', 'may use only levels below'), rows)}")
    return "\n".join(parts)


def extras() -> str:
    """Extras of the package and what they install."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    rows = [
        (code(name), ", ".join(code(package) for package in packages))
        for name, packages in project["optional-dependencies"].items()
    ]
    return table(("extra", "installs"), rows)


def core_packages() -> str:
    """Packages that the environment alone needs."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return ", ".join(code(package) for package in project["dependencies"]) + "\n"


def public_names() -> str:
    """Names that `gridai_env` itself offers, with the first sentence of their docstring."""
    rows = []
    for name in sorted(set(gridai_env.__all__) - {"__version__"}, key=str.lower):
        value = getattr(gridai_env, name)
        about = " ".join((inspect.getdoc(value) or "").split("\n\n")[0].split())
        rows.append((f"{{py:obj}}`~{value.__module__}.{name}`", about.replace("|", "\\|")))
    return table(("name", "what it is"), rows)


# Results ------------------------------------------------------------------------------------------------------------


def benchmark_folders() -> list[Path]:
    """Return the folders of frozen sets."""
    return sorted(path for path in (ROOT / "configs" / "benchmarks").iterdir() if path.is_dir())


def frozen_sets() -> str:
    """Frozen sets: episodes, days, solver, commit."""
    rows = []
    for folder in benchmark_folders():
        for path in sorted(folder.glob("*.json")):
            data = json.loads(path.read_text(encoding="utf-8"))
            days = [episode["start_utc"][:10] for episode in data["episodes"]]
            players = sorted({name for episode in data["episodes"] for name in episode["results"]})
            rows.append(
                (
                    code(folder.name),
                    data["set"],
                    len(days),
                    f"{min(days)} to {max(days)}",
                    ", ".join(code(name) for name in players),
                    code(data["commit"][:7]),
                )
            )
    return table(("scenario", "set", "episodes", "days", "published results", "commit"), rows)


def percent(value: str | float, digits: int = 1) -> str:
    """Return a share as a percentage; empty where there is none."""
    return f"{100 * float(value):.{digits}f}{NO_BREAK}%" if value not in ("", None) else ""


def interval(row: dict[str, str], name: str) -> str:
    """Return a share with its interval."""
    value = percent(row[name])
    low, high = row.get(f"{name}_low"), row.get(f"{name}_high")
    return (
        f"{value} [{percent(low)[:-2]},{NO_BREAK}{percent(high)[:-2]}]" if value and low and high else value
    )


def test_results() -> str:
    """What policies reach on the frozen test sets, from the tables beside the sets."""
    parts = []
    for folder in benchmark_folders():
        path = folder / "test.csv"
        if not path.is_file():
            continue
        with path.open(encoding="utf-8", newline="") as file:
            found = list(csv.DictReader(file))
        rows = [
            (
                code(row["policy"]),
                row["runs"],
                row["episodes"],
                f"{float(row['benefit_usd']):,.0f}",
                interval(row, "gain_captured"),
                percent(row.get("of_mpc_own") or row["of_mpc_day_ahead"]),  # the name before
                percent(row["bill_saving"]),
                percent(row["emissions_change"]),
                percent(row["dropped_over_optimum"], 3),
                f"{float(row['masked_gpuh']):g}",
            )
            for row in found
        ]
        header = (
            "policy", "training seeds", "episodes", "benefit, USD", "gain captured [95 %]", "of mpc:own",
            "bill saved", "emissions", "dropped over optimum", "on closed routes, GPU-h",
        )  # fmt: skip
        command = (folder / "test.md").read_text(encoding="utf-8").splitlines()
        commit = re.search(r"Commit (\w{7})", command[2])
        about = f"{command[0]}, commit `{commit[1] if commit else '?'}`."
        parts.append(f"### {folder.name}\n\n{about}\n\n{table(header, rows, left=1)}")
    return "\n".join(parts)


# Leaderboard --------------------------------------------------------------------------------------------------------


def evaluations() -> list[Evaluation]:
    """Return the saved evaluations of ``docs/results``."""
    return [Evaluation.load(path) for path in sorted((DOCS / "results").glob("*.json"))]


def is_current(found: Evaluation) -> bool:
    """Return whether an evaluation is of the frozen set and the version of today."""
    try:
        today = read_set(found.scenario, found.set).hash, environment_version()
    except BenchmarkError:
        return False
    return (found.set_hash, found.environment_version) == today


def ranked(every: Iterable[Figures]) -> str:
    """Return figures as a table, the best first, each policy once."""
    best = sorted({one.policy: one for one in every}.values(), key=lambda one: -(one.gain_captured or 0.0))
    rows = [
        (code(one.policy), *(cell.replace("%", f"{NO_BREAK}%") for cell in one.cells()[1:])) for one in best
    ]
    return table(HEADERS, rows, left=1)


def leaderboard() -> str:
    """Saved evaluations by scenario and set, beside the planners; those of another set or version apart."""
    groups: dict[tuple[Any, ...], list[Evaluation]] = {}
    for one in evaluations():
        place = (not is_current(one), one.scenario, one.set, one.set_hash, one.environment_version)
        groups.setdefault(place, []).append(one)
    parts = []
    for (is_former, scenario, name, set_hash, version), own in sorted(groups.items()):
        title = f"{scenario}/{name}" + (f", former set {set_hash[:12]} or version" if is_former else "")
        about = f"{own[0].episodes} episodes, set `{set_hash[:12]}`, environment version {version}."
        every = [*(figures for one in own for figures in one.published), *own]
        parts.append(f"### {title}\n\n{about}\n\n{ranked(every)}")
    return "\n".join(parts) or "No results yet.\n"


def evaluation_keys() -> str:
    """Keys of a saved evaluation, from the schema that checks the files."""
    schema = Evaluation.model_json_schema()
    own = ", ".join(code(key) for key in schema["$defs"]["Figures"]["properties"])
    return f"{model_table(schema, schema['$defs'])}\n(figures)=\n`published` holds {own} of each policy.\n"


def write_schema(folder: Path) -> None:
    """Write the JSON schema of saved evaluations."""
    write(folder / "evaluation.schema.json", json.dumps(Evaluation.model_json_schema(), indent=1) + "\n")


def median(values: list[float]) -> float:
    """Return the median."""
    ordered = sorted(values)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


def training_stages() -> str:
    """Gain captured on validation episodes after each stage of training, medians over the shipped seeds."""
    rows = []
    for folder in sorted((ROOT / "configs" / "agents" / "pretrained").glob("*/*")):
        runs = [
            json.loads(path.read_text(encoding="utf-8"))["stages"]
            for path in sorted(folder.glob("seed*/stages.json"))
        ]
        stages = [
            f"{last['name']} {percent(median([run[i]['gain_captured'] for run in runs]), 2)} ({last['steps']:,})"
            for i, last in enumerate(runs[0])
        ]
        rows.append(
            (code(folder.parent.name), code(f"{folder.name}:pretrained"), len(runs), ", ".join(stages))
        )
    header = ("scenario", "agent", "seeds", "gain captured after each stage (environment-steps of it)")
    return table(header, rows) if rows else "No agent is shipped yet.\n"


def measured(name: str) -> str:
    """A table that a command printed, from its CSV beside the command and the commit."""
    about = yaml.safe_load((DOCS / "measured" / "measured.yaml").read_text(encoding="utf-8"))[name]
    with (DOCS / "measured" / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    origin = [f"`{about['command']}`", f"commit `{about['commit']}`", about["conditions"]]
    together = [
        [re.sub(r"(?<=\d) (?=%)|(?<=\d,) (?=[-\d.]+\])", NO_BREAK, cell) for cell in row] for row in rows
    ]
    return f"{', '.join(origin)}.\n\n{table(header, together)}"


STUDY = DOCS / "measured" / "learning"


def learning(folder: Path = STUDY, pictures: Path = GENERATED) -> str:
    """What learners reach, beside rules and planners, their curves, and what is missing of the study."""
    if not (folder / TABLE).is_file():
        return "No study has been run yet: this table is empty.\n"
    found = rows_of(folder / TABLE)
    commits = sorted({commit[:7] for row in found for commit in row["commits"].split()})
    command = f"python -m scripts.reproduce --study {folder.name}"
    parts = [f"`{command}`, agents trained at commit {', '.join(map(code, commits))}."]
    if (folder / CURVES).is_file():
        draw_curves(rows_of(folder / CURVES), pictures / f"{folder.name}_curves.svg")
        caption = "Share of the gain on validation episodes along each training."
        parts.append(f"```{{figure}} _generated/{folder.name}_curves.svg\n{caption}\n```")
    study = load_study(folder.name)
    for scenario in study.scenarios:
        if own := [learning_row(row) for row in found if row["scenario"] == scenario]:
            parts.append(f"### {scenario}\n\n{table(LEARNING, own, left=2)}")
    if left := missing(study, found):
        parts.append("**Missing** (trainings of a method)\n\n" + "\n".join(f"- {one}" for one in left))
    return "\n\n".join(parts) + "\n"


def learning_tried() -> str:
    """What each part of the training is worth."""
    return learning(DOCS / "measured" / "learning_tried")


LEARNING = (
    "policy", "set", "seeds", "gain captured [95 %]", "median episode", "interquartile mean", "of mpc:own",
    "better than, probability [95 %]", "dropped over optimum", "ms a decision", "steps", "minutes",
)  # fmt: skip


def learning_row(row: dict[str, str]) -> tuple[str, ...]:
    """Return a row of learning.csv as cells."""
    against = f"{code(row['against'])} {interval(row, 'beats_against')}" if row["beats_against"] else ""
    numbers = [
        f"{float(row[name]):,.{digits}f}" if row[name] else ""
        for name, digits in (("decision_ms", 2), ("steps", 0), ("minutes", 1))
    ]
    return (
        code(row["policy"]), row["set"], row["mark"] or (row["runs"] if row["planned"] != "0" else ""),
        interval(row, "gain_captured"), percent(row["median_episode"]), interval(row, "gain_iqm"),
        percent(row["of_mpc_own"]), against, percent(row["dropped_over_optimum"], 3), *numbers,
    )  # fmt: skip


def rows_of(path: Path) -> list[dict[str, str]]:
    """Return the rows of a CSV."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def draw_curves(points: list[dict[str, str]], path: Path) -> None:
    """Draw learning curves against minutes and steps: a line each training, a row of charts each scenario."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    scenarios, methods = (list(dict.fromkeys(p[name] for p in points)) for name in ("scenario", "method"))
    figure = Figure(figsize=(9.0, 2.8 * len(scenarios)), layout="constrained")
    axes = figure.subplots(len(scenarios), 2, squeeze=False, sharey="row")
    lines: dict[tuple[str, ...], list[dict[str, str]]] = {}
    for point in points:
        lines.setdefault((point["scenario"], point["method"], point["seed"]), []).append(point)
    for (scenario, method, _), line in lines.items():
        for axis, name in zip(axes[scenarios.index(scenario)], ("minutes", "steps"), strict=True):
            axis.plot(
                [float(p[name]) for p in line], [100.0 * float(p["gain_captured"]) for p in line],
                color=f"C{methods.index(method)}", linewidth=1.0, label=method,
            )  # fmt: skip
            axis.set(xlabel=name, title=scenario, ylabel="gain captured, %" if name == "minutes" else None)
            axis.set_ylim(bottom=max(axis.get_ylim()[0], -20.0))
    for row in axes:
        handles = dict(zip(*reversed(row[0].get_legend_handles_labels()), strict=True))
        row[0].legend(handles.values(), handles.keys(), fontsize="small")
    with mpl.rc_context({"svg.hashsalt": "learning"}):  # the same picture from the same figures
        figure.savefig(path, metadata={"Date": None})


def gpu_check(path: Path = DOCS / "measured" / "gpu_check.json") -> str:
    """What `scripts.gpu_check` wrote on a CUDA device, where one was measured."""
    if not path.is_file():
        return "No CUDA device has been measured: this table is empty.\n"
    about = json.loads(path.read_text(encoding="utf-8"))
    versions = ", ".join(f"{name} {about[name]}" for name in ("cuda", "torch", "numpy", "python"))
    rows = [
        (one["name"], "" if one["value"] is None else f"{one['value']:,.4g}", one["unit"], one["note"])
        for one in about["figures"]
    ]
    origin = f"`make gpu-check`, commit `{about['commit']}`, {about['device']}, {versions}, {about['seconds']} s.\n\n"
    return origin + table(("figure", "measured", "unit", "note"), rows)


def measured_names() -> list[str]:
    """Names of the tables that commands printed."""
    return sorted(path.stem for path in (DOCS / "measured").glob("*.csv"))


def benchmark_days() -> str:
    """Days of the parts of the benchmarks."""
    rows = []
    for path in sorted((ROOT / "configs" / "benchmarks").glob("*.yaml")):
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
        if "calendar" not in data:
            continue
        for part, periods in data["calendar"].items():
            days = ", ".join(f"{period['first']} to {period['last']}" for period in periods)
            rows.append((code(data["scenario"]), part, days))
    return table(("scenario", "part", "days"), rows)


PAGES: dict[str, Callable[[], str]] = {
    function.__name__: function
    for function in (
        ids, spaces, action_text, observation_text, episode_text, info_keys, ledger_terms, shape_letters, records,
        scenario_keys, public_names, trace_columns, zones, commands, rooms, imports, extras, core_packages, frozen_sets,
        test_results, training_stages, benchmark_days, leaderboard, evaluation_keys, gpu_check,
        learning, learning_tried,
    )
} | {"routes": routes_page}  # fmt: skip


def write(path: Path, text: str) -> None:
    """Write a file only where it differs: an unchanged one does not make Sphinx read its page again."""
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")


def write_all(folder: Path = GENERATED) -> None:
    """Write all generated parts of pages."""
    folder.mkdir(exist_ok=True)
    for name, make in PAGES.items():
        write(folder / f"{name}.inc.md", make())
    for name in measured_names():
        write(folder / f"measured_{name}.inc.md", measured(name))
    write_indices(folder)
    write_schema(folder)


def setup(app: Any) -> dict[str, bool]:
    """Write the generated parts before Sphinx reads the pages."""
    app.connect("builder-inited", lambda app: write_all())
    return {"parallel_read_safe": True}
