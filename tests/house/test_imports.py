"""What may be imported where: third-party packages by the table here, rooms by the contracts in pyproject.toml.

The check of packages reads source, so it also sees imports inside functions; it tells those from imports on loading.
`make lint` runs the contracts of rooms (import-linter); here each of them is broken on purpose in a copy.
"""

import ast
import importlib
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("gridai_env", "baselines", "agents", "scripts")

# Third-party modules each package may import, on loading or lazily; everything else is refused (pandas too).
CORE = {"numpy", "gymnasium", "jaxtyping", "pydantic", "yaml"}
THIRD_PARTY: dict[str, set[str]] = {
    "gridai_env": CORE | {"platformdirs"},
    "baselines": CORE | {"highspy", "joblib", "moocore", "pyomo", "scipy"},
    "agents": CORE | {"matplotlib", "rich", "stable_baselines3", "tensorboard", "torch", "tqdm", "wandb"},
    "scripts": CORE
    | {
        "highspy",
        "huggingface_hub",
        "joblib",
        "jsonargparse",
        "matplotlib",
        "minari",
        "moocore",
        "plotly",
        "pyarrow",
        "pyomo",
        "ray",
    }
    | {"rich", "scipy", "stable_baselines3", "tensorboard", "torch", "tqdm"}
    | {"PIL"}  # the picture of the README
    | {"optuna", "pettingzoo", "skrl", "tensordict", "torchrl"},  # the examples
}

# Inside a function, because they come with an extra: module -> rooms of gridai_env that may.
LAZY = {
    "matplotlib": ("gridai_env.render",),
    "pyarrow": ("gridai_env.traces",),
    "torch": ("gridai_env.envs.options",),  # for an annotation
}
# Loaded only where a tensor or a device came in; they may import torch on loading.
ON_TENSORS = (
    "gridai_env.arrays.torch_ops",
    "gridai_env.envs.torch",
    "gridai_env.kernel.emit",
    "gridai_env.kernel.memory",
    "gridai_env.kernel.record",
)

# Never loaded by the environment, nor by the rules that every comparison starts from.
HEAVY = ("highspy", "matplotlib", "pandas", "pyarrow", "pyomo", "scipy", "stable_baselines3", "torch")


