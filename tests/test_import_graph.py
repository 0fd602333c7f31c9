"""Imports run one way (see the tables), and importing the environment loads nothing heavy.

The check reads source, so it also sees imports inside functions and under TYPE_CHECKING: a direction holds
there too. Only the *third-party* rules tell imports on loading from lazy ones.
"""

import ast
import graphlib
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("gridai_env", "baselines", "agents", "scripts")

# Which part of gridai_env may import which. A part is a module or a subpackage directly under gridai_env;
# inside a part everything goes. A new part needs a line here.
PARTS: dict[str, set[str]] = {
    # leaves: figures and records
    "spec": set(),
    "state": {"arrays"},
    "traces": {"arrays", "draws", "files", "generic", "state"},
    "draws": {"arrays", "state"},
    "generic": {"arrays", "state"},
    "rtt": set(),
    "arrays": {"tensors"},
    "tensors": set(),
    "version": set(),
    # the world, written once; nothing of scenarios or episodes in it
    "physics": {"arrays", "state"},
    "terms": {"arrays", "physics", "state"},
    "actions": {"arrays", "physics", "state"},
    "feasible": {"actions", "arrays", "physics", "state"},
    "limits": {"feasible", "physics", "state"},
    # from a scenario to one episode
    "geography": {"rtt", "spec"},
    "profiles": {"state"},
    "capacity": {"profiles", "spec"},
    "problems": {"spec"},
    "checks": {"capacity", "problems", "rtt", "spec", "traces"},
    "jobs_from": {"capacity", "problems", "spec", "traces"},
    "scenarios": {"checks", "jobs_from", "problems", "spec"},
    "compile": {"capacity", "checks", "geography", "spec", "state"},
    "jobs": {"arrays", "compile", "draws", "generic", "state"},
    "events": {"arrays", "compile", "draws", "generic", "spec", "state"},
    "workload": {"spec", "traces"},
    "placement": {"spec", "traces", "workload"},
    "demand": {
        "arrays",
        "compile",
        "draws",
        "generic",
        "placement",
        "profiles",
        "spec",
        "state",
        "traces",
        "workload",
    },
    "forecast": {"arrays", "compile", "draws", "generic", "spec", "state", "traces"},
    "files": set(),
    "archive": {"files"},
    "starts": {"archive", "draws", "spec", "traces"},
    "deviation": {"traces"},
    "guards": {"arrays", "generic", "physics", "state"},
    "world": {
        "arrays",
        "compile",
        "demand",
        "deviation",
        "events",
        "forecast",
        "generic",
        "jobs",
        "state",
        "traces",
    },
    "build": {
        "arrays",
        "compile",
        "demand",
        "deviation",
        "draws",
        "events",
        "forecast",
        "generic",
        "guards",
        "jobs",
        "starts",
        "state",
        "traces",
        "world",
    },
    "instance": {
        "archive",
        "build",
        "compile",
        "forecast",
        "scenarios",
        "spec",
        "state",
        "traces",
        "version",
    },
    "outlook": {"demand", "events", "forecast", "instance", "state", "world"},
    # what runs it, and what looks at it
    "simulator": {"actions", "arrays", "feasible", "instance", "physics", "state", "terms"},
    "observation": {"compile", "demand", "state"},
    "visible": {"arrays", "compile", "forecast", "observation", "state", "world"},
    "observe": {"arrays", "instance", "observation", "simulator", "state", "visible"},
    "ledger": {"physics", "simulator", "state", "terms"},
    "episodes": {"compile", "instance", "observation", "scenarios", "spec", "traces"},
    "metrics": {"compile", "geography", "instance", "physics", "state", "terms"},
    "summary": set(),
    "netbenefit": {"instance", "metrics", "physics", "state", "terms"},
    "relocation": {"geography", "instance", "metrics", "netbenefit", "physics", "state"},
    "returns": {"summary"},
    "benefits": {"instance", "netbenefit"},
    "sweep": {"compile", "problems", "spec"},
    "frontier": {"compile", "guards", "instance", "scenarios", "spec", "state", "sweep"},
    "tables": {"metrics", "physics", "state", "terms"},
    "trajectory": {"instance", "metrics", "state", "tables"},
    "render": {"compile", "instance", "physics", "state", "terms"},
    "env": {
        "actions",
        "compile",
        "episodes",
        "instance",
        "ledger",
        "observe",
        "render",
        "simulator",
        "state",
    },
    "vector_env": {"compile", "env", "episodes", "instance", "ledger", "observe", "simulator", "state"},
    "device": {
        "actions",
        "build",
        "compile",
        "demand",
        "deviation",
        "draws",
        "env",
        "episodes",
        "events",
        "forecast",
        "instance",
        "jobs",
        "ledger",
        "observation",
        "observe",
        "simulator",
        "starts",
        "state",
        "tensors",
        "terms",
        "traces",
        "vector_env",
        "visible",
        "world",
    },
    "entry": {"device", "vector_env"},
    "wrappers": {"actions", "env"},
    "rollout": {
        "actions",
        "env",
        "feasible",
        "instance",
        "limits",
        "metrics",
        "observe",
        "simulator",
        "state",
        "trajectory",
    },
}

