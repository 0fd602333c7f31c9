"""The wheel, built from the sdist and installed beside the core dependencies alone, makes every environment.

No network: the empty environment is a folder of links to the installed core packages, and Python runs without
its site-packages (`-S`), so neither an extra nor the checkout can help out.
"""

import subprocess
import sys
import tarfile
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
IDS = ("TwoSites", "FourMarkets", "MicrogridProsumer", "EnergyGeography", "Global")
MOST_CORE_PACKAGES = 25
PACKAGE_DATA = {
    "configs/benchmarks": "gridai_env/configs/benchmarks",
    "configs/scenarios": "gridai_env/configs/scenarios",
    "gridai_env/traces/calibration": "gridai_env/traces/calibration",
}

EPISODE = """
import sys
import tarfile
import gymnasium as gym
import gridai_env

target, names = sys.argv[1], sys.argv[2:]
assert gridai_env.__file__.startswith(target), gridai_env.__file__
for name in names:
    env = gym.make(f"gridai_env:gridai/{name}-v2")
    env.action_space.seed(0)
    env.reset(seed=0)
    _, reward, terminated, truncated, _ = env.step(env.action_space.sample())
    assert reward == reward and not terminated and not truncated, name
    env.close()
    print(name)
"""


def _run(command: list[str], cwd: Path, env: dict[str, str] | None = None) -> str:
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, made as a release makes it: checkout -> sdist -> wheel."""
    out = tmp_path_factory.mktemp("dist")
    _run([sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(ROOT)], cwd=out)
    (path,) = out.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds nothing but the installed wheel."""
    target = tmp_path_factory.mktemp("installed")
    options = ["--no-deps", "--no-index", "--quiet", "--disable-pip-version-check", "--target", str(target)]
    _run([sys.executable, "-m", "pip", "install", *options, str(wheel)], cwd=target)
    return target


def core_packages(requirements: list[str]) -> dict[str, metadata.Distribution]:
    """Distributions that `requirements` pull in where no extra is asked for, by canonical name."""
    found: dict[str, metadata.Distribution] = {}
    todo = [(Requirement(text), "") for text in requirements]
    while todo:
        requirement, extra = todo.pop()
        name = canonicalize_name(requirement.name)
        if requirement.marker and not requirement.marker.evaluate({"extra": extra}):
            continue
        if name not in found:
            found[name] = metadata.distribution(name)
            todo += [(Requirement(text), "") for text in found[name].requires or []]
        for wanted in requirement.extras:
            todo += [(Requirement(text), wanted) for text in found[name].requires or [] if "extra" in text]
    return found


def _core_of(installed: Path) -> dict[str, metadata.Distribution]:
    (own,) = metadata.distributions(name="gridai-env", path=[str(installed)])
    return core_packages(own.requires or [])


def _files(folder: Path) -> set[str]:
    """Files below a folder, relative to it, without bytecode."""
    paths = (path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {path.relative_to(folder).as_posix() for path in paths}


def test_wheel_holds_gridai_env_and_its_metadata_only(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert "gridai_env/__init__.py" in names
    info = f"{'-'.join(wheel.name.split('-')[:2])}.dist-info"
    assert {name.split("/")[0] for name in names} == {"gridai_env", info}
    assert f"{info}/licenses/LICENSE" in names
    assert not [name for name in names if name.endswith((".pyc", ".pyo")) or "__pycache__" in name]


@pytest.mark.parametrize(("source", "target"), PACKAGE_DATA.items())
def test_wheel_holds_the_package_data(installed: Path, source: str, target: str) -> None:
    wanted = _files(ROOT / source)
    assert wanted, f"{source} is empty"
    assert _files(installed / target) == wanted


def test_wheel_holds_every_module(installed: Path) -> None:
    wanted = {name for name in _files(ROOT / "gridai_env") if name.endswith(".py")}
    assert {name for name in _files(installed / "gridai_env") if name.endswith(".py")} == wanted


def test_core_installation_is_small(installed: Path) -> None:
    names = {"gridai-env", *_core_of(installed)}
    assert len(names) <= MOST_CORE_PACKAGES, sorted(names)
    assert not names & {"torch", "pandas", "pyomo", "highspy", "stable-baselines3", "matplotlib", "scipy"}


def test_wheel_alone_makes_every_id(installed: Path, tmp_path: Path) -> None:
    core, elsewhere = tmp_path / "core", tmp_path / "elsewhere"
    core.mkdir()
    elsewhere.mkdir()
    for distribution in _core_of(installed).values():
        for top in {path.parts[0] for path in distribution.files or []} - {"..", "__pycache__"}:
            (core / top).symlink_to(Path(str(distribution.locate_file(top))))
    env = {"PYTHONPATH": f"{installed}:{core}", "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-S", "-W", "error", "-c", EPISODE, str(installed), *IDS]
    assert _run(command, cwd=elsewhere, env=env).split() == list(IDS)


def test_core_packages_follow_extras_and_markers() -> None:
    assert core_packages(["numpy; python_version < '3'", "numpy; extra == 'x'"]) == {}
    assert "highspy" in core_packages(["highspy[extras]"])
    assert "highspy-extras" in core_packages(["highspy[extras]"])
    assert "highspy-extras" not in core_packages(["highspy"])
    assert {"gymnasium", "cloudpickle", "numpy"} <= set(core_packages(["gymnasium"]))


def test_the_version_is_the_same_everywhere(installed: Path) -> None:
    (own,) = metadata.distributions(name="gridai-env", path=[str(installed)])
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == own.version
    assert f"## {own.version}\n" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_sdist_holds_what_a_contributor_needs(wheel: Path) -> None:
    (archive,) = wheel.parent.glob("*.tar.gz")
    with tarfile.open(archive) as file:
        names = {name.split("/", 1)[1] for name in file.getnames() if "/" in name}
    assert {"README.md", "CONTRIBUTING.md", "SECURITY.md", "docs/conf.py", "docs/index.md"} <= names
    assert {"docs/images/optimal_hour.png", "docs/measured/measured.yaml", "tests/conftest.py"} <= names
    assert not [name for name in names if name.startswith(("docs/_build", "docs/_generated", "docs/api/"))]
