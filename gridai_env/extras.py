"""How to install what an optional part needs, from where the program stands."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def pip_install(*extras: str) -> str:
    """Return the command that installs some extras: into the checkout, where this is one, else of the package."""
    names = ",".join(dict.fromkeys(extras))
    if not (ROOT / "pyproject.toml").is_file():
        return f"pip install 'gridai-env[{names}]'"
    return f"pip install -e '{'.' if Path.cwd() == ROOT else ROOT}[{names}]'"