# Which package may import which of the others.
DIRECTIONS: dict[str, set[str]] = {
    "gridai_env": set(),
    "baselines": {"gridai_env"},
    "agents": {"gridai_env"},
    "scripts": {"gridai_env", "baselines", "agents"},
}

# Third-party modules each package may import, on loading or lazily; everything else is refused (pandas too).
CORE = {"numpy", "gymnasium", "pydantic", "yaml"}
THIRD_PARTY: dict[str, set[str]] = {
    "gridai_env": CORE,
    "baselines": CORE | {"highspy", "moocore", "pyomo", "scipy"},
    "agents": CORE | {"matplotlib", "rich", "stable_baselines3", "tensorboard", "torch", "tqdm"},
    "scripts": CORE
    | {"highspy", "joblib", "matplotlib", "moocore", "plotly", "pyarrow", "pyomo", "ray", "rich", "scipy"}
    | {"stable_baselines3", "tensorboard", "torch", "tqdm"}
    | {"pettingzoo", "skrl", "tensordict", "torchrl"},  # the examples
}

# Inside a function, because they come with an extra: module -> parts of gridai_env that may.
LAZY: dict[str, set[str]] = {"matplotlib": {"render"}, "pyarrow": {"traces"}}
# Parts that are loaded only where a tensor or a device came in; they may import torch on loading.
ON_TENSORS = {"tensors", "device"}

# Never loaded by the environment, nor by the rules that every comparison starts from.
HEAVY = ("highspy", "matplotlib", "pandas", "pyarrow", "pyomo", "scipy", "stable_baselines3", "torch")


@dataclass(frozen=True)
class Import:
    """One import statement: the dotted module it loads, its line, and whether it runs on loading."""

    target: str
    line: int
    lazy: bool


def modules() -> dict[str, Path]:
    """Dotted name -> file, for every module of the project."""
    found = {}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def _is_type_checking(node: ast.AST) -> bool:
    test = node.test if isinstance(node, ast.If) else None
    return getattr(test, "id", getattr(test, "attr", None)) == "TYPE_CHECKING"


def _walk(node: ast.AST, lazy: bool = False) -> Iterator[tuple[ast.AST, bool]]:
    """All nodes below, with whether they run only when a function is called (or never)."""
    for child in ast.iter_child_nodes(node):
        late = lazy or isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        yield child, late
        yield from _walk(child, late or _is_type_checking(child))


def _dynamic_target(node: ast.AST) -> str | None:
    """`import_module("x")` and `__import__("x")` are imports as well."""
    if not (isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant)):
        return None
    name = getattr(node.func, "id", getattr(node.func, "attr", None))
    value = node.args[0].value
    return value if name in {"import_module", "__import__"} and isinstance(value, str) else None


def _from_targets(node: ast.ImportFrom, module: str, is_package: bool, known: set[str]) -> list[str]:
    base = node.module or ""
    if node.level:
        parents = module.split(".")
        keep = len(parents) - node.level + int(is_package)
        base = ".".join(parents[:keep] + ([node.module] if node.module else []))
    targets = [f"{base}.{alias.name}" for alias in node.names]
    return [target if target in known else base for target in targets]


def imports(source: str, module: str, is_package: bool, known: set[str]) -> list[Import]:
    """Every import in `source`, with relative ones resolved from `module`."""
    found = []
    for node, lazy in _walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            targets = _from_targets(node, module, is_package, known)
        else:
            dynamic = _dynamic_target(node)
            targets = [dynamic] if dynamic else []
        found += [Import(target, getattr(node, "lineno", 0), lazy) for target in dict.fromkeys(targets)]
    return found


def _part(name: str) -> str:
    """Part of gridai_env that a dotted name belongs to; empty for the package itself."""
    return (*name.split("."), "")[1]


def _inside_fault(module: str, target: str) -> str | None:
    """Why one gridai_env module may not import another, or None."""
    source, wanted = _part(module), _part(target)
    if not source or source == wanted:
        return None
    if not wanted:
        return "a part may not import the whole package (that is a circle)"
    allowed = PARTS.get(source)
    if allowed is None:
        return f"part {source!r} is not in PARTS"
    return None if wanted in allowed else f"part {source!r} may import only {sorted(allowed)}"


