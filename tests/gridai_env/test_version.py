"""Hints for missing extras work where one stands: in the checkout, elsewhere beside it, with the wheel."""

from __future__ import annotations

from pathlib import Path

import pytest

from gridai_env import version


def test_the_hint_fits_the_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pyproject.toml").touch()
    monkeypatch.setattr(version, "ROOT", tmp_path)
    monkeypatch.chdir(tmp_path)
    assert version.pip_install("milp", "rl", "milp") == "pip install -e '.[milp,rl]'"
    (tmp_path / "runs").mkdir()
    monkeypatch.chdir("runs")
    assert version.pip_install("rl") == f"pip install -e '{tmp_path}[rl]'"
    (tmp_path / "pyproject.toml").unlink()
    assert version.pip_install("rl") == "pip install 'gridai-env[rl]'"
