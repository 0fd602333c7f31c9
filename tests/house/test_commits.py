"""Commits that measured tables and shipped agents name: each can be looked up in the project's own history."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# `commit: abc1234`, `"commit": "..."`, `git_commit = ...`, "at commit abc1234", in any text file.
QUOTED = re.compile(r"\bcommit\b\W{1,6}([0-9a-f]{7,40})\b", re.IGNORECASE)


def _quoted() -> dict[str, str]:
    """Commit -> a file that names it."""
    found: dict[str, str] = {}
    for folder in ("docs", "configs"):
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix in (".csv", ".json", ".md", ".yaml") and path.is_file():
                named = QUOTED.findall(path.read_text(encoding="utf-8"))
                found |= dict.fromkeys(named, str(path.relative_to(ROOT)))
    return found


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True)
    return done.stdout.strip() if done.returncode == 0 else ""


def test_commits_quoted_are_in_the_history() -> None:
    if shutil.which("git") is None or _git("rev-parse", "--is-shallow-repository") != "false":
        pytest.skip("no history of git here, or a shallow one")
    history = _git("rev-list", "HEAD").split()
    lost = {
        commit: name for commit, name in _quoted().items() if not any(h.startswith(commit) for h in history)
    }
    assert not lost
