"""The versions of package and environments, and how to install what an optional part needs."""

import warnings
from pathlib import Path

import gymnasium as gym

__version__ = "0.2.0"
ROOT = Path(__file__).resolve().parents[1]


def environment_version() -> int:
    """Return the version of the environments, the number in ``gridai/Custom-v2``: it rises when behaviour changes."""
    names = [name for name in gym.registry if name.startswith("gridai/Custom-v")]
    return max(int(name.rsplit("-v", 1)[1]) for name in names)


def former_address(old: str, new: str) -> None:
    """Warn those who import a module by its former address."""
    text = f"{old} is {new} now; this address goes in the next release"
    warnings.warn(text, DeprecationWarning, stacklevel=3)


def pip_install(*extras: str) -> str:
    """Return the command that installs some extras: into the checkout, where this is one, else of the package."""
    names = ",".join(dict.fromkeys(extras))
    if not (ROOT / "pyproject.toml").is_file():
        return f"pip install 'gridai-env[{names}]'"
    return f"pip install -e '{'.' if Path.cwd() == ROOT else ROOT}[{names}]'"