def dotted(path: Path) -> str:
    """Dotted name of a module's file."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _walk(node: ast.AST, lazy: bool = False) -> Iterator[tuple[ast.AST, bool]]:
    """All nodes below, with whether they run only when a function is called (or never)."""
    for child in ast.iter_child_nodes(node):
        test = child.test if isinstance(child, ast.If) else None
        never = getattr(test, "id", getattr(test, "attr", None)) == "TYPE_CHECKING"
        late = lazy or never or isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        yield child, late
        yield from _walk(child, late)


def _targets(node: ast.AST) -> list[str]:
    """Top-level packages that a statement imports; `import_module("x")` and `__import__("x")` count as well."""
    if isinstance(node, ast.Import):
        return [alias.name.split(".")[0] for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        return [] if node.level else [(node.module or "").split(".")[0]]
    if not (isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant)):
        return []
    name, value = getattr(node.func, "id", getattr(node.func, "attr", None)), node.args[0].value
    called = name in {"import_module", "__import__"} and isinstance(value, str)
    return [value.split(".")[0]] if called and isinstance(value, str) else []


def _inside(module: str, rooms: tuple[str, ...]) -> bool:
    return any(module == room or module.startswith(room + ".") for room in rooms)


def allowed(module: str, top: str, lazy: bool) -> bool:
    """Whether `module` may import the third-party package `top`."""
    package = module.split(".")[0]
    if top in sys.stdlib_module_names or top in PACKAGES or top in THIRD_PARTY[package]:
        return True
    if package != "gridai_env":
        return False
    return (lazy and _inside(module, LAZY.get(top, ()))) or (top == "torch" and _inside(module, ON_TENSORS))


def faults(source: str, module: str) -> list[str]:
    """Forbidden third-party imports of one module, one line each."""
    return [
        f"{module}:{getattr(node, 'lineno', 0)} may not import {top!r} {'at all' if lazy else 'on loading'}"
        for node, lazy in _walk(ast.parse(source))
        for top in _targets(node)
        if not allowed(module, top, lazy)
    ]


def test_third_party_packages_keep_to_the_table() -> None:
    paths = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
    assert len(paths) > 200
    bad = [line for path in paths for line in faults(path.read_text(encoding="utf-8"), dotted(path))]
    assert not bad, "\n".join(bad)


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("gridai_env.episodes.instance", "import pandas as pd"),
        ("gridai_env.episodes.instance", "import pyomo.environ as pyo"),
        ("gridai_env.episodes.instance", "def f():\n    import torch"),
        ("gridai_env.episodes.instance", "import importlib\nimportlib.import_module('stable_baselines3')"),
        ("gridai_env.render", "import matplotlib.pyplot as plt"),
        ("gridai_env.envs.env", "def f():\n    import matplotlib"),
        ("gridai_env", "import highspy"),
        ("baselines.optimum.milp", "import torch"),
        ("scripts.compare", "import pandas"),
    ],
)
def test_a_forbidden_package_is_caught(module: str, source: str) -> None:
    assert len(faults(source, module)) == 1


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("gridai_env", "from gridai_env.envs.env import Env\nfrom .instance import Instance"),
        ("gridai_env.world.physics", "import math\nimport numpy as np"),
        ("gridai_env.envs.torch.generate", "import torch"),
        ("gridai_env.traces.files.zones", "def f():\n    import pyarrow.parquet as pq"),
        ("gridai_env.render", "def f():\n    from matplotlib.figure import Figure"),
        ("baselines.optimum.milp", "import pyomo.environ as pyo"),
        ("agents.training.train", "import torch"),
    ],
)
def test_an_allowed_package_passes(module: str, source: str) -> None:
    assert faults(source, module) == []


# One line against each contract of pyproject.toml: (module, what it may not import, contract).
AGAINST = (
    ("gridai_env/world/physics.py", "import scripts", "scripts above agents and baselines"),
    ("baselines/optimum/milp.py", "def f():\n    import agents.config", "scripts above agents and baselines"),
    ("gridai_env/world/physics.py", "def f():\n    from gridai_env.envs import env", "rooms of gridai_env"),
    ("gridai_env/traces/series.py", "from gridai_env.world import state", "rooms of gridai_env"),
    ("baselines/rules/greedy.py", "import baselines.optimum.milp", "rooms of baselines"),
    ("agents/structured/power.py", "import agents.networks.mlp", "rooms of agents"),
    ("scripts/runs/tasks.py", "import scripts.studies.policies", "commands above studies"),
)


def _contracts(folder: Path) -> str:
    program = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run(
        [program, "--no-cache"], cwd=folder, capture_output=True, text=True, timeout=120, check=False
    )
    return done.stdout + done.stderr


@pytest.mark.parametrize(("file", "line", "contract"), AGAINST)
def test_a_forbidden_direction_is_caught(tmp_path: Path, file: str, line: str, contract: str) -> None:
    for name in PACKAGES:
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    with (tmp_path / file).open("a", encoding="utf-8") as target:
        target.write(f"\n{line}\n")
    said = _contracts(tmp_path)
    broken = [row for row in said.splitlines() if row.endswith("BROKEN")]
    assert len(broken) == 1 and broken[0].startswith(contract), said


@pytest.mark.parametrize("module", ["gridai_env", "gridai_env.rollout", "baselines.rules"])
def test_importing_loads_nothing_heavy(module: str) -> None:
    code = f"import sys, {module}; print(*[name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []


@pytest.mark.parametrize(
    ("old", "names"),
    [
        ("baselines.milp", "Plan solve service_of"),
        ("baselines.variants", "VARIANTS plan_variant"),
        ("agents.vecenv", "GridAIVecEnv TRAINING_SEEDS"),
        ("agents.active", "ActiveActions active_mask"),
        ("agents.policies", "load_policy NetworkPolicy CheckpointError"),
    ],
)
def test_former_addresses_hand_names_on_with_a_warning(old: str, names: str) -> None:
    sys.modules.pop(old, None)
    with pytest.warns(DeprecationWarning, match=f"^{re.escape(old)} is "):
        module = importlib.import_module(old)
    assert [name for name in names.split() if not hasattr(module, name)] == []


def test_wrappers_of_batches_load_beside_gymnasium_1_2() -> None:
    """There they are no generic classes: parameters would fail on import."""
    texts = [path.read_text(encoding="utf-8") for path in (ROOT / "gridai_env").rglob("*.py")]
    assert any("gym.vector.VectorWrapper)" in text for text in texts)
    assert not any(re.search(r"vector\.Vector\w*Wrapper\[", text) for text in texts)
