"""Faults put into a copy of the code on purpose: what one is, and which tests notice it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
COPIED = ("gridai_env", "agents", "baselines", "configs", "scripts", "tests", "pyproject.toml")

HAND = ("gridai_env/world/test_physics.py",)
# In the order of cost: most faults fall at the first file.
FAST = (
    *HAND,
    "gridai_env/world/test_queue_fifo.py",
    "gridai_env/world/test_conservation.py::test_random_worlds_balance[0]",
    "gridai_env/world/test_conservation.py::test_random_worlds_have_valid_prices_and_limits",
    "gridai_env/world/test_scalar_reference.py::test_random_worlds_agree[0]",
    "gridai_env/world/test_feasible.py",
    "baselines/optimum/test_brute_force.py",
    "baselines/optimum/test_promises.py::test_benefit_plans_and_bounds[0]",
)
BRUTE = ("baselines/optimum/test_brute_force.py",)
PROMISES = tuple(f"baselines/optimum/test_promises.py::test_benefit_plans_and_bounds[{i}]" for i in range(10))
FLOORS = ("baselines/optimum/test_promises.py::test_cost_and_carbon_bounds",)
STEP = ("gridai_env/envs/test_public_step.py",)
GOLDEN = ("gridai_env/rollout/test_golden.py",)
# Random worlds bring their own prices and limits; those of episodes made from a scenario are checked here.
PRICES = (
    "gridai_env/episodes/test_instance.py",
    "gridai_env/world/test_conservation.py::test_shipped_scenarios_have_valid_prices_and_limits",
)


@dataclass(frozen=True)
class Mutant:
    """One fault: in ``file`` the text ``old`` becomes ``new``; ``tests`` are those that should notice."""

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...] = FAST


def fault_in_list(mutant: Mutant) -> str:
    """Why a mutant cannot be applied any more; empty where it can."""
    count = (ROOT / mutant.file).read_text(encoding="utf-8").count(mutant.old)
    return (
        "" if count == 1 else f"{mutant.name}: {mutant.old!r} stands {count} times in {mutant.file}, not once"
    )


def copy_of_the_code(folder: Path) -> Path:
    """Copy all that the tests of `FAST` need."""
    for name in COPIED:
        source, target = ROOT / name, folder / name
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
        else:
            shutil.copy2(source, target)
    return folder


def run_tests(folder: Path, tests: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
    """Run tests in a copy, stopping at the first failure; the copy's own package is used."""
    program = (
        "import sys, pathlib, gridai_env, pytest\n"
        "assert pathlib.Path(gridai_env.__file__).is_relative_to(pathlib.Path.cwd()), gridai_env.__file__\n"
        "sys.exit(pytest.main(sys.argv[1:]))\n"
    )
    command = [
        sys.executable,
        "-c",
        program,
        "-x",
        "-q",
        "-p",
        "no:cacheprovider",
        "--no-header",
        "--tb=line",
    ]
    environment = os.environ | {
        "PYTHONPATH": str(folder),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "HYPOTHESIS_PROFILE": "fault",
    }
    return subprocess.run(
        [*command, *(f"tests/{name}" for name in tests)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )


def survives(mutant: Mutant, folder: Path) -> str:
    """Empty where the tests notice the fault, else what they said.  Only failed tests are a verdict."""
    target = copy_of_the_code(folder) / mutant.file
    text = target.read_text(encoding="utf-8")
    target.write_text(text.replace(mutant.old, mutant.new), encoding="utf-8")
    result = run_tests(folder, mutant.tests)
    failed = result.returncode == 1 and " failed" in result.stdout
    if failed:
        return ""
    return f"{mutant.name}: exit {result.returncode}\n{result.stdout[-2000:]}{result.stderr[-2000:]}"