def _third_party_fault(module: str, item: Import) -> str | None:
    package, top = module.split(".")[0], item.target.split(".")[0]
    if top in sys.stdlib_module_names or top in THIRD_PARTY[package]:
        return None
    if package == "gridai_env" and item.lazy and _part(module) in LAZY.get(top, set()):
        return None
    if top == "torch" and package == "gridai_env" and _part(module) in ON_TENSORS:
        return None
    return f"{package} may not import {top!r} {'at all' if item.lazy else 'on loading'}"


def fault(module: str, item: Import) -> str | None:
    """Why `module` may not contain this import, or None where it may."""
    package, top = module.split(".")[0], item.target.split(".")[0]
    if top not in PACKAGES:
        return _third_party_fault(module, item)
    if top != package:
        return None if top in DIRECTIONS[package] else f"{package} may not import {top}"
    return _inside_fault(module, item.target) if package == "gridai_env" else None


def faults(source: str, module: str, is_package: bool = False, known: set[str] | None = None) -> list[str]:
    """Forbidden imports of one module, one line each."""
    names = set(modules()) if known is None else known
    found = [(item, fault(module, item)) for item in imports(source, module, is_package, names)]
    return [f"{module}:{item.line} imports {item.target}: {why}" for item, why in found if why]


def test_imports_run_one_way() -> None:
    found = modules()
    known = set(found)
    assert known >= set(PACKAGES)
    bad = []
    for module, path in found.items():
        bad += faults(path.read_text(encoding="utf-8"), module, path.name == "__init__.py", known)
    assert not bad, "\n".join(bad)


def test_every_part_has_a_line_in_the_table() -> None:
    parts = {_part(name) for name in modules() if name.startswith("gridai_env.")}
    assert parts <= set(PARTS), f"add to PARTS: {sorted(parts - set(PARTS))}"


def test_the_tables_hold_no_circle() -> None:
    for table in (PARTS, DIRECTIONS):
        graphlib.TopologicalSorter(table).prepare()
        assert all(wanted <= set(table) for wanted in table.values())


KNOWN = {"gridai_env", *(f"gridai_env.{part}" for part in PARTS), "agents.ppo", "baselines.milp"}


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("gridai_env.physics", "from gridai_env import simulator"),
        ("gridai_env.physics", "from gridai_env.terms import benefit_usd"),
        ("gridai_env.physics", "from . import feasible"),
        ("gridai_env.physics", "from .simulator import Simulator"),
        ("gridai_env.physics", "def f():\n    import gridai_env.env"),
        ("gridai_env.physics", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from . import env"),
        ("gridai_env.physics", "from gridai_env import make_instance"),
        ("gridai_env.traces.synthetic", "from ..instance import Instance"),
        ("gridai_env.newcomer", "from gridai_env import physics"),
        ("gridai_env.instance", "from baselines.milp import solve"),
        ("gridai_env.instance", "def f():\n    import scripts"),
        ("gridai_env.instance", "import pandas as pd"),
        ("gridai_env.instance", "import pyomo.environ as pyo"),
        ("gridai_env.instance", "def f():\n    import torch"),
        ("gridai_env.instance", "import importlib\nimportlib.import_module('stable_baselines3')"),
        ("gridai_env.render", "import matplotlib.pyplot as plt"),
        ("gridai_env.env", "def f():\n    import matplotlib"),
        ("gridai_env", "import highspy"),
        ("baselines.milp", "from agents import ppo"),
        ("baselines.milp", "import torch"),
        ("agents.ppo", "import baselines.milp"),
        ("agents.ppo", "from scripts.train import main"),
        ("scripts.compare", "import pandas"),
    ],
)
def test_a_forbidden_import_is_caught(module: str, source: str) -> None:
    assert len(faults(source, module, is_package=module == "gridai_env", known=KNOWN)) == 1


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("gridai_env", "from gridai_env.env import Env\nfrom .instance import Instance"),
        ("gridai_env.physics", "import math\nimport numpy as np\nfrom gridai_env.state import State"),
        (
            "gridai_env.traces.synthetic",
            "from .calibration import table\nfrom gridai_env.traces import readers",
        ),
        ("gridai_env.traces.readers", "def f():\n    import pyarrow.parquet as pq"),
        ("gridai_env.render", "def f():\n    from matplotlib.figure import Figure"),
        ("baselines.milp", "import pyomo.environ as pyo\nfrom gridai_env import physics"),
        ("agents.ppo", "import torch\nfrom gridai_env import vector_env"),
        ("scripts.compare", "from agents import ppo\nfrom baselines import milp\nfrom scripts import train"),
    ],
)
def test_an_allowed_import_passes(module: str, source: str) -> None:
    assert faults(source, module, is_package=module == "gridai_env", known=KNOWN) == []


@pytest.mark.parametrize("module", ["gridai_env", "baselines.rules"])
def test_importing_loads_nothing_heavy(module: str) -> None:
    code = f"import sys, {module}; print(*[name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []
